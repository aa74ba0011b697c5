//! `tidegate bench`: measures this host on this machine, each figure beside a baseline of the same run. `bench idle` and
//! `bench --idle` are the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::bench_delivery::Size;
use super::client::Client;
use super::print::{self, Format};
use super::{
    bench_delivery, bench_hostile, bench_idle, bench_path, bench_push, bench_replay, bench_restart, demo, local, once,
    partner,
};
use crate::app::App;
use crate::bench::{
    self,
    invoke::{Effort, Subject},
};
use crate::catalog;
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::Outlet;
use crate::sandbox::Sandbox;

/// Where functions under measurement send.
pub(super) const PATH: &str = "/services/T0/B0/bench";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Fresh invocations of a function with a stubbed gate, beside the same component through bare wasmtime, and with a
    /// real request to a server on this machine.
    #[command(long_flag = "invoke")]
    Invoke {
        /// Components, or JavaScript files; each must deliver the track event that it is given. Further ones are held
        /// against the first.
        #[arg(required = true)]
        functions: Vec<PathBuf>,
        /// How many invocations each of the thirty turns has; fewer for functions that take milliseconds.
        #[arg(long, default_value_t = Effort::default().calls)]
        calls: u32,
    },
    /// From a JavaScript file to a component, and from there to code that runs.
    #[command(long_flag = "build")]
    Build {
        /// The file.
        file: PathBuf,
    },
    /// From a JavaScript file, or a component, to the first event that a host on this machine delivers with it, upload, build and
    /// compilation included.
    #[command(long_flag = "push")]
    Push {
        /// A component that takes `webhook_path` and `base_url`, as `functions/slack-rust` does, instead of JavaScript.
        #[arg(long, value_name = "FILE")]
        component: Option<PathBuf>,
    },
    /// What functions and destinations cost that do nothing: memory, and the time of an event's way for those that do something, beside
    /// a host that has few.
    #[command(long_flag = "idle")]
    Idle {
        /// A component that takes `webhook_path` and `base_url`; `functions/slack-rust`, beside this program, if it is left out.
        component: Option<PathBuf>,
        /// How many functions are configured.
        #[arg(long, default_value_t = 10_000)]
        functions: u32,
        /// How many destinations of them.
        #[arg(long, default_value_t = 100_000)]
        destinations: u32,
        /// How many of either do something, in percent.
        #[arg(long, default_value_t = 1.0)]
        active_percent: f64,
        /// How many events each of the two hosts gets, after those that warm it.
        #[arg(long, default_value_t = 1_000)]
        events: u32,
    },
    /// Events through the whole durable path to a server in another process, a request for each, beside plain HTTP clients of
    /// that server.
    #[command(long_flag = "path")]
    Path {
        /// A component that takes `url`, or `webhook_path` and `base_url`; `functions/slack-rust`, which has an invocation for each
        /// event, and `functions/webhook`, which takes 32 at a time, beside this program, if it is left out.
        component: Option<PathBuf>,
        /// How many events.
        #[arg(long, default_value_t = 200_000)]
        events: u64,
    },
    /// Dead letters that come back beside live events, and what that costs the live ones.
    #[command(long_flag = "replay")]
    Replay {
        /// A component that takes `webhook_path` and `base_url`; `functions/slack-rust`, beside this program, if it is left out.
        component: Option<PathBuf>,
        /// How many dead letters.
        #[arg(long, default_value_t = 100_000)]
        dead: u64,
        /// How many of them come back in a second, at most.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Live events a second.
        #[arg(long, default_value_t = 100)]
        live: u32,
    },
    /// The start of a host with many pending deliveries: time and memory.
    #[command(long_flag = "restart")]
    Restart {
        /// A component that takes `webhook_path` and `base_url`; `functions/slack-rust`, beside this program, if it is left out.
        component: Option<PathBuf>,
        /// How many are pending.
        #[arg(long, default_value_t = 1_000_000)]
        pending: u64,
    },
    /// How much later a neighbour's events arrive while somebody attacks the same host, beside calm.
    #[command(long_flag = "hostile")]
    Hostile {
        /// How many events of the neighbour's for each figure.
        #[arg(long, default_value_t = 1_000)]
        samples: usize,
        /// Only this attack.
        #[arg(long, value_name = "ATTACK")]
        only: Option<String>,
    },
    /// Whether invocations that crash at random points, or are given up, leave anything behind.
    #[command(long_flag = "soak")]
    Soak {
        /// How many invocations.
        #[arg(long, default_value_t = 100_000)]
        invocations: u64,
    },
    /// The server that `path` delivers to, for the process that starts this.
    #[command(hide = true)]
    Partner,
    /// What destinations do to each other: throughput and latencies with 1, 10 and 100 of them, with one of a hundred
    /// hanging, and during and after three times as much as the host can deliver; dead letters that come back beside live
    /// events; a start with pending deliveries; and, simulated, how much reaches a partner that often fails. As ratios of one run.
    #[command(long_flag = "delivery")]
    Delivery {
        /// A component that takes `webhook_path` and `base_url`; `functions/slack-rust`, beside this program, if it is left out.
        component: Option<PathBuf>,
        /// With 100,000 dead letters, 1,000,000 pending deliveries and 2,000 seeds, where it is 10,000, 100,000 and 200 otherwise.
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// With so few of everything that only its being there is shown: no figure means anything.
        #[arg(long)]
        quick: bool,
        /// How many deliveries each greatest rate is measured over: 20,000.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        deliveries: Option<u64>,
        /// How many dead letters come back.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        dead: Option<u64>,
        /// How many deliveries are pending at the start.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        pending: Option<u64>,
        /// How many seeds are simulated.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: Option<u64>,
    },
    /// The delivery core in virtual time, with sick partners, crashes at any step, faults of the disk, customers' switches and
    /// clocks that are set, as a seed decides. Ends with 1, the seed and the command that repeats it at the first promise that is
    /// broken.
    #[command(long_flag = "simulate")]
    Simulate {
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Block rows beside a row for every delivery, with failures and with a reader beside the writer.
    #[command(long_flag = "store")]
    Store {
        /// How many events for each case.
        #[arg(long, default_value_t = 15_000)]
        events: usize,
    },
}

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let figures = match command {
        Command::Invoke { functions, calls } => invoke(&functions, calls, format).await?,
        Command::Build { file } => build(&file).await?,
        Command::Push { component: None } => bench_push::run().await?,
        Command::Push { component: Some(component) } => bench_push::run_component(&read(&component)?).await?,
        Command::Idle { component, functions, destinations, active_percent, events } => {
            let size = bench_idle::Size { functions, destinations, active_percent };
            bench_idle::run(&taken(component)?, size, events).await?
        }
        Command::Hostile { samples, only } => bench_hostile::run(samples.max(1), only.as_deref()).await?,
        Command::Soak { invocations } => serde_json::to_value(bench::soak::soak(invocations).await?)?,
        Command::Replay { component, dead, rate, live } => {
            let pace = bench_replay::Pace { per_s: rate, live_per_s: live, ..bench_replay::Pace::USUAL };
            bench_replay::run(taken(component)?, dead, pace).await?
        }
        Command::Restart { component, pending } => {
            bench_restart::run(taken(component)?, pending, bench_restart::WATCHED).await?
        }
        Command::Path { component: Some(component), events } => path(read(&component)?, events).await?,
        Command::Path { component: None, events } => {
            let mut figures = serde_json::Map::new();
            for name in ["slack-rust", "webhook"] {
                let component = read(&demo::component(None, &format!("{name}.wasm"))?)?;
                figures.insert(name.to_owned(), path(component, events).await?);
            }
            Value::Object(figures)
        }
        Command::Partner => return bench_path::serve().await.map(|()| 0),
        Command::Delivery { component, full, quick, deliveries, dead, pending, seeds } => {
            let size = match (full, quick) {
                (true, _) => Size::FULL,
                (_, true) => Size::QUICK,
                _ => Size::USUAL,
            };
            let size = Size {
                deliveries: deliveries.unwrap_or(size.deliveries),
                dead: dead.unwrap_or(size.dead),
                pending: pending.unwrap_or(size.pending),
                seeds: seeds.unwrap_or(size.seeds),
                ..size
            };
            bench_delivery::run(taken(component)?, size).await?
        }
        Command::Simulate { seeds, first } => {
            tokio::task::spawn_blocking(move || bench::simulate::simulate(first, seeds)).await??
        }
        Command::Store { events } => {
            let dir = tempfile::tempdir()?;
            let figures = tokio::task::spawn_blocking(move || bench::store::store(dir.path(), events)).await??;
            if format == Format::Table {
                print!("{}", figures.table());
                return Ok(0);
            }
            serde_json::to_value(figures)?
        }
    };
    print::one(format, &figures);
    Ok(0)
}

