//! Functions in JavaScript: what partners write runs as it is, and what hostile ones write ends as an outcome.

mod bundles;
mod coverage;
mod function;
mod same_as_node;
mod types;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate::catalog::{self, BuildError};
use tidegate::clock::Clock;
use tidegate::delivery::{Extent, Reports, classify};
use tidegate::egress::{Answers, Grant, Reach, Secrets};
use tidegate::model::{Event, Limits, Timestamp};
use tidegate::sandbox::{CacheScope, GuestEvent, Invocation, LoadedVersion, Sandbox, SandboxConfig};

/// One file with many behaviours, chosen by the event's name, so that it is compiled once.
const BEHAVIOURS: &str = r#"
let calls = 0;
const loadedAt = Date.now();
async function onTrack(event, settings) {
  calls += 1;
  switch (event.event) {
    case 'counts': throw new ValidationError(`call ${calls}`);
    case 'implicit global': leaked = 1; return;
    case 'time': throw new ValidationError(`${Date.now() > 1.6e12} ${loadedAt}`);
    case 'random': throw new ValidationError(`${Math.random()} ${crypto.randomUUID()}`);
    case 'parallel': {
      const all = await Promise.all(['a', 'b', 'c'].map((path) => fetch(`https://partner.example/${path}`)));
      throw new ValidationError(all.map((one) => one.status).join());
    }
    case 'race': {
      const first = await Promise.race([new Promise((resolve) => setTimeout(resolve, 60_000, 'timer')), fetch('https://partner.example/')]);
      throw new ValidationError(typeof first);
    }
    case 'denied': await fetch('https://other.example/'); return;
    case 'retry': throw new RetryError('later');
    case 'named': throw { name: 'RetryError', message: 'by name' };
    case 'settings': throw new InvalidSettings(settings.apiKey);
    case 'reference': nowhere(); return;
    case 'loops': for (;;) {} // eslint-disable-line
    case 'recurses': return (function deeper() { return deeper() + 1; })();
    case 'giant string': { let text = 'x'; for (;;) text += text; }
    case 'fills memory': { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); }
    case 'never settles': return new Promise(() => {});
    case 'thenable that loops': return { then(resolve) { resolve(this); } };
    case 'many promises': { const again = () => Promise.resolve().then(again); return again(); }
    case 'throwing getters': {
      const hostile = {};
      for (const name of ['name', 'message', 'stack', 'afterMs']) Object.defineProperty(hostile, name, { get() { throw hostile; } });
      throw hostile;
    }
    case 'throws a proxy': throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; }, ownKeys() { throw 3; } });
    case 'endless message': throw new ValidationError('m'.repeat(1 << 22));
    case 'prototypes': {
      Object.prototype.case = 'delivered';
      Object.defineProperty(Object.prototype, 'message', { set() { throw new Error('trap'); }, get() { return 'mine'; }, configurable: true });
      Array.prototype.push = () => { throw new Error('trap'); };
      Promise.prototype.then = () => { throw new Error('trap'); };
      JSON.parse = JSON.stringify = () => { throw new Error('trap'); };
      globalThis.Promise = globalThis.Error = globalThis.Map = undefined;
      throw new RetryError('still a retry');
    }
    case 'unhandled': Promise.reject(new Error('nobody waits')); await new Promise((resolve) => setTimeout(resolve, 1)); return;
    case 'no world': throw new ValidationError([typeof require, typeof host, typeof __host, Object.keys(process.env).length].join());
  }
}
"#;

/// A file that is built once and called often.
pub struct Function {
    sandbox: Sandbox,
    version: Arc<LoadedVersion>,
}

impl Function {
    pub async fn build(source: &str) -> Self {
        let built = catalog::build::build_source(source, Path::new("handler.js"), None).unwrap();
        let digest = catalog::inspect(&built.component).unwrap().digest;
        let sandbox = Sandbox::start(&SandboxConfig { max_instances: 4, ..SandboxConfig::in_memory() }).unwrap();
        let component = Bytes::from(built.component);
        let version = sandbox.load(digest, async { Ok::<_, String>(component) }).await.unwrap();
        Self { sandbox, version }
    }

    pub async fn track(&self, name: &str) -> Value {
        self.tracked(&[name], false).await.remove(0)
    }

