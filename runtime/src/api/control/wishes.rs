//! `/api/v1/wishes`: destinations that customers miss.

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
use crate::model::{Actor, Wish};

/// A destination that customers miss. Who does is shown to nobody.
#[derive(Serialize, ToSchema)]
struct WishView {
    /// Its id.
    id: String,
    /// What it is for.
    name: String,
    /// How many workspaces wish for it.
    votes: u64,
    /// Whether yours does.
    voted: bool,
    /// When it was first wished for.
    created_at: String,
}

/// What is wished for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToWish {
    /// The partner or product, such as `HubSpot`. All customers see it.
    name: String,
}

impl From<Wish> for WishView {
    fn from(wish: Wish) -> Self {
        let Wish { id, name, created_at, votes, voted } = wish;
        Self { id: id.to_string(), name, votes, voted, created_at: created_at.to_string() }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(vote, unvote))
}

/// Wishes for a destination. One that is wished for already gets the workspace's vote.
#[utoipa::path(post, path = "/api/v1/wishes", tag = "wishes", request_body = ToWish,
    responses((status = 201, body = WishView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(body): Body<ToWish>,
) -> Result<(StatusCode, Json<WishView>), Problem> {
    super::check_name("name", &body.name)?;
    Ok((StatusCode::CREATED, Json(state.store.wish(&actor, body.name).await?.into())))
}

/// Lists what is wished for, oldest first.
#[utoipa::path(get, path = "/api/v1/wishes", tag = "wishes", params(PageQuery),
    responses((status = 200, body = List<WishView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<WishView>>, Problem> {
    Ok(Json(List::of(state.store.list_wishes(&actor, &page.into()).await?, WishView::from)))
}

/// Gives the workspace's vote to a wish; it has one for each.
#[utoipa::path(post, path = "/api/v1/wishes/{id}/vote", tag = "wishes", params(("id" = String, Path)),
    responses((status = 200, body = WishView)))]
async fn vote(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(wish): Path<String>,
) -> Result<Json<WishView>, Problem> {
    Ok(Json(state.store.vote(&actor, id(&wish)?, true).await?.into()))
}

/// Takes the workspace's vote back. A wish without votes is gone.
#[utoipa::path(delete, path = "/api/v1/wishes/{id}/vote", tag = "wishes", params(("id" = String, Path)),
    responses((status = 200, body = WishView)))]
async fn unvote(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(wish): Path<String>,
) -> Result<Json<WishView>, Problem> {
    Ok(Json(state.store.vote(&actor, id(&wish)?, false).await?.into()))
}
