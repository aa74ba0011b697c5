//! Checks: what must be true at every step, whatever happens.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::delivery::schedule::{Change, Item, LaneState, SAVED_RETRIES, ScheduleConfig};
use crate::model::{DeliveryId, Ending, InvocationReport, OrderKey, Rate, Timestamp};

use super::partner::Kind;
use super::scenario::Place;
use super::store::{State, Store};
use super::tally::Switch;

/// What is watched of one destination.
struct Watched {
    /// Attempts of fresh deliveries, and of retries while fresh ones waited, since the process began.
    fresh: u64,
    retries: u64,
    rates: Vec<Meter>,
    /// Attempts since the process began.
    attempts: u64,
    /// Attempts that said nothing good about the destination, since when.
    vain: (Timestamp, u64),
    /// Attempts that were answered, and those of them by 429.
    answered: u64,
    throttled: u64,
    /// Attempts under way.
    in_flight: usize,
    /// Until when the partner asked to be left alone.
    hold: Option<Timestamp>,
    /// When its breaker closed, and attempts since then, within the second after it.
    closed: Option<Timestamp>,
    after_closed: u64,
    /// The most attempts in one second so far, the second, and those in it.
    peak: u64,
    second: (u64, u64),
    /// Milliseconds from acceptance to the end of the attempt that delivered.
    latencies: Vec<u64>,
    /// When the first retry was due that an earlier process left, if it was before this one began.
    left: Option<Timestamp>,
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

impl Watched {
    /// One more attempt begins, beside so many at all destinations.
    fn began(
        &mut self,
        destination: usize,
        kind: Kind,
        config: &ScheduleConfig,
        under_way: usize,
        now: Timestamp,
    ) -> Result<(), String> {
        self.attempts += 1;
        self.vain.1 += 1;
        self.in_flight += 1;
        let (mine, all) = (config.in_flight_per_destination, config.in_flight);
        if self.in_flight > mine || under_way >= all {
            let here = self.in_flight;
            return Err(format!("places: destination {destination} has {here} of {mine}, beside {under_way} of {all}"));
        }
        if let Some(until) = self.hold.filter(|until| now < *until) {
            return Err(format!(
                "hold: destination {destination} began at {now}, and is to be left alone until {until}"
            ));
        }
        // What fails until the breaker opens, what was under way then, and the probes.
        let alive_s = now.since(self.vain.0).as_secs();
        let most = u64::from(config.breaker.attempts) + config.in_flight_per_destination as u64 + 8 + alive_s / 15;
        if matches!(kind, Kind::Dead | Kind::Hanging) && self.vain.1 > most {
            let attempts = self.vain.1;
            return Err(format!("breaker: {attempts} attempts at {kind:?} destination {destination} in {alive_s} s"));
        }
        let second = now.as_millis() / 1_000;
        self.second = if self.second.0 == second { (second, self.second.1 + 1) } else { (second, 1) };
        match self.closed.filter(|closed| now.since(*closed).as_millis() < 1_000) {
            Some(_) => {
                self.after_closed += 1;
                let most = RAMP_FIRST.max(self.peak / 5);
                if self.after_closed > most {
                    let began = self.after_closed;
                    return Err(format!("ramp: destination {destination} began {began} in a second, {most} at most"));
                }
            }
            None => self.peak = self.peak.max(self.second.1),
        }
        Ok(())
    }
}

/// Attempts in the first second after an outage, at a destination that was not busy before it.
const RAMP_FIRST: u64 = 6;

/// The longest that a partner's wish to be left alone is granted for all of its deliveries.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// How long what was due while nothing ran takes at most until all of it is let through, and what is too short to be spread.
const SPREAD: Duration = Duration::from_secs(60);
const UNSPREAD: Duration = Duration::from_secs(1);

/// All checks of one run.
pub(super) struct Checks {
    config: ScheduleConfig,
    watched: Vec<Watched>,
    /// Deliveries of a key that are not over, by number, which is the order of acceptance.
    open: HashMap<(usize, OrderKey), BTreeSet<usize>>,
    /// Deliveries that had to be filtered.
    filtered: u64,
    /// Deliveries whose window went by while nobody could try them.
    blameless: HashSet<usize>,
    /// What waited behind others of its key for so long that its window may end at once.
    late: HashSet<usize>,
    /// When this process began, and how many there were before it.
    opened: Timestamp,
    restarts: u64,
    /// The attempt that began last at each delivery, in this process.
    begun: HashMap<DeliveryId, u32>,
}

impl Checks {
    pub fn new(places: &[Place], config: ScheduleConfig, now: Timestamp) -> Self {
        let watch = |place: &Place| Watched {
            fresh: 0,
            retries: 0,
            rates: place.rates.iter().map(|rate| Meter::new(*rate, now)).collect(),
            attempts: 0,
            vain: (now, 0),
            answered: 0,
            throttled: 0,
            in_flight: 0,
            hold: None,
            closed: None,
            after_closed: 0,
            peak: 0,
            second: (0, 0),
            latencies: Vec::new(),
            left: None,
        };
        Self {
            config,
            watched: places.iter().map(watch).collect(),
            open: HashMap::new(),
            filtered: 0,
            blameless: HashSet::new(),
            late: HashSet::new(),
            opened: now,
            restarts: 0,
            begun: HashMap::new(),
        }
    }

