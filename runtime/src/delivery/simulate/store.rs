//! Store: what is on disk and who holds a claim, as the real one keeps them, in memory.
//!
//! A crash forgets the claims and what was not committed yet, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tally::{Ledger, Switch, Tally};
#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::delivery::schedule::Item;
use crate::model::{ClaimedDelivery, DeliveryId, DestinationId, LeaseToken, OrderKey, Timestamp};
use crate::store::{Backlog, DRIFT, Settle, Want, nearer};

/// Where a delivery stands on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Fresh,
    /// Tried again at that time; none: held until those before it are over.
    Again(Option<Timestamp>),
    Delivered,
    Dead,
    Filtered,
}

impl State {
    pub fn is_open(self) -> bool {
        matches!(self, Self::Fresh | Self::Again(_))
    }
}

/// What an event is, whatever becomes of it.
pub(super) struct Sent {
    pub delivery: ClaimedDelivery,
    pub destination: usize,
    /// The client's name for the event.
    pub message: usize,
    pub key: Option<OrderKey>,
    pub group: u64,
    pub poison: bool,
    /// Microseconds of true time at which it was accepted.
    pub accepted_us: u64,
}

/// One accepted event's delivery.
pub(super) struct Owed {
    pub sent: Sent,
    state: State,
    /// Attempts on disk.
    attempts: u32,
    /// Whether the row has a key: what others of it wait for.
    stored: bool,
    /// When its window began: with the first attempt, as it was written down. None where others wait behind it.
    since: Option<Timestamp>,
    /// The same in microseconds of true time.
    pub since_us: Option<u64>,
    /// When its id was made. Ids sort by this, then by number.
    id_at: Timestamp,
    /// How often the partner took it.
    pub taken: u32,
}

impl Owed {
    pub fn state(&self) -> State {
        self.state
    }
}

/// Everything on disk, and the claims.
pub(super) struct Store {
    pub owed: Vec<Owed>,
    pub ids: HashMap<DeliveryId, usize>,
    /// The events that are known, by the client's name for them.
    seen: HashMap<usize, usize>,
    /// The newest moment in an id.
    newest: Timestamp,
    fresh: Vec<BTreeSet<usize>>,
    rows: Vec<BTreeSet<(Timestamp, usize)>>,
    keys: BTreeMap<(usize, OrderKey), BTreeSet<(Timestamp, usize)>>,
    claims: HashMap<usize, LeaseToken>,
    claims_of: Vec<usize>,
    last_lease: u64,
    switches: Vec<Switch>,
    backlogs: Vec<Option<Backlog>>,
    ledger: Ledger,
    tally: Tally,
}

impl Store {
    pub fn new(destinations: usize) -> Self {
        Self {
            owed: Vec::new(),
            ids: HashMap::new(),
            seen: HashMap::new(),
            newest: Timestamp::default(),
            fresh: vec![BTreeSet::new(); destinations],
            rows: vec![BTreeSet::new(); destinations],
            keys: BTreeMap::new(),
            claims: HashMap::new(),
            claims_of: vec![0; destinations],
            last_lease: 0,
            switches: vec![Switch::On; destinations],
            backlogs: vec![None; destinations],
            ledger: Ledger::default(),
            tally: Tally::new(destinations),
        }
    }

    pub fn pending(&self) -> u64 {
        self.ledger.pending
    }

    pub fn pending_of(&self, destination: usize) -> u64 {
        self.tally.open_of[destination]
    }

    pub fn filtered(&self) -> u64 {
        self.ledger.filtered
    }

    /// How many deliveries of a destination are claimed.
    pub fn claims_of(&self, destination: usize) -> usize {
        self.claims_of[destination]
    }

    pub fn knows(&self, message: usize) -> bool {
        self.seen.contains_key(&message)
    }

