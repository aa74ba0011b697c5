// URL, parsed by the host's own kind of parser, and URLSearchParams.

const PART_NAMES = ['protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash'];

class URL {
  #parts;
  #query;

  constructor(url, base) {
    const parts = host.parseUrl(`${url}`, base === undefined ? undefined : `${base}`);
    if (parts === undefined) {
      const error = coded(TypeError, 'ERR_INVALID_URL', 'Invalid URL');
      error.input = `${url}`;
      throw error;
    }
    this.#parts = parts;
    this.#query = linked(parts.search, (search) => {
      this.#parts = host.setUrl(this.#parts.href, 'search', search);
    });
  }

  static canParse(url, base) {
    return host.parseUrl(`${url}`, base === undefined ? undefined : `${base}`) !== undefined;
  }
  static parse(url, base) {
    return URL.canParse(url, base) ? new URL(url, base) : null;
  }

  get href() {
    return this.#parts.href;
  }
  set href(href) {
    this.#become(new URL(href).#parts);
  }
  get origin() {
    return this.#parts.origin;
  }
  get searchParams() {
    return this.#query;
  }
  toString() {
    return this.#parts.href;
  }
  toJSON() {
    return this.#parts.href;
  }

  static part(url, name) {
    return url.#parts[name];
  }
  static setPart(url, name, value) {
    url.#become(host.setUrl(url.#parts.href, name, `${value}`));
  }
  #become(parts) {
    this.#parts = parts;
    relink(this.#query, parts.search);
  }
}
tag(URL);
{
  const { part, setPart } = URL;
  delete URL.part;
  delete URL.setPart;
  for (const name of PART_NAMES) {
    defineProperty(URL.prototype, name, {
      get() {
        return part(this, name);
      },
      set(value) {
        setPart(this, name, value);
      },
      enumerable: true,
      configurable: true,
    });
  }
}

/** Text in a form's encoding: what is not a letter, digit or `*-._` in hexadecimal, spaces as `+`. */
function formEncoded(text) {
  if (/^[A-Za-z0-9*\-._]*$/.test(text)) return text;
  let encoded = '';
  for (const byte of utf8(text)) {
    const character = fromCharCode(byte);
    if (byte === 0x20) encoded += '+';
    else if (/[A-Za-z0-9*\-._]/.test(character)) encoded += character;
    else encoded += `%${byte < 16 ? '0' : ''}${byte.toString(16).toUpperCase()}`;
  }
  return encoded;
}

function formDecoded(text) {
  const spaced = text.replaceAll('+', ' ');
  if (!spaced.includes('%')) return spaced;
  const bytes = utf8(spaced);
  let length = 0;
  for (let at = 0; at < bytes.length; at++) {
    let byte = bytes[at];
    if (byte === 0x25) {
      const pair = latin1(bytes.subarray(at + 1, at + 3));
      if (/^[0-9a-fA-F]{2}$/.test(pair)) {
        byte = Number.parseInt(pair, 16);
        at += 2;
      }
    }
    bytes[length++] = byte;
  }
  return fromUtf8(bytes.subarray(0, length));
}

function parsePairs(text) {
  const pairs = [];
  for (const piece of text.split('&')) {
    if (piece === '') continue;
    const at = piece.indexOf('=');
    const [name, value] = at < 0 ? [piece, ''] : [piece.slice(0, at), piece.slice(at + 1)];
    pairs.push([formDecoded(name), formDecoded(value)]);
  }
  return pairs;
}

/** The parameters of a URL, which follow it and which it follows. */
let linked;
let relink;

class URLSearchParams {
  #pairs = [];
  #changed = () => {};

  static {
    linked = (search, changed) => {
      const params = new URLSearchParams(search);
      params.#changed = () => {
        const text = params.toString();
        changed(text === '' ? '' : `?${text}`);
      };
      return params;
    };
    relink = (params, search) => {
      params.#pairs = new URLSearchParams(search).#pairs;
    };
  }

  constructor(init = '') {
    if (isObject(init)) {
      if (init instanceof URLSearchParams) this.#pairs = init.#pairs.map(([name, value]) => [name, value]);
      else if (typeof init[Symbol.iterator] === 'function') {
        for (const pair of init) {
          const both = [...pair];
          if (both.length !== 2) throw coded(TypeError, 'ERR_INVALID_TUPLE', 'URLSearchParams: each item must be a name and a value');
          this.#pairs.push([`${both[0]}`, `${both[1]}`]);
        }
      } else for (const name of objectKeys(init)) this.#pairs.push([name, `${init[name]}`]);
    } else {
      const text = `${init}`;
      this.#pairs = parsePairs(text.startsWith('?') ? text.slice(1) : text);
    }
  }

  get size() {
    return this.#pairs.length;
  }
  append(name, value) {
    this.#pairs.push([`${name}`, `${value}`]);
    this.#changed();
  }
  delete(name, value) {
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== `${name}` || (value !== undefined && pair[1] !== `${value}`));
    this.#changed();
  }
  get(name) {
    return this.#pairs.find((pair) => pair[0] === `${name}`)?.[1] ?? null;
  }
  getAll(name) {
    return this.#pairs.filter((pair) => pair[0] === `${name}`).map((pair) => pair[1]);
  }
  has(name, value) {
    return this.#pairs.some((pair) => pair[0] === `${name}` && (value === undefined || pair[1] === `${value}`));
  }
  set(name, value) {
    const first = this.#pairs.find((pair) => pair[0] === `${name}`);
    if (first === undefined) this.#pairs.push([`${name}`, `${value}`]);
    else {
      first[1] = `${value}`;
      this.#pairs = this.#pairs.filter((pair) => pair === first || pair[0] !== `${name}`);
    }
    this.#changed();
  }
  sort() {
    this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#changed();
  }
  forEach(callback, self) {
    for (const [name, value] of this.#pairs) callback.call(self, value, name, this);
  }
  *entries() {
    for (let at = 0; at < this.#pairs.length; at++) yield [this.#pairs[at][0], this.#pairs[at][1]];
  }
  *keys() {
    for (const [name] of this.entries()) yield name;
  }
  *values() {
    for (const [, value] of this.entries()) yield value;
  }
  toString() {
    return this.#pairs.map(([name, value]) => `${formEncoded(name)}=${formEncoded(value)}`).join('&');
  }
}
URLSearchParams.prototype[Symbol.iterator] = URLSearchParams.prototype.entries;
tag(URLSearchParams);
