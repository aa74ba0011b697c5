//! The targets: what a stranger's bytes go through, and what must hold whatever they are.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidegate::catalog::{self, manifest, settings};
use tidegate::config::Config;
use tidegate::egress::{
    AllowEntry, EgressConfig, Gate, Grant, GrantedGate, LastOrigin, OutboundRequest, Outlet, Reach, ResponseCaps,
    Secrets, Target as Url, permit,
};
use tidegate::ingest::{self, Arrival, Call, Inflate, Ingest};
use tidegate::model::{EventType, SourceId, Timestamp};

use crate::guests;

/// One boundary.
pub struct Target {
    /// Also the name of its folder.
    pub name: &'static str,
    /// Takes an input; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Words of the format.
    pub tokens: &'static [&'static str],
    /// Seeds that are no files.
    pub more_seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs between two looks at the clock.
    pub round: u32,
}

impl Target {
    /// What a target has that says nothing else: no seeds but its files, and inputs that take no time.
    pub const QUICK: Self = Self { name: "", run: |_| {}, tokens: &[], more_seeds: Vec::new, round: 200 };
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::load(None, []).expect("the default configuration"));

/// Bodies of the tracking API, after decompression.
pub fn tracking() -> Target {
    fn run(input: &[u8]) {
        let arrival = Arrival {
            source: SourceId::new(Timestamp::from_millis(1)),
            received_at: Timestamp::from_millis(1_700_000_000_000),
            peer: Ipv4Addr::LOCALHOST.into(),
            browser: false,
        };
        for call in [Call::Batch, Call::Single(EventType::Track), Call::Single(EventType::Identify)] {
            let Ok(request) = ingest::parse(call, input) else { continue };
            let Ok(events) = Ingest::new(CONFIG.ingest).events(call, &request, &arrival) else { continue };
            assert!(events.len() <= request.len());
            for (event, _) in events {
                // Its values as they were written: a number may have more digits than any reader's numbers.
                let json: BTreeMap<String, &RawValue> = serde_json::from_slice(&event.json).expect("an event is JSON");
                let text = |name: &str| serde_json::from_str::<String>(json[name].get()).expect("a text");
                assert_eq!(
                    (text("type").as_str(), text("messageId")),
                    (event.event_type.as_str(), event.message_id.clone())
                );
                assert!(!event.message_id.is_empty() && event.json.len() <= CONFIG.ingest.event_bytes + 1024);
            }
        }
    }
    let tokens = &[
        "\"batch\":",
        "\"type\":\"track\"",
        "\"messageId\":",
        "\"userId\":",
        "\"anonymousId\":",
        "\"context\":{",
        "\"timestamp\":",
        "\"integrations\":{\"All\":false}",
        "\"sentAt\":",
        "\"traits\":",
        "\"properties\":",
        "2026-01-01T00:00:00.000Z",
    ];
    Target { name: "tracking", run, tokens, ..Target::QUICK }
}

/// `function.toml`.
pub fn manifests() -> Target {
    fn run(input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(manifest) = manifest::parse(text) else { return };
        // It is stored as JSON, and must come back as it was.
        let stored = serde_json::to_string(&manifest).expect("JSON");
        assert_eq!(serde_json::from_str::<tidegate::model::Manifest>(&stored).expect("the same"), manifest);
        for entry in &manifest.egress.allow {
            AllowEntry::parse(entry).expect("a manifest that passed names origins");
        }
    }
    let tokens = &[
        "[settings.x]",
        "type = \"string\"",
        "secret = true",
        "[egress]",
        "allow = [\"https://{settings.x}.example.com\"]",
        "[batch]",
        "[limits]",
    ];
    Target { name: "manifests", run, tokens, more_seeds: function_manifests, ..Target::QUICK }
}

/// Those of the functions in this repository.
fn function_manifests() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    let entries = std::fs::read_dir(folder).expect("the functions");
    entries.filter_map(|entry| std::fs::read(entry.expect("an entry").path().join("function.toml")).ok()).collect()
}

