//! The targets around uploads, secrets and links: what a stranger's bytes go through, and what must hold whatever they are.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value, json};
use tidegate::catalog::signature::{PrivateKey, Signature, public_key};
use tidegate::catalog::{self, build, cases};
use tidegate::egress::{
    Answers, CannedAnswer, CannedResponse, EgressConfig, Grant, HandleKey, OutboundRequest, Outlet, Reach, ResponseCaps,
};
use tidegate::model::{Digest, Manifest};

use super::targets::Target;
use crate::api::{Apis, send};

/// Values that a stranger might choose are long enough to stand nowhere by chance.
const SURE: usize = 12;

static LEAKY: LazyLock<Manifest> = LazyLock::new(|| {
    let bind =
        |place: &str, name: Option<&str>| json!({"origin": "https://api.example.com", "place": place, "name": name});
    let binds = json!([
        bind("bearer", None),
        bind("header", Some("x-key")),
        bind("query", Some("key")),
        bind("path", None),
        bind("body", None),
        bind("basic-user", None),
        bind("basic-password", None),
        bind("sign-hmac-sha256", None)
    ]);
    let manifest = json!({"name": "f", "version": "1", "events": ["track"], "egress": {"allow": ["https://api.example.com"]},
        "settings": {"key": {"type": "string", "secret": true, "bind": binds}}});
    serde_json::from_value(manifest).expect("a manifest")
});

