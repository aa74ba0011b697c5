//! `/api/v1/keys`: who may call this API, and how a key is replaced and taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, PageQuery, id};
use crate::api::{ApiState, Problem, policy};
use crate::model::{Actor, Key, PartnerId, Role, Side, Timestamp, WorkspaceId};
use crate::store::NewKey;

/// How long a replaced key goes on if nobody says otherwise: a working day to change it everywhere.
const OVERLAP_S: u64 = 24 * 3600;

/// The longest overlap: thirty days. Two keys that both work for longer are two keys.
pub(super) const MAX_OVERLAP_S: u64 = 30 * 24 * 3600;

/// A key. Its token is shown once, when it is made.
#[derive(Serialize, ToSchema)]
struct KeyView {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// What it may do.
    role: &'static str,
    /// The workspace that it is for, if its role is a workspace's.
    workspace: Option<String>,
    /// The partner that it is for, if its role is a partner's.
    partner: Option<String>,
    /// The first characters of its token.
    #[schema(example = "tgk_q9Zr")]
    prefix: String,
    /// When it was made.
    created_at: String,
    /// The key that made it; `null` for the host's first one.
    created_by: Option<String>,
    /// The key in whose place it came.
    replaces: Option<String>,
    /// From when on it opens nothing.
    expires_at: Option<String>,
    /// Since when it is taken back.
    revoked_at: Option<String>,
    /// When it was last shown, to the minute.
    last_used_at: Option<String>,
    /// The link that made it, if it is a session's.
    link: Option<String>,
    /// The one destination that it sees, if its link names one.
    destination: Option<String>,
    /// The token, only in the answer to the call that made it. It is stored nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyToMake {
    /// What people call it.
    name: String,
    /// What it may do: `operator`, `partner-admin`, `partner-developer`, `workspace-admin`, `workspace-editor` or
    /// `workspace-viewer`.
    #[schema(value_type = String)]
    role: Role,
    /// For which workspace; absent for the one in which the caller works.
    #[schema(value_type = Option<String>)]
    workspace: Option<WorkspaceId>,
    /// For which partner; absent for the one for whom the caller works.
    #[schema(value_type = Option<String>)]
    partner: Option<PartnerId>,
    /// From when on it opens nothing; absent for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// How to replace a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Seconds for which the old key still works, up to 2,592,000; 86,400 if absent, 0 to end it at once.
    overlap_s: Option<u64>,
}

/// Who a token is.
#[derive(Serialize, ToSchema)]
struct WhoAmI {
    /// The key's id.
    key: String,
    /// What it may do.
    role: &'static str,
    /// The workspace in which it works, if it does.
    workspace: Option<String>,
    /// The partner for whom it works, if it does.
    partner: Option<String>,
    /// The one destination that it sees, if it came by a link to one.
    destination: Option<String>,
}

impl KeyView {
    fn of(key: Key, token: Option<String>) -> Self {
        let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        Self {
            id: key.id.to_string(),
            name: key.name,
            role: key.role.as_str(),
            workspace: key.workspace.map(|id| id.to_string()),
            partner: key.partner.map(|id| id.to_string()),
            prefix: key.prefix,
            created_at: key.created_at.to_string(),
            created_by: key.created_by.map(|id| id.to_string()),
            replaces: key.replaces.map(|id| id.to_string()),
            expires_at: moment(key.expires_at),
            revoked_at: moment(key.revoked_at),
            last_used_at: moment(key.last_used_at),
            link: key.link.map(|id| id.to_string()),
            destination: key.destination.map(|id| id.to_string()),
            token,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, revoke))
        .routes(routes!(rotate))
        .routes(routes!(whoami))
}

/// An answer with a token, which no cache may keep.
fn made(key: Key, token: String) -> Response {
    let unstored = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, unstored, Json(KeyView::of(key, Some(token)))).into_response()
}

/// Makes a key. The answer has its token, this once.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = KeyToMake,
    responses((status = 201, body = KeyView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<KeyToMake>,
) -> Result<Response, Problem> {
    super::check_name("name", &new.name)?;
    if !policy::grants(actor.role).contains(&new.role) {
        let given: Vec<_> = policy::grants(actor.role).iter().map(|role| format!("`{role}`")).collect();
        let given = given.join(", ");
        let detail =
            format!("a key with the role `{}` cannot give the role `{}`: it gives {given}", actor.role, new.role);
        return Err(Problem::forbidden(detail));
    }
    let misplaced = match new.role.side() {
        Side::Workspace => new.partner.is_some(),
        Side::Partner => new.workspace.is_some(),
        Side::Host => new.partner.is_some() || new.workspace.is_some(),
    };
    if misplaced {
        let detail = format!("a key with the role `{}` belongs to no such tenant: leave it out", new.role);
        return Err(Problem::new(StatusCode::CONFLICT, "invalid_tenant", detail));
    }
    if let Some(expires_at) = new.expires_at.filter(|expires_at| *expires_at <= state.clock.now()) {
        let detail = format!("`expires_at` is `{expires_at}`: it must lie in the future");
        return Err(Problem::new(StatusCode::CONFLICT, "invalid_expiry", detail));
    }
    let KeyToMake { name, role, workspace, partner, expires_at } = new;
    let (key, token) = state.store.create_key(&actor, NewKey { name, role, workspace, partner, expires_at }).await?;
    Ok(made(key, token))
}

/// Lists keys, oldest first, also those that open nothing any more.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(PageQuery),
    responses((status = 200, body = List<KeyView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<KeyView>>, Problem> {
    let page = state.store.list_keys(&actor, &page.into()).await?;
    Ok(Json(List::of(page, |key| KeyView::of(key, None))))
}

/// Shows a key.
#[utoipa::path(get, path = "/api/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = KeyView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<Json<KeyView>, Problem> {
    let key = state.store.get_key(&actor, id(&key)?).await?;
    Problem::unless_revoked("key", key.revoked_at)?;
    Ok(Json(KeyView::of(key, None)))
}

/// Whether to do it all the same.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Revocation {
    /// `true` also takes back the last key of an operator, or of a workspace's or a partner's own admins.
    force: Option<bool>,
}

/// Takes a key back. Once this is answered it opens nothing any more.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path), Revocation), responses((status = 204)))]
async fn revoke(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
    Asked(revocation): Asked<Revocation>,
) -> Result<StatusCode, Problem> {
    state.store.revoke_key(&actor, id(&key)?, revocation.force.unwrap_or(false)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a key like this one. The old one goes on for the time of the overlap.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", tag = "keys",
    params(("id" = String, Path)), request_body = Rotation, responses((status = 201, body = KeyView)))]
async fn rotate(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap_s.unwrap_or(OVERLAP_S);
    if overlap > MAX_OVERLAP_S {
        let detail = format!("`overlap_s` is `{overlap}`: it must be from 0 to {MAX_OVERLAP_S}");
        return Err(Problem::unprocessable("invalid_overlap", detail));
    }
    let (key, token) = state.store.rotate_key(&actor, id(&key)?, Duration::from_secs(overlap)).await?;
    Ok(made(key, token))
}

/// Says who the token is.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "keys",
    responses((status = 200, body = WhoAmI)))]
async fn whoami(actor: Actor) -> Json<WhoAmI> {
    Json(WhoAmI {
        key: actor.key.to_string(),
        role: actor.role.as_str(),
        workspace: (actor.workspace != Actor::NO_WORKSPACE).then(|| actor.workspace.to_string()),
        partner: (actor.partner != Actor::NO_PARTNER).then(|| actor.partner.to_string()),
        destination: actor.destination.map(|id| id.to_string()),
    })
}