/// The component that is named, or the one beside this program.
fn taken(named: Option<PathBuf>) -> anyhow::Result<Vec<u8>> {
    read(&demo::component(named, "slack-rust.wasm")?)
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))
}

async fn invoke(functions: &[PathBuf], calls: u32, format: Format) -> anyhow::Result<Value> {
    let mut first = None;
    let mut all = Vec::new();
    let server = format!("http://{}", partner::start(|_| {}).await?);
    for function in functions {
        let component = local::component(function).await?;
        let subject = Subject { posting: posting(&component, &server).await?, ..subject(component)? };
        let figures = bench::invoke::invoke(subject, Effort { calls, ..Effort::default() }).await?;
        let first = *first.get_or_insert(figures.sandbox_us);
        let mut figures = serde_json::to_value(figures)?;
        figures["function"] = json!(function.display().to_string());
        figures["against_the_first"] = json!(figures["sandbox_us"].as_f64().map(|us| us / first));
        all.push(figures);
    }
    match (format, &mut all[..]) {
        (_, [one]) => Ok(one.take()),
        (Format::Json, _) => Ok(Value::Array(all)),
        (Format::Table, _) => {
            let rows = all.iter().map(|figures| (figures["function"].as_str().unwrap_or_default(), figures));
            Ok(rows.map(|(name, figures)| (name.to_owned(), figures.clone())).collect::<serde_json::Map<_, _>>().into())
        }
    }
}

