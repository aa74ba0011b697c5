//! `tidegate bench push`: from a JavaScript file in the partner's hand to the first event that the new version delivers.

use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bench::start;
use super::client::Client;
use super::{partner, push};
use crate::app::AppError;
use crate::catalog::component::renamed;

/// Versions after the first: enough for a middle one.
const LATER: usize = 5;

/// How long a version may take to deliver. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first version on a host, which compiles the language's engine, and later ones.
pub(super) async fn run() -> anyhow::Result<Value> {
    let mut bench = Bench::start().await?;
    let mut write_key = None;
    let mut times = Vec::new();
    for version in 0..=LATER {
        let began = Instant::now();
        let made = upload(&bench.api, &bench.partner, version).await?;
        let answered = began.elapsed();
        let key = match &write_key {
            Some(key) => {
                bench.promote(version, &made).await?;
                key
            }
            None => write_key.insert(wire(&bench.api, json!({})).await?.0),
        };
        bench.delivers(key, version).await?;
        times.push((began.elapsed(), answered));
    }
    bench.end().await?;
    figures(&times, script("partner", 0).len())
}

/// The same with a component, each version of which is compiled anew.
pub(super) async fn run_component(component: &[u8]) -> anyhow::Result<Value> {
    let mut bench = Bench::start().await?;
    let mut way: Option<(String, String)> = None;
    let mut times = Vec::new();
    for version in 0..=LATER {
        let made =
            renamed(component, "pushed", &version.to_string()).context("this is no component with a manifest")?;
        let began = Instant::now();
        let made = bench.api.call(Method::POST, "/api/v1/functions", "application/wasm", made.into()).await?;
        let answered = began.elapsed();
        let settings = json!({ "webhook_path": format!("/v{version}"), "base_url": bench.partner });
        let (key, _) = match &way {
            Some(way) => {
                // The customer's part, so that the path tells which version delivered.
                bench.api.patch(&way.1, &json!({ "settings": settings })).await?;
                bench.promote(version, &made).await?;
                way
            }
            None => way.insert(wire(&bench.api, settings).await?),
        };
        bench.delivers(key, version).await?;
        times.push((began.elapsed(), answered));
    }
    bench.end().await?;
    figures(&times, component.len())
}

/// A host, and a partner that tells which version delivers to it.
struct Bench {
    api: Client,
    tracking: Client,
    /// The partner's origin.
    partner: String,
    paths: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
    host: JoinHandle<Result<(), AppError>>,
    /// Goes with this.
    _data: TempDir,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let (heard, paths) = mpsc::unbounded_channel();
        let partner = partner::start(move |request| drop(heard.send(request.path))).await?;
        let data = tempfile::tempdir()?;
        let (listen, api, stop, host) = start(data.path(), partner).await?;
        let tracking = Client::at(format!("http://{listen}"), None)?;
        Ok(Self { api, tracking, partner: format!("http://{partner}"), paths, stop, host, _data: data })
    }

    async fn promote(&self, version: usize, made: &Value) -> anyhow::Result<()> {
        let promote = format!("/api/v1/functions/pushed/versions/{version}/promote");
        self.api.post(&promote, &json!({})).await.with_context(|| made.to_string())?;
        Ok(())
    }

    /// Sends an event, and waits until this version has delivered it.
    async fn delivers(&mut self, key: &str, version: usize) -> anyhow::Result<()> {
        let event = json!({ "type": "track", "event": "E", "userId": "u", "messageId": format!("bench-{version}") });
        self.tracking.post("/v1/batch", &json!({ "writeKey": key, "batch": [event] })).await?;
        let path = tokio::time::timeout(PATIENCE, self.paths.recv()).await.context("the version delivers nothing")?;
        anyhow::ensure!(path == Some(format!("/v{version}")), "another version delivered: {path:?}");
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(self.host.await??)
    }
}

fn figures(times: &[(Duration, Duration)], bytes: usize) -> anyhow::Result<Value> {
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    let (first, later) = times.split_first().context("no version was pushed")?;
    let mut later = later.to_vec();
    later.sort();
    let (live, answered) = later[later.len() / 2];
    Ok(json!({
        "uploaded_bytes": bytes,
        "first_push_to_delivery_ms": ms(first.0),
        "first_push_answered_ms": ms(first.1),
        "push_to_delivery_ms": ms(live),
        "push_answered_ms": ms(answered),
        "slowest_ms": later.last().map(|slowest| ms(slowest.0)),
    }))
}

async fn upload(api: &Client, partner: &str, version: usize) -> anyhow::Result<Value> {
    let manifest =
        format!("name = \"pushed\"\nversion = \"{version}\"\nevents = [\"track\"]\negress.allow = [\"{partner}\"]\n");
    let script = script(partner, version).into_bytes();
    let (kind, body) = push::form(&[("function.toml", manifest.into_bytes()), ("handler.js", script)]);
    api.call(Method::POST, "/api/v1/functions", &kind, body.into()).await
}

fn script(partner: &str, version: usize) -> String {
    format!(
        "async function onTrack(event) {{\n  await fetch('{partner}/v{version}', {{ method: 'POST', body: \
         JSON.stringify(event) }});\n}}\n"
    )
}

/// A source that feeds a destination of the function: its write key, and the destination's path in the API.
async fn wire(api: &Client, settings: Value) -> anyhow::Result<(String, String)> {
    let source = api.post("/api/v1/sources", &json!({ "name": "bench" })).await?;
    let destination = json!({ "name": "bench", "function": "pushed", "settings": settings });
    let destination = api.post("/api/v1/destinations", &destination).await?;
    api.post("/api/v1/connections", &json!({ "source": source["id"], "destination": destination["id"] })).await?;
    let key = source["write_key"].as_str().context("the source has no write key")?;
    let id = destination["id"].as_str().context("the destination has no id")?;
    Ok((key.to_owned(), format!("/api/v1/destinations/{id}")))
}
