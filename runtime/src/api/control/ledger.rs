//! `/api/v1/ledger`: accepted = delivered + filtered + dead + pending.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::Asked;
use crate::api::{ApiState, Problem};
use crate::model::{Actor, DestinationId, SourceId, WorkspaceId};
use crate::store::{Ledger, LedgerScope};

/// Deliveries by state. The sum holds at every moment.
#[derive(Serialize, ToSchema)]
struct LedgerView {
    /// Deliveries that were ever owed. An event owed to two destinations counts twice.
    accepted: u64,
    /// The partner has them.
    delivered: u64,
    /// Recorded, not meant for the destination.
    filtered: u64,
    /// Given up.
    dead: u64,
    /// Still owed.
    pending: u64,
}

/// What to count: deliveries that fit all that is given.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Scope {
    /// Only this workspace's.
    #[param(value_type = Option<String>)]
    workspace: Option<WorkspaceId>,
    /// Only of events from this source.
    #[param(value_type = Option<String>)]
    source: Option<SourceId>,
    /// Only those owed to this destination.
    #[param(value_type = Option<String>)]
    destination: Option<DestinationId>,
    /// `true` counts the deliveries themselves instead of reading the counters. Slow: for verification.
    recount: Option<bool>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Shows the ledger.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", params(Scope),
    responses((status = 200, body = LedgerView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(asked): Asked<Scope>,
) -> Result<Json<LedgerView>, Problem> {
    let scope = LedgerScope { workspace: asked.workspace, source: asked.source, destination: asked.destination };
    let Ledger { accepted, delivered, filtered, dead, pending } = match asked.recount.unwrap_or(false) {
        true => state.store.ledger_recount(&actor, &scope).await?,
        false => state.store.ledger(&actor, &scope).await?,
    };
    Ok(Json(LedgerView { accepted, delivered, filtered, dead, pending }))
}
