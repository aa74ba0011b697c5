//! Nothing leaks: every secret is random, much goes right and wrong, and then everything that the host wrote or served is searched
//! for it, as it is and in the usual encodings. What encoders write in different ways stands between random parts that they all
//! leave as they are, so that a secret in a form that nobody thought of shows its parts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner, Received};
use crate::tracing::Collector;

/// Puts its secrets wherever it can, and ends in every way.
const HANDLER: &str = r#"
async function onTrack(event, settings) {
  const { key, shown, origin, other } = settings;
  const post = (url, options) => fetch(url, { method: 'POST', ...options });
  console.log(key, shown, btoa(shown), encodeURIComponent(shown), Buffer.from(shown).toString('hex'), JSON.stringify(shown));
  await cache.load('kept', 1000, async () => `${key} ${shown}`);
  const answer = await post(`${origin}/${key}?key=${key}`, {
    headers: { authorization: `Basic ${btoa(`u:${key}`)}`, 'x-signature': crypto.createHmac('sha256', key).update('x').digest('hex') },
    body: JSON.stringify({ key, status: event.properties.status }),
  });
  const text = await answer.text();
  console.warn(text, answer.headers.get('x-echo'));
  switch (event.event) {
    case 'wrong place': return post(origin, { headers: { 'x-wrong': key } });
    case 'wrong origin': return post(`${other}/${key}`);
    case 'host name': return post(`https://${key}.example.com/`);
    case 'spin': for (;;);
    case 'recurse': { const down = () => down() + 1; return down(); }
    case 'trap': return new Array(2 ** 30).fill(text);
    case 'throw': throw Object.assign(new Error(`${key} ${shown} ${text}`), { name: key });
    case 'reject': throw new ValidationError(`${text} ${shown}`);
    case 'settings': throw new InvalidSettings(text + key);
    case 'retry': if (answer.status !== 200) throw new RetryError(`${text} ${key}`);
  }
}
"#;

const MANIFEST: &str = r#"name = "leaky"
version = "1"
events = ["track"]
[egress]
allow = ["{settings.origin}", "{settings.other}"]
[settings.origin]
type = "string"
[settings.other]
type = "string"
[settings.key]
type = "string"
secret = true
pattern = "[^#]+"
bind = [
    { origin = "{settings.origin}", place = "path" },
    { origin = "{settings.origin}", place = "query", name = "key" },
    { origin = "{settings.origin}", place = "basic-password" },
    { origin = "{settings.origin}", place = "body" },
    { origin = "{settings.origin}", place = "sign-hmac-sha256" },
]
[settings.shown]
type = "string"
secret = true
reveal = true
"#;

/// Random secrets, each with cores that no encoding but base64, base32 and hexadecimal digits changes.
#[derive(Default)]
struct Canaries(BTreeMap<&'static str, Vec<String>>);

impl Canaries {
    /// A secret of this form, with a core of its own in the place of each `*`.
    fn make(&mut self, name: &'static str, form: &str) -> String {
        let mut secret = String::new();
        for (at, part) in form.split('*').enumerate() {
            if at > 0 {
                let mut bytes = [0; 12];
                File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).expect("randomness");
                let core: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                secret.push_str(&core);
                self.0.entry(name).or_default().push(core);
            }
            secret.push_str(part);
        }
        secret
    }

    /// Which of them stand in a text, and how.
    fn found(&self, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, core) in self.0.iter().flat_map(|(name, cores)| cores.iter().map(move |core| (name, core))) {
            for (form, needle) in forms(core) {
                if memchr::memmem::find(text, needle.as_bytes()).is_some() {
                    found.push(format!("{name} ({form})"));
                }
            }
        }
        found
    }
}

/// A core as it is, as hexadecimal digits, in UTF-16, and in base64 and base32 in each of their alignments.
fn forms(core: &str) -> Vec<(&'static str, String)> {
    let hex: String = core.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms =
        vec![("plain", core.to_owned()), ("hex", hex), ("UTF-16", wide(core).trim_matches('\0').to_owned())];
    for before in 0..5_usize {
        let padded = [&vec![0; before][..], core.as_bytes()].concat();
        let decided = |text: &str, bits: usize| text[(before * 8).div_ceil(bits)..padded.len() * 8 / bits].to_owned();
        if before < 3 {
            forms.push(("base64", decided(&base64(&padded), 6)));
        }
        forms.push(("base32", decided(&base32(&padded), 5)));
    }
    forms
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |at: usize| (0..5).fold(0, |digit, bit_at| digit << 1 | usize::from(bit(at * 5 + bit_at)));
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    (0..(bytes.len() * 8).div_ceil(5)).map(|at| char::from(digits[digit(at)])).collect()
}

