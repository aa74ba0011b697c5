//! Runs a function here, in the real sandbox, without a server: behind `function run`, `function test` and the benchmark.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use crate::catalog::build::SCRIPT_ENDINGS;
use crate::catalog::{self, Built, Finding, Inspected};
use crate::clock::Clock;
use crate::delivery::{Extent, Reports, classify, redact_outcome};
use crate::egress::{Outlet, Secrets};
use crate::model::{BadEvent, Event, Limits, Manifest, OutcomeCode};
use crate::sandbox::{CacheScope, GuestEvent, Invocation, LoadedVersion, Sandbox, SandboxConfig};

/// A function that is ready to run here.
pub(super) struct Local {
    sandbox: Arc<Sandbox>,
    version: Arc<LoadedVersion>,
    component: Bytes,
    pub(super) manifest: Manifest,
}

/// One run.
pub(super) struct Run {
    pub(super) events: Vec<Event>,
    /// Whether to call the batch handler.
    pub(super) batch: bool,
    pub(super) passage: Passage,
    pub(super) clock: Clock,
    pub(super) seed: Option<u64>,
}

/// What a run sends through, and what of its settings the function gets.
pub(super) struct Passage {
    pub(super) outlet: Arc<dyn Outlet>,
    /// Handles in place of secrets.
    pub(super) settings: Map<String, Value>,
    pub(super) secrets: Secrets,
}

impl Local {
    /// Checks and compiles a component.
    pub(super) async fn load(component: Vec<u8>) -> anyhow::Result<Self> {
        let Inspected { digest, manifest, inspection, findings, .. } = catalog::inspect(&component)?;
        let sandbox = Arc::new(Sandbox::start(&SandboxConfig::in_memory())?);
        Self::load_in(&sandbox, Built { component, digest, manifest, inspection, findings }).await
    }

    /// Compiles what was just built, in a sandbox that is there already.
    pub(super) async fn load_in(sandbox: &Arc<Sandbox>, built: Built) -> anyhow::Result<Self> {
        let Built { component, digest, manifest, .. } = built;
        let sandbox = Arc::clone(sandbox);
        let component = Bytes::from(component);
        let version = sandbox.load(digest, std::future::ready(Ok::<_, std::io::Error>(component.clone()))).await?;
        Ok(Self { sandbox, version, component, manifest })
    }

    /// The settings with the manifest's defaults where they say nothing.
    ///
    /// # Errors
    ///
    /// The settings do not fit the manifest.
    pub(super) fn settings(&self, given: &Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
        if let Err(errors) = catalog::settings::validate(&self.manifest, given) {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return Err(Exit::Misuse(format!("the settings do not fit: {}", errors.join("; "))).into());
        }
        Ok(self.manifest.with_defaults(given))
    }

    /// One invocation; its report. That of a batch has the `outcomes` of all events, and as `outcome` the first that is
    /// not `delivered`. Secrets are named in it, not shown.
    ///
    /// # Errors
    ///
    /// There is no event.
    pub(super) async fn run(&self, run: Run) -> anyhow::Result<Value> {
        let Passage { outlet, settings, secrets } = run.passage;
        let (count, batch) = (run.events.len(), run.batch);
        let invocation = Invocation {
            events: (run.events.iter())
                .map(|event| GuestEvent { event: self.manifest.reads.of(event), attempt: 1 })
                .collect(),
            batch: run.batch,
            settings: Value::Object(settings).to_string().into(),
            limits: self.manifest.limits.within(&Limits::default()),
            outlet,
            clock: run.clock,
            seed: run.seed,
            cache: CacheScope::alone(),
        };
        let done = self.sandbox.invoke(&self.version, invocation).await;
        let component = std::future::ready(Ok::<_, std::io::Error>(self.component.clone()));
        let done = self.sandbox.located(self.version.digest(), done, component).await;
        let mut outcomes = classify(&done, count);
        outcomes.iter_mut().for_each(|outcome| redact_outcome(outcome, &secrets));
        let first = outcomes.iter().find(|outcome| outcome.code != OutcomeCode::Delivered).or(outcomes.first());
        let Some(first) = first else { return Err(Exit::Misuse("there is no event to run".to_owned()).into()) };
        let mut value = Reports::new(&done, &secrets, 1).report(first, Extent::WHOLE);
        if batch {
            value["outcomes"] = serde_json::to_value(&outcomes)?;
        }
        Ok(value)
    }
}

/// The component at this path: a folder or a script is built, another file is read. Findings go to standard error.
pub(super) async fn component(path: &Path) -> anyhow::Result<Vec<u8>> {
    let (component, findings) = built(path).await?;
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    Ok(component)
}

/// Builds a folder or a script.
pub(super) async fn build(path: &Path) -> anyhow::Result<Built> {
    let path = path.to_owned();
    Ok(tokio::task::spawn_blocking(move || catalog::build(&path, &super::function::toolchain())).await??)
}

/// The component at this path, and what its author should look at.
pub(super) async fn built(path: &Path) -> anyhow::Result<(Vec<u8>, Vec<Finding>)> {
    let is_script = |ending: &std::ffi::OsStr| SCRIPT_ENDINGS.iter().any(|one| ending == *one);
    if path.is_dir() || path.extension().is_some_and(is_script) {
        let built = build(path).await?;
        return Ok((built.component, built.findings));
    }
    let read = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok((read, Vec::new()))
}

/// The manifest of a folder (which need not build), of a component, or of a function on a host.
pub(super) async fn manifest(function: &str, server: ServerArgs) -> anyhow::Result<Manifest> {
    let path = Path::new(function);
    if path.is_dir() {
        let file = path.join("function.toml");
        let text = std::fs::read_to_string(&file).with_context(|| format!("`{}` cannot be read", file.display()))?;
        return Ok(catalog::manifest::parse(&text)?);
    }
    if path.is_file() {
        return Ok(catalog::inspect(&component(path).await?)?.manifest);
    }
    let client = Client::new(server)?;
    let function = client.get(&format!("/api/v1/functions/{}", encode(function))).await.with_context(|| {
        format!("`{function}` is neither a folder nor a component here, and the host gives no function of this name")
    })?;
    let id = function["id"].as_str().unwrap_or_default();
    let current = function["current"].as_str().unwrap_or_default();
    let version = client.get(&format!("/api/v1/functions/{id}/versions/{current}")).await?;
    serde_json::from_value(version["manifest"].clone()).context("the host's answer has no manifest")
}

/// An event as a guest sees it. Unlike ingest, this adds nothing to it: what is in the file is what the guest gets.
pub(super) fn event(json: &Value, clock: Clock) -> anyhow::Result<Event> {
    let object = json.as_object().ok_or(BadEvent::NoType)?;
    Ok(Event::from_json(object, clock.now())?)
}
