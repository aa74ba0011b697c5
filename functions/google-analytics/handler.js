// Sends events to Google Analytics 4 by the Measurement Protocol.
//
// The protocol answers 204 to whatever it is sent and drops what breaks its rules without a word. So the rules are held here.

const PASSING = ['ENOTFOUND', 'ECONNREFUSED', 'ETIMEDOUT', 'EPROTO', 'ERR_TLS_CERT_ALTNAME_INVALID'];
const MOST_NAME = 40; // characters of the names of events and parameters
const MOST_PARAMETERS = 25;
const MOST_VALUE = 100; // characters of a text
const LONGER = { page_location: 1000, page_referrer: 420, page_title: 300 };
const OLDEST_MS = 72 * 3600 * 1000;

const RESERVED = new Set(
  ('ad_activeview ad_click ad_exposure ad_query ad_reward adunit_exposure app_background app_clear_data app_exception app_remove ' +
    'app_store_refund app_store_subscription_cancel app_store_subscription_convert app_store_subscription_renew app_update ' +
    'app_upgrade dynamic_link_app_open dynamic_link_app_update dynamic_link_first_open error firebase_campaign first_open ' +
    'first_visit in_app_purchase notification_dismiss notification_foreground notification_open notification_receive os_update ' +
    'session_start user_engagement').split(' '),
);

const KNOWN = {
  'Order Completed': 'purchase',
  'Order Refunded': 'refund',
  'Checkout Started': 'begin_checkout',
  'Product Added': 'add_to_cart',
  'Product Removed': 'remove_from_cart',
  'Product Viewed': 'view_item',
  'Products Searched': 'search',
  'Signed Up': 'sign_up',
  'Signed In': 'login',
};

async function onTrack(event, settings) {
  const properties = event.properties || {};
  const name = KNOWN[event.event] || snake(event.event);
  await send(event, name, { ...shop(name, properties), ...plain(properties) }, settings);
}

async function onPage(event, settings) {
  const { url, referrer, title, ...rest } = { ...(event.context || {}).page, ...event.properties };
  const page = { page_location: url, page_referrer: referrer, page_title: title || event.name };
  await send(event, 'page_view', { ...page, ...plain(_.omit(rest, ['path', 'search'])) }, settings);
}

async function onScreen(event, settings) {
  await send(event, 'screen_view', { screen_name: event.name, ...plain(event.properties || {}) }, settings);
}

// What the reports about selling need, under the names that they know.
function shop(name, properties) {
  const found = {};
  if (name === 'purchase' || name === 'refund') found.transaction_id = properties.order_id;
  if (name === 'search') found.search_term = properties.query;
  const value = Number(properties.revenue ?? properties.total ?? properties.value ?? properties.price);
  if (Number.isFinite(value)) {
    found.value = value;
    found.currency = properties.currency || 'USD';
  }
  const single = ['add_to_cart', 'remove_from_cart', 'view_item'].includes(name) ? [properties] : [];
  const products = (Array.isArray(properties.products) ? properties.products : single).slice(0, 200);
  if (products.length > 0) found.items = products.map(item);
  return found;
}

function item(product) {
  const price = Number(product.price);
  const found = { item_id: product.product_id || product.sku, item_name: product.name, item_brand: product.brand, item_category: product.category };
  if (Number.isFinite(price)) found.price = price;
  if (Number(product.quantity) > 0) found.quantity = Number(product.quantity);
  return _.pickBy(found, (value) => value !== undefined);
}

function plain(properties) {
  const found = {};
  for (const [name, value] of Object.entries(properties)) {
    if (['string', 'number', 'boolean'].includes(typeof value)) found[snake(name)] = value;
  }
  return found;
}

function snake(text) {
  return String(text || '')
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
    .toLowerCase();
}

function allowed(parameters) {
  const found = {};
  for (const [name, value] of Object.entries(parameters)) {
    if (Object.keys(found).length === MOST_PARAMETERS) break;
    const fits = /^[a-z][a-z0-9_]*$/.test(name) && name.length <= MOST_NAME && !/^(firebase_|ga_|google_)/.test(name);
    if (!fits || value === undefined || value === null) continue;
    found[name] = typeof value === 'string' ? value.slice(0, LONGER[name] || MOST_VALUE) : value;
  }
  return found;
}

async function send(event, name, parameters, settings) {
  if (!/^[a-z][a-z0-9_]*$/.test(name) || name.length > MOST_NAME || RESERVED.has(name)) {
    throw new ValidationError(`\`${name}\` cannot be an event's name in Google Analytics: it needs a letter first, ${MOST_NAME} characters at most, and not to be reserved`);
  }
  const client = event.anonymousId || event.userId;
  if (!client) throw new ValidationError('an event needs an `anonymousId` or a `userId`');
  const body = { client_id: String(client) };
  if (event.userId) body.user_id = String(event.userId);
  const time = Date.parse(event.timestamp || '');
  if (Date.now() - time > OLDEST_MS) throw new ValidationError('`timestamp` is more than 72 hours ago: Google Analytics drops such events');
  if (time <= Date.now()) body.timestamp_micros = time * 1000;
  const session = (event.context || {}).sessionId;
  const session_id = session === undefined ? undefined : String(session);
  body.events = [{ name, params: allowed({ session_id, engagement_time_msec: 1, ...parameters }) }];
  await post(body, settings);
}

async function post(body, settings) {
  const host = settings.region === 'eu' ? 'region1' : 'www';
  const origin = settings.endpoint ? settings.endpoint.replace(/\/$/, '') : `https://${host}.google-analytics.com`;
  const query = new URLSearchParams({ measurement_id: settings.measurementId, api_secret: settings.apiSecret });
  const response = await reach(`${origin}/mp/collect?${query}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.ok) return;
  const message = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if ([408, 423, 429].includes(response.status) || response.status >= 500) throw new RetryError(message);
  if (response.status === 401 || response.status === 403) throw new InvalidSettings(message);
  throw new ValidationError(message);
}

// A partner that cannot be reached now may be reached later; what this host forbids stays forbidden.
async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw PASSING.includes(error.code) ? new RetryError(error.message) : error;
  }
}
