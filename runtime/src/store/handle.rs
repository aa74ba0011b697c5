//! The store as others see it: opening it, and the steps of an event's way. The control plane's calls are in `plane.rs`.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cache::Cache;
use super::checkpoint::Checkpoints;
use super::disk::Disk;
use super::error::{AcceptError, StoreError};
use super::keys::Keys;
use super::lanes::Lanes;
use super::queue::{Limits, Queue, Refused};
use super::readers::Readers;
use super::routes::Routes;
use super::sealing::Sealing;
use super::snapshot::{Snapshot, Touched};
use super::suppressions::Suppressed;
use super::syncs::Syncs;
use super::types::{Accepted, NewEvent, Settled, Settlement, Standing, StoreConfig, Want};
use super::work::{Accept, Call, Commit, Done, Settlements, Work};
use super::writer::{Shared, Writer};
use super::{accept, claim, open, replays};
use crate::clock::Clock;
use crate::model::{ClaimedDelivery, DestinationId, OrderKey, PartnerId, Timestamp, WorkspaceId};
use crate::telemetry::StoreMetrics;

/// After how long a client that was refused may try again: the queue drains in less, and the header counts in seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// After how long a client may try again that was refused for want of room on the disk: people make room, not time.
const ROOM_AFTER: Duration = Duration::from_secs(5);

/// Readings of deliveries at a time: each takes a millisecond or less.
const DELIVERING: u32 = 2;

/// So many events of a batch come into one commit: half a millisecond of writing, for which everybody's next commit waits.
const PART: usize = 50;

/// How long a settlement that found no room on the disk waits before it is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// One data directory, open. Dropping it writes what was taken, then gives the directory back.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    pub(super) readers: Arc<Readers>,
    /// For what deliveries read: who looks at lists, or through everything, must not hold them up.
    pub(super) delivering: Arc<Readers>,
    pub(super) keys: Keys,
    pub(super) tenants: (WorkspaceId, PartnerId),
    snapshot: Snapshot,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// One rotation of the vault's key at a time.
    pub(super) rotating: tokio::sync::Mutex<()>,
}

