// structuredClone, for the kinds of values that events and settings are made of, and their containers.

const CLONED_ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

function structuredClone(value) {
  if (arguments.length === 0) throw new TypeError('structuredClone: the value is missing');
  return cloned(value, new Map());
}

function uncloneable(value) {
  throw new DOMException(`${inspect(value)} could not be cloned.`, 'DataCloneError');
}

function cloned(value, known) {
  if (typeof value === 'function' || typeof value === 'symbol') uncloneable(value);
  if (!isObject(value)) return value;
  if (known.has(value)) return known.get(value);
  const copy = emptyCopy(value, known);
  known.set(value, copy);
  if (copy instanceof Map) value.forEach((item, key) => copy.set(cloned(key, known), cloned(item, known)));
  else if (copy instanceof Set) value.forEach((item) => copy.add(cloned(item, known)));
  else if (isArray(value) || isPlain(copy)) for (const key of objectKeys(value)) copy[key] = cloned(value[key], known);
  return copy;
}

const isPlain = (copy) => objectTag(copy) === '[object Object]';

/** The copy of a value, without what it holds. */
function emptyCopy(value, known) {
  if (isArray(value)) return new Array(value.length);
  if (value instanceof Map) return new Map();
  if (value instanceof Set) return new Set();
  if (value instanceof Date) return new Date(value.getTime());
  if (value instanceof RegExp) return new RegExp(value.source, value.flags);
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return Object(value.valueOf());
  if (value instanceof ArrayBuffer) return value.slice(0);
  if (ArrayBuffer.isView(value)) return clonedView(value, known);
  if (value instanceof NativeError) return clonedError(value, known);
  if (value instanceof NativePromise || value instanceof WeakMap || value instanceof WeakSet) uncloneable(value);
  return {};
}

function clonedView(value, known) {
  const buffer = cloned(value.buffer, known);
  if (value instanceof FastBuffer) return new Uint8Array(buffer, value.byteOffset, value.length);
  return new value.constructor(buffer, value.byteOffset, value instanceof DataView ? value.byteLength : value.length);
}

function clonedError(value, known) {
  const Class = hasOwn(CLONED_ERRORS, textOf(read(value, 'name'))) ? CLONED_ERRORS[value.name] : NativeError;
  const copy = new Class(textOf(read(value, 'message')));
  defineProperty(copy, 'stack', { value: textOf(read(value, 'stack')), writable: true, configurable: true });
  if (hasOwn(value, 'cause')) copy.cause = cloned(value.cause, known);
  return copy;
}
