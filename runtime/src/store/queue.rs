//! What waits for the writer: bounded for events, which are refused at once when it is full.
//!
//! Settlements and control calls are always taken: the former are bounded by what is in flight, the latter by [`CALLS`].
//!
//! A commit has either what somebody waits for, which comes first, or what nobody does. Where both wait they take turns, of about the
//! same time each; who comes in the turn of what nobody waits for ends it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// How much waits that somebody waits for.
    awaited: AtomicUsize,
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
    /// What somebody waits for.
    awaited: VecDeque<Work>,
    others: VecDeque<Work>,
    /// Whether the last commit left the others out.
    left_out: bool,
    /// Events and settlements in both.
    weight: usize,
    /// Events in `awaited`.
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
    /// What somebody waits for.
    Awaited(Vec<Work>),
    /// What nobody does. With whether it was left out by the commit before.
    Others(Vec<Work>, bool),
    /// Nothing came for a while.
    Idle,
    /// Nothing waits and nothing will come.
    Closed,
}

impl Queue {
    pub fn new(limits: Limits) -> Self {
        let awaited = AtomicUsize::new(0);
        Self { state: Mutex::default(), wake: Condvar::new(), awaited, calls: Semaphore::new(CALLS), limits }
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
        if work.is_awaited() {
            state.awaited.push_back(work);
            self.awaited.store(state.awaited.len(), Ordering::Relaxed);
        } else {
            state.others.push_back(work);
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes back what a commit did not come to, as what is next of its kind.
    pub fn put_back(&self, rest: Vec<Work>) {
        let mut state = self.lock();
        for work in rest.into_iter().rev() {
            state.weight += work.weight();
            state.others.push_front(work);
        }
    }

    /// Whether something waits that somebody waits for.
    pub fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > 0
    }

    /// Waits for work; then takes what waits, up to one commit's worth.
    pub fn take(&self, idle: Duration) -> Taken {
        let mut state = self.lock();
        let until = Instant::now() + idle;
        while state.awaited.is_empty() && state.others.is_empty() {
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
        let taken = state.take(self.limits.commit);
        self.awaited.store(state.awaited.len(), Ordering::Relaxed);
        taken
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
        let dropped = [std::mem::take(&mut state.awaited), std::mem::take(&mut state.others)];
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
    fn take(&mut self, most: usize) -> Taken {
        let left_out = std::mem::take(&mut self.left_out) && !self.others.is_empty();
        if left_out || self.awaited.is_empty() {
            return Taken::Others(self.take_of(|state| &mut state.others, most), left_out);
        }
        self.left_out = !self.others.is_empty();
        Taken::Awaited(self.take_of(|state| &mut state.awaited, most))
    }

    fn take_of(&mut self, kind: impl Fn(&mut Self) -> &mut VecDeque<Work>, most: usize) -> Vec<Work> {
        let mut taken = Vec::new();
        let mut weight = 0;
        while let Some(work) = kind(self).front() {
            if !taken.is_empty() && weight + work.weight() > most {
                break;
            }
            let Some(work) = kind(self).pop_front() else { break };
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
            Taken::Awaited(work) | Taken::Others(work, _) => work.len(),
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
    fn what_somebody_waits_for_comes_first_and_the_others_have_every_second_turn() {
        let queue = queue(1_000, usize::MAX, 100);
        let other = || Work::Step(Box::new(|_| unreachable!("nobody runs it")));
        let push = |work| assert!(queue.push(work).is_ok());
        let turn = || match queue.take(Duration::ZERO) {
            Taken::Awaited(work) => ("awaited", work.len()),
            Taken::Others(work, false) => ("others", work.len()),
            Taken::Others(work, true) => ("others that were left out", work.len()),
            Taken::Idle | Taken::Closed => ("nothing", 0),
        };
        push(other());
        push(accept(1));
        push(other());
        assert!(queue.is_awaited());
        assert_eq!(turn(), ("awaited", 1));
        assert!(!queue.is_awaited());
        push(accept(1));
        assert_eq!(turn(), ("others that were left out", 2));
        queue.put_back(vec![other()]);
        assert_eq!(turn(), ("awaited", 1));
        assert_eq!(turn(), ("others that were left out", 1));
        push(other());
        assert_eq!([turn(), turn()], [("others", 1), ("nothing", 0)]);
    }

    #[test]
    fn what_is_put_back_is_what_is_next_in_the_order_in_which_it_was() {
        let queue = queue(10, usize::MAX, 1);
        let settle = |settlements: usize| {
            let settlement = crate::store::Settlement {
                delivery: crate::model::DeliveryId::new(crate::model::Timestamp::from_millis(1)),
                lease: crate::model::LeaseToken(1),
                settle: crate::store::Settle::Hold,
                key: None,
                attempt: None,
                instead: None,
            };
            let items = Arc::new(vec![settlement; settlements]);
            Work::Settle(super::super::work::Settlements {
                items,
                done: Vec::new(),
                reply: tokio::sync::oneshot::channel().0,
            })
        };
        assert!(queue.push(settle(3)).is_ok());
        queue.put_back(vec![settle(1), settle(2)]);
        let weights: Vec<usize> = std::iter::from_fn(|| match queue.take(Duration::ZERO) {
            Taken::Others(work, _) => Some(work.iter().map(Work::weight).sum()),
            Taken::Awaited(_) | Taken::Idle | Taken::Closed => None,
        })
        .collect();
        assert_eq!(weights, [1, 2, 3]);
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
