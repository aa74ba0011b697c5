//! World: virtual time, and what happens in it.
//!
//! The schedule, the conclusions and the retries are the host's own; around them stand a store, partners and processors
//! made of memory. Everything follows from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::delivery::conclude::{Policies, begun, conclude};
use crate::delivery::dice::Dice;
use crate::delivery::retry::{Disposition, RetryPolicy};
use crate::delivery::schedule::{BreakerPolicy, Item, Schedule, ScheduleConfig, Step, Terms, Ticket};
use crate::model::{
    ClaimedDelivery, ConnectionId, DeliveryId, DestinationId, Event, EventType, InvocationReport, LeaseToken, OrderKey,
    SourceId, Timestamp,
};
use crate::store::{Settle, Want};

use super::checks::Checks;
use super::partner::{self, Partner, Reply};
use super::scenario::Scenario;
use super::store::{Owed, State, Store, number};

const BEGIN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

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
const RETRY: RetryPolicy = RetryPolicy {
    window: Duration::from_secs(4 * 3600),
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(600),
    attempts: None,
    longest_wish: Duration::from_secs(3600),
};

/// How long a settlement waits for company, a claim for the disk, and a killed process to be there again.
const GATHER_US: u64 = 10_000;
const CLAIM_US: u64 = 1_000;
const RESTART_US: u64 = 1_000_000;

/// Happenings between two recounts of the whole ledger.
const RECOUNT: u64 = 1_024;

enum Happening {
    Arrive(usize),
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
}

