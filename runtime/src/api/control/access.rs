//! `/api/v1/functions/{id}/access`: what a version may do, for a customer who is about to let it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::functions::{find, wanted_version};
use crate::api::extract::Asked;
use crate::api::{ApiState, Problem};
use crate::catalog::access::{Access, SecretUse, access};
use crate::model::Actor;

/// What a version may do.
#[derive(Serialize, ToSchema)]
struct AccessView {
    /// The function's id.
    function: String,
    /// The version's id.
    version: String,
    /// The origins that it may reach, as its manifest has them.
    hosts: Vec<String>,
    /// The types of events that it gets.
    events: Vec<String>,
    /// The fields of those events that it is given; `*` for all. `messageId`, `type` and `receivedAt` always are.
    fields: Vec<String>,
    /// The secrets that it asks for.
    secrets: Vec<SecretView>,
    /// All of that in plain words.
    sentences: Vec<String>,
}

/// What becomes of a secret.
#[derive(Serialize, ToSchema)]
struct SecretView {
    /// The setting.
    name: String,
    /// Its name for people.
    label: String,
    /// Whether the function itself gets to read it.
    revealed: bool,
    /// Where the host writes it, such as `bearer of https://api.example.com`.
    places: Vec<String>,
}

/// Of which version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// A version's id or text; the current one if absent.
    version: Option<String>,
}

impl From<SecretUse> for SecretView {
    fn from(secret: SecretUse) -> Self {
        let SecretUse { name, label, revealed, places } = secret;
        Self { name, label, revealed, places }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(show_access))
}

/// Says what a function may do: whom it reaches, which fields of which events it gets, what becomes of secrets.
#[utoipa::path(get, path = "/api/v1/functions/{id}/access", tag = "functions", params(("id" = String, Path), Which),
    responses((status = 200, body = AccessView)))]
async fn show_access(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<AccessView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = wanted_version(&state, &actor, &function, which.version.as_deref()).await?;
    let Access { hosts, events, fields, secrets, sentences } = access(&version.manifest);
    let secrets = secrets.into_iter().map(SecretView::from).collect();
    let (function, version) = (function.id.to_string(), version.id.to_string());
    Ok(Json(AccessView { function, version, hosts, events, fields, secrets, sentences }))
}
