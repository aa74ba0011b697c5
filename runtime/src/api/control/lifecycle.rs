//! `/api/v1/functions/{id}/…`: a function's way to customers: its checklist, its stage, links to it, and being submitted.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use super::functions::{FunctionView, described, find, wanted_version};
use super::reviews::{CheckView, ReviewView, check_text};
use super::turns::{approved, beyond_approved};
use crate::api::extract::{Asked, Body, PageQuery, id};
use crate::api::{ApiState, Problem};
use crate::catalog::checklist::checklist;
use crate::model::{Actor, CheckItem, Function, FunctionVersion, Invitation, Manifest, Role, Stage, UnknownStage};
use crate::store::NewReview;

/// Days for which a link invites unless it says otherwise: a month is a round of a beta.
const LINK_DAYS: u32 = 30;

/// Of which version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// A version's id or text; the newest one if absent.
    version: Option<String>,
}

/// What must hold before a review.
#[derive(Serialize, ToSchema)]
struct ChecklistView {
    /// The version's id.
    version: String,
    /// Whether all of it holds.
    ok: bool,
    /// Each thing that must hold.
    items: Vec<CheckView>,
}

/// What is submitted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToSubmit {
    /// A version's id or text; the newest one if absent.
    version: Option<String>,
    /// Where the function is to be afterwards: `private-beta`, `public-beta` or `public`; one further than now if absent.
    stage: Option<String>,
    /// A word to the operator.
    comment: Option<String>,
}

/// Where a function is put without a review.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToPut {
    /// `deprecated` for a partner; any stage for an operator.
    stage: String,
}

/// A link to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToInvite {
    /// Days after which it invites nobody any more, 1 to 366; 30 if absent.
    days: Option<u32>,
}

/// What a link brought along.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToRedeem {
    /// The link's code, `tgi_…`.
    code: String,
}

/// A link to a function in private beta.
#[derive(Serialize, ToSchema)]
struct InvitationView {
    /// Its id.
    id: String,
    /// The function's id.
    function: String,
    /// When it was made.
    created_at: String,
    /// From when on it invites nobody.
    expires_at: Option<String>,
    /// Since when it is taken back.
    revoked_at: Option<String>,
    /// How many workspaces it brought.
    redeemed: u64,
}

/// A new link, with its code.
#[derive(Serialize, ToSchema)]
struct NewInvitation {
    #[serde(flatten)]
    invitation: InvitationView,
    /// What a customer redeems. It is shown this once, and stored nowhere.
    code: String,
}

impl From<Invitation> for InvitationView {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            function: invitation.function.to_string(),
            created_at: invitation.created_at.to_string(),
            expires_at: invitation.expires_at.map(|at| at.to_string()),
            revoked_at: invitation.revoked_at.map(|at| at.to_string()),
            redeemed: invitation.redeemed,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(show_checklist))
        .routes(routes!(submit))
        .routes(routes!(stage))
        .routes(routes!(invite, invitations))
        .routes(routes!(uninvite))
        .routes(routes!(redeem))
}

/// The version that is meant: the one that is named, or the newest that may be chosen.
async fn meant(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    named: Option<&String>,
) -> Result<FunctionVersion, Problem> {
    if named.is_some() {
        return wanted_version(state, actor, function, named.map(String::as_str)).await;
    }
    match state.store.newest_choosable(actor, function.id).await? {
        Some(newest) => Ok(newest),
        None => Ok(state.store.get_version(actor, function.id, function.current).await?),
    }
}

async fn look(state: &ApiState, version: &FunctionVersion) -> Result<Vec<CheckItem>, Problem> {
    let checks = state.store.checks(version.id).await?;
    let inspected = state.store.inspection(version.id).await?.is_some();
    Ok(checklist(&version.manifest, checks.as_ref(), inspected))
}

/// Looks whether a version is ready for a review.
#[utoipa::path(get, path = "/api/v1/functions/{id}/checklist", tag = "functions", params(("id" = String, Path), Which),
    responses((status = 200, body = ChecklistView)))]
async fn show_checklist(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<ChecklistView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = meant(&state, &actor, &function, which.version.as_ref()).await?;
    let items = look(&state, &version).await?;
    let ok = items.iter().all(|item| item.ok);
    let items = items.into_iter().map(CheckView::from).collect();
    Ok(Json(ChecklistView { version: version.id.to_string(), ok, items }))
}

/// Asks for a review of a version, which the host has found ready.
#[utoipa::path(post, path = "/api/v1/functions/{id}/submit", tag = "functions", params(("id" = String, Path)),
    request_body = ToSubmit, responses((status = 201, body = ReviewView)))]
