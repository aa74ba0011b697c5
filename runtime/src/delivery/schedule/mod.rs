//! Schedule: which destination's deliveries are attempted next, as one pure state machine.
//!
//! Guarantees: it does nothing itself and knows no clock: what happened goes in with the time, and steps to do come out.
//! The dispatcher and the simulator drive this very code. Lanes that may start take turns by what their attempts cost
//! ("deficit round robin"); no lane takes more than half of the places that are free, on the host or for one of its
//! partner's hosts, so that however many destinations hang, others find places.
//!
//! Leaves to others: doing the steps (`dispatcher`), what an attempt means (`conclude`).

mod breaker;
mod lane;
mod order;
mod rate;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{ClaimedDelivery, DestinationId, OrderKey, OutcomeCode, Timestamp};
use crate::store::{Failure, Want};

pub use breaker::BreakerPolicy;
pub(in crate::delivery) use breaker::{Change, Sight, State as BreakerState};
use lane::{Gate, Lane};
pub(in crate::delivery) use lane::{IN_LINE, Terms};
pub(in crate::delivery) use order::Fate;
use waiting::Next;
pub(in crate::delivery) use waiting::SAVED_RETRIES;

/// Microseconds of the whole host that each lane may use in a round: some attempts, so that turns stay short.
const QUANTUM: i64 = 100;

/// The most that a lane can owe: what it used beyond that is forgiven, so that one bad second is no bad minute.
const MOST_DEBT: i64 = 50_000;

/// How long an idle lane is remembered with what it learned.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How often idle lanes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long nobody else may have started anything for a lane to be alone on the host: who delivers an event now and then
/// is a neighbour too.
const ALONE: Duration = Duration::from_secs(1);

/// Lanes that are looked at again when a place becomes free: some, since the first may still hold too many.
const LOOK_AGAIN: usize = 4;

/// Bounds of the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScheduleConfig {
    /// Attempts under way at the same time, over all destinations.
    pub in_flight: usize,
    /// Attempts under way at the same time for one destination.
    pub in_flight_per_destination: usize,
    /// Attempts under way at the same time for destinations of one partner's host.
    pub in_flight_per_host: usize,
    /// Processors that guests run on.
    pub processors: usize,
    /// When a destination's breaker opens and probes.
    pub breaker: BreakerPolicy,
}

/// A claimed delivery on its way through a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::delivery) struct Item {
    pub delivery: ClaimedDelivery,
    /// What it is batched with.
    pub group: u64,
    /// Since when it could be part of a batch.
    pub since: Timestamp,
}

impl Item {
    /// Bytes that it takes of a batch.
    pub fn size(&self) -> usize {
        self.delivery.event.json.len()
    }
}

/// What is to be done.
#[derive(Debug)]
pub(in crate::delivery) enum Step {
    /// Find out which keys of this destination the store has written down; then [`Schedule::loaded`].
    Load(DestinationId),
    /// Claim; then [`Schedule::claimed`].
    Claim(DestinationId, Want),
    /// Make an attempt; then [`Schedule::ended`].
    Start(Ticket, Vec<Item>),
    /// Have the store hold these until those before them are over.
    Hold(Vec<Item>),
    /// Give these back to the store as they were; then [`Schedule::released`].
    Release(DestinationId, Vec<Item>),
    /// Give these up: their destination failed for as long as they may be tried, at the last attempt so.
    Expire(Vec<Item>, Option<Arc<Failure>>),
    /// A breaker changed: for the log and the metrics.
    Changed(DestinationId, Change),
}

/// What an attempt holds while it is under way.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Ticket {
    pub destination: DestinationId,
    hosts: Arc<[Arc<str>]>,
    probe: bool,
    cost: i64,
}

/// How an attempt ended, as far as it matters here.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Ended {
    /// What it says about the destination; nothing where the host was at fault.
    pub sight: Option<Sight>,
    /// The partner asked for less, and perhaps for how long.
    pub pushed_back: Option<Option<Duration>>,
    /// It came to a limit that a smaller batch would not.
    pub too_large: bool,
    pub wall: Duration,
    pub cpu: Duration,
    pub requests: u32,
    pub events: usize,
    /// How many of its deliveries ended with each code.
    pub outcomes: [u32; OutcomeCode::ALL.len()],
    /// What became of deliveries with a key.
    pub fates: Vec<Fate>,
    /// How one of its deliveries failed, if any did.
    pub failure: Option<Arc<Failure>>,
    pub back: Back,
}

/// What comes back into the lane.
#[derive(Debug, Default)]
pub(in crate::delivery) enum Back {
    #[default]
    Nothing,
    /// A batch that failed as a whole, cut in halves.
    Pieces([Vec<Item>; 2]),
    /// All of it: the host could not run it.
    Fault(Vec<Item>),
    /// The destination is switched off or gone.
    Off(Vec<Item>),
}

