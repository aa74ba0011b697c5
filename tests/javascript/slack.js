// Posts tracked events to Slack, as a first function does.
async function onTrack(event, settings) {
  const endpoint = settings.webhookUrl;
  const body = {
    text: `${event.userId || event.anonymousId} did *${event.event}*`,
    blocks: Object.entries(event.properties || {}).map(([key, value]) => ({ type: 'section', text: `${key}: ${value}` })),
  };
  let response;
  try {
    response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
  } catch (error) {
    // Retry on connection error
    throw new RetryError(error.message);
  }
  if (response.status >= 500 || response.status === 429) {
    throw new RetryError(`Failed with ${response.status}`);
  }
  if (!response.ok) throw new ValidationError(await response.text());
}

async function onIdentify(event, settings) {
  throw new EventNotSupported('identify is not supported');
}

async function onPage(event, settings) {
  if (!event.name) throw new InvalidEventPayload('name is required');
}
