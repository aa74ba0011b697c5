//! Beside the way of an event: deliveries that were given up, or made before, go it once more.
//!
//! Guarantees: a replay goes at its own rate, and live events come first: it gives nothing to a destination that is
//! behind with them, and never fills more than a part of a destination's places. What an event owes is asked anew at
//! the moment it is given back, by the same pure step that asks when an event comes in ([`crate::ingest::owed_now`]).
//! It goes on where it stood after any end of the process, and gives no event back twice.
//!
//! It leaves to others: trying what it gave back (`delivery`), and keeping its place (`store`).

mod pace;
mod plan;
mod readmit;
mod run;

pub use plan::{Plan, plan};
pub use run::{ReplayConfig, run};
