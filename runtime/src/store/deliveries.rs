//! Looking at deliveries: lists, one with its event, its attempts.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;

use super::attempts::AttemptRecord;
use super::cache::Cache;
use super::claim::{damaged, data};
use super::codec;
use super::control::not_found;
use super::error::StoreError;
use super::newest::Newest;
use super::replays;
use super::rows::{count, id, json, time, uuid};
use super::select::{Block, COLUMNS, DeliveryFilter, Look, last_attempt, owed_to, within};
use super::settle::HELD;
use super::states;
use super::types::{DeadLetter, DeliveryDetail, DeliverySummary, Page, Paged};
use super::work::{block_of, delivery_at};
use crate::model::{
    Actor, DeliveryId, DeliveryState, DestinationId, Event, FilterReason, Outcome, OutcomeCode, Timestamp, VersionId,
};

/// Blocks that one page looks through at most, so that a list of something rare does not read the whole database; the page is
/// then short and says where to go on.
const BLOCKS: usize = 2_000;

/// Where a page begins: below this position of this block. Newest come first.
#[derive(Clone, Copy)]
struct Below {
    seq: i64,
    position: usize,
}

impl Below {
    fn from(page: &Page) -> Result<Self, StoreError> {
        let Some(text) = &page.after else { return Ok(Self { seq: i64::MAX, position: 0 }) };
        let parse = || {
            let (seq, position) = text.split_once('.')?;
            Some(Self { seq: seq.parse().ok()?, position: position.parse().ok()? })
        };
        parse().ok_or_else(|| StoreError::BadCursor(text.clone()))
    }

    fn text(self) -> String {
        format!("{}.{}", self.seq, self.position)
    }
}

/// The deliveries of a workspace, newest first.
pub(super) fn list(
    sql: &Connection,
    cache: &Cache,
    actor: &Actor,
    filter: &DeliveryFilter,
    page: &Page,
) -> Result<Paged<DeliverySummary>, StoreError> {
    let below = Below::from(page)?;
    if filter.destination.is_some_and(|wanted| !actor.reaches(wanted)) {
        return Ok(Paged { items: Vec::new(), next: None });
    }
    let destination = filter.destination.or(actor.destination);
    let snapshot = sql.unchecked_transaction()?;
    let destinations = match destination {
        Some(destination) => vec![destination],
        None => owed_to(&snapshot, actor, filter)?,
    };
    let (from, to) = within(&snapshot, filter, (0, below.seq))?;
    let mut blocks = Newest::new(&snapshot, filter, actor.workspace, &destinations, (from, to))?;
    let mut look = Look::new(&snapshot, cache, filter);
    let (mut items, mut looked, mut last) = (Vec::new(), 0, below);
    while looked < BLOCKS
        && let Some(block) = blocks.next()?
    {
        let end = if block.seq == below.seq { below.position.min(block.states.len()) } else { block.states.len() };
        for position in (0..end).rev() {
            if !look.fits(&block, position)? {
                continue;
            }
            if items.len() == page.rows() {
                return Ok(Paged { items, next: Some(last.text()) });
            }
            items.push(summary(&snapshot, cache, &block, position)?.0);
            last = Below { seq: block.seq, position };
        }
        looked += 1;
        last = if items.len() < page.rows() { Below { seq: block.seq, position: 0 } } else { last };
    }
    let next = (looked == BLOCKS).then(|| last.text());
    Ok(Paged { items, next })
}

fn summary(
    sql: &Connection,
    cache: &Cache,
    block: &Block,
    position: usize,
) -> Result<(DeliverySummary, Event), StoreError> {
    let delivery = delivery_at(block.id, position);
    let (state, filter_reason) = block
        .states
        .get(position)
        .and_then(|state| states::meaning(*state))
        .ok_or_else(|| not_found("delivery", delivery))?;
    let event = match cache.get(block.event_block).and_then(|events| events.get(position).cloned()) {
        Some(event) => event,
        None => codec::nth(&data(sql, block.event_block)?, position).map_err(|bad| damaged(block.event_block, bad))?,
    };
    let key = [uuid(delivery.uuid())];
    let retry: Option<(u32, Option<Timestamp>, Option<i64>)> = sql
        .prepare_cached("SELECT attempts, nullif(due_at, ?2), replay FROM retries WHERE delivery = ?1")?
        .query_row(params![key[0], HELD], |row| {
            let due: Option<i64> = row.get(1)?;
            Ok((row.get(0)?, due.map(|_| time(row, 1)).transpose()?, row.get(2)?))
        })
        .optional()?;
    let dead = match state {
        DeliveryState::Dead => sql
            .prepare_cached(
                "SELECT at, coalesce(opened_text(workspace, delivery, sealed_cause), cause), outcome FROM dead WHERE delivery = ?1",
            )?
            .query_row(key, |row| {
                let given_up: Option<String> = row.get(2)?;
                Ok((DeadLetter { at: time(row, 0)?, cause: row.get(1)? }, given_up))
            })
            .optional()?,
        DeliveryState::Pending | DeliveryState::Delivered | DeliveryState::Filtered => None,
    };
    let replay = match retry.and_then(|(.., replay)| replay).or(block.replay) {
        Some(replay) => replays::id_of(sql, replay)?,
        None => None,
    };
    let last = last_attempt(sql, delivery)?;
    let (dead, given_up) = dead.unzip();
    let version = last.as_ref().map(|last| last.version).or_else(|| match filter_reason {
        None | Some(FilterReason::Unsupported) if !states::is_open(block.states[position]) => block.version,
        _ => None,
    });
    let recorded = last.as_ref().map_or(0, |last| last.number);
    // A first success is recorded only in a sample: that it was delivered says that there was one attempt.
    let least = u32::from(state == DeliveryState::Delivered);
    let summary = DeliverySummary {
        id: delivery,
        workspace: block.workspace,
        source: block.source,
        connection: block.connection,
        destination: block.destination,
        message_id: event.message_id.clone(),
        event_type: event.event_type,
        event_name: event.name.clone(),
        state,
        filter_reason,
        attempts: retry.map_or(recorded.max(least), |(attempts, ..)| attempts),
        next_due: retry.and_then(|(_, due, _)| due),
        accepted_at: block.accepted_at,
        last_outcome: last.map(|last| last.outcome).or_else(|| given_up_as(given_up.flatten()?, dead.as_ref())),
        version: version.filter(|_| state != DeliveryState::Dead || recorded > 0),
        dead,
        replay,
    };
    Ok((summary, event))
}

