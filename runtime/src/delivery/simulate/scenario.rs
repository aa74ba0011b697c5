//! Scenario: what a seed stands for.

use crate::delivery::dice::Dice;
use crate::model::{Batch, Rate};

use super::partner::Kind;
use super::tally::Switch;

/// Places of a small host: for as many destinations as there are, and too few for the caps of two.
const SMALL_HOST: usize = 16;

const HOUR_US: u64 = 3_600_000_000;

/// What is simulated.
pub(super) struct Scenario {
    pub destinations: Vec<Place>,
    /// Events are accepted in this many first milliseconds.
    pub arrive_ms: u64,
    /// After how many steps the process is killed, each counted from its start. A step is the smallest thing that is done:
    /// an event is on disk and not acknowledged, one of a batch's settlements is handed over and the next one is not.
    pub crashes: Vec<u64>,
    pub faults: Faults,
    /// Cases in a million in which a commit takes a second.
    pub slow_commits: u64,
    /// From when to when the disk is full, in microseconds.
    pub full: Vec<(u64, u64)>,
    /// What customers do with destinations, and when.
    pub acts: Vec<(u64, usize, Switch)>,
    /// When somebody sets the machine's clock, by how many milliseconds, and when the process is killed after that, if it is.
    pub clock_sets: Vec<(u64, i64, Option<u64>)>,
    /// Microseconds of a processor that an attempt takes beyond its events; more makes the host the bottleneck.
    pub cpu_us: u64,
    /// Whether more arrives than the host can deliver.
    pub overload: bool,
    /// Places for attempts of a small host, on which destinations that hang could take all.
    pub in_flight: Option<usize>,
}

/// Cases in a million in which the store fails at a step. Each passes, and ends the process.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    /// A commit of events: on disk or not, nobody knows.
    pub accept: u64,
    /// Reading for a claim.
    pub claim: u64,
    /// A commit of settlements: on disk or not, nobody knows.
    pub settle: u64,
}

