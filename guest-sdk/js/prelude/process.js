// process: only what code that was written for Node touches in passing. There is no environment here.

const process = {
  env: {},
  argv: [],
  nextTick(callback, ...args) {
    if (typeof callback !== 'function') throw coded(TypeError, 'ERR_INVALID_ARG_TYPE', 'process.nextTick: the callback is not a function');
    queueMicrotask(() => callback(...args));
  },
  uptime: () => host.monotonic() / 1000,
  hrtime: (since) => {
    const now = host.monotonic();
    const [seconds, nanoseconds] = [floor(now / 1000), floor((now % 1000) * 1e6)];
    if (since === undefined) return [seconds, nanoseconds];
    const carry = nanoseconds < since[1];
    return [seconds - since[0] - (carry ? 1 : 0), nanoseconds - since[1] + (carry ? 1e9 : 0)];
  },
  emitWarning: (warning) => writeLine('warn', formatted([warning])),
  on: () => process,
  once: () => process,
};
process.hrtime.bigint = () => BigInt(floor(host.monotonic() * 1e6));

const performance = {
  now: () => host.monotonic(),
  get timeOrigin() {
    return host.now() - host.monotonic();
  },
};
