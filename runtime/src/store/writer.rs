//! The one thread that writes.
//!
//! It takes what waits, writes it in one transaction, and answers when the transaction is on disk. While it waits for the disk the next
//! work gathers, so a commit holds what came during the one before: no timer is needed to fill it. A commit that only says what became
//! of deliveries does not wait for the disk ([`Syncs`]). When anything but a caller's own
//! mistake fails, it stops for good: after a failed fsync nobody knows what the disk holds, and only reading it anew can tell. The one
//! exception is a write that finds no room: it changes nothing, so the commit is taken back, and whoever waits is told.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::accept;
use super::cache::Cache;
use super::checkpoint::Checkpoints;
use super::disk::Disk;
use super::error::StoreError;
use super::lanes::Lanes;
use super::ledger::Deltas;
use super::open;
use super::prune::Pruner;
use super::queue::{Queue, Taken};
use super::sealing::Sealing;
use super::settle;
use super::snapshot::Touched;
use super::suppressions::Suppressed;
use super::syncs::Syncs;
use super::types::{Places, StoreConfig};
use super::work::{Call, Commit, Done, Memory, Work};
use crate::clock::Clock;
use crate::model::{DeliveryId, Timestamp};
use crate::telemetry::StoreMetrics;
use crate::vault::Vault;

/// How long the writer sleeps when nothing comes, before it looks for something to prune.
const IDLE: Duration = Duration::from_secs(1);

/// The shortest turn of what nobody waits for, once somebody waits for something else: a commit's own cost is half of that.
const SHORTEST: Duration = Duration::from_micros(200);

/// What the writer and everyone else hold in common.
pub(super) struct Shared {
    pub queue: Queue,
    pub lanes: Lanes,
    pub cache: Cache,
    /// Woken when a replay was made, paused, resumed or cancelled.
    pub replays_changed: tokio::sync::Notify,
    /// What changed of what routes show.
    pub touched: Touched,
    pub clock: Clock,
    pub metrics: StoreMetrics,
    pub disk: Disk,
    /// Held by the writer from before a commit until it is known what became of it.
    pub commit_turn: Mutex<()>,
    /// Whether the process is about to end, so that nobody should wait for room on the disk.
    pub leaving: AtomicBool,
    /// Whether nothing of the log is to be left, and is.
    pub erase_log: AtomicBool,
    pub config: StoreConfig,
    pub places: Places,
    pub vault: Vault,
    pub sealing: Arc<Sealing>,
    pub suppressed: Suppressed,
}

/// The writer.
pub(super) struct Writer {
    /// Before the connection that writes: whoever closes last writes what is left of the log.
    pub checkpoints: Checkpoints,
    pub sql: Connection,
    pub syncs: Syncs,
    pub shared: Arc<Shared>,
    pub memory: Memory,
    /// How long the last commit took, before it waited for the disk.
    pub took: Duration,
    pub pruner: Pruner,
    /// The newest moment in an id that an earlier process made.
    pub newest_id: Timestamp,
}

/// Stops the queue when the writer's thread ends, however it ends.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue.stop("the writer crashed; its message is on stderr");
        } else if self.0.queue.stopped().is_none() {
            self.0.queue.stop("the writer ended");
        }
    }
}

impl Writer {
    /// Writes until the queue is closed or something fails.
    pub fn run(mut self) {
        let stop = StopOnDrop(Arc::clone(&self.shared));
        // Ids of one thread sort as they were made: with this one the ids of earlier processes are among them, also if the clock
        // was set back since. A millisecond later, for within one they are in order for one process only.
        let _before = DeliveryId::new(self.newest_id.plus(Duration::from_millis(1)));
        let mut pruned = Instant::now();
        loop {
            let (work, turn) = match self.shared.queue.take(self.syncs.due_in().unwrap_or(IDLE)) {
                Taken::Awaited(work) => (work, None),
                // Where it was left out it has as long as what came before it.
                Taken::Others(work, left_out) => {
                    (work, Some(if left_out { self.took.max(SHORTEST) } else { SHORTEST }))
                }
                Taken::Idle => (Vec::new(), Some(SHORTEST)),
                Taken::Closed => {
                    if let Err(error) = self.syncs.end() {
                        tracing::error!(%error, "what became of the last deliveries may not be on disk: they may be owed again");
                    }
                    // They are no promise: if there is no room for them, they are lost.
                    if let Err(error) = self.memory.statistics.write_all(&self.sql) {
                        tracing::warn!(%error, "the statistics of the last minutes were not written");
                    }
                    break;
                }
            };
            let prune = match turn {
                Some(_) => pruned.elapsed() >= IDLE || self.pruner.is_behind(),
                None => pruned.elapsed() >= IDLE * 3,
            };
            if prune {
                pruned = Instant::now();
            }
            let did_something = !work.is_empty();
            let shared = Arc::clone(&self.shared);
            // Whoever finds their commit gone waits for this, to learn whether the store has stopped.
            let told = shared.commit_turn.lock().unwrap_or_else(PoisonError::into_inner);
            let done = self
                .commit(work, turn, prune)
                .and_then(|()| self.checkpoints.after_commit(&self.sql, &self.shared.erase_log))
                .and_then(|()| self.syncs.after_commit(did_something));
            let Err(failed) = done else { continue };
            self.shared.metrics.commit_failed();
            let taken_back = if failed.is_disk_full() { self.take_back() } else { Err(failed) };
            if let Err(error) = taken_back {
                tracing::error!(%error, "a commit failed: the store stops");
                self.shared.queue.stop(&format!("a commit failed: {error}"));
                // Roll back what can be; the connection closes with the thread either way.
                let _ = self.sql.execute_batch("ROLLBACK");
                break;
            }
            drop(told);
        }
        drop(stop);
    }

