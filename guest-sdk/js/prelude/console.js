// The console: one line of the function's log for each call.
//
// Lines that are written while the file is loaded are kept and come first in the log of every call, as if the file had
// been loaded for it.

/** Lines kept from loading; the host's log has 64 for a whole call. */
const LOADING_LINES = 16;
const loadingLines = [];
let running = false;

function writeLine(level, text) {
  if (running) host.log(level, text);
  else if (loadingLines.length < LOADING_LINES) push(loadingLines, [level, slice(text, 0, 1024)]);
}

/** From here on lines go to the host. */
function startLog() {
  running = true;
}

let indent = '';
const counts = new Map();
const clocks = new Map();

const line = (level) => (...args) => writeLine(level, indent + formatted(args));

function milliseconds(label) {
  const began = clocks.get(label);
  if (began === undefined) {
    writeLine('warn', `${indent}console.time: there is no timer \`${label}\``);
    return undefined;
  }
  return `${label}: ${(host.monotonic() - began).toFixed(3)}ms`;
}

const console = {
  debug: line('debug'),
  log: line('info'),
  info: line('info'),
  warn: line('warn'),
  error: line('error'),
  trace: (...args) => writeLine('debug', `${indent}Trace: ${formatted(args)}`),
  table: line('info'),
  dir: (value, options) => writeLine('info', indent + inspect(value, options?.depth ?? 2)),
  dirxml: line('info'),
  assert: (condition, ...args) => {
    if (condition) return;
    const said = formatted(args);
    writeLine('error', `${indent}Assertion failed${said ? `: ${said}` : ''}`);
  },
  group: (...args) => {
    if (args.length > 0) writeLine('info', indent + formatted(args));
    if (indent.length < 20) indent += '  ';
  },
  groupEnd: () => {
    indent = indent.slice(2);
  },
  count: (label = 'default') => {
    counts.set(`${label}`, (counts.get(`${label}`) ?? 0) + 1);
    writeLine('info', `${indent}${label}: ${counts.get(`${label}`)}`);
  },
  countReset: (label = 'default') => {
    counts.delete(`${label}`);
  },
  time: (label = 'default') => {
    clocks.set(`${label}`, host.monotonic());
  },
  timeLog: (label = 'default', ...args) => {
    const said = milliseconds(`${label}`);
    if (said !== undefined) writeLine('info', `${indent}${[said, ...(args.length > 0 ? [formatted(args)] : [])].join(' ')}`);
  },
  timeEnd: (label = 'default') => {
    const said = milliseconds(`${label}`);
    if (said !== undefined) writeLine('info', indent + said);
    clocks.delete(`${label}`);
  },
};
console.groupCollapsed = console.group;
