//! Plan: what a replay would do now, without doing it. It walks the way that the replay will walk, and decides as it will.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::readmit::{Versions, readmit, wish};
use crate::model::{Actor, DestinationId, ReplayVersion, Timestamp};
use crate::store::{
    Candidate, Candidates, ConnectionRoute, Cursor, DeliveryFilter, Readmission, Store, StoreError, Wanted,
};

/// Candidates in one page of a plan: some milliseconds of reading, so that others read in between.
const PAGE: usize = 1_000;

/// What a replay would do now.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The last delivery block that it would look at.
    pub until: i64,
    /// Deliveries that fit, those that would be skipped included.
    pub matching: u64,
    /// What it would give back, by destination; also those where all is skipped.
    pub destinations: BTreeMap<DestinationId, u64>,
    /// What it would leave as it is, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// What fits, by the outcome of the last recorded attempt.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// When the first of them was accepted.
    pub oldest: Option<Timestamp>,
    /// When the last of them was accepted.
    pub newest: Option<Timestamp>,
}

/// What a replay for this filter would do now.
///
/// # Errors
/// What is stored cannot be read.
pub async fn plan(
    store: &Store,
    actor: &Actor,
    filter: &DeliveryFilter,
    version: ReplayVersion,
) -> Result<Plan, StoreError> {
    let (destinations, until) = store.replay_scope(actor, filter).await?;
    let mut plan = Plan {
        until,
        matching: 0,
        destinations: BTreeMap::new(),
        skipped: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        oldest: None,
        newest: None,
    };
    let mut versions = HashMap::new();
    for destination in destinations {
        let mut from = Some(Cursor::default());
        while let Some(at) = from {
            let wanted = Wanted { filter: filter.clone(), destination, until, from: at, most: PAGE };
            let (decided, next) = decide(store, wanted, version, &mut versions).await?;
            decided.iter().for_each(|(candidate, readmission)| plan.add(destination, candidate, *readmission));
            from = next;
        }
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, destination: DestinationId, candidate: &Candidate, readmission: Readmission) {
        self.matching += 1;
        let given = self.destinations.entry(destination).or_default();
        match readmission {
            Readmission::Owe { .. } => *given += 1,
            Readmission::Skip(reason) => *self.skipped.entry(reason).or_default() += 1,
        }
        let outcome = match (candidate.last, candidate.state) {
            (Some(code), _) => code.as_str(),
            (None, crate::model::DeliveryState::Delivered) => crate::model::OutcomeCode::Delivered.as_str(),
            (None, _) => "none_recorded",
        };
        *self.outcomes.entry(outcome).or_default() += 1;
        let at = candidate.accepted_at;
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
    }
}

/// One page of candidates with what becomes of each, and where the next page begins.
pub(super) async fn decide(
    store: &Store,
    wanted: Wanted,
    version: ReplayVersion,
    versions: &mut Versions,
) -> Result<(Vec<(Candidate, Readmission)>, Option<Cursor>), StoreError> {
    let Candidates { items, next } = store.replay_candidates(wanted).await?;
    for id in items.iter().filter_map(|candidate| wish(candidate, version).ok().flatten()) {
        // Versions never change, so each is read once.
        if !versions.contains_key(&id)
            && let Some(found) = store.version(id).await?
        {
            versions.insert(id, Arc::new(found));
        }
    }
    let routes = store.routes();
    let decided = items.into_iter().map(|candidate| {
        let way = routes.connection(candidate.connection);
        let of = |way: &ConnectionRoute| store.is_user_suppressed(way.connection.workspace, &candidate.event);
        let readmission = readmit(&candidate, way, way.is_some_and(of), version, versions);
        (candidate, readmission)
    });
    Ok((decided.collect(), next))
}
