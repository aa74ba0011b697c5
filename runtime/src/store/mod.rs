//! Steps "accept", "claim" and "settle": the only SQL, and the memory that goes with it.
//!
//! Guarantees: what was acknowledged is on disk; a transition is one transaction; the ledger's sum holds at every moment, also after a
//! crash; one process has a directory; a caller is never kept waiting without bound. Everything that people make belongs to a workspace
//! or a partner, and every statement filters by it.
//!
//! A way through: [`Store::accept`] hands events to the writer, which puts those of one commit from one source into one *event
//! block* and what each connection owes of them into one *delivery block*, a byte for each delivery. [`Store::claim`] reads them back in
//! order; claims are in memory (see `lanes.rs`). [`Store::settle`] changes the bytes. Only what is tried again or given up becomes a row of
//! its own. Figures for this layout come from `tidegate bench store` and stand in `runtime/README.md`.
//!
//! Deleting a destination, a connection or a source filters what is still owed through it, so that the ledger holds; a destination that is
//! switched off keeps what it owes until it is on again.
//!
//! It leaves to others: what an event owes, what an outcome means, when to try again, and whether settings are right.

mod accept;
mod attempts;
mod audit;
mod backlog;
mod backup;
pub(crate) mod baseline;
mod cache;
mod candidates;
mod checkpoint;
mod claim;
mod codec;
mod components;
mod connections;
mod consent;
mod control;
mod deliveries;
mod destinations;
mod destroy;
mod disk;
mod error;
mod functions;
mod handle;
mod invitations;
mod keys;
mod lanes;
mod ledger;
mod links;
mod logs;
mod newest;
mod numbers;
mod once;
mod open;
mod plane;
mod progress;
mod prune;
mod queue;
mod readers;
mod readmit;
mod replays;
mod reviews;
mod routes;
mod rows;
mod sealing;
mod secrets;
mod seen;
mod select;
mod settle;
mod settled;
mod signing;
mod snapshot;
mod sources;
mod states;
mod statistics;
mod suppressions;
mod syncs;
mod tenancy;
mod tenants;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod types;
mod vaulting;
mod version_texts;
mod wishes;
mod work;
mod writer;

pub use attempts::{AttemptRecord, NewAttempt, Record};
pub use audit::AuditVerdict;
pub(crate) use backlog::{Backlog, DRIFT, nearer};
pub use backup::{BackupError, BackupFile, BackupRecord, BackupStep, backup, restore};
pub use candidates::{Candidate, Candidates, Wanted};
pub use destroy::Destroyed;
pub use error::{AcceptError, KeyError, LinkError, StoreError};
pub use handle::Store;
pub use lanes::Cursor;
pub use links::NewLink;
pub use once::{KeptAnswer, Once};
pub use readmit::{Readmission, ReplayStep};
pub use replays::{NewReplay, Replay, RunningReplay};
pub use routes::{ConnectionRoute, DestinationRoute, Routes, SourceRoute};
pub use select::DeliveryFilter;
pub use tenants::TenantId;
pub use types::{
    Accepted, AuditFilter, AuditLine, ConnectionPatch, DeadLetter, DeliveryDetail, DeliverySummary, DestinationPatch,
    Failure, Ledger, LedgerScope, LogEntry, LogFilter, LogPage, LogPart, NewConnection, NewDestination, NewEvent,
    NewKey, NewReview, NewSecret, Owed, OwedState, Page, Paged, Settle, Settled, Settlement, SourcePatch, Standing,
    StoreConfig, Turn, Vouched, Want,
};
pub use vaulting::VaultState;
pub use version_texts::Newest;
