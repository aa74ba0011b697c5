//! `tidegate bench replay`: dead letters come back beside live events, and what that costs the live ones. Live events alone are
//! measured between parts of the same replay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::bench::start;
use super::bench_stock::{Way, fill};
use super::client::Client;
use super::partner;
use crate::store::Settle;

/// How quickly dead letters come back, beside what, and how that is measured.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Dead letters that come back in a second, at most.
    pub(super) per_s: u32,
    /// Live events a second.
    pub(super) live_per_s: u32,
    /// How long the replay runs, and stands still, in turns: a disk that is slow for a while is so for both.
    pub(super) turn: Duration,
    /// What each turn needs to be itself: it is not measured.
    pub(super) between: Duration,
    /// Turns of each kind; then the replay runs to its end.
    pub(super) turns: usize,
}

impl Pace {
    pub(super) const USUAL: Self =
        Self { per_s: 500, live_per_s: 100, turn: Duration::from_secs(5), between: Duration::from_secs(1), turns: 12 };

    /// Only whether it works.
    pub(super) const QUICK: Self = Self {
        per_s: 20,
        live_per_s: 20,
        turn: Duration::from_millis(500),
        between: Duration::from_millis(100),
        turns: 2,
    };
}

/// When each live event was sent, and how long those took that arrived.
#[derive(Default)]
struct Live {
    sent: Mutex<std::collections::HashMap<u64, Instant>>,
    took: Mutex<Vec<f64>>,
    next: AtomicU64,
}

impl Live {
    fn arrived(&self, body: &[u8]) {
        // The function posts "*live-N* did …" for these and "*stock* did …" for the others.
        let text = String::from_utf8_lossy(body);
        let digits: String =
            text.split("live-").nth(1).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse().ok();
        let sent = number.and_then(|n: u64| self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&n));
        if let Some(sent) = sent {
            let took = sent.elapsed().as_secs_f64() * 1e3;
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }

