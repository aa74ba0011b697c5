//! `/api/v1/functions/{id}/logs`: what a function's versions did and logged, over all destinations.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::OutcomeView;
use super::functions::{find, find_version};
use crate::api::extract::{Asked, Limit};
use crate::api::{ApiState, Problem};
use crate::model::{Actor, OutcomeCode};
use crate::store::{LogEntry, LogFilter, LogPart};

/// Which attempts: those that fit all that is given.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before, for older attempts; absent for the newest.
    cursor: Option<String>,
    /// The `newest` of an earlier answer, for later attempts, oldest first. Asked again and again with the `newest` of each
    /// answer, it gives every attempt once.
    since: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only of this version, by id or by its own text.
    version: Option<String>,
    /// Only those that ended so, such as `bad_request`.
    #[param(value_type = Option<String>)]
    outcome: Option<OutcomeCode>,
}

/// One attempt. What was sent and answered is the customer's, and not in it.
#[derive(Serialize, ToSchema)]
struct LogView {
    /// When it began.
    at: String,
    /// The delivery.
    delivery: String,
    /// The destination.
    destination: String,
    /// The event's type.
    event_type: String,
    /// The event's id.
    message_id: String,
    /// Which try at the delivery, from 1.
    attempt: u32,
    /// How long it took.
    wall_ms: u64,
    /// The function version that ran.
    version: String,
    /// How it ended.
    outcome: OutcomeView,
    /// What the function logged: `level` and `text` of each line, escaped for terminals.
    log: Value,
}

/// Part of the attempts. It may be short, or empty, and still have a next part.
#[derive(Serialize, ToSchema)]
struct Logs {
    /// Newest first; with `since` oldest first. Failures are all there, successes in a sample.
    items: Vec<LogView>,
    /// Give this as `cursor` for older ones; `null` at the end, and with `since`.
    next: Option<String>,
    /// Give this as `since` for what comes later.
    newest: String,
}

impl From<LogEntry> for LogView {
    fn from(entry: LogEntry) -> Self {
        Self {
            at: entry.started_at.to_string(),
            delivery: entry.delivery.to_string(),
            destination: entry.destination.to_string(),
            event_type: entry.event_type.to_string(),
            message_id: entry.message_id,
            attempt: entry.number,
            wall_ms: entry.wall_ms,
            version: entry.version.to_string(),
            outcome: entry.outcome.into(),
            log: entry.log,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(logs))
}

/// Shows what a function's versions did: every failed attempt, and a sample of the others.
#[utoipa::path(get, path = "/api/v1/functions/{id}/logs", tag = "functions", params(("id" = String, Path), Which),
    responses((status = 200, body = Logs)))]
async fn logs(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<Logs>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = match &which.version {
        Some(key) => Some(find_version(&state, &actor, &function, key).await?),
        None => None,
    };
    let part = match (which.cursor, which.since) {
        (None, None) => LogPart::Newest,
        (Some(cursor), None) => LogPart::Before(cursor),
        (None, Some(since)) => LogPart::Since(since),
        (Some(_), Some(_)) => {
            let detail = "`cursor` goes back and `since` goes on: give one of them";
            return Err(Problem::bad_request("invalid_query", detail));
        }
    };
    let filter = LogFilter { version, outcome: which.outcome, part };
    let limit = Limit::or_default(which.limit);
    let page = state.store.logs(&actor, function.id, filter, limit).await?;
    let items = page.items.into_iter().map(LogView::from).collect();
    Ok(Json(Logs { items, next: page.next, newest: page.newest }))
}
