// Code as it is pasted from elsewhere: sloppy mode, implicit globals, `arguments`, `with`-free but old.
async function onTrack(event, settings) {
  headers = { authorization: 'Basic ' + btoa(settings.user + ':' + settings.password) };
  response = await fetch(settings.url + '?' + querystring(event.properties), { method: 'get', headers: headers });
  body = await response.text();
  result = JSON.parse(body);
  for (item in result.items) {
    await fetch(settings.url + '/' + encodeURIComponent(item), { method: 'Put', headers: headers, body: result.items[item] });
  }
  if (typeof require !== 'undefined' || typeof window !== 'undefined') throw new Error('what is this?');
  if (this !== globalThis || global !== globalThis) throw new Error('not sloppy');
}

function querystring() {
  var parts = [];
  for (var key in arguments[0]) parts.push(escape(key) + '=' + escape(arguments[0][key]));
  return parts.join('&');
}

function onIdentify(event) {
  undefinedFunction(event);
}

onPage = function () {
  throw 'a text';
};

var onScreen = () => Promise.reject(new TypeError('rejected'));

function onGroup(event) {
  event.traits.name.first;
}
