//! `/api/v1/partners`: who publishes functions.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, TenantChange, TenantToMake, TenantView, check_tenant_name};
use crate::api::extract::{Asked, Body, PageQuery};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, PartnerId};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, change, delete))
}

/// Makes a partner.
#[utoipa::path(post, path = "/api/v1/partners", tag = "partners",
    request_body = TenantToMake, responses((status = 201, body = TenantView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<TenantToMake>,
) -> Result<(StatusCode, Json<TenantView>), Problem> {
    check_tenant_name(&new.name)?;
    let made = state.store.create_tenant::<PartnerId>(&actor, &new.name).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Lists partners, oldest first: an operator sees all, others their own.
#[utoipa::path(get, path = "/api/v1/partners", tag = "partners", params(PageQuery),
    responses((status = 200, body = List<TenantView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<TenantView>>, Problem> {
    let page = state.store.list_tenants::<PartnerId>(&actor, &page.into()).await?;
    Ok(Json(List::of(page, TenantView::from)))
}

/// Shows a partner, by id or name.
#[utoipa::path(get, path = "/api/v1/partners/{id}", tag = "partners",
    params(("id" = String, Path)), responses((status = 200, body = TenantView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<Json<TenantView>, Problem> {
    Ok(Json(state.store.find_tenant::<PartnerId>(&actor, &key).await?.into()))
}

/// Renames a partner.
#[utoipa::path(patch, path = "/api/v1/partners/{id}", tag = "partners",
    params(("id" = String, Path)), request_body = TenantChange, responses((status = 200, body = TenantView)))]
async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
    Body(change): Body<TenantChange>,
) -> Result<Json<TenantView>, Problem> {
    change.name.iter().try_for_each(|name| check_tenant_name(name))?;
    let tenant = state.store.find_tenant::<PartnerId>(&actor, &key).await?;
    Ok(Json(state.store.rename_tenant(&actor, tenant.id, change.name).await?.into()))
}

/// Deletes a partner that owns nothing any more, and its keys.
#[utoipa::path(delete, path = "/api/v1/partners/{id}", tag = "partners",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<StatusCode, Problem> {
    let tenant = state.store.find_tenant::<PartnerId>(&actor, &key).await?;
    state.store.delete_partner(&actor, tenant.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
