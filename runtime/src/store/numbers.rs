//! Numbers of rows that are never given twice, taken from the database many at a time.
//!
//! SQLite writes down the last number with every row of such a table, which is a page in each commit. Here it is written down ahead:
//! rows come with their number, and SQLite has nothing to add. What a crash leaves unused is a gap, which nobody minds.

use rusqlite::{Connection, OptionalExtension, params};

/// Numbers that are taken at a time.
const AT_ONCE: i64 = 1_000;

/// Numbers of delivery blocks begin here; all that older programs gave are smaller.
const FIRST_BLOCK: i64 = 1 << 40;
/// Places that the number of an event block has among those of delivery blocks.
const PLACES: i64 = 1 << 20;

/// The numbers of one table that were taken and not given.
#[derive(Default)]
struct Taken {
    next: i64,
    end: i64,
}

impl Taken {
    /// The next one, and whether more had to be taken for it.
    fn next(&mut self, sql: &Connection, table: &str) -> rusqlite::Result<(i64, bool)> {
        let take = self.next == self.end;
        if take {
            let last = last(sql, table)?;
            write(sql, table, last + AT_ONCE)?;
            (self.next, self.end) = (last + 1, last + 1 + AT_ONCE);
        }
        self.next += 1;
        Ok((self.next - 1, take))
    }
}

fn last(sql: &Connection, table: &str) -> rusqlite::Result<i64> {
    let mut find = sql.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    Ok(find.query_row([table], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn write(sql: &Connection, table: &str, last: i64) -> rusqlite::Result<()> {
    let mut known = sql.prepare_cached("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1")?;
    if known.execute(params![table, last])? == 0 {
        sql.prepare_cached("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)")?.execute(params![table, last])?;
    }
    Ok(())
}

/// The numbers of the tables that grow with events.
#[derive(Default)]
pub(super) struct Numbers {
    events: Taken,
    attempts: Taken,
    seen: Taken,
}

impl Numbers {
    /// For an event block.
    pub fn event_block(&mut self, sql: &Connection) -> rusqlite::Result<i64> {
        let (number, took) = self.events.next(sql, "event_blocks")?;
        if took {
            write(sql, "delivery_blocks", blocks_of(self.events.end).1)?;
        }
        Ok(number)
    }

    /// For the delivery block of what the n-th connection owes of an event block; none if there is none for so many.
    pub fn delivery_block(event_block: i64, nth: usize) -> Option<i64> {
        let (first, last) = blocks_of(event_block);
        i64::try_from(nth).ok().map(|nth| first + nth).filter(|number| *number <= last)
    }

    /// For a delivery block that comes later than those of its event block.
    pub fn later_block(&mut self, sql: &Connection) -> rusqlite::Result<i64> {
        self.event_block(sql).map(|number| blocks_of(number).0)
    }

    /// For a recorded attempt.
    pub fn attempt(&mut self, sql: &Connection) -> rusqlite::Result<i64> {
        self.attempts.next(sql, "attempts").map(|(number, _)| number)
    }

    /// For the message ids of a commit.
    pub fn seen(&mut self, sql: &Connection) -> rusqlite::Result<i64> {
        self.seen.next(sql, "seen_lately").map(|(number, _)| number)
    }
}

/// The first and the last number of the delivery blocks that come with an event block: they are found by it without an index.
pub(super) fn blocks_of(event_block: i64) -> (i64, i64) {
    let first = FIRST_BLOCK + event_block * PLACES;
    (first, first + PLACES - 1)
}

#[cfg(test)]
mod tests {
    use super::super::open::in_memory;
    use super::*;

    fn insert(sql: &Connection, number: Option<i64>) -> i64 {
        let insert = "INSERT INTO seen_lately (seq, at, hashes) VALUES (?1, 0, x'')";
        sql.execute(insert, [number]).unwrap();
        sql.last_insert_rowid()
    }

    #[test]
    fn numbers_go_on_after_those_of_older_programs_and_none_is_given_twice_whatever_is_deleted_or_crashes() {
        let sql = in_memory();
        let old = [None, None].map(|none| insert(&sql, none));
        assert_eq!(old, [1, 2]);
        sql.execute("DELETE FROM seen_lately", []).unwrap();
        let mut last = 2;
        for _ in 0..3 {
            // A process that crashes after some of them.
            let mut numbers = Numbers::default();
            for _ in 0..AT_ONCE + 10 {
                let number = numbers.seen(&sql).unwrap();
                assert!(number > last, "{number} after {last}");
                assert_eq!(insert(&sql, Some(number)), number);
                last = number;
            }
            sql.execute("DELETE FROM seen_lately", []).unwrap();
        }
        // An older program again.
        assert!(insert(&sql, None) > last);
    }

    #[test]
    fn numbers_whose_taking_was_undone_are_not_given_again_once_they_are_used() {
        let (sql, mut numbers) = (in_memory(), Numbers::default());
        sql.execute_batch("SAVEPOINT call").unwrap();
        numbers.seen(&sql).unwrap();
        sql.execute_batch("ROLLBACK TO call; RELEASE call").unwrap();
        let used = numbers.seen(&sql).unwrap();
        insert(&sql, Some(used));
        assert!(Numbers::default().seen(&sql).unwrap() > used);
    }

    #[test]
    fn delivery_blocks_are_numbered_in_the_order_of_their_events_and_behind_all_older_ones() {
        let (sql, mut numbers) = (in_memory(), Numbers::default());
        let mut last = 1 << 39;
        for step in 0..2 * AT_ONCE {
            let events = numbers.event_block(&sql).unwrap();
            let all = [
                Numbers::delivery_block(events, 0).unwrap(),
                Numbers::delivery_block(events, 99).unwrap(),
                numbers.later_block(&sql).unwrap(),
            ];
            assert!(last < all[0] && all.is_sorted(), "step {step}: {all:?} after {last}");
            last = all[2];
            let written = super::last(&sql, "delivery_blocks").unwrap();
            assert!(written > last, "an older program goes on behind");
        }
        assert_eq!(Numbers::delivery_block(7, PLACES as usize), None);
        assert_eq!(Numbers::delivery_block(7, PLACES as usize - 1), Some(blocks_of(8).0 - 1));
    }
}
