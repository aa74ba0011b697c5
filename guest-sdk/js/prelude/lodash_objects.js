// `_`, continued: what lodash does with objects and with values of any kind.

const isPlainObject = (value) => {
  if (!isObject(value) || objectTag(value) !== '[object Object]') return false;
  const prototype = getPrototypeOf(value);
  return prototype === null || getPrototypeOf(prototype) === null || (hasOwn(prototype, 'constructor') && prototype.constructor === Object);
};

function isEqual(a, b, known = []) {
  if (sameValue(a, b)) return true;
  if (!isObject(a) || !isObject(b) || isFunction(a) || isFunction(b)) return false;
  const tag = objectTag(a);
  if (tag !== objectTag(b)) return false;
  if (a instanceof Date || a instanceof Number || a instanceof String || a instanceof Boolean) return sameValue(a.valueOf(), b.valueOf());
  if (a instanceof RegExp) return `${a}` === `${b}`;
  if (a instanceof NativeError) return a.name === b.name && a.message === b.message;
  if (known.some(([left, right]) => left === a && right === b)) return true;
  const next = [...known, [a, b]];
  if (a instanceof Map) return a.size === b.size && [...a].every(([key, item]) => b.has(key) && isEqual(item, b.get(key), next));
  if (a instanceof Set) return a.size === b.size && [...a].every((item) => b.has(item) || [...b].some((other) => isEqual(item, other, next)));
  if (a instanceof ArrayBuffer) return isEqual(new Uint8Array(a), new Uint8Array(b), next);
  if (isArray(a) && a.length !== b.length) return false;
  if (a.constructor !== b.constructor && isFunction(a.constructor) && isFunction(b.constructor)) return false;
  const keys = objectKeys(a);
  return keys.length === objectKeys(b).length && keys.every((key) => hasOwn(b, key) && isEqual(a[key], b[key], next));
}

function isEmpty(value) {
  if (isNil(value)) return true;
  if (isArrayLike(value) && (isArray(value) || typeof value === 'string' || isFlat(value) || ArrayBuffer.isView(value))) return value.length === 0;
  if (value instanceof Map || value instanceof Set) return value.size === 0;
  return !isObject(value) || objectKeys(value).length === 0;
}

function cloneWith(value, deep, known = new Map()) {
  if (!isObject(value)) return value;
  if (isFunction(value) || value instanceof NativeError) return {};
  if (known.has(value)) return known.get(value);
  const copy = isPlainObject(value) || isArray(value) || objectTag(value) === '[object Object]' ? emptyLike(value) : emptyCopy(value, known);
  known.set(value, copy);
  const inner = (item) => (deep ? cloneWith(item, true, known) : item);
  if (copy instanceof Map) value.forEach((item, key) => copy.set(key, inner(item)));
  else if (copy instanceof Set) value.forEach((item) => copy.add(inner(item)));
  else if (isArray(copy) || objectTag(copy) === '[object Object]') for (const key of objectKeys(value)) copy[key] = inner(value[key]);
  return copy;
}

const emptyLike = (value) => (isArray(value) ? new Array(value.length) : Object.create(getPrototypeOf(value)));

/** Keys that would reach the prototype of everything. */
const isUnsafe = (key) => key === '__proto__' || key === 'constructor' || key === 'prototype';

function set(object, path, value) {
  return update(object, path, () => value);
}

function update(object, path, make) {
  if (!isObject(object)) return object;
  const keys = keysOf(object, path);
  let at = object;
  for (let step = 0; step < keys.length; step++) {
    const key = keys[step];
    if (isUnsafe(key)) return object;
    if (step === keys.length - 1) at[key] = make(at[key]);
    else {
      if (!isObject(at[key])) at[key] = /^(?:0|[1-9]\d*)$/.test(`${String(keys[step + 1])}`) ? [] : {};
      at = at[key];
    }
  }
  return object;
}

function unset(object, path) {
  const keys = keysOf(object, path);
  const parent = keys.length === 1 ? object : get(object, keys.slice(0, -1));
  return isNil(parent) || isUnsafe(keys.at(-1)) ? true : delete parent[keys.at(-1)];
}

function has(object, path) {
  let at = object;
  const keys = keysOf(object, path);
  for (const key of keys) {
    if (isNil(at) || !hasOwn(Object(at), key)) return false;
    at = at[key];
  }
  return keys.length > 0;
}

function merged(target, source, customizer, known = new Map()) {
  for (const key of objectKeys(source)) {
    if (isUnsafe(key)) continue;
    const [own, other] = [target[key], source[key]];
    const chosen = customizer?.(own, other, key, target, source);
    if (chosen !== undefined) target[key] = chosen;
    else if (isArray(other) || isPlainObject(other)) target[key] = mergedInto(own, other, customizer, known);
    else if (other !== undefined || !(key in target)) target[key] = other;
  }
  return target;
}

function mergedInto(own, other, customizer, known) {
  if (known.has(other)) return known.get(other);
  const base = isArray(other) ? (isArray(own) ? own : []) : isObject(own) && !isFunction(own) ? own : {};
  known.set(other, base);
  return merged(base, other, customizer, known);
}

function mergeAll(target, sources, customizer) {
  const into = Object(target);
  for (const source of sources) if (isObject(source)) merged(into, source, customizer);
  return into;
}

function defaultsDeep(target, ...sources) {
  const into = Object(target);
  for (const source of sources.filter(isObject)) {
    for (const key of objectKeys(source)) {
      if (isUnsafe(key)) continue;
      if (into[key] === undefined) into[key] = cloneWith(source[key], true);
      else if (isPlainObject(into[key]) && isPlainObject(source[key])) defaultsDeep(into[key], source[key]);
    }
  }
  return into;
}

