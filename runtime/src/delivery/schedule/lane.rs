//! Lane: everything about one destination that decides when its next attempt begins.
//!
//! Guarantees: pure. A lane starts no more than its cap, asks the store for more before it runs dry, stands still after
//! a host fault, and lets breaker, rates, batches and order have their say, in that order.

use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{Batch, OrderKey, OutcomeCode, Rate, Timestamp};
use crate::store::Want;

use super::breaker::{Breaker, BreakerPolicy, Change};
use super::order::{Admitted, Fate, Keys};
use super::rate::{Limits, Pace};
use super::waiting::{Form, Next, Waiting, Windows};
use super::{Back, Ended, Failure, Item};

/// Deliveries that a busy lane claims at once: some tens of milliseconds of work, so that a refill is never the bottleneck.
pub(super) const CLAIM_MOST: usize = 512;

/// What a lane claims at first, and one that is slow: enough to keep its places busy, little to hold in memory.
const CLAIM_LEAST: usize = 64;

/// What a lane claims while its breaker is open: the next probe and one more.
const CLAIM_PROBE: usize = 2;

/// Bytes that one claim asks for, so that large events do not fill the memory.
const CLAIM_BYTES: usize = 4 << 20;

/// Deliveries behind others of their key that a lane holds before it claims no more.
const MOST_WAITING: usize = 2_048;

/// A lane that uses up a claim faster than this claims more the next time.
const BRISK: Duration = Duration::from_millis(250);

/// The first pause after a host fault. It doubles, up to a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after host faults: what an operator notices anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Microseconds of each processor for which attempts of one lane may stand in line at once: another lane's next step waits
/// behind them, some times before its event is with the partner, and all of that should pass unnoticed.
pub(in crate::delivery) const IN_LINE: i64 = 250;

/// Microseconds that an attempt is taken to cost before one has ended.
const FIRST_COST: i64 = 50;

/// What holds for one destination at the moment.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::delivery) struct Terms {
    /// How events are put together, if its function takes batches.
    pub batch: Option<Batch>,
    /// The rates that partner and customer set.
    pub rates: Vec<Rate>,
    /// The partner's hosts, as far as they are known.
    pub hosts: Arc<[Arc<str>]>,
    /// Whether any of its connections keeps events in order.
    pub ordered: bool,
    /// How long a delivery is tried.
    pub window: Duration,
    /// How long one is tried that failed and others wait behind.
    pub ordered_window: Duration,
}

/// One destination's lane.
pub(super) struct Lane {
    pub terms: Terms,
    pub waiting: Waiting,
    pub keys: Keys,
    pub breaker: Breaker,
    pub pace: Pace,
    limits: Limits,
    pub in_flight: usize,
    claim: Claim,
    /// Deliveries that were given back and are on their way to the disk.
    releasing: usize,
    keys_loaded: Loaded,
    held_until: Option<Timestamp>,
    faults_in_row: u32,
    /// Events of one batch at most, since larger ones came to a limit.
    batch_most: usize,
    /// What it may still start in this round, in microseconds of the whole host.
    pub deficit: i64,
    /// The last round whose share it had.
    pub round: i64,
    /// What one attempt costs, in the same.
    pub cost: i64,
    /// Microseconds of a processor, and of time, that an attempt takes.
    takes: (i64, i64),
    /// Whether it stands in the ring, so that it stands there once.
    pub in_ring: bool,
    /// Whether it stands in a crowd that waits for free places, so that it stands in one once.
    pub in_crowd: bool,
    /// When it is to be looked at again.
    pub timer: Option<Timestamp>,
    pub idle_since: Timestamp,
    /// How the last attempt that failed ended, and at which delivery: why others may be given up without one.
    pub failure: Option<Arc<Failure>>,
    /// How attempts at its deliveries ended, by code.
    pub outcomes: [u64; OutcomeCode::ALL.len()],
}

struct Claim {
    under_way: bool,
    fresh: bool,
    retries: bool,
    size: usize,
    filled_at: Timestamp,
}

