//! Message ids of the last 24 hours.
//!
//! Guarantees: an id counts as seen once the commit that it came with is on disk, and for 24 hours from then; what is remembered
//! in memory is bounded.
//!
//! A way through: the ids of a commit are one value in `seen_lately`, and in memory. Hashes are anywhere in the order of `seen`, so
//! that each would change a page of its own there, which is written twice: when many have come together they are sorted and written
//! there by and by, where those that stand side by side share their pages. After a crash `seen_lately` still has them all.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::numbers::Numbers;
use super::rows::ms;
use crate::model::Timestamp;

/// How long a `messageId` is remembered: what the tracking API promises.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Ids after which those in memory are sorted into the table: with those that come meanwhile some 10 MB.
const MANY: usize = 1 << 17;
/// Ids that one commit sorts in at least: about a millisecond.
const STEP: usize = 512;
/// Message ids in the table that one step of pruning forgets, on either side.
pub(super) const IDS: i64 = 4_000;
/// Days to come that are looked at for an id: each costs a look into the table.
const DAYS: usize = 8;
/// Rows of old ids that one step of pruning looks at.
const ROWS: i64 = 64;
/// Parts of the ids in memory, by their first byte.
const PARTS: usize = 256;

/// A message id with its source.
pub(super) type Hash = [u8; 16];

/// When each id came, in milliseconds; in parts, for a part is sorted in a moment.
struct Ids {
    parts: Vec<HashMap<Hash, i64>>,
    /// How often one was put in.
    count: usize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| HashMap::new()).collect(), count: 0 }
    }
}

impl Ids {
    fn at(&self, hash: &Hash) -> Option<i64> {
        self.parts[usize::from(hash[0])].get(hash).copied()
    }

    fn insert(&mut self, hash: Hash, at: i64) {
        self.parts[usize::from(hash[0])].insert(hash, at);
        // Also if it was there, long ago: its commit has a row that goes once it is sorted in.
        self.count += 1;
    }
}

/// Ids on their way into the table.
struct Sorting {
    ids: Ids,
    /// The last row of `seen_lately` that has some of them.
    last: i64,
    /// The parts that were sorted, and what is left of the last one of them, in order.
    parts: usize,
    part: std::vec::IntoIter<(i64, Hash, i64)>,
}

impl Sorting {
    fn new(ids: Ids, last: i64) -> Self {
        Self { ids, last, parts: 0, part: Vec::new().into_iter() }
    }

    /// The next one: its day, itself, and when it came.
    fn next(&mut self) -> Option<(i64, Hash, i64)> {
        loop {
            if let Some(next) = self.part.next() {
                return Some(next);
            }
            let part = self.ids.parts.get(self.parts)?;
            let mut sorted: Vec<_> = part.iter().map(|(hash, at)| (day(*at), *hash, *at)).collect();
            sorted.sort_unstable();
            (self.parts, self.part) = (self.parts + 1, sorted.into_iter());
        }
    }
}

/// What the writer remembers of the last ids.
#[derive(Default)]
pub(super) struct Lately {
    ids: Ids,
    sorting: Option<Sorting>,
    /// When this process began to remember.
    begun: i64,
    /// Days from yesterday on of which there may be ids in the table: a host without many has none. Of days to come there are some
    /// where the clock was ahead.
    days: Vec<i64>,
}

impl Lately {
    /// As an earlier process left it. Whose clock may have been ahead of what it is now: then its ids count as if they came now.
    pub fn load(sql: &Connection, now: Timestamp) -> rusqlite::Result<Self> {
        let mut lately = Self { begun: ms(now), days: days_after(sql, day(ms(now)) - 2)?, ..Self::default() };
        let mut find = sql.prepare("SELECT at, hashes FROM seen_lately ORDER BY seq")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            let (at, hashes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let (hashes, _) = hashes.as_chunks::<16>();
            hashes.iter().for_each(|hash| lately.ids.insert(*hash, at.min(lately.begun)));
        }
        Ok(lately)
    }

    fn at(&self, hash: &Hash) -> Option<i64> {
        self.ids.at(hash).or_else(|| self.sorting.as_ref().and_then(|sorting| sorting.ids.at(hash)))
    }
}

/// The new ids of one commit.
pub(super) struct Seen {
    now: i64,
    forgotten: i64,
    new: Vec<u8>,
}

impl Seen {
    /// None yet.
    pub fn new(now: Timestamp) -> Self {
        Self { now: ms(now), forgotten: ms(now.minus(REMEMBERED)), new: Vec::new() }
    }

    /// Whether this is the first within 24 hours; remembers it then.
    pub fn is_new(&mut self, sql: &Connection, lately: &mut Lately, hash: &Hash) -> rusqlite::Result<bool> {
        // What is in the table came earlier.
        let at = lately.at(hash).map_or_else(|| self.in_table(sql, lately, hash), |at| Ok(Some(at)))?;
        let is_new = at.is_none_or(|at| at <= self.forgotten);
        if is_new {
            lately.ids.insert(*hash, self.now);
            self.new.extend_from_slice(hash);
        }
        Ok(is_new)
    }

