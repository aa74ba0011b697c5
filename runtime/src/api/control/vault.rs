//! `/api/v1/vault`: the keys that secrets are stored with.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{ApiState, Problem};
use crate::model::Actor;
use crate::store::{StoreError, VaultState};

/// The vault.
#[derive(Serialize, ToSchema)]
struct VaultView {
    /// The id of the master key in use: a digest of it.
    key: String,
    /// Whether an older key is still needed, because a rotation was interrupted: rotating again, or a restart, ends it.
    rotating: bool,
    /// How many workspaces have secrets.
    workspaces: u64,
}

impl From<VaultState> for VaultView {
    fn from(VaultState { key, rotating, workspaces }: VaultState) -> Self {
        Self { key, rotating, workspaces }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(rotate))
}

/// Shows which key secrets are stored with.
#[utoipa::path(get, path = "/api/v1/vault", tag = "vault", responses((status = 200, body = VaultView)))]
async fn show(State(state): State<Arc<ApiState>>) -> Result<Json<VaultView>, Problem> {
    Ok(Json(state.store.vault().await?.into()))
}

/// Makes a new master key and gives up the old one, while everything goes on.
#[utoipa::path(post, path = "/api/v1/vault/rotate", tag = "vault", responses((status = 200, body = VaultView)))]
async fn rotate(State(state): State<Arc<ApiState>>, actor: Actor) -> Result<Json<VaultView>, Problem> {
    match state.store.rotate_vault(&actor).await {
        Ok(vault) => Ok(Json(vault.into())),
        // Only operators come here, and it is theirs to repair.
        Err(StoreError::Vault(error)) => Err(Problem::new(StatusCode::CONFLICT, "vault", error.to_string())),
        Err(error) => Err(error.into()),
    }
}
