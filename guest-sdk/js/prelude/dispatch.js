// What the engine needs of JavaScript to call a function: its handlers, and what a batch's answer means.
//
// A handler for one event is called by the engine itself. What the promises here come to rests on nothing that the
// function can replace.

const HANDLERS = ['onTrack', 'onIdentify', 'onPage', 'onScreen', 'onGroup', 'onAlias', 'onDelete', 'onBatch', 'onChoices'];

/** The function of this name: declared at the top of the file, put on the global object, or exported by a bundle. */
function handlerOf(kind) {
  // Declarations with `const` and `let` are no properties of the global object; only code at the top can see them.
  const declared = globalEval(`typeof ${kind} === 'function' ? ${kind} : undefined`);
  if (declared !== undefined) return declared;
  const bundles = [
    globalEval(`typeof module === 'object' && module !== null ? module.exports : undefined`),
    globalEval(`typeof exports === 'object' ? exports : undefined`),
  ];
  for (let at = 0; at < bundles.length; at++) {
    const exported = read(bundles[at], kind);
    if (typeof exported === 'function') return exported;
  }
  return undefined;
}

/**
 * Begins loading. A file that is tested with Node ends in `module.exports = …`, so there is a `module` for it; not for one
 * that asks `typeof module`, since it knows what to do without, and a library in it would hide its names there.
 */
function loading(source) {
  if (!/\b(?:module|exports)\b/.test(source) || /\btypeof\s*\(?\s*(?:module|exports)\b/.test(source)) return;
  const module = { exports: {} };
  publish('module', module);
  publish('exports', module.exports);
}

/** What the file has; found when it has been loaded, so that a call need not look again. */
const found = Object.create(null);

/** Ends loading: the handlers by name, and the lines that loading has written. */
function loaded() {
  for (let at = 0; at < HANDLERS.length; at++) found[HANDLERS[at]] = handlerOf(HANDLERS[at]);
  startLog();
  return { handlers: found, lines: loadingLines };
}

/** A promise of what a handler returned, where that is not itself a promise as the language makes them. */
async function settled(value) {
  await value;
}

/** What an error of a promise means that nobody handles: it ends the call, as it ends Node. */
function unhandled(reason) {
  const { message, name } = endingOf(reason);
  return ending('failed', `nobody waited for a promise that failed with ${name}: ${message}; is an \`await\` missing?`, 'UnhandledRejection');
}

async function single(kind, event, settings) {
  const handler = found[kind];
  if (handler === undefined) return ending('unsupported');
  try {
    await handler(event, jsonParse(settings));
    return delivered();
  } catch (thrown) {
    return endingOf(thrown);
  }
}

/** Both as JSON. */
async function batch(eventsJson, settings) {
  const events = jsonParse(eventsJson);
  const handler = found.onBatch;
  if (handler === undefined) return oneByOne(events, settings);
  const count = events.length;
  let answer;
  try {
    answer = await handler(events, jsonParse(settings));
  } catch (thrown) {
    return filledWith(count, endingOf(thrown));
  }
  try {
    return answers(answer, count);
  } catch (thrown) {
    return filledWith(count, endingOf(thrown));
  }
}

/** Without an `onBatch`, one after the other: a function may keep things in globals while it waits. */
async function oneByOne(events, settings) {
  const endings = [];
  for (let at = 0; at < events.length; at++) {
    const type = textOf(read(events[at], 'type'));
    const kind = `on${slice(type, 0, 1).toUpperCase()}${slice(type, 1)}`;
    push(endings, await single(kind, events[at], settings));
  }
  return endings;
}

/** The longest list of choices that a host takes. */
const MOST_CHOICES = 1000;

/** What a setting may be: a list of pairs, value and label. What the function throws is thrown on. */
async function choices(setting, settings) {
  const handler = found.onChoices;
  if (handler === undefined) throw new TypeError('the function has no `onChoices(setting, settings)`');
  const given = await handler(setting, jsonParse(settings));
  if (!isArray(given)) throw new TypeError(`onChoices returned ${inspect(given, 0)}, not a list`);
  const pairs = [];
  for (let at = 0; at < min(given.length, MOST_CHOICES + 1); at++) {
    const one = given[at];
    const value = typeof one === 'string' ? one : read(one, 'value');
    if (typeof value !== 'string') {
      throw new TypeError(`onChoices returned ${inspect(one, 0)} at ${at}, neither a string nor { value, label }`);
    }
    push(pairs, [value, typeof one === 'string' ? '' : textOf(read(one, 'label') ?? '')]);
  }
  return pairs;
}

function filledWith(count, one) {
  const endings = [];
  for (let at = 0; at < count; at++) push(endings, one);
  return endings;
}

/** What `onBatch` returned, as an ending for each event. Anything but a list of statuses means that all went well. */
function answers(answer, count) {
  if (!isArray(answer)) return filledWith(count, delivered());
  const length = answer.length;
  let statuses = false;
  for (let at = 0; at < min(length, count + 1); at++) statuses ||= isObject(answer[at]) && hasOwn(answer[at], 'status');
  if (!statuses) return filledWith(count, delivered());
  // The host refuses a list of another length; how much longer it is makes no difference.
  if (length !== count) return filledWith(min(length, count + 1000), delivered());
  const endings = [];
  for (let at = 0; at < count; at++) push(endings, statusEnding(answer[at], at));
  return endings;
}

function statusEnding(one, at) {
  const status = read(one, 'status');
  const text = read(one, 'errormessage') ?? read(one, 'errorMessage') ?? '';
  const message = textOf(text) || `HTTP ${textOf(status)}`;
  if (typeof status !== 'number') {
    return ending('failed', `onBatch returned ${inspect(one, 0)} for event ${at}, without a number as \`status\``, 'TypeError');
  }
  if (status >= 200 && status < 300) return delivered();
  if (status === 408 || status === 423 || status === 429 || (status >= 500 && status !== 501)) return ending('retry', message, 'RetryError');
  if (status === 401 || status === 403) return ending('invalid-settings', message, 'InvalidSettings');
  return status === 501 ? ending('unsupported', message, 'EventNotSupported') : ending('rejected', message, 'ValidationError');
}
