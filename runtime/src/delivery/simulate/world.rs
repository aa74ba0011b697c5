//! World: virtual time, and what happens in it.
//!
//! The schedule, the conclusions and the retries are the host's own; around them stand a store, partners, processors and
//! people made of memory. Everything follows from the seed. What the process does is in `host`, what people do in `people`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::delivery::conclude::Policies;
use crate::delivery::dice::Dice;
#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::delivery::retry::RetryPolicy;
use crate::delivery::schedule::{BreakerPolicy, BreakerState, Item, Schedule, ScheduleConfig, Ticket};
use crate::model::{ClaimedDelivery, DestinationId, InvocationReport, Timestamp};
use crate::store::{Settle, Want};

use super::checks::Checks;
use super::partner::Partner;
use super::people::Message;
use super::progress::Progress;
use super::scenario::Scenario;
use super::store::Store;
use super::tally::Switch;

pub(super) const BEGIN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The host's bounds: those of the default configuration, but for the places of a small host.
const CONFIG: ScheduleConfig = ScheduleConfig {
    in_flight: 256,
    in_flight_per_destination: 32,
    in_flight_per_host: 128,
    processors: 2,
    breaker: BreakerPolicy {
        failure_percent: 50,
        attempts: 20,
        slow: Duration::from_secs(3),
        first_probe: Duration::from_secs(1),
        longest_probe: Duration::from_secs(30),
    },
};

/// The default schedule of retries.
pub(super) const RETRY: RetryPolicy = RetryPolicy {
    window: Duration::from_secs(4 * 3600),
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(600),
    attempts: None,
    longest_wish: Duration::from_secs(3600),
};

/// The default window of a delivery that others wait behind.
const ORDERED_WINDOW: Duration = Duration::from_secs(900);

/// Happenings between two counts of all rows.
const RECOUNT: u64 = 1_024;

/// How far ahead of now what is due may be when the clock was set back.
const NEAR: Duration = Duration::from_secs(3600);

pub(super) enum Happening {
    /// A client has an event.
    Arrive(usize),
    /// A client sends an event, or sends it again.
    Send(usize),
    Loaded(usize),
    Claimed(usize, Want),
    Ended {
        epoch: u32,
        ticket: Ticket,
        items: Vec<Item>,
        report: Box<InvocationReport>,
        took: bool,
    },
    Commit,
    /// Settlements that a process had sent when it was killed.
    Late(Vec<(ClaimedDelivery, Settle)>),
    Wake,
    Restart,
    /// A customer does the next thing.
    Act,
    /// Somebody sets the machine's clock.
    ClockSet(i64),
    Kill,
}

