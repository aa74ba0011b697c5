// Values as text for a person, as Node's console writes them, on one line.
//
// Bounded in depth, in items and in characters, so that logging a large or cyclic value costs little; getters are not
// run.

const INSPECT_ITEMS = 100;
/** More than the host keeps of all lines together. */
const INSPECT_CHARACTERS = 20_000;

function quoted(text) {
  const cut = text.length > INSPECT_CHARACTERS ? slice(text, 0, INSPECT_CHARACTERS) + '…' : text;
  const plain = jsonStringify(cut);
  const mark = !cut.includes("'") ? "'" : !cut.includes('"') ? '"' : !cut.includes('`') ? '`' : "'";
  const inner = slice(plain, 1, -1).replaceAll('\\"', '"');
  return mark + (mark === "'" ? inner.replaceAll("'", "\\'") : inner) + mark;
}

/** The value on one line; `depth` levels of what it holds. */
function inspect(value, depth = 2) {
  const state = { left: INSPECT_CHARACTERS, seen: [] };
  try {
    return shown(value, depth, state);
  } catch {
    return '[not readable]';
  }
}

function shown(value, depth, state) {
  const text = isObject(value) ? shownObject(value, depth, state) : shownPrimitive(value);
  state.left -= text.length;
  return text;
}

const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

function shownPrimitive(value) {
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'symbol') return value.toString();
  return Object.is(value, -0) ? '-0' : String(value);
}

function shownObject(value, depth, state) {
  if (state.seen.includes(value)) return '[Circular *1]';
  const name = className(value);
  const special = shownSpecial(value, name);
  const bare = special !== undefined && ownShown(value).length === 0;
  if (bare) return special;
  if (depth < 0) return isArray(value) ? '[Array]' : `[${name || 'Object: null prototype'}]`;
  state.seen.push(value);
  const text = shownItems(value, name, special, depth - 1, state);
  state.seen.pop();
  return text;
}

function className(value) {
  for (let at = value; at !== null; at = getPrototypeOf(at)) {
    const constructor = getOwnPropertyDescriptor(at, 'constructor')?.value;
    if (typeof constructor === 'function' && typeof constructor.name === 'string') return constructor.name;
  }
  return '';
}

/** What stands for the whole of a value that is more than its properties. */
function shownSpecial(value, name) {
  if (typeof value === 'function') {
    const isClass = /^class\b/.test(Function.prototype.toString.call(value));
    return `[${isClass ? 'class' : 'Function'}${value.name ? `${isClass ? '' : ':'} ${value.name}` : ' (anonymous)'}]`;
  }
  if (value instanceof NativeError) return shownError(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp) return String(value);
  if (value instanceof URL) return `URL { ${quoted(value.href)} }`;
  if (value instanceof URLSearchParams) return `URLSearchParams { ${quoted(value.toString())} }`;
  if (value instanceof Headers) return `Headers ${inspect(value.raw())}`;
  if (value instanceof Response) return `Response { status: ${value.status}, url: ${quoted(value.url)} }`;
  if (value instanceof Request) return `Request { method: ${quoted(value.method)}, url: ${quoted(value.url)} }`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
  if (value instanceof NativePromise) return 'Promise { … }';
  if (value instanceof WeakMap || value instanceof WeakSet) return `${name} { <items unknown> }`;
  if (value instanceof Buffer) return shownBuffer(value);
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return `[${name}: ${shownPrimitive(value.valueOf())}]`;
  }
  return undefined;
}

function shownError(error) {
  const name = textOf(read(error, 'name')) || 'Error';
  const message = textOf(read(error, 'message'));
  const cause = getOwnPropertyDescriptor(error, 'cause')?.value;
  const code = getOwnPropertyDescriptor(error, 'code')?.value;
  const head = `${name}${message ? `: ${message}` : ''}${placeOf(error)}`;
  const more = [];
  if (typeof code === 'string') more.push(`code: ${quoted(code)}`);
  if (cause !== undefined) more.push(`[cause]: ${inspect(cause, 1)}`);
  return more.length === 0 ? head : `${head} { ${more.join(', ')} }`;
}

