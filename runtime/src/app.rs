//! The composition root: builds the parts from a configuration, and owns the order in which they end.
//!
//! Guarantees: what can fail fails before a socket is open; the listeners stop taking before deliveries stop, and both
//! before the store is closed, so that whatever was acknowledged is on disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiState};
use crate::catalog::settings;
use crate::catalog::workshop::{Bounds, Processes, WorkError, Workshop, WorkshopConfig};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, BreakerPolicy, DeliveryConfig, RetryPolicy, ScheduleConfig, Trials};
use crate::egress::{Collector, EgressConfig, EgressError, Gate, GateError};
use crate::ingest::Memory;
use crate::model::Ceilings;
use crate::replay::{self, ReplayConfig};
use crate::sandbox::{CompileFailure, Compiler, Sandbox, SandboxConfig, SandboxError};
use crate::seats::Seats;
use crate::slices;
use crate::store::{Store, StoreError};
use crate::telemetry::{Exporter, Post, PostError, Telemetry};

/// Why a host cannot start, or had to stop.
#[derive(Debug, Error)]
pub enum AppError {
    /// The data directory cannot be used, or can no longer be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The gate cannot be built.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}` ({key}): {why}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The configuration key that names it.
        key: &'static str,
        /// Why not.
        why: std::io::Error,
    },
    /// A part of the host ended although nobody asked it to.
    #[error("the {0} ended unexpectedly")]
    Ended(&'static str),
    /// The key that authenticates compiled code cannot be read or made.
    #[error("`{path}` cannot be read or made: {why}; it holds 32 random bytes, and may be deleted")]
    CacheKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// The operating system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A host that listens.
pub struct App {
    /// Where the tracking API listens.
    pub listen: SocketAddr,
    /// Where the control API listens.
    pub admin_listen: SocketAddr,
    /// The operator's key, at the first start on a data directory only. It is stored nowhere.
    pub operator_token: Option<String>,
    store: Arc<Store>,
    api: Arc<ApiState>,
    public: TcpListener,
    admin: TcpListener,
    delivery: delivery::Parts,
    delivery_config: DeliveryConfig,
    guests: Guests,
    replay_config: ReplayConfig,
    exporting: Option<(Exporter, Post)>,
}

/// How much the threads of guests stand back behind those that listen and write: where all want a processor, what comes in is
/// acknowledged first. Processes that compile uploads stand back further.
pub(crate) const GUESTS_NICE: i32 = 5;

/// Polls after which a thread of guests asks which sockets and timers are ready. One poll of a guest that computes may take a
/// millisecond, and a neighbour's answer should not wait for the 61 that are usual.
const POLLS: u32 = 4;

impl App {
    /// Opens the store, starts the engine, binds the listeners. Nothing is served before [`App::run`].
    ///
    /// # Errors
    ///
    /// See [`AppError`]; what was opened is closed again.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, AppError> {
        let store = Arc::new(Store::open(&config.data_dir, &config.store, clock)?);
        let operator_token = store.ensure_operator_key().await?;
        let sandbox = Arc::new(Sandbox::start(&SandboxConfig {
            cache_dir: Some(config.data_dir.join("compiled")),
            cache_key: cache_key(&config.data_dir)?,
            compiler: Some(compiler(&workshop_config(config))),
            max_instances: config.sandbox.max_instances,
            max_loaded_versions: config.sandbox.max_loaded_versions,
            memory_bytes: Memory::new(config.sandbox.memory_percent).most().max(2 * config.limits.memory_bytes),
        })?);
        let public = bind(config.listen, "listen").await?;
        let admin = bind(config.admin_listen, "admin_listen").await?;
        let (listen, admin_listen) = (address(&public, "listen")?, address(&admin, "admin_listen")?);
        let gate =
            Arc::new(Gate::new(&EgressConfig { own_listeners: vec![listen, admin_listen], ..egress_config(config) })?);
        let limits = Ceilings { all: config.limits.clone(), cpu_ms: config.function_cpu_ms.clone() };
        let (telemetry, exporting) = telemetry(config)?;
        let guests = Guests::start(delivery_threads())?;
        let tried = Trials::new(
            Arc::clone(&store),
            Arc::clone(&sandbox),
            Arc::clone(&gate),
            limits.clone(),
            guests.runtime().handle().clone(),
        );
        let workshop = Workshop::new(workshop_config(config), Arc::clone(&sandbox));
        let (watch, questions) = delivery::watch();
        Ok(Self {
            listen,
            admin_listen,
            operator_token,
            api: ApiState::new(
                Arc::clone(&store),
                workshop,
                trials(tried),
                standing(watch, &gate),
                telemetry.clone(),
                config,
                clock,
            ),
            delivery: delivery::Parts {
                store: Arc::clone(&store),
                sandbox,
                gate,
                limits,
                clock,
                telemetry,
                questions,
                guests: guests.runtime().handle().clone(),
            },
            delivery_config: delivery_config(config),
            guests,
            // Half, so that what is new always finds a place.
            replay_config: ReplayConfig { per_destination: config.delivery.in_flight_per_destination.div_ceil(2) },
            exporting,
            store,
            public,
            admin,
        })
    }

    /// Serves and delivers until `stop` is cancelled or a part fails, then ends everything in order.
    ///
    /// # Errors
    ///
    /// A part failed. What was acknowledged is on disk, and is delivered after a restart.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        let Self { store, api, public, admin, delivery, delivery_config, guests, replay_config, .. } = self;
        let spans = Exporting::begin(self.exporting);
        let (listeners, deliveries) = (CancellationToken::new(), CancellationToken::new());
        let mut delivering = tokio::spawn(delivery::run(delivery, delivery_config, deliveries.clone()));
        let mut replaying = tokio::spawn(replay::run(Arc::clone(&store), replay_config, listeners.clone()));
        let mut serving_public =
            tokio::spawn(api::serve(public, api::public_router(&api), api.http(), listeners.clone()));
        let mut serving_admin = tokio::spawn(api::serve(admin, api::admin_router(&api), api.http(), listeners.clone()));

        let mut delivered = None;
        let failed = tokio::select! {
            () = stop.cancelled() => None,
            ended = &mut delivering => {
                let error = match ended {
                    Ok(Err(error)) => AppError::Store(error),
                    Ok(Ok(())) | Err(_) => AppError::Ended("delivery"),
                };
                delivered = Some(());
                Some(error)
            }
            ended = &mut replaying => Some(match ended {
                Ok(Err(error)) => AppError::Store(error),
                Ok(Ok(())) | Err(_) => AppError::Ended("replay"),
            }),
            _ = &mut serving_public => Some(AppError::Ended("tracking API")),
            _ = &mut serving_admin => Some(AppError::Ended("control API")),
        };
        listeners.cancel();
        if !serving_public.is_finished() {
            drop(serving_public.await);
        }
        if !serving_admin.is_finished() {
            drop(serving_admin.await);
        }
        if !replaying.is_finished() {
            drop(replaying.await);
        }
        deliveries.cancel();
        store.leave();
        let ended = match delivered {
            Some(()) => Ok(()),
            None => match delivering.await {
                Ok(ended) => ended.map_err(AppError::Store),
                Err(_) => Err(AppError::Ended("delivery")),
            },
        };
        guests.end().await;
        store.close().await;
        spans.end().await;
        failed.map_or(ended, Err)
    }
}

