//! Endings of attempts by minute: written when the minute is over, and not with every commit that ends some.
//!
//! They are no ledger: a crash, or a commit that finds the disk full, loses those of the last two minutes.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::rows::uuid;
use crate::model::{ConnectionId, Timestamp, WorkspaceId};

/// Rows that one commit writes: a fraction of a millisecond.
const STEP: usize = 256;

/// Minutes that are kept in memory behind the present one, since an attempt counts where it began.
const BEHIND: u64 = 1;

#[derive(Clone, Copy)]
struct Sum {
    workspace: WorkspaceId,
    count: i64,
    wall_ms: i64,
}

/// What is counted and not written yet, the oldest minute first.
#[derive(Default)]
pub(super) struct Statistics(BTreeMap<(u64, ConnectionId, &'static str), Sum>);

impl Statistics {
    /// So many endings, of attempts that began then.
    pub fn add(
        &mut self,
        (workspace, connection): (WorkspaceId, ConnectionId),
        at: Timestamp,
        outcome: &'static str,
        count: i64,
        wall_ms: u64,
    ) {
        let key = (minute(at), connection, outcome);
        let sum = self.0.entry(key).or_insert(Sum { workspace, count: 0, wall_ms: 0 });
        sum.count += count;
        sum.wall_ms = sum.wall_ms.saturating_add_unsigned(wall_ms);
    }

    /// Adds another commit part's.
    pub fn merge(&mut self, other: Self) {
        for (key, add) in other.0 {
            let into = self.0.entry(key).or_insert(Sum { count: 0, wall_ms: 0, ..add });
            into.count += add.count;
            into.wall_ms = into.wall_ms.saturating_add(add.wall_ms);
        }
    }

    /// Writes some of what belongs to minutes that are over.
    pub fn write_over(&mut self, sql: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let over = minute(now).saturating_sub(BEHIND);
        for _ in 0..STEP {
            match self.0.first_entry() {
                Some(first) if first.key().0 < over => {
                    let (key, sum) = first.remove_entry();
                    write(sql, key, sum)?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Writes all of it.
    pub fn write_all(&mut self, sql: &Connection) -> rusqlite::Result<()> {
        let all = sql.unchecked_transaction()?;
        std::mem::take(&mut self.0).into_iter().try_for_each(|(key, sum)| write(sql, key, sum))?;
        all.commit()
    }
}

fn minute(at: Timestamp) -> u64 {
    at.as_millis() / 60_000
}

fn write(
    sql: &Connection,
    (minute, connection, outcome): (u64, ConnectionId, &'static str),
    sum: Sum,
) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "INSERT INTO minutes (minute, connection, outcome, workspace, count, wall_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET count = count + ?5, wall_ms = wall_ms + ?6",
    )?
    .execute(params![
        minute.cast_signed(),
        uuid(connection.uuid()),
        outcome,
        uuid(sum.workspace.uuid()),
        sum.count,
        sum.wall_ms,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::open::in_memory;
    use super::*;

    const MINUTE: u64 = 60_000;

    fn rows(sql: &Connection) -> Vec<(i64, i64, i64)> {
        let mut find = sql.prepare("SELECT minute, count, wall_ms FROM minutes ORDER BY minute").unwrap();
        find.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_minute_is_written_once_it_is_over_in_bounded_steps_and_all_at_the_end() {
        let sql = in_memory();
        let at = |minute: u64, ms: u64| Timestamp::from_millis(minute * MINUTE + ms);
        let (workspace, connection) = (WorkspaceId::new(at(0, 0)), ConnectionId::new(at(0, 0)));
        let mut statistics = Statistics::default();
        for (minute, ms) in [(7, 1), (7, 59_999), (8, 0)] {
            statistics.add((workspace, connection), at(minute, ms), "delivered", 2, 10);
        }
        let mut other = Statistics::default();
        other.add((workspace, connection), at(7, 3), "delivered", 1, 1);
        statistics.merge(other);
        for (now, written) in [(at(8, 59_999), vec![]), (at(9, 0), vec![(7, 5, 21)])] {
            statistics.write_over(&sql, now).unwrap();
            assert_eq!(rows(&sql), written, "{now:?}");
        }
        // An attempt that took long.
        statistics.add((workspace, connection), at(7, 5), "delivered", 1, 9);
        for minute in 100..100 + 2 * STEP as u64 {
            statistics.add((workspace, connection), at(minute, 0), "delivered", 1, 0);
        }
        statistics.write_over(&sql, at(10_000, 0)).unwrap();
        assert_eq!((rows(&sql).len(), rows(&sql)[0]), (STEP, (7, 6, 30)));
        statistics.write_all(&sql).unwrap();
        assert_eq!(rows(&sql).len(), 2 * STEP + 2);
    }
}