    /// The process begins anew: promises about rates and shares are those of one process, order is for ever.
    pub fn restarted(&mut self, store: &Store, now: Timestamp) {
        for watched in &mut self.watched {
            (watched.fresh, watched.retries) = (0, 0);
            (watched.vain, watched.attempts, watched.in_flight) = ((now, 0), 0, 0);
            (watched.hold, watched.closed, watched.peak, watched.second) = (None, None, 0, (0, 0));
            watched.rates.iter_mut().for_each(|meter| *meter = Meter::new(meter.rate, now));
        }
        self.open.clear();
        (self.opened, self.restarts) = (now, self.restarts + 1);
        self.begun.clear();
        self.watched.iter_mut().for_each(|watched| watched.left = None);
        for (number, owed) in store.owed.iter().enumerate() {
            self.note_key(store, number);
            if let State::Again(Some(at)) = owed.state()
                && now.since(at) >= UNSPREAD
            {
                let left = &mut self.watched[owed.sent.destination].left;
                *left = Some(left.map_or(at, |before| before.min(at)));
            }
        }
    }

    fn note_key(&mut self, store: &Store, number: usize) {
        let owed = &store.owed[number];
        if let Some(key) = owed.sent.key.filter(|_| owed.state().is_open()) {
            self.open.entry((owed.sent.destination, key)).or_default().insert(number);
        }
    }

    /// An event is on disk, with what its destination is owed while its customer has made this of it.
    pub fn accepted(&mut self, store: &Store, number: usize, switch: Switch) -> Result<(), String> {
        self.note_key(store, number);
        let waits = matches!(switch, Switch::On | Switch::Paused);
        self.filtered += u64::from(!waits);
        if store.owed[number].state().is_open() == waits {
            return Ok(());
        }
        let state = store.owed[number].state();
        Err(format!("switch: delivery {number} to a destination that is {switch:?} is {state:?}"))
    }

    /// A customer has made something else of a destination, which was owed so much before and is now.
    pub fn switched(&mut self, destination: usize, (to, owed): (Switch, u64), left: u64) -> Result<(), String> {
        let all = to == Switch::Deleted;
        self.filtered += if all { owed } else { 0 };
        if all {
            self.open.retain(|(of, _), _| *of != destination);
        }
        let wanted = if all { 0 } else { owed };
        if left == wanted {
            return Ok(());
        }
        Err(format!("switch: destination {destination} is owed {left} after it was made {to:?}, not {wanted}"))
    }

    /// What is filtered is counted, and nothing else is.
    pub fn filtered_as_counted(&self, counted: u64) -> Result<(), String> {
        let wanted = self.filtered;
        if counted == wanted { Ok(()) } else { Err(format!("switch: {counted} are counted as filtered, not {wanted}")) }
    }

    /// Whether the partner asked to be left alone.
    pub fn is_held(&self, destination: usize, now: Timestamp) -> bool {
        self.watched[destination].hold.is_some_and(|until| now < until)
    }

    /// What was due while nothing ran is let through with the distances that there were, shortened alike.
    fn spread(&self, store: &Store, item: &Item, destination: usize, now: Timestamp) -> Result<(), String> {
        let number = store.ids[&item.delivery.id];
        let State::Again(Some(at)) = store.owed[number].state() else { return Ok(()) };
        let Some(oldest) = self.watched[destination].left.filter(|_| at <= self.opened) else { return Ok(()) };
        let behind = self.opened.since(oldest);
        let share = at.since(oldest).as_secs_f64() / behind.as_secs_f64();
        let from = self.opened.plus(behind.min(SPREAD).mul_f64(share));
        if now.plus(Duration::from_millis(2)) >= from {
            return Ok(());
        }
        Err(format!("stormed: delivery {number} was due at {at}, begins at {now}, and was to wait until {from}"))
    }

