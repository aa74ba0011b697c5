//! What a replay may give back, read beside the writer: a page at a time, in the order in which it was accepted.
//!
//! Guarantees: a page reads a bounded part of the tables, whatever fits; of an event that is owed to a connection more than
//! once, because an earlier replay owed it anew, only the newest delivery is a candidate, so that no event comes twice in one replay.

use rusqlite::{Connection, params};

use super::cache::Cache;
use super::claim::readable;
use super::error::StoreError;
use super::handle::Store;
use super::lanes::{Cursor, Lanes};
use super::newest::{ALL, DEAD, Way};
use super::rows::{ms, uuid};
use super::select::{Block, COLUMNS, DeliveryFilter, FITS, Look, last_attempt, owed_to, within};
use super::states;
use super::work::delivery_at;
use crate::model::{
    Actor, ConnectionId, DeliveryId, DeliveryState, DestinationId, Event, FilterReason, FunctionVersion, OutcomeCode,
    Timestamp, VersionId,
};

/// Delivery blocks that one page looks through at most: some milliseconds of reading.
const BLOCKS: usize = 64;

/// One delivery that a replay may give back.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// Its id.
    pub delivery: DeliveryId,
    /// Where it stands.
    pub state: DeliveryState,
    /// The connection that owes it.
    pub connection: ConnectionId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The event.
    pub event: Event,
    /// How the last attempt that was recorded ended.
    pub last: Option<OutcomeCode>,
    /// What ran at the last attempt.
    pub version: Option<VersionId>,
    /// Where a replay goes on behind it.
    pub next: Cursor,
}

/// A page of candidates of one destination.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidates {
    /// The candidates, oldest first. There may be none although there are more.
    pub items: Vec<Candidate>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

/// Which candidates.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// Those that fit this.
    pub filter: DeliveryFilter,
    /// Those owed to this destination.
    pub destination: DestinationId,
    /// The last delivery block to look at.
    pub until: i64,
    /// Where to begin.
    pub from: Cursor,
    /// How many at most.
    pub most: usize,
}

fn page(sql: &Connection, cache: &Cache, wanted: &Wanted) -> Result<Candidates, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let Wanted { filter, destination, until, from, most } = wanted;
    let Way { index, narrow } = if filter.only_dead() { DEAD } else { ALL };
    let (first, last) = within(&snapshot, filter, (from.seq, *until))?;
    let mut find = snapshot.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM delivery_blocks INDEXED BY {index}
         WHERE {FITS} AND destination = ?6 AND seq >= ?7 AND seq <= ?8 {narrow} ORDER BY seq LIMIT ?9"
    ))?;
    let [source, connection, block, since, to] = filter.bound();
    let bound = params![source, connection, block, since, to, uuid(destination.uuid()), first, last, BLOCKS as i64];
    let mut rows = find.query(bound)?;
    let mut look = Look::new(&snapshot, cache, filter);
    let (mut items, mut looked, mut next) = (Vec::new(), 0, *from);
    'blocks: while let Some(row) = rows.next()? {
        let block = Block::from(row)?;
        looked += 1;
        next = Cursor { seq: block.seq + 1, position: 0 };
        let newer = newer(&snapshot, &block, *until)?;
        let begin = if block.seq == from.seq { from.position } else { 0 };
        for position in begin..block.states.len() {
            let owed_anew = || newer.iter().any(|states| states.get(position).is_some_and(|s| *s != states::NOT_OWED));
            let Some(fits) = readable(look.fits(&block, position))? else { continue 'blocks };
            if !fits || owed_anew() {
                continue;
            }
            if items.len() == *most {
                return Ok(Candidates { items, next: Some(Cursor { seq: block.seq, position }) });
            }
            let Some(candidate) = readable(candidate(&mut look, &block, position))? else { continue 'blocks };
            items.push(candidate);
        }
    }
    Ok(Candidates { items, next: (looked == BLOCKS).then_some(next) })
}

