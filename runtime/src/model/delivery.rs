//! One event owed to one destination.

use super::{ConnectionId, DeliveryId, DestinationId, Event, SourceId, Timestamp};

/// Proof of a claim. A settlement with an older token than the newest claim's changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseToken(pub u64);

/// A delivery that this host holds the lease of. Only the store makes these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The lease under which it may be settled.
    pub lease: LeaseToken,
    /// Which try this will be, from 1.
    pub attempt: u32,
    /// The connection that owes it.
    pub connection: ConnectionId,
    /// To whom it is owed.
    pub destination: DestinationId,
    /// Where the event came from.
    pub source: SourceId,
    /// When the event was accepted: the retry window counts from here.
    pub accepted_at: Timestamp,
    /// The event.
    pub event: Event,
}