/// How one destination stands.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct LaneState {
    pub breaker: BreakerState,
    pub since: Timestamp,
    pub in_flight: usize,
    pub claimed: usize,
    /// Fresh ones that are claimed and could start.
    pub fresh: usize,
    pub learned_per_s: Option<f64>,
    pub outcomes: [u64; OutcomeCode::ALL.len()],
}

/// Attempts under way at one partner's host, and lanes that wait for that to change.
#[derive(Default)]
struct Host {
    in_flight: usize,
    crowd: VecDeque<DestinationId>,
}

/// All lanes.
pub(in crate::delivery) struct Schedule {
    config: ScheduleConfig,
    lanes: HashMap<DestinationId, Lane>,
    /// Lanes that may be able to start something, in turn.
    ring: VecDeque<DestinationId>,
    /// Lanes that hold too much of the host to get more of it.
    crowd: VecDeque<DestinationId>,
    hosts: HashMap<Arc<str>, Host>,
    timers: BinaryHeap<Reverse<(Timestamp, DestinationId)>>,
    steps: VecDeque<Step>,
    in_flight: usize,
    /// How often every lane has had its share.
    round: i64,
    swept: Timestamp,
    /// Who started an attempt last, and since when nobody else has.
    latest: Option<(DestinationId, Timestamp)>,
    dice: Dice,
}

