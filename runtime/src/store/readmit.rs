//! Giving back: a dead delivery is owed again, and what was delivered is owed anew.
//!
//! Guarantees: the ledger holds. A dead delivery moves from `dead` to `pending` and keeps its id and its attempts. A delivered one stays
//! delivered; the event is accepted once more for the connection, as a delivery of its own, with an id of its own. Either
//! way the retry window begins anew. A step of a replay, its place and its counts are one transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::audit::{self, Owner::Workspace};
use super::control::not_found;
use super::error::StoreError;
use super::handle::Store;
use super::lanes::Cursor;
use super::ledger::Owner;
use super::replays;
use super::rows::{ms, uuid};
use super::settle::Block;
use super::states;
use super::work::{Commit, block_of, delivery_at};
use crate::model::{Actor, DeliveryId, DeliveryState, DestinationId, ReplayId, ReplayState, VersionId};

/// One step of a replay at one destination.
#[derive(Clone, PartialEq, Debug)]
pub struct ReplayStep {
    /// Where.
    pub destination: DestinationId,
    /// What is to become of the deliveries that were looked at.
    pub items: Vec<(DeliveryId, Readmission)>,
    /// Where the replay goes on; none at the end.
    pub next: Option<Cursor>,
}

/// What is to become of one delivery that a replay looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readmission {
    /// It is owed again.
    Owe {
        /// Where it stood when that was decided: what stands elsewhere by now is left alone.
        was: DeliveryState,
        /// What it runs, if not the destination's version.
        version: Option<VersionId>,
    },
    /// It stays as it is, for this reason.
    Skip(&'static str),
}

/// What a delivery that is gone by now was left for.
const CHANGED: &str = "changed_meanwhile";
const CONNECTION_DELETED: &str = "connection_deleted";

/// Under which conditions a delivery is given back.
struct Terms {
    replay: Option<i64>,
    version: Option<VersionId>,
}

/// Takes one step of a replay. Says whether the replay is to go on.
fn step(commit: &mut Commit<'_>, replay: ReplayId, steps: &[ReplayStep]) -> Result<bool, StoreError> {
    let running = serde_json::json!(ReplayState::Running).to_string();
    let found: Option<i64> = commit
        .sql
        .prepare_cached("SELECT no FROM replays WHERE id = ?1 AND state = ?2")?
        .query_row(params![uuid(replay.uuid()), running], |row| row.get(0))
        .optional()?;
    let Some(no) = found else { return Ok(false) };
    let mut blocks = HashMap::new();
    let mut skipped: HashMap<&'static str, i64> = HashMap::new();
    for ReplayStep { destination, items, next } in steps {
        let mut released: i64 = 0;
        for (delivery, readmission) in items {
            let reason = match readmission {
                Readmission::Skip(reason) => Some(*reason),
                Readmission::Owe { was, version } => {
                    owe(commit, &mut blocks, *delivery, *was, &Terms { replay: Some(no), version: *version })?
                }
            };
            match reason {
                Some(reason) => *skipped.entry(reason).or_default() += 1,
                None => released += 1,
            }
        }
        commit.ledger.replayed(no).released += released;
        go_on(commit, no, *destination, *next)?;
        let (destination, now) = (*destination, commit.now);
        if released > 0 {
            commit.effects.push(Box::new(move |shared| {
                shared.metrics.replayed(released.unsigned_abs());
                shared.lanes.will_be_due(destination, now);
            }));
        }
    }
    for block in blocks.into_values() {
        block.write(commit.sql)?;
    }
    for (reason, count) in skipped {
        let insert = "INSERT INTO replay_skipped VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3";
        commit.sql.prepare_cached(insert)?.execute(params![no, reason, count])?;
    }
    let unfinished =
        commit.sql.prepare_cached("SELECT 1 FROM replay_parts WHERE replay = ?1 AND done = 0")?.exists([no])?;
    if !unfinished {
        replays::set_state(commit, no, ReplayState::Done)?;
    }
    Ok(unfinished)
}

fn go_on(commit: &Commit<'_>, no: i64, destination: DestinationId, next: Option<Cursor>) -> rusqlite::Result<()> {
    let at = next.unwrap_or_default();
    commit
        .sql
        .prepare_cached(
            "UPDATE replay_parts SET seq = ?3, position = ?4, done = ?5 WHERE replay = ?1 AND destination = ?2",
        )?
        .execute(params![no, uuid(destination.uuid()), at.seq, at.position as i64, next.is_none()])?;
    Ok(())
}

/// Owes a delivery again, or says why not.
fn owe(
    commit: &mut Commit<'_>,
    blocks: &mut HashMap<Uuid, Block>,
    delivery: DeliveryId,
    was: DeliveryState,
    terms: &Terms,
) -> rusqlite::Result<Option<&'static str>> {
    let (id, position) = block_of(delivery.uuid());
    let block = match blocks.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(free) => match Block::read(commit.sql, id)? {
            Some(block) => free.insert(block),
            None => return Ok(Some(CHANGED)),
        },
    };
    if !commit.memory.connections.contains_key(&block.owner.connection) {
        return Ok(Some(CONNECTION_DELETED));
    }
    match (block.states.get(position), was) {
        (Some(&states::DEAD), DeliveryState::Dead) => {
            revive(commit, block, position, terms)?;
            Ok(None)
        }
        (Some(&states::DELIVERED), DeliveryState::Delivered) => owe_anew(commit, blocks, id, position, terms),
        _ => Ok(Some(CHANGED)),
    }
}