/// A function with settings and an event that it delivers with.
fn subject(component: Vec<u8>) -> anyhow::Result<Subject> {
    let settings = json!({
        "webhook_path": PATH,
        "base_url": "https://hooks.slack.com",
        "url": "https://partner.example.com/bench",
    });
    Ok(Subject {
        component: component.into(),
        event: local::event(&event(1), Clock::System)?,
        settings: settings.to_string().into(),
        posting: None,
    })
}

/// The path of a function. If it has an invocation for each event, beside what the path could be if it were nothing but accepting,
/// that invocation and the plain client's request.
async fn path(component: Vec<u8>, events: u64) -> anyhow::Result<Value> {
    let mut figures = bench_path::run(component.clone(), events).await?;
    if catalog::inspect(&component)?.manifest.batch.is_none() {
        let invoked = bench::invoke::invoke(subject(component)?, Effort { rounds: 10, calls: 500 }).await?.per_second;
        let rate = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
        let (plain, accepted) = (rate("plain_client_per_s"), rate("acknowledged_per_s"));
        let alone = 1.0 / (plain / accepted + plain / invoked + 1.0);
        figures["invocations_per_s"] = json!(invoked.round());
        figures["ratio_of_these_parts_alone"] = json!((alone * 1000.0).round() / 1000.0);
    }
    Ok(figures)
}

/// The real gate to a server on this machine, and the settings that send a function there; nothing for a function that
/// can be sent nowhere.
async fn posting(component: &[u8], server: &str) -> anyhow::Result<Option<(Arc<dyn Outlet>, Arc<str>)>> {
    let local = local::Local::load(component.to_vec()).await?;
    if !local.manifest.settings.contains_key("base_url") {
        return Ok(None);
    }
    let settings = json!({ "webhook_path": PATH, "base_url": server });
    let settings = settings.as_object().cloned().unwrap_or_default();
    let passage = once::passage(&local, &settings, &[server.to_owned()], None)?;
    Ok(Some((passage.outlet, Value::Object(passage.settings).to_string().into())))
}

/// A file's way to life: the first build in a process, which compiles the language's engine, and later ones.
async fn build(file: &Path) -> anyhow::Result<Value> {
    let ms = |began: Instant| (began.elapsed().as_secs_f64() * 1e5).round() / 100.0;
    let began = Instant::now();
    let component = local::component(file).await?;
    let first = ms(began);
    let mut later = Vec::new();
    for _ in 0..10 {
        let began = Instant::now();
        local::component(file).await?;
        later.push(ms(began));
    }
    later.sort_by(f64::total_cmp);
    let size = component.len();
    let began = Instant::now();
    local::Local::load(component).await?;
    let live = ms(began);
    Ok(json!({
        "first_build_ms": first,
        "build_ms": later[later.len() / 2],
        "component_to_live_ms": live,
        "saved_to_live_ms": saved_to_live(file, ms).await?,
        "component_bytes": size,
    }))
}

