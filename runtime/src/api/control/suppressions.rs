//! `/api/v1/suppressions`: users of whom nothing is taken in or delivered any more.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, Limit, id};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, Suppression};
use crate::store::{Page, Paged};

/// Users of one call: some kilobytes of a commit.
const MOST_USERS: usize = 1_000;

/// Characters of a user's id.
const MOST_CHARACTERS: usize = 256;

/// A user of whom nothing is taken in or delivered.
#[derive(Serialize, ToSchema)]
struct SuppressionView {
    /// Its id.
    id: String,
    /// The user's id, as events have it in `userId`.
    user_id: String,
    /// Since when.
    created_at: String,
}

/// Users to suppress.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UsersToMake {
    /// Their ids, as events have them in `userId`: 1 to 1,000, each of 1 to 256 characters.
    #[schema(min_items = 1, max_items = 1000)]
    user_ids: Vec<String>,
}

/// Which suppressions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only this user's.
    user_id: Option<String>,
}

impl From<Suppression> for SuppressionView {
    fn from(suppression: Suppression) -> Self {
        let Suppression { id, user_id, created_at } = suppression;
        Self { id: id.to_string(), user_id, created_at: created_at.to_string() }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, delete))
}

/// Suppresses users: events with their `userId` are not taken in from now on, what is still owed of them is filtered at its next
/// attempt, and replays leave it out. Who is suppressed already stays so.
#[utoipa::path(post, path = "/api/v1/suppressions", tag = "suppressions", request_body = UsersToMake,
    responses((status = 201, body = List<SuppressionView>)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(body): Body<UsersToMake>,
) -> Result<(StatusCode, Json<List<SuppressionView>>), Problem> {
    check(&body.user_ids)?;
    let items = state.store.suppress(&actor, body.user_ids).await?;
    Ok((StatusCode::CREATED, Json(List::of(Paged { items, next: None }, SuppressionView::from))))
}

fn check(user_ids: &[String]) -> Result<(), Problem> {
    let refuse = |why: String| Err(Problem::unprocessable("invalid_user_ids", why));
    if user_ids.is_empty() || user_ids.len() > MOST_USERS {
        return refuse(format!("`user_ids` has {} ids: give 1 to {MOST_USERS} in one call", user_ids.len()));
    }
    match user_ids.iter().position(|id| id.is_empty() || id.chars().count() > MOST_CHARACTERS) {
        Some(at) => refuse(format!("`user_ids[{at}]` is empty or longer than {MOST_CHARACTERS} characters")),
        None => Ok(()),
    }
}

/// Lists suppressions, oldest first.
#[utoipa::path(get, path = "/api/v1/suppressions", tag = "suppressions", params(Which),
    responses((status = 200, body = List<SuppressionView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(which): Asked<Which>,
) -> Result<Json<List<SuppressionView>>, Problem> {
    let page = Page { after: which.after, limit: Limit::or_default(which.limit) };
    Ok(Json(List::of(state.store.list_suppressions(&actor, which.user_id, &page).await?, SuppressionView::from)))
}

/// Shows a suppression.
#[utoipa::path(get, path = "/api/v1/suppressions/{id}", tag = "suppressions", params(("id" = String, Path)),
    responses((status = 200, body = SuppressionView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(suppression): Path<String>,
) -> Result<Json<SuppressionView>, Problem> {
    Ok(Json(state.store.get_suppression(&actor, id(&suppression)?).await?.into()))
}

/// Takes in and delivers again what comes of a user from now on. What was filtered meanwhile stays filtered.
#[utoipa::path(delete, path = "/api/v1/suppressions/{id}", tag = "suppressions", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(suppression): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.unsuppress(&actor, id(&suppression)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
