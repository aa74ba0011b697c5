//! What `guest-sdk/README.md` says, held against the engine: the table of what a function finds is never stale, and the
//! first function works.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate::model::{Answer, Ending};

use super::function::Function;

const BEGIN: &str = "<!-- what a function finds: written by a test -->\n";
const END: &str = "<!-- end -->";
const REWRITE: &str = "TIDEGATE_REWRITE=1 cargo xtask test -- --test it the_readme_says";

/// Language features: what they are called, and code that works only with them.
const LANGUAGE: &[(&str, &str)] = &[
    ("`async`/`await`, async iteration", "(async () => { for await (const x of [1]) ; })"),
    ("generators", "[...(function* () { yield 1; })()][0] === 1"),
    (
        "classes with private members, static blocks",
        "new (class { #a = 1; static { this.b = 2; } get a() { return this.#a; } })().a",
    ),
    ("destructuring, spread, defaults", "(({ a, ...b }, [c = 3] = []) => a + b.d + c)({ a: 1, d: 2 }) === 6"),
    ("optional chaining, `??`, `??=`", "((a) => (a?.b ?? (a.c ??= 3)))({}) === 3"),
    ("template literals, tagged ones too", "((s, v) => s.raw[0] + v)`a${1}` === 'a1'"),
    ("`BigInt`", "2n ** 64n === 18446744073709551616n"),
    (
        "`Proxy`, `Reflect`, `Symbol`",
        "new Proxy({}, { get: () => 1 }).x === 1 && Reflect.ownKeys({ [Symbol.iterator]: 1 }).length === 1",
    ),
    ("`Map`, `Set`, `WeakMap`, `WeakRef`", "((map) => new WeakRef(map).deref().get(1) === 2)(new Map([[1, 2]]))"),
    ("typed arrays, `DataView`", "new DataView(new Float64Array([1]).buffer).getFloat64(0, true) === 1"),
    (
        "regular expressions: named groups, lookbehind, `\\p{…}`, `v`",
        r"/(?<=\$)(?<n>\p{Nd}+)/u.exec('$42').groups.n === '42' && new RegExp('[\\p{L}--[a-z]]', 'v').test('A')",
    ),
    (
        "`Object.groupBy`, `Array.prototype.toSorted`, `at`",
        "Object.groupBy([1], () => 'a').a[0] === [2, 1].toSorted().at(0)",
    ),
    (
        "iterator helpers, set operations",
        "[1, 2].values().map((x) => x * 2).toArray()[1] === 4 && new Set([1]).union(new Set([2])).size === 2",
    ),
    (
        "`Promise.any`, `Promise.withResolvers`, `Array.fromAsync`",
        "typeof Promise.any + typeof Promise.withResolvers + typeof Array.fromAsync === 'functionfunctionfunction'",
    ),
    (
        "sloppy scripts: implicit globals, `with`, `arguments.callee`",
        "(function () { with ({ a: 1 }) { return a === 1 && typeof arguments.callee === 'function'; } })()",
    ),
    ("`eval`, `new Function`", "eval('1 + 1') === new Function('return 2')()"),
];

/// What functions for Node or a browser may look for, and what they do here instead.
const MISSING: &[(&str, &str)] = &[
    (
        "require",
        "`import` or `require` in a folder with a `package.json`, which is bundled; most need none with the globals above",
    ),
    (
        "Intl",
        "`toLocaleString` and its like write American English in UTC, whatever they are asked for; for other languages \
         and time zones bundle a library",
    ),
    ("XMLHttpRequest", "`fetch`"),
    ("WebSocket", "a destination answers one event and ends; `fetch`"),
    ("ReadableStream", "bodies are whole: `text()`, `json()`, `arrayBuffer()`, `buffer()`"),
    ("Temporal", "`Date`"),
    ("WebAssembly", "the function itself runs as WebAssembly; write it in Rust"),
    ("localStorage", "`cache.load` and `cache.delete`"),
    ("window", "`globalThis`, `global`"),
    ("Segment", "it is for source functions"),
    ("AWS", "`fetch`, signed by the host: [secrets](#secrets)"),
    ("moment", "`Date`, or `import moment from 'moment'`"),
];

/// Globals by family, in the order in which they are told.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "errors",
        &[
            "EventNotSupported",
            "InvalidEventPayload",
            "ValidationError",
            "RetryError",
            "InvalidSettings",
            "DropEvent",
            "DOMException",
        ],
    ),
    (
        "HTTP",
        &[
            "fetch",
            "Headers",
            "Request",
            "Response",
            "FormData",
            "Blob",
            "File",
            "AbortController",
            "AbortSignal",
            "Event",
            "EventTarget",
        ],
    ),
    ("URLs", &["URL", "URLSearchParams"]),
    (
        "time",
        &[
            "setTimeout",
            "clearTimeout",
            "setInterval",
            "clearInterval",
            "setImmediate",
            "clearImmediate",
            "queueMicrotask",
            "performance",
        ],
    ),
    ("log", &["console"]),
    ("bytes and text", &["Buffer", "TextEncoder", "TextDecoder", "atob", "btoa", "structuredClone"]),
    ("hashes and randomness", &["crypto", "crypto.subtle", "CryptoKey"]),
    ("once", &["attemptOf", "idempotencyKey"]),
    ("memory", &["cache"]),
    ("Node in passing", &["process", "global"]),
    ("lodash", &["_"]),
];

