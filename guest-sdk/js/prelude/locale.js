// Dates, numbers and order as people write them: what Node makes of them in American English and UTC, which is how hosts
// for functions run it. The tables of other languages and time zones are not here; whoever asks for them is told so in the
// log, and gets these.

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Currencies with a sign of their own in American English; the others are written with their code. */
const SIGNS = Object.assign(Object.create(null), {
  USD: '$', EUR: '€', GBP: '£', JPY: '¥', CAD: 'CA$', AUD: 'A$', NZD: 'NZ$', MXN: 'MX$', BRL: 'R$', CNY: 'CN¥', INR: '₹',
  KRW: '₩', ILS: '₪', VND: '₫', HKD: 'HK$', TWD: 'NT$',
});
const WITHOUT_CENTS = new Set(['JPY', 'KRW', 'VND', 'CLP', 'ISK', 'UGX', 'XAF', 'XOF', 'PYG']);

let toldOfLocale = false;

/** Says once a call that nothing but American English and UTC is here. */
function onlyHere(locales, options) {
  const asked = isArray(locales) ? locales[0] : locales;
  const zone = options?.timeZone;
  const known = asked === undefined || asked === 'en-US' || asked === 'en';
  if (toldOfLocale || (known && (zone === undefined || /^(?:Etc\/)?(?:UTC|GMT)$/i.test(zone)))) return;
  toldOfLocale = running;
  const what = known ? `the time zone ${textOf(zone)}` : `the locale ${textOf(asked)}`;
  writeLine('warn', `${what} is not known here: dates and numbers are written in en-US and UTC; bundle a library for others`);
}

const two = (number) => `${number}`.padStart(2, '0');

/** The options with what each method adds where they name no part of what it writes. */
function dateOptions(options, wanted, added) {
  const own = { ...options };
  const styles = { full: ['long', 'long'], long: [undefined, 'long'], medium: [undefined, 'short'], short: [undefined, 'numeric'] };
  if (own.dateStyle !== undefined) {
    const [weekday, month] = styles[own.dateStyle] ?? styles.medium;
    return dateOptions({ ...own, dateStyle: undefined, weekday, month, day: 'numeric', year: own.dateStyle === 'short' ? '2-digit' : 'numeric' }, [], []);
  }
  if (own.timeStyle !== undefined) {
    const zone = own.timeStyle === 'full' || own.timeStyle === 'long' ? 'short' : undefined;
    const second = own.timeStyle === 'short' ? undefined : 'numeric';
    return { ...own, hour: 'numeric', minute: 'numeric', second, timeZoneName: zone };
  }
  if (!wanted.some((part) => own[part] !== undefined)) for (const part of added) own[part] = 'numeric';
  return own;
}

function dateText(date, { weekday, year, month, day }) {
  const name = weekday && (weekday === 'long' ? WEEKDAYS[date.getUTCDay()] : WEEKDAYS[date.getUTCDay()].slice(0, 3));
  const years = year && (year === '2-digit' ? two(date.getUTCFullYear() % 100) : `${date.getUTCFullYear()}`);
  const days = day && (day === '2-digit' ? two(date.getUTCDate()) : `${date.getUTCDate()}`);
  if (month === 'long' || month === 'short') {
    const months = month === 'long' ? MONTHS[date.getUTCMonth()] : MONTHS[date.getUTCMonth()].slice(0, 3);
    const monthAndDay = days ? `${months} ${days}` : months;
    const rest = years ? monthAndDay + (days ? ', ' : ' ') + years : monthAndDay;
    return name ? `${name}, ${rest}` : rest;
  }
  const months = month && (month === '2-digit' ? two(date.getUTCMonth() + 1) : `${date.getUTCMonth() + 1}`);
  const rest = [months, days, years].filter(Boolean).join('/');
  return [name, rest].filter(Boolean).join(', ');
}

