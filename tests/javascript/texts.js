// What Buffer, URL, URLSearchParams, TextDecoder and their like make of many inputs, sent as one body.
const tried = (make) => {
  try {
    return make();
  } catch (error) {
    return `threw ${error.name}`;
  }
};

function buffers() {
  const b = Buffer.from('héllo wörld €', 'utf8');
  return [
    () => b.toString('hex'), () => b.toString('base64'), () => b.toString('latin1'), () => b.toString('ascii'),
    () => b.toString('utf16le').length, () => b.toString('utf8', 0, 2), () => b.length, () => Buffer.byteLength('€'),
    () => Buffer.from('ff0g', 'hex').length, () => Buffer.from('aGk', 'base64').toString(), () => Buffer.from('_-8', 'base64url').toString('hex'),
    () => Buffer.from('€', 'utf16le').toString('hex'), () => Buffer.from('ÿ€', 'latin1').toString('hex'),
    () => Buffer.concat([Buffer.from('a'), Buffer.alloc(2), new Uint8Array([98])]).toJSON(), () => Buffer.alloc(5, 'ab').toString(),
    () => Buffer.from([1, 2, 3]).equals(Buffer.from([1, 2, 3])), () => Buffer.compare(Buffer.from('a'), Buffer.from('b')),
    () => b.indexOf('wör'), () => b.includes('xyz'), () => b.slice(-3).toString(), () => b.subarray(1, 3).toString('hex'),
    () => b.lastIndexOf('l'), () => Buffer.from('test').fill('xy').toString(), () => Buffer.from({ type: 'Buffer', data: [97] }).toString(),
    () => { const n = Buffer.alloc(16); n.writeUInt32BE(0xdeadbeef, 0); n.writeInt16LE(-2, 4); n.writeDoubleBE(1.5, 6); return n.toString('hex'); },
    () => Buffer.from('0102030405060708', 'hex').readBigUInt64LE(0).toString(), () => Buffer.from('fffe', 'hex').readInt16BE(0),
    () => Buffer.from('0000c03f', 'hex').readFloatLE(0), () => Buffer.from('010203', 'hex').readUIntBE(0, 3), () => Buffer.alloc(1).readUInt16BE(0),
    () => { const n = Buffer.alloc(4); return [n.write('€€'), n.toString('hex')]; }, () => { const n = Buffer.from('abc'); n.slice(1)[0] = 120; return n.toString(); },
    () => Buffer.from('abcd').swap16().toString(), () => JSON.stringify(Buffer.from('a')), () => Buffer.isBuffer(new Uint8Array(1)), () => Buffer.isEncoding('UTF-8'),
    () => Buffer.from('x').toString('nope'), () => Buffer.from(5), () => String(Buffer.from('abc')), () => [...Buffer.from('ab').entries()], () => Buffer.from('abc').copy(b, 0, 1),
    () => Buffer.from('a\ud800b').toString('hex'), () => Buffer.from([0xff, 0x61]).toString(), () => Buffer.from([256, -1, 1.9]).toString('hex'),
  ];
}

function urls() {
  const u = new URL('https://user:pa%20ss@Example.com:8080/a/b/../c?x=1&y=2&x=3#frag');
  const s = u.searchParams;
  return [
    () => [u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash],
    () => [s.get('x'), s.getAll('x'), s.has('z'), s.get('z'), s.size, [...s], String(s)],
    () => { s.append('ü', 'a b+c'); s.delete('y'); return u.href; }, () => { s.set('x', '9'); s.sort(); return u.search; },
    () => { u.search = '?q=%20&r'; return [...s]; }, () => { u.pathname = '/ä ö'; u.hash = ''; u.port = '443'; return u.toString(); },
    () => { u.hostname = 'other.example'; u.protocol = 'http:'; return JSON.stringify({ u }); },
    () => new URL('../x?y', 'https://h.example/a/b/c').href, () => new URL('//o.example/p', 'https://h.example').href, () => new URL('nope'), () => new URL('http://a b'),
    () => new URL('https://bücher.example/ü').href, () => new URL('HTTPS://EXAMPLE.com:443').href, () => new URL('mailto:a@b.c').pathname,
    () => String(new URLSearchParams([['a', '1'], ['a', '2 3']])), () => String(new URLSearchParams('?a=b%20c+d&&e&=f')), () => String(new URLSearchParams({ 'k e': '~!@#$%^&*()_+-=' })),
    () => String(new URLSearchParams(new URLSearchParams('a=1'))), () => { const keys = []; new URLSearchParams('a=1&b=2').forEach((value, key) => keys.push(key + value)); return keys; },
    () => new URLSearchParams('a=%zz%e4').get('a'), () => new URL('https://x.example/?a=%E4').searchParams.get('a'),
  ];
}

function codings() {
  return [
    () => btoa('hällo'), () => btoa('€'), () => atob('aGk='), () => atob(' aG k'), () => atob('a'), () => atob('a*'), () => btoa(''), () => btoa(undefined), () => btoa(12),
    () => Array.from(new TextEncoder().encode('a€😀\ud800')), () => new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff])),
    () => new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff])), () => new TextDecoder('latin1').decode(new Uint8Array([0xdf, 0xe4])),
    () => new TextDecoder('utf-16le').decode(new Uint8Array([0x61, 0, 0xac, 0x20])), () => new TextDecoder('klingon'), () => new TextDecoder('UTF8').encoding,
    () => { const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }) + '|' + d.decode(new Uint8Array([0xac])); },
    () => { const value = { d: new Date(5), m: new Map([[1, { a: 1 }]]), s: new Set([2]), r: /x/g, u: undefined, n: [null, -0] }; const copy = structuredClone(value); return [copy.d.getTime(), [...copy.m], [...copy.s], String(copy.r), 'u' in copy, copy.n, copy.m.get(1) !== value.m.get(1)]; },
    () => structuredClone(() => 1), () => { const a = { b: 1 }; a.self = a; const c = structuredClone(a); return c.self === c; }, () => structuredClone(new RangeError('x')).name,
    () => encodeURIComponent('ä/ ?'), () => escape('ä €'), () => unescape('%u20AC'), () => new Date('2024-02-30T10:00:00Z').getTime(), () => new Date(Date.UTC(2024, 1, 29)).toISOString(),
    () => JSON.stringify({ a: undefined, b: NaN, c: new Date(0), d: '\u2028\ud800' }), () => 'ﬀ'.normalize('NFKC'), () => 'İ'.toLowerCase().length, () => 'a-b_c'.replaceAll(/[-_]/g, ' '),
    () => [3, 1, 2].toSorted(), () => [1, [2, [3]]].flat(Infinity), () => 'x'.at(-1), () => [1, 2, 3].findLast((n) => n < 3),
    () => 2n ** 64n + '', () => (1234.5678).toFixed(2), () => (0.1 + 0.2).toString(), () => parseInt('12px'), () => 'aXbX'.matchAll(/(?<l>[a-z])X/g).next().value.groups.l, () => /(?<=\$)\d+/.exec('a$42')[0],
    () => [..."👨‍👩‍👧"].length, () => Math.hypot(3, 4), () => Number('0x1f'),
  ];
}

async function onTrack() {
  await fetch('https://api.example.com/buffers', { method: 'POST', body: JSON.stringify(buffers().map(tried)) });
}
async function onPage() {
  await fetch('https://api.example.com/urls', { method: 'POST', body: JSON.stringify(urls().map(tried)) });
}
async function onScreen() {
  await fetch('https://api.example.com/codings', { method: 'POST', body: JSON.stringify(codings().map(tried)) });
}
