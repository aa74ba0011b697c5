//! Settle: write down in groups what became of deliveries.
//!
//! Guarantees: what attempts hand over is written in the order in which it came, as many at once as come within a few
//! milliseconds; the channel is bounded, so attempts slow down to what the disk can take. A store that cannot write ends the delivery of events:
//! the error goes to the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::store::{Settlement, Store, StoreError};

/// Settlements of one commit: some milliseconds of writing.
const GROUP: usize = 1_000;

/// Settlements that may wait for the disk before attempts do.
pub(super) const WAITING: usize = 4_096;

/// How long a settlement waits for others. Nobody waits for it, and what a crash repeats grows by this much only; each
/// commit costs a sync of the disk and writes whole blocks anew.
const GATHER: Duration = Duration::from_millis(10);

/// Writes until every sender is gone.
pub(super) async fn run(store: Arc<Store>, mut incoming: mpsc::Receiver<Settlement>) -> Result<(), StoreError> {
    let mut group = Vec::with_capacity(GROUP);
    while incoming.recv_many(&mut group, GROUP).await > 0 {
        let until = Instant::now() + GATHER;
        while group.len() < GROUP {
            let room = GROUP - group.len();
            // Nothing more will come, or not in time.
            if !timeout_at(until, incoming.recv_many(&mut group, room)).await.is_ok_and(|received| received > 0) {
                break;
            }
        }
        store.settle(std::mem::take(&mut group)).await?;
    }
    Ok(())
}
