//! What the host finds when it tries an upload: its cases, in the sandbox that deliveries have.
//!
//! Guarantees: nothing goes out, for cases bring their answers; all cases of an upload take no longer than a bounded time.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::api::ApiState;
use crate::catalog::cases::{Case, NOW, SEED};
use crate::catalog::settings::validate;
use crate::model::{Actor, CaseResult, Event, FunctionVersion, Trial};

/// How long all cases of one upload may take: a hundred that each use up their processor time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that are kept of how one case differed, and characters of each: enough to see what is wrong.
const LINES: usize = 10;
const CHARACTERS: usize = 400;

/// Runs an upload's cases.
pub(super) async fn run(state: &ApiState, version: &FunctionVersion, cases: Vec<(String, Case)>) -> Vec<CaseResult> {
    let until = Instant::now() + PATIENCE;
    let mut results = Vec::with_capacity(cases.len());
    for (file, case) in cases {
        let differences = match tokio::time::timeout_at(until, differences(state, version, &case)).await {
            Ok(differences) => differences,
            Err(_) => vec![format!("not run: the cases before it took {} s, the most for all", PATIENCE.as_secs())],
        };
        let cut = |line: String| line.chars().take(CHARACTERS).collect();
        results.push(CaseResult {
            file,
            events: case.types(),
            name: case.name,
            passed: differences.is_empty(),
            differences: differences.into_iter().take(LINES).map(cut).collect(),
        });
    }
    results
}

/// How a run differs from what the case expects; why there was none counts as a difference.
async fn differences(state: &ApiState, version: &FunctionVersion, case: &Case) -> Vec<String> {
    if let Err(errors) = validate(&version.manifest, &case.settings) {
        return errors.iter().map(|error| format!("settings: {error}")).collect();
    }
    let events: Result<Vec<_>, _> = case.given().map(|event| Event::from_json(event, NOW)).collect();
    let events = match events {
        Ok(events) => events,
        Err(error) => return vec![format!("event: {error}")],
    };
    let trial = Trial {
        // Those of an upload have places of their own.
        tenant: (Actor::NO_WORKSPACE, Actor::NO_PARTNER),
        function: version.function,
        version: version.clone(),
        choices_of: None,
        events,
        batch: case.events.is_some(),
        settings: version.manifest.with_defaults(&case.settings),
        answers: Some(Value::from(case.answers.clone()).to_string()),
        now: Some(NOW),
        seed: Some(SEED),
        case: true,
    };
    match (state.trials)(trial).await {
        Ok(report) => case.differences(&report),
        Err(error) => vec![error.to_string()],
    }
}
