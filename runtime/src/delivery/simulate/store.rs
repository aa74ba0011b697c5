//! Store: what is on disk and who holds a claim, as the real one keeps them, in memory.
//!
//! A crash forgets the claims and what was not committed yet, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::delivery::schedule::Item;
use crate::model::{ClaimedDelivery, DestinationId, LeaseToken, OrderKey, Timestamp};
use crate::store::{Settle, Want};

/// Where a delivery stands on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Fresh,
    /// Tried again at that time; none: held until those before it are over.
    Again(Option<Timestamp>),
    Delivered,
    Dead,
}

/// One accepted event's delivery.
pub(super) struct Owed {
    pub delivery: ClaimedDelivery,
    pub destination: usize,
    pub key: Option<OrderKey>,
    pub group: u64,
    pub poison: bool,
    pub state: State,
    /// Attempts on disk.
    pub attempts: u32,
    /// Whether the row has a key: what others of it wait for.
    pub stored: bool,
    /// How often the partner took it.
    pub taken: u32,
}

/// Everything on disk, and the claims.
#[derive(Default)]
pub(super) struct Store {
    pub owed: Vec<Owed>,
    pub ids: HashMap<crate::model::DeliveryId, usize>,
    fresh: HashMap<usize, BTreeSet<usize>>,
    rows: HashMap<usize, BTreeSet<(Timestamp, usize)>>,
    keys: BTreeMap<(usize, OrderKey), BTreeSet<usize>>,
    claims: HashMap<usize, LeaseToken>,
    last_lease: u64,
    pub delivered: u64,
    pub dead: u64,
    pub pending: u64,
}

impl Store {
    pub fn accept(&mut self, owed: Owed) {
        let number = self.owed.len();
        self.ids.insert(owed.delivery.id, number);
        self.fresh.entry(owed.destination).or_default().insert(number);
        self.owed.push(owed);
        self.pending += 1;
    }

    /// Claims as the real store does: each kind for itself, what is due in the order in which it is, what is fresh in that of acceptance.
    pub fn claim(&mut self, destination: usize, want: Want, now: Timestamp) -> Result<Vec<Item>, String> {
        let rows = self.rows.entry(destination).or_default();
        let due: Vec<_> = rows.iter().take_while(|(at, _)| *at <= now).take(want.retries).copied().collect();
        for row in &due {
            rows.remove(row);
        }
        let fresh = self.fresh.entry(destination).or_default();
        let first: Vec<_> = fresh.iter().take(want.fresh).copied().collect();
        for number in &first {
            fresh.remove(number);
        }
        self.last_lease += 1;
        let mut claimed = Vec::with_capacity(due.len() + first.len());
        for number in due.into_iter().map(|(_, number)| number).chain(first) {
            let owed = &self.owed[number];
            let again = matches!(owed.state, State::Again(_));
            if self.claims.insert(number, LeaseToken(self.last_lease)).is_some() {
                return Err(format!("delivery {number} was claimed twice"));
            }
            let delivery = ClaimedDelivery {
                lease: LeaseToken(self.last_lease),
                attempt: owed.attempts + 1,
                again,
                key: if again && !owed.stored { None } else { owed.key },
                ..owed.delivery.clone()
            };
            let since = if again { now } else { delivery.accepted_at };
            claimed.push(Item { delivery, group: owed.group, since });
        }
        Ok(claimed)
    }

    /// The keys that have something stored.
    pub fn stored_keys(&self, destination: usize) -> Vec<(OrderKey, u32)> {
        let all = self.keys.range((destination, OrderKey(0))..=(destination, OrderKey(u64::MAX)));
        all.map(|((_, key), rows)| (*key, rows.len() as u32)).collect()
    }

    /// When the first unclaimed retry of a destination is due.
    pub fn next_due(&self, destination: usize) -> Option<Timestamp> {
        self.rows.get(&destination)?.first().map(|(at, _)| *at)
    }

    pub fn has_fresh(&self, destination: usize) -> bool {
        self.fresh.get(&destination).is_some_and(|fresh| !fresh.is_empty())
    }

