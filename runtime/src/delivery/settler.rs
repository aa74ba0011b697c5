//! Settle: write down in groups what became of deliveries.
//!
//! Guarantees: what attempts hand over is written in the order in which it came, as many at once as come within a few
//! milliseconds; the channel is bounded, so attempts slow down to what the disk can take. A store that cannot write ends the delivery of events:
//! the error goes to the dispatcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::attempt::plain;
use super::schedule::Item;
use super::spans::Unsettled;
use crate::store::{Settle, Settlement, Store, StoreError};
use crate::telemetry::Tracer;

/// What one commit may weigh: about a millisecond of writing, for which everybody's next commit waits.
const GROUP: usize = 250;

/// What a settlement weighs that brings the record of an attempt along: rows of its own, where others change one byte.
const RECORDED: usize = 10;

/// Bytes of such a record that weigh one more: a page of 4 KB is summed up and copied twice in some 8 microseconds.
const BYTES: usize = 2 << 10;

/// Attempts whose settlements may wait for the disk before further ones do.
const WAITING: usize = 1_024;

/// How long a settlement waits for others. Nobody waits for it, and what a crash repeats grows by this much only; each
/// commit writes whole pages anew. Longer, and a replay would wait for it: it gives back as many as are settled.
const GATHER: Duration = Duration::from_millis(20);

/// What is to be written down of one delivery.
pub(super) struct ToSettle {
    pub settlement: Settlement,
    /// Its attempt's span, if its trace is kept.
    pub span: Option<Box<Unsettled>>,
}

impl ToSettle {
    /// What becomes of a delivery without an attempt.
    pub fn unattempted(tracer: Option<&Arc<Tracer>>, item: &Item, settle: Settle) -> Self {
        let span = tracer.and_then(|tracer| Unsettled::unattempted(tracer, item, settle));
        Self { settlement: plain(&item.delivery, settle), span }
    }
}

impl From<Settlement> for ToSettle {
    fn from(settlement: Settlement) -> Self {
        Self { settlement, span: None }
    }
}

/// Where what is to be written down is handed over.
pub(super) struct Settlements {
    channel: mpsc::Sender<Vec<ToSettle>>,
    gathered: Arc<Gathered>,
}

/// What was handed over and not taken out.
#[derive(Default)]
struct Gathered {
    weighs: AtomicUsize,
    /// Told when it becomes a whole group: before that, nobody is woken for what need not be written yet.
    full: Notify,
}

/// What is to be written down, one after the other.
pub(super) struct Incoming {
    channel: mpsc::Receiver<Vec<ToSettle>>,
    rest: std::vec::IntoIter<ToSettle>,
    gathered: Arc<Gathered>,
}

/// A way to hand over, and where it arrives: for [`run`].
pub(super) fn channel() -> (Settlements, Incoming) {
    let (sender, channel) = mpsc::channel(WAITING);
    let gathered = Arc::<Gathered>::default();
    let settlements = Settlements { channel: sender, gathered: Arc::clone(&gathered) };
    (settlements, Incoming { channel, rest: Vec::new().into_iter(), gathered })
}

impl Settlements {
    /// Hands over, and waits while too much is there already. Once the settler has failed, which the dispatcher hears from the settler
    /// itself, nothing comes of it.
    pub async fn send(&self, settle: Vec<ToSettle>) {
        let weighs: usize = settle.iter().map(|one| weight(&one.settlement)).sum();
        let Gathered { weighs: all, full } = &*self.gathered;
        let before = all.fetch_add(weighs, Ordering::Relaxed);
        drop(self.channel.send(settle).await);
        if before < GROUP && before + weighs >= GROUP {
            full.notify_one();
        }
    }
}

impl Incoming {
    /// What is next, once it is there.
    async fn next(&mut self) -> Option<ToSettle> {
        while self.rest.as_slice().is_empty() {
            self.rest = self.channel.recv().await?.into_iter();
        }
        self.rest.next()
    }

    /// What is next, if it is there.
    fn next_now(&mut self) -> Option<ToSettle> {
        while self.rest.as_slice().is_empty() {
            self.rest = self.channel.try_recv().ok()?.into_iter();
        }
        self.rest.next()
    }

    /// Waits until a whole group is there, or [`GATHER`] is over.
    async fn gather(&self) {
        let until = Instant::now() + GATHER;
        while self.gathered.weighs.load(Ordering::Relaxed) < GROUP {
            // It may have been told of a group that was taken out since.
            if timeout_at(until, self.gathered.full.notified()).await.is_err() {
                break;
            }
        }
    }
}

fn weight(settlement: &Settlement) -> usize {
    let record = settlement.attempt.as_ref().and_then(|attempt| attempt.record.as_ref());
    record.map_or(1, |record| RECORDED + record.bytes() / BYTES)
}

/// Writes until every sender is gone.
pub(super) async fn run(store: Arc<Store>, mut incoming: Incoming) -> Result<(), StoreError> {
    while let Some(first) = incoming.next().await {
        incoming.gather().await;
        let (mut group, mut spans, mut weighs) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(ToSettle { settlement, span }) = next {
            weighs += weight(&settlement);
            spans.extend(span.map(|span| (group.len(), span)));
            group.push(settlement);
            if weighs >= GROUP {
                break;
            }
            next = incoming.next_now();
        }
        incoming.gathered.weighs.fetch_sub(weighs, Ordering::Relaxed);
        let settled = store.settle(group).await?;
        for (at, span) in spans {
            span.settled(settled.get(at).copied());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;
    use crate::model::{DeliveryId, LeaseToken, Timestamp};

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn settle(count: usize) -> Vec<ToSettle> {
        let one = || Settlement {
            delivery: DeliveryId::new(Timestamp::from_millis(1)),
            lease: LeaseToken(1),
            settle: Settle::Delivered,
            key: None,
            attempt: None,
            instead: None,
        };
        (0..count).map(|_| one().into()).collect()
    }

    #[tokio::test]
    async fn a_whole_group_is_there_at_once_and_less_wakes_nobody() {
        let (settlements, incoming) = channel();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut gathering = pin!(incoming.gather());
        let mut poll = || gathering.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        for _ in 1..GROUP {
            settlements.send(settle(1)).await;
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        settlements.send(settle(1)).await;
        assert_eq!((woken.0.load(Ordering::Relaxed), poll()), (1, Poll::Ready(())));
    }

    #[tokio::test]
    async fn what_was_told_of_a_group_that_is_gone_ends_no_wait() {
        let (settlements, incoming) = channel();
        settlements.send(settle(GROUP)).await;
        incoming.gathered.weighs.fetch_sub(GROUP, Ordering::Relaxed);
        assert!(pin!(incoming.gather()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[tokio::test]
    async fn what_waits_is_taken_in_the_order_in_which_it_came() {
        let (settlements, mut incoming) = channel();
        let all = [settle(2), settle(0), settle(3)];
        let ids = |some: &[ToSettle]| some.iter().map(|one| one.settlement.delivery).collect::<Vec<_>>();
        let expected: Vec<_> = all.iter().flat_map(|some| ids(some)).collect();
        for some in all {
            settlements.send(some).await;
        }
        let mut taken = Vec::from_iter(incoming.next().await);
        taken.extend(std::iter::from_fn(|| incoming.next_now()));
        assert_eq!(ids(&taken), expected);
    }
}
