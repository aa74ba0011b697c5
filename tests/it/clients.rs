//! Clients that nobody here wrote, unmodified: every event arrives, and the ledger adds up.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::host::{Host, clients, function};
use crate::http::Partner;

/// Events that each client sends.
const EVENTS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_the_stock_node_client_arrives() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/send.mjs");
    all_arrive("webhook", move |listen, write_key| {
        let mut command = Command::new("node");
        command.arg(script).args([&format!("http://{listen}"), write_key, &EVENTS.to_string()]);
        command.env("TIDEGATE_CLIENTS", clients());
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_the_stock_python_client_arrives() {
    all_arrive("webhook", |listen, write_key| python(listen, write_key, "plain")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gzipped_event_of_the_stock_python_client_arrives() {
    all_arrive("webhook", |listen, write_key| python(listen, write_key, "gzip")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_the_stock_python_client_arrives_in_slack() {
    all_arrive("slack", |listen, write_key| python(listen, write_key, "plain")).await;
}

fn python(listen: SocketAddr, write_key: &str, encoding: &str) -> Command {
    let mut command = Command::new(clients().join("python/bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/send.py")).args([
        &format!("http://{listen}"),
        write_key,
        &EVENTS.to_string(),
        encoding,
    ]);
    command
}

async fn all_arrive(name: &str, client: impl FnOnce(SocketAddr, &str) -> Command + Send + 'static) {
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let component = std::fs::read(function(name)).unwrap();
    let host = Host::start(data.path(), partner.address, None);
    let settings = match name {
        "slack" => json!({"webhook_path": "/services/T0/B0/secret", "base_url": partner.url()}),
        _ => json!({"url": partner.url()}),
    };
    let (source, _) = host.wire(&component, name, settings).await;

    let write_key = source["write_key"].as_str().unwrap().to_owned();
    let listen = host.listen;
    let sent = tokio::task::spawn_blocking(move || client(listen, &write_key).output()).await.unwrap().unwrap();
    assert!(sent.status.success(), "the client failed: {}", String::from_utf8_lossy(&sent.stderr));

    let ledger = host.drained().await;
    assert_eq!(ledger["accepted"], EVENTS, "{ledger}");
    assert_eq!(ledger["delivered"], EVENTS, "{ledger}");
    let bodies = partner.bodies();
    assert_eq!(bodies.len(), EVENTS, "each event arrives once");
    let received = partner.received.lock().unwrap().clone();
    assert!(received.iter().all(|request| request.headers["content-type"] == "application/json"));
    if name == "webhook" {
        let numbers: BTreeSet<_> = bodies.iter().filter_map(|body| body["messageId"].as_str()).collect();
        assert_eq!(numbers.len(), EVENTS, "each with its own id");
    }
}
