// Request and Response, and the bodies of both.
//
// Bodies are whole: there are no streams, so `body` is the bytes and can be read once, like everything else here.

class FetchError extends Error {
  constructor(message, type, code) {
    super(message);
    this.name = 'FetchError';
    this.type = type;
    if (code !== undefined) this.code = this.errno = code;
  }
}
tag(FetchError);

class AbortError extends Error {
  constructor(message = 'The user aborted a request.') {
    super(message);
    this.name = 'AbortError';
    this.type = 'aborted';
  }
}
tag(AbortError);

/** A body's bytes and the content type that goes with its kind. */
function bodyOf(init) {
  if (init === undefined || init === null) return { bytes: null, type: null };
  const bytes = viewed(init);
  if (bytes !== undefined) return { bytes: bytes.slice(), type: null };
  if (init instanceof URLSearchParams) {
    return { bytes: utf8(init.toString()), type: 'application/x-www-form-urlencoded;charset=UTF-8' };
  }
  if (init instanceof FormData) {
    return { bytes: init.getBuffer(), type: `multipart/form-data;boundary=${init.getBoundary()}` };
  }
  if (init instanceof Blob) return { bytes: blobBytes(init), type: init.type || null };
  if (isObject(init) && `${init}` === '[object Object]') {
    writeLine('warn', 'the body of a request is an object, which is sent as `[object Object]`: use JSON.stringify');
  }
  return { bytes: utf8(`${init}`), type: 'text/plain;charset=UTF-8' };
}

let bytesOf;
let copyBody;
let use;
let textOfBody;

class Body {
  /** The bytes; `null` without a body; a number where the engine still has them, by that id. */
  #bytes;
  #used = false;

