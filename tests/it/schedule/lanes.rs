//! Lanes, rates and breakers: what one destination does to others, and what a partner is spared.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bed, POSTS};
use crate::host::program;
use crate::http::{self, Partner};

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_leaves_others_as_they_were_and_is_served_again_when_it_answers() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&up);
    let partner = Partner::answering(move |one| {
        (if one.path == "/hangs" && !answers.load(Ordering::Relaxed) { 0 } else { 200 }, vec![])
    })
    .await;
    // Slow is what hangs until its deadline, and not what a busy machine takes for an answer.
    let settings = [("TIDEGATE__DELIVERY__BREAKER_PROBE_CAP_MS", "1000")];
    let bed = Bed::start(partner, POSTS, "[limits]\ndeadline_ms = 3000", &settings).await;
    let hanging = bed.destination("/hangs", json!({})).await;
    let mut others = Vec::new();
    for n in 0..5 {
        others.push(bed.destination(&format!("/{n}"), json!({})).await);
    }
    bed.send_many(20).await;
    for other in &others {
        let ledger = bed.until("the others", || bed.ledger(other), |ledger| ledger["pending"] == 0).await;
        assert_eq!(ledger["delivered"], 20, "{ledger}");
    }
    let open = |health: &Value| health["breaker"] == "open" && health["reason"] == "slowness";
    let health = bed.until("the breaker", || bed.health(&hanging), open).await;
    assert!(health["next_probe"].is_string() && health["since"].is_string(), "{health}");
    assert_eq!(bed.ledger(&hanging).await["pending"], 20, "they wait");
    assert_eq!(bed.health(&others[0]).await["breaker"], "closed");
    let metrics = http::send(bed.host.admin, "GET", "/metrics", &[], Vec::new()).await.text();
    assert!(metrics.contains("tidegate_breakers_opened_total{reason=\"slowness\"} 1"), "{metrics}");
    let shown = Command::new(program())
        .args(["destination", "show", hanging["id"].as_str().unwrap()])
        .env("TIDEGATE_SERVER", format!("http://{}", bed.host.admin))
        .env("TIDEGATE_TOKEN", &bed.host.token)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("slowness"), "{shown:?}");
    // Those that wait are not tried: only those that were under way, and one probe after the other.
    let tried = bed.arrived("/hangs").len();
    assert!(tried <= 25, "{tried} attempts");

    up.store(true, Ordering::Relaxed);
    let ledger = bed.until("the rest", || bed.ledger(&hanging), |ledger| ledger["pending"] == 0).await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(20), &json!(0)), "{ledger}");
    assert_eq!(bed.health(&hanging).await["breaker"], "closed");
}

