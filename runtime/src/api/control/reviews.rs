//! `/api/v1/reviews`: versions that are shown to the operator, what is said about them, and what is decided.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, turns};
use crate::api::extract::{Asked, Body, Limit, id};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, CheckItem, Comment, Review, ReviewState, UnknownReviewState};
use crate::store::Page;

/// Characters of a comment: a page for people.
const MAX_COMMENT: usize = 4_000;

/// A review.
#[derive(Serialize, ToSchema)]
pub(super) struct ReviewView {
    /// Its id.
    id: String,
    /// The partner who asks.
    partner: String,
    /// The function's id.
    function: String,
    /// The function's name.
    name: String,
    /// The id of the version that is looked at.
    version: String,
    /// That version's own text.
    number: String,
    /// Where the function is to be afterwards.
    stage: &'static str,
    /// `open`, `approved`, `rejected` or `withdrawn`.
    #[schema(example = "open")]
    state: &'static str,
    /// What the version may do that no approved version may, in sentences; of a first version all is new, and none is named.
    wider: Vec<String>,
    /// What the host found when it was submitted.
    checklist: Vec<CheckView>,
    /// The key that submitted it.
    submitted_by: String,
    /// When.
    submitted_at: String,
    /// The key that decided it.
    decided_by: Option<String>,
    /// When.
    decided_at: Option<String>,
}

/// A review with what was said about it.
#[derive(Serialize, ToSchema)]
struct ReviewDetail {
    #[serde(flatten)]
    review: ReviewView,
    /// The oldest first.
    comments: Vec<CommentView>,
}

/// Something that must hold before a review.
#[derive(Serialize, ToSchema)]
pub(super) struct CheckView {
    /// What it is about.
    #[schema(example = "cases")]
    check: String,
    /// Whether it holds.
    ok: bool,
    /// What was found, and what to do where it does not hold.
    detail: String,
}

/// What somebody said.
#[derive(Serialize, ToSchema)]
struct CommentView {
    /// The key that said it.
    key: String,
    /// That key's role.
    role: String,
    /// When.
    at: String,
    /// What.
    text: String,
}

/// Which reviews.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only those that are `open`, `approved`, `rejected` or `withdrawn`.
    state: Option<String>,
}

/// A comment to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToSay {
    /// At most 4,000 characters.
    text: String,
}

/// A decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// Why, as a comment.
    comment: Option<String>,
}

impl From<CheckItem> for CheckView {
    fn from(item: CheckItem) -> Self {
        let CheckItem { check, ok, detail } = item;
        Self { check, ok, detail }
    }
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        let Comment { key, role, at, text } = comment;
        Self { key: key.to_string(), role, at: at.to_string(), text }
    }
}

impl From<Review> for ReviewView {
    fn from(review: Review) -> Self {
        Self {
            id: review.id.to_string(),
            partner: review.partner.to_string(),
            function: review.function.to_string(),
            name: review.name,
            version: review.version.to_string(),
            number: review.number,
            stage: review.stage.as_str(),
            state: review.state.as_str(),
            wider: review.wider,
            checklist: review.checklist.into_iter().map(CheckView::from).collect(),
            submitted_by: review.submitted_by.to_string(),
            submitted_at: review.submitted_at.to_string(),
            decided_by: review.decided_by.map(|key| key.to_string()),
            decided_at: review.decided_at.map(|at| at.to_string()),
        }
    }
}

/// A text for people: lines and tabs, and nothing else that a terminal acts on.
pub(super) fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if !text.trim().is_empty() && text.chars().count() <= MAX_COMMENT && text.chars().all(plain) {
        return Ok(());
    }
    let detail =
        format!("`{field}` must have 1 to {MAX_COMMENT} characters, and no control characters but ends of lines");
    Err(Problem::unprocessable("invalid_text", detail))
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(comment))
        .routes(routes!(withdraw))
        .routes(routes!(approve))
        .routes(routes!(reject))
}

