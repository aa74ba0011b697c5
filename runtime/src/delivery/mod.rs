//! Delivery: the steps from *claim* to *settle* of an event's way.
//!
//! Guarantees: a claimed delivery is settled exactly once for each attempt, or given back; a guest's failure becomes an
//! outcome, the host's own failure costs no attempt; one destination that hangs, fails or is throttled slows no other.
//! Everything that decides is pure and takes the time as a value: `schedule` when an attempt begins, `conclude` what it
//! meant, `retry` what comes next. The dispatcher drives them with real time and guests.
//!
//! Leaves to others: what a claim means durably (`store`), running the guest (`sandbox`), whom it may reach (`egress`).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::egress::{Gate, HandleKey};
use crate::model::Ceilings;
use crate::sandbox::Sandbox;
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;

mod attempt;
mod caught;
mod classify;
mod conclude;
mod dice;
mod dispatcher;
#[cfg(test)]
mod mistakes;
mod prepared;
mod record;
mod retry;
mod schedule;
mod settler;
mod simulate;
mod spans;
mod trial;
mod watch;

pub use classify::classify;
pub use record::{Extent, Reports, redact_outcome};
pub use retry::{Disposition, RetryPolicy};
pub use schedule::{BreakerPolicy, ScheduleConfig};
pub use simulate::{Simulated, Violation, simulate};
pub use trial::Trials;
pub use watch::{Questions, Watch, watch};

/// How deliveries are attempted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryConfig {
    /// Which attempt is next.
    pub schedule: ScheduleConfig,
    /// How long attempts under way may go on when the host shuts down.
    pub shutdown_grace: Duration,
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// How long after its acceptance a delivery is tried that others wait behind.
    pub ordered_window: Duration,
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
    pub limits: Ceilings,
    /// The time of day, as guests see it.
    pub clock: Clock,
    /// What is counted and traced.
    pub telemetry: Telemetry,
    /// What people ask of deliveries.
    pub questions: Questions,
    /// Where attempts run.
    pub guests: tokio::runtime::Handle,
}

/// Delivers what the store owes until `stop` is cancelled; returns when everything under way is settled or given back.
///
/// # Errors
///
/// The store can no longer be written or read. What was under way stays owed and is delivered after a restart.
pub async fn run(parts: Parts, config: DeliveryConfig, stop: CancellationToken) -> Result<(), StoreError> {
    let Parts { store, sandbox, gate, limits, clock, telemetry, questions, guests } = parts;
    let means = Arc::new(prepared::Means { store: Arc::clone(&store), gate, limits, handles: HandleKey::random() });
    let attempts = attempt::Attempts {
        clock: store.clock(),
        time_of_day: clock,
        store,
        sandbox,
        metrics: telemetry.delivering,
        tracer: telemetry.tracer,
        means: Arc::clone(&means),
        config: config.clone(),
        caches: Arc::default(),
    };
    dispatcher::run(attempts, means, config, questions, guests, stop).await
}