    /// A day's rows stand together, so that old ones are pruned as one range; an id of the last 24 hours is in today's or in
    /// yesterday's, or in that of a day to come if the clock was set back.
    fn in_table(&self, sql: &Connection, lately: &Lately, hash: &Hash) -> rusqlite::Result<Option<i64>> {
        let today = day(self.now);
        let mut find = sql.prepare_cached("SELECT at FROM seen WHERE day = ?1 AND hash = ?2")?;
        let ahead = lately.days.iter().copied().filter(|day| *day > today && lately.begun > self.forgotten).take(DAYS);
        for day in [today, today - 1].into_iter().filter(|day| lately.days.contains(day)).chain(ahead) {
            let found: Option<i64> = find.query_row(params![day, hash], |row| row.get(0)).optional()?;
            if let Some(at) = found {
                return Ok(Some(if day > today { lately.begun } else { at }));
            }
        }
        Ok(None)
    }

    /// Writes what is new, and sorts some in: more than came, so that it ends.
    pub fn write(self, sql: &Connection, lately: &mut Lately, numbers: &mut Numbers) -> rusqlite::Result<()> {
        let Self { now, forgotten, new } = self;
        if !new.is_empty() {
            let seq = numbers.seen(sql)?;
            sql.prepare_cached("INSERT INTO seen_lately (seq, at, hashes) VALUES (?1, ?2, ?3)")?
                .execute(params![seq, now, new])?;
            if lately.sorting.is_none() && lately.ids.count >= MANY {
                lately.sorting = Some(Sorting::new(std::mem::take(&mut lately.ids), seq));
            }
        }
        let Lately { sorting: Some(sorting), days, .. } = lately else { return Ok(()) };
        let mut insert = sql.prepare_cached(
            // Whose they are is part of the hash; nothing reads it from the column.
            "INSERT INTO seen (day, hash, at, workspace) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT DO UPDATE SET at = excluded.at",
        )?;
        for _ in 0..STEP.max(2 * new.len() / size_of::<Hash>()) {
            let Some((day, hash, at)) = sorting.next() else {
                sql.prepare_cached("DELETE FROM seen_lately WHERE seq <= ?1")?.execute([sorting.last])?;
                lately.sorting = None;
                break;
            };
            if at > forgotten {
                if !days.contains(&day) {
                    days.retain(|known| *known >= day - 1);
                    days.push(day);
                }
                insert.execute(params![day, hash, at])?;
            }
        }
        Ok(())
    }
}

/// Forgets some of what nobody counts as seen any more, where too little comes for it ever to be sorted in.
pub(super) fn prune(sql: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    sql.prepare_cached(
        "DELETE FROM seen_lately WHERE at <= ?1 AND seq IN (SELECT seq FROM seen_lately ORDER BY seq LIMIT ?2)",
    )?
    .execute(params![ms(now.minus(REMEMBERED)), ROWS])?;
    Ok(())
}

/// The days after this one of which there are ids, the next one first; yesterday, today and no more than anybody sets a clock back by.
fn days_after(sql: &Connection, day: i64) -> rusqlite::Result<Vec<i64>> {
    let mut find = sql.prepare("SELECT min(day) FROM seen WHERE day > ?1")?;
    let mut days = Vec::new();
    while days.len() < DAYS + 2
        && let Some(next) = find.query_row([days.last().copied().unwrap_or(day)], |row| row.get(0))?
    {
        days.push(next);
    }
    Ok(days)
}

/// Forgets some ids in the table that nobody counts as seen any more; says how many.
pub(super) fn prune_table(sql: &Connection, lately: &Lately, now: Timestamp) -> rusqlite::Result<i64> {
    let (today, forgotten) = (day(ms(now)), ms(now.minus(REMEMBERED)));
    // What this process has seen is of no later day than today's.
    let ahead = if lately.begun <= forgotten { today + 1 } else { i64::MAX };
    let mut pruned = 0;
    for range in ["day < ?1", "day > ?1"].into_iter().zip([today - 1, ahead]) {
        let (range, day) = range;
        pruned += sql
            .prepare_cached(&format!(
                "DELETE FROM seen WHERE (day, hash) IN (SELECT day, hash FROM seen WHERE {range} ORDER BY day, hash LIMIT ?2)"
            ))?
            .execute(params![day, IDS])?;
    }
    Ok(pruned as i64)
}

/// The number of a day since 1970.
pub(super) fn day(ms: i64) -> i64 {
    ms / 86_400_000
}

