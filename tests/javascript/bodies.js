// Every kind of body, header set and method that node-fetch takes.
const url = 'https://api.example.com/bodies';

async function onTrack() {
  await fetch(url, { method: 'POST', body: 'text' });
  await fetch(url, { method: 'POST', body: new URLSearchParams({ a: 'ä b&c', d: "*-._~!'()" }) });
  await fetch(url, { method: 'POST', body: Buffer.from([1, 2, 255]) });
  await fetch(url, { method: 'PATCH', body: new Uint8Array([104, 105]).buffer });
  await fetch(url, { method: 'DELETE', body: new Uint8Array([0, 104, 105]).subarray(1) });
  await fetch(url, { method: 'POST', body: 12345 });
  await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/xml' }, body: '<a/>' });
  await fetch(url, { headers: [['X-One', '1'], ['X-Two', '2'], ['x-one', '3']] });
  await fetch(new Request(url, { method: 'put', headers: { a: 'b' }, body: 'r' }), { headers: { c: 'd' } });
  await fetch('HTTPS://API.example.com:443/a/../b c?q=x y#fragment', { method: 'head' });
  const headers = new Headers();
  headers.append('Accept-Language', 'de');
  headers.append('accept-language', 'en');
  headers.set('X-Number', 7);
  headers.delete('nothing');
  await fetch(url, { method: 'OPTIONS', headers });
}

async function onIdentify() {
  const form = new FormData();
  form.append('name', 'Ödön');
  form.append('count', 3);
  form.append('file', Buffer.from('a,b\n1,2\n'), 'list.csv');
  await fetch(url, { method: 'POST', body: form });
}

async function onPage() {
  const response = await fetch(url, { method: 'POST', body: '{}' });
  const seen = {
    ok: response.ok,
    status: response.status,
    text: response.statusText,
    url: response.url,
    type: response.headers.get('Content-Type'),
    has: response.headers.has('x-none'),
    missing: response.headers.get('x-none'),
    raw: response.headers.raw(),
    pairs: [...response.headers],
    json: await response.clone().json(),
    bytes: Buffer.from(await response.clone().arrayBuffer()).toString('hex'),
    buffer: (await response.clone().buffer()).toString('base64'),
    body: await response.text(),
    used: response.bodyUsed,
  };
  await response.text().catch((error) => (seen.again = `${error.name}: ${error.message}`));
  await fetch(url, { method: 'POST', body: JSON.stringify(seen) });
}

async function onScreen() {
  const errors = [];
  const attempts = [
    () => fetch('/relative'),
    () => fetch('ftp://api.example.com/'),
    () => fetch(url, { body: 'x' }),
    () => fetch(url, { headers: { 'bad name': 'x' } }),
    () => fetch(url, { headers: { good: 'bad\nvalue' } }),
    () => new Response('{').json(),
  ];
  for (const attempt of attempts) {
    try {
      await attempt();
    } catch (error) {
      errors.push(error.name, error.type ?? '');
    }
  }
  await fetch(url, { method: 'POST', body: JSON.stringify(errors) });
}