/// A secret, the URL, a header's value and the body of a request with `{key}` where its handle goes, and an answer with `{key}`
/// where it stands as it is, `{mixed}` where each of its characters is written in another way, or `{numbered}` where some are written by their numbers: in this order, each but the last ended by a byte that is in none of them.
pub fn secrets() -> Target {
    fn run(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let mut parts = text.split('\x1e');
        let [value, url, header, body] = [(); 4].map(|()| parts.next().unwrap_or_default());
        let answer = parts.next().unwrap_or_default();
        let mut settings = Map::from_iter([("key".to_owned(), Value::from(value))]);
        let (grant, secrets) =
            Grant::with_secrets(&LEAKY, &mut settings, "fuzz", &HandleKey::random()).expect("settings that fit");
        let handle = settings["key"].as_str().expect("a text").to_owned();
        if value.is_empty() {
            return;
        }
        assert!(!handle.contains(value) || value.len() < SURE, "{handle} has the value");
        // A path's slash is not part of its secret.
        let value = value.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(value);
        let (plain, json, mixed) = (Written::plain(value), Written::json(value), Written::mixed(value, input.len()));
        let numbered = Written::numbered(value, input.len());
        let code = STANDARD_NO_PAD.encode(value);
        // What the server says of itself is no secret, even if it happens to be a part of one.
        let own = filled(answer, ["\x1e"; 5]);
        // Also where its header leaves bytes out between parts of it.
        let own = format!("{own}\x1e{}", own.replace(|char: char| char != '\x1e' && !char.is_ascii_graphic(), ""));
        let answer = filled(answer, [value, &json.0.concat(), &code, &mixed.0.concat(), &numbered.0.concat()]);
        let with_handle = |text: &str| text.replace("{key}", &handle);
        let request = OutboundRequest {
            method: "POST".to_owned(),
            url: with_handle(url),
            headers: [("x-key".to_owned(), with_handle(header)), ("authorization".to_owned(), with_handle(header))]
                .into(),
            body: with_handle(body).into(),
        };
        // In a header's value there is no other byte, and a server that leaves bytes of a secret out is not seen through.
        let echoes = answer.len() <= 1_000 && value.bytes().all(|byte| byte.is_ascii_graphic());
        let echo: String = answer.chars().filter(|char| echoes && char.is_ascii_graphic()).collect();
        let canned = CannedResponse {
            status: None,
            headers: [("x-echo".to_owned(), echo)].into(),
            body: Value::from(answer.clone()),
        };
        let reach = Reach::new(&EgressConfig::default()).expect("a reach");
        let outlet =
            Answers::new(vec![CannedAnswer::Response(canned)], grant, reach, secrets.clone()).expect("an answer");
        let caps = ResponseCaps { body_bytes: 1 << 20, headers: 20, header_bytes: 10_000 };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(15);
        let sent = at_once(outlet.send(request, deadline, caps));
        // All but what the bits after it share in.
        let code = &code[..value.len() * 8 / 6];
        let whole = |text: &str| value.len() < SURE || !(text.contains(value) || text.contains(code));
        let clean = |text: &str| {
            let apart = apart(text, ["{secret.key}", &handle]);
            let parts = |written: &Written| written.leaves_nothing_in(&apart, &own);
            value.len() < SURE || whole(text) && [&plain, &json, &mixed, &numbered].into_iter().all(parts)
        };
        if let Ok(response) = sent {
            assert!(clean(&String::from_utf8_lossy(&response.body)), "the guest sees the value");
            assert!(response.headers.iter().all(|(name, value)| clean(name) && clean(value)), "{:?}", response.headers);
        } else if let Err(error) = sent {
            // What the guest has written itself may be quoted to it.
            assert!(whole(&error.to_string()) || [url, header, body].iter().any(|text| !whole(text)), "{error}");
        }
        assert!(outlet.hmac_sha256(handle.trim_start_matches('/'), body.as_bytes()).is_ok(), "it is bound to that");
        assert!(clean(&String::from_utf8_lossy(&secrets.redacted(answer.as_bytes()))), "people see the value");
        // Anywhere, and where it would cut one in two.
        let most = body.len() % answer.len().max(1);
        let shown = secrets.shown(&answer, most);
        assert!(shown.len() <= most && clean(&shown), "people see a part of the value");
        let Some(kept) = secrets.cut(answer.as_bytes(), most) else { return };
        assert!(clean(&String::from_utf8_lossy(&kept)), "people see a part of the value");
        // One that the end would cut in two.
        for length in 8..value.len().min(200) {
            let Some(at) = most.checked_sub(length) else { break };
            if answer.as_bytes()[at..].starts_with(value.as_bytes()) {
                assert!(!kept.ends_with(&value.as_bytes()[..length]), "{length} bytes of the value are left");
            }
        }
    }
    let tokens = &[
        "\x1e",
        "{key}",
        "{json}",
        "{base64}",
        "{mixed}",
        "{numbered}",
        "https://api.example.com/",
        "?key={key}",
        "Bearer {key}",
        "Basic ",
        "\\u0026",
        "%25",
        "&amp;",
        "&#38;",
        "\\\\",
        "\\n",
        "\\u0041",
        "\\\"",
        "\r\n",
        "\0",
        "{numbered} {json}",
        "tgs_",
        "\u{20ac}",
        "\u{1f600}",
    ];
    Target { name: "secrets", run, tokens, ..Target::QUICK }
}

/// The text with these in the places of their tokens, none of which is looked for in what was put there.
fn filled(text: &str, with: [&str; 5]) -> String {
    const TOKENS: [&str; 5] = ["{key}", "{json}", "{base64}", "{mixed}", "{numbered}"];
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('{') {
        let token = TOKENS.iter().zip(with).find(|(token, _)| rest[at..].starts_with(**token));
        let (put, length) = token.map_or(("{", 1), |(token, put)| (put, token.len()));
        filled.push_str(&rest[..at]);
        filled.push_str(put);
        rest = &rest[at + length..];
    }
    filled + rest
}

/// The text with a byte in the place of what stands for a secret, of which its end may have cut a part off: with what is before it, that could
/// look like one.
fn apart(text: &str, signs: [&str; 2]) -> String {
    let apart = signs.iter().fold(text.to_owned(), |text, sign| text.replace(sign, "\x1e"));
    let cut = signs.iter().filter_map(|sign| (1..sign.len()).rev().find(|length| apart.ends_with(&sign[..*length])));
    let kept = apart.len() - cut.max().unwrap_or(0);
    apart[..kept].to_owned()
}

