//! Forgetting, in small steps of the writer: settled blocks after their retention, message ids and statistics after theirs.
//!
//! The ledger's counters stay: what leaves the tables is counted in the `pruned_` columns.

use rusqlite::{Connection, params};

use super::numbers::blocks_of;
use super::rows::{ms, time, uuid};
use super::seen;
use super::states;
use super::work::Commit;
use crate::model::{ConnectionId, Timestamp};

/// Event blocks in one step: about as many as arrive in a busy second's worth of commits, and a few milliseconds of work.
const BLOCKS: i64 = 64;
/// How long statistics are kept, in minutes: 90 days.
const MINUTES: i64 = 90 * 24 * 60;

/// The delivery blocks of an event block: those that came with it are in a range of numbers, the others in an index.
pub(super) const WITH: &str = "(seq BETWEEN ?2 AND ?3 AND event_block = ?1 OR event_block = ?1 AND apart = 1)";

/// Event blocks in their order.
const LOOK: &str = "SELECT seq, accepted_at FROM event_blocks WHERE seq > ?1 ORDER BY seq LIMIT ?2";

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
        let ids = seen::prune_table(commit.sql, &commit.memory.lately, commit.now)?;
        commit
            .sql
            .prepare_cached("DELETE FROM minutes WHERE minute < ?1")?
            .execute([ms(commit.now) / 60_000 - MINUTES])?;
        let more = self.blocks(commit)?;
        self.behind = ids >= seen::IDS || more;
        Ok(())
    }

    /// Prunes some blocks, and says whether there may be more.
    fn blocks(&mut self, commit: &Commit<'_>) -> rusqlite::Result<bool> {
        let before = commit.now.minus(commit.shared.config.keep());
        let found = old(commit.sql, self.passed, (before, commit.now))?;
        for block in &found.old {
            prune_block(commit, *block)?;
        }
        // What was passed over may be settled by now: look again from the beginning once the end is reached.
        self.passed = if found.more { found.last } else { 0 };
        Ok(found.more)
    }
}

/// Event blocks that are old.
#[derive(PartialEq, Eq, Debug)]
struct Found {
    old: Vec<i64>,
    /// The last one that was looked at.
    last: i64,
    more: bool,
}

/// Looks for old event blocks behind this one. They are in the order in which they were accepted, so that the first one that is not old
/// ends it: what there is to keep is not read. What seems to come from times to come, since a clock was set back, ends nothing.
fn old(sql: &Connection, passed: i64, (before, now): (Timestamp, Timestamp)) -> rusqlite::Result<Found> {
    let mut find = sql.prepare_cached(LOOK)?;
    let mut rows = find.query(params![passed, BLOCKS])?;
    let (mut found, mut looked) = (Found { old: Vec::new(), last: passed, more: false }, 0);
    while let Some(row) = rows.next()? {
        let accepted_at = time(row, 1)?;
        if accepted_at >= before && accepted_at <= now {
            return Ok(found);
        }
        found.last = row.get(0)?;
        looked += 1;
        if accepted_at < before {
            found.old.push(found.last);
        }
    }
    found.more = looked == BLOCKS;
    Ok(found)
}

/// Deletes an event block and what was owed of it, if nothing is still owed.
pub(super) fn prune_block(commit: &Commit<'_>, event_block: i64) -> rusqlite::Result<()> {
    let sql = commit.sql;
    let (first, last) = blocks_of(event_block);
    let place = params![event_block, first, last];
    let open = format!("SELECT EXISTS (SELECT 1 FROM delivery_blocks WHERE {WITH} AND open > 0)");
    if sql.prepare_cached(&open)?.query_row(place, |row| row.get(0))? {
        return Ok(());
    }
    let mut find = sql.prepare_cached(&format!("SELECT id, connection, states FROM delivery_blocks WHERE {WITH}"))?;
    let mut rows = find.query(place)?;
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
    drop(rows);
    sql.prepare_cached(&format!("DELETE FROM delivery_blocks WHERE {WITH}"))?.execute(place)?;
    sql.prepare_cached("DELETE FROM event_blocks WHERE seq = ?1")?.execute([event_block])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::open::in_memory;
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn blocks(accepted_at: impl IntoIterator<Item = i64>) -> Connection {
        let sql = in_memory();
        let insert =
            "INSERT INTO event_blocks (workspace, source, accepted_at, count, data) VALUES (x'01', x'02', ?1, 1, x'')";
        accepted_at.into_iter().for_each(|at| assert_eq!(sql.execute(insert, [at]).unwrap(), 1));
        sql
    }

    #[test]
    fn old_blocks_are_found_in_order_and_what_seems_to_come_from_times_to_come_ends_nothing() {
        // Numbered from 1 on; the third was accepted while the clock was far ahead.
        let sql = blocks([10, 20, 90_000, 30, 40, 50]);
        let cases =
            [(0, 35, vec![1, 2, 4], 4), (2, 35, vec![4], 4), (0, 10, vec![], 0), (0, 60, vec![1, 2, 4, 5, 6], 6)];
        for (passed, before, old, last) in cases {
            let found = super::old(&sql, passed, (at(before), at(1_000))).unwrap();
            assert_eq!(found, Found { old, last, more: false }, "{passed} {before}");
        }
    }

    #[test]
    fn looking_for_old_blocks_reads_a_few_of_those_that_are_kept_however_many_there_are() {
        let sql = blocks(100..5_100);
        for before in [50, 100, 103] {
            let found = super::old(&sql, 0, (at(before), at(10_000))).unwrap();
            assert_eq!(found.old.len() as u64, before.saturating_sub(100));
        }
        let steps = sql.prepare_cached(LOOK).unwrap().get_status(StatementStatus::VmStep);
        assert!((1..500).contains(&steps), "{steps}");
        let found = super::old(&sql, 7, (at(9_000), at(10_000))).unwrap();
        assert_eq!((found.old.len() as i64, found.last, found.more), (BLOCKS, 7 + BLOCKS, true), "in bounded steps");
    }
}
