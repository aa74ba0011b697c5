//! Step "settle": what became of claimed deliveries, fenced by the lease, in one transaction with the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::attempts::{NewAttempt, Record};
use super::error::StoreError;
use super::lanes::{After, Claim};
use super::ledger::Owner;
use super::rows::{id, ms, optional, uuid};
use super::sealing::Sealing;
use super::settled;
use super::states;
use super::types::{Failure, Settle, Settled, Settlement};
use super::work::{Commit, Settlements, block_of, delivery_at};
use crate::model::{
    ConnectionId, DeliveryId, DestinationId, FilterReason, OrderKey, OutcomeCode, SourceId, Timestamp, VersionId,
    WorkspaceId,
};

/// Attempts that are kept of first successes, for each connection and minute: enough to see what a partner answers.
const SAMPLE: u32 = 5;

/// When a delivery is due that is held until another one is over: never by itself.
pub(super) const HELD: i64 = i64::MAX;

/// A delivery block while a commit changes it.
pub(super) struct Block {
    pub id: Uuid,
    seq: i64,
    pub owner: Owner,
    pub event_block: i64,
    pub states: Vec<u8>,
    /// The replay that owes this anew, if one does.
    pub replay: Option<i64>,
    /// What ran at its successes that have no record of their own.
    version: Option<VersionId>,
    changed: bool,
}

impl Block {
    /// Reads a block; `None` if there is none.
    pub fn read(sql: &Connection, block: Uuid) -> rusqlite::Result<Option<Self>> {
        sql.prepare_cached(
            "SELECT seq, workspace, source, connection, destination, event_block, states, replay, version
             FROM delivery_blocks WHERE id = ?1",
        )?
        .query_row([uuid(block)], |row| {
            Ok(Self {
                id: block,
                seq: row.get(0)?,
                owner: Owner {
                    workspace: id(row, 1, WorkspaceId::from_uuid)?,
                    source: id(row, 2, SourceId::from_uuid)?,
                    connection: id(row, 3, ConnectionId::from_uuid)?,
                    destination: id(row, 4, DestinationId::from_uuid)?,
                },
                event_block: row.get(5)?,
                states: row.get(6)?,
                replay: row.get(7)?,
                version: optional(row, 8, VersionId::from_uuid)?,
                changed: false,
            })
        })
        .optional()
    }

    /// Makes a block in which a replay owes some of an event block's events anew; none of them yet.
    pub fn create(
        commit: &mut Commit<'_>,
        owner: &Owner,
        event_block: i64,
        events: usize,
        replay: Option<i64>,
    ) -> rusqlite::Result<Self> {
        let (id, _) = block_of(DeliveryId::new(commit.now).uuid());
        let states = vec![states::NOT_OWED; events];
        let seq = commit.memory.numbers.later_block(commit.sql)?;
        commit
            .sql
            .prepare_cached(
                "INSERT INTO delivery_blocks (id, workspace, source, connection, destination, event_block, accepted_at,
                   fresh, open, dead, states, replay, seq, apart)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, ?8, ?9, ?10, 1)",
            )?
            .execute(params![
                uuid(id),
                uuid(owner.workspace.uuid()),
                uuid(owner.source.uuid()),
                uuid(owner.connection.uuid()),
                uuid(owner.destination.uuid()),
                event_block,
                ms(commit.now),
                states,
                replay,
                seq,
            ])?;
        Ok(Self { id, seq, owner: *owner, event_block, states, replay, version: None, changed: false })
    }

    /// Moves one delivery to another state, in the block and in the ledger, and says so in the log.
    pub fn set(&mut self, commit: &mut Commit<'_>, position: usize, to: u8) {
        let Some(state) = self.states.get_mut(position) else { return };
        commit.ledger.moved(&self.owner, *state, to);
        settled::say(commit, &self.owner, delivery_at(self.id, position), to);
        self.changed |= *state != to;
        *state = to;
    }

    /// Writes the block if it was changed.
    pub fn write(&self, sql: &Connection) -> rusqlite::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let number = |wanted: fn(u8) -> bool| self.states.iter().filter(|state| wanted(**state)).count() as i64;
        sql.prepare_cached(
            "UPDATE delivery_blocks SET fresh = ?2, open = ?3, dead = ?4, states = ?5, version = ?6 WHERE seq = ?1",
        )?
        .execute(params![
            self.seq,
            number(|state| state == states::FRESH),
            number(states::is_open),
            number(|state| state == states::DEAD),
            self.states,
            self.version.map(|version| uuid(version.uuid())),
        ])?;
        Ok(())
    }
}

