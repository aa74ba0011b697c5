//! Batches: what comes together, and what becomes of those that are part of one that fails.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Bed;
use crate::http::Partner;

/// Posts a batch as a list of ids; an event of the user `poison` makes it throw before, one of `short` makes it forget an answer.
const BATCHES: &str = r#"
async function onBatch(events, settings) {
  if (events.some((event) => event.userId === "poison")) throw new Error("cannot read this");
  const body = JSON.stringify({ id: events.map((event) => event.messageId).join(" ") });
  const answer = await fetch(settings.url, { method: "POST", body });
  if (!answer.ok) throw new RetryError(`HTTP ${answer.status}`);
  const answers = events.map((event) => event.userId === "later" ? { status: 503 } : { status: 200 });
  return events.some((event) => event.userId === "short") ? answers.slice(1) : answers;
}
const onTrack = () => { throw new Error("a batch was expected"); };
"#;

/// The ids of each batch that arrived.
fn arrived(bed: &Bed) -> Vec<Vec<String>> {
    bed.arrived("/in").iter().map(|ids| ids.split(' ').map(str::to_owned).collect()).collect()
}

fn events(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(id, user)| ((*id).to_owned(), (*user).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_goes_at_once_and_one_group_at_a_time() {
    let manifest = "[batch]\nmax_events = 2\nmax_wait_ms = 60000\ngroup_by = [\"userId\"]";
    let bed = Bed::start(Partner::start().await, BATCHES, manifest, &[]).await;
    bed.destination("/in", json!({})).await;
    // Were they not grouped, or not full, this would wait for a minute, which is as long as the test's patience.
    bed.send(events(&[("a1", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b"), ("c2", "c"), ("a2", "a")])).await;
    bed.host.drained().await;
    let mut batches = arrived(&bed);
    batches.sort();
    assert_eq!(batches, [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_ends_at_its_bytes() {
    let manifest = "[batch]\nmax_events = 100\nmax_wait_ms = 200\nmax_bytes = 1000";
    let bed = Bed::start(Partner::start().await, BATCHES, manifest, &[]).await;
    bed.destination("/in", json!({})).await;
    let long = "x".repeat(300);
    bed.send((0..6).map(|n| (format!("m{n}"), long.clone()))).await;
    bed.host.drained().await;
    let sizes: Vec<_> = arrived(&bed).iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| (1..=2).contains(size)), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_as_a_whole_is_cut_until_the_event_at_fault_stands_alone() {
    let manifest = "[batch]\nmax_events = 8\nmax_wait_ms = 60000";
    let bed = Bed::start(Partner::start().await, BATCHES, manifest, &[]).await;
    bed.destination("/in", json!({})).await;
    let user = |n| if n == 5 { "poison" } else { "fine" };
    bed.send((0..8).map(|n| (format!("m{n}"), user(n).to_owned()))).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(7), &json!(1)), "{ledger}");
    let mut all: Vec<_> = arrived(&bed).concat();
    all.sort();
    assert_eq!(all, ["m0", "m1", "m2", "m3", "m4", "m6", "m7"], "each once");
    let attempts = bed.attempts("m5").await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert!(attempts[0]["outcome"]["message"].as_str().unwrap().contains("cannot read this"), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_for_another_number_of_events_are_a_breach_that_is_said_and_tried_once_more() {
    let manifest = "[batch]\nmax_events = 3\nmax_wait_ms = 100";
    let bed = Bed::start(Partner::start().await, BATCHES, manifest, &[]).await;
    bed.destination("/in", json!({})).await;
    bed.send(events(&[("a", "fine"), ("b", "short"), ("c", "fine")])).await;
    let ledger = bed.host.drained().await;
    assert_eq!(ledger["dead"], 3, "{ledger}");
    for id in ["a", "b", "c"] {
        let attempts = bed.attempts(id).await;
        assert_eq!(attempts.len(), 2, "{attempts:?}");
        let outcome = &attempts[0]["outcome"];
        assert_eq!(outcome["code"], "bad_request", "{outcome}");
        assert!(outcome["message"].as_str().unwrap().contains("2 answers for 3 events"), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_that_were_not_taken_come_again() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let partner = Partner::answering(move |_| {
        // The first call is turned away, so that its events come again.
        (if calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 { 503 } else { 200 }, vec![])
    })
    .await;
    let manifest = "[batch]\nmax_events = 4\nmax_wait_ms = 500\n[retry]\nattempts = 4";
    let bed = Bed::start(partner, BATCHES, manifest, &[]).await;
    let destination = bed.destination("/in", json!({})).await;
    bed.send(events(&[("a", "fine"), ("b", "later")])).await;
    let turned_away = |health: &Value| health["outcomes"]["retry"] == 2;
    bed.until("the first batch", || bed.health(&destination), turned_away).await;
    bed.send(events(&[("c", "fine")])).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(2), &json!(1)), "{ledger}");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in arrived(&bed).concat() {
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 4), ("c".to_owned(), 1)]));
}
