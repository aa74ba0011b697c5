//! Before any event: a language's engine runs a partner's file once, and the memory that this leaves becomes a module.
//!
//! Guarantees: the file reaches nothing while it is loaded, and is stopped by limits of its own; the same engine and
//! file give the same module, byte for byte.
//! Leaves to others: which engine, what the file is (`catalog`), what the module may do (`version`).

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use thiserror::Error;
use wasmparser::ValType;
use wasmtime::{
    Config, Engine, Instance, InstancePre, Linker, Module, Store, StoreLimits, StoreLimitsBuilder, Strategy, Trap, Val,
};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, Wizer};

use super::engine::proposals;

/// What loading a file may take: a second or two of it. Counted in instructions, so that every machine decides alike.
const FUEL: u64 = 2_000_000_000;

/// What it may leave: half of what an invocation has by default, and a module that is quickly compiled.
const MEMORY_BYTES: usize = 32 << 20;

/// The engine's own functions; `guest-sdk/js/engine` has them.
const ALLOC: &str = "tidegate-js-alloc";
const LOAD: &str = "tidegate-js-load";

/// Why there is no module.
#[derive(Clone, Debug, Error)]
pub enum SnapshotError {
    /// The file used up what loading may take.
    #[error("loading the file takes too long: what stands outside of handlers may run for about a second")]
    TooLong,
    /// The file filled the memory, or crashed the engine.
    #[error("loading the file failed: {0}; it may leave at most 32 MiB of memory")]
    Crashed(String),
    /// The language's engine is not usable: a fault of this build.
    #[error("the language's engine does not start: {0}")]
    Engine(String),
}

/// A language's engine, ready to load files. Cheap to clone.
#[derive(Clone)]
pub struct Preinitialiser(Arc<Prepared>);

struct Prepared {
    wizer: Wizer,
    context: ModuleContext<'static>,
    engine: Engine,
    instance: InstancePre<StoreLimits>,
    /// One file at a time: each takes a processor for some milliseconds, and memory.
    turn: Mutex<()>,
}

/// What loading a file gave.
pub struct Snapshot {
    /// A core module that begins where loading ended.
    pub module: Vec<u8>,
    /// What the engine says of the file, as JSON.
    pub answer: Vec<u8>,
}

/// Winch compiles four times as fast as Cranelift. What it makes runs here only, for one file, and without imports.
fn config() -> Config {
    let mut config = Config::new();
    config.strategy(Strategy::Winch).consume_fuel(true).concurrency_support(false).parallel_compilation(true);
    proposals(&mut config);
    config
}

impl Preinitialiser {
    /// Compiles an engine; a fifth of a second.
    ///
    /// # Errors
    /// If it is no module that can be pre-initialised.
    pub fn new(language: &'static [u8]) -> Result<Self, SnapshotError> {
        let failed = |error: wasmtime::Error| SnapshotError::Engine(format!("{error:#}"));
        let wizer = Wizer::new();
        let (context, instrumented) =
            wizer.instrument(language).map_err(|error| SnapshotError::Engine(format!("{error:#}")))?;
        let engine = Engine::new(&config()).map_err(failed)?;
        let module = Module::new(&engine, &instrumented).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&module).map_err(failed)?;
        let instance = linker.instantiate_pre(&module).map_err(failed)?;
        Ok(Self(Arc::new(Prepared { wizer, context, engine, instance, turn: Mutex::new(()) })))
    }

    /// Loads a file, which stacks and messages call `name`. Blocks for some milliseconds.
    ///
    /// # Errors
    /// If loading is stopped or crashes. What the file throws is in the answer instead.
    pub fn load(&self, source: &str, name: &str) -> Result<Snapshot, SnapshotError> {
        let prepared = &*self.0;
        // The lock guards nothing that a panic could leave half done.
        let _turn = prepared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
        let mut store = Store::new(&prepared.engine, limits);
        store.limiter(|limits| limits);
        let loaded = store.set_fuel(FUEL).and_then(|()| call(prepared, &mut store, source, name));
        let (instance, answer) = loaded.map_err(|error| match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => SnapshotError::TooLong,
            Some(Trap::StackOverflow) => SnapshotError::Crashed("its calls nest too deeply".to_owned()),
            Some(trap) => SnapshotError::Crashed(trap.to_string()),
            None => SnapshotError::Crashed(error.root_cause().to_string()),
        })?;
        let mut state = State { store, instance };
        let module = at_once(prepared.wizer.snapshot(&prepared.context, &mut state))
            .map_err(|error| SnapshotError::Crashed(format!("{error:#}")))?;
        Ok(Snapshot { module, answer })
    }
}