    /// An attempt begins. `after` is how its lane stands then.
    pub fn started(
        &mut self,
        store: &Store,
        (destination, place, switch): (usize, &Place, Switch),
        items: &[Item],
        after: &LaneState,
        now: Timestamp,
    ) -> Result<(), String> {
        if switch != Switch::On {
            return Err(format!("switch: an attempt begins at destination {destination}, which is {switch:?}"));
        }
        for item in items {
            self.spread(store, item, destination, now)?;
            let number = store.ids[&item.delivery.id];
            let Some(key) = item.delivery.key else { continue };
            let first = self.open.get(&(destination, key)).and_then(|open| open.first().copied());
            if first.is_some_and(|first| first < number) {
                return Err(format!("order: delivery {number} began while {first:?} of its key was open"));
            }
        }
        let under_way: usize = self.watched.iter().map(|watched| watched.in_flight).sum();
        let watched = &mut self.watched[destination];
        watched.began(destination, place.kind, &self.config, under_way, now)?;
        for meter in &mut watched.rates {
            if !meter.keeps(items.len(), now) {
                return Err(format!("rate: destination {destination} exceeded {:?}", meter.rate));
            }
        }
        // A batch that failed as a whole begins again in halves, within the same attempt.
        let begun = &mut self.begun;
        let mut first =
            |item: &&Item| begun.insert(item.delivery.id, item.delivery.attempt) != Some(item.delivery.attempt);
        let (mut fresh, mut retries) = (0, 0);
        for item in items.iter().filter(|item| first(item)) {
            *if item.delivery.again { &mut retries } else { &mut fresh } += 1;
        }
        watched.fresh += fresh;
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
    pub fn over(&mut self, store: &Store, number: usize, (delivered, blameless): (bool, bool), now: Timestamp) {
        let sent = &store.owed[number].sent;
        if let Some(key) = sent.key
            && let Some(open) = self.open.get_mut(&(sent.destination, key))
        {
            open.remove(&number);
        }
        if delivered {
            let latency = now.since(sent.delivery.accepted_at).as_millis();
            self.watched[sent.destination].latencies.push(u64::try_from(latency).unwrap_or(u64::MAX));
        } else if blameless || self.late.contains(&number) {
            self.blameless.insert(number);
        }
    }

    /// A delivery is first tried when most of its window went by: it waited behind others, at the rate that there is.
    pub fn late(&mut self, number: usize) {
        self.late.insert(number);
    }

    /// Whether a delivery was given up whose window went by while nobody could try it.
    pub fn is_blameless(&self, number: usize) -> bool {
        self.blameless.contains(&number)
    }

    /// An attempt ended, with what the partner asked for.
    pub fn answered(&mut self, destination: usize, report: &InvocationReport, now: Timestamp) {
        let watched = &mut self.watched[destination];
        watched.in_flight -= 1;
        watched.answered += 1;
        watched.throttled += u64::from(report.requests.iter().any(|request| request.status == Some(429)));
        // A function that crashes says nothing bad about the partner, so its breaker begins anew.
        if matches!(report.ending, Ending::Trapped(_)) {
            watched.vain = (now, 0);
        }
        let asked = report.requests.iter().rev().find(|request| request.status.is_some_and(|status| status >= 400));
        if let Some(wish) = asked.and_then(|request| request.retry_after_secs) {
            let until = now.plus(Duration::from_secs(wish).min(LONGEST_HOLD));
            watched.hold = Some(watched.hold.map_or(until, |before| before.max(until)));
        }
    }

    /// A destination's breaker opened or closed.
    pub fn changed(&mut self, destination: usize, change: Change, now: Timestamp) {
        let watched = &mut self.watched[destination];
        match change {
            // It works, so whatever was asked before is over.
            Change::Closed => (watched.hold, watched.closed, watched.after_closed) = (None, Some(now), 0),
            Change::Opened(_) => watched.closed = None,
        }
    }

    /// Where everybody has as much to do and more comes than can be done, everybody has had their turns.
    pub fn fair(&self) -> Result<(), String> {
        let all: u64 = self.watched.iter().map(|watched| watched.attempts).sum();
        let share = all / self.watched.len() as u64;
        match self.watched.iter().position(|watched| watched.attempts * 2 < share) {
            Some(starved) => {
                let its = self.watched[starved].attempts;
                Err(format!("starved: destination {starved} made {its} attempts, where {share} are its share"))
            }
            None => Ok(()),
        }
    }

    /// The 99th percentile of a destination's latencies.
    pub fn p99(&mut self, destination: usize) -> u64 {
        let latencies = &mut self.watched[destination].latencies;
        latencies.sort_unstable();
        latencies.get(latencies.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0)
    }

    /// Everything has come to its end: to the right one.
    pub fn ended(&self, store: &Store, places: &[Place]) -> Result<(), String> {
        for (destination, (place, watched)) in places.iter().zip(&self.watched).enumerate() {
            // A rate that is learned comes near to what the partner takes, and now and then above it; each process learns it,
            // from what it has under way when the first "no" comes.
            let learning = 40 + (self.restarts - 1) * self.config.in_flight_per_destination as u64 * 4;
            if place.kind == Kind::Throttling && watched.throttled * 4 > watched.answered + learning {
                let Watched { throttled, answered, .. } = watched;
                return Err(format!("throttled: {throttled} of {answered} attempts at destination {destination}"));
            }
        }
        for (number, owed) in store.owed.iter().enumerate() {
            let kind = places[owed.sent.destination].kind;
            let wrong = |what: &str| Err(format!("delivery {number} to {kind:?} {what}: {:?}", owed.state()));
            // A lie can be told for as long as the window lasts.
            let must_arrive =
                kind.takes_all() && kind != Kind::Lying && !owed.sent.poison && !self.is_blameless(number);
            match owed.state() {
                State::Fresh | State::Again(_) => return wrong("is still open"),
                State::Delivered if owed.taken == 0 => return wrong("was never taken"),
                State::Dead if must_arrive => return wrong("was given up"),
                State::Delivered | State::Dead | State::Filtered => {}
            }
        }
        Ok(())
    }
}
