//! Prepared: what is the same for every attempt at a destination until somebody changes it.
//!
//! Guarantees: made anew when the destination, its function's version or the order of its connections changes, so that
//! the settings, the grant and the version of an attempt are those of the moment in which it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use serde_json::{Map, Value};

use super::conclude::Policies;
use super::record::Extent;
use super::schedule::{Item, Terms};
use super::{DeliveryConfig, schedule::BreakerPolicy};
use crate::egress::{Gate, Grant, GrantedGate, HandleKey, Outlet, Secrets};
use crate::model::{Batch, Ceilings, ClaimedDelivery, InvocationReport, Limits, OrderKey, Timestamp, VersionId};
use crate::store::{DestinationRoute, Store};

/// Full records of successes kept for each destination in a minute: enough to see what a working request looks like.
const SAMPLES_A_MINUTE: u64 = 10;

/// Lines of the host's log for one destination's faults of the host: enough to see that it goes on.
const FAULTS_A_MINUTE: u64 = 4;

/// Bytes of full records of attempts kept for each destination in a minute: some hundred ordinary failures. What is attempted
/// after that is recorded briefly, so that no function fills the disk, or the one writer's time, with what it logs.
const RECORDED_A_MINUTE: u64 = 512 << 10;

/// What destinations are prepared with.
pub(super) struct Means {
    /// Opens secrets.
    pub store: Arc<Store>,
    pub gate: Arc<Gate>,
    /// The operator's limits, the ceiling of every function's.
    pub limits: Ceilings,
    /// What handles of secrets are made with.
    pub handles: HandleKey,
}

/// Why a destination's function cannot be run.
pub(super) enum Unready {
    /// The settings do not go together with the function: the customer's to repair.
    Settings(String),
    /// The host cannot read a secret.
    Host(String),
}

/// One destination, ready for attempts.
pub(super) struct Prepared {
    pub route: Arc<DestinationRoute>,
    /// What its function gets: handles in place of secrets.
    pub settings: Arc<str>,
    /// What its function sends through, or why it cannot run.
    pub outlet: Result<Arc<dyn Outlet>, Unready>,
    pub limits: Limits,
    pub secrets: Secrets,
    pub policies: Policies,
    pub terms: Terms,
    /// The same for the versions that replays want instead; they go with this.
    pub replayed: DashMap<VersionId, Arc<Prepared>>,
    samples: PerMinute,
    recorded: PerMinute,
    faults: PerMinute,
}

/// A sum for the minute that passes: the minute in the upper half.
#[derive(Default)]
struct PerMinute(AtomicU64);

