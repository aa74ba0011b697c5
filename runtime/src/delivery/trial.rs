//! Trial: a function version and an event → the report of one run, for whoever writes the function.
//!
//! Guarantees: the sandbox, the gate, the rules and the limits are those of deliveries, but no delivery, cache or
//! connection of a destination is touched; with canned answers nothing goes out; so many run at a time and no more, and no tenant
//! has all of their places.
//! Leaves to others: who may ask, and whether the settings fit (`api`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::classify::classify;
use super::record::{Extent, Reports, redact_outcome};
use crate::clock::Clock;
use crate::egress::{Answers, Gate, Grant, GrantedGate, HandleKey, Outlet, Secrets};
use crate::model::{
    Ceilings, Ending, FunctionId, InvocationReport, OutcomeCode, PartnerId, Trial, TrialError, WorkspaceId,
};
use crate::sandbox::{CacheScope, Choice, Choices, GuestEvent, Invocation, LoadError, Sandbox};
use crate::store::Store;

/// Trials at a time, over all partners, and as many cases of uploads: people try by hand, and deliveries need the processors too.
const CONCURRENT: usize = 4;

/// Of these, by hand, for one tenant: a trial may last as long as its deadline, and others want to try something meanwhile.
const SHARE: usize = 2;

/// Bytes of each body in a report: whole for what partners usually send and answer, and 32 of them are 4 MiB.
const SHOWN: Extent = Extent { body_bytes: 64 << 10, ..Extent::WHOLE };

/// Runs trials.
pub struct Trials {
    store: Arc<Store>,
    sandbox: Arc<Sandbox>,
    gate: Arc<Gate>,
    limits: Ceilings,
    permits: Arc<Semaphore>,
    /// What each tenant that tries something has of them.
    shares: Mutex<HashMap<(WorkspaceId, PartnerId), Arc<Semaphore>>>,
    /// Of the cases of uploads: these are one at a time for each partner, and nobody who tries by hand keeps them waiting.
    cases: Arc<Semaphore>,
    handles: HandleKey,
    /// Where guests run.
    guests: Handle,
}

impl Trials {
    /// Trials of what is in this store, under the same limits as deliveries and on the same threads.
    pub fn new(store: Arc<Store>, sandbox: Arc<Sandbox>, gate: Arc<Gate>, limits: Ceilings, guests: Handle) -> Self {
        let places = || Arc::new(Semaphore::new(CONCURRENT));
        let (permits, cases, handles) = (places(), places(), HandleKey::random());
        Self { store, sandbox, gate, limits, permits, shares: Mutex::default(), cases, handles, guests }
    }

    /// One run, and its report. That of a batch has the `outcomes` of all events, and as `outcome` the first that is
    /// not `delivered`. Secrets are named in it, not shown.
    ///
    /// Nothing of it happens on the caller's threads, which are those of the listeners; who no longer waits for it has its place
    /// taken until it ends.
    ///
    /// # Errors
    ///
    /// See [`TrialError`].
    pub async fn run(self: Arc<Self>, trial: Trial) -> Result<Value, TrialError> {
        let busy = TrialError::Busy(CONCURRENT);
        let permits = match trial.case {
            true => (Arc::clone(&self.cases).acquire_owned().await.map_err(|_| busy)?, None),
            false => {
                let share = self.share(trial.tenant)?;
                (Arc::clone(&self.permits).try_acquire_owned().map_err(|_| busy)?, Some(share))
            }
        };
        let guests = self.guests.clone();
        let run = guests.spawn(async move {
            let _permits = permits;
            let ran = self.ran(&trial).await?;
            // A report of whole bodies is searched for milliseconds: that holds up no other guest's next step.
            let shown = tokio::task::spawn_blocking(move || ran.shown(&trial));
            shown.await.map_err(|error| TrialError::Host(error.to_string()))?
        });
        run.await.map_err(|error| TrialError::Host(error.to_string()))?
    }

