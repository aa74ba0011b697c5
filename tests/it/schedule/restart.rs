//! What a start finds: what waited longest comes first, and what was due while nothing ran is not due in one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::model::Timestamp;

use super::{Bed, POSTS};
use crate::host::PATIENCE;
use crate::http::Partner;

/// Retries within four seconds, and a breaker that sees too few of them to open.
const SLOW: &[(&str, &str)] = &[
    ("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "4000"),
    ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "4000"),
    ("TIDEGATE__DELIVERY__BREAKER_ATTEMPTS", "64"),
    ("TIDEGATE__DELIVERY__BREAKER_FAILURE_PERCENT", "100"),
];

/// When each delivery is due, by the event's id.
async fn dues(bed: &Bed) -> Vec<(String, Timestamp)> {
    let all = bed.host.api("GET", "/api/v1/deliveries?limit=1000", Value::Null).await;
    let due = |one: &Value| {
        let at = one["next_due"].as_str().filter(|_| one["attempts"] != 0)?;
        Some((one["message_id"].as_str().unwrap().to_owned(), at.parse().unwrap()))
    };
    all["items"].as_array().unwrap().iter().filter_map(due).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_that_were_due_while_nothing_ran_come_one_after_the_other_as_they_were_due() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&up);
    let partner = Partner::answering(move |_| (if answers.load(Ordering::Relaxed) { 200 } else { 503 }, vec![])).await;
    let mut bed = Bed::start(partner, POSTS, "", SLOW).await;
    bed.destination("/in", json!({})).await;
    bed.send_many(50).await;
    let begun = Instant::now();
    while dues(&bed).await.len() < 50 {
        assert!(begun.elapsed() < PATIENCE, "not all were tried");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let due: Vec<_> = dues(&bed).await.into_iter().map(|(_, at)| at).collect();
    let (first, last) = (*due.iter().min().unwrap(), *due.iter().max().unwrap());
    bed.restart(SLOW, async || {
        up.store(true, Ordering::Relaxed);
        over(last).await;
    })
    .await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(50), &json!(0)), "{ledger}");
    let received = bed.partner.received.lock().unwrap();
    let back = &received[received.len() - 50..];
    let took = back[49].at - back[0].at;
    // Hours would pass again within a minute; seconds pass as they would have.
    let distance = last.since(first);
    assert!(took > distance * 3 / 4, "what was due within {distance:?} came within {took:?}");
}

/// Waits until a moment is over.
async fn over(moment: Timestamp) {
    while Clock::System.now() <= moment {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_longest_goes_first_and_what_came_after_an_outage_follows() {
    let alone = [("TIDEGATE__DELIVERY__IN_FLIGHT_PER_DESTINATION", "1")];
    let mut bed = Bed::start(Partner::start().await, POSTS, "", &alone).await;
    let destination = bed.destination("/in", json!({})).await;
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    bed.host.api("PATCH", &path, json!({"paused": true})).await;
    let named = |from: usize, to: usize| (from..to).map(|n| (format!("m{n:04}"), "u".to_owned())).collect::<Vec<_>>();
    // More than a lane holds in memory, in parts, and some of them before a restart.
    bed.send(named(0, 700)).await;
    bed.restart(&alone, async || {}).await;
    for from in [700, 1_400] {
        bed.send(named(from, from + 700)).await;
    }
    assert_eq!(bed.ledger(&destination).await["pending"], 2_100);
    bed.host.api("PATCH", &path, json!({"paused": false})).await;
    bed.send(named(2_100, 2_200)).await;
    let ledger = bed.host.drained().await;
    assert_eq!(ledger["delivered"], 2_200, "{ledger}");
    let arrived = bed.arrived("/in");
    assert!(arrived.is_sorted(), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_for_longer_than_the_retry_window_is_not_given_up_when_the_partner_is_down_at_first() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&up);
    let partner = Partner::answering(move |_| (if answers.load(Ordering::Relaxed) { 200 } else { 503 }, vec![])).await;
    let short = [("TIDEGATE__DELIVERY__RETRY_WINDOW_S", "4")];
    let bed = Bed::start(partner, POSTS, "", &short).await;
    let destination = bed.destination("/in", json!({})).await;
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    bed.host.api("PATCH", &path, json!({"paused": true})).await;
    bed.send_many(200).await;
    over(Clock::System.now().plus(Duration::from_millis(4_100))).await;
    bed.host.api("PATCH", &path, json!({"paused": false})).await;
    bed.until("the breaker", || bed.health(&destination), |health| health["breaker"] == "open").await;
    up.store(true, Ordering::Relaxed);
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(200), &json!(0)), "{ledger}");
}