/// What the same connection owes of the same events since: what replays made, for what came with the events was one block.
fn newer(sql: &Connection, block: &Block, until: i64) -> rusqlite::Result<Vec<Vec<u8>>> {
    sql.prepare_cached(
        "SELECT states FROM delivery_blocks INDEXED BY blocks_apart
         WHERE event_block = ?1 AND apart = 1 AND connection = ?2 AND seq > ?3 AND seq <= ?4",
    )?
    .query_map(params![block.event_block, uuid(block.connection.uuid()), block.seq, until], |row| row.get(0))?
    .collect()
}

fn candidate(look: &mut Look<'_>, block: &Block, position: usize) -> Result<Candidate, StoreError> {
    let delivery = delivery_at(block.id, position);
    let damaged =
        || StoreError::Damaged { what: "delivery", id: delivery.to_string(), why: "it has no event".to_owned() };
    let (state, reason) = states::meaning(block.states[position]).ok_or_else(damaged)?;
    let has_run = state == DeliveryState::Delivered || reason == Some(FilterReason::Unsupported);
    let last = last_attempt(look.sql, delivery)?;
    Ok(Candidate {
        delivery,
        state,
        connection: block.connection,
        accepted_at: block.accepted_at,
        event: look.events(block.event_block)?.get(position).cloned().ok_or_else(damaged)?,
        version: last.as_ref().map(|last| last.version).or(block.version.filter(|_| has_run)),
        last: last.map(|last| last.outcome.code),
        next: Cursor { seq: block.seq, position: position + 1 },
    })
}

/// The destinations to which something that fits may be owed, and the last delivery block that there is.
fn scope(sql: &Connection, actor: &Actor, filter: &DeliveryFilter) -> Result<(Vec<DestinationId>, i64), StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let until = snapshot
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM delivery_blocks")?
        .query_row([], |row| row.get(0))?;
    let destinations = owed_to(&snapshot, actor, filter)?;
    Ok((destinations, until))
}

/// How many deliveries a replay may give back to a destination now.
fn room(
    sql: &Connection,
    lanes: &Lanes,
    destination: DestinationId,
    most: usize,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    if lanes.is_behind(destination) {
        return Ok(0);
    }
    // What is due and not settled, whoever gave it back: it is waiting, or under way.
    let due: i64 = sql
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM retries WHERE destination = ?1 AND due_at <= ?2 LIMIT ?3)",
        )?
        .query_row(params![uuid(destination.uuid()), ms(now), most as i64], |row| row.get(0))?;
    Ok(most.saturating_sub(usize::try_from(due).unwrap_or(most)))
}

/// What replays read.
impl Store {
    /// The destinations of the actor's workspace to which something that fits may be owed, and the last delivery block that there is:
    /// the [`Wanted::until`] of everything that was accepted so far.
    pub async fn replay_scope(
        &self,
        actor: &Actor,
        filter: &DeliveryFilter,
    ) -> Result<(Vec<DestinationId>, i64), StoreError> {
        let (actor, filter) = (actor.clone(), filter.clone());
        self.readers.read(move |sql| scope(sql, &actor, &filter)).await
    }

    /// One page of candidates.
    pub async fn replay_candidates(&self, wanted: Wanted) -> Result<Candidates, StoreError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.readers.read(move |sql| page(sql, &shared.cache, &wanted)).await
    }

    /// How many deliveries may be given back to a destination now, so that with those that are due already there are no more than
    /// `most`. None while the destination is off, or is behind with what is new.
    pub async fn replay_room(&self, destination: DestinationId, most: usize) -> Result<usize, StoreError> {
        let shared = std::sync::Arc::clone(&self.shared);
        self.delivering.read(move |sql| Ok(room(sql, &shared.lanes, destination, most, shared.clock.now())?)).await
    }

    /// A version of a function by its id, whoever's function it is; none if there is none.
    pub async fn version(&self, version: VersionId) -> Result<Option<FunctionVersion>, StoreError> {
        self.delivering.read(move |sql| Ok(super::functions::version(sql, version)?.map(|(_, version)| version))).await
    }
}
