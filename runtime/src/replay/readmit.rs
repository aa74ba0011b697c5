//! Readmit: whether a delivery is given back, and what it is to run. Pure.
//!
//! What an event owes now is decided by [`owed_now`], as for an event that comes in: whatever may hold an event back
//! there holds a replayed one back too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ingest::owed_now;
use crate::model::{FilterReason, FunctionVersion, ReplayVersion, VersionId};
use crate::store::{Candidate, ConnectionRoute, OwedState, Readmission};

/// The versions that candidates ask for, by their ids.
pub(super) type Versions = HashMap<VersionId, Arc<FunctionVersion>>;

/// Which version a candidate is to run, if not its destination's; an error if nobody knows.
pub(super) fn wish(candidate: &Candidate, version: ReplayVersion) -> Result<Option<VersionId>, &'static str> {
    match version {
        ReplayVersion::Current => Ok(None),
        ReplayVersion::Pinned(version) => Ok(Some(version)),
        // What an older program delivered may not say what ran.
        ReplayVersion::Old => candidate.version.map(Some).ok_or("version_unknown"),
    }
}

/// What becomes of a candidate whose connection leads this way now, if it still exists, and whose user is suppressed or not.
pub(super) fn readmit(
    candidate: &Candidate,
    way: Option<&ConnectionRoute>,
    suppressed: bool,
    version: ReplayVersion,
    versions: &Versions,
) -> Readmission {
    let Some(way) = way else { return Readmission::Skip("connection_deleted") };
    if suppressed {
        return Readmission::Skip(FilterReason::UserSuppressed.as_str());
    }
    let pinned = match wish(candidate, version) {
        Ok(None) => None,
        Ok(Some(id)) => {
            match versions.get(&id).filter(|known| known.function == way.destination.destination.function) {
                Some(version) => Some(version),
                None => return Readmission::Skip("version_unknown"),
            }
        }
        Err(reason) => return Readmission::Skip(reason),
    };
    let owed = match pinned {
        None => owed_now(&candidate.event, way),
        Some(version) => {
            let destination = Arc::new(way.destination.at(version));
            owed_now(&candidate.event, &ConnectionRoute { connection: way.connection.clone(), destination })
        }
    };
    match owed {
        OwedState::Pending => Readmission::Owe { was: candidate.state, version: pinned.map(|version| version.id) },
        OwedState::Filtered(reason) => Readmission::Skip(reason.as_str()),
    }
}
