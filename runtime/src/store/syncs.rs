//! Which commits wait for the disk: those that somebody is told of.
//!
//! What became of a delivery nobody is told. It is in the log behind what was promised, so that the disk has it with the next
//! promise, or [`UNSYNCED`] later. A crash of the process loses none of it, for the system has it; after a power failure the log
//! ends somewhere behind the last promise, and what ended later is owed as before.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::StoreError;
use super::types::Places;

/// How long what nobody was told of may be with the system only.
const UNSYNCED: Duration = Duration::from_millis(250);

/// The writer's connection, as far as it waits for the disk.
pub(super) struct Syncs {
    log: PathBuf,
    /// Whether its commits wait now, as those of [`super::open::writer`] do.
    waits: bool,
    /// When the first commit was that did not wait, since all was synced.
    since: Option<Instant>,
}

impl Syncs {
    pub fn new(places: &Places) -> Self {
        Self { log: places.database.with_extension("db-wal"), waits: true, since: None }
    }

    /// When all has to be on disk, if it is not.
    pub fn due_in(&self) -> Option<Duration> {
        self.since.map(|since| UNSYNCED.saturating_sub(since.elapsed()))
    }

    /// Outside of a transaction: whether the next commit waits for the disk.
    pub fn before_commit(&mut self, sql: &Connection, promised: bool) -> rusqlite::Result<()> {
        if self.waits != promised {
            sql.pragma_update(None, "synchronous", if promised { "FULL" } else { "NORMAL" })?;
            self.waits = promised;
        }
        Ok(())
    }

    /// A commit was answered; it did something, or nothing. Syncs what is overdue.
    ///
    /// # Errors
    /// Nobody knows what the disk holds then.
    pub fn after_commit(&mut self, did_something: bool) -> Result<(), StoreError> {
        if did_something && !self.waits {
            self.since.get_or_insert_with(Instant::now);
        }
        if self.due_in() == Some(Duration::ZERO) {
            let synced = File::open(&self.log).and_then(|log| log.sync_data());
            synced.map_err(|source| StoreError::File { what: "sync the log", path: self.log.clone(), source })?;
            self.since = None;
        }
        Ok(())
    }
}
