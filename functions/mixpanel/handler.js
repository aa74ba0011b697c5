// Imports events (/import) and profiles (/engage) into Mixpanel.

const PASSING = ['ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT', 'EPROTO', 'ERR_TLS_CERT_ALTNAME_INVALID'];
async function onTrack(event, settings) {
  await alone(event, settings);
}
async function onPage(event, settings) {
  await alone(event, settings);
}
async function onScreen(event, settings) {
  await alone(event, settings);
}
async function onIdentify(event, settings) {
  await alone(event, settings);
}

async function alone(event, settings) {
  const [result] = await onBatch([event], settings);
  if (result.error) throw result.error;
}

// One request for all events and one for all profiles; an answer for each event.
async function onBatch(events, settings) {
  const results = events.map(() => ({ status: 200 }));
  const imported = [];
  const profiles = [];
  events.forEach((event, place) => {
    try {
      if (event.type === 'identify') profiles.push({ place, object: profile(event, settings) });
      else imported.push({ place, object: record(event) });
    } catch (error) {
      results[place] = failed(error);
    }
  });
  if (imported.length > 0) await send('/import?strict=1', imported, results, settings);
  if (profiles.length > 0) await send('/engage?verbose=1', profiles, results, settings);
  return results;
}

function record(event) {
  const name = { page: `Viewed ${event.name || 'a'} Page`, screen: `Viewed ${event.name || 'a'} Screen` }[event.type] || event.event;
  if (typeof name !== 'string' || name === '') throw new ValidationError('`event` must be a text that is not empty');
  const time = Date.parse(event.timestamp || event.receivedAt || '') || Date.now();
  const context = event.context || {};
  const properties = { ...event.properties, time, distinct_id: distinctId(event), $insert_id: insertId(event.messageId) };
  if (event.userId) properties.$user_id = String(event.userId);
  if (event.anonymousId) properties.$device_id = String(event.anonymousId);
  if (context.ip) properties.ip = context.ip;
  if (context.page && context.page.url) properties.$current_url = context.page.url;
  if (context.os && context.os.name) properties.$os = context.os.name;
  return { event: name, properties };
}

const STANDARD = { email: '$email', name: '$name', firstName: '$first_name', lastName: '$last_name', phone: '$phone', avatar: '$avatar', createdAt: '$created' };

function profile(event, settings) {
  if (!event.userId) throw new ValidationError('a profile needs a `userId`');
  const set = {};
  for (const [name, value] of Object.entries(event.traits || {})) set[STANDARD[name] || name] = value;
  return { $token: settings.token, $distinct_id: String(event.userId), $ip: (event.context || {}).ip || '0', $set: set };
}

function distinctId(event) {
  if (event.userId || event.anonymousId) return String(event.userId || event.anonymousId);
  throw new ValidationError('an event needs a `userId` or an `anonymousId`');
}

// Mixpanel keeps one event of the same id: letters, digits and hyphens, 36 at most. The same on each attempt.
function insertId(messageId) {
  return /^[A-Za-z0-9-]{1,36}$/.test(messageId) ? messageId : crypto.createHash('md5').update(String(messageId)).digest('hex');
}

function origin(settings) {
  if (settings.endpoint) return settings.endpoint.replace(/\/$/, '');
  return { eu: 'https://api-eu.mixpanel.com', in: 'https://api-in.mixpanel.com' }[settings.residency] || 'https://api.mixpanel.com';
}

async function send(path, rows, results, settings) {
  try {
    const response = await reach(origin(settings) + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json', Authorization: `Basic ${btoa(`${settings.token}:`)}` },
      body: JSON.stringify(rows.map((row) => row.object)),
    });
    const text = await response.text();
    const answer = json(text);
    // What is named here was refused; the rest of the request was taken all the same.
    if (response.status === 400 && Array.isArray(answer.failed_records)) {
      for (const record of answer.failed_records) {
        if (rows[record.index]) results[rows[record.index].place] = failed(new ValidationError(`${record.field}: ${record.message}`));
      }
      return;
    }
    if (!response.ok) throw problem(response, text);
    // /engage says 200 to everything.
    if (answer.status === 0) throw new ValidationError(String(answer.error));
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
