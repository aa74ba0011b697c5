//! Replays: jobs that give deliveries back, as rows. What they give back, and when, is decided elsewhere.
//!
//! Guarantees: a replay's place and what it did are in the same transaction as what it gave back, so that after any
//! crash it goes on where it stood and gives back nothing twice; `released = delivered + filtered + dead + pending` for
//! each of them, as in the ledger.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::audit::{self, Owner::Workspace};
use super::control::not_found;
use super::error::StoreError;
use super::handle::Store;
use super::lanes::Cursor;
use super::rows::{count, id, json, ms, time, uuid};
use super::select::DeliveryFilter;
use super::states;
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{Actor, DeliveryState, DestinationId, ReplayId, ReplayState, ReplayVersion, Timestamp, WorkspaceId};

/// Replays of one workspace that may be unfinished at the same time: each holds a place in every destination it is for.
const UNFINISHED: i64 = 16;

/// One replay.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Where it stands.
    pub state: ReplayState,
    /// What it is for.
    pub filter: DeliveryFilter,
    /// What its deliveries run.
    pub version: ReplayVersion,
    /// How many deliveries it gives back in a second, at most.
    pub events_per_s: u32,
    /// How many deliveries fitted when it was made.
    pub matching: u64,
    /// How many it gave back.
    pub released: u64,
    /// How many of these the partner has now.
    pub delivered: u64,
    /// How many of these are filtered now.
    pub filtered: u64,
    /// How many of these were given up again.
    pub dead: u64,
    /// What it left as it was, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was done or cancelled.
    pub ended_at: Option<Timestamp>,
}

impl Replay {
    /// How many of those that it gave back are still owed.
    pub fn pending(&self) -> u64 {
        self.released.saturating_sub(self.delivered + self.filtered + self.dead)
    }
}

/// A replay to be made.
#[derive(Clone, PartialEq, Debug)]
pub struct NewReplay {
    /// What it is for.
    pub filter: DeliveryFilter,
    /// What its deliveries run.
    pub version: ReplayVersion,
    /// How many deliveries it gives back in a second, at most.
    pub events_per_s: u32,
    /// The last delivery block that it looks at.
    pub until: i64,
    /// How many deliveries fit.
    pub matching: u64,
    /// Where they are owed.
    pub destinations: Vec<DestinationId>,
}

/// A replay that is to go on, with where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct RunningReplay {
    /// Its id.
    pub id: ReplayId,
    /// What it is for.
    pub filter: DeliveryFilter,
    /// What its deliveries run.
    pub version: ReplayVersion,
    /// How many deliveries it gives back in a second, at most.
    pub events_per_s: u32,
    /// The last delivery block that it looks at.
    pub until: i64,
    /// Destinations where it is not at the end, and where it goes on.
    pub parts: Vec<(DestinationId, Cursor)>,
}

/// What a commit adds to one replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Progress {
    pub released: i64,
    pub delivered: i64,
    pub filtered: i64,
    pub dead: i64,
}