#[derive(PartialEq, Eq)]
enum Loaded {
    NotNeeded,
    Asked,
    Done,
}

/// Whether a lane may start anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Not before then.
    Wait(Timestamp),
    /// Not before something happens to it.
    Shut,
}

impl Lane {
    /// Nothing is known of it yet; `round` is the last one in which it had its share.
    pub fn new(terms: Terms, round: i64, now: Timestamp) -> Self {
        Self {
            limits: Limits::new(&terms.rates, now),
            terms,
            waiting: Waiting::default(),
            keys: Keys::default(),
            breaker: Breaker::new(now),
            pace: Pace::new(now),
            in_flight: 0,
            claim: Claim { under_way: false, fresh: false, retries: false, size: CLAIM_LEAST, filled_at: now },
            releasing: 0,
            keys_loaded: Loaded::NotNeeded,
            held_until: None,
            faults_in_row: 0,
            batch_most: usize::MAX,
            deficit: 0,
            round,
            cost: FIRST_COST,
            takes: (0, 0),
            in_ring: false,
            in_crowd: false,
            timer: None,
            idle_since: now,
            failure: None,
            outcomes: Default::default(),
        }
    }

    /// Other terms hold from now on. What was learned stays.
    pub fn change(&mut self, terms: Terms, now: Timestamp) {
        if terms.rates != self.terms.rates {
            self.limits = Limits::new(&terms.rates, now);
        }
        if terms.batch != self.terms.batch {
            self.batch_most = usize::MAX;
        }
        self.terms = terms;
    }

    /// There is, or may be, more in the store.
    pub fn more(&mut self, fresh: bool, retries: bool) {
        self.claim.fresh |= fresh;
        self.claim.retries |= retries;
    }

    /// Whether the keys that the store has written down must be loaded before anything is claimed; said once.
    pub fn begin_load(&mut self) -> bool {
        let begin = self.terms.ordered && self.keys_loaded == Loaded::NotNeeded;
        if begin {
            self.keys_loaded = Loaded::Asked;
        }
        begin
    }

    pub fn end_load(&mut self, stored: Vec<(OrderKey, u32)>) {
        self.keys.load(stored);
        self.keys_loaded = Loaded::Done;
    }

    /// What to claim now, if anything; the claim counts as begun then.
    pub fn begin_claim(&mut self, now: Timestamp) -> Option<Want> {
        let blocked = self.terms.ordered && (self.keys_loaded != Loaded::Done || self.is_releasing());
        if self.claim.under_way || blocked || self.keys.waiting() >= MOST_WAITING {
            return None;
        }
        // What others wait behind is given up soon, which only happens to what is here.
        let size = if self.breaker.is_closed() || self.terms.ordered { self.claim.size } else { CLAIM_PROBE };
        let room = |has: usize| if has <= size / 4 { size } else { 0 };
        let fresh = if self.claim.fresh { room(self.waiting.fresh()) } else { 0 };
        let retries = if self.claim.retries { room(self.waiting.retries()).div_ceil(4) } else { 0 };
        if fresh + retries == 0 {
            return None;
        }
        self.claim.fresh &= fresh == 0;
        self.claim.retries &= retries == 0;
        if fresh > 0 && self.breaker.is_closed() {
            let brisk = now.since(self.claim.filled_at) < BRISK;
            let next = if brisk { self.claim.size * 2 } else { self.claim.size / 2 };
            self.claim.size = next.clamp(CLAIM_LEAST, CLAIM_MOST);
            self.claim.filled_at = now;
        }
        self.claim.under_way = true;
        Some(Want { fresh, retries, bytes: CLAIM_BYTES })
    }

    /// Whether something that comes before everything in the store is not there yet.
    fn is_releasing(&self) -> bool {
        #[cfg(test)]
        if made(Mistake::ReleaseUnawaited) {
            return false;
        }
        self.releasing > 0
    }

    /// So many deliveries that were given back are in the store again.
    pub fn released(&mut self, count: usize) {
        self.releasing = self.releasing.saturating_sub(count);
    }

