//! The runtime, its one context, and the functions of the prelude that calls go through.

use std::cell::{Cell, OnceCell};

use rquickjs::function::Func;
use rquickjs::{
    Atom, CatchResultExt, Context, Ctx, Exception, Function, Object, Persistent, Promise, Result, Runtime, Value,
    context::EvalOptions,
};
use tidegate_sdk::bindings::tidegate::destination::{clock, log};

use crate::text::Text;
use crate::{host, requests, uncaught};

/// The globals, as one function of the natives and the global object.
const PRELUDE: &str = include_str!(concat!(env!("OUT_DIR"), "/prelude.js"));

/// What the prelude is called in stacks; `errors.js` leaves such frames out.
const PRELUDE_NAME: &str = "tidegate-prelude";

/// Memory that a call may fill before the collector runs: an invocation is short, and its memory is thrown away whole.
const COLLECT_ABOVE: usize = 16 << 20;

/// Bytes that stand ready for a call, for small values and for large ones, so that most calls never make the instance's
/// memory grow: growing costs more than everything else that a small call does. What is not used is never mapped.
const READY_BYTES: usize = 256 << 10;

/// What a file can declare to be called for one event; `onBatch` is found by the prelude.
const HANDLERS: [&str; 7] = ["onTrack", "onIdentify", "onPage", "onScreen", "onGroup", "onAlias", "onDelete"];

/// What events of most customers name. The snapshot has these names, so a call need not make them; all others it makes.
const USUAL_NAMES: &str = "address advertising anonymousId app brand build campaign category channel city company content \
    context country coupon createdAt currency description device discount email event firstName groupId \
    height id integrations ip lastName library locale location manufacturer medium messageId model name \
    network order_id originalTimestamp os page path phone plan previousId price product_id products \
    properties quantity receivedAt referrer revenue screen search sentAt shipping sku source state tax \
    timestamp timezone title total traits type url userAgent userId value";

/// A function that outlives the moment.
type Kept = Persistent<Function<'static>>;

/// The engine, ready to load a file and then to be called: its one context, and what the prelude gives it.
pub struct Engine {
    context: Context,
    turn: Kept,
    loading: Kept,
    loaded: Kept,
    pub batch: Kept,
    pub choices: Kept,
    pub settled: Kept,
    pub unhandled: Kept,
    pub ending_of: Kept,
    pub received: Kept,
    pub redirect: Kept,
    pub fetch_error: Kept,
    promises: Persistent<Object<'static>>,
    file: OnceCell<File>,
}

