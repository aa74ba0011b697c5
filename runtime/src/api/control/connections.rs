//! `/api/v1/connections`: the edges from sources to destinations.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, PageQuery, given, id};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, Connection, DestinationId, EventField, SourceId};
use crate::store::{ConnectionPatch, NewConnection};

/// A connection.
#[derive(Serialize, ToSchema)]
struct ConnectionView {
    /// Its id.
    id: String,
    /// The workspace that it belongs to.
    workspace: String,
    /// Where events come from.
    source: String,
    /// Where they go.
    destination: String,
    /// Whether they go.
    enabled: bool,
    /// Events with the same value here, such as `userId`, are delivered one after the other; `null`: no order.
    ordered_by: Option<String>,
    /// When it was made.
    created_at: String,
}

/// A connection to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionToMake {
    /// The source's id.
    #[schema(value_type = String)]
    source: SourceId,
    /// The destination's id.
    #[schema(value_type = String)]
    destination: DestinationId,
    /// Whether events go; yes if absent.
    enabled: Option<bool>,
    /// Deliver events with the same value here one after the other: `userId`, `anonymousId`, `event`, `type`, or a path
    /// such as `context.groupId`. An event that fails holds back those of its own value only, and for a limited time.
    /// Events without a value have no order. No order if absent.
    #[schema(value_type = Option<String>)]
    ordered_by: Option<EventField>,
}

/// A change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionChange {
    /// Whether events go.
    enabled: Option<bool>,
    /// Another value to keep order by; `null` for no order. It holds for events that are accepted from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    ordered_by: Option<Option<EventField>>,
}

impl From<Connection> for ConnectionView {
    fn from(connection: Connection) -> Self {
        Self {
            id: connection.id.to_string(),
            workspace: connection.workspace.to_string(),
            source: connection.source.to_string(),
            destination: connection.destination.to_string(),
            enabled: connection.enabled,
            ordered_by: connection.ordered_by.map(String::from),
            created_at: connection.created_at.to_string(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, change, delete))
}

/// Connects a source to a destination. Events that were accepted before do not go through it.
#[utoipa::path(post, path = "/api/v1/connections", tag = "connections", request_body = ConnectionToMake,
    responses((status = 201, body = ConnectionView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<ConnectionToMake>,
) -> Result<(StatusCode, Json<ConnectionView>), Problem> {
    let new = NewConnection {
        source: new.source,
        destination: new.destination,
        enabled: new.enabled.unwrap_or(true),
        ordered_by: new.ordered_by,
    };
    let connection = state.store.create_connection(&actor, new).await?;
    Ok((StatusCode::CREATED, Json(connection.into())))
}

/// Lists connections, oldest first.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connections", params(PageQuery),
    responses((status = 200, body = List<ConnectionView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<ConnectionView>>, Problem> {
    let page = state.store.list_connections(&actor, &page.into()).await?;
    Ok(Json(List::of(page, ConnectionView::from)))
}

/// Shows a connection.
#[utoipa::path(get, path = "/api/v1/connections/{id}", tag = "connections", params(("id" = String, Path)),
    responses((status = 200, body = ConnectionView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(connection): Path<String>,
) -> Result<Json<ConnectionView>, Problem> {
    Ok(Json(state.store.get_connection(&actor, id(&connection)?).await?.into()))
}

/// Changes a connection.
#[utoipa::path(patch, path = "/api/v1/connections/{id}", tag = "connections", params(("id" = String, Path)),
    request_body = ConnectionChange, responses((status = 200, body = ConnectionView)))]
async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(connection): Path<String>,
    Body(change): Body<ConnectionChange>,
) -> Result<Json<ConnectionView>, Problem> {
    let patch = ConnectionPatch { enabled: change.enabled, ordered_by: change.ordered_by };
    Ok(Json(state.store.update_connection(&actor, id(&connection)?, patch).await?.into()))
}

/// Deletes a connection. What is still owed through it is filtered.
#[utoipa::path(delete, path = "/api/v1/connections/{id}", tag = "connections", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(connection): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.delete_connection(&actor, id(&connection)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
