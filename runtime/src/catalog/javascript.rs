//! Before any event: a partner's JavaScript becomes a core module, in this process and without any tool.
//!
//! Guarantees: the file is evaluated once, with nothing of the world in reach; what it throws is reported with its
//! place; a file without a manifest gets one that reaches nothing.
//! Leaves to others: the engine's limits (`sandbox`), what an invocation may do.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;

use super::javascript_check::{Finding, Severity};
use crate::sandbox::{BUILT, Preinitialiser, SnapshotError, SourceMap};

/// `guest-sdk/js/engine`, compiled. Empty if this program was built without it.
static ENGINE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/js-engine.wasm"));

/// Bytes of one file: what fits twice into the memory that it may leave, as text and as code.
pub const MAX_SOURCE_BYTES: usize = 8 << 20;

/// What a file can declare to be called.
pub(super) const HANDLERS: [&str; 9] =
    ["onTrack", "onIdentify", "onPage", "onScreen", "onGroup", "onAlias", "onDelete", "onBatch", "onChoices"];

/// Why a file does not become a module.
#[derive(Debug, thiserror::Error)]
pub enum JavaScriptError {
    /// This program cannot.
    #[error(
        "this `tidegate` was built without its JavaScript engine; in a checkout, `cargo xtask guests` builds it with one"
    )]
    NoEngine,
    /// Too much of it.
    #[error("`{name}` has {bytes} bytes: at most {MAX_SOURCE_BYTES} are taken")]
    TooLarge {
        /// The file.
        name: String,
        /// How many it has.
        bytes: usize,
    },
    /// The file throws, or is no JavaScript.
    #[error("`{name}` cannot be loaded: {error}: {message}{place}")]
    Thrown {
        /// The file.
        name: String,
        /// The error's name.
        error: String,
        /// Its message.
        message: String,
        /// Where, if it is known.
        place: Place,
    },
    /// No handler.
    #[error(
        "`{0}` has no handler: declare `async function onTrack(event, settings)`, or one of onIdentify, onPage, \
         onScreen, onGroup, onAlias, onDelete"
    )]
    NoHandler(String),
    /// Loading it was stopped.
    #[error("`{name}`: {error}")]
    Stopped {
        /// The file.
        name: String,
        /// How.
        error: SnapshotError,
    },
}

/// A place in the file, shown as ` at FILE:LINE:COLUMN`; nothing if it is not known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    file: String,
    /// Line, then column, each from 1; as many as are known.
    numbers: Vec<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.numbers.is_empty() {
            write!(f, " at {}", self.file)?;
        }
        self.numbers.iter().try_for_each(|number| write!(f, ":{number}"))
    }
}

impl JavaScriptError {
    /// The error as a finding, if it is one of the file.
    pub fn finding(&self) -> Option<Finding> {
        let at = |file: &str, line: usize, column: usize, message: String| {
            Some(Finding { file: file.to_owned(), line, column, severity: Severity::Error, message })
        };
        match self {
            Self::NoEngine | Self::TooLarge { .. } => None,
            Self::Thrown { name, error, message, place } => {
                let number = |index: usize| place.numbers.get(index).copied().unwrap_or(1);
                let file = if place.file.is_empty() { name } else { &place.file };
                at(file, number(0), number(1), format!("{error}: {message}"))
            }
            Self::NoHandler(name) | Self::Stopped { name, .. } => at(name, 1, 1, self.to_string()),
        }
    }
}

/// A file that was loaded.
pub struct Script {
    /// A core module that begins where loading ended.
    pub module: Vec<u8>,
    /// The handlers that it has, such as `onTrack`.
    pub handlers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Loaded {
    Handlers(Vec<String>),
    Error { name: String, message: String, stack: String },
}

/// Loads a file. `name` is what messages call it; where its text was made of other files, `map` says of which.
///
/// # Errors
/// If it is too large, throws, runs for too long, or has no handler.
pub fn load(source: &str, name: &str, map: Option<&SourceMap>) -> Result<Script, JavaScriptError> {
    static READY: OnceLock<Result<Preinitialiser, SnapshotError>> = OnceLock::new();
    if ENGINE.is_empty() {
        return Err(JavaScriptError::NoEngine);
    }
    if source.len() > MAX_SOURCE_BYTES {
        return Err(JavaScriptError::TooLarge { name: name.to_owned(), bytes: source.len() });
    }
    let stopped = |error| JavaScriptError::Stopped { name: name.to_owned(), error };
    let ready = READY.get_or_init(|| Preinitialiser::new(ENGINE));
    let called = if map.is_some() { BUILT } else { name };
    let snapshot = ready.as_ref().map_err(|error| stopped(error.clone()))?.load(source, called).map_err(stopped)?;
    let broken = |error: serde_json::Error| stopped(SnapshotError::Engine(error.to_string()));
    match serde_json::from_slice(&snapshot.answer).map_err(broken)? {
        Loaded::Handlers(said) => {
            let handlers = known(&said);
            if handlers.is_empty() {
                return Err(JavaScriptError::NoHandler(name.to_owned()));
            }
            Ok(Script { module: snapshot.module, handlers })
        }
        Loaded::Error { name: error, message, stack } => {
            let message = map.map_or(message.clone(), |map| map.rewrite(&message).into_owned());
            Err(JavaScriptError::Thrown { name: name.to_owned(), error, message, place: place(&stack, called, map) })
        }
    }
}

/// The handlers among what the engine says. The file ran in the same world and may have had a hand in the list.
fn known(said: &[String]) -> Vec<String> {
    HANDLERS.into_iter().filter(|handler| said.iter().any(|one| one == handler)).map(str::to_owned).collect()
}

/// The first place in the file that a stack names: `at f (FILE:LINE:COLUMN)` or `at FILE:LINE:COLUMN`. With a table, the
/// first that it knows.
fn place(stack: &str, file: &str, map: Option<&SourceMap>) -> Place {
    let numbers = |text: &str| -> Vec<usize> {
        let end = text.find(|character: char| !character.is_ascii_digit() && character != ':').unwrap_or(text.len());
        text[..end].split(':').map_while(|number| number.parse().ok()).take(2).collect()
    };
    let mut all =
        stack.lines().filter_map(|line| line.split_once(&format!("{file}:")).map(|(_, after)| numbers(after)));
    let Some(map) = map else { return Place { file: file.to_owned(), numbers: all.next().unwrap_or_default() } };
    let known = all.find_map(|numbers| map.original(*numbers.first()?, numbers.get(1).copied().unwrap_or(1)));
    let known = known.map(|(file, line, column)| Place { file: file.to_owned(), numbers: vec![line, column] });
    known.unwrap_or_default()
}

/// The name of a function whose file has no manifest: the file's, with hyphens for what a name cannot have.
pub fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let name: String = stem.chars().map(plain).take(super::manifest::MAX_NAME).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "function".to_owned() } else { name.to_owned() }
}