impl Schedule {
    /// Nothing is known yet. `seed` makes its randomness: when breakers probe.
    pub fn new(config: ScheduleConfig, seed: u64, now: Timestamp) -> Self {
        Self {
            config,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            crowd: VecDeque::new(),
            hosts: HashMap::new(),
            timers: BinaryHeap::new(),
            steps: VecDeque::new(),
            in_flight: 0,
            round: 1,
            swept: now,
            latest: None,
            dice: Dice::new(seed),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn knows(&self, destination: DestinationId) -> bool {
        self.lanes.contains_key(&destination)
    }

    pub fn destinations(&self) -> impl Iterator<Item = DestinationId> {
        self.lanes.keys().copied()
    }

    /// These terms hold for a destination from now on.
    pub fn terms(&mut self, destination: DestinationId, terms: Terms, now: Timestamp) {
        match self.lanes.get_mut(&destination) {
            Some(lane) if lane.terms == terms => return,
            Some(lane) => lane.change(terms, now),
            None => drop(self.lanes.insert(destination, Lane::new(terms, self.round - 1, now))),
        }
        self.look(destination);
    }

    /// A destination that is known has, or may have, fresh deliveries or retries that are due.
    pub fn more(&mut self, destination: DestinationId, fresh: bool, retries: bool) {
        let Some(lane) = self.lanes.get_mut(&destination) else { return };
        lane.more(fresh, retries);
        self.look(destination);
    }

    /// The keys that the store has written down for a destination.
    pub fn loaded(&mut self, destination: DestinationId, stored: Vec<(OrderKey, u32)>) {
        let Some(lane) = self.lanes.get_mut(&destination) else { return };
        lane.end_load(stored);
        self.look(destination);
    }

    /// A claim ended with these.
    pub fn claimed(&mut self, destination: DestinationId, claimed: Vec<Item>) {
        let Some(lane) = self.lanes.get_mut(&destination) else { return };
        let (held, released) = lane.end_claim(claimed);
        if !held.is_empty() {
            self.steps.push_back(Step::Hold(held));
        }
        if !released.is_empty() {
            self.steps.push_back(Step::Release(destination, released));
        }
        self.look(destination);
    }

    /// So many deliveries of a [`Step::Release`] are in the store again.
    pub fn released(&mut self, destination: DestinationId, count: usize) {
        let Some(lane) = self.lanes.get_mut(&destination) else { return };
        lane.released(count);
        self.look(destination);
    }

    /// An attempt ended.
    pub fn ended(&mut self, ticket: &Ticket, ended: Ended, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for name in &*ticket.hosts {
            let Some(host) = self.hosts.get_mut(name) else { continue };
            host.in_flight = host.in_flight.saturating_sub(1);
            let again = if host.in_flight == 0 { host.crowd.len() } else { LOOK_AGAIN.min(host.crowd.len()) };
            let again: Vec<_> = host.crowd.drain(..again).collect();
            again.into_iter().for_each(|destination| self.uncrowd(destination));
        }
        let again = if self.in_flight == 0 { self.crowd.len() } else { LOOK_AGAIN.min(self.crowd.len()) };
        for _ in 0..again {
            let next = self.crowd.pop_front();
            next.into_iter().for_each(|destination| self.uncrowd(destination));
        }
        let cost = self.cost(&ended);
        let dice = self.dice.roll();
        let Some(lane) = self.lanes.get_mut(&ticket.destination) else { return };
        lane.deficit = (lane.deficit + ticket.cost - cost).max(-MOST_DEBT);
        // Where nothing ran there is nothing to learn.
        if ended.events > 0 {
            lane.cost += (cost - lane.cost) / 8;
            lane.took(ended.cpu, ended.wall);
        }
        let done = lane.ended(ended, ticket.probe, &self.config.breaker, dice, now);
        if !done.held.is_empty() {
            self.steps.push_back(Step::Hold(done.held));
        }
        if !done.released.is_empty() {
            self.steps.push_back(Step::Release(ticket.destination, done.released));
        }
        if let Some(change) = done.change {
            self.steps.push_back(Step::Changed(ticket.destination, change));
        }
        self.look(ticket.destination);
    }

    /// What an attempt used of the whole host, in microseconds: of its processors, and of its places for attempts.
    fn cost(&self, ended: &Ended) -> i64 {
        let share = |used: Duration, of: usize| i64::try_from(used.as_micros()).unwrap_or(i64::MAX) / of.max(1) as i64;
        (share(ended.cpu, self.config.processors) + share(ended.wall, self.config.in_flight)).clamp(1, MOST_DEBT)
    }

    /// The next step, if there is one now.
    pub fn next(&mut self, now: Timestamp) -> Option<Step> {
        while let Some(Reverse((at, destination))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if let Some(lane) = self.lanes.get_mut(&destination)
                && lane.timer == Some(at)
            {
                lane.timer = None;
                self.look(destination);
            }
        }
        if self.steps.is_empty() && now.since(self.swept) >= SWEEP_EVERY {
            self.sweep(now);
        }
        self.steps.pop_front().or_else(|| self.turns(now))
    }

    /// The next attempt to be made now, if no other step comes before it.
    pub fn next_attempt(&mut self, now: Timestamp) -> Option<(Ticket, Vec<Item>)> {
        match self.next(now)? {
            Step::Start(ticket, items) => Some((ticket, items)),
            other => {
                self.steps.push_front(other);
                None
            }
        }
    }

    /// Whether steps wait to be done.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// When there may be a next step although nothing happens.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// How a destination stands, if it is known.
    pub fn state(&self, destination: DestinationId) -> Option<LaneState> {
        let lane = self.lanes.get(&destination)?;
        Some(LaneState {
            breaker: lane.breaker.state(),
            since: lane.breaker.since(),
            in_flight: lane.in_flight,
            claimed: lane.waiting.len() + lane.keys.waiting(),
            fresh: lane.waiting.fresh(),
            learned_per_s: lane.pace.learned_per_s(),
            outcomes: lane.outcomes,
        })
    }

    /// Everything that is claimed and not under way, to be given back when the host stops.
    pub fn drain(&mut self) -> Vec<Item> {
        let mut all = Vec::new();
        for lane in self.lanes.values_mut() {
            all.extend(lane.waiting.drain());
            all.extend(lane.keys.drain());
        }
        for step in self.steps.drain(..) {
            match step {
                Step::Start(_, items) | Step::Hold(items) | Step::Release(_, items) | Step::Expire(items, _) => {
                    all.extend(items);
                }
                Step::Load(_) | Step::Claim(..) | Step::Changed(..) => {}
            }
        }
        all
    }

    /// Something happened to a lane: it gets a turn.
    fn look(&mut self, destination: DestinationId) {
        if let Some(lane) = self.lanes.get_mut(&destination)
            && !lane.in_ring
        {
            lane.in_ring = true;
            self.ring.push_back(destination);
        }
    }

    fn uncrowd(&mut self, destination: DestinationId) {
        if let Some(lane) = self.lanes.get_mut(&destination) {
            lane.in_crowd = false;
        }
        self.look(destination);
    }

    /// Gives lanes their turns until one has a step.
    fn turns(&mut self, now: Timestamp) -> Option<Step> {
        // Turns in a row in which a lane could start something but for its deficit.
        let mut broke = 0;
        while let Some(destination) = self.ring.front().copied() {
            let Some(lane) = self.lanes.get_mut(&destination) else {
                self.ring.pop_front();
                continue;
            };
            let (expired, held) = lane.expired(now);
            if !held.is_empty() {
                self.steps.push_back(Step::Hold(held));
            }
            if !expired.is_empty() {
                return Some(Step::Expire(expired, lane.failure.clone()));
            }
            if lane.begin_load() {
                return Some(Step::Load(destination));
            }
            if let Some(want) = lane.begin_claim(now) {
                return Some(Step::Claim(destination, want));
            }
            // One processor is left to neighbours, where there are any.
            let alone = matches!(self.latest, Some((last, since)) if last == destination && now.since(since) >= ALONE);
            let ScheduleConfig { in_flight_per_destination: cap, processors, .. } = self.config;
            let most = lane.most(cap, processors, if alone { processors } else { processors.saturating_sub(1) });
            match lane.gate(most, now) {
                Gate::Shut => self.leave(destination),
                Gate::Wait(at) => self.leave_until(destination, at),
                Gate::Open if self.in_flight >= self.config.in_flight => return None,
                Gate::Open if self.crowded(destination) => {}
                Gate::Open => {
                    if self.broke(destination, &mut broke) {
                        continue;
                    }
                    if let Some(step) = self.start(destination, now) {
                        return Some(step);
                    }
                }
            }
        }
        None
    }

    /// Whether a lane has used up its share of this round: it goes to the end of the ring then. Where all have, as many
    /// rounds pass at once as it takes for one of them to have a share again.
    fn broke(&mut self, destination: DestinationId, broke: &mut usize) -> bool {
        let Some(lane) = self.lanes.get_mut(&destination) else { return false };
        // Rounds that passed while it was not in the ring pay its debts, and no more than one is saved up.
        let due = (self.round - lane.round).saturating_mul(QUANTUM);
        lane.deficit = lane.deficit.saturating_add(due).min(QUANTUM);
        lane.round = self.round;
        if lane.deficit > 0 {
            *broke = 0;
            return false;
        }
        *broke += 1;
        self.ring.rotate_left(1);
        if *broke >= self.ring.len() {
            let owes = |id| Some(self.lanes.get(id)?).map(|lane| -lane.deficit - (self.round - lane.round) * QUANTUM);
            let least = self.ring.iter().filter_map(owes).min().unwrap_or(0);
            self.round += least.max(0) / QUANTUM + 1;
            *broke = 0;
        }
        true
    }

    /// Whether a lane has half as many attempts under way as there are free places, on this host or for its partner's.
    /// It waits then until one ends.
    fn crowded(&mut self, destination: DestinationId) -> bool {
        #[cfg(test)]
        if made(Mistake::PlacesUnshared) {
            return false;
        }
        let Some(lane) = self.lanes.get_mut(&destination) else { return false };
        let (held, hosts, waits) = (lane.in_flight, Arc::clone(&lane.terms.hosts), lane.in_crowd);
        let too_much = |used: usize, most: usize| {
            let free = most.saturating_sub(used);
            free == 0 || (held > 0 && held * 2 >= free)
        };
        let crowd = if too_much(self.in_flight, self.config.in_flight) {
            &mut self.crowd
        } else {
            let full = |name: &&Arc<str>| {
                self.hosts.get(*name).is_some_and(|host| too_much(host.in_flight, self.config.in_flight_per_host))
            };
            let Some(name) = hosts.iter().find(full) else { return false };
            &mut self.hosts.entry(Arc::clone(name)).or_default().crowd
        };
        lane.in_crowd = true;
        if !waits {
            crowd.push_back(destination);
        }
        self.leave(destination);
        true
    }

    fn start(&mut self, destination: DestinationId, now: Timestamp) -> Option<Step> {
        let lane = self.lanes.get_mut(&destination)?;
        let items = match lane.take(now) {
            Next::Start(items) => items,
            Next::Wait(at) => {
                self.leave_until(destination, at);
                return None;
            }
            Next::Nothing => {
                self.leave(destination);
                return None;
            }
        };
        let probe = lane.breaker.begin();
        lane.deficit -= lane.cost;
        let ticket = Ticket { destination, hosts: Arc::clone(&lane.terms.hosts), probe, cost: lane.cost };
        for name in &*ticket.hosts {
            self.hosts.entry(Arc::clone(name)).or_default().in_flight += 1;
        }
        self.in_flight += 1;
        if self.latest.is_none_or(|(last, _)| last != destination) {
            self.latest = Some((destination, now));
        }
        Some(Step::Start(ticket, items))
    }

    /// The lane at the front of the ring has nothing to do there.
    fn leave(&mut self, destination: DestinationId) {
        self.ring.pop_front();
        if let Some(lane) = self.lanes.get_mut(&destination) {
            lane.in_ring = false;
        }
    }

    fn leave_until(&mut self, destination: DestinationId, at: Timestamp) {
        self.leave(destination);
        #[cfg(test)]
        if made(Mistake::WaitForgotten) {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&destination)
            && lane.timer.is_none_or(|timer| at < timer)
        {
            lane.timer = Some(at);
            self.timers.push(Reverse((at, destination)));
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.swept = now;
        self.lanes.retain(|_, lane| {
            if !lane.is_idle() {
                lane.idle_since = now;
            }
            now.since(lane.idle_since) < REMEMBERED
        });
        self.hosts.retain(|_, host| host.in_flight > 0 || !host.crowd.is_empty());
    }
}

#[cfg(test)]
mod tests;
