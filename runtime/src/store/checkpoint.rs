//! Checkpoint: what the log holds is written to where it belongs in the database, mostly beside the writer.
//!
//! It takes ten milliseconds and more, for which nobody's commit should wait; but the log is written from its beginning again only
//! when nothing came in between, which beside a busy writer is never. So a thread of its own does the bulk of it, and the writer,
//! once the log is long, the few pages that came meanwhile. Guarantees: the log is bounded; what fails stops the writer, as a commit's failure does.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};

use super::error::StoreError;
use super::open;
use super::types::Places;

/// New pages of the log from which on there is a checkpoint: 4 MB. Four times as many give the disk so much at once that commits
/// beside it are seen to wait.
const DUE: i32 = 1_000;

/// Pages from which on the log is to begin anew, for which the writer does the rest of a checkpoint: 32 MB. Everybody's next commit
/// waits for that, so it is not done after each of them.
const LONG: i32 = 8_000;

/// Pages from which on commits wait for the one under way: 64 MB, which a disk that is not broken never lets come.
const MOST: i32 = 16_000;

/// How the checkpoint stands.
enum State {
    Idle,
    /// The thread writes.
    UnderWay,
    /// The bulk of it is done, and the rest is the writer's.
    Rest,
    Failed(rusqlite::Error),
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side.
pub(super) struct Checkpoints {
    /// Pages of the log after the last commit.
    pages: Arc<AtomicI32>,
    /// How many of them there were when the last checkpoint began.
    seen: Cell<i32>,
    shared: Arc<Shared>,
    /// Both there until it is dropped.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Checkpoints {
    /// Takes the checkpoints of the connection that writes over.
    pub fn start(writer: &mut Connection, places: &Places) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut _, pages| {
            counted.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let sql = open::beside(places)?;
        let shared = Arc::new(Shared { state: Mutex::new(State::Idle), changed: Condvar::new() });
        let (ask, asked) = channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
            run(&sql, &asked, &theirs);
        });
        let thread = thread.map_err(|source| StoreError::File {
            what: "start the checkpoint's thread for",
            path: places.database.clone(),
            source,
        })?;
        Ok(Self { pages, seen: Cell::new(0), shared, thread: Some((ask, thread)) })
    }

    /// A commit was answered: begins a checkpoint or ends one, where it is time. With `erase` nothing is left in the log, if no
    /// reader needs it at this moment; then `erase` is taken back.
    pub fn after_commit(&self, writer: &Connection, erase: &AtomicBool) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        let erases = erase.load(Ordering::Acquire);
        // Fewer than were seen: the log has begun anew.
        let new = pages - Some(self.seen.get()).filter(|seen| *seen <= pages).unwrap_or(0);
        let mut state = self.shared.lock();
        while matches!(*state, State::UnderWay) && (erases || pages >= MOST) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *state, State::Idle) {
            State::Idle | State::Rest if erases => {
                drop(state);
                // Whoever reads for long is not waited for: everybody's next commit would wait, too.
                let waited = writer.query_row("PRAGMA busy_timeout", [], |row| row.get::<_, i64>(0))?;
                writer.pragma_update(None, "busy_timeout", 0)?;
                let busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
                writer.pragma_update(None, "busy_timeout", waited)?;
                erase.store(busy?, Ordering::Release);
            }
            State::Rest if pages >= LONG => {
                drop(state);
                checkpoint(writer)?;
            }
            State::Idle | State::Rest if new >= DUE => {
                self.seen.set(pages);
                let asked = self.thread.as_ref().is_some_and(|(ask, _)| ask.send(()).is_ok());
                if asked {
                    *state = State::UnderWay;
                } else {
                    // The thread has crashed, and said so.
                    drop(state);
                    checkpoint(writer)?;
                }
            }
            State::Idle | State::Rest => {}
            State::UnderWay => *state = State::UnderWay,
            State::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some((ask, thread)) = self.thread.take() {
            drop(ask);
            // What went wrong in it was said where it did.
            let _ = thread.join();
        }
    }
}

/// Leaves what is under way to the writer, however the thread ends.
struct Left<'a>(&'a Shared);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::UnderWay) {
            *state = State::Rest;
        }
        self.0.changed.notify_all();
    }
}

fn run(sql: &Connection, asked: &Receiver<()>, shared: &Shared) {
    let left = Left(shared);
    while asked.recv().is_ok() {
        let done = checkpoint(sql);
        *shared.lock() = done.map_or_else(State::Failed, |()| State::Rest);
        shared.changed.notify_all();
    }
    drop(left);
}

/// Writes what can be written without waiting for anybody.
fn checkpoint(sql: &Connection) -> rusqlite::Result<()> {
    match sql.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        // The log keeps what there was no room for, and goes on growing until there is none for itself: then commits fail, and
        // know what to do.
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) => {
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_writers_log_is_bounded_and_all_of_it_arrives_in_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let (places, _lock) = open::lock(dir.path()).unwrap();
        let mut writer = open::writer(&places).unwrap();
        writer.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB NOT NULL)").unwrap();
        let checkpoints = Checkpoints::start(&mut writer, &places).unwrap();
        let mut most = 0;
        for commit in 0..3_000 {
            writer.execute_batch("BEGIN").unwrap();
            // Places that are far apart, so that each is a page of its own.
            for row in 0..15 {
                let insert = "INSERT OR REPLACE INTO t VALUES (?1, zeroblob(3000))";
                writer.prepare_cached(insert).unwrap().execute([(row * 977 + commit * 31) % 20_000]).unwrap();
            }
            writer.execute_batch("COMMIT").unwrap();
            checkpoints.after_commit(&writer, &AtomicBool::new(false)).unwrap();
            most = most.max(checkpoints.pages.load(Ordering::Relaxed));
        }
        assert!((DUE..MOST).contains(&most), "{most} pages");
        assert!(checkpoints.pages.load(Ordering::Relaxed) < most, "it was written from its beginning again");
        drop(checkpoints);
        let count = |sql: &Connection| sql.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        let rows = count(&writer);
        drop(writer);
        // Without the log: its last user wrote the rest where it belongs, and it is gone.
        assert!(!places.database.with_extension("db-wal").exists());
        assert_eq!(count(&Connection::open(&places.database).unwrap()), rows);
    }
}
