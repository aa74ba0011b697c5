//! `tidegate demo`: the whole thing on one machine, with nothing set up.
//!
//! A real host on a temporary folder, asked through its own interfaces: what is shown is what a person would do by hand.
//! Only the partner is a stand-in, on this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::partner::{self, Received};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::shutdown;

#[derive(clap::Args)]
pub(super) struct Args {
    /// End after the sample events are delivered, instead of staying up for your own.
    #[arg(long)]
    once: bool,
    /// The port of the tracking API on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Another function than the bundled one. It must take `webhook_path` and `base_url`, as `functions/slack` does.
    #[arg(long, value_name = "FILE")]
    function: Option<PathBuf>,
}

/// How long the sample events may take: generous, because the first start compiles the function.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sample events' path at the partner, as Slack would give it to a customer.
const WEBHOOK_PATH: &str = "/services/T024TIDE/B024GATE/demo-secret";

pub(super) async fn run(args: Args) -> anyhow::Result<u8> {
    let component = std::fs::read(component(args.function, "slack.wasm")?)?;
    let stop = shutdown::on_signal()?;
    let data = tempfile::tempdir().context("no temporary folder can be made")?;
    let (got, mut received) = mpsc::unbounded_channel();
    let partner = partner::start(move |request| drop(got.send(request))).await?;
    let app = App::start(&config(args.port, data.path(), partner)?, Clock::System).await?;
    let (listen, admin) = (app.listen, app.admin_listen);
    let token = app.operator_token.clone();
    let host = tokio::spawn(app.run(stop.clone()));

    println!("host      http://{listen} (tracking), http://{admin} (control), data in {}", data.path().display());
    println!("partner   http://{partner}, a stand-in for hooks.slack.com");
    let api = Client::at(format!("http://{admin}"), token)?;
    let shown = async {
        let write_key = set_up(&api, component, partner).await?;
        send_samples(listen, &write_key, &mut received).await?;
        settled(&api).await?;
        anyhow::Ok(write_key)
    };
    let shown = tokio::select! {
        shown = shown => shown,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Ok(write_key) = &shown
        && !args.once
    {
        stay(listen, write_key, &mut received, &stop).await;
    }
    stop.cancel();
    host.await??;
    shown.map(|_| 0)
}

/// A bundled function, which lies beside the program, unless another one is named.
pub(super) fn component(named: Option<PathBuf>, bundled: &str) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path,
        None => {
            std::env::current_exe()?.parent().context("the program lies in no folder")?.join("functions").join(bundled)
        }
    };
    ensure!(path.is_file(), "there is no function at `{}`: `cargo xtask demo` builds it, or name one", path.display());
    Ok(path)
}