fn call(
    prepared: &Prepared,
    store: &mut Store<StoreLimits>,
    source: &str,
    name: &str,
) -> wasmtime::Result<(Instance, Vec<u8>)> {
    let instance = prepared.instance.instantiate(&mut *store)?;
    if let Ok(initialise) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
        initialise.call(&mut *store, ())?;
    }
    let memory = instance.get_memory(&mut *store, "memory").ok_or_else(|| wasmtime::Error::msg("it has no memory"))?;
    let alloc = instance.get_typed_func::<u32, u32>(&mut *store, ALLOC)?;
    let load = instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, LOAD)?;
    let mut write = |text: &str| {
        let bytes = u32::try_from(text.len())?;
        let at = alloc.call(&mut *store, bytes)?;
        memory.write(&mut *store, at as usize, text.as_bytes())?;
        Ok::<_, wasmtime::Error>((at, bytes))
    };
    let (source, name) = (write(source)?, write(name)?);
    let answer = load.call(&mut *store, (source.0, source.1, name.0, name.1))? as usize;
    let read = |from: usize, bytes: usize| {
        let all = memory.data(&*store);
        all.get(from..from.saturating_add(bytes)).ok_or_else(|| wasmtime::Error::msg("its answer is out of bounds"))
    };
    let length: [u8; 4] = read(answer, 4)?.try_into()?;
    let answer = read(answer + 4, u32::from_le_bytes(length) as usize)?.to_vec();
    Ok((instance, answer))
}

/// What the pre-initialiser reads of the instance.
struct State {
    store: Store<StoreLimits>,
    instance: Instance,
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        // Its own instrumentation exports every global, of these types only; see `InstanceState::global_get`.
        match self.instance.get_global(&mut self.store, name).map(|global| global.get(&mut self.store)) {
            Some(Val::I32(value)) => SnapshotVal::I32(value),
            Some(Val::I64(value)) => SnapshotVal::I64(value),
            Some(Val::F32(value)) => SnapshotVal::F32(value),
            Some(Val::F64(value)) => SnapshotVal::F64(value),
            Some(Val::V128(value)) => SnapshotVal::V128(value.as_u128()),
            other => panic!("the engine's global `{name}` is {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut self.store, name) {
            Some(memory) => contents(memory.data(&self.store)),
            None => panic!("the engine has no memory `{name}`"),
        }
    }
}

/// Runs a future that never waits: the only thing that it awaits is [`State`].
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("taking a snapshot does not wait"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_for_loading_is_this_and_changes_only_on_purpose() {
        let engine = Engine::new(&config()).unwrap();
        let features: Vec<&str> = engine.get_wasm_features().iter_names().map(|(name, _)| name).collect();
        assert_eq!(
            features,
            [
                "MUTABLE_GLOBAL",
                "SATURATING_FLOAT_TO_INT",
                "SIGN_EXTENSION",
                "REFERENCE_TYPES",
                "MULTI_VALUE",
                "BULK_MEMORY",
                "SIMD",
                "FLOATS",
                "EXTENDED_CONST",
                "COMPONENT_MODEL",
            ]
        );
        assert_eq!(engine.get_strategy(), Some(Strategy::Winch));
        assert!(engine.get_consume_fuel() && !engine.get_epoch_interruption());
        assert!(!engine.get_concurrency_support() && !engine.get_shared_memory());
        assert!(engine.get_guard_before_linear_memory() && engine.get_signals_based_traps());
        assert!(engine.get_pooling_config().is_none(), "each file has memory of its own, given back with it");
        assert_eq!(engine.get_max_wasm_stack(), 512 << 10);
    }
}
