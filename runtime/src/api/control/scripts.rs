//! `/api/v1/functions/{id}/versions/{version}/script`: the text that a version was built of.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::functions::{find, find_version};
use crate::api::{ApiState, Problem};
use crate::model::Actor;

/// The text that a version was built of.
#[derive(Serialize, ToSchema)]
struct ScriptView {
    /// The version's id.
    version: String,
    /// The file's name, whose ending says whether it is JavaScript or TypeScript.
    #[schema(example = "handler.js")]
    file: String,
    /// All of it.
    text: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(script))
}

/// Shows what a version was built of, to its partner. There is nothing to show of one that came as a component.
#[utoipa::path(get, path = "/api/v1/functions/{id}/versions/{version}/script", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path)), responses((status = 200, body = ScriptView)))]
async fn script(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, version)): Path<(String, String)>,
) -> Result<Json<ScriptView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = find_version(&state, &actor, &function, &version).await?;
    let script = state.store.script(&actor, function.id, version).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "the version `{version}` was not built here: it came as a component, whose source its partner has"
        ))
    })?;
    Ok(Json(ScriptView { version: version.to_string(), file: script.file, text: script.text }))
}
