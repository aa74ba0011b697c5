// fetch, as node-fetch 2.6 has it, through the host's gate.
//
// The host follows no redirect. They are followed here, request by request, so that the gate decides about every hop.
//
// Nearly every request is an address, plain headers and a text. The engine makes those itself (`host.fetch`), without
// the objects that the Web's standard describes them by, and comes back here only for what is special.

/** The host's kinds of error → what node-fetch's errors look like to code that reads `type` and `code`. */
const FETCH_ERRORS = Object.assign(Object.create(null), {
  denied: ['denied', 'EACCES'],
  dns: ['system', 'ENOTFOUND'],
  connect: ['system', 'ECONNREFUSED'],
  tls: ['system', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  timeout: ['request-timeout', 'ETIMEDOUT'],
  protocol: ['system', 'EPROTO'],
  'too-large': ['max-size', undefined],
  limit: ['limit', 'EMFILE'],
});

function fetchError(url, kind, message) {
  if (kind === 'invalid-request') return new TypeError(message);
  const [type, code] = FETCH_ERRORS[kind] ?? ['system', undefined];
  return new FetchError(`request to ${url} failed, reason: ${message}`, type, code);
}

/** One request as the host takes it. User and password in an address become the header that they mean. */
function outgoing(request) {
  const url = new URL(request.url);
  const headers = new Headers(request.headers);
  if (!headers.has('accept')) headers.set('Accept', '*/*');
  if ((url.username || url.password) && !headers.has('authorization')) {
    const user = `${decoded(url.username)}:${decoded(url.password)}`;
    headers.set('Authorization', `Basic ${host.base64Encode(utf8(user))}`);
  }
  url.username = '';
  url.password = '';
  url.hash = '';
  return { method: request.method, url: url.href, headers: headerFields(headers), body: bytesOf(request) ?? undefined };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function fetch(input, init) {
  try {
    if (typeof input === 'string' && (init === undefined || typeof init === 'object')) {
      const { method, body, headers, redirect, signal, follow, timeout } = init ?? {};
      if (isSimple(body, redirect, signal, follow, timeout)) {
        const promise = host.fetch(input, method, headers, body);
        if (promise !== undefined) return promise;
      }
      init = { method, body, headers, redirect, signal, follow, timeout };
    }
  } catch (thrown) {
    return failed(thrown);
  }
  return request(input, init);
}

/** Whether a request is one that the engine can make itself, as far as these go. */
function isSimple(body, redirect, signal, follow, timeout) {
  return (
    (typeof body === 'string' || body === undefined || body === null) && (redirect === undefined || redirect === 'follow') &&
    (signal === undefined || signal === null) && follow === undefined && timeout === undefined
  );
}

async function failed(thrown) {
  throw thrown;
}

async function request(input, init) {
  const first = new Request(input, init);
  return follow(first, await exchange(first, outgoing(first)));
}

/** The response at the end of the redirects, of which the answer may be the first. */
async function follow(request, answer) {
  for (let hops = 0; ; hops++) {
    const next = REDIRECTS.has(answer.status) ? redirected(request, answer, hops) : undefined;
    if (next === undefined) return received(answer.status, answer.id, hops > 0);
    request = next;
    answer = await exchange(request, outgoing(request));
  }
}

/** Goes on where the engine's own request was answered with a redirect. */
function redirect(method, url, fields, body, status, id) {
  return follow(new Request(url, { method, headers: pairs(fields), body }), { status, id });
}

/** Starts a request; the promise settles when the engine knows its end, or when the signal or the time gives it up. */
function exchange(request, sent) {
  return new NativePromise((resolve, reject) => {
    const { signal, timeout } = request;
    if (signal?.aborted) throw new AbortError();
    let timer;
    const finish = () => {
      if (timer !== undefined) clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const handle = host.start(sent.method, sent.url, sent.headers, sent.body, (status, id, kind, message) => {
      finish();
      if (kind === undefined) resolve({ status, id });
      else reject(fetchError(sent.url, kind, message));
    });
    const giveUp = (error) => {
      finish();
      host.cancel(handle);
      reject(error);
    };
    const onAbort = () => giveUp(new AbortError());
    signal?.addEventListener('abort', onAbort);
    if (timeout > 0) {
      timer = setTimeout(() => giveUp(new FetchError(`network timeout at: ${sent.url}`, 'request-timeout')), timeout);
    }
  });
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Headers that must not reach another host than the one they were meant for. */
const PRIVATE_HEADERS = ['authorization', 'www-authenticate', 'cookie', 'cookie2'];

/** The request that a redirect asks for; `undefined` where the function wants the redirect itself. */
function redirected(request, answer, hops) {
  const { status } = answer;
  const location = receivedHeaders(answer.id).get('location');
  if (request.redirect === 'error') {
    throw new FetchError(`uri requested responds with a redirect, redirect mode is set to error: ${request.url}`, 'no-redirect');
  }
  if (request.redirect === 'manual' || location === null) return undefined;
  if (hops >= request.follow) throw new FetchError(`maximum redirect reached at: ${request.url}`, 'max-redirect');
  if (!URL.canParse(location, request.url)) {
    throw new FetchError(`uri requested responds with an invalid redirect URL: ${location}`, 'invalid-redirect');
  }
  const from = new URL(request.url);
  const to = new URL(location, request.url);
  const headers = new Headers(request.headers);
  const sameOrBelow = to.host === from.host || to.host.endsWith(`.${from.host}`);
  if (!sameOrBelow || to.protocol !== from.protocol) for (const name of PRIVATE_HEADERS) headers.delete(name);
  const asGet = status === 303 || ((status === 301 || status === 302) && request.method === 'POST');
  if (asGet) for (const name of ['content-length', 'content-type']) headers.delete(name);
  return new Request(to.href, {
    method: asGet ? 'GET' : request.method,
    body: asGet ? null : bytesOf(request),
    headers,
    redirect: request.redirect,
    signal: request.signal,
    follow: request.follow,
    timeout: request.timeout,
  });
}
fetch.isRedirect = (status) => REDIRECTS.has(status);
