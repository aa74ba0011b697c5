//! Whether invocations leave anything behind: many of them, each of which crashes at another point or is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::attacks::crasher;
use crate::catalog::component_from_core;
use crate::clock::Clock;
use crate::egress::{OutboundRequest, Outlet, ResponseCaps, SendFuture};
use crate::model::{Digest, Ending, Event, EventType, Limits, Timestamp};
use crate::sandbox::{
    CacheScope, GuestEvent, Invocation, LoadError, LoadedVersion, Sandbox, SandboxConfig, SandboxError,
};

/// Invocations at the same time.
const AT_ONCE: u64 = 8;
/// The most steps that one takes before it crashes.
const STEPS: u64 = 200;
/// Looks at the process.
const LOOKS: u64 = 20;

/// What was measured. Differences are between the first look, a tenth into the run, and the last.
#[derive(Clone, Debug, Serialize)]
pub struct SoakFigures {
    /// Invocations in all.
    pub invocations: u64,
    /// Of these, crashed at a random point.
    pub crashed: u64,
    /// Of these, stopped at a limit before.
    pub stopped: u64,
    /// Of these, dropped while they ran.
    pub dropped: u64,
    /// Resident memory at the first look, in KiB.
    pub memory_kib: u64,
    /// How much more that is after each 1,000 invocations, in bytes: the slope of the line through all looks.
    pub memory_slope_bytes: f64,
    /// Open file descriptors at the first look and at the last.
    pub descriptors: [u64; 2],
    /// Tasks of the runtime that are alive, at the first look and at the last.
    pub tasks: [u64; 2],
    /// Threads, at the first look and at the last.
    pub threads: [u64; 2],
    /// Requests that were begun, and those that are still under way.
    pub requests: [u64; 2],
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum SoakError {
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The function does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The function is none.
    #[error("the function that crashes cannot be built: {0}")]
    Build(String),
    /// This system does not say what a process uses.
    #[error("`{0}` cannot be read")]
    Process(String),
    /// An invocation ended in a way that it cannot.
    #[error("an invocation ended with {0}")]
    Ended(String),
}

/// How long cancelled tasks have to go before each look.
const PATIENCE: Duration = Duration::from_secs(2);

/// Never answers, and counts who waits.
#[derive(Clone, Default)]
struct Silent {
    begun: Arc<AtomicU64>,
    under_way: Arc<AtomicU64>,
}

struct UnderWay(Arc<AtomicU64>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outlet for Silent {
    fn send(&self, _: OutboundRequest, _: tokio::time::Instant, _: ResponseCaps) -> SendFuture {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        Box::pin(async move {
            let _under_way = under_way;
            std::future::pending().await
        })
    }
}

struct Soak {
    sandbox: Sandbox,
    version: Arc<LoadedVersion>,
    outlet: Silent,
    crashed: AtomicU64,
    stopped: AtomicU64,
    dropped: AtomicU64,
}

/// Runs so many invocations.
///
/// # Errors
/// See [`SoakError`].
pub async fn soak(invocations: u64) -> Result<SoakFigures, SoakError> {
    let component = component_from_core(crasher("https://partner.example").as_bytes(), "");
    let component = Bytes::from(component.map_err(|error| SoakError::Build(error.to_string()))?);
    let sandbox = Sandbox::start(&SandboxConfig::in_memory())?;
    let digest = Digest(Sha256::digest(&component).into());
    let version = sandbox.load(digest, async { Ok::<_, String>(component) }).await?;
    let [crashed, stopped, dropped] = [(); 3].map(|()| AtomicU64::new(0));
    let soak = Arc::new(Soak { sandbox, version, outlet: Silent::default(), crashed, stopped, dropped });
    let mut looks = Vec::new();
    let idle = alive();
    for round in 0..LOOKS {
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..AT_ONCE {
            let soak = Arc::clone(&soak);
            let times = invocations / (LOOKS * AT_ONCE);
            tasks.spawn(async move { soak.lane(StdRng::seed_from_u64(round * AT_ONCE + lane), times).await });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), SoakError>>()?;
        // Tasks that were cancelled are gone once the runtime has looked at them, a moment after what they held. One that never
        // goes is what is looked for: it is counted.
        let until = tokio::time::Instant::now() + PATIENCE;
        while soak.outlet.under_way.load(Ordering::Relaxed) > 0 || alive() > idle {
            if tokio::time::Instant::now() >= until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        looks.push(Look::now()?);
    }
    Ok(figures(&soak, &looks[LOOKS as usize / 10..], invocations / LOOKS))
}

impl Soak {
    async fn lane(&self, mut random: StdRng, times: u64) -> Result<(), SoakError> {
        for _ in 0..times {
            let steps = random.next_u64() % STEPS;
            let run = self.sandbox.invoke(&self.version, self.invocation(steps));
            // One in four is given up after a moment, wherever it is then.
            let report = if random.next_u64().is_multiple_of(4) {
                let moment = Duration::from_micros(random.next_u64() % 500);
                tokio::time::timeout(moment, run).await.ok()
            } else {
                Some(run.await)
            };
            match report.map(|report| report.ending) {
                None => self.dropped.fetch_add(1, Ordering::Relaxed),
                Some(Ending::Trapped(_)) => self.crashed.fetch_add(1, Ordering::Relaxed),
                Some(Ending::LimitExceeded { .. }) => self.stopped.fetch_add(1, Ordering::Relaxed),
                Some(other) => return Err(SoakError::Ended(format!("{other:?}"))),
            };
        }
        Ok(())
    }

    fn invocation(&self, steps: u64) -> Invocation {
        let event = Event {
            message_id: "x".repeat(usize::try_from(steps).unwrap_or(0)),
            event_type: EventType::Track,
            user_id: None,
            anonymous_id: None,
            name: None,
            received_at: Timestamp::default(),
            json: Bytes::from_static(b"{}"),
        };
        Invocation {
            events: vec![GuestEvent { event, attempt: 1 }],
            batch: false,
            settings: Arc::from("{}"),
            // Few enough that some are stopped on their way.
            limits: Limits { handles: 24, host_calls: 140, ..Limits::default() },
            outlet: Arc::new(self.outlet.clone()),
            clock: Clock::System,
            seed: None,
            cache: CacheScope::alone(),
        }
    }
}

/// Tasks of this runtime that have not ended.
fn alive() -> u64 {
    tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64
}

/// What the process has.
#[derive(Clone, Copy, Debug)]
struct Look {
    memory_kib: u64,
    descriptors: u64,
    tasks: u64,
    threads: u64,
}

impl Look {
    fn now() -> Result<Self, SoakError> {
        let unreadable = |path: &str| SoakError::Process(path.to_owned());
        let status = std::fs::read_to_string("/proc/self/status").map_err(|_| unreadable("/proc/self/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
            number.ok_or_else(|| unreadable(name))
        };
        let descriptors = std::fs::read_dir("/proc/self/fd").map_err(|_| unreadable("/proc/self/fd"))?.count() as u64;
        Ok(Self { memory_kib: field("VmRSS:")?, descriptors, tasks: alive(), threads: field("Threads:")? })
    }
}

fn figures(soak: &Soak, looks: &[Look], between: u64) -> SoakFigures {
    let (first, last) = (looks[0], looks[looks.len() - 1]);
    let memory: Vec<f64> = looks.iter().map(|look| (look.memory_kib << 10) as f64).collect();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (crashed, stopped, dropped) = (count(&soak.crashed), count(&soak.stopped), count(&soak.dropped));
    SoakFigures {
        invocations: between * LOOKS,
        crashed,
        stopped,
        dropped,
        memory_kib: first.memory_kib,
        memory_slope_bytes: slope(&memory) / (between as f64 / 1e3),
        descriptors: [first.descriptors, last.descriptors],
        tasks: [first.tasks, last.tasks],
        threads: [first.threads, last.threads],
        requests: [count(&soak.outlet.begun), count(&soak.outlet.under_way)],
    }
}

/// How much a value grows from one look to the next: least squares.
fn slope(values: &[f64]) -> f64 {
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (mut over, mut under) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let from_middle = at as f64 - middle;
        over += from_middle * (value - mean);
        under += from_middle * from_middle;
    }
    over / under
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn invocations_that_crash_or_are_given_up_leave_no_request_task_or_descriptor() {
        let figures = soak(3_200).await.unwrap();
        assert!(figures.crashed > 100 && figures.stopped > 100 && figures.requests[0] > 1_000, "{figures:?}");
        assert_eq!(figures.requests[1], 0, "{figures:?}");
        assert_eq!(figures.tasks[0], figures.tasks[1], "{figures:?}");
        // Other tests of this program open and close files meanwhile.
        assert!(figures.descriptors[1] < figures.descriptors[0] + 64, "{figures:?}");
    }

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert_eq!(slope(&[1.0, 3.0, 5.0, 7.0]), 2.0);
        assert_eq!(slope(&[5.0, 5.0, 5.0]), 0.0);
    }
}
