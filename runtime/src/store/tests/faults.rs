//! A disk that is full, and one that fails to sync: SQLite's own calls to the disk are answered as such a disk would.
//!
//! The calls are those of the system's VFS, with three of them replaced for files in a folder that a test names. Nothing
//! of the store is different for it.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use super::*;
use crate::store::{AcceptError, DeliveryFilter, StoreError};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Every write says that there is no room.
    Full,
    /// Every sync fails.
    Sync,
}

#[derive(Default)]
struct Disks {
    faults: HashMap<PathBuf, Fault>,
    /// Open files: their path, and what they were opened with.
    files: HashMap<usize, (PathBuf, &'static ffi::sqlite3_io_methods)>,
    /// Folders of which it is kept what was synced: where.
    synced: HashMap<PathBuf, PathBuf>,
}

type Open =
    unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *const c_char, *mut ffi::sqlite3_file, c_int, *mut c_int) -> c_int;

static OPEN: OnceLock<Open> = OnceLock::new();
static DISKS: OnceLock<Mutex<Disks>> = OnceLock::new();

fn disks() -> MutexGuard<'static, Disks> {
    DISKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files in this folder are on a disk with faults, once the store is opened.
fn on_faulty_disk(folder: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default VFS exists for as long as the process; its copy is never freed, differs in one function
        // only, and that one calls the original with the same arguments.
        unsafe {
            let mut vfs = *ffi::sqlite3_vfs_find(std::ptr::null());
            OPEN.set(vfs.xOpen.expect("a VFS opens files")).expect("set once");
            vfs.xOpen = Some(open);
            vfs.zName = c"faulty".as_ptr();
            vfs.pNext = std::ptr::null_mut();
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1), ffi::SQLITE_OK);
        }
    });
    disks().faults.insert(folder.to_owned(), Fault::None);
}

fn fail(folder: &Path, fault: Fault) {
    disks().faults.insert(folder.to_owned(), fault);
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let original = OPEN.get().expect("set before this is registered");
    // SAFETY: SQLite calls this with what the original takes.
    let code = unsafe { original(vfs, name, file, flags, out) };
    if code != ffi::SQLITE_OK || name.is_null() {
        return code;
    }
    // SAFETY: a name is a string that ends with a zero.
    let name = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    let mut disks = disks();
    if name.parent().is_none_or(|folder| !disks.faults.contains_key(folder)) {
        return code;
    }
    // SAFETY: an open file has its methods, which live as long as the process.
    unsafe {
        let methods: &'static ffi::sqlite3_io_methods = &*(*file).pMethods;
        disks.files.insert(file as usize, (name, methods));
        let mut faulty = *methods;
        faulty.xWrite = Some(write);
        faulty.xSync = Some(sync);
        faulty.xClose = Some(close);
        (*file).pMethods = Box::leak(Box::new(faulty));
    }
    code
}

/// What this file was opened with, and what is wrong with its disk.
fn of(file: *mut ffi::sqlite3_file) -> (&'static ffi::sqlite3_io_methods, Fault) {
    let disks = disks();
    let (path, methods) = &disks.files[&(file as usize)];
    (methods, disks.faults[path.parent().expect("it is in a folder")])
}

/// Keeps what this file has now as what the disk has for certain.
fn keep(file: *mut ffi::sqlite3_file) {
    let disks = disks();
    let (path, _) = &disks.files[&(file as usize)];
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    if let Some(to) = disks.synced.get(folder) {
        match std::fs::copy(path, to.join(name)) {
            // The test is over, and its folders are gone before its store is.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("there is room for it")),
        }
    }
}

/// From now on it is kept in the other folder what is certainly on disk of this one.
pub(super) fn keep_synced(folder: &Path, to: &Path) {
    disks().synced.insert(folder.to_owned(), to.to_owned());
}

