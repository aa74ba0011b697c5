//! Run: replays go on, each at its pace, each destination for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::plan::decide;
use super::readmit::Versions;
use crate::model::{DeliveryId, DestinationId, ReplayId};
use crate::store::{Cursor, Readmission, ReplayStep, RunningReplay, Store, StoreError, Wanted};

/// How replays go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayConfig {
    /// Deliveries of a destination that are given back, or due again, and not settled. No more than half of the
    /// attempts that a destination may have under way, so that live events always find a place.
    pub per_destination: usize,
}

/// The shortest time between two steps: each is a commit. What one gives back is attempted at once, so that larger steps are seen by
/// live events: with 20 ms their p99 was 2.2 times as long, at 500 a second.
const SHORTEST: Duration = Duration::from_millis(10);
/// The longest: how soon a replay goes on after its destination can take something again.
const LONGEST: Duration = Duration::from_millis(250);
/// How long to sleep when there is no replay: making one ends it.
const IDLE: Duration = Duration::from_secs(3600);
/// How old a decision may be when it is carried out: what a person changes holds this soon.
const FRESH: Duration = Duration::from_secs(1);
/// Candidates that are read at once, at most: about a millisecond of a processor, on which somebody's attempt may wait.
const PAGE: usize = 32;

/// Gives back what replays are for, until `stop` is cancelled.
///
/// # Errors
/// The store can no longer be read or written. Replays go on where they stood when it is opened again.
pub async fn run(store: Arc<Store>, config: ReplayConfig, stop: CancellationToken) -> Result<(), StoreError> {
    let mut jobs: HashMap<ReplayId, Job> = HashMap::new();
    let (mut stale, mut pause) = (true, SHORTEST);
    loop {
        if std::mem::take(&mut stale) {
            let running = store.running_replays().await?;
            jobs.retain(|id, _| running.iter().any(|replay| replay.id == *id));
            for replay in running {
                jobs.entry(replay.id).or_insert_with(|| Job::new(replay));
            }
        }
        let (mut moved, mut over, mut full) = (false, Vec::new(), Vec::new());
        for (id, job) in &mut jobs {
            match job.advance(&store, config).await {
                Ok(Advance::Waits) => {}
                Ok(Advance::Moved) => moved = true,
                Ok(Advance::Over) => over.push(*id),
                // Nothing of the step has happened: it is taken anew from where the replay stands on disk.
                Err(StoreError::DiskFull) => full.push(*id),
                Err(error) => return Err(error),
            }
        }
        // One that was resumed already begins again from where it stands on disk.
        stale = !over.is_empty() || !full.is_empty();
        over.iter().chain(&full).for_each(|id| drop(jobs.remove(id)));
        pause = if moved { SHORTEST } else { (pause * 2).min(LONGEST) };
        let earned = jobs.values().map(|job| job.pace.wait()).min();
        let sleep = if !full.is_empty() {
            LONGEST
        } else if stale {
            Duration::ZERO
        } else {
            earned.map_or(IDLE, |earned| earned.max(pause))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = store.replays_changed() => stale = true,
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// One replay under way.
struct Job {
    replay: RunningReplay,
    pace: Pace,
    parts: VecDeque<Part>,
    versions: Versions,
}

/// One replay at one destination.
struct Part {
    destination: DestinationId,
    /// Up to where what was read is decided.
    read_to: Option<Cursor>,
    /// Up to where it is carried out.
    done_to: Cursor,
    decided: VecDeque<Decided>,
    decided_at: Instant,
}

/// A delivery, what becomes of it, and where to go on behind it.
type Decided = (DeliveryId, Readmission, Cursor);

/// What became of a job's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Advance {
    Waits,
    Moved,
    Over,
}

impl Job {
    fn new(replay: RunningReplay) -> Self {
        let now = Instant::now();
        let part = |(destination, at): &(DestinationId, Cursor)| Part {
            destination: *destination,
            read_to: Some(*at),
            done_to: *at,
            decided: VecDeque::new(),
            decided_at: now,
        };
        Self {
            pace: Pace::new(replay.events_per_s, now),
            parts: replay.parts.iter().map(part).collect(),
            versions: HashMap::new(),
            replay,
        }
    }

    /// One step at every destination that has room, as far as the pace allows.
    async fn advance(&mut self, store: &Store, config: ReplayConfig) -> Result<Advance, StoreError> {
        let mut free = self.pace.earned(Instant::now());
        let (mut steps, mut ended, mut looked) = (Vec::new(), Vec::new(), false);
        for _ in 0..self.parts.len() {
            if free == 0 {
                break;
            }
            let Some(mut part) = self.parts.pop_front() else { break };
            let room = store.replay_room(part.destination, config.per_destination).await?.min(free);
            if room > 0 {
                looked |= part.look(store, &self.replay, &mut self.versions).await?;
                let step = part.take(room);
                let owed = step.items.iter().filter(|(_, what)| matches!(what, Readmission::Owe { .. })).count();
                free -= owed;
                self.pace.spend(owed);
                if step.next.is_none() {
                    ended.push(part.destination);
                }
                if step.next.is_none() || !step.items.is_empty() {
                    steps.push(step);
                }
            }
            // The others come first the next time.
            self.parts.push_back(part);
        }
        if steps.is_empty() {
            // Where little fits there is much to look at: that is no reason to wait.
            return Ok(if looked { Advance::Moved } else { Advance::Waits });
        }
        self.parts.retain(|part| !ended.contains(&part.destination));
        let goes_on = store.replay_step(self.replay.id, steps).await?;
        Ok(if goes_on { Advance::Moved } else { Advance::Over })
    }
}

impl Part {
    /// Reads and decides on, if there is nothing decided that is new enough. Says whether it did.
    async fn look(
        &mut self,
        store: &Store,
        replay: &RunningReplay,
        versions: &mut Versions,
    ) -> Result<bool, StoreError> {
        if !self.decided.is_empty() && self.decided_at.elapsed() > FRESH {
            self.decided.clear();
            self.read_to = Some(self.done_to);
        }
        if !self.decided.is_empty() {
            return Ok(false);
        }
        let Some(from) = self.read_to else { return Ok(false) };
        let wanted = Wanted {
            filter: replay.filter.clone(),
            destination: self.destination,
            until: replay.until,
            from,
            // No more than is carried out while it is new.
            most: (replay.events_per_s as usize).clamp(1, PAGE),
        };
        let (decided, next) = decide(store, wanted, replay.version, versions).await?;
        self.decided_at = Instant::now();
        self.decided.extend(decided.into_iter().map(|(candidate, what)| (candidate.delivery, what, candidate.next)));
        self.read_to = next;
        Ok(true)
    }

    /// Takes what was decided, until `most` of it are given back.
    fn take(&mut self, most: usize) -> ReplayStep {
        let (mut items, mut owed) = (Vec::new(), 0);
        while let Some((_, what, _)) = self.decided.front() {
            owed += usize::from(matches!(what, Readmission::Owe { .. }));
            if owed > most {
                break;
            }
            let Some((delivery, what, next)) = self.decided.pop_front() else { break };
            items.push((delivery, what));
            self.done_to = next;
        }
        if self.decided.is_empty()
            && let Some(read_to) = self.read_to
        {
            self.done_to = read_to;
        }
        let next = (self.read_to.is_some() || !self.decided.is_empty()).then_some(self.done_to);
        ReplayStep { destination: self.destination, items, next }
    }
}
