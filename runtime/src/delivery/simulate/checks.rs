//! Checks: what must be true at every step, whatever happens.

use std::collections::{BTreeSet, HashMap};

use crate::delivery::schedule::{Item, LaneState, SAVED_RETRIES};
use crate::model::{OrderKey, Rate, Timestamp};

use super::partner::Kind;
use super::scenario::Place;
use super::store::{State, Store};

/// What is watched of one destination.
struct Watched {
    /// Attempts of fresh deliveries, and of retries while fresh ones waited, since the process began.
    fresh: u64,
    retries: u64,
    rates: Vec<Meter>,
    /// Milliseconds from acceptance to the end of the attempt that delivered.
    latencies: Vec<u64>,
}

/// One set rate, measured on its own.
struct Meter {
    rate: Rate,
    tokens: f64,
    at: Timestamp,
}

impl Meter {
    fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, tokens: Self::most(rate), at: now }
    }

    fn per_s(rate: Rate) -> f64 {
        rate.requests_per_s.or(rate.events_per_s).unwrap_or(1.0)
    }

    fn most(rate: Rate) -> f64 {
        rate.burst.map_or(Self::per_s(rate).max(1.0), f64::from)
    }

    /// Whether an attempt with so many events keeps to it. Milliseconds are the finest that a schedule tells apart.
    fn keeps(&mut self, events: usize, now: Timestamp) -> bool {
        let passed = now.since(self.at).as_secs_f64();
        self.tokens = (self.tokens + Self::per_s(self.rate) * passed).min(Self::most(self.rate));
        self.at = now;
        self.tokens -= if self.rate.requests_per_s.is_some() { 1.0 } else { events as f64 };
        self.tokens >= -0.01
    }
}

/// All checks of one run.
pub(super) struct Checks {
    watched: Vec<Watched>,
    /// Deliveries of a key that are not over, by number, which is the order of acceptance.
    open: HashMap<(usize, OrderKey), BTreeSet<usize>>,
}

impl Checks {
    pub fn new(places: &[Place], now: Timestamp) -> Self {
        let watch = |place: &Place| Watched {
            fresh: 0,
            retries: 0,
            rates: place.rates.iter().map(|rate| Meter::new(*rate, now)).collect(),
            latencies: Vec::new(),
        };
        Self { watched: places.iter().map(watch).collect(), open: HashMap::new() }
    }

    /// The process begins anew: promises about rates and shares are those of one process, order is for ever.
    pub fn restarted(&mut self, store: &Store, now: Timestamp) {
        for watched in &mut self.watched {
            (watched.fresh, watched.retries) = (0, 0);
            watched.rates.iter_mut().for_each(|meter| *meter = Meter::new(meter.rate, now));
        }
        self.open.clear();
        for number in 0..store.owed.len() {
            self.accepted(store, number);
        }
    }

    pub fn accepted(&mut self, store: &Store, number: usize) {
        let owed = &store.owed[number];
        if let (Some(key), State::Fresh | State::Again(_)) = (owed.key, owed.state) {
            self.open.entry((owed.destination, key)).or_default().insert(number);
        }
    }

    /// An attempt begins. `after` is how its lane stands then.
    pub fn started(
        &mut self,
        store: &Store,
        destination: usize,
        items: &[Item],
        after: &LaneState,
        now: Timestamp,
    ) -> Result<(), String> {
        for item in items {
            let number = store.ids[&item.delivery.id];
            let Some(key) = item.delivery.key else { continue };
            let first = self.open.get(&(destination, key)).and_then(|open| open.first().copied());
            if first.is_some_and(|first| first < number) {
                return Err(format!("order: delivery {number} began while {first:?} of its key was open"));
            }
        }
        let watched = &mut self.watched[destination];
        for meter in &mut watched.rates {
            if !meter.keeps(items.len(), now) {
                return Err(format!("rate: destination {destination} exceeded {:?}", meter.rate));
            }
        }
        let retries = items.iter().filter(|item| item.delivery.again).count() as u64;
        watched.fresh += items.len() as u64 - retries;
        if after.fresh > 0 {
            watched.retries += retries;
        }
        if watched.retries > watched.fresh / 4 + u64::from(SAVED_RETRIES) {
            let Watched { fresh, retries, .. } = watched;
            return Err(format!("budget: destination {destination} made {retries} retries beside {fresh} fresh ones"));
        }
        Ok(())
    }

    /// A delivery is over, as far as this process knows.
    pub fn over(&mut self, store: &Store, number: usize, delivered: bool, now: Timestamp) {
        let owed = &store.owed[number];
        if let Some(key) = owed.key
            && let Some(open) = self.open.get_mut(&(owed.destination, key))
        {
            open.remove(&number);
        }
        if delivered {
            let latency = now.since(owed.delivery.accepted_at).as_millis();
            self.watched[owed.destination].latencies.push(u64::try_from(latency).unwrap_or(u64::MAX));
        }
    }

    /// The 99th percentile of a destination's latencies.
    pub fn p99(&mut self, destination: usize) -> u64 {
        let latencies = &mut self.watched[destination].latencies;
        latencies.sort_unstable();
        latencies.get(latencies.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0)
    }

    /// Everything has come to its end: to the right one.
    pub fn ended(store: &Store, places: &[Place]) -> Result<(), String> {
        for (number, owed) in store.owed.iter().enumerate() {
            let kind = places[owed.destination].kind;
            let wrong = |what: &str| Err(format!("delivery {number} to {kind:?} {what}: {:?}", owed.state));
            match owed.state {
                State::Fresh | State::Again(_) => return wrong("is still open"),
                State::Delivered if owed.taken == 0 => return wrong("was never taken"),
                // A lie can be told for as long as the window lasts.
                State::Dead if kind.takes_all() && kind != Kind::Lying && !owed.poison => return wrong("was given up"),
                State::Delivered | State::Dead => {}
            }
        }
        Ok(())
    }
}
