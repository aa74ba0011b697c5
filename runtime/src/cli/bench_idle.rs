//! `tidegate bench idle`: what ten thousand functions and a hundred thousand destinations cost that mostly do nothing.
//!
//! Two hosts in processes of their own, one with all of them and one with ten functions, get events in turn, so that whatever else the
//! machine does meets both alike. Each event is owed to as many destinations on the one as on the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::bench_restart::Host;
use super::client::{Client, encode};
use super::partner;
use crate::catalog::{self, component::renamed};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Actor, Digest, Secret, SourceId};
use crate::store::{NewConnection, NewDestination, NewSecret, Store, Vouched};

/// Functions of the host that is held against the other: what a small one has.
const FEW: u32 = 10;

/// Sources of destinations to which nothing comes, as a hundred customers have them.
const IDLE_SOURCES: u32 = 100;

/// Things that are made at the same time: the store's commits gather them.
const AT_ONCE: u32 = 128;

/// How long an event may be on its way. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Recorded attempts from which the time of invocations is read, at least, where there are so many.
const READ: usize = 1_000;

/// How much is configured.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) functions: u32,
    pub(super) destinations: u32,
    /// Of both.
    pub(super) active_percent: f64,
}

impl Size {
    /// Functions that events come to; a destination is active if its function is.
    fn active(self) -> u32 {
        let part = f64::from(self.functions) * self.active_percent / 100.0;
        (part.round() as u32).clamp(1, self.functions)
    }

    /// Destinations of each function.
    fn each(self) -> u32 {
        self.destinations / self.functions
    }
}

/// One host under measurement.
struct Bed {
    /// In its partner's paths.
    name: &'static str,
    host: Host,
    tracking: Client,
    control: Client,
    /// Of the active sources, one for each active function.
    write_keys: Vec<String>,
    each: u32,
    ready: Duration,
    memory_at_start: u64,
    _data: tempfile::TempDir,
}

/// What arrives at the partner, whichever host sends it.
#[derive(Default)]
struct Arrivals {
    awaited: AtomicU64,
    sent: Mutex<Option<(Instant, Vec<f64>)>>,
    all: Notify,
}

impl Arrivals {
    fn arrived(&self) {
        if let Some((sent, took)) = &mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner) {
            took.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        if self.awaited.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.notify_one();
        }
    }

    /// Sends one event, waits until everything that is owed of it has arrived, and says how long each took, in milliseconds.
    async fn event(&self, bed: &Bed, number: u32) -> anyhow::Result<Vec<f64>> {
        self.awaited.store(u64::from(bed.each), Ordering::Release);
        let key = &bed.write_keys[number as usize % bed.write_keys.len()];
        let event =
            json!({ "type": "track", "event": "E", "userId": "u", "messageId": format!("{}-{number}", bed.name) });
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Vec::new()));
        bed.tracking.post("/v1/batch", &json!({ "writeKey": key, "batch": [event] })).await?;
        tokio::time::timeout(PATIENCE, self.all.notified()).await.context("an event does not arrive")?;
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(sent.map(|(_, took)| took).unwrap_or_default())
    }
}

