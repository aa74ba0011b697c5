//! A destination's switches, its test and its version, on a real host with a real partner.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner};

fn run(host: &Host, args: &[&str]) -> Output {
    host.cli(&[&["--output", "json", "destination"], args].concat()).output().unwrap()
}

fn shown(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn send(host: &Host, source: &Value, id: &str) {
    let event = json!({"writeKey": source["write_key"], "event": "E", "userId": "u", "messageId": id});
    let json = [("content-type", "application/json")];
    let answer = http::send(host.listen, "POST", "/v1/track", &json, event.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_checks_the_settings_and_makes_nothing() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let create = ["create", "Another", "--function", "webhook", "--dry-run"];
    let fits = run(&host, &[&create[..], &["--set", "url=https://a.example"]].concat());
    let said = String::from_utf8_lossy(&fits.stderr).into_owned();
    assert!(fits.status.success() && said.contains("the settings fit, and nothing was made"), "{fits:?}");
    let wrong = run(&host, &[&create[..], &["--set", "url=7", "--set", "colour=red"]].concat());
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("`url`") && said.contains("`colour`"), "{wrong:?}");
    let all = host.api("GET", "/api/v1/destinations", Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_the_gate_would_refuse_is_refused_when_it_is_saved_with_the_rule_that_answers() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (_, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let own = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    let (listen, closed) =
        (format!("https://{}/", host.listen), format!("http://127.0.0.1:{}/", partner.address.port() ^ 1));
    for (url, rule) in [
        ("https://10.1.2.3/in", "address"),
        ("https://[fd00::7]/in", "address"),
        ("https://8.8.8.8/in", "address"),
        ("http://169.254.169.254/", "cloud metadata"),
        (&listen, "address"),
        (&closed, "address"),
        ("http://hooks.acme.example/", "scheme"),
    ] {
        let new = json!({"name": "Another", "function": "webhook", "settings": {"url": url}});
        for (method, path, body) in [
            ("POST", "/api/v1/destinations?dry_run=true", new.clone()),
            ("POST", "/api/v1/destinations", new),
            ("PATCH", &*own, json!({"settings": {"url": url}})),
            ("PATCH", &*own, json!({"settings_patch": {"url": url}})),
        ] {
            let (status, answer) = host.try_api(method, path, body).await;
            let said = answer["errors"].to_string();
            assert!(status == 422 && said.contains(url) && said.contains(rule), "{method} {path} {url}: {answer}");
        }
    }
    let all = host.api("GET", "/api/v1/destinations", Value::Null).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all}");
    // What the operator opened is, also in another way to write it; names are judged when they are used.
    for url in [partner.url(), format!("{}/hook?x=1", partner.url()), "https://hooks.acme.example/".to_owned()] {
        host.api("PATCH", &own, json!({"settings_patch": {"url": url}})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_events_wait_disabled_ones_are_filtered_and_both_go_on() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let id = destination["id"].as_str().unwrap();
    assert_eq!(shown(&run(&host, &["pause", id]))["paused"], true);
    send(&host, &source, "waits").await;
    assert_eq!(host.ledger().await["pending"], 1);

    let token = host.token.clone();
    assert!(host.stop().success());
    let host = Host::start(data.path(), partner.address, Some(&token));
    send(&host, &source, "waits too").await;
    assert_eq!(host.ledger().await["pending"], 2, "it stays paused after a restart");
    assert!(partner.bodies().is_empty());
    assert_eq!(shown(&run(&host, &["enable", id]))["paused"], false);
    assert_eq!(host.drained().await["delivered"], 2);

    assert_eq!(shown(&run(&host, &["disable", id]))["enabled"], false);
    send(&host, &source, "filtered").await;
    assert_eq!(host.ledger().await["filtered"], 1);
    shown(&run(&host, &["enable", id]));
    send(&host, &source, "again").await;
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["filtered"]), (&json!(3), &json!(1)), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_tested_before_it_is_switched_on() {
    let status = Arc::new(AtomicU16::new(401));
    let answers = Arc::clone(&status);
    let partner = Partner::answering(move |_| (answers.load(Ordering::Relaxed), vec![])).await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    host.push(&std::fs::read(function("webhook")).unwrap()).await;
    let set = format!("url={}", partner.url());
    let made = shown(&run(&host, &["create", "hook", "--function", "webhook", "--off", "--set", &set]));
    assert_eq!(made["enabled"], false);
    let id = made["id"].as_str().unwrap();
    let refused = run(&host, &["enable", id, "--test"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(shown(&run(&host, &["show", id]))["enabled"], false, "it stays as it was");
    status.store(200, Ordering::Relaxed);
    let report = shown(&run(&host, &["test", id]));
    assert_eq!((&report["outcome"]["code"], &report["requests"][0]["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(shown(&run(&host, &["enable", id, "--test"]))["enabled"], true);
    assert_eq!(partner.bodies().len(), 3);
    let sent = &partner.bodies()[2];
    assert!(sent.to_string().contains("tidegate-connection-test"), "{sent}");
    assert_eq!(host.ledger().await["accepted"], 0, "a test is no delivery");
    let other = host.try_api("POST", &format!("/api/v1/destinations/{id}/test"), json!({"event": {"type": "x"}})).await;
    assert_eq!((other.0, &other.1["code"]), (422, &json!("invalid_event")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_stays_on_a_version_by_its_text_and_follows_again() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let pushed = host.push(&std::fs::read(function("webhook")).unwrap()).await;
    let text = pushed["version"]["version"].as_str().unwrap();
    let set = format!("url={}", partner.url());
    let made = shown(&run(&host, &["create", "hook", "--function", "webhook", "--pin", text, "--set", &set]));
    assert_eq!(made["pinned"], pushed["version"]["id"]);
    let id = made["id"].as_str().unwrap();
    assert_eq!(shown(&run(&host, &["update", id, "--follow"]))["pinned"], Value::Null);
    assert_eq!(shown(&run(&host, &["update", id, "--pin", text]))["pinned"], made["pinned"]);
    assert_eq!(run(&host, &["update", id, "--pin", "9.9.9"]).status.code(), Some(1));
}