fn config(port: u16, data: &std::path::Path, partner: SocketAddr) -> anyhow::Result<Config> {
    let variables = [
        ("TIDEGATE__LISTEN", format!("127.0.0.1:{port}")),
        ("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("TIDEGATE__EGRESS__ALLOW_ADDRESSES", format!("[\"{partner}\"]")),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    Ok(Config { data_dir: data.to_owned(), ..Config::load(None, variables)? })
}

/// Uploads the function and wires a source to it; the source's write key.
async fn set_up(api: &Client, component: Vec<u8>, partner: SocketAddr) -> anyhow::Result<String> {
    let size = component.len();
    let start = Instant::now();
    let pushed = api.call(Method::POST, "/api/v1/functions", "application/wasm", Bytes::from(component)).await?;
    let function = pushed.pointer("/function/name").or(pushed.get("name")).and_then(Value::as_str).unwrap_or("slack");
    println!("function  {function}, {} KB, uploaded and checked in {} ms", size / 1024, start.elapsed().as_millis());
    let source = api.post("/api/v1/sources", &json!({ "name": "website" })).await?;
    let destination = json!({
        "name": "Team Slack",
        "function": function,
        "settings": { "webhook_path": WEBHOOK_PATH, "base_url": format!("http://{partner}") },
    });
    let destination = api.post("/api/v1/destinations", &destination).await?;
    let connection = json!({ "source": source["id"], "destination": destination["id"] });
    api.post("/api/v1/connections", &connection).await?;
    let write_key = source["write_key"].as_str().context("the source has no write key")?;
    println!("source    website, write key {write_key}\n");
    Ok(write_key.to_owned())
}

async fn send_samples(
    listen: SocketAddr,
    write_key: &str,
    received: &mut mpsc::UnboundedReceiver<Received>,
) -> anyhow::Result<()> {
    let events = [
        json!({"type": "identify", "userId": "019mr8mf4r", "traits": {"name": "Ada Lovelace", "email": "ada@example.com"}}),
        json!({"type": "track", "userId": "019mr8mf4r", "event": "Order Completed", "properties": {"revenue": 39.95, "currency": "EUR"}}),
    ];
    let tracking = Client::at(format!("http://{listen}"), None)?;
    for event in &events {
        println!("→ in      {event}");
    }
    let answer = tracking.post("/v1/batch", &json!({ "writeKey": write_key, "batch": events })).await?;
    println!("← answer  {answer}, after the events were on disk\n");
    for _ in &events {
        let request = tokio::time::timeout(PATIENCE, received.recv()).await;
        let request =
            request.with_context(|| format!("nothing arrived at the partner within {} s", PATIENCE.as_secs()))?;
        show(&request.context("the partner ended")?);
    }
    Ok(())
}

fn show(request: &Received) {
    println!(
        "← out     {} {}  {}",
        request.method,
        request.path.replace(WEBHOOK_PATH, "/services/…"),
        request.content_type
    );
    println!("          {}", String::from_utf8_lossy(&request.body));
}

/// Waits until the host has settled what it accepted, and shows the ledger and what the sandbox used.
async fn settled(api: &Client) -> anyhow::Result<()> {
    let start = Instant::now();
    let ledger = loop {
        let ledger = api.get("/api/v1/ledger").await?;
        if ledger["pending"] == 0 {
            break ledger;
        }
        ensure!(start.elapsed() < PATIENCE, "still not settled: {ledger}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    ensure!(ledger["delivered"] == ledger["accepted"], "not everything was delivered: {ledger}");
    let deliveries = api.get("/api/v1/deliveries").await?;
    println!();
    for delivery in deliveries["items"].as_array().into_iter().flatten() {
        let Some(id) = delivery["id"].as_str() else { continue };
        let attempts = api.get(&format!("/api/v1/deliveries/{id}/attempts")).await?;
        let Some(report) = attempts.pointer("/items/0/report") else { continue };
        println!(
            "sandbox   {}: {} of {} ms CPU, {} KB of memory, {} host calls, {} request in {} ms",
            delivery["event_type"].as_str().unwrap_or("event"),
            report["used"]["cpu_ms"],
            report["limits"]["cpu_ms"],
            report["used"]["memory_bytes"].as_u64().unwrap_or(0) / 1024,
            report["used"]["host_calls"],
            report["used"]["requests"],
            report["requests"][0]["ms"],
        );
    }
    println!("ledger    {ledger}");
    Ok(())
}

async fn stay(
    listen: SocketAddr,
    write_key: &str,
    received: &mut mpsc::UnboundedReceiver<Received>,
    stop: &CancellationToken,
) {
    println!("\nSend your own; Ctrl-C ends:\n");
    println!("  curl http://{listen}/v1/track -u {write_key}: -H 'content-type: application/json' \\");
    println!("    -d '{{\"event\":\"Signed Up\",\"userId\":\"u1\",\"properties\":{{\"plan\":\"pro\"}}}}'\n");
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            request = received.recv() => match request {
                Some(request) => show(&request),
                None => return,
            },
        }
    }
}
