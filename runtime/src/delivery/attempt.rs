//! Attempt: claimed deliveries → invocation → outcomes → settlements.
//!
//! Guarantees: every claimed delivery that goes in comes out as exactly one settlement, or goes back to its lane. The settings,
//! the grant and the function version are those of the moment of the attempt, never copies from when the event was accepted.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::DeliveryConfig;
use super::caught::caught;
use super::conclude::{Concluded, Decided, conclude};
use super::prepared::{Means, Prepared, Unready};
use super::record::{Reports, redact_outcome};
use super::retry::Disposition;
use super::schedule::{Back, Ended, Fate, Item};
use super::settler::ToSettle;
use super::spans::{AttemptSpans, Unsettled};
use crate::clock::Clock;
use crate::model::{Ending, FilterReason, InvocationReport, Timestamp, Used, VersionId};
use crate::sandbox::{CacheScope, Caches, GuestEvent, Invocation, LoadError, Sandbox};
use crate::store::{NewAttempt, Settle, Settlement, Store, StoreError};
use crate::telemetry::{Answered, DeliveryMetrics, Tracer};

/// What attempts need, shared by all of them.
pub(super) struct Attempts {
    pub(super) store: Arc<Store>,
    pub(super) sandbox: Arc<Sandbox>,
    /// For schedules.
    pub(super) clock: Clock,
    /// What guests see.
    pub(super) time_of_day: Clock,
    pub(super) metrics: Arc<DeliveryMetrics>,
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) means: Arc<Means>,
    pub(super) config: DeliveryConfig,
    pub(super) caches: Arc<Caches>,
}

/// What an attempt came to.
pub(super) struct Attempted {
    pub(super) settlements: Vec<ToSettle>,
    pub(super) ended: Ended,
}