/// What `function test --watch` waits for after a save: the file is built again, and what changed is compiled.
async fn saved_to_live(file: &Path, ms: impl Fn(Instant) -> f64) -> anyhow::Result<f64> {
    let sandbox = Arc::new(Sandbox::for_changes()?);
    let source = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let mut all = Vec::new();
    for round in 0..11 {
        let changed = format!("{source}\nglobalThis.saved = {round};\n");
        let began = Instant::now();
        let built = catalog::build::build_source(&changed, file, None)?;
        local::Local::load_in(&sandbox, built).await?;
        all.push(ms(began));
    }
    // The first one compiles the language's engine.
    all.remove(0);
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

/// A host in this process: where it listens, a client of its control API, what stops it, its end.
type Running = (
    SocketAddr,
    Client,
    tokio_util::sync::CancellationToken,
    tokio::task::JoinHandle<Result<(), crate::app::AppError>>,
);

/// Starts a host on an empty data directory.
pub(super) async fn start(data: &std::path::Path, partner: SocketAddr) -> anyhow::Result<Running> {
    host(data, partner, None).await
}

/// Starts a host on a data directory that had one before, with the key that was made then.
pub(super) async fn start_again(data: &std::path::Path, partner: SocketAddr, token: &str) -> anyhow::Result<Running> {
    host(data, partner, Some(token)).await
}

async fn host(data: &std::path::Path, partner: SocketAddr, token: Option<&str>) -> anyhow::Result<Running> {
    let variables = [
        ("TIDEGATE__LISTEN", "127.0.0.1:0".to_owned()),
        ("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("TIDEGATE__EGRESS__ALLOW_ADDRESSES", format!("[\"{partner}\"]")),
    ];
    // An operator may measure what another configuration would do.
    let own = std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE__"));
    let config = Config::load(None, own.chain(variables.map(|(name, value)| (name.to_owned(), value))))?;
    let app = App::start(&Config { data_dir: data.to_owned(), ..config }, Clock::System).await?;
    let token = token.map(str::to_owned).or_else(|| app.operator_token.clone());
    let (listen, server) = (app.listen, format!("http://{}", app.admin_listen));
    let stop = tokio_util::sync::CancellationToken::new();
    let host = tokio::spawn(app.run(stop.clone()));
    Ok((listen, Client::at(server, token)?, stop, host))
}

pub(super) async fn wire(api: &Client, component: Vec<u8>, partner: SocketAddr) -> anyhow::Result<String> {
    let manifest = crate::catalog::inspect(&component)?.manifest;
    let settings = match manifest.settings.contains_key("url") {
        true => json!({ "url": format!("http://{partner}{PATH}") }),
        false => json!({ "webhook_path": PATH, "base_url": format!("http://{partner}") }),
    };
    let function = manifest.name;
    api.call(http::Method::POST, "/api/v1/functions", "application/wasm", component.into()).await?;
    let source = api.post("/api/v1/sources", &json!({ "name": "bench" })).await?;
    let destination = json!({ "name": "bench", "function": function, "settings": settings });
    let destination = api.post("/api/v1/destinations", &destination).await?;
    let connection = json!({ "source": source["id"], "destination": destination["id"] });
    api.post("/api/v1/connections", &connection).await?;
    Ok(source["write_key"].as_str().context("the source has no write key")?.to_owned())
}

/// An event of about 600 bytes, as the store's measurement has it.
pub(super) fn event(n: u64) -> Value {
    json!({
        "type": "track", "event": "Order Completed", "userId": format!("user-{n}"), "messageId": format!("bench-{n}"),
        "timestamp": "2026-01-01T00:00:00.000Z",
        "properties": { "order_id": n, "revenue": 39.95, "currency": "EUR", "note": "x".repeat(300) },
        "context": { "library": { "name": "bench", "version": "1" } },
    })
}
