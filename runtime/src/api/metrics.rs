//! Names of the metrics that the APIs keep, in one place, and the counters that are kept while events pass.
//!
//! Guarantees: every metric begins with `tidegate_`, counts from the start of this process (the ledger alone counts
//! from the beginning), and has labels whose values are few: ids of sources, codes, states.
//!
//! Leaves to others: when to count, and who may read.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::model::DeliveryFigures;

/// The content type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels of a metric that has one.
pub(super) type OneLabel = [(&'static str, &'static str); 1];

/// Counters that are kept while events pass.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Answers of the tracking API by `code`: `ok`, or the code in the error body.
    pub tracking_answers: Family<OneLabel, Counter>,
    /// Events that were stored.
    pub events_accepted: Counter,
    /// Events that were left out because their source had sent their `messageId` before.
    pub events_duplicate: Counter,
    /// Metrics that browser clients sent about themselves, which are discarded.
    pub client_metrics: Counter,
    /// How long tracking requests took, from their heads to their answers.
    pub tracking_seconds: Histogram,
}

/// Figures that are read at the moment of a scrape: name, help, and samples with their labels.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Events that were dropped, by source and code.
    pub rejected: Vec<(String, &'static str, u64)>,
    /// The ledger's counts by state.
    pub ledger: Vec<(&'static str, u64)>,
    /// Figures without labels: name, help, value.
    pub gauges: Vec<(&'static str, &'static str, u64)>,
    /// How deliveries stand, if they are running.
    pub delivery: Option<DeliveryFigures>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Events that were dropped, by source and reason";
        let mut family = encoder.encode_descriptor("events_rejected", help, None, MetricType::Counter)?;
        for (source, code, events) in &self.rejected {
            let labels = [("source", source.as_str()), ("code", *code)];
            ConstCounter::new(*events).encode(family.encode_family(&labels)?)?;
        }
        let help = "Deliveries by state, from the beginning; accepted is the sum of the others";
        let mut family = encoder.encode_descriptor("deliveries", help, None, MetricType::Gauge)?;
        for (state, deliveries) in &self.ledger {
            let deliveries = i64::try_from(*deliveries).unwrap_or(i64::MAX);
            ConstGauge::new(deliveries).encode(family.encode_family(&[("state", *state)])?)?;
        }
        for (name, help, value) in &self.gauges {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        self.delivery.as_ref().map_or(Ok(()), |figures| encode_delivery(figures, &mut encoder))
    }
}

fn encode_delivery(figures: &DeliveryFigures, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let gauge = |count: u64| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
    let help = "Destinations that were served lately, by the state of their breaker";
    let mut family = encoder.encode_descriptor("breakers", help, None, MetricType::Gauge)?;
    let DeliveryFigures { breakers_closed, breakers_open, breakers_probing, .. } = *figures;
    for (state, count) in [("closed", breakers_closed), ("open", breakers_open), ("probing", breakers_probing)] {
        gauge(count).encode(family.encode_family(&[("state", state)])?)?;
    }
    let help = "Breakers that opened, by reason";
    let mut family = encoder.encode_descriptor("breakers_opened", help, None, MetricType::Counter)?;
    for (reason, count) in ["failures", "slowness"].into_iter().zip(figures.breakers_opened) {
        ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
    }
    for (name, help, count) in [
        ("attempts_in_flight", "Attempts under way", figures.in_flight),
        ("deliveries_waiting", "Deliveries in memory that wait for their turn", figures.waiting),
        ("destinations_slowed", "Destinations with a rate that was learned from their partner", figures.slowed),
    ] {
        gauge(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    Ok(())
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let metrics =
            (Family::<OneLabel, Counter>::default(), Counter::default(), Counter::default(), Counter::default());
        let (tracking_answers, events_accepted, events_duplicate, client_metrics) = metrics;
        // What alerts ask for is there before it happens.
        for code in ["ok", "overloaded", "rate_limited"] {
            drop(Family::get_or_create(&tracking_answers, &[("code", code)]));
        }
        registry.register("tracking_answers", "Answers of the tracking API by code", Family::clone(&tracking_answers));
        registry.register("events_accepted", "Events that were stored", Counter::clone(&events_accepted));
        let help = "Events left out because their messageId was there before";
        registry.register("events_duplicate", help, Counter::clone(&events_duplicate));
        let help = "Requests with metrics of browser clients, discarded";
        registry.register("client_metrics", help, Counter::clone(&client_metrics));
        // From half a millisecond to 16 seconds: a commit on a good disk, and half of the time a body may take.
        let tracking_seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let help = "Time of tracking requests from their heads to their answers";
        registry.register("tracking_seconds", help, tracking_seconds.clone());
        Self { registry, tracking_answers, events_accepted, events_duplicate, client_metrics, tracking_seconds }
    }
}

impl Metrics {
    /// All metrics as text, those of the moment and of other parts included.
    pub fn text(&self, now: Snapshot, others: &str) -> String {
        let mut moment = Registry::with_prefix("tidegate");
        moment.register_collector(Box::new(now));
        let mut text = String::new();
        // Writing into memory does not fail; what is there is better than nothing.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &moment))
            .map(|()| text.push_str(others))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_figures_of_the_moment_are_in_one_text() {
        let metrics = Metrics::default();
        metrics.events_accepted.inc_by(3);
        metrics.tracking_answers.get_or_create(&[("code", "ok")]).inc();
        let rejected = vec![("src_1".to_owned(), "event_not_defined", 2)];
        let delivery = DeliveryFigures { breakers_open: 2, breakers_opened: [4, 1], ..DeliveryFigures::default() };
        let gauges = vec![("replays_running", "Replays", 2)];
        let text = metrics.text(
            Snapshot { rejected, ledger: vec![("pending", 5)], gauges, delivery: Some(delivery) },
            "tidegate_of_another_part 1\n",
        );
        for line in [
            "tidegate_events_accepted_total 3",
            "tidegate_tracking_answers_total{code=\"ok\"} 1",
            "tidegate_events_rejected_total{source=\"src_1\",code=\"event_not_defined\"} 2",
            "tidegate_deliveries{state=\"pending\"} 5",
            "tidegate_replays_running 2",
            "tidegate_of_another_part 1",
            "tidegate_breakers{state=\"open\"} 2",
            "tidegate_breakers_opened_total{reason=\"failures\"} 4",
            "tidegate_attempts_in_flight 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in:\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
