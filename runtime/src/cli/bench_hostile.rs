//! `tidegate bench hostile`: how much later a neighbour's events arrive while somebody attacks the same host. Calm and attack take
//! turns: a disk that is slow for a while is so for both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::{Exit, partner};
use crate::app::App;
use crate::bench::attacks::{self, Attack};
use crate::catalog::component_from_core;
use crate::clock::Clock;
use crate::config::Config;

/// How long one event may take to arrive. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events of an attack that wait at any time: more than a destination may have under way.
const BACKLOG: usize = 400;

/// Turns of calm, and of attack, for each figure.
const TURNS: usize = 5;

/// Measurements at the beginning of each turn that do not count: an attack has to begin and to end.
const WARM_UP: usize = 30;

/// The neighbour's pause between two events.
const PAUSE: Duration = Duration::from_millis(3);

/// The attack that is no function's: uploads that take long to compile.
const BOMBS: &str = "compile-bombs";

/// A host with a neighbour on it.
struct Bench {
    api: Client,
    tracking: Client,
    neighbour: String,
    heard: mpsc::UnboundedReceiver<String>,
    sent: usize,
}

/// Every attack in turn, or one of them, each between two measurements of calm.
pub(super) async fn run(samples: usize, only: Option<&str>) -> anyhow::Result<Value> {
    let names = || Attack::ALL.map(Attack::name).into_iter().chain([BOMBS]);
    if let Some(unknown) = only.filter(|only| !names().any(|name| name == *only)) {
        let known: Vec<_> = names().collect();
        return Err(Exit::Misuse(format!("`{unknown}` is no attack; there are {}", known.join(", "))).into());
    }
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let (hear, heard) = mpsc::unbounded_channel();
    let partner =
        partner::start(move |request| drop(hear.send(String::from_utf8_lossy(&request.body).into_owned()))).await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let slow = silent.local_addr()?;
    tokio::spawn(hold(silent));
    let data = tempfile::tempdir()?;
    let config = Config::load(None, variables(&[partner, slow]))?;
    let app = App::start(&Config { data_dir: data.path().to_owned(), ..config }, Clock::System).await?;
    let (listen, server, token) = (app.listen, format!("http://{}", app.admin_listen), app.operator_token.clone());
    let stop = CancellationToken::new();
    let host = tokio::spawn(app.run(stop.clone()));
    let api = Client::at(server, token)?;
    let tracking = Client::at(format!("http://{listen}"), None)?;
    let (neighbour, _) = wire(&api, "neighbour", &attacks::poster(&origin(partner)), partner).await?;
    let mut bench = Bench { api, tracking, neighbour, heard, sent: 0 };

    let (mut figures, turn) = (Map::new(), samples.div_ceil(TURNS));
    for attack in Attack::ALL.into_iter().filter(|attack| wanted(attack.name())) {
        eprintln!("{}", attack.name());
        let to = if attack == Attack::SlowPartner { slow } else { partner };
        let (key, destination) = wire(&bench.api, attack.name(), &attack.module(&origin(to)), to).await?;
        let destination = format!("/api/v1/destinations/{destination}");
        let (mut calm, mut under) = (Times::default(), Times::default());
        for number in 0..TURNS {
            bench.measure(turn, &mut calm).await?;
            bench.api.patch(&destination, &json!({ "paused": false })).await?;
            let flood = flood(&bench, key.clone(), &destination, number);
            bench.measure(turn, &mut under).await?;
            flood.abort();
            bench.api.patch(&destination, &json!({ "paused": true })).await?;
        }
        bench.api.delete(&destination).await?;
        figures.insert(attack.name().to_owned(), compared(calm, under));
    }
    if wanted(BOMBS) {
        eprintln!("{BOMBS}");
        let (mut calm, mut under) = (Times::default(), Times::default());
        for number in 0..TURNS {
            bench.measure(turn, &mut calm).await?;
            let bombs = bombs(&bench, number);
            bench.measure(turn, &mut under).await?;
            drop(bombs);
        }
        figures.insert(BOMBS.to_owned(), compared(calm, under));
    }
    stop.cancel();
    host.await??;
    Ok(Value::Object(figures))
}