/// Writes the settlements of one commit, until it is time to leave off, but one at least; every block that they touch is written once.
/// Gives back what is left.
pub(super) fn settle(
    commit: &mut Commit<'_>,
    all: Vec<Settlements>,
    is_time: impl Fn() -> bool,
) -> Result<Vec<Settlements>, StoreError> {
    if all.is_empty() {
        return Ok(all);
    }
    let mut blocks = HashMap::new();
    let mut ended = Vec::new();
    let mut so = Vec::new();
    let mut left = Vec::new();
    for mut settlements in all {
        let items = Arc::clone(&settlements.items);
        for item in &items[settlements.done.len()..] {
            if !so.is_empty() && is_time() {
                break;
            }
            let settled = settle_one(commit, &mut blocks, &mut ended, item)?;
            so.push(if settled == Settled::Done { item.settle.as_str() } else { "lease_lost" });
            settlements.done.push(settled);
        }
        if settlements.done.len() < items.len() {
            left.push(settlements);
            continue;
        }
        let Settlements { done, reply, .. } = settlements;
        commit.answers.push(Box::new(move || drop(reply.send(done))));
    }
    for block in blocks.values() {
        block.write(commit.sql)?;
    }
    commit.effects.push(Box::new(move |shared| {
        so.iter().for_each(|so| shared.metrics.settled(so));
        shared.lanes.settled(ended);
    }));
    Ok(left)
}

fn settle_one(
    commit: &mut Commit<'_>,
    blocks: &mut HashMap<Uuid, Block>,
    ended: &mut Vec<(DeliveryId, After)>,
    item: &Settlement,
) -> Result<Settled, StoreError> {
    let Some(claim) = commit.shared.lanes.begin_settle(item.delivery, item.lease) else {
        return Ok(Settled::LeaseLost);
    };
    let (id, position) = block_of(item.delivery.uuid());
    let block = match blocks.entry(id) {
        std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::hash_map::Entry::Vacant(free) => match Block::read(commit.sql, id)? {
            Some(block) => free.insert(block),
            None => {
                // It was filtered and forgotten meanwhile, as with everything of its workspace. Nobody else has to stop for that.
                tracing::warn!(delivery = %item.delivery, "what was attempted is not stored any more");
                ended.push((item.delivery, After::Closed));
                return Ok(Settled::LeaseLost);
            }
        },
    };
    let delivery = item.delivery;
    let from = *block.states.get(position).ok_or_else(|| missing(delivery))?;
    let after = if states::is_open(from) { apply(commit, block, position, from, &claim, item)? } else { None };
    ended.push((delivery, after.unwrap_or(After::Closed)));
    Ok(if after.is_some() { Settled::Done } else { Settled::LeaseLost })
}

fn missing(delivery: DeliveryId) -> StoreError {
    StoreError::Damaged {
        what: "delivery",
        id: delivery.to_string(),
        why: "it was claimed, and its block has no such position".to_owned(),
    }
}

fn apply(
    commit: &mut Commit<'_>,
    block: &mut Block,
    position: usize,
    from: u8,
    claim: &Claim,
    item: &Settlement,
) -> rusqlite::Result<Option<After>> {
    let owner = block.owner;
    if let Some(attempt) = &item.attempt {
        record_attempt(commit, block, item.delivery, attempt)?;
    }
    let (to, after) = match item.settle {
        Settle::Delivered => (states::DELIVERED, After::Closed),
        Settle::Filtered(reason) => {
            if item.attempt.is_none() {
                commit.ledger.ended(&owner, commit.now, "filtered", 1, 0);
            }
            (states::filtered(reason), After::Closed)
        }
        Settle::Dead => (states::DEAD, After::Closed),
        Settle::RetryAt(due) => (states::RETRY, After::Retry(due)),
        Settle::Release => return Ok(Some(After::Released)),
        Settle::Hold => (states::RETRY, hold(commit, &owner, claim, item)?),
    };
    block.set(commit, position, to);
    match item.settle {
        Settle::RetryAt(due) => {
            put_retry(commit.sql, &owner, item.delivery, claim.attempt, (commit.now, due), item.key)?
        }
        Settle::Hold | Settle::Release => {}
        Settle::Delivered | Settle::Filtered(_) | Settle::Dead if from == states::RETRY => {
            let key = drop_retry(commit, item.delivery, to)?;
            key.map_or(Ok(()), |key| let_next_go(commit, owner.destination, key))?;
        }
        Settle::Delivered | Settle::Filtered(_) | Settle::Dead => {}
    }
    if item.settle == Settle::Dead {
        put_dead(commit, &owner, claim, item)?;
    }
    Ok(Some(after))
}