    /// The reports of one call with events of these names.
    pub async fn tracked(&self, names: &[&str], batch: bool) -> Vec<Value> {
        let grant = Grant::new(&["https://partner.example".to_owned()], &serde_json::Map::new(), "test").unwrap();
        // An unoptimised build of the host makes the same code; what is slower is a debug build's own part.
        let limits = Limits { cpu_ms: 300, ..Limits::default() };
        let invocation = Invocation {
            events: names.iter().map(|name| GuestEvent { event: event(name), attempt: 1 }).collect(),
            batch,
            settings: Arc::from(r#"{"apiKey":"k-1"}"#),
            limits,
            outlet: Arc::new(
                Answers::new(Answers::parse("[]").unwrap(), grant, Reach::default(), Secrets::default()).unwrap(),
            ),
            clock: Clock::System,
            seed: None,
            cache: CacheScope::alone(),
        };
        let done = self.sandbox.invoke(&self.version, invocation).await;
        let outcomes = classify(&done, names.len());
        let none = Secrets::default();
        let mut reports = Reports::new(&done, &none, outcomes.len());
        outcomes.iter().map(|outcome| reports.report(outcome, Extent::WHOLE)).collect()
    }
}

fn event(name: &str) -> Event {
    let json = json!({"type": "track", "messageId": "m1", "userId": "ada", "event": name});
    Event {
        message_id: "m1".to_owned(),
        event_type: "track".parse().unwrap(),
        user_id: Some("ada".to_owned()),
        anonymous_id: None,
        name: Some(name.to_owned()),
        received_at: Timestamp::from_millis(1_700_000_000_000),
        json: Bytes::from(json.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_of_a_partners_file_ends_as_the_reference_says() {
    let function = Function::build(BEHAVIOURS).await;
    let expected = [
        ("nothing of it", "delivered", ""),
        ("counts", "message_rejected", "call 1"),
        ("counts", "message_rejected", "call 1"),
        ("implicit global", "delivered", ""),
        ("time", "message_rejected", "true 0"),
        ("parallel", "message_rejected", "200,200,200"),
        ("race", "message_rejected", "object"),
        ("denied", "egress_denied", "other.example"),
        ("retry", "retry", "later"),
        ("named", "retry", "by name"),
        ("settings", "invalid_settings", "k-1"),
        ("reference", "bad_request", "in onTrack, handler.js:23:23"),
        ("unhandled", "bad_request", "nobody waits"),
        ("no world", "message_rejected", "undefined,undefined,undefined,0"),
    ];
    for (name, code, message) in expected {
        let report = function.track(name).await;
        assert_eq!(report["outcome"]["code"], code, "{name}: {report}");
        assert!(report["outcome"]["message"].as_str().unwrap().contains(message), "{name}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_javascript_ends_as_an_outcome_and_the_next_event_is_untouched() {
    let function = Function::build(BEHAVIOURS).await;
    let expected = [
        ("loops", "limit_exceeded", "CPU"),
        ("recurses", "limit_exceeded", "stack"),
        ("giant string", "", ""),
        ("fills memory", "", ""),
        ("never settles", "bad_request", "waits for a promise that nothing can settle"),
        ("thenable that loops", "limit_exceeded", "CPU"),
        // Each waits for the next one: memory may end before time does.
        ("many promises", "", ""),
        ("throwing getters", "bad_request", ""),
        ("throws a proxy", "bad_request", ""),
        ("endless message", "message_rejected", "mmm"),
        ("prototypes", "retry", "still a retry"),
    ];
    for (name, code, message) in expected {
        let report = function.track(name).await;
        let outcome = &report["outcome"];
        if code.is_empty() {
            assert!(outcome["code"] == "limit_exceeded" || outcome["code"] == "bad_request", "{name}: {report}");
        } else {
            assert_eq!(outcome["code"], code, "{name}: {report}");
        }
        let found = outcome["message"].as_str().unwrap();
        assert!(found.contains(message) && found.len() < 20_000, "{name}: {report}");
        let next = function.track("counts").await;
        assert_eq!(next["outcome"]["message"], "call 1", "after {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn randomness_differs_from_instance_to_instance() {
    let function = Function::build(BEHAVIOURS).await;
    let one = function.track("random").await["outcome"]["message"].clone();
    let other = function.track("random").await["outcome"]["message"].clone();
    let parts = |text: &Value| text.as_str().unwrap().split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (one, other) in parts(&one).iter().zip(parts(&other)) {
        assert_ne!(*one, other);
    }
}

#[test]
fn a_file_that_cannot_be_loaded_is_refused_with_the_place() {
    let endless = "for (;;) {}";
    let deep = "(function deeper() { deeper(); })()";
    let full = "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1));";
    let cases = [
        ("const x = ;\nfunction onTrack() {}", "handler.js:1"),
        ("function onTrack() {}\n\n  nowhere.to;", "handler.js:3"),
        ("throw 7", "thrown as a number"),
        ("fetch('https://partner.example/')", "handler"),
        ("Math.max(1)", "has no handler"),
        ("async function onTrak() {}", "has no handler"),
        (endless, "takes too long"),
        (deep, "handler.js"),
        (full, "handler.js"),
    ];
    for (source, expected) in cases {
        let Err(error) = catalog::build::build_source(source, Path::new("handler.js"), None) else {
            panic!("{source}")
        };
        let ours = matches!(error, BuildError::JavaScript(_) | BuildError::Findings(_));
        assert!(ours, "{source}: {error}");
        assert!(error.to_string().contains(expected), "{source}: {error}");
    }
}

#[test]
fn the_same_file_gives_the_same_component() {
    let build = || catalog::build::build_source(BEHAVIOURS, Path::new("handler.js"), None).unwrap().component;
    assert!(build() == build());
}
