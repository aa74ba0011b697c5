//! Attempt: claimed deliveries → invocation → outcomes → settlements.
//!
//! Guarantees: every claimed delivery that goes in comes out as exactly one settlement. The settings, the grant and
//! the function version are those of the moment of the attempt, never copies from when the event was accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use rand::Rng;
use serde_json::{Map, Value};

use super::Parts;
use super::classify::classify;
use super::record::{self, STORED_BODY_BYTES};
use super::retry::{Disposition, RetryPolicy};
use crate::clock::Clock;
use crate::egress::{Gate, Grant, GrantedGate, HandleKey, Outlet, PolicyError, Secrets};
use crate::model::{
    Batch, ClaimedDelivery, DestinationId, Ending, FilterReason, InvocationReport, Limits, Outcome, Timestamp, Used,
    VersionId,
};
use crate::sandbox::{CacheScope, Caches, GuestEvent, Invocation, LoadError, Sandbox};
use crate::store::{AttemptRecord, DestinationRoute, Settle, Settlement, Store, StoreError};
use crate::telemetry::{Answered, DeliveryMetrics};

/// Full records of successes kept for each destination in a minute: enough to see what a working request looks like.
const SAMPLES_A_MINUTE: u64 = 10;

/// What attempts need, shared by all of them.
pub(super) struct Attempts {
    pub(super) store: Arc<Store>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) gate: Arc<Gate>,
    pub(super) limits: Limits,
    pub(super) retry: RetryPolicy,
    pub(super) clock: Clock,
    metrics: Arc<DeliveryMetrics>,
    /// By destination, and by the version that a replay wants.
    prepared: DashMap<(DestinationId, Option<VersionId>), Arc<Prepared>>,
    caches: Arc<Caches>,
    handles: HandleKey,
}

/// What is the same for every attempt at a destination until somebody changes it.
struct Prepared {
    /// What this was made from: another route means that somebody changed something.
    from: Arc<DestinationRoute>,
    route: Arc<DestinationRoute>,
    /// What the function gets: handles in place of secrets.
    settings: Arc<str>,
    outlet: Result<Arc<dyn Outlet>, Unready>,
    limits: Limits,
    secrets: Secrets,
    samples: AtomicU64,
}

/// Why a destination's function cannot be run.
enum Unready {
    /// The settings do not go together with the function: the customer's to repair.
    Settings(String),
    /// The host cannot read a secret.
    Host(String),
}

/// What an attempt came to.
pub(super) struct Attempted {
    pub(super) settlements: Vec<Settlement>,
    pub(super) host_fault: bool,
}

impl Attempts {
    pub(super) fn new(parts: Parts, retry: RetryPolicy) -> Self {
        let Parts { store, sandbox, gate, limits, clock, metrics } = parts;
        let (prepared, caches, handles) = (DashMap::new(), Arc::default(), HandleKey::random());
        Self { store, sandbox, gate, limits, retry, clock, metrics, prepared, caches, handles }
    }

    /// One attempt at each of these deliveries, all of one destination, none of them claimed by anybody else. Those that are to run the
    /// same version share an invocation.
    pub(super) async fn run(&self, destination: DestinationId, deliveries: Vec<ClaimedDelivery>) -> Attempted {
        // Deleted, paused or switched off since the claim: the store knows what becomes of what such a destination is owed.
        let route = self.store.routes().destination(destination).filter(|route| route.destination.is_served()).cloned();
        let Some(route) = route else {
            self.prepared.retain(|(prepared, _), _| *prepared != destination);
            return Attempted { settlements: released(&deliveries), host_fault: false };
        };
        let mut all = Attempted { settlements: Vec::with_capacity(deliveries.len()), host_fault: false };
        for together in deliveries.chunk_by(|one, next| one.version == next.version) {
            let attempted = match self.prepare(&route, together[0].version).await {
                Ok(prepared) => self.attempt(&prepared, together).await,
                Err(error) => {
                    tracing::error!(%destination, %error, "the version of a replayed delivery cannot be read");
                    Attempted { settlements: released(together), host_fault: true }
                }
            };
            all.settlements.extend(attempted.settlements);
            all.host_fault |= attempted.host_fault;
        }
        all
    }