/// What the file left.
struct File {
    handlers: Vec<(&'static str, Kept)>,
    /// What it wrote while it was loaded: the first lines of every call.
    lines: Vec<(log::Level, String)>,
}

thread_local! {
    // One thread and one engine for each instance; the snapshot keeps it. Never freed: the instance is thrown away whole.
    static ENGINE: OnceCell<&'static Engine> = const { OnceCell::new() };
    static LOADING: Cell<bool> = const { Cell::new(true) };
    static TIMERS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the file is still being loaded, while nothing may reach the world.
pub fn is_loading() -> bool {
    LOADING.get()
}

/// What is left of the world while a file is loaded: nothing.
pub fn after_loading(context: &Ctx<'_>, what: &str) -> Result<()> {
    if is_loading() {
        let message = format!("{what} is not available while the file is loaded; use it in a handler");
        return Err(Exception::throw_type(context, &message));
    }
    Ok(())
}

/// `wakeLater()`: from here on the prelude has timers, or had some.
pub fn wake_later() {
    TIMERS.set(true);
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
    fn new() -> std::result::Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        // Freeing it would find what the closures below hold; nothing of an engine is ever freed.
        std::mem::forget(runtime.clone());
        // The engine would measure its stack against an address that the snapshot moves. WebAssembly's own limit holds.
        runtime.set_max_stack_size(0);
        runtime.set_gc_threshold(COLLECT_ABOVE);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(|context, promise, reason, handled| {
            uncaught::rejected(&context, promise, reason, handled);
        })));
        let whole = Context::full(&runtime).map_err(|error| error.to_string())?;
        whole.with(|context| Self::of(whole.clone(), &context).catch(&context).map_err(|error| error.to_string()))
    }

    fn of(whole: Context, context: &Ctx<'_>) -> Result<Self> {
        let given = prelude(context)?;
        let function =
            |name: &str| Ok::<_, rquickjs::Error>(Persistent::save(context, given.get::<_, Function>(name)?));
        let promise: Object = context.globals().get("Promise")?;
        Ok(Self {
            context: whole,
            turn: function("turn")?,
            loading: function("loading")?,
            loaded: function("loaded")?,
            batch: function("batch")?,
            choices: function("choices")?,
            settled: function("settled")?,
            unhandled: function("unhandled")?,
            ending_of: function("endingOf")?,
            received: function("received")?,
            redirect: function("redirect")?,
            fetch_error: function("fetchError")?,
            promises: Persistent::save(context, promise.get::<_, Object>("prototype")?),
            file: OnceCell::new(),
        })
    }

    /// Begins loading: gives the file what this text of it needs.
    pub fn loading(&self, context: &Ctx<'_>, source: &str) -> Result<()> {
        self.loading.clone().restore(context)?.call((source,))
    }

    /// Ends loading: the names of the handlers that the file has. From here on natives reach the host.
    pub fn loaded(&self, context: &Ctx<'_>) -> Result<Vec<String>> {
        let given: Object = self.loaded.clone().restore(context)?.call(())?;
        let found: Object = given.get("handlers")?;
        let mut handlers = Vec::new();
        for name in HANDLERS {
            if let Some(handler) = found.get::<_, Option<Function>>(name)? {
                handlers.push((name, Persistent::save(context, handler)));
            }
        }
        let mut names: Vec<String> = handlers.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.extend(found.get::<_, Option<Function>>("onBatch")?.map(|_| "onBatch".to_owned()));
        let lines: Vec<Vec<Text>> = given.get("lines")?;
        let lines = lines.iter().filter_map(|line| match &line[..] {
            [level, text] => Some((host::level(&level.0), text.0.clone())),
            _ => None,
        });
        // A file is loaded once in an engine's life.
        let _ = self.file.set(File { handlers, lines: lines.collect() });
        self.make_ready(context)?;
        uncaught::forget();
        host::forget_random();
        LOADING.set(false);
        Ok(names)
    }

    /// The file's handler of this name.
    pub fn handler(&self, name: &str) -> Option<Kept> {
        let file = self.file.get()?;
        file.handlers.iter().find(|(known, _)| *known == name).map(|(_, handler)| handler.clone())
    }

    /// Writes what loading wrote, as if the file had been loaded for this call.
    pub fn tell_lines(&self) {
        for (level, text) in self.file.get().into_iter().flat_map(|file| &file.lines) {
            log::write(*level, text);
        }
    }

    /// A promise as the language makes them: what becomes of it can be seen without asking it. One that has another
    /// `then` must be asked.
    pub fn as_own_promise<'js>(&self, context: &Ctx<'js>, value: &Value<'js>) -> Result<Option<Promise<'js>>> {
        let Some(promise) = value.as_promise() else { return Ok(None) };
        let own = self.promises.clone().restore(context)?;
        Ok((promise.get_prototype().as_ref() == Some(&own)).then(|| promise.clone()))
    }

    /// Waits for a request or a timer, whichever is first, and lets it go on. `false` if there is neither.
    pub fn wait(&self, context: &Ctx<'_>) -> Result<bool> {
        let turn = |waited: bool| self.turn.clone().restore(context)?.call::<_, Option<f64>>((waited,));
        let pause = if TIMERS.get() { turn(false)? } else { None };
        if pause.is_some_and(|ms| ms < 0.0) {
            return Ok(true);
        }
        if requests::any() {
            if requests::wait(self, context, pause)? {
                return Ok(true);
            }
        } else {
            let Some(ms) = pause else { return Ok(false) };
            if ms > 0.0 {
                clock::sleep(ms.ceil() as u64);
            }
        }
        turn(true).map(|_| true)
    }

    /// Leaves the heap as a call likes to find it: without garbage, with room.
    fn make_ready(&self, context: &Ctx<'_>) -> Result<()> {
        for name in USUAL_NAMES.split(' ') {
            std::mem::forget(Atom::from_str(context.clone(), name)?);
        }
        context.run_gc();
        let room = context.eval_with_options::<Value, _>(format!("new ArrayBuffer({READY_BYTES})"), script("ready"))?;
        drop(room);
        context.run_gc();
        seal(context);
        Ok(())
    }
}

/// Fixes what there is: nothing of it is freed any more, nor are its uses counted, since every count that changes
/// makes an instance copy a page. A part of the engine's patch, which is made for WebAssembly only.
fn seal(context: &Ctx<'_>) {
    #[cfg(target_arch = "wasm32")]
    {
        unsafe extern "C" {
            fn JS_Seal(runtime: *mut rquickjs::qjs::JSRuntime, ready: usize) -> core::ffi::c_int;
        }
        // SAFETY: the runtime is the context's own, and lives; sealing changes no value, only what becomes of it.
        unsafe { JS_Seal(rquickjs::qjs::JS_GetRuntime(context.as_raw().as_ptr()), READY_BYTES) };
    }
    #[cfg(not(target_arch = "wasm32"))]
    let _ = context;
}

/// How partners' files and the prelude are evaluated: as sloppy scripts, whose declarations are globals.
pub fn script(name: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.global = true;
    options.strict = false;
    options.filename = Some(name.to_owned());
    options
}

fn prelude<'js>(context: &Ctx<'js>) -> Result<Object<'js>> {
    let globals = context.globals();
    let math: Object = globals.get("Math")?;
    math.set("random", Func::from(host::math_random))?;
    let function: Function = context.eval_with_options(PRELUDE, script(PRELUDE_NAME))?;
    function.call((host::natives(context)?, globals))
}
