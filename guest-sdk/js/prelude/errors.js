// The errors that say how an event ended, and how any thrown value is read.
//
// An error counts by its `name`, so a bundle may carry its own copy of a class. Nothing that is thrown can make
// reading it fail.

/**
 * Twice what the host keeps of a message, and more than that of a name: only the host can see where a secret would be cut in two.
 */
const MESSAGE_CHARACTERS = 8192;
const NAME_CHARACTERS = 2048;
/** The part of a stack in which the place of an error is looked for. */
const STACK_CHARACTERS = 8192;

class NamedError extends Error {
  constructor(message, options) {
    super(message, options);
    defineProperty(this, 'name', { value: new.target.name, writable: true, configurable: true });
  }
}

class EventNotSupported extends NamedError {}
class InvalidEventPayload extends NamedError {}
class ValidationError extends NamedError {}
class RetryError extends NamedError {
  constructor(message, options) {
    super(message, options);
    const afterMs = read(options, 'afterMs');
    if (afterMs !== undefined) this.afterMs = afterMs;
  }
}
class InvalidSettings extends NamedError {}
class DropEvent extends NamedError {}

const CASES = Object.assign(Object.create(null), {
  EventNotSupported: 'unsupported',
  InvalidEventPayload: 'rejected',
  ValidationError: 'rejected',
  RetryError: 'retry',
  InvalidSettings: 'invalid-settings',
});

/** Whether a FetchError says nothing about the event: the partner was not reached, so it is worth another try. */
const unreached = (type) => type === 'system' || type === 'request-timeout';

/** An ending as the host takes it. */
function ending(kind, message = '', name = '', afterMs = undefined) {
  return { case: kind, message: slice(message, 0, MESSAGE_CHARACTERS), name: slice(name, 0, NAME_CHARACTERS), afterMs };
}

const delivered = () => ending('delivered');

/** The ending that a thrown value means. What nobody foresaw is told with its place, unless `place` is given. */
function endingOf(thrown, place) {
  if ((typeof thrown !== 'object' || thrown === null) && typeof thrown !== 'function') {
    return ending('failed', `${textOf(thrown)}: thrown as a ${thrown === null ? 'null' : typeof thrown}`, 'Error');
  }
  const name = textOf(read(thrown, 'name') ?? 'Error') || 'Error';
  const own = read(thrown, 'message');
  const message = textOf(own ?? '') || (own === undefined ? inspect(thrown) : '');
  const kind = CASES[name] ?? (name === 'FetchError' && unreached(read(thrown, 'type')) ? 'retry' : undefined);
  if (kind === undefined) return ending('failed', message + (place ?? placeOf(thrown)), name);
  return ending(kind, message, name, kind === 'retry' ? waitOf(thrown) : undefined);
}

/** How long a `RetryError` asks to wait: its `afterMs`, where that is a time. */
function waitOf(thrown) {
  const afterMs = read(thrown, 'afterMs');
  return typeof afterMs === 'number' && afterMs >= 0 && afterMs < Infinity ? floor(afterMs) : undefined;
}

const FRAME = /^\s*at (?:(?:async )?([\w$.<>]{1,100}) \()?((?!native)[^\s():]{1,200}(?::\d{1,7}){1,2})\)?$/;

/** Where in the partner's file it happened, if the stack says so: file, line, column. */
function placeOf(thrown) {
  const stack = read(thrown, 'stack');
  if (typeof stack !== 'string') return '';
  const lines = slice(stack, 0, STACK_CHARACTERS).split('\n');
  for (let at = 0; at < lines.length; at++) {
    const frame = FRAME.exec(lines[at]);
    if (frame === null || indexOf(frame[2], PRELUDE) >= 0) continue;
    return frame[1] === undefined || frame[1] === '<anonymous>' ? ` (${frame[2]})` : ` (in ${frame[1]}, ${frame[2]})`;
  }
  return '';
}

/** What the engine calls this file in stacks, so that an error's place is one in the partner's file. */
const PRELUDE = 'tidegate-prelude';

class DOMException extends Error {
  #name;
  constructor(message = '', name = 'Error') {
    super(message);
    this.#name = String(name);
  }
  get name() {
    return this.#name;
  }
  get code() {
    return { InvalidCharacterError: 5, AbortError: 20, TimeoutError: 23, DataCloneError: 25 }[this.#name] ?? 0;
  }
}
tag(DOMException);

/** An error with a `code`, as Node's own have it. */
function coded(Class, code, message) {
  const error = new Class(message);
  error.code = code;
  return error;
}
