// `_`, concluded: texts, numbers, functions, and `_` itself.

const WORD = /(?:[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[A-Z])(?:['\u2019](?:d|ll|m|re|s|t|ve)\b)?|\d+/g;
const LETTER_BEYOND_ASCII = /[^\x00-\x7f]/;
const WORD_BEYOND_ASCII = /\p{Lu}?[\p{Ll}\p{Lo}\p{M}]+|\p{Lu}+(?![\p{Ll}])|\p{Lu}|\p{Nd}+/gu;
const SPECIAL = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const UNSPECIAL = Object.fromEntries(Object.entries(SPECIAL).map(([character, entity]) => [entity, character]));

const plainText = (value) => (isArray(value) ? value.map(plainText).join(',') : Object.is(value, -0) ? '-0' : String(value));
const asText = (value) => (isNil(value) ? '' : plainText(value));

const deburr = (text) => asText(text).normalize('NFD').replace(/[\u0300-\u036f]/g, '').replace(/[ßæøłđ]/g, (letter) => ({ ß: 'ss', æ: 'ae', ø: 'o', ł: 'l', đ: 'd' })[letter]);

function words(text, pattern) {
  if (pattern !== undefined) return asText(text).match(pattern) ?? [];
  const plain = asText(text);
  return plain.match(LETTER_BEYOND_ASCII.test(plain) ? WORD_BEYOND_ASCII : WORD) ?? [];
}

const upperFirst = (text) => asText(text).slice(0, 1).toUpperCase() + asText(text).slice(1);
const lowerFirst = (text) => asText(text).slice(0, 1).toLowerCase() + asText(text).slice(1);
const capitalize = (text) => upperFirst(asText(text).toLowerCase());
const cased = (text, between, make) => words(deburr(text).replace(/['\u2019]/g, '')).map(make).join(between);

function padded(text, length, characters, left) {
  const missing = length - text.length;
  if (!(missing > 0) || characters === '') return text;
  const [before, after] = [left(missing), missing - left(missing)];
  const fill = (size) => characters.repeat(Math.ceil(size / characters.length)).slice(0, size);
  return fill(before) + text + fill(after);
}

const trimmed = (text, characters, start, end) => {
  if (characters === undefined) return start ? (end ? text.trim() : text.trimStart()) : text.trimEnd();
  let [from, to] = [0, text.length];
  while (start && from < to && characters.includes(text[from])) from++;
  while (end && to > from && characters.includes(text[to - 1])) to--;
  return text.slice(from, to);
};

function truncate(text, { length = 30, omission = '...', separator } = {}) {
  const whole = asText(text);
  if (whole.length <= length) return whole;
  const cut = whole.slice(0, max(0, length - omission.length));
  if (separator === undefined) return cut + omission;
  const last = typeof separator === 'string' ? cut.lastIndexOf(separator) : [...cut.matchAll(new RegExp(separator.source, 'g'))].at(-1)?.index;
  return (last >= 0 ? cut.slice(0, last) : cut) + omission;
}

/** Rounds in decimal: 4.006 to two places is 4.01. */
function rounding(operation) {
  return (number, places = 0) => {
    const [mantissa, exponent = 0] = `${number}e`.split('e');
    const [result, power = 0] = `${operation(Number(`${mantissa}e${Number(exponent) + places}`))}e`.split('e');
    return Number(`${result}e${Number(power) - places}`);
  };
}

let lastId = 0;

const lodashTexts = {
  add: (a, b) => a + b,
  attempt(make, ...args) {
    try {
      return make(...args);
    } catch (error) {
      return error instanceof NativeError ? error : new NativeError(error);
    }
  },
  camelCase: (text) => cased(text, '', (word, at) => (at === 0 ? word.toLowerCase() : capitalize(word))),
  capitalize,
  ceil: rounding(Math.ceil),
  clamp: (number, least, most) => (most === undefined ? min(number, least) : min(max(number, least), most)),
  constant: (value) => () => value,
  debounce(callback, wait) {
    let timer;
    const later = (...args) => {
      clearTimeout(timer);
      timer = setTimeout(callback, wait, ...args);
    };
    later.cancel = () => clearTimeout(timer);
    return later;
  },
  deburr,
  divide: (a, b) => a / b,
  endsWith: (text, end, at) => asText(text).endsWith(end, at),
  escape: (text) => asText(text).replace(/[&<>"']/g, (character) => SPECIAL[character]),
  escapeRegExp: (text) => asText(text).replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'),
  floor: rounding(floor),
  flow: (...steps) => (...args) => flattened(steps, 1).reduce((values, step) => [step(...values)], args)[0],
  identity,
  inRange: (number, start, end) => (end === undefined ? number >= min(0, start) && number < max(0, start) : number >= min(start, end) && number < max(start, end)),
  iteratee,
  kebabCase: (text) => cased(text, '-', (word) => word.toLowerCase()),
  lowerCase: (text) => cased(text, ' ', (word) => word.toLowerCase()),
  lowerFirst,
  matches: (source) => (value) => isMatch(value, source),
  memoize(make, key = identity) {
    const kept = new Map();
    const memoized = (...args) => {
      const name = key(...args);
      if (!kept.has(name)) kept.set(name, make(...args));
      return kept.get(name);
    };
    memoized.cache = kept;
    return memoized;
  },
  multiply: (a, b) => a * b,
  negate: (test) => (...args) => !test(...args),
  noop: () => undefined,
  now: () => Date.now(),
  once(make) {
    let made;
    return (...args) => (made ??= { value: make(...args) }).value;
  },
  pad: (text, length, characters = ' ') => padded(asText(text), length, characters, (missing) => floor(missing / 2)),
  padEnd: (text, length, characters = ' ') => padded(asText(text), length, characters, () => 0),
  padStart: (text, length, characters = ' ') => padded(asText(text), length, characters, identity),
  partial: (callback, ...first) => (...rest) => callback(...first, ...rest),
  property: (path) => (object) => get(object, path),
  random(least = 0, most, floating = false) {
    if (most === undefined) [least, most] = [0, least || 1];
    return floating ? least + Math.random() * (most - least) : least + floor(Math.random() * (most - least + 1));
  },
  repeat: (text, times = 1) => asText(text).repeat(max(0, times)),
  replace: (text, pattern, replacement) => asText(text).replace(pattern, replacement),
  round: rounding(Math.round),
  sample: (collection) => lodashLists.toArray(collection)[floor(Math.random() * lodashLists.size(collection))],
  shuffle(collection) {
    const list = lodashLists.toArray(collection);
    for (let at = list.length - 1; at > 0; at--) {
      const other = floor(Math.random() * (at + 1));
      [list[at], list[other]] = [list[other], list[at]];
    }
    return list;
  },
  snakeCase: (text) => cased(text, '_', (word) => word.toLowerCase()),
  split: (text, separator, most) => asText(text).split(separator, most),
  startCase: (text) => cased(text, ' ', upperFirst),
  startsWith: (text, start, at) => asText(text).startsWith(start, at),
  subtract: (a, b) => a - b,
  toInteger: (value) => Math.trunc(Number(value)) || 0,
  toLower: (text) => asText(text).toLowerCase(),
  toNumber: Number,
  toPath,
  toString: asText,
  toUpper: (text) => asText(text).toUpperCase(),
  trim: (text, characters) => trimmed(asText(text), characters, true, true),
  trimEnd: (text, characters) => trimmed(asText(text), characters, false, true),
  trimStart: (text, characters) => trimmed(asText(text), characters, true, false),
  truncate,
  unescape: (text) => asText(text).replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => UNSPECIAL[entity]),
  uniqueId: (prefix = '') => `${prefix}${++lastId}`,
  upperCase: (text) => cased(text, ' ', (word) => word.toUpperCase()),
  upperFirst,
  words,
};

/** `_.chain(value).map(…).filter(…).value()`. */
class Chain {
  #value;
  constructor(value) {
    this.#value = value;
  }
  value() {
    return this.#value;
  }
  thru(make) {
    return new Chain(make(this.#value));
  }
  tap(make) {
    make(this.#value);
    return this;
  }
}

function lodash() {
  throw new TypeError('`_(value)` is not available here: use `_.chain(value)`, and end it with `.value()`');
}
Object.assign(lodash, lodashLists, lodashObjects, lodashTexts, { chain: (value) => new Chain(value) });
for (const name of objectKeys(lodash)) {
  defineProperty(Chain.prototype, name, {
    value(...args) {
      return this.thru((value) => lodash[name](value, ...args));
    },
  });
}
