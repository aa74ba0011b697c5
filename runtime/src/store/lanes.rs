//! Who holds what: the claims, and for every destination where claiming goes on.
//!
//! This is memory only, and that is sound: the directory's lock makes this process the only one, so a claim need not outlive it.
//! When the process dies every claim dies with it, and what was claimed is owed as before: the attempt that was under way costs none,
//! and the partner may see the event twice (at least once). A claim never runs out while the process lives; whoever holds one settles or
//! releases it. Lease tokens only grow, so a settlement under an older claim than the newest is told apart.
//!
//! A claim reads the database while the writer goes on. Three rules keep it from handing out what is held or settled: one claim at a
//! time for each destination (`turn`), fresh deliveries only beyond the cursor, and what was settled since the reading began is left out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::backlog::Backlog;
use crate::model::{ClaimedDelivery, ConnectionId, DeliveryId, DestinationId, LeaseToken, Timestamp};

/// All lanes and all claims.
pub(super) struct Lanes {
    state: Mutex<State>,
    /// Woken when `ready` gains a destination.
    pub wake: Notify,
}

struct State {
    last_token: u64,
    lanes: HashMap<DestinationId, Lane>,
    claims: HashMap<DeliveryId, Claim>,
    ready: BTreeSet<DestinationId>,
    dues: Dues,
}

/// When the retries of which destinations are due: of those that have some and are not paused, so that asking costs what is due.
type Dues = BTreeSet<(Timestamp, DestinationId)>;

/// Where one destination stands.
#[derive(Default)]
struct Lane {
    paused: bool,
    /// The block and position from which on nothing fresh was claimed yet.
    cursor: Cursor,
    /// Whether there may be fresh deliveries beyond the cursor.
    fresh: bool,
    /// Grows with every arrival, so that a claim that found nothing more knows whether that still holds.
    arrivals: u64,
    /// Fresh deliveries that were claimed and given back.
    returned: BTreeSet<DeliveryId>,
    /// No retry is due before this.
    next_due: Option<Timestamp>,
    /// As which it stands in [`Dues`].
    noted: Option<Timestamp>,
    /// Retries that were due before this process began, and are let through bit by bit.
    backlog: Option<Backlog>,
    reading: Option<Reading>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A place in the order of what a destination is owed: a block's `seq` and a position in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Cursor {
    pub(super) seq: i64,
    pub(super) position: usize,
}

/// What happened since a claim began to read.
#[derive(Default)]
struct Reading {
    arrivals: u64,
    settled: HashSet<DeliveryId>,
    /// Connections that were deleted.
    gone: HashSet<ConnectionId>,
    next_due: Option<Timestamp>,
}

/// One claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub token: LeaseToken,
    pub attempt: u32,
    pub connection: ConnectionId,
    pub destination: DestinationId,
    /// When it was due, if it was a retry.
    pub due: Option<Timestamp>,
    /// A settlement of it is on its way to the disk.
    settling: bool,
}

/// Where a claim begins to read.
pub(super) struct Start {
    pub cursor: Cursor,
    pub fresh: bool,
    pub returned: Vec<DeliveryId>,
    pub backlog: Option<Backlog>,
    /// No retry is due before this.
    pub next_due: Option<Timestamp>,
}

/// What a claim has read.
#[derive(Default)]
pub(super) struct Found {
    pub deliveries: Vec<Candidate>,
    pub cursor: Cursor,
    /// Whether there is nothing fresh beyond the cursor.
    pub exhausted: bool,
    /// When the first retry that was not taken is due.
    pub next_due: Option<Timestamp>,
    /// What was returned before and need not be any more.
    pub gone: Vec<DeliveryId>,
    /// Retries whose events are damaged.
    pub unreadable: Vec<(DeliveryId, ConnectionId)>,
}

/// A delivery that can be claimed; its lease is not set yet.
pub(super) struct Candidate {
    pub delivery: ClaimedDelivery,
    pub due: Option<Timestamp>,
}

