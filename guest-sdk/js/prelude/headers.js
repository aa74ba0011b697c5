// Headers, as node-fetch 2 has them: any case goes in, names come out in lower case, values are joined with `, `.

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// eslint-disable-next-line no-control-regex
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

function headerName(name) {
  name = `${name}`;
  if (!TOKEN.test(name)) throw new TypeError(`${name} is not a legal HTTP header name`);
  return name;
}

function headerValue(value) {
  value = `${value}`;
  if (NOT_IN_VALUE.test(value)) throw new TypeError(`${value} is not a legal HTTP header value`);
  return value;
}

/** `[name, value]` of a list in which they take turns. */
function pairs(fields) {
  const list = [];
  for (let at = 0; at + 1 < fields.length; at += 2) push(list, [fields[at], fields[at + 1]]);
  return list;
}

/** The headers of a response. What is no legal header is left out, as node-fetch does. */
function receivedHeaders(id) {
  const fields = host.receivedHeaders(id);
  const legal = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    if (TOKEN.test(fields[at]) && !NOT_IN_VALUE.test(fields[at + 1])) push(legal, [fields[at], fields[at + 1]]);
  }
  return new Headers(legal);
}

/** The fields as the host takes them: `[name, value]`, one for each value, names as they were given. */
let headerFields;

class Headers {
  /** Name in lower case → {name as given, values}. */
  #fields = new Map();

  static {
    headerFields = (headers) => {
      const fields = [];
      headers.#fields.forEach(({ name, values }) => {
        for (const value of values) fields.push([name, value]);
      });
      return fields;
    };
  }

  constructor(init) {
    if (init === undefined || init === null) return;
    if (init instanceof Headers) {
      init.#fields.forEach(({ name, values }, key) => this.#fields.set(key, { name, values: [...values] }));
    } else if (!isObject(init)) {
      throw new TypeError('Provided initializer must be an object');
    } else if (init[Symbol.iterator] !== undefined && init[Symbol.iterator] !== null) {
      for (const pair of init) {
        const both = isObject(pair) ? [...pair] : [];
        if (both.length !== 2) throw new TypeError('Each header pair must be a name/value tuple');
        this.append(both[0], both[1]);
      }
    } else {
      for (const name of objectKeys(init)) this.append(name, init[name]);
    }
  }

  append(name, value) {
    const key = toLowerCase(headerName(name));
    const field = this.#fields.get(key);
    if (field === undefined) this.#fields.set(key, { name: `${name}`, values: [headerValue(value)] });
    else field.values.push(headerValue(value));
  }
  set(name, value) {
    const key = toLowerCase(headerName(name));
    this.#fields.set(key, { name: this.#fields.get(key)?.name ?? `${name}`, values: [headerValue(value)] });
  }
  delete(name) {
    this.#fields.delete(toLowerCase(headerName(name)));
  }
  get(name) {
    const field = this.#fields.get(toLowerCase(headerName(name)));
    return field === undefined ? null : field.values.join(', ');
  }
  getSetCookie() {
    return [...(this.#fields.get('set-cookie')?.values ?? [])];
  }
  has(name) {
    return this.#fields.has(toLowerCase(headerName(name)));
  }
  raw() {
    const all = {};
    for (const [key, { values }] of this.#fields) all[key] = [...values];
    return all;
  }
  forEach(callback, self) {
    for (const [name, value] of this.entries()) callback.call(self, value, name, this);
  }
  *entries() {
    for (const key of [...this.#fields.keys()].sort()) yield [key, this.get(key)];
  }
  *keys() {
    for (const [name] of this.entries()) yield name;
  }
  *values() {
    for (const [, value] of this.entries()) yield value;
  }
}
Headers.prototype[Symbol.iterator] = Headers.prototype.entries;
tag(Headers);