/// A value as an encoder writes it, character by character.
struct Written(Vec<String>);

impl Written {
    fn plain(value: &str) -> Self {
        Self(value.chars().map(String::from).collect())
    }

    fn json(value: &str) -> Self {
        let write = |char: char| {
            let json = Value::from(char.to_string()).to_string();
            json[1..json.len() - 1].to_owned()
        };
        Self(value.chars().map(write).collect())
    }

    /// By an encoder of JSON that writes every third of the characters that there are by its number, whichever turn it is.
    fn numbered(value: &str, turn: usize) -> Self {
        let units =
            |char: char| char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        let plain = Self::json(value).0;
        let write = |(char, json): (char, String)| match (u32::from(char) as usize + turn) % 3 {
            0 => units(char),
            _ => json,
        };
        Self(value.chars().zip(plain).map(write).collect())
    }

    /// Each character in another way of those that are read, some of them in two layers.
    fn mixed(value: &str, turn: usize) -> Self {
        let bytes = |char: char| char.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let units =
            |char: char| char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
        // After a backslash that is written in another way than with one, one that begins an escape may be either's.
        let ways: &[usize] = if value.contains('\\') { &[0, 1, 3, 4] } else { &[0, 1, 2, 3, 4, 5] };
        let write = |(at, char): (usize, char)| match ways[(at * 7 + turn) % ways.len()] {
            0 if char.is_ascii_alphanumeric() => char.to_string(),
            0 | 1 => bytes(char),
            2 => units(char),
            3 => format!("&#{};", u32::from(char)),
            4 => format!("&#x{:x};", u32::from(char)).replace('&', "%26"),
            _ => bytes(char).replace('%', "\\u0025"),
        };
        Self(value.chars().enumerate().map(write).collect())
    }

    /// Whether a text has no part of it that is half as long, or has eight characters, but what the text has of its own. What no search
    /// looks at, as backslashes are, counts for nothing.
    fn leaves_nothing_in(&self, text: &str, own: &str) -> bool {
        let part = self.0.len().div_ceil(2).max(8);
        // Of a long one some parts, so that the time stays that of the text.
        self.0.windows(part).step_by(self.0.len() / 32 + 1).all(|part| {
            let seen = part.concat();
            let looked = seen.bytes().filter(|byte| !b"\\\0\r\n".contains(byte)).count();
            looked < SURE || !text.contains(&seen) || own.contains(&seen)
        })
    }
}

/// What a canned answer comes to: it waits for nothing, but lets others run.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(done) =
            future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        {
            return done;
        }
    }
}

/// Signatures of uploads, as they stand in a header, and keys.
pub fn signatures() -> Target {
    static KEY: LazyLock<PrivateKey> =
        LazyLock::new(|| PrivateKey::read(&PrivateKey::generate()).expect("the key that was made"));
    fn signed() -> Signature {
        KEY.sign(Digest([7; 32]), &LEAKY, 1_700_000_000_000)
    }
    fn run(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        if let Ok(key) = public_key(&text) {
            assert_eq!(public_key(&key.to_string()).ok(), Some(key), "its own text means the same");
        }
        drop(PrivateKey::read(&text).map(|key| key.public()));
        let Ok(signature) = text.parse::<Signature>() else { return };
        let written = signature.to_string();
        assert_eq!(written.parse::<Signature>().expect("its own text"), signature);
        // Whatever was changed, only what its owner signed holds. Other keys are whatever their owners take for keys.
        if signature.key == KEY.public() {
            let holds = signature.check(Digest([7; 32]), &LEAKY).is_ok();
            assert!(!holds || signature == signed(), "{written} was not made by the key's owner");
            assert!(signature.check(Digest([8; 32]), &LEAKY).is_err());
        }
    }
    fn more_seeds() -> Vec<Vec<u8>> {
        let signature = signed().to_string();
        vec![
            KEY.public().to_string().into(),
            signature.clone().into(),
            signature.to_uppercase().into(),
            PrivateKey::generate().as_bytes().to_vec(),
        ]
    }
    let tokens = &[
        "ed25519 ",
        "-----BEGIN PUBLIC KEY-----\n",
        "-----END PUBLIC KEY-----",
        "MCowBQYDK2VwAyEA",
        " 18446744073709551615 ",
    ];
    Target { name: "signatures", run, tokens, more_seeds, ..Target::QUICK }
}