async fn submit(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(body): Body<ToSubmit>,
) -> Result<(StatusCode, Json<ReviewView>), Problem> {
    body.comment.as_deref().map_or(Ok(()), |text| check_text("comment", text))?;
    let function = find(&state, &actor, &function).await?;
    let stage = wanted(&function, body.stage.as_deref())?;
    let version = meant(&state, &actor, &function, body.version.as_ref()).await?;
    let checklist = look(&state, &version).await?;
    let missing: Vec<_> =
        checklist.iter().filter(|item| !item.ok).map(|item| format!("{}: {}", item.check, item.detail)).collect();
    if !missing.is_empty() {
        let Manifest { name, version, .. } = &version.manifest;
        let detail = format!("`{name}` {version} is not ready for a review");
        return Err(Problem::new(StatusCode::CONFLICT, "checklist_failed", detail).with_errors(missing));
    }
    let wider = beyond_approved(&approved(&state, &actor, function.id).await?, &version.manifest).unwrap_or_default();
    let new = NewReview { function: function.id, version: version.id, stage, checklist, wider, comment: body.comment };
    Ok((StatusCode::CREATED, Json(state.store.submit(&actor, new).await?.into())))
}

/// Where a review is to lead: not back, and not to where no review leads.
fn wanted(function: &Function, named: Option<&str>) -> Result<Stage, Problem> {
    let invalid = |detail: String| Problem::unprocessable("invalid_stage", detail);
    let led = named.map_or(Some(function.stage.next()), |text| text.parse().ok());
    let Some(stage) = led.filter(|stage: &Stage| stage.is_reviewed()) else {
        let shown: String = named.unwrap_or_default().chars().take(40).collect();
        return Err(invalid(format!(
            "a review leads to `private-beta`, `public-beta` or `public`, and not to `{shown}`"
        )));
    };
    if function.stage != Stage::Deprecated && stage < function.stage {
        return Err(invalid(format!(
            "`{}` is in `{}`, and does not go back to `{stage}`",
            function.name, function.stage
        )));
    }
    Ok(stage)
}

/// Puts a function where it is to be without a review: a partner may only deprecate one, an operator everything.
#[utoipa::path(post, path = "/api/v1/functions/{id}/stage", tag = "functions", params(("id" = String, Path)),
    request_body = ToPut, responses((status = 200, body = FunctionView)))]
async fn stage(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(body): Body<ToPut>,
) -> Result<Json<FunctionView>, Problem> {
    let stage: Stage =
        body.stage.parse().map_err(|error: UnknownStage| Problem::unprocessable("invalid_stage", error.to_string()))?;
    let function = find(&state, &actor, &function).await?;
    if actor.role != Role::Operator && !(stage == Stage::Deprecated && function.stage.is_released()) {
        let detail = match stage {
            Stage::Deprecated => format!(
                "`{}` is in `{}`: no customer sees it, so there is nothing to deprecate",
                function.name, function.stage
            ),
            _ => format!(
                "a partner puts a function that customers run into `deprecated`; to `{stage}` leads a review \
                 (`tidegate function submit`), or the operator"
            ),
        };
        return Err(Problem::unprocessable("invalid_stage", detail));
    }
    let approve = (actor.role == Role::Operator && stage.is_released()).then_some(function.current);
    let function = state.store.set_stage(&actor, function.id, stage, approve).await?;
    Ok(Json(described(&state, &actor, function).await?))
}

/// Makes a link by which customers come to a function in private beta.
#[utoipa::path(post, path = "/api/v1/functions/{id}/invitations", tag = "functions", params(("id" = String, Path)),
    request_body = ToInvite, responses((status = 201, body = NewInvitation)))]
async fn invite(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(body): Body<ToInvite>,
) -> Result<(StatusCode, [(header::HeaderName, &'static str); 1], Json<NewInvitation>), Problem> {
    let days = body.days.unwrap_or(LINK_DAYS);
    if !(1..=366).contains(&days) {
        return Err(Problem::unprocessable("invalid_expiry", format!("`days` is {days}: use 1 to 366")));
    }
    let function = find(&state, &actor, &function).await?;
    let ends = state.clock.now().plus(Duration::from_secs(u64::from(days) * 86_400));
    let (invitation, code) = state.store.invite(&actor, function.id, Some(ends)).await?;
    let made = NewInvitation { invitation: invitation.into(), code };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)))
}

/// Lists the links to a function, oldest first, without their codes.
#[utoipa::path(get, path = "/api/v1/functions/{id}/invitations", tag = "functions",
    params(("id" = String, Path), PageQuery), responses((status = 200, body = List<InvitationView>)))]
async fn invitations(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<InvitationView>>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let page = state.store.list_invitations(&actor, function.id, &page.into()).await?;
    Ok(Json(List::of(page, InvitationView::from)))
}

/// Takes a link back. Whom it brought keeps seeing the function.
#[utoipa::path(delete, path = "/api/v1/functions/{id}/invitations/{invitation}", tag = "functions",
    params(("id" = String, Path), ("invitation" = String, Path)), responses((status = 204)))]
async fn uninvite(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, invitation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let function = find(&state, &actor, &function).await?;
    state.store.revoke_invitation(&actor, function.id, id(&invitation)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets the workspace see and use the function that a link leads to.
#[utoipa::path(post, path = "/api/v1/invitations/redeem", tag = "functions", request_body = ToRedeem,
    responses((status = 200, body = FunctionView)))]
async fn redeem(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(body): Body<ToRedeem>,
) -> Result<Json<FunctionView>, Problem> {
    let function = state.store.redeem(&actor, body.code).await?;
    Ok(Json(described(&state, &actor, function).await?))
}
