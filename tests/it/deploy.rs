//! What is under `runtime/deploy/`: it names only metrics that a running host has.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let of = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.match_indices("tidegate_").map(|(at, _)| of(at)).collect()
}

/// What the queries of a text select by its value: metric, label, value. Variables of the dashboard are no values.
fn selected(text: &str) -> Vec<(&str, &str, &str)> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("tidegate_") {
        let Some((metric, rest)) = text[at..].split_once('{') else { break };
        if metric.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            continue;
        }
        let selectors = rest.split_once('}').expect("a selector ends").0;
        for selector in selectors.split(',') {
            let (label, values) = selector.split_once(['=', '!']).expect("a selector has an operator");
            let values = values.trim_start_matches(['=', '~']).trim_matches('"');
            all.extend(values.split('|').filter(|value| !value.starts_with('$')).map(|value| (metric, label, value)));
        }
    }
    assert!(all.len() >= 2, "queries select by values");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_dashboard_and_the_alerts_is_one_that_a_host_has() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    // One that is delivered, and one that is dropped: what has labels is there once it counted something.
    let batch = json!([{"type": "track", "event": "E", "userId": "u"}, {"type": "track", "userId": "u"}]);
    let body = json!({"writeKey": source["write_key"], "batch": batch}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ledger = host.drained().await;
    let metrics = http::send(host.admin, "GET", "/metrics", &[], Vec::new()).await.text();
    let samples: BTreeSet<String> =
        metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| named(line).pop_first()).collect();

    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("the dashboard is JSON");
    assert!(dashboard["panels"].as_array().unwrap().len() >= 15);
    for name in ["dashboard.json", "alerts.yaml"] {
        let text = read(name);
        let wanted = named(&text);
        assert!(wanted.len() >= 5, "{name}: {wanted:?}");
        let missing: Vec<_> = wanted.difference(&samples).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}, which /metrics does not have:\n{metrics}");
        for (metric, label, value) in selected(&text.replace("\\\"", "\"")) {
            let [open, rest] = [format!("{metric}{{"), format!("{label}=\"{value}\"")];
            let there = metrics.lines().any(|line| line.starts_with(&open) && line.contains(&rest));
            assert!(there, "{name} selects {metric} with {rest}, which /metrics does not have:\n{metrics}");
        }
    }
    let mut families: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    families.sort_by_key(|line| line.split(' ').nth(2));
    let twice =
        families.chunk_by(|one, next| one.split(' ').nth(2) == next.split(' ').nth(2)).find(|same| same.len() > 1);
    assert_eq!(twice, None, "one name is one metric");
    // The ledger is in the metrics as it is in the API.
    for state in ["accepted", "delivered", "filtered", "dead", "pending"] {
        let line = format!("tidegate_deliveries{{state=\"{state}\"}} {}", ledger[state]);
        assert!(metrics.lines().any(|have| have == line), "{line} is missing in:\n{metrics}");
    }
    // Every step from ingest to settle has counted the event.
    for line in [
        "tidegate_tracking_answers_total{code=\"ok\"} 1",
        "tidegate_events_accepted_total 1",
        "tidegate_deliveries_claimed_total 1",
        "tidegate_attempts_total{outcome=\"delivered\"} 1",
        "tidegate_requests_total{answer=\"2xx\"} 1",
        "tidegate_invocation_seconds_count 1",
        "tidegate_delivered_age_seconds_count 1",
        "tidegate_deliveries_settled_total{as=\"delivered\"} 1",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is missing in:\n{metrics}");
    }
}
