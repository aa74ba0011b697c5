// cache: what a destination's events may keep for the next ones, such as an access token.
//
// The host keeps the values, as JSON, for this version of the function and this destination alone. It may forget them
// at any time, so a value is always something that `fn` can make again.

/** Key → the promise of a value that is being made: events of a batch ask for the same one at the same time. */
const making = new Map();

const cache = {
  async load(key, ttl, fn) {
    if (typeof ttl === 'function' && fn === undefined) [ttl, fn] = [undefined, ttl];
    if (typeof key !== 'string') throw new TypeError(`cache.load: the key is ${inspect(key)}, not a string`);
    if (typeof fn !== 'function') throw new TypeError('cache.load(key, ttl, fn): `fn`, which makes the value, is not a function');
    const kept = host.cacheGet(key);
    if (kept !== undefined) return jsonParse(kept);
    const known = making.get(key);
    if (known !== undefined) return known;
    const made = makeValue(key, ttl, fn);
    making.set(key, made);
    try {
      return await made;
    } finally {
      making.delete(key);
    }
  },
  delete(key) {
    host.cacheDelete(`${key}`);
  },
};

async function makeValue(key, ttl, fn) {
  const value = await fn();
  const text = jsonStringify(value);
  const forever = ttl === undefined || ttl === null || ttl === -1;
  if (!forever && !(ttl >= 0)) throw new TypeError(`cache.load: the ttl is ${inspect(ttl)}, not a number of milliseconds or -1`);
  if (text === undefined || ttl === 0) return value;
  try {
    host.cacheSet(key, text, forever || ttl === Infinity ? undefined : floor(ttl));
  } catch (refused) {
    // Too large to be kept: the value is good all the same.
    writeLine('warn', refused.message);
  }
  return value;
}
