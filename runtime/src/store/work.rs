//! What the writer is asked to do, and the commit in which it does it.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::StoreError;
use super::ledger::Deltas;
use super::numbers::Numbers;
use super::seen::{Hash, Lately};
use super::statistics::Statistics;
use super::types::{Accepted, NewEvent, Settled, Settlement};
use super::writer::Shared;
use crate::model::{ConnectionId, DestinationId, Event, Timestamp, WorkspaceId};

/// One thing to be done. Dropping it undone tells whoever waits that the store has stopped.
pub(super) enum Work {
    Accept(Accept),
    Settle(Settlements),
    Call(Call),
    /// A call of the host's own, whose loss would only make it do the same again.
    Step(Call),
}

/// Events of a batch with what could be prepared outside the writer.
pub(super) struct Accept {
    pub events: Vec<Prepared>,
    pub bytes: usize,
    /// Whether they are the last ones of their batch: then somebody is told that all of it is on disk.
    pub last: bool,
    pub reply: oneshot::Sender<Accepted>,
}

/// One event, encoded and hashed.
pub(super) struct Prepared {
    pub event: NewEvent,
    pub record: Vec<u8>,
    pub hash: Hash,
}

/// Settlements that belong together.
pub(super) struct Settlements {
    /// Shared with whoever waits, who tries again if the disk was full.
    pub items: std::sync::Arc<Vec<Settlement>>,
    /// What became of the first of them, in earlier commits.
    pub done: Vec<Settled>,
    pub reply: oneshot::Sender<Vec<Settled>>,
}

/// Any other change.
pub(super) type Call = Box<dyn FnOnce(&mut Commit<'_>) -> Done + Send>;

/// What became of a call, and how to answer it.
pub(super) enum Done {
    /// It is part of the commit.
    Keep(Answer),
    /// The caller's mistake: it leaves no trace.
    Undo(Answer),
    /// The store's own trouble: the commit fails.
    Fail(StoreError),
}

/// Tells whoever waits. Runs after the commit; dropped if there is none.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// A change to what is in memory. Runs after the commit and before the answers.
pub(super) type Effect = Box<dyn FnOnce(&Shared) + Send>;

impl Work {
    /// How much of a commit it fills.
    pub fn weight(&self) -> usize {
        match self {
            Self::Accept(accept) => accept.events.len(),
            Self::Settle(settle) => settle.items.len() - settle.done.len(),
            Self::Call(_) | Self::Step(_) => 1,
        }
    }

    /// Whether somebody waits for it, whom no other work should hold up.
    pub fn is_awaited(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Call(_))
    }

    /// Whether somebody is told that it is on disk. What became of deliveries nobody is told: without it they are owed as before,
    /// and a partner may see the event twice.
    pub fn is_promised(&self) -> bool {
        match self {
            Self::Accept(accept) => accept.last,
            Self::Call(_) => true,
            Self::Settle(_) | Self::Step(_) => false,
        }
    }

    /// How much of the bounded part of the queue it fills: events and bytes.
    pub fn events(&self) -> (usize, usize) {
        match self {
            Self::Accept(accept) => (accept.events.len(), accept.bytes),
            Self::Settle(_) | Self::Call(_) | Self::Step(_) => (0, 0),
        }
    }

    #[cfg(test)]
    pub fn for_test(events: usize) -> Self {
        let settlement = |_| Prepared { event: tests::event(), record: Vec::new(), hash: [0; 16] };
        Self::Accept(Accept {
            events: (0..events).map(settlement).collect(),
            bytes: events,
            last: true,
            reply: oneshot::channel().0,
        })
    }
}

/// One transaction, as those who write see it.
pub(super) struct Commit<'a> {
    pub sql: &'a Connection,
    pub shared: &'a Shared,
    pub memory: &'a mut Memory,
    pub now: Timestamp,
    pub ledger: Deltas,
    pub effects: Vec<Effect>,
    pub answers: Vec<Answer>,
}

/// What only the writer knows.
#[derive(Default)]
pub(super) struct Memory {
    /// Connections that exist, with their destinations: what is owed to others is filtered.
    pub connections: HashMap<ConnectionId, DestinationId>,
    pub destinations: HashSet<DestinationId>,
    pub workspaces: HashSet<WorkspaceId>,
    /// The last message ids.
    pub lately: Lately,
    /// Successes whose attempts were kept: the minute and how many.
    pub samples: HashMap<ConnectionId, (u64, u32)>,
    pub numbers: Numbers,
    pub statistics: Statistics,
}

/// An event of a block that is in memory.
pub(super) type Events = std::sync::Arc<[Event]>;

/// The id of a delivery's block: the delivery's id without the position in its low 16 bits.
pub(super) fn block_of(delivery: Uuid) -> (Uuid, usize) {
    let bits = delivery.as_u128();
    (Uuid::from_u128(bits & !0xffff), (bits & 0xffff) as usize)
}

/// The id of the delivery at a position of a block.
pub(super) fn delivery_at(block: Uuid, position: usize) -> crate::model::DeliveryId {
    crate::model::DeliveryId::from_uuid(Uuid::from_u128(block.as_u128() | (position as u128 & 0xffff)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeliveryId, EventType, SourceId};

    pub(super) fn event() -> NewEvent {
        let now = Timestamp::from_millis(1);
        NewEvent {
            workspace: WorkspaceId::new(now),
            source: SourceId::new(now),
            event: Event {
                message_id: "m".to_owned(),
                event_type: EventType::Track,
                user_id: None,
                anonymous_id: None,
                name: None,
                received_at: now,
                json: bytes::Bytes::new(),
            },
            owed: Vec::new(),
        }
    }

    #[test]
    fn a_delivery_id_is_its_block_and_its_position() {
        let (block, _) = block_of(DeliveryId::new(Timestamp::from_millis(1_700_000_000_000)).uuid());
        for position in [0, 1, 65_535] {
            assert_eq!(block_of(delivery_at(block, position).uuid()), (block, position));
        }
    }
}
