//! What all handlers share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{Config, ControlConfig, HttpConfig};
use crate::ingest::Ingest;
use crate::store::Store;

use super::metrics::Metrics;

/// What all handlers share.
pub struct ApiState {
    pub(super) store: Arc<Store>,
    pub(super) ingest: Ingest,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    /// One for each tracking request whose body is in memory.
    pub(super) reading: Semaphore,
    /// One for each upload that is in memory.
    pub(super) uploading: Semaphore,
    pub(super) control: ControlConfig,
    http: HttpConfig,
}

impl ApiState {
    /// Handlers that work on this store with these bounds.
    pub fn new(store: Arc<Store>, config: &Config, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            store,
            ingest: Ingest::new(config.ingest),
            metrics: Metrics::default(),
            clock,
            reading: Semaphore::new(config.ingest.concurrent_requests),
            uploading: Semaphore::new(config.control.concurrent_uploads),
            control: config.control,
            http: config.http,
        })
    }

    /// The bounds of the listeners.
    pub fn http(&self) -> HttpConfig {
        self.http
    }
}
