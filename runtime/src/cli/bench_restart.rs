//! `tidegate bench restart`: a host begins with a million pending deliveries.

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::bench::start;
use super::bench_replay::way;
use super::bench_stock::fill;
use super::client::Client;
use super::partner;
use crate::clock::Clock;
use crate::store::Settle;

/// How long the host is watched while it delivers.
pub(super) const WATCHED: Duration = Duration::from_secs(15);

/// A host in a process of its own, ended with this.
pub(super) struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Host {
    /// Starts one on a data directory that has a key; with it come clients of its tracking and its control API.
    pub(super) async fn serve(data: &Path, partner: SocketAddr, token: &str) -> anyhow::Result<(Self, Client, Client)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--data"])
            .arg(data)
            .env("TIDEGATE__LISTEN", "127.0.0.1:0")
            .env("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0")
            .env("TIDEGATE__EGRESS__ALLOW_ADDRESSES", format!("[\"{partner}\"]"))
            .env("TIDEGATE__CONTROL__KEY_REQUESTS_PER_S", "100000")
            .env("TIDEGATE__CONTROL__KEY_BURST", "100000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = std::io::BufReader::new(child.stdout.take().context("stdout is piped")?);
        let host = Self(child);
        let first =
            tokio::task::spawn_blocking(move || lines.lines().next()).await?.context("the host said nothing")??;
        let ready: Value = serde_json::from_str(&first)?;
        let at = |name: &str| -> anyhow::Result<Client> {
            let address = ready[name].as_str().with_context(|| format!("no `{name}` in {ready}"))?;
            Client::at(format!("http://{address}"), Some(token.to_owned()))
        };
        let (tracking, control) = (at("listen")?, at("admin_listen")?);
        Ok((host, tracking, control))
    }

    /// Bytes in memory: now, and the most there were.
    pub(super) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        Ok((of("VmRSS:").context("no VmRSS")?, of("VmHWM:").context("no VmHWM")?))
    }
}

/// Measures the start of a host on that many pending deliveries, a tenth of which were tried before and are due.
pub(super) async fn run(component: Vec<u8>, pending: u64, watched: Duration) -> anyhow::Result<Value> {
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    let partner = partner::start(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .await?;
    let data = tempfile::tempdir()?;
    let (_, api, stop, host) = start(data.path(), partner).await?;
    let write_key = super::bench::wire(&api, component, partner).await?;
    let (way, token) = (way(&api).await?, api.token().context("a new directory has a key")?.to_owned());
    stop.cancel();
    host.await??;
    let due = Settle::RetryAt(Clock::System.now());
    fill(data.path(), &token, way, pending, (pending / 10, due)).await?;
    let database = std::fs::metadata(data.path().join("tidegate.db"))?.len();

    let began = Instant::now();
    let (host, tracking, control) = Host::serve(data.path(), partner, &token).await?;
    let event = json!({ "type": "track", "event": "E", "userId": "u", "messageId": "after" });
    tracking.post("/v1/batch", &json!({ "writeKey": write_key, "batch": [event] })).await?;
    let serving = began.elapsed();
    while served.load(Ordering::Relaxed) == 0 {
        ensure!(began.elapsed() < Duration::from_secs(60), "nothing was delivered in a minute");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let delivering = began.elapsed();
    let (at_start, _) = host.memory()?;
    tokio::time::sleep(watched).await;
    let (_, most) = host.memory()?;
    let ledger = control.get("/api/v1/ledger").await?;
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    let mb = |bytes: u64| (bytes as f64 / 1e5).round() / 10.0;
    Ok(json!({
        "pending": pending,
        "database_mb": mb(database),
        "start_to_acknowledging_ms": ms(serving),
        "start_to_first_delivery_ms": ms(delivering),
        "memory_at_first_delivery_mb": mb(at_start),
        "highest_memory_mb": mb(most),
        "watched_s": watched.as_secs(),
        "delivered_meanwhile_per_s": (served.load(Ordering::Relaxed) as f64 / watched.as_secs_f64()).round(),
        "ledger": ledger,
    }))
}
