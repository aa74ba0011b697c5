// What a function finds, and what the engine gets.

const GLOBALS = {
  EventNotSupported, InvalidEventPayload, ValidationError, RetryError, InvalidSettings, DropEvent, DOMException,
  setTimeout, clearTimeout, setInterval, clearInterval: clearTimeout, setImmediate, clearImmediate, queueMicrotask,
  console, URL, URLSearchParams, Event, EventTarget, AbortController, AbortSignal, Blob, File, FormData, Headers,
  Request, Response, fetch, atob, btoa, TextEncoder, TextDecoder, Buffer, crypto, CryptoKey,
  structuredClone, process, performance, cache, idempotencyKey, attemptOf, global, _: lodash,
};
for (const name of objectKeys(GLOBALS)) publish(name, GLOBALS[name]);

/**
 * Has the engine make now what it makes when somebody first looks at it: the functions of the language. Each call would
 * make them anew.
 */
function makeAll(value, depth) {
  if (!isObject(value) || depth === 0) return;
  const names = ownKeys(value);
  for (let at = 0; at < names.length; at++) makeAll(getOwnPropertyDescriptor(value, names[at]).value, depth - 1);
}
makeAll(global, 4);

return { loading, loaded, turn, batch, choices, settled, unhandled, endingOf, received, redirect, fetchError };