  static {
    bytesOf = (body) => {
      if (typeof body.#bytes === 'number') body.#bytes = new Uint8Array(host.receivedBody(body.#bytes));
      return body.#bytes;
    };
    copyBody = (body) => {
      if (body.#used) throw new Error('cannot clone body after it is used');
      return bytesOf(body) === null ? null : body.#bytes.slice();
    };
    use = (body) => {
      if (body.#used) throw new TypeError(`body used already for: ${body.url}`);
      body.#used = true;
    };
    textOfBody = (body) => {
      use(body);
      if (typeof body.#bytes === 'number') return host.receivedText(body.#bytes);
      return body.#bytes === null ? '' : fromUtf8(body.#bytes);
    };
  }
  constructor(bytes) {
    this.#bytes = bytes;
  }
  get body() {
    return bytesOf(this);
  }
  get bodyUsed() {
    return this.#used;
  }
  async text() {
    return textOfBody(this);
  }
  async json() {
    const text = textOfBody(this);
    try {
      return jsonParse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
    } catch (error) {
      throw new FetchError(`invalid json response body at ${this.url} reason: ${error.message}`, 'invalid-json');
    }
  }
  async arrayBuffer() {
    return taken(this).slice().buffer;
  }
  async bytes() {
    return taken(this).slice();
  }
  async buffer() {
    return asBuffer(taken(this).slice());
  }
  async blob() {
    return new Blob([taken(this)], { type: this.headers.get('content-type') ?? '' });
  }
}

/** The bytes of a body, which is used up by that. */
function taken(body) {
  use(body);
  return bytesOf(body) ?? new Uint8Array(0);
}

/** The absolute address of a request, or an error that says what a request needs. */
function addressOf(input) {
  const url = input instanceof URL ? input : parsed(`${isObject(input) && input.href ? input.href : input}`);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new TypeError('Only HTTP(S) protocols are supported');
  return url.href;
}

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    throw new TypeError('Only absolute URLs are supported');
  }
}

class Request extends Body {
  #url;
  #method;
  #headers;
  #redirect;
  #signal;

  constructor(input, init = {}) {
    init ??= {};
    const given = input instanceof Request ? input : undefined;
    const method = `${init.method || given?.method || 'GET'}`.toUpperCase();
    const hasBody = init.body !== undefined && init.body !== null;
    if ((hasBody || (given !== undefined && bytesOf(given) !== null)) && (method === 'GET' || method === 'HEAD')) {
      throw new TypeError('Request with GET/HEAD method cannot have body');
    }
    const { bytes, type } = hasBody || given === undefined ? bodyOf(init.body) : { bytes: copyBody(given), type: null };
    super(bytes);
    this.#url = given?.url ?? addressOf(input);
    this.#method = method;
    this.#headers = new Headers(init.headers || given?.headers);
    if (type !== null && !this.#headers.has('content-type')) this.#headers.append('Content-Type', type);
    this.#redirect = init.redirect || given?.redirect || 'follow';
    this.#signal = 'signal' in init ? init.signal : (given?.signal ?? null);
    if (this.#signal !== null && this.#signal !== undefined && !(this.#signal instanceof AbortSignal)) {
      throw new TypeError('Expected signal to be an instanceof AbortSignal');
    }
    this.follow = init.follow ?? given?.follow ?? 20;
    this.timeout = init.timeout ?? given?.timeout ?? 0;
  }
  get url() {
    return this.#url;
  }
  get method() {
    return this.#method;
  }
  get headers() {
    return this.#headers;
  }
  get redirect() {
    return this.#redirect;
  }
  get signal() {
    return this.#signal;
  }
  clone() {
    return new Request(this);
  }
}
tag(Request);

/** The reason phrases that servers commonly send; the host hands on only the number. */
const REASONS = {
  200: 'OK', 201: 'Created', 202: 'Accepted', 203: 'Non-Authoritative Information', 204: 'No Content',
  205: 'Reset Content', 206: 'Partial Content', 207: 'Multi-Status', 300: 'Multiple Choices', 301: 'Moved Permanently',
  302: 'Found', 303: 'See Other', 304: 'Not Modified', 307: 'Temporary Redirect', 308: 'Permanent Redirect',
  400: 'Bad Request', 401: 'Unauthorized', 402: 'Payment Required', 403: 'Forbidden', 404: 'Not Found',
  405: 'Method Not Allowed', 406: 'Not Acceptable', 407: 'Proxy Authentication Required', 408: 'Request Timeout',
  409: 'Conflict', 410: 'Gone', 411: 'Length Required', 412: 'Precondition Failed', 413: 'Payload Too Large',
  414: 'URI Too Long', 415: 'Unsupported Media Type', 416: 'Range Not Satisfiable', 417: 'Expectation Failed',
  421: 'Misdirected Request', 422: 'Unprocessable Entity', 423: 'Locked', 424: 'Failed Dependency', 425: 'Too Early',
  426: 'Upgrade Required', 428: 'Precondition Required', 429: 'Too Many Requests',
  431: 'Request Header Fields Too Large', 451: 'Unavailable For Legal Reasons', 500: 'Internal Server Error',
  501: 'Not Implemented', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported', 507: 'Insufficient Storage', 508: 'Loop Detected', 511: 'Network Authentication Required',
};

let restOf;

/** Only this file makes responses of what the host has received. */
const RECEIVED = Symbol('received');

/** A response of the host's: the engine has everything but the status until somebody asks. */
function received(status, id, redirected) {
  return new Response(RECEIVED, status, id, redirected);
}

class Response extends Body {
  #status;
  /** Everything else; the id of a received response until somebody asks. */
  #rest;
  #redirected;

  static {
    restOf = (response) => {
      if (typeof response.#rest === 'number') {
        const id = response.#rest;
        const statusText = REASONS[response.#status] ?? '';
        response.#rest = { statusText, headers: receivedHeaders(id), url: host.receivedUrl(id), type: 'default' };
      }
      return response.#rest;
    };
  }

  constructor(body, init = {}, id = undefined, redirected = false) {
    if (body === RECEIVED) {
      super(id);
      this.#status = init;
      this.#rest = id;
      this.#redirected = redirected;
      return;
    }
    init ??= {};
    const { bytes, type } = bodyOf(body);
    super(bytes);
    this.#status = init.status ?? 200;
    this.#redirected = Boolean(init.redirected);
    const headers = new Headers(init.headers);
    if (type !== null && !headers.has('content-type')) headers.append('Content-Type', type);
    const statusText = init.statusText ?? REASONS[this.#status] ?? '';
    this.#rest = { statusText, headers, url: init.url ?? '', type: 'default' };
  }
  static json(value, init = {}) {
    const response = new Response(jsonStringify(value), init);
    response.headers.set('content-type', new Headers(init?.headers).get('content-type') ?? 'application/json');
    return response;
  }
  static error() {
    const response = new Response(null, { status: 0 });
    response.#rest.type = 'error';
    return response;
  }
  static redirect(url, status = 302) {
    return new Response(null, { status, headers: { location: addressOf(url) } });
  }
  get status() {
    return this.#status;
  }
  get ok() {
    return this.#status >= 200 && this.#status < 300;
  }
  get statusText() {
    return restOf(this).statusText;
  }
  get headers() {
    return restOf(this).headers;
  }
  get url() {
    return restOf(this).url;
  }
  get redirected() {
    return this.#redirected;
  }
  get type() {
    return restOf(this).type;
  }
  clone() {
    const { statusText, headers, url } = restOf(this);
    return new Response(copyBody(this), { status: this.#status, statusText, headers, url, redirected: this.#redirected });
  }
}
tag(Response);
