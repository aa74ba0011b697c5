//! The sandbox: the step *invoke* of an event's way, where partners' programs run.
//!
//! Three moments: *engine start* ([`Sandbox::start`]), *version load* ([`Sandbox::load`]), *invocation*
//! ([`Sandbox::invoke`]).
//!
//! Guarantees: a fresh store and instance for every invocation, so nothing of one event is seen by the next but what
//! it puts into its destination's cache; one
//! deadline and one set of budgets over everything that an invocation does; whatever a guest does is a value in an
//! [`InvocationReport`]; guests that spin share the processor with everybody else, tick by tick, and after some
//! milliseconds leave one processor to those that do not.
//!
//! Leaves to others: whom a guest may reach ([`crate::egress`]), which guest gets which event and what its ending
//! means (`delivery`). Knows no database, no tenant, no retry.

mod bare;
mod beside;
mod bindings;
mod budget;
mod cache;
mod choices;
mod code_cache;
mod compile;
mod cpu;
mod ending;
mod engine;
mod host;
mod invocation;
mod log;
mod memory;
mod nearly;
mod pool;
mod requests;
mod shape;
mod snapshot;
mod source_map;
mod ticker;
mod version;
mod wasi;

use std::fmt::Display;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::model::{Digest, InvocationReport};

pub use bare::Bare;
pub use cache::{CacheScope, Caches};
pub use choices::{Choice, Choices};
pub use compile::{CompileError, Compiled, MAX_KNOWN, compile};
pub use invocation::{GuestEvent, Invocation};
pub use snapshot::{Preinitialiser, Snapshot, SnapshotError};
pub use source_map::{BUILT, Mapping, SECTION as SOURCE_MAP_SECTION, SourceMap};
pub use version::{LoadError, LoadedVersion};
pub use wasi::WASI;

use code_cache::CodeCache;
use cpu::Turns;
use pool::Pool;
use source_map::SourceMaps;
use ticker::Ticker;
use version::{Remembers, Versions};

/// Compiles a component in another process: the code that [`compile`] gives there.
pub type Compiler =
    Arc<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, CompileFailure>> + Send>> + Send + Sync>;

/// Why another process gave no code.
#[derive(Clone, Debug, Error)]
pub enum CompileFailure {
    /// The component cannot be compiled: the partner's fault.
    #[error("{0}")]
    Unusable(String),
    /// The host's own fault, or a passing one.
    #[error("{0}")]
    Host(String),
}

/// What the operator decides about the sandbox.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where compiled code is kept over restarts; nowhere if absent.
    pub cache_dir: Option<PathBuf>,
    /// What compiled code on disk is authenticated with. Who has it can make the host run anything.
    pub cache_key: [u8; 32],
    /// Compiles a component in another process; in this one if absent. It takes a folder for compiled code.
    pub compiler: Option<Compiler>,
    /// How many invocations run at the same time; further ones wait.
    pub max_instances: u32,
    /// How many compiled versions stay in memory while nobody uses them.
    pub max_loaded_versions: u64,
    /// Bytes of memory that all guests together may have beyond the first four MiB of each, answers that are kept for them included: half
    /// of it for what each has up to 16 MiB, half for what is more.
    /// Who does not find what it needs ends as a fault of the host, which costs a delivery no attempt.
    pub memory_bytes: u64,
}

impl SandboxConfig {
    /// Nothing on disk, no bound on the memory of all guests together, and numbers for one machine: 256 invocations, most of which wait for a partner, reserve
    /// 3 TiB of the 128 TiB of addresses; 512 versions take about 200 MB.
    pub fn in_memory() -> Self {
        let (max_instances, max_loaded_versions, memory_bytes) = (256, 512, u64::MAX);
        let (cache_key, cache_dir, compiler) = ([0; 32], None, None);
        Self { cache_dir, cache_key, compiler, max_instances, max_loaded_versions, memory_bytes }
    }
}

