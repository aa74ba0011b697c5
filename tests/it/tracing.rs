//! Spans from ingest to settle, as a collector gets them: read by OpenTelemetry's own definitions, not by ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::host::{Host, PATIENCE, function};
use crate::http::{self, Partner};

/// A collector that takes everything.
pub struct Collector(Partner);

impl Collector {
    pub async fn start() -> Self {
        Self(Partner::repeating(|_| (200, Vec::new(), String::new())).await)
    }

    /// What a host is told so that it sends here.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// All bodies as they came, once there is a settlement for each attempt that the host counted.
    pub async fn all_of(&self, host: &Host) -> Vec<Vec<u8>> {
        let metrics = http::send(host.admin, "GET", "/metrics", &[], Vec::new()).await.text();
        let attempts = metrics.lines().filter(|line| line.starts_with("tidegate_attempts_total{"));
        let attempts: usize = attempts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        self.until(|spans| settled(spans) >= attempts).await;
        self.0.received.lock().unwrap().iter().map(|one| one.body.to_vec()).collect()
    }

    /// All spans that have come.
    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for one in self.0.received.lock().unwrap().iter() {
            assert_eq!(
                (one.path.as_str(), &one.headers["content-type"]),
                ("/v1/traces", &"application/x-protobuf".parse().unwrap())
            );
            let request = ExportTraceServiceRequest::decode(&one.body[..]).expect("an export request");
            for of_resource in request.resource_spans {
                let resource = of_resource.resource.expect("a resource");
                let service = resource.attributes.iter().find(|pair| pair.key == "service.name").expect("a service");
                let name = service.value.as_ref().and_then(|value| value.value.clone());
                assert_eq!(name, Some(Any::StringValue("tidegate".to_owned())));
                spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
            }
        }
        spans
    }

    /// The spans, once they are so many that this holds.
    async fn until(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let start = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            assert!(start.elapsed() < PATIENCE, "these spans came: {:?}", shape(&spans));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How often each step is there.
fn shape(spans: &[Span]) -> BTreeMap<&str, usize> {
    let mut shape = BTreeMap::new();
    spans.iter().for_each(|span| *shape.entry(span.name.as_str()).or_default() += 1);
    shape
}

fn settled(spans: &[Span]) -> usize {
    shape(spans).get("settle").copied().unwrap_or_default()
}

/// What a span says, as text.
fn fact(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|pair| pair.key == key)?.value.clone()?.value?;
    Some(match value {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        Any::BoolValue(is) => is.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}

async fn send(host: &Host, source: &Value, headers: &[(&str, &str)], ids: &[String]) {
    let track = |id: &String| json!({"type": "track", "event": "Tested", "userId": "u", "messageId": id});
    let batch: Vec<Value> = ids.iter().map(track).collect();
    let body = json!({"writeKey": source["write_key"], "batch": batch}).to_string().into_bytes();
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = http::send(host.listen, "POST", "/v1/batch", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Every span hangs from one that is there, within one trace; the first span of the trace.
fn one_tree(spans: &[Span]) -> &Span {
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 1, "one event is one trace");
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "no id is there twice");
    let (roots, below): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.parent_span_id.is_empty());
    assert!(below.iter().all(|span| ids.contains(&span.parent_span_id)), "{:?}", shape(spans));
    assert_eq!(roots.len(), 1, "{:?}", shape(spans));
    roots[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_one_event_are_one_trace_from_ingest_to_settle_also_over_a_restart() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let answer = move |_: &http::Received| (if is_up.load(Ordering::Relaxed) { 200 } else { 503 }, vec![]);
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::answering(answer).await);
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let settings = [
        ("TIDEGATE__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "300"),
        ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "300"),
    ];
    let host = Host::start_with(data.path(), partner.address, None, &settings);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    send(&host, &source, &[parent], &["one".to_owned()]).await;
    collector.until(|spans| settled(spans) >= 1).await;
    // The same event again is no event, and still part of the trace.
    send(&host, &source, &[], &["one".to_owned()]).await;
    let token = host.token.clone();
    let id = host.api("GET", "/api/v1/deliveries", Value::Null).await["items"][0]["id"].clone();
    // What waits is sent before a host ends.
    assert!(host.stop().success());
    let before = settled(&collector.spans());

    up.store(true, Ordering::Relaxed);
    let host = Host::start_with(data.path(), partner.address, Some(&token), &settings);
    assert_eq!(host.drained().await["delivered"], 1);
    assert!(host.stop().success());
    let spans = collector.spans();
    let tries = settled(&spans);
    assert_eq!(tries, before + 1, "one attempt of the second host");
    let each = ["attempt", "invoke", "queue", "request", "settle"].map(|step| (step, tries));
    let twice = [("accept", 2), ("fan-out", 2), ("ingest", 2)];
    assert_eq!(shape(&spans), each.into_iter().chain(twice).collect());

    let root = one_tree(&spans);
    assert_eq!((root.name.as_str(), root.links.len()), ("ingest", 1));
    assert_eq!(root.links[0].trace_id, 0x4bf92f3577b34da6a3ce929d0e0e4736_u128.to_be_bytes());
    assert_ne!(root.trace_id, root.links[0].trace_id, "a client does not choose the trace");
    assert_eq!(fact(root, "tidegate.source"), source["id"].as_str().map(str::to_owned));
    assert_eq!(fact(root, "tidegate.event.repeated").as_deref(), Some("false"));
    for number in 1..=tries {
        let number = number.to_string();
        let is_this = |span: &&Span| fact(span, "tidegate.attempt").as_deref() == Some(&number);
        let attempt = spans.iter().find(is_this).unwrap_or_else(|| panic!("attempt {number}"));
        let delivered = number == tries.to_string();
        let outcome = if delivered { "delivered" } else { "retry" };
        let said = ["tidegate.delivery", "tidegate.destination", "tidegate.outcome"].map(|key| fact(attempt, key));
        let wanted = [id.as_str(), destination["id"].as_str(), Some(outcome)];
        assert_eq!(said, wanted.map(|text| text.map(str::to_owned)));
        assert_eq!(attempt.status.as_ref().map_or(0, |status| status.code), if delivered { 0 } else { 2 });
        check_steps(&spans, attempt, if delivered { "200" } else { "503" });
    }
}

/// What hangs from an attempt, in the right order in time.
fn check_steps(spans: &[Span], attempt: &Span, status: &str) {
    let below = |parent: &Span| -> BTreeMap<String, Span> {
        let below = spans.iter().filter(|span| span.parent_span_id == parent.span_id);
        below.map(|span| (span.name.clone(), span.clone())).collect()
    };
    let steps = below(attempt);
    assert_eq!(steps.keys().collect::<Vec<_>>(), ["invoke", "queue", "settle"]);
    let (queue, invoke, settle) = (&steps["queue"], &steps["invoke"], &steps["settle"]);
    let request = &below(invoke)["request"];
    assert_eq!(fact(request, "http.response.status_code").as_deref(), Some(status));
    assert_eq!(fact(request, "http.request.method").as_deref(), Some("POST"));
    let moments = [
        attempt.start_time_unix_nano,
        queue.start_time_unix_nano,
        queue.end_time_unix_nano,
        invoke.start_time_unix_nano,
        request.start_time_unix_nano,
        request.end_time_unix_nano,
        invoke.end_time_unix_nano,
        settle.start_time_unix_nano,
        settle.end_time_unix_nano,
        attempt.end_time_unix_nano,
    ];
    assert!(moments.is_sorted(), "{moments:?}");
    assert!(request.end_time_unix_nano > request.start_time_unix_nano);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_no_event_and_no_delivery_and_what_is_dropped_is_counted() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    // A port that nobody listens on any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{gone}");
    let settings =
        [("TIDEGATE__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()), ("TIDEGATE__TELEMETRY__QUEUE_SPANS", "32")];
    let host = Host::start_with(data.path(), partner.address, None, &settings);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    for part in 0..5 {
        let ids: Vec<_> = (0..40).map(|n| format!("m{part}-{n}")).collect();
        send(&host, &source, &[], &ids).await;
    }
    assert_eq!(host.drained().await["delivered"], 200);
    assert_eq!(partner.bodies().len(), 200, "each once");
    let metrics = http::send(host.admin, "GET", "/metrics", &[], Vec::new()).await.text();
    let dropped =
        metrics.lines().find_map(|line| line.strip_prefix("tidegate_spans_dropped_total{why=\"queue_full\"} "));
    let dropped: u64 = dropped.unwrap_or_else(|| panic!("nothing was dropped:\n{metrics}")).parse().unwrap();
    // 1,600 spans were made; 512 are under way at most, and 32 wait.
    assert!((1_000..1_600).contains(&dropped), "{dropped}");
    assert!(metrics.contains("tidegate_spans_exported_total 0"), "{metrics}");
    assert!(host.stop().success(), "it ends although nobody takes its spans");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_share_of_all_traces_each_is_whole_and_a_batch_is_one_invocation_that_the_others_link_to() {
    let (data, partner, collector) = (tempfile::tempdir().unwrap(), Partner::start().await, Collector::start().await);
    let endpoint = collector.endpoint();
    let settings =
        [("TIDEGATE__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()), ("TIDEGATE__TELEMETRY__SAMPLE_RATIO", "0.25")];
    let host = Host::start_with(data.path(), partner.address, None, &settings);
    let component = std::fs::read(function("mixpanel")).unwrap();
    let (source, _) = host.wire(&component, "mixpanel", json!({"token": "t", "endpoint": partner.url()})).await;
    let ids: Vec<_> = (0..200).map(|n| format!("m{n}")).collect();
    send(&host, &source, &[], &ids).await;
    assert_eq!(host.drained().await["delivered"], 200);
    assert!(host.stop().success());
    let spans = collector.spans();
    let mut traces: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    spans.iter().for_each(|span| traces.entry(span.trace_id.clone()).or_default().push(span.clone()));
    assert!((20..=80).contains(&traces.len()), "{} of 200 traces", traces.len());
    let mut linked = 0;
    for spans in traces.values() {
        assert_eq!(one_tree(spans).name, "ingest");
        let shape = shape(spans);
        let steps = ["accept", "attempt", "fan-out", "ingest", "invoke", "queue", "settle"];
        assert!(steps.iter().all(|step| shape.get(step) == Some(&1)), "{shape:?}");
        let invoke = spans.iter().find(|span| span.name == "invoke").unwrap();
        linked += invoke.links.len();
        // Requests are told once.
        assert_eq!(shape.contains_key("request"), invoke.links.is_empty(), "{shape:?}");
        let events: usize = fact(spans.iter().find(|span| span.name == "attempt").unwrap(), "tidegate.batch.events")
            .unwrap()
            .parse()
            .unwrap();
        assert!(events > 1, "mixpanel takes batches");
    }
    assert!(linked > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_debug_level_each_settled_delivery_is_a_line_of_log_that_names_its_trace() {
    let (data, partner, collector) = (tempfile::tempdir().unwrap(), Partner::start().await, Collector::start().await);
    let (log, endpoint) = (tempfile::NamedTempFile::new().unwrap(), collector.endpoint());
    let settings = [
        ("TIDEGATE__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("TIDEGATE__LOG__LEVEL", "info,tidegate::delivery=debug"),
        ("TIDEGATE__LOG__FORMAT", "json"),
    ];
    let host = Host::start_logging(data.path(), partner.address, &settings, log.reopen().unwrap());
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    send(&host, &source, &[], &["one".to_owned(), "two".to_owned()]).await;
    assert_eq!(host.drained().await["delivered"], 2);
    assert!(host.stop().success());
    let log = std::fs::read_to_string(log.path()).unwrap();
    // What is said to the person who starts a host for the first time is no log.
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let settled: Vec<Value> =
        lines.filter(|line| line["fields"]["message"] == "attempt ended").map(|line| line["fields"].clone()).collect();
    assert_eq!(settled.len(), 2, "{log}");
    let traces: BTreeSet<String> = collector.spans().iter().map(|span| hex(&span.trace_id)).collect();
    for line in settled {
        let said = (line["outcome"].clone(), line["attempt"].clone(), line["destination"].clone());
        assert_eq!(said, (json!("delivered"), json!(1), destination["id"].clone()), "{line}");
        assert!(traces.contains(line["trace"].as_str().unwrap()), "{line}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
