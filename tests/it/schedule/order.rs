//! Order: by connection and key, also when one fails and when the host is started again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Bed, POSTS};
use crate::http::{Partner, Received};

fn id(one: &Received) -> String {
    serde_json::from_slice::<Value>(&one.body).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Turns `a1` away until it is told otherwise.
async fn stubborn() -> (Partner, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&open);
    let partner = Partner::answering(move |one| {
        (if id(one) == "a1" && !answers.load(Ordering::Relaxed) { 503 } else { 200 }, vec![])
    })
    .await;
    (partner, open)
}

fn events(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), name[..1].to_owned())).collect()
}

/// What arrived of one user, each event where it arrived last.
fn of(bed: &Bed, user: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for id in bed.arrived("/in").into_iter().filter(|id| id.starts_with(user)) {
        order.retain(|before| *before != id);
        order.push(id);
    }
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_holds_back_its_own_user_only_also_after_a_restart() {
    let (partner, open) = stubborn().await;
    let mut bed = Bed::start(partner, POSTS, "", &[]).await;
    let destination = bed.connected("/in", json!({}), json!({"ordered_by": "userId"})).await;
    bed.send(events(&["a1", "b1", "a2", "b2", "a3", "b3"])).await;
    let others = |ledger: &Value| ledger["delivered"] == 3;
    bed.until("the other user", || bed.ledger(&destination), others).await;
    assert_eq!(of(&bed, "b"), ["b1", "b2", "b3"]);
    assert_eq!(of(&bed, "a"), ["a1"], "those behind it wait");

    bed.restart(&[], async || {}).await;
    bed.send(events(&["a4", "b4"])).await;
    let others = |ledger: &Value| ledger["delivered"] == 4;
    bed.until("the other user", || bed.ledger(&destination), others).await;
    assert_eq!(of(&bed, "a"), ["a1"], "those behind it still wait");
    open.store(true, Ordering::Relaxed);
    let ledger = bed.host.drained().await;
    assert_eq!(ledger["delivered"], 8, "{ledger}");
    assert_eq!(of(&bed, "a"), ["a1", "a2", "a3", "a4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_for_too_long_is_given_up_and_its_user_goes_on() {
    let (partner, _) = stubborn().await;
    let bed = Bed::start(partner, POSTS, "", &[("TIDEGATE__DELIVERY__ORDERED_WINDOW_S", "1")]).await;
    bed.connected("/in", json!({}), json!({"ordered_by": "userId"})).await;
    bed.send(events(&["a1", "a2", "a3"])).await;
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(2), &json!(1)), "{ledger}");
    assert_eq!(of(&bed, "a"), ["a1", "a2", "a3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_gives_back_holds_its_user_back_no_more_also_after_a_restart() {
    let (partner, open) = stubborn().await;
    let short = [("TIDEGATE__DELIVERY__ORDERED_WINDOW_S", "1")];
    let mut bed = Bed::start(partner, POSTS, "", &short).await;
    bed.connected("/in", json!({}), json!({"ordered_by": "userId"})).await;
    bed.send(events(&["a1", "a2", "b1"])).await;
    assert_eq!(bed.host.drained().await["dead"], 1, "`a1` is given up");
    let replay = bed.host.api("POST", "/api/v1/replays", json!({})).await;
    let path = format!("/api/v1/replays/{}", replay["id"].as_str().unwrap());
    bed.until("the replay", || bed.host.api("GET", &path, Value::Null), |replay| replay["released"] == 1).await;
    // It fails as before, and the user goes on without it, before a restart and after it.
    bed.send(events(&["a3", "b2"])).await;
    bed.until("the user", || bed.host.ledger(), |ledger| ledger["delivered"] == 4).await;
    bed.restart(&short, async || {}).await;
    bed.send(events(&["a4", "b3"])).await;
    bed.until("the user", || bed.host.ledger(), |ledger| ledger["delivered"] == 6).await;
    assert_eq!(bed.host.ledger().await["pending"], 1, "`a1` alone");
    open.store(true, Ordering::Relaxed);
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(7), &json!(0)), "{ledger}");
    assert_eq!(of(&bed, "a"), ["a2", "a3", "a4", "a1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_users_with_many_events_each_keeps_its_order_while_a_third_of_all_first_attempts_fail() {
    let tried = Mutex::new(HashSet::new());
    let partner = Partner::answering(move |one| {
        let id = id(one);
        // Each user's at other places, so that no breaker sees only failures.
        let place = id[1..].parse::<u32>().unwrap() + u32::from(id.as_bytes()[0]);
        (if place.is_multiple_of(3) && tried.lock().unwrap().insert(id) { 503 } else { 200 }, vec![])
    })
    .await;
    let bed = Bed::start(partner, POSTS, "", &[("TIDEGATE__DELIVERY__BREAKER_FAILURE_PERCENT", "100")]).await;
    bed.connected("/in", json!({}), json!({"ordered_by": "userId"})).await;
    let (users, each) = ("abcdefghijklmnopqrst", 60);
    let names: Vec<_> =
        (0..each).flat_map(|n| users.chars().map(move |user| (format!("{user}{n}"), user.to_string()))).collect();
    for part in names.chunks(400) {
        bed.send(part.to_vec()).await;
    }
    let ledger = bed.host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(names.len()), &json!(0)), "{ledger}");
    for user in users.chars() {
        let sent: Vec<_> = (0..each).map(|n| format!("{user}{n}")).collect();
        assert_eq!(of(&bed, &user.to_string()), sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_order_nobody_waits_and_a_field_that_names_nothing_is_refused() {
    let (partner, open) = stubborn().await;
    let bed = Bed::start(partner, POSTS, "", &[]).await;
    let destination = bed.destination("/in", json!({})).await;
    bed.send(events(&["a1", "a2", "a3"])).await;
    bed.until("those behind it", || bed.ledger(&destination), |ledger| ledger["delivered"] == 2).await;
    open.store(true, Ordering::Relaxed);
    bed.host.drained().await;
    let connections = bed.host.api("GET", "/api/v1/connections", Value::Null).await;
    let path = format!("/api/v1/connections/{}", connections["items"][0]["id"].as_str().unwrap());
    let changed = bed.host.api("PATCH", &path, json!({"ordered_by": "context.groupId"})).await;
    assert_eq!(changed["ordered_by"], "context.groupId");
    assert_eq!(bed.host.api("PATCH", &path, json!({"enabled": true})).await["ordered_by"], "context.groupId");
    assert_eq!(bed.host.api("PATCH", &path, json!({"ordered_by": null})).await["ordered_by"], Value::Null);
    let (status, problem) = bed.host.try_api("PATCH", &path, json!({"ordered_by": "user..id"})).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("`user..id`"), "{problem}");
}
