// Hashes and signatures, in Node's way and in the web's.
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');

async function onTrack(event, settings) {
  const email = event.properties.email.trim().toLowerCase();
  const found = {};
  for (const name of ['md5', 'sha1', 'sha256', 'sha384', 'sha512', 'SHA256']) {
    found[name] = crypto.createHash(name).update(email).digest('hex');
    found[`${name} hmac`] = crypto.createHmac(name, settings.secret).update('a').update(Buffer.from('ü')).digest('base64');
  }
  found.pieces = crypto.createHash('sha256').update('4142', 'hex').update('QUI=', 'base64').digest('base64url');
  found.buffer = Buffer.isBuffer(crypto.createHash('md5').update('').digest());
  found.equal = crypto.timingSafeEqual(Buffer.from('abc'), Buffer.from('abc'));
  found.uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID());
  found.random = crypto.randomBytes(16).length;
  found.digest = hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(email)));
  const key = await crypto.subtle.importKey('raw', new TextEncoder().encode('k'), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);
  const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode('data'));
  found.signature = hex(signature);
  found.verified = await crypto.subtle.verify('HMAC', key, signature, new TextEncoder().encode('data'));
  found.forged = await crypto.subtle.verify('HMAC', key, signature, new TextEncoder().encode('date'));
  try {
    crypto.createHash('nothing');
  } catch (error) {
    found.unknown = error instanceof Error;
  }
  await fetch('https://api.example.com/', { method: 'POST', body: JSON.stringify(found) });
}
