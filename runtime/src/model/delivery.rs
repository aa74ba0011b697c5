//! One event owed to one destination.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ConnectionId, DeliveryId, DestinationId, Event, OrderKey, SourceId, Timestamp, VersionId};

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
    /// Whether it was written down to be tried later: it failed before, was held back, or was revived.
    pub again: bool,
    /// Its place in an order. The store gives it where it has it written down; of a fresh one its connection tells.
    pub key: Option<OrderKey>,
    /// The connection that owes it.
    pub connection: ConnectionId,
    /// To whom it is owed.
    pub destination: DestinationId,
    /// Where the event came from.
    pub source: SourceId,
    /// When the event was accepted, or a person gave the delivery back: the retry window counts from here.
    pub accepted_at: Timestamp,
    /// The version that a replay wants to run, if not the destination's.
    pub version: Option<VersionId>,
    /// The event.
    pub event: Event,
}

/// Where a delivery stands. The ledger counts one of these for every delivery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Still owed: not tried yet, under way, or waiting for its next attempt.
    Pending,
    /// The partner has it.
    Delivered,
    /// Not meant for this destination; see [`FilterReason`].
    Filtered,
    /// Given up; a person may retry it.
    Dead,
}

impl DeliveryState {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Filtered, Self::Dead];

    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Filtered => "filtered",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a delivery is not meant for its destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterReason {
    /// The event's `integrations` object switches this destination off.
    Integrations,
    /// The function's manifest does not name this event type.
    EventType,
    /// The destination was switched off when the event came.
    DestinationDisabled,
    /// The connection was switched off when the event came.
    ConnectionDisabled,
    /// The function ran, and said that it does nothing with such events.
    Unsupported,
    /// The destination was deleted while it still owed this.
    DestinationDeleted,
    /// The connection, or its source, was deleted while it still owed this.
    ConnectionDeleted,
    /// Its user was suppressed while this was still owed.
    UserSuppressed,
}

impl FilterReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Integrations,
        Self::EventType,
        Self::DestinationDisabled,
        Self::ConnectionDisabled,
        Self::Unsupported,
        Self::DestinationDeleted,
        Self::ConnectionDeleted,
        Self::UserSuppressed,
    ];

    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrations => "integrations",
            Self::EventType => "event_type",
            Self::DestinationDisabled => "destination_disabled",
            Self::ConnectionDisabled => "connection_disabled",
            Self::Unsupported => "unsupported",
            Self::DestinationDeleted => "destination_deleted",
            Self::ConnectionDeleted => "connection_deleted",
            Self::UserSuppressed => "user_suppressed",
        }
    }
}
