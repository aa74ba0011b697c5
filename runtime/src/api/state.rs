//! What all handlers share.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::catalog::settings;
use crate::catalog::workshop::Workshop;
use crate::clock::Clock;
use crate::config::{Config, ControlConfig, HttpConfig, Replay};
use crate::ingest::{Ingest, Quota};
use crate::model::{DeliveryFigures, DestinationHealth, DestinationId, KeyId, Trial, TrialError};
use crate::store::Store;
use crate::telemetry::Telemetry;

use super::changing::Changing;
use super::metrics::Metrics;
use super::once::UnderWay;
use super::wrong_keys::WrongKeys;

/// Tries a function: what the handlers are given of delivery, which they cannot name.
pub type Trials = Arc<dyn Fn(Trial) -> Pin<Box<dyn Future<Output = Result<Value, TrialError>> + Send>> + Send + Sync>;

/// Answers a question about deliveries, unless they are not running.
type Asked<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// Says how deliveries stand, and what the gate opens to them: what the handlers are given of what they cannot name.
pub struct Standing {
    /// How one destination stands.
    pub health: Arc<dyn Fn(DestinationId) -> Asked<DestinationHealth> + Send + Sync>,
    /// Figures over all of them.
    pub figures: Arc<dyn Fn() -> Asked<DeliveryFigures> + Send + Sync>,
    /// What a customer's settings may give as an origin.
    pub open: settings::Open,
}

/// What all handlers share.
pub struct ApiState {
    pub(super) store: Arc<Store>,
    pub(super) ingest: Ingest,
    pub(super) metrics: Metrics,
    pub(super) telemetry: Telemetry,
    pub(super) clock: Clock,
    /// One for each tracking request whose body is in memory.
    pub(super) reading: Semaphore,
    /// Where uploads become functions.
    pub(super) workshop: Workshop,
    /// Where uploads that arrive slowly wait.
    pub(super) spool: PathBuf,
    pub(super) trials: Trials,
    pub(super) standing: Standing,
    pub(super) control: ControlConfig,
    pub(super) wrong_keys: WrongKeys,
    pub(super) replay: Replay,
    /// How often each key may call.
    pub(super) rates: Quota<KeyId>,
    /// Calls that are to take place once, and have not ended.
    pub(super) under_way: UnderWay,
    /// Changes that are being made.
    pub(super) changing: Changing,
    http: HttpConfig,
}

impl ApiState {
    /// Handlers that work on this store with these bounds.
    pub fn new(
        store: Arc<Store>,
        workshop: Workshop,
        trials: Trials,
        standing: Standing,
        telemetry: Telemetry,
        config: &Config,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            ingest: Ingest::new(config.ingest),
            metrics: Metrics::default(),
            telemetry,
            clock,
            reading: Semaphore::new(config.ingest.concurrent_requests),
            workshop,
            spool: config.data_dir.clone(),
            trials,
            standing,
            control: config.control,
            rates: Quota::new(config.control.key_requests_per_s, config.control.key_burst),
            under_way: UnderWay::default(),
            changing: Changing::default(),
            wrong_keys: WrongKeys::new(config.control.wrong_keys, config.control.wrong_key_pause),
            replay: config.replay.clone(),
            http: config.http,
        })
    }

    /// The bounds of the listeners.
    pub fn http(&self) -> HttpConfig {
        self.http
    }
}
