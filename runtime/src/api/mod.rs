//! The first step of an event's way, and the control plane: everything that comes in over HTTP.
//!
//! Guarantees: a tracking request is answered `200` only after its events are on disk; every body is bounded while it
//! is read, after decompression; no call of the control API runs without an [`Actor`](crate::model::Actor) whose role may make it (`policy.rs`); errors are
//! of one form for each API, with stable codes; a secret setting never leaves.
//!
//! Leaves to others: what a valid event is (`ingest`), what is stored (`store`), what a component may be (`catalog`).

mod auth;
mod body;
mod changing;
pub mod control;
mod etags;
mod extract;
mod health;
mod ingest_spans;
mod metrics;
mod once;
mod policy;
mod problem;
mod problems;
mod serve;
mod spool;
mod state;
mod tracking;
mod tracking_answer;
mod wrong_keys;

pub use control::admin_router;
pub use problem::Problem;
pub use serve::{Peer, serve};
pub use state::{ApiState, Standing, Trials};
pub use tracking::public_router;