/// A manifest, a NUL, and a customer's settings for it as JSON.
pub fn settings() -> Target {
    fn run(input: &[u8]) {
        let mut parts = input.splitn(2, |byte| *byte == 0).map(std::str::from_utf8);
        let (Some(Ok(text)), Some(Ok(given))) = (parts.next(), parts.next()) else { return };
        let (Ok(manifest), Ok(given)) = (manifest::parse(text), serde_json::from_str::<Map<String, Value>>(given))
        else {
            return;
        };
        if settings::validate(&manifest, &given).is_ok() {
            // What was taken when it was saved works when it is used.
            let all = manifest.with_defaults(&given);
            if let Err(error) = Grant::new(&manifest.egress.allow, &all, "fuzz") {
                assert!(!error.to_string().contains("setting"), "{error}");
            }
        }
    }
    Target {
        name: "settings",
        run,
        tokens: &["\"region\":", "\"url\":\"https://", "eu-1", "\"tags\":[\"a\"]"],
        ..Target::QUICK
    }
}

/// URLs of guests and origins of manifests.
pub fn urls() -> Target {
    fn run(input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        drop(AllowEntry::parse(text).map(|entry| entry.resolve(&Map::new())));
        let Ok(target) = Url::parse(text) else { return };
        let (origin, host) = (&target.origin, target.origin.host.to_string());
        assert_eq!(
            tidegate::egress::Origin::parse(&origin.to_string()).as_ref(),
            Ok(origin),
            "its own text means the same"
        );
        if let Ok(uri) = text.parse::<http::Uri>() {
            assert_eq!(uri.host().unwrap_or_default().to_ascii_lowercase().trim_end_matches('.'), host);
            assert_eq!(uri.port_u16().unwrap_or(origin.scheme.default_port()), origin.port);
        }
        match url::Url::parse(text) {
            Ok(browser) => {
                assert_eq!(browser.host_str().unwrap_or_default().trim_end_matches('.'), host);
                assert_eq!(browser.port_or_known_default(), Some(origin.port));
            }
            // Bad Punycode is a name like any other here.
            Err(_) => assert!(host.contains("xn--"), "{text} is no URL to a browser"),
        }
    }
    let tokens = &[
        "https://",
        "http://",
        "a.example",
        "127.0.0.1",
        "[::1]",
        ":443",
        "xn--",
        "0x7f",
        "%2e",
        "\u{3002}",
        "..",
        "*.",
        "{settings.x}",
    ];
    Target { name: "urls", run, tokens, ..Target::QUICK }
}

/// Uploaded components.
pub fn components() -> Target {
    fn run(input: &[u8]) {
        if let Ok(inspected) = catalog::inspect(input) {
            assert_eq!(inspected.size, input.len() as u64);
            let lent = |import: &String| import.starts_with("tidegate:destination/") || import.starts_with("wasi:");
            assert!(inspected.inspection.imports.iter().all(lent), "{inspected:?}");
        }
    }
    fn more_seeds() -> Vec<Vec<u8>> {
        [guests::DELIVERED, guests::WAIT_ANY, guests::SPIN_DESTRUCTOR].iter().map(guests::Guest::component).collect()
    }
    let tokens = &[
        "\0asm\x0d\0\x01\0",
        "\0asm\x01\0\0\0",
        "\x07\x01\x41",
        "\x41\x01\x01",
        "\x42\x01\x01",
        "tidegate:manifest",
        "cm32p2",
    ];
    Target { name: "components", run, tokens, more_seeds, ..Target::QUICK }
}

/// A request of a guest, each part on a line of its own: method, URL, header fields with a colon.
pub fn requests() -> Target {
    fn run(input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let mut parts = text.split('\x1e').map(str::to_owned);
        let (method, url) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let headers: Vec<(String, String)> = parts
            .map(|part| {
                part.split_once(':').map_or((part.clone(), String::new()), |(name, value)| (name.into(), value.into()))
            })
            .collect();
        let allow = ["https://api.example.com", "https://*.example.org", "http://127.0.0.1:9"].map(str::to_owned);
        let grant = Grant::new(&allow, &Map::new(), "fuzz").expect("a grant");
        let opened = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let reach =
            Reach::new(&EgressConfig { allow_addresses: vec![opened], ..EgressConfig::default() }).expect("a reach");
        let request =
            OutboundRequest { method, url: url.clone(), headers: headers.clone().into(), body: Default::default() };
        let last = LastOrigin::default();
        let ask = || permit(&request, (&grant, &reach), &last, &Secrets::default()).map(drop);
        let first = ask();
        assert_eq!(ask(), first, "the origin is known now");
        if first.is_err() {
            return;
        }
        let origin = Url::parse(&url).expect("a permitted URL").origin;
        assert_eq!(grant.judge(&origin), Ok(()));
        for (name, value) in headers {
            let plain = |text: &str| !text.contains(['\r', '\n', '\0']);
            assert!(plain(&name) && plain(&value), "{name}: {value}");
            assert!(
                !["host", "content-length", "transfer-encoding", "connection"].contains(&&*name.to_ascii_lowercase())
            );
        }
    }
    let tokens = &[
        "\x1e",
        "GET",
        "CONNECT",
        "host: x",
        "https://api.example.com/",
        "https://a.example.org",
        "\r\nx: y",
        "transfer-encoding: chunked",
    ];
    Target { name: "requests", run, tokens, ..Target::QUICK }
}