    /// Sends one event, from which its way is timed.
    async fn send(&self, client: &Client, write_key: &str) -> anyhow::Result<()> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(n, Instant::now());
        let event = json!({"type": "track", "event": "Order Completed", "userId": format!("live-{n}"),
            "messageId": format!("live-{n}")});
        client.post("/v1/batch", &json!({ "writeKey": write_key, "batch": [event] })).await?;
        Ok(())
    }

    /// How long those took that arrived since it was asked last.
    fn taken(&self) -> Vec<f64> {
        std::mem::take(&mut *self.took.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long those take that arrive in one turn.
    async fn turn(&self, pace: &Pace) -> Vec<f64> {
        tokio::time::sleep(pace.between).await;
        self.taken();
        tokio::time::sleep(pace.turn).await;
        self.taken()
    }
}

/// The median and the 99th of a hundred, in milliseconds.
fn figures(mut took: Vec<f64>) -> (f64, f64) {
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get(((took.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN);
    ((at(0.5) * 100.0).round() / 100.0, (at(0.99) * 100.0).round() / 100.0)
}

/// Measures live events beside a replay of that many dead letters, and while it stands still.
pub(super) async fn run(component: Vec<u8>, dead: u64, pace: Pace) -> anyhow::Result<Value> {
    let live = Arc::new(Live::default());
    let heard = Arc::clone(&live);
    let partner = partner::start(move |request| heard.arrived(&request.body)).await?;
    let data = tempfile::tempdir()?;
    let (_, api, stop, host) = start(data.path(), partner).await?;
    let write_key = super::bench::wire(&api, component, partner).await?;
    let (way, token) = (way(&api).await?, api.token().context("a new directory has a key")?.to_owned());
    stop.cancel();
    host.await??;
    fill(data.path(), &token, way, dead, (dead, Settle::Dead)).await?;

    let (listen, api, stop, host) = super::bench::start_again(data.path(), partner, &token).await?;
    let tracking = Arc::new(Client::at(format!("http://{listen}"), None)?);
    let traffic = tokio::spawn(traffic(Arc::clone(&live), tracking, write_key, pace.live_per_s));
    let began = Instant::now();
    let made = api.post("/api/v1/replays", &json!({ "events_per_s": pace.per_s })).await?;
    let planned = began.elapsed();
    let path = format!("/api/v1/replays/{}", made["id"].as_str().context("the replay has no id")?);
    let (mut alone, mut beside, mut stood) = (Vec::new(), Vec::new(), Duration::ZERO);
    let replay = loop {
        let replay = api.get(&path).await?;
        if replay["state"] == "done" && replay["pending"] == 0 {
            break replay;
        }
        ensure!(!traffic.is_finished(), "the live events ended");
        if replay["state"] == "done" || alone.len() >= pace.turns {
            tokio::time::sleep(Duration::from_millis(250)).await;
            continue;
        }
        // The first seconds fill caches, and are no turn's.
        beside.push(live.turn(&pace).await);
        let stands = Instant::now();
        if api.post(&format!("{path}/pause"), &json!({})).await.is_err() {
            // It came to its end in this turn.
            continue;
        }
        alone.push(live.turn(&pace).await);
        api.post(&format!("{path}/resume"), &json!({})).await?;
        stood += stands.elapsed();
    };
    let took = began.elapsed() - stood;
    ensure!(alone.len() > 1, "the replay ended before it could be compared: give more --dead, or a lower --rate");
    let (alone, beside) = (alone.concat(), beside[..alone.len()].concat());
    let counts = (alone.len(), beside.len());
    let ((alone_p50, alone_p99), (p50, p99)) = (figures(alone), figures(beside));
    traffic.abort();
    let ledger = api.get("/api/v1/ledger").await?;
    stop.cancel();
    host.await??;
    ensure!(replay["delivered"] == dead, "not all came back: {replay}");
    Ok(json!({
        "dead_letters": dead,
        "asked_per_s": pace.per_s,
        "replayed_per_s": (dead as f64 / took.as_secs_f64()).round(),
        "replay_s": (took.as_secs_f64() * 10.0).round() / 10.0,
        "planning_ms": planned.as_millis() as u64,
        "live_per_s": pace.live_per_s,
        "live_alone": { "events": counts.0, "p50_ms": alone_p50, "p99_ms": alone_p99 },
        "live_beside": { "events": counts.1, "p50_ms": p50, "p99_ms": p99 },
        "p50_ratio": (p50 / alone_p50 * 100.0).round() / 100.0,
        "p99_ratio": (p99 / alone_p99 * 100.0).round() / 100.0,
        "p99_ratio_goal": 1.2,
        "ledger": ledger,
    }))
}

/// The only connection there is.
pub(super) async fn way(api: &Client) -> anyhow::Result<Way> {
    let connections = api.get("/api/v1/connections").await?;
    let id = |name: &str| connections["items"][0][name].as_str().with_context(|| format!("no `{name}`"));
    Ok(Way { source: id("source")?.parse()?, connection: id("id")?.parse()?, destination: id("destination")?.parse()? })
}

/// Sends live events, that many a second, each whenever it comes: in even distances they would always or never meet what a replay
/// gives back in even distances. A thread of its own tells when, for timers here all go off at the same whole milliseconds.
async fn traffic(live: Arc<Live>, client: Arc<Client>, write_key: String, per_s: u32) -> anyhow::Result<()> {
    let (tell, mut now) = tokio::sync::mpsc::unbounded_channel();
    let mut at = Instant::now();
    std::thread::spawn(move || {
        while tell.send(()).is_ok() {
            // How far apart those are that come independently of each other.
            at += Duration::from_secs_f64(-(1.0 - rand::random::<f64>()).ln() / f64::from(per_s));
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
        }
    });
    let mut under_way = tokio::task::JoinSet::new();
    while now.recv().await.is_some() {
        let (live, client, write_key) = (Arc::clone(&live), Arc::clone(&client), write_key.clone());
        under_way.spawn(async move { live.send(&client, &write_key).await });
        while let Some(sent) = under_way.try_join_next() {
            sent??;
        }
    }
    Ok(())
}