/// A byte of nothing after each of ASCII.
fn wide(text: &str) -> String {
    text.chars().flat_map(|char| [char, '\0']).collect()
}

/// The same text as many servers write it.
fn written(text: &str) -> Vec<(&'static str, String)> {
    let json = Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let each = |plain: &dyn Fn(char) -> bool, write: &dyn Fn(char) -> String| -> String {
        text.chars().map(|char| if plain(char) { char.to_string() } else { write(char) }).collect()
    };
    let word = |char: char| char.is_ascii_alphanumeric();
    let units =
        |char: char| char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
    let percent =
        |char: char| char.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let ascii = |json: &str| {
        json.chars()
            .map(|char| if char.is_ascii() { char.to_string() } else { units(char).to_lowercase() })
            .collect::<String>()
    };
    let lines = |text: String| text.as_bytes().chunks(76).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\r\n");
    vec![
        ("JSON", json.clone()),
        ("JSON in JSON", Value::from(json.as_str()).to_string()),
        ("Go's JSON", json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")),
        (".NET's JSON", each(&word, &units)),
        ("PHP's JSON", ascii(&json).replace('/', "\\/")),
        ("encodeURIComponent", each(&|char| word(char) || "-_.!~*'()".contains(char), &percent)),
        ("a form", each(&|char| word(char) || "-_.* ".contains(char), &percent).replace(' ', "+")),
        ("Python's quote", each(&|char| word(char) || "-_.~/".contains(char), &percent)),
        ("HTML", each(&|char| !"&<>\"'".contains(char), &|char| format!("&#{};", u32::from(char)))),
        ("names in HTML", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")),
        ("hex in HTML", each(&word, &|char| format!("&#x{:x};", u32::from(char)))),
        ("hex", text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("base64", base64(text.as_bytes())),
        ("base64 in lines", lines(base64(text.as_bytes()))),
        ("base32", base32(text.as_bytes())),
        ("UTF-16", wide(text)),
    ]
}

/// Fails, succeeds, and repeats everything that it was sent, in every form that it can think of.
async fn partner() -> Partner {
    Partner::repeating(|request: &Received| {
        let text = String::from_utf8_lossy(&request.body);
        // Whatever a function makes of the event, its status is told somewhere after that word.
        let digits = |after: &str| after.chars().filter(char::is_ascii_digit).take(3).collect::<String>().parse().ok();
        let status =
            text.split("status").skip(1).find_map(digits).filter(|code| (200..600).contains(code)).unwrap_or(200_u16);
        let head = format!("{} {:?}", request.path, request.headers);
        let all = format!("{head}{text}");
        let shown: Vec<String> = written(&all).into_iter().map(|(form, text)| format!("{form}: {text}")).collect();
        let echo: String = head.chars().filter(|char| char.is_ascii() && !char.is_ascii_control()).collect();
        (status, vec![("x-echo", echo)], format!("{all}\n{}", shown.join("\n")))
    })
    .await
}

/// Every text that the control API has.
async fn served(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<String> =
        ["/metrics", "/openapi.json", "/livez", "/readyz", "/version", "/api/v1/audit"].map(str::to_owned).into();
    for list in [
        "whoami",
        "workspaces",
        "partners",
        "keys",
        "functions",
        "sources",
        "destinations",
        "connections",
        "deliveries",
        "ledger",
        "vault",
    ] {
        paths.push(format!("/api/v1/{list}"));
        let items = host.api("GET", &format!("/api/v1/{list}"), Value::Null).await["items"].clone();
        for id in items.as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()) {
            paths.push(format!("/api/v1/{list}/{id}"));
            match list {
                "deliveries" => paths.push(format!("/api/v1/{list}/{id}/attempts")),
                "functions" => {
                    paths.extend([format!("/api/v1/{list}/{id}/versions"), format!("/api/v1/{list}/{id}/logs")])
                }
                _ => {}
            }
        }
    }
    let bearer = format!("Bearer {}", host.token);
    let mut served = Vec::new();
    for path in paths {
        let answer = http::send(host.admin, "GET", &path, &[("authorization", bearer.as_str())], Vec::new()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        served.push((path, answer.body.to_vec()));
    }
    served
}

/// Every file in a folder.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            // A file that a checkpoint or an upload removes meanwhile has nothing to show.
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_that_the_host_writes_or_serves() {
    let (data, partner, other) = (tempfile::tempdir().unwrap(), partner().await, Partner::start().await);
    let (log, collector) = (tempfile::NamedTempFile::new().unwrap(), Collector::start().await);
    let endpoint = collector.endpoint();
    let open = format!("[\"{}\", \"{}\"]", partner.address, other.address);
    let settings = [
        ("TIDEGATE__EGRESS__ALLOW_ADDRESSES", open.as_str()),
        ("TIDEGATE__LOG__LEVEL", "trace"),
        ("TIDEGATE__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "10"),
        ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "20"),
        ("TIDEGATE__DELIVERY__RETRY_WINDOW_S", "2"),
    ];
    let host = Host::start_logging(data.path(), partner.address, &settings, log.reopen().unwrap());
    let mut canaries = Canaries::default();
    let mut all = Vec::new();
    let url = partner.url();
    for (name, own) in [
        ("slack", json!({"webhook_path": canaries.make("slack", "/services/*/x y'(*)"), "base_url": url})),
        ("braze", json!({"apiKey": canaries.make("braze", "k-*\"/<*>"), "cluster": "iad-01", "endpoint": url})),
        ("mixpanel", json!({"token": canaries.make("mixpanel", "t&*+~'*"), "endpoint": url})),
        (
            "google-analytics",
            json!({"measurementId": "G-ABCD12", "apiSecret": canaries.make("google", "*ü?&=*"), "endpoint": url}),
        ),
        ("customerio", json!({"siteId": "site", "apiKey": canaries.make("customerio", "a:*'!<*"), "endpoint": url})),
        ("datadog", json!({"apiKey": canaries.make("datadog", "*"), "endpoint": url})),
        ("webhook", json!({"api_key": canaries.make("webhook", "w*/+*"), "url": url})),
        (
            "amazon-personalize",
            json!({"region": "eu-central-1", "access_key_id": "AKIAIOSFODNN7EXAMPLE", "tracking_id": "t",
            "secret_access_key": canaries.make("aws", "*/+"), "endpoint": url}),
        ),
    ] {
        let component = fs::read(function(name)).unwrap();
        all.push(host.wire(&component, name, own).await.0);
    }
    let (key, shown) = (canaries.make("leaky", "l/*\"\\+ö<*&>'*"), canaries.make("revealed", "r*\"é/&*<"));
    let own = json!({"key": key, "shown": shown, "origin": url, "other": other.url()});
    host.push_source(HANDLER, MANIFEST).await;
    all.push(host.feed("leaky", own.clone()).await.0);

    // What a customer mistypes, and what a partner tries.
    for wrong in [
        json!({"key": format!("{key}#"), "shown": [shown]}),
        json!({"key": {"a": key}}),
        json!({"kye": key, "key": "•••• "}),
    ] {
        let body = json!({"name": "wrong", "function": "leaky", "settings": wrong});
        let (_, answer) = host.try_api("POST", "/api/v1/destinations", body).await;
        // The name of a setting that there is not is shown, its value is not.
        assert_eq!(canaries.found(answer.to_string().as_bytes()), Vec::<String>::new(), "{answer}");
    }
    let event = |name: &str, status: u16| json!({"type": "track", "event": name, "userId": "u", "properties": {"status": status}});
    for answers in [json!([{"status": 500, "body": {"you sent": key}}]), Value::Null] {
        let mut body = json!({"event": event("throw", 200), "settings": own});
        if !answers.is_null() {
            body["answers"] = answers;
        }
        let report = host.api("POST", "/api/v1/functions/leaky/test", body).await;
        assert_eq!(canaries.found(report.to_string().as_bytes()), Vec::<String>::new(), "{report}");
        assert!(report["outcome"]["message"].as_str().unwrap().contains("{secret.key} {secret.shown}"), "{report}");
    }

    let names = [
        "plain",
        "wrong place",
        "wrong origin",
        "host name",
        "spin",
        "recurse",
        "trap",
        "throw",
        "reject",
        "settings",
        "retry",
    ];
    for source in &all {
        let mut batch: Vec<Value> = names.iter().map(|name| event(name, 200)).collect();
        batch.extend([400, 401, 429, 500, 503].map(|status| event("retry", status)));
        batch.push(json!({"type": "identify", "userId": "u", "traits": {"plan": "pro"}}));
        let body = json!({"writeKey": source["write_key"], "batch": batch}).to_string().into_bytes();
        let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let ledger = host.drained().await;
    assert!(ledger["dead"].as_u64() > Some(5) && ledger["delivered"].as_u64() > Some(20), "{ledger}");
    host.api("POST", "/api/v1/vault/rotate", json!({})).await;

    // The test shows something only if every secret was used.
    let received: Vec<u8> =
        partner.received.lock().unwrap().iter().flat_map(|request| format!("{request:?}").into_bytes()).collect();
    let used = canaries.found(&received);
    for name in canaries.0.keys().filter(|name| !["aws", "revealed"].contains(name)) {
        assert!(used.iter().any(|found| found.starts_with(name)), "{name} reached nobody: {used:?}");
    }
    let signed = String::from_utf8_lossy(&received).matches("AWS4-HMAC-SHA256 Credential=AKIA").count();
    assert!(signed > 0 && other.received.lock().unwrap().is_empty());

    let mut written = served(&host).await;
    assert!(
        written.iter().any(|(_, text)| String::from_utf8_lossy(text).contains("{secret.key}")),
        "names are shown instead"
    );
    files(data.path(), &mut written);
    let spans = collector.all_of(&host).await;
    host.kill();
    files(data.path(), &mut written);
    let log = fs::read(log.path()).unwrap();
    assert!(log.len() > 100_000, "the log is that of a host that traces: {} bytes", log.len());
    written.push(("the log".to_owned(), log));
    written.extend(spans.into_iter().map(|body| ("a batch of spans".to_owned(), body)));
    let leaks: Vec<String> = written
        .iter()
        .flat_map(|(place, text)| canaries.found(text).into_iter().map(move |found| format!("{place}: {found}")))
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// Says, logs and names an error by what ends in the middle of its secret.
const CUT: &str = r#"
async function onTrack(event, settings) {
  const { pad, how } = event.properties;
  const text = (length) => 'm'.repeat(Math.max(3, length - pad)) + settings.shown;
  if (how === 'log') return console.log(text(16384));
  if (how === 'url') return fetch('https://x.example:0/' + text(200 - 'https://x.example:0/'.length));
  if (how === 'method') return fetch('https://x.example/', { method: text(32) });
  if (how === 'header') return fetch('https://x.example/', { headers: { [text(64) + ' x']: '' } });
  if (how === 'host') return fetch(`https://mmm.${settings.shown}`);
  throw how === 'name' ? Object.assign(new Error('no'), { name: text(128) }) : new ValidationError(text(4096));
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_a_name_and_a_log_line_that_are_cut_in_the_middle_of_a_secret_have_no_part_of_it() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let manifest = "name = \"cut\"\nversion = \"1\"\nevents = [\"track\"]\n[settings.shown]\ntype = \"string\"\nsecret = true\nreveal = true\n";
    host.push_source(CUT, manifest).await;
    let secret = Canaries::default().make("shown", "s-*/*");
    let (source, _) = host.feed("cut", json!({"shown": secret})).await;
    let event = |how: &str, pad: usize| json!({"type": "track", "event": "E", "userId": "u", "properties": {"how": how, "pad": pad}});
    let clean = |shown: &Value, what: &str, pad: usize| {
        // A method is written in capitals.
        let text = shown.to_string().to_lowercase();
        assert!(text.contains("mmm") && !text.contains(&secret[..4]), "{what} {pad}: {}", text.replace("mmmm", ""));
    };
    let ways = [
        ("log", "log"),
        ("name", "outcome"),
        ("message", "outcome"),
        ("url", "outcome"),
        ("url", "requests"),
        ("method", "outcome"),
        ("header", "outcome"),
        ("host", "requests"),
    ];
    for (how, at) in ways {
        for pad in [4, 12, secret.len() - 1, secret.len()] {
            let body = json!({"event": event(how, pad), "settings": {"shown": secret}});
            let report = host.api("POST", "/api/v1/functions/cut/test", body).await;
            clean(&report[at], how, pad);
        }
    }
    // And what is kept of deliveries.
    let batch: Vec<Value> = ways.iter().map(|(how, _)| event(how, 12)).collect();
    let body = json!({"writeKey": source["write_key"], "batch": batch}).to_string().into_bytes();
    let kind = [("content-type", "application/json")];
    assert_eq!(http::send(host.listen, "POST", "/v1/batch", &kind, body).await.status, 200);
    host.drained().await;
    let served = served(&host).await;
    let attempts: Vec<String> = served
        .iter()
        .filter(|(path, _)| path.ends_with("/attempts"))
        .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        .collect();
    assert!(
        attempts.len() == ways.len() && attempts.iter().filter(|text| text.contains("mmm")).count() >= 2,
        "{attempts:?}"
    );
    let leaks: Vec<&str> = served
        .iter()
        .filter(|(_, text)| memchr::memmem::find(text, &secret.as_bytes()[..4]).is_some())
        .map(|(path, _)| path.as_str())
        .collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    let mut canaries = Canaries::default();
    let secret = canaries.make("one", "a/*\"&<é'*b");
    for before in ["", "x", "xy", "xyz", "xyzz"] {
        for (form, text) in written(&format!("{before}{secret}")) {
            // A line may end in the middle of one of its two cores.
            let least = if form == "base64 in lines" { 1 } else { 2 };
            assert!(canaries.found(text.as_bytes()).len() >= least, "{form}: {text}");
        }
    }
    assert!(canaries.found(b"nothing here").is_empty());
}
