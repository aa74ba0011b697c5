//! Metrics of the steps from accept to settle. Those of the tracking API and of the moment are in `api::metrics`.

use std::time::Duration;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::model::OutcomeCode;

/// Labels of a metric that has one.
type OneLabel = [(&'static str, &'static str); 1];

/// From half a millisecond to 16 seconds: a commit on a good disk, and the longest deadline.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// From ten milliseconds to a day, by threes: from at once to the end of the retry window and beyond.
fn ages() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 3.0, 15))
}

/// From 50 microseconds to 100 milliseconds: an invocation in Rust, and the default of `limits.cpu_ms`.
fn processor() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 12))
}

/// What the store counts.
#[derive(Debug)]
pub struct StoreMetrics {
    commits: Histogram,
    items: Counter,
    failed: Counter,
    claimed: Counter,
    settled: Family<OneLabel, Counter>,
    released: Counter,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let settled = Family::<OneLabel, Counter>::default();
        let ways = ["delivered", "filtered", "dead", "retry", "released", "held", "lease_lost"];
        ways.into_iter().for_each(|so| drop(settled.get_or_create(&[("as", so)])));
        Self {
            commits: seconds(),
            items: Counter::default(),
            failed: Counter::default(),
            claimed: Counter::default(),
            settled,
            released: Counter::default(),
        }
    }
}

impl StoreMetrics {
    /// A commit with that many events, settlements and calls is on disk.
    pub fn committed(&self, items: u64, took: Duration) {
        self.commits.observe(took.as_secs_f64());
        self.items.inc_by(items);
    }

    /// A commit did not come to be.
    pub fn commit_failed(&self) {
        self.failed.inc();
    }

    /// Deliveries were claimed.
    pub fn claimed(&self, deliveries: u64) {
        self.claimed.inc_by(deliveries);
    }

    /// A claimed delivery was settled so: a state, `retry`, `held` or `released`.
    pub fn settled(&self, so: &'static str) {
        self.settled.get_or_create(&[("as", so)]).inc();
    }

    /// Replays gave back so many deliveries.
    pub fn replayed(&self, deliveries: u64) {
        self.released.inc_by(deliveries);
    }

    fn register(&self, to: &mut Registry) {
        to.register("commit_seconds", "Time from the beginning of a commit until it is on disk", self.commits.clone());
        to.register("commit_items", "Events, settlements and calls in commits", self.items.clone());
        to.register("commits_failed", "Commits that did not come to be", self.failed.clone());
        to.register("deliveries_claimed", "Deliveries that were claimed", self.claimed.clone());
        let help = "Claims that were settled, by what became of the delivery";
        to.register("deliveries_settled", help, self.settled.clone());
        to.register("replay_released", "Deliveries that replays gave back", self.released.clone());
    }
}

/// How a request to a partner ended, as far as metrics tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// With this status.
    Status(u16),
    /// The gate did not let it out.
    Denied,
    /// There was no answer.
    Failed,
}

impl Answered {
    /// All that [`Answered::as_str`] gives.
    const ALL: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "denied", "failed"];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Status(100..=199) => "1xx",
            Self::Status(200..=299) => "2xx",
            Self::Status(300..=399) => "3xx",
            Self::Status(400..=499) => "4xx",
            Self::Status(_) => "5xx",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// What deliveries count.
#[derive(Debug)]
pub struct DeliveryMetrics {
    attempts: Family<OneLabel, Counter>,
    invocations: Histogram,
    processor: Histogram,
    requests: Family<OneLabel, Counter>,
    request_seconds: Histogram,
    ages: Histogram,
    under_way: Gauge,
    host_faults: Counter,
}

impl Default for DeliveryMetrics {
    fn default() -> Self {
        let (attempts, requests) = (Family::<OneLabel, Counter>::default(), Family::<OneLabel, Counter>::default());
        // What has not happened yet is zero, so that whoever asks for a rate sees the first time, too.
        let codes = OutcomeCode::ALL.into_iter().filter(|code| *code != OutcomeCode::Internal);
        codes.for_each(|code| drop(attempts.get_or_create(&[("outcome", code.as_str())])));
        Answered::ALL.iter().for_each(|answer| drop(requests.get_or_create(&[("answer", answer)])));
        Self {
            attempts,
            invocations: seconds(),
            processor: processor(),
            requests,
            request_seconds: seconds(),
            ages: ages(),
            under_way: Gauge::default(),
            host_faults: Counter::default(),
        }
    }
}

impl DeliveryMetrics {
    /// The host could not make an attempt, which costs its deliveries none.
    pub fn host_fault(&self) {
        self.host_faults.inc();
    }

