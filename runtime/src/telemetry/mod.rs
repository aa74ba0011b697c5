//! Beside every step: what it is counted and timed by, and the spans of single events.
//!
//! Guarantees: a label has few values, none of which a customer, a partner or a function chooses; counting costs an atomic
//! addition or two. A span has ids, codes, sizes and times, never a text that somebody else wrote; where spans are off
//! they cost a branch, and where they are on and nobody takes them they are dropped and counted.
//!
//! It leaves to others: when something is to be counted, and how bytes get to a collector (`egress`). What only the APIs
//! count is in `api::metrics`.

mod export;
mod metrics;
mod otlp;
mod spans;

use std::sync::Arc;

pub use export::{Exporter, Post, PostError};
pub use metrics::{Answered, DeliveryMetrics, SpanMetrics, StoreMetrics, exposition};
pub use spans::{Fact, Link, Span, SpanId, Step, Trace, TraceId, Tracer};

/// What the parts of one host count and trace by.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// What deliveries count.
    pub delivering: Arc<DeliveryMetrics>,
    /// What became of spans.
    pub spans: Arc<SpanMetrics>,
    /// Takes spans, where there is somebody to send them to.
    pub tracer: Option<Arc<Tracer>>,
}

impl Telemetry {
    /// With spans: this share of all traces, of which so many wait at most. What is given back sends them.
    pub fn with_spans(sample_ratio: f64, waiting: usize) -> (Self, Exporter) {
        let spans = Arc::new(SpanMetrics::default());
        let (tracer, exporter) = export::start(sample_ratio, waiting, &spans);
        (Self { spans, tracer: Some(Arc::new(tracer)), ..Self::default() }, exporter)
    }
}