impl Progress {
    /// One delivery that was given back is in this state now.
    pub fn ended(&mut self, state: u8) {
        match states::meaning(state) {
            Some((DeliveryState::Delivered, _)) => self.delivered += 1,
            Some((DeliveryState::Filtered, _)) => self.filtered += 1,
            Some((DeliveryState::Dead, _)) => self.dead += 1,
            Some((DeliveryState::Pending, _)) | None => {}
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.released += other.released;
        self.delivered += other.delivered;
        self.filtered += other.filtered;
        self.dead += other.dead;
    }

    /// Adds this to a replay. One that is gone needs it no more.
    pub fn write(&self, sql: &Connection, no: i64) -> rusqlite::Result<()> {
        sql.prepare_cached(
            "UPDATE replays SET released = released + ?2, delivered = delivered + ?3, filtered = filtered + ?4,
               dead = dead + ?5 WHERE no = ?1",
        )?
        .execute([no, self.released, self.delivered, self.filtered, self.dead])?;
        Ok(())
    }
}

const COLUMNS: &str =
    "no, id, workspace, state, filter, version, events_per_s, matching, released, delivered, filtered,
   dead, created_at, ended_at";

fn from(row: &Row<'_>) -> rusqlite::Result<(i64, Replay)> {
    let number = |column| row.get(column).map(count);
    let replay = Replay {
        id: id(row, 1, ReplayId::from_uuid)?,
        workspace: id(row, 2, WorkspaceId::from_uuid)?,
        state: json(row, 3)?,
        filter: json(row, 4)?,
        version: json(row, 5)?,
        events_per_s: row.get(6)?,
        matching: number(7)?,
        released: number(8)?,
        delivered: number(9)?,
        filtered: number(10)?,
        dead: number(11)?,
        skipped: BTreeMap::new(),
        created_at: time(row, 12)?,
        ended_at: row.get::<_, Option<i64>>(13)?.map(|ms| Timestamp::from_millis(count(ms))),
    };
    Ok((row.get(0)?, replay))
}

fn skipped(sql: &Connection, no: i64) -> rusqlite::Result<BTreeMap<String, u64>> {
    sql.prepare_cached("SELECT reason, count FROM replay_skipped WHERE replay = ?1")?
        .query_map([no], |row| Ok((row.get(0)?, count(row.get(1)?))))?
        .collect()
}

/// The id of the replay with this number, unless it is forgotten.
pub(super) fn id_of(sql: &Connection, no: i64) -> rusqlite::Result<Option<ReplayId>> {
    sql.prepare_cached("SELECT id FROM replays WHERE no = ?1")?
        .query_row([no], |row| id(row, 0, ReplayId::from_uuid))
        .optional()
}

fn get(sql: &Connection, actor: &Actor, replay: ReplayId) -> Result<(i64, Replay), StoreError> {
    let (no, mut found) = sql
        .prepare_cached(&format!("SELECT {COLUMNS} FROM replays WHERE workspace = ?1 AND id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(replay.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("replay", replay))?;
    found.skipped = skipped(sql, no)?;
    Ok((no, found))
}

fn list(sql: &Connection, actor: &Actor, state: Option<ReplayState>, page: &Page) -> Result<Paged<Replay>, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let bad = |text: &String| StoreError::BadCursor(text.clone());
    let below = page.after.as_ref().map(|text| text.parse::<i64>().map_err(|_| bad(text))).transpose()?;
    let mut find = snapshot.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays WHERE workspace = ?1 AND no < ?2 AND (?3 IS NULL OR state = ?3)
         ORDER BY no DESC LIMIT ?4"
    ))?;
    let state = state.map(|state| serde_json::json!(state).to_string());
    let rows = params![uuid(actor.workspace.uuid()), below.unwrap_or(i64::MAX), state, page.rows() as i64 + 1];
    let mut found = find.query_map(rows, from)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let more = found.len() > page.rows();
    found.truncate(page.rows());
    let next = found.last().filter(|_| more).map(|(no, _)| no.to_string());
    for (no, replay) in &mut found {
        replay.skipped = skipped(&snapshot, *no)?;
    }
    Ok(Paged { items: found.into_iter().map(|(_, replay)| replay).collect(), next })
}

fn create(commit: &mut Commit<'_>, actor: &Actor, new: &NewReplay) -> Result<Replay, StoreError> {
    let replay = ReplayId::new(commit.now);
    let workspace = uuid(actor.workspace.uuid());
    let unfinished: i64 = commit
        .sql
        .prepare_cached("SELECT count(*) FROM replays WHERE workspace = ?1 AND ended_at IS NULL")?
        .query_row([workspace], |row| row.get(0))?;
    if unfinished >= UNFINISHED {
        let why = format!("there are {unfinished} unfinished ones, the most there may be; cancel one, or wait for it");
        return Err(StoreError::NotNow { what: "make replay", id: replay.to_string(), why });
    }
    let done = new.destinations.is_empty();
    let state = if done { ReplayState::Done } else { ReplayState::Running };
    commit
        .sql
        .prepare_cached(
            "INSERT INTO replays (id, workspace, state, filter, version, events_per_s, until, matching, created_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            uuid(replay.uuid()),
            workspace,
            serde_json::json!(state).to_string(),
            serde_json::json!(new.filter).to_string(),
            serde_json::json!(new.version).to_string(),
            new.events_per_s,
            new.until,
            i64::try_from(new.matching).unwrap_or(i64::MAX),
            ms(commit.now),
            done.then(|| ms(commit.now)),
        ])?;
    let no = commit.sql.last_insert_rowid();
    for destination in &new.destinations {
        commit
            .sql
            .prepare_cached("INSERT INTO replay_parts VALUES (?1, ?2, 0, 0, 0)")?
            .execute(params![no, uuid(destination.uuid())])?;
    }
    changed(commit);
    let made = get(commit.sql, actor, replay)?.1;
    audit::write(commit, actor, Workspace(made.workspace), "replay.create", replay, None, Some(&made))?;
    Ok(made)
}

/// Whoever runs replays looks anew once this is committed.
fn changed(commit: &mut Commit<'_>) {
    commit.effects.push(Box::new(|shared| shared.replays_changed.notify_one()));
}

