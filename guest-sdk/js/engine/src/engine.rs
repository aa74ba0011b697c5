//! The runtime, its one context, and the functions of the prelude that calls go through.

use std::cell::{Cell, OnceCell, RefCell};

use rquickjs::function::Func;
use rquickjs::{CatchResultExt, Context, Ctx, Function, Object, Persistent, Runtime, Value, context::EvalOptions};

use crate::host;

/// The globals, as one function of the natives and the global object.
const PRELUDE: &str = include_str!(concat!(env!("OUT_DIR"), "/prelude.js"));

/// What the prelude is called in stacks; `errors.js` leaves such frames out.
const PRELUDE_NAME: &str = "tidegate-prelude";

/// Memory that a call may fill before the collector runs: an invocation is short, and its memory is thrown away whole.
const COLLECT_ABOVE: usize = 16 << 20;

/// Bytes that stand ready for a call, in the engine's own allocator and in Rust's, so that most calls never make the
/// instance's memory grow: growing costs more than everything else that a small call does.
const READY_BYTES: usize = 1 << 20;

/// The engine, ready to load a file and then to be called.
pub struct Engine {
    context: Context,
    pub dispatch: Persistent<Function<'static>>,
    pub pump: Persistent<Function<'static>>,
    unhandled: Persistent<Function<'static>>,
    pub handlers: Persistent<Function<'static>>,
    pub ending_of: Persistent<Function<'static>>,
}

thread_local! {
    // One thread and one engine for each instance; the snapshot keeps it. Never freed: the instance is thrown away whole.
    static ENGINE: OnceCell<&'static Engine> = const { OnceCell::new() };
    static LOADING: Cell<bool> = const { Cell::new(true) };
    static REJECTED: RefCell<Vec<(Persistent<Value<'static>>, Persistent<Value<'static>>)>> = const { RefCell::new(Vec::new()) };
}

/// Whether the file is still being loaded, while nothing may reach the world.
pub fn is_loading() -> bool {
    LOADING.get()
}

/// From here on natives reach the host.
pub fn loaded() {
    LOADING.set(false);
    host::forget_random();
}

/// Uses the engine, which is made at first use.
///
/// # Panics
/// If the prelude does not load: a fault of this crate's, which its tests would show.
pub fn with<T>(work: impl FnOnce(&Engine, &Ctx<'_>) -> T) -> T {
    ENGINE.with(|engine| {
        let engine = engine.get_or_init(|| Box::leak(Box::new(Engine::new().expect("the prelude loads"))));
        engine.context.with(|context| work(engine, &context))
    })
}

impl Engine {
    fn new() -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        // Freeing it would find what the closures below hold; nothing of an engine is ever freed.
        std::mem::forget(runtime.clone());
        // The engine would measure its stack against an address that the snapshot moves. WebAssembly's own limit holds.
        runtime.set_max_stack_size(0);
        runtime.set_gc_threshold(COLLECT_ABOVE);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(|context, promise, reason, handled| {
            let promise = Persistent::save(&context, promise);
            REJECTED.with_borrow_mut(|rejected| {
                rejected.retain(|(other, _)| *other != promise);
                if !handled {
                    rejected.push((promise, Persistent::save(&context, reason)));
                }
            });
        })));
        let context = Context::full(&runtime).map_err(|error| error.to_string())?;
        let mut engine = None;
        let prepared: Result<(), String> = context.with(|context| {
            let given: Object = prelude(&context).catch(&context).map_err(|error| error.to_string())?;
            let function = |name: &str| {
                let function: Function = given.get(name).map_err(|error| format!("`{name}`: {error}"))?;
                Ok::<_, String>(Persistent::save(&context, function))
            };
            engine = Some((
                function("dispatch")?,
                function("pump")?,
                function("unhandled")?,
                function("handlers")?,
                function("endingOf")?,
            ));
            Ok(())
        });
        prepared?;
        let (dispatch, pump, unhandled, handlers, ending_of) = engine.ok_or("the prelude gave nothing")?;
        Ok(Self { context, dispatch, pump, unhandled, handlers, ending_of })
    }

    /// Runs promises until none can go on, then tells the prelude of those that failed unseen.
    pub fn run_jobs(&self, context: &Ctx<'_>) -> rquickjs::Result<()> {
        loop {
            while context.execute_pending_job() {}
            let unseen = REJECTED.take();
            if unseen.is_empty() {
                return Ok(());
            }
            let unhandled = self.unhandled.clone().restore(context)?;
            for (_, reason) in unseen {
                unhandled.call::<_, ()>((reason.restore(context)?,))?;
            }
        }
    }

    /// Leaves the heap as a call likes to find it: without garbage, with room.
    pub fn make_ready(&self, context: &Ctx<'_>) -> rquickjs::Result<()> {
        context.run_gc();
        let room = context.eval_with_options::<Value, _>(format!("new ArrayBuffer({READY_BYTES})"), script("ready"))?;
        drop(room);
        drop(Vec::<u8>::with_capacity(READY_BYTES / 4));
        context.run_gc();
        Ok(())
    }
}

/// How partners' files and the prelude are evaluated: as sloppy scripts, whose declarations are globals.
pub fn script(name: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.global = true;
    options.strict = false;
    options.filename = Some(name.to_owned());
    options
}

fn prelude<'js>(context: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let globals = context.globals();
    let math: Object = globals.get("Math")?;
    math.set("random", Func::from(host::math_random))?;
    let function: Function = context.eval_with_options(PRELUDE, script(PRELUDE_NAME))?;
    function.call((host::natives(context)?, globals))
}