    /// A commit found no room on the disk: everything is as it was before it.
    fn take_back(&mut self) -> Result<(), StoreError> {
        tracing::warn!(dir = %self.shared.places.dir.display(), "the disk is full: nothing new is taken until there is room");
        // SQLite may have done so by itself.
        if !self.sql.is_autocommit() {
            self.sql.execute_batch("ROLLBACK")?;
        }
        self.shared.lanes.settle_failed();
        self.memory = open::memory(&self.sql, self.shared.clock.now())?;
        // A data key that the commit made was never stored: nothing more may be sealed with it.
        self.shared.sealing.load(&self.sql, &self.shared.vault)?;
        // The log may be written from its beginning once all of it is in the database, which needs less room than growing it.
        // If there is none even for that, the next commit finds out.
        let _ = self.sql.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        Ok(())
    }

    /// One transaction. What nobody waits for has this time once somebody waits for something else; the rest of it is put back.
    fn commit(&mut self, work: Vec<Work>, turn: Option<Duration>, prune: bool) -> Result<(), StoreError> {
        let (began, items) = (Instant::now(), work.iter().map(Work::weight).sum::<usize>());
        let (promised, changes) = (work.iter().any(Work::is_promised), self.sql.total_changes());
        self.syncs.before_commit(&self.sql, promised)?;
        self.sql.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut commit = Commit {
            sql: &self.sql,
            shared: &self.shared,
            memory: &mut self.memory,
            now: self.shared.clock.now(),
            ledger: Deltas::default(),
            effects: Vec::new(),
            answers: Vec::new(),
        };
        let (mut accepts, mut settles, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for work in work {
            match work {
                Work::Accept(accept) => accepts.push(accept),
                Work::Settle(settle) => settles.push(settle),
                Work::Call(call) | Work::Step(call) => calls.push(call),
            }
        }
        let queue = &self.shared.queue;
        let is_time = || turn.is_some_and(|turn| queue.is_awaited() && began.elapsed() >= turn);
        accept::accept(&mut commit, accepts)?;
        let (mut goes_on, mut undone) = (settles.is_empty(), false);
        let left = settle::settle(&mut commit, settles, is_time)?;
        let mut left: Vec<_> = left.into_iter().map(Work::Settle).collect();
        for call in calls {
            if goes_on || !is_time() {
                undone |= run_call(&mut commit, call)? == Kept::No;
            } else {
                // Nobody's calls are all that is left out.
                left.push(Work::Step(call));
            }
            goes_on = false;
        }
        if prune {
            self.pruner.step(&commit)?;
        }
        commit.ledger.write(commit.sql, &mut commit.memory.statistics)?;
        commit.memory.statistics.write_over(commit.sql, commit.now)?;
        let Commit { effects, answers, .. } = commit;
        self.took = began.elapsed();
        self.sql.prepare_cached("COMMIT")?.execute([])?;
        if promised {
            // What was undone counts as changed, too.
            self.syncs.before_answer(self.sql.total_changes() > changes && !undone)?;
        }
        let items = items - left.iter().map(Work::weight).sum::<usize>();
        self.shared.queue.put_back(left);
        if items > 0 {
            self.shared.metrics.committed(items as u64, began.elapsed());
        }
        effects.into_iter().for_each(|effect| effect(&self.shared));
        answers.into_iter().for_each(|answer| answer());
        Ok(())
    }
}

/// Whether a call is part of its commit.
#[derive(PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// Runs one call so that its mistake undoes it alone.
fn run_call(commit: &mut Commit<'_>, call: Call) -> Result<Kept, StoreError> {
    commit.sql.execute_batch("SAVEPOINT call")?;
    let before = std::mem::take(&mut commit.ledger);
    let effects = commit.effects.len();
    let (kept, mine) = match call(commit) {
        Done::Keep(answer) => {
            commit.sql.execute_batch("RELEASE call")?;
            commit.answers.push(answer);
            (Kept::Yes, std::mem::take(&mut commit.ledger))
        }
        Done::Undo(answer) => {
            commit.sql.execute_batch("ROLLBACK TO call; RELEASE call")?;
            commit.effects.truncate(effects);
            commit.answers.push(answer);
            (Kept::No, Deltas::default())
        }
        Done::Fail(error) => return Err(error),
    };
    commit.ledger = before;
    commit.ledger.merge(mine);
    Ok(kept)
}