/// Lists reviews, oldest first: a partner sees its own, an operator all.
#[utoipa::path(get, path = "/api/v1/reviews", tag = "reviews", params(Which),
    responses((status = 200, body = List<ReviewView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(which): Asked<Which>,
) -> Result<Json<List<ReviewView>>, Problem> {
    let wanted = which.state.as_deref().map(str::parse).transpose();
    let wanted =
        wanted.map_err(|error: UnknownReviewState| Problem::bad_request("invalid_query", error.to_string()))?;
    let page = Page { after: which.after, limit: Limit::or_default(which.limit) };
    let page = state.store.list_reviews(&actor, wanted, &page).await?;
    Ok(Json(List::of(page, ReviewView::from)))
}

async fn detail(state: &ApiState, actor: &Actor, review: &str) -> Result<Json<ReviewDetail>, Problem> {
    let (review, comments) = state.store.get_review(actor, id(review)?).await?;
    let comments = comments.into_iter().map(CommentView::from).collect();
    Ok(Json(ReviewDetail { review: review.into(), comments }))
}

/// Shows a review, and what was said about it.
#[utoipa::path(get, path = "/api/v1/reviews/{id}", tag = "reviews", params(("id" = String, Path)),
    responses((status = 200, body = ReviewDetail)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(review): Path<String>,
) -> Result<Json<ReviewDetail>, Problem> {
    detail(&state, &actor, &review).await
}

/// Says something about a review.
#[utoipa::path(post, path = "/api/v1/reviews/{id}/comments", tag = "reviews", params(("id" = String, Path)),
    request_body = ToSay, responses((status = 201, body = CommentView)))]
async fn comment(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(review): Path<String>,
    Body(body): Body<ToSay>,
) -> Result<(StatusCode, Json<CommentView>), Problem> {
    check_text("text", &body.text)?;
    Ok((StatusCode::CREATED, Json(state.store.comment(&actor, id(&review)?, body.text).await?.into())))
}

/// Takes back what was submitted.
#[utoipa::path(post, path = "/api/v1/reviews/{id}/withdraw", tag = "reviews", params(("id" = String, Path)),
    request_body = Decision, responses((status = 200, body = ReviewDetail)))]
async fn withdraw(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(review): Path<String>,
    Body(body): Body<Decision>,
) -> Result<Json<ReviewDetail>, Problem> {
    end(&state, &actor, &review, ReviewState::Withdrawn, body).await
}

/// Does not let customers run the version.
#[utoipa::path(post, path = "/api/v1/reviews/{id}/reject", tag = "reviews", params(("id" = String, Path)),
    request_body = Decision, responses((status = 200, body = ReviewDetail)))]
async fn reject(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(review): Path<String>,
    Body(body): Body<Decision>,
) -> Result<Json<ReviewDetail>, Problem> {
    end(&state, &actor, &review, ReviewState::Rejected, body).await
}

async fn end(
    state: &ApiState,
    actor: &Actor,
    review: &str,
    to: ReviewState,
    decision: Decision,
) -> Result<Json<ReviewDetail>, Problem> {
    decision.comment.as_deref().map_or(Ok(()), |text| check_text("comment", text))?;
    state.store.end_review(actor, id(review)?, to, decision.comment).await?;
    detail(state, actor, review).await
}

/// Lets customers run the version, and puts the function where it wanted to be. Takes another key than the one that
/// submitted it.
#[utoipa::path(post, path = "/api/v1/reviews/{id}/approve", tag = "reviews", params(("id" = String, Path)),
    request_body = Decision, responses((status = 200, body = ReviewDetail)))]
async fn approve(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(review): Path<String>,
    Body(body): Body<Decision>,
) -> Result<Json<ReviewDetail>, Problem> {
    body.comment.as_deref().map_or(Ok(()), |text| check_text("comment", text))?;
    let (about, _) = state.store.get_review(&actor, id(&review)?).await?;
    let turn = turns::turn(&state, &actor, about.function, about.version, true).await?;
    state.store.approve(&actor, about.id, turn, body.comment).await?;
    detail(&state, &actor, &review).await
}
