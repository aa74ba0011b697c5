// Sends people and what they do to Customer.io: /api/v2/batch of its Track API.

const PASSING = ['ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT', 'EPROTO', 'ERR_TLS_CERT_ALTNAME_INVALID'];
const MOST_BYTES = 32_000; // of one operation
const MOST_TOGETHER = 480_000; // of one request, below the 500 kB that are taken

async function onTrack(event, settings) {
  await alone(event, settings);
}
async function onIdentify(event, settings) {
  await alone(event, settings);
}
async function onPage(event, settings) {
  await alone(event, settings);
}
async function onScreen(event, settings) {
  await alone(event, settings);
}
async function onDelete(event, settings) {
  await alone(event, settings);
}

async function alone(event, settings) {
  const [result] = await onBatch([event], settings);
  if (result.error) throw result.error;
}

async function onBatch(events, settings) {
  const results = events.map(() => ({ status: 200 }));
  let rows = [];
  let bytes = 0;
  for (let place = 0; place < events.length; place++) {
    try {
      const object = operation(events[place]);
      const size = Buffer.byteLength(JSON.stringify(object));
      if (size > MOST_BYTES) throw new ValidationError(`the event has ${size} bytes: Customer.io takes ${MOST_BYTES} at most`);
      if (bytes + size > MOST_TOGETHER) {
        await send(rows, results, settings);
        [rows, bytes] = [[], 0];
      }
      rows.push({ place, object });
      bytes += size + 1;
    } catch (error) {
      results[place] = failed(error);
    }
  }
  if (rows.length > 0) await send(rows, results, settings);
  return results;
}

function operation(event) {
  if (!event.userId) throw new ValidationError('Customer.io needs a `userId`');
  const person = { type: 'person', identifiers: { id: String(event.userId) } };
  switch (event.type) {
    case 'delete':
      return { ...person, action: 'delete' };
    case 'identify':
      return { ...person, action: 'identify', attributes: traits(event) };
    default: {
      const action = event.type === 'track' ? 'event' : event.type;
      const name = event.event || event.name || (event.properties || {}).url;
      if (typeof name !== 'string' || name.trim() === '') throw new ValidationError('`event` or `name` must be a text that is not empty');
      const time = Date.parse(event.timestamp || event.receivedAt || '') || Date.now();
      return { ...person, action, name, id: ulid(event.messageId, time), timestamp: Math.floor(time / 1000), attributes: event.properties || {} };
    }
  }
}

// Times are seconds in Customer.io, and `created_at` is the one that it knows.
function traits(event) {
  const { createdAt, ...rest } = event.traits || {};
  const created = typeof createdAt === 'number' ? createdAt : Math.floor(Date.parse(createdAt) / 1000);
  return Number.isFinite(created) ? { ...rest, created_at: created } : rest;
}

// Customer.io takes one event of the same ULID. Time and message make it, so that it is the same on each attempt.
function ulid(messageId, time) {
  const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
  const hash = crypto.createHash('sha256').update(String(messageId)).digest('hex').slice(0, 20);
  let number = (BigInt(time) << 80n) | BigInt(`0x${hash}`);
  let text = '';
  for (let at = 0; at < 26; at++) {
    text = LETTERS[Number(number & 31n)] + text;
    number >>= 5n;
  }
  return text;
}

async function send(rows, results, settings) {
  const host = settings.region === 'eu' ? 'track-eu' : 'track';
  const origin = settings.endpoint ? settings.endpoint.replace(/\/$/, '') : `https://${host}.customer.io`;
  try {
    const response = await reach(`${origin}/api/v2/batch`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Basic ${btoa(`${settings.siteId}:${settings.apiKey}`)}` },
      body: JSON.stringify({ batch: rows.map((row) => row.object) }),
    });
    const text = await response.text();
    const errors = json(text).errors;
    // 207: some were not taken. 400 with a list: none of these, by the same places.
    if ((response.status === 207 || response.status === 400) && Array.isArray(errors) && errors.some((error) => rows[error.batch_index])) {
      for (const error of errors) {
        const row = rows[error.batch_index];
        if (row) results[row.place] = failed(new ValidationError(`${error.field || error.reason}: ${error.message}`));
      }
      return;
    }
    if (!response.ok) throw problem(response, text);
  } catch (error) {
    for (const row of rows) results[row.place] = failed(error);
  }
}

function problem(response, text) {
  const message = `HTTP ${response.status}: ${text.slice(0, 200)}`;
  const seconds = Number(response.headers.get('retry-after'));
  if ([408, 423, 429].includes(response.status) || response.status >= 500) return new RetryError(message, { afterMs: seconds > 0 ? seconds * 1000 : undefined });
  if (response.status === 401 || response.status === 403) return new InvalidSettings(message);
  return new ValidationError(message);
}

function failed(error) {
  const status = { RetryError: 503, InvalidSettings: 401 }[error.name] || 400;
  return { status, errormessage: error.message, error };
}

function json(text) {
  try {
    return JSON.parse(text) || {};
  } catch (error) {
    return {};
  }
}

// A partner that cannot be reached now may be reached later; what this host forbids stays forbidden.
async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw PASSING.includes(error.code) ? new RetryError(error.message) : error;
  }
}
