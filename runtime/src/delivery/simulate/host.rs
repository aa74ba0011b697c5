//! Host: what the process does, one step at a time, so that it can die between any two of them.
//!
//! It stands in for the dispatcher, the settler and the writer; what is decided is decided by the real state machines.

use std::sync::Arc;

use crate::delivery::conclude::conclude;
#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::delivery::retry::Disposition;
use crate::delivery::schedule::{Back, Ended, Item, Schedule, Step, Terms, Ticket};
use crate::model::{InvocationReport, Timestamp};
use crate::store::{Settle, Want};

use super::partner::{self, Reply};
use super::store::number;
use super::tally::Switch;
use super::world::{Happening, RETRY, World};

/// How long a settlement waits for company, a claim for the disk, one that finds no room until it is tried again, and a
/// killed process to be there again.
const GATHER_US: u64 = 10_000;
const CLAIM_US: u64 = 1_000;
const FULL_PAUSE_US: u64 = 250_000;
const RESTART_US: u64 = 1_000_000;

/// Who could not try a delivery for so long is not to blame if its window ends: half of the shortest window.
const BLAMELESS_US: u64 = 450_000_000;

impl World<'_> {
    pub(super) fn restart(&mut self) {
        // Whatever was killed twice starts once.
        if self.schedule.is_some() {
            return;
        }
        let leap = self.machine_ms - self.process_ms;
        self.process_ms = self.machine_ms;
        if leap != 0 {
            self.leaps.push((self.now_us, leap));
        }
        let now = self.now();
        self.store.open(now);
        self.schedule = Some(Schedule::new(self.config, self.dice.roll(), now));
        for destination in 0..self.ids.len() {
            self.more(destination, true, false);
            self.progress.disturbed(destination);
        }
        (self.done, self.began_us) = (0, self.now_us);
        self.checks.restarted(&self.store, now);
    }

    /// A destination has, or may have, something to be claimed: as the dispatcher says it.
    pub(super) fn more(&mut self, destination: usize, fresh: bool, retries: bool) {
        let now = self.now();
        let (Some(schedule), id) = (&mut self.schedule, self.ids[destination]) else { return };
        if !schedule.knows(id) {
            if self.switches[destination] == Switch::Deleted {
                return;
            }
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

    pub(super) fn loaded(&mut self, destination: usize) {
        let keys = self.store.stored_keys(destination);
        if let Some(schedule) = &mut self.schedule {
            schedule.loaded(self.ids[destination], keys);
        }
    }

    pub(super) fn claim(&mut self, destination: usize, want: Want) -> Result<(), String> {
        if self.dice.per_million(self.scenario.faults.claim) {
            return self.stop();
        }
        let claimed = self.store.claim(destination, want, self.now())?;
        // Claimed in the store, and nobody has it yet.
        if self.dies() {
            return Ok(());
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.claimed(self.ids[destination], claimed);
            let more = self.store.has_fresh(destination);
            self.more(destination, more, false);
        }
        Ok(())
    }

    /// The store cannot be read: the process gives back what it holds, if it finds the time, and ends.
    fn stop(&mut self) -> Result<(), String> {
        if let Some(schedule) = self.schedule.as_mut().filter(|_| self.dice.per_million(500_000)) {
            let mut back = schedule.drain();
            for happening in self.queue.values() {
                if let Happening::Ended { epoch, items, .. } = happening
                    && *epoch == self.epoch
                {
                    back.extend(items.iter().cloned());
                }
            }
            self.settlements.extend(back.into_iter().map(|item| (item.delivery, Settle::Release)));
            if !self.is_full() {
                self.write()?;
            }
        }
        self.crash();
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.epoch += 1;
        self.store.crash();
        self.schedule = None;
        self.under_way.fill(0);
        let ends = |happening: &Happening| {
            matches!(happening, Happening::Loaded(_) | Happening::Claimed(..) | Happening::Commit | Happening::Wake)
        };
        self.queue.retain(|_, happening| !ends(happening));
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
    pub(super) fn pump(&mut self) -> Result<(), String> {
        let now = self.now();
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
                Step::Release(_, items) => {
                    #[cfg(test)]
                    let items = if made(Mistake::ReleaseForgotten) { Vec::new() } else { items };
                    self.settle(items, Settle::Release);
                }
                Step::Expire(items, _) => {
                    for item in &items {
                        self.expires(item)?;
                    }
                    self.settle(items, Settle::Dead);
                }
                Step::Changed(id, change) => self.checks.changed(number(&self.ids, id), change, now),
            }
            if self.dies() {
                return Ok(());
            }
        }
        if self.schedule.is_some() {
            self.sleep(now);
        }
        Ok(())
    }

    fn expires(&mut self, item: &Item) -> Result<(), String> {
        let owed = &self.store.owed[self.store.ids[&item.delivery.id]];
        let begun_us = owed.since_us.unwrap_or(owed.sent.accepted_us);
        let waited_for = item.delivery.key.is_some() && item.delivery.attempt > 1;
        let policy = if waited_for { &self.policies.ordered } else { &RETRY };
        if !self.is_window_over(begun_us, policy.window) {
            return Err("a delivery expired before its window was over".to_owned());
        }
        // Whoever comes next begins to wait now.
        self.progress.stands(number(&self.ids, item.delivery.destination));
        self.over(item, Settle::Dead, begun_us);
        Ok(())
    }

    /// Whether so much has passed since then by the clocks that there were: a clock that was set while a process ran changes nothing.
    fn is_window_over(&self, since_us: u64, window: std::time::Duration) -> bool {
        // Moments are whole milliseconds.
        self.now_us + self.leapt_us(since_us) + 2_000 >= since_us + window.as_micros() as u64
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
        for item in items {
            self.under_way[number(&self.ids, item.delivery.destination)] += 1;
            self.settlements.push((item.delivery, settle));
        }
    }

    /// What waits for the disk is written. While the disk is full it waits, since what a partner has cannot be unsent.
    pub(super) fn commit(&mut self) -> Result<(), String> {
        if self.is_full() {
            #[cfg(test)]
            if made(Mistake::FullDiskForgets) {
                for (delivery, _) in std::mem::take(&mut self.settlements) {
                    self.under_way[number(&self.ids, delivery.destination)] -= 1;
                }
                return Ok(());
            }
            self.after(FULL_PAUSE_US, Happening::Commit);
            return Ok(());
        }
        if self.dies() {
            return Ok(());
        }
        let fails = self.dice.per_million(self.scenario.faults.settle);
        // As with events: after a sync that failed nobody knows what the disk holds.
        let released = if !fails || self.dice.per_million(500_000) { self.write()? } else { Vec::new() };
        if fails {
            self.crash();
        } else if !self.dies() {
            for destination in released {
                if let Some(schedule) = &mut self.schedule {
                    schedule.released(self.ids[destination], 1);
                }
                self.more(destination, true, false);
            }
        }
        Ok(())
    }

    /// One transaction: all of it, or nothing. Says which destinations got something back, once for each delivery.
    fn write(&mut self) -> Result<Vec<usize>, String> {
        let (now, now_us) = (self.now(), self.now_us);
        let mut released = Vec::new();
        for (delivery, settle) in std::mem::take(&mut self.settlements) {
            self.store.settle(&delivery, settle, now, now_us)?;
            let destination = number(&self.ids, delivery.destination);
            self.under_way[destination] = self.under_way[destination].saturating_sub(1);
            if settle == Settle::Release {
                released.push(destination);
            }
        }
        Ok(released)
    }

    fn start(&mut self, ticket: Ticket, items: Vec<Item>) -> Result<(), String> {
        let (destination, now) = (number(&self.ids, ticket.destination), self.now());
        let place = &self.scenario.destinations[destination];
        for item in &items {
            let owed = &self.store.owed[self.store.ids[&item.delivery.id]];
            if owed.sent.destination != destination {
                return Err("a delivery went to another destination".to_owned());
            }
        }
        let off = self.switches[destination] != Switch::On;
        #[cfg(test)]
        let off = off && !made(Mistake::PauseIgnored);
        let Some(schedule) = self.schedule.as_mut().filter(|_| off) else { return self.attempt(ticket, items, place) };
        // Deleted, paused or switched off since the claim, as the dispatcher says it.
        let off = Ended { events: items.len(), back: Back::Off(items), ..Ended::default() };
        schedule.ended(&ticket, off, now);
        Ok(())
    }

    fn attempt(&mut self, ticket: Ticket, items: Vec<Item>, place: &super::scenario::Place) -> Result<(), String> {
        let (destination, now, truth) = (number(&self.ids, ticket.destination), self.now(), self.truth());
        let state = self.schedule.as_ref().and_then(|schedule| schedule.state(ticket.destination));
        let state = state.ok_or("a lane that starts something is unknown")?;
        for item in items.iter().filter(|item| item.delivery.key.is_some() && item.delivery.attempt == 1) {
            let number = self.store.ids[&item.delivery.id];
            if self.now_us - self.store.owed[number].sent.accepted_us >= BLAMELESS_US {
                self.checks.late(number);
            }
        }
        self.progress.began(destination, self.now_us)?;
        self.checks.started(&self.store, (destination, place, self.switches[destination]), &items, &state, now)?;
        let poisoned = items.iter().any(|item| self.store.owed[self.store.ids[&item.delivery.id]].sent.poison);
        // Now and then a large batch comes to a limit.
        let Reply { after, mut report, took } = if items.len() > 12 && self.dice.per_million(50_000) {
            partner::too_large(items.len())
        } else {
            self.partners[destination].attempt(items.len(), poisoned, truth)
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
        self.under_way[destination] += items.len();
        let ended = Happening::Ended { epoch: self.epoch, ticket, items, report: Box::new(report), took };
        self.after(took_us, ended);
        Ok(())
    }

    pub(super) fn ended(&mut self, ticket: &Ticket, items: Vec<Item>, report: &InvocationReport) -> Result<(), String> {
        let (destination, now) = (number(&self.ids, ticket.destination), self.now());
        self.checks.answered(destination, report, now);
        // What is decided is on its way to the disk from here on, and the rest is back in its lane.
        self.under_way[destination] -= items.len();
        let dice = &mut self.dice;
        let concluded = conclude(items, report, &self.policies, now, || dice.roll());
        for decided in concluded.decided {
            let settle = match decided.disposition {
                Disposition::Delivered => Settle::Delivered,
                Disposition::Dead | Disposition::Unsupported => Settle::Dead,
                Disposition::RetryAt(at) => Settle::RetryAt(at),
                Disposition::Release => Settle::Release,
            };
            let delivery = &decided.item.delivery;
            let policy = if delivery.key.is_some() { &self.policies.ordered } else { &self.policies.plain };
            let begun = if delivery.again || delivery.key.is_some() { delivery.accepted_at } else { now };
            let wish = decided.outcome.retry_after.unwrap_or_default().min(policy.longest_wish);
            if matches!(settle, Settle::RetryAt(at) if at < now.plus(wish).min(begun.plus(policy.window))) {
                return Err(format!("wish: a delivery is tried again before {wish:?} are over"));
            }
            let owed = &self.store.owed[self.store.ids[&delivery.id]];
            let first_us = owed.since_us.unwrap_or(self.now_us);
            let begun_us = if delivery.key.is_some() { owed.sent.accepted_us } else { first_us };
            let retryable = settle == Settle::Dead && decided.outcome.retryable;
            if retryable && !self.is_window_over(begun_us, policy.window) {
                return Err(format!("a delivery was given up within its window: {:?}", decided.outcome));
            }
            if matches!(settle, Settle::Delivered | Settle::Dead) {
                self.over(&decided.item, settle, begun_us);
            }
            self.settle(vec![decided.item], settle);
            if self.dies() {
                return Ok(());
            }
        }
        if let Some(schedule) = &mut self.schedule {
            schedule.ended(ticket, concluded.ended, now);
        }
        Ok(())
    }

    /// A delivery is over, as far as this process knows. Where its window went by while nobody could try it, nobody is to blame.
    fn over(&mut self, item: &Item, settle: Settle, begun_us: u64) {
        let number = self.store.ids[&item.delivery.id];
        let destination = self.store.owed[number].sent.destination;
        let blameless = self.lost_us(destination, begun_us) >= BLAMELESS_US;
        self.checks.over(&self.store, number, (settle == Settle::Delivered, blameless), self.now());
    }
}