/// A dead delivery is pending again, due at once, with its attempts kept.
fn revive(commit: &mut Commit<'_>, block: &mut Block, position: usize, terms: &Terms) -> rusqlite::Result<()> {
    let delivery = delivery_at(block.id, position);
    let attempts = commit
        .sql
        .prepare_cached("DELETE FROM dead WHERE delivery = ?1 RETURNING attempts")?
        .query_row([uuid(delivery.uuid())], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    block.set(commit, position, states::RETRY);
    due_now(commit, &block.owner, delivery, attempts, terms)
}

/// The event of a delivery is owed once more, in the block that the replay has for its events, which is made if there is none.
fn owe_anew(
    commit: &mut Commit<'_>,
    blocks: &mut HashMap<Uuid, Block>,
    of: Uuid,
    position: usize,
    terms: &Terms,
) -> rusqlite::Result<Option<&'static str>> {
    let Some(from) = blocks.get(&of) else { return Ok(Some(CHANGED)) };
    let (owner, event_block, events) = (from.owner, from.event_block, from.states.len());
    let known = blocks.values().find(|block| {
        block.replay == terms.replay && block.event_block == event_block && block.owner.connection == owner.connection
    });
    let id = match known.map(|block| block.id) {
        Some(id) => id,
        None => {
            let block = match find_anew(commit, &owner, event_block, terms)? {
                Some(block) => block,
                None => Block::create(commit, &owner, event_block, events, terms.replay)?,
            };
            let id = block.id;
            blocks.insert(id, block);
            id
        }
    };
    let Some(block) = blocks.get_mut(&id) else { return Ok(Some(CHANGED)) };
    if block.states.get(position) != Some(&states::NOT_OWED) {
        return Ok(Some(CHANGED));
    }
    block.set(commit, position, states::RETRY);
    commit.ledger.counts(&owner).accepted += 1;
    due_now(commit, &owner, delivery_at(id, position), 0, terms)?;
    Ok(None)
}

/// The block in which a replay owes events of this block anew to this connection.
fn find_anew(commit: &Commit<'_>, owner: &Owner, event_block: i64, terms: &Terms) -> rusqlite::Result<Option<Block>> {
    let found = commit
        .sql
        .prepare_cached(
            "SELECT id FROM delivery_blocks INDEXED BY blocks_apart
             WHERE event_block = ?1 AND apart = 1 AND connection = ?2 AND replay = ?3",
        )?
        .query_row(params![event_block, uuid(owner.connection.uuid()), terms.replay], |row| row.get(0))
        .optional()?;
    match found {
        Some(id) => Block::read(commit.sql, Uuid::from_bytes(id)),
        None => Ok(None),
    }
}

fn due_now(
    commit: &Commit<'_>,
    owner: &Owner,
    delivery: DeliveryId,
    attempts: u32,
    terms: &Terms,
) -> rusqlite::Result<()> {
    commit
        .sql
        .prepare_cached(
            "INSERT INTO retries (delivery, workspace, destination, attempts, due_at, since, version, replay)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)",
        )?
        .execute(params![
            uuid(delivery.uuid()),
            uuid(owner.workspace.uuid()),
            uuid(owner.destination.uuid()),
            attempts,
            ms(commit.now),
            terms.version.map(|version| uuid(version.uuid())),
            terms.replay,
        ])?;
    Ok(())
}

/// A person wants one dead delivery to be tried again: at once, with its attempts kept.
pub(super) fn retry(commit: &mut Commit<'_>, actor: &Actor, delivery: DeliveryId) -> Result<(), StoreError> {
    let (id, position) = block_of(delivery.uuid());
    let mut block = Block::read(commit.sql, id)?
        .filter(|block| block.owner.workspace == actor.workspace && actor.reaches(block.owner.destination))
        .ok_or_else(|| not_found("delivery", delivery))?;
    let not_now =
        |why: &str| StoreError::NotNow { what: "retry delivery", id: delivery.to_string(), why: why.to_owned() };
    let state = block.states.get(position).and_then(|state| states::meaning(*state));
    match state.ok_or_else(|| not_found("delivery", delivery))?.0 {
        DeliveryState::Dead => {}
        DeliveryState::Delivered => {
            return Err(not_now("it is delivered; `replay create --state delivered` sends it once more"));
        }
        DeliveryState::Pending => return Err(not_now("it is pending, and is tried again by itself")),
        DeliveryState::Filtered => return Err(not_now("it is filtered; only dead deliveries are retried by hand")),
    }
    if !commit.memory.connections.contains_key(&block.owner.connection) {
        return Err(not_now("its connection was deleted"));
    }
    revive(commit, &mut block, position, &Terms { replay: None, version: None })?;
    block.write(commit.sql)?;
    let (before, after) = (DeliveryState::Dead.as_str(), DeliveryState::Pending.as_str());
    let workspace = Workspace(block.owner.workspace);
    audit::write(commit, actor, workspace, "delivery.retry", delivery, Some(&before), Some(&after))?;
    let (destination, now) = (block.owner.destination, commit.now);
    commit.effects.push(Box::new(move |shared| shared.lanes.will_be_due(destination, now)));
    Ok(())
}

/// What replays write.
impl Store {
    /// Takes one step of a replay, at one or more destinations: gives back, or leaves, what it looked at, and remembers where it goes on, all in one
    /// commit. Says whether the replay is to go on; if it was paused or cancelled meanwhile, nothing of the step has happened.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failed commit.
    pub async fn replay_step(&self, replay: ReplayId, steps: Vec<ReplayStep>) -> Result<bool, StoreError> {
        self.step(move |commit| step(commit, replay, &steps)).await
    }
}
