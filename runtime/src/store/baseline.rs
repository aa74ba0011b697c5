//! The layout that was not chosen: a row for every delivery. It is here so that the benchmark can compare, on the machine at hand.
//!
//! It does the same job on the same kind of connection: de-duplication, events, deliveries, the ledger's counters, retries, records of
//! failed attempts; accept and settle share a commit. It has no queue, no threads and no claims in memory, all of which favours it.

use std::path::Path;

use rusqlite::{Connection, params};
use sha2::Digest;

use super::error::StoreError;
use super::open;

const SCHEMA: &str = "
CREATE TABLE events (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, json BLOB NOT NULL) STRICT;
CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY, event INTEGER NOT NULL, connection INTEGER NOT NULL, destination INTEGER NOT NULL,
  state INTEGER NOT NULL, attempts INTEGER NOT NULL, due_at INTEGER NOT NULL) STRICT;
CREATE INDEX deliveries_due ON deliveries (destination, due_at, id) WHERE state = 0;
CREATE TABLE attempts (delivery INTEGER NOT NULL, number INTEGER NOT NULL, outcome TEXT NOT NULL) STRICT;
CREATE TABLE counters (connection INTEGER PRIMARY KEY, accepted INTEGER, delivered INTEGER, pending INTEGER) STRICT;
CREATE TABLE seen (hash BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// A row-per-delivery store with one source and some destinations.
pub(crate) struct Baseline {
    sql: Connection,
    events: u64,
    destinations: usize,
}

/// A claimed delivery: its id, and how often it was tried.
pub(crate) type Claimed = (i64, u32);

impl Baseline {
    /// Opens an empty one.
    pub(crate) fn open(dir: &Path, destinations: usize) -> Result<Self, StoreError> {
        let (places, _lock) = open::lock(dir)?;
        let sql = open::writer(&places)?;
        sql.execute_batch(SCHEMA)?;
        for destination in 0..destinations {
            sql.execute("INSERT INTO counters VALUES (?1, 0, 0, 0)", [destination as i64])?;
        }
        Ok(Self { sql, events: 0, destinations })
    }

    /// One commit: new events, and what became of the claimed ones. `fails` says which are tried again.
    pub(crate) fn commit(
        &mut self,
        new: &[Vec<u8>],
        claimed: &[Claimed],
        fails: impl Fn(i64) -> bool,
    ) -> Result<(), StoreError> {
        let step = self.sql.transaction()?;
        let mut delivered = 0_i64;
        {
            let mut seen = step.prepare_cached("INSERT INTO seen VALUES (?1, 0) ON CONFLICT DO NOTHING")?;
            let mut event = step.prepare_cached("INSERT INTO events (source, json) VALUES (1, ?1)")?;
            let mut delivery = step.prepare_cached(
                "INSERT INTO deliveries (event, connection, destination, state, attempts, due_at) VALUES (?1, ?2, ?2, 0, 0, 0)",
            )?;
            for json in new {
                self.events += 1;
                let hash = sha2::Sha256::digest(self.events.to_le_bytes());
                seen.execute([&hash[..16]])?;
                event.execute([json])?;
                let event = step.last_insert_rowid();
                for destination in 0..self.destinations {
                    delivery.execute([event, destination as i64])?;
                }
            }
            let mut done = step.prepare_cached("UPDATE deliveries SET state = 1, attempts = ?2 WHERE id = ?1")?;
            let mut again = step.prepare_cached("UPDATE deliveries SET due_at = 1, attempts = ?2 WHERE id = ?1")?;
            let mut attempt = step.prepare_cached("INSERT INTO attempts VALUES (?1, ?2, ?3)")?;
            for (id, attempts) in claimed {
                if *attempts == 0 && fails(*id) {
                    again.execute(params![id, attempts + 1])?;
                    attempt.execute(params![id, attempts + 1, "{\"code\":\"retry\"}"])?;
                } else {
                    delivered += 1;
                    done.execute(params![id, attempts + 1])?;
                }
            }
            step.prepare_cached(
                "UPDATE counters SET accepted = accepted + ?1, delivered = delivered + ?2, pending = pending + ?1 - ?2
                 WHERE connection = 0",
            )?
            .execute([(new.len() * self.destinations) as i64, delivered])?;
        }
        step.commit()?;
        Ok(())
    }

    /// The oldest that are due, with their events: that many for every destination.
    pub(crate) fn claim(&self, most: usize) -> Result<Vec<Claimed>, StoreError> {
        let mut find = self.sql.prepare_cached(
            "SELECT d.id, d.attempts, e.json FROM deliveries d JOIN events e ON e.id = d.event
             WHERE d.destination = ?1 AND d.state = 0 ORDER BY d.due_at, d.id LIMIT ?2",
        )?;
        let mut claimed = Vec::new();
        for destination in 0..self.destinations {
            let mut rows = find.query([destination as i64, most as i64])?;
            while let Some(row) = rows.next()? {
                let _event: Vec<u8> = row.get(2)?;
                claimed.push((row.get(0)?, row.get(1)?));
            }
        }
        Ok(claimed)
    }
}

/// What someone who looks at the store beside the writer reads: the ledger and the newest deliveries.
pub(crate) struct Looker(Connection);

impl Looker {
    /// Opens a connection beside a writer.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self(Connection::open(dir.join("tidegate.db"))?))
    }

    /// Looks once; says what is delivered.
    pub(crate) fn look(&self) -> Result<u64, StoreError> {
        let delivered: i64 =
            self.0.prepare_cached("SELECT SUM(delivered) FROM counters")?.query_row([], |row| row.get(0))?;
        self.0
            .prepare_cached(
                "SELECT d.id, d.state, e.json FROM deliveries d JOIN events e ON e.id = d.event ORDER BY d.id DESC LIMIT 50",
            )?
            .query_map([], |row| row.get::<_, Vec<u8>>(2))?
            .for_each(drop);
        Ok(u64::try_from(delivered).unwrap_or(0))
    }
}
