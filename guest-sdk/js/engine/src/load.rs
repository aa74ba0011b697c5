//! Load: the partner's file is evaluated, once, when the function is built.

use rquickjs::Value;
use serde::Serialize;

use crate::call::Ending;
use crate::engine::{self, script};

/// What loading came to.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loaded {
    /// The handlers that the file has.
    Handlers(Vec<String>),
    /// What it threw, with the place.
    Error {
        /// The error's name.
        name: String,
        /// Its message.
        message: String,
        /// Its stack, if it has one.
        stack: String,
    },
}

/// Evaluates a partner's file as a sloppy script. `name` is what stacks call it.
pub fn load(source: &str, name: &str) -> Loaded {
    engine::with(|engine, context| {
        let loaded: rquickjs::Result<Vec<String>> = (|| {
            engine.loading(context, source)?;
            context.eval_with_options::<Value, _>(source, script(name))?;
            while context.execute_pending_job() {}
            engine.loaded(context)
        })();
        match loaded {
            Ok(handlers) => Loaded::Handlers(handlers),
            Err(error) => thrown(engine, context, &error),
        }
    })
}

fn thrown(engine: &engine::Engine, context: &rquickjs::Ctx<'_>, error: &rquickjs::Error) -> Loaded {
    let unknown =
        || Loaded::Error { name: "InternalError".to_owned(), message: error.to_string(), stack: String::new() };
    if !error.is_exception() {
        return unknown();
    }
    let value = context.catch();
    let stack = value.as_exception().and_then(|exception| exception.stack()).unwrap_or_default();
    // The stack goes along, so the message need not name the place.
    let ending = engine.ending_of.clone().restore(context).and_then(|read| read.call::<_, Ending>((value, "")));
    match ending {
        Ok(Ending { name, message, .. }) => Loaded::Error { name, message, stack },
        Err(_) => unknown(),
    }
}

/// Memory for the host to write to.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "tidegate-js-alloc")]
extern "C" fn alloc(bytes: u32) -> *mut u8 {
    Vec::leak(vec![0; bytes as usize]).as_mut_ptr()
}

/// [`load`] for the host: takes two texts of its own writing, answers with the place of four bytes of length and a
/// [`Loaded`] as JSON.
///
/// # Safety
/// Both pairs must be text that was written to memory of `tidegate-js-alloc`.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "tidegate-js-load")]
unsafe extern "C" fn load_for_host(
    source: *const u8,
    source_bytes: u32,
    name: *const u8,
    name_bytes: u32,
) -> *const u8 {
    // SAFETY: the caller's promise.
    let [source, name] = unsafe {
        [(source, source_bytes), (name, name_bytes)]
            .map(|(text, bytes)| String::from_utf8_lossy(std::slice::from_raw_parts(text, bytes as usize)))
    };
    let json = serde_json::to_vec(&load(&source, &name)).unwrap_or_default();
    let mut answer = (json.len() as u32).to_le_bytes().to_vec();
    answer.extend(json);
    answer.leak().as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_loaded_to_its_handlers_or_to_what_it_throws() {
        let Loaded::Handlers(handlers) = load("const x = 1; async function onTrack() {}", "a.js") else { panic!() };
        assert_eq!(handlers, ["onTrack"]);
        let Loaded::Error { name, stack, .. } = load("\n  nowhere();", "b.js") else { panic!() };
        assert_eq!(name, "ReferenceError");
        assert!(stack.contains("b.js:2"), "{stack}");
        let Loaded::Error { name, stack, .. } = load("function (", "c.js") else { panic!() };
        assert_eq!(name, "SyntaxError");
        assert!(stack.contains("c.js:1"), "{stack}");
    }
}
