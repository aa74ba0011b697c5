//! `wasi:clocks`: the invocation's own time, which may be fixed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::clock::Clock;
use crate::sandbox::host::{Run, nanos};

/// How long the guest has slept, in nanoseconds: where the clock is fixed, no other time passes.
#[derive(Clone, Default)]
pub(super) struct Slept(Arc<AtomicU64>);

/// A moment that a guest waits for.
struct Alarm {
    /// When; never if the clock ends before.
    at: Option<Instant>,
    /// Whether there is nothing to wait for.
    past: bool,
    /// How long the guest will have slept by then.
    due: u64,
    slept: Slept,
}

#[async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        match self.at {
            // A guest that asks again and again must let its requests get on meanwhile.
            Some(_) if self.past => tokio::task::yield_now().await,
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.slept.0.fetch_max(self.due, Ordering::Relaxed);
    }
}

impl Run {
    /// How long the invocation has been going on, as its guest sees it.
    fn passed(&mut self) -> u64 {
        let slept = self.wasi().slept.0.load(Ordering::Relaxed);
        match self.clock {
            Clock::System | Clock::Steady { .. } => nanos(self.elapsed()),
            Clock::Fixed(_) => nanos(self.elapsed()).saturating_add(slept),
        }
    }

    fn alarm(&mut self, after: u64) -> Result<Resource<DynPollable>> {
        let slept = self.wasi().slept.clone();
        let due = slept.0.load(Ordering::Relaxed).saturating_add(after);
        let at = Instant::now().checked_add(Duration::from_nanos(after));
        let alarm = self.table.push(Alarm { at, past: after == 0, due, slept })?;
        subscribe(&mut self.table, alarm)
    }
}

impl wall_clock::Host for Run {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        self.called(0)?;
        let now = Duration::from_millis(self.clock.now().as_millis());
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        self.called(0)?;
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for Run {
    fn now(&mut self) -> Result<u64> {
        self.called(0)?;
        Ok(self.passed())
    }

    fn resolution(&mut self) -> Result<u64> {
        self.called(0)?;
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        self.called(0)?;
        let after = when.saturating_sub(self.passed());
        self.alarm(after)
    }

    fn subscribe_duration(&mut self, after: u64) -> Result<Resource<DynPollable>> {
        self.called(0)?;
        self.alarm(after)
    }
}
