//! What can go wrong in the store.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Digest, KeyId, Timestamp, listing};
use crate::vault::VaultError;

/// Why the store did not do what was asked. Nothing of the call has happened then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error(
        "the data directory `{0}` is in use by another tidegate process: stop that one, or name another directory with `--data`"
    )]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {what} `{path}`: {source}")]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database refused a statement.
    #[error("the database failed: {0}")]
    Database(#[source] rusqlite::Error),
    /// A newer program wrote this directory.
    #[error(
        "the data directory `{dir}` has schema version {found}, this program knows up to {known}: start the newer program"
    )]
    TooNew {
        /// The directory.
        dir: PathBuf,
        /// The version it has.
        found: i64,
        /// The last version this program knows.
        known: i64,
    },
    /// The name is taken.
    #[error("there is already a {kind} `{name}`: {}", otherwise(kind))]
    Conflict {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is no such thing for this actor.
    #[error("there is no {kind} `{id}` here: {} shows those there are", listing(kind))]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// The id that was given.
        id: String,
    },
    /// A code opens no function.
    #[error(
        "the code opens no function: it is wrong, over or taken back, or its function is not out yet; ask the partner for a new one"
    )]
    NoInvitation,
    /// Somebody changed it between the look and the change.
    #[error("the {kind} `{id}` was changed by others at the same moment, and nothing was done: do it again")]
    Changed {
        /// What kind of thing.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// It cannot be done in the state in which the thing is.
    #[error("cannot {what} `{id}`: {why}")]
    NotNow {
        /// What was tried, as a verb and a kind.
        what: &'static str,
        /// The id that was given.
        id: String,
        /// Why not and what would help.
        why: String,
    },
    /// A partner that requires signatures sent an upload without one.
    #[error(
        "the upload of `{function}` is not signed, and its partner requires that: `tidegate function push --sign-key FILE` signs it"
    )]
    Unsigned {
        /// The function's name.
        function: String,
    },
    /// Another version of the function has the version text of an upload.
    #[error(
        "`{function}` has a version {version} already, of other bytes ({taken}): raise `version` in function.toml, and upload that; \
         a script without one gets its own number"
    )]
    VersionTaken {
        /// The function's name.
        function: String,
        /// The version text.
        version: String,
        /// The digest of the version that has it.
        taken: Digest,
    },
    /// A signed upload is not newer than one that was taken before.
    #[error(
        "the signature of `{function}` has the sequence {sequence}, and {last} was taken before: an older signed version is not \
         taken as a new one; sign it again if it is meant"
    )]
    Replayed {
        /// The function's name.
        function: String,
        /// The upload's sequence.
        sequence: u64,
        /// The newest one that was taken.
        last: u64,
    },
    /// A page's cursor is not one that this store gave out.
    #[error("`{0}` is not a page cursor: use the `next` of the page before, or leave it out")]
    BadCursor(String),
    /// What was stored cannot be read back.
    #[error("{what} `{id}` in the data directory is damaged: {why}; restore it from a backup")]
    Damaged {
        /// What kind of thing.
        what: &'static str,
        /// Which one.
        id: String,
        /// In which way.
        why: String,
    },
    /// There is no room for it on the disk.
    #[error("the disk of the data directory is full, and nothing was changed: make room, and try again")]
    DiskFull,
    /// A secret could not be sealed or opened, or a key not be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store stopped after a failed commit, or is closing.
    #[error("the store has stopped: {0}; nothing is taken until the process is started again")]
    Stopped(Arc<str>),
}

/// What to do where there is such a thing already.
fn otherwise(kind: &str) -> &'static str {
    match kind {
        // It has no name of its own: what it joins is all there is to it.
        "connection" => "`tidegate connection list` shows it",
        "signing key" => "`tidegate signing-key list` shows it, and whether it was taken back",
        _ => "choose another name, or change that one",
    }
}

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key has it, or its key is revoked.
    #[error("the bearer token is not known here")]
    Unknown,
    /// Its key has expired.
    #[error("the key `{key}` expired at {expired_at}")]
    Expired {
        /// Which key.
        key: KeyId,
        /// When.
        expired_at: Timestamp,
    },
}

/// Why a link opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// This host did not sign it, or what it was for is gone.
    #[error("the link is none of this host's, or was changed")]
    Unknown,
    /// It was not opened in time.
    #[error("the link could be opened until {0}: ask for a new one")]
    Expired(Timestamp),
    /// It opens once.
    #[error("the link was opened at {0}, and opens once: ask for a new one")]
    Opened(Timestamp),
    /// Whoever made it, or another admin, took it back.
    #[error("the link was taken back: ask for a new one")]
    Revoked,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl StoreError {
    /// Whether only this call is at fault, so that what was committed with it may stand.
    pub(super) fn is_callers(&self) -> bool {
        match self {
            Self::Changed { .. }
            | Self::Conflict { .. }
            | Self::NotFound { .. }
            | Self::NoInvitation
            | Self::NotNow { .. }
            | Self::BadCursor(_)
            | Self::Unsigned { .. }
            | Self::VersionTaken { .. }
            | Self::Replayed { .. }
            // Nothing of it was written, and nobody else needs that key.
            | Self::Vault(_) => true,
            Self::Locked(_)
            | Self::File { .. }
            | Self::Database(_)
            | Self::TooNew { .. }
            | Self::Damaged { .. }
            | Self::DiskFull
            | Self::Stopped(_) => false,
        }
    }

    /// Whether a write found no room. What was being written is not there then, and the disk is as it was: this can be gone
    /// on from, unlike a failed sync, after which nobody knows what the disk holds.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Database(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::DiskFull => true,
            Self::Locked(_)
            | Self::File { .. }
            | Self::TooNew { .. }
            | Self::Changed { .. }
            | Self::Conflict { .. }
            | Self::NotFound { .. }
            | Self::NoInvitation
            | Self::NotNow { .. }
            | Self::BadCursor(_)
            | Self::Unsigned { .. }
            | Self::VersionTaken { .. }
            | Self::Replayed { .. }
            | Self::Damaged { .. }
            | Self::Vault(_)
            | Self::Stopped(_) => false,
        }
    }
}

/// Why events were not accepted: not all of them are stored then. Those that are, are duplicates when they come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The queue to the disk is full.
    #[error("{queued} events are waiting for the disk, the most there may be (`store.queue_events`, `store.queue_bytes`): try again in {} s", retry_after.as_secs())]
    Overloaded {
        /// How many are waiting.
        queued: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk runs low.
    #[error(
        "the disk of the data directory has {free} bytes free, fewer than the {least} that are kept for what was taken before (`store.min_free_bytes`): try again when there is room"
    )]
    DiskLow {
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        least: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// A write found no room.
    #[error("the disk of the data directory is full: try again when there is room")]
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store stopped after a failed commit, or is closing.
    #[error("the store has stopped: {0}; nothing is taken until the process is started again")]
    Stopped(Arc<str>),
}