/// One run.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) config: ScheduleConfig,
    pub(super) now_us: u64,
    pub(super) queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub(super) dice: Dice,
    pub(super) ids: Vec<DestinationId>,
    pub(super) arrivals: Vec<Dice>,
    pub(super) partners: Vec<Partner>,
    pub(super) policies: Policies,
    pub store: Store,
    pub checks: Checks,
    pub(super) progress: Progress,
    pub(super) schedule: Option<Schedule>,
    /// Which process this is: what an earlier one began, this one does not hear of.
    pub(super) epoch: u32,
    pub(super) settlements: Vec<(ClaimedDelivery, Settle)>,
    /// Deliveries of each destination that are part of an attempt, or on their way to the disk.
    pub(super) under_way: Vec<usize>,
    pub(super) processors: [u64; 2],
    pub(super) wake_at: Option<Timestamp>,
    pub(super) crashes: Vec<u64>,
    /// Steps of this process, and when it began.
    pub(super) done: u64,
    pub(super) began_us: u64,
    pub(super) messages: Vec<Message>,
    pub(super) unacknowledged: u64,
    /// What customers have made of destinations, how much of their list is done, and for how long each was off.
    pub(super) switches: Vec<Switch>,
    pub(super) acts_done: usize,
    pub(super) off_us: Vec<Vec<(u64, u64)>>,
    /// Milliseconds by which the machine's clock is ahead of true time, and this process's.
    pub(super) machine_ms: i64,
    pub(super) process_ms: i64,
    /// By how much the clock of a new process was ahead of the one before, and when.
    pub(super) leaps: Vec<(u64, i64)>,
    pub steps: u64,
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let places = &scenario.destinations;
        let in_flight = scenario.in_flight.unwrap_or(CONFIG.in_flight);
        let in_flight_per_host = CONFIG.in_flight_per_host.min(in_flight);
        let config = ScheduleConfig { in_flight, in_flight_per_host, ..CONFIG };
        let ordered = RETRY.ordered(ORDERED_WINDOW);
        let mut world = Self {
            scenario,
            now_us: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            dice: Dice::new(seed ^ 0x5eed),
            ids: places.iter().map(|_| DestinationId::new(BEGIN)).collect(),
            arrivals: places.iter().map(|place| Dice::new(place.seed)).collect(),
            partners: places.iter().map(|place| Partner::new(place.kind, place.seed ^ 1, BEGIN)).collect(),
            policies: Policies { plain: RETRY, ordered, slow: CONFIG.breaker.slow },
            store: Store::new(places.len()),
            checks: Checks::new(places, config, BEGIN),
            progress: Progress::new(scenario, &config),
            config,
            schedule: None,
            epoch: 0,
            settlements: Vec::new(),
            under_way: vec![0; places.len()],
            processors: [0; 2],
            wake_at: None,
            crashes: scenario.crashes.clone(),
            done: 0,
            began_us: 0,
            messages: Vec::new(),
            unacknowledged: 0,
            switches: vec![Switch::On; places.len()],
            acts_done: 0,
            off_us: vec![Vec::new(); places.len()],
            machine_ms: 0,
            process_ms: 0,
            leaps: Vec::new(),
            steps: 0,
        };
        for destination in 0..places.len() {
            world.after(0, Happening::Arrive(destination));
        }
        world.after(0, Happening::Restart);
        if let Some((first, ..)) = scenario.acts.first() {
            world.after(*first, Happening::Act);
        }
        for (at, by, killed) in &scenario.clock_sets {
            world.after(*at, Happening::ClockSet(*by));
            killed.iter().for_each(|at| world.after(*at, Happening::Kill));
        }
        world
    }

    /// Runs until nothing is owed any more.
    pub fn run(&mut self) -> Result<(), String> {
        // What is first tried at the end of an outage's window has a window of its own from there; so has what was tried
        // before the clock was set back, and what was accepted then is accepted in times to come.
        let sets = &self.scenario.clock_sets;
        let windows = (RETRY.window + NEAR) * (2 + sets.len() as u32);
        let set_us: u64 = sets.iter().map(|(_, by, _)| by.unsigned_abs() * 1_000).sum();
        let given_us = windows.as_micros() as u64 + set_us;
        let mut overloaded = None;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now_us = at;
            self.steps += 1;
            let arriving = at <= self.scenario.arrive_ms * 1_000;
            if !arriving && self.store.pending() + self.unacknowledged == 0 {
                break;
            }
            // A new process begins every outage anew.
            if at > self.scenario.settled_us().max(self.began_us) + given_us {
                return Err(format!("{} deliveries are still owed when all windows are over", self.store.pending()));
            }
            self.happens(happening)?;
            self.pump()?;
            self.check(arriving)?;
            if self.scenario.overload && !arriving {
                if overloaded.is_none() {
                    self.checks.fair()?;
                }
                let backlog = *overloaded.get_or_insert(self.store.pending());
                self.check_overload_drained(backlog)?;
            }
        }
        self.store.check()?;
        self.store.recount()?;
        match self.store.pending() {
            0 => self.check_acknowledged(),
            left => Err(format!("nothing happens any more, and {left} deliveries are owed")),
        }
    }

    /// What must hold whenever the process has done what it can do now.
    fn check(&mut self, arriving: bool) -> Result<(), String> {
        self.store.check()?;
        if self.steps.is_multiple_of(RECOUNT) {
            self.store.recount()?;
        }
        self.checks.filtered_as_counted(self.store.filtered())?;
        for destination in 0..self.ids.len() {
            self.check_lane(destination)?;
            if self.is_full() || self.switches[destination] != Switch::On {
                self.progress.disturbed(destination);
            } else if !arriving {
                let owed = self.store.pending_of(destination);
                self.progress.drains(destination, (owed, self.set_back_us()), self.now_us)?;
            }
        }
        Ok(())
    }

    /// What is claimed is somewhere in the process, and a lane that could start something does so before long.
    fn check_lane(&mut self, destination: usize) -> Result<(), String> {
        let now = self.now();
        let switch = self.switches[destination];
        let Some(schedule) = self.schedule.as_ref().filter(|_| switch != Switch::Deleted) else {
            self.progress.stands(destination);
            return Ok(());
        };
        let state = schedule.state(self.ids[destination]);
        let (waiting, in_flight) = state.as_ref().map_or((0, 0), |state| (state.claimed, state.in_flight));
        let (claims, here) = (self.store.claims_of(destination), waiting + self.under_way[destination]);
        if claims != here {
            return Err(format!("lost: {claims} deliveries to destination {destination} are claimed, {here} are held"));
        }
        let owes = waiting > 0
            || self.store.has_fresh(destination)
            || self.store.next_due(destination).is_some_and(|at| at <= now);
        let may = state.as_ref().is_none_or(|state| match state.breaker {
            BreakerState::Closed => true,
            BreakerState::Open { until, .. } => now >= until,
            BreakerState::Probing { .. } => false,
        });
        if switch == Switch::On && in_flight == 0 && owes && may && !self.checks.is_held(destination, now) {
            let learned = state.and_then(|state| state.learned_per_s);
            self.progress.could(destination, learned, self.now_us)
        } else {
            self.progress.stands(destination);
            Ok(())
        }
    }

    /// Every event that a client was told is safe is so.
    fn check_acknowledged(&self) -> Result<(), String> {
        let lost = self.messages.iter().enumerate().find(|(at, one)| one.acknowledged && !self.store.knows(*at));
        lost.map_or(Ok(()), |(at, _)| Err(format!("acknowledged: event {at} is not on disk")))
    }

    /// After an overload the backlog is gone as soon as the processors can do it, with a quarter and two seconds to spare.
    fn check_overload_drained(&self, backlog: u64) -> Result<(), String> {
        let work_us = backlog * (self.scenario.cpu_us + 70) / CONFIG.processors as u64;
        let bound_us = self.scenario.arrive_ms * 1_000 + work_us * 5 / 4 + 2_000_000;
        let left = self.store.pending();
        if self.now_us > bound_us && left > 0 {
            return Err(format!("drain: {left} of {backlog} are left after the bound of {} ms", bound_us / 1_000));
        }
        Ok(())
    }

    /// Milliseconds of virtual time so far.
    pub fn passed_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// True time: what partners go by.
    pub(super) fn truth(&self) -> Timestamp {
        BEGIN.plus(Duration::from_micros(self.now_us))
    }

    /// The process's clock: the machine's as it was when the process began, and the time since then.
    pub(super) fn now(&self) -> Timestamp {
        let ahead_ms = self.process_ms;
        #[cfg(test)]
        let ahead_ms = if made(Mistake::WallClock) { self.machine_ms } else { ahead_ms };
        Timestamp::from_millis(self.truth().as_millis().saturating_add_signed(ahead_ms))
    }

    pub(super) fn after(&mut self, us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now_us + us, self.sequence), happening);
    }

    /// Whether the disk has no room now.
    pub(super) fn is_full(&self) -> bool {
        self.scenario.full.iter().any(|(from, until)| (*from..*until).contains(&self.now_us))
    }

    /// One step is done, and the process may die after it. Whether it did.
    pub(super) fn dies(&mut self) -> bool {
        self.done += 1;
        let dies = self.schedule.is_some() && self.crashes.last().is_some_and(|after| self.done >= *after);
        if dies {
            self.crashes.pop();
            self.crash();
        }
        dies
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Arrive(destination) => self.arrive(destination),
            Happening::Send(message) => self.send(message)?,
            Happening::Restart => self.restart(),
            Happening::Loaded(destination) => self.loaded(destination),
            Happening::Claimed(destination, want) => self.claim(destination, want)?,
            Happening::Ended { epoch, ticket, items, report, took } => {
                for item in items.iter().filter(|_| took) {
                    let number = self.store.ids[&item.delivery.id];
                    self.store.owed[number].taken += 1;
                }
                if epoch == self.epoch {
                    self.ended(&ticket, items, &report)?;
                }
            }
            Happening::Commit => self.commit()?,
            Happening::Late(settlements) => {
                let now = self.now();
                for (delivery, settle) in settlements {
                    self.store.settle_late(&delivery, settle, now)?;
                }
            }
            Happening::Wake => self.wake_at = None,
            Happening::Act => self.act()?,
            Happening::ClockSet(by) => self.machine_ms += by,
            Happening::Kill if self.schedule.is_some() => self.crash(),
            Happening::Kill => {}
        }
        Ok(())
    }
}
