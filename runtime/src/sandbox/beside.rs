//! Requests that run beside a guest, in the guest's own task.
//!
//! Guarantees: they begin when the guest starts them, and go on whenever it waits, whatever it waits for; each is asked only when it
//! has something to do; one that is given up is gone at once. A task for each of them was woken for every answer, and woke the
//! guest's; what an invocation costs was spread over threads.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::cpu::CpuMeter;
use super::requests::Sent;

/// A request on its way.
pub(super) type Sending = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// All of one invocation, by the numbers of their records.
#[derive(Clone)]
pub(super) struct Beside(Arc<Inner>);

struct Inner {
    cpu: CpuMeter,
    /// How much CPU time the invocation may use before its requests go no further.
    most_ns: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: FuturesUnordered<Carried>,
    ended: Vec<(usize, Sent)>,
}

/// One request; nothing once it was given up.
struct Carried {
    record: usize,
    sending: Option<Sending>,
}

impl Future for Carried {
    type Output = Option<(usize, Sent)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let record = self.record;
        let Some(sending) = &mut self.sending else { return Poll::Ready(None) };
        sending.as_mut().poll(context).map(|sent| Some((record, sent)))
    }
}

impl Beside {
    pub(super) fn new(cpu: CpuMeter, cpu_ms: u64) -> Self {
        let most_ns = cpu_ms.saturating_mul(1_000_000);
        Self(Arc::new(Inner { cpu, most_ns, state: Mutex::default() }))
    }

    /// Begins a request. To be called inside [`Self::carry`].
    pub(super) fn start(&self, record: usize, sending: Sending) {
        let mut state = self.lock();
        state.under_way.push(Carried { record, sending: Some(sending) });
        // Whom to wake it is told when the guest waits.
        self.go_on(&mut state, &mut Context::from_waker(Waker::noop()));
    }

    /// Whether a request has ended.
    pub(super) fn has_ended(&self, record: usize) -> bool {
        self.lock().ended.iter().any(|(ended, _)| *ended == record)
    }

    /// What a request came to, if it has ended.
    pub(super) fn take(&self, record: usize) -> Option<Sent> {
        let ended = &mut self.lock().ended;
        let position = ended.iter().position(|(ended, _)| *ended == record)?;
        Some(ended.swap_remove(position).1)
    }

    /// Ends a request that is under way.
    pub(super) fn give_up(&self, record: usize) {
        let mut state = self.lock();
        let all = Pin::new(&mut state.under_way).iter_pin_mut();
        all.filter(|carried| carried.record == record).for_each(|mut carried| carried.sending = None);
    }

    /// Runs a guest with the requests that it starts.
    pub(super) async fn carry<F: Future>(&self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        std::future::poll_fn(|context| {
            self.go_on(&mut self.lock(), context);
            loop {
                if let Poll::Ready(output) = guest.as_mut().poll(context) {
                    return Poll::Ready(output);
                }
                // What it has started meanwhile is told whom to wake; what has ended may be what it waits for.
                if !self.go_on(&mut self.lock(), context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Carries on what can go on. Whether anything has ended.
    fn go_on(&self, state: &mut State, context: &mut Context<'_>) -> bool {
        let before = state.ended.len();
        while !state.under_way.is_empty() {
            if self.0.cpu.used_ns_now() > self.0.most_ns {
                let all = Pin::new(&mut state.under_way).iter_pin_mut();
                let left = all.filter_map(|mut carried| carried.sending.take().map(|_| carried.record));
                state.ended.extend(left.map(|record| (record, Sent::stopped())));
                state.under_way.clear();
                break;
            }
            match state.under_way.poll_next_unpin(context) {
                Poll::Ready(Some(ended)) => state.ended.extend(ended),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        state.ended.len() > before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the middle would have been a request's; the invocation ends with it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
