//! `/api/v1/functions`: what partners publish.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::turns::{approved, beyond_approved};
use super::versions::{CaseView, VersionView};
use super::{List, checking, signing, turns, upload};
use crate::api::extract::{Asked, PageQuery, id};
use crate::api::problem::Finding;
use crate::api::{ApiState, Problem};
use crate::catalog::{self, compare::compare};
use crate::model::{Actor, Checks, Function, FunctionId, FunctionVersion, Listing, Role, VersionId};
use crate::store::{StoreError, Vouched};

/// A function.
#[derive(Serialize, ToSchema)]
pub(super) struct FunctionView {
    /// Its id.
    id: String,
    /// The partner who publishes it.
    partner: String,
    /// Its name, unique for the partner.
    name: String,
    /// One line about it, of its current version.
    description: Option<String>,
    /// What a catalogue says about it, of its current version.
    listing: Option<ListingView>,
    /// How far it has come: `building`, `submitted`, `private-beta`, `public-beta`, `public` or `deprecated`.
    #[schema(example = "public")]
    stage: &'static str,
    /// The text of its current version.
    version: String,
    /// The version that unpinned destinations run.
    current: String,
    /// The one that was it before; `null` if there is none.
    previous: Option<String>,
    /// When it was first uploaded.
    created_at: String,
}

/// What an upload made, or found.
#[derive(Serialize, ToSchema)]
struct Uploaded {
    /// The function.
    function: FunctionView,
    /// The version: the same as before if the same bytes had been uploaded before.
    version: VersionView,
    /// What the author of JavaScript should look at. None of it is an error.
    findings: Vec<Finding>,
    /// Why settings that fit the current version may not fit this one; promoting it then takes `force`.
    breaking: Vec<String>,
    /// What it may do that no version approved before may: customers run it once that is approved.
    wider: Vec<String>,
    /// What became of the cases that came with it.
    cases: Vec<CaseView>,
}

/// How to promote.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Promotion {
    /// `true` promotes although destinations follow whose settings may not fit. Their deliveries then fail until the
    /// settings are changed.
    force: Option<bool>,
}

/// What a catalogue says about a function.
#[derive(Serialize, ToSchema)]
struct ListingView {
    /// Among what it is found.
    category: Option<String>,
    /// The page for customers.
    docs: Option<String>,
    /// An image.
    logo: Option<String>,
    /// Whom customers ask: an address of email, or a page.
    support: Option<String>,
}

/// A function as it is shown, with what its current version says about it.
pub(super) async fn described(state: &ApiState, actor: &Actor, function: Function) -> Result<FunctionView, Problem> {
    let manifest = state.store.get_version(actor, function.id, function.current).await?.manifest;
    let listing = manifest.listing.map(|listing| {
        let Listing { category, docs, logo, support } = listing;
        ListingView { category, docs, logo, support }
    });
    Ok(FunctionView {
        id: function.id.to_string(),
        partner: function.partner.to_string(),
        name: function.name,
        description: manifest.description,
        listing,
        stage: function.stage.as_str(),
        version: manifest.version,
        current: function.current.to_string(),
        previous: function.previous.map(|version| version.to_string()),
        created_at: function.created_at.to_string(),
    })
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(promote))
        .routes(routes!(rollback))
}

/// A function by id or by name. Names never look like ids: they have no underscore.
pub(super) async fn find(state: &ApiState, actor: &Actor, key: &str) -> Result<Function, Problem> {
    if key.starts_with(FunctionId::PREFIX) {
        return Ok(state.store.get_function(actor, id(key)?).await?);
    }
    let found = state.store.find_function(actor, key).await?;
    found.ok_or_else(|| {
        let shown: String = key.chars().take(80).collect();
        Problem::not_found(format!("there is no function `{shown}`: `tidegate function list` shows those there are"))
    })
}

/// The version that a caller names, or the current one where none is named.
pub(super) async fn wanted_version(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    named: Option<&str>,
) -> Result<FunctionVersion, Problem> {
    let version = match named {
        Some(key) => find_version(state, actor, function, key).await?,
        None => function.current,
    };
    Ok(state.store.get_version(actor, function.id, version).await?)
}

