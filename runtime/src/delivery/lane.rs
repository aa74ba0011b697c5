//! Lane: what is claimed for one destination and waits for its turn.
//!
//! Guarantees: pure. A lane starts no more than its cap, asks for more before it runs dry, holds a batch back until it
//! is full or its first event has waited long enough, and stands still after a host fault.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Batch, ClaimedDelivery, Timestamp};

/// Deliveries that one claim asks for: some tens of milliseconds of work, so that a refill is never the bottleneck.
pub(super) const CLAIM_EVENTS: usize = 512;

/// Bytes that one claim asks for, so that large events do not fill the memory.
pub(super) const CLAIM_BYTES: usize = 4 << 20;

/// Below this many waiting deliveries the lane is refilled.
const LOW_WATER: usize = CLAIM_EVENTS / 4;

/// The first pause after a host fault. It doubles, up to a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after host faults: what an operator notices anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One destination's queue.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<ClaimedDelivery>,
    pub(super) in_flight: usize,
    claiming: bool,
    more: bool,
    held_until: Option<Timestamp>,
    faults_in_row: u32,
}

/// What a lane can do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Start an attempt with these.
    Start(Vec<ClaimedDelivery>),
    /// Nothing before then.
    Wait(Timestamp),
    /// Nothing until something happens.
    Idle,
}

impl Lane {
    /// There is, or may be, more in the store.
    pub(super) fn more(&mut self) {
        self.more = true;
    }

    /// Whether to claim now; if so, the claim counts as begun.
    pub(super) fn begin_claim(&mut self) -> bool {
        let begin = self.more && !self.claiming && self.queue.len() < LOW_WATER;
        if begin {
            self.claiming = true;
            self.more = false;
        }
        begin
    }

    /// A claim ended with these.
    pub(super) fn end_claim(&mut self, claimed: Vec<ClaimedDelivery>) {
        self.claiming = false;
        // Anything at all may mean that the claim stopped at a bound; an empty claim is the end.
        self.more |= !claimed.is_empty();
        self.queue.extend(claimed);
    }

    /// An attempt ended.
    pub(super) fn end_attempt(&mut self, host_fault: bool, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if host_fault {
            let pause = FIRST_PAUSE.saturating_mul(1 << self.faults_in_row.min(16)).min(LONGEST_PAUSE);
            self.faults_in_row = self.faults_in_row.saturating_add(1);
            self.held_until = Some(now.plus(pause));
            self.more = true;
        } else {
            self.faults_in_row = 0;
        }
    }

    /// Takes the next attempt's deliveries, if it may start now.
    pub(super) fn turn(&mut self, cap: usize, batch: Option<&Batch>, now: Timestamp) -> Turn {
        if let Some(until) = self.held_until {
            if now < until {
                return Turn::Wait(until);
            }
            self.held_until = None;
        }
        if self.in_flight >= cap {
            return Turn::Idle;
        }
        let Some(first) = self.queue.front() else { return Turn::Idle };
        let size = match batch {
            None => 1,
            Some(batch) => {
                let most = (batch.max_events as usize).max(1);
                let full_at = first.accepted_at.plus(Duration::from_millis(batch.max_wait_ms));
                if self.queue.len() < most && now < full_at {
                    return Turn::Wait(full_at);
                }
                most.min(self.queue.len())
            }
        };
        self.in_flight += 1;
        Turn::Start(self.queue.drain(..size).collect())
    }

    /// Whether nothing is known of this destination, so that the lane can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight == 0 && !self.claiming && !self.more && self.held_until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{ConnectionId, DeliveryId, DestinationId, Event, EventType, LeaseToken, SourceId};

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn deliveries(count: usize) -> Vec<ClaimedDelivery> {
        let claimed = |_| ClaimedDelivery {
            id: DeliveryId::new(T0),
            lease: LeaseToken(1),
            attempt: 1,
            connection: ConnectionId::new(T0),
            destination: DestinationId::new(T0),
            source: SourceId::new(T0),
            accepted_at: T0,
            version: None,
            event: Event {
                message_id: "m".into(),
                event_type: EventType::Track,
                user_id: None,
                anonymous_id: None,
                name: None,
                received_at: T0,
                json: Bytes::from_static(b"{}"),
            },
        };
        (0..count).map(claimed).collect()
    }

    fn filled(count: usize) -> Lane {
        let mut lane = Lane::default();
        lane.more();
        assert!(lane.begin_claim());
        lane.end_claim(deliveries(count));
        lane
    }

    fn started(turn: &Turn) -> usize {
        match turn {
            Turn::Start(deliveries) => deliveries.len(),
            Turn::Wait(_) | Turn::Idle => 0,
        }
    }

    #[test]
    fn a_lane_starts_no_more_than_its_cap_and_goes_on_when_one_ends() {
        let mut lane = filled(3);
        assert_eq!(started(&lane.turn(2, None, T0)), 1);
        assert_eq!(started(&lane.turn(2, None, T0)), 1);
        assert_eq!(lane.turn(2, None, T0), Turn::Idle);
        lane.end_attempt(false, T0);
        assert_eq!(started(&lane.turn(2, None, T0)), 1);
    }

    #[test]
    fn a_lane_claims_once_at_a_time_and_stops_after_an_empty_claim() {
        let mut lane = Lane::default();
        assert!(!lane.begin_claim(), "nothing was announced");
        lane.more();
        assert!(lane.begin_claim());
        lane.more();
        assert!(!lane.begin_claim(), "one claim is under way");
        lane.end_claim(Vec::new());
        assert!(lane.begin_claim(), "more was announced during the claim");
        lane.end_claim(Vec::new());
        assert!(!lane.begin_claim());
        assert!(lane.is_idle());
    }

    #[test]
    fn a_batch_starts_when_it_is_full_or_its_first_event_has_waited_long_enough() {
        let batch = Batch { max_events: 4, max_wait_ms: 1_000 };
        assert_eq!(started(&filled(5).turn(8, Some(&batch), T0)), 4);
        let mut lane = filled(3);
        let full_at = T0.plus(Duration::from_secs(1));
        assert_eq!(lane.turn(8, Some(&batch), T0), Turn::Wait(full_at));
        assert_eq!(started(&lane.turn(8, Some(&batch), full_at)), 3);
    }

    #[test]
    fn a_host_fault_holds_the_lane_for_longer_each_time_until_one_attempt_works() {
        let mut lane = filled(9);
        let mut now = T0;
        for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
            lane.end_attempt(true, now);
            let until = now.plus(Duration::from_secs(secs));
            assert_eq!(lane.turn(8, None, now), Turn::Wait(until));
            now = until;
        }
        lane.end_attempt(false, now);
        lane.end_attempt(true, now);
        assert_eq!(lane.turn(8, None, now), Turn::Wait(now.plus(Duration::from_secs(1))));
    }
}
