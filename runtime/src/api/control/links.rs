//! `/api/v1/links` and `/api/v1/sessions`: a customer without a key gets into one workspace for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::auth::{From, count_wrong};
use crate::api::extract::{Asked, Body, PageQuery, id};
use crate::api::{ApiState, Problem, policy};
use crate::model::{Actor, DestinationId, Link, Role};
use crate::store::{LinkError, NewLink};

/// How long a link can be opened if nobody says otherwise: an hour, as long as somebody who was promised it waits for it.
const LINK_S: u64 = 3600;

/// The longest: a week. What is to work for longer is a key.
const MAX_LINK_S: u64 = 7 * 24 * 3600;

/// How long a session lasts if nobody says otherwise: an hour, as long as setting something up takes.
const SESSION_S: u64 = 3600;

/// The longest: a day.
const MAX_SESSION_S: u64 = 24 * 3600;

/// The shortest of either: a minute. Less is over before a page is there.
const MIN_S: u64 = 60;

/// A link. Its text is shown once, when it is made.
#[derive(Serialize, ToSchema)]
struct LinkView {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// The one workspace that its session sees.
    workspace: String,
    /// What its session may do.
    role: &'static str,
    /// The one destination that its session sees; `null` for all of the workspace.
    destination: Option<String>,
    /// Seconds that its session lasts.
    session_s: u64,
    /// When it was made.
    created_at: String,
    /// The key that made it.
    created_by: String,
    /// From when on it opens nothing.
    expires_at: String,
    /// When it was opened, which it can be once.
    opened_at: Option<String>,
    /// Since when it is taken back, and its session with it.
    revoked_at: Option<String>,
    /// The signed text, only in the answer to the call that made it. Put it behind a `#` in an address, so that it stays out of logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LinkToMake {
    /// What people call it, such as whom it is for.
    name: String,
    /// What its session may do: `workspace-editor` or `workspace-viewer`.
    #[schema(value_type = String)]
    role: Role,
    /// The one destination that its session sees; absent for all of the workspace.
    #[schema(value_type = Option<String>)]
    destination: Option<DestinationId>,
    /// Seconds for which it can be opened, 60 to 604,800; 3,600 if absent.
    #[schema(minimum = 60, maximum = 604_800)]
    expires_in_s: Option<u64>,
    /// Seconds that its session lasts, 60 to 86,400; 3,600 if absent.
    #[schema(minimum = 60, maximum = 86_400)]
    session_s: Option<u64>,
}

/// A link that is opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LinkToOpen {
    /// Its text, `tgl_…`.
    link: String,
}

/// A session: what a link opened.
#[derive(Serialize, ToSchema)]
struct SessionView {
    /// The bearer token of all further calls. It is shown this once.
    token: String,
    /// The id of the key that the session is; taking that key back ends it.
    key: String,
    /// What it may do.
    role: &'static str,
    /// The one workspace that it sees.
    workspace: Option<String>,
    /// The one destination that it sees; `null` for all of the workspace.
    destination: Option<String>,
    /// When it ends.
    expires_at: Option<String>,
}

impl LinkView {
    fn of(link: Link, text: Option<String>) -> Self {
        Self {
            id: link.id.to_string(),
            name: link.name,
            workspace: link.workspace.to_string(),
            role: link.role.as_str(),
            destination: link.destination.map(|id| id.to_string()),
            session_s: link.session_s,
            created_at: link.created_at.to_string(),
            created_by: link.created_by.to_string(),
            expires_at: link.expires_at.to_string(),
            opened_at: link.opened_at.map(|at| at.to_string()),
            revoked_at: link.revoked_at.map(|at| at.to_string()),
            link: text,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, revoke)).routes(routes!(open))
}

/// An answer with something secret in it, which no cache may keep.
fn made<T: Serialize>(value: T) -> Response {
    let unstored = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, unstored, Json(value)).into_response()
}

