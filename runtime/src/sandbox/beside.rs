//! Requests that run beside a guest, in the guest's own task.
//!
//! Guarantees: they begin when the guest starts them, and go on whenever it waits, whatever it waits for, or its time slice ends;
//! each is asked only when it has something to do; one that is given up is gone at once.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

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
    began: Instant,
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
        state.under_way.push(Carried { record, began: Instant::now(), sending: Some(sending) });
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
                let left =
                    all.filter_map(|mut carried| carried.sending.take().map(|_| (carried.record, carried.began)));
                state.ended.extend(left.map(|(record, began)| (record, Sent::stopped(began))));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that ends once it is told to; whoever holds the other half sees whether it is still there.
    fn request() -> (tokio::sync::oneshot::Sender<()>, Sending) {
        let (tell, told) = tokio::sync::oneshot::channel();
        let sending = Box::pin(async move {
            let _ = told.await;
            Sent::stopped(Instant::now())
        });
        (tell, sending)
    }

    #[tokio::test]
    async fn a_request_goes_on_whatever_the_guest_waits_for_and_is_taken_once() {
        let beside = Beside::new(CpuMeter::default(), 60_000);
        let guest = async {
            let (tell, sending) = request();
            beside.start(7, sending);
            tokio::task::yield_now().await;
            assert!(!beside.has_ended(7) && beside.take(7).is_none());
            tell.send(()).unwrap();
            tokio::task::yield_now().await;
            assert!(beside.has_ended(7) && !beside.has_ended(8));
            assert!(beside.take(7).is_some() && beside.take(7).is_none());
        };
        beside.carry(guest).await;
    }

    #[tokio::test]
    async fn whoever_waits_for_a_request_is_asked_again_when_it_ends() {
        let beside = Beside::new(CpuMeter::default(), 60_000);
        let (tell, sending) = request();
        let guest = async {
            beside.start(1, sending);
            let waits = |_: &mut Context<'_>| if beside.has_ended(1) { Poll::Ready(()) } else { Poll::Pending };
            std::future::poll_fn(waits).await;
        };
        let told = async {
            tokio::task::yield_now().await;
            tell.send(()).unwrap();
        };
        tokio::join!(beside.carry(guest), told);
    }

    #[tokio::test]
    async fn what_is_given_up_or_has_no_time_left_is_gone_at_once() {
        let beside = Beside::new(CpuMeter::default(), 60_000);
        let (tell, sending) = request();
        beside.start(1, sending);
        assert!(!tell.is_closed());
        beside.give_up(1);
        assert!(tell.is_closed() && !beside.has_ended(1));
        let spent = Beside::new(CpuMeter::default(), 0);
        let (tell, sending) = request();
        spent.start(1, sending);
        assert!(tell.is_closed() && spent.has_ended(1));
    }
}