impl Attempts {
    /// One attempt at these deliveries, all of one destination and for one version, none of them claimed by anybody else.
    pub(super) async fn run(&self, prepared: &Arc<Prepared>, items: Vec<Item>) -> Attempted {
        let started_at = self.clock.now();
        let wanted = items.first().and_then(|item| item.delivery.version);
        let prepared = match self.at(prepared, wanted).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let destination = prepared.route.destination.id;
                tracing::error!(%destination, %error, "the version of a replayed delivery cannot be read");
                self.metrics.host_fault();
                let ended = Ended { events: items.len(), back: Back::Fault(items), ..Ended::default() };
                return Attempted { settlements: Vec::new(), ended };
            }
        };
        let (items, mut settlements, fates) = self.without_suppressed(&prepared, items);
        if items.is_empty() {
            return Attempted { settlements, ended: Ended { fates, ..Ended::default() } };
        }
        let tracer = self.tracer.as_ref();
        let mut spans = tracer.and_then(|tracer| AttemptSpans::begin(tracer, &items, prepared.route.version.id));
        let report = {
            let _under_way = self.metrics.invoking();
            match caught(self.invoke(&prepared, &items)).await {
                Ok(report) => report,
                Err(said) => unrun(&prepared, Ending::HostFault(format!("the host panicked: {said}"))),
            }
        };
        self.count(&report);
        spans.iter().for_each(|spans| spans.invoked(&report));
        if let Ending::HostFault(message) = &report.ending {
            let destination = prepared.route.destination.id;
            self.metrics.host_fault();
            if prepared.tells_fault(started_at) {
                tracing::error!(%destination, message, "the host could not run the function");
            }
        }
        let now = self.clock.now();
        let Concluded { decided, mut ended, failure } =
            conclude(items, &report, &prepared.policies, now, || rand::rng().next_u64());
        ended.failure = failure.map(|mut failure| {
            prepared.secrets.redact(&mut failure.message);
            Arc::new(failure)
        });
        ended.fates.extend(fates);
        let mut reports = Reports::new(&report, &prepared.secrets, decided.len());
        settlements.extend(decided.into_iter().map(|decided| {
            let span = spans.as_mut().and_then(|spans| spans.decided(&decided));
            let settlement = settlement(self, &prepared, decided, &report, &mut reports, (started_at, now), &span);
            ToSettle { settlement, span }
        }));
        spans.into_iter().for_each(AttemptSpans::undecided);
        Attempted { settlements, ended }
    }

    /// Takes out what is owed of users that were suppressed since: filtered, and nobody waits behind it any more.
    fn without_suppressed(&self, prepared: &Prepared, mut items: Vec<Item>) -> (Vec<Item>, Vec<ToSettle>, Vec<Fate>) {
        let workspace = prepared.route.destination.workspace;
        let is_suppressed = |item: &mut Item| self.store.is_user_suppressed(workspace, &item.delivery.event);
        let out: Vec<_> = items.extract_if(.., is_suppressed).collect();
        let tracer = self.tracer.as_ref();
        let settle = Settle::Filtered(FilterReason::UserSuppressed);
        let fate = |item: &Item| Some(Fate { key: item.delivery.key?, stored: item.delivery.again, over: true });
        let fates = out.iter().filter_map(fate).collect();
        (items, out.iter().map(|item| ToSettle::unattempted(tracer, item, settle)).collect(), fates)
    }

    /// What is prepared, or the same for the version that a replay wants instead of the destination's own.
    async fn at(&self, prepared: &Arc<Prepared>, wanted: Option<VersionId>) -> Result<Arc<Prepared>, StoreError> {
        let own = prepared.route.version.id;
        let Some(id) = wanted.filter(|id| *id != own) else { return Ok(Arc::clone(prepared)) };
        if let Some(kept) = prepared.replayed.get(&id) {
            return Ok(Arc::clone(&kept));
        }
        let missing = || StoreError::Damaged {
            what: "function version",
            id: id.to_string(),
            why: "a replay wants it, and it is not stored".to_owned(),
        };
        let version = self.store.version(id).await?.ok_or_else(missing)?;
        let route = Arc::new(prepared.route.at(&Arc::new(version)));
        let made = Arc::new(Prepared::new(route, &self.means, &self.config));
        if !made.is_passing() {
            prepared.replayed.insert(id, Arc::clone(&made));
        }
        Ok(made)
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

    async fn invoke(&self, prepared: &Prepared, items: &[Item]) -> InvocationReport {
        let ended = |ending| unrun(prepared, ending);
        let outlet = match &prepared.outlet {
            Ok(outlet) => Arc::clone(outlet),
            Err(Unready::Settings(why)) => {
                let answer = crate::model::Answer::InvalidSettings(why.clone());
                return ended(Ending::Answered(vec![answer; items.len()]));
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
        let reads = &prepared.route.version.manifest.reads;
        let event = |item: &Item| GuestEvent { event: reads.of(&item.delivery.event), attempt: item.delivery.attempt };
        let invocation = Invocation {
            events: items.iter().map(event).collect(),
            batch: prepared.route.version.manifest.batch.is_some(),
            settings: Arc::clone(&prepared.settings),
            limits: prepared.limits.clone(),
            outlet,
            clock: self.time_of_day,
            seed: None,
            cache: CacheScope::new(&self.caches, prepared.route.destination.id, digest, &prepared.settings),
        };
        let report = self.sandbox.invoke(&version, invocation).await;
        self.sandbox.located(digest, report, self.store.component(digest)).await
    }
}

/// The report of an invocation of which there is nothing but its ending.
fn unrun(prepared: &Prepared, ending: Ending) -> InvocationReport {
    InvocationReport {
        ending,
        requests: Vec::new(),
        log: Vec::new(),
        used: Used::default(),
        limits: prepared.limits.clone(),
    }
}

/// What to write down about one delivery's attempt.
fn settlement(
    attempts: &Attempts,
    prepared: &Prepared,
    decided: Decided,
    report: &InvocationReport,
    reports: &mut Reports<'_>,
    (started_at, now): (Timestamp, Timestamp),
    span: &Option<Box<Unsettled>>,
) -> Settlement {
    let Decided { item, mut outcome, disposition } = decided;
    let delivery = item.delivery;
    attempts.metrics.attempted(outcome.code, now.since(delivery.accepted_at));
    redact_outcome(&mut outcome, &prepared.secrets);
    tracing::debug!(
        delivery = %delivery.id, destination = %delivery.destination, attempt = delivery.attempt,
        outcome = outcome.code.as_str(), ?disposition,
        trace = span.as_ref().map(|span| tracing::field::display(span.trace())), "attempt ended"
    );
    // After failures the success has to be seen too, or the last failure would seem to be how it ended.
    let kept = match disposition {
        Disposition::Release => return plain(&delivery, disposition.settle()),
        Disposition::Delivered | Disposition::Unsupported => delivery.attempt > 1 || prepared.sample(now),
        Disposition::Dead | Disposition::RetryAt(_) => true,
    };
    let record = kept.then(|| {
        let report = reports.report(&outcome, prepared.extent(report, now));
        attempts.store.record(prepared.route.destination.workspace, delivery.id, &outcome, &report)
    });
    let attempt = NewAttempt {
        number: delivery.attempt,
        started_at,
        wall_ms: report.used.wall_ms as u64,
        version: prepared.route.version.id,
        outcome,
        record,
    };
    Settlement { attempt: Some(attempt), ..plain(&delivery, disposition.settle()) }
}

impl Disposition {
    /// How the store writes it down.
    pub(super) fn settle(self) -> Settle {
        match self {
            Self::Delivered => Settle::Delivered,
            Self::Unsupported => Settle::Filtered(FilterReason::Unsupported),
            Self::Dead => Settle::Dead,
            Self::RetryAt(at) => Settle::RetryAt(at),
            Self::Release => Settle::Release,
        }
    }
}

/// A settlement without an attempt.
pub(super) fn plain(delivery: &crate::model::ClaimedDelivery, settle: Settle) -> Settlement {
    Settlement { delivery: delivery.id, lease: delivery.lease, settle, key: delivery.key, attempt: None, instead: None }
}
