//! `/api/v1/sources`: where a customer's events enter.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, PageQuery, id};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, Source};
use crate::store::SourcePatch;

/// A source.
#[derive(Serialize, ToSchema)]
struct SourceView {
    /// Its id.
    id: String,
    /// The workspace that it belongs to.
    workspace: String,
    /// Its name, unique in the workspace.
    name: String,
    /// What clients show. It identifies, it does not protect.
    write_key: String,
    /// Whether it takes events.
    enabled: bool,
    /// When it was made.
    created_at: String,
    /// Events of it that were not taken since the host was started, by reason.
    rejected: BTreeMap<&'static str, u64>,
}

/// A source to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSource {
    /// Its name, unique in the workspace.
    name: String,
}

/// A change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SourceChange {
    /// A new name.
    name: Option<String>,
    /// Whether it takes events.
    enabled: Option<bool>,
}

impl SourceView {
    fn of(state: &ApiState, source: Source) -> Self {
        let rejected = state.ingest.counts.of(source.id);
        Self {
            id: source.id.to_string(),
            workspace: source.workspace.to_string(),
            name: source.name,
            write_key: source.write_key,
            enabled: source.enabled,
            created_at: source.created_at.to_string(),
            rejected: rejected.into_iter().map(|(code, events)| (code.as_str(), events)).collect(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, change, delete))
}

/// Makes a source.
#[utoipa::path(post, path = "/api/v1/sources", tag = "sources", request_body = NewSource,
    responses((status = 201, body = SourceView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<NewSource>,
) -> Result<(StatusCode, Json<SourceView>), Problem> {
    super::check_name("name", &new.name)?;
    let source = state.store.create_source(&actor, &new.name).await?;
    Ok((StatusCode::CREATED, Json(SourceView::of(&state, source))))
}

/// Lists sources, oldest first.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", params(PageQuery),
    responses((status = 200, body = List<SourceView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<SourceView>>, Problem> {
    let page = state.store.list_sources(&actor, &page.into()).await?;
    Ok(Json(List::of(page, |source| SourceView::of(&state, source))))
}

/// Shows a source.
#[utoipa::path(get, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = SourceView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(source): Path<String>,
) -> Result<Json<SourceView>, Problem> {
    let source = state.store.get_source(&actor, id(&source)?).await?;
    Ok(Json(SourceView::of(&state, source)))
}

/// Changes a source.
#[utoipa::path(patch, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    request_body = SourceChange, responses((status = 200, body = SourceView)))]
async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(source): Path<String>,
    Body(change): Body<SourceChange>,
) -> Result<Json<SourceView>, Problem> {
    change.name.iter().try_for_each(|name| super::check_name("name", name))?;
    let patch = SourcePatch { name: change.name, enabled: change.enabled };
    let source = state.store.update_source(&actor, id(&source)?, patch).await?;
    Ok(Json(SourceView::of(&state, source)))
}

/// Deletes a source and its connections. What is still owed through them is filtered.
#[utoipa::path(delete, path = "/api/v1/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(source): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.delete_source(&actor, id(&source)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
