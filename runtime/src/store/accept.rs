//! Step "accept": events and what they owe become durable, in one transaction with the de-duplication.
//!
//! The events of one commit from one source share an event block, and what one connection owes of them is one row.

use std::collections::{BTreeMap, HashMap};

use rusqlite::params;
use sha2::{Digest, Sha256};

use super::codec;
use super::ledger::Owner;
use super::numbers::Numbers;
use super::rows::{ms, uuid};
use super::sealing::Sealing;
use super::seen::Seen;
use super::settled;
use super::states;
use super::types::{Accepted, NewEvent, Owed, OwedState};
use super::work::{Accept, Commit, Events, Memory, Prepared, block_of, delivery_at};
use crate::model::{ConnectionId, DeliveryId, DestinationId, FilterReason, SourceId, WorkspaceId};

/// Bytes after which a block is full: a claim of one event may have to read this much.
const BLOCK_BYTES: usize = 1 << 20;
/// Events after which a block is full: the position has 16 bits in a delivery's id.
const BLOCK_EVENTS: usize = 1 << 16;

/// Encodes and hashes an event, outside the writer.
pub(super) fn prepare(event: NewEvent) -> Prepared {
    let mut hash = Sha256::new();
    hash.update(event.source.uuid().as_bytes());
    hash.update(event.event.message_id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Prepared { record: codec::record(&event.event), event, hash: half }
}

/// Events of one source on their way into one block.
struct Window {
    data: Vec<u8>,
    events: Vec<NewEvent>,
}

/// What one connection owes of a window.
struct Debt {
    destination: DestinationId,
    states: Vec<u8>,
}

/// Writes all batches of one commit.
pub(super) fn accept(commit: &mut Commit<'_>, batches: Vec<Accept>) -> rusqlite::Result<()> {
    if batches.is_empty() {
        return Ok(());
    }
    let mut seen = Seen::new(commit.now);
    let mut windows: BTreeMap<(WorkspaceId, SourceId), Window> = BTreeMap::new();
    for batch in batches {
        let mut result = Accepted::default();
        for (at, Prepared { event, record, hash }) in batch.events.into_iter().enumerate() {
            if !seen.is_new(commit.sql, &mut commit.memory.lately, &hash)? {
                result.repeated.push(at);
                continue;
            }
            result.accepted += 1;
            let key = (event.workspace, event.source);
            let window = windows.entry(key).or_insert_with(Window::new);
            window.data.extend_from_slice(&record);
            window.events.push(event);
            if window.data.len() >= BLOCK_BYTES || window.events.len() == BLOCK_EVENTS {
                write(commit, key, std::mem::replace(window, Window::new()))?;
            }
        }
        commit.answers.push(Box::new(move || {
            // Whoever stopped waiting does not want to know.
            let _ = batch.reply.send(result);
        }));
    }
    let Memory { lately, numbers, .. } = &mut *commit.memory;
    seen.write(commit.sql, lately, numbers)?;
    for (key, window) in windows {
        write(commit, key, window)?;
    }
    Ok(())
}

impl Window {
    fn new() -> Self {
        Self { data: codec::empty(), events: Vec::new() }
    }
}

fn write(
    commit: &mut Commit<'_>,
    (workspace, source): (WorkspaceId, SourceId),
    window: Window,
) -> rusqlite::Result<()> {
    if window.events.is_empty() {
        return Ok(());
    }
    let Window { data, events } = window;
    // Whose workspace was destroyed a moment ago wants nothing kept.
    let Some(sealed) = Sealing::seal(commit, workspace, source.uuid(), &data)? else { return Ok(()) };
    let block = commit.memory.numbers.event_block(commit.sql)?;
    commit
        .sql
        .prepare_cached(
            "INSERT INTO event_blocks (seq, workspace, source, accepted_at, count, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            block,
            uuid(workspace.uuid()),
            uuid(source.uuid()),
            ms(commit.now),
            events.len() as i64,
            sealed
        ])?;
    let mut ready = Vec::new();
    for (nth, (connection, debt)) in debts(commit.memory, &events).into_iter().enumerate() {
        let owner = Owner { workspace, source, connection, destination: debt.destination };
        if write_debt(commit, &owner, (block, nth), &debt.states)? {
            ready.push(debt.destination);
        }
    }
    let bytes = data.len();
    let events: Events = events.into_iter().map(|event| event.event).collect();
    commit.effects.push(Box::new(move |shared| {
        shared.cache.put(block, events, bytes);
        shared.lanes.arrived(ready);
    }));
    Ok(())
}

/// What each connection owes: a state byte for every event of the block.
fn debts(memory: &Memory, events: &[NewEvent]) -> HashMap<ConnectionId, Debt> {
    let mut debts = HashMap::new();
    for (position, event) in events.iter().enumerate() {
        for owed in &event.owed {
            let debt = debts.entry(owed.connection).or_insert_with(|| Debt {
                destination: owed.destination,
                states: vec![states::NOT_OWED; events.len()],
            });
            debt.states[position] = first_state(memory, owed);
        }
    }
    debts
}

/// The routes that ingest used may be a moment old: what is owed to something that was deleted since is filtered.
fn first_state(memory: &Memory, owed: &Owed) -> u8 {
    match owed.state {
        OwedState::Filtered(reason) => states::filtered(reason),
        OwedState::Pending if memory.connections.contains_key(&owed.connection) => states::FRESH,
        OwedState::Pending if memory.destinations.contains(&owed.destination) => {
            states::filtered(FilterReason::ConnectionDeleted)
        }
        OwedState::Pending => states::filtered(FilterReason::DestinationDeleted),
    }
}

/// Writes one delivery block; says whether something in it is to be delivered.
fn write_debt(
    commit: &mut Commit<'_>,
    owner: &Owner,
    (event_block, nth): (i64, usize),
    bytes: &[u8],
) -> rusqlite::Result<bool> {
    let fresh = bytes.iter().filter(|state| **state == states::FRESH).count() as i64;
    let owed = bytes.iter().filter(|state| **state != states::NOT_OWED).count() as i64;
    let (id, _) = block_of(DeliveryId::new(commit.now).uuid());
    let (seq, apart) = match Numbers::delivery_block(event_block, nth) {
        Some(seq) => (seq, false),
        None => (commit.memory.numbers.later_block(commit.sql)?, true),
    };
    commit
        .sql
        .prepare_cached(
            "INSERT INTO delivery_blocks
               (id, workspace, source, connection, destination, event_block, accepted_at, fresh, open, dead, states, seq, apart)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 0, ?9, ?10, ?11)",
        )?
        .execute(params![
            uuid(id),
            uuid(owner.workspace.uuid()),
            uuid(owner.source.uuid()),
            uuid(owner.connection.uuid()),
            uuid(owner.destination.uuid()),
            event_block,
            ms(commit.now),
            fresh,
            bytes,
            seq,
            apart,
        ])?;
    for (position, state) in bytes.iter().enumerate().filter(|(_, state)| **state != states::FRESH) {
        settled::say(commit, owner, delivery_at(id, position), *state);
    }
    let counts = commit.ledger.counts(owner);
    counts.accepted += owed;
    counts.pending += fresh;
    counts.filtered += owed - fresh;
    if owed > fresh {
        commit.ledger.ended(owner, commit.now, "filtered", owed - fresh, 0);
    }
    Ok(fresh > 0)
}
