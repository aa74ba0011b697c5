//! Steps "accept", "claim" and "settle" without everything between them: how many events a second the store takes through all three.
//!
//! Two layouts do the same job in one run: a row for every delivery, and the store as it is, with block rows. Each without failures,
//! with some, and with someone who reads beside the writer. Every commit waits for the disk. Both keep the same rhythm, so that only the
//! layout differs: one commit takes new events and settles the claimed ones, then as many are claimed. The store is measured a
//! second time as it is used: by many clients at once, with deliveries beside them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, json};
use sha2::Digest as _;

use crate::clock::Clock;
use crate::model::{
    Actor, ClaimedDelivery, Connection, Digest, Event, EventType, Inspection, Manifest, Outcome, OutcomeCode, SourceId,
    Timestamp, VersionId,
};
use crate::store::baseline::{Baseline, Looker};
use crate::store::{
    DeliveryFilter, LedgerScope, NewAttempt, NewConnection, NewDestination, NewEvent, Owed, OwedState, Page, Settle,
    Settlement, Store, StoreConfig, Vouched, Want,
};

/// Bytes of one event's JSON: a track call of a stock client with its context.
const EVENT_BYTES: usize = 600;
/// Events in one request, as stock clients send them.
const REQUEST: usize = 20;
/// Requests under way at the same time.
const CLIENTS: usize = 32;
/// Deliveries in one claim.
const CLAIM: usize = 250;

/// Measurements of each kind, of which the median counts.
const TURNS: usize = 3;

/// What a run is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Conditions {
    /// First attempts that fail and are tried again, in percent.
    pub failing_percent: u8,
    /// Whether someone reads the ledger and a list all the time.
    pub reader: bool,
    /// Events in one commit, at most.
    pub commit_events: usize,
    /// Destinations to each of which every event is owed.
    pub destinations: usize,
}

/// One comparison.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StoreFigure {
    /// What the runs were like.
    pub conditions: Conditions,
    /// Events a second with a row for every delivery.
    pub row_events_per_s: f64,
    /// Events a second with block rows, in the same rhythm.
    pub block_events_per_s: f64,
    /// Events a second with block rows and many clients at once.
    pub clients_events_per_s: f64,
    /// Block rows by rows, in the same rhythm.
    pub ratio: f64,
    /// Readings beside the writer a second: rows, then blocks. Zero without a reader.
    pub reads_per_s: [f64; 2],
    /// Bytes of the write-ahead log at the end: rows, then blocks.
    pub wal_bytes: [u64; 2],
    /// Bytes of the database at the end: rows, then blocks.
    pub database_bytes: [u64; 2],
}

/// All comparisons of one run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StoreFigures {
    /// Events in each measurement.
    pub events: usize,
    /// The comparisons.
    pub figures: Vec<StoreFigure>,
}

impl StoreFigures {
    /// A table for people.
    pub fn table(&self) -> String {
        let mut table = format!(
            "{} events of {EVENT_BYTES} bytes each; every commit on disk\nfailing reader commit destinations    rows/s  blocks/s ratio clients/s  reads/s (rows, blocks)  log MB (rows, blocks)  database MB (rows, blocks)\n",
            self.events
        );
        let mb = |bytes: u64| bytes as f64 / 1e6;
        for figure in &self.figures {
            let Conditions { failing_percent, reader, commit_events, destinations } = figure.conditions;
            table += &format!(
                "{failing_percent:>6}% {reader:>6} {commit_events:>6} {destinations:>12} {:>9.0} {:>9.0} {:>5.2} {:>9.0} {:>11.0} {:>11.0} {:>11.1} {:>10.1} {:>14.1} {:>12.1}\n",
                figure.row_events_per_s,
                figure.block_events_per_s,
                figure.ratio,
                figure.clients_events_per_s,
                figure.reads_per_s[0],
                figure.reads_per_s[1],
                mb(figure.wal_bytes[0]),
                mb(figure.wal_bytes[1]),
                mb(figure.database_bytes[0]),
                mb(figure.database_bytes[1]),
            );
        }
        table
    }
}