/// The threads that guests run on, deliveries' and trials': their own, so that the listeners answer whatever the guests do.
/// There from the first to the last moment of the host.
struct Guests(Option<Runtime>);

impl Guests {
    fn start(threads: usize) -> Result<Self, AppError> {
        // Not less than before: some of these threads are begun by others of them.
        let nice = rustix::process::getpriority_process(None).unwrap_or(0) + GUESTS_NICE;
        // Its workers are the first threads that it begins.
        let seats = Seats::new(threads);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("tidegate-guests")
            .event_interval(POLLS)
            // A courtesy, which not every system allows.
            .on_thread_start(move || {
                slices::usual();
                seats.take();
                let _ = rustix::process::setpriority_process(None, nice);
            })
            .enable_all()
            .build()
            .map_err(AppError::Thread)?;
        Ok(Self(Some(runtime)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().unwrap_or_else(|| unreachable!("only what consumes it takes it"))
    }

    async fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime waits for its threads when it ends, which an asynchronous task must not do.
            drop(tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(1))).await);
        }
    }
}

impl Drop for Guests {
    /// Of a host that did not come as far as running.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The task that sends spans, if there is one.
struct Exporting(Option<(tokio::task::JoinHandle<()>, CancellationToken)>);

impl Exporting {
    /// How long a host that ends waits for its last spans to be taken.
    const PATIENCE: Duration = Duration::from_secs(3);

    fn begin(exporting: Option<(Exporter, Post)>) -> Self {
        Self(exporting.map(|(exporter, post)| {
            let stop = CancellationToken::new();
            (tokio::spawn(exporter.run(post, stop.clone())), stop)
        }))
    }

