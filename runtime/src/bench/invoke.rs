//! What one fresh invocation costs, beside the same component called through bare wasmtime.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::clock::Clock;
use crate::egress::{InboundResponse, OutboundRequest, Outlet, ResponseCaps, SendFuture};
use crate::model::{Answer, Digest, Ending, Event, Limits};
use crate::sandbox::{
    Bare, CacheScope, GuestEvent, Invocation, LoadError, LoadedVersion, Sandbox, SandboxConfig, SandboxError,
};

/// What is measured: a function, and an event and settings that it delivers with when its requests are answered
/// with `200`.
#[derive(Clone)]
pub struct Subject {
    /// The function's component.
    pub component: Bytes,
    /// The event.
    pub event: Event,
    /// The settings, a JSON object.
    pub settings: Arc<str>,
    /// A way to a server that answers, and the settings with which the function posts there.
    pub posting: Option<(Arc<dyn Outlet>, Arc<str>)>,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns, of which the median counts.
    pub rounds: u32,
    /// Invocations in each turn, both ways.
    pub calls: u32,
}

impl Default for Effort {
    /// Thirty turns of a few hundredths of a second: enough for a steady median, over in seconds.
    fn default() -> Self {
        Self { rounds: 30, calls: 500 }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InvokeFigures {
    /// Microseconds of one invocation in the sandbox, one after the other.
    pub sandbox_us: f64,
    /// Microseconds of one call through bare wasmtime, one after the other; nothing for a component that imports WASI.
    pub bare_us: Option<f64>,
    /// The first over the second: the median of the turns' own ratios.
    pub ratio: Option<f64>,
    /// Invocations per second in the sandbox with every processor busy.
    pub per_second: f64,
    /// How many processors that were.
    pub processors: usize,
    /// Microseconds of one invocation whose request is really sent, one after the other.
    pub post_us: Option<f64>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum InvokeError {
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The component does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Bare wasmtime does not run it.
    #[error("bare wasmtime does not run the component: {0}")]
    Bare(String),
    /// It runs, but not to the end that is to be measured.
    #[error("the function was to deliver its event, but ended with {0}; measure one that delivers")]
    NotDelivered(String),
}

/// Answers at once: what is measured is the sandbox, not a network.
struct Stub;

impl Outlet for Stub {
    fn send(&self, _: OutboundRequest, _: tokio::time::Instant, _: ResponseCaps) -> SendFuture {
        Box::pin(std::future::ready(Ok(InboundResponse { status: 200, headers: Vec::new(), body: Bytes::new() })))
    }
}

struct Bench {
    sandbox: Sandbox,
    version: Arc<LoadedVersion>,
    bare: Option<Bare>,
    stub: Arc<dyn Outlet>,
    subject: Subject,
    json: String,
}

/// Measures fresh invocations of a function.
///
/// # Errors
/// If the function does not load, or does not deliver.
pub async fn invoke(subject: Subject, effort: Effort) -> Result<InvokeFigures, InvokeError> {
    let bench = Arc::new(Bench::new(subject).await?);
    let (mut turns, mut posts) = (Vec::new(), Vec::new());
    // The first turn warms both ways up and does not count.
    for _ in 0..=effort.rounds {
        let began = Instant::now();
        bench.sandboxed(&bench.stub, &bench.subject.settings, effort.calls).await?;
        let sandbox = began.elapsed();
        let began = Instant::now();
        bench.bare(effort.calls)?;
        turns.push((sandbox.as_secs_f64(), bench.bare.as_ref().map(|_| began.elapsed().as_secs_f64())));
        if let Some((outlet, settings)) = &bench.subject.posting {
            // Each takes several times as long.
            let calls = effort.calls.div_ceil(5);
            let began = Instant::now();
            bench.sandboxed(outlet, settings, calls).await?;
            posts.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
        }
    }
    turns.remove(0);
    let per_call = 1e6 / f64::from(effort.calls);
    let (per_second, processors) = throughput(&bench, effort).await?;
    Ok(InvokeFigures {
        sandbox_us: median(turns.iter().map(|(sandbox, _)| sandbox * per_call)).unwrap_or(f64::NAN),
        bare_us: median(turns.iter().filter_map(|(_, bare)| bare.map(|bare| bare * per_call))),
        ratio: median(turns.iter().filter_map(|(sandbox, bare)| bare.map(|bare| sandbox / bare))),
        per_second,
        processors,
        post_us: median(posts.into_iter().skip(1)),
    })
}

impl Bench {
    async fn new(subject: Subject) -> Result<Self, InvokeError> {
        let sandbox = Sandbox::start(&SandboxConfig::in_memory())?;
        let digest = Digest(Sha256::digest(&subject.component).into());
        let component = Bytes::clone(&subject.component);
        let version = sandbox.load(digest, async { Ok::<_, String>(component) }).await?;
        let bare = sandbox.bare(&version).map_err(InvokeError::Bare)?;
        let json = String::from_utf8_lossy(&subject.event.json).into_owned();
        Ok(Self { sandbox, version, bare, stub: Arc::new(Stub), subject, json })
    }

    async fn sandboxed(&self, outlet: &Arc<dyn Outlet>, settings: &Arc<str>, calls: u32) -> Result<(), InvokeError> {
        for _ in 0..calls {
            let event = GuestEvent { event: self.subject.event.clone(), attempt: 1 };
            let invocation = Invocation {
                events: vec![event],
                batch: false,
                settings: Arc::clone(settings),
                limits: Limits::default(),
                outlet: Arc::clone(outlet),
                clock: Clock::System,
                seed: None,
                cache: CacheScope::alone(),
            };
            let report = self.sandbox.invoke(&self.version, invocation).await;
            match &report.ending {
                Ending::Answered(answers) if answers[..] == [Answer::Delivered] => {}
                other => return Err(InvokeError::NotDelivered(format!("{other:?}"))),
            }
        }
        Ok(())
    }

    fn bare(&self, calls: u32) -> Result<(), InvokeError> {
        let Some(bare) = &self.bare else { return Ok(()) };
        for _ in 0..calls {
            let delivered = bare.call(&self.subject.event, &self.json, &self.subject.settings);
            if !delivered.map_err(InvokeError::Bare)? {
                return Err(InvokeError::NotDelivered("another answer from bare wasmtime".to_owned()));
            }
        }
        Ok(())
    }
}

async fn throughput(bench: &Arc<Bench>, effort: Effort) -> Result<(f64, usize), InvokeError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let calls = effort.calls.saturating_mul(effort.rounds).div_ceil(4);
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..processors {
        let bench = Arc::clone(bench);
        tasks.spawn(async move { bench.sandboxed(&bench.stub, &bench.subject.settings, calls).await });
    }
    tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
    Ok((f64::from(calls) * processors as f64 / began.elapsed().as_secs_f64(), processors))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, Timestamp};

    const DELIVERS: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32) (i32.const 0))
        (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32)
            (i32.const 0)))"#;

    #[tokio::test]
    async fn a_function_that_delivers_is_measured_both_ways_and_another_is_refused() {
        let subject = |wat: &str| Subject {
            component: crate::catalog::component_from_core(wat.as_bytes(), "").unwrap().into(),
            event: Event {
                message_id: "m".to_owned(),
                event_type: EventType::Track,
                user_id: None,
                anonymous_id: None,
                name: None,
                received_at: Timestamp::default(),
                json: Bytes::from_static(b"{}"),
            },
            settings: Arc::from("{}"),
            posting: Some((Arc::new(Stub), Arc::from("{}"))),
        };
        let effort = Effort { rounds: 3, calls: 2 };
        let figures = invoke(subject(DELIVERS), effort).await.unwrap();
        assert!(figures.sandbox_us > 0.0 && figures.bare_us > Some(0.0) && figures.per_second > 0.0);
        assert!(figures.post_us.unwrap() > 0.0);
        let rejects = DELIVERS.replace("(memory", "(data (i32.const 0) \"\\01\") (memory");
        assert!(matches!(invoke(subject(&rejects), effort).await, Err(InvokeError::NotDelivered(_))));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([].into_iter()), None);
    }
}
