//! Settled: one line of the log for each delivery whose place in the ledger changed, once that is on disk.

use super::ledger::Owner;
use super::states;
use super::work::Commit;
use crate::model::{DeliveryId, DeliveryState};

/// Says at debug level, once the commit is on disk, that a delivery stands so.
pub(super) fn say(commit: &mut Commit<'_>, owner: &Owner, delivery: DeliveryId, state: u8) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Some((settled, reason)) = states::meaning(state) else { return };
    let Owner { workspace, connection, destination, .. } = *owner;
    let reason = reason.map(|reason| reason.as_str());
    commit.effects.push(Box::new(move |_| {
        let settled = if settled == DeliveryState::Pending { "retry" } else { settled.as_str() };
        tracing::debug!(%delivery, %destination, %connection, %workspace, settled, reason, "delivery settled");
    }));
}
