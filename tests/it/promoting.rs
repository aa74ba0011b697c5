//! Promotion and rollback under traffic: each event runs wholly on one version, and its attempt says which.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;

use crate::host::{Host, until};
use crate::http::{self, Partner};

const SEND: &str = include_str!("../guests/send.wat");

/// A function whose every invocation sends two requests to `http://PARTNER/VERSION` and then rejects the event, so that each
/// attempt is kept.
fn twice(partner: &Partner, version: &str) -> Vec<u8> {
    let url = format!("{}/{version}", partner.url());
    let head = SEND.split("(func (export \"tidegate:destination/handler@0.1.0#handle-event\")").next().unwrap();
    let head = head.replace("POSThttps://partner.example/in", &format!("POST{url}"));
    assert!(head.contains(&url), "the guest names its URL");
    let send = format!(
        "(call $send (i32.const 64) (i32.const 4) (i32.const 68) (i32.const {}) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 256))",
        url.len()
    );
    let tail = "(i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16))
        (func (export \"tidegate:destination/handler@0.1.0#handle-batch\") (param i32 i32 i32 i32) (result i32)
          (i32.const 0)))";
    let wat = format!(
        "{head}(func (export \"tidegate:destination/handler@0.1.0#handle-event\") (param i32) (result i32) {send} {send} {tail}"
    );
    let manifest = format!(
        "name = \"twice\"\nversion = \"{version}\"\nevents = [\"track\"]\n[egress]\nallow = [\"{}\"]\n",
        partner.url()
    );
    component_from_core(wat.as_bytes(), &manifest).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_runs_wholly_on_one_version_while_versions_change() {
    const EVENTS: usize = 80;
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    let (source, _) = host.wire(&twice(&partner, "one"), "twice", json!({})).await;
    let one = host.api("GET", "/api/v1/functions/twice", Value::Null).await["current"].clone();
    let two = host.push(&twice(&partner, "two")).await["version"]["id"].clone();
    let key = source["write_key"].as_str().unwrap();
    for number in 0..EVENTS {
        let event = json!({"writeKey": key, "event": "E", "userId": "u", "messageId": format!("m{number}")});
        let event = event.to_string().into_bytes();
        let answer = http::send(host.listen, "POST", "/v1/track", &[("content-type", "application/json")], event).await;
        assert_eq!(answer.status, 200);
        if number % 8 == 4 {
            let how = if number % 16 == 4 { "versions/two/promote" } else { "rollback" };
            host.api("POST", &format!("/api/v1/functions/twice/{how}"), json!({})).await;
        }
    }
    let ledger = host.drained().await;
    assert_eq!(ledger["dead"], EVENTS, "{ledger}");
    let deliveries = host.api("GET", "/api/v1/deliveries?limit=1000", Value::Null).await;
    let mut ran = BTreeSet::new();
    for delivery in deliveries["items"].as_array().unwrap() {
        let path = format!("/api/v1/deliveries/{}/attempts", delivery["id"].as_str().unwrap());
        let attempts = host.api("GET", &path, Value::Null).await;
        let [attempt] = &attempts["items"].as_array().unwrap()[..] else { panic!("{attempts}") };
        let expected = if attempt["version"] == one { "one" } else { "two" };
        assert!([&one, &two].contains(&&attempt["version"]), "{attempt}");
        let requests = attempt["report"]["requests"].as_array().unwrap();
        assert_eq!(requests.len(), 2, "{attempt}");
        for request in requests {
            assert_eq!(request["url"], format!("{}/{expected}", partner.url()), "{attempt}");
        }
        ran.insert(expected);
    }
    assert_eq!(ran.len(), 2, "both versions ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn also_of_a_success_that_is_in_no_sample_it_is_known_which_version_ran() {
    const EVENTS: usize = 60;
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    let handler = "async function onTrack(event, settings) {
        await fetch(`${settings.url}/VERSION`, { method: 'POST', body: JSON.stringify({ id: event.messageId, ran: 'VERSION' }) });
      }";
    let manifest = "name = \"told\"\nversion = \"VERSION.0.0\"\nevents = [\"track\"]\nreads = [\"*\"]\n\
                    [egress]\nallow = [\"{settings.url}\"]\n[settings.url]\ntype = \"string\"\nrequired = true\n";
    let mut ids = Vec::new();
    for version in ["1", "2"] {
        let [handler, manifest] = [handler, manifest].map(|text| text.replace("VERSION", version));
        ids.push(host.push_source(&handler, &manifest).await["version"]["id"].clone());
    }
    let (source, destination) = host.feed("told", json!({"url": partner.url()})).await;
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    // All are owed by one block; the rate lets some of them run on one version, and the rest on the other.
    host.api("PATCH", &path, json!({"rate": {"events_per_s": 20}})).await;
    let event =
        |number: usize| json!({"type": "track", "event": "E", "userId": "u", "messageId": format!("m{number}")});
    let batch: Vec<_> = (0..EVENTS).map(event).collect();
    let body = json!({"writeKey": source["write_key"], "batch": batch}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    until("some run on the first version", || partner.bodies().len() >= 5).await;
    host.api("POST", "/api/v1/functions/told/versions/2.0.0/promote", json!({})).await;
    assert_eq!(host.drained().await["delivered"], EVENTS);
    let bodies = partner.bodies();
    let deliveries = host.api("GET", "/api/v1/deliveries?limit=1000", Value::Null).await;
    let deliveries = deliveries["items"].as_array().unwrap();
    assert_eq!(deliveries.len(), EVENTS);
    for delivery in deliveries {
        let ran =
            bodies.iter().find(|body| body["id"] == delivery["message_id"]).map(|body| body["ran"].clone()).unwrap();
        let expected = &ids[if ran == "1" { 0 } else { 1 }];
        assert_eq!(delivery["version"], *expected, "{delivery}");
    }
    assert!(bodies.iter().any(|body| body["ran"] == "2"), "both ran");
    let recorded = deliveries.iter().filter(|delivery| !delivery["last_outcome"].is_null()).count();
    assert!(recorded < EVENTS, "most successes have no record of their own");
}