fn origin(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn variables(open: &[SocketAddr; 2]) -> [(String, String); 3] {
    [
        ("TIDEGATE__LISTEN", "127.0.0.1:0".to_owned()),
        ("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("TIDEGATE__EGRESS__ALLOW_ADDRESSES", format!("[\"{}\", \"{}\"]", open[0], open[1])),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// Takes connections and never says a word.
async fn hold(listener: TcpListener) {
    let mut held = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.push(stream);
    }
}

/// Uploads a function and feeds it from a source of its own: the source's write key and the destination's id.
async fn wire(api: &Client, name: &str, module: &str, to: SocketAddr) -> anyhow::Result<(String, String)> {
    let manifest =
        format!("name = \"{name}\"\nversion = \"1\"\nevents = [\"track\"]\negress.allow = [\"{}\"]\n", origin(to));
    let component = component_from_core(module.as_bytes(), &manifest)?;
    api.call(Method::POST, "/api/v1/functions", "application/wasm", component.into()).await?;
    let source = api.post("/api/v1/sources", &json!({ "name": name })).await?;
    let destination =
        api.post("/api/v1/destinations", &json!({ "name": name, "function": name, "settings": {} })).await?;
    api.post("/api/v1/connections", &json!({ "source": source["id"], "destination": destination["id"] })).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an answer without its id");
    Ok((text(&source["write_key"])?, text(&destination["id"])?))
}

fn batch(key: &str, ids: impl Iterator<Item = String>) -> Value {
    let event = |id| json!({ "type": "track", "event": "E", "userId": "u", "messageId": id });
    json!({ "writeKey": key, "batch": ids.map(event).collect::<Vec<_>>() })
}

/// Keeps the attacker's lane full.
fn flood(bench: &Bench, key: String, destination: &str, turn: usize) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    let (api, tracking) = (bench.api.clone(), bench.tracking.clone());
    let ledger = format!("/api/v1/ledger?destination={}", destination.rsplit('/').next().unwrap_or_default());
    tokio::spawn(async move {
        let mut sent = 0;
        loop {
            let pending = usize::try_from(api.get(&ledger).await?["pending"].as_u64().unwrap_or(0))?;
            if pending < BACKLOG {
                let ids = (sent..sent + BACKLOG).map(|number| format!("attack-{turn}-{number}"));
                tracking.post("/v1/batch", &batch(&key, ids)).await?;
                sent += BACKLOG;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

/// Uploads one bomb after the other; ends with what it returns.
fn bombs(bench: &Bench, turn: usize) -> JoinSet<anyhow::Result<()>> {
    let mut tasks = JoinSet::new();
    let api = bench.api.clone();
    tasks.spawn(async move {
        for number in 0.. {
            let manifest = format!("name = \"bomb\"\nversion = \"{turn}.{number}\"\nevents = [\"track\"]\n");
            let component = component_from_core(attacks::compile_bomb(turn * 10_000 + number).as_bytes(), &manifest)?;
            // It is refused, which is what it was made for.
            drop(api.call(Method::POST, "/api/v1/functions", "application/wasm", component.into()).await);
        }
        Ok(())
    });
    tasks
}

/// Milliseconds from sending to arriving, and that much of it until the event was acknowledged.
#[derive(Default)]
struct Times {
    arrived: Vec<f64>,
    acknowledged: Vec<f64>,
}

impl Bench {
    /// One event of the neighbour's after the other.
    async fn measure(&mut self, samples: usize, times: &mut Times) -> anyhow::Result<()> {
        for at in 0..samples + WARM_UP {
            let id = format!("neighbour-{}", self.sent);
            self.sent += 1;
            let began = Instant::now();
            self.tracking.post("/v1/batch", &batch(&self.neighbour, std::iter::once(id.clone()))).await?;
            let known = began.elapsed();
            // Attackers may talk to the same partner.
            while tokio::time::timeout(PATIENCE, self.heard.recv()).await.context("an event did not arrive")?
                != Some(id.clone())
            {}
            if at >= WARM_UP {
                times.arrived.push(began.elapsed().as_secs_f64() * 1e3);
                times.acknowledged.push(known.as_secs_f64() * 1e3);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// What so many of a hundred take at the most.
fn quantile(times: &mut [f64], percent: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() as f64 * percent / 100.0) as usize).min(times.len() - 1)]
}

fn compared(mut calm: Times, mut under: Times) -> Value {
    let two = |number: f64| (number * 100.0).round() / 100.0;
    let (calm_p99, p99) = (quantile(&mut calm.arrived, 99.0), quantile(&mut under.arrived, 99.0));
    json!({
        "calm_p50_ms": two(quantile(&mut calm.arrived, 50.0)), "p50_ms": two(quantile(&mut under.arrived, 50.0)),
        "calm_p99_ms": two(calm_p99), "p99_ms": two(p99),
        "p99_ratio": two(p99 / calm_p99),
        "calm_acknowledged_p99_ms": two(quantile(&mut calm.acknowledged, 99.0)),
        "acknowledged_p99_ms": two(quantile(&mut under.acknowledged, 99.0)),
    })
}
