//! Before any event: a file of JavaScript or TypeScript becomes a syntax tree, whatever its author wrote.
//!
//! Guarantees: no text ends the process: one that could exhaust the stack is left unread. A file is a script unless
//! only a module may say what it says.
//! Leaves to others: what is wrong with it (`javascript_check`), what it becomes (`javascript_make`).

use std::path::Path;
use std::thread;

use oxc_allocator::Allocator;
use oxc_parser::{Parser, ParserReturn};
use oxc_span::SourceType;

use super::javascript_check::{Finding, Severity};

/// Bytes of stack for each byte of source: a text of `!` alone, the hungriest without brackets, takes under half.
const STACK_FOR_BYTE: usize = 4 << 10;

/// Bytes of stack beside that: what the brackets may take, with room to spare.
const STACK: usize = 64 << 20;

/// Bytes that are read. More would need more than a gigabyte of addresses for a stack; only bundles are larger.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// Brackets within brackets: the reader takes many functions deep for each, and people do not write a tenth of it.
pub(super) const MAX_DEPTH: usize = 500;

/// Does something that reads this text, on a stack that suffices for it.
///
/// # Errors
/// Why the text is left unread.
pub(super) fn reading<T: Send>(source: &str, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if source.len() > MAX_BYTES {
        return Err(format!("the file has {} bytes, more than the {MAX_BYTES} that are read", source.len()));
    }
    if depth(source) > MAX_DEPTH {
        return Err(format!("the file has brackets more than {MAX_DEPTH} deep"));
    }
    let stack = STACK + source.len() * STACK_FOR_BYTE;
    let done = thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(stack).spawn_scoped(scope, work);
        reader.ok().and_then(|reader| reader.join().ok())
    });
    done.ok_or_else(|| "the file could not be read".to_owned())
}

/// How deep brackets go, with those in texts and comments counted too: no less than how deep they are nested.
fn depth(source: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => now += 1,
            b')' | b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// Whether a file of this name is TypeScript.
pub(super) fn is_typescript(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "ts" || ending == "mts")
}

/// The file's tree. To be called within [`reading`].
///
/// # Errors
/// The first thing that is no JavaScript or TypeScript, with its place.
pub(super) fn parse<'a>(allocator: &'a Allocator, source: &'a str, file: &str) -> Result<ParserReturn<'a>, Finding> {
    let plain = if is_typescript(file) { SourceType::ts() } else { SourceType::mjs() };
    let script = Parser::new(allocator, source, plain.with_script(true)).parse();
    if !is_broken(&script) {
        return Ok(script);
    }
    let module = Parser::new(allocator, source, plain.with_module(true)).parse();
    if !is_broken(&module) {
        return Ok(module);
    }
    // Of two complaints, that of what the file means to be.
    let parsed = if module.module_record.has_module_syntax { module } else { script };
    let error = parsed.diagnostics.first();
    let at = error.and_then(|error| error.labels.first()).map_or(0, |label| label.offset() as usize);
    let message = error.map_or_else(|| "this is no JavaScript".to_owned(), ToString::to_string);
    Err(finding(source, file, at, Severity::Error, format!("SyntaxError: {message}")))
}

fn is_broken(parsed: &ParserReturn<'_>) -> bool {
    parsed.panicked || parsed.diagnostics.has_errors()
}

/// A finding at this byte of the text.
pub(super) fn finding(source: &str, file: &str, at: usize, severity: Severity, message: String) -> Finding {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Finding { file: file.to_owned(), line, column, severity, message }
}