/// Looks while nothing is written or synced on these disks, checkpoints included.
pub(super) fn while_they_stand_still<T>(look: impl FnOnce() -> T) -> T {
    let _disks = disks();
    look()
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    number: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    match of(file) {
        (_, Fault::Full) => ffi::SQLITE_FULL,
        // SAFETY: SQLite calls this with what the original takes.
        (methods, _) => unsafe { methods.xWrite.expect("files are written")(file, bytes, number, at) },
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    match of(file) {
        (_, Fault::Sync) => ffi::SQLITE_IOERR_FSYNC,
        // SAFETY: SQLite calls this with what the original takes.
        (methods, _) => {
            // SAFETY: SQLite calls this with what the original takes.
            let code = unsafe { methods.xSync.expect("files are synced")(file, flags) };
            if code == ffi::SQLITE_OK {
                keep(file);
            }
            code
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let (methods, _) = of(file);
    disks().files.remove(&(file as usize));
    // SAFETY: SQLite calls this with what the original takes.
    unsafe { methods.xClose.expect("files are closed")(file) }
}

pub(super) async fn on_disk() -> (Bed, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    // SQLite opens the file behind every link.
    let folder = dir.path().canonicalize().unwrap();
    on_faulty_disk(&folder);
    (Bed::within(dir, 1).await, folder)
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_taken_or_acknowledged_and_what_was_is_there_after_a_restart() {
    let (bed, folder) = on_disk().await;
    assert_eq!(bed.accept(&["a", "b"]).await.accepted, 2);
    let claimed = bed.claim(1, NOW).await.remove(0);
    fail(&folder, Fault::Sync);
    let refused = bed.store.accept(vec![bed.event("c")]).await.unwrap_err();
    assert!(matches!(refused, AcceptError::Stopped(_)), "{refused}");
    // The disk works again, but nobody knows what it holds.
    fail(&folder, Fault::None);
    let refused = bed.store.accept(vec![bed.event("d")]).await.unwrap_err();
    assert!(matches!(refused, AcceptError::Stopped(_)), "{refused}");
    let refused = bed.store.settle(vec![settlement(&claimed, Settle::Delivered)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Stopped(_)), "{refused}");
    let refused = bed.store.create_source(&bed.actor, "late").await.unwrap_err();
    assert!(matches!(refused, StoreError::Stopped(_)), "{refused}");
    let bed = bed.reopen();
    let owed: Vec<_> = bed.claim(10, NOW).await.into_iter().map(|delivery| delivery.event.message_id).collect();
    assert!(owed.starts_with(&["a".to_owned(), "b".to_owned()]), "{owed:?}");
    assert!(!owed.contains(&"d".to_owned()), "what was refused at once is not there");
    bed.ledger().await;
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_keeps_what_is_settled_and_goes_on_when_there_is_room() {
    let (bed, folder) = on_disk().await;
    assert_eq!(bed.accept(&["a", "b"]).await.accepted, 2);
    let claimed = bed.claim(2, NOW).await;
    fail(&folder, Fault::Full);
    let refused = bed.store.accept(vec![bed.event("c")]).await.unwrap_err();
    assert!(matches!(refused, AcceptError::DiskFull { .. }), "{refused}");
    let refused = bed.store.create_source(&bed.actor, "late").await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull), "{refused}");
    assert_eq!(bed.ledger().await, counts(2, 0, 0, 0, 2), "nothing of it is stored");
    // What the partner has cannot be unsent: its settlement waits for room.
    let settling = bed.store.settle(vec![settlement(&claimed[0], Settle::Delivered)]);
    tokio::pin!(settling);
    let waiting = tokio::time::timeout(Duration::from_millis(700), &mut settling).await;
    assert!(waiting.is_err(), "it waits: {waiting:?}");
    fail(&folder, Fault::None);
    assert_eq!(settling.await.unwrap(), [super::super::Settled::Done]);
    assert_eq!(bed.accept(&["c"]).await.accepted, 1, "taken without a restart");
    bed.store.create_source(&bed.actor, "late").await.unwrap();
    assert_eq!(bed.settle(&claimed[1], Settle::Delivered).await, super::super::Settled::Done);
    assert_eq!(bed.ledger().await, counts(3, 2, 0, 0, 1));
}

#[tokio::test]
async fn whoever_leaves_does_not_wait_for_room() {
    let (bed, folder) = on_disk().await;
    bed.accept(&["a"]).await;
    let claimed = bed.claim(1, NOW).await.remove(0);
    fail(&folder, Fault::Full);
    bed.store.leave();
    let refused = bed.store.settle(vec![settlement(&claimed, Settle::Delivered)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull), "{refused}");
}

#[tokio::test]
async fn what_became_of_deliveries_does_not_wait_for_the_disk_and_a_power_failure_only_makes_them_owed_again() {
    let (bed, folder) = on_disk().await;
    assert_eq!(bed.accept(&["a", "b"]).await.accepted, 2);
    let promised = std::fs::metadata(folder.join("tidegate.db-wal")).unwrap().len();
    let claimed = bed.claim(2, NOW).await;
    // A commit that waited would fail.
    fail(&folder, Fault::Sync);
    for delivery in &claimed {
        assert_eq!(bed.settle(delivery, Settle::Delivered).await, super::super::Settled::Done);
    }
    assert_eq!(bed.ledger().await, counts(2, 2, 0, 0, 0));

    // What the disk has then: the log as far as it was synced.
    let after = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
        }
    }
    let log = std::fs::File::options().write(true).open(after.path().join("tidegate.db-wal")).unwrap();
    assert!(log.metadata().unwrap().len() > promised, "the settlements are in the log");
    log.set_len(promised).unwrap();
    drop(std::fs::remove_file(after.path().join("tidegate.db-shm")));
    let Bed { actor, source, destinations, connections, .. } = bed;
    let bed = Bed { store: super::open(after.path()), dir: after, actor, source, destinations, connections };
    assert_eq!(bed.ledger().await, counts(2, 0, 0, 0, 2));
    assert_eq!(bed.claim(2, NOW).await.len(), 2);
}

#[tokio::test]
async fn damaged_events_stay_owed_and_hold_up_nothing_else() {
    let bed = Bed::new(1).await;
    for id in ["retried", "fresh", "dead", "sound"] {
        bed.accept(&[id]).await;
    }
    let claimed = bed.claim(4, NOW).await;
    assert_eq!(ids(&claimed), ["retried", "fresh", "dead", "sound"]);
    bed.settle(&claimed[0], Settle::RetryAt(NOW)).await;
    bed.settle(&claimed[2], Settle::Dead).await;
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    // The last byte is the seal's.
    let change = "UPDATE event_blocks SET data = CAST(substr(data, 1, length(data) - 1) || x'00' AS BLOB) WHERE seq < \
                  (SELECT max(seq) FROM event_blocks)";
    assert_eq!(sql.execute(change, []).unwrap(), 3);
    drop(sql);
    let bed = bed.reopen();
    for _ in 0..2 {
        let claimed = bed.claim(10, NOW).await;
        assert_eq!(ids(&claimed), ["sound"], "the others are not claimed, and stop nothing");
        bed.settle(&claimed[0], Settle::RetryAt(NOW)).await;
    }
    assert_eq!(bed.store.due(NOW).0.len(), 1, "of what can be tried");
    assert_eq!(bed.ledger().await, counts(4, 0, 0, 1, 3));
    let dead = DeliveryFilter { states: vec![crate::model::DeliveryState::Dead], ..DeliveryFilter::default() };
    let (destinations, until) = bed.store.replay_scope(&bed.actor, &dead).await.unwrap();
    let from = Default::default();
    let wanted = crate::store::Wanted { filter: dead, destination: destinations[0], until, from, most: 10 };
    assert!(bed.store.replay_candidates(wanted).await.unwrap().items.is_empty());
    let refused = bed.store.get_delivery(&bed.actor, claimed[1].id).await.unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { what: "event block", .. }), "{refused}");
}
