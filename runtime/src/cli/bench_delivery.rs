//! `tidegate bench delivery`: what destinations do to each other, what too much does to all, and what comes back or begins beside
//! live events, as ratios of one run.
//!
//! Each case is a host of its own, a stand-in partner beside it, and figures that `run` holds against each other. A further
//! case is a function that gets a [`Bed`] and gives back JSON.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::bench::{event, start};
use super::client::Client;
use super::partner::{self, HANGS};
use super::{bench_replay, bench_restart};
use crate::bench::simulate::simulate;

/// Events in one request to the tracking API while as many as possible are sent.
const BATCH: u64 = 100;

/// Requests under way at the same time.
const SENDERS: u64 = 4;

/// The part of the greatest rate at which latencies are measured: far from any queue.
const CALM: f64 = 0.2;

/// How long a case may take. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much of everything.
#[derive(Clone, Copy)]
pub(super) struct Size {
    /// Deliveries that each greatest rate is measured over.
    pub(super) deliveries: u64,
    /// How long a paced case lasts: some hundred events for its percentiles, and over soon.
    pub(super) paced: Duration,
    /// Dead letters that come back beside live events, and how.
    pub(super) dead: u64,
    pub(super) replay: bench_replay::Pace,
    /// Deliveries that are pending when a host begins, and how long it is watched.
    pub(super) pending: u64,
    pub(super) watched: Duration,
    /// Seeds that are simulated.
    pub(super) seeds: u64,
}

impl Size {
    /// Over in some minutes.
    pub(super) const USUAL: Self = Self {
        deliveries: 20_000,
        paced: Duration::from_secs(5),
        dead: 10_000,
        replay: bench_replay::Pace { per_s: 200, ..bench_replay::Pace::USUAL },
        pending: 100_000,
        watched: bench_restart::WATCHED,
        seeds: 200,
    };

    /// What goals are stated for.
    pub(super) const FULL: Self = Self { dead: 100_000, pending: 1_000_000, seeds: 2_000, ..Self::USUAL };

    /// Only whether all of it works: its figures mean nothing.
    pub(super) const QUICK: Self = Self {
        deliveries: 200,
        paced: Duration::from_millis(500),
        dead: 120,
        replay: bench_replay::Pace::QUICK,
        pending: 500,
        watched: Duration::from_secs(1),
        seeds: 5,
    };
}

pub(super) async fn run(component: Vec<u8>, size: Size) -> anyhow::Result<Value> {
    // First: a broken promise ends everything, and is found before anything was measured.
    eprintln!("a failing destination, in {} simulations", size.seeds);
    let simulated = tokio::task::spawn_blocking(move || simulate(0, size.seeds)).await??;
    let mut by_destinations = serde_json::Map::new();
    let mut greatest = Vec::new();
    for destinations in [1, 10, 100] {
        eprintln!("{destinations} destinations: the greatest rate, and latencies far below it");
        let bed = Bed::start(&component, destinations, 0).await?;
        let per_s = bed.greatest_rate(size.deliveries).await?;
        let calm = bed.paced(per_s * CALM, size.paced).await?;
        by_destinations
            .insert(destinations.to_string(), json!({ "delivered_per_s": per_s.round(), "calm": calm.json() }));
        greatest.push((per_s, calm));
        bed.end().await?;
    }
    eprintln!("one of 100 destinations hangs");
    let hanging = one_hangs(&component, size, greatest[2].0, &greatest[2].1).await?;
    eprintln!("three times as much as can be delivered");
    let overload = overload(&component, size, greatest[1].0, &greatest[1].1).await?;
    eprintln!("{} dead letters come back beside live events", size.dead);
    let replay = bench_replay::run(component.clone(), size.dead, size.replay).await?;
    eprintln!("a host begins with {} pending deliveries", size.pending);
    let restart = bench_restart::run(component, size.pending, size.watched).await?;
    Ok(json!({
        "destinations": by_destinations,
        "throughput_100_to_1": ratio(greatest[2].0, greatest[0].0),
        "one_of_100_hangs": hanging,
        "overload": overload,
        "replay_beside_live": replay,
        "cold_start": restart,
        "failing_destination": simulated["failing_destination"],
    }))
}

/// Ninety-nine beside one that never answers.
async fn one_hangs(component: &[u8], size: Size, per_s: f64, without: &Latencies) -> anyhow::Result<Value> {
    let bed = Bed::start(component, 100, 1).await?;
    // The first seconds count as well: its breaker is still closed.
    let with = bed.paced(per_s * CALM, size.paced).await?;
    bed.end().await?;
    Ok(json!({
        "others": with.json(),
        "p50_ratio": ratio(with.at(50), without.at(50)),
        "p99_ratio": ratio(with.at(99), without.at(99)),
    }))
}

