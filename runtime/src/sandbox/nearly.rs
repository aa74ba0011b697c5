//! Limits that an invocation has not met, but nearly: whoever reads its log learns of them before they are.
//!
//! All of them but `concurrent_requests`, which nobody meets: a request beyond it waits for its turn.

use crate::model::{Limits, LogLevel, LogLine, Used};

use super::requests::Largest;

/// Smaller limits are met by ordinary use: whoever may make one request makes one.
const SMALLEST: u64 = 5;

/// The most that an invocation had of everything.
pub(super) struct Peaks<'u> {
    pub(super) used: &'u Used,
    pub(super) handles: u64,
    /// Lines and bytes.
    pub(super) log: (u64, u64),
    pub(super) largest: Largest,
}

/// A line for each limit of which four fifths or more are used.
pub(super) fn nearly(peaks: &Peaks<'_>, limits: &Limits) -> impl Iterator<Item = LogLine> + use<> {
    let whole = |ms: f64| ms.round() as u64;
    let Peaks { used, handles, log, largest } = peaks;
    [
        (whole(used.cpu_ms), limits.cpu_ms, "ms of CPU time", "cpu_ms"),
        (whole(used.wall_ms), limits.deadline_ms, "ms until its deadline", "deadline_ms"),
        (used.memory_bytes, limits.memory_bytes, "bytes of memory", "memory_bytes"),
        (used.host_calls, limits.host_calls, "calls to the host", "host_calls"),
        (used.requests.into(), limits.requests.into(), "requests", "requests"),
        (used.bytes_in, limits.bytes_in, "bytes from the host", "bytes_in"),
        (used.bytes_out, limits.bytes_out, "bytes to the host", "bytes_out"),
        (largest.body_bytes as u64, limits.response_body_bytes, "bytes in one response's body", "response_body_bytes"),
        (largest.headers as u64, limits.response_headers.into(), "header fields in one response", "response_headers"),
        (
            largest.header_bytes as u64,
            limits.response_header_bytes.into(),
            "bytes in one response's header fields",
            "response_header_bytes",
        ),
        (log.0, limits.log_lines.into(), "lines of log", "log_lines"),
        (log.1, limits.log_bytes.into(), "bytes of log", "log_bytes"),
        (*handles, limits.handles.into(), "handles at one time", "handles"),
    ]
    .into_iter()
    .filter(|(used, most, ..)| *most >= SMALLEST && used.saturating_mul(5) >= most.saturating_mul(4))
    .map(|(used, most, what, name)| LogLine {
        level: LogLevel::Warn,
        text: format!("[nearly at a limit: used {used} of {most} {what} (`limits.{name}`)]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(used: Used, more: impl FnOnce(&mut Peaks<'_>)) -> Vec<String> {
        let limits = Limits { requests: 1, ..Limits::default() };
        let mut peaks = Peaks { used: &used, handles: 0, log: (0, 0), largest: Largest::default() };
        more(&mut peaks);
        nearly(&peaks, &limits).map(|line| line.text).collect()
    }

    #[test]
    fn four_fifths_of_a_limit_are_worth_a_line_that_names_it() {
        let little = Used { cpu_ms: 79.4, host_calls: 799, requests: 1, ..Used::default() };
        assert!(lines(little, |_| {}).is_empty());
        assert_eq!(
            lines(Used { cpu_ms: 84.2, bytes_out: 8 << 20, ..Used::default() }, |_| {}),
            [
                "[nearly at a limit: used 84 of 100 ms of CPU time (`limits.cpu_ms`)]",
                "[nearly at a limit: used 8388608 of 8388608 bytes to the host (`limits.bytes_out`)]",
            ]
        );
    }

    #[test]
    fn every_limit_that_can_be_met_is_warned_of() {
        let all = lines(
            Used {
                cpu_ms: 1e9,
                wall_ms: 1e9,
                memory_bytes: u64::MAX,
                host_calls: u64::MAX,
                requests: u32::MAX,
                bytes_in: u64::MAX,
                bytes_out: u64::MAX,
            },
            |peaks| {
                (peaks.handles, peaks.log) = (u64::MAX, (u64::MAX, u64::MAX));
                peaks.largest = Largest { body_bytes: usize::MAX, headers: usize::MAX, header_bytes: usize::MAX };
            },
        );
        let names = serde_json::to_value(Limits::default()).unwrap();
        let names = names.as_object().unwrap().keys();
        // One request of one is no warning.
        for name in names.filter(|name| !["concurrent_requests", "requests"].contains(&name.as_str())) {
            assert!(all.iter().any(|line| line.contains(&format!("(`limits.{name}`)"))), "{name} in {all:?}");
        }
    }
}