/// Writes down when a delivery is tried again.
fn put_retry(
    sql: &Connection,
    owner: &Owner,
    delivery: DeliveryId,
    attempts: u32,
    (now, due): (Timestamp, Timestamp),
    key: Option<OrderKey>,
) -> rusqlite::Result<()> {
    // Its window begins with the first attempt; where others wait behind it, it began with its acceptance.
    put_row(sql, owner, delivery, attempts, ms(due), key.is_none().then_some(ms(now)), key)
}

fn put_row(
    sql: &Connection,
    owner: &Owner,
    delivery: DeliveryId,
    attempts: u32,
    due: i64,
    since: Option<i64>,
    key: Option<OrderKey>,
) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "INSERT INTO retries (delivery, workspace, destination, attempts, due_at, order_key, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET attempts = ?4, due_at = ?5, order_key = ?6, since = coalesce(since, ?7)",
    )?
    .execute(params![
        uuid(delivery.uuid()),
        uuid(owner.workspace.uuid()),
        uuid(owner.destination.uuid()),
        attempts,
        due,
        key.map(|key| key.0.cast_signed()),
        since,
    ])?;
    Ok(())
}

/// A delivery that was tried before is owed no more: it is in this state now. The replay that gave it back counts that. Gives
/// its key, if it had one.
fn drop_retry(commit: &mut Commit<'_>, delivery: DeliveryId, to: u8) -> rusqlite::Result<Option<OrderKey>> {
    let dropped: Option<(Option<i64>, Option<i64>)> = commit
        .sql
        .prepare_cached("DELETE FROM retries WHERE delivery = ?1 RETURNING replay, order_key")?
        .query_row([uuid(delivery.uuid())], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (replay, key) = dropped.unwrap_or_default();
    if let Some(replay) = replay {
        commit.ledger.replayed(replay).ended(to);
    }
    Ok(key.map(|key| OrderKey(key.cast_unsigned())))
}

/// Keeps a delivery until those of its key that were accepted before it are over. Whether there are any is asked here, in the
/// writer, where nothing can come in between: whoever is over before has nobody to let go.
fn hold(commit: &Commit<'_>, owner: &Owner, claim: &Claim, item: &Settlement) -> rusqlite::Result<After> {
    let first = match item.key {
        None => true,
        Some(key) => !commit
            .sql
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM retries INDEXED BY retries_by_order
                 WHERE destination = ?1 AND order_key = ?2 AND delivery < ?3)",
            )?
            .query_row(
                params![uuid(owner.destination.uuid()), key.0.cast_signed(), uuid(item.delivery.uuid())],
                |row| row.get::<_, bool>(0),
            )?,
    };
    let due = if first { ms(commit.now) } else { HELD };
    put_row(commit.sql, owner, item.delivery, claim.attempt - 1, due, None, item.key)?;
    Ok(if first { After::Retry(commit.now) } else { After::Closed })
}

/// One delivery of a key is over: the next one that is held is due now.
fn let_next_go(commit: &mut Commit<'_>, destination: DestinationId, key: OrderKey) -> rusqlite::Result<()> {
    let now = commit.now;
    let changed = commit
        .sql
        .prepare_cached(
            "UPDATE retries SET due_at = ?3 WHERE due_at = ?4 AND delivery =
               (SELECT min(delivery) FROM retries INDEXED BY retries_by_order WHERE destination = ?1 AND order_key = ?2)",
        )?
        .execute(params![uuid(destination.uuid()), key.0.cast_signed(), ms(now), HELD])?;
    if changed > 0 {
        commit.effects.push(Box::new(move |shared| shared.lanes.will_be_due(destination, now)));
    }
    Ok(())
}