    /// A claim ended with these; what the store is to hold comes back, and what it is to have back.
    pub fn end_claim(&mut self, claimed: Vec<Item>) -> (Vec<Item>, Vec<Item>) {
        self.claim.under_way = false;
        let (mut held, mut released) = (Vec::new(), Vec::new());
        let release = self.terms.ordered && self.is_releasing();
        for item in claimed {
            // Anything at all may mean that the claim stopped at a bound; an empty claim is the end.
            if item.delivery.again {
                self.claim.retries = true
            } else {
                self.claim.fresh = true
            }
            if release {
                // It was claimed after what is on its way back, and does not overtake it.
                released.push(item);
                continue;
            }
            match self.keys.admit(item) {
                Admitted::Startable(item) => self.waiting.push(item),
                Admitted::Waiting => {}
                Admitted::Held(item) => held.push(item),
            }
        }
        self.releasing += released.len();
        (held, released)
    }

    /// Learns what an attempt took.
    pub fn took(&mut self, cpu: Duration, wall: Duration) {
        let learn = |known: &mut i64, now: Duration| {
            *known += (i64::try_from(now.as_micros()).unwrap_or(i64::MAX) - *known) / 8
        };
        learn(&mut self.takes.0, cpu);
        learn(&mut self.takes.1, wall);
    }

    /// How many attempts it may have under way: up to `cap` of those that wait for a partner, fewer the more they compute
    /// instead, until as many processors compute for it as it may keep busy.
    pub fn most(&self, cap: usize, processors: usize, may_keep: usize) -> usize {
        let cpu = self.takes.0.max(1);
        let wall = self.takes.1.max(cpu);
        // Of each that is under way, the part that computes stands in line with the time that it takes.
        let in_line = IN_LINE / (cpu * cpu / wall).max(1) * processors as i64;
        // Whoever stands in line for a processor takes longer the more of them there are, as if the partner did. An eighth of the time
        // is not believed, so that such a line ends at about four for each processor: more of them only push each other out of its caches.
        let computing = may_keep as i64 * (wall - wall / 8 + cpu * 9 / 16) / cpu;
        usize::try_from(in_line.max(computing)).unwrap_or(cap).clamp(1, cap)
    }

    /// Whether an attempt may start now, as far as can be told without looking at what waits.
    pub fn gate(&mut self, cap: usize, now: Timestamp) -> Gate {
        #[cfg(test)]
        let cap = if made(Mistake::CapIgnored) { usize::MAX } else { cap };
        #[cfg(test)]
        let cap = if made(Mistake::OneAtATime) { 1 } else { cap };
        if self.waiting.is_empty() || self.in_flight >= cap {
            return Gate::Shut;
        }
        if let Some(until) = self.held_until {
            if now < until {
                return Gate::Wait(until);
            }
            self.held_until = None;
        }
        if let Err(wait) = self.breaker.permits(now) {
            let expiry = self.waiting.first_end(&self.windows());
            // An hour-long outage still ends what it has waited too long for; a probe's end wakes the lane anyway.
            return match (wait, expiry) {
                (Some(at), Some(expiry)) => Gate::Wait(at.min(expiry.max(now.plus(FIRST_PAUSE)))),
                (Some(at), None) => Gate::Wait(at),
                (None, _) => Gate::Shut,
            };
        }
        self.pace.ready_at(now).map_or(Gate::Open, Gate::Wait)
    }

    fn windows(&self) -> Windows {
        let Terms { window: plain, ordered_window: ordered, .. } = self.terms;
        Windows { plain, ordered, troubled: self.breaker.troubled_since() }
    }

    /// What has waited for its whole window while the breaker was open, and what the store is to hold after that.
    pub fn expired(&mut self, now: Timestamp) -> (Vec<Item>, Vec<Item>) {
        if self.breaker.is_closed() {
            return (Vec::new(), Vec::new());
        }
        let expired = self.waiting.expired(&self.windows(), now);
        let mut held = Vec::new();
        for item in &expired {
            if let Some(key) = item.delivery.key {
                self.settle(Fate { key, stored: item.delivery.again, over: true }, &mut held);
            }
        }
        (expired, held)
    }