/// Three times as much as can be delivered for some seconds, and what comes after.
async fn overload(component: &[u8], size: Size, per_s: f64, before: &Latencies) -> anyhow::Result<Value> {
    let bed = Bed::start(component, 10, 0).await?;
    let began = Instant::now();
    let offered = bed.send_for(per_s * 3.0, size.paced).await?;
    let sent = began.elapsed();
    let delivered = bed.heard.count();
    bed.arrived(offered).await?;
    let drained = began.elapsed() - sent;
    // Of all events that were sent meanwhile, also of those that waited until it was over.
    let during = bed.heard.latencies();
    let work = (offered - delivered) as f64 / per_s;
    let after = bed.paced(per_s * CALM, size.paced).await?;
    bed.end().await?;
    Ok(json!({
        "offered_per_s": (offered as f64 / sent.as_secs_f64()).round(),
        "offered_to_greatest": ratio(offered as f64 / sent.as_secs_f64(), per_s),
        "delivered_per_s_to_greatest": ratio(delivered as f64 / sent.as_secs_f64(), per_s),
        "during": during.json(),
        "p50_during_ratio": ratio(during.at(50), before.at(50)),
        "p99_during_ratio": ratio(during.at(99), before.at(99)),
        "drained_after_s": (drained.as_secs_f64() * 10.0).round() / 10.0,
        "drained_to_work": ratio(drained.as_secs_f64(), work),
        "after": after.json(),
        "p50_after_ratio": ratio(after.at(50), before.at(50)),
        "p99_after_ratio": ratio(after.at(99), before.at(99)),
    }))
}

fn ratio(one: f64, other: f64) -> f64 {
    (one / other * 100.0).round() / 100.0
}

/// What the partner heard: how many requests, and how long each event of a paced case took.
#[derive(Default)]
struct Heard(Mutex<HeardInner>);

#[derive(Default)]
struct HeardInner {
    count: u64,
    sent: Vec<Instant>,
    latencies: Vec<Duration>,
}

impl Heard {
    fn with<T>(&self, use_it: impl FnOnce(&mut HeardInner) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self) -> u64 {
        self.with(|inner| inner.count)
    }

    /// How long those took that arrived of what was sent last.
    fn latencies(&self) -> Latencies {
        let mut latencies = self.with(|inner| std::mem::take(&mut inner.latencies));
        latencies.sort_unstable();
        Latencies(latencies)
    }

    fn request(&self, body: &[u8]) {
        let now = Instant::now();
        // The text begins with the user, whose number is the event's.
        let text = String::from_utf8_lossy(body);
        let number = text.split("user-").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let number: Option<usize> = number.and_then(|digits| digits.parse().ok());
        self.with(|inner| {
            inner.count += 1;
            if let Some(sent) = number.and_then(|number| inner.sent.get(number).copied()) {
                inner.latencies.push(now - sent);
            }
        });
    }
}

/// Latencies from the request to the tracking API to the partner.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// A percentile in milliseconds.
    fn at(&self, percent: usize) -> f64 {
        let at = self.0.len().saturating_sub(1) * percent / 100;
        self.0.get(at).map_or(f64::NAN, |latency| (latency.as_secs_f64() * 1e4).round() / 10.0)
    }

    fn json(&self) -> Value {
        json!({ "events": self.0.len(), "p50_ms": self.at(50), "p99_ms": self.at(99) })
    }
}

/// A host with a source that feeds some destinations of one function.
struct Bed {
    _data: tempfile::TempDir,
    listen: SocketAddr,
    api: Client,
    heard: Arc<Heard>,
    write_key: String,
    /// Deliveries of an event that arrive.
    fan_out: u64,
    stop: tokio_util::sync::CancellationToken,
    host: tokio::task::JoinHandle<Result<(), crate::app::AppError>>,
}

