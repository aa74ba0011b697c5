//! The functions in `functions/`: each builds, is small, and does in the real sandbox what its cases say.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate::catalog::cases::{self, Case};
use tidegate::catalog::{self, Toolchain, settings};
use tidegate::clock::Clock;
use tidegate::delivery::{Extent, Reports, classify};
use tidegate::egress::{Answers, Grant, HandleKey, Reach, Secrets};
use tidegate::model::{Event, Limits, Manifest, Timestamp};
use tidegate::sandbox::{CacheScope, GuestEvent, Invocation, LoadedVersion, Sandbox, SandboxConfig};

use crate::host::function;

/// The functions, and the bytes that the component of each may have. One that waits for a partner should not cost the
/// host more than a picture on a web page does, and signing costs one more.
const FUNCTIONS: [(&str, usize); 10] = [
    ("amazon-personalize", 200 << 10),
    ("braze", JAVASCRIPT),
    ("customerio", JAVASCRIPT),
    ("datadog", JAVASCRIPT),
    ("google-analytics", JAVASCRIPT),
    ("mixpanel", JAVASCRIPT),
    ("slack", JAVASCRIPT),
    ("slack-rust", 120 << 10),
    ("webhook", 120 << 10),
    ("webhook-python", PYTHON),
];

/// When `tidegate function test` runs its cases.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Bytes of a function in JavaScript: the engine and the memory that its globals leave.
const JAVASCRIPT: usize = 4 << 20;

/// Bytes of a function in Python: the interpreter, its libraries, and the memory that importing them leaves.
const PYTHON: usize = 24 << 20;

/// The function's component: built here, or by `cargo xtask` where that takes ten seconds.
fn component(folder: &Path, name: &str, toolchain: &Toolchain) -> Vec<u8> {
    if folder.join("handler.py").is_file() {
        return std::fs::read(function(name)).unwrap();
    }
    catalog::build(folder, toolchain).unwrap_or_else(|error| panic!("{error}")).component
}

fn event(json: &Map<String, Value>, manifest: &Manifest) -> GuestEvent {
    let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
    let event = Event {
        message_id: text("messageId").unwrap(),
        event_type: text("type").unwrap().parse().unwrap(),
        user_id: text("userId"),
        anonymous_id: text("anonymousId"),
        name: text("event").or_else(|| text("name")),
        received_at: Timestamp::from_millis(1_700_000_000_000),
        json: Bytes::from(Value::Object(json.clone()).to_string()),
    };
    GuestEvent { event: manifest.reads.of(&event), attempt: 1 }
}

async fn run(sandbox: &Sandbox, version: &LoadedVersion, manifest: &Manifest, case: &Case) -> Value {
    settings::validate(manifest, &case.settings).unwrap();
    let mut settings = manifest.with_defaults(&case.settings);
    let grant = Grant::new(&manifest.egress.allow, &settings, "case").unwrap();
    let secrets = Secrets::take(manifest, &mut settings, "case", &HandleKey::random()).unwrap();
    let answers = Answers::parse(&Value::from(case.answers.clone()).to_string()).unwrap();
    let batch = case.events.is_some();
    let events: Vec<_> =
        case.event.iter().chain(case.events.iter().flatten()).map(|json| event(json, manifest)).collect();
    let count = events.len();
    let invocation = Invocation {
        events,
        batch,
        settings: Arc::from(Value::Object(settings).to_string()),
        limits: manifest.limits.within(&Limits::default()),
        outlet: Arc::new(Answers::new(answers, grant, Reach::default(), secrets.clone()).unwrap()),
        clock: Clock::Fixed(NOW),
        seed: None,
        cache: CacheScope::alone(),
    };
    let done = sandbox.invoke(version, invocation).await;
    let outcomes = classify(&done, count);
    let mut value = Reports::new(&done, &secrets, 1).report(&outcomes[0], Extent::WHOLE);
    value["outcomes"] = json!(outcomes);
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_is_small_and_passes_its_cases() {
    let toolchain = Toolchain { rustc: std::env::var_os("TIDEGATE_GUEST_RUSTC").map(Into::into) };
    let sandbox = Sandbox::start(&SandboxConfig { max_instances: 4, ..SandboxConfig::in_memory() }).unwrap();
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    let mut problems = Vec::new();
    for (name, most) in FUNCTIONS {
        let folder = functions.join(name);
        let component = Bytes::from(component(&folder, name, &toolchain));
        let bytes = component.len();
        assert!(bytes < most, "{name} has {bytes} bytes, and {most} at most");
        println!("{name}: {bytes} bytes");
        let catalog::Inspected { digest, manifest, .. } = catalog::inspect(&component).unwrap();
        let version = sandbox.load(digest, async { Ok::<_, String>(component) }).await.unwrap();
        let cases = cases::load(&folder.join("cases")).unwrap();
        assert!(cases.len() > 10, "{name} has {} cases", cases.len());
        for (path, case) in cases {
            let value = run(&sandbox, &version, &manifest, &case).await;
            let found = case.differences(&value);
            problems.extend(found.into_iter().map(|line| format!("{}: {line}", path.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
