//! Which deliveries: the filter that lists and replays share, and how one delivery is held against it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cache::Cache;
use super::claim::{damaged, data};
use super::codec;
use super::error::StoreError;
use super::rows::{id, json, optional, time, uuid};
use super::states;
use super::work::{Events, block_of, delivery_at};
use crate::model::{
    Actor, ConnectionId, DeliveryId, DeliveryState, DestinationId, EventType, Outcome, OutcomeCode, SourceId,
    Timestamp, VersionId, WorkspaceId,
};

/// Which deliveries: those that fit all that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Only of events from this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// Only those owed to this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationId>,
    /// Only those of this connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
    /// Only those that stand in one of these; empty: in any.
    pub states: Vec<DeliveryState>,
    /// Only those accepted then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Only those accepted before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Only those whose last recorded attempt ended so, or whose destination's did that they were given up for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeCode>,
    /// Only of events of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// Only of events of this name: `event` of a track, `name` of a page or screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl DeliveryFilter {
    /// Whether only dead deliveries fit.
    pub(super) fn only_dead(&self) -> bool {
        self.states == [DeliveryState::Dead]
    }

    /// Whether only those fit that are still owed.
    pub(super) fn only_pending(&self) -> bool {
        self.states == [DeliveryState::Pending]
    }

    /// What [`FITS`] is bound to, from its first parameter on.
    pub(super) fn bound(&self) -> [Option<rusqlite::types::Value>; 5] {
        let blob = |id: Uuid| rusqlite::types::Value::Blob(id.as_bytes().to_vec());
        let ms = |time: Timestamp| rusqlite::types::Value::Integer(super::rows::ms(time));
        [
            self.source.map(|id| blob(id.uuid())),
            self.connection.map(|id| blob(id.uuid())),
            self.delivery.map(|id| blob(block_of(id.uuid()).0)),
            self.from.map(ms),
            self.to.map(ms),
        ]
    }
}

/// The condition on a delivery block that something in it may fit. The destination is not in it: who asks knows an index.
pub(super) const FITS: &str =
    "(?1 IS NULL OR source = ?1) AND (?2 IS NULL OR connection = ?2) AND (?3 IS NULL OR id = ?3)
   AND (?4 IS NULL OR accepted_at >= ?4) AND (?5 IS NULL OR accepted_at < ?5)";

/// The destinations of the actor's workspace to which something that fits may be owed.
pub(super) fn owed_to(
    sql: &Connection,
    actor: &Actor,
    filter: &DeliveryFilter,
) -> rusqlite::Result<Vec<DestinationId>> {
    let mut find = sql.prepare_cached(
        "SELECT DISTINCT destination FROM counters WHERE workspace = ?1 AND (?2 IS NULL OR destination = ?2)
           AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR connection = ?4) ORDER BY destination",
    )?;
    find.query_map(
        params![
            uuid(actor.workspace.uuid()),
            filter.destination.map(|id| uuid(id.uuid())),
            filter.source.map(|id| uuid(id.uuid())),
            filter.connection.map(|id| uuid(id.uuid())),
        ],
        |row| id(row, 0, DestinationId::from_uuid),
    )?
    .collect()
}

/// What of these numbers of blocks is left where one delivery is wanted: that of its block, or none.
pub(super) fn within(
    sql: &Connection,
    filter: &DeliveryFilter,
    (from, to): (i64, i64),
) -> rusqlite::Result<(i64, i64)> {
    let Some(delivery) = filter.delivery else { return Ok((from, to)) };
    let block: Option<i64> = sql
        .prepare_cached("SELECT seq FROM delivery_blocks WHERE id = ?1")?
        .query_row([uuid(block_of(delivery.uuid()).0)], |row| row.get(0))
        .optional()?;
    Ok(block.map_or((1, 0), |block| (from.max(block), to.min(block))))
}

/// The columns of a [`Block`], in its order.
pub(super) const COLUMNS: &str =
    "seq, id, workspace, source, connection, destination, event_block, accepted_at, states, replay, version";

/// A delivery block, as whoever looks needs it.
pub(super) struct Block {
    pub seq: i64,
    pub id: Uuid,
    pub workspace: WorkspaceId,
    pub source: SourceId,
    pub connection: ConnectionId,
    pub destination: DestinationId,
    pub event_block: i64,
    pub accepted_at: Timestamp,
    pub states: Vec<u8>,
    /// The replay that owes this anew, if one does.
    pub replay: Option<i64>,
    /// What ran at its successes that have no record of their own.
    pub version: Option<VersionId>,
}

