//! Step "claim": what a destination is owed, read beside the writer.
//!
//! Fresh deliveries and retries that are due are asked for apart, so that neither starves the other. [`super::lanes`] decides
//! afterwards what of it is still free.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::backlog::{Backlog, DRIFT, farthest, nearer};
use super::cache::Cache;
use super::codec::{self, BadBlock};
use super::error::StoreError;
use super::lanes::{Candidate, Cursor, Found, Lanes, Start};
use super::rows::{count, id, ms, optional, time, uuid};
use super::settle::HELD;
use super::states;
use super::types::Want;
use super::work::{Events, block_of, delivery_at};
use crate::model::{
    ClaimedDelivery, ConnectionId, DeliveryId, DestinationId, Event, LeaseToken, OrderKey, SourceId, Timestamp,
    VersionId,
};

/// What is wanted.
pub(super) struct Wanted {
    pub destination: DestinationId,
    pub want: Want,
    pub now: Timestamp,
}

/// Reads what can be claimed. One snapshot of the database throughout.
pub(super) fn read(
    sql: &Connection,
    lanes: &Lanes,
    cache: &Cache,
    start: &Start,
    wanted: &Wanted,
) -> Result<Found, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let want = wanted.want;
    let (due, next_due) = if want.retries > 0 {
        due_retries(&snapshot, lanes, start.backlog, wanted)?
    } else {
        (Vec::new(), start.next_due)
    };
    let mut reader = Reader {
        sql: &snapshot,
        cache,
        destination: wanted.destination,
        left: want.retries,
        bytes: if want.fresh > 0 { want.bytes / 2 } else { want.bytes },
        last: None,
        found: Found { cursor: start.cursor, exhausted: !start.fresh, next_due, ..Found::default() },
    };
    reader.retries(&due)?;
    let used: usize = reader.found.deliveries.iter().map(|one| one.delivery.event.json.len()).sum();
    (reader.left, reader.bytes) = (want.fresh, want.bytes.saturating_sub(used));
    reader.returned(&start.returned)?;
    if start.fresh && want.fresh > 0 {
        reader.fresh(start.cursor)?;
    }
    Ok(reader.found)
}

/// A retry that is due.
#[derive(Clone, Copy)]
struct Due {
    delivery: DeliveryId,
    attempts: u32,
    at: Timestamp,
    /// When a person gave it back, if one did.
    since: Option<Timestamp>,
    version: Option<VersionId>,
    key: Option<OrderKey>,
}

/// Retries that are due and free, the longest due first, and when the first that is not due yet is. Of a backlog, what is not let
/// through yet counts as not due.
fn due_retries(
    sql: &Connection,
    lanes: &Lanes,
    backlog: Option<Backlog>,
    wanted: &Wanted,
) -> rusqlite::Result<(Vec<Due>, Option<Timestamp>)> {
    let mut due = Vec::new();
    let Some(backlog) = backlog else {
        let next = due_between(sql, lanes, wanted, (Timestamp::default(), wanted.now), &mut due)?;
        return Ok((due, next));
    };
    let through = backlog.through(wanted.now).unwrap_or(backlog.opened());
    let old = due_between(sql, lanes, wanted, (Timestamp::default(), through), &mut due)?;
    let after = backlog.opened().plus(Duration::from_millis(1));
    let new = due_between(sql, lanes, wanted, (after, wanted.now.max(after)), &mut due)?;
    let next = [old.map(|at| backlog.when(at)), new].into_iter().flatten().min();
    Ok((due, next))
}

/// Adds retries that are free and due from one moment to another; says when the first that was not taken is due.
fn due_between(
    sql: &Connection,
    lanes: &Lanes,
    wanted: &Wanted,
    (from, to): (Timestamp, Timestamp),
    due: &mut Vec<Due>,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut find = sql.prepare_cached(
        "SELECT delivery, attempts, due_at, since, version, order_key FROM retries
         WHERE destination = ?1 AND due_at >= ?2 ORDER BY due_at, delivery",
    )?;
    let mut rows = find.query(params![uuid(wanted.destination.uuid()), ms(from)])?;
    while let Some(row) = rows.next()? {
        let delivery = id(row, 0, DeliveryId::from_uuid)?;
        if lanes.is_claimed(delivery) {
            continue;
        }
        let at = time(row, 2)?;
        if at > to || due.len() == wanted.want.retries {
            return Ok(Some(at));
        }
        let since = row.get::<_, Option<i64>>(3)?.map(|ms| Timestamp::from_millis(count(ms)));
        let version = optional(row, 4, VersionId::from_uuid)?;
        let key = row.get::<_, Option<i64>>(5)?.map(|key| OrderKey(key.cast_unsigned()));
        due.push(Due { delivery, attempts: row.get(1)?, at, since, version, key });
    }
    Ok(None)
}

struct Reader<'a> {
    sql: &'a Connection,
    cache: &'a Cache,
    destination: DestinationId,
    left: usize,
    bytes: usize,
    /// The event block that was read last: retries that are due together often share one.
    last: Option<(i64, Bytes)>,
    found: Found,
}

