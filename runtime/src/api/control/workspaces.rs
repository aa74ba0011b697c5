//! `/api/v1/workspaces`: the customers' tenants.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, TenantChange, TenantToMake, TenantView, check_tenant_name};
use crate::api::extract::{Asked, Body, PageQuery};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, WorkspaceId};
use crate::store::Destroyed;

/// A workspace to be destroyed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Destruction {
    /// Its name once more, so that nothing is destroyed by a slip.
    confirm: String,
}

/// What is left of a workspace that was destroyed.
#[derive(Serialize, ToSchema)]
struct DestroyedView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// Whether there still is one of this id and name, empty: the one in which operators work is always there.
    remains: bool,
    /// The id of the master key that is in use since; with the one before, no older copy of the workspace's key opens.
    key: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, change, delete)).routes(routes!(destroy))
}

/// Makes a workspace.
#[utoipa::path(post, path = "/api/v1/workspaces", tag = "workspaces",
    request_body = TenantToMake, responses((status = 201, body = TenantView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<TenantToMake>,
) -> Result<(StatusCode, Json<TenantView>), Problem> {
    check_tenant_name(&new.name)?;
    let made = state.store.create_tenant::<WorkspaceId>(&actor, &new.name).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Lists workspaces, oldest first: an operator sees all, others their own.
#[utoipa::path(get, path = "/api/v1/workspaces", tag = "workspaces", params(PageQuery),
    responses((status = 200, body = List<TenantView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<TenantView>>, Problem> {
    let page = state.store.list_tenants::<WorkspaceId>(&actor, &page.into()).await?;
    Ok(Json(List::of(page, TenantView::from)))
}

/// Shows a workspace, by id or name.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path)), responses((status = 200, body = TenantView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<Json<TenantView>, Problem> {
    Ok(Json(state.store.find_tenant::<WorkspaceId>(&actor, &key).await?.into()))
}

/// Renames a workspace.
#[utoipa::path(patch, path = "/api/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path)), request_body = TenantChange, responses((status = 200, body = TenantView)))]
async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
    Body(change): Body<TenantChange>,
) -> Result<Json<TenantView>, Problem> {
    change.name.iter().try_for_each(|name| check_tenant_name(name))?;
    let tenant = state.store.find_tenant::<WorkspaceId>(&actor, &key).await?;
    Ok(Json(state.store.rename_tenant(&actor, tenant.id, change.name).await?.into()))
}

/// Deletes a workspace that owns nothing any more, and its keys.
#[utoipa::path(delete, path = "/api/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<StatusCode, Problem> {
    let tenant = state.store.find_tenant::<WorkspaceId>(&actor, &key).await?;
    state.store.delete_workspace(&actor, tenant.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Destroys a workspace with everything in it, owed or not: sources, destinations, links, keys, events, attempts, and the key that they
/// were sealed with. Backups from before are as they were.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/destroy", tag = "workspaces",
    params(("id" = String, Path)), request_body = Destruction, responses((status = 200, body = DestroyedView)))]
async fn destroy(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
    Body(destruction): Body<Destruction>,
) -> Result<Json<DestroyedView>, Problem> {
    let found = state.store.find_tenant::<WorkspaceId>(&actor, &key).await?;
    if destruction.confirm != found.name {
        let given: String = destruction.confirm.chars().take(100).collect();
        let detail =
            format!("`confirm` is `{given}`, and this workspace's name is `{}`: nothing was destroyed", found.name);
        return Err(Problem::new(StatusCode::CONFLICT, "not_confirmed", detail));
    }
    // On a task of its own: who hangs up must not leave half a workspace.
    let store = Arc::clone(&state.store);
    let work = tokio::spawn(async move { store.destroy_workspace(&actor, found.id).await });
    let done = work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    let Destroyed { workspace, remains, key } = done;
    Ok(Json(DestroyedView { id: workspace.id.to_string(), name: workspace.name, remains, key }))
}
