// What the language had before a partner's code could change it.
//
// All files of this folder are parts of one strict function (host, global), in the order of `order.txt`. A function may
// replace anything it can reach; the ending of its call is decided with what is kept here.

const uncurryThis = Function.prototype.bind.bind(Function.prototype.call);
const { parse: jsonParse, stringify: jsonStringify } = JSON;
const { isArray } = Array;
const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf, keys: objectKeys } = Object;
const { ownKeys } = Reflect;
const { floor, min, max } = Math;
const NativePromise = Promise;
const NativeError = Error;
const promiseThen = uncurryThis(Promise.prototype.then);
const globalEval = eval;
const hasOwn = uncurryThis(Object.prototype.hasOwnProperty);
const objectTag = uncurryThis(Object.prototype.toString);
const slice = uncurryThis(String.prototype.slice);
const indexOf = uncurryThis(String.prototype.indexOf);
const fromCharCode = String.fromCharCode;
const toLowerCase = uncurryThis(String.prototype.toLowerCase);

/** A global as the language itself defines them: there, but not in the way of a function's own names. */
function publish(name, value) {
  defineProperty(global, name, { value, writable: true, enumerable: false, configurable: true });
}

/** A function of a prelude class shows its kind: `[object Headers]`. */
function tag(constructor, name = constructor.name) {
  defineProperty(constructor.prototype, Symbol.toStringTag, { value: name, configurable: true });
}

/** The property, or `undefined` where reading it throws. */
function read(value, name) {
  try {
    return value === null || value === undefined ? undefined : value[name];
  } catch {
    return undefined;
  }
}

/** The value as text, whatever it is; `''` where it refuses. */
function textOf(value) {
  try {
    return typeof value === 'string' ? value : String(value);
  } catch {
    return '';
  }
}
