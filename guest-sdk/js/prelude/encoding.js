// Bytes and text: atob, btoa, TextEncoder, TextDecoder, and what other families need to turn values into bytes.

/** The bytes of a string in UTF-8. */
const utf8 = (text) => new Uint8Array(host.encodeUtf8(text));

/** The text of bytes in UTF-8; what is not UTF-8 becomes U+FFFD. */
const fromUtf8 = (bytes) => host.decodeUtf8(bytes, false, true);

/** The bytes that a buffer or view shows, not copied; `undefined` for anything else. */
function viewed(value) {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (typeof SharedArrayBuffer === 'function' && value instanceof SharedArrayBuffer) return new Uint8Array(value);
  return undefined;
}

/** One array of all these. */
function joined(parts) {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** How many characters are made at once: as many arguments as a call may safely have. */
const CHUNK = 4096;

/** A character for each byte. */
function latin1(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += CHUNK) {
    text += fromCharCode.apply(undefined, bytes.subarray(at, at + CHUNK));
  }
  return text;
}

/** A byte for each character, its low eight bits. */
function fromLatin1(text) {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function utf16(bytes) {
  const units = new Array(bytes.length >> 1);
  for (let at = 0; at < units.length; at++) units[at] = bytes[2 * at] | (bytes[2 * at + 1] << 8);
  let text = '';
  for (let at = 0; at < units.length; at += CHUNK) text += fromCharCode.apply(undefined, units.slice(at, at + CHUNK));
  return text;
}

function fromUtf16(text) {
  const bytes = new Uint8Array(2 * text.length);
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    bytes[2 * at] = unit;
    bytes[2 * at + 1] = unit >> 8;
  }
  return bytes;
}

function btoa(text) {
  if (arguments.length === 0) throw new TypeError('btoa: the text to encode is missing');
  text = String(text);
  for (let at = 0; at < text.length; at++) {
    if (text.charCodeAt(at) > 255) {
      const why = 'btoa: the text has characters above U+00FF; encode it first: Buffer.from(text).toString("base64")';
      throw new DOMException(why, 'InvalidCharacterError');
    }
  }
  return host.base64Encode(fromLatin1(text));
}

function atob(text) {
  if (arguments.length === 0) throw new TypeError('atob: the text to decode is missing');
  const plain = String(text).replace(/[\t\n\f\r ]/g, '');
  const bare = plain.length % 4 === 0 ? plain.replace(/==?$/, '') : plain;
  if (bare.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(bare)) {
    throw new DOMException('atob: the text is not base64', 'InvalidCharacterError');
  }
  return latin1(new Uint8Array(host.base64Decode(bare, true)));
}

class TextEncoder {
  get encoding() {
    return 'utf-8';
  }
  encode(text = '') {
    return utf8(String(text));
  }
  encodeInto(text, into) {
    let at = 0;
    let units = 0;
    for (const character of String(text)) {
      const bytes = utf8(character);
      if (at + bytes.length > into.length) break;
      into.set(bytes, at);
      at += bytes.length;
      units += character.length;
    }
    return { read: units, written: at };
  }
}
tag(TextEncoder);

const LABELS = Object.assign(Object.create(null), {
  'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8',
  latin1: 'windows-1252', 'iso-8859-1': 'windows-1252', ascii: 'windows-1252', 'us-ascii': 'windows-1252',
  l1: 'windows-1252', 'windows-1252': 'windows-1252', cp1252: 'windows-1252',
  'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', 'ucs-2': 'utf-16le', unicode: 'utf-16le',
});

/** What windows-1252 has at 0x80 to 0x9f. */
const WINDOWS_1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #rest = new Uint8Array(0);
  #started = false;

  constructor(label = 'utf-8', options = {}) {
    const encoding = LABELS[toLowerCase(String(label)).trim()];
    if (encoding === undefined) {
      throw new RangeError(`TextDecoder: the encoding \`${label}\` is not among utf-8, latin1 and utf-16le`);
    }
    this.#encoding = encoding;
    this.#fatal = Boolean(options?.fatal);
    this.#ignoreBOM = Boolean(options?.ignoreBOM);
  }
  get encoding() {
    return this.#encoding;
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(input, options = {}) {
    const given = input === undefined ? new Uint8Array(0) : viewed(input);
    if (given === undefined) throw new TypeError('TextDecoder.decode: the input is neither a buffer nor a view');
    const stream = Boolean(options?.stream);
    let bytes = this.#rest.length === 0 ? given : joined([this.#rest, given]);
    const whole = stream ? bytes.length - unfinished(this.#encoding, bytes) : bytes.length;
    this.#rest = bytes.slice(whole);
    bytes = bytes.subarray(0, whole);
    let text = this.#text(bytes);
    if (!this.#ignoreBOM && !this.#started && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    this.#started = stream && (this.#started || bytes.length > 0);
    return text;
  }

  #text(bytes) {
    if (this.#encoding === 'utf-8') {
      try {
        return host.decodeUtf8(bytes, this.#fatal, true);
      } catch {
        throw coded(TypeError, 'ERR_ENCODING_INVALID_ENCODED_DATA', 'TextDecoder.decode: the input is not UTF-8');
      }
    }
    if (this.#encoding === 'utf-16le') return utf16(bytes) + (bytes.length % 2 === 1 ? '\ufffd' : '');
    return latin1(bytes).replace(/[\x80-\x9f]/g, (character) => WINDOWS_1252[character.charCodeAt(0) - 0x80]);
  }
}
tag(TextDecoder);

/** How many bytes at the end are the beginning of a character. */
function unfinished(encoding, bytes) {
  if (encoding === 'utf-16le') return bytes.length % 2;
  if (encoding !== 'utf-8') return 0;
  for (let back = 1; back <= min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? back : 0;
    }
  }
  return 0;
}
