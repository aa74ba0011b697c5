//! What waits for the writer: bounded for events, which are refused at once when it is full.
//!
//! Settlements and control calls are always taken: the former are bounded by what is in flight, the latter by [`CALLS`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::work::Work;

/// Control calls that may wait at the same time; more wait for their turn to wait.
const CALLS: usize = 256;

/// The queue, shared by everyone who writes and the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    pub calls: Semaphore,
    limits: Limits,
}

/// How much may wait, and how much one commit takes.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub events: usize,
    pub bytes: usize,
    pub commit: usize,
    pub linger: Duration,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    /// Events and settlements in `work`.
    weight: usize,
    /// Events in `work`.
    events: usize,
    bytes: usize,
    closing: bool,
    stopped: Option<Arc<str>>,
}

/// Why work was not taken.
pub(super) enum Refused {
    Full(usize),
    Stopped(Arc<str>),
}

/// What the writer gets.
pub(super) enum Taken {
    Work(Vec<Work>),
    /// Nothing came for a while.
    Idle,
    /// Nothing waits and nothing will come.
    Closed,
}

impl Queue {
    pub fn new(limits: Limits) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), calls: Semaphore::new(CALLS), limits }
    }

    /// The state stays consistent even if a holder panicked: every change to it is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands work to the writer, or says why not; never waits.
    pub fn push(&self, work: Work) -> Result<(), Refused> {
        let mut state = self.lock();
        if let Some(reason) = &state.stopped {
            return Err(Refused::Stopped(Arc::clone(reason)));
        }
        let (events, bytes) = work.events();
        // A batch that is larger than the whole queue still goes in when nothing waits.
        let full = state.events + events > self.limits.events || state.bytes + bytes > self.limits.bytes;
        if events > 0 && state.events > 0 && full {
            return Err(Refused::Full(state.events));
        }
        state.weight += work.weight();
        state.events += events;
        state.bytes += bytes;
        state.work.push_back(work);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for work; then takes what waits, up to one commit's worth.
    pub fn take(&self, idle: Duration) -> Taken {
        let mut state = self.lock();
        let until = Instant::now() + idle;
        while state.work.is_empty() {
            if state.closing {
                return Taken::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Idle;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let until = Instant::now() + self.limits.linger;
        while state.weight < self.limits.commit && !state.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Taken::Work(state.take(self.limits.commit))
    }

    /// Takes nothing more; what waits is still written.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.stopped.get_or_insert_with(|| "it was closed".into());
        drop(state);
        self.wake.notify_all();
    }

    /// Takes nothing more and drops what waits, which tells everyone who waits for it.
    pub fn stop(&self, reason: &str) {
        let mut state = self.lock();
        state.closing = true;
        state.stopped = Some(reason.into());
        let dropped = std::mem::take(&mut state.work);
        drop(state);
        drop(dropped);
        self.wake.notify_all();
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.lock().events
    }

    /// Why nothing is taken any more, if so.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.lock().stopped.clone()
    }
}

impl State {
    fn take(&mut self, most: usize) -> Vec<Work> {
        let mut taken = Vec::new();
        let mut weight = 0;
        while let Some(work) = self.work.front() {
            if !taken.is_empty() && weight + work.weight() > most {
                break;
            }
            let Some(work) = self.work.pop_front() else { break };
            let (events, bytes) = work.events();
            weight += work.weight();
            self.weight -= work.weight();
            self.events -= events;
            self.bytes -= bytes;
            taken.push(work);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(events: usize, bytes: usize, commit: usize) -> Queue {
        Queue::new(Limits { events, bytes, commit, linger: Duration::ZERO })
    }

    fn accept(events: usize) -> Work {
        Work::for_test(events)
    }

    fn taken(queue: &Queue) -> usize {
        match queue.take(Duration::ZERO) {
            Taken::Work(work) => work.len(),
            Taken::Idle | Taken::Closed => 0,
        }
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() {
        let queue = queue(10, usize::MAX, 100);
        assert!(queue.push(accept(6)).is_ok());
        assert!(matches!(queue.push(accept(5)), Err(Refused::Full(6))));
        assert!(queue.push(accept(4)).is_ok());
        assert_eq!(taken(&queue), 2);
        assert!(queue.push(accept(5)).is_ok());
    }

    #[test]
    fn a_batch_larger_than_the_queue_goes_in_alone() {
        let queue = queue(10, 1, 100);
        assert!(queue.push(accept(11)).is_ok());
        assert!(matches!(queue.push(accept(1)), Err(Refused::Full(11))));
    }

    #[test]
    fn a_commit_takes_whole_items_up_to_its_size_and_always_one() {
        let queue = queue(1_000, usize::MAX, 10);
        for events in [4, 6, 1, 30] {
            assert!(queue.push(accept(events)).is_ok());
        }
        assert_eq!([taken(&queue), taken(&queue), taken(&queue), taken(&queue)], [2, 1, 1, 0]);
    }

    #[test]
    fn after_close_nothing_is_taken_but_what_waits_is_written() {
        let queue = queue(10, usize::MAX, 10);
        assert!(queue.push(accept(1)).is_ok());
        queue.close();
        assert!(matches!(queue.push(accept(1)), Err(Refused::Stopped(_))));
        assert_eq!(taken(&queue), 1);
        assert!(matches!(queue.take(Duration::ZERO), Taken::Closed));
    }

    #[test]
    fn after_stop_what_waits_is_dropped_and_the_reason_stays() {
        let queue = queue(10, usize::MAX, 10);
        assert!(queue.push(accept(1)).is_ok());
        queue.stop("the disk is gone");
        queue.close();
        assert_eq!(taken(&queue), 0);
        assert_eq!(queue.stopped().as_deref(), Some("the disk is gone"));
    }
}
