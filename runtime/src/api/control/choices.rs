//! `/api/v1/functions/{id}/choices` and `/api/v1/destinations/{id}/choices`: what a setting may be, where only the function knows.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::destinations::running;
use super::functions::{find, wanted_version};
use super::masking::MASK;
use super::trial::problem;
use crate::api::extract::{Body, id};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, FunctionId, FunctionVersion, PartnerId, Trial, WorkspaceId};

/// What is asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    /// The setting, one whose manifest says `choices_from = "function"`.
    setting: String,
    /// The other settings as they are so far; what is required may be missing.
    #[serde(default)]
    settings: Map<String, Value>,
    /// A version's id or text; without it the current one.
    version: Option<String>,
}

/// What is asked of a destination.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuestionWith {
    /// The setting, one whose manifest says `choices_from = "function"`.
    setting: String,
    /// Settings as a person is changing them, instead of those that are saved; a secret that is absent or `••••` is the saved one.
    settings: Option<Map<String, Value>>,
}

/// What a setting may be.
#[derive(Serialize, ToSchema)]
struct ChoicesView {
    /// At most 1,000, in the function's order.
    choices: Vec<ChoiceView>,
    /// How many requests the function made for them.
    requests: u64,
}

/// One thing that a setting may be.
#[derive(Serialize, ToSchema)]
struct ChoiceView {
    /// The setting's value.
    value: String,
    /// What people read instead of it; empty where the value says enough.
    label: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(of_function)).routes(routes!(of_destination))
}

/// Asks a function what a setting may be, before there is a destination. Its requests really go out, under the host's rules.
#[utoipa::path(post, path = "/api/v1/functions/{id}/choices", tag = "function-choices", params(("id" = String, Path)),
    request_body = Question, responses((status = 200, body = ChoicesView)))]
async fn of_function(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(asked): Body<Question>,
) -> Result<Json<ChoicesView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = wanted_version(&state, &actor, &function, asked.version.as_deref()).await?;
    let settings = version.manifest.with_defaults(&asked.settings);
    ask(&state, actor.tenant(), function.id, version, asked.setting, settings).await
}

/// Asks the function of a destination what a setting may be, with the settings that are saved or those that a person is changing.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/choices", tag = "destination-choices", params(("id" = String, Path)),
    request_body = QuestionWith, responses((status = 200, body = ChoicesView)))]
async fn of_destination(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(destination): Path<String>,
    Body(asked): Body<QuestionWith>,
) -> Result<Json<ChoicesView>, Problem> {
    let destination = state.store.get_destination(&actor, id(&destination)?).await?;
    let version = running(&state, &actor, &destination).await?;
    let mut settings = asked.settings.unwrap_or_else(|| destination.settings.clone());
    settings.retain(|_, value| *value != MASK);
    let mut saved = state.store.open_secrets(&destination)?;
    saved.retain(|name, _| !settings.contains_key(name));
    let settings = destination
        .with_secrets(&version.manifest, version.manifest.with_defaults(&settings), saved)
        .map_err(|error| Problem::unprocessable("invalid_settings", error.to_string()))?;
    ask(&state, actor.tenant(), destination.function, version, asked.setting, settings).await
}

async fn ask(
    state: &ApiState,
    tenant: (WorkspaceId, PartnerId),
    function: FunctionId,
    version: FunctionVersion,
    setting: String,
    settings: Map<String, Value>,
) -> Result<Json<ChoicesView>, Problem> {
    let manifest = &version.manifest;
    if manifest.settings.get(&setting).is_none_or(|setting| setting.choices_from.is_none()) {
        let shown: String = setting.chars().take(80).collect();
        let detail = format!(
            "the function `{}` {} gives no choices for `{shown}`: its manifest has no such setting with `choices_from`",
            manifest.name, manifest.version
        );
        return Err(Problem::unprocessable("no_choices", detail));
    }
    let trial = Trial {
        tenant,
        function,
        version,
        choices_of: Some(setting),
        events: Vec::new(),
        batch: false,
        settings,
        answers: None,
        now: None,
        seed: None,
        case: false,
    };
    let given = (state.trials)(trial).await.map_err(problem)?;
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let choice = |one: &Value| ChoiceView { value: text(one, "value"), label: text(one, "label") };
    let choices = given["choices"].as_array().into_iter().flatten().map(choice).collect();
    Ok(Json(ChoicesView { choices, requests: given["requests"].as_u64().unwrap_or_default() }))
}
