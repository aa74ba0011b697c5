// Sends events to the API of Example. What each error means to the host is in README.md.

/** What the API takes. */
interface ApiEvent {
  id: string;
  user?: string | null;
  name: string;
  properties?: { [key: string]: Json };
}

export async function onTrack(event: TrackEvent, settings: Settings): Promise<void> {
  await send(settings, { ...about(event), name: event.event, properties: event.properties });
}

export async function onIdentify(event: IdentifyEvent, settings: Settings): Promise<void> {
  await send(settings, { ...about(event), name: 'identify', properties: event.traits });
}

/** An event may come again, with the same id: the API drops what it already has. */
function about(event: CommonEvent): Pick<ApiEvent, 'id' | 'user'> {
  return { id: event.messageId, user: event.userId ?? event.anonymousId };
}

async function send(settings: Settings, body: ApiEvent): Promise<void> {
  const response = await fetch('https://api.example.com/events', {
    method: 'POST',
    headers: { authorization: `Bearer ${settings.api_key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (response.ok) return;
  const answer = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  if (response.status === 429 || response.status >= 500) throw new RetryError(answer);
  if (response.status === 401) throw new InvalidSettings(`the API key is refused: ${answer}`);
  throw new ValidationError(answer);
}
