// Sends events to the API of Example. What each error means to the host is in README.md.

async function onTrack(event, settings) {
  await send(event, settings, event.event, event.properties);
}

async function onIdentify(event, settings) {
  await send(event, settings, 'identify', event.traits);
}

async function send(event, settings, name, properties) {
  const response = await fetch('https://api.example.com/events', {
    method: 'POST',
    headers: { authorization: `Bearer ${settings.api_key}`, 'content-type': 'application/json' },
    // An event may come again, with the same id: the API drops what it already has.
    body: JSON.stringify({ id: event.messageId, user: event.userId ?? event.anonymousId, name, properties }),
  });
  if (response.ok) return;
  const answer = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if (response.status === 429 || response.status >= 500) throw new RetryError(answer);
  if (response.status === 401) throw new InvalidSettings(`the API key is refused: ${answer}`);
  throw new ValidationError(answer);
}
