// Posts customer events to a Slack channel, through an incoming webhook.

const onTrack = (event, settings) => post(settings, `*${user(event)}* did *${escape(event.event)}*${details(event.properties)}`);
const onIdentify = (event, settings) => post(settings, `*${user(event)}* was identified${details(event.traits)}`);
const onPage = (event, settings) => post(settings, `*${user(event)}* viewed the page *${escape(event.name ?? event.properties?.url ?? 'a page')}*`);
const onScreen = (event, settings) => post(settings, `*${user(event)}* viewed the screen *${escape(event.name ?? 'a screen')}*`);
const onGroup = (event, settings) => post(settings, `*${user(event)}* joined *${escape(event.traits?.name ?? event.groupId)}*`);
const onAlias = (event, settings) => post(settings, `*${user(event)}* is the same as *${escape(event.previousId)}*`);

async function post(settings, text) {
  const url = settings.base_url.replace(/\/$/, '') + settings.webhook_path;
  const headers = { 'Content-Type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ text }) });
  if (response.ok) return;
  const answer = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if (response.status === 429 || response.status >= 500) {
    throw new RetryError(answer, { afterMs: 1000 * response.headers.get('Retry-After') });
  }
  // Slack knows a webhook by its path alone: one that is unknown or revoked is the customer's to repair.
  if ([403, 404, 410].includes(response.status)) throw new InvalidSettings(`\`webhook_path\` is refused: ${answer}`);
  throw new ValidationError(answer);
}

const user = (event) => escape(event.userId ?? event.anonymousId ?? 'somebody');

/** Top-level values in one line, sorted by their names so that lines of one event are easy to compare. */
function details(values) {
  const names = Object.keys(values ?? {}).filter((name) => typeof values[name] !== 'object' || values[name] === null).sort();
  const list = names.map((name) => `${escape(name)}: ${escape(values[name])}`);
  return list.length > 0 ? ` (${list.join(', ')})` : '';
}

/** Slack reads `<!channel>` and links inside these three characters; customers' data must not ring everybody. */
const escape = (text) => String(text ?? 'something').replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