    async fn attempt(&self, prepared: &Prepared, deliveries: &[ClaimedDelivery]) -> Attempted {
        let started_at = self.clock.now();
        let report = {
            let _under_way = self.metrics.invoking();
            self.invoke(prepared, deliveries).await
        };
        self.count(&report);
        let outcomes = classify(&report, deliveries.len());
        let host_fault = matches!(report.ending, Ending::HostFault(_));
        if let Ending::HostFault(message) = &report.ending {
            tracing::error!(destination = %prepared.route.destination.id, message, "the host could not run the function");
        }
        let settlements = deliveries
            .iter()
            .zip(outcomes)
            .map(|(delivery, outcome)| self.settlement(prepared, delivery, outcome, &report, started_at))
            .collect();
        Attempted { settlements, host_fault }
    }

    fn count(&self, report: &InvocationReport) {
        self.metrics.invoked(report.used.wall_ms, report.used.cpu_ms);
        for request in &report.requests {
            let answered = match (request.denied, request.status) {
                (true, _) => Answered::Denied,
                (false, Some(status)) => Answered::Status(status),
                (false, None) => Answered::Failed,
            };
            self.metrics.requested(answered, Duration::from_millis(request.ms));
        }
    }

    /// How the destination's current version gathers events, if it does.
    pub(super) fn batch(&self, destination: DestinationId) -> Option<Batch> {
        self.store.routes().destination(destination)?.version.manifest.batch.clone()
    }

    async fn prepare(
        &self,
        from: &Arc<DestinationRoute>,
        version: Option<VersionId>,
    ) -> Result<Arc<Prepared>, StoreError> {
        let key = (from.destination.id, version);
        if let Some(prepared) = self.prepared.get(&key)
            && Arc::ptr_eq(&prepared.from, from)
        {
            return Ok(Arc::clone(&prepared));
        }
        let route = match version {
            None => Arc::clone(from),
            Some(id) => match self.store.version(id).await? {
                Some(version) => Arc::new(from.at(&Arc::new(version))),
                None => {
                    let why = "a replay wants it, and it is not stored".to_owned();
                    return Err(StoreError::Damaged { what: "function version", id: id.to_string(), why });
                }
            },
        };
        // The store wrote this text itself; were it no object, the function would have no settings.
        let mut settings: Map<String, Value> = serde_json::from_str(&route.settings_json).unwrap_or_default();
        let (outlet, secrets) = match self.granted(&route, &mut settings) {
            Ok((grant, secrets)) => {
                let gate = GrantedGate::new(Arc::clone(&self.gate), grant, secrets.clone());
                (Ok(Arc::new(gate) as Arc<dyn Outlet>), secrets)
            }
            Err(unready) => (Err(unready), Secrets::default()),
        };
        let passing = matches!(outlet, Err(Unready::Host(_)));
        let prepared = Arc::new(Prepared {
            settings: Value::Object(settings).to_string().into(),
            outlet,
            limits: route.version.manifest.limits.within(&self.limits),
            secrets,
            samples: AtomicU64::new(0),
            from: Arc::clone(from),
            route,
        });
        if !passing {
            self.prepared.insert(key, Arc::clone(&prepared));
        }
        Ok(prepared)
    }

