// `_`: the functions of lodash 4 that handlers use, with lodash's own meanings. Shorthands (`'a.b'`, `['a', 1]`,
// `{ a: 1 }`) work wherever lodash takes them. Lists are here, objects and texts in the next two files.

const isNil = (value) => value === undefined || value === null;
const isFunction = (value) => typeof value === 'function';
const isArrayLike = (value) => !isNil(value) && !isFunction(value) && Number.isInteger(value.length) && value.length >= 0;
const identity = (value) => value;
const sameValue = (a, b) => a === b || (a !== a && b !== b);

const PATH_PIECE = /[^.[\]]+|\[(?:(-?\d+(?:\.\d+)?)|(["'])((?:(?!\2)[^\\]|\\.)*?)\2)\]|(?=(?:\.|\[\])(?:\.|\[\]|$))/g;

/** `'a[0].b'` as `['a', '0', 'b']`. */
function toPath(path) {
  if (isArray(path)) return path.map((key) => (typeof key === 'symbol' ? key : `${key}`));
  const pieces = `${path}`.startsWith('.') ? [''] : [];
  `${path}`.replace(PATH_PIECE, (match, number, quote, text) => {
    pieces.push(quote ? text.replace(/\\(\\)?/g, '$1') : number || match);
  });
  return pieces;
}

/** A path, or a key of the object that only looks like one. */
function keysOf(object, path) {
  if (isArray(path)) return path;
  if (typeof path === 'symbol' || typeof path === 'number') return [path];
  return !isNil(object) && isObject(object) && `${path}` in object ? [`${path}`] : toPath(path);
}

function get(object, path, otherwise) {
  let value = object;
  const keys = keysOf(object, path);
  for (const key of keys) {
    if (isNil(value)) return otherwise;
    value = value[key];
  }
  return value === undefined || keys.length === 0 ? otherwise : value;
}

function isMatch(object, source) {
  if (isNil(object)) return objectKeys(source).length === 0;
  return objectKeys(source).every((key) => key in Object(object) && matchesDeep(object[key], source[key]));
}

function matchesDeep(value, wanted) {
  if (isObject(wanted) && !isArray(wanted) && isObject(value) && !isFunction(wanted)) return isMatch(value, wanted);
  if (isArray(wanted) && isArray(value)) return wanted.every((item) => value.some((own) => matchesDeep(own, item)));
  return isEqual(value, wanted);
}

/** What lodash takes for a function. */
function iteratee(given) {
  if (isNil(given)) return identity;
  if (isFunction(given)) return given;
  if (isArray(given)) return (value) => matchesDeep(get(value, given[0]), given[1]);
  if (isObject(given)) return (value) => isMatch(value, given);
  return (value) => get(value, given);
}

/** Items with their keys, of a list, a text, an object, a Map or a Set. */
function itemsOf(collection) {
  if (isNil(collection)) return [];
  if (typeof collection === 'string') return [...collection].map((item, at) => [item, at]);
  if (isArrayLike(collection)) return Array.from(collection, (item, at) => [item, at]);
  if (collection instanceof Map) return [...collection].map(([key, item]) => [item, key]);
  if (collection instanceof Set) return [...collection].map((item) => [item, item]);
  return isObject(collection) ? objectKeys(collection).map((key) => [collection[key], key]) : [];
}

const listOf = (array) => (isArrayLike(array) ? Array.from(array) : []);
const isFlat = (value) => isArray(value) || objectTag(value) === '[object Arguments]';

function flattened(array, depth) {
  const flat = [];
  for (const item of listOf(array)) {
    if (isFlat(item) && depth > 0) flat.push(...flattened(item, depth - 1));
    else flat.push(item);
  }
  return flat;
}

/** The first of those that `by` makes equal. */
function uniqueBy(array, by) {
  const seen = new Set();
  return listOf(array).filter((item) => {
    const key = by(item);
    return seen.has(key) ? false : seen.add(key);
  });
}

/** Lists, and what to compare by if the last argument says so. */
function listsAndBy(args) {
  const last = args[args.length - 1];
  return isArrayLike(last) && typeof last !== 'string' ? [args, identity] : [args.slice(0, -1), iteratee(last)];
}

function differing(array, others, by) {
  const known = new Set(others.flatMap((other) => listOf(other).map(by)));
  return listOf(array).filter((item) => !known.has(by(item)));
}

function common(lists, by) {
  const [first = [], ...others] = lists;
  const known = others.map((other) => new Set(listOf(other).map(by)));
  return uniqueBy(first, by).filter((item) => known.every((keys) => keys.has(by(item))));
}

/** Lower sorts first; what cannot be compared, last. */
function compared(a, b) {
  const rank = (value) => (value === undefined ? 3 : value === null ? 2 : value !== value ? 4 : typeof value === 'symbol' ? 1 : 0);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  return a > b ? 1 : a < b ? -1 : 0;
}

function ordered(collection, by, orders) {
  const makers = (by.length === 0 ? [identity] : by).map(iteratee);
  const rows = itemsOf(collection).map(([item], at) => ({ item, at, keys: makers.map((make) => make(item)) }));
  rows.sort((a, b) => {
    for (let at = 0; at < makers.length; at++) {
      const order = compared(a.keys[at], b.keys[at]);
      if (order !== 0) return orders[at] === 'desc' ? -order : order;
    }
    return a.at - b.at;
  });
  return rows.map(({ item }) => item);
}

/** An object of what `add` makes of all items with the same key. */
function grouped(collection, by, add) {
  const make = iteratee(by);
  const groups = {};
  for (const [item] of itemsOf(collection)) {
    const key = `${make(item)}`;
    add(groups, key, item, hasOwn(groups, key));
  }
  return groups;
}

/** The item whose key `better` prefers. */
function extreme(array, by, better) {
  let best;
  let found;
  for (const item of listOf(array)) {
    const key = by(item);
    if (isNil(key) || key !== key || typeof key === 'symbol') continue;
    if (best === undefined || better(key, best)) [best, found] = [key, item];
  }
  return found;
}

const added = (array, by) => {
  const terms = listOf(array).map(by).filter((term) => term !== undefined);
  return terms.length === 0 ? undefined : terms.reduce((sum, term) => sum + term);
};

function reduced(items, make, given) {
  let [result, rest] = given.length > 0 ? [given[0], items] : [items[0]?.[0], items.slice(1)];
  for (const [item, key] of rest) result = make(result, item, key);
  return result;
}

function each(collection, make = identity) {
  for (const [item, key] of itemsOf(collection)) if (make(item, key, collection) === false) break;
  return collection;
}

const count = (given, otherwise = 1) => (given === undefined ? otherwise : max(0, Math.trunc(Number(given)) || 0));

const lodashLists = {
  chunk(array, size) {
    const [list, length] = [listOf(array), count(size)];
    const chunks = [];
    if (length > 0) for (let at = 0; at < list.length; at += length) chunks.push(list.slice(at, at + length));
    return chunks;
  },
  compact: (array) => listOf(array).filter(Boolean),
  concat: (array, ...more) => [].concat(isArray(array) ? array : [array], ...more),
  countBy: (collection, by) => grouped(collection, by, (groups, key, _item, known) => (groups[key] = known ? groups[key] + 1 : 1)),
  difference: (array, ...others) => differing(array, others, identity),
  differenceBy(array, ...rest) {
    const [others, by] = listsAndBy(rest);
    return differing(array, others, by);
  },
  drop: (array, size) => listOf(array).slice(count(size)),
  dropRight: (array, size) => listOf(array).slice(0, max(0, listOf(array).length - count(size))),
  each,
  every: (collection, test) => itemsOf(collection).every(([item, key]) => iteratee(test)(item, key, collection)),
  filter: (collection, test) => itemsOf(collection).filter(([item, key]) => iteratee(test)(item, key, collection)).map(([item]) => item),
  find: (collection, test) => itemsOf(collection).find(([item, key]) => iteratee(test)(item, key, collection))?.[0],
  findIndex: (array, test) => listOf(array).findIndex((item, at) => iteratee(test)(item, at, array)),
  findLast: (collection, test) => itemsOf(collection).findLast(([item, key]) => iteratee(test)(item, key, collection))?.[0],
  findLastIndex: (array, test) => listOf(array).findLastIndex((item, at) => iteratee(test)(item, at, array)),
  flatMap: (collection, make) => flattened(lodashLists.map(collection, make), 1),
  flatten: (array) => flattened(array, 1),
  flattenDeep: (array) => flattened(array, Infinity),
  forEach: each,
  fromPairs: (pairs) => Object.fromEntries(listOf(pairs)),
  groupBy: (collection, by) => grouped(collection, by, (groups, key, item, known) => (known ? groups[key].push(item) : (groups[key] = [item]))),
  head: (array) => listOf(array)[0],
  includes(collection, value, from = 0) {
    if (typeof collection === 'string') return collection.includes(value, from);
    const list = itemsOf(collection).map(([item]) => item);
    return list.slice(from < 0 ? max(0, list.length + from) : from).some((item) => sameValue(item, value));
  },
  indexOf: (array, value, from = 0) => listOf(array).findIndex((item, at) => at >= (from < 0 ? array.length + from : from) && sameValue(item, value)),
  initial: (array) => listOf(array).slice(0, -1),
  intersection: (...lists) => common(lists, identity),
  intersectionBy: (...args) => common(...listsAndBy(args)),
  join: (array, between = ',') => listOf(array).join(between),
  keyBy: (collection, by) => grouped(collection, by, (groups, key, item) => (groups[key] = item)),
  last: (array) => listOf(array).at(-1),
  map: (collection, make) => itemsOf(collection).map(([item, key]) => iteratee(make)(item, key, collection)),
  max: (array) => extreme(array, identity, (a, b) => a > b),
  maxBy: (array, by) => extreme(array, iteratee(by), (a, b) => a > b),
  mean: (array) => lodashLists.meanBy(array),
  meanBy: (array, by) => (listOf(array).length === 0 ? NaN : added(array, iteratee(by)) / listOf(array).length),
  min: (array) => extreme(array, identity, (a, b) => a < b),
  minBy: (array, by) => extreme(array, iteratee(by), (a, b) => a < b),
  nth: (array, at = 0) => listOf(array).at(at),
  orderBy: (collection, by = [], orders = []) => ordered(collection, isArray(by) ? by : [by], isArray(orders) ? orders : [orders]),
  partition(collection, test) {
    const halves = [[], []];
    for (const [item] of itemsOf(collection)) halves[iteratee(test)(item) ? 0 : 1].push(item);
    return halves;
  },
  pull(array, ...values) {
    lodashLists.remove(array, (item) => values.some((value) => sameValue(item, value)));
    return array;
  },
  range(start, end, step) {
    if (end === undefined) [start, end] = [0, start];
    step = step === undefined ? (start < end ? 1 : -1) : step;
    return Array.from({ length: max(0, Math.ceil((end - start) / (step || 1))) }, (_, at) => start + at * step);
  },
  reduce: (collection, make, ...given) => reduced(itemsOf(collection), make, given),
  reduceRight: (collection, make, ...given) => reduced(itemsOf(collection).reverse(), make, given),
  reject: (collection, test) => lodashLists.filter(collection, (...args) => !iteratee(test)(...args)),
  remove(array, test) {
    const gone = listOf(array).filter((item, at) => iteratee(test)(item, at, array));
    const kept = listOf(array).filter((item) => !gone.includes(item));
    array.splice(0, array.length, ...kept);
    return gone;
  },
  reverse: (array) => (isNil(array) ? array : array.reverse()),
  size: (collection) => (isNil(collection) ? 0 : isArrayLike(collection) ? collection.length : itemsOf(collection).length),
  slice: (array, start, end) => listOf(array).slice(start, end),
  some: (collection, test) => itemsOf(collection).some(([item, key]) => iteratee(test)(item, key, collection)),
  sortBy: (collection, ...by) => ordered(collection, by.length === 1 && isArray(by[0]) ? by[0] : by, []),
  sum: (array) => added(array, identity) ?? 0,
  sumBy: (array, by) => added(array, iteratee(by)) ?? 0,
  tail: (array) => listOf(array).slice(1),
  take: (array, size) => listOf(array).slice(0, count(size)),
  takeRight: (array, size) => (count(size) === 0 ? [] : listOf(array).slice(-count(size))),
  times: (number, make = identity) => Array.from({ length: count(number, 0) }, (_, at) => make(at)),
  toArray: (collection) => itemsOf(collection).map(([item]) => item),
  union: (...lists) => uniqueBy(flattened(lists.filter(isArrayLike), 1), identity),
  unionBy(...args) {
    const [lists, by] = listsAndBy(args);
    return uniqueBy(flattened(lists, 1), by);
  },
  uniq: (array) => uniqueBy(array, identity),
  uniqBy: (array, by) => uniqueBy(array, iteratee(by)),
  uniqWith: (array, same) => listOf(array).filter((item, at, all) => all.findIndex((other) => same(other, item)) === at),
  unzip: (lists) => lodashLists.zip(...lists),
  without: (array, ...values) => differing(array, [values], identity),
  xor: (...lists) => uniqueBy(lists.flatMap((list, at) => differing(list, lists.filter((_, other) => other !== at), identity)), identity),
  zip: (...lists) => Array.from({ length: max(0, ...lists.map((list) => list.length)) }, (_, at) => lists.map((list) => list[at])),
  zipObject: (names, values = []) => Object.fromEntries(listOf(names).map((name, at) => [name, values[at]])),
};
lodashLists.first = lodashLists.head;
