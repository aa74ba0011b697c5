//! Retries, dead letters, switches and shutdown, from outside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::host::{Host, function, until};
use crate::http::{self, Partner};

/// Retries without the waits of real life.
const QUICK: &[(&str, &str)] =
    &[("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "10"), ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "20")];

async fn send(host: &Host, source: &Value, events: Value) {
    let body = json!({"writeKey": source["write_key"], "batch": events}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
}

fn track(id: &str) -> Value {
    json!({"type": "track", "event": "Tested", "userId": "u", "messageId": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_is_down_is_tried_again_until_it_is_up() {
    let calls = AtomicUsize::new(0);
    let partner =
        Partner::answering(
            move |_| if calls.fetch_add(1, Ordering::Relaxed) < 3 { (503, vec![]) } else { (200, vec![]) },
        )
        .await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start_with(data.path(), partner.address, None, QUICK);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    send(&host, &source, json!([track("again")])).await;
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(1), &json!(0)), "{ledger}");
    assert_eq!(partner.bodies().len(), 4);
    let deliveries = host.api("GET", "/api/v1/deliveries", Value::Null).await;
    let id = deliveries["items"][0]["id"].as_str().unwrap();
    let attempts = host.api("GET", &format!("/api/v1/deliveries/{id}/attempts"), Value::Null).await;
    let codes: Vec<_> =
        attempts["items"].as_array().unwrap().iter().map(|one| one["outcome"]["code"].clone()).collect();
    assert_eq!(codes, ["retry", "retry", "retry", "delivered"], "{attempts}");
    assert_eq!(attempts["items"][0]["report"]["requests"][0]["status"], 503, "{attempts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_dead_with_its_cause_and_can_be_released() {
    let broken = std::sync::Arc::new(AtomicUsize::new(400));
    let status = broken.clone();
    let partner = Partner::answering(move |_| (status.load(Ordering::Relaxed) as u16, vec![])).await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start_with(data.path(), partner.address, None, QUICK);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    send(&host, &source, json!([track("dead")])).await;
    let ledger = host.drained().await;
    assert_eq!(ledger["dead"], 1, "{ledger}");
    let deliveries = host.api("GET", "/api/v1/deliveries?state=dead", Value::Null).await;
    let delivery = &deliveries["items"][0];
    assert_eq!(delivery["last_outcome"]["code"], "message_rejected", "{delivery}");
    assert!(!delivery["last_outcome"]["message"].as_str().unwrap().is_empty(), "{delivery}");

    broken.store(200, Ordering::Relaxed);
    let id = delivery["id"].as_str().unwrap();
    host.api("POST", &format!("/api/v1/deliveries/{id}/retry"), json!({})).await;
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(1), &json!(0)), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn integrations_switch_a_destination_off_and_on_and_what_is_filtered_is_counted() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let name = destination["name"].as_str().unwrap();
    let with = |id: &str, integrations: Value| {
        let mut event = track(id);
        event["integrations"] = integrations;
        event
    };
    let events = json!([
        with("plain", json!({})),
        with("all-off", json!({"All": false})),
        with("named-on", json!({"All": false, name: true})),
        with("named-off", json!({name: false})),
    ]);
    send(&host, &source, events).await;
    let ledger = host.drained().await;
    assert_eq!((&ledger["accepted"], &ledger["filtered"]), (&json!(4), &json!(2)), "{ledger}");
    let mut arrived: Vec<_> =
        partner.bodies().iter().map(|body| body["messageId"].as_str().unwrap().to_owned()).collect();
    arrived.sort();
    assert_eq!(arrived, ["named-on", "plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_id_is_delivered_once() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    send(&host, &source, json!([track("same"), track("same")])).await;
    send(&host, &source, json!([track("same"), track("other")])).await;
    let ledger = host.drained().await;
    assert_eq!(ledger["accepted"], 2, "{ledger}");
    assert_eq!(partner.bodies().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_request_the_same_is_the_same_in_every_attempt_and_in_every_version() {
    let status = Arc::new(AtomicUsize::new(503));
    let answers = Arc::clone(&status);
    let partner = Partner::answering(move |_| (answers.load(Ordering::Relaxed) as u16, vec![])).await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start_with(data.path(), partner.address, None, QUICK);
    let handler = |version: u32| {
        format!(
            "async function onTrack(event, settings) {{
               const headers = {{ 'idempotency-key': idempotencyKey(event, 'order') }};
               const body = JSON.stringify({{ version: {version}, attempt: attemptOf(event), id: event.messageId }});
               const answer = await fetch(settings.url, {{ method: 'POST', headers, body }});
               if (!answer.ok) throw new RetryError('later');
             }}"
        )
    };
    let manifest = |version: u32| {
        format!(
            "name = \"keyed\"\nversion = \"{version}.0.0\"\nevents = [\"track\"]\nreads = [\"*\"]\n\
             [egress]\nallow = [\"{{settings.url}}\"]\n[settings.url]\ntype = \"string\"\nrequired = true\n"
        )
    };
    host.push_source(&handler(1), &manifest(1)).await;
    let (source, _) = host.feed("keyed", json!({"url": partner.url()})).await;
    send(&host, &source, json!([track("m1"), track("ü-2")])).await;
    let seen = |version: u32| {
        let bodies = partner.bodies();
        bodies.iter().filter(|body| body["version"] == version).count()
    };
    until("some attempts of the first version", || seen(1) >= 4).await;
    host.push_source(&handler(2), &manifest(2)).await;
    host.api("POST", "/api/v1/functions/keyed/versions/2.0.0/promote", json!({})).await;
    until("some attempts of the second version", || seen(2) >= 4).await;
    status.store(200, Ordering::Relaxed);
    assert_eq!(host.drained().await["delivered"], 2);
    let received = partner.received.lock().unwrap();
    let keys: BTreeSet<_> = received.iter().map(|one| one.headers["idempotency-key"].to_str().unwrap()).collect();
    // One for each event, whatever tries it, and the ones that the SDK for Rust makes.
    assert_eq!(keys, BTreeSet::from(["6db03b43-3965-8797-b933-15b6b71192fb", "f29566f8-5f53-8b69-98b0-07d2d53b150c"]));
    drop(received);
    // Which attempt it is goes on with the next version; one that came to no request is missing here.
    for id in ["m1", "ü-2"] {
        let bodies = partner.bodies();
        let of_it = bodies.iter().filter(|body| body["id"] == id);
        let attempts: Vec<_> = of_it.map(|body| body["attempt"].as_u64().expect("a number")).collect();
        assert!(attempts.is_sorted_by(|one, next| one < next) && attempts.len() >= 3, "{id}: {attempts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_back_what_was_not_tried_and_the_next_start_delivers_it() {
    let partner = Partner::answering(|_| (503, vec![])).await;
    let data = tempfile::tempdir().unwrap();
    // Nothing can be delivered before the stop, and what is tried again is tried soon.
    let slow = &[("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "1"), ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "1")];
    let host = Host::start_with(data.path(), partner.address, None, slow);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let events: Vec<_> = (0..100).map(|n| track(&format!("m{n}"))).collect();
    send(&host, &source, json!(events)).await;
    let token = host.token.clone();
    assert!(host.stop().success());

    let up = Partner::start().await;
    let both = format!("[\"{}\", \"{}\"]", partner.address, up.address);
    let settings = [slow, &[("TIDEGATE__EGRESS__ALLOW_ADDRESSES", both.as_str())][..]].concat();
    let host = Host::start_with(data.path(), up.address, Some(&token), &settings);
    let settings = json!({"settings": {"url": up.url()}});
    let id = destination["id"].as_str().unwrap();
    host.api("PATCH", &format!("/api/v1/destinations/{id}"), settings).await;
    let ledger = host.drained().await;
    assert_eq!(ledger["delivered"], 100, "{ledger}");
    assert_eq!(up.bodies().len(), 100, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_setting_is_in_no_answer_of_the_control_api() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("slack")).unwrap();
    let settings = json!({"webhook_path": "/services/canary-7f3a", "base_url": partner.url()});
    let (source, destination) = host.wire(&component, "slack", settings).await;
    send(&host, &source, json!([track("one")])).await;
    host.drained().await;
    assert!(partner.received.lock().unwrap()[0].path.contains("canary-7f3a"), "the partner gets it");
    let deliveries = host.api("GET", "/api/v1/deliveries", Value::Null).await;
    let id = deliveries["items"][0]["id"].as_str().unwrap();
    let destination = destination["id"].as_str().unwrap();
    for path in [
        "/api/v1/destinations".to_owned(),
        format!("/api/v1/destinations/{destination}"),
        "/api/v1/deliveries".to_owned(),
        format!("/api/v1/deliveries/{id}"),
        format!("/api/v1/deliveries/{id}/attempts"),
    ] {
        let answer = host.api("GET", &path, Value::Null).await;
        assert!(!answer.to_string().contains("canary-7f3a"), "{path}: {answer}");
    }
}