    /// A process opens the directory: its ids go on, what lies too far ahead comes nearer, what was due is spread.
    pub fn open(&mut self, now: Timestamp) {
        let set_back = self.newest > now.plus(DRIFT);
        self.newest = self.newest.max(now);
        #[cfg(test)]
        if made(Mistake::IdsGoBack) {
            self.newest = now;
        }
        for destination in 0..self.rows.len() {
            for (at, number) in std::mem::take(&mut self.rows[destination]) {
                let near = nearer(at, now, set_back);
                #[cfg(test)]
                let near = if made(Mistake::DueStaysAhead) { at } else { near };
                let owed = &mut self.owed[number];
                owed.state = State::Again(Some(near));
                owed.since = owed.since.map(|since| since.min(now));
                self.rows[destination].insert((near, number));
            }
            let oldest = self.rows[destination].first().map(|(at, _)| *at);
            self.backlogs[destination] = oldest.and_then(|oldest| Backlog::new(oldest, now));
            #[cfg(test)]
            if made(Mistake::BacklogAtOnce) {
                self.backlogs[destination] = None;
            }
        }
    }

    /// Stores an event and what it owes; nothing if it is known already.
    pub fn accept(&mut self, sent: Sent, now: Timestamp) {
        let number = self.owed.len();
        if self.seen.contains_key(&sent.message) {
            return;
        }
        self.seen.insert(sent.message, number);
        self.ids.insert(sent.delivery.id, number);
        self.newest = self.newest.max(now);
        let destination = sent.destination;
        let state = match self.switches[destination] {
            #[cfg(test)]
            Switch::Paused if made(Mistake::PausedFiltered) => State::Filtered,
            Switch::On | Switch::Paused => State::Fresh,
            Switch::Disabled | Switch::Deleted => State::Filtered,
        };
        self.ledger.accepted += 1;
        if state == State::Fresh {
            self.ledger.pending += 1;
            self.fresh[destination].insert(number);
        } else {
            self.ledger.filtered += 1;
            #[cfg(test)]
            if made(Mistake::FilteredUncounted) {
                self.ledger.filtered -= 1;
            }
        }
        self.tally.added(destination, state);
        let id_at = self.newest;
        self.owed.push(Owed { sent, state, attempts: 0, stored: false, since: None, since_us: None, id_at, taken: 0 });
    }

    /// A customer turns a switch.
    pub fn switch(&mut self, destination: usize, to: Switch) {
        self.switches[destination] = to;
        if to != Switch::Deleted {
            return;
        }
        self.fresh[destination].clear();
        self.rows[destination].clear();
        self.keys.retain(|(of, _), _| *of != destination);
        self.claims_of[destination] = 0;
        for number in 0..self.owed.len() {
            let Owed { sent, state, .. } = &self.owed[number];
            if sent.destination != destination || !state.is_open() {
                continue;
            }
            self.claims.remove(&number);
            #[cfg(test)]
            if *state != State::Fresh && made(Mistake::DeletedStillOwed) {
                continue;
            }
            self.set(number, State::Filtered);
            self.ledger.pending -= 1;
            self.ledger.filtered += 1;
        }
    }

    fn set(&mut self, number: usize, to: State) {
        let owed = &mut self.owed[number];
        self.tally.moved(owed.sent.destination, owed.state, to);
        owed.state = to;
    }

    /// Claims as the real store does: each kind for itself, what is due in the order in which it is, what is fresh in that of acceptance.
    pub fn claim(&mut self, destination: usize, want: Want, now: Timestamp) -> Result<Vec<Item>, String> {
        if self.is_off(destination) {
            return Ok(Vec::new());
        }
        let due = self.due(destination, want.retries, now);
        for row in &due {
            self.rows[destination].remove(row);
        }
        let first: Vec<_> = self.fresh[destination].iter().take(want.fresh).copied().collect();
        for number in &first {
            self.fresh[destination].remove(number);
        }
        self.last_lease += 1;
        let mut claimed = Vec::with_capacity(due.len() + first.len());
        for number in due.into_iter().map(|(_, number)| number).chain(first) {
            let owed = &self.owed[number];
            let again = matches!(owed.state, State::Again(_));
            if self.claims.insert(number, LeaseToken(self.last_lease)).is_some() {
                return Err(format!("delivery {number} was claimed twice"));
            }
            self.claims_of[destination] += 1;
            let begun = owed.since.filter(|_| again);
            #[cfg(test)]
            let begun = begun.filter(|_| !made(Mistake::SinceForgotten));
            let delivery = ClaimedDelivery {
                lease: LeaseToken(self.last_lease),
                attempt: owed.attempts + 1,
                again,
                key: if again && !owed.stored { None } else { owed.sent.key },
                accepted_at: begun.unwrap_or(owed.sent.delivery.accepted_at),
                ..owed.sent.delivery.clone()
            };
            let accepted_at = delivery.accepted_at.min(now);
            #[cfg(test)]
            let accepted_at = if made(Mistake::BatchWaitsAhead) { delivery.accepted_at } else { accepted_at };
            let since = if again { now } else { accepted_at };
            claimed.push(Item { delivery, group: owed.sent.group, since });
        }
        Ok(claimed)
    }