function timeText(date, { hour, minute, second, hour12, hourCycle, timeZoneName }) {
  const [hours, minutes, seconds] = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
  const zone = timeZoneName ? ' UTC' : '';
  const alone = hour === undefined && (minute === undefined || second === undefined);
  if (alone) return `${minute ? minutes : second ? seconds : ''}${zone}`.trim();
  const rest = [minute && two(minutes), second && two(seconds)].filter(Boolean);
  if (hour === undefined) return rest.join(':') + zone;
  const halves = hour12 ?? (hourCycle === undefined || hourCycle === 'h12' || hourCycle === 'h11');
  if (!halves) return [hours === 0 && hourCycle !== 'h23' ? '24' : two(hours), ...rest].join(':') + zone;
  const twelve = hours % 12 || 12;
  return `${[hour === '2-digit' ? two(twelve) : twelve, ...rest].join(':')} ${hours < 12 ? 'AM' : 'PM'}${zone}`;
}

const DATE_PARTS = ['weekday', 'year', 'month', 'day'];
const TIME_PARTS = ['hour', 'minute', 'second'];
const DAY = ['year', 'month', 'day'];

function localeDate(date, locales, options, wanted, added) {
  if (isNaN(date.getTime())) return 'Invalid Date';
  onlyHere(locales, options);
  const parts = dateOptions(options, wanted, added);
  const [day, time] = [dateText(date, parts), timeText(date, parts)];
  if (!day || !time) return day || time;
  if (parts.timeZoneName && !parts.hour && !parts.minute && !parts.second) return `${day}, ${time}`;
  const onlyWeekday = parts.weekday && !parts.month && !parts.day && !parts.year;
  return day + (onlyWeekday ? ' ' : parts.month === 'long' ? ' at ' : ', ') + time;
}

/** The decimal digits of a number that is neither infinite nor negative, times a power of ten: before and after the point. */
function decimal(number, power) {
  const [digits, exponent = '0'] = `${number}`.split('e');
  const [whole, part = ''] = digits.split('.');
  const shift = Number(exponent) + power;
  if (shift <= 0) return [whole.slice(0, max(0, whole.length + shift)) || '0', whole.slice(max(0, whole.length + shift)).padStart(-shift, '0') + part];
  return [(whole + part.padEnd(shift, '0').slice(0, shift)).replace(/^0+(?=\d)/, ''), part.slice(shift)];
}

/** With at most so many digits behind the point; half is rounded up, as on paper. */
function rounded([whole, part], most) {
  if (part.length <= most) return [whole, part];
  const kept = `${BigInt(whole + part.slice(0, most)) + (part[most] >= '5' ? 1n : 0n)}`.padStart(most + 1, '0');
  return most === 0 ? [kept, ''] : [kept.slice(0, -most), kept.slice(-most)];
}

function localeNumber(number, locales, options = {}) {
  onlyHere(locales, undefined);
  const { style = 'decimal', currency = '', minimumIntegerDigits = 1, useGrouping = true } = options;
  const code = textOf(currency).toUpperCase();
  const cents = style !== 'currency' ? (style === 'percent' ? 0 : 3) : WITHOUT_CENTS.has(code) ? 0 : 2;
  const least = options.minimumFractionDigits ?? min(style === 'currency' ? cents : 0, options.maximumFractionDigits ?? cents);
  const most = options.maximumFractionDigits ?? max(cents, least);
  const negative = number < 0 || Object.is(number, -0);
  const size = negative ? -number : number;
  let text;
  if (Number.isNaN(number)) text = 'NaN';
  else if (size === Infinity) text = '∞';
  else {
    let [whole, part] = rounded(decimal(size, style === 'percent' ? 2 : 0), most);
    while (part.length > least && part.endsWith('0')) part = part.slice(0, -1);
    part = part.padEnd(least, '0');
    whole = whole.padStart(minimumIntegerDigits, '0');
    if (useGrouping) whole = whole.replace(/\B(?=(\d{3})+$)/g, ',');
    text = part ? `${whole}.${part}` : whole;
  }
  if (style === 'percent') text += '%';
  if (style === 'currency') text = (SIGNS[code] ?? (/^\d/.test(text) ? `${code}\u00a0` : code)) + text;
  return negative ? `-${text}` : text;
}

