// Runs one call of a function as Node would, with the real node-fetch, lodash and form-data.
//
// Reads {"source", "settings", "call"} from standard input; writes what was requested and how it ended.
const { createRequire } = require('node:module');
const vm = require('node:vm');
const crypto = require('node:crypto');

const need = createRequire(`${process.cwd()}/`);
const nodeFetch = need('node-fetch');
const _ = need('lodash');
const FormData = need('form-data');

const ERRORS = ['EventNotSupported', 'InvalidEventPayload', 'ValidationError', 'RetryError', 'InvalidSettings', 'DropEvent'];

/** A fetch that records the request as node-fetch understands it, and answers from the list. */
function recorder(answers, requests) {
  return async (input, init) => {
    if (init?.signal?.aborted) return nodeFetch(input, init);
    const request = new nodeFetch.Request(input, init);
    const known = { method: request.method, url: new URL(request.url), headers: [...request.headers] };
    if (!/^https?:$/.test(known.url.protocol) || !/^https?:/i.test(String(input.url ?? input))) return nodeFetch(input, init);
    known.url.hash = '';
    known.url = known.url.href;
    requests.push(known);
    const answer = answers.shift() ?? { status: 200, body: '{}' };
    // `form-data` is a stream that only begins when it is piped.
    const form = init?.body instanceof FormData;
    known.body = (form ? init.body.getBuffer() : await request.buffer()).toString('latin1');
    return new nodeFetch.Response(answer.body ?? '', { ...answer, statusText: undefined, url: known.url });
  };
}

function makeCache() {
  const kept = new Map();
  return {
    load: async (key, ttl, fn) => {
      if (!kept.has(key)) kept.set(key, fn());
      return kept.get(key);
    },
    delete: (key) => kept.delete(key),
  };
}

function globals(answers, requests) {
  const quiet = new Proxy({}, { get: () => () => undefined });
  const fetched = { Headers: nodeFetch.Headers, Request: nodeFetch.Request, Response: nodeFetch.Response };
  return { fetch: recorder(answers, requests), ...fetched, FormData, _, crypto, console: quiet, cache: makeCache() };
}

const CLASSES = ERRORS.map((name) => `globalThis.${name} = class ${name} extends Error { name = '${name}' };`).join('\n');

async function run(source, call, settings) {
  const requests = [];
  for (const [name, value] of Object.entries(globals([...(call.answers ?? [])], requests))) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  }
  vm.runInThisContext(CLASSES);
  vm.runInThisContext(source, { filename: 'function.js' });
  const handler = vm.runInThisContext(`typeof ${call.handler} === 'function' ? ${call.handler} : undefined`);
  const count = call.events?.length ?? 1;
  if (handler === undefined) return { requests, endings: Array(count).fill('unsupported') };
  try {
    const answer = await handler(call.event ?? call.events, { ...settings, ...call.settings });
    return { requests, endings: call.events && Array.isArray(answer) ? answer.map(meaning) : Array(count).fill('delivered') };
  } catch (error) {
    return { requests, endings: Array(count).fill(ending(error)) };
  }
}

/** What an error means to the platform, by its name. */
function ending(error) {
  switch (error?.name) {
    case 'EventNotSupported':
      return 'unsupported';
    case 'InvalidEventPayload':
    case 'ValidationError':
      return `rejected: ${error.message}`;
    case 'RetryError':
      return `retry: ${error.message}`;
    case 'InvalidSettings':
      return `invalid settings: ${error.message}`;
    default:
      return `failed: ${error?.name ?? 'Error'}`;
  }
}

/** The same for one element of what `onBatch` returns. */
function meaning({ status, errormessage }) {
  if (status < 300) return 'delivered';
  const again = [408, 423, 429].includes(status) || (status >= 500 && status !== 501);
  return `${again ? 'retry' : 'rejected'}: ${errormessage}`;
}

async function main() {
  let input = '';
  for await (const piece of process.stdin) input += piece;
  const { source, settings, call } = JSON.parse(input);
  process.stdout.write(JSON.stringify(await run(source, call, settings)));
}

main();
