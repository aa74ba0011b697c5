// What a function finds, and what the engine gets.

const GLOBALS = {
  EventNotSupported, InvalidEventPayload, ValidationError, RetryError, InvalidSettings, DropEvent, DOMException,
  setTimeout, clearTimeout, setInterval, clearInterval: clearTimeout, setImmediate, clearImmediate, queueMicrotask,
  console, URL, URLSearchParams, Event, EventTarget, AbortController, AbortSignal, Blob, File, FormData, Headers,
  Request, Response, fetch, atob, btoa, TextEncoder, TextDecoder, Buffer, crypto, CryptoKey,
  structuredClone, process, performance, cache, global, _: lodash,
};
for (const name of objectKeys(GLOBALS)) publish(name, GLOBALS[name]);

return { dispatch, pump, unhandled, handlers, endingOf };