/** Signs in the order that Unicode's collation has them, before digits and letters. */
const ORDER = ' _-,;:!?.\'"()[]{}@*/\\&#%`^+<=>|~$';

/** How far back a piece of text stands: signs, then digits, then letters whatever their case. */
function weight(piece) {
  const sign = indexOf(ORDER, piece);
  if (sign >= 0) return sign;
  return (piece >= '0' && piece <= '9' ? 1_000 : 10_000) + piece.codePointAt(0);
}

const pieces = (text, numeric) => text.match(numeric ? /\d+|[^]/gu : /[^]/gu) ?? [];

function inOrder(left, right, numeric) {
  const [ours, theirs] = [pieces(left, numeric), pieces(right, numeric)];
  for (let at = 0; at < min(ours.length, theirs.length); at++) {
    const [one, other] = [ours[at], theirs[at]];
    const far = numeric && /^\d/.test(one) && /^\d/.test(other) ? Number(one) - Number(other) : weight(one) - weight(other);
    if (far !== 0) return Math.sign(far);
  }
  return Math.sign(ours.length - theirs.length);
}

/** As people sort: `a` before `B`, `ä` beside `a`; accents and case only decide between texts that are else the same. */
function localeCompare(left, right, options) {
  const { sensitivity = 'variant', numeric = false } = options ?? {};
  const [ours, theirs] = [left.normalize('NFD'), right.normalize('NFD')];
  if (ours === theirs) return 0;
  const bare = (text) => text.replace(/\p{M}/gu, '').toLowerCase();
  const letters = inOrder(bare(ours), bare(theirs), numeric);
  if (letters !== 0 || sensitivity === 'base') return letters;
  const marks = (text) => text.replace(/\P{M}/gu, ' ');
  if (sensitivity !== 'case' && marks(ours) !== marks(theirs)) return marks(ours) < marks(theirs) ? -1 : 1;
  if (sensitivity === 'accent') return 0;
  for (let at = 0; at < min(ours.length, theirs.length); at++) {
    if (ours[at] !== theirs[at]) return ours[at] === ours[at].toLowerCase() ? -1 : 1;
  }
  return 0;
}

/** Puts methods on what the language has, as it has its own. */
function extend(prototype, methods) {
  for (const name of objectKeys(methods)) defineProperty(prototype, name, { value: methods[name], writable: true, configurable: true });
}

const dateString = uncurryThis(Date.prototype.toString);
const dateTimeString = uncurryThis(Date.prototype.toTimeString);
const ZONE = ' (Coordinated Universal Time)';

extend(Date.prototype, {
  toString() {
    const text = dateString(this);
    return text === 'Invalid Date' ? text : text + ZONE;
  },
  toTimeString() {
    const text = dateTimeString(this);
    return text === 'Invalid Date' ? text : text + ZONE;
  },
  toLocaleString(locales, options) {
    return localeDate(this, locales, options, [...DATE_PARTS, ...TIME_PARTS], [...DAY, ...TIME_PARTS]);
  },
  toLocaleDateString(locales, options) {
    return localeDate(this, locales, options, DATE_PARTS, DAY);
  },
  toLocaleTimeString(locales, options) {
    return localeDate(this, locales, options, TIME_PARTS, TIME_PARTS);
  },
});
extend(Number.prototype, {
  toLocaleString(locales, options) {
    return localeNumber(Number.prototype.valueOf.call(this), locales, options);
  },
});
extend(BigInt.prototype, {
  toLocaleString(locales, options) {
    return localeNumber(BigInt.prototype.valueOf.call(this), locales, options);
  },
});
extend(String.prototype, {
  localeCompare(other, locales, options) {
    if (this === null || this === undefined) throw new TypeError('String.prototype.localeCompare called on null or undefined');
    return localeCompare(`${this}`, `${other}`, options);
  },
});