    /// A delivery with a key is over or will be tried again: the next of its key may start, or all are to be held.
    fn settle(&mut self, fate: Fate, to_hold: &mut Vec<Item>) {
        let (next, held) = self.keys.ended(fate);
        next.into_iter().for_each(|item| self.waiting.push(item));
        to_hold.extend(held);
    }

    /// Takes out the next attempt's deliveries, if there are any.
    pub fn take(&mut self, now: Timestamp) -> Next {
        let form = Form {
            batch: self.terms.batch.as_ref(),
            most: self.batch_most.min(self.limits.most_events()),
            more_fresh: self.claim.fresh || self.claim.under_way,
        };
        let limits = &mut self.limits;
        let next = self.waiting.next(form, now, |events| limits.ready_at(events, now));
        if let Next::Start(items) = &next {
            self.limits.begin(items.len());
            self.pace.begin(now);
            self.in_flight += 1;
        }
        next
    }

    /// An attempt ended.
    pub fn ended(&mut self, ended: Ended, probe: bool, policy: &BreakerPolicy, dice: u64, now: Timestamp) -> LaneEnded {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.limits.end(ended.requests);
        for (sum, count) in self.outcomes.iter_mut().zip(ended.outcomes) {
            *sum += u64::from(count);
        }
        let mut done = LaneEnded::default();
        for fate in &ended.fates {
            self.settle(*fate, &mut done.held);
        }
        self.failure = ended.failure.or(self.failure.take());
        match ended.back {
            Back::Nothing => {}
            Back::Pieces(pieces) => self.waiting.push_pieces(pieces),
            Back::Fault(items) => {
                self.waiting.push_front(items);
                let pause = FIRST_PAUSE.saturating_mul(1 << self.faults_in_row.min(16)).min(LONGEST_PAUSE);
                self.faults_in_row = self.faults_in_row.saturating_add(1);
                self.held_until = Some(now.plus(pause));
            }
            Back::Off(items) => {
                done.released = items;
                done.released.extend(self.waiting.drain());
                self.keys.forget(&done.released);
                let waiting = self.keys.drain();
                done.released.extend(waiting);
                self.releasing += done.released.len();
            }
        }
        let Some(sight) = ended.sight else {
            if probe {
                self.breaker.probe_void(now);
            }
            return done;
        };
        self.faults_in_row = 0;
        self.learn_size(ended.events, ended.too_large);
        if let Some(push) = ended.pushed_back {
            self.pace.pushed_back(now.minus(ended.wall), push, now);
        }
        done.change = self.breaker.saw(sight, probe, policy, dice, now);
        if done.change == Some(Change::Closed) {
            self.pace.restart(now);
            self.failure = None;
        }
        done
    }

    /// A batch that came to a limit halves the next ones; each that does not lets them grow by an eighth.
    fn learn_size(&mut self, events: usize, too_large: bool) {
        if too_large && events > 1 {
            self.batch_most = (events / 2).max(1);
        } else if self.batch_most != usize::MAX && events >= self.batch_most {
            self.batch_most = self.batch_most.saturating_add((self.batch_most / 8).max(1));
        }
    }

    /// Whether nothing is open here, so that after a while the lane can be forgotten. One with order stays: it knows
    /// which keys have something in the store.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.in_flight == 0
            && self.releasing == 0
            && !self.claim.under_way
            && !self.claim.fresh
            && !self.claim.retries
            && self.held_until.is_none()
            && self.keys_loaded == Loaded::NotNeeded
    }
}

/// What the end of an attempt leads to.
#[derive(Default)]
pub(super) struct LaneEnded {
    /// The store is to hold these until those before them are over.
    pub held: Vec<Item>,
    /// The destination is off or gone: the store takes these back.
    pub released: Vec<Item>,
    pub change: Option<Change>,
}
