// Blob, File and FormData: what a multipart body is made of.
//
// FormData is both the web's and the one of the npm package `form-data`, which published functions use: options for a
// file's name and type, `getHeaders`, `getBoundary`, `getBuffer`.

let blobBytes;

class Blob {
  #bytes;
  #type;

  static {
    blobBytes = (blob) => blob.#bytes;
  }
  constructor(parts = [], options = {}) {
    const bytes = [];
    for (const part of parts) bytes.push(part instanceof Blob ? part.#bytes : (viewed(part) ?? utf8(`${part}`)));
    this.#bytes = joined(bytes);
    this.#type = toLowerCase(`${options?.type ?? ''}`);
  }
  get size() {
    return this.#bytes.length;
  }
  get type() {
    return this.#type;
  }
  async text() {
    return fromUtf8(this.#bytes);
  }
  async arrayBuffer() {
    return this.#bytes.slice().buffer;
  }
  async bytes() {
    return this.#bytes.slice();
  }
  slice(start, end, type = '') {
    return new Blob([this.#bytes.slice(start, end)], { type });
  }
}
tag(Blob);

class File extends Blob {
  constructor(parts, name, options = {}) {
    super(parts, options);
    this.name = `${name}`;
    this.lastModified = options?.lastModified ?? 0;
  }
}
tag(File);

let formParts;

class FormData {
  /** {name, value: string or bytes, file: name of the file, type} */
  #parts = [];
  #boundary;

  static {
    formParts = (form) => form.#parts;
  }

  append(name, value, options) {
    this.#parts.push(partOf(`${name}`, value, options));
  }
  set(name, value, options) {
    const part = partOf(`${name}`, value, options);
    const at = this.#parts.findIndex((known) => known.name === `${name}`);
    this.#parts = this.#parts.filter((known, place) => place <= at || known.name !== `${name}`);
    if (at < 0) this.#parts.push(part);
    else this.#parts[at] = part;
  }
  delete(name) {
    this.#parts = this.#parts.filter((part) => part.name !== `${name}`);
  }
  get(name) {
    return this.getAll(name)[0] ?? null;
  }
  getAll(name) {
    return this.#parts.filter((part) => part.name === `${name}`).map(entryOf);
  }
  has(name) {
    return this.#parts.some((part) => part.name === `${name}`);
  }
  forEach(callback, self) {
    for (const [name, value] of this.entries()) callback.call(self, value, name, this);
  }
  *entries() {
    for (const part of this.#parts) yield [part.name, entryOf(part)];
  }
  *keys() {
    for (const part of this.#parts) yield part.name;
  }
  *values() {
    for (const part of this.#parts) yield entryOf(part);
  }

  getBoundary() {
    this.#boundary ??= `--------------------------${digits(24)}`;
    return this.#boundary;
  }
  setBoundary(boundary) {
    this.#boundary = `${boundary}`;
  }
  getHeaders(more = {}) {
    return { 'content-type': `multipart/form-data; boundary=${this.getBoundary()}`, ...more };
  }
  getBuffer() {
    const bytes = [];
    for (const part of this.#parts) {
      const file = part.file === undefined ? '' : `; filename="${inQuotes(part.file)}"`;
      const type = part.type === undefined ? '' : `Content-Type: ${part.type.replace(/[\r\n]/g, '')}\r\n`;
      const head = `--${this.getBoundary()}\r\nContent-Disposition: form-data; name="${inQuotes(part.name)}"${file}\r\n${type}\r\n`;
      bytes.push(utf8(head), typeof part.value === 'string' ? utf8(part.value) : part.value, utf8('\r\n'));
    }
    bytes.push(utf8(`--${this.getBoundary()}--\r\n`));
    return asBuffer(joined(bytes));
  }
  getLengthSync() {
    return this.getBuffer().length;
  }
}
FormData.prototype[Symbol.iterator] = FormData.prototype.entries;
tag(FormData);

function partOf(name, value, options) {
  const given = typeof options === 'string' ? { filename: options } : (options ?? {});
  const type = given.contentType === undefined ? undefined : `${given.contentType}`;
  const file = given.filename === undefined ? undefined : `${given.filename}`;
  if (value instanceof Blob) {
    return { name, value: blobBytes(value), file: file ?? value.name ?? 'blob', type: type ?? (value.type || 'application/octet-stream') };
  }
  const bytes = viewed(value);
  if (bytes === undefined) return { name, value: `${value}`, file, type };
  const ending = toLowerCase(/[^.]*$/.exec(file ?? '')[0]);
  return { name, value: bytes, file, type: type ?? FILE_TYPES[ending] ?? 'application/octet-stream' };
}

/** The type of a file that says none, by the ending of its name: those that partners' APIs take. */
const FILE_TYPES = Object.assign(Object.create(null), {
  csv: 'text/csv', txt: 'text/plain', html: 'text/html', xml: 'application/xml', json: 'application/json', pdf: 'application/pdf',
  png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif', zip: 'application/zip', gz: 'application/gzip',
});

function entryOf(part) {
  if (typeof part.value === 'string') return part.value;
  return new File([part.value], part.file ?? 'blob', { type: part.type });
}

/** As browsers and `form-data` write names: what would end the quotes or the line is escaped. */
const inQuotes = (text) => text.replaceAll('\r', '%0D').replaceAll('\n', '%0A').replaceAll('"', '%22');

function digits(count) {
  let text = '';
  for (const byte of new Uint8Array(host.random(count))) text += byte % 10;
  return text;
}