/// A file of `cases/`, and what a function may have done.
pub fn cases() -> Target {
    fn run(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let Ok(case) = cases::parse(&text) else { return };
        let (events, types) = (case.given().count(), case.types());
        assert!(events > 0 || types.is_empty());
        // What it expects is what it takes, and nothing at all is not.
        let request = |request: &cases::ExpectedRequest| {
            let headers =
                request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().into()));
            let body = request.body.as_ref().map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
            json!({"method": request.method, "url": request.url, "headers": headers.collect::<Map<_, _>>(), "body": body})
        };
        let requests: Vec<Value> = case.requests.iter().map(request).collect();
        let expected = json!({"requests": requests, "outcome": case.outcome, "outcomes": case.outcomes});
        let folded = |request: &cases::ExpectedRequest| {
            let names: BTreeSet<String> = request.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
            names.len() == request.headers.len()
        };
        if case.requests.iter().all(folded) {
            assert_eq!(case.differences(&expected), Vec::<String>::new(), "{expected}");
        }
        let something = |outcome: &Map<String, Value>| outcome.values().any(|value| !value.is_null());
        if !case.requests.is_empty() || something(&case.outcome) || case.outcomes.iter().any(something) {
            assert!(!case.differences(&Value::Null).is_empty(), "{text}");
        }
        // Whatever a report is, it is compared and not believed.
        let shown = serde_json::from_str::<Value>(&text).expect("a case is JSON");
        for report in [Value::Null, json!({"requests": 7, "outcome": [], "outcomes": {}}), shown] {
            for difference in case.differences(&report) {
                assert!(!difference.is_empty());
            }
        }
    }
    fn more_seeds() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/slack/cases");
        let entries = std::fs::read_dir(folder).expect("cases");
        entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file")).collect()
    }
    let tokens = &[
        "\"event\":",
        "\"events\":[",
        "\"outcomes\":[",
        "\"requests\":[{",
        "\"body\":",
        "\"answers\":[",
        "\"outcome\":{\"code\":",
    ];
    Target { name: "cases", run, tokens, more_seeds, ..Target::QUICK }
}