    /// Writes one settlement down.
    pub fn settle(&mut self, delivery: &ClaimedDelivery, settle: Settle, now: Timestamp) -> Result<(), String> {
        let number = self.ids[&delivery.id];
        match self.claims.remove(&number) {
            Some(lease) if lease == delivery.lease => {}
            other => return Err(format!("delivery {number} was settled under {:?}, not {other:?}", delivery.lease)),
        }
        let owed = &self.owed[number];
        let destination = owed.destination;
        match settle {
            Settle::Release => match owed.state {
                State::Fresh | State::Again(Some(_)) => self.free(number),
                State::Again(None) => return Err(format!("delivery {number} was claimed while it was held")),
                State::Delivered | State::Dead => return Err(format!("delivery {number} was over and is given back")),
            },
            Settle::RetryAt(at) => self.again(number, delivery.key, delivery.attempt, Some(at)),
            Settle::Hold => {
                let earlier = delivery.key.and_then(|key| self.keys.get(&(destination, key))?.first().copied());
                let first = earlier.is_none_or(|earlier| earlier >= number);
                self.again(number, delivery.key, delivery.attempt - 1, first.then_some(now));
            }
            Settle::Delivered => self.over(number, State::Delivered, now)?,
            Settle::Dead | Settle::Filtered(_) => self.over(number, State::Dead, now)?,
        }
        Ok(())
    }

    /// A settlement that an earlier process had on its way comes after all: its lease is not the newest, so it changes nothing.
    pub fn settle_late(&mut self, delivery: &ClaimedDelivery, settle: Settle, now: Timestamp) -> Result<(), String> {
        let number = self.ids[&delivery.id];
        #[cfg(test)]
        if made(Mistake::FenceMissing) {
            self.claims.insert(number, delivery.lease);
            return self.settle(delivery, settle, now);
        }
        match self.claims.get(&number) {
            Some(lease) if *lease == delivery.lease => self.settle(delivery, settle, now),
            Some(_) | None => Ok(()),
        }
    }

    fn again(&mut self, number: usize, key: Option<OrderKey>, attempts: u32, due: Option<Timestamp>) {
        let owed = &mut self.owed[number];
        (owed.state, owed.attempts, owed.stored) = (State::Again(due), attempts, key.is_some());
        if let Some(at) = due {
            self.rows.entry(owed.destination).or_default().insert((at, number));
        }
        if let Some(key) = key {
            self.keys.entry((owed.destination, key)).or_default().insert(number);
        }
    }

    fn over(&mut self, number: usize, state: State, now: Timestamp) -> Result<(), String> {
        let owed = &mut self.owed[number];
        if matches!(owed.state, State::Delivered | State::Dead) {
            return Err(format!("delivery {number} was settled twice"));
        }
        owed.state = state;
        self.pending -= 1;
        #[cfg(test)]
        if made(Mistake::LedgerForgets) {
            self.pending += 1;
        }
        if state == State::Delivered {
            self.delivered += 1
        } else {
            self.dead += 1
        }
        let place = owed.key.filter(|_| owed.stored).map(|key| (owed.destination, key));
        let Some(place) = place else { return Ok(()) };
        let Some(rows) = self.keys.get_mut(&place) else { return Ok(()) };
        rows.remove(&number);
        match rows.first().copied() {
            None => drop(self.keys.remove(&place)),
            Some(next) => {
                if self.owed[next].state == State::Again(None) {
                    self.owed[next].state = State::Again(Some(now));
                    self.rows.entry(place.0).or_default().insert((now, next));
                }
            }
        }
        Ok(())
    }

    /// The process is gone: nothing is claimed any more.
    pub fn crash(&mut self) {
        for number in std::mem::take(&mut self.claims).into_keys() {
            #[cfg(test)]
            if made(Mistake::PendingLostInCrash) {
                continue;
            }
            self.free(number);
        }
    }

    /// What was claimed can be claimed again, as it was before.
    fn free(&mut self, number: usize) {
        let owed = &self.owed[number];
        match owed.state {
            State::Fresh => {
                self.fresh.entry(owed.destination).or_default().insert(number);
            }
            State::Again(Some(at)) => {
                self.rows.entry(owed.destination).or_default().insert((at, number));
            }
            State::Again(None) | State::Delivered | State::Dead => {}
        }
    }

    /// What the ledger says must be what the rows say.
    pub fn check_ledger(&self) -> Result<(), String> {
        let count = |state: fn(&State) -> bool| self.owed.iter().filter(|owed| state(&owed.state)).count() as u64;
        let rows = (
            count(|state| *state == State::Delivered),
            count(|state| *state == State::Dead),
            count(|state| matches!(state, State::Fresh | State::Again(_))),
        );
        let ledger = (self.delivered, self.dead, self.pending);
        if rows != ledger || ledger.0 + ledger.1 + ledger.2 != self.owed.len() as u64 {
            return Err(format!("the ledger says {ledger:?} of {}, the rows say {rows:?}", self.owed.len()));
        }
        Ok(())
    }
}

/// The number of a destination among those of a simulation.
pub(super) fn number(all: &[DestinationId], destination: DestinationId) -> usize {
    all.iter().position(|one| *one == destination).unwrap_or(usize::MAX)
}