function shownBuffer(bytes) {
  const first = [];
  for (let at = 0; at < min(bytes.length, 50); at++) first.push((bytes[at] < 16 ? '0' : '') + bytes[at].toString(16));
  const more = bytes.length > 50 ? ` ... ${bytes.length - 50} more bytes` : '';
  return `<Buffer${first.length > 0 ? ' ' : ''}${first.join(' ')}${more}>`;
}

/** The properties that are shown beside what `shownSpecial` says. */
function ownShown(value) {
  if (value instanceof NativeError || typeof value === 'string' || value instanceof String || value instanceof Buffer) return [];
  return objectKeys(value);
}

function shownItems(value, name, special, depth, state) {
  const items = [];
  let total = 0;
  const add = (make) => {
    total++;
    if (items.length < INSPECT_ITEMS && state.left > 0) items.push(make());
  };
  const list = isArray(value) || ArrayBuffer.isView(value);
  if (list) {
    for (let at = 0; at < value.length && at <= INSPECT_ITEMS; at++) {
      add(() => (hasOwn(value, at) ? shown(value[at], depth, state) : '<empty>'));
    }
    total = value.length ?? 0;
  } else if (value instanceof Map) {
    value.forEach((item, key) => add(() => `${shown(key, depth, state)} => ${shown(item, depth, state)}`));
  } else if (value instanceof Set) {
    value.forEach((item) => add(() => shown(item, depth, state)));
  }
  if (!list || isArray(value)) {
    for (const key of objectKeys(value)) {
      if (!(list && /^\d+$/.test(key))) add(() => `${/^[\w$]+$/.test(key) ? key : quoted(key)}: ${shownProperty(value, key, depth, state)}`);
      else if (Number(key) >= INSPECT_ITEMS) break;
    }
  }
  if (total > items.length) items.push(`... ${total - items.length} more items`);
  const [open, close] = isArray(value) || ArrayBuffer.isView(value) ? '[]' : '{}';
  const sized = ArrayBuffer.isView(value) ? `${name}(${value.length ?? value.byteLength}) ` : value instanceof Map || value instanceof Set ? `${name}(${value.size}) ` : '';
  const prefix = special !== undefined ? `${special} ` : sized || (name === 'Object' || name === 'Array' ? '' : `${name || '[Object: null prototype]'} `);
  return items.length === 0 ? `${prefix}${open}${close}` : `${prefix}${open} ${items.join(', ')} ${close}`;
}

function shownProperty(value, key, depth, state) {
  const property = getOwnPropertyDescriptor(value, key);
  if (property === undefined || 'value' in property) return shown(property?.value, depth, state);
  return property.get === undefined ? '[Setter]' : property.set === undefined ? '[Getter]' : '[Getter/Setter]';
}

/** The arguments of one call of the console as one line, with `%s` and its like filled in. */
function formatted(args) {
  let text = '';
  let next = 0;
  if (typeof args[0] === 'string') {
    next = 1;
    text = args[0].replace(/%[sdifjoOc%]/g, (mark) => {
      if (mark === '%%') return args.length === 1 ? '%%' : '%';
      if (next >= args.length) return mark;
      return filled(mark, args[next++]);
    });
  }
  for (; next < args.length; next++) {
    const value = args[next];
    text += (next === 0 ? '' : ' ') + (typeof value === 'string' ? value : inspect(value));
    if (text.length > INSPECT_CHARACTERS) break;
  }
  return slice(text, 0, INSPECT_CHARACTERS);
}

function filled(mark, value) {
  switch (mark) {
    case '%s':
      return typeof value === 'string' ? value : isObject(value) ? inspect(value, 0) : shownPrimitive(value);
    case '%d':
      return isObject(value) || typeof value === 'symbol' ? 'NaN' : typeof value === 'bigint' ? `${value}n` : String(Number(value));
    case '%i':
      return isObject(value) || typeof value === 'symbol' ? 'NaN' : String(Number.parseInt(value, 10));
    case '%f':
      return typeof value === 'symbol' ? 'NaN' : String(Number.parseFloat(value));
    case '%j':
      return jsonText(value);
    case '%c':
      return '';
    default:
      return inspect(value, 4);
  }
}

function jsonText(value) {
  try {
    return String(jsonStringify(value));
  } catch {
    return '[Circular]';
  }
}