/// The version of a function whose file has no manifest, where nobody counts them.
pub const FIRST_VERSION: &str = "0.1.0";

/// The manifest of a file that has none: named after the file, of this version, for the events that it has handlers for, reaching
/// nothing, with settings that nobody checks.
pub fn manifest_of(file: &Path, version: &str, handlers: &[String]) -> String {
    let name = name_of(file);
    let all = ["track", "identify", "page", "screen", "group", "alias", "delete"];
    let is_for =
        |handler: &str, event: &str| handler.strip_prefix("on").is_some_and(|one| one.eq_ignore_ascii_case(event));
    let has = |event: &&str| handlers.iter().any(|handler| is_for(handler, event));
    let single: Vec<&str> = all.into_iter().filter(has).collect();
    let batch = handlers.iter().any(|handler| handler == "onBatch");
    let events = if single.is_empty() { all.to_vec() } else { single };
    // What single calls of a batch handler's function need is its own affair: twenty events are Segment's default.
    let batch = if batch { "[batch]\nmax_events = 20\nmax_wait_ms = 10000\n" } else { "" };
    format!("name = \"{name}\"\nversion = \"{version}\"\nevents = {events:?}\nopen_settings = true\n{batch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_manifest_gets_one_that_reaches_nothing() {
        let manifest = |file: &str, handlers: &[&str]| {
            let handlers: Vec<String> = handlers.iter().map(|&handler| handler.to_owned()).collect();
            super::super::manifest::parse(&manifest_of(Path::new(file), FIRST_VERSION, &handlers)).unwrap()
        };
        let made = manifest("a/My Function.js", &["onTrack", "onDelete"]);
        assert_eq!((&*made.name, made.events.len(), made.egress.allow.len()), ("my-function", 2, 0));
        assert!(made.open_settings && made.batch.is_none());
        let made = manifest("é.js", &["onBatch"]);
        assert_eq!(
            (&*made.name, made.events.len(), made.batch.map(|batch| batch.max_events)),
            ("function", 7, Some(20))
        );
    }

    #[test]
    fn only_names_of_handlers_are_taken_from_the_engine() {
        let said = ["x", "", "é", "onEvil", "onBatch", "onTrack", "onTrack"].map(str::to_owned);
        assert_eq!(known(&said), ["onTrack", "onBatch"]);
        assert!(known(&[]).is_empty());
    }

    #[test]
    fn a_file_that_is_tested_with_node_needs_no_change() {
        let cases = [
            ("async function onTrack() {}\nif (module) {\n  module.exports = { onTrack };\n}", vec!["onTrack"]),
            (
                "'use strict';\nmodule.exports.onPage = async () => {};\nexports.onTrack = () => {};",
                vec!["onTrack", "onPage"],
            ),
            ("const module = { exports: { onPage() {} } };", vec!["onPage"]),
            // A library in the file puts its name where the file looks for it.
            (
                "(function (root, make) { typeof module === 'object' ? (module.exports = make()) : (root.lib = make()); })\
                 (this, () => 1);\nlib + 1; function onTrack() {}",
                vec!["onTrack"],
            ),
        ];
        for (source, handlers) in cases {
            assert_eq!(load(source, "a.js", None).unwrap().handlers, handlers, "{source}");
        }
        let asked =
            load("if (typeof module !== 'undefined') throw new Error('found'); function onTrack() {}", "a.js", None);
        assert!(asked.is_ok());
    }

    #[test]
    fn a_place_is_the_first_line_of_the_stack_in_the_file() {
        let stack = "    at throwing (native)\n    at f (handler.js:3:10)\n    at <eval> (handler.js:9:1)\n";
        let shown = |stack: &str| place(stack, "handler.js", None).to_string();
        assert_eq!(shown(stack), " at handler.js:3:10");
        assert_eq!(shown("    at handler.js:1\n"), " at handler.js:1");
        assert_eq!(shown(""), "");
    }
}