/// Measures both layouts under all conditions, each in its own folder below `dir`.
///
/// # Errors
/// If the disk fails, or a store loses count.
pub fn store(dir: &Path, events: usize) -> anyhow::Result<StoreFigures> {
    let shapes = [(250, 1), (1_000, 1), (250, 5)].into_iter();
    let conditions = shapes.flat_map(|(commit_events, destinations)| {
        [(0, false), (5, false), (20, false), (0, true), (20, true)].map(|(failing_percent, reader)| Conditions {
            failing_percent,
            reader,
            commit_events,
            destinations,
        })
    });
    let figures = conditions.map(|conditions| compare(dir, events, conditions)).collect::<anyhow::Result<_>>()?;
    Ok(StoreFigures { events, figures })
}

/// Measures everything under one set of conditions, in turns.
fn compare(dir: &Path, events: usize, conditions: Conditions) -> anyhow::Result<StoreFigure> {
    let (mut rows, mut blocks, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let folder = || tempfile::tempdir_in(dir).context("cannot make a folder for the measurement");
        rows.push(measure_rows(folder()?.path(), events, conditions)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        blocks.push(runtime.block_on(measure_blocks(folder()?.path(), events, conditions, false))?);
        clients.push(runtime.block_on(measure_blocks(folder()?.path(), events, conditions, true))?);
    }
    let [row, block, used] = [rows, blocks, clients].map(median);
    Ok(StoreFigure {
        conditions,
        row_events_per_s: row.events_per_s,
        block_events_per_s: block.events_per_s,
        clients_events_per_s: used.events_per_s,
        ratio: block.events_per_s / row.events_per_s,
        reads_per_s: [row.reads_per_s, block.reads_per_s],
        wal_bytes: [row.wal_bytes, block.wal_bytes],
        database_bytes: [row.database_bytes, block.database_bytes],
    })
}

/// The measurement in the middle, by its rate.
fn median(mut all: Vec<Measured>) -> Measured {
    all.sort_by(|a, b| a.events_per_s.total_cmp(&b.events_per_s));
    all.swap_remove(all.len() / 2)
}

/// One layout under one set of conditions.
struct Measured {
    events_per_s: f64,
    reads_per_s: f64,
    wal_bytes: u64,
    database_bytes: u64,
}

fn measured(dir: &Path, events: usize, reads: u64, took: Duration) -> Measured {
    let size = |name| dir.join(name).metadata().map_or(0, |file| file.len());
    Measured {
        events_per_s: events as f64 / took.as_secs_f64(),
        reads_per_s: reads as f64 / took.as_secs_f64(),
        wal_bytes: size("tidegate.db-wal"),
        database_bytes: size("tidegate.db"),
    }
}

/// Whether the first attempt at the event with this number fails: spread evenly, the same in both layouts.
fn fails(number: u64, percent: u8) -> bool {
    number * 37 % 100 < u64::from(percent)
}

fn measure_rows(dir: &Path, events: usize, conditions: Conditions) -> anyhow::Result<Measured> {
    let mut store = Baseline::open(dir, conditions.destinations)?;
    let stop = AtomicBool::new(false);
    let new = vec![vec![b'x'; EVENT_BYTES]; conditions.commit_events];
    std::thread::scope(|scope| {
        let reader = conditions.reader.then(|| {
            scope.spawn(|| -> anyhow::Result<u64> {
                let looker = Looker::open(dir)?;
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) {
                    looker.look()?;
                    reads += 1;
                }
                Ok(reads)
            })
        });
        let began = Instant::now();
        let (mut accepted, mut claimed) = (0, Vec::new());
        loop {
            let batch = &new[..new.len().min(events - accepted)];
            if batch.is_empty() && claimed.is_empty() {
                break;
            }
            store.commit(batch, &claimed, |id| fails(id.unsigned_abs(), conditions.failing_percent))?;
            accepted += batch.len();
            claimed = store.claim(conditions.commit_events)?;
        }
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let reads = match reader.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(reads)) => reads?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => 0,
        };
        let delivered = Looker::open(dir)?.look()?;
        let owed = (events * conditions.destinations) as u64;
        ensure!(delivered == owed, "{delivered} of {owed} deliveries were made");
        Ok(measured(dir, events, reads, took))
    })
}

