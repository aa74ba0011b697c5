// Users, attributes and purchases to a Braze-like API, with code that is shared by the handlers.
const URLS = { us: 'https://rest.us.braze.example', eu: 'https://rest.eu.braze.example' };

const request = async (path, settings, payload) => {
  const res = await fetch(new URL(path, URLS[settings.region] || URLS.us), {
    method: 'post',
    headers: new Headers({ Authorization: 'Bearer ' + settings.apiKey, 'content-type': 'application/json' }),
    body: JSON.stringify(payload),
  });
  const json = await res.json();
  if (res.status === 401) throw new InvalidSettings(json.message);
  if (json.errors) throw new ValidationError(json.errors.map((e) => e.type).join(', '));
  return json;
};

const ids = (event) => _.pickBy({ external_id: event.userId, braze_id: _.get(event, 'integrations.Braze.id') }, _.identity);

const onTrack = async (event, settings) => {
  if (event.event === 'Order Completed') {
    const purchases = _.map(_.get(event, 'properties.products', []), (product) => ({
      ...ids(event),
      product_id: product.sku || product.product_id,
      price: _.round(Number(product.price), 2),
      quantity: product.quantity || 1,
      currency: _.toUpper(event.properties.currency),
      time: new Date(event.timestamp).toISOString(),
    }));
    await request('/users/track', settings, { purchases });
  } else {
    await request('/users/track', settings, { events: [{ ...ids(event), name: _.snakeCase(event.event), properties: _.omit(event.properties, ['email']) }] });
  }
};

const onIdentify = async (event, settings) => {
  const attributes = _.mapKeys(_.omit(event.traits, 'address'), (value, key) => _.camelCase(key));
  await request('/users/track?partner=x', settings, { attributes: [{ ...ids(event), ...attributes, home_city: event?.traits?.address?.city ?? null }] });
};

const onDelete = (event, settings) => request('/users/delete', settings, { external_ids: [event.userId] });