/// A time in seconds within its bounds.
fn seconds(field: &str, given: Option<u64>, default: u64, most: u64) -> Result<u64, Problem> {
    let seconds = given.unwrap_or(default);
    if (MIN_S..=most).contains(&seconds) {
        return Ok(seconds);
    }
    Err(Problem::unprocessable("invalid_link", format!("`{field}` is `{seconds}`: it must be from {MIN_S} to {most}")))
}

/// Makes a link that opens one session in the caller's workspace, for somebody without a key. The answer has its text, this once.
#[utoipa::path(post, path = "/api/v1/links", tag = "links", request_body = LinkToMake,
    responses((status = 201, body = LinkView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<LinkToMake>,
) -> Result<Response, Problem> {
    super::check_name("name", &new.name)?;
    if !policy::LINKED.contains(&new.role) {
        let given: Vec<_> = policy::LINKED.iter().map(|role| format!("`{role}`")).collect();
        let detail = format!("`role` is `{}`: a link gives {}", new.role, given.join(" or "));
        return Err(Problem::unprocessable("invalid_link", detail));
    }
    let lasts = seconds("expires_in_s", new.expires_in_s, LINK_S, MAX_LINK_S)?;
    let session_s = seconds("session_s", new.session_s, SESSION_S, MAX_SESSION_S)?;
    let LinkToMake { name, role, destination, .. } = new;
    let expires_at = state.clock.now().plus(Duration::from_secs(lasts));
    let (link, text) =
        state.store.create_link(&actor, NewLink { name, role, destination, expires_at, session_s }).await?;
    Ok(made(LinkView::of(link, Some(text))))
}

/// Lists the workspace's links, oldest first, also those that open nothing any more.
#[utoipa::path(get, path = "/api/v1/links", tag = "links", params(PageQuery),
    responses((status = 200, body = List<LinkView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<LinkView>>, Problem> {
    let page = state.store.list_links(&actor, &page.into()).await?;
    Ok(Json(List::of(page, |link| LinkView::of(link, None))))
}

/// Shows a link.
#[utoipa::path(get, path = "/api/v1/links/{id}", tag = "links", params(("id" = String, Path)),
    responses((status = 200, body = LinkView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(link): Path<String>,
) -> Result<Json<LinkView>, Problem> {
    let link = state.store.get_link(&actor, id(&link)?).await?;
    Problem::unless_revoked("link", link.revoked_at)?;
    Ok(Json(LinkView::of(link, None)))
}

/// Takes a link back, and ends its session. Once this is answered neither opens anything any more.
#[utoipa::path(delete, path = "/api/v1/links/{id}", tag = "links",
    params(("id" = String, Path)), responses((status = 204)))]
async fn revoke(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(link): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.revoke_link(&actor, id(&link)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Opens a link, once: answers the token of a session. Takes no key; whoever has the link may.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "links", request_body = LinkToOpen,
    responses((status = 201, body = SessionView)))]
async fn open(
    State(state): State<Arc<ApiState>>,
    From(peer): From,
    Body(shown): Body<LinkToOpen>,
) -> Result<Response, Problem> {
    let (key, token) = match state.store.open_link(&shown.link).await? {
        Ok(session) => session,
        Err(error) => {
            count_wrong(&state, peer)?;
            let code = match error {
                LinkError::Unknown => "unknown_link",
                LinkError::Expired(_) => "expired_link",
                LinkError::Opened(_) => "opened_link",
                LinkError::Revoked => "revoked_link",
            };
            return Err(Problem::new(StatusCode::UNAUTHORIZED, code, error.to_string()));
        }
    };
    Ok(made(SessionView {
        token,
        key: key.id.to_string(),
        role: key.role.as_str(),
        workspace: key.workspace.map(|id| id.to_string()),
        destination: key.destination.map(|id| id.to_string()),
        expires_at: key.expires_at.map(|at| at.to_string()),
    }))
}