    /// Whom the function may reach, and its secrets, for which handles stand in the settings afterwards.
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
        let (wrong, scope) = (|error: PolicyError| Unready::Settings(error.to_string()), destination.id.to_string());
        let grant = Grant::new(&manifest.egress.allow, settings, &scope).map_err(wrong)?;
        let secrets = Secrets::take(manifest, settings, &scope, &self.handles).map_err(wrong)?;
        Ok((grant, secrets))
    }

    async fn invoke(&self, prepared: &Prepared, deliveries: &[ClaimedDelivery]) -> InvocationReport {
        let ended = |ending| InvocationReport {
            ending,
            requests: Vec::new(),
            log: Vec::new(),
            used: Used::default(),
            limits: prepared.limits.clone(),
        };
        let outlet = match &prepared.outlet {
            Ok(outlet) => Arc::clone(outlet),
            Err(Unready::Settings(why)) => {
                let answer = crate::model::Answer::InvalidSettings(why.clone());
                return ended(Ending::Answered(vec![answer; deliveries.len()]));
            }
            Err(Unready::Host(why)) => return ended(Ending::HostFault(why.clone())),
        };
        let digest = prepared.route.version.digest;
        let version = match self.sandbox.load(digest, self.store.component(digest)).await {
            Ok(version) => version,
            Err(LoadError::Unusable { reason, .. }) => return ended(Ending::Trapped(reason)),
            Err(error @ (LoadError::Unreadable { .. } | LoadError::WrongBytes { .. })) => {
                return ended(Ending::HostFault(error.to_string()));
            }
        };
        let events = deliveries
            .iter()
            .map(|delivery| GuestEvent { event: delivery.event.clone(), attempt: delivery.attempt })
            .collect();
        let invocation = Invocation {
            events,
            batch: prepared.route.version.manifest.batch.is_some(),
            settings: Arc::clone(&prepared.settings),
            limits: prepared.limits.clone(),
            outlet,
            clock: self.clock,
            seed: None,
            cache: CacheScope::new(&self.caches, prepared.route.destination.id, digest, &prepared.settings),
        };
        let report = self.sandbox.invoke(&version, invocation).await;
        self.sandbox.located(digest, report, self.store.component(digest)).await
    }

    fn settlement(
        &self,
        prepared: &Prepared,
        delivery: &ClaimedDelivery,
        mut outcome: Outcome,
        report: &InvocationReport,
        started_at: Timestamp,
    ) -> Settlement {
        let now = self.clock.now();
        self.metrics.attempted(outcome.code, now.since(delivery.accepted_at));
        let disposition =
            self.retry.decide(&outcome, delivery.attempt, delivery.accepted_at, now, rand::rng().next_u64());
        let settle = match disposition {
            Disposition::Delivered => Settle::Delivered,
            Disposition::Unsupported => Settle::Filtered(FilterReason::Unsupported),
            Disposition::Dead => Settle::Dead,
            Disposition::RetryAt(at) => Settle::RetryAt(at),
            Disposition::Release => Settle::Release,
        };
        record::redact_outcome(&mut outcome, &prepared.secrets);
        tracing::debug!(
            delivery = %delivery.id, destination = %delivery.destination, attempt = delivery.attempt,
            outcome = outcome.code.as_str(), ?disposition, "attempt ended"
        );
        let keep = match disposition {
            Disposition::Release => false,
            // After failures the success has to be seen too, or the last failure would seem to be how it ended.
            Disposition::Delivered | Disposition::Unsupported => delivery.attempt > 1 || prepared.sample(now),
            Disposition::Dead | Disposition::RetryAt(_) => true,
        };
        let attempt = keep.then(|| AttemptRecord {
            number: delivery.attempt,
            started_at,
            wall_ms: report.used.wall_ms as u64,
            version: prepared.route.version.id,
            report: record::report(report, &outcome, &prepared.secrets, STORED_BODY_BYTES),
            outcome,
        });
        Settlement { delivery: delivery.id, lease: delivery.lease, settle, attempt }
    }
}

impl Prepared {
    /// Whether this minute's sample of successes has room, and if so takes a place in it.
    fn sample(&self, now: Timestamp) -> bool {
        let minute = now.as_millis() / 60_000;
        let next = |packed: u64| {
            let (then, taken) = (packed >> 8, packed & 0xff);
            match (then == minute, taken < SAMPLES_A_MINUTE) {
                (false, _) => Some(minute << 8 | 1),
                (true, true) => Some(packed + 1),
                (true, false) => None,
            }
        };
        self.samples.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Settlements that give these deliveries back without costing an attempt.
pub(super) fn released(deliveries: &[ClaimedDelivery]) -> Vec<Settlement> {
    deliveries
        .iter()
        .map(|delivery| Settlement {
            delivery: delivery.id,
            lease: delivery.lease,
            settle: Settle::Release,
            attempt: None,
        })
        .collect()
}