/// Why the sandbox does not start.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// wasmtime refuses.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The folder for compiled code cannot be used.
    #[error("`{dir}` cannot hold compiled code: {error}; make it writable or name another folder")]
    CacheDir {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
    /// No thread for the clock that interrupts guests.
    #[error("no thread to interrupt guests: {0}")]
    Ticker(#[source] std::io::Error),
}

/// Under which is kept what is known of a compiled component: no component has this digest.
const KNOWN: Digest = Digest([0; 32]);

/// A fault of the host's own, met while a guest ran. Ends the invocation.
#[derive(Debug, Error)]
#[error("{0}")]
struct HostFault(String);

/// Runs guests.
pub struct Sandbox {
    engine: Engine,
    versions: Versions,
    source_maps: SourceMaps,
    permits: Semaphore,
    turns: Turns,
    pool: Pool,
    ticker: Ticker,
}

impl Sandbox {
    /// Starts the engine and the thread that interrupts guests; the thread ends with the sandbox.
    pub fn start(config: &SandboxConfig) -> Result<Self, SandboxError> {
        Self::with(engine::engine(config.max_instances)?, config, Remembers::Nothing)
    }

    /// A sandbox in memory, for whoever loads one function again after every small change: only what others than the language's
    /// engine changed of it is compiled again.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub fn for_changes() -> Result<Self, SandboxError> {
        let config = SandboxConfig::in_memory();
        Self::with(engine::engine(config.max_instances)?, &config, Remembers::TheLast)
    }

    fn with(engine: Engine, config: &SandboxConfig, remembers: Remembers) -> Result<Self, SandboxError> {
        let open = |dir: &PathBuf| {
            // wasmtime's own hash covers its version, the target and every setting that compiled code depends on.
            CodeCache::open(dir, config.cache_key, engine.precompile_compatibility_hash())
                .map_err(|error| SandboxError::CacheDir { dir: dir.clone(), error })
        };
        let disk = config.cache_dir.as_ref().map(open).transpose()?;
        let versions =
            Versions::new(engine.clone(), disk, config.compiler.clone(), config.max_loaded_versions, remembers)
                .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(SandboxError::Ticker)?;
        Ok(Self {
            engine,
            versions,
            source_maps: SourceMaps::new(),
            permits: Semaphore::new(config.max_instances as usize),
            turns: Turns::new(),
            pool: Pool::new(config.memory_bytes),
            ticker,
        })
    }

    /// The version with this digest, compiled at most once at a time. `component` is polled for the bytes only if
    /// they are needed; bytes with another digest are refused.
    pub async fn load<E: Display>(
        &self,
        digest: Digest,
        component: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<Arc<LoadedVersion>, LoadError> {
        self.versions.load(digest, component).await
    }

    /// Keeps a component's machine code, which [`compile`] gave, for [`Sandbox::load`]: from here on it is run as it is,
    /// so it must come from a process of this host. Without a folder for compiled code nothing is kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep(&self, digest: Digest, code: Bytes) -> std::io::Result<()> {
        self.versions.keep(digest, code).await
    }

    /// What [`Sandbox::keep_known`] kept last, with which [`compile`] is faster; empty at first.
    pub async fn known(&self) -> Vec<u8> {
        self.versions.kept(KNOWN).await
    }

    /// Keeps what [`compile`] gave for the next component. The same holds as for [`Sandbox::keep`].
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn keep_known(&self, known: Bytes) -> std::io::Result<()> {
        self.versions.keep(KNOWN, known).await
    }

    /// Runs a guest once. Waits while too many run; that wait is not part of the guest's deadline. Dropping the
    /// future ends the guest and its requests.
    pub async fn invoke(&self, version: &LoadedVersion, invocation: Invocation) -> InvocationReport {
        // Nothing closes the semaphore; were it closed, the engine's own pools would still hold the bound.
        let _permit = self.permits.acquire().await;
        let _ticking = self.ticker.run();
        invocation::run(&self.engine, &self.turns, &self.pool, version, invocation).await
    }

    /// Asks a guest once what a setting may be, instead of handing it events; as for [`Sandbox::invoke`] otherwise.
    pub async fn choices(
        &self,
        version: &LoadedVersion,
        invocation: &Invocation,
        setting: &str,
    ) -> (Choices, InvocationReport) {
        let _permit = self.permits.acquire().await;
        let _ticking = self.ticker.run();
        choices::ask(&self.engine, &self.turns, &self.pool, version, invocation, setting).await
    }

    /// The report of an invocation of this component, with places in code that was made of a partner's files replaced by
    /// places in those files. `component` is polled for the bytes only if there are such places.
    pub async fn located<E: Display>(
        &self,
        digest: Digest,
        mut report: InvocationReport,
        component: impl Future<Output = Result<Bytes, E>>,
    ) -> InvocationReport {
        self.source_maps.locate(digest, &mut report, component).await;
        report
    }

    /// The same component on the same engine without the sandbox around it, for the benchmark; nothing where it imports
    /// WASI.
    ///
    /// # Errors
    /// If it does not fit; as text.
    pub fn bare(&self, version: &LoadedVersion) -> Result<Option<Bare>, String> {
        Bare::new(version.component()).map_err(|error| format!("{error:#}"))
    }
}
