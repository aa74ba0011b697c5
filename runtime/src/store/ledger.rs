//! The ledger: counters that change in the same transaction as what they count.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::replays::Progress;
use super::rows::{count, uuid};
use super::states;
use super::statistics::Statistics;
use super::types::{Ledger, LedgerScope};
use crate::model::{ConnectionId, DestinationId, SourceId, Timestamp, WorkspaceId};

/// What one commit adds, written once at its end.
#[derive(Default)]
pub(super) struct Deltas {
    counters: BTreeMap<ConnectionId, Delta>,
    statistics: Statistics,
    replays: BTreeMap<i64, Progress>,
}

/// Whose deliveries are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub workspace: WorkspaceId,
    pub source: SourceId,
    pub connection: ConnectionId,
    pub destination: DestinationId,
}

#[derive(Clone, Copy)]
struct Delta {
    owner: Owner,
    counts: Counts,
}

/// Signed changes of the ledger's columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub accepted: i64,
    pub delivered: i64,
    pub filtered: i64,
    pub dead: i64,
    pub pending: i64,
}

impl Counts {
    /// The counter of a state byte; `None` for a position that is not owed.
    pub fn of(&mut self, state: u8) -> Option<&mut i64> {
        match state {
            states::FRESH | states::RETRY => Some(&mut self.pending),
            states::DELIVERED => Some(&mut self.delivered),
            states::DEAD => Some(&mut self.dead),
            states::NOT_OWED => None,
            _ => Some(&mut self.filtered),
        }
    }

    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.filtered += other.filtered;
        self.dead += other.dead;
        self.pending += other.pending;
    }
}

impl Deltas {
    /// The changes of one connection, to be added to.
    pub fn counts(&mut self, owner: &Owner) -> &mut Counts {
        &mut self
            .counters
            .entry(owner.connection)
            .or_insert_with(|| Delta { owner: *owner, counts: Counts::default() })
            .counts
    }

    /// One delivery goes from one state to another.
    pub fn moved(&mut self, owner: &Owner, from: u8, to: u8) {
        let counts = self.counts(owner);
        counts.of(from).into_iter().for_each(|count| *count -= 1);
        counts.of(to).into_iter().for_each(|count| *count += 1);
    }

    /// Endings of attempts, or of deliveries that were filtered without one, in the statistics.
    pub fn ended(&mut self, owner: &Owner, at: Timestamp, outcome: &'static str, count: i64, wall_ms: u64) {
        self.statistics.add((owner.workspace, owner.connection), at, outcome, count, wall_ms);
    }

    /// What a replay did, to be added to.
    pub fn replayed(&mut self, replay: i64) -> &mut Progress {
        self.replays.entry(replay).or_default()
    }

    /// Adds another commit part's changes.
    pub fn merge(&mut self, other: Self) {
        for delta in other.counters.into_values() {
            self.counts(&delta.owner).add(&delta.counts);
        }
        self.statistics.merge(other.statistics);
        for (replay, progress) in other.replays {
            self.replayed(replay).add(&progress);
        }
    }

    /// Writes everything; statistics are put where they wait until their minute is over.
    pub fn write(&mut self, sql: &Connection, statistics: &mut Statistics) -> rusqlite::Result<()> {
        let mut counters = sql.prepare_cached(
            "INSERT INTO counters (connection, workspace, source, destination, accepted, delivered, filtered, dead, pending)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET accepted = accepted + ?5, delivered = delivered + ?6, filtered = filtered + ?7,
               dead = dead + ?8, pending = pending + ?9",
        )?;
        for Delta { owner, counts } in std::mem::take(&mut self.counters).into_values() {
            if counts != Counts::default() {
                counters.execute(params![
                    uuid(owner.connection.uuid()),
                    uuid(owner.workspace.uuid()),
                    uuid(owner.source.uuid()),
                    uuid(owner.destination.uuid()),
                    counts.accepted,
                    counts.delivered,
                    counts.filtered,
                    counts.dead,
                    counts.pending,
                ])?;
            }
        }
        statistics.merge(std::mem::take(&mut self.statistics));
        for (replay, progress) in std::mem::take(&mut self.replays) {
            progress.write(sql, replay)?;
        }
        Ok(())
    }
}

/// The three parts of a scope as they are bound: `NULL` fits all.
fn scoped(scope: &LedgerScope) -> [Option<[u8; 16]>; 3] {
    [
        scope.workspace.map(|id| uuid(id.uuid())),
        scope.source.map(|id| uuid(id.uuid())),
        scope.destination.map(|id| uuid(id.uuid())),
    ]
}

/// The ledger from its counters.
pub(super) fn read(sql: &Connection, scope: &LedgerScope) -> rusqlite::Result<Ledger> {
    sql.prepare_cached(
        "SELECT TOTAL(accepted), TOTAL(delivered), TOTAL(filtered), TOTAL(dead), TOTAL(pending) FROM counters
         WHERE (?1 IS NULL OR workspace = ?1) AND (?2 IS NULL OR source = ?2) AND (?3 IS NULL OR destination = ?3)",
    )?
    .query_row(scoped(scope), |row| {
        // TOTAL is a float: exact to 9 * 10^15, which is 28,000 years of 10,000 deliveries a second.
        let column = |at| row.get::<_, f64>(at).map(|total| total as u64);
        Ok(Ledger {
            accepted: column(0)?,
            delivered: column(1)?,
            filtered: column(2)?,
            dead: column(3)?,
            pending: column(4)?,
        })
    })
}

/// The ledger from the rows that it counts. Reads every block: for verification only.
pub(super) fn recount(sql: &Connection, scope: &LedgerScope) -> rusqlite::Result<Ledger> {
    let fits = "(?1 IS NULL OR workspace = ?1) AND (?2 IS NULL OR source = ?2) AND (?3 IS NULL OR destination = ?3)";
    let mut sum = Counts::default();
    let mut blocks = sql.prepare(&format!("SELECT states FROM delivery_blocks WHERE {fits}"))?;
    let mut rows = blocks.query(scoped(scope))?;
    while let Some(row) = rows.next()? {
        row.get_ref(0)?.as_blob()?.iter().for_each(|state| sum.of(*state).into_iter().for_each(|count| *count += 1));
    }
    let pruned = format!("SELECT pruned_delivered, pruned_filtered, pruned_dead FROM counters WHERE {fits}");
    let mut pruned = sql.prepare(&pruned)?;
    let mut rows = pruned.query(scoped(scope))?;
    while let Some(row) = rows.next()? {
        sum.delivered += row.get::<_, i64>(0)?;
        sum.filtered += row.get::<_, i64>(1)?;
        sum.dead += row.get::<_, i64>(2)?;
    }
    let [delivered, filtered, dead, pending] = [sum.delivered, sum.filtered, sum.dead, sum.pending].map(count);
    Ok(Ledger { accepted: delivered + filtered + dead + pending, delivered, filtered, dead, pending })
}