    async fn end(self) {
        if let Some((task, stop)) = self.0 {
            stop.cancel();
            // Spans are not worth a longer wait.
            drop(tokio::time::timeout(Self::PATIENCE, task).await);
        }
    }
}

/// What the parts count and trace by, and what sends the spans.
fn telemetry(config: &Config) -> Result<(Telemetry, Option<(Exporter, Post)>), AppError> {
    let Some(spans) = &config.spans else { return Ok((Telemetry::default(), None)) };
    let (form, roots) = ("application/x-protobuf", &config.egress.extra_roots);
    let collector = Arc::new(Collector::new(&spans.endpoint, "/v1/traces", form, roots)?);
    let (telemetry, exporter) = Telemetry::with_spans(spans.sample_ratio, spans.waiting);
    let post: Post = Box::new(move |body| {
        let collector = Arc::clone(&collector);
        Box::pin(async move { taken(collector.post(body).await) })
    });
    Ok((telemetry, Some((exporter, post))))
}

/// What a collector's answer means: these statuses ask for the same again later (OTLP), all others do not.
fn taken(answer: Result<(u16, bytes::Bytes), EgressError>) -> Result<Vec<u8>, PostError> {
    match answer {
        Ok((200..=299, body)) => Ok(body.into()),
        Ok((status @ (429 | 502 | 503 | 504), _)) => Err(PostError::Passing(format!("it answered {status}"))),
        Ok((status, _)) => Err(PostError::Refused(format!("it answered {status}"))),
        Err(error) => Err(PostError::Passing(error.to_string())),
    }
}

/// The key that authenticates compiled code on disk: made at the first start, readable by the host's user only.
/// Without it every function is compiled anew, so losing it costs time and nothing else.
fn cache_key(data_dir: &Path) -> Result<[u8; 32], AppError> {
    let path = data_dir.join("compiled.key");
    let failed = |why| AppError::CacheKey { path: path.clone(), why };
    match std::fs::read(&path) {
        Ok(bytes) => {
            let wrong = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not 32 bytes long");
            bytes.try_into().map_err(wrong).map_err(failed)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key: [u8; 32] = rand::random();
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
            file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|why| AppError::Listen { address, key, why })
}

fn address(listener: &TcpListener, key: &'static str) -> Result<SocketAddr, AppError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|why| AppError::Listen { address: unknown, key, why })
}

/// The gate's part of the configuration. The host's own listeners are not in it: they are known once they are bound.
pub fn egress_config(config: &Config) -> EgressConfig {
    EgressConfig {
        allow_addresses: config.egress.allow_addresses.clone(),
        own_listeners: Vec::new(),
        dns_servers: config.egress.dns_servers.clone(),
        extra_roots: config.egress.extra_roots.clone(),
    }
}

/// What the sandbox is given to compile what is stored and has no code, as after an update: processes as for uploads, and as
/// many of them at a time.
fn compiler(config: &WorkshopConfig) -> Compiler {
    let (processes, places) = (config.processes.clone(), Arc::new(Semaphore::new(config.concurrent)));
    Arc::new(move |component| {
        let (processes, places) = (processes.clone(), Arc::clone(&places));
        Box::pin(async move {
            // Nothing closes the semaphore.
            let _place = places.acquire().await;
            processes.compile(&component).await.map_err(|error| {
                let why = error.to_string();
                match error {
                    WorkError::Refused(_) => CompileFailure::Unusable(why),
                    // It met these bounds when it was uploaded: they were changed since, or the machine is busy.
                    WorkError::Memory { .. }
                    | WorkError::Cpu { .. }
                    | WorkError::Deadline { .. }
                    | WorkError::Busy
                    | WorkError::Ended(_)
                    | WorkError::Failed(_) => CompileFailure::Host(why),
                }
            })
        })
    })
}

/// What the handlers are given to try functions with.
pub fn trials(trials: Trials) -> api::Trials {
    let trials = Arc::new(trials);
    Arc::new(move |trial| {
        let trials = Arc::clone(&trials);
        Box::pin(trials.run(trial))
    })
}

/// What the handlers are given to say how deliveries stand.
pub fn standing(watch: delivery::Watch, gate: &Gate) -> api::Standing {
    let figures = watch.clone();
    api::Standing {
        health: Arc::new(move |destination| {
            let watch = watch.clone();
            Box::pin(async move { watch.health(destination).await })
        }),
        figures: Arc::new(move || {
            let watch = figures.clone();
            Box::pin(async move { watch.figures().await })
        }),
        open: settings::Open::new(gate.reach().clone()),
    }
}

/// The part of the configuration that is about uploads.
pub fn workshop_config(config: &Config) -> WorkshopConfig {
    let control = &config.control;
    WorkshopConfig {
        processes: Processes {
            program: WorkshopConfig::this_program(),
            bounds: Bounds { cpu_s: control.upload_cpu.as_secs(), memory_bytes: control.upload_memory_bytes },
            deadline: control.upload_deadline,
        },
        concurrent: control.concurrent_uploads,
    }
}

/// Threads that guests run on.
fn delivery_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn delivery_config(config: &Config) -> DeliveryConfig {
    DeliveryConfig {
        schedule: ScheduleConfig {
            in_flight: config.delivery.in_flight,
            in_flight_per_destination: config.delivery.in_flight_per_destination,
            in_flight_per_host: config.delivery.in_flight_per_host,
            processors: delivery_threads(),
            breaker: BreakerPolicy {
                failure_percent: config.delivery.breaker_failure_percent,
                attempts: config.delivery.breaker_attempts,
                slow: config.delivery.breaker_slow,
                first_probe: config.delivery.breaker_probe,
                longest_probe: config.delivery.breaker_probe_cap,
            },
        },
        shutdown_grace: config.delivery.drain,
        retry: RetryPolicy {
            window: config.delivery.retry_window,
            first_wait: config.delivery.backoff_base,
            longest_wait: config.delivery.backoff_cap,
            attempts: None,
            longest_wish: config.delivery.retry_after_cap,
        },
        ordered_window: config.delivery.ordered_window,
    }
}
