//! What an invocation costs in CPU time.
//!
//! Guarantees: counts the time that this thread really ran the guest and the host calls in it, poll by poll; time
//! spent waiting, and time in which the machine ran something else, costs nothing.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// Adds up the CPU time of one invocation. Shared between the future that polls and the tick that checks; both run
/// on the polling thread, so plain loads and stores are enough.
#[derive(Clone, Default)]
pub(super) struct CpuMeter(Arc<Counts>);

#[derive(Default)]
struct Counts {
    finished_ns: AtomicU64,
    poll_began_ns: AtomicU64,
}

impl CpuMeter {
    /// Runs a future and counts what its polls take.
    pub(super) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            self.0.poll_began_ns.store(thread_cpu_ns(), Ordering::Relaxed);
            let polled = future.as_mut().poll(context);
            self.0.finished_ns.store(self.used_ns_now(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// The sum so far. To be asked inside a poll of [`Self::measure`]'s future.
    pub(super) fn used_ns_now(&self) -> u64 {
        let poll = thread_cpu_ns().saturating_sub(self.0.poll_began_ns.load(Ordering::Relaxed));
        self.used_ns() + poll
    }

    /// The sum of all finished polls.
    pub(super) fn used_ns(&self) -> u64 {
        self.0.finished_ns.load(Ordering::Relaxed)
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative: the clock starts at zero with the thread.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_time_on_the_processor_counts() {
        let meter = CpuMeter::default();
        meter.measure(tokio::time::sleep(std::time::Duration::from_millis(30))).await;
        let asleep = meter.used_ns();
        let seen = meter
            .measure(async {
                while meter.used_ns_now() < asleep + 2_000_000 {}
                meter.used_ns_now()
            })
            .await;
        assert!(asleep < 30_000_000, "{asleep} ns for a pause");
        assert!(seen >= asleep + 2_000_000 && meter.used_ns() >= seen);
    }
}
