//! Scenario: what a seed stands for.

use crate::delivery::dice::Dice;
use crate::model::{Batch, Rate};

use super::partner::Kind;

/// Places of a small host: for as many destinations as there are, and too few for the caps of two.
const SMALL_HOST: usize = 16;

/// What is simulated.
pub(super) struct Scenario {
    pub destinations: Vec<Place>,
    /// Events are accepted in this many first milliseconds.
    pub arrive_ms: u64,
    /// After how many happenings the process is killed, each counted from its start.
    pub crashes: Vec<u64>,
    /// Cases in a million in which a commit fails, which stops the process, and in which it takes a second.
    pub commit_faults: u64,
    pub slow_commits: u64,
    /// Microseconds of a processor that an attempt takes beyond its events; more makes the host the bottleneck.
    pub cpu_us: u64,
    /// Whether more arrives than the host can deliver.
    pub overload: bool,
    /// Places for attempts of a small host, on which destinations that hang could take all.
    pub in_flight: Option<usize>,
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
        Self { in_flight: small.then_some(SMALL_HOST), ..rolled }
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
            crashes: (0..crashes).map(|_| dice.between(1, 3_000)).collect(),
            commit_faults: if crashing { 1_000 } else { 0 },
            slow_commits: if dice.per_million(300_000) { 10_000 } else { 0 },
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
            commit_faults: 0,
            slow_commits: 0,
            cpu_us,
            overload: true,
            in_flight: None,
        }
    }

    /// The same without the sick ones.
    pub fn healthy_alone(&self) -> Self {
        let healthy = self.destinations.iter().filter(|place| place.kind == Kind::Healthy);
        Self { destinations: healthy.cloned().collect(), crashes: Vec::new(), ..*self }
    }

    /// Whether the process goes through without being killed.
    pub fn is_calm(&self) -> bool {
        self.crashes.is_empty() && self.commit_faults == 0 && !self.overload
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
