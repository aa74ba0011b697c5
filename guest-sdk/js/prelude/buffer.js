// Buffer: Node's bytes, a Uint8Array that knows encodings. Numbers are in buffer_numbers.js.

const ENCODINGS = Object.assign(Object.create(null), {
  utf8: 'utf8', 'utf-8': 'utf8', hex: 'hex', base64: 'base64', base64url: 'base64url', latin1: 'latin1', binary: 'latin1',
  ascii: 'ascii', utf16le: 'utf16le', 'utf-16le': 'utf16le', ucs2: 'utf16le', 'ucs-2': 'utf16le',
});

function encodingOf(name) {
  const encoding = ENCODINGS[toLowerCase(`${name || 'utf8'}`)];
  if (encoding === undefined) throw coded(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${name}`);
  return encoding;
}

function encoded(text, name) {
  switch (encodingOf(name)) {
    case 'hex':
      return fromHex(text);
    case 'base64':
    case 'base64url':
      return new Uint8Array(host.base64Decode(text, true));
    case 'latin1':
    case 'ascii':
      return fromLatin1(text);
    case 'utf16le':
      return fromUtf16(text);
    default:
      return utf8(text);
  }
}

function decodedAs(bytes, name) {
  switch (encodingOf(name)) {
    case 'hex':
      return toHex(bytes);
    case 'base64':
      return host.base64Encode(bytes);
    case 'base64url':
      return host.base64Encode(bytes).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
    case 'latin1':
      return latin1(bytes);
    case 'ascii':
      return latin1(bytes.map((byte) => byte & 0x7f));
    case 'utf16le':
      return utf16(bytes);
    default:
      return fromUtf8(bytes);
  }
}

function toHex(bytes) {
  let text = '';
  for (const byte of bytes) text += (byte < 16 ? '0' : '') + byte.toString(16);
  return text;
}

/** As many pairs of hexadecimal digits as there are at the beginning. */
function fromHex(text) {
  const pairs = /^(?:[0-9a-fA-F]{2})*/.exec(text)[0];
  const bytes = new Uint8Array(pairs.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(pairs.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** Bytes of any kind, or text in an encoding, as bytes. */
function bytesFrom(value, encoding, what) {
  if (typeof value === 'string') return encoded(value, encoding);
  const bytes = viewed(value);
  if (bytes !== undefined) return bytes;
  throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', `${what}: \`${textOf(value)}\` is neither a string nor bytes`);
}

class FastBuffer extends Uint8Array {
  toString(encoding, start = 0, end = this.length) {
    return decodedAs(within(this, start, end), encoding);
  }
  toLocaleString(encoding, start, end) {
    return this.toString(encoding, start, end);
  }
  toJSON() {
    return { type: 'Buffer', data: Array.from(this) };
  }
  equals(other) {
    return Buffer.compare(this, other) === 0;
  }
  compare(other, start = 0, end = other.length, ownStart = 0, ownEnd = this.length) {
    return Buffer.compare(within(this, ownStart, ownEnd), within(other, start, end));
  }
  copy(target, at = 0, start = 0, end = this.length) {
    const part = within(this, start, end).subarray(0, max(0, target.length - at));
    target.set(part, at);
    return part.length;
  }
  /** A view, not a copy: as Node has it, and unlike Uint8Array's own. */
  slice(start, end) {
    return this.subarray(start, end);
  }
  write(text, at = 0, length = undefined, encoding = undefined) {
    if (typeof at === 'string') return this.write(text, 0, undefined, at);
    if (typeof length === 'string') return this.write(text, at, undefined, length);
    const room = min(length ?? Infinity, this.length - at);
    let bytes = encoded(`${text}`, encoding);
    if (bytes.length > room) {
      const whole = room - (encodingOf(encoding) === 'utf8' ? unfinished('utf-8', bytes.subarray(0, room)) : 0);
      bytes = bytes.subarray(0, whole);
    }
    this.set(bytes, at);
    return bytes.length;
  }
  fill(value, start = 0, end = this.length, encoding = undefined) {
    if (typeof start === 'string') return this.fill(value, 0, this.length, start);
    if (typeof end === 'string') return this.fill(value, start, this.length, end);
    const pattern = typeof value === 'number' || typeof value === 'boolean' ? [value & 255] : bytesFrom(value, encoding, 'fill');
    for (let at = start; at < end; at++) this[at] = pattern.length === 0 ? 0 : pattern[(at - start) % pattern.length];
    return this;
  }
  indexOf(value, from = 0, encoding = undefined) {
    if (typeof value === 'number') return super.indexOf(value & 255, from);
    if (typeof from === 'string') return this.indexOf(value, 0, from);
    const wanted = bytesFrom(value, encoding, 'indexOf');
    for (let at = from < 0 ? max(0, this.length + from) : from; at + wanted.length <= this.length; at++) {
      if (startsWith(this, wanted, at)) return at;
    }
    return -1;
  }
  lastIndexOf(value, from = this.length, encoding = undefined) {
    if (typeof value === 'number') return super.lastIndexOf(value & 255, from);
    const wanted = bytesFrom(value, encoding, 'lastIndexOf');
    for (let at = min(from < 0 ? this.length + from : from, this.length - wanted.length); at >= 0; at--) {
      if (startsWith(this, wanted, at)) return at;
    }
    return -1;
  }
  includes(value, from, encoding) {
    return this.indexOf(value, from, encoding) >= 0;
  }
  swap16() {
    return swapped(this, 2);
  }
  swap32() {
    return swapped(this, 4);
  }
  swap64() {
    return swapped(this, 8);
  }
  get parent() {
    return this.buffer;
  }
  get offset() {
    return this.byteOffset;
  }
}

