// What partners write, against the published types: compiled by `tsc`, never run.
/// <reference path="../../../guest-sdk/js/index.d.ts" />

const onTrack: Handler<TrackEvent> = async (event, settings) => {
  const token: string = await cache.load('token', 60_000, async () => (await fetch(settings.url)).text());
  const response = await fetch(new URL('/events', 'https://api.example.com'), {
    method: 'post',
    headers: { authorization: `Basic ${btoa(`${token}:`)}` },
    body: JSON.stringify({ id: event.messageId, name: event.event, hash: crypto.createHash('md5').update('a').digest('hex') }),
    signal: AbortSignal.timeout(1000),
  });
  if (response.status === 429) throw new RetryError('later', { afterMs: 1000 });
  if (!response.ok) throw new ValidationError(await response.text());
  console.log(Buffer.from('a', 'hex').readUInt32BE(0), _.get(event, 'properties.a'), [...response.headers]);
};

const onBatch: BatchHandler = async (events) => events.map((event) => ({ status: event.type === 'delete' ? 501 : 200 }));

async function onIdentify(event: IdentifyEvent, settings: Settings) {
  const form = new FormData();
  form.append('file', Buffer.from('a'), 'a.csv');
  const timer = setTimeout((text: string) => console.warn(text), 5, 'x');
  clearTimeout(timer);
  const key: string = idempotencyKey(event, 'order');
  const attempt: number = attemptOf(event);
  console.debug(key, attempt);
  // @ts-expect-error a key is one of an event and a purpose
  idempotencyKey(event);
  await fetch('https://api.example.com', { method: 'POST', body: form, headers: new Headers(form.getHeaders()) });
  // @ts-expect-error a body is no plain object
  await fetch('https://api.example.com', { method: 'POST', body: { a: 1 } });
  // @ts-expect-error there is no such event
  event.type === 'purchase';
  // @ts-expect-error `ttl` and `fn` change places
  await cache.load('k', () => 1, 5);
}