/// One run.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    config: ScheduleConfig,
    now_us: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    dice: Dice,
    ids: Vec<DestinationId>,
    arrivals: Vec<Dice>,
    partners: Vec<Partner>,
    policies: Policies,
    pub store: Store,
    pub checks: Checks,
    schedule: Option<Schedule>,
    /// Which process this is: what an earlier one began, this one does not hear of.
    epoch: u32,
    settlements: Vec<(ClaimedDelivery, Settle)>,
    processors: [u64; 2],
    wake_at: Option<Timestamp>,
    crashes: Vec<u64>,
    happened: u64,
    pub steps: u64,
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let places = &scenario.destinations;
        let in_flight = scenario.in_flight.unwrap_or(CONFIG.in_flight);
        let in_flight_per_host = CONFIG.in_flight_per_host.min(in_flight);
        let config = ScheduleConfig { in_flight, in_flight_per_host, ..CONFIG };
        let mut world = Self {
            scenario,
            now_us: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            dice: Dice::new(seed ^ 0x5eed),
            ids: places.iter().map(|_| DestinationId::new(BEGIN)).collect(),
            arrivals: places.iter().map(|place| Dice::new(place.seed)).collect(),
            partners: places.iter().map(|place| Partner::new(place.kind, place.seed ^ 1, BEGIN)).collect(),
            policies: Policies {
                plain: RETRY,
                ordered: RETRY.ordered(Duration::from_secs(900)),
                slow: CONFIG.breaker.slow,
            },
            store: Store::default(),
            checks: Checks::new(places, config, BEGIN),
            config,
            schedule: None,
            epoch: 0,
            settlements: Vec::new(),
            processors: [0; 2],
            wake_at: None,
            crashes: scenario.crashes.clone(),
            happened: 0,
            steps: 0,
        };
        for destination in 0..places.len() {
            world.after(0, Happening::Arrive(destination));
        }
        world.after(0, Happening::Restart);
        world
    }

    /// Runs until nothing is owed any more.
    pub fn run(&mut self) -> Result<(), String> {
        // What is first tried at the end of an outage's window has a window of its own from there.
        let bound_us = self.scenario.arrive_ms * 1_000 + 2 * (RETRY.window.as_micros() as u64) + 3_600_000_000;
        let mut overloaded = None;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now_us = at;
            self.happened += 1;
            self.steps += 1;
            let arriving = at <= self.scenario.arrive_ms * 1_000;
            if !arriving && self.store.pending == 0 {
                break;
            }
            if at > bound_us {
                return Err(format!("{} deliveries are still owed when all windows are over", self.store.pending));
            }
            self.happens(happening)?;
            if self.crashes.last().is_some_and(|after| self.happened >= *after) {
                self.crashes.pop();
                self.crash();
            }
            self.pump()?;
            if self.steps.is_multiple_of(RECOUNT) {
                self.store.check_ledger()?;
            }
            if self.scenario.overload && !arriving {
                if overloaded.is_none() {
                    self.checks.fair()?;
                }
                let backlog = *overloaded.get_or_insert(self.store.pending);
                self.check_drained(backlog)?;
            }
        }
        match self.store.pending {
            0 => self.store.check_ledger(),
            left => Err(format!("nothing happens any more, and {left} deliveries are owed")),
        }
    }

    /// After an overload the backlog is gone as soon as the processors can do it, with a quarter and two seconds to spare.
    fn check_drained(&self, backlog: u64) -> Result<(), String> {
        let work_us = backlog * (self.scenario.cpu_us + 70) / CONFIG.processors as u64;
        let bound_us = self.scenario.arrive_ms * 1_000 + work_us * 5 / 4 + 2_000_000;
        if self.now_us > bound_us && self.store.pending > 0 {
            let left = self.store.pending;
            return Err(format!("drain: {left} of {backlog} are left after the bound of {} ms", bound_us / 1_000));
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        BEGIN.plus(Duration::from_micros(self.now_us))
    }

    fn after(&mut self, us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now_us + us, self.sequence), happening);
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        let now = self.now();
        match happening {
            Happening::Arrive(destination) => self.arrive(destination),
            Happening::Restart => self.restart(),
            Happening::Loaded(destination) => {
                let keys = self.store.stored_keys(destination);
                if let Some(schedule) = &mut self.schedule {
                    schedule.loaded(self.ids[destination], keys);
                }
            }
            Happening::Claimed(destination, want) => {
                if let Some(schedule) = &mut self.schedule {
                    let claimed = self.store.claim(destination, want, now)?;
                    schedule.claimed(self.ids[destination], claimed);
                    let more = self.store.has_fresh(destination);
                    self.more(destination, more, false);
                }
            }
            Happening::Ended { epoch, ticket, items, report, took } => {
                for item in items.iter().filter(|_| took) {
                    let number = self.store.ids[&item.delivery.id];
                    self.store.owed[number].taken += 1;
                }
                if epoch == self.epoch {
                    self.checks.answered(number(&self.ids, ticket.destination), &report, now);
                    self.ended(&ticket, items, &report)?;
                }
            }
            Happening::Commit => self.commit()?,
            Happening::Late(settlements) => {
                for (delivery, settle) in settlements {
                    self.store.settle_late(&delivery, settle, now)?;
                }
            }
            Happening::Wake => self.wake_at = None,
        }
        Ok(())
    }

    /// An event comes, if the host is up, and the next one is on its way.
    fn arrive(&mut self, destination: usize) {
        let place = &self.scenario.destinations[destination];
        let dice = &mut self.arrivals[destination];
        let (user, poison, gap) = (dice.between(0, 15), dice.per_million(10_000), dice.between(1, 2 * place.every_us));
        if self.now_us + gap <= self.scenario.arrive_ms * 1_000 {
            self.after(gap, Happening::Arrive(destination));
        }
        let now = self.now();
        if self.schedule.is_none() {
            return;
        }
        let delivery = ClaimedDelivery {
            id: DeliveryId::new(now),
            lease: LeaseToken(0),
            attempt: 1,
            again: false,
            key: None,
            connection: ConnectionId::from_uuid(Default::default()),
            destination: self.ids[destination],
            source: SourceId::from_uuid(Default::default()),
            accepted_at: now,
            version: None,
            event: Event {
                message_id: String::new(),
                event_type: EventType::Track,
                user_id: None,
                anonymous_id: None,
                name: None,
                received_at: now,
                json: Bytes::from_static(b"{}"),
            },
        };
        let grouped = place.batch.as_ref().is_some_and(|batch| !batch.group_by.is_empty());
        self.store.accept(Owed {
            delivery,
            destination,
            key: place.ordered.then_some(OrderKey(user)),
            group: if grouped { user % 4 } else { 0 },
            poison: poison && place.batch.is_some(),
            state: State::Fresh,
            attempts: 0,
            stored: false,
            taken: 0,
        });
        self.more(destination, true, false);
        self.checks.accepted(&self.store, self.store.owed.len() - 1);
    }

    fn restart(&mut self) {
        let now = self.now();
        self.schedule = Some(Schedule::new(self.config, self.dice.roll(), now));
        for destination in 0..self.ids.len() {
            self.more(destination, true, true);
        }
        self.happened = 0;
        self.checks.restarted(&self.store, now);
    }

    /// A destination has, or may have, something to be claimed: as the dispatcher says it.
    fn more(&mut self, destination: usize, fresh: bool, retries: bool) {
        let now = self.now();
        let (Some(schedule), id) = (&mut self.schedule, self.ids[destination]) else { return };
        if !schedule.knows(id) {
            let place = &self.scenario.destinations[destination];
            let terms = Terms {
                batch: place.batch.clone(),
                rates: place.rates.clone(),
                hosts: [Arc::from(format!("host {}", place.host))].into(),
                ordered: place.ordered,
                window: RETRY.window,
                ordered_window: self.policies.ordered.window,
            };
            schedule.terms(id, terms, now);
        }
        schedule.more(id, fresh, retries);
    }

    fn crash(&mut self) {
        self.epoch += 1;
        self.store.crash();
        self.schedule = None;
        let stays = |happening: &Happening| {
            matches!(happening, Happening::Arrive(_) | Happening::Ended { .. } | Happening::Late(_))
        };
        self.queue.retain(|_, happening| stays(happening));
        // Some of what was under way to the disk is lost, some arrives when somebody else has the claim.
        let late = std::mem::take(&mut self.settlements);
        if self.dice.per_million(500_000) {
            let us = self.dice.between(RESTART_US, 2 * RESTART_US);
            self.after(us, Happening::Late(late));
        }
        self.wake_at = None;
        self.after(RESTART_US, Happening::Restart);
    }

    /// Does every step that there is.
    fn pump(&mut self) -> Result<(), String> {
        let now = self.now();
        if self.schedule.is_none() {
            return Ok(());
        }
        self.look_for_due(now);
        while let Some(step) = self.schedule.as_mut().and_then(|schedule| schedule.next(now)) {
            match step {
                Step::Load(id) => {
                    let destination = number(&self.ids, id);
                    self.after(CLAIM_US, Happening::Loaded(destination));
                }
                Step::Claim(id, want) => {
                    let destination = number(&self.ids, id);
                    self.after(CLAIM_US, Happening::Claimed(destination, want));
                }
                Step::Start(ticket, items) => self.start(ticket, items)?,
                Step::Hold(items) => self.settle(items, Settle::Hold),
                Step::Release(items) => self.settle(items, Settle::Release),
                Step::Expire(items, _) => {
                    for item in &items {
                        self.over(item, false);
                        let policy = if item.delivery.key.is_some() { &self.policies.ordered } else { &RETRY };
                        if now < item.delivery.accepted_at.plus(policy.window) {
                            return Err("a delivery expired before its window was over".to_owned());
                        }
                    }
                    self.settle(items, Settle::Dead);
                }
                Step::Changed(id, change) => self.checks.changed(number(&self.ids, id), change, now),
            }
        }
        self.sleep(now);
        Ok(())
    }

    /// What the dispatcher asks the store for.
    fn look_for_due(&mut self, now: Timestamp) {
        for destination in 0..self.ids.len() {
            if self.store.next_due(destination).is_some_and(|at| at <= now) {
                self.more(destination, false, true);
            }
        }
    }

    /// Sees to it that something happens when there may be a step.
    fn sleep(&mut self, now: Timestamp) {
        let due = (0..self.ids.len()).filter_map(|destination| self.store.next_due(destination)).filter(|at| *at > now);
        let wake = self.schedule.as_ref().and_then(Schedule::wake_at);
        let Some(next) = due.chain(wake).min() else { return };
        if self.wake_at.is_none_or(|at| next < at) {
            self.wake_at = Some(next);
            let us = u64::try_from(next.since(now).as_micros()).unwrap_or(u64::MAX).max(1_000);
            // Moments are whole milliseconds, and this one may be half over.
            self.after(us - self.now_us % 1_000, Happening::Wake);
        }
    }

    fn settle(&mut self, items: Vec<Item>, settle: Settle) {
        if self.settlements.is_empty() && !items.is_empty() {
            let slow = self.dice.per_million(self.scenario.slow_commits);
            self.after(if slow { 1_000_000 } else { GATHER_US }, Happening::Commit);
        }
        self.settlements.extend(items.into_iter().map(|item| (item.delivery, settle)));
    }

    fn commit(&mut self) -> Result<(), String> {
        if self.dice.per_million(self.scenario.commit_faults) {
            // A failed commit stops the store, and with it the process.
            self.crash();
            return Ok(());
        }
        let now = self.now();
        for (delivery, settle) in std::mem::take(&mut self.settlements) {
            self.store.settle(&delivery, settle, now)?;
            if settle == Settle::Release {
                self.more(number(&self.ids, delivery.destination), true, true);
            }
        }
        Ok(())
    }

    fn start(&mut self, ticket: Ticket, mut items: Vec<Item>) -> Result<(), String> {
        let (destination, now) = (number(&self.ids, ticket.destination), self.now());
        let place = &self.scenario.destinations[destination];
        for item in &mut items {
            let owed = &self.store.owed[self.store.ids[&item.delivery.id]];
            if owed.destination != destination {
                return Err("a delivery went to another destination".to_owned());
            }
        }
        let state = self.schedule.as_ref().and_then(|schedule| schedule.state(ticket.destination));
        let state = state.ok_or("a lane that starts something is unknown")?;
        self.checks.started(&self.store, (destination, place), &items, &state, now)?;
        let poisoned = items.iter().any(|item| self.store.owed[self.store.ids[&item.delivery.id]].poison);
        // Now and then a large batch comes to a limit.
        let Reply { after, mut report, took } = if items.len() > 12 && self.dice.per_million(50_000) {
            partner::too_large(items.len())
        } else {
            self.partners[destination].attempt(items.len(), poisoned, now)
        };
        let cpu_us = self.scenario.cpu_us + (report.used.cpu_ms * 1e3) as u64;
        let processor = usize::from(self.processors[1] < self.processors[0]);
        let done = self.processors[processor].max(self.now_us) + cpu_us;
        self.processors[processor] = done;
        let took_us = done - self.now_us + after.as_micros() as u64;
        report.used.wall_ms = took_us as f64 / 1e3;
        report.used.cpu_ms = cpu_us as f64 / 1e3;
        if place.batch.is_none() && items.len() > 1 {
            return Err("a batch for a function that takes none".to_owned());
        }
        let ended = Happening::Ended { epoch: self.epoch, ticket, items, report: Box::new(report), took };
        self.after(took_us, ended);
        Ok(())
    }

    fn ended(&mut self, ticket: &Ticket, items: Vec<Item>, report: &InvocationReport) -> Result<(), String> {
        let now = self.now();
        let dice = &mut self.dice;
        let concluded = conclude(items, report, &self.policies, now, || dice.roll());
        for decided in concluded.decided {
            let settle = match decided.disposition {
                Disposition::Delivered => Settle::Delivered,
                Disposition::Dead | Disposition::Unsupported => Settle::Dead,
                Disposition::RetryAt(at) => Settle::RetryAt(at),
                Disposition::Release => Settle::Release,
            };
            let policy =
                if decided.item.delivery.key.is_some() { &self.policies.ordered } else { &self.policies.plain };
            let window = begun(&decided.item.delivery, now).plus(policy.window);
            let wish = decided.outcome.retry_after.unwrap_or_default().min(policy.longest_wish);
            if matches!(settle, Settle::RetryAt(at) if at < now.plus(wish).min(window)) {
                return Err(format!("wish: a delivery is tried again before {wish:?} are over"));
            }
            if settle == Settle::Dead && decided.outcome.retryable && now < window {
                return Err(format!("a delivery was given up within its window: {:?}", decided.outcome));
            }
            if matches!(settle, Settle::Delivered | Settle::Dead) {
                self.over(&decided.item, settle == Settle::Delivered);
            }
            self.settle(vec![decided.item], settle);
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.ended(ticket, concluded.ended, now);
        }
        Ok(())
    }

    fn over(&mut self, item: &Item, delivered: bool) {
        let number = self.store.ids[&item.delivery.id];
        self.checks.over(&self.store, number, delivered, self.now());
    }
}
