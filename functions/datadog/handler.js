// Counts events as metrics in Datadog: /api/v2/series.

const PASSING = ['ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT', 'EPROTO', 'ERR_TLS_CERT_ALTNAME_INVALID'];
const COUNT = 1; // Datadog's number for a metric of the type count
const MOST_TAG = 200; // characters of one tag
const PAST_S = 3600; // Datadog drops points that are older,
const FUTURE_S = 600; // or further ahead

async function onTrack(event, settings) {
  await count([event], settings);
}
async function onIdentify(event, settings) {
  await count([event], settings);
}
async function onPage(event, settings) {
  await count([event], settings);
}
async function onScreen(event, settings) {
  await count([event], settings);
}
async function onGroup(event, settings) {
  await count([event], settings);
}
async function onAlias(event, settings) {
  await count([event], settings);
}
async function onDelete(event, settings) {
  await count([event], settings);
}
// All or none: a request that was refused counted nothing.
async function onBatch(events, settings) {
  await count(events, settings);
}

async function count(events, settings) {
  const series = new Map();
  for (const event of events) {
    const tags = [tag('event_type', event.type)];
    if (event.type === 'track') tags.push(tag('event', event.event));
    const timestamp = second(event);
    const key = JSON.stringify([tags, timestamp]);
    const known = series.get(key) || { tags, timestamp, value: 0 };
    known.value += 1;
    series.set(key, known);
  }
  const list = [...series.values()].map(({ tags, timestamp, value }) => ({
    metric: settings.metric,
    type: COUNT,
    points: [{ timestamp, value }],
    tags: [...tags, ...(settings.tags || [])],
  }));
  await send({ series: list }, settings);
}

// Datadog writes tags so itself; done here, what is counted together is written together.
function tag(name, value) {
  const text = String(value ?? '').toLowerCase().replace(/[^\p{L}\p{N}_\-:./]+/gu, '_').replace(/^_+|_+$/g, '');
  return `${name}:${text || 'none'}`.slice(0, MOST_TAG);
}

// When it happened; what is too long ago for Datadog counts as of now.
function second(event) {
  const now = Math.floor(Date.now() / 1000);
  const told = Math.floor(Date.parse(event.timestamp || '') / 1000);
  // A minute less than the bound, for the way there.
  return told > now - PAST_S + 60 && told < now + FUTURE_S - 60 ? told : now;
}

async function send(body, settings) {
  const origin = settings.endpoint ? settings.endpoint.replace(/\/$/, '') : `https://api.${settings.site}`;
  const response = await reach(`${origin}/api/v2/series`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json', 'DD-API-KEY': settings.apiKey },
    body: JSON.stringify(body),
  });
  if (response.ok) return;
  const message = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if ([408, 423, 429].includes(response.status) || response.status >= 500) throw new RetryError(message, { afterMs: wait(response) });
  if (response.status === 401 || response.status === 403) throw new InvalidSettings(message);
  throw new ValidationError(message);
}

function wait(response) {
  const seconds = Number(response.headers.get('x-ratelimit-reset') || response.headers.get('retry-after'));
  return seconds > 0 ? seconds * 1000 : undefined;
}

// A partner that cannot be reached now may be reached later; what this host forbids stays forbidden.
async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw PASSING.includes(error.code) ? new RetryError(error.message) : error;
  }
}