impl Bed {
    async fn start(component: &[u8], destinations: u64, hanging: u64) -> anyhow::Result<Self> {
        let heard = Arc::new(Heard::default());
        let hears = Arc::clone(&heard);
        let partner = partner::start(move |request| {
            if !request.path.contains(HANGS) {
                hears.request(&request.body);
            }
        })
        .await?;
        let data = tempfile::tempdir()?;
        let (listen, api, stop, host) = start(data.path(), partner).await?;
        let function = crate::catalog::inspect(component)?.manifest.name;
        api.call(http::Method::POST, "/api/v1/functions", "application/wasm", component.to_vec().into()).await?;
        let source = api.post("/api/v1/sources", &json!({ "name": "bench" })).await?;
        for number in 0..destinations {
            let place = if number < hanging { HANGS.to_owned() } else { number.to_string() };
            let settings =
                json!({ "webhook_path": format!("/services/T0/B0/{place}"), "base_url": format!("http://{partner}") });
            let new = json!({ "name": format!("bench {number}"), "function": function, "settings": settings });
            let destination = api.post("/api/v1/destinations", &new).await?;
            let edge = json!({ "source": source["id"], "destination": destination["id"] });
            api.post("/api/v1/connections", &edge).await?;
        }
        let write_key = source["write_key"].as_str().context("the source has no write key")?.to_owned();
        Ok(Self { _data: data, listen, api, heard, write_key, fan_out: destinations - hanging, stop, host })
    }

    async fn end(self) -> anyhow::Result<()> {
        let ledger = self.api.get("/api/v1/ledger").await?;
        ensure!(ledger["dead"] == 0 && ledger["filtered"] == 0, "not everything was delivered: {ledger}");
        self.stop.cancel();
        self.host.await??;
        Ok(())
    }

    /// Waits until so many deliveries have arrived.
    async fn arrived(&self, wanted: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.heard.count() < wanted {
            ensure!(began.elapsed() < PATIENCE, "{} of {wanted} deliveries arrived", self.heard.count());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Deliveries a second where as many as possible are wanted.
    async fn greatest_rate(&self, deliveries: u64) -> anyhow::Result<f64> {
        let events = deliveries.div_ceil(self.fan_out);
        self.heard.with(|inner| *inner = HeardInner::default());
        let began = Instant::now();
        self.send(0, events, None).await?;
        self.arrived(events * self.fan_out).await?;
        Ok((events * self.fan_out) as f64 / began.elapsed().as_secs_f64())
    }

    /// How long deliveries take at this rate.
    async fn paced(&self, per_s: f64, time: Duration) -> anyhow::Result<Latencies> {
        let deliveries = self.send_for(per_s, time).await?;
        self.arrived(deliveries).await?;
        Ok(self.heard.latencies())
    }

    /// Sends at this rate of deliveries, and says how many that were.
    async fn send_for(&self, per_s: f64, time: Duration) -> anyhow::Result<u64> {
        let events_per_s = (per_s / self.fan_out as f64).max(10.0);
        let events = (events_per_s * time.as_secs_f64()).ceil() as u64;
        self.heard
            .with(|inner| *inner = HeardInner { sent: Vec::with_capacity(events as usize), ..HeardInner::default() });
        self.send(1_000_000, events, Some(events_per_s)).await?;
        Ok(events * self.fan_out)
    }

    /// Sends events, in batches as fast as possible, or one after the other at a rate. Ids begin at a number that is new each time.
    async fn send(&self, first: u64, events: u64, per_s: Option<f64>) -> anyhow::Result<()> {
        let client = Arc::new(Client::at(format!("http://{}", self.listen), None)?);
        let run = uuid::Uuid::new_v4();
        let post = |batch: Vec<Value>| {
            let (client, body) = (Arc::clone(&client), json!({ "writeKey": self.write_key, "batch": batch }));
            async move { client.post("/v1/batch", &body).await.map(drop) }
        };
        let named = |number: u64, user: u64| {
            let mut event = event(user);
            event["messageId"] = json!(format!("{run}-{}", first + number));
            event
        };
        let mut under_way = tokio::task::JoinSet::new();
        let began = Instant::now();
        let size = if per_s.is_some() { 1 } else { BATCH };
        for from in (0..events).step_by(size as usize) {
            if let Some(per_s) = per_s {
                tokio::time::sleep_until((began + Duration::from_secs_f64(from as f64 / per_s)).into()).await;
                self.heard.with(|inner| inner.sent.push(Instant::now()));
            }
            let most = if per_s.is_some() { SENDERS * 16 } else { SENDERS };
            while under_way.len() as u64 >= most {
                under_way.join_next().await.context("no request is under way")???;
            }
            let batch = (from..(from + size).min(events)).map(|number| named(number, number)).collect();
            let sent: tokio::task::AbortHandle = under_way.spawn(post(batch));
            drop(sent);
        }
        while let Some(sent) = under_way.join_next().await {
            sent??;
        }
        Ok(())
    }
}