/// A version of a function by id, by its digest, or by the partner's own version text.
pub(super) async fn find_version(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    key: &str,
) -> Result<VersionId, Problem> {
    if key.starts_with(VersionId::PREFIX) {
        return id(key);
    }
    let found = state.store.versions_called(actor, function.id, key).await?;
    let shown: String = key.chars().take(80).collect();
    match &found[..] {
        [one] => Ok(one.id),
        [] => Err(Problem::not_found(format!(
            "the function `{}` has no version `{shown}`: `tidegate function versions {}` shows those there are",
            function.name, function.name
        ))),
        // Hosts took such versions once.
        [..] => {
            let detail =
                format!("several versions of `{}` are called {shown}: give the id of one of them", function.name);
            let each = found.iter().map(|one| format!("{} of {}, {}", one.id, one.created_at, one.digest));
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous_version", detail).with_errors(each))
        }
    }
}

/// Uploads a component or JavaScript, checks and compiles it, and stores it as a version of the function that its
/// manifest names.
#[utoipa::path(post, path = "/api/v1/functions", tag = "functions",
    params(upload::UploadQuery, ("tidegate-signature" = Option<String>, Header, pattern = "^ed25519 [0-9a-fA-F]{64} [0-9]{1,19} [0-9a-fA-F]{128}$",
        description = "Who made it: `ed25519 PUBLIC-KEY SEQUENCE SIGNATURE`, as `tidegate function sign` writes it."),
        ("content-digest" = Option<String>, Header, pattern = "^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$",
        description = "The SHA-256 of the body (RFC 9530): one that arrives otherwise is refused.")),
    request_body(description = "The component itself, JavaScript, or a form with either",
        content((String = "application/wasm"), (String = "text/javascript"), (upload::Form = "multipart/form-data"))),
    responses((status = 201, body = Uploaded)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(query): Asked<upload::UploadQuery>,
    request: Request,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    let headers = request.headers().clone();
    let upload::Received { made, known, cases, share } = upload::receive(&state, &actor, &query, request).await?;
    let Added { function, version, wider, findings } = add(&state, &actor, made, known, &headers).await?;
    let cases = checking::run(&state, &version, cases).await;
    drop(share);
    if !cases.is_empty() || state.store.checks(version.id).await?.is_none() {
        let findings = findings.iter().map(ToString::to_string).collect();
        state.store.set_checks(version.id, Checks { findings, cases: cases.clone() }).await?;
    }
    let current = state.store.get_version(&actor, function.id, function.current).await?;
    let breaking = compare(&current.manifest, &version.manifest).breaking;
    let findings = findings.iter().map(Finding::from).collect();
    let (function, version) = (described(&state, &actor, function).await?, VersionView::of(version, None));
    let cases = cases.into_iter().map(CaseView::from).collect();
    Ok((StatusCode::CREATED, Json(Uploaded { function, version, findings, breaking, wider, cases })))
}

/// A version that was stored, or was there.
pub(super) struct Added {
    /// Its function.
    pub(super) function: Function,
    /// The version.
    version: FunctionVersion,
    /// What it may do that no version approved before may.
    wider: Vec<String>,
    /// What its author should look at.
    findings: Vec<catalog::Finding>,
}

/// Stores what was made as a version of the function that its manifest names, if it is not known as one. The headers may have its
/// signature.
pub(super) async fn add(
    state: &ApiState,
    actor: &Actor,
    made: upload::Made,
    known: Option<FunctionVersion>,
    headers: &HeaderMap,
) -> Result<Added, Problem> {
    let upload::Made { manifest, inspection, digest, component, findings, script } = made;
    let signed = signing::signed(state, actor, headers, digest, &manifest).await?;
    let wider = match state.store.find_function(&publisher(actor), &manifest.name).await? {
        Some(function) => beyond_approved(&approved(state, actor, function.id).await?, &manifest),
        None => None,
    };
    if let Some(version) = known {
        let function = state.store.get_function(&publisher(actor), version.function).await?;
        return Ok(Added { function, version, wider: wider.unwrap_or_default(), findings });
    }
    // What an operator uploads is approved by that.
    let approved = actor.role == Role::Operator || wider.as_ref().is_some_and(Vec::is_empty);
    let vouched = Vouched { approved, signed };
    let put = state.store.put_function_version(actor, manifest, inspection, digest, component, vouched);
    let (function, version) = put.await?;
    if let Some(script) = script {
        state.store.set_script(version.id, script).await?;
    }
    Ok(Added { function, version, wider: wider.unwrap_or_default(), findings })
}

