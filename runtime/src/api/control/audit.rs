//! `/api/v1/audit`: who changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Limit};
use crate::api::{ApiState, Problem};
use crate::model::Actor;
use crate::store::{AuditFilter, AuditLine, Page};

/// One line of the audit log. It has no value of what was changed, only digests.
#[derive(Serialize, ToSchema)]
struct AuditView {
    /// Its place, from 1, without a gap over the whole host.
    no: u64,
    /// When.
    at: String,
    /// The key that did it.
    key: String,
    /// That key's role.
    role: String,
    /// What was done.
    #[schema(example = "destination.update")]
    action: String,
    /// To what.
    id: String,
    /// Whose it is, if a workspace's.
    workspace: Option<String>,
    /// Whose it is, if a partner's.
    partner: Option<String>,
    /// A digest of what there was, with a key of this host; `null` if it was made. Equal digests are equal things.
    before: Option<String>,
    /// The same of what there is; `null` if it is gone.
    after: Option<String>,
    /// The SHA-256 over this line and the one before.
    hash: String,
}

/// Which lines: those that fit all that is given.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only this action, such as `key.revoke`.
    action: Option<String>,
    /// Only about the thing with this id.
    id: Option<String>,
}

/// Whether the audit log is as it was written.
#[derive(Serialize, ToSchema)]
struct Verdict {
    /// Whether it is.
    ok: bool,
    /// How many lines are, from the first on.
    lines: u64,
    /// The hash of the last of them. Kept elsewhere, it also finds a log that was made anew as a whole.
    hash: String,
    /// The first thing that is wrong.
    wrong: Option<String>,
}

fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<AuditLine> for AuditView {
    fn from(line: AuditLine) -> Self {
        Self {
            no: line.no,
            at: line.at.to_string(),
            key: line.key.to_string(),
            role: line.role,
            action: line.action,
            id: line.id,
            workspace: line.workspace.map(|id| id.to_string()),
            partner: line.partner.map(|id| id.to_string()),
            before: line.before,
            after: line.after,
            hash: hex(line.hash),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify))
}

/// Lists who changed what, newest first: an operator sees all, an admin what is of their tenant.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(Which),
    responses((status = 200, body = List<AuditView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(which): Asked<Which>,
) -> Result<Json<List<AuditView>>, Problem> {
    let page = Page { after: which.after, limit: Limit::or_default(which.limit) };
    let filter = AuditFilter { action: which.action, id: which.id };
    let page = state.store.list_audit(&actor, &filter, &page).await?;
    Ok(Json(List::of(page, AuditView::from)))
}

/// Reads the whole log and says whether a line was changed, removed or put in.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "audit", responses((status = 200, body = Verdict)))]
async fn verify(State(state): State<Arc<ApiState>>) -> Result<Json<Verdict>, Problem> {
    let found = state.store.verify_audit().await?;
    Ok(Json(Verdict { ok: found.wrong.is_none(), lines: found.sound, hash: hex(found.hash), wrong: found.wrong }))
}
