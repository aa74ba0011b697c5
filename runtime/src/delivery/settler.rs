//! Settle: write down in groups what became of deliveries.
//!
//! Guarantees: what attempts hand over is written in the order in which it came, as many at once as wait; the channel
//! is bounded, so attempts slow down to what the disk can take. A store that cannot write ends the delivery of events:
//! the error goes to the dispatcher.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::store::{Settlement, Store, StoreError};

/// Settlements of one commit: some milliseconds of writing.
const GROUP: usize = 1_000;

/// Settlements that may wait for the disk before attempts do.
pub(super) const WAITING: usize = 4_096;

/// Writes until every sender is gone.
pub(super) async fn run(store: Arc<Store>, mut incoming: mpsc::Receiver<Settlement>) -> Result<(), StoreError> {
    let mut group = Vec::with_capacity(GROUP);
    while incoming.recv_many(&mut group, GROUP).await > 0 {
        store.settle(std::mem::take(&mut group)).await?;
    }
    Ok(())
}
