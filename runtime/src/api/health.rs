//! Whether the host lives, whether it can take work, what it is, and its figures. No token: the listener is private.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::metrics::{CONTENT_TYPE, Snapshot};
use super::{ApiState, Problem};
use crate::telemetry::exposition;

/// What runs here.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    /// The product.
    name: &'static str,
    /// Its version.
    version: &'static str,
}

/// Answers as long as the process can answer.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "The process lives")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the store takes and reads: asks it.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "Events are taken"), (status = 503, description = "They are not")))]
pub(super) async fn readyz(State(state): State<Arc<ApiState>>) -> Result<&'static str, Problem> {
    let not_ready = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why);
    match state.store.refuses() {
        Some(refused) => Err(not_ready(refused.to_string())),
        None => state.store.ledger_overall().await.map(|_| "ok\n").map_err(Problem::from),
    }
}

/// What runs here.
#[utoipa::path(get, path = "/version", tag = "health", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version { name: "tidegate", version: env!("CARGO_PKG_VERSION") })
}

/// Figures as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let ledger = state.store.ledger_overall().await?;
    let states = [
        ("accepted", ledger.accepted),
        ("delivered", ledger.delivered),
        ("filtered", ledger.filtered),
        ("dead", ledger.dead),
        ("pending", ledger.pending),
    ];
    let rejected = state.ingest.counts.all().into_iter();
    let rejected = rejected.map(|(source, code, events)| (source.to_string(), code.as_str(), events)).collect();
    let delivery = (state.standing.figures)().await;
    let standing = state.store.standing().await?;
    let memory = &state.ingest.memory;
    let gauges = vec![
        ("queue_events", "Events that wait for the disk", standing.queue_events),
        ("disk_free_bytes", "Bytes that the data directory's disk has free", standing.disk_free_bytes),
        ("disk_least_bytes", "Below so many free bytes new events are refused", standing.disk_least_bytes),
        ("memory_used_bytes", "Bytes of memory that the process uses", memory.used()),
        ("memory_most_bytes", "Above so many bytes of memory new events are refused", memory.most()),
        ("replays_running", "Replays that give deliveries back", standing.replays_running),
    ];
    let others = exposition(state.store.metrics(), &state.telemetry.delivering, &state.telemetry.spans);
    let text = state.metrics.text(Snapshot { rejected, ledger: states.to_vec(), gauges, delivery }, &others);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