/// JavaScript and TypeScript, the name of the file before a NUL: built in this process, as the process of an upload does.
pub fn scripts() -> Target {
    fn run(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let (name, source) = text.split_once('\0').unwrap_or(("handler.js", &text));
        let file = if name.ends_with("ts") { "handler.ts" } else { "handler.js" };
        match build::build_source(source, Path::new(file), None) {
            Ok(built) => {
                let inspected = catalog::inspect(&built.component).expect("what the host builds it takes");
                assert_eq!(
                    inspected.manifest.egress.allow,
                    Vec::<String>::new(),
                    "without a manifest it reaches nothing"
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let tokens = &[
        "async function onTrack(event, settings) {",
        "export default ",
        "import x from 'y';",
        "interface A<T extends keyof B> { readonly [key: string]: T }",
        "enum E { A = 1 << 2 }",
        "namespace N { export const a = 1 }",
        "@decorator class C { #a?: string = `${1}`; static { for (;;); } }",
        "for (;;);",
        "new Array(2 ** 31).fill(0);",
        "((((((((((((((((((((((((((((((((",
        "await ",
        "as unknown as never",
        "//# sourceMappingURL=data:application/json;base64,",
        "/(?<a>a+)+$/u",
        "}",
    ];
    // Where one is a function, loading it takes hundreds of milliseconds.
    Target { name: "scripts", run, tokens, round: 5, ..Target::QUICK }
}

/// The APIs, for targets that go through a socket. What uploads are built with ends at once.
struct Live {
    apis: Apis,
    runtime: tokio::runtime::Runtime,
    /// A link that opens a session, as long as nobody has.
    link: String,
}

static LIVE: LazyLock<Live> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let many = "1000000000";
    let variables = [
        ("TIDEGATE__CONTROL__KEY_REQUESTS_PER_S", many),
        ("TIDEGATE__CONTROL__KEY_BURST", many),
        ("TIDEGATE__CONTROL__WRONG_KEYS", many),
    ];
    let (apis, link) = runtime.block_on(async {
        let apis = Apis::start_building_with(&variables, "/bin/false".into()).await;
        let made = apis.make("/api/v1/links", &json!({"name": "fuzz", "role": "workspace-viewer"})).await;
        (apis, made["link"].as_str().expect("a link").to_owned())
    });
    Live { apis, runtime, link }
});

/// A form that is one, with a file that could be a function.
const GOOD: &[u8] =
    b"--edge\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\nasync function onTrack() {}\r\n--edge--\r\n";

/// Forms with a function in them. The boundary is the word `edge`.
pub fn forms() -> Target {
    fn uploaded(form: &[u8]) -> (u16, String) {
        let live = &*LIVE;
        let bearer = format!("Bearer {}", live.apis.token);
        let kind = "multipart/form-data; boundary=edge";
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let answer =
            live.runtime.block_on(send(live.apis.admin, "POST", "/api/v1/functions?name=fuzz", &headers, form));
        let (code, kind) = (answer.json()["code"].clone(), answer.json()["type"].clone());
        let code = code.as_str().unwrap_or_else(|| panic!("no problem: {}", answer.text())).to_owned();
        assert_eq!(kind, format!("/problems/{code}"), "a code that has no page");
        (answer.status, code)
    }
    fn run(input: &[u8]) {
        // The process that builds ends at once: so this is how the answer looks to whatever comes so far.
        static BUILT: LazyLock<(u16, String)> = LazyLock::new(|| uploaded(GOOD));
        let (status, code) = uploaded(input);
        if (status, &code) == (BUILT.0, &BUILT.1) {
            let has = |word: &str| memchr::memmem::find(&input.to_ascii_lowercase(), word.as_bytes()).is_some();
            assert!(
                has("--edge") && has("content-disposition") && has("name"),
                "something is built of what is no form"
            );
        } else {
            assert!(matches!(status, 400 | 413 | 415 | 422), "{status} {code}");
        }
        // Whatever it was, it holds no place and breaks nothing.
        assert_eq!(uploaded(GOOD), *BUILT, "the next upload");
    }
    let tokens = &[
        "--edge\r\n",
        "\r\n--edge--\r\n",
        "content-disposition: form-data; name=\"component\"\r\n\r\n",
        "content-disposition: form-data; name=\"handler.js\"\r\n\r\n",
        "content-disposition: form-data; name=\"function.toml\"; filename=\"function.toml\"\r\n\r\n",
        "content-disposition: form-data; name=\"cases/a.json\"\r\n\r\n",
        "content-type: text/plain; charset=utf-16\r\n",
        "content-transfer-encoding: base64\r\n",
        "name*=utf-8''handler.js",
    ];
    Target { name: "forms", run, tokens, round: 20, ..Target::QUICK }
}

/// Links that open a session.
pub fn links() -> Target {
    fn run(input: &[u8]) {
        let live = &*LIVE;
        let text = String::from_utf8_lossy(input);
        if text == live.link {
            return;
        }
        let body = json!({"link": text}).to_string();
        let headers = [("content-type", "application/json")];
        let answer =
            live.runtime.block_on(send(live.apis.admin, "POST", "/api/v1/sessions", &headers, body.as_bytes()));
        assert!((400..500).contains(&answer.status), "{text:?}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("tgk_"), "a token for {text:?}");
    }
    fn more_seeds() -> Vec<Vec<u8>> {
        vec![LIVE.link.clone().into()]
    }
    Target { name: "links", run, tokens: &["tgl_", "tgk_", "AAAA", "=", "-_", "+/"], more_seeds, round: 20 }
}