/// Measures both hosts.
pub(super) async fn run(component: &[u8], size: Size, events: u32) -> anyhow::Result<Value> {
    let destinations = size.destinations >= size.functions && size.functions >= FEW;
    ensure!(destinations, "there must be {FEW} functions or more, and as many destinations or more");
    let arrivals = Arc::new(Arrivals::default());
    let heard = Arc::clone(&arrivals);
    let partner = partner::start(move |_| heard.arrived()).await?;
    let few = Size { functions: FEW, destinations: FEW * size.each(), active_percent: 100.0 };
    let began = Instant::now();
    let many = Bed::new("many", component, size, partner).await?;
    let configuring = began.elapsed();
    let few = Bed::new("few", component, few, partner).await?;
    let mb = |bytes: u64| (bytes as f64 / 1e5).round() / 10.0;
    let (more, less) = (mb(many.memory_at_start), mb(few.memory_at_start));
    eprintln!("configured in {} s; memory at the start: {more} MB beside {less} MB", configuring.as_secs());
    // Every active function once, so that all are compiled and loaded.
    for bed in [&many, &few] {
        for number in 0..bed.write_keys.len() as u32 {
            arrivals.event(bed, number).await?;
        }
    }
    let warm = many.host.memory()?.0;
    let (mut slow, mut quick) = (Vec::new(), Vec::new());
    for number in 0..events {
        let number = number + u32::MAX / 2;
        slow.extend(arrivals.event(&many, number).await?);
        quick.extend(arrivals.event(&few, number).await?);
    }
    let (many_ways, few_ways) = (Spread::of(slow), Spread::of(quick));
    let (many_runs, few_runs) = (invocations(&many.control).await?, invocations(&few.control).await?);
    let (memory, most) = many.host.memory()?;
    let ratio = |one: f64, other: f64| (one / other * 100.0).round() / 100.0;
    Ok(json!({
        "functions": size.functions,
        "destinations": size.each() * size.functions,
        "active_functions": size.active(),
        "active_destinations": size.active() * size.each(),
        "configuring_s": (configuring.as_secs_f64() * 10.0).round() / 10.0,
        "start_ms": [many.ready.as_millis() as u64, few.ready.as_millis() as u64],
        "memory_mb": {
            "at_start": [mb(many.memory_at_start), mb(few.memory_at_start)],
            "all_active_loaded": mb(warm),
            "after_the_events": [mb(memory), mb(few.host.memory()?.0)],
            "highest": mb(most),
        },
        "deliveries_each": many_ways.count,
        "sent_to_partner": { "many": many_ways.json(), "few": few_ways.json() },
        "invocation": { "many": many_runs.json(), "few": few_runs.json() },
        "sent_to_partner_p99_ratio": ratio(many_ways.p99, few_ways.p99),
        "invocation_p99_ratio": ratio(many_runs.p99, few_runs.p99),
    }))
}

/// Times in milliseconds.
struct Spread {
    count: usize,
    p50: f64,
    p99: f64,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN);
        Self { count: times.len(), p50: at(0.5), p99: at(0.99) }
    }

    fn json(&self) -> Value {
        let ms = |time: f64| (time * 1_000.0).round() / 1_000.0;
        json!({ "count": self.count, "p50_ms": ms(self.p50), "p99_ms": ms(self.p99) })
    }
}

/// How long invocations took, as the attempts that were recorded have it.
async fn invocations(control: &Client) -> anyhow::Result<Spread> {
    let (mut times, mut after) = (Vec::new(), String::new());
    // First successes are recorded in a sample, so most deliveries have no attempt.
    while times.len() < READ {
        let list = control.get(&format!("/api/v1/deliveries?state=delivered&limit=1000{after}")).await?;
        for delivery in list["items"].as_array().into_iter().flatten() {
            let id = delivery["id"].as_str().context("a delivery has an id")?;
            let attempts = control.get(&format!("/api/v1/deliveries/{}/attempts", encode(id))).await?;
            times.extend(attempts["items"][0]["report"]["used"]["wall_ms"].as_f64());
        }
        match list["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => break,
        }
    }
    ensure!(!times.is_empty(), "no attempt was recorded");
    Ok(Spread::of(times))
}

impl Bed {
    async fn new(name: &'static str, component: &[u8], size: Size, partner: SocketAddr) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let (token, write_keys) = fill(data.path(), name, component, size, partner).await?;
        let began = Instant::now();
        let (host, tracking, control) = Host::serve(data.path(), partner, &token).await?;
        // Whatever is read once, at the first event that asks for it.
        tracking.post("/v1/batch", &json!({ "writeKey": write_keys[0], "batch": [] })).await.ok();
        let (ready, memory_at_start) = (began.elapsed(), host.memory()?.0);
        let each = size.each();
        Ok(Self { name, host, tracking, control, write_keys, each, ready, memory_at_start, _data: data })
    }
}

