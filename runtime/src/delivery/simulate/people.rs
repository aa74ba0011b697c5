//! People: clients, who send until they are told that an event is safe, and customers, who switch destinations.

use bytes::Bytes;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{ClaimedDelivery, ConnectionId, DeliveryId, Event, EventType, LeaseToken, OrderKey, SourceId};

use super::store::Sent;
use super::tally::Switch;
use super::world::{Happening, World};

/// After how long a client sends again what was refused or not answered, at the least and at the most.
const RESEND_US: (u64, u64) = (200_000, 1_500_000);

/// After how long a customer tries again.
const TRY_AGAIN_US: u64 = 500_000;

/// An event as its client knows it.
pub(super) struct Message {
    destination: usize,
    user: u64,
    poison: bool,
    pub acknowledged: bool,
}

impl World<'_> {
    /// A client has an event, and the next one is on its way.
    pub(super) fn arrive(&mut self, destination: usize) {
        let place = &self.scenario.destinations[destination];
        let dice = &mut self.arrivals[destination];
        let (user, poison, gap) = (dice.between(0, 15), dice.per_million(10_000), dice.between(1, 2 * place.every_us));
        if self.now_us + gap <= self.scenario.arrive_ms * 1_000 {
            self.after(gap, Happening::Arrive(destination));
        }
        self.messages.push(Message { destination, user, poison, acknowledged: false });
        self.unacknowledged += 1;
        self.after(0, Happening::Send(self.messages.len() - 1));
    }

    /// One event's way to the disk and back. A client that gets no answer, or a refusal, sends it again.
    pub(super) fn send(&mut self, message: usize) -> Result<(), String> {
        let destination = self.messages[message].destination;
        #[cfg(test)]
        if made(Mistake::AcknowledgedEarly) {
            self.acknowledge(message);
        }
        #[cfg(test)]
        if made(Mistake::FullDiskAcknowledged) && self.is_full() {
            self.acknowledge(message);
        }
        if self.schedule.is_none() || self.is_full() || self.dies() {
            self.send_again(message);
            return Ok(());
        }
        let fails = self.dice.per_million(self.scenario.faults.accept);
        // After a sync that failed nobody knows what the disk holds, so the process ends.
        if !fails || self.dice.per_million(500_000) {
            self.accept(message)?;
        }
        if fails {
            self.crash();
        }
        if fails || self.dies() {
            self.send_again(message);
            return Ok(());
        }
        self.acknowledge(message);
        if !self.dies() {
            self.feed(destination);
        }
        Ok(())
    }

    fn send_again(&mut self, message: usize) {
        if !self.messages[message].acknowledged {
            let us = self.dice.between(RESEND_US.0, RESEND_US.1);
            self.after(us, Happening::Send(message));
        }
    }

    fn acknowledge(&mut self, message: usize) {
        let message = &mut self.messages[message];
        self.unacknowledged -= u64::from(!message.acknowledged);
        message.acknowledged = true;
    }

    fn feed(&mut self, destination: usize) {
        #[cfg(test)]
        if made(Mistake::FeedForgets) {
            return;
        }
        self.more(destination, true, false);
    }

    /// An event is on disk, and what it owes.
    fn accept(&mut self, message: usize) -> Result<(), String> {
        if self.store.knows(message) {
            return Ok(());
        }
        let now = self.now();
        let Message { destination, user, poison, .. } = self.messages[message];
        let place = &self.scenario.destinations[destination];
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
        let sent = Sent {
            delivery,
            destination,
            message,
            key: place.ordered.then_some(OrderKey(user)),
            group: if grouped { user % 4 } else { 0 },
            poison: poison && place.batch.is_some(),
            accepted_us: self.now_us,
        };
        self.store.accept(sent, now);
        self.checks.accepted(&self.store, self.store.owed.len() - 1, self.switches[destination])
    }

    /// A customer does the next thing, in the order in which they mean to. While the host does not answer they wait.
    pub(super) fn act(&mut self) -> Result<(), String> {
        let Some((_, destination, to)) = self.scenario.acts.get(self.acts_done).copied() else { return Ok(()) };
        let gone = self.switches[destination] == Switch::Deleted;
        if !gone && (self.schedule.is_none() || self.is_full() || self.dies()) {
            self.after(TRY_AGAIN_US, Happening::Act);
            return Ok(());
        }
        self.acts_done += 1;
        if let Some((next, ..)) = self.scenario.acts.get(self.acts_done) {
            self.after(next.saturating_sub(self.now_us), Happening::Act);
        }
        if gone {
            return Ok(());
        }
        let (from, owed) = (self.switches[destination], self.store.pending_of(destination));
        self.store.switch(destination, to);
        self.switches[destination] = to;
        match (from, to) {
            (Switch::On, Switch::On) => {}
            (Switch::On, _) => self.off_us[destination].push((self.now_us, u64::MAX)),
            (_, Switch::On) => {
                let now_us = self.now_us;
                self.off_us[destination].last_mut().into_iter().for_each(|off| off.1 = now_us);
            }
            _ => {}
        }
        self.progress.disturbed(destination);
        self.checks.switched(destination, (to, owed), self.store.pending_of(destination))?;
        if to == Switch::On && !self.dies() {
            let fresh = self.store.has_fresh(destination);
            self.more(destination, fresh, false);
        }
        Ok(())
    }

    /// For how long since then a delivery could not be tried although its window went on: its destination was off, or a new
    /// process began with a clock that had been set forward.
    pub(super) fn lost_us(&self, destination: usize, since_us: u64) -> u64 {
        let off = self.off_us[destination].iter().map(|(from, to)| {
            let to = (*to).min(self.now_us);
            to.saturating_sub((*from).max(since_us))
        });
        off.sum::<u64>() + self.leapt_us(since_us)
    }

    /// By how much the clocks of new processes were behind the ones before.
    pub(super) fn set_back_us(&self) -> u64 {
        self.leaps.iter().map(|(_, ms)| u64::try_from(-*ms).unwrap_or(0) * 1_000).sum()
    }

    /// By how much the clocks of new processes were ahead of the ones before, since then.
    pub(super) fn leapt_us(&self, since_us: u64) -> u64 {
        let leaps = self.leaps.iter().filter(|(at, _)| *at >= since_us);
        leaps.map(|(_, ms)| u64::try_from(*ms).unwrap_or(0) * 1_000).sum()
    }
}
