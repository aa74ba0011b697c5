//! `/api/v1/functions/{id}/test` and `/api/v1/destinations/{id}/test`: tries a stored version on an event of whoever asks, with
//! settings of theirs or with those that a destination has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::destinations::{check_settings, running};
use super::functions::{find, wanted_version};
use crate::api::extract::{Body, id};
use crate::api::{ApiState, Problem};
use crate::catalog::manifest::MAX_BATCH;
use crate::model::{Actor, Event, EventType, Manifest, OutcomeCode, Timestamp, Trial, TrialError};

/// What to try. Exactly one of `event` and `events`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToTry {
    /// One event, for the handler of its type. It is given to the function as it is.
    event: Option<Map<String, Value>>,
    /// Several events, for the batch handler.
    #[schema(min_items = 1, max_items = 1000)]
    events: Option<Vec<Map<String, Value>>>,
    /// The settings, as a customer would save them.
    #[serde(default)]
    settings: Map<String, Value>,
    /// Answers in their order, each `{"status":200,"headers":{},"body":…}` or `{"error":"connection refused"}`; when they
    /// are used up, `200 {}`. Without `answers` requests really go out, under the host's rules.
    #[schema(value_type = Option<Vec<Object>>)]
    answers: Option<Vec<Value>>,
    /// A version's id or text; without it the current one.
    version: Option<String>,
    /// Fixes the function's clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    now: Option<Timestamp>,
    /// Fixes the function's randomness.
    seed: Option<u64>,
}

/// With what to try a destination.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToTryWith {
    /// The event; absent for one that says it is a test, of the first type that the function takes.
    event: Option<Map<String, Value>>,
}

/// What a test of a destination came to.
#[derive(Serialize, ToSchema)]
struct Tested {
    /// Whether the partner took it.
    ok: bool,
    /// `outcome`, `requests`, `log`, `used` and `limits`.
    #[schema(value_type = Object)]
    report: Value,
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(test)).routes(routes!(test_destination))
}

/// Runs a version once in the sandbox and reports what it did; no delivery is touched.
#[utoipa::path(post, path = "/api/v1/functions/{id}/test", tag = "functions", params(("id" = String, Path)),
    request_body = ToTry,
    responses((status = 200, body = Object,
        description = "`outcome`, `requests`, `log`, `used` and `limits`; for `events` also `outcomes`")))]
async fn test(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(body): Body<ToTry>,
) -> Result<Json<Value>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let (events, batch) = events(&body, state.clock.now())?;
    let version = wanted_version(&state, &actor, &function, body.version.as_deref()).await?;
    check_settings(&state, &version.manifest, &body.settings, &BTreeSet::new())?;
    let settings = version.manifest.with_defaults(&body.settings);
    let answers = body.answers.map(|answers| Value::from(answers).to_string());
    let (function, now, seed) = (function.id, body.now, body.seed);
    let (tenant, choices_of, case) = (actor.tenant(), None, false);
    let trial = Trial { tenant, function, version, choices_of, events, batch, settings, answers, now, seed, case };
    Ok(Json((state.trials)(trial).await.map_err(problem)?))
}

/// Runs what a destination runs once, with its settings, and really sends what it sends: does the partner take it? The
/// destination may be off; no delivery is touched.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/test", tag = "destinations", params(("id" = String, Path)),
    request_body = ToTryWith, responses((status = 200, body = Tested)))]
async fn test_destination(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(destination): Path<String>,
    Body(body): Body<ToTryWith>,
) -> Result<Json<Tested>, Problem> {
    let destination = state.store.get_destination(&actor, id(&destination)?).await?;
    let version = running(&state, &actor, &destination).await?;
    let now = state.clock.now();
    let event = body.event.unwrap_or_else(|| sample(&version.manifest, now));
    let event = Event::from_json(&event, now);
    let event = event.map_err(|error| Problem::unprocessable("invalid_event", error.to_string()))?;
    // They fit when they were saved; the version that is followed may have changed since.
    let manifest = &version.manifest;
    check_settings(&state, manifest, &destination.settings, &destination.secrets.keys().cloned().collect())?;
    let (defaults, secrets) = (manifest.with_defaults(&destination.settings), state.store.open_secrets(&destination)?);
    let settings = destination
        .with_secrets(manifest, defaults, secrets)
        .map_err(|error| Problem::unprocessable("invalid_settings", error.to_string()))?;
    let (function, events) = (destination.function, vec![event]);
    let (tenant, batch, case) = (actor.tenant(), false, false);
    let (choices_of, answers, now, seed) = (None, None, None, None);
    let trial = Trial { tenant, function, version, choices_of, events, batch, settings, answers, now, seed, case };
    let report = (state.trials)(trial).await.map_err(problem)?;
    Ok(Json(Tested { ok: report["outcome"]["code"] == OutcomeCode::Delivered.as_str(), report }))
}

/// An event that says that it is a test.
fn sample(manifest: &Manifest, now: Timestamp) -> Map<String, Value> {
    // A manifest names at least one type.
    let kind = manifest.events.first().copied().unwrap_or(EventType::Track);
    let id = "tidegate-connection-test";
    let event = json!({
        "type": kind, "event": "Connection Test", "name": "Connection Test", "userId": id, "previousId": id, "groupId": id,
        "messageId": format!("{id}-{}", now.as_millis()), "timestamp": now, "properties": {}, "traits": {}, "context": {},
    });
    event.as_object().cloned().unwrap_or_default()
}

fn events(body: &ToTry, now: Timestamp) -> Result<(Vec<Event>, bool), Problem> {
    let invalid = |why: String| Problem::unprocessable("invalid_event", why);
    let (events, batch) = match (&body.event, &body.events) {
        (Some(event), None) => (std::slice::from_ref(event), false),
        (None, Some(events)) => (&events[..], true),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("give either `event`, one object, or `events`, a list of them".to_owned()));
        }
    };
    if events.is_empty() || events.len() > MAX_BATCH as usize {
        return Err(invalid(format!("`events` has {} events; 1 to {MAX_BATCH} are taken", events.len())));
    }
    let read = |event: &Map<String, Value>| Event::from_json(event, now).map_err(|error| invalid(error.to_string()));
    Ok((events.iter().map(read).collect::<Result<_, _>>()?, batch))
}

pub(super) fn problem(error: TrialError) -> Problem {
    let detail = error.to_string();
    match error {
        TrialError::Busy(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
        TrialError::Share(_) => Problem::too_many("too_many_trials", detail, Duration::from_secs(1)),
        TrialError::Settings(_) => Problem::unprocessable("invalid_settings", detail),
        TrialError::Answers(_) => Problem::unprocessable("invalid_answers", detail),
        TrialError::NoChoices(_) => Problem::unprocessable("no_choices", detail),
        TrialError::Unusable(_) => Problem::unprocessable("invalid_component", detail),
        TrialError::Host(_) => {
            tracing::error!(error = %detail, "a function could not be tried");
            let shown = "the host could not run the function, through no fault of it; its log says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", shown)
        }
    }
}