    fn is_off(&self, destination: usize) -> bool {
        #[cfg(test)]
        if made(Mistake::PauseIgnored) {
            return false;
        }
        self.switches[destination] != Switch::On
    }

    /// The first retries that are due: of what an earlier process left, as much as is let through.
    fn due(&self, destination: usize, most: usize, now: Timestamp) -> Vec<(Timestamp, usize)> {
        let rows = &self.rows[destination];
        let until = |at: Timestamp| (at, usize::MAX);
        match self.backlogs[destination] {
            None => rows.range(..=until(now)).take(most).copied().collect(),
            Some(backlog) => {
                let through = backlog.through(now).unwrap_or(backlog.opened());
                let new = rows.range(until(backlog.opened())..).take_while(|(at, _)| *at <= now);
                rows.range(..=until(through)).chain(new).take(most).copied().collect()
            }
        }
    }

    /// The keys that have something stored.
    pub fn stored_keys(&self, destination: usize) -> Vec<(OrderKey, u32)> {
        let all = self.keys.range((destination, OrderKey(0))..=(destination, OrderKey(u64::MAX)));
        all.map(|((_, key), rows)| (*key, rows.len() as u32)).collect()
    }

    /// When the first unclaimed retry of a destination is due, or let through.
    pub fn next_due(&self, destination: usize) -> Option<Timestamp> {
        if self.is_off(destination) {
            return None;
        }
        let rows = &self.rows[destination];
        let first = rows.first().map(|(at, _)| *at)?;
        let Some(backlog) = self.backlogs[destination] else { return Some(first) };
        let new = rows.range((backlog.opened(), usize::MAX)..).next().map(|(at, _)| *at);
        Some(backlog.when(first).min(new.unwrap_or(backlog.when(first))))
    }

    pub fn has_fresh(&self, destination: usize) -> bool {
        !self.is_off(destination) && !self.fresh[destination].is_empty()
    }

