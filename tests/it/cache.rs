//! The capability `cache` through real guests: what survives a call, for whom, and what a flood of it costs.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidegate::clock::Clock;
use tidegate::model::{
    Answer, DestinationId, Digest, Ending, Event, EventType, InvocationReport, Limit, Limits, Timestamp,
};
use tidegate::sandbox::{CacheScope, Caches, GuestEvent, Invocation, Sandbox, SandboxConfig};

use crate::guests::{self, Guest};
use crate::outlets::Ok200;

/// A sandbox and the caches of its destinations.
struct Bench {
    sandbox: Sandbox,
    caches: Arc<Caches>,
}

impl Bench {
    fn new() -> Self {
        let config = SandboxConfig { max_instances: 4, ..SandboxConfig::in_memory() };
        Self { sandbox: Sandbox::start(&config).unwrap(), caches: Arc::default() }
    }

    async fn run(&self, guest: &Guest, destination: DestinationId, settings: &str, limits: Limits) -> InvocationReport {
        let component = Bytes::from(guest.component());
        let digest = Digest(Sha256::digest(&component).into());
        let version = self.sandbox.load(digest, async { Ok::<_, String>(component) }).await.unwrap();
        let event = Event {
            message_id: "m-1".to_owned(),
            event_type: EventType::Track,
            user_id: None,
            anonymous_id: None,
            name: None,
            received_at: Timestamp::from_millis(1_700_000_000_000),
            json: Bytes::from_static(br#"{"type":"track"}"#),
        };
        let settings: Arc<str> = Arc::from(settings);
        let invocation = Invocation {
            events: vec![GuestEvent { event, attempt: 1 }],
            batch: false,
            cache: CacheScope::new(&self.caches, destination, digest, &settings),
            settings,
            limits,
            outlet: Arc::new(Ok200),
            clock: Clock::System,
            seed: None,
        };
        self.sandbox.invoke(&version, invocation).await
    }

    /// How often the counting guest says that it was called.
    async fn count(&self, destination: DestinationId, settings: &str) -> String {
        text(self.run(&guests::CACHE_COUNTER, destination, settings, Limits::default()).await)
    }
}

fn text(report: InvocationReport) -> String {
    match report.ending {
        Ending::Answered(answers) => match &answers[..] {
            [Answer::Rejected(text)] => text.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn destination() -> DestinationId {
    DestinationId::new(Timestamp::from_millis(1_700_000_000_000))
}

#[tokio::test]
async fn a_value_reaches_the_next_call_of_its_destination_and_nobody_else() {
    let bench = Bench::new();
    let (ours, theirs) = (destination(), destination());
    assert_eq!(bench.count(ours, "{}").await, "1");
    assert_eq!(bench.count(ours, "{}").await, "2");
    assert_eq!(bench.count(theirs, "{}").await, "1");
    assert_eq!(bench.count(ours, "{}").await, "3");
    assert_eq!(bench.count(ours, r#"{"key":"changed"}"#).await, "1", "changed settings begin anew");
}

#[tokio::test]
async fn a_flood_of_values_ends_at_the_budgets_of_its_own_call() {
    let bench = Bench::new();
    let ours = destination();
    assert_eq!(bench.count(ours, "{}").await, "1");
    let patient = Limits { bytes_out: 1 << 30, ..Limits::default() };
    for (limits, wanted) in [(Limits::default(), Limit::BytesOut), (patient, Limit::HostCalls)] {
        let report = bench.run(&guests::CACHE_FLOOD, destination(), "{}", limits).await;
        match report.ending {
            Ending::LimitExceeded { limit, .. } => assert_eq!(limit, wanted),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.count(ours, "{}").await, "2", "the neighbour's values are still there");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_guest_goes_on() {
    let bench = Bench::new();
    let said = text(bench.run(&guests::CACHE_OVERSIZE, destination(), "{}", Limits::default()).await);
    assert_eq!(said, "cache.set: the value of `n` has 65536 bytes, 32768 is the most; keep only what you need of it");
}

#[tokio::test]
async fn a_cached_value_counts_as_bytes_for_the_guest() {
    let bench = Bench::new();
    let ours = destination();
    let limits = Limits { bytes_in: 85, ..Limits::default() };
    let first = bench.run(&guests::CACHE_COUNTER, ours, "{}", limits.clone()).await;
    assert_eq!(text(first), "1");
    let second = bench.run(&guests::CACHE_COUNTER, ours, "{}", limits).await;
    assert!(matches!(second.ending, Ending::LimitExceeded { limit: Limit::BytesIn, .. }), "{:?}", second.ending);
}