    /// An invocation begins; it ends when what is given back is dropped.
    pub fn invoking(&self) -> impl Drop + use<> {
        struct UnderWay(Gauge);
        impl Drop for UnderWay {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.under_way.inc();
        UnderWay(self.under_way.clone())
    }

    /// An invocation ended.
    pub fn invoked(&self, wall_ms: f64, cpu_ms: f64) {
        self.invocations.observe(wall_ms / 1e3);
        self.processor.observe(cpu_ms / 1e3);
    }

    /// A request to a partner ended.
    pub fn requested(&self, answered: Answered, took: Duration) {
        self.requests.get_or_create(&[("answer", answered.as_str())]).inc();
        if answered != Answered::Denied {
            self.request_seconds.observe(took.as_secs_f64());
        }
    }

    /// An attempt at a delivery that was accepted so long ago ended so.
    pub fn attempted(&self, outcome: OutcomeCode, age: Duration) {
        self.attempts.get_or_create(&[("outcome", outcome.as_str())]).inc();
        if outcome == OutcomeCode::Delivered {
            self.ages.observe(age.as_secs_f64());
        }
    }

    fn register(&self, to: &mut Registry) {
        to.register("attempts", "Attempts at deliveries, by outcome", self.attempts.clone());
        let help = "Attempts that the host could not make, through its own fault";
        to.register("host_faults", help, self.host_faults.clone());
        to.register("invocation_seconds", "Wall time of invocations", self.invocations.clone());
        to.register("invocation_processor_seconds", "Processor time of invocations", self.processor.clone());
        to.register("invocations_under_way", "Invocations under way", self.under_way.clone());
        to.register("requests", "Requests of functions to partners, by answer", self.requests.clone());
        let help = "Time from a function's request until its answer was read";
        to.register("request_seconds", help, self.request_seconds.clone());
        to.register("delivered_age_seconds", "Time from accepting an event until it was delivered", self.ages.clone());
    }
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct SpanMetrics {
    exported: Counter,
    dropped: Family<OneLabel, Counter>,
}

impl SpanMetrics {
    /// The collector took so many spans.
    pub fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    /// So many were dropped, for this reason.
    pub fn dropped(&self, why: &'static str, spans: u64) {
        if spans > 0 {
            self.dropped.get_or_create(&[("why", why)]).inc_by(spans);
        }
    }

    /// How many were exported, and dropped for which reasons.
    #[cfg(test)]
    pub(super) fn so_far(&self) -> (u64, Vec<(&'static str, u64)>) {
        let dropped = |why| (why, self.dropped.get(&[("why", why)]).map_or(0, |counter| counter.get()));
        let dropped = ["queue_full", "unreachable", "refused"].map(dropped);
        (self.exported.get(), dropped.into_iter().filter(|(_, spans)| *spans > 0).collect())
    }

    fn register(&self, to: &mut Registry) {
        to.register("spans_exported", "Spans that the collector took", self.exported.clone());
        to.register("spans_dropped", "Spans that were dropped, by reason", self.dropped.clone());
    }
}

/// All of them as text, without the end mark.
pub fn exposition(store: &StoreMetrics, delivery: &DeliveryMetrics, spans: &SpanMetrics) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    store.register(&mut registry);
    delivery.register(&mut registry);
    spans.register(&mut registry);
    let mut text = String::new();
    // Writing into memory does not fail; what is there is better than nothing.
    let _ = encode_registry(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text_with_few_labels() {
        let (store, delivery) = (StoreMetrics::default(), DeliveryMetrics::default());
        store.committed(3, Duration::from_millis(2));
        store.settled("dead");
        delivery.attempted(OutcomeCode::Delivered, Duration::from_secs(1));
        delivery.requested(Answered::Status(503), Duration::from_millis(10));
        delivery.requested(Answered::Denied, Duration::ZERO);
        let under_way = delivery.invoking();
        let spans = SpanMetrics::default();
        spans.dropped("queue_full", 3);
        let text = exposition(&store, &delivery, &spans);
        for line in [
            "tidegate_commit_seconds_count 1",
            "tidegate_commit_items_total 3",
            "tidegate_deliveries_settled_total{as=\"dead\"} 1",
            "tidegate_attempts_total{outcome=\"delivered\"} 1",
            "tidegate_requests_total{answer=\"5xx\"} 1",
            "tidegate_requests_total{answer=\"denied\"} 1",
            "tidegate_request_seconds_count 1",
            "tidegate_delivered_age_seconds_sum 1.0",
            "tidegate_invocations_under_way 1",
            "tidegate_spans_exported_total 0",
            "tidegate_spans_dropped_total{why=\"queue_full\"} 3",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is missing in:\n{text}");
        }
        drop(under_way);
        assert!(exposition(&store, &delivery, &spans).contains("tidegate_invocations_under_way 0"));
    }
}
