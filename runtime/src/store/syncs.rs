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
    /// The log, opened before anything could go wrong with what is to be synced: whoever opens a file later than somebody was told
    /// of an error is not told of it. It is the same file until the process ends.
    open: Option<File>,
}

impl Syncs {
    pub fn new(places: &Places) -> Self {
        Self { log: places.database.with_extension("db-wal"), waits: true, since: None, open: None }
    }

    /// When all has to be on disk, if it is not.
    pub fn due_in(&self) -> Option<Duration> {
        self.since.map(|since| UNSYNCED.saturating_sub(since.elapsed()))
    }

    /// Outside of a transaction: whether the next commit waits for the disk.
    pub fn before_commit(&mut self, sql: &Connection, promised: bool) -> Result<(), StoreError> {
        if self.open.is_none() && !promised {
            let failed = |source| StoreError::File { what: "open the log", path: self.log.clone(), source };
            self.open = Some(File::open(&self.log).map_err(failed)?);
        }
        if self.waits != promised {
            sql.pragma_update(None, "synchronous", if promised { "FULL" } else { "NORMAL" })?;
            self.waits = promised;
        }
        Ok(())
    }

    /// A commit was promised, and is not answered yet. What it wrote is on disk with everything before it; where it wrote nothing, as
    /// for events that are all known, what they say is kept may still be with the system.
    ///
    /// # Errors
    /// As for [`Self::after_commit`].
    pub fn before_answer(&mut self, wrote: bool) -> Result<(), StoreError> {
        if !wrote && self.since.is_some() {
            return self.sync();
        }
        self.since = None;
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
        if self.due_in() == Some(Duration::ZERO) { self.sync() } else { Ok(()) }
    }

    /// There are no more commits: syncs what is not. The process may end long before the system would do so by itself.
    ///
    /// # Errors
    /// As for [`Self::after_commit`].
    pub fn end(&mut self) -> Result<(), StoreError> {
        if self.since.is_some() { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let failed = |source| StoreError::File { what: "sync the log", path: self.log.clone(), source };
        if let Some(log) = &self.open {
            log.sync_data().map_err(failed)?;
        }
        self.since = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn a_promise_that_wrote_nothing_syncs_what_came_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (places, _lock) = open::lock(dir.path()).unwrap();
        let sql = open::writer(&places).unwrap();
        sql.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        let mut syncs = Syncs::new(&places);
        syncs.before_answer(false).unwrap();
        let unpromised = |syncs: &mut Syncs| {
            syncs.before_commit(&sql, false).unwrap();
            syncs.after_commit(true).unwrap();
        };
        unpromised(&mut syncs);
        // A pipe cannot be synced, which tells whether it was tried.
        let (pipe, _other) = std::io::pipe().unwrap();
        let log = syncs.open.replace(File::from(std::os::fd::OwnedFd::from(pipe)));
        syncs.before_answer(false).unwrap_err();
        syncs.before_answer(true).unwrap();
        assert_eq!(syncs.due_in(), None, "it was synced by the commit");
        syncs.before_answer(false).unwrap();
        syncs.open = log;
        unpromised(&mut syncs);
        syncs.before_answer(false).unwrap();
        assert_eq!(syncs.due_in(), None);
    }

    #[test]
    fn what_nobody_was_told_of_is_due_for_the_disk_soon_and_is_there_when_the_store_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (places, _lock) = open::lock(dir.path()).unwrap();
        let sql = open::writer(&places).unwrap();
        sql.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        let mut syncs = Syncs::new(&places);
        let commit = |syncs: &mut Syncs, promised: bool| {
            syncs.before_commit(&sql, promised).unwrap();
            sql.execute("INSERT INTO t VALUES (NULL)", []).unwrap();
            syncs.after_commit(true).unwrap();
        };
        commit(&mut syncs, true);
        assert_eq!(syncs.due_in(), None, "it has waited");
        let mode = || sql.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(mode(), 2);
        commit(&mut syncs, false);
        assert_eq!(mode(), 1);
        assert!(syncs.due_in().is_some_and(|due| due <= UNSYNCED));
        // A pipe cannot be synced: the ending that asks for it is told.
        let (pipe, _other) = std::io::pipe().unwrap();
        let log = syncs.open.replace(File::from(std::os::fd::OwnedFd::from(pipe)));
        let failed = syncs.end().unwrap_err();
        assert!(!failed.is_disk_full(), "{failed}");
        assert!(syncs.due_in().is_some(), "nobody takes it for done");
        syncs.open = log;
        syncs.end().unwrap();
        assert_eq!(syncs.due_in(), None);
    }
}
