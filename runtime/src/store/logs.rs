//! What the versions of a function did, over all destinations: the recorded attempts, as their author may see them.
//!
//! Guarantees: attempts are numbered in the order in which they were committed, and no number is given twice, so
//! following from a cursor neither misses nor repeats one. Requests, answers and settings are not in it: they are the
//! customers'.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::cache::Cache;
use super::deliveries;
use super::error::StoreError;
use super::functions;
use super::rows::{count, id, json, time, uuid};
use super::types::{LogEntry, LogFilter, LogPage, LogPart};
use crate::model::{Actor, DeliveryId, FunctionId, Outcome, Timestamp, VersionId};

/// Attempts that one page looks through at most, so that a rare outcome does not read the whole table; the page is then
/// short and says where to go on.
const LOOKED: usize = 2_000;

/// One row, before its event is looked up.
struct Row {
    no: i64,
    delivery: DeliveryId,
    number: u32,
    started_at: Timestamp,
    wall_ms: u64,
    version: VersionId,
    outcome: Outcome,
    log: Value,
}

/// One page of a function's attempts.
pub(super) fn page(
    sql: &Connection,
    cache: &Cache,
    actor: &Actor,
    function: FunctionId,
    filter: &LogFilter,
    limit: usize,
) -> Result<LogPage, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let versions = match filter.version {
        Some(version) => vec![functions::get_version(&snapshot, actor, function, version)?.id],
        None => functions::version_ids(&snapshot, actor, function)?,
    };
    let newest: i64 =
        snapshot.prepare_cached("SELECT coalesce(max(no), 0) FROM attempts")?.query_row([], |row| row.get(0))?;
    let cursor = |text: &str| text.parse::<i64>().map_err(|_| StoreError::BadCursor(text.to_owned()));
    let (numbers, onwards) = match &filter.part {
        LogPart::Newest => (numbers(&snapshot, &versions, None, i64::MAX)?, false),
        LogPart::Before(text) => (numbers(&snapshot, &versions, None, cursor(text)?)?, false),
        LogPart::Since(text) => (numbers(&snapshot, &versions, Some(cursor(text)?), i64::MAX)?, true),
    };
    let (mut items, mut looked, mut last) = (Vec::new(), 0, None);
    for no in &numbers {
        if items.len() == limit {
            break;
        }
        (looked, last) = (looked + 1, Some(*no));
        let row = read(&snapshot, *no)?;
        if filter.outcome.is_none_or(|wanted| row.outcome.code == wanted) {
            items.push(entry(&snapshot, cache, row)?);
        }
    }
    let more = last.filter(|_| looked < numbers.len() || numbers.len() == LOOKED);
    // Whoever follows goes on behind what was looked at; that is everything unless the page was full.
    let newest = more.filter(|_| onwards).unwrap_or(newest);
    Ok(LogPage { items, next: more.filter(|_| !onwards).map(|no| no.to_string()), newest: newest.to_string() })
}

/// The numbers of attempts of these versions, without reading the attempts: the newest ones below `below`, newest first,
/// or the oldest ones above `above`, oldest first.
fn numbers(sql: &Connection, versions: &[VersionId], above: Option<i64>, below: i64) -> rusqlite::Result<Vec<i64>> {
    let order = if above.is_some() { "ASC" } else { "DESC" };
    let mut find = sql.prepare_cached(&format!(
        "SELECT no FROM attempts INDEXED BY attempts_by_version WHERE version = ?1 AND no > ?2 AND no < ?3
         ORDER BY no {order} LIMIT ?4"
    ))?;
    let mut all = Vec::new();
    for version in versions {
        let rows = params![uuid(version.uuid()), above.unwrap_or(i64::MIN), below, LOOKED as i64];
        for no in find.query_map(rows, |row| row.get(0))? {
            all.push(no?);
        }
    }
    all.sort_unstable();
    if above.is_none() {
        all.reverse();
    }
    all.truncate(LOOKED);
    Ok(all)
}

fn read(sql: &Connection, no: i64) -> rusqlite::Result<Row> {
    sql.prepare_cached(
        "SELECT delivery, number, started_at, wall_ms, version, coalesce(opened_text(workspace, delivery, sealed_outcome), outcome),
           coalesce(coalesce(opened_text(workspace, delivery, sealed_report), report) ->> '$.log', '[]')
         FROM attempts WHERE no = ?1",
    )?
    .query_row([no], |row| {
        Ok(Row {
            no,
            delivery: id(row, 0, DeliveryId::from_uuid)?,
            number: row.get(1)?,
            started_at: time(row, 2)?,
            wall_ms: count(row.get(3)?),
            version: id(row, 4, VersionId::from_uuid)?,
            outcome: json(row, 5)?,
            log: json(row, 6)?,
        })
    })
}

fn entry(sql: &Connection, cache: &Cache, row: Row) -> Result<LogEntry, StoreError> {
    let Row { no, delivery, number, started_at, wall_ms, version, outcome, log } = row;
    let (destination, event) = deliveries::event_of(sql, cache, delivery)?;
    Ok(LogEntry {
        cursor: no.to_string(),
        delivery,
        destination,
        message_id: event.message_id,
        event_type: event.event_type,
        number,
        started_at,
        wall_ms,
        version,
        outcome,
        log,
    })
}

impl super::Store {
    /// One page of what a function's versions did: every failed attempt, and successes in a sample.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the function or the version is not this actor's, [`StoreError::BadCursor`].
    pub async fn logs(
        &self,
        actor: &Actor,
        function: FunctionId,
        filter: LogFilter,
        limit: u32,
    ) -> Result<LogPage, StoreError> {
        let actor = actor.clone();
        let limit = limit.clamp(1, super::Page::MAX) as usize;
        let shared = std::sync::Arc::clone(&self.shared);
        self.readers.read(move |sql| page(sql, &shared.cache, &actor, function, &filter, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_several_versions_are_one_order_and_bounded() {
        let sql = Connection::open_in_memory().unwrap();
        sql.execute_batch("CREATE TABLE attempts (no INTEGER PRIMARY KEY, version BLOB); CREATE INDEX attempts_by_version ON attempts (version)")
            .unwrap();
        let versions = [1, 2].map(|ms| VersionId::new(Timestamp::from_millis(ms)));
        for no in 1..=LOOKED as i64 + 10 {
            let version = uuid(versions[(no % 2) as usize].uuid());
            sql.execute("INSERT INTO attempts VALUES (?1, ?2)", params![no, version]).unwrap();
        }
        let most = LOOKED as i64;
        let newest = numbers(&sql, &versions, None, i64::MAX).unwrap();
        assert_eq!((newest[0], newest[1], newest.len()), (most + 10, most + 9, LOOKED));
        assert_eq!(numbers(&sql, &versions, None, 3).unwrap(), [2, 1]);
        assert_eq!(numbers(&sql, &versions, Some(most + 7), i64::MAX).unwrap(), [most + 8, most + 9, most + 10]);
        assert_eq!(numbers(&sql, &versions[..1], None, 6).unwrap(), [4, 2]);
        assert!(numbers(&sql, &[], None, i64::MAX).unwrap().is_empty());
    }
}