    /// Writes one settlement down.
    pub fn settle(
        &mut self,
        delivery: &ClaimedDelivery,
        settle: Settle,
        now: Timestamp,
        now_us: u64,
    ) -> Result<(), String> {
        let number = self.ids[&delivery.id];
        let destination = self.owed[number].sent.destination;
        match self.claims.remove(&number) {
            Some(lease) if lease == delivery.lease => self.claims_of[destination] -= 1,
            // Its claim was forgotten with the destination.
            None if self.switches[destination] == Switch::Deleted => return Ok(()),
            other => return Err(format!("delivery {number} was settled under {:?}, not {other:?}", delivery.lease)),
        }
        match settle {
            Settle::Release => match self.owed[number].state {
                State::Fresh | State::Again(Some(_)) => self.free(number),
                State::Again(None) => return Err(format!("delivery {number} was claimed while it was held")),
                _ => return Err(format!("delivery {number} was over and is given back")),
            },
            Settle::RetryAt(at) => {
                // Its window begins with the first attempt; where others wait behind it, it began with its acceptance.
                if delivery.key.is_none() {
                    let owed = &mut self.owed[number];
                    owed.since.get_or_insert(now);
                    owed.since_us.get_or_insert(now_us);
                }
                self.again(number, delivery.key, delivery.attempt, Some(at));
            }
            Settle::Hold => {
                let mine = (self.owed[number].id_at, number);
                let earlier = delivery.key.and_then(|key| self.keys.get(&(destination, key))?.first().copied());
                let first = earlier.is_none_or(|earlier| earlier >= mine);
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
            let stolen = self.claims.insert(number, delivery.lease).is_some();
            self.claims_of[self.owed[number].sent.destination] += usize::from(!stolen);
            return self.settle(delivery, settle, now, 0);
        }
        match self.claims.get(&number) {
            Some(lease) if *lease == delivery.lease => self.settle(delivery, settle, now, 0),
            Some(_) | None => Ok(()),
        }
    }

    fn again(&mut self, number: usize, key: Option<OrderKey>, attempts: u32, due: Option<Timestamp>) {
        self.set(number, State::Again(due));
        let owed = &mut self.owed[number];
        (owed.attempts, owed.stored) = (attempts, key.is_some());
        let destination = owed.sent.destination;
        if let Some(at) = due {
            self.rows[destination].insert((at, number));
        }
        if let Some(key) = key {
            self.keys.entry((destination, key)).or_default().insert((owed.id_at, number));
        }
    }

    fn over(&mut self, number: usize, state: State, now: Timestamp) -> Result<(), String> {
        if !self.owed[number].state.is_open() {
            return Err(format!("delivery {number} was settled twice"));
        }
        self.set(number, state);
        self.ledger.pending -= 1;
        #[cfg(test)]
        if made(Mistake::LedgerForgets) {
            self.ledger.pending += 1;
        }
        if state == State::Delivered {
            self.ledger.delivered += 1
        } else {
            self.ledger.dead += 1
        }
        let owed = &self.owed[number];
        let place = owed.sent.key.filter(|_| owed.stored).map(|key| (owed.sent.destination, key));
        let Some(place) = place else { return Ok(()) };
        let Some(rows) = self.keys.get_mut(&place) else { return Ok(()) };
        rows.remove(&(owed.id_at, number));
        match rows.first().copied() {
            None => drop(self.keys.remove(&place)),
            Some((_, next)) => {
                if self.owed[next].state == State::Again(None) {
                    self.set(next, State::Again(Some(now)));
                    self.rows[place.0].insert((now, next));
                }
            }
        }
        Ok(())
    }

    /// The process is gone: nothing is claimed any more.
    pub fn crash(&mut self) {
        self.claims_of.fill(0);
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
        let Owed { sent, state, .. } = &self.owed[number];
        match *state {
            State::Fresh => {
                self.fresh[sent.destination].insert(number);
            }
            State::Again(Some(at)) => {
                self.rows[sent.destination].insert((at, number));
            }
            State::Again(None) | State::Delivered | State::Dead | State::Filtered => {}
        }
    }

    /// What the ledger says must be what the rows say, and all that is owed must be where somebody will find it.
    pub fn check(&self) -> Result<(), String> {
        self.tally.check(self.ledger)?;
        let fresh: usize = self.fresh.iter().map(BTreeSet::len).sum();
        let due: usize = self.rows.iter().map(BTreeSet::len).sum();
        let (claimed, held) = (self.claims.len(), self.tally.held);
        if (fresh + due + claimed) as u64 + held != self.tally.open {
            let open = self.tally.open;
            return Err(format!(
                "lost: {open} are owed, of which {fresh} are fresh, {due} tried again, {claimed} claimed and {held} held"
            ));
        }
        Ok(())
    }

    /// The tally must be what counting gives.
    pub fn recount(&self) -> Result<(), String> {
        let mut counted = Tally::new(self.fresh.len());
        self.owed.iter().for_each(|owed| counted.added(owed.sent.destination, owed.state));
        if counted == self.tally { Ok(()) } else { Err(format!("the rows are {counted:?}, not {:?}", self.tally)) }
    }
}

/// The number of a destination among those of a simulation.
pub(super) fn number(all: &[DestinationId], destination: DestinationId) -> usize {
    all.iter().position(|one| *one == destination).unwrap_or(usize::MAX)
}
