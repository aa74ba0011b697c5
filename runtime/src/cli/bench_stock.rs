//! What `bench replay` and `bench restart` begin with: a data directory with many deliveries in it, made without HTTP.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::clock::Clock;
use crate::config::Config;
use crate::model::{
    ClaimedDelivery, ConnectionId, DestinationId, Event, EventType, Outcome, OutcomeCode, SourceId, WorkspaceId,
};
use crate::store::{LedgerScope, NewAttempt, NewEvent, Owed, OwedState, Settle, Settlement, Store, StoreConfig, Want};

/// Events and settlements in one call of the store.
const BATCH: u64 = 1_000;

/// The way that the stock is owed on, as the control API names it.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) source: SourceId,
    pub(super) connection: ConnectionId,
    pub(super) destination: DestinationId,
}

/// Adds that many pending deliveries to a data directory that no host has, and ends some of them so: the oldest.
pub(super) async fn fill(
    data: &Path,
    token: &str,
    way: Way,
    pending: u64,
    (ended, settle): (u64, Settle),
) -> anyhow::Result<()> {
    let config = StoreConfig { cache_bytes: 1 << 20, ..Config::load(None, [])?.store };
    let store = Store::open(data, &config, Clock::System)?;
    let actor = store.authenticate(token).context("the key is not the directory's")?;
    let mut left = ended;
    for first in (0..pending).step_by(BATCH as usize) {
        let events = (first..(first + BATCH).min(pending)).map(|n| event(&actor, way, n)).collect();
        store.accept(events).await?;
        let most = left.min(BATCH);
        if most > 0 {
            let want = Want { fresh: most as usize, retries: 0, bytes: usize::MAX };
            let claimed = store.claim(way.destination, want, Clock::System.now()).await?;
            left -= claimed.len() as u64;
            store.settle(claimed.iter().map(|one| settlement(&store, actor.workspace, one, settle)).collect()).await?;
        }
    }
    let ledger = store.ledger(&actor, &LedgerScope::default()).await?;
    ensure!(left == 0 && ledger.holds(), "the stock could not be made: {ledger:?}");
    store.close().await;
    Ok(())
}

fn event(actor: &crate::model::Actor, way: Way, n: u64) -> NewEvent {
    let message_id = format!("stock-{n}");
    let json = json!({
        "type": "track", "event": "Order Completed", "userId": "stock", "messageId": message_id,
        "timestamp": "2026-01-01T00:00:00.000Z", "properties": { "order_id": n, "note": "x".repeat(400) },
    });
    NewEvent {
        workspace: actor.workspace,
        source: way.source,
        event: Event {
            message_id,
            event_type: EventType::Track,
            user_id: Some("stock".to_owned()),
            anonymous_id: None,
            name: Some("Order Completed".to_owned()),
            received_at: Clock::System.now(),
            json: json.to_string().into(),
        },
        owed: vec![Owed { connection: way.connection, destination: way.destination, state: OwedState::Pending }],
    }
}

fn settlement(store: &Store, workspace: WorkspaceId, claimed: &ClaimedDelivery, settle: Settle) -> Settlement {
    let outcome = Outcome {
        code: OutcomeCode::Retry,
        message: "HTTP 503".to_owned(),
        retryable: true,
        error: None,
        retry_after: None,
    };
    let now = Clock::System.now();
    let record = Some(store.record(workspace, claimed.id, &outcome, &json!({ "requests": [], "log": [] })));
    let (number, version) = (claimed.attempt, crate::model::VersionId::new(now));
    let attempt = NewAttempt { number, started_at: now, wall_ms: 1, outcome, version, record };
    Settlement { delivery: claimed.id, lease: claimed.lease, settle, key: None, attempt: Some(attempt), instead: None }
}