    /// One of the tenant's own places.
    fn share(&self, tenant: (WorkspaceId, PartnerId)) -> Result<OwnedSemaphorePermit, TrialError> {
        let own = {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever tries something holds a second reference; the others need not be remembered.
            shares.retain(|_, own| Arc::strong_count(own) > 1);
            Arc::clone(shares.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(SHARE))))
        };
        own.try_acquire_owned().map_err(|_| TrialError::Share(SHARE))
    }

    async fn ran(&self, trial: &Trial) -> Result<Ran, TrialError> {
        let digest = trial.version.digest;
        let version = self.sandbox.load(digest, self.store.component(digest)).await.map_err(|error| match error {
            LoadError::Unusable { .. } => TrialError::Unusable(error.to_string()),
            LoadError::Unreadable { .. } | LoadError::WrongBytes { .. } => TrialError::Host(error.to_string()),
        })?;
        let (invocation, secrets) = self.invocation(trial)?;
        let (choices, done) = match &trial.choices_of {
            Some(setting) => {
                let (given, done) = self.sandbox.choices(&version, &invocation, setting).await;
                (Some(given), done)
            }
            None => (None, self.sandbox.invoke(&version, invocation).await),
        };
        let done = self.sandbox.located(digest, done, self.store.component(digest)).await;
        Ok(Ran { choices, done, secrets })
    }

    fn invocation(&self, trial: &Trial) -> Result<(Invocation, Secrets), TrialError> {
        let manifest = &trial.version.manifest;
        let (mut settings, fixed) = (trial.settings.clone(), HandleKey::fixed());
        let (scope, handles) = match trial.case {
            true => ("local".to_owned(), &fixed),
            false => (scope(trial.function, trial.tenant), &self.handles),
        };
        let (grant, secrets) = Grant::with_secrets(manifest, &mut settings, &scope, handles)
            .map_err(|error| TrialError::Settings(error.to_string()))?;
        let bad = |error: crate::egress::AnswersError| TrialError::Answers(error.to_string());
        let outlet: Arc<dyn Outlet> = match &trial.answers {
            Some(answers) => {
                let answers = Answers::parse(answers).map_err(bad)?;
                Arc::new(Answers::new(answers, grant, self.gate.reach().clone(), secrets.clone()).map_err(bad)?)
            }
            None => Arc::new(GrantedGate::new(Arc::clone(&self.gate), grant, secrets.clone())),
        };
        let invocation = Invocation {
            events: trial
                .events
                .iter()
                .map(|event| GuestEvent { event: manifest.reads.of(event), attempt: 1 })
                .collect(),
            batch: trial.batch,
            settings: Value::Object(settings).to_string().into(),
            limits: manifest.limits.within(&self.limits.of(trial.function)),
            outlet,
            clock: trial.now.map_or(Clock::System, Clock::Fixed),
            seed: trial.seed,
            cache: CacheScope::alone(),
        };
        Ok((invocation, secrets))
    }
}

/// For whom connections are kept and handles are made: two tenants that try the same function share neither.
fn scope(function: FunctionId, (workspace, partner): (WorkspaceId, PartnerId)) -> String {
    format!("trial of {function} for {workspace} and {partner}")
}

/// What a trial came to, before anybody may see it.
struct Ran {
    /// If it was asked for choices, those.
    choices: Option<Choices>,
    done: InvocationReport,
    secrets: Secrets,
}

impl Ran {
    fn shown(self, trial: &Trial) -> Result<Value, TrialError> {
        let Self { choices: given, done, secrets } = self;
        if let Some(given) = given {
            return choices(given, &done, &secrets);
        }
        if let Ending::HostFault(why) = &done.ending {
            return Err(TrialError::Host(why.clone()));
        }
        let mut outcomes = classify(&done, trial.events.len());
        outcomes.iter_mut().for_each(|outcome| redact_outcome(outcome, &secrets));
        let first = outcomes.iter().find(|outcome| outcome.code != OutcomeCode::Delivered).or(outcomes.first());
        let first = first.ok_or_else(|| TrialError::Host("there was no event".to_owned()))?;
        let extent = if trial.case { Extent::WHOLE } else { SHOWN };
        let mut report = Reports::new(&done, &secrets, 1).report(first, extent);
        if trial.batch {
            // Outcomes have only texts and numbers.
            report["outcomes"] = serde_json::to_value(&outcomes).unwrap_or_default();
        }
        Ok(report)
    }
}

/// The choices that a function gave, or why it gave none, without secrets.
fn choices(given: Choices, done: &InvocationReport, secrets: &Secrets) -> Result<Value, TrialError> {
    match given {
        Some(Ok(choices)) => {
            let shown = |mut text: String| {
                secrets.redact(&mut text);
                text
            };
            let choices = choices
                .into_iter()
                .map(|Choice { value, label }| json!({ "value": shown(value), "label": shown(label) }));
            Ok(json!({ "choices": choices.collect::<Vec<_>>(), "requests": done.requests.len() }))
        }
        Some(Err(mut why)) => {
            secrets.redact(&mut why);
            Err(TrialError::NoChoices(why))
        }
        None => {
            if let Ending::HostFault(why) = &done.ending {
                return Err(TrialError::Host(why.clone()));
            }
            let mut outcomes = classify(done, 1);
            outcomes.iter_mut().for_each(|outcome| redact_outcome(outcome, secrets));
            Err(TrialError::NoChoices(outcomes.pop().map(|outcome| outcome.message).unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Timestamp};

    #[test]
    fn tenants_that_try_the_same_function_share_no_connections_and_no_handles() {
        let at = |ms| Timestamp::from_millis(ms);
        let function = FunctionId::new(at(1));
        let mine = (WorkspaceId::new(at(1)), Actor::NO_PARTNER);
        for theirs in [(WorkspaceId::new(at(2)), Actor::NO_PARTNER), (mine.0, PartnerId::new(at(1)))] {
            assert_ne!(scope(function, mine), scope(function, theirs));
        }
        assert_ne!(scope(function, mine), scope(FunctionId::new(at(2)), mine));
    }
}