impl Block {
    pub fn from(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            workspace: id(row, 2, WorkspaceId::from_uuid)?,
            source: id(row, 3, SourceId::from_uuid)?,
            connection: id(row, 4, ConnectionId::from_uuid)?,
            destination: id(row, 5, DestinationId::from_uuid)?,
            event_block: row.get(6)?,
            accepted_at: time(row, 7)?,
            states: row.get(8)?,
            replay: row.get(9)?,
            version: optional(row, 10, VersionId::from_uuid)?,
        })
    }
}

/// How the last attempt that was recorded ended, and what ran.
pub(super) struct LastAttempt {
    pub number: u32,
    pub version: VersionId,
    pub outcome: Outcome,
}

/// The last attempt at a delivery that was recorded.
pub(super) fn last_attempt(sql: &Connection, delivery: DeliveryId) -> rusqlite::Result<Option<LastAttempt>> {
    sql.prepare_cached(
        "SELECT number, version, coalesce(opened_text(workspace, delivery, sealed_outcome), outcome) FROM attempts
         WHERE delivery = ?1 ORDER BY no DESC LIMIT 1",
    )?
    .query_row([uuid(delivery.uuid())], |row| {
        Ok(LastAttempt { number: row.get(0)?, version: id(row, 1, VersionId::from_uuid)?, outcome: json(row, 2)? })
    })
    .optional()
}

/// How its destination failed for which a delivery was given up without a further attempt.
pub(super) fn given_up(sql: &Connection, delivery: DeliveryId) -> rusqlite::Result<Option<String>> {
    let code = sql
        .prepare_cached("SELECT outcome FROM dead WHERE delivery = ?1")?
        .query_row([uuid(delivery.uuid())], |row| row.get(0))
        .optional()?;
    Ok(code.flatten())
}

/// Holds deliveries against a filter.
pub(super) struct Look<'a> {
    pub sql: &'a Connection,
    pub cache: &'a Cache,
    pub filter: &'a DeliveryFilter,
    /// The events of the block that was looked at last.
    events: Option<(i64, Events)>,
}

impl<'a> Look<'a> {
    pub fn new(sql: &'a Connection, cache: &'a Cache, filter: &'a DeliveryFilter) -> Self {
        Self { sql, cache, filter, events: None }
    }

    /// Whether the delivery at this position of a block that [`FITS`] fits.
    pub fn fits(&mut self, block: &Block, position: usize) -> Result<bool, StoreError> {
        let state = block.states.get(position).and_then(|state| states::meaning(*state));
        let Some((state, _)) = state else { return Ok(false) };
        let filter = self.filter;
        if !(filter.states.is_empty() || filter.states.contains(&state))
            || filter.delivery.is_some_and(|wanted| block_of(wanted.uuid()).1 != position)
        {
            return Ok(false);
        }
        if filter.event_type.is_some() || filter.event.is_some() {
            let events = self.events(block.event_block)?;
            let event = events.get(position);
            let fits = event.is_some_and(|event| {
                filter.event_type.is_none_or(|wanted| event.event_type == wanted)
                    && filter.event.as_ref().is_none_or(|wanted| event.name.as_ref() == Some(wanted))
            });
            if !fits {
                return Ok(false);
            }
        }
        match (filter.outcome, state) {
            (None, _) => Ok(true),
            // Successes are recorded in a sample only, but their outcome is known.
            (Some(wanted), DeliveryState::Delivered) => Ok(wanted == OutcomeCode::Delivered),
            (Some(wanted), _) => {
                let delivery = delivery_at(block.id, position);
                if let Some(last) = last_attempt(self.sql, delivery)? {
                    return Ok(last.outcome.code == wanted);
                }
                let given_up = if state == DeliveryState::Dead { given_up(self.sql, delivery)? } else { None };
                Ok(given_up.is_some_and(|code| code == wanted.as_str()))
            }
        }
    }

    /// All events of a block.
    pub fn events(&mut self, block: i64) -> Result<Events, StoreError> {
        if let Some((_, events)) = self.events.as_ref().filter(|(known, _)| *known == block) {
            return Ok(Events::clone(events));
        }
        let events = match self.cache.get(block) {
            Some(events) => events,
            None => codec::decode(&data(self.sql, block)?).map_err(|bad| damaged(block, bad))?.into(),
        };
        self.events = Some((block, Events::clone(&events)));
        Ok(events)
    }
}