/// A store with one source, one connection and one destination, in use.
struct Bench {
    store: Store,
    actor: Actor,
    source: SourceId,
    connections: Vec<Connection>,
    conditions: Conditions,
    accepted: AtomicU64,
    delivered: AtomicU64,
    reads: AtomicU64,
    events: usize,
}

async fn measure_blocks(dir: &Path, events: usize, conditions: Conditions, clients: bool) -> anyhow::Result<Measured> {
    let config = if clients {
        StoreConfig::default()
    } else {
        // New events and settlements share a commit, as they do with rows.
        let both = (1 + conditions.destinations) * conditions.commit_events;
        StoreConfig { max_commit_events: both, max_commit_wait: Duration::from_millis(5), ..StoreConfig::default() }
    };
    let bench = Arc::new(Bench::open(dir, &config, events, conditions).await?);
    let began = Instant::now();
    let mut work = tokio::task::JoinSet::new();
    if clients {
        for _ in 0..CLIENTS {
            let bench = Arc::clone(&bench);
            work.spawn(async move { bench.client().await });
        }
        for _ in 0..2 {
            let bench = Arc::clone(&bench);
            work.spawn(async move { bench.deliver().await });
        }
    } else {
        let bench = Arc::clone(&bench);
        work.spawn(async move { bench.rhythm().await });
    }
    if conditions.reader {
        let bench = Arc::clone(&bench);
        work.spawn(async move { bench.look().await });
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    let took = began.elapsed();
    let ledger = bench.store.ledger(&bench.actor, &LedgerScope::default()).await?;
    ensure!(ledger.delivered == bench.owed() && ledger.holds(), "the ledger is {ledger:?} after {events} events");
    let result = measured(dir, events, bench.reads.load(Ordering::Relaxed), took);
    bench.store.close().await;
    Ok(result)
}

impl Bench {
    async fn open(dir: &Path, config: &StoreConfig, events: usize, conditions: Conditions) -> anyhow::Result<Self> {
        let store = Store::open(dir, config, Clock::System)?;
        let token = store.ensure_operator_key().await?.context("the store is not new")?;
        let actor = store.authenticate(&token).context("the new token does not open")?;
        let manifest: Manifest = serde_json::from_value(json!({"name": "bench", "version": "1", "events": ["track"]}))?;
        let bytes = Bytes::from_static(b"not a component");
        let digest = Digest(sha2::Sha256::digest(&bytes).into());
        let (function, _) = store
            .put_function_version(&actor, manifest, Inspection::default(), digest, bytes, Vouched::BY_OPERATOR)
            .await?;
        let source = store.create_source(&actor, "bench").await?;
        let mut connections = Vec::new();
        for number in 0..conditions.destinations {
            let new = NewDestination {
                name: format!("bench {number}"),
                function: function.id,
                pinned: None,
                consented: function.current,
                settings: Map::new(),
                secrets: Default::default(),
                rate: None,
                enabled: true,
            };
            let destination = store.create_destination(&actor, new).await?.id;
            let new = NewConnection { source: source.id, destination, enabled: true, ordered_by: None };
            connections.push(store.create_connection(&actor, new).await?);
        }
        let (accepted, delivered, reads) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { store, actor, source: source.id, connections, conditions, accepted, delivered, reads, events })
    }

    fn owed(&self) -> u64 {
        (self.events * self.conditions.destinations) as u64
    }

    fn done(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) >= self.owed()
    }

    /// The rhythm of the comparison: accept and settle in one commit, then claim.
    async fn rhythm(&self) -> anyhow::Result<()> {
        let json = Bytes::from(vec![b'x'; EVENT_BYTES]);
        let (mut accepted, mut claimed) = (0, Vec::new());
        loop {
            let last = (accepted + self.conditions.commit_events as u64).min(self.events as u64);
            if accepted == last && claimed.is_empty() {
                return Ok(());
            }
            let new = (accepted..last).map(|number| self.event(number, &json)).collect();
            accepted = last;
            let now = Clock::System.now();
            let (stored, settled) = tokio::join!(self.store.accept(new), self.settle(&claimed, now));
            stored?;
            settled?;
            claimed = self.claim(self.conditions.commit_events).await?;
        }
    }

    /// That many for every destination.
    async fn claim(&self, most: usize) -> anyhow::Result<Vec<ClaimedDelivery>> {
        let mut claimed = Vec::new();
        for connection in &self.connections {
            let now = Clock::System.now();
            claimed.extend(
                self.store
                    .claim(connection.destination, Want { fresh: most, retries: most, bytes: usize::MAX }, now)
                    .await?,
            );
        }
        Ok(claimed)
    }

    /// Sends requests until all events are sent.
    async fn client(&self) -> anyhow::Result<()> {
        let json = Bytes::from(vec![b'x'; EVENT_BYTES]);
        loop {
            let first = self.accepted.fetch_add(REQUEST as u64, Ordering::Relaxed);
            let last = (first + REQUEST as u64).min(self.events as u64);
            if first >= last {
                return Ok(());
            }
            self.store.accept((first..last).map(|number| self.event(number, &json)).collect()).await?;
        }
    }

    fn event(&self, number: u64, json: &Bytes) -> NewEvent {
        let owed = self.connections.iter().map(|connection| Owed {
            connection: connection.id,
            destination: connection.destination,
            state: OwedState::Pending,
        });
        NewEvent {
            workspace: self.actor.workspace,
            source: self.source,
            event: Event {
                message_id: format!("message-{number:020}"),
                event_type: EventType::Track,
                user_id: Some("user-1".to_owned()),
                anonymous_id: None,
                name: Some("Clicked".to_owned()),
                received_at: Clock::System.now(),
                json: json.clone(),
            },
            owed: owed.collect(),
        }
    }

    /// Claims and settles until everything is delivered.
    async fn deliver(&self) -> anyhow::Result<()> {
        while !self.done() {
            let now = Clock::System.now();
            let claimed = self.claim(CLAIM).await?;
            if claimed.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            self.settle(&claimed, now).await?;
        }
        Ok(())
    }

    async fn settle(&self, claimed: &[ClaimedDelivery], now: Timestamp) -> anyhow::Result<()> {
        let settlements: Vec<_> = claimed.iter().map(|delivery| self.settlement(delivery, now)).collect();
        let delivered = settlements.iter().filter(|item| item.settle == Settle::Delivered).count();
        self.store.settle(settlements).await?;
        self.delivered.fetch_add(delivered as u64, Ordering::Relaxed);
        Ok(())
    }

    fn settlement(&self, claimed: &ClaimedDelivery, now: Timestamp) -> Settlement {
        let number = claimed.event.message_id.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let failed = claimed.attempt == 1 && fails(number, self.conditions.failing_percent);
        let (settle, code) = if failed {
            (Settle::RetryAt(now), OutcomeCode::Retry)
        } else {
            (Settle::Delivered, OutcomeCode::Delivered)
        };
        let outcome = Outcome { code, message: String::new(), retryable: failed, error: None, retry_after: None };
        let record = Some(self.store.record(self.actor.workspace, claimed.id, &outcome, &json!({})));
        let (number, version) = (claimed.attempt, VersionId::new(now));
        let attempt = NewAttempt { number, started_at: now, wall_ms: 1, outcome, version, record };
        Settlement {
            delivery: claimed.id,
            lease: claimed.lease,
            settle,
            key: None,
            attempt: Some(attempt),
            instead: None,
        }
    }

    /// Reads the ledger and the newest deliveries until everything is delivered.
    async fn look(&self) -> anyhow::Result<()> {
        let page = Page { after: None, limit: 50 };
        while !self.done() {
            self.store.ledger(&self.actor, &LedgerScope::default()).await?;
            self.store.list_deliveries(&self.actor, &DeliveryFilter::default(), &page).await?;
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_deliver_every_event_with_failures_and_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let conditions = Conditions { failing_percent: 20, reader: true, commit_events: 50, destinations: 2 };
        let figure = compare(dir.path(), 200, conditions).unwrap();
        let table = StoreFigures { events: 200, figures: vec![figure] }.table();
        assert_eq!(table.lines().count(), 3, "{table}");
    }
}
