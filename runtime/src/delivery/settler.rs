//! Settle: write down in groups what became of deliveries.
//!
//! Guarantees: what attempts hand over is written in the order in which it came, as many at once as come within a few
//! milliseconds; the channel is bounded, so attempts slow down to what the disk can take. A store that cannot write ends the delivery of events:
//! the error goes to the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
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
pub(super) const WAITING: usize = 1_024;

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

/// What is to be written down, one after the other, of what comes together.
struct Incoming {
    channel: mpsc::Receiver<Vec<ToSettle>>,
    rest: std::vec::IntoIter<ToSettle>,
}

impl Incoming {
    /// What is next, once it is there. Nothing is lost if nobody waits for it any more.
    async fn next(&mut self) -> Option<ToSettle> {
        loop {
            if let Some(next) = self.rest.next() {
                return Some(next);
            }
            self.rest = self.channel.recv().await?.into_iter();
        }
    }
}

fn weight(settlement: &Settlement) -> usize {
    let record = settlement.attempt.as_ref().and_then(|attempt| attempt.record.as_ref());
    record.map_or(1, |record| RECORDED + record.bytes() / BYTES)
}

/// Writes until every sender is gone.
pub(super) async fn run(store: Arc<Store>, incoming: mpsc::Receiver<Vec<ToSettle>>) -> Result<(), StoreError> {
    let mut incoming = Incoming { channel: incoming, rest: Vec::new().into_iter() };
    while let Some(first) = incoming.next().await {
        let until = Instant::now() + GATHER;
        let (mut group, mut spans, mut weighs) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(ToSettle { settlement, span }) = next {
            weighs += weight(&settlement);
            spans.extend(span.map(|span| (group.len(), span)));
            group.push(settlement);
            if weighs >= GROUP {
                break;
            }
            // What is there is taken also when the time is up; then nothing more will come, or not in time.
            next = timeout_at(until, incoming.next()).await.ok().flatten();
        }
        let settled = store.settle(group).await?;
        for (at, span) in spans {
            span.settled(settled.get(at).copied());
        }
    }
    Ok(())
}