fn put_dead(commit: &Commit<'_>, owner: &Owner, claim: &Claim, item: &Settlement) -> rusqlite::Result<()> {
    const GIVEN_UP: &str =
        "given up without a further attempt: its destination failed for the whole of its retry window";
    let cause = match (&item.attempt, &item.instead) {
        (Some(NewAttempt { outcome, .. }), _) => format!("{}: {}", outcome.code.as_str(), outcome.message),
        (None, Some(last)) => {
            let Failure { delivery, code, message } = &**last;
            format!("{}: {GIVEN_UP}, the last time at {delivery}: {message}", code.as_str())
        }
        (None, None) => GIVEN_UP.to_owned(),
    };
    // Where the workspace is gone there is nobody to read it.
    let sealed = Sealing::seal(commit, owner.workspace, item.delivery.uuid(), cause.as_bytes())?;
    let made = if item.attempt.is_some() { claim.attempt } else { claim.attempt - 1 };
    commit
        .sql
        .prepare_cached(
            "INSERT INTO dead (delivery, workspace, destination, attempts, at, cause, sealed_cause, outcome)
               VALUES (?1, ?2, ?3, ?4, ?5, '', ?6, ?7)
             ON CONFLICT DO UPDATE SET attempts = ?4, at = ?5, cause = '', sealed_cause = ?6, outcome = ?7",
        )?
        .execute(params![
            uuid(item.delivery.uuid()),
            uuid(owner.workspace.uuid()),
            uuid(owner.destination.uuid()),
            made,
            ms(commit.now),
            sealed,
            item.instead.as_ref().map(|last| last.code.as_str()),
        ])?;
    Ok(())
}

/// Counts an attempt, and keeps its record if it failed, was not the first, falls into the sample, or ran another version
/// than the block's other successes: so of every attempt it is known what ran.
fn record_attempt(
    commit: &mut Commit<'_>,
    block: &mut Block,
    delivery: DeliveryId,
    attempt: &NewAttempt,
) -> rusqlite::Result<()> {
    let owner = block.owner;
    let outcome = &attempt.outcome;
    commit.ledger.ended(&owner, attempt.started_at, outcome.code.as_str(), 1, attempt.wall_ms);
    let fine = matches!(outcome.code, OutcomeCode::Delivered | OutcomeCode::UnsupportedEventType);
    if fine && attempt.number == 1 {
        let known = *block.version.get_or_insert(attempt.version) == attempt.version;
        if known && (attempt.record.is_none() || !in_sample(commit, owner.connection)) {
            return Ok(());
        }
    }
    let brief;
    let record = match &attempt.record {
        Some(record) => record,
        None => {
            brief = Record::brief(attempt);
            &brief
        }
    };
    let Some([outcome, report]) = record.sealed(commit, owner.workspace, delivery)? else { return Ok(()) };
    let no = commit.memory.numbers.attempt(commit.sql)?;
    commit
        .sql
        .prepare_cached(
            "INSERT INTO attempts
               (delivery, workspace, number, started_at, wall_ms, version, outcome, report, sealed_outcome, sealed_report, no)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', '', ?7, ?8, ?9)",
        )?
        .execute(params![
            uuid(delivery.uuid()),
            uuid(owner.workspace.uuid()),
            attempt.number,
            ms(attempt.started_at),
            i64::try_from(attempt.wall_ms).unwrap_or(i64::MAX),
            uuid(attempt.version.uuid()),
            outcome,
            report,
            no,
        ])?;
    Ok(())
}

fn in_sample(commit: &mut Commit<'_>, connection: ConnectionId) -> bool {
    let minute = commit.now.as_millis() / 60_000;
    let (sampled, kept) = commit.memory.samples.entry(connection).or_insert((minute, 0));
    if *sampled != minute {
        (*sampled, *kept) = (minute, 0);
    }
    *kept += 1;
    *kept <= SAMPLE
}

/// Everything that is still owed through a connection is filtered: it, or its destination, is being deleted.
pub(super) fn filter_open(
    commit: &mut Commit<'_>,
    connection: ConnectionId,
    reason: FilterReason,
) -> rusqlite::Result<()> {
    let Some(destination) = commit.memory.connections.get(&connection).copied() else { return Ok(()) };
    let sql = commit.sql;
    let mut blocks = Vec::new();
    let mut find = sql.prepare_cached(
        "SELECT id FROM delivery_blocks INDEXED BY blocks_owed WHERE destination = ?1 AND connection = ?2 AND open > 0",
    )?;
    let mut rows = find.query([uuid(destination.uuid()), uuid(connection.uuid())])?;
    while let Some(row) = rows.next()? {
        blocks.push(Uuid::from_bytes(row.get(0)?));
    }
    for block in blocks {
        let Some(mut block) = Block::read(sql, block)? else { continue };
        let mut filtered = 0;
        for position in 0..block.states.len() {
            let (state, to) = (block.states[position], states::filtered(reason));
            if state == states::RETRY {
                drop_retry(commit, delivery_at(block.id, position), to)?;
            }
            if states::is_open(state) {
                block.set(commit, position, to);
                filtered += 1;
            }
        }
        commit.ledger.ended(&block.owner, commit.now, "filtered", filtered, 0);
        block.write(sql)?;
    }
    Ok(())
}
