// Dates, numbers and names as people write and sort them, in American English and UTC, sent as one body each.
const tried = (make) => {
  try {
    return make();
  } catch (error) {
    return `threw ${error.name}`;
  }
};

const MOMENTS = ['1970-01-01T00:00:00Z', '2024-02-29T13:05:09Z', '1999-12-31T23:59:59Z', '2024-07-04T12:00:30Z', '0099-03-04T09:00:00Z'];
const DATE_OPTIONS = [
  undefined, {}, { timeZone: 'UTC' }, { year: 'numeric', month: 'long', day: 'numeric' }, { month: 'short', day: 'numeric' },
  { weekday: 'short', month: 'short', day: '2-digit', year: '2-digit' }, { weekday: 'long' }, { weekday: 'long', year: 'numeric', month: 'numeric', day: 'numeric' },
  { year: 'numeric', month: '2-digit', day: '2-digit' }, { month: 'long', year: 'numeric' }, { month: '2-digit', year: 'numeric' }, { month: 'short' }, { year: 'numeric' },
  { hour: '2-digit', minute: '2-digit' }, { hour: 'numeric', minute: '2-digit', hour12: false }, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }, { hour: 'numeric' },
  { minute: '2-digit', second: '2-digit' }, { timeZoneName: 'short' }, { hour12: false }, { month: 'long', day: 'numeric', hour: 'numeric', minute: 'numeric' },
];
const STYLES = [
  { dateStyle: 'full' }, { dateStyle: 'long' }, { dateStyle: 'medium' }, { dateStyle: 'short' }, { timeStyle: 'short' }, { timeStyle: 'medium' }, { timeStyle: 'long' },
  { dateStyle: 'medium', timeStyle: 'short' }, { dateStyle: 'long', timeStyle: 'short' },
];

async function onTrack() {
  const dates = MOMENTS.map((text) => new Date(text));
  const found = dates.flatMap((date) => [
    ...DATE_OPTIONS.flatMap((options) => [date.toLocaleString('en-US', options), date.toLocaleDateString('en-US', options), date.toLocaleTimeString('en-US', options)]),
    ...STYLES.map((options) => date.toLocaleString('en-US', options)),
    date.toLocaleString(), date.toLocaleDateString(), date.toLocaleTimeString(), `${date}`, date.toString(), date.toTimeString(), date.toDateString(), date.toUTCString(),
    date + '', JSON.stringify(date),
  ]);
  const broken = new Date(NaN);
  found.push(`${broken}`, broken.toLocaleDateString(), tried(() => Date.prototype.toString.call({})), tried(() => Date.prototype.toLocaleString.call(5)));
  await fetch('https://api.example.com/dates', { method: 'POST', body: JSON.stringify(found) });
}

const NUMBERS = [0, -0, 1, 1234.5, 1234567.891, -1234567.8915, 0.5, 1.005, 2.345, 1e21, 1.5e-7, 123456789012345680000, NaN, Infinity, -Infinity, 999.9995, 0.0005, 12345678901234567890n, -5n];
const NUMBER_OPTIONS = [
  undefined, {}, { minimumFractionDigits: 2, maximumFractionDigits: 2 }, { maximumFractionDigits: 0 }, { minimumFractionDigits: 2 }, { minimumFractionDigits: 5 },
  { style: 'currency', currency: 'USD' }, { style: 'currency', currency: 'eur' }, { style: 'currency', currency: 'JPY' }, { style: 'currency', currency: 'CHF' },
  { style: 'currency', currency: 'USD', minimumFractionDigits: 0 }, { style: 'currency', currency: 'USD', maximumFractionDigits: 1 }, { style: 'percent' },
  { style: 'percent', maximumFractionDigits: 1 }, { useGrouping: false }, { minimumIntegerDigits: 3 },
];

async function onIdentify() {
  const found = NUMBERS.flatMap((number) => NUMBER_OPTIONS.map((options) => `${number} ${number.toLocaleString('en-US', options)}`));
  found.push([1234.5, new Date(0), 'x', null].toLocaleString(), tried(() => Number.prototype.toLocaleString.call('1')));
  await fetch('https://api.example.com/numbers', { method: 'POST', body: JSON.stringify(found) });
}

const NAMES = [
  'b', 'a', 'C', 'ä', 'Z', 'z', 'A', 'é', 'e', 'résumé', 'resume', 'Resume', '10', '2', '_x', '-y', 'a b', 'ab', 'a-b', '', 'ñ', 'n', 'o', 'co-op', 'coop', 'CO-OP',
  '1a', 'a1', '$', '@', 'user@x', 'user', 'émile', 'Emile', 'emile', 'zebra', 'Zebra', 'a.b', 'ö', 'O', 'ü',
];

async function onPage() {
  const sorted = (...how) => [...NAMES].sort((one, other) => one.localeCompare(other, ...how));
  const found = [sorted(), sorted('en', { sensitivity: 'base' }), ['x10', 'x9', 'x1', 'X9'].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }))];
  for (const [one, other] of [['a', 'A'], ['a', 'á'], ['A', 'b'], ['', 'x'], ['ä', 'a\u0308']]) {
    found.push(['base', 'accent', 'case', 'variant'].map((sensitivity) => one.localeCompare(other, 'en', { sensitivity })));
  }
  await fetch('https://api.example.com/names', { method: 'POST', body: JSON.stringify(found) });
}
