//! `tidegate bench push`: from a JavaScript file in the partner's hand to the first event that the new version delivers.

use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::bench::start;
use super::client::Client;
use super::{partner, push};
use crate::catalog::component::renamed;

/// Versions after the first: enough for a middle one.
const LATER: usize = 5;

/// How long a version may take to deliver. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first version on a host, which compiles the language's engine, and later ones.
pub(super) async fn run() -> anyhow::Result<Value> {
    let (heard, mut paths) = mpsc::unbounded_channel();
    let partner = partner::start(move |request| drop(heard.send(request.path))).await?;
    let data = tempfile::tempdir()?;
    let (listen, api, stop, host) = start(data.path(), partner).await?;
    let tracking = Client::new(super::client::ServerArgs::of(format!("http://{listen}"), None));
    let mut write_key = None;
    let mut times = Vec::new();
    for version in 0..=LATER {
        let began = Instant::now();
        let made = upload(&api, &format!("http://{partner}"), version).await?;
        let answered = began.elapsed();
        let key = match &write_key {
            Some(key) => {
                let promote = format!("/api/v1/functions/pushed/versions/{version}/promote");
                api.post(&promote, &json!({})).await.with_context(|| format!("{made}"))?;
                key
            }
            None => write_key.insert(wire(&api).await?),
        };
        let event = json!({ "type": "track", "event": "E", "userId": "u", "messageId": format!("bench-{version}") });
        tracking.post("/v1/batch", &json!({ "writeKey": key, "batch": [event] })).await?;
        let path = tokio::time::timeout(PATIENCE, paths.recv()).await.context("the version delivers nothing")?;
        anyhow::ensure!(path == Some(format!("/v{version}")), "another version delivered: {path:?}");
        times.push((began.elapsed(), answered));
    }
    stop.cancel();
    host.await??;
    figures(&times, script("partner", 0).len())
}

/// The same with a component, each version of which is compiled anew.
pub(super) async fn run_component(component: &[u8]) -> anyhow::Result<Value> {
    let (heard, mut paths) = mpsc::unbounded_channel();
    let partner = partner::start(move |request| drop(heard.send(request.path))).await?;
    let data = tempfile::tempdir()?;
    let (listen, api, stop, host) = start(data.path(), partner).await?;
    let tracking = Client::new(super::client::ServerArgs::of(format!("http://{listen}"), None));
    let mut way: Option<(String, String)> = None;
    let mut times = Vec::new();
    for version in 0..=LATER {
        let made =
            renamed(component, "pushed", &version.to_string()).context("this is no component with a manifest")?;
        let began = Instant::now();
        let made = api.call(Method::POST, "/api/v1/functions", "application/wasm", made.into()).await?;
        let answered = began.elapsed();
        let settings = json!({ "webhook_path": format!("/v{version}"), "base_url": format!("http://{partner}") });
        let key = match &way {
            Some((key, destination)) => {
                // The customer's part, so that the path tells which version delivered.
                api.patch(destination, &json!({ "settings": settings })).await?;
                let promote = format!("/api/v1/functions/pushed/versions/{version}/promote");
                api.post(&promote, &json!({})).await.with_context(|| format!("{made}"))?;
                key
            }
            None => {
                let key = wire_with(&api, settings).await?;
                let all = api.get("/api/v1/destinations").await?;
                let id = all["items"][0]["id"].as_str().context("no destination")?;
                &way.insert((key, format!("/api/v1/destinations/{id}"))).0
            }
        };
        let event = json!({ "type": "track", "event": "E", "userId": "u", "messageId": format!("bench-{version}") });
        tracking.post("/v1/batch", &json!({ "writeKey": key, "batch": [event] })).await?;
        let path = tokio::time::timeout(PATIENCE, paths.recv()).await.context("the version delivers nothing")?;
        anyhow::ensure!(path == Some(format!("/v{version}")), "another version delivered: {path:?}");
        times.push((began.elapsed(), answered));
    }
    stop.cancel();
    host.await??;
    figures(&times, component.len())
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

/// A source that feeds a destination of the function; its write key.
async fn wire(api: &Client) -> anyhow::Result<String> {
    wire_with(api, json!({})).await
}

async fn wire_with(api: &Client, settings: Value) -> anyhow::Result<String> {
    let source = api.post("/api/v1/sources", &json!({ "name": "bench" })).await?;
    let destination = json!({ "name": "bench", "function": "pushed", "settings": settings });
    let destination = api.post("/api/v1/destinations", &destination).await?;
    api.post("/api/v1/connections", &json!({ "source": source["id"], "destination": destination["id"] })).await?;
    Ok(source["write_key"].as_str().context("the source has no write key")?.to_owned())
}
