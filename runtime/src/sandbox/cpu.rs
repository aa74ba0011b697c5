//! What an invocation costs in CPU time, and whose turn it is among those that compute for long.
//!
//! Guarantees: counts the time that this thread really ran the guest and the host calls in it, poll by poll, and what
//! requests beside it take on whatever thread, to within [`CLOSE`] for each poll; time spent waiting, and time in which the
//! machine ran something else, costs nothing. An invocation that has used more than [`LIGHT`], or has more memory than [`SMALL`], goes on only in its turn,
//! and there are fewer turns at a time than processors: whoever is done soon finds one that nobody computes on for long.
//! Who waits for anything holds no turn.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::ticker::TICK;

/// What an invocation may use before it has to wait for its turn: a function in JavaScript takes less than a millisecond
/// for an event, and every further one is waited for by neighbours as often as there are such guests.
const LIGHT: Duration = Duration::from_millis(2);

/// Bytes of memory that an invocation may have before it has to: touching new memory takes the kernel's time, in pieces that
/// nothing interrupts. A function in JavaScript has 4 to 8 MB.
pub(super) const SMALL: usize = 16 << 20;

/// How close a poll's time is to the truth. To ask the system for a thread's own time costs as much as many a poll, so a
/// thread asks this often; what is shorter counts by the clock on the wall, and in between the thread is thought to have
/// run all the time.
const CLOSE: Duration = TICK;

thread_local! {
    /// When this thread last asked, by the clock on the wall, and what the answer was.
    static ASKED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Adds up the CPU time of one invocation. Shared between the future that polls and the tick that checks; both run
/// on the polling thread, so plain loads and stores are enough.
#[derive(Clone, Default)]
pub(super) struct CpuMeter(Arc<Counts>);

#[derive(Default)]
struct Counts {
    finished_ns: AtomicU64,
    /// By the clock on the wall.
    poll_began_ns: AtomicU64,
    /// By this thread's own time, about.
    thread_began_ns: AtomicU64,
    /// Of requests that run beside the guest. Added to by other threads.
    beside_ns: AtomicU64,
    /// Whether it has much memory.
    large: AtomicBool,
}

/// The turns of all invocations.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// One that was asked for.
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Turns {
    /// One fewer than there are processors.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))))
    }
}

impl CpuMeter {
    /// Runs a future, each poll in its turn where it needs one, and counts what its polls take.
    pub(super) async fn measure<F: Future>(&self, turns: &Turns, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut asked: Option<Turn> = None;
        std::future::poll_fn(|context| {
            // Given back when this poll is over.
            let _turn = if self.needs_turn() {
                let turn = asked.get_or_insert_with(|| Box::pin(Arc::clone(&turns.0).acquire_owned()));
                let Poll::Ready(turn) = turn.as_mut().poll(context) else { return Poll::Pending };
                asked = None;
                // Nothing closes the semaphore.
                turn.ok()
            } else {
                None
            };
            let (wall, thread) = about_now();
            self.0.poll_began_ns.store(wall, Ordering::Relaxed);
            self.0.thread_began_ns.store(thread, Ordering::Relaxed);
            let polled = future.as_mut().poll(context);
            self.0.finished_ns.fetch_add(self.0.polled_ns(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// From the next poll on it needs a turn, whatever it has used.
    pub(super) fn is_large(&self) {
        self.0.large.store(true, Ordering::Relaxed);
    }

    fn needs_turn(&self) -> bool {
        self.0.large.load(Ordering::Relaxed) || u128::from(self.used_ns()) > LIGHT.as_nanos()
    }

    /// Runs a future beside the invocation and counts what its polls take. Once so many milliseconds are used in all it goes no further,
    /// and there is nothing.
    pub(super) fn beside<F: Future>(
        &self,
        most_ms: u64,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        let (meter, counts) = (self.clone(), Arc::clone(&self.0));
        async move {
            let mut future = pin!(future);
            std::future::poll_fn(|context| {
                if meter.used_ns() > most_ms.saturating_mul(1_000_000) {
                    return Poll::Ready(None);
                }
                let (wall, thread) = about_now();
                let polled = future.as_mut().poll(context);
                counts.beside_ns.fetch_add(ran_ns(wall, thread), Ordering::Relaxed);
                polled.map(Some)
            })
            .await
        }
    }

    /// The sum so far. To be asked inside a poll of [`Self::measure`]'s future.
    pub(super) fn used_ns_now(&self) -> u64 {
        self.used_ns() + self.0.polled_ns()
    }

    /// The sum of all finished polls.
    pub(super) fn used_ns(&self) -> u64 {
        self.0.finished_ns.load(Ordering::Relaxed) + self.0.beside_ns.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// What the poll that is under way has taken.
    fn polled_ns(&self) -> u64 {
        ran_ns(self.poll_began_ns.load(Ordering::Relaxed), self.thread_began_ns.load(Ordering::Relaxed))
    }
}

/// About what this thread has run since a moment that [`about_now`] gave.
fn ran_ns(wall: u64, thread: u64) -> u64 {
    let wall = wall_ns().saturating_sub(wall);
    if u128::from(wall) < CLOSE.as_nanos() {
        return wall;
    }
    thread_cpu_ns().saturating_sub(thread).min(wall)
}

/// The time on the wall, and about what this thread has used.
fn about_now() -> (u64, u64) {
    let now = wall_ns();
    let (asked, used) = ASKED.get();
    let since = now.saturating_sub(asked);
    if u128::from(since) < CLOSE.as_nanos() {
        return (now, used + since);
    }
    let used = thread_cpu_ns();
    ASKED.set((now, used));
    (now, used)
}

/// Read without a call into the system.
fn wall_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

fn thread_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ThreadCPUTime))
}

fn ns(time: Timespec) -> u64 {
    // Neither is negative: both clocks start at zero, with the thread and with the machine.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_lasts_for_one_poll_and_comes_to_everybody() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let rounds = async |meter: CpuMeter, needs: usize| {
            let rounds = async {
                meter.is_large();
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                    assert_eq!(turns.0.available_permits(), needs);
                }
            };
            meter.measure(&turns, rounds).await;
        };
        tokio::join!(rounds(CpuMeter::default(), 0), rounds(CpuMeter::default(), 0));
        assert_eq!(turns.0.available_permits(), 1);
        let held = Arc::clone(&turns.0).acquire_owned().await;
        // Who is small and done soon needs none.
        CpuMeter::default().measure(&turns, tokio::task::yield_now()).await;
        drop(held);
    }

    #[tokio::test]
    async fn only_time_on_the_processor_counts() {
        let (meter, turns) = (CpuMeter::default(), Turns::new());
        meter.measure(&turns, tokio::time::sleep(std::time::Duration::from_millis(30))).await;
        let asleep = meter.used_ns();
        let seen = meter
            .measure(&turns, async {
                while meter.used_ns_now() < asleep + 2_000_000 {}
                meter.used_ns_now()
            })
            .await;
        assert!(asleep < 30_000_000, "{asleep} ns for a pause");
        assert!(seen >= asleep + 2_000_000 && meter.used_ns() >= seen);
        let before = meter.used_ns();
        let busy = meter.beside(1_000, async {
            let began = thread_cpu_ns();
            while thread_cpu_ns() < began + 2_000_000 {}
        });
        tokio::spawn(busy).await.unwrap().unwrap();
        assert!(meter.used_ns() >= before + 2_000_000, "a request beside the guest counts too");
        assert!(meter.beside(1, std::future::pending::<()>()).await.is_none(), "and goes no further without time");
    }
}
