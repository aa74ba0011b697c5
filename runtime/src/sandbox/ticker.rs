//! The clock that interrupts guests: a thread of its own that advances the engine's epoch.
//!
//! Guarantees: while an invocation runs the epoch advances every [`TICK`], whatever the async runtime's threads do;
//! an idle host is not woken; the thread ends when its [`Ticker`] is dropped.
//! Leaves to others: what a guest is told at a tick (`invocation`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How often running guests are looked at. One millisecond is a hundredth of the default CPU limit, so limits are
/// kept to about 1 %, and costs a thousand wake-ups a second only while guests run.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// How many idle ticks pass before the thread goes to sleep: short gaps between invocations must not cost a
/// wake-up each.
const IDLE_TICKS: u32 = 100;

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// While this lives the epoch advances.
pub(super) struct Ticking<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (seen, engine) = (Arc::clone(&shared), engine.clone());
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || tick(&seen, &engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Announces an invocation.
    pub(super) fn run(&self) -> Ticking<'_> {
        // Sequentially consistent on both sides: either the thread sees this invocation before it parks, or this
        // sees that the thread has parked.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic, and there would be nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        thread::sleep(TICK);
        engine.increment_epoch();
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle > IDLE_TICKS {
            shared.parked.store(true, Ordering::SeqCst);
            while shared.running.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.parked.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(ticker: &Ticker, parked: bool) {
        while ticker.shared.parked.load(Ordering::SeqCst) != parked {
            thread::yield_now();
        }
    }

    #[test]
    fn an_idle_clock_sleeps_wakes_with_the_next_invocation_and_ends_with_its_owner() {
        let ticker = Ticker::start(&Engine::default()).unwrap();
        for _ in 0..2 {
            wait_until(&ticker, true);
            let _ticking = ticker.run();
            wait_until(&ticker, false);
        }
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        assert!(shared.upgrade().is_none());
    }
}
