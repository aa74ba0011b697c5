//! A JavaScript file that is built once and called often, in the real sandbox, with canned answers.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate::catalog;
use tidegate::clock::Clock;
use tidegate::egress::{Answers, Grant, Reach, Secrets};
use tidegate::model::{Event, InvocationReport, Limits, Timestamp};
use tidegate::sandbox::{CacheScope, GuestEvent, Invocation, LoadedVersion, Sandbox, SandboxConfig};

/// The origins that the functions of `tests/javascript` ask.
const ORIGINS: [&str; 3] = ["https://api.example.com", "https://hooks.slack.example", "https://rest.eu.braze.example"];

pub struct Function {
    sandbox: Sandbox,
    version: Arc<LoadedVersion>,
    component: Bytes,
}

impl Function {
    pub async fn build(source: &str) -> Self {
        Self::with_manifest(source, None).await
    }

    pub async fn with_manifest(source: &str, manifest: Option<&str>) -> Self {
        let built = catalog::build::build_source(source, Path::new("function.js"), manifest);
        Self::load(built.unwrap_or_else(|error| panic!("{error}")).component).await
    }

    pub async fn load(component: Vec<u8>) -> Self {
        let component = Bytes::from(component);
        let digest = catalog::inspect(&component).unwrap().digest;
        let sandbox = Sandbox::start(&SandboxConfig { max_instances: 4, ..SandboxConfig::in_memory() }).unwrap();
        let bytes = component.clone();
        let version = sandbox.load(digest, async { Ok::<_, String>(bytes) }).await.unwrap();
        Self { sandbox, version, component }
    }

    /// Gives the events to the handler for their type, or all of them to `onBatch`.
    pub async fn call(&self, events: &[Value], batch: bool, settings: &Value, answers: &Value) -> InvocationReport {
        let grant = Grant::new(&ORIGINS.map(str::to_owned), &serde_json::Map::new(), "test").unwrap();
        let answers = Answers::parse(&answers.to_string()).unwrap();
        let invocation = Invocation {
            events: events.iter().map(guest_event).collect(),
            batch,
            settings: Arc::from(settings.to_string()),
            // A build that is not optimised takes several times as long for what the host does meanwhile.
            limits: Limits { cpu_ms: 2_000, ..Limits::default() },
            outlet: Arc::new(Answers::new(answers, grant, Reach::default(), Secrets::default()).unwrap()),
            clock: Clock::System,
            seed: None,
            cache: CacheScope::alone(),
        };
        let report = self.sandbox.invoke(&self.version, invocation).await;
        let component = std::future::ready(Ok::<_, String>(self.component.clone()));
        self.sandbox.located(self.version.digest(), report, component).await
    }

    /// The bodies of the requests that a track event makes it send.
    pub async fn sent(&self) -> Vec<String> {
        let report = self.call(&[json!({"type": "track"})], false, &json!({}), &json!([])).await;
        assert!(!report.requests.is_empty(), "{:?} {:?}", report.ending, report.log);
        report.requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
    }
}

fn guest_event(json: &Value) -> GuestEvent {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let event = Event {
        message_id: text("messageId").unwrap_or_default(),
        event_type: json["type"].as_str().unwrap().parse().unwrap(),
        user_id: text("userId"),
        anonymous_id: text("anonymousId"),
        name: text("event").or_else(|| text("name")),
        received_at: Timestamp::from_millis(1_700_000_000_000),
        json: Bytes::from(json.to_string()),
    };
    GuestEvent { event, attempt: 1 }
}
