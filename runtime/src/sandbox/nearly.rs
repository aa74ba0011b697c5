//! Limits that an invocation has not met, but nearly: whoever reads its log learns of them before they are.

use crate::model::{Limits, LogLevel, LogLine, Used};

/// Smaller limits are met by ordinary use: whoever may make one request makes one.
const SMALLEST: u64 = 5;

/// A line for each limit of which four fifths or more are used.
pub(super) fn nearly(used: &Used, limits: &Limits) -> impl Iterator<Item = LogLine> + use<> {
    let whole = |ms: f64| ms.round() as u64;
    [
        (whole(used.cpu_ms), limits.cpu_ms, "ms of CPU time", "cpu_ms"),
        (whole(used.wall_ms), limits.deadline_ms, "ms until its deadline", "deadline_ms"),
        (used.memory_bytes, limits.memory_bytes, "bytes of memory", "memory_bytes"),
        (used.host_calls, limits.host_calls, "calls to the host", "host_calls"),
        (used.requests.into(), limits.requests.into(), "requests", "requests"),
        (used.bytes_in, limits.bytes_in, "bytes from the host", "bytes_in"),
        (used.bytes_out, limits.bytes_out, "bytes to the host", "bytes_out"),
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

    #[test]
    fn four_fifths_of_a_limit_are_worth_a_line_that_names_it() {
        let limits = Limits { requests: 1, ..Limits::default() };
        let lines = |used: Used| nearly(&used, &limits).map(|line| line.text).collect::<Vec<_>>();
        assert!(lines(Used { cpu_ms: 79.4, host_calls: 799, requests: 1, ..Used::default() }).is_empty());
        assert_eq!(
            lines(Used { cpu_ms: 84.2, bytes_out: 8 << 20, ..Used::default() }),
            [
                "[nearly at a limit: used 84 of 100 ms of CPU time (`limits.cpu_ms`)]",
                "[nearly at a limit: used 8388608 of 8388608 bytes to the host (`limits.bytes_out`)]",
            ]
        );
    }
}