/** All keys that `for in` meets. */
function allKeys(object) {
  const keys = [];
  for (const key in Object(object)) keys.push(key);
  return keys;
}

const paths = (given) => flattened(given, Infinity);

function picked(object, wanted) {
  const result = {};
  if (isNil(object)) return result;
  for (const path of paths(wanted)) {
    const keys = keysOf(object, path);
    const parent = keys.length === 1 ? object : get(object, keys.slice(0, -1));
    if (!isNil(parent) && keys.at(-1) in Object(parent)) set(result, keys, get(object, keys));
  }
  return result;
}

function omitted(object, unwanted) {
  if (isNil(object)) return {};
  const all = paths(unwanted);
  const result = Object.fromEntries(allKeys(object).map((key) => [key, object[key]]));
  const deep = all.some((path) => keysOf(object, path).length > 1);
  const copy = deep ? cloneWith(result, true) : result;
  for (const path of all) unset(copy, path);
  return copy;
}

const chosen = (object, test) => Object.fromEntries((isNil(object) ? [] : allKeys(object)).filter((key) => test(object[key], key)).map((key) => [key, object[key]]));

const lodashObjects = {
  assign: (target, ...sources) => Object.assign(Object(target), ...sources),
  assignIn: (target, ...sources) => sources.reduce((into, source) => Object.assign(into, chosen(source, () => true)), Object(target)),
  castArray: (...args) => (args.length === 0 ? [] : isArray(args[0]) ? args[0] : [args[0]]),
  clone: (value) => cloneWith(value, false),
  cloneDeep: (value) => cloneWith(value, true),
  defaults(target, ...sources) {
    const into = Object(target);
    for (const source of sources) for (const key of allKeys(source)) if (into[key] === undefined) into[key] = source[key];
    return into;
  },
  defaultsDeep,
  defaultTo: (value, otherwise) => (isNil(value) || value !== value ? otherwise : value),
  eq: sameValue,
  findKey: (object, test) => objectKeys(Object(object)).find((key) => iteratee(test)(object[key], key, object)),
  forIn(object, make = identity) {
    for (const key of allKeys(object)) if (make(object[key], key, object) === false) break;
    return object;
  },
  forOwn(object, make = identity) {
    for (const key of objectKeys(Object(object))) if (make(object[key], key, object) === false) break;
    return object;
  },
  get,
  gt: (a, b) => a > b,
  gte: (a, b) => a >= b,
  has,
  invert: (object) => Object.fromEntries(objectKeys(Object(object)).map((key) => [object[key], key])),
  isArray,
  isArrayLike,
  isBoolean: (value) => typeof value === 'boolean' || value instanceof Boolean,
  isBuffer: (value) => Buffer.isBuffer(value),
  isDate: (value) => value instanceof Date,
  isEmpty,
  isEqual: (a, b) => isEqual(a, b),
  isError: (value) => value instanceof NativeError,
  isFinite: (value) => typeof value === 'number' && Number.isFinite(value),
  isFunction,
  isInteger: Number.isInteger,
  isMap: (value) => value instanceof Map,
  isMatch,
  isNaN: (value) => (typeof value === 'number' || value instanceof Number) && Number.isNaN(Number(value)),
  isNil,
  isNull: (value) => value === null,
  isNumber: (value) => typeof value === 'number' || value instanceof Number,
  isObject,
  isObjectLike: (value) => typeof value === 'object' && value !== null,
  isPlainObject,
  isRegExp: (value) => value instanceof RegExp,
  isSet: (value) => value instanceof Set,
  isString: (value) => typeof value === 'string' || value instanceof String,
  isSymbol: (value) => typeof value === 'symbol',
  isUndefined: (value) => value === undefined,
  keys: (object) => (isNil(object) ? [] : objectKeys(Object(object))),
  keysIn: (object) => (isNil(object) ? [] : allKeys(object)),
  lt: (a, b) => a < b,
  lte: (a, b) => a <= b,
  mapKeys: (object, make) => Object.fromEntries(objectKeys(Object(object ?? {})).map((key) => [iteratee(make)(object[key], key, object), object[key]])),
  mapValues: (object, make) => Object.fromEntries(objectKeys(Object(object ?? {})).map((key) => [key, iteratee(make)(object[key], key, object)])),
  merge: (target, ...sources) => mergeAll(target, sources),
  mergeWith: (target, ...rest) => (isFunction(rest.at(-1)) ? mergeAll(target, rest.slice(0, -1), rest.at(-1)) : mergeAll(target, rest)),
  omit: (object, ...unwanted) => omitted(object, unwanted),
  omitBy: (object, test) => chosen(object, (value, key) => !iteratee(test)(value, key)),
  pick: (object, ...wanted) => picked(object, wanted),
  pickBy: (object, test) => chosen(object, (value, key) => iteratee(test)(value, key)),
  result(object, path, otherwise) {
    const value = get(object, path, otherwise);
    return isFunction(value) ? value.call(get(object, keysOf(object, path).slice(0, -1)) ?? object) : value;
  },
  set,
  toPairs: (object) => (object instanceof Map || object instanceof Set ? [...object.entries()] : objectKeys(Object(object ?? {})).map((key) => [key, object[key]])),
  transform(object, make, into = isArray(object) ? [] : Object.create(getPrototypeOf(object))) {
    for (const [item, key] of itemsOf(object)) if (make(into, item, key, object) === false) break;
    return into;
  },
  unset,
  update,
  values: (object) => itemsOf(object).map(([item]) => item),
};
lodashObjects.entries = lodashObjects.toPairs;
lodashObjects.extend = lodashObjects.assignIn;
