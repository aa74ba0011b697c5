//! `wasi:cli`: no environment, no arguments, no input, no terminal. What is printed is log; to exit is to end without an
//! answer.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use thiserror::Error;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
    terminal_stdout,
};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::model::LogLevel;
use crate::sandbox::host::Run;
use crate::sandbox::log::LogBook;

/// The most bytes of one write: what a page of text has, and no reason for a guest to wait.
const WRITE: usize = 64 << 10;

/// A line that is longer by this than the log has room for goes there without its end, which ends the log: as much as it takes to
/// see a secret that begins where the log is cut.
const BEYOND: usize = 4 << 10;

/// The guest ended itself.
#[derive(Debug, Error)]
#[error("it exited with status {0} (`wasi:cli/exit`) instead of answering")]
pub(in crate::sandbox) struct Exited(u8);

/// What was printed and is not in the log yet.
#[derive(Default)]
pub(super) struct Console {
    out: Printed,
    err: Printed,
}

/// The text of one of the two streams; all handles to it write to the same place.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Console {
    /// Moves whole lines to the log, at the end also what is not a whole one.
    fn log(&self, log: &mut LogBook, end: bool) {
        for (printed, level) in [(&self.out, LogLevel::Info), (&self.err, LogLevel::Warn)] {
            // Nothing panics while it holds the lock.
            let mut text = printed.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut logged = 0;
            while let Some(length) = line(&text[logged..], log.room() + BEYOND, end) {
                let line = String::from_utf8_lossy(&text[logged..logged + length]);
                log.write(level, line.trim_end_matches(['\n', '\r']));
                logged += length;
            }
            text.drain(..logged);
        }
    }
}

/// How many bytes the first line has, if it is to be logged already.
fn line(text: &[u8], most: usize, end: bool) -> Option<usize> {
    match memchr::memchr(b'\n', text) {
        Some(at) => Some(at + 1),
        None if text.len() > most => Some(text.len()),
        None => (end && !text.is_empty()).then_some(text.len()),
    }
}

impl Run {
    /// Puts what the guest printed into the log, at the end of the invocation also what is not a whole line.
    pub(in crate::sandbox) fn log_printed(&mut self, end: bool) {
        if let Some(wasi) = &self.wasi {
            wasi.console.log(&mut self.log, end);
        }
    }

    fn stream(&mut self, printed: Printed) -> Result<Resource<DynOutputStream>> {
        self.called(0)?;
        let stream: DynOutputStream = Box::new(printed);
        Ok(self.table.push(stream)?)
    }
}

#[async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE {
            return Err(StreamError::trap("more was written at once than `check-write` allows"));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

impl environment::Host for Run {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        self.called(0)?;
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        self.called(0)?;
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        self.called(0)?;
        Ok(None)
    }
}

impl exit::Host for Run {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(Exited(u8::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, status: u8) -> Result<()> {
        Err(Exited(status).into())
    }
}

impl stdin::Host for Run {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        self.called(0)?;
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for Run {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        let out = self.wasi().console.out.clone();
        self.stream(out)
    }
}

impl stderr::Host for Run {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        let err = self.wasi().console.err.clone();
        self.stream(err)
    }
}

impl terminal_input::Host for Run {}

impl terminal_input::HostTerminalInput for Run {
    fn drop(&mut self, handle: Resource<terminal_input::TerminalInput>) -> Result<()> {
        Ok(self.table.delete(handle).map(drop)?)
    }
}

impl terminal_output::Host for Run {}

impl terminal_output::HostTerminalOutput for Run {
    fn drop(&mut self, handle: Resource<terminal_output::TerminalOutput>) -> Result<()> {
        Ok(self.table.delete(handle).map(drop)?)
    }
}

impl terminal_stdin::Host for Run {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<terminal_input::TerminalInput>>> {
        self.called(0)?;
        Ok(None)
    }
}

impl terminal_stdout::Host for Run {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        self.called(0)?;
        Ok(None)
    }
}

impl terminal_stderr::Host for Run {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        self.called(0)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Limits;

    #[test]
    fn lines_are_logged_when_they_are_whole_or_long_or_the_last() {
        let limits = Limits { log_bytes: 1 << 10, ..Limits::default() };
        let (console, mut log) = (Console::default(), LogBook::new(&limits, crate::sandbox::log::tests::outlet()));
        let mut print = |text: &str, end: bool| {
            console.out.clone().write(Bytes::copy_from_slice(text.as_bytes())).unwrap();
            console.log(&mut log, end);
        };
        print("one\ntwo\r\nth", false);
        print("ree\n", false);
        print("last", true);
        console.err.clone().write(Bytes::from_static(b"\xff")).unwrap();
        console.log(&mut log, true);
        // Without an end it waits until the log has no room for it anyway, and ends that.
        let room = log.room();
        let long = "x".repeat(room - 8);
        let mut print = |text: &str| {
            console.out.clone().write(Bytes::copy_from_slice(text.as_bytes())).unwrap();
            console.log(&mut log, false);
            log.room()
        };
        assert_eq!((print(&long), print(" s3cr€t"), print("-1234")), (room, room, room));
        print(&"x".repeat(BEYOND));
        print("\nno more");
        let lines = log.finish(&limits);
        let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        assert_eq!(texts[..6], ["one", "two", "three", "last", "\u{fffd}", &format!("{long} {{secret")]);
        assert!(texts.len() == 7 && texts[6].starts_with("[log cut"), "{}", texts[6]);
        assert_eq!(lines[4].level, LogLevel::Warn);
    }

    #[test]
    fn no_write_is_larger_than_was_said() {
        let mut out = Printed::default();
        assert!(out.write(vec![b'\n'; WRITE].into()).is_ok());
        assert!(out.write(vec![b'\n'; WRITE + 1].into()).is_err());
    }
}