impl PerMinute {
    /// Adds this much if less than `most` was there, and says so.
    fn take(&self, now: Timestamp, more: u64, most: u64) -> bool {
        let minute = now.as_millis() / 60_000;
        let next = |packed: u64| {
            let (then, taken) = (packed >> 32, packed & 0xffff_ffff);
            let taken = if then == minute { taken } else { 0 };
            (taken < most).then_some(minute << 32 | (taken + more.min(most)))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Means {
    /// Whom a function may reach, and its secrets, for which handles stand in the settings afterwards.
    fn granted(
        &self,
        route: &DestinationRoute,
        settings: &mut Map<String, Value>,
    ) -> Result<(Grant, Secrets), Unready> {
        let DestinationRoute { destination, version, .. } = route;
        let manifest = &version.manifest;
        let opened = self.store.open_secrets(destination).map_err(|error| Unready::Host(error.to_string()))?;
        let given = destination.with_secrets(manifest, std::mem::take(settings), opened);
        *settings = given.map_err(|error| Unready::Settings(error.to_string()))?;
        let granted = Grant::with_secrets(manifest, settings, &destination.id.to_string(), &self.handles);
        granted.map_err(|error| Unready::Settings(error.to_string()))
    }
}

impl Prepared {
    /// Prepares a destination.
    pub fn new(route: Arc<DestinationRoute>, means: &Means, config: &DeliveryConfig) -> Self {
        let Means { gate, limits, .. } = means;
        let manifest = &route.version.manifest;
        // The store wrote this text itself; were it no object, the function would have no settings.
        let mut settings: Map<String, Value> = serde_json::from_str(&route.settings_json).unwrap_or_default();
        let granted = means.granted(&route, &mut settings);
        let hosts = granted.as_ref().map(|(grant, _)| grant.hosts().collect()).unwrap_or_default();
        let limits = manifest.limits.within(&limits.of(route.version.function));
        let plain = manifest.retry.as_ref().map_or(config.retry.clone(), |asked| config.retry.narrowed(asked));
        let BreakerPolicy { slow, .. } = config.schedule.breaker;
        let policies = Policies { ordered: plain.ordered(config.ordered_window), plain, slow };
        let terms = Terms {
            batch: manifest.batch.as_ref().map(|batch| bounded(batch, &limits, route.settings_json.len())),
            rates: manifest.rate.into_iter().chain(route.destination.rate).collect(),
            hosts,
            ordered: !route.ordered.is_empty(),
            window: policies.plain.window,
            ordered_window: policies.ordered.window,
        };
        let (outlet, secrets) = match granted {
            Ok((grant, secrets)) => {
                let gate = GrantedGate::new(Arc::clone(gate), grant, secrets.clone());
                (Ok(Arc::new(gate) as Arc<dyn Outlet>), secrets)
            }
            Err(unready) => (Err(unready), Secrets::default()),
        };
        let settings = Value::Object(settings).to_string().into();
        let [samples, recorded, faults] = [(); 3].map(|()| PerMinute::default());
        let replayed = DashMap::new();
        Self { settings, outlet, limits, secrets, policies, terms, replayed, samples, recorded, faults, route }
    }

    /// Whether what keeps its function from running may pass by itself.
    pub fn is_passing(&self) -> bool {
        matches!(self.outlet, Err(Unready::Host(_)))
    }

    /// Whether it still holds for a destination that stands so.
    pub fn fits(&self, route: &Arc<DestinationRoute>) -> bool {
        let mine = &self.route;
        Arc::ptr_eq(mine, route)
            || Arc::ptr_eq(&mine.version, &route.version)
                && mine.destination == route.destination
                && mine.ordered == route.ordered
    }

    /// A claimed delivery for its lane.
    pub fn item(&self, mut delivery: ClaimedDelivery, now: Timestamp) -> Item {
        // What was written down has its key from then, or had its turn already.
        if !delivery.again {
            let field = self.route.ordered.iter().find(|(connection, _)| *connection == delivery.connection);
            let scope = delivery.connection.uuid();
            delivery.key = field.and_then(|(_, field)| OrderKey::of(field, &delivery.event, scope.as_bytes()));
        }
        let grouped = self.terms.batch.as_ref().map(|batch| &batch.group_by[..]).filter(|fields| !fields.is_empty());
        Item {
            group: grouped.map_or(0, |fields| OrderKey::of_all(fields, &delivery.event).0),
            // Not in times to come, where the clock was set back since.
            since: if delivery.again { now } else { delivery.accepted_at.min(now) },
            delivery,
        }
    }

    /// Whether this minute's sample of successes has room, and if so takes a place in it.
    pub fn sample(&self, now: Timestamp) -> bool {
        self.samples.take(now, 1, SAMPLES_A_MINUTE)
    }

    /// Whether one more fault of the host's at this destination is worth a line of the host's own log: a guest that many others leave no
    /// memory for would fill that, too.
    pub fn tells_fault(&self, now: Timestamp) -> bool {
        worth_a_line(&self.faults, now)
    }

    /// How much of an attempt is recorded.
    pub fn extent(&self, report: &InvocationReport, now: Timestamp) -> Extent {
        let size = Extent::STORED.size(report) as u64;
        if self.recorded.take(now, size, RECORDED_A_MINUTE) { Extent::STORED } else { Extent::BRIEF }
    }
}

fn worth_a_line(faults: &PerMinute, now: Timestamp) -> bool {
    faults.take(now, 1, FAULTS_A_MINUTE)
}

/// The manifest's batch with a bound on its bytes that leaves half of what may go into the function for the answers of partners.
fn bounded(batch: &Batch, limits: &Limits, settings: usize) -> Batch {
    let most = (limits.bytes_in / 2).saturating_sub(settings as u64);
    Batch { max_bytes: Some(batch.max_bytes.map_or(most, |asked| asked.min(most)).max(1)), ..batch.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_a_minute_is_free_again_in_the_next() {
        let (sum, now) = (PerMinute::default(), Timestamp::from_millis(1_800_000_000_000));
        assert!(sum.take(now, 9, 10) && sum.take(now, u64::MAX, 10));
        assert!(!sum.take(now, 1, 10));
        assert!(sum.take(now.plus(std::time::Duration::from_secs(60)), 1, 10));
    }

    #[test]
    fn faults_of_one_destination_are_worth_some_lines_a_minute() {
        let (faults, now) = (PerMinute::default(), Timestamp::from_millis(1_800_000_000_000));
        let lines = |now| (0..1_000).filter(|_| worth_a_line(&faults, now)).count();
        assert_eq!((lines(now), lines(now), lines(now.plus(std::time::Duration::from_secs(60)))), (4, 0, 4));
    }
}
