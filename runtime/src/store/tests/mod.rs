//! The conformance suite: what every store must do, seen from outside.

mod control;
pub(super) mod counted;
mod faults;
mod model;
mod order;
mod pages;
mod power;
mod routes;
mod secrets;
mod steps;

use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, json};
use tempfile::TempDir;

use super::components;
use super::{
    Ledger, LedgerScope, NewAttempt, NewConnection, NewDestination, NewEvent, Owed, OwedState, Record, Settle,
    Settlement, Store, StoreConfig, Vouched, Want,
};
use crate::clock::Clock;
use crate::model::{
    Actor, ClaimedDelivery, Connection, Destination, Event, EventType, Inspection, Manifest, Outcome, OutcomeCode,
    Source, Timestamp, VersionId,
};

/// When all tests take place.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn later(ms: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + ms)
}

/// A store with one source that leads to some destinations.
struct Bed {
    dir: TempDir,
    store: Store,
    actor: Actor,
    source: Source,
    destinations: Vec<Destination>,
    connections: Vec<Connection>,
}

fn open(dir: &Path) -> Store {
    open_at(dir, NOW)
}

fn open_at(dir: &Path, now: Timestamp) -> Store {
    Store::open(dir, &StoreConfig::default(), Clock::Fixed(now)).unwrap()
}

fn manifest(name: &str) -> Manifest {
    serde_json::from_value(json!({
        "name": name, "version": "1.0.0", "events": ["track"],
        "settings": {"url": {"type": "string"}, "mode": {"type": "string", "default": "fast"}},
    }))
    .unwrap()
}

impl Bed {
    async fn new(destinations: usize) -> Self {
        Self::within(tempfile::tempdir().unwrap(), destinations).await
    }

    async fn within(dir: TempDir, destinations: usize) -> Self {
        let store = open(dir.path());
        let token = store.ensure_operator_key().await.unwrap().unwrap();
        let actor = store.authenticate(&token).unwrap();
        let bytes = Bytes::from_static(b"component");
        let digest = components::digest(&bytes);
        let (function, _) = store
            .put_function_version(
                &actor,
                manifest("webhook"),
                Inspection::default(),
                digest,
                bytes,
                Vouched::BY_OPERATOR,
            )
            .await
            .unwrap();
        let source = store.create_source(&actor, "web").await.unwrap();
        let mut bed = Self { dir, store, actor, source, destinations: Vec::new(), connections: Vec::new() };
        for number in 0..destinations {
            let new = NewDestination {
                name: format!("destination {number}"),
                function: function.id,
                pinned: None,
                consented: function.current,
                settings: Map::new(),
                secrets: Default::default(),
                rate: None,
                enabled: true,
            };
            let destination = bed.store.create_destination(&bed.actor, new).await.unwrap();
            let new =
                NewConnection { source: bed.source.id, destination: destination.id, enabled: true, ordered_by: None };
            bed.connections.push(bed.store.create_connection(&bed.actor, new).await.unwrap());
            bed.destinations.push(destination);
        }
        bed
    }

    /// As after a restart of the process.
    fn reopen(self) -> Self {
        self.reopen_at(NOW)
    }

    fn reopen_at(self, now: Timestamp) -> Self {
        let Self { dir, store, actor, source, destinations, connections } = self;
        drop(store);
        let store = open_at(dir.path(), now);
        Self { dir, store, actor, source, destinations, connections }
    }

    fn event(&self, message_id: &str) -> NewEvent {
        let owed = self.connections.iter().map(|connection| Owed {
            connection: connection.id,
            destination: connection.destination,
            state: OwedState::Pending,
        });
        NewEvent {
            workspace: self.actor.workspace,
            source: self.source.id,
            event: Event {
                message_id: message_id.to_owned(),
                event_type: EventType::Track,
                user_id: Some("u".to_owned()),
                anonymous_id: None,
                name: Some("Clicked".to_owned()),
                received_at: NOW,
                json: json!({"messageId": message_id}).to_string().into(),
            },
            owed: owed.collect(),
        }
    }

    async fn accept(&self, ids: &[&str]) -> super::Accepted {
        self.store.accept(ids.iter().map(|id| self.event(id)).collect()).await.unwrap()
    }

    async fn claim(&self, most: usize, now: Timestamp) -> Vec<ClaimedDelivery> {
        self.store.claim(self.destinations[0].id, want(most), now).await.unwrap()
    }

    async fn settle(&self, claimed: &ClaimedDelivery, settle: Settle) -> super::Settled {
        self.store.settle(vec![settlement(claimed, settle)]).await.unwrap()[0]
    }

    /// The ledger, checked against its sum and against the rows.
    async fn ledger(&self) -> Ledger {
        let scope = LedgerScope::default();
        let ledger = self.store.ledger(&self.actor, &scope).await.unwrap();
        assert!(ledger.holds(), "{ledger:?}");
        assert_eq!(ledger, self.store.ledger_recount(&self.actor, &scope).await.unwrap());
        ledger
    }
}

/// So many of each kind.
fn want(most: usize) -> Want {
    Want { fresh: most, retries: most, bytes: usize::MAX }
}

fn counts(accepted: u64, delivered: u64, filtered: u64, dead: u64, pending: u64) -> Ledger {
    Ledger { accepted, delivered, filtered, dead, pending }
}

fn attempt(number: u32, code: OutcomeCode) -> NewAttempt {
    let outcome = Outcome { code, message: "why".to_owned(), retryable: false, error: None, retry_after: None };
    let record = Some(Record::plain(&outcome, &json!({"log": []})));
    NewAttempt { number, started_at: NOW, wall_ms: 7, outcome, version: VersionId::new(NOW), record }
}

fn settlement(claimed: &ClaimedDelivery, settle: Settle) -> Settlement {
    let code = match settle {
        Settle::Delivered => Some(OutcomeCode::Delivered),
        Settle::Filtered(_) => Some(OutcomeCode::UnsupportedEventType),
        Settle::Dead => Some(OutcomeCode::MessageRejected),
        Settle::RetryAt(_) => Some(OutcomeCode::Retry),
        Settle::Release | Settle::Hold => None,
    };
    let attempt = code.map(|code| attempt(claimed.attempt, code));
    Settlement { delivery: claimed.id, lease: claimed.lease, settle, key: claimed.key, attempt, instead: None }
}

fn ids(claimed: &[ClaimedDelivery]) -> Vec<&str> {
    claimed.iter().map(|delivery| delivery.event.message_id.as_str()).collect()
}