/// The outcome of a delivery that was given up without an attempt of its own.
fn given_up_as(code: String, dead: Option<&DeadLetter>) -> Option<Outcome> {
    let code = OutcomeCode::ALL.into_iter().find(|known| known.as_str() == code)?;
    let message = dead.map(|dead| dead.cause.clone()).unwrap_or_default();
    Some(Outcome { code, message, retryable: true, error: None, retry_after: None })
}

/// The destination and the event of a delivery, whoever owns it.
pub(super) fn event_of(
    sql: &Connection,
    cache: &Cache,
    delivery: DeliveryId,
) -> Result<(DestinationId, Event), StoreError> {
    let (block, position) = block_of(delivery.uuid());
    let (destination, events) = sql
        .prepare_cached("SELECT destination, event_block FROM delivery_blocks WHERE id = ?1")?
        .query_row([uuid(block)], |row| Ok((id(row, 0, DestinationId::from_uuid)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| not_found("delivery", delivery))?;
    let event = match cache.get(events).and_then(|events| events.get(position).cloned()) {
        Some(event) => event,
        None => codec::nth(&data(sql, events)?, position).map_err(|bad| damaged(events, bad))?,
    };
    Ok((destination, event))
}

fn find(sql: &Connection, actor: &Actor, delivery: DeliveryId) -> Result<(Block, usize), StoreError> {
    let (block, position) = block_of(delivery.uuid());
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM delivery_blocks WHERE workspace = ?1 AND id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(block)], Block::from)
        .optional()?
        .filter(|block| actor.reaches(block.destination))
        .filter(|block| block.states.get(position).is_some_and(|state| *state != states::NOT_OWED))
        .map(|block| (block, position))
        .ok_or_else(|| not_found("delivery", delivery))
}

/// One delivery with its event.
pub(super) fn show(
    sql: &Connection,
    cache: &Cache,
    actor: &Actor,
    delivery: DeliveryId,
) -> Result<DeliveryDetail, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let (block, position) = find(&snapshot, actor, delivery)?;
    let (summary, event) = summary(&snapshot, cache, &block, position)?;
    let event: Box<RawValue> = serde_json::from_slice(&event.json).map_err(|error| StoreError::Damaged {
        what: "event of delivery",
        id: delivery.to_string(),
        why: error.to_string(),
    })?;
    let last_attempt = recorded(&snapshot, actor, delivery, "DESC LIMIT 1")?.pop();
    Ok(DeliveryDetail { summary, event, last_attempt })
}

/// The attempts that were recorded, the first one first.
pub(super) fn attempts(
    sql: &Connection,
    actor: &Actor,
    delivery: DeliveryId,
) -> Result<Vec<AttemptRecord>, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    find(&snapshot, actor, delivery)?;
    Ok(recorded(&snapshot, actor, delivery, "ASC")?)
}

/// Recorded attempts by their numbers, in this order.
fn recorded(
    sql: &Connection,
    actor: &Actor,
    delivery: DeliveryId,
    order: &'static str,
) -> rusqlite::Result<Vec<AttemptRecord>> {
    sql.prepare_cached(&format!(
        "SELECT number, started_at, wall_ms, coalesce(opened_text(workspace, delivery, sealed_outcome), outcome), version,
           coalesce(opened_text(workspace, delivery, sealed_report), report) FROM attempts
         WHERE workspace = ?1 AND delivery = ?2 ORDER BY no {order}"
    ))?
    .query_map([uuid(actor.workspace.uuid()), uuid(delivery.uuid())], |row| {
        Ok(AttemptRecord {
            number: row.get(0)?,
            started_at: time(row, 1)?,
            wall_ms: count(row.get(2)?),
            outcome: json(row, 3)?,
            version: id(row, 4, VersionId::from_uuid)?,
            report: json(row, 5)?,
        })
    })?
    .collect()
}
