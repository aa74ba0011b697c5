// What a destination function in JavaScript finds. Everything here is global: there is nothing to import.
//
// In an editor, the first line of a plain script takes these types:
//   /// <reference types="@tidegate/functions" />

export {};

declare global {
  /** Any value of JSON. */
  type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

  /** What a customer configured; the names are those of `function.toml`. */
  type Settings = { readonly [name: string]: any };

  /** What all events have. */
  interface CommonEvent {
    /** The client's id of this event: the same on every attempt, so it is the key for idempotency. */
    messageId: string;
    userId?: string | null;
    anonymousId?: string | null;
    /** When it happened, ISO 8601. */
    timestamp: string;
    originalTimestamp?: string;
    sentAt?: string;
    receivedAt: string;
    channel?: string;
    context?: { [key: string]: any } | null;
    integrations?: { [key: string]: any } | null;
    [key: string]: any;
  }

  /** Something a user did. */
  interface TrackEvent extends CommonEvent {
    type: 'track';
    event: string;
    properties?: { [key: string]: any };
  }
  /** Who a user is. */
  interface IdentifyEvent extends CommonEvent {
    type: 'identify';
    traits?: { [key: string]: any };
  }
  /** A web page that was viewed. */
  interface PageEvent extends CommonEvent {
    type: 'page';
    name?: string;
    category?: string;
    properties?: { [key: string]: any };
  }
  /** A screen of an app that was viewed. */
  interface ScreenEvent extends CommonEvent {
    type: 'screen';
    name?: string;
    properties?: { [key: string]: any };
  }
  /** The account or team that a user belongs to. */
  interface GroupEvent extends CommonEvent {
    type: 'group';
    groupId: string;
    traits?: { [key: string]: any };
  }
  /** Two ids that are the same user. */
  interface AliasEvent extends CommonEvent {
    type: 'alias';
    previousId: string;
  }
  /** A user whose data must be erased. */
  interface DeleteEvent extends CommonEvent {
    type: 'delete';
  }
  /** Any event; `type` says which. */
  type SegmentEvent = TrackEvent | IdentifyEvent | PageEvent | ScreenEvent | GroupEvent | AliasEvent | DeleteEvent;

  /** A handler such as `onTrack`. What it returns is not looked at; what it throws is. */
  type Handler<E extends CommonEvent = SegmentEvent> = (event: E, settings: Settings) => unknown;

  /** How one event of a batch ended. 408, 423, 429 and 5xx but 501 are tried again. */
  interface BatchAnswer {
    status: number;
    errormessage?: string;
  }
  /** `onBatch`: nothing, or one answer for each event in their order. */
  type BatchHandler = (events: SegmentEvent[], settings: Settings) => unknown | Promise<BatchAnswer[]>;

  /** What a setting may be: its value, or its value with what people read instead. */
  type Choice = string | { value: string; label?: string };
  /** `onChoices`: what a setting with `choices_from = "function"` may be. What is required may be missing in `settings`. */
  type ChoicesHandler = (setting: string, settings: Settings) => Choice[] | Promise<Choice[]>;

  /** This kind of event is not for this destination. Not tried again. */
  class EventNotSupported extends Error {}
  /** This event can never be accepted as it is. Not tried again. */
  class InvalidEventPayload extends Error {}
  /** The same by another name. */
  class ValidationError extends Error {}
  /** The partner cannot take it now. Tried again for four hours. */
  class RetryError extends Error {
    /** `afterMs`: how long to wait at least. */
    constructor(message?: string, options?: { afterMs?: number; cause?: unknown });
    afterMs?: number;
  }
  /** The customer's settings cannot work: a wrong key, a missing right. Not tried again. */
  class InvalidSettings extends Error {}
  /** For insert functions; in a destination it is an error like any other. */
  class DropEvent extends Error {}

  /** What this destination keeps for later events, in the host's memory. It may forget at any time. */
  const cache: {
    /** The value under `key`; where none is kept, the one that `fn` makes, kept for `ttl` milliseconds (-1: no end). */
    load<T>(key: string, ttl: number, fn: () => T | Promise<T>): Promise<T>;
    load<T>(key: string, fn: () => T | Promise<T>): Promise<T>;
    delete(key: string): void;
  };

  type HeadersInit = Headers | Iterable<readonly [string, string]> | { [name: string]: any };
  type BodyInit = string | ArrayBuffer | ArrayBufferView | URLSearchParams | FormData | Blob;

  class Headers {
    constructor(init?: HeadersInit | null);
    append(name: string, value: any): void;
    set(name: string, value: any): void;
    delete(name: string): void;
    get(name: string): string | null;
    getSetCookie(): string[];
    has(name: string): boolean;
    raw(): { [name: string]: string[] };
    forEach(callback: (value: string, name: string, headers: Headers) => void): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    [Symbol.iterator](): IterableIterator<[string, string]>;
  }

  interface RequestInit {
    /** In any case. */
    method?: string;
    headers?: HeadersInit;
    body?: BodyInit | null;
    redirect?: 'follow' | 'manual' | 'error';
    signal?: AbortSignal | null;
    /** Milliseconds; 0 for none. The call's own deadline holds in any case. */
    timeout?: number;
    /** How many redirects to follow, 20 if not said. */
    follow?: number;
  }

  /** What requests and responses share. A body can be read once. */
  class Body {
    readonly body: Uint8Array | null;
    readonly bodyUsed: boolean;
    text(): Promise<string>;
    json(): Promise<any>;
    arrayBuffer(): Promise<ArrayBuffer>;
    bytes(): Promise<Uint8Array>;
    buffer(): Promise<Buffer>;
    blob(): Promise<Blob>;
  }

  class Request extends Body {
    constructor(input: string | URL | Request, init?: RequestInit);
    readonly method: string;
    readonly url: string;
    readonly headers: Headers;
    readonly redirect: string;
    readonly signal: AbortSignal | null;
    clone(): Request;
  }

  class Response extends Body {
    constructor(body?: BodyInit | null, init?: { status?: number; statusText?: string; headers?: HeadersInit });
    static json(value: any, init?: { status?: number; headers?: HeadersInit }): Response;
    static error(): Response;
    static redirect(url: string | URL, status?: number): Response;
    readonly status: number;
    /** Whether the status is 200 to 299. */
    readonly ok: boolean;
    readonly statusText: string;
    readonly headers: Headers;
    readonly url: string;
    readonly redirected: boolean;
    readonly type: string;
    clone(): Response;
  }

  /** Sends a request through the host's gate, to origins that `function.toml` names. */
  function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;

  class URL {
    constructor(url: string | URL, base?: string | URL);
    static canParse(url: string | URL, base?: string | URL): boolean;
    static parse(url: string | URL, base?: string | URL): URL | null;
    href: string;
    readonly origin: string;
    protocol: string;
    username: string;
    password: string;
    host: string;
    hostname: string;
    port: string;
    pathname: string;
    search: string;
    hash: string;
    readonly searchParams: URLSearchParams;
    toString(): string;
    toJSON(): string;
  }

  class URLSearchParams {
    constructor(init?: string | URLSearchParams | Iterable<readonly [string, any]> | { [name: string]: any });
    readonly size: number;
    append(name: string, value: any): void;
    delete(name: string, value?: any): void;
    get(name: string): string | null;
    getAll(name: string): string[];
    has(name: string, value?: any): boolean;
    set(name: string, value: any): void;
    sort(): void;
    forEach(callback: (value: string, name: string, params: URLSearchParams) => void): void;
    entries(): IterableIterator<[string, string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    toString(): string;
    [Symbol.iterator](): IterableIterator<[string, string]>;
  }

  class Blob {
    constructor(parts?: Iterable<string | ArrayBuffer | ArrayBufferView | Blob>, options?: { type?: string });
    readonly size: number;
    readonly type: string;
    text(): Promise<string>;
    arrayBuffer(): Promise<ArrayBuffer>;
    bytes(): Promise<Uint8Array>;
    slice(start?: number, end?: number, type?: string): Blob;
  }
  class File extends Blob {
    constructor(parts: Iterable<string | ArrayBuffer | ArrayBufferView | Blob>, name: string, options?: { type?: string; lastModified?: number });
    readonly name: string;
    readonly lastModified: number;
  }

  /** The web's, and that of the package `form-data`. */
  class FormData {
    append(name: string, value: any, options?: string | { filename?: string; contentType?: string }): void;
    set(name: string, value: any, options?: string | { filename?: string; contentType?: string }): void;
    delete(name: string): void;
    get(name: string): string | File | null;
    getAll(name: string): (string | File)[];
    has(name: string): boolean;
    forEach(callback: (value: string | File, name: string, form: FormData) => void): void;
    entries(): IterableIterator<[string, string | File]>;
    getBoundary(): string;
    getHeaders(more?: { [name: string]: string }): { [name: string]: string };
    getBuffer(): Buffer;
    [Symbol.iterator](): IterableIterator<[string, string | File]>;
  }

  class AbortSignal {
    static abort(reason?: any): AbortSignal;
    static timeout(ms: number): AbortSignal;
    static any(signals: Iterable<AbortSignal>): AbortSignal;
    readonly aborted: boolean;
    readonly reason: any;
    onabort: ((event: any) => void) | null;
    throwIfAborted(): void;
    addEventListener(type: 'abort', listener: (event: any) => void, options?: { once?: boolean }): void;
    removeEventListener(type: 'abort', listener: (event: any) => void): void;
  }
  class AbortController {
    readonly signal: AbortSignal;
    abort(reason?: any): void;
  }

  class TextEncoder {
    readonly encoding: 'utf-8';
    encode(text?: string): Uint8Array;
    encodeInto(text: string, into: Uint8Array): { read: number; written: number };
  }
  class TextDecoder {
    constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
    readonly encoding: string;
    decode(input?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
  }
  function atob(text: string): string;
  function btoa(text: string): string;
  function structuredClone<T>(value: T): T;

  /**
   * A key that is the same whenever this event is sent for this purpose: on each attempt, by each version of the function, and in
   * Rust. It has the form of a UUID. Partners that know `Idempotency-Key` take a request with the same key once.
   */
  function idempotencyKey(event: { messageId: string }, purpose: string): string;

  /**
   * Which attempt at this event the call is, from 1. An attempt that this host itself could not make is not counted. Throws a
   * `TypeError` for what is not one of the events that the handler was called with.
   */
  function attemptOf(event: { messageId: string }): number;

  interface Timer {
    ref(): Timer;
    unref(): Timer;
    hasRef(): boolean;
    [Symbol.toPrimitive](): number;
  }
  function setTimeout<A extends any[]>(callback: (...args: A) => void, ms?: number, ...args: A): Timer;
  function setInterval<A extends any[]>(callback: (...args: A) => void, ms?: number, ...args: A): Timer;
  function setImmediate<A extends any[]>(callback: (...args: A) => void, ...args: A): object;
  function clearTimeout(timer?: Timer | number | null): void;
  function clearInterval(timer?: Timer | number | null): void;
  function clearImmediate(immediate?: object | null): void;
  function queueMicrotask(callback: () => void): void;

  /** Each call is one line of the function's log. */
  const console: {
    [method in 'debug' | 'log' | 'info' | 'warn' | 'error' | 'trace' | 'table' | 'group' | 'groupCollapsed']: (...args: any[]) => void;
  } & {
    dir(value: any, options?: { depth?: number }): void;
    assert(condition: any, ...args: any[]): void;
    groupEnd(): void;
    count(label?: string): void;
    countReset(label?: string): void;
    time(label?: string): void;
    timeLog(label?: string, ...args: any[]): void;
    timeEnd(label?: string): void;
  };

  type Encoding = 'utf8' | 'utf-8' | 'hex' | 'base64' | 'base64url' | 'latin1' | 'binary' | 'ascii' | 'utf16le' | 'ucs2';

  /** Node's bytes. Reading and writing of numbers (`readUInt32BE` …) is there too. */
  class Buffer extends Uint8Array {
    static from(value: string, encoding?: Encoding): Buffer;
    static from(value: ArrayBuffer, offset?: number, length?: number): Buffer;
    static from(value: ArrayLike<number> | Iterable<number> | { type: 'Buffer'; data: number[] }): Buffer;
    static alloc(size: number, fill?: string | number | Uint8Array, encoding?: Encoding): Buffer;
    static allocUnsafe(size: number): Buffer;
    static concat(list: Iterable<Uint8Array>, length?: number): Buffer;
    static byteLength(value: string | ArrayBuffer | ArrayBufferView, encoding?: Encoding): number;
    static compare(a: Uint8Array, b: Uint8Array): -1 | 0 | 1;
    static isBuffer(value: any): value is Buffer;
    static isEncoding(name: string): boolean;
    toString(encoding?: Encoding, start?: number, end?: number): string;
    toJSON(): { type: 'Buffer'; data: number[] };
    equals(other: Uint8Array): boolean;
    write(text: string, at?: number, length?: number, encoding?: Encoding): number;
    copy(target: Uint8Array, at?: number, start?: number, end?: number): number;
    [name: `read${string}`]: any;
    [name: `write${string}`]: any;
  }

  type Bytes = string | ArrayBuffer | ArrayBufferView;
  interface Hasher {
    update(data: Bytes, encoding?: Encoding): Hasher;
    digest(): Buffer;
    digest(encoding: Encoding): string;
    copy(): Hasher;
  }
  class CryptoKey {
    private constructor();
    readonly type: 'secret';
    readonly extractable: boolean;
    readonly usages: string[];
  }

  /** Node's `crypto` and the web's in one. Algorithms: md5, sha1, sha256, sha384, sha512. */
  const crypto: {
    createHash(algorithm: string): Hasher;
    createHmac(algorithm: string, key: Bytes): Hasher;
    getHashes(): string[];
    randomBytes(count: number): Buffer;
    randomFillSync<T extends ArrayBufferView>(view: T): T;
    randomInt(beyond: number): number;
    randomInt(least: number, beyond: number): number;
    randomUUID(): string;
    timingSafeEqual(a: ArrayBufferView, b: ArrayBufferView): boolean;
    getRandomValues<T extends ArrayBufferView>(view: T): T;
    subtle: {
      digest(algorithm: string | { name: string }, data: Bytes): Promise<ArrayBuffer>;
      importKey(format: 'raw' | 'jwk', data: any, algorithm: { name: 'HMAC'; hash: string | { name: string } }, extractable: boolean, usages: string[]): Promise<CryptoKey>;
      exportKey(format: 'raw', key: CryptoKey): Promise<ArrayBuffer>;
      sign(algorithm: string | { name: string }, key: CryptoKey, data: Bytes): Promise<ArrayBuffer>;
      verify(algorithm: string | { name: string }, key: CryptoKey, signature: Bytes, data: Bytes): Promise<boolean>;
    };
  };

  /** There is no environment; this is what code for Node touches in passing. */
  const process: {
    env: { [name: string]: string | undefined };
    argv: string[];
    nextTick(callback: (...args: any[]) => void, ...args: any[]): void;
    uptime(): number;
    hrtime: { (since?: [number, number]): [number, number]; bigint(): bigint };
  };
  const performance: { now(): number; readonly timeOrigin: number };
  const global: typeof globalThis;

  /** The common functions of lodash 4; `npm install --save-dev @types/lodash` has their types in full. */
  const _: { [name: string]: (...args: any[]) => any };
}
