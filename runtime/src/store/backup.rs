//! Backup and restore: a whole data directory becomes a folder that has all it takes to run the host again.
//!
//! Guarantees: a backup is one moment of the database, also while the host runs, with every component that this moment names; it
//! is complete only once its record is written, which has the digest of every file; what is restored is compared with it, and a
//! folder that holds anything is never written over.
//!
//! The backup has the host's secrets as the data directory has them: protect it alike.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::open;
use crate::model::Timestamp;

/// What is complete has this file.
const RECORD: &str = "backup.json";

const DATABASE: &str = "tidegate.db";

/// What a host makes anew: the database's own companions, the lock, and compiled code with the key that authenticates it.
const LEFT: [&str; 5] = ["tidegate.db-wal", "tidegate.db-shm", "lock", "compiled", "compiled.key"];

/// The version of the record.
const FORMAT: u32 = 1;

/// Bytes that are copied at a time.
const PIECE: usize = 64 << 10;

/// What a backup is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRecord {
    format: u32,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Its files by their path, with `/` between folders.
    pub files: BTreeMap<String, BackupFile>,
}

/// One file of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl BackupRecord {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("`{0}` is no data directory: it has no `{DATABASE}`")]
    NoData(PathBuf),
    /// There is no complete backup.
    #[error("`{0}` is no complete backup: it has no `{RECORD}`, which is written last")]
    NoBackup(PathBuf),
    /// Something is there already.
    #[error("`{0}` is not empty: name a folder that is, or that does not exist")]
    NotEmpty(PathBuf),
    /// The record is not one of ours.
    #[error("`{RECORD}` cannot be read: {0}")]
    Record(String),
    /// A file is not as it was.
    #[error("`{file}` in the backup is damaged: {why}; take another backup")]
    Damaged {
        /// Which.
        file: String,
        /// In which way.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} `{path}`: {error}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The database does not take part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::Io { what, path, error }
}

/// How far a backup or a restore is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackupStep {
    /// The database is read as of one moment, which has no measure.
    Database,
    /// So many of so many bytes are copied.
    Copied {
        /// How many so far.
        done: u64,
        /// How many in all.
        total: u64,
    },
    /// What was restored is looked through.
    Check,
}

/// Counts what is copied, and tells it.
struct Copying<'a> {
    done: u64,
    total: u64,
    tell: &'a mut dyn FnMut(BackupStep),
}

impl Copying<'_> {
    fn moved(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.tell)(BackupStep::Copied { done: self.done, total: self.total });
    }
}

/// Copies a data directory into a folder, also while a host runs on it, and tells how far it is. Blocks for as long as the copying takes.
///
/// # Errors
/// See [`BackupError`]. What was written has no record then, and is no backup.
pub fn backup(
    data: &Path,
    to: &Path,
    now: Timestamp,
    tell: &mut dyn FnMut(BackupStep),
) -> Result<BackupRecord, BackupError> {
    if !data.join(DATABASE).is_file() {
        return Err(BackupError::NoData(data.to_owned()));
    }
    make_empty(to)?;
    tell(BackupStep::Database);
    // One moment of the database. Components come after it: each is on disk before a row names it, and stays.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(data.join(DATABASE), flags)?;
    sql.execute("VACUUM INTO ?1", [to.join(DATABASE).to_string_lossy()])?;
    drop(sql);
    let (folders, found) = found(data)?;
    for folder in folders {
        fs::create_dir(to.join(&folder)).map_err(failed("make the folder", &to.join(&folder)))?;
    }
    let database = to.join(DATABASE);
    let size = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).map_err(failed("read", path));
    let mut total = size(&database)?;
    for path in &found {
        total += size(&data.join(path))?;
    }
    let mut copying = Copying { done: 0, total, tell };
    let mut files = BTreeMap::from([(DATABASE.to_owned(), measured(&database, &mut copying)?)]);
    for path in found {
        let file = copied(&data.join(&path), &to.join(&path), &mut copying)?;
        files.insert(path.to_string_lossy().into_owned(), file);
    }
    let record = BackupRecord { format: FORMAT, made_at: now, files };
    // It has only texts and numbers.
    let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    let path = to.join(RECORD);
    let mut file = File::create_new(&path).map_err(failed("make", &path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("write", &path))?;
    sync_folder(to)?;
    Ok(record)
}

