// What the engine has a quicker way for, each beside what that way must not be taken for.

const topics = {
  'reading JSON'(is) {
    const texts = [
      '{"a":1,"b":[1,2,{"c":null}],"d":"x\\n\\u00e9\\ud83d\\ude00","é":"ü","12":4,"3":5,"a":9}', '{"__proto__":{"x":1}}', '[]', '{}',
      ' [ ] ', '{ "a" : [ 1 , 2 ] }\n', '{"\\u0061":1,"a":2}', '{"":1}', '{"toString":1,"constructor":{"x":[true,false]}}', '{"a":1}x',
      '{"a":1,}', '[1,]', '[1 2]', '{"a" 1}', '{"a":}', '{a:1}', "{'a':1}", '', ' ', '{', '[', '{"a":1}\0', '1\0', '\ufeff1', 'tru',
      'true', 'false', 'null', 'nulll', '"a\nb"', '"a\\x"', '"\u2028\x7f\x80\xff"', '"\\ud800"', '"\\u12"', '"\\/\\b\\f\\r\\"\\\\"', '"\\',
      `{"x":"${'y'.repeat(100)}\\t"}`, '['.repeat(70) + ']'.repeat(70), '['.repeat(70), '-0', '-0.0', '0', '01', '-01', '1.', '.5', '1e5',
      '1.5E+3', '-', '--1', '1e', '1e+', '0x1', '2147483647', '2147483648', '-2147483648', '4294967296.25', '0.1', '-12.50', '123.456',
      '999999999999999', '9999999999999999', '123456789012345678901234567890', '0.30000000000000004', '0.1234567890123456',
      '1.7976931348623157e308', '0.000001', '5e-324', '[1.5,-2.5,3e2]', 'Infinity', 'NaN',
      '9007199254740993', '-12345678901234567.25', '12345678901234567e-3', '1E-7', '0e0', '-0e5', '0.1e1', '1e400', '-1e400', '1e-400', '2.2250738585072011e-308',
      '4.9406564584124654e-324', `0.${'0'.repeat(330)}1e10`, `1${'0'.repeat(400)}`, '{"a":12345678901234567,"b":[1e5,-2.5E-3],"c":0.12345678901234567}', '12345678901234567x', '12345678901234567e',
      '12345678901234567.', '012345678901234567', '-', '1e5x', '1e5.5', '[1e5,]', '1e+-5', '+12345678901234567',
    ];
    // More than a table of names has from the start, more fields than are kept aside, and the same names once more.
    const fields = (count, more = '') => `{${Array.from({ length: count }, (_, at) => `"k${at}":${at % 3 ? at : `{"k${at}":[]}`}`).join()}${more}}`;
    for (const count of [7, 8, 9, 16, 17, 31, 32, 33, 64, 65, 70, 300]) {
      texts.push(fields(count), `[${fields(count)},${fields(count)}]`, fields(count, `,"k${count - 1}":"last"`), fields(count, ',"k0":"first","z":1'), fields(count, ','));
    }
    is(() => { const all = JSON.parse(`[${fields(70)},${fields(70)}]`); all[0].new = 1; delete all[1].k3; all[1].k69 = 'x'; return all; });
    for (const text of texts) {
      is(() => JSON.parse(text));
      is(() => Object.keys(JSON.parse(text)));
    }
    is(() => Object.getPrototypeOf(JSON.parse('{"a":1}')) === Object.prototype);
    for (const text of ['{', '[1,]', '"\\x"', '12345678901234567e']) {
      // One error is one stack, which a program may be asked to write.
      is(() => {
        const before = Error.prepareStackTrace;
        let asked = 0;
        Error.prepareStackTrace = () => { asked++; return 'mine'; };
        try { JSON.parse(text); } catch (error) { return [error.name, error.stack, asked]; } finally { Error.prepareStackTrace = before; }
      });
    }
    is(() => JSON.parse('{"__proto__":{"x":1}}').x);
    is(() => JSON.parse('{"a":[1,{"b":2}],"c":"x"}', (name, value) => (typeof value === 'number' ? value + 1 : value)));
    is(() => { const list = JSON.parse('[1,2,3]'); list.push(4); list[7] = 1; return [list, list.length]; });
    is(() => { const all = JSON.parse('[{"a":1,"b":2},{"a":3,"b":4}]'); all[0].c = 5; delete all[1].a; return all; });
  },

  'writing JSON'(is) {
    const texts = [
      '', 'a', 'a"b', 'a\\b', 'tab\there', '\u0000\u001f', '\u007f\u0080\u00ff', `${'x'.repeat(7)}"`, `${'x'.repeat(8)}"`,
      `${'x'.repeat(9)}\n${'y'.repeat(20)}`, 'é'.repeat(20), '😀', '\ud800', 'a\udc00b', 'ü"ö', '日本"\n', `${'x'.repeat(30)}\x1f`, '"'.repeat(20),
    ];
    for (const text of texts) is(() => [JSON.stringify(text), JSON.stringify({ [text]: text }), JSON.stringify([text]), JSON.parse(JSON.stringify(text)) === text]);
    const values = [
      {}, [], { a: undefined, b: () => 1, c: Symbol('x'), d: 1 }, { toJSON: () => ({ q: 1 }) }, { a: { toJSON: (name) => `k${name}` } },
      [undefined, () => 1, null, NaN, Infinity, -0], { d: new Date(0) }, Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } }),
      { get g() { delete this.h; return 1; }, h: 2, i: 3 }, { get boo() { throw new TypeError('boo'); } }, new Map([[1, 2]]), new String('s"t'),
      new Number(3), new Boolean(false), { 2: 'b', 1: 'a', z: 1, [Symbol('s')]: 4 }, [[], [[]], {}], new Proxy({ a: 1, b: 2 }, {}),
      new Proxy({ a: 1 }, { ownKeys: () => ['a', 'z'], getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true, value: 7 }), get: (_, name) => `g${String(name)}` }),
      { a: [1, , 3] }, Object.assign([1, 2], { x: 1 }), 12n, { a: 1n }, Object.assign(() => 1, { a: 1 }), new Uint8Array([1, 2]),
    ];
    for (const value of values) {
      is(() => JSON.stringify(value));
      is(() => JSON.stringify(value, null, 2));
      is(() => JSON.stringify(value, (_, one) => (typeof one === 'number' ? one + 1 : one)));
      is(() => JSON.stringify(value, ['a', 'b', 1]));
      is(() => [Object.keys(value), Object.entries(value).length]);
    }
    is(() => { const round = {}; round.round = round; return JSON.stringify(round); });
    is(() => { const both = { x: 1 }; return JSON.stringify({ a: both, b: both }); });
    is(() => { let long = ''; for (let i = 0; i < 3000; i++) long += 'ab"c'; return JSON.stringify({ long }).length; });
  },

  numbers(is) {
    const numbers = [
      0, -0, 1, -1.5, 0.1, 0.1 + 0.2, 39.95, 1e-6, 1e-7, 1.5e-6, 123456.789, 1e15, 1e14, 999999999999999, 1e21, 1e20, 1 / 3, 0.000123, 5e-324,
      4.35, 0.615, 1.005, 2 ** 31, 2 ** 53, -(2 ** 31), 100000.000001, 99999999.999999, 1234567890.12345, 1.0000001, NaN, -Infinity, 1000000,
    ];
    for (const one of numbers) is(() => [String(one), `${one}|${-one}`, JSON.stringify({ one }), one.toFixed(2), Number(String(one)) === one]);
    for (let i = 0; i < 400; i++) is(() => [String((i * 7919) / 1000), String(i / 7), JSON.parse(`${i}.${i}`)]);
  },

  'replacing text'(is) {
    const texts = ['', 'a&b', '&&', `${'x'.repeat(20)}&`, `${'x'.repeat(7)}&y`, `${'x'.repeat(8)}&${'y'.repeat(8)}&`, 'é&ü', '日&本', '\u0126&', '$&$', 'a.b'];
    const sought = ['&', '', '$', 'é', '日', '\u0126', '&&', '.'];
    const given = ['', '&amp;', '$$', '$&', "$'", '日', (found, at, all) => `<${found}${at}${all.length}>`, undefined, { toString: () => 'made' }];
    for (const text of texts) {
      for (const one of sought) {
        is(() => given.map((by) => `${text.replace(one, by)}|${text.replaceAll(one, by)}`));
        is(() => [text.indexOf(one), text.includes(one), text.lastIndexOf(one), text.split(one)]);
      }
    }
    is(() => 'abc'.replace({ [Symbol.replace]: (text, by) => text + by }, 'q'));
    is(() => [`${1}${'a'}${true}${null}${undefined}${1.5}`, `é${1}日`, ''.concat(1, 2, 3, 4, 5, 6, 7, 8, 9, 'x'), 'a'.concat({ toString: () => 'o' }, [1, 2]), 'x'.concat()]);
    is(() => `${Symbol('x')}`);
    is(() => 'a'.concat(1, { toString() { throw new RangeError('no text'); } }));
    is(() => [String(1), String(null), String(Symbol('q')), String([1, [2, 3]]), String({})]);
  },

  'regular expressions'(is) {
    const all = [/a/, /a/g, /x*/g, /./gu, /(a)(b)?/g, /(?<n>a)/g, /^/gm, /$/, /\/$/, /&/gi, /[é日]/g, /a/y, /a/gy, /\b/g, /(?:)/gu, /(?<=x)x/g, /A/i, /ba|na/g, /日/g, /(b)an/,
      /(b)(a)(n)(a)(n)(a)/, /(x)(x)(a)?(x)?(b)?(c)?(d)?(e)?(f)?/g, /(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)/gu, /(?:(b)|(a)|(n)|(x)|(é)|(日)|(&)|(l)|(i)|(e)|(h)|(t))+/g];
    const texts = ['', 'a', 'banana', 'xxaxx', 'aé日b', '😀a😀', 'line\nline', 'https://x/', '&A&', 'x'.repeat(50)];
    for (const one of all) {
      for (const text of texts) {
        const from = (at, work) => is(() => { one.lastIndex = at; return [work(), one.lastIndex]; });
        for (const by of ['', '-', '[$1]', '$10$9$01', '$<n>', '日', (found) => found + found]) {
          from(0, () => text.replace(one, by));
          from(3, () => text.replace(one, by));
        }
        from(0, () => text.replaceAll(one, '-'));
        from(1, () => [one.test(text), one.lastIndex, one.test(text), one.flags]);
        from(0, () => [text.match(one), text.search(one), text.split(one)]);
      }
    }
    is(() => ['x'.repeat(5000).replace(/x/g, ''), `${'日'.repeat(500)}a${'x'.repeat(500)}`.replace(/[日x]/g, ''), 'a1b22c333'.repeat(200).replace(/\d+/g, ''), 'keep'.replace(/x/g, ''), 'first'.replace(/f/, '')]);
    is(() => 'banana'.replace(Object.freeze(/a/g), 'x'));
    is(() => ['banana'.replace(Object.freeze(/a/), 'x'), Object.freeze(/a/).test('a')]);
    for (const flags of ['', 'g']) {
      is(() => { let asked = 0; const one = RegExp('a', flags); one.lastIndex = { valueOf: () => ++asked && 0 }; return ['banana'.replace(one, 'x'), asked]; });
    }
    is(() => { const one = /a/g; one.exec = () => null; return ['banana'.replace(one, 'x'), one.test('a')]; });
    is(() => { class Loud extends RegExp { exec(text) { const found = super.exec(text); if (found) found[0] = 'zz'; return found; } } return ['banana'.replace(new Loud('a', 'g'), '-'), new Loud('a').test('a')]; });
    is(() => [/undefined/.test(), /null/.test(null), /1/.test(1), /o/.test({ toString: () => 'o' })]);
    const changed = (name, descriptor, work) => {
      const before = Object.getOwnPropertyDescriptor(RegExp.prototype, name);
      Object.defineProperty(RegExp.prototype, name, descriptor(before));
      try { return work(); } finally { Object.defineProperty(RegExp.prototype, name, before); }
    };
    const ignoreCase = Object.getOwnPropertyDescriptor(RegExp.prototype, 'ignoreCase');
    is(() => changed('global', () => ({ get: () => true }), () => /a/.flags));
    is(() => changed('global', () => ignoreCase, () => /a/i.flags));
    is(() => changed('exec', () => ({ value: () => null }), () => ['banana'.replace(/a/g, 'x'), /a/.test('a')]));
    is(() => ['banana'.replace(/a/g, 'x'), /a/.test('a'), /a/gi.flags]);
  },

  'objects and calls'(is) {
    is(() => { class Kind extends Array {} const kind = Kind.from([1, 2]); return [kind.map((one) => one) instanceof Kind, kind.filter(() => true) instanceof Kind]; });
    is(() => { const list = [1, 2]; list.constructor = { [Symbol.species]: function () { return { own: true }; } }; return list.map((one) => one); });
    is(() => [1, , 3].map((one) => one * 2));
    is(() => { const f = (a, b) => a; return [f.name, f.length, Object.getOwnPropertyNames(f), Object.getOwnPropertyDescriptor(f, 'name'), Object.getOwnPropertyDescriptor(f, 'length')]; });
    is(() => { class WithName { static name = 'own'; static length = 7; } return [WithName.name, WithName.length]; });
    is(() => ({ a: 1, b: 2, a: 3, __proto__: { c: 4 }, ['d']: 5, 1: 6 }));
    is(() => { class Fields { a = 1; a = 2; } return new Fields(); });
    is(() => { class Sealed { constructor() { return Object.preventExtensions({}); } } class Late extends Sealed { late = 1; } return new Late(); });
    is(() => [Math.max(1, 2), [3, 1, 2].sort(), 'a-b'.split('-'), Reflect.apply(String, null, [1])]);
    is(() => null.missing());
    is(() => (0, undefined)());
    is(() => Symbol.prototype.toString.call(1));
  },
};

async function onTrack(event) {
  const send = (name, lines) => fetch('https://api.example.com/said', { method: 'POST', headers: { topic: name }, body: lines.join('\n') });
  await send('event', [JSON.stringify(event), ...Object.keys(event)]);
  for (const [name, say] of Object.entries(topics)) {
    const lines = [];
    say((work) => {
      try {
        const value = work();
        lines.push(Object.is(value, -0) ? '-0' : JSON.stringify(value) ?? String(value));
      } catch (error) {
        lines.push(error.name);
      }
    });
    await send(name, lines);
  }
}