/// Compressed bodies of the tracking API.
pub fn gzip() -> Target {
    fn inflated(input: &[u8], piece: usize, limit: usize) -> Option<Vec<u8>> {
        let mut inflate = Inflate::new(true, limit);
        for piece in input.chunks(piece) {
            inflate.take(piece).ok()?;
        }
        inflate.finish().ok()
    }
    fn run(input: &[u8]) {
        let limit = 64 << 10;
        let whole = inflated(input, usize::MAX, limit);
        assert!(whole.as_ref().is_none_or(|bytes| bytes.len() <= limit));
        assert_eq!(inflated(input, 7, limit), whole, "however it arrives");
    }
    fn more_seeds() -> Vec<Vec<u8>> {
        let zip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        };
        vec![zip(b"{}"), zip(&[b' '; 70_000]), [zip(b"{\"batch\""), zip(b":[]}")].concat(), zip(b"")]
    }
    Target { name: "gzip", run, tokens: &["\x1f\u{8b}\x08", "\0\0\0\u{ff}\u{ff}"], more_seeds, ..Target::QUICK }
}

/// What a partner's server says, byte for byte, until it closes the connection.
pub fn responses() -> Target {
    fn run(input: &[u8]) {
        let server = &*SERVER;
        *server.says.lock().expect("a lock") = input.into();
        let caps = ResponseCaps { body_bytes: 10_000, headers: 20, header_bytes: 2_000 };
        let request = OutboundRequest { method: "GET".into(), url: server.url.clone(), ..OutboundRequest::default() };
        let deadline = Duration::from_secs(15);
        let ended = server
            .runtime
            .block_on(async { server.outlet.send(request, tokio::time::Instant::now() + deadline, caps).await });
        match ended {
            Ok(response) => {
                assert!(response.body.len() <= 10_000 && response.headers.len() <= 20, "{response:?}");
                assert!((200..=599).contains(&response.status));
                let bytes: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                // What is no UTF-8 is replaced, by three bytes for one.
                assert!(bytes <= 6_000, "{bytes}");
            }
            Err(tidegate::egress::EgressError::Timeout(why)) => panic!("{why}, though the server had closed"),
            Err(_) => {}
        }
    }
    let tokens = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "content-length: 5\r\n",
        "content-encoding: gzip\r\n",
        "content-encoding: deflate\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
        "\r\n\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
    ];
    Target { name: "responses", run, tokens, ..Target::QUICK }
}

/// A partner that says whatever it is told, and the gate to it.
struct Server {
    says: Arc<Mutex<Arc<[u8]>>>,
    url: String,
    outlet: GrantedGate,
    runtime: tokio::runtime::Runtime,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let says: Arc<Mutex<Arc<[u8]>>> = Arc::new(Mutex::new(Arc::from([])));
    let said = says.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut piece = [0; 1_024];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => head.extend(&piece[..length]),
                }
            }
            let bytes = said.lock().expect("a lock").clone();
            // Who has heard enough has left.
            drop(stream.write_all(&bytes));
        }
    });
    let url = format!("http://{address}");
    let config = EgressConfig { allow_addresses: vec![address], ..EgressConfig::default() };
    let grant = Grant::new(std::slice::from_ref(&url), &Map::new(), "fuzz").expect("a grant");
    let outlet = GrantedGate::new(Arc::new(Gate::new(&config).expect("a gate")), grant, Secrets::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Server { says, url, outlet, runtime }
});