impl Store {
    /// Opens a data directory, which is made where there is none. Blocks for as long as migrations take.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it; [`StoreError::TooNew`] if a newer program wrote it.
    pub fn open(dir: &Path, config: &StoreConfig, clock: Clock) -> Result<Self, StoreError> {
        let clock = clock.steady();
        let (places, lock) = open::lock(dir)?;
        let mut sql = open::writer(&places)?;
        open::migrate(&mut sql, &places)?;
        let vault = open::vault(&mut sql, &places, config)?;
        let sealing = Arc::new(Sealing::default());
        sealing.load(&sql, &vault)?;
        sealing.lend(&sql)?;
        let now = clock.now();
        let tenants = open::tenants(&mut sql, now)?;
        let limits = Limits {
            events: config.queue_events,
            bytes: config.queue_bytes,
            commit: config.max_commit_events,
            linger: config.max_commit_wait,
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(limits),
            lanes: Lanes::new(now),
            cache: Cache::new(config.cache_bytes),
            replays_changed: tokio::sync::Notify::new(),
            touched: Touched::default(),
            clock,
            config: config.clone(),
            metrics: StoreMetrics::default(),
            disk: Disk::new(places.dir.clone(), config.min_free_bytes),
            commit_turn: Mutex::default(),
            leaving: AtomicBool::new(false),
            erase_log: AtomicBool::new(false),
            places: places.clone(),
            vault,
            sealing: Arc::clone(&sealing),
            suppressed: Suppressed::default(),
        });
        shared.suppressed.load(&sql)?;
        let newest_id = open::newest_id(&sql)?;
        claim::bring_nearer(&mut sql, now, newest_id)?;
        claim::refill(&sql, &shared.lanes, now)?;
        let keys = Keys::default();
        keys.load(&sql, tenants)?;
        let memory = open::memory(&sql, now)?;
        let checkpoints = Checkpoints::start(&mut sql, &places)?;
        let (shared_too, pruner) = (Arc::clone(&shared), Default::default());
        let syncs = Syncs::new(&shared.places);
        let took = Duration::ZERO;
        let writer = Writer { checkpoints, sql, syncs, shared: shared_too, memory, took, pruner, newest_id };
        let writer = start(writer, lock)?;
        Ok(Self {
            delivering: Arc::new(Readers::new(places.clone(), DELIVERING, Arc::clone(&sealing))),
            readers: Arc::new(Readers::new(places, config.readers, sealing)),
            shared,
            keys,
            tenants,
            snapshot: Snapshot::default(),
            writer: Mutex::new(Some(writer)),
            rotating: tokio::sync::Mutex::default(),
        })
    }

    /// The clock by which moments are written down here. It is steady, so that what is due or over does not depend on somebody
    /// who sets the machine's clock.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Takes nothing more, writes what was taken, and gives the directory back.
    pub async fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that crashed has said so; there is nothing left to wait for.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    /// The process is about to end: whatever waits for room on the disk waits no longer. It is owed as before when the directory is
    /// opened again.
    pub fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Release);
    }

    /// What the store counts.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.shared.metrics
    }

    /// How the store stands at this moment.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let running = self.readers.read(replays::count_running).await?;
        let (disk, queue) = (&self.shared.disk, &self.shared.queue);
        Ok(Standing {
            queue_events: queue.waiting() as u64,
            disk_free_bytes: disk.free(),
            disk_least_bytes: disk.least(),
            replays_running: running,
        })
    }

    /// Why no new events are taken now, if so.
    pub fn refuses(&self) -> Option<AcceptError> {
        match self.stopped() {
            Some(reason) => Some(AcceptError::Stopped(reason)),
            None => {
                let (free, least) = self.shared.disk.is_low()?;
                Some(AcceptError::DiskLow { free, least, retry_after: ROOM_AFTER })
            }
        }
    }

    /// Why nothing is taken any more, if so.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.shared.queue.stopped()
    }

    /// Stores events and what they owe. Returns once they are on disk. Duplicates within 24 hours are counted and left out.
    ///
    /// # Errors
    /// [`AcceptError::Overloaded`] at once if too much is waiting; [`AcceptError::DiskLow`] and [`AcceptError::DiskFull`] for
    /// want of room; [`AcceptError::Stopped`] after a failed commit. Of a long batch some may be stored then, and after `Stopped`
    /// also of a short one: when they come again, they are duplicates.
    pub async fn accept(&self, batch: Vec<NewEvent>) -> Result<Accepted, AcceptError> {
        let (mut all, mut left, mut first) = (Accepted::default(), batch.into_iter(), 0);
        while left.len() > 0 {
            let part: Vec<_> = left.by_ref().take(PART).collect();
            let next = first + part.len();
            let Accepted { accepted, repeated } = self.accept_part(part, left.len() == 0).await?;
            all.accepted += accepted;
            all.repeated.extend(repeated.into_iter().map(|at| first + at));
            first = next;
        }
        Ok(all)
    }

    /// Some events of a batch, after those that came before them; or the last ones, after which all are on disk.
    async fn accept_part(&self, part: Vec<NewEvent>, last: bool) -> Result<Accepted, AcceptError> {
        if let Some((free, least)) = self.shared.disk.is_low() {
            return Err(AcceptError::DiskLow { free, least, retry_after: ROOM_AFTER });
        }
        let events: Vec<_> = part.into_iter().map(accept::prepare).collect();
        let bytes = events.iter().map(|event| event.record.len()).sum();
        let (reply, answer) = oneshot::channel();
        match self.shared.queue.push(Work::Accept(Accept { events, bytes, last, reply })) {
            Err(Refused::Full(queued)) => return Err(AcceptError::Overloaded { queued, retry_after: RETRY_AFTER }),
            Err(Refused::Stopped(reason)) => return Err(AcceptError::Stopped(reason)),
            Ok(()) => {}
        }
        answer.await.map_err(|_| match self.verdict() {
            StoreError::Stopped(reason) => AcceptError::Stopped(reason),
            _ => AcceptError::DiskFull { retry_after: ROOM_AFTER },
        })
    }

    /// What ingest and delivery need to know of the control plane; shows every change that has returned. Cheap, except for the first
    /// call after a change, which reads what changed, and the very first one. If it cannot be read, the routes stay as they were, and
    /// the log says so.
    pub fn routes(&self) -> Arc<Routes> {
        self.snapshot.get(&self.shared.touched, &self.readers)
    }

    /// The same as [`Store::routes`], if nothing changed that nobody has read yet. Always cheap.
    pub fn routes_at_hand(&self) -> Option<Arc<Routes>> {
        self.snapshot.at_hand(&self.shared.touched)
    }

    /// Waits until destinations gain fresh work, or were left with some by a claim, and says which. For one caller.
    /// It also returns, perhaps with an empty list, when a retry was scheduled, so that the caller can ask [`Store::due`] anew.
    pub async fn wait_ready(&self) -> Vec<DestinationId> {
        self.shared.lanes.wake.notified().await;
        self.shared.lanes.take_ready()
    }

    /// Destinations that may have fresh work now, whoever was told.
    pub fn pending_destinations(&self) -> Vec<DestinationId> {
        self.shared.lanes.with_fresh()
    }

    /// Destinations that have a retry that is due, and when the next one is due after now.
    pub fn due(&self, now: Timestamp) -> (Vec<DestinationId>, Option<Timestamp>) {
        self.shared.lanes.due(now)
    }

    /// Claims what a destination is owed, as far as it is wanted: fresh deliveries in order, and retries that are due. Nothing that is
    /// claimed is claimed again before it is settled.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failed commit; others if something cannot be read.
    pub async fn claim(
        &self,
        destination: DestinationId,
        want: Want,
        now: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        if let Some(reason) = self.shared.queue.stopped() {
            return Err(StoreError::Stopped(reason));
        }
        let turn = self.shared.lanes.turn(destination);
        let _turn = turn.lock().await;
        let Some(start) = self.shared.lanes.begin(destination, now) else { return Ok(Vec::new()) };
        let shared = Arc::clone(&self.shared);
        let wanted = claim::Wanted { destination, want, now };
        let read =
            self.delivering.read(move |sql| claim::read(sql, &shared.lanes, &shared.cache, &start, &wanted)).await?;
        let claimed = self.shared.lanes.finish(destination, read);
        self.shared.metrics.claimed(claimed.len() as u64);
        Ok(claimed)
    }

    /// The keys of which this destination has something stored, tried or held, and how many of each: what has to be over before
    /// anything fresh with such a key may be delivered.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn stored_keys(&self, destination: DestinationId) -> Result<Vec<(OrderKey, u32)>, StoreError> {
        self.delivering.read(move |sql| Ok(claim::stored_keys(sql, destination)?)).await
    }

    /// Writes down what became of claimed deliveries: one answer for each, in order. Returns once it is written; on disk it is
    /// a moment later, and before anything that is promised afterwards. While the disk is full it waits, since what a partner has
    /// cannot be unsent.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] after [`Store::leave`]; [`StoreError::Stopped`] after a failed commit: what was not written is owed as before when the directory is opened again.
    pub async fn settle(&self, items: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let items = Arc::new(items);
        loop {
            let (reply, answer) = oneshot::channel();
            self.push(Work::Settle(Settlements { items: Arc::clone(&items), done: Vec::new(), reply }))?;
            if let Ok(settled) = answer.await {
                return Ok(settled);
            }
            let error = self.verdict();
            if !error.is_disk_full() || self.shared.leaving.load(Ordering::Acquire) {
                return Err(error);
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Runs a change in the writer. Returns once it is on disk.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Commit<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.change(Work::Call, change).await
    }

    /// Runs a step of the host's own in the writer, which it would do again. Returns once it is written.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Commit<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.change(Work::Step, change).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: fn(Call) -> Work,
        change: impl FnOnce(&mut Commit<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.shared.queue.calls.acquire().await.map_err(|_| StoreError::Stopped(self.reason()))?;
        let (reply, answer) = oneshot::channel();
        let call = move |commit: &mut Commit<'_>| match change(commit) {
            Ok(value) => Done::Keep(Box::new(move || drop(reply.send(Ok(value))))),
            Err(error) if error.is_callers() => Done::Undo(Box::new(move || drop(reply.send(Err(error))))),
            Err(error) => Done::Fail(error),
        };
        self.push(work(Box::new(call)))?;
        answer.await.map_err(|_| self.verdict())?
    }

    fn push(&self, work: Work) -> Result<(), StoreError> {
        self.shared.queue.push(work).map_err(|refused| match refused {
            Refused::Stopped(reason) => StoreError::Stopped(reason),
            Refused::Full(_) => StoreError::Stopped("its queue is full".into()),
        })
    }

    fn reason(&self) -> Arc<str> {
        self.shared.queue.stopped().unwrap_or_else(|| "the writer ended".into())
    }

    /// Why a commit that somebody waited for did not come to be.
    fn verdict(&self) -> StoreError {
        // The writer has it until it has said whether it stops. This is after a failed commit only, and short.
        drop(self.shared.commit_turn.lock());
        self.shared.queue.stopped().map_or(StoreError::DiskFull, StoreError::Stopped)
    }
}

/// Starts the writer's thread, which holds the directory's lock until it ends.
fn start(writer: Writer, lock: File) -> Result<JoinHandle<()>, StoreError> {
    let dir = writer.shared.places.dir.clone();
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || {
            writer.run();
            drop(lock);
        })
        .map_err(|source| StoreError::File { what: "start the writer's thread for", path: dir, source })
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Waits for at most the commits that were taken; a crash of the writer was reported by itself.
            let _ = writer.join();
        }
    }
}