#[cfg(test)]
mod tests {
    use super::super::open::in_memory;
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(20_000 * 86_400_000 + 43_200_000);
    /// Ids of one commit.
    const COMMIT: usize = 1_000;

    fn hash(number: usize) -> Hash {
        // Another place for each, all over the order.
        (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
    }

    /// How many of these are new to a commit at that time.
    fn new(sql: &Connection, lately: &mut Lately, now: Timestamp, numbers: impl Iterator<Item = usize>) -> usize {
        let mut seen = Seen::new(now);
        let new = numbers.filter(|number| seen.is_new(sql, lately, &hash(*number)).unwrap()).count();
        // As a process that takes numbers anew each time.
        seen.write(sql, lately, &mut Numbers::default()).unwrap();
        new
    }

    fn rows(sql: &Connection, table: &str) -> usize {
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        sql.query_row(&format!("SELECT count(*) FROM {table}"), [], count).unwrap() as usize
    }

    #[test]
    fn an_id_is_new_once_in_24_hours_whether_it_is_in_memory_on_its_way_or_sorted_in_and_after_a_crash() {
        let (sql, mut lately) = (in_memory(), Lately::default());
        let (mut came, mut sorted) = (0, 0);
        while rows(&sql, "seen") < 2 * MANY {
            assert_eq!(new(&sql, &mut lately, NOON, came..came + COMMIT), COMMIT);
            came += COMMIT;
            assert_eq!(new(&sql, &mut lately, NOON, (0..came).step_by(997)), 0, "after {came}");
            // In the midst of it all.
            if lately.sorting.is_some() && rows(&sql, "seen") > MANY / 2 + sorted {
                sorted += MANY;
                lately = Lately::load(&sql, NOON).unwrap();
                assert_eq!(new(&sql, &mut lately, NOON, (0..came).step_by(991)), 0, "after a crash at {came}");
            }
        }
        assert!(sorted >= MANY && lately.ids.count < 2 * MANY, "{sorted} {}", lately.ids.count);
        let [just_before, then] = [Duration::from_millis(1), Duration::ZERO].map(|less| NOON.plus(REMEMBERED - less));
        assert_eq!(new(&sql, &mut lately, just_before, 0..came), 0);
        assert_eq!(new(&sql, &mut lately, then, (0..came).step_by(101)), came.div_ceil(101));
        assert_eq!(new(&sql, &mut lately, then, (0..came).step_by(101)), 0);
    }

    #[test]
    fn ids_that_are_old_leave_the_disk_also_where_few_come_and_where_the_same_ones_come_every_day() {
        let (sql, mut lately) = (in_memory(), Lately::default());
        let day = |number: u32| NOON.plus(REMEMBERED * number);
        let mut most = 0;
        for number in 0..300 {
            assert_eq!(new(&sql, &mut lately, day(number), 0..COMMIT), COMMIT);
            most = most.max(lately.ids.count);
            prune(&sql, day(number)).unwrap();
            assert!(rows(&sql, "seen_lately") <= 1, "day {number}");
        }
        assert!((MANY / 2..MANY).contains(&most), "{most} in memory");
    }

    #[test]
    fn a_clock_that_was_set_back_over_midnight_or_by_a_year_forgets_no_id_for_24_hours_and_keeps_none_for_ever() {
        for back in [Duration::from_secs(13 * 3600), REMEMBERED * 365] {
            let (sql, mut lately) = (in_memory(), Lately::default());
            let mut came = 0;
            while rows(&sql, "seen") < 2 * COMMIT {
                came += new(&sql, &mut lately, NOON, came..came + COMMIT);
            }
            let now = NOON.minus(back);
            let mut lately = Lately::load(&sql, now).unwrap();
            assert_eq!(new(&sql, &mut lately, now, 0..came), 0, "{back:?}");
            let just_before = now.plus(REMEMBERED - Duration::from_millis(1));
            assert_eq!(new(&sql, &mut lately, just_before, 0..came), 0, "{back:?}");
            if back > REMEMBERED * 2 {
                let then = now.plus(REMEMBERED);
                assert_eq!(new(&sql, &mut lately, then, (0..came).step_by(101)), came.div_ceil(101), "{back:?}");
                while prune_table(&sql, &lately, then).unwrap() > 0 {}
                let ahead = format!("seen WHERE day > {}", day(ms(then)));
                assert_eq!(rows(&sql, &ahead), 0, "{back:?}");
            }
        }
    }

    #[test]
    fn a_crowd_in_one_part_is_sorted_in_step_by_step() {
        let (sql, mut lately) = (in_memory(), Lately::default());
        for number in 0..MANY {
            let mut hash = hash(number);
            hash[0] = 7;
            lately.ids.insert(hash, ms(NOON));
        }
        assert_eq!(new(&sql, &mut lately, NOON, 0..1), 1);
        assert_eq!(rows(&sql, "seen"), STEP);
    }
}
