// Time that a function waits for: timers. Requests wait in the engine itself, which calls `turn` whenever no promise can
// go on and there is, or was, a timer.
//
// One callback for each `turn`, so that promises run between any two callbacks, as in Node. Time is read once for a
// turn, not once for a timer: each reading is a call to the host and counts.

/** Milliseconds on the host's clock at the last look; `undefined` until the first handler runs. */
let loopTime;
let nextTimer = 1;
/** id → {due, interval, callback, args}, in the order in which they were set. */
const timers = new Map();
const immediates = [];
const mapSet = uncurryThis(Map.prototype.set);
const mapDelete = uncurryThis(Map.prototype.delete);
const mapForEach = uncurryThis(Map.prototype.forEach);
const shift = uncurryThis(Array.prototype.shift);

/** Adds to a list of ours. Not by assignment, as `Array.prototype.push` would: a setter there would take the item. */
function push(list, value) {
  defineProperty(list, list.length, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
}

/** The longest delay that Node takes; longer ones become 1 there. */
const LONGEST_DELAY = 2 ** 31 - 1;

function lookAtClock() {
  loopTime = host.monotonic();
}

/** A timer as Node returns it: an object that is also a number. */
class Timeout {
  #id;
  constructor(id) {
    this.#id = id;
  }
  [Symbol.toPrimitive]() {
    return this.#id;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  hasRef() {
    return true;
  }
}

function addTimer(name, callback, delay, args, repeat) {
  if (typeof callback !== 'function') {
    throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', `${name}: the callback is ${callback === null ? 'null' : typeof callback}, not a function`);
  }
  if (loopTime === undefined) lookAtClock();
  delay = Number(delay);
  if (!(delay >= 1 && delay <= LONGEST_DELAY)) delay = 1;
  const id = nextTimer++;
  host.wakeLater();
  mapSet(timers, id, { due: loopTime + delay, interval: repeat ? delay : undefined, callback, args });
  return new Timeout(id);
}

function setTimeout(callback, delay, ...args) {
  return addTimer('setTimeout', callback, delay, args, false);
}

function setInterval(callback, delay, ...args) {
  return addTimer('setInterval', callback, delay, args, true);
}

function setImmediate(callback, ...args) {
  if (typeof callback !== 'function') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'setImmediate: the callback is not a function');
  const immediate = { callback, args };
  host.wakeLater();
  push(immediates, immediate);
  return immediate;
}

function clearTimeout(timer) {
  if (timer === undefined || timer === null || typeof timer === 'symbol') return;
  mapDelete(timers, Number(timer));
}

function clearImmediate(immediate) {
  if (typeof immediate === 'object' && immediate !== null) immediate.callback = undefined;
}

function queueMicrotask(callback) {
  if (typeof callback !== 'function') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'queueMicrotask: the callback is not a function');
  promiseThen(NativePromise.resolve(), () => guarded(callback, []));
}

/** Runs what nobody waits for: what it throws ends the call, as it ends Node. */
function guarded(callback, args) {
  try {
    callback(...args);
  } catch (error) {
    host.uncaught(error);
  }
}

/** The timer that is due first; of several, the one that was set first. */
function earliest() {
  let first;
  mapForEach(timers, (timer, id) => {
    if (first === undefined || timer.due < first.timer.due) first = { id, timer };
  });
  return first;
}

function fire({ id, timer }) {
  if (timer.interval === undefined) mapDelete(timers, id);
  else timer.due = max(loopTime, timer.due) + timer.interval;
  guarded(timer.callback, timer.args);
}

/** What `turn` says where it ran something. */
const RAN = -1;

/**
 * Runs one thing that is due; says how many milliseconds away the first timer is where none is due, and nothing where
 * there is none. `waited`: the engine has waited for as long as that.
 */
function turn(waited) {
  while (immediates.length > 0) {
    const { callback, args } = shift(immediates);
    if (callback !== undefined) {
      guarded(callback, args);
      return RAN;
    }
  }
  const first = earliest();
  if (first === undefined) return undefined;
  // The wait is over, so the timer is due, whatever a clock that stands still may say.
  if (waited) loopTime = max(loopTime, first.timer.due);
  if (first.timer.due > loopTime) {
    lookAtClock();
    return max(0, first.timer.due - loopTime);
  }
  fire(first);
  return RAN;
}