/// One destination of a scenario.
#[derive(Clone)]
pub(super) struct Place {
    pub kind: Kind,
    /// Microseconds between its events, on average.
    pub every_us: u64,
    pub ordered: bool,
    pub batch: Option<Batch>,
    pub rates: Vec<Rate>,
    /// The number of its partner's host.
    pub host: u64,
    /// What its events and its partner are made from: the same with and without the sick ones.
    pub seed: u64,
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        // Every third one, and no roll of the dice, which would make other scenarios of all seeds.
        let rolled = Self::rolled(seed);
        // What an overload is measured by are processors, which places must not be fewer than.
        let small = seed.is_multiple_of(3) && !rolled.overload;
        let mut scenario = Self { in_flight: small.then_some(SMALL_HOST), ..rolled };
        if !scenario.overload {
            scenario.trouble(&mut Dice::new(seed ^ 0x7_0b1e));
        }
        scenario
    }

    /// What happens beside partners: to the disk, by customers and to the clock. By dice of its own, for the same reason.
    fn trouble(&mut self, dice: &mut Dice) {
        let end_us = self.arrive_ms * 1_000;
        if dice.per_million(300_000) {
            let per_million = dice.between(200, 2_000);
            self.faults.accept = per_million;
            self.faults.claim = per_million;
            self.faults.settle = self.faults.settle.max(per_million);
        }
        if dice.per_million(300_000) {
            for _ in 0..dice.between(1, 3) {
                let from = dice.between(0, end_us);
                self.full.push((from, from + dice.between(100_000, 20_000_000)));
            }
        }
        if dice.per_million(300_000) {
            for _ in 0..dice.between(1, 6) {
                let place = dice.between(0, self.destinations.len() as u64 - 1) as usize;
                let from = dice.between(0, end_us);
                // Some are off for longer than anything is tried again.
                let long = dice.per_million(150_000);
                let off_us = if long { 5 * HOUR_US } else { dice.between(10_000, 30_000_000) };
                match dice.between(0, 4) {
                    0 => self.acts.push((from, place, Switch::Deleted)),
                    kind => {
                        let off = if kind < 3 { Switch::Paused } else { Switch::Disabled };
                        self.acts.push((from, place, off));
                        self.acts.push((from + off_us, place, Switch::On));
                    }
                }
            }
        }
        self.acts.sort_by_key(|(at, ..)| *at);
        if dice.per_million(250_000) {
            for _ in 0..dice.between(1, 3) {
                let at = dice.between(0, end_us * 2);
                let hours = dice.between(1, 9) as i64 * 3_600_000;
                let by = if dice.per_million(500_000) { hours } else { -hours };
                let killed = dice.per_million(700_000).then(|| at + dice.between(0, 20_000_000));
                self.clock_sets.push((at, by, killed));
            }
        }
    }

    fn rolled(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        if dice.per_million(200_000) {
            return Self::overloaded(&mut dice);
        }
        let healthy = dice.between(2, 8);
        let sick = dice.between(0, 6);
        let place = |kind, dice: &mut Dice| Place {
            kind,
            every_us: dice.between(30_000, 300_000),
            ordered: dice.per_million(300_000),
            batch: dice.per_million(250_000).then(|| batch(dice)),
            rates: if dice.per_million(250_000) { rates(dice) } else { Vec::new() },
            host: dice.between(0, 2),
            seed: dice.roll(),
        };
        let mut destinations: Vec<_> = (0..healthy).map(|_| place(Kind::Healthy, &mut dice)).collect();
        for _ in 0..sick {
            let kind = Kind::SICK[dice.between(0, Kind::SICK.len() as u64 - 1) as usize];
            destinations.push(place(kind, &mut dice));
        }
        let crashing = dice.per_million(500_000);
        let crashes = if crashing { dice.between(1, 4) } else { 0 };
        Self {
            destinations,
            arrive_ms: dice.between(20_000, 60_000),
            // Some three steps to an event.
            crashes: (0..crashes).map(|_| dice.between(1, 9_000)).collect(),
            faults: Faults { settle: if crashing { 1_000 } else { 0 }, ..Faults::default() },
            slow_commits: if dice.per_million(300_000) { 10_000 } else { 0 },
            full: Vec::new(),
            acts: Vec::new(),
            clock_sets: Vec::new(),
            cpu_us: 50,
            overload: false,
            in_flight: None,
        }
    }

    /// Three times as much as the host can deliver, for some seconds.
    fn overloaded(dice: &mut Dice) -> Self {
        let cpu_us = 5_000;
        let destinations = dice.between(1, 12);
        let place = |dice: &mut Dice| Place {
            kind: Kind::Healthy,
            // Two processors: an event every 2.5 ms is all they can do.
            every_us: destinations * cpu_us / 2 / 3,
            ordered: false,
            batch: None,
            rates: Vec::new(),
            host: dice.between(0, 5),
            seed: dice.roll(),
        };
        Self {
            destinations: (0..destinations).map(|_| place(dice)).collect(),
            arrive_ms: dice.between(2_000, 4_000),
            crashes: Vec::new(),
            faults: Faults::default(),
            slow_commits: 0,
            full: Vec::new(),
            acts: Vec::new(),
            clock_sets: Vec::new(),
            cpu_us,
            overload: true,
            in_flight: None,
        }
    }

    /// The same without the sick ones, for a calm one.
    pub fn healthy_alone(&self) -> Self {
        let healthy = self.destinations.iter().filter(|place| place.kind == Kind::Healthy);
        Self {
            destinations: healthy.cloned().collect(),
            crashes: Vec::new(),
            full: Vec::new(),
            acts: Vec::new(),
            clock_sets: Vec::new(),
            ..*self
        }
    }

    /// Whether nothing happens but what partners do.
    pub fn is_calm(&self) -> bool {
        let Faults { accept, claim, settle } = self.faults;
        let quiet =
            self.crashes.is_empty() && self.full.is_empty() && self.acts.is_empty() && self.clock_sets.is_empty();
        quiet && accept + claim + settle == 0 && !self.overload
    }

    /// After how many microseconds of true time all of this is over, whatever is tried again then.
    pub fn settled_us(&self) -> u64 {
        let acts = self.acts.iter().map(|(at, ..)| *at);
        let full = self.full.iter().map(|(_, until)| *until);
        let clock = self.clock_sets.iter().map(|(at, _, killed)| killed.unwrap_or(*at));
        acts.chain(full).chain(clock).max().unwrap_or(0).max(self.arrive_ms * 1_000)
    }
}

fn batch(dice: &mut Dice) -> Batch {
    let grouped = dice.per_million(500_000);
    Batch {
        max_events: dice.between(2, 20) as u32,
        max_wait_ms: dice.between(0, 2_000),
        max_bytes: None,
        // Which field does not matter: the simulator says itself what belongs together.
        group_by: if grouped { "userId".to_owned().try_into().into_iter().collect() } else { Vec::new() },
    }
}

fn rates(dice: &mut Dice) -> Vec<Rate> {
    let rate = |dice: &mut Dice| {
        let per_s = dice.between(20, 100) as f64;
        let burst = dice.per_million(500_000).then(|| dice.between(1, 50) as u32);
        if dice.per_million(500_000) {
            Rate { requests_per_s: Some(per_s), events_per_s: None, burst }
        } else {
            Rate { requests_per_s: None, events_per_s: Some(per_s), burst }
        }
    };
    (0..dice.between(1, 2)).map(|_| rate(dice)).collect()
}
