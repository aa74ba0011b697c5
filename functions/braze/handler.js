// Sends people, events and purchases to Braze: /users/track and /users/delete.

const PASSING = ['ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT', 'EPROTO', 'ERR_TLS_CERT_ALTNAME_INVALID'];
const MOST_DELETED = 50; // in one request of /users/delete
const MOST_NAME = 255; // characters of an event's name

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

// One request for what is tracked, one for each fifty who are deleted; an answer for each event.
async function onBatch(events, settings) {
  const results = events.map(() => ({ status: 200 }));
  const lists = { attributes: [], events: [], purchases: [] };
  const places = { attributes: [], events: [], purchases: [] };
  const deleted = [];
  events.forEach((event, place) => {
    try {
      if (event.type === 'delete') {
        deleted.push({ id: userId(event), place });
        return;
      }
      for (const [list, object] of objects(event)) {
        lists[list].push(object);
        places[list].push(place);
      }
    } catch (error) {
      results[place] = failed(error);
    }
  });
  for (const part of parts(lists, places)) {
    await send('/users/track', part.body, part.places, results, settings, part.ofLists);
  }
  for (let from = 0; from < deleted.length; from += MOST_DELETED) {
    const some = deleted.slice(from, from + MOST_DELETED);
    await send('/users/delete', { external_ids: some.map((one) => one.id) }, some.map((one) => one.place), results, settings);
  }
  return results;
}

// Braze takes 75 objects of each kind at once: an order may have more purchases than that.
function parts(lists, places) {
  const MOST = 75;
  const kinds = ['attributes', 'events', 'purchases'];
  const found = [];
  for (let from = 0; kinds.some((kind) => lists[kind].length > from); from += MOST) {
    const body = {};
    const ofLists = {};
    const all = [];
    for (const kind of kinds) {
      const some = lists[kind].slice(from, from + MOST);
      ofLists[kind] = places[kind].slice(from, from + MOST);
      all.push(...ofLists[kind]);
      if (some.length > 0) body[kind] = some;
    }
    found.push({ body, ofLists, places: [...new Set(all)] });
  }
  return found;
}

function objects(event) {
  if (event.type === 'identify') return [['attributes', { ...person(event), ...attributes(event.traits || {}) }]];
  const properties = event.properties || {};
  if (event.type === 'track' && event.event === 'Order Completed' && Array.isArray(properties.products) && properties.products.length > 0) {
    return properties.products.map((product) => ['purchases', purchase(event, properties, product)]);
  }
  const name = { page: `Viewed ${event.name || 'a'} Page`, screen: `Viewed ${event.name || 'a'} Screen` }[event.type] || event.event;
  if (typeof name !== 'string' || name === '' || name.length > MOST_NAME || name.startsWith('$')) {
    throw new ValidationError(`\`event\` must have 1 to ${MOST_NAME} characters and not begin with $`);
  }
  return [['events', { ...person(event), name, time: time(event), properties }]];
}

function purchase(event, properties, product) {
  const price = Number(product.price);
  const id = product.product_id || product.sku || product.name;
  if (!id || !Number.isFinite(price)) throw new ValidationError('each of `properties.products` needs a `product_id` and a number as `price`');
  const quantity = Math.min(Math.max(Math.round(Number(product.quantity) || 1), 1), 100);
  return { ...person(event), product_id: String(id).slice(0, MOST_NAME), currency: properties.currency || 'USD', price, quantity, time: time(event) };
}

const STANDARD = { firstName: 'first_name', first_name: 'first_name', lastName: 'last_name', last_name: 'last_name', email: 'email', phone: 'phone', birthday: 'dob', gender: 'gender' };

function attributes(traits) {
  const found = {};
  for (const [name, value] of Object.entries(traits)) found[STANDARD[name] || name] = value;
  if (traits.address) {
    found.home_city = traits.address.city;
    found.country = traits.address.country;
    delete found.address;
  }
  if (found.gender) found.gender = { m: 'M', f: 'F', o: 'O' }[String(found.gender).slice(0, 1).toLowerCase()];
  if (found.dob) found.dob = String(found.dob).slice(0, 10);
  return found;
}

// Somebody who is not known yet is known to Braze by an alias, which must be allowed to make a user.
function person(event) {
  if (event.userId) return { external_id: String(event.userId) };
  if (event.anonymousId) return { user_alias: { alias_name: String(event.anonymousId), alias_label: 'anonymous_id' }, _update_existing_only: false };
  throw new ValidationError('an event needs a `userId` or an `anonymousId`');
}

function userId(event) {
  if (!event.userId) throw new ValidationError('a deletion needs a `userId`');
  return String(event.userId);
}

function time(event) {
  return event.timestamp || event.receivedAt || new Date().toISOString();
}

function origin(settings) {
  if (settings.endpoint) return settings.endpoint.replace(/\/$/, '');
  return `https://rest.${settings.cluster}.braze.${settings.cluster.startsWith('fra') ? 'eu' : 'com'}`;
}

async function send(path, body, places, results, settings, ofLists = {}) {
  try {
    const response = await reach(origin(settings) + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${settings.apiKey}` },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw problem(response, text);
    // A success may carry errors of single objects, by their list and place in it.
    for (const error of json(text).errors || []) {
      const place = (ofLists[error.input_array] || [])[error.index];
      if (place !== undefined) results[place] = failed(new ValidationError(String(error.type)));
    }
  } catch (error) {
    for (const place of places) results[place] = failed(error);
  }
}

function problem(response, text) {
  const message = `HTTP ${response.status}: ${text.slice(0, 200)}`;
  if ([408, 423, 429].includes(response.status) || response.status >= 500) return new RetryError(message, { afterMs: wait(response) });
  if (response.status === 401 || response.status === 403) return new InvalidSettings(message);
  return new ValidationError(message);
}

// Braze says at which second of the epoch its limit begins anew.
function wait(response) {
  const reset = Number(response.headers.get('x-ratelimit-reset'));
  return reset > 0 ? Math.max(reset * 1000 - Date.now(), 0) : undefined;
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