/// Fills a data directory that no host has: its key, and the write keys of the active sources.
async fn fill(
    data: &Path,
    name: &str,
    component: &[u8],
    size: Size,
    partner: SocketAddr,
) -> anyhow::Result<(String, Vec<String>)> {
    let store = Arc::new(Store::open(data, &Config::load(None, [])?.store, Clock::System)?);
    let token = store.ensure_operator_key().await?.context("a new directory has a key")?;
    let actor = store.authenticate(&token)?;
    let (mut active, mut idle, mut write_keys) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..size.active() {
        let source = store.create_source(&actor, &format!("active {number}")).await?;
        write_keys.push(source.write_key);
        active.push(source.id);
    }
    for number in 0..IDLE_SOURCES {
        idle.push(store.create_source(&actor, &format!("idle {number}")).await?.id);
    }
    let component: Arc<[u8]> = component.into();
    let mut making = JoinSet::new();
    for first in 0..AT_ONCE.min(size.functions) {
        let maker = Maker {
            store: Arc::clone(&store),
            actor: actor.clone(),
            component: Arc::clone(&component),
            size,
            base: format!("http://{partner}/{name}"),
            active: active.clone(),
            idle: idle.clone(),
        };
        making.spawn(async move {
            for number in (first..size.functions).step_by(AT_ONCE as usize) {
                maker.function(number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(made) = making.join_next().await {
        made??;
    }
    store.close().await;
    Ok((token, write_keys))
}

/// What makes functions with their destinations.
struct Maker {
    store: Arc<Store>,
    actor: Actor,
    component: Arc<[u8]>,
    size: Size,
    /// Where the partner is, and in which part of it this host's events arrive.
    base: String,
    active: Vec<SourceId>,
    idle: Vec<SourceId>,
}

impl Maker {
    async fn function(&self, number: u32) -> anyhow::Result<()> {
        let name = format!("function-{number}");
        let bytes = renamed(&self.component, &name, "1").context("this is no component with a manifest")?;
        let inspected = catalog::inspect(&bytes)?;
        let digest = Digest(sha2::Sha256::digest(&bytes).into());
        let (manifest, inspection) = (inspected.manifest, inspected.inspection);
        let secret = manifest.settings.get("webhook_path").is_some_and(|setting| setting.secret);
        let put = self.store.put_function_version(
            &self.actor,
            manifest,
            inspection,
            digest,
            Bytes::from(bytes),
            Vouched::BY_OPERATOR,
        );
        let (function, _) = put.await?;
        let source = self.active.get(number as usize).unwrap_or(&self.idle[(number % IDLE_SOURCES) as usize]);
        let (origin, path) = self.base.rsplit_once('/').context("an origin and a path")?;
        for place in 0..self.size.each() {
            let mut settings = Map::from_iter([("base_url".to_owned(), Value::from(origin))]);
            let mut secrets = BTreeMap::new();
            let own = format!("/{path}/{number}/{place}");
            if secret {
                let value = NewSecret::Set { value: Secret::new(own), revealed: false };
                secrets.insert("webhook_path".to_owned(), value);
            } else {
                settings.insert("webhook_path".to_owned(), own.into());
            }
            let new = NewDestination {
                name: format!("{name} {place}"),
                function: function.id,
                pinned: None,
                consented: function.current,
                settings,
                secrets,
                rate: None,
                enabled: true,
            };
            let destination = self.store.create_destination(&self.actor, new).await?.id;
            let new = NewConnection { source: *source, destination, enabled: true, ordered_by: None };
            self.store.create_connection(&self.actor, new).await?;
        }
        Ok(())
    }
}