/// What of a data directory belongs into a backup beside the database: folders, the outer ones first, and files.
fn found(data: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), BackupError> {
    let (mut folders, mut files, mut next) = (Vec::new(), Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = next.pop() {
        let at = data.join(&folder);
        for entry in fs::read_dir(&at).map_err(failed("read the folder", &at))? {
            let path = folder.join(entry.map_err(failed("read the folder", &at))?.file_name());
            let name = path.to_string_lossy();
            if name == DATABASE || LEFT.contains(&&*name) {
                continue;
            }
            if data.join(&path).is_dir() {
                folders.push(path.clone());
                next.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok((folders, files))
}

/// Makes a data directory of a backup, and tells how far it is.
///
/// # Errors
/// See [`BackupError`]. The folder is as it was then, or has files that no host should be started on, and the error says so.
pub fn restore(from: &Path, data: &Path, tell: &mut dyn FnMut(BackupStep)) -> Result<BackupRecord, BackupError> {
    let path = from.join(RECORD);
    if !path.is_file() {
        return Err(BackupError::NoBackup(from.to_owned()));
    }
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let record: BackupRecord = serde_json::from_slice(&text).map_err(|error| BackupError::Record(error.to_string()))?;
    check(&record)?;
    make_empty(data)?;
    let written = copy_all(&record, from, data, tell);
    if written.is_err() {
        // Half a data directory must not look like a whole one. What cannot be removed was said in the error already.
        for name in record.files.keys() {
            drop(fs::remove_file(data.join(name)));
        }
    }
    written.map(|()| record)
}

fn check(record: &BackupRecord) -> Result<(), BackupError> {
    if record.format != FORMAT {
        return Err(BackupError::Record(format!("its format is {}, this program knows {FORMAT}", record.format)));
    }
    if !record.files.contains_key(DATABASE) {
        return Err(BackupError::Record(format!("it names no `{DATABASE}`")));
    }
    let inside = |name: &&String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    match record.files.keys().find(|name| !inside(name)) {
        Some(name) => Err(BackupError::Record(format!("it names `{name}`, which lies outside of the folder"))),
        None => Ok(()),
    }
}

fn copy_all(
    record: &BackupRecord,
    from: &Path,
    data: &Path,
    tell: &mut dyn FnMut(BackupStep),
) -> Result<(), BackupError> {
    let mut copying = Copying { done: 0, total: record.bytes(), tell };
    for (name, expected) in &record.files {
        let (source, target) = (from.join(name), data.join(name));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        }
        if !source.is_file() {
            return Err(BackupError::Damaged { file: name.clone(), why: "it is missing".to_owned() });
        }
        let found = copied(&source, &target, &mut copying)?;
        if found != *expected {
            let why = format!("it has the digest {} instead of {}", found.sha256, expected.sha256);
            return Err(BackupError::Damaged { file: name.clone(), why });
        }
    }
    (copying.tell)(BackupStep::Check);
    let database = data.join(DATABASE);
    let sql = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sound: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(BackupError::Damaged { file: DATABASE.to_owned(), why: sound });
    }
    let found: i64 = sql.pragma_query_value(None, "user_version", |row| row.get(0))?;
    open::check_version(found, data)?;
    sync_folder(data)
}

/// Makes a folder that holds nothing.
fn make_empty(folder: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
    let mut entries = fs::read_dir(folder).map_err(failed("read the folder", folder))?;
    if entries.next().is_some() { Err(BackupError::NotEmpty(folder.to_owned())) } else { Ok(()) }
}

fn copied(from: &Path, to: &Path, copying: &mut Copying<'_>) -> Result<BackupFile, BackupError> {
    let mode = fs::metadata(from).map_err(failed("read", from))?.permissions();
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mut target = File::create_new(to).map_err(failed("make", to))?;
    // Before the first byte: what only the host's user may read is never readable for others.
    target.set_permissions(mode).map_err(failed("protect", to))?;
    let file = through(&mut source, from, Some((&mut target, to)), copying)?;
    target.sync_all().map_err(failed("write", to))?;
    Ok(file)
}

fn measured(path: &Path, copying: &mut Copying<'_>) -> Result<BackupFile, BackupError> {
    let mut file = File::open(path).map_err(failed("read", path))?;
    file.sync_all().map_err(failed("write", path))?;
    through(&mut file, path, None, copying)
}

fn through(
    source: &mut File,
    from: &Path,
    mut to: Option<(&mut File, &Path)>,
    copying: &mut Copying<'_>,
) -> Result<BackupFile, BackupError> {
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let read = source.read(&mut piece).map_err(failed("read", from))?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        bytes += read as u64;
        copying.moved(read);
        if let Some((target, path)) = &mut to {
            target.write_all(&piece[..read]).map_err(failed("write", path))?;
        }
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(BackupFile { bytes, sha256 })
}

fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write the folder", folder))
}