/// Brings a replay into another state, if it can be left for that.
fn change(commit: &mut Commit<'_>, actor: &Actor, replay: ReplayId, to: ReplayState) -> Result<Replay, StoreError> {
    let (no, found) = get(commit.sql, actor, replay)?;
    if found.state == to {
        return Ok(found);
    }
    let (what, action) = match to {
        ReplayState::Running => ("resume replay", "replay.resume"),
        ReplayState::Paused => ("pause replay", "replay.pause"),
        ReplayState::Cancelled | ReplayState::Done => ("cancel replay", "replay.cancel"),
    };
    if found.ended_at.is_some() {
        let why = format!("it is {}; make a new one", found.state.as_str());
        return Err(StoreError::NotNow { what, id: replay.to_string(), why });
    }
    set_state(commit, no, to)?;
    changed(commit);
    let now = get(commit.sql, actor, replay)?.1;
    audit::write(commit, actor, Workspace(now.workspace), action, replay, Some(&found), Some(&now))?;
    Ok(now)
}

/// Writes down where a replay stands.
pub(super) fn set_state(commit: &mut Commit<'_>, no: i64, to: ReplayState) -> rusqlite::Result<()> {
    let ended = matches!(to, ReplayState::Cancelled | ReplayState::Done).then(|| ms(commit.now));
    commit.sql.prepare_cached("UPDATE replays SET state = ?2, ended_at = ?3 WHERE no = ?1")?.execute(params![
        no,
        serde_json::json!(to).to_string(),
        ended
    ])?;
    Ok(())
}

/// How many replays are running, whoever's they are.
pub(super) fn count_running(sql: &Connection) -> Result<u64, StoreError> {
    let running = serde_json::json!(ReplayState::Running).to_string();
    let number = sql
        .prepare_cached("SELECT count(*) FROM replays WHERE ended_at IS NULL AND state = ?1")?
        .query_row([running], |row| row.get(0))?;
    Ok(count(number))
}

/// Replays that are to go on, whoever's they are.
fn running(sql: &Connection) -> Result<Vec<RunningReplay>, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let mut find = snapshot.prepare_cached(
        "SELECT no, id, filter, version, events_per_s, until FROM replays WHERE ended_at IS NULL AND state = ?1",
    )?;
    let found = find.query_map([serde_json::json!(ReplayState::Running).to_string()], |row| {
        let replay = RunningReplay {
            id: id(row, 1, ReplayId::from_uuid)?,
            filter: json(row, 2)?,
            version: json(row, 3)?,
            events_per_s: row.get(4)?,
            until: row.get(5)?,
            parts: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, replay))
    })?;
    let mut running = Vec::new();
    for found in found {
        let (no, mut replay) = found?;
        let mut parts = snapshot
            .prepare_cached("SELECT destination, seq, position FROM replay_parts WHERE replay = ?1 AND done = 0")?;
        replay.parts = parts
            .query_map([no], |row| {
                let at = Cursor { seq: row.get(1)?, position: row.get::<_, u32>(2)? as usize };
                Ok((id(row, 0, DestinationId::from_uuid)?, at))
            })?
            .collect::<rusqlite::Result<_>>()?;
        running.push(replay);
    }
    Ok(running)
}

/// Replays. Errors: [`StoreError::NotFound`] for what is not this actor's, [`StoreError::NotNow`] for one that has ended.
impl Store {
    /// Makes a replay, which begins at once.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if the workspace has too many unfinished ones.
    pub async fn create_replay(&self, actor: &Actor, new: NewReplay) -> Result<Replay, StoreError> {
        let actor = actor.clone();
        self.call(move |commit| create(commit, &actor, &new)).await
    }

    /// One page of the workspace's replays, newest first.
    pub async fn list_replays(
        &self,
        actor: &Actor,
        state: Option<ReplayState>,
        page: &Page,
    ) -> Result<Paged<Replay>, StoreError> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| list(sql, &actor, state, &page)).await
    }

    /// One replay.
    pub async fn get_replay(&self, actor: &Actor, id: ReplayId) -> Result<Replay, StoreError> {
        let actor = actor.clone();
        self.readers.read(move |sql| Ok(get(sql, &actor, id)?.1)).await
    }

    /// Pauses, resumes or cancels a replay. Asking for the state in which it is changes nothing.
    pub async fn change_replay(&self, actor: &Actor, id: ReplayId, to: ReplayState) -> Result<Replay, StoreError> {
        let actor = actor.clone();
        self.call(move |commit| change(commit, &actor, id, to)).await
    }

    /// Replays that are to go on, whoever's they are.
    pub async fn running_replays(&self) -> Result<Vec<RunningReplay>, StoreError> {
        self.readers.read(running).await
    }

    /// Waits until a replay was made, paused, resumed or cancelled. For one caller.
    pub async fn replays_changed(&self) {
        self.shared.replays_changed.notified().await;
    }
}
