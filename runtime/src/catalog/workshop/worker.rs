//! The process that checks and compiles one upload: `tidegate compile-worker`.
//!
//! Guarantees: it bounds itself before it reads a byte of the upload; it opens no file and no socket, and ends with
//! its one answer. A crash of it, whatever the upload did, costs that upload alone.

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::wire::{self, Job, Refusal, Reply, Wrong};
use crate::catalog::build::{BuildError, Description, build_described};
use crate::catalog::javascript::FIRST_VERSION;
use crate::catalog::{inspect, structure};
use crate::sandbox::{self, CompileError, MAX_KNOWN};

/// Bytes of a whole job: a component with what is known of an earlier one, and a megabyte for what says so.
const MAX_JOB: u64 = (structure::MAX_BYTES + MAX_KNOWN + (1 << 20)) as u64;

/// Addresses that the process may reserve: its engine's pools, most of which is never memory.
const ADDRESSES: u64 = 64 << 30;

/// Bytes of one file. The engine puts the memory that a function begins with into one without a name: a snapshot of
/// JavaScript has at most 32 MiB, and so has what comes in a component.
const IMAGE_BYTES: u64 = 64 << 20;

/// How much it stands back behind the process that serves, where both want a processor: a tenth of what guests get, who
/// stand back themselves, is left to it.
const NICE: i32 = 15;

/// Bounds of the process.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds of processor time, over all threads.
    pub cpu_s: u64,
    /// Bytes of memory that can be written: heap, stacks and what is reserved of both.
    pub memory_bytes: u64,
}

/// The answer to one job: a head and the byte strings beside it.
struct Answer {
    reply: Reply,
    component: Vec<u8>,
    code: Vec<u8>,
    known: Vec<u8>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, component: Vec::new(), code: Vec::new(), known: Vec::new() }
    }
}

/// Reads a job from standard input, does it within these bounds, and writes the answer to standard output.
///
/// # Errors
///
/// The bounds cannot be set, or a pipe is broken: then nobody waits for an answer.
pub fn work(bounds: Bounds) -> io::Result<()> {
    confine(bounds)?;
    let mut message = Vec::new();
    io::stdin().lock().take(MAX_JOB + 1).read_to_end(&mut message)?;
    let Answer { reply, component, code, known } = answer(message.into());
    let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let head = wire::head(&reply, &[&component, &code, &known]).map_err(broken)?;
    let mut out = io::stdout().lock();
    for piece in [head, component, code, known] {
        out.write_all(&piece)?;
    }
    out.flush()
}

/// From here on: no more than this, no core file with a partner's code in it, and no file larger than an image.
fn confine(bounds: Bounds) -> io::Result<()> {
    // A courtesy, which not every system allows.
    let _ = nice(NICE);
    let all = [
        // At the first limit the process gets a signal that names it, a second later it is killed.
        (Resource::Cpu, bounds.cpu_s, bounds.cpu_s + 1),
        (Resource::Data, bounds.memory_bytes, bounds.memory_bytes),
        (Resource::As, ADDRESSES, ADDRESSES),
        (Resource::Core, 0, 0),
        (Resource::Fsize, IMAGE_BYTES, IMAGE_BYTES),
    ];
    for (resource, current, maximum) in all {
        setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?;
    }
    Ok(())
}

fn answer(message: Bytes) -> Answer {
    // What panics is told as an error; the hook's text would go to nobody.
    std::panic::set_hook(Box::new(|_| ()));
    let done = catch_unwind(AssertUnwindSafe(|| match wire::read(message) {
        Ok((job, [bytes, known])) => make(job, &bytes, &known).unwrap_or_else(Answer::from),
        Err(error) => Reply::Failed(error.to_string()).into(),
    }));
    done.unwrap_or_else(|panic| Reply::Failed(text_of(&*panic)).into())
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

fn make(job: Job, bytes: &[u8], known: &[u8]) -> Result<Answer, Reply> {
    let refused = |what, message, findings| Reply::Refused(Refusal { what, message, findings });
    let built = match job {
        Job::Component => None,
        Job::Source { file, manifest, version, follows } => {
            let manifest = manifest.as_deref();
            let manifest =
                if follows { manifest.map(Description::Following) } else { manifest.map(Description::Whole) };
            let version = version.as_deref().unwrap_or(FIRST_VERSION);
            Some(source(bytes, &file, manifest.unwrap_or(Description::Version(version)))?)
        }
    };
    let (component, manifest, inspection, findings) = match built {
        Some(built) => (built.component, Box::new(built.manifest), built.inspection, built.findings),
        None => {
            let inspected = inspect(bytes).map_err(|error| refused(Wrong::Component, error.to_string(), Vec::new()))?;
            (Vec::new(), Box::new(inspected.manifest), inspected.inspection, inspected.findings)
        }
    };
    // Only what is built here shares its code with others: the language's engine, which this program brought along.
    let (code_of, beside) = if component.is_empty() { (bytes, None) } else { (&component[..], Some(known)) };
    let compiled = sandbox::compile(code_of, beside).map_err(|error| match error {
        CompileError::Unusable(why) => {
            refused(Wrong::Component, format!("this component cannot be run here: {why}"), Vec::new())
        }
        CompileError::Memory => Reply::NoMemory,
    })?;
    let (code, known) = (compiled.code, compiled.known.unwrap_or_default());
    Ok(Answer { reply: Reply::Made { manifest, inspection, findings }, component, code, known })
}

fn source(bytes: &[u8], file: &str, manifest: Description<'_>) -> Result<crate::catalog::Built, Reply> {
    let refused = |what, message, findings| Reply::Refused(Refusal { what, message, findings });
    let text = std::str::from_utf8(bytes).map_err(|error| {
        refused(Wrong::Source, format!("`{file}` is not UTF-8: {error}; save it as UTF-8"), Vec::new())
    })?;
    build_described(text, Path::new(file), manifest).map_err(|error| {
        let message = error.to_string();
        match error {
            BuildError::Findings(findings) => refused(Wrong::Source, seen_below(file), findings),
            BuildError::JavaScript(error) => match error.finding() {
                Some(finding) => refused(Wrong::Source, seen_below(file), vec![finding]),
                None if matches!(error, crate::catalog::javascript::JavaScriptError::NoEngine) => {
                    refused(Wrong::NoEngine, message, Vec::new())
                }
                None => refused(Wrong::Source, message, Vec::new()),
            },
            BuildError::Manifest(_) | BuildError::Settings(_) => refused(Wrong::Manifest, message, Vec::new()),
            BuildError::Component(_) | BuildError::Refused(_) => refused(Wrong::Component, message, Vec::new()),
            BuildError::Io { .. }
            | BuildError::NoCode(_)
            | BuildError::NoTarget { .. }
            | BuildError::Cargo { .. }
            | BuildError::Bundle(_)
            | BuildError::NoPython { .. }
            | BuildError::Python { .. }
            | BuildError::NoModule(_) => Reply::Failed(message),
        }
    })
}

/// The message beside findings, which are shown with it.
fn seen_below(file: &str) -> String {
    format!("`{file}` cannot be built: the findings say where and why")
}
