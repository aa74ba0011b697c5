// EventTarget, and AbortController on top of it: how a request is given up.

class Event {
  #type;
  #prevented = false;
  constructor(type, options = {}) {
    this.#type = `${type}`;
    this.cancelable = Boolean(options?.cancelable);
    this.target = null;
  }
  get type() {
    return this.#type;
  }
  get defaultPrevented() {
    return this.#prevented;
  }
  preventDefault() {
    if (this.cancelable) this.#prevented = true;
  }
}
tag(Event);

class EventTarget {
  #listeners = new Map();

  addEventListener(type, listener, options = {}) {
    if (listener === null || listener === undefined) return;
    const ofType = this.#listeners.get(`${type}`) ?? [];
    if (ofType.some((known) => known.listener === listener)) return;
    ofType.push({ listener, once: Boolean(options?.once) });
    this.#listeners.set(`${type}`, ofType);
  }
  removeEventListener(type, listener) {
    const ofType = this.#listeners.get(`${type}`) ?? [];
    this.#listeners.set(`${type}`, ofType.filter((known) => known.listener !== listener));
  }
  dispatchEvent(event) {
    event.target = this;
    const own = this[`on${event.type}`];
    if (typeof own === 'function') guarded((given) => own.call(this, given), [event]);
    for (const { listener, once } of [...(this.#listeners.get(event.type) ?? [])]) {
      if (once) this.removeEventListener(event.type, listener);
      guarded((given) => (typeof listener === 'function' ? listener.call(this, given) : listener.handleEvent(given)), [event]);
    }
    return !event.defaultPrevented;
  }
}
tag(EventTarget);

/** Only this file makes signals. */
const SIGNAL = Symbol('signal');
let abortSignal;

class AbortSignal extends EventTarget {
  #aborted = false;
  #reason;
  onabort = null;

  static {
    abortSignal = (signal, reason) => {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
      signal.dispatchEvent(new Event('abort'));
    };
  }
  constructor(key) {
    super();
    if (key !== SIGNAL) throw coded(TypeError, 'ERR_ILLEGAL_CONSTRUCTOR', 'AbortSignal: use `new AbortController().signal`');
  }
  get aborted() {
    return this.#aborted;
  }
  get reason() {
    return this.#reason;
  }
  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }
  static abort(reason) {
    const signal = new AbortSignal(SIGNAL);
    abortSignal(signal, reason);
    return signal;
  }
  static timeout(delay) {
    const signal = new AbortSignal(SIGNAL);
    setTimeout(() => abortSignal(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')), delay);
    return signal;
  }
  static any(signals) {
    const signal = new AbortSignal(SIGNAL);
    for (const one of signals) {
      if (one.aborted) abortSignal(signal, one.reason);
      else one.addEventListener('abort', () => abortSignal(signal, one.reason), { once: true });
    }
    return signal;
  }
}
tag(AbortSignal);

class AbortController {
  #signal = new AbortSignal(SIGNAL);
  get signal() {
    return this.#signal;
  }
  abort(reason) {
    abortSignal(this.#signal, reason);
  }
}
tag(AbortController);
