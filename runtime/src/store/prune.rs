//! Forgetting, in small steps of the writer: settled blocks after their retention, message ids and statistics after theirs.
//!
//! The ledger's counters stay: what leaves the tables is counted in the `pruned_` columns.

use rusqlite::params;

use super::rows::{ms, uuid};
use super::seen::{self, day};
use super::states;
use super::work::Commit;
use crate::model::ConnectionId;

/// Event blocks in one step: about as many as arrive in a busy second's worth of commits, and a few milliseconds of work.
const BLOCKS: i64 = 64;
/// Message ids in one step.
const IDS: i64 = 4_000;
/// How long statistics are kept, in minutes: 90 days.
const MINUTES: i64 = 90 * 24 * 60;

/// Where pruning goes on.
#[derive(Default)]
pub(super) struct Pruner {
    /// Event blocks up to here were pruned, or passed over because something in them is still owed.
    passed: i64,
    behind: bool,
}

impl Pruner {
    /// Whether the last step left something to do.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// One step.
    pub fn step(&mut self, commit: &Commit<'_>) -> rusqlite::Result<()> {
        seen::prune(commit.sql, commit.now)?;
        let ids = commit
            .sql
            .prepare_cached(
                "DELETE FROM seen WHERE (day, hash) IN (SELECT day, hash FROM seen WHERE day < ?1 ORDER BY day, hash LIMIT ?2)",
            )?
            .execute(params![day(ms(commit.now)) - 1, IDS])?;
        commit
            .sql
            .prepare_cached("DELETE FROM minutes WHERE minute < ?1")?
            .execute([ms(commit.now) / 60_000 - MINUTES])?;
        let blocks = self.blocks(commit)?;
        // What was passed over may be settled by now: look again from the beginning once the end is reached.
        if blocks < BLOCKS {
            self.passed = 0;
        }
        self.behind = ids as i64 == IDS || blocks == BLOCKS;
        Ok(())
    }

    fn blocks(&mut self, commit: &Commit<'_>) -> rusqlite::Result<i64> {
        let before = ms(commit.now.minus(commit.shared.config.keep()));
        let mut find = commit
            .sql
            .prepare_cached("SELECT seq FROM event_blocks WHERE seq > ?1 AND accepted_at < ?2 ORDER BY seq LIMIT ?3")?;
        let old: Vec<i64> =
            find.query_map(params![self.passed, before, BLOCKS], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for block in &old {
            prune_block(commit, *block)?;
            self.passed = *block;
        }
        Ok(old.len() as i64)
    }
}

/// Deletes an event block and what was owed of it, if nothing is still owed.
pub(super) fn prune_block(commit: &Commit<'_>, event_block: i64) -> rusqlite::Result<()> {
    let sql = commit.sql;
    let open: bool = sql
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM delivery_blocks WHERE event_block = ?1 AND open > 0)")?
        .query_row([event_block], |row| row.get(0))?;
    if open {
        return Ok(());
    }
    let mut find = sql.prepare_cached("SELECT id, connection, states FROM delivery_blocks WHERE event_block = ?1")?;
    let mut rows = find.query([event_block])?;
    while let Some(row) = rows.next()? {
        let (first, states): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(2)?);
        let mut last = first;
        last[14..].copy_from_slice(&[0xff, 0xff]);
        let connection = super::rows::id(row, 1, ConnectionId::from_uuid)?;
        let mut counts = super::ledger::Counts::default();
        states.iter().for_each(|state| counts.of(*state).into_iter().for_each(|count| *count += 1));
        sql.prepare_cached(
            "UPDATE counters SET pruned_delivered = pruned_delivered + ?2, pruned_filtered = pruned_filtered + ?3,
               pruned_dead = pruned_dead + ?4 WHERE connection = ?1",
        )?
        .execute(params![uuid(connection.uuid()), counts.delivered, counts.filtered, counts.dead])?;
        sql.prepare_cached("DELETE FROM attempts WHERE delivery BETWEEN ?1 AND ?2")?.execute([first, last])?;
        if states.contains(&states::DEAD) {
            sql.prepare_cached("DELETE FROM dead WHERE delivery BETWEEN ?1 AND ?2")?.execute([first, last])?;
        }
    }
    sql.prepare_cached("DELETE FROM delivery_blocks WHERE event_block = ?1")?.execute([event_block])?;
    sql.prepare_cached("DELETE FROM event_blocks WHERE seq = ?1")?.execute([event_block])?;
    Ok(())
}
