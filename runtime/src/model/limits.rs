//! What one invocation may use. Every number says why it is that number.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FunctionId;

/// The maxima of one invocation. There is no value for "unlimited".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall time over everything the invocation does, in milliseconds.
    pub deadline_ms: u64,
    /// Guest CPU time, host calls made by the guest included, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes of memories, tables and handles together.
    pub memory_bytes: u64,
    /// Calls into the host.
    pub host_calls: u64,
    /// Outbound requests.
    pub requests: u32,
    /// Outbound requests under way at the same time.
    pub concurrent_requests: u32,
    /// Bytes from host to guest, summed.
    pub bytes_in: u64,
    /// Bytes from guest to host, summed.
    pub bytes_out: u64,
    /// Bytes of one response's body, after decompression.
    pub response_body_bytes: u64,
    /// Header fields of one response.
    pub response_headers: u32,
    /// Bytes of one response's header fields.
    pub response_header_bytes: u32,
    /// Lines of log.
    pub log_lines: u32,
    /// Bytes of log.
    pub log_bytes: u32,
    /// Resource handles alive at the same time.
    pub handles: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What partners of comparable systems write their code for.
            deadline_ms: 5_000,
            // A handler that formats a request takes under 1 ms; 100 leaves room for large batches.
            cpu_ms: 100,
            // A JavaScript heap with a full batch stays under 32 MiB.
            memory_bytes: 64 << 20,
            // 32 requests, 64 log lines and some clock readings, ten times over.
            host_calls: 1_000,
            // One request an event is the rule; a batch may need some.
            requests: 32,
            // What browsers allow themselves to one host, and few enough to be fair.
            concurrent_requests: 4,
            // A batch of 100 events of 32 KB and its responses.
            bytes_in: 8 << 20,
            // The same the other way.
            bytes_out: 8 << 20,
            // Partner APIs answer in kilobytes.
            response_body_bytes: 1 << 20,
            // Twice what chatty API gateways send.
            response_headers: 64,
            // Common servers send 8 KiB at most; proxies double it.
            response_header_bytes: 32 << 10,
            // Enough to follow one event, too few to be a log shipper.
            log_lines: 64,
            // 256 bytes a line on average.
            log_bytes: 16 << 10,
            // 32 pending requests, or what 32 requests through WASI have of headers, bodies and streams.
            handles: 256,
        }
    }
}

/// The most that functions may use: the same for all, but for the CPU time of those to which the operator gives another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ceilings {
    /// What holds for every function.
    pub all: Limits,
    /// CPU time of single ones, in milliseconds, in the place of [`Limits::cpu_ms`].
    pub cpu_ms: BTreeMap<FunctionId, u64>,
}

impl Ceilings {
    /// What this function may use at the most.
    pub fn of(&self, function: FunctionId) -> Cow<'_, Limits> {
        match self.cpu_ms.get(&function) {
            Some(cpu_ms) => Cow::Owned(Limits { cpu_ms: *cpu_ms, ..self.all.clone() }),
            None => Cow::Borrowed(&self.all),
        }
    }
}

/// The name of a limit, as it appears in configuration, messages and reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// See [`Limits::cpu_ms`].
    CpuMs,
    /// See [`Limits::memory_bytes`].
    MemoryBytes,
    /// See [`Limits::host_calls`].
    HostCalls,
    /// See [`Limits::bytes_in`].
    BytesIn,
    /// See [`Limits::bytes_out`].
    BytesOut,
    /// See [`Limits::handles`].
    Handles,
    /// The guest's stack: deep recursion. Fixed by the host, not configurable for each function.
    Stack,
}

impl Limit {
    /// The configuration key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CpuMs => "cpu_ms",
            Self::MemoryBytes => "memory_bytes",
            Self::HostCalls => "host_calls",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::Handles => "handles",
            Self::Stack => "stack",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn the_operator_gives_single_functions_another_cpu_time_and_nothing_else() {
        let [one, other] = [1, 2].map(|ms| FunctionId::new(Timestamp::from_millis(ms)));
        let ceilings = Ceilings { all: Limits::default(), cpu_ms: [(one, 700)].into() };
        assert_eq!(*ceilings.of(one), Limits { cpu_ms: 700, ..Limits::default() });
        assert_eq!(*ceilings.of(other), Limits::default());
    }
}
