//! What one invocation did, whatever its ending.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Ending, Limits};

/// What one invocation did and used. A guest's failure is in here too: it is a value, not an error.
#[derive(Clone, Debug)]
pub struct InvocationReport {
    /// How it ended.
    pub ending: Ending,
    /// Every request that it made, but for those that still waited for their turn when it ended, in the order of their starts.
    pub requests: Vec<Exchange>,
    /// What it logged, cut to its bounds.
    pub log: Vec<LogLine>,
    /// What it used.
    pub used: Used,
    /// What it might have used.
    pub limits: Limits,
}

/// One outbound request and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Upper-case method.
    pub method: String,
    /// The URL as the guest gave it.
    pub url: String,
    /// Header fields as the guest gave them, names in lower case.
    pub headers: Arc<[(String, String)]>,
    /// The request's body.
    pub body: Bytes,
    /// The response's status, if there was a response.
    pub status: Option<u16>,
    /// How long the partner asked to wait: the response's `retry-after` in seconds, if it had one.
    pub retry_after_secs: Option<u64>,
    /// The response's body.
    pub answer: Bytes,
    /// Why there was no response.
    pub error: Option<String>,
    /// Whether the gate refused it, so that nothing was sent.
    pub denied: bool,
    /// Wall time in milliseconds.
    pub ms: u64,
    /// When it was sent, from the invocation's beginning on.
    pub began: Duration,
    /// Wall time to the nanosecond.
    pub took: Duration,
}

/// How much a line of log matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only for debugging.
    Debug,
    /// Worth knowing.
    Info,
    /// Looks wrong but works.
    Warn,
    /// Does not work.
    Error,
}

/// One line that a guest wrote, escaped for terminals, or that the host adds about limits, in brackets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The text.
    pub text: String,
}

/// What an invocation used of its limits.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// Guest CPU time in milliseconds.
    pub cpu_ms: f64,
    /// Wall time in milliseconds.
    pub wall_ms: f64,
    /// The most bytes of memories, tables and handles at one time.
    pub memory_bytes: u64,
    /// Calls into the host.
    pub host_calls: u64,
    /// Outbound requests, also those whose turn did not come.
    pub requests: u32,
    /// Bytes from host to guest.
    pub bytes_in: u64,
    /// Bytes from guest to host.
    pub bytes_out: u64,
}