/// A delivery block, as far as a claim needs it.
struct Block {
    seq: i64,
    id: Uuid,
    connection: ConnectionId,
    source: SourceId,
    event_block: i64,
    accepted_at: Timestamp,
    states: Vec<u8>,
}

/// The columns of a [`Block`], in its order.
const COLUMNS: &str = "seq, id, connection, source, event_block, accepted_at, states";

impl Block {
    fn from(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            connection: id(row, 2, ConnectionId::from_uuid)?,
            source: id(row, 3, SourceId::from_uuid)?,
            event_block: row.get(4)?,
            accepted_at: time(row, 5)?,
            states: row.get(6)?,
        })
    }
}

/// The blocks of a destination in which something is fresh, from one on.
pub(super) fn fresh_blocks() -> String {
    format!(
        "SELECT {COLUMNS} FROM delivery_blocks INDEXED BY blocks_owed
         WHERE destination = ?1 AND (fresh > 0) = 1 AND open > 0 AND seq >= ?2 ORDER BY seq"
    )
}

impl Reader<'_> {
    /// Adds a delivery if it fits. The first always fits, so that an event larger than the bound is not stuck.
    fn add(&mut self, block: &Block, position: usize, event: Event, retry: Option<&Due>) -> bool {
        let size = event.json.len();
        if self.left == 0 || (size > self.bytes && !self.found.deliveries.is_empty()) {
            return false;
        }
        self.left -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        let delivery = ClaimedDelivery {
            id: delivery_at(block.id, position),
            lease: LeaseToken(0),
            attempt: retry.map_or(1, |due| due.attempts + 1),
            again: retry.is_some(),
            key: retry.and_then(|due| due.key),
            connection: block.connection,
            destination: self.destination,
            source: block.source,
            accepted_at: retry.and_then(|due| due.since).unwrap_or(block.accepted_at),
            version: retry.and_then(|due| due.version),
            event,
        };
        self.found.deliveries.push(Candidate { delivery, due: retry.map(|due| due.at) });
        true
    }

    fn retries(&mut self, due: &[Due]) -> Result<(), StoreError> {
        for retry in due {
            if self.left > 0
                && let Some((block, position)) = self.find(retry.delivery, states::RETRY)?
            {
                let Some(event) = readable(self.one(block.event_block, position))? else {
                    self.found.unreadable.push((retry.delivery, block.connection));
                    continue;
                };
                if self.add(&block, position, event, Some(retry)) {
                    continue;
                }
                self.left = 0;
            }
            self.found.next_due = Some(self.found.next_due.map_or(retry.at, |next| next.min(retry.at)));
        }
        Ok(())
    }

    fn returned(&mut self, returned: &[DeliveryId]) -> Result<(), StoreError> {
        for delivery in returned {
            if self.left == 0 {
                break;
            }
            match self.find(*delivery, states::FRESH)? {
                None => self.found.gone.push(*delivery),
                Some((block, position)) => {
                    let Some(event) = readable(self.one(block.event_block, position))? else {
                        self.found.gone.push(*delivery);
                        continue;
                    };
                    if !self.add(&block, position, event, None) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn fresh(&mut self, from: Cursor) -> Result<(), StoreError> {
        let sql = self.sql;
        let mut find = sql.prepare_cached(&fresh_blocks())?;
        let mut rows = find.query(params![uuid(self.destination.uuid()), from.seq])?;
        while let Some(row) = rows.next()? {
            let block = Block::from(row)?;
            // What cannot be read stays owed, and is met again when the directory is opened the next time.
            let Some(events) = readable(self.all(block.event_block))? else {
                self.found.cursor = Cursor { seq: block.seq + 1, position: 0 };
                continue;
            };
            let begin = if block.seq == from.seq { from.position } else { 0 };
            for position in begin..block.states.len().min(events.len()) {
                if block.states[position] == states::FRESH
                    && !self.add(&block, position, events[position].clone(), None)
                {
                    self.found.cursor = Cursor { seq: block.seq, position };
                    return Ok(());
                }
            }
            self.found.cursor = Cursor { seq: block.seq + 1, position: 0 };
        }
        self.found.exhausted = true;
        Ok(())
    }

    /// The block of a delivery that is in this state; `None` if it is not any more.
    fn find(&self, delivery: DeliveryId, state: u8) -> Result<Option<(Block, usize)>, StoreError> {
        let (id, position) = block_of(delivery.uuid());
        let mut find = self.sql.prepare_cached(&format!("SELECT {COLUMNS} FROM delivery_blocks WHERE id = ?1"))?;
        let mut rows = find.query([uuid(id)])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let block = Block::from(row)?;
        Ok((block.states.get(position) == Some(&state)).then_some((block, position)))
    }

    /// All events of a block.
    fn all(&self, block: i64) -> Result<Events, StoreError> {
        if let Some(events) = self.cache.get(block) {
            return Ok(events);
        }
        let data = data(self.sql, block)?;
        let events: Events = codec::decode(&data).map_err(|bad| damaged(block, bad))?.into();
        self.cache.put(block, Events::clone(&events), data.len());
        Ok(events)
    }

    /// One event of a block.
    fn one(&mut self, block: i64, position: usize) -> Result<Event, StoreError> {
        if let Some(event) = self.cache.get(block).and_then(|events| events.get(position).cloned()) {
            return Ok(event);
        }
        let data = match &self.last {
            Some((last, data)) if *last == block => data.clone(),
            _ => data(self.sql, block)?,
        };
        self.last = Some((block, data.clone()));
        codec::nth(&data, position).map_err(|bad| damaged(block, bad))
    }
}

/// The bytes of an event block.
pub(super) fn data(sql: &Connection, block: i64) -> Result<Bytes, StoreError> {
    let data: rusqlite::Result<Vec<u8>> = sql
        .prepare_cached("SELECT opened(workspace, source, data) FROM event_blocks WHERE seq = ?1")?
        .query_row([block], |row| row.get(0));
    match data {
        Ok(data) => Ok(data.into()),
        // Nothing in it fails so but `opened`.
        Err(rusqlite::Error::SqliteFailure(error, Some(why))) if error.extended_code == rusqlite::ffi::SQLITE_ERROR => {
            Err(StoreError::Damaged { what: "event block", id: block.to_string(), why })
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn damaged(block: i64, bad: BadBlock) -> StoreError {
    StoreError::Damaged { what: "event block", id: block.to_string(), why: bad.to_string() }
}

/// What was read, or nothing where it is damaged: the log says so, and everything else goes on.
pub(super) fn readable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "events cannot be read: what is owed of them is left as it is");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// The keys that have something stored for a destination, tried or held, and how many of each.
pub(super) fn stored_keys(sql: &Connection, destination: DestinationId) -> rusqlite::Result<Vec<(OrderKey, u32)>> {
    let mut find = sql.prepare_cached(
        "SELECT order_key, count(*) FROM retries INDEXED BY retries_by_order
         WHERE destination = ?1 AND order_key IS NOT NULL GROUP BY order_key",
    )?;
    find.query_map([uuid(destination.uuid())], |row| {
        Ok((OrderKey(row.get::<_, i64>(0)?.cast_unsigned()), row.get(1)?))
    })?
    .collect()
}

/// After the clock was set back: retries that would be due hours later than they should come nearer, and no retry window begins
/// in times to come. Nothing changes otherwise.
pub(super) fn bring_nearer(sql: &mut Connection, now: Timestamp, newest_id: Timestamp) -> rusqlite::Result<()> {
    let set_back = newest_id > now.plus(DRIFT);
    let all = sql.transaction()?;
    all.execute("UPDATE retries SET since = ?1 WHERE since > ?1", [ms(now)])?;
    if set_back {
        let change =
            "UPDATE delivery_blocks INDEXED BY blocks_owed SET accepted_at = ?1 WHERE accepted_at > ?1 AND open > 0";
        all.execute(change, [ms(now)])?;
    }
    let ahead: Vec<([u8; 16], Timestamp)> = all
        .prepare("SELECT delivery, due_at FROM retries WHERE due_at > ?1 AND due_at < ?2")?
        .query_map([ms(now.plus(farthest(set_back))), HELD], |row| Ok((row.get(0)?, time(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (delivery, due) in ahead {
        let near = ms(nearer(due, now, set_back));
        all.prepare_cached("UPDATE retries SET due_at = ?2 WHERE delivery = ?1")?.execute(params![delivery, near])?;
    }
    all.commit()
}

/// Tells the lanes what an earlier process left: where something fresh is, and when retries are due.
pub(super) fn refill(sql: &Connection, lanes: &Lanes, now: Timestamp) -> rusqlite::Result<()> {
    let mut fresh = sql.prepare(
        "SELECT DISTINCT destination FROM counters WHERE EXISTS (SELECT 1 FROM delivery_blocks INDEXED BY blocks_owed
           WHERE delivery_blocks.destination = counters.destination AND (fresh > 0) = 1 AND open > 0)",
    )?;
    let fresh: Vec<_> =
        fresh.query_map([], |row| id(row, 0, DestinationId::from_uuid))?.collect::<rusqlite::Result<_>>()?;
    lanes.arrived(fresh);
    let mut due = sql.prepare("SELECT destination, MIN(due_at) FROM retries GROUP BY destination")?;
    let mut rows = due.query([])?;
    while let Some(row) = rows.next()? {
        lanes.were_due(id(row, 0, DestinationId::from_uuid)?, time(row, 1)?, now);
    }
    let mut off = sql.prepare("SELECT id FROM destinations WHERE NOT enabled OR paused")?;
    let mut rows = off.query([])?;
    while let Some(row) = rows.next()? {
        lanes.pause(id(row, 0, DestinationId::from_uuid)?, true);
    }
    Ok(())
}
