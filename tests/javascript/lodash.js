// What lodash makes of many inputs, sent as one body.
const users = [
  { n: 'b', a: 2, x: { y: 1 } },
  { n: 'a', a: 2, x: { y: 2 } },
  { n: 'c', a: 1 },
];

const tried = (make) => {
  try {
    return make(structuredClone(users)) ?? null;
  } catch (error) {
    return `threw ${error.name}`;
  }
};

const CASES = [
  (U) => _.chunk([1,2,3],2), (U) => _.compact([0,1,'',2]), (U) => _.concat([1],2,[3],[[4]]),
  (U) => _.countBy([6.1,4.2,6.3],Math.floor), (U) => _.difference([2,1],[2,3]),
  (U) => _.differenceBy([2.1,1.2],[2.3,3.4],Math.floor), (U) => _.drop([1,2,3]), (U) => _.drop([1,2,3],0),
  (U) => _.dropRight([1,2,3],5), (U) => _.every([true,1,null],Boolean), (U) => _.filter(U,'x'),
  (U) => _.filter(U,{a:2}), (U) => _.filter(U,['n','a']), (U) => _.find(U,{x:{y:2}}), (U) => _.findIndex(U,['a',1]),
  (U) => _.findLast([1,2,3],n=>n%2), (U) => _.flatMap([1,2],n=>[n,n]), (U) => _.flatten([1,[2,[3]]]),
  (U) => _.flattenDeep([1,[2,[3,[4]]]]), (U) => _.fromPairs([['a',1]]), (U) => _.groupBy(U,'a'),
  (U) => _.groupBy(['one','two','three'],'length'), (U) => _.head([]), (U) => _.includes({a:1},1),
  (U) => _.includes('abc','b'), (U) => _.includes([1,2,3],1,2), (U) => _.indexOf([1,2,1],1,1),
  (U) => _.intersection([2,1],[2,3]), (U) => _.intersectionBy([2.1,1.2],[2.3],Math.floor), (U) => _.join([1,2]),
  (U) => _.keyBy(U,'n'), (U) => _.last([1,2]), (U) => _.map(U,'x.y'), (U) => _.map({a:1,b:2},(v,k)=>k+v),
  (U) => _.max([4,2,8]), (U) => _.max([]), (U) => _.maxBy(U,'a'), (U) => _.mean([4,2]), (U) => _.mean([]),
  (U) => _.min([4,2]), (U) => _.nth([1,2,3],-1), (U) => _.orderBy(U,['a','n'],['desc','asc']),
  (U) => _.partition(U,u=>u.a==2), (U) => _.range(4), (U) => _.range(1,5,2), (U) => _.range(0), (U) => _.range(-3),
  (U) => _.reduce([1,2],(s,n)=>s+n), (U) => _.reduce({a:1},(r,v,k)=>{r[v]=k;return r},{}), (U) => _.reject(U,{a:2}),
  (U) => _.size({a:1,b:2}), (U) => _.size('abc'), (U) => _.some(U,'x'), (U) => _.sortBy(U,'n'),
  (U) => _.sortBy(U,['a','n']), (U) => _.sortBy([3,null,1,undefined,2]), (U) => _.sum([1,2]), (U) => _.sum([]),
  (U) => _.sumBy(U,'a'), (U) => _.tail([1,2]), (U) => _.take([1,2,3],2), (U) => _.takeRight([1,2,3],2),
  (U) => _.times(3,String), (U) => _.toArray({a:1}), (U) => _.union([2],[1,2]),
  (U) => _.unionBy([2.1],[1.2,2.3],Math.floor), (U) => _.uniq([2,1,2]), (U) => _.uniqBy(U,'a'),
  (U) => _.uniqWith(U,_.isEqual), (U) => _.without([2,1,2,3],1,2), (U) => _.xor([2,1],[2,3]),
  (U) => _.zip(['a','b'],[1,2]), (U) => _.zipObject(['a','b'],[1,2]), (U) => _.assign({a:1},{b:2}),
  (U) => _.castArray(1), (U) => _.castArray(), (U) => _.cloneDeep({a:[{b:new Date(0)}]}),
  (U) => _.defaults({a:1},{a:3,b:2}), (U) => _.defaultsDeep({a:{b:2}},{a:{b:1,c:3}}), (U) => _.defaultTo(NaN,10),
  (U) => _.findKey({a:{x:1},b:{x:2}},{x:2}), (U) => _.get({a:[{b:{c:3}}]},'a[0].b.c'),
  (U) => _.get({a:[{b:{c:3}}]},['a','0','b','c']), (U) => _.get({},'a.b','d'), (U) => _.get(null,'a'),
  (U) => _.get({'a.b':1},'a.b'), (U) => _.get({a:null},'a','d'), (U) => _.get({a:null},'a.b','d'),
  (U) => _.has({a:{b:2}},'a.b'), (U) => _.has({a:{b:2}},['a','c']), (U) => _.has(null,'a'), (U) => _.invert({a:1,b:2}),
  (U) => _.isEmpty(null), (U) => _.isEmpty(1), (U) => _.isEmpty([]), (U) => _.isEmpty({}), (U) => _.isEmpty(''),
  (U) => _.isEmpty('a'), (U) => _.isEqual({a:[1,{b:2}]},{a:[1,{b:2}]}), (U) => _.isEqual([1],[2]),
  (U) => _.isEqual(new Map([[1,{a:1}]]),new Map([[1,{a:1}]])), (U) => _.isPlainObject({}), (U) => _.isPlainObject([]),
  (U) => _.isPlainObject(new Date()), (U) => _.isNaN(NaN), (U) => _.isNaN('a'), (U) => _.isString('a'),
  (U) => _.isNumber(NaN), (U) => _.isFinite('3'), (U) => _.isObject(()=>1), (U) => _.keys('hi'),
  (U) => _.mapKeys({a:1},(v,k)=>k+v), (U) => _.mapValues(U,'a'), (U) => _.mapValues({a:{x:1}},'x'),
  (U) => _.merge({a:[{b:2},{d:4}]},{a:[{c:3},{e:5}]}), (U) => _.merge({a:1},{a:undefined,b:null}),
  (U) => _.merge({a:{b:1}},{a:{c:2}},{a:{b:3}}),
  (U) => _.mergeWith({a:[1]},{a:[2]},(a,b)=>Array.isArray(a)?a.concat(b):undefined),
  (U) => _.omit({a:1,b:2,c:{d:1,e:2}},['a','c.d']), (U) => _.omit({a:1,b:2},'a'), (U) => _.omit({'a.b':1,c:2},'a.b'),
  (U) => _.omitBy({a:1,b:'2'},_.isNumber), (U) => _.pick({a:1,b:2,c:{d:1,e:2}},['a','c.d']),
  (U) => _.pick({a:1,b:2},'a','b'), (U) => _.pick({a:undefined},'a','z'), (U) => _.pickBy({a:1,b:null},_.identity),
  (U) => _.pickBy({a:1,b:null}), (U) => _.result({a:{b(){return 3}}},'a.b'), (U) => _.set({},'a[0].b.c',4),
  (U) => _.set({},['x','0','y'],5), (U) => _.toPairs({a:1}), (U) => _.transform([2,3],(r,n)=>{r.push(n*n)},[]),
  (U) => _.unset({a:1},'a'), (U) => _.update({a:1},'a',n=>n+1), (U) => _.values({a:1}), (U) => _.camelCase('Foo Bar'),
  (U) => _.camelCase('--foo-bar--'), (U) => _.camelCase('__FOO_BAR__'), (U) => _.camelCase('fooBar2baz'),
  (U) => _.camelCase('déjà vu'), (U) => _.capitalize('FRED'), (U) => _.deburr('déjà vu'), (U) => _.escape('a<b>&"'),
  (U) => _.unescape('a&lt;b&amp;'), (U) => _.kebabCase('fooBar'), (U) => _.lowerCase('--Foo-Bar--'),
  (U) => _.snakeCase('Order Completed'), (U) => _.snakeCase('HTTPServer2x'), (U) => _.snakeCase('Größe in m'),
  (U) => _.startCase('fooBar'), (U) => _.startCase('order-completed now'), (U) => _.upperFirst('fred'),
  (U) => _.lowerFirst('Fred'), (U) => _.pad('abc',8), (U) => _.padStart('abc',6,'_-'), (U) => _.padEnd('abc',6,'_-'),
  (U) => _.pad('abc',8,'_-'), (U) => _.repeat('ab',2), (U) => _.round(4.006,2), (U) => _.round(4060,-2),
  (U) => _.ceil(6.004,2), (U) => _.floor(0.046,2), (U) => _.clamp(-10,-5,5), (U) => _.inRange(3,2,4),
  (U) => _.inRange(-3,-2,-6), (U) => _.trim('-_-abc-_-','_-'), (U) => _.trim('  a '),
  (U) => _.truncate('hi-diddly-ho there, neighborino'),
  (U) => _.truncate('hi-diddly-ho there, neighborino',{length:24,separator:' '}),
  (U) => _.truncate('hi-diddly-ho there, neighborino',{length:24,separator:/,? +/}),
  (U) => _.words('fred, barney, & pebbles'), (U) => _.words("don't stop"), (U) => _.words('aB12c XMLHttp'),
  (U) => _.toPath('a[0].b'), (U) => _.toPath("a['x.y'].z"), (U) => _.toPath('.a..b'), (U) => _.toPath('a[].b'),
  (U) => _.toString([1,[2,3],null]), (U) => _.toString(-0), (U) => _.toString(null),
  (U) => _.flow([Math.abs,String])(-3), (U) => _.toInteger('3.7'), (U) => _.isMatch({a:1,b:2},{b:2}),
  (U) => _.matches({a:1})({a:1,b:2}), (U) => _.property('a.b')({a:{b:1}}),
  (U) => _.chain([1,2,3]).map(n=>n*2).filter(n=>n>2).value(), (U) => _.max(['b','a']), (U) => _.sumBy([{a:1},{}],'a'),
  (U) => _.sum(['a','b']), (U) => _.nth([1],5), (U) => _.initial([1,2]), (U) => _.unzip([['a',1],['b',2]]),
  (U) => _.reduceRight([[0,1],[2,3]],(f,o)=>f.concat(o),[]), (U) => _.keyBy([{id:1}],o=>'k'+o.id),
  (U) => _.isArrayLike('abc'), (U) => _.isArrayLike(()=>1), (U) => _.map('ab'), (U) => _.map(null,x=>x),
  (U) => _.forEach([1]), (U) => _.compact(null), (U) => _.attempt(()=>3), (U) => _.partial((a,b)=>a+b,1)(2),
  (U) => _.escapeRegExp('a.b'), (U) => _.extend({a:1},{b:2}), (U) => _.isEqual(NaN,NaN),
  (U) => _.isEqual({a:undefined},{}), (U) => _.clone([1,{a:1}]), (U) => _.entries({a:1}), (U) => _.first([7]),
  (U) => _.uniq([NaN,NaN]), (U) => _.lt(1,2),
];

async function onTrack() {
  await fetch('https://api.example.com/', { method: 'POST', body: JSON.stringify(CASES.map(tried)) });
}
