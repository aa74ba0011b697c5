//! Delivery: the steps from *claim* to *settle* of an event's way.
//!
//! Guarantees: a claimed delivery is settled exactly once for each attempt, or given back; a guest's failure becomes an
//! outcome, the host's own failure costs no attempt; one destination that hangs fills only its own lane.
//!
//! Leaves to others: what a claim means durably (`store`), running the guest (`sandbox`), whom it may reach (`egress`).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::egress::Gate;
use crate::model::Limits;
use crate::sandbox::Sandbox;
use crate::store::{Store, StoreError};
use crate::telemetry::DeliveryMetrics;

mod attempt;
mod classify;
mod dispatcher;
mod lane;
mod record;
mod retry;
mod settler;
mod trial;

pub use classify::classify;
pub use record::{STORED_BODY_BYTES, redact_outcome, report};
pub use retry::{Disposition, RetryPolicy};
pub use trial::Trials;

/// How deliveries are attempted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryConfig {
    /// Attempts under way at the same time, over all destinations.
    pub in_flight: usize,
    /// Attempts under way at the same time for one destination.
    pub in_flight_per_destination: usize,
    /// How long attempts under way may go on when the host shuts down.
    pub shutdown_grace: Duration,
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
}

/// What delivery is built from.
pub struct Parts {
    /// Where deliveries are claimed and settled.
    pub store: Arc<Store>,
    /// Where guests run.
    pub sandbox: Arc<Sandbox>,
    /// What their requests go through.
    pub gate: Arc<Gate>,
    /// The operator's limits, the ceiling of every function's.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<DeliveryMetrics>,
}

/// Delivers what the store owes until `stop` is cancelled; returns when everything under way is settled or given back.
///
/// # Errors
///
/// The store can no longer be written or read. What was under way stays owed and is delivered after a restart.
pub async fn run(parts: Parts, config: DeliveryConfig, stop: CancellationToken) -> Result<(), StoreError> {
    let attempts = attempt::Attempts::new(parts, config.retry.clone());
    dispatcher::run(attempts, config, stop).await
}