/// Destinations of one function, of which one hangs.
const MANY: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn while_one_of_a_hundred_destinations_hangs_all_others_get_everything() {
    let partner = Partner::answering(|one| (if one.path == "/hangs" { 0 } else { 200 }, vec![])).await;
    // Nothing that hangs is given up before all others are through, however slow the machine is.
    let patient = [("TIDEGATE__LIMITS__DEADLINE_MS", "600000")];
    let bed = Bed::start(partner, POSTS, "", &patient).await;
    let hanging = bed.destination("/hangs", json!({})).await;
    let mut others = Vec::new();
    for n in 1..MANY {
        others.push(bed.destination(&format!("/{n}"), json!({})).await);
    }
    bed.send_many(10).await;
    let tried = || async { json!(bed.arrived("/hangs").len()) };
    bed.until("the one that hangs", tried, |tried| tried != 0).await;
    // Still more come while it is held.
    bed.send((0..10).map(|n| (format!("n{n}"), format!("u{n}")))).await;
    for (n, other) in (1..).zip(&others) {
        let ledger = bed.until("the others", || bed.ledger(other), |ledger| ledger["pending"] == 0).await;
        assert_eq!((&ledger["delivered"], bed.arrived(&format!("/{n}")).len()), (&json!(20), 20), "{ledger}");
    }
    let (ledger, health) = (bed.ledger(&hanging).await, bed.health(&hanging).await);
    assert_eq!((&ledger["pending"], &ledger["delivered"]), (&json!(20), &json!(0)), "{ledger}");
    assert!(health["in_flight"].as_u64() > Some(0), "it is held all the while: {health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_no_attempts_beyond_its_beginning_and_ends_as_a_ramp() {
    let up = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&up);
    let partner = Partner::answering(move |_| (if answers.load(Ordering::Relaxed) { 200 } else { 503 }, vec![])).await;
    let bed = Bed::start(partner, POSTS, "", &[]).await;
    let destination = bed.destination("/in", json!({})).await;
    bed.send_many(200).await;
    let failures = |health: &Value| health["breaker"] != "closed" && health["reason"] == "failures";
    bed.until("the breaker", || bed.health(&destination), failures).await;
    let before = bed.arrived("/in").len();
    assert!(before < 100, "{before} attempts at a partner that is down");
    up.store(true, Ordering::Relaxed);
    let slowed = |health: &Value| health["breaker"] == "closed" && health["learned_per_s"].is_number();
    bed.until("the ramp", || bed.health(&destination), slowed).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(200), &json!(0)), "{ledger}");
    let received = bed.partner.received.lock().unwrap();
    let took = received.last().unwrap().at - received[before].at;
    assert!(took > Duration::from_secs(2), "200 events came back within {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partners_rate_and_the_customers_both_hold_and_waiting_costs_no_attempt() {
    let bed = Bed::start(Partner::start().await, POSTS, "[rate]\nrequests_per_s = 20\nburst = 1", &[]).await;
    let tight = json!({"rate": {"events_per_s": 10, "burst": 2}});
    let (plain, tight) = (bed.destination("/plain", json!({})).await, bed.destination("/tight", tight).await);
    assert_eq!(tight["rate"], json!({"requests_per_s": null, "events_per_s": 10.0, "burst": 2}));
    bed.send_many(20).await;
    bed.host.drained().await;
    let took = |path: &str| {
        let received = bed.partner.received.lock().unwrap();
        let at: Vec<_> = received.iter().filter(|one| one.path == path).map(|one| one.at).collect();
        assert_eq!(at.len(), 20);
        // The first ones are a burst, and wait until the function is loaded.
        at[19] - at[5]
    };
    // A busy machine delivers late, but never early: a quarter is left for one that was late first and then in time.
    assert!(took("/plain") > Duration::from_millis(14 * 50) * 3 / 4, "{:?}", took("/plain"));
    assert!(took("/tight") > Duration::from_millis(14 * 100) * 3 / 4, "{:?}", took("/tight"));
    for destination in [&plain, &tight] {
        assert_eq!(bed.health(destination).await["outcomes"], json!({"delivered": 20}), "no attempt was lost");
    }
    let path = format!("/api/v1/destinations/{}", tight["id"].as_str().unwrap());
    let loose = bed.host.api("PATCH", &path, json!({"rate": null})).await;
    assert_eq!(loose["rate"], Value::Null);
    let (status, problem) = bed.host.try_api("PATCH", &path, json!({"rate": {"burst": 3}})).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_rate")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_throttles_is_left_alone_for_as_long_as_it_asks() {
    let calls = AtomicUsize::new(0);
    let partner = Partner::answering(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => (429, vec![("retry-after", "1".to_owned())]),
        _ => (200, vec![]),
    })
    .await;
    let bed = Bed::start(partner, POSTS, "", &[]).await;
    let destination = bed.destination("/in", json!({})).await;
    bed.send([("first".to_owned(), "u".to_owned())]).await;
    let throttled = |health: &Value| health["outcomes"]["retry"] == 1;
    bed.until("the first answer", || bed.health(&destination), throttled).await;
    bed.send_many(10).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(11), &json!(0)), "{ledger}");
    let received = bed.partner.received.lock().unwrap();
    let pause = received[1].at - received[0].at;
    assert!(pause > Duration::from_millis(950), "asked again after {pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_that_customers_error_and_neither_the_functions_nor_anothers() {
    let partner = Partner::answering(|one| (if one.path == "/wrong" { 401 } else { 200 }, vec![])).await;
    let bed = Bed::start(partner, POSTS, "", &[]).await;
    let (wrong, right) = (bed.destination("/wrong", json!({})).await, bed.destination("/right", json!({})).await);
    bed.send_many(50).await;
    bed.host.drained().await;
    for (destination, outcomes) in [(&wrong, json!({"invalid_settings": 50})), (&right, json!({"delivered": 50}))] {
        let health = bed.health(destination).await;
        assert_eq!((&health["breaker"], &health["outcomes"]), (&json!("closed"), &outcomes), "{health}");
    }
    assert_eq!(bed.arrived("/wrong").len(), 50, "what cannot work is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_asks_for_fewer_attempts_and_gets_them() {
    let partner = Partner::answering(|_| (503, vec![])).await;
    let bed = Bed::start(partner, POSTS, "[retry]\nattempts = 3", &[]).await;
    bed.destination("/in", json!({})).await;
    bed.send_many(1).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["dead"], bed.arrived("/in").len()), (&json!(1), 3), "{ledger}");
}