/// The members of a global that this host brings, as the function itself sees them.
const MEMBERS: &str = r"
const own = (object) => Object.getOwnPropertyNames(object);
const common = new Set(own(Function.prototype).concat(own(Object.prototype), own(Error.prototype), ['prototype', 'code']));
const language = new Set([Object.prototype, Error.prototype, Uint8Array.prototype, Function.prototype]);
const numbers = (name) => /^(?:read|write)(?:U?[Ii]nt|Big|Float|Double)/.test(name);
function members(path) {
  const value = path.split('.').reduce((object, name) => object?.[name], globalThis);
  if (value === undefined) return undefined;
  if (value === globalThis) return [];
  const found = own(value);
  for (let at = value.prototype; at && !language.has(at); at = Object.getPrototypeOf(at)) found.push(...own(at));
  const all = [...new Set(found)].filter((name) => !common.has(name) && !numbers(name));
  return path === 'Buffer' ? [...all, 'toString', 'readInt8 to writeBigUInt64LE'] : all;
}
";

fn program() -> String {
    let texts = |list: &mut dyn Iterator<Item = &str>| serde_json::to_string(&list.collect::<Vec<_>>()).unwrap();
    let language = texts(&mut LANGUAGE.iter().map(|(_, code)| *code));
    let missing = texts(&mut MISSING.iter().map(|(name, _)| *name));
    let globals = texts(&mut FAMILIES.iter().flat_map(|(_, names)| names.iter().copied()));
    format!(
        "{MEMBERS}
        const works = (code) => {{ try {{ return Boolean((0, eval)(code)); }} catch {{ return false; }} }};
        const onTrack = async () => {{
          const found = {{
            language: {language}.map(works),
            missing: {missing}.map((name) => typeof globalThis[name] === 'undefined'),
            members: {globals}.map(members),
          }};
          await fetch('https://api.example.com/', {{ method: 'POST', body: JSON.stringify(found) }});
        }};"
    )
}

fn table(found: &serde_json::Value) -> String {
    let mut text = String::from(BEGIN);
    text += "| | global | members |\n| --- | --- | --- |\n";
    let mut all = found["members"].as_array().unwrap().iter();
    for (family, names) in FAMILIES {
        let (mut bare, mut rows) = (Vec::new(), String::new());
        for name in *names {
            let members = all.next().and_then(|members| members.as_array());
            let members = members.unwrap_or_else(|| panic!("there is no `{name}`"));
            let members: Vec<&str> = members.iter().filter_map(|member| member.as_str()).collect();
            if members.is_empty() {
                bare.push(format!("`{name}`"));
            } else {
                rows += &format!("| {family} | `{name}` | {} |\n", members.join(", "));
            }
        }
        if !bare.is_empty() {
            text += &format!("| {family} | {} | |\n", bare.join(", "));
        }
        text += &rows;
    }
    text += "\n| language | |\n| --- | --- |\n";
    for (at, (feature, _)) in LANGUAGE.iter().enumerate() {
        text += &format!("| {feature} | {} |\n", if found["language"][at] == true { "yes" } else { "no" });
    }
    text += "\n| not here | instead |\n| --- | --- |\n";
    for (at, (name, instead)) in MISSING.iter().enumerate() {
        assert!(found["missing"][at] == true, "`{name}` is here after all: take it out of MISSING");
        text += &format!("| `{name}` | {instead} |\n");
    }
    text + END
}

fn readme() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The first block of a language in a page.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("the page has such a block");
    rest.split_once("```").expect("the block ends").0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_function_of_the_readme_does_what_it_says_there() {
    let (_, page) = readme();
    let function = Function::with_manifest(block(&page, "js"), Some(block(&page, "toml"))).await;
    let (event, settings) = (json!({"type": "track", "event": "Signed Up", "userId": "u1"}), json!({"apiKey": "k-1"}));
    let report = function.call(&[event], false, &settings, &json!([{"status": 429}])).await;
    let retry = Answer::Retry { message: "HTTP 429".to_owned(), after: None };
    assert_eq!(report.ending, Ending::Answered(vec![retry]));
    let request = &report.requests[0];
    assert_eq!(request.url, "https://api.example.com/events");
    assert!(request.headers.contains(&("authorization".to_owned(), "Bearer k-1".to_owned())));
    assert_eq!(&request.body[..], br#"{"user":"u1","name":"Signed Up"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_says_what_a_function_finds() {
    let function = Function::build(&program()).await;
    let found = serde_json::from_str(&function.sent().await[0]).unwrap();
    let table = table(&found);
    let (path, page) = readme();
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning is marked");
    let (_, after) = rest.split_once(END).expect("the table's end is marked");
    let fresh = format!("{before}{table}{after}");
    if std::env::var_os("TIDEGATE_REWRITE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let (_, now) = readme();
    assert!(now == fresh, "guest-sdk/README.md says something else than the engine; `{REWRITE}` rewrites it");
}
