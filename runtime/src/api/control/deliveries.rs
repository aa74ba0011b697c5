//! `/api/v1/deliveries`: what is owed, what was tried, and trying again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Limit, id};
use crate::api::{ApiState, Problem};
use crate::model::{
    Actor, ConnectionId, DeliveryState, DestinationId, EventType, Outcome, OutcomeCode, SourceId, Timestamp,
};
use crate::store::{AttemptRecord, DeadLetter, DeliveryDetail, DeliveryFilter, DeliverySummary, Page};

/// How an attempt ended.
#[derive(Serialize, ToSchema)]
pub(super) struct OutcomeView {
    /// The stable name of the ending.
    code: &'static str,
    /// Why; empty if delivered.
    message: String,
    /// Whether trying again can help.
    retryable: bool,
    /// The function's own name of the error, where it gave one.
    error: Option<String>,
}

/// One delivery.
#[derive(Serialize, ToSchema)]
struct DeliveryView {
    /// Its id.
    id: String,
    /// The workspace that it belongs to.
    workspace: String,
    /// Where its event entered.
    source: String,
    /// The connection that owes it.
    connection: String,
    /// To whom it is owed.
    destination: String,
    /// The client's id of the event.
    message_id: String,
    /// The kind of the event.
    event_type: &'static str,
    /// The event's name, if it has one.
    event_name: Option<String>,
    /// Where it stands.
    state: &'static str,
    /// Why it is filtered, if it is.
    filter_reason: Option<&'static str>,
    /// Attempts made so far.
    attempts: u32,
    /// When the next attempt is due, if one is set.
    next_due: Option<String>,
    /// When the event was accepted.
    accepted_at: String,
    /// How the last attempt ended that was recorded; of what was given up without one, how its destination failed.
    last_outcome: Option<OutcomeView>,
    /// The function version that ran at the last attempt; absent before the first.
    version: Option<String>,
    /// Why and when it was given up, if it is dead.
    dead: Option<DeadView>,
    /// The replay that gave it back, while it is pending, or that made it.
    replay: Option<String>,
    /// The whole event; only where one delivery is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    event: Option<Box<RawValue>>,
    /// The last attempt that was recorded, with its requests, answers and log; only where one delivery is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<AttemptView>,
}

/// Why a delivery was given up.
#[derive(Serialize, ToSchema)]
struct DeadView {
    /// When.
    at: String,
    /// The code of its last attempt's outcome, and what that said.
    cause: String,
}

/// One attempt at a delivery.
#[derive(Serialize, ToSchema)]
struct AttemptView {
    /// Which try, from 1.
    number: u32,
    /// When it began.
    started_at: String,
    /// How long it took.
    wall_ms: u64,
    /// How it ended.
    outcome: OutcomeView,
    /// The function version that ran.
    version: String,
    /// What the function did: requests, log, what it used.
    report: Value,
}

/// The attempts at one delivery.
#[derive(Serialize, ToSchema)]
struct Attempts {
    /// In the order in which they were made. Failures are all there, successes in a sample.
    items: Vec<AttemptView>,
}

/// Which deliveries: those that fit all that is given.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only of events from this source.
    #[param(value_type = Option<String>)]
    source: Option<SourceId>,
    /// Only those owed to this destination.
    #[param(value_type = Option<String>)]
    destination: Option<DestinationId>,
    /// Only those of this connection.
    #[param(value_type = Option<String>)]
    connection: Option<ConnectionId>,
    /// Only those that stand so: `pending`, `delivered`, `filtered` or `dead`.
    #[param(value_type = Option<String>)]
    state: Option<DeliveryState>,
    /// Only those accepted then or later.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Only those accepted before then.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Only those whose last recorded attempt ended so, such as `gateway_timeout`, or that were given up since others did.
    #[param(value_type = Option<String>)]
    outcome: Option<OutcomeCode>,
    /// Only of events of this type, such as `track`.
    #[serde(rename = "type")]
    #[param(value_type = Option<String>)]
    event_type: Option<EventType>,
    /// Only of events of this name: `event` of a track, `name` of a page or screen.
    event: Option<String>,
}

impl From<Outcome> for OutcomeView {
    fn from(outcome: Outcome) -> Self {
        let Outcome { code, message, retryable, error, retry_after: _ } = outcome;
        Self { code: code.as_str(), message, retryable, error }
    }
}

impl DeliveryView {
    fn of(summary: DeliverySummary) -> Self {
        Self {
            id: summary.id.to_string(),
            workspace: summary.workspace.to_string(),
            source: summary.source.to_string(),
            connection: summary.connection.to_string(),
            destination: summary.destination.to_string(),
            message_id: summary.message_id,
            event_type: summary.event_type.as_str(),
            event_name: summary.event_name,
            state: summary.state.as_str(),
            filter_reason: summary.filter_reason.map(|reason| reason.as_str()),
            attempts: summary.attempts,
            next_due: summary.next_due.map(|due| due.to_string()),
            accepted_at: summary.accepted_at.to_string(),
            last_outcome: summary.last_outcome.map(OutcomeView::from),
            version: summary.version.map(|version| version.to_string()),
            dead: summary.dead.map(|DeadLetter { at, cause }| DeadView { at: at.to_string(), cause }),
            replay: summary.replay.map(|replay| replay.to_string()),
            event: None,
            last_attempt: None,
        }
    }

    fn with_event(detail: DeliveryDetail) -> Self {
        let DeliveryDetail { summary, event, last_attempt } = detail;
        Self { event: Some(event), last_attempt: last_attempt.map(AttemptView::from), ..Self::of(summary) }
    }
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at.to_string(),
            wall_ms: attempt.wall_ms,
            outcome: attempt.outcome.into(),
            version: attempt.version.to_string(),
            report: attempt.report,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(attempts)).routes(routes!(retry))
}

/// Lists deliveries, newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "deliveries", params(Which),
    responses((status = 200, body = List<DeliveryView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(which): Asked<Which>,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let filter = DeliveryFilter {
        source: which.source,
        destination: which.destination,
        connection: which.connection,
        delivery: None,
        states: which.state.into_iter().collect(),
        from: which.from,
        to: which.to,
        outcome: which.outcome,
        event_type: which.event_type,
        event: which.event,
    };
    let page = Page { after: which.after, limit: Limit::or_default(which.limit) };
    let page = state.store.list_deliveries(&actor, &filter, &page).await?;
    Ok(Json(List::of(page, DeliveryView::of)))
}

/// Shows a delivery with its event and its last attempt.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(delivery): Path<String>,
) -> Result<Json<DeliveryView>, Problem> {
    Ok(Json(DeliveryView::with_event(state.store.get_delivery(&actor, id(&delivery)?).await?)))
}

/// Shows the attempts at a delivery.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}/attempts", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 200, body = Attempts)))]
async fn attempts(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(delivery): Path<String>,
) -> Result<Json<Attempts>, Problem> {
    let attempts = state.store.attempts(&actor, id(&delivery)?).await?;
    Ok(Json(Attempts { items: attempts.into_iter().map(AttemptView::from).collect() }))
}

/// Makes a dead delivery pending again, due at once.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 202, body = DeliveryView)))]
async fn retry(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(delivery): Path<String>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let delivery = id(&delivery)?;
    state.store.retry(&actor, delivery).await?;
    let detail = state.store.get_delivery(&actor, delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryView::of(detail.summary))))
}
