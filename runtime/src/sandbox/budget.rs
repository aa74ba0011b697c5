//! The counters of one invocation, and the words for what happens when one of them is used up.
//!
//! Guarantees: every counter is a sum over the whole invocation; every message names the limit, its value and what
//! would raise it.

use thiserror::Error;

use crate::model::{Limit, Limits};

use super::cpu::CpuMeter;
use super::engine::MAX_WASM_STACK;

/// A budget that is used up. Ends the invocation.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub(super) struct LimitHit {
    pub(super) limit: Limit,
    pub(super) message: String,
}

impl LimitHit {
    /// The message is the same wherever the limit is noticed.
    pub(super) fn new(limit: Limit, limits: &Limits) -> Self {
        let said = match limit {
            Limit::CpuMs => format!("the function used more than {} ms of CPU time", limits.cpu_ms),
            Limit::MemoryBytes => format!("the function wanted more than {} bytes of memory", limits.memory_bytes),
            Limit::HostCalls => format!("the function called the host more than {} times", limits.host_calls),
            Limit::BytesIn => format!("the host would have given the function more than {} bytes", limits.bytes_in),
            Limit::BytesOut => format!("the function gave the host more than {} bytes", limits.bytes_out),
            Limit::Handles => format!("the function held more than {} handles", limits.handles),
            Limit::Stack => {
                format!("the function's calls nested deeper than its stack of {} KiB", MAX_WASM_STACK >> 10)
            }
        };
        let name = limit.as_str();
        let knob = match limit {
            Limit::CpuMs | Limit::MemoryBytes => {
                format!("ask for more with `limits.{name}` in function.toml, within the operator's `limits.{name}`")
            }
            Limit::HostCalls | Limit::BytesIn | Limit::BytesOut | Limit::Handles => {
                format!("only the operator's `limits.{name}` raises it")
            }
            Limit::Stack => "the limit `stack` is fixed: recurse less deeply".to_owned(),
        };
        Self { limit, message: format!("{said}; {knob}") }
    }
}

/// Counts what crosses between host and guest, and looks at the time whenever something does: a guest that computes in pieces too
/// short for the epoch's clock, or has the host compute for it, is stopped all the same.
pub(super) struct Budget {
    limits: Limits,
    cpu: CpuMeter,
    host_calls: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Budget {
    /// The meter is the one of the same invocation.
    pub(super) fn new(limits: Limits, cpu: CpuMeter) -> Self {
        Self { limits, cpu, host_calls: 0, bytes_in: 0, bytes_out: 0 }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn host_calls(&self) -> u64 {
        self.host_calls
    }

    /// Bytes from host to guest so far.
    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Bytes from guest to host so far.
    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// One call into the host that brings this many bytes.
    pub(super) fn host_call(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.host_calls += 1;
        self.calls()?;
        self.time()?;
        self.guest_gives(bytes)
    }

    /// Whether there is CPU time left. To be asked while the invocation is polled.
    pub(super) fn time(&self) -> Result<(), LimitHit> {
        self.within(self.cpu.used_ns_now())
    }

    /// The same once it is over.
    pub(super) fn time_in_all(&self) -> Result<(), LimitHit> {
        self.within(self.cpu.used_ns())
    }

    fn within(&self, used_ns: u64) -> Result<(), LimitHit> {
        if used_ns > self.limits.cpu_ms.saturating_mul(1_000_000) {
            return Err(LimitHit::new(Limit::CpuMs, &self.limits));
        }
        Ok(())
    }

    /// One call that has no way to fail: see [`Self::calls`].
    pub(super) fn unrefusable_call(&mut self) {
        self.host_calls += 1;
    }

    /// Whether there were no more calls than there may be.
    pub(super) fn calls(&self) -> Result<(), LimitHit> {
        if self.host_calls > self.limits.host_calls {
            return Err(LimitHit::new(Limit::HostCalls, &self.limits));
        }
        Ok(())
    }

    /// Bytes from guest to host.
    pub(super) fn guest_gives(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.bytes_out = self.bytes_out.saturating_add(bytes as u64);
        if self.bytes_out > self.limits.bytes_out {
            return Err(LimitHit::new(Limit::BytesOut, &self.limits));
        }
        Ok(())
    }

    /// Bytes from host to guest; asked before they go, which is when a call into the host returns.
    pub(super) fn host_gives(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.bytes_in = self.bytes_in.saturating_add(bytes as u64);
        if self.bytes_in > self.limits.bytes_in {
            return Err(LimitHit::new(Limit::BytesIn, &self.limits));
        }
        self.time()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_calls_are_summed_over_the_invocation() {
        let limits = Limits { host_calls: 3, bytes_in: 10, bytes_out: 10, ..Limits::default() };
        let mut budget = Budget::new(limits, CpuMeter::default());
        assert!(budget.host_call(6).is_ok());
        assert_eq!(budget.host_call(5).map_err(|hit| hit.limit), Err(Limit::BytesOut));
        assert!(budget.host_gives(10).is_ok());
        assert_eq!(budget.host_gives(1).map_err(|hit| hit.limit), Err(Limit::BytesIn));
        let mut budget = Budget::new(Limits { host_calls: 1, ..Limits::default() }, CpuMeter::default());
        assert!(budget.host_call(0).is_ok());
        assert_eq!(budget.host_call(0).map_err(|hit| hit.limit), Err(Limit::HostCalls));
    }

    #[test]
    fn a_message_names_the_limit_its_value_and_the_knob() {
        let hit = LimitHit::new(Limit::CpuMs, &Limits::default());
        assert_eq!(
            hit.message,
            "the function used more than 100 ms of CPU time; ask for more with `limits.cpu_ms` in function.toml, \
             within the operator's `limits.cpu_ms`"
        );
        let hit = LimitHit::new(Limit::BytesOut, &Limits::default());
        assert_eq!(
            hit.message,
            "the function gave the host more than 8388608 bytes; only the operator's `limits.bytes_out` raises it"
        );
    }
}