/// The same actor as the partner that it uploads for, who alone has a function of its own name.
pub(super) fn publisher(actor: &Actor) -> Actor {
    Actor { role: Role::PartnerDeveloper, ..actor.clone() }
}

/// Lists functions, oldest first.
#[utoipa::path(get, path = "/api/v1/functions", tag = "functions", params(PageQuery),
    responses((status = 200, body = List<FunctionView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<FunctionView>>, Problem> {
    let page = state.store.list_functions(&actor, &page.into()).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for function in page.items {
        items.push(described(&state, &actor, function).await?);
    }
    Ok(Json(List { items, next: page.next }))
}

/// Shows a function, by id or name.
#[utoipa::path(get, path = "/api/v1/functions/{id}", tag = "functions", params(("id" = String, Path)),
    responses((status = 200, body = FunctionView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
) -> Result<Json<FunctionView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    Ok(Json(described(&state, &actor, function).await?))
}

/// Makes a version the one that unpinned destinations run.
#[utoipa::path(post, path = "/api/v1/functions/{id}/versions/{version}/promote", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path), Promotion),
    responses((status = 200, body = FunctionView)))]
async fn promote(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, version)): Path<(String, String)>,
    Asked(promotion): Asked<Promotion>,
) -> Result<Json<FunctionView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let version = find_version(&state, &actor, &function, &version).await?;
    let function = promoted(&state, &actor, &function, version, &promotion).await?;
    Ok(Json(described(&state, &actor, function).await?))
}

/// The function with that version as its current one.
pub(super) async fn promoted(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    version: VersionId,
    promotion: &Promotion,
) -> Result<Function, Problem> {
    if !promotion.force.unwrap_or(false) {
        refuse_breaking(state, actor, function, version).await?;
    }
    let approve = refuse_unapproved(state, actor, function, version).await?;
    let turn = turns::turn(state, actor, function.id, version, approve).await?;
    Ok(state.store.promote(actor, function.id, turn).await?)
}

/// What customers run is only what was approved, or does no more than that; whether the version becomes approved by this.
async fn refuse_unapproved(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    version: VersionId,
) -> Result<bool, Problem> {
    let new = state.store.get_version(actor, function.id, version).await?;
    if actor.role == Role::Operator || new.approved {
        return Ok(true);
    }
    let Some(wider) = beyond_approved(&approved(state, actor, function.id).await?, &new.manifest) else {
        return Ok(false);
    };
    if wider.is_empty() {
        return Ok(true);
    }
    let detail = format!(
        "customers run `{}`, and {} may do more than what was approved: submit it for a review",
        function.name, new.manifest.version
    );
    Err(Problem::new(StatusCode::CONFLICT, "approval_needed", detail).with_errors(wider))
}

/// A version for which settings may not fit is not promoted by mistake to destinations that follow.
async fn refuse_breaking(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    version: VersionId,
) -> Result<(), Problem> {
    let new = state.store.get_version(actor, function.id, version).await?;
    let current = state.store.get_version(actor, function.id, function.current).await?;
    let breaking = compare(&current.manifest, &new.manifest).breaking;
    let followers = state.store.followers(function.id).await?;
    if breaking.is_empty() || followers == 0 {
        return Ok(());
    }
    let detail = format!(
        "{followers} destinations follow `{}`, and settings that fit {} may not fit {}: `force=true` \
         promotes all the same (`tidegate function promote --force`)",
        function.name, current.manifest.version, new.manifest.version
    );
    Err(Problem::new(StatusCode::CONFLICT, "breaking_settings", detail).with_errors(breaking))
}

/// Makes the version current again that was it before.
#[utoipa::path(post, path = "/api/v1/functions/{id}/rollback", tag = "functions", params(("id" = String, Path)),
    responses((status = 200, body = FunctionView)))]
async fn rollback(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
) -> Result<Json<FunctionView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let Some(previous) = function.previous else {
        let why = "no version was current before this one: promote another version first".to_owned();
        return Err(StoreError::NotNow { what: "roll back function", id: function.id.to_string(), why }.into());
    };
    let turn = turns::turn(&state, &actor, function.id, previous, false).await?;
    let function = state.store.rollback(&actor, function.id, turn).await?;
    Ok(Json(described(&state, &actor, function).await?))
}
