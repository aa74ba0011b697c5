// Node's `crypto` and the web's in one global: hashes, HMAC, randomness. The arithmetic is the host's.

const ALGORITHMS = Object.assign(Object.create(null), {
  md5: 'md5', sha1: 'sha1', 'sha-1': 'sha1', sha256: 'sha256', 'sha-256': 'sha256', sha384: 'sha384',
  'sha-384': 'sha384', sha512: 'sha512', 'sha-512': 'sha512',
});
const HASHES = ['md5', 'sha1', 'sha256', 'sha384', 'sha512'];
/** The most bytes that the host gives in one call. */
const RANDOM_AT_ONCE = 65_536;

function algorithmOf(name, what) {
  const algorithm = ALGORITHMS[toLowerCase(textOf(name))];
  if (algorithm !== undefined) return algorithm;
  throw coded(NativeError, 'ERR_CRYPTO_INVALID_DIGEST', `${what}: the algorithm \`${textOf(name)}\` is not among ${HASHES.join(', ')}`);
}

/** What `createHash` and `createHmac` return: takes pieces, answers once. */
class Hasher {
  #finish;
  #pieces = [];
  #done = false;

  constructor(finish) {
    this.#finish = finish;
  }
  update(data, encoding) {
    if (this.#done) throw coded(NativeError, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    this.#pieces.push(bytesFrom(data, encoding, 'update').slice());
    return this;
  }
  digest(encoding) {
    if (this.#done) throw coded(NativeError, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    this.#done = true;
    const digest = asBuffer(new Uint8Array(this.#finish(joined(this.#pieces))));
    return encoding === undefined || encoding === 'buffer' ? digest : digest.toString(encoding);
  }
  copy() {
    const copy = new Hasher(this.#finish);
    copy.#pieces = [...this.#pieces];
    return copy;
  }
}

function createHash(name) {
  const algorithm = algorithmOf(name, 'createHash');
  return new Hasher((bytes) => host.digest(algorithm, bytes));
}

function createHmac(name, key) {
  const algorithm = algorithmOf(name, 'createHmac');
  const secret = bytesFrom(key instanceof CryptoKey ? keyBytes(key) : key, undefined, 'createHmac').slice();
  return new Hasher((bytes) => host.hmac(algorithm, secret, bytes));
}

function randomBytes(count, callback) {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; at += RANDOM_AT_ONCE) {
    bytes.set(new Uint8Array(host.random(min(RANDOM_AT_ONCE, count - at))), at);
  }
  if (typeof callback !== 'function') return bytes;
  setImmediate(callback, null, bytes);
  return undefined;
}

function randomFillSync(view) {
  const bytes = viewed(view);
  bytes.set(randomBytes(bytes.length));
  return view;
}

function randomInt(least, beyond, callback) {
  if (beyond === undefined || typeof beyond === 'function') return randomInt(0, least, beyond);
  const span = beyond - least;
  if (!(Number.isSafeInteger(least) && Number.isSafeInteger(beyond) && span > 0 && span < 2 ** 48)) {
    throw coded(RangeError, 'ERR_OUT_OF_RANGE', `randomInt: from ${least} to below ${beyond} is no range of up to 2^48 numbers`);
  }
  const fair = 2 ** 48 - (2 ** 48 % span);
  let drawn;
  do drawn = randomBytes(6).readUIntBE(0, 6);
  while (drawn >= fair);
  const value = least + (drawn % span);
  if (typeof callback !== 'function') return value;
  setImmediate(callback, null, value);
  return undefined;
}

function randomUUID() {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return uuidText(bytes);
}

function uuidText(bytes) {
  const hex = toHex(bytes);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/**
 * The same whenever this event is sent for this purpose, on each attempt and by each version: the key that
 * `Event::idempotency_key` makes in Rust.
 */
function idempotencyKey(event, purpose) {
  const id = read(event, 'messageId');
  if (typeof id !== 'string' || typeof purpose !== 'string') {
    throw new TypeError('idempotencyKey: it takes an event and a purpose, such as idempotencyKey(event, "order")');
  }
  const message = bytesFrom(id, undefined, 'idempotencyKey');
  // The length keeps apart what would read the same when joined.
  const length = new Uint8Array(8);
  new DataView(length.buffer).setUint32(4, message.length);
  const whole = joined([length, message, bytesFrom(purpose, undefined, 'idempotencyKey')]);
  const bytes = new Uint8Array(host.digest('sha256', whole)).slice(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return uuidText(bytes);
}

/** Which attempt at this event the call is, from 1: `Event::attempt` in Rust. */
function attemptOf(event) {
  const id = read(event, 'messageId');
  const attempt = typeof id === 'string' ? host.attempt(id) : undefined;
  if (attempt === undefined || attempt === null) {
    throw new TypeError('attemptOf: it takes an event that the handler was called with, such as attemptOf(event)');
  }
  return attempt;
}

function timingSafeEqual(a, b) {
  const [left, right] = [viewed(a), viewed(b)];
  if (left === undefined || right === undefined) throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'timingSafeEqual: both must be bytes');
  if (left.length !== right.length) {
    throw coded(RangeError, 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH', 'Input buffers must have the same byte length');
  }
  let different = 0;
  for (let at = 0; at < left.length; at++) different |= left[at] ^ right[at];
  return different === 0;
}

function getRandomValues(view) {
  if (!ArrayBuffer.isView(view) || view instanceof DataView || view instanceof Float32Array || view instanceof Float64Array) {
    throw new DOMException('getRandomValues: the argument is no array of integers', 'TypeMismatchError');
  }
  if (view.byteLength > RANDOM_AT_ONCE) {
    throw new DOMException(`getRandomValues: ${view.byteLength} bytes asked for, ${RANDOM_AT_ONCE} is the most`, 'QuotaExceededError');
  }
  return randomFillSync(view);
}

let keyBytes;

class CryptoKey {
  #bytes;
  static {
    keyBytes = (key) => key.#bytes;
  }
  constructor(key, bytes, hash, extractable, usages) {
    if (key !== SIGNAL) throw new TypeError('Illegal constructor');
    this.#bytes = bytes;
    this.type = 'secret';
    this.extractable = extractable;
    this.algorithm = { name: 'HMAC', hash: { name: hash }, length: bytes.length * 8 };
    this.usages = usages;
  }
}
tag(CryptoKey);

const nameOf = (algorithm) => (isObject(algorithm) ? `${algorithm.name}` : `${algorithm}`);

function webHash(algorithm, what) {
  const name = nameOf(algorithm).toUpperCase();
  if (/^SHA-(1|256|384|512)$/.test(name)) return name;
  throw new DOMException(`${what}: the algorithm \`${name}\` is not among SHA-1, SHA-256, SHA-384, SHA-512`, 'NotSupportedError');
}

function hmacOnly(algorithm, what) {
  if (nameOf(algorithm).toUpperCase() === 'HMAC') return;
  throw new DOMException(`${what}: the algorithm \`${nameOf(algorithm)}\` is not HMAC, the only one here`, 'NotSupportedError');
}

function usable(key, usage) {
  if (key instanceof CryptoKey && key.usages.includes(usage)) return keyBytes(key);
  throw new DOMException(`the key is not one for \`${usage}\``, 'InvalidAccessError');
}

const subtle = {
  async digest(algorithm, data) {
    return host.digest(ALGORITHMS[toLowerCase(webHash(algorithm, 'digest'))], bytesFrom(data, undefined, 'digest'));
  },
  async importKey(format, data, algorithm, extractable, usages) {
    hmacOnly(algorithm, 'importKey');
    const hash = webHash(algorithm.hash, 'importKey');
    if (format === 'jwk') return new CryptoKey(SIGNAL, encoded(`${data.k}`, 'base64url'), hash, Boolean(extractable), [...usages]);
    if (format !== 'raw') throw new DOMException(`importKey: the format \`${format}\` is not raw or jwk`, 'NotSupportedError');
    return new CryptoKey(SIGNAL, bytesFrom(data, undefined, 'importKey').slice(), hash, Boolean(extractable), [...usages]);
  },
  async exportKey(format, key) {
    if (!key.extractable) throw new DOMException('exportKey: the key is not extractable', 'InvalidAccessError');
    if (format !== 'raw') throw new DOMException(`exportKey: the format \`${format}\` is not raw`, 'NotSupportedError');
    return keyBytes(key).slice().buffer;
  },
  async sign(algorithm, key, data) {
    hmacOnly(algorithm, 'sign');
    return host.hmac(ALGORITHMS[toLowerCase(key.algorithm.hash.name)], usable(key, 'sign'), bytesFrom(data, undefined, 'sign'));
  },
  async verify(algorithm, key, signature, data) {
    hmacOnly(algorithm, 'verify');
    const hash = ALGORITHMS[toLowerCase(key.algorithm.hash.name)];
    const wanted = new Uint8Array(host.hmac(hash, usable(key, 'verify'), bytesFrom(data, undefined, 'verify')));
    const given = bytesFrom(signature, undefined, 'verify');
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  },
};

const crypto = {
  createHash,
  createHmac,
  getHashes: () => [...HASHES],
  randomBytes,
  randomFillSync,
  randomInt,
  randomUUID,
  timingSafeEqual,
  getRandomValues,
  subtle,
};
crypto.webcrypto = { subtle, getRandomValues, randomUUID };