function within(bytes, start, end) {
  const [from, to] = [max(0, floor(Number(start) || 0)), min(bytes.length, floor(Number(end) || 0))];
  return from >= to ? new Uint8Array(0) : new Uint8Array(bytes.buffer, bytes.byteOffset + from, to - from);
}

function startsWith(bytes, wanted, at) {
  for (let step = 0; step < wanted.length; step++) if (bytes[at + step] !== wanted[step]) return false;
  return true;
}

function swapped(bytes, size) {
  if (bytes.length % size !== 0) throw coded(RangeError, 'ERR_INVALID_BUFFER_SIZE', `Buffer size must be a multiple of ${8 * size}-bits`);
  for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  return bytes;
}

/** The same memory as a Buffer. */
const asBuffer = (bytes) => new FastBuffer(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Callable without `new`, as old code does. */
function Buffer(value, encodingOrOffset, length) {
  return typeof value === 'number' ? Buffer.alloc(value) : Buffer.from(value, encodingOrOffset, length);
}
Buffer.prototype = FastBuffer.prototype;
defineProperty(Buffer.prototype, 'constructor', { value: Buffer, writable: true, configurable: true });
setPrototypeOf(Buffer, Uint8Array);

function bufferSize(size) {
  if (typeof size !== 'number') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', `The "size" argument must be of type number. Received ${inspect(size)}`);
  if (!(size >= 0 && size < 2 ** 31)) throw coded(RangeError, 'ERR_OUT_OF_RANGE', `The value of "size" is out of range. Received ${size}`);
  return size;
}

/** Functions rather than methods where Node has them: people write `new Buffer.from(…)`. */
const bufferStatics = {
  poolSize: 8192,
  from: function from(value, encodingOrOffset, length) {
    if (typeof value === 'string') return asBuffer(encoded(value, encodingOrOffset));
    if (value instanceof ArrayBuffer) return new FastBuffer(value, encodingOrOffset, length);
    if (isObject(value)) {
      if (ArrayBuffer.isView(value)) return asBuffer(Uint8Array.from(viewed(value.length === undefined ? value.buffer : value)));
      const own = typeof value.valueOf === 'function' ? value.valueOf() : value;
      if (own !== value && (isObject(own) || typeof own === 'string')) return Buffer.from(own, encodingOrOffset, length);
      if (value.type === 'Buffer' && isArray(value.data)) return asBuffer(Uint8Array.from(value.data));
      if (typeof value.length === 'number') return asBuffer(Uint8Array.from(value));
    }
    const kinds = 'The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object.';
    throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', `${kinds} Received ${inspect(value)}`);
  },
  alloc: function alloc(size, fill, encoding) {
    const buffer = new FastBuffer(bufferSize(size));
    return fill === undefined || fill === 0 ? buffer : buffer.fill(fill, 0, size, encoding);
  },
  allocUnsafe: (size) => new FastBuffer(bufferSize(size)),
  allocUnsafeSlow: (size) => new FastBuffer(bufferSize(size)),
  concat: function concat(list, length) {
    const whole = joined([...list]);
    if (length === undefined || length === whole.length) return asBuffer(whole);
    const buffer = Buffer.alloc(length);
    buffer.set(whole.subarray(0, length));
    return buffer;
  },
  byteLength(value, encoding) {
    return typeof value === 'string' ? encoded(value, encoding).length : bytesFrom(value, encoding, 'Buffer.byteLength').length;
  },
  compare(a, b) {
    const [left, right] = [bytesFrom(a, undefined, 'Buffer.compare'), bytesFrom(b, undefined, 'Buffer.compare')];
    for (let at = 0; at < min(left.length, right.length); at++) if (left[at] !== right[at]) return left[at] < right[at] ? -1 : 1;
    return Math.sign(left.length - right.length);
  },
  isBuffer: (value) => value instanceof FastBuffer,
  isEncoding: (name) => typeof name === 'string' && ENCODINGS[toLowerCase(name)] !== undefined,
};
for (const name of objectKeys(bufferStatics)) {
  defineProperty(Buffer, name, { value: bufferStatics[name], writable: true, configurable: true });
}
defineProperty(Buffer, Symbol.species, { get: () => FastBuffer, configurable: true });