impl Lanes {
    /// Tokens begin above those of every earlier process, as long as the clock does not go back by more than a million claims a millisecond.
    pub fn new(now: Timestamp) -> Self {
        let state = State {
            last_token: now.as_millis() << 20,
            lanes: HashMap::new(),
            claims: HashMap::new(),
            ready: BTreeSet::new(),
            dues: Dues::new(),
        };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    /// The state stays usable even if a holder panicked: no step between two fields can fail.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fresh deliveries were stored, or may be there.
    pub fn arrived(&self, destinations: impl IntoIterator<Item = DestinationId>) {
        let mut state = self.lock();
        for destination in destinations {
            let lane = state.lanes.entry(destination).or_default();
            lane.fresh = true;
            lane.arrivals += 1;
            state.ready.insert(destination);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// A retry was stored, or is there.
    pub fn will_be_due(&self, destination: DestinationId, due: Timestamp) {
        let mut state = self.lock();
        let State { lanes, dues, .. } = &mut *state;
        lanes.entry(destination).or_default().due(due, destination, dues);
        drop(state);
        self.wake.notify_one();
    }

    /// Retries are there, the first of them due then, from before this process began.
    pub fn were_due(&self, destination: DestinationId, oldest: Timestamp, opened: Timestamp) {
        let mut state = self.lock();
        let State { lanes, dues, .. } = &mut *state;
        let lane = lanes.entry(destination).or_default();
        lane.backlog = Backlog::new(oldest, opened);
        let due = lane.backlog.map_or(oldest, |backlog| backlog.when(oldest));
        lane.due(due, destination, dues);
        drop(state);
        self.wake.notify_one();
    }

    /// Switches claiming for a destination off or on.
    pub fn pause(&self, destination: DestinationId, paused: bool) {
        let mut state = self.lock();
        let State { lanes, dues, ready, .. } = &mut *state;
        let lane = lanes.entry(destination).or_default();
        lane.paused = paused;
        lane.note(destination, dues);
        if !paused && lane.has_fresh() {
            ready.insert(destination);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Forgets a destination and every claim on it.
    pub fn forget_destination(&self, destination: DestinationId) {
        let mut state = self.lock();
        if let Some(due) = state.lanes.remove(&destination).and_then(|lane| lane.noted) {
            state.dues.remove(&(due, destination));
        }
        state.ready.remove(&destination);
        state.claims.retain(|_, claim| claim.destination != destination);
    }

    /// Forgets every claim on a connection's deliveries, and what a claim that reads now finds of them.
    pub fn forget_connection(&self, connection: ConnectionId) {
        let mut state = self.lock();
        let State { lanes, claims, .. } = &mut *state;
        lanes.values_mut().filter_map(|lane| lane.reading.as_mut()).for_each(|reading| {
            reading.gone.insert(connection);
        });
        claims.retain(|id, claim| {
            let keep = claim.connection != connection;
            if !keep {
                lanes.entry(claim.destination).or_default().leave_out(*id);
            }
            keep
        });
    }

    /// Destinations that gained work since the last call.
    pub fn take_ready(&self) -> Vec<DestinationId> {
        std::mem::take(&mut self.lock().ready).into_iter().collect()
    }

    /// Destinations that may have fresh work now.
    pub fn with_fresh(&self) -> Vec<DestinationId> {
        let state = self.lock();
        state.lanes.iter().filter(|(_, lane)| !lane.paused && lane.has_fresh()).map(|(id, _)| *id).collect()
    }

    /// Destinations with a retry that is due, and when the next one is.
    pub fn due(&self, now: Timestamp) -> (Vec<DestinationId>, Option<Timestamp>) {
        let state = self.lock();
        let due = state.dues.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect::<Vec<_>>();
        let next = state.dues.iter().nth(due.len()).map(|(due, _)| *due);
        (due, next)
    }

    /// Whose turn it is to claim for this destination.
    pub fn turn(&self, destination: DestinationId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.lock().lanes.entry(destination).or_default().turn)
    }

    /// Begins a claim. `None`: there is nothing to claim.
    pub fn begin(&self, destination: DestinationId, now: Timestamp) -> Option<Start> {
        let mut state = self.lock();
        let lane = state.lanes.get_mut(&destination)?;
        let due = lane.next_due.is_some_and(|due| due <= now);
        if lane.paused || !(due || lane.has_fresh()) {
            return None;
        }
        lane.reading = Some(Reading { arrivals: lane.arrivals, ..Reading::default() });
        lane.backlog = lane.backlog.filter(|backlog| backlog.through(now).is_some());
        Some(Start {
            cursor: lane.cursor,
            fresh: lane.fresh,
            returned: lane.returned.iter().copied().collect(),
            backlog: lane.backlog,
            next_due: lane.next_due,
        })
    }

    /// Whether a destination is off, or has fresh deliveries that were not claimed yet.
    pub fn is_behind(&self, destination: DestinationId) -> bool {
        self.lock().lanes.get(&destination).is_some_and(|lane| lane.paused || lane.has_fresh())
    }

    /// Whether a delivery is held.
    pub fn is_claimed(&self, delivery: DeliveryId) -> bool {
        self.lock().claims.contains_key(&delivery)
    }

    /// Ends a claim: what is still free of what was found is claimed now.
    pub fn finish(&self, destination: DestinationId, found: Found) -> Vec<ClaimedDelivery> {
        let mut state = self.lock();
        let State { last_token, lanes, claims, ready, dues } = &mut *state;
        let Some(lane) = lanes.get_mut(&destination) else { return Vec::new() };
        let Some(reading) = lane.reading.take() else { return Vec::new() };
        lane.cursor = found.cursor;
        if found.exhausted && lane.arrivals == reading.arrivals {
            lane.fresh = false;
        }
        lane.next_due = earlier(found.next_due, reading.next_due);
        lane.note(destination, dues);
        for id in found.gone {
            lane.returned.remove(&id);
        }
        *last_token += 1;
        let token = LeaseToken(*last_token);
        // Whom nobody has a lease for: claimed until the process ends.
        for (id, connection) in found.unreadable {
            claims.insert(id, Claim { token, attempt: 0, connection, destination, due: None, settling: true });
        }
        let mut claimed = Vec::with_capacity(found.deliveries.len());
        for Candidate { mut delivery, due } in found.deliveries {
            lane.returned.remove(&delivery.id);
            let gone = reading.settled.contains(&delivery.id) || reading.gone.contains(&delivery.connection);
            if gone || claims.contains_key(&delivery.id) {
                continue;
            }
            delivery.lease = token;
            let (attempt, connection) = (delivery.attempt, delivery.connection);
            claims.insert(delivery.id, Claim { token, attempt, connection, destination, due, settling: false });
            claimed.push(delivery);
        }
        if lane.has_fresh() {
            ready.insert(destination);
            self.wake.notify_one();
        }
        claimed
    }

    /// Takes the right to settle a delivery, if the lease is the newest.
    pub fn begin_settle(&self, delivery: DeliveryId, lease: LeaseToken) -> Option<Claim> {
        let mut state = self.lock();
        let claim = state.claims.get_mut(&delivery)?;
        if claim.token != lease || claim.settling {
            return None;
        }
        claim.settling = true;
        Some(*claim)
    }

    /// The commit in which settlements were under way did not come to be: their claims go on.
    pub fn settle_failed(&self) {
        self.lock().claims.values_mut().for_each(|claim| claim.settling = false);
    }

    /// These settlements are on disk: their claims are over.
    pub fn settled(&self, ended: Vec<(DeliveryId, After)>) {
        let mut state = self.lock();
        let State { lanes, claims, ready, dues, .. } = &mut *state;
        let mut wake = false;
        for (delivery, after) in ended {
            let Some(claim) = claims.remove(&delivery) else { continue };
            let Some(lane) = lanes.get_mut(&claim.destination) else { continue };
            match after {
                After::Closed => lane.leave_out(delivery),
                After::Retry(due) => {
                    lane.leave_out(delivery);
                    lane.due(due, claim.destination, dues);
                    wake = true;
                }
                After::Released => {
                    match claim.due {
                        Some(due) => lane.due(due, claim.destination, dues),
                        None => {
                            lane.returned.insert(delivery);
                            ready.insert(claim.destination);
                        }
                    }
                    wake = true;
                }
            }
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }
}

/// What a settlement means for the lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Closed,
    Retry(Timestamp),
    Released,
}

impl Lane {
    fn has_fresh(&self) -> bool {
        self.fresh || !self.returned.is_empty()
    }

    fn due(&mut self, due: Timestamp, mine: DestinationId, dues: &mut Dues) {
        self.next_due = earlier(self.next_due, Some(due));
        self.note(mine, dues);
        if let Some(reading) = &mut self.reading {
            reading.next_due = earlier(reading.next_due, Some(due));
        }
    }

    /// Whoever asks what is due is told as it is now.
    fn note(&mut self, mine: DestinationId, dues: &mut Dues) {
        let due = self.next_due.filter(|_| !self.paused);
        if due == self.noted {
            return;
        }
        if let Some(old) = std::mem::replace(&mut self.noted, due) {
            dues.remove(&(old, mine));
        }
        dues.extend(due.map(|due| (due, mine)));
    }

    /// A claim that is reading now may have seen it as it was before.
    fn leave_out(&mut self, delivery: DeliveryId) {
        if let Some(reading) = &mut self.reading {
            reading.settled.insert(delivery);
        }
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Event, EventType, SourceId};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn found(destination: DestinationId, connection: ConnectionId) -> Found {
        let event = Event {
            message_id: "m".to_owned(),
            event_type: EventType::Track,
            user_id: None,
            anonymous_id: None,
            name: None,
            received_at: NOW,
            json: Bytes::new(),
        };
        let delivery = ClaimedDelivery {
            id: DeliveryId::new(NOW),
            lease: LeaseToken(0),
            attempt: 1,
            again: false,
            key: None,
            connection,
            destination,
            source: SourceId::new(NOW),
            accepted_at: NOW,
            version: None,
            event,
        };
        Found { deliveries: vec![Candidate { delivery, due: None }], exhausted: true, ..Found::default() }
    }

    #[test]
    fn what_a_claim_reads_of_a_connection_that_is_deleted_meanwhile_is_not_handed_out() {
        let lanes = Lanes::new(NOW);
        let (destination, [gone, other]) = (DestinationId::new(NOW), [1, 2].map(|_| ConnectionId::new(NOW)));
        for (connection, claimed) in [(gone, 0), (other, 1)] {
            lanes.arrived([destination]);
            assert!(lanes.begin(destination, NOW).is_some());
            lanes.forget_connection(gone);
            assert_eq!(lanes.finish(destination, found(destination, connection)).len(), claimed);
        }
    }
}
