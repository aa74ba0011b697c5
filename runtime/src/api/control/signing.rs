//! `/api/v1/signing-keys` and `/api/v1/signature-policy`: with what a partner signs uploads, and whether it must.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, PageQuery, id};
use crate::api::{ApiState, Problem};
use crate::catalog::signature::{Signature, public_key};
use crate::model::{Actor, Digest, Manifest, Signed, SigningKey};

/// In which an upload's signature comes.
pub(super) const HEADER: &str = "tidegate-signature";

/// How far a sequence that is a time may lie ahead: a day, more than clocks differ. A larger one, taken by mistake, would refuse every
/// later upload.
const AHEAD_MS: u64 = 24 * 3_600_000;

/// A key with which a partner signs uploads: its public half.
#[derive(Serialize, ToSchema)]
struct SigningKeyView {
    /// Its id.
    id: String,
    /// The partner that it belongs to.
    partner: String,
    /// What people call it.
    name: String,
    /// The ed25519 public key, 64 hexadecimal digits.
    #[schema(example = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")]
    public_key: String,
    /// When it was registered.
    created_at: String,
    /// The key of this API that registered it.
    created_by: String,
    /// Since when nothing new is taken that it signed.
    revoked_at: Option<String>,
}

/// A key to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SigningKeyToMake {
    /// What people call it.
    name: String,
    /// The ed25519 public key: 64 hexadecimal digits, or PEM.
    public_key: String,
}

/// Whether a partner's uploads must be signed.
#[derive(Serialize, ToSchema)]
struct SignaturePolicy {
    /// The partner.
    partner: String,
    /// Whether unsigned uploads are refused.
    required: bool,
}

/// A change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignaturePolicyChange {
    /// Whether unsigned uploads are refused.
    required: bool,
}

impl From<SigningKey> for SigningKeyView {
    fn from(key: SigningKey) -> Self {
        Self {
            id: key.id.to_string(),
            partner: key.partner.to_string(),
            name: key.name,
            public_key: key.public.to_string(),
            created_at: key.created_at.to_string(),
            created_by: key.created_by.to_string(),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, revoke))
        .routes(routes!(policy, change_policy))
}

/// The signature of an upload, checked: it is over these bytes, by a key that the partner has registered.
pub(super) async fn signed(
    state: &ApiState,
    actor: &Actor,
    headers: &HeaderMap,
    digest: Digest,
    manifest: &Manifest,
) -> Result<Option<Signed>, Problem> {
    let Some(text) = headers.get(HEADER) else { return Ok(None) };
    let wrong = |why: String| Problem::unprocessable("invalid_signature", why);
    let signature: Signature =
        text.to_str().unwrap_or_default().parse().map_err(|error| wrong(format!("`{HEADER}`: {error}")))?;
    let Some(key) = state.store.find_signing_key(actor, signature.key).await? else {
        let detail = format!(
            "the partner has no signing key `{}`, or took it back: `tidegate signing-key add` registers one",
            signature.key
        );
        return Err(Problem::unprocessable("unknown_signing_key", detail));
    };
    signature.check(digest, manifest).map_err(|error| wrong(error.to_string()))?;
    let latest = state.clock.now().as_millis().saturating_add(AHEAD_MS);
    if signature.sequence > latest {
        let detail = format!(
            "the signature's sequence is `{}`, more than a day after the time of this host in milliseconds: every later \
             upload would come before it",
            signature.sequence
        );
        return Err(wrong(detail));
    }
    Ok(Some(Signed { key: key.id, sequence: signature.sequence, signature: signature.code() }))
}

/// Registers a key with which the partner signs uploads.
#[utoipa::path(post, path = "/api/v1/signing-keys", tag = "signing-keys", request_body = SigningKeyToMake,
    responses((status = 201, body = SigningKeyView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(new): Body<SigningKeyToMake>,
) -> Result<(StatusCode, Json<SigningKeyView>), Problem> {
    super::check_name("name", &new.name)?;
    let public = public_key(&new.public_key)
        .map_err(|error| Problem::unprocessable("invalid_signing_key", format!("`public_key`: {error}")))?;
    let made = state.store.create_signing_key(&actor, new.name, public).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Lists the partner's signing keys, oldest first, also those that were taken back.
#[utoipa::path(get, path = "/api/v1/signing-keys", tag = "signing-keys", params(PageQuery),
    responses((status = 200, body = List<SigningKeyView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<SigningKeyView>>, Problem> {
    let page = state.store.list_signing_keys(&actor, &page.into()).await?;
    Ok(Json(List::of(page, SigningKeyView::from)))
}

/// Shows a signing key.
#[utoipa::path(get, path = "/api/v1/signing-keys/{id}", tag = "signing-keys", params(("id" = String, Path)),
    responses((status = 200, body = SigningKeyView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<Json<SigningKeyView>, Problem> {
    let key = state.store.get_signing_key(&actor, id(&key)?).await?;
    Problem::unless_revoked("signing key", key.revoked_at)?;
    Ok(Json(key.into()))
}

/// Takes a signing key back: nothing that it signed is taken any more. Versions that it signed stay.
#[utoipa::path(delete, path = "/api/v1/signing-keys/{id}", tag = "signing-keys",
    params(("id" = String, Path)), responses((status = 204)))]
async fn revoke(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(key): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.revoke_signing_key(&actor, id(&key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn policy_of(state: &ApiState, actor: &Actor) -> Result<Json<SignaturePolicy>, Problem> {
    let required = state.store.signatures_required(actor).await?;
    Ok(Json(SignaturePolicy { partner: actor.partner.to_string(), required }))
}

/// Says whether the partner's unsigned uploads are refused.
#[utoipa::path(get, path = "/api/v1/signature-policy", tag = "signature-policy",
    responses((status = 200, body = SignaturePolicy)))]
async fn policy(State(state): State<Arc<ApiState>>, actor: Actor) -> Result<Json<SignaturePolicy>, Problem> {
    policy_of(&state, &actor).await
}

/// Refuses unsigned uploads of the partner from now on, or takes them again.
#[utoipa::path(patch, path = "/api/v1/signature-policy", tag = "signature-policy",
    request_body = SignaturePolicyChange, responses((status = 200, body = SignaturePolicy)))]
async fn change_policy(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(change): Body<SignaturePolicyChange>,
) -> Result<Json<SignaturePolicy>, Problem> {
    state.store.require_signatures(&actor, change.required).await?;
    policy_of(&state, &actor).await
}
