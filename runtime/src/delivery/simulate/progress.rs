//! Progress: no lane starves, and what waits is worked off, in every run and in a time that follows from the scenario.

use std::time::Duration;

use crate::delivery::schedule::ScheduleConfig;

use super::partner::{DEADLINE_MS, Kind};
use super::scenario::{Place, Scenario};
use super::world::RETRY;

/// Microseconds for what is done in between: claims, commits, a wake in whole milliseconds.
const SLACK_US: u64 = 500_000;

/// One destination.
struct Lane {
    place: Place,
    /// Since when it could start something, has nothing under way, and does not start.
    waits: Option<u64>,
    /// How much was owed when nothing new came any more and nobody disturbed it, and until when that is worked off.
    drains: Option<(u64, u64)>,
}

/// All destinations of a run.
pub(super) struct Progress {
    lanes: Vec<Lane>,
    /// Until a place is free, if others have taken all: the longest attempt, with its turn at the processors.
    place_us: u64,
    cpu_us: u64,
}

impl Progress {
    pub fn new(scenario: &Scenario, config: &ScheduleConfig) -> Self {
        let lanes = scenario.destinations.iter().map(|place| Lane { place: place.clone(), waits: None, drains: None });
        let in_line_us = config.in_flight as u64 * scenario.cpu_us / config.processors as u64;
        Self { lanes: lanes.collect(), place_us: DEADLINE_MS * 1_000 + in_line_us, cpu_us: scenario.cpu_us }
    }

    /// Nothing keeps a lane from starting something, and nothing is under way. A learned rate is paid for, set ones are, and a
    /// batch may fill up.
    pub fn could(&mut self, destination: usize, learned_per_s: Option<f64>, now_us: u64) -> Result<(), String> {
        let lane = &mut self.lanes[destination];
        let since = *lane.waits.get_or_insert(now_us);
        let learned_us = learned_per_s.map_or(0, |per_s| (1e6 / per_s) as u64);
        let bound_us = self.place_us + learned_us + lane.place.paid_us() + SLACK_US;
        Self::waited(destination, now_us - since, bound_us)
    }

    /// A lane has nothing to start, may not, or has something under way.
    pub fn stands(&mut self, destination: usize) {
        self.lanes[destination].waits = None;
    }

    /// An attempt begins.
    pub fn began(&mut self, destination: usize, now_us: u64) -> Result<(), String> {
        let lane = &mut self.lanes[destination];
        let Some(since) = lane.waits.take() else { return Ok(()) };
        // The learned rate of that moment is not known any more: none is below one in ten seconds.
        let bound_us = self.place_us + 10_000_000 + lane.place.paid_us() + SLACK_US;
        Self::waited(destination, now_us - since, bound_us)
    }

    fn waited(destination: usize, waited_us: u64, bound_us: u64) -> Result<(), String> {
        if waited_us <= bound_us {
            return Ok(());
        }
        let (waited, bound) = (waited_us / 1_000, bound_us / 1_000);
        Err(format!(
            "starved: destination {destination} could start something for {waited} ms, where {bound} is the bound"
        ))
    }

    /// Something happened that what waits is measured anew from.
    pub fn disturbed(&mut self, destination: usize) {
        self.lanes[destination].drains = None;
    }

    /// Nothing new comes, and so much is owed. What was accepted before the clock was set back has its window in times to come.
    pub fn drains(&mut self, destination: usize, (owed, set_back_us): (u64, u64), now_us: u64) -> Result<(), String> {
        let cpu_us = self.cpu_us;
        let Lane { place, drains, .. } = &mut self.lanes[destination];
        let until_us = now_us + place.drain_us(owed, cpu_us) + if place.is_given_up() { set_back_us } else { 0 };
        let (backlog, until_us) = *drains.get_or_insert((owed, until_us));
        if owed == 0 || now_us <= until_us {
            return Ok(());
        }
        let kind = place.kind;
        Err(format!(
            "drain: {owed} of {backlog} deliveries to {kind:?} destination {destination} are left after their bound"
        ))
    }
}

impl Place {
    /// Whether anything of it can come to the end of its window.
    fn is_given_up(&self) -> bool {
        matches!(self.kind, Kind::Hanging | Kind::Dead | Kind::Lying | Kind::Flapping)
    }

    /// Until its rates have paid for the largest batch that they allow, and the batch has waited.
    fn paid_us(&self) -> u64 {
        let paid = |rate: &crate::model::Rate| {
            let per_s = rate.requests_per_s.or(rate.events_per_s).unwrap_or(1.0);
            (rate.burst.map_or(1.0, |burst| f64::from(burst) / per_s) * 1e6) as u64
        };
        let batch_us = self.batch.as_ref().map_or(0, |batch| batch.max_wait_ms * 1_000);
        batch_us + self.rates.iter().map(paid).sum::<u64>()
    }

    /// In what time so many are worked off at the latest.
    fn drain_us(&self, owed: u64, cpu_us: u64) -> u64 {
        let per_s =
            self.rates.iter().filter_map(|rate| rate.requests_per_s.or(rate.events_per_s)).fold(100.0, f64::min);
        // One after the other where all are of one key, and what a rate allows.
        let each_us = (1e6 / per_s) as u64 + 40_000 + cpu_us;
        let window_us = RETRY.window.as_micros() as u64;
        let second = Duration::from_secs(1).as_micros() as u64;
        // A start lets through what was due before within a minute; a breaker that a batch's limit opened probes within
        // half of one, and again.
        let begin_us = 180 * second;
        let (extra_us, each_us) = match self.kind {
            Kind::Healthy | Kind::WrongKey => (0, each_us),
            // An outage of a minute, and the waits that the latest attempts before its end have grown to.
            Kind::Failing => (3_600 * second, each_us),
            // A third of attempts are slow, so the breaker is open most of the time: some seconds for each.
            Kind::Slow => (1_800 * second, each_us + 4 * second),
            // Two a second at least, half of them in vain.
            Kind::Throttling => (3_600 * second, each_us + second),
            // Down as long as up, so waits grow; what is tried to the end of its window arrives by then.
            Kind::Flapping => (window_us, each_us + second),
            // One lie in twenty attempts stops all for a minute, and its own delivery for an hour.
            Kind::Lying => (window_us, each_us + 6 * second),
            // Those that were tried have their window, and those that were not have that of the outage.
            Kind::Hanging | Kind::Dead => (2 * window_us, each_us + second),
        };
        begin_us + extra_us + owed * each_us
    }
}
