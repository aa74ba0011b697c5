//! `/api/v1/functions/{id}/versions`: what was uploaded, what differs, and what may be chosen.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use super::functions::{find, find_version, wanted_version};
use crate::api::extract::{Asked, Body, PageQuery};
use crate::api::{ApiState, Problem};
use crate::catalog::access::wider;
use crate::catalog::compare::{Changed, compare};
use crate::model::{Actor, CaseResult, Checks, FunctionVersion, Inspection, Setting, Signed, VersionState};

/// Characters of a reason: two lines for people.
const MAX_REASON: usize = 200;

/// One immutable component of a function.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionView {
    /// Its id.
    id: String,
    /// The function's id.
    function: String,
    /// The digest of its bytes.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    digest: String,
    /// The partner's own version text.
    version: String,
    /// The manifest inside.
    manifest: Value,
    /// Its size in bytes.
    size: u64,
    /// When it was uploaded.
    created_at: String,
    /// `available`, `deprecated` (its partner would rather not) or `yanked` (nothing more may choose it).
    state: &'static str,
    /// Why it is deprecated or yanked.
    reason: Option<String>,
    /// By whom it was signed; `null` if it was not.
    signed: Option<SignedView>,
    /// Whether customers may run it.
    approved: bool,
    /// What was found when it was uploaded; only where one version is shown, `null` for one that an older host stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection: Option<InspectionView>,
}

/// A signature that was checked when a version was uploaded.
#[derive(Serialize, ToSchema)]
struct SignedView {
    /// The signing key's id.
    key: String,
    /// Its place among the signed versions of the function.
    sequence: u64,
    /// The ed25519 signature, 128 hexadecimal digits.
    signature: String,
}

impl From<Signed> for SignedView {
    fn from(signed: Signed) -> Self {
        Self { key: signed.key.to_string(), sequence: signed.sequence, signature: signed.signature }
    }
}

/// What a look into a component and its manifest found.
#[derive(Serialize, ToSchema)]
struct InspectionView {
    /// The interfaces it imports: what it can ask this host for.
    imports: Vec<String>,
    /// What it exports.
    exports: Vec<String>,
    /// The origins it may reach.
    hosts: Vec<String>,
    /// Its settings that are secret.
    secrets: Vec<String>,
    /// Secrets whose values it reads itself.
    reveals: Vec<String>,
    /// All its settings.
    settings: Vec<String>,
    /// The event types it takes.
    events: Vec<String>,
    /// The fields of those events that it is given; `*` for all.
    fields: Vec<String>,
    /// Core modules.
    core_modules: u32,
    /// Functions in all core modules together.
    functions: u32,
    /// Bytes of all functions' bodies.
    code_bytes: u64,
    /// Bytes of the largest function's body.
    largest_function_bytes: u64,
    /// Bytes with which memories begin.
    data_bytes: u64,
    /// What became of the cases that came with it, in this host's sandbox.
    cases: Vec<CaseView>,
}

/// What became of a case.
#[derive(Serialize, ToSchema)]
pub(super) struct CaseView {
    /// The file.
    file: String,
    /// What it shows.
    name: String,
    /// Whether the function did what is expected.
    passed: bool,
    /// How it differed, as far as it is kept.
    differences: Vec<String>,
}

impl From<CaseResult> for CaseView {
    fn from(case: CaseResult) -> Self {
        let CaseResult { file, name, passed, differences, events: _ } = case;
        Self { file, name, passed, differences }
    }
}

/// What came and what went.
#[derive(Serialize, ToSchema)]
struct ChangedView {
    /// Only in the version.
    added: Vec<String>,
    /// Only in the one before.
    removed: Vec<String>,
}

/// A number in both versions.
#[derive(Serialize, ToSchema)]
struct Numbers {
    /// What it is.
    name: &'static str,
    /// In the one before; `null` for the host's own.
    from: Option<u64>,
    /// In the version; `null` for the host's own.
    to: Option<u64>,
}

/// What a version changes.
#[derive(Serialize, ToSchema)]
struct DiffView {
    /// The id of the version before.
    from: String,
    /// The id of the version.
    to: String,
    /// Origins it may reach.
    hosts: ChangedView,
    /// Settings that are secret.
    secrets: ChangedView,
    /// Secrets whose values the function itself reads.
    reveals: ChangedView,
    /// Event types.
    events: ChangedView,
    /// Fields of events that it is given.
    fields: ChangedView,
    /// Interfaces it imports.
    imports: ChangedView,
    /// Settings by name.
    settings: ChangedView,
    /// Settings that both have, and that differ.
    changed_settings: Vec<String>,
    /// The size in bytes and the limits that differ.
    numbers: Vec<Numbers>,
    /// Why settings that fit the one before may not fit the version; empty if all do.
    breaking: Vec<String>,
    /// What it may do that the one before may not, in sentences; empty if customers need not be asked again.
    wider: Vec<String>,
}

/// With what to compare.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Base {
    /// The version before, by id or by its own text; the current one if absent.
    from: Option<String>,
}

/// Why a version should no longer be chosen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// For people; at most 200 characters on one line.
    reason: Option<String>,
}

impl VersionView {
    pub(super) fn of(version: FunctionVersion, found: Option<(Inspection, Checks)>) -> Self {
        let inspection = found.map(|(inspection, checks)| InspectionView::of(&version, inspection, checks));
        Self {
            id: version.id.to_string(),
            function: version.function.to_string(),
            digest: version.digest.to_string(),
            version: version.manifest.version.clone(),
            // A manifest has only texts, numbers and lists of them.
            manifest: serde_json::to_value(&version.manifest).unwrap_or_default(),
            size: version.size,
            created_at: version.created_at.to_string(),
            state: version.state.as_str(),
            reason: version.reason,
            signed: version.signed.map(SignedView::from),
            approved: version.approved,
            inspection,
        }
    }
}

impl InspectionView {
    fn of(version: &FunctionVersion, inspection: Inspection, checks: Checks) -> Self {
        let manifest = &version.manifest;
        let named = |which: fn(&Setting) -> bool| {
            let some = manifest.settings.iter().filter(|(_, setting)| which(setting));
            some.map(|(name, _)| name.clone()).collect()
        };
        let Inspection { imports, exports, structure } = inspection;
        Self {
            imports,
            exports,
            hosts: manifest.egress.allow.clone(),
            secrets: named(|setting| setting.secret),
            reveals: named(|setting| setting.reveal),
            settings: named(|_| true),
            events: manifest.events.iter().map(ToString::to_string).collect(),
            fields: manifest.reads.paths().to_vec(),
            core_modules: structure.core_modules,
            functions: structure.functions,
            code_bytes: structure.code_bytes,
            largest_function_bytes: structure.largest_function_bytes,
            data_bytes: structure.data_bytes,
            cases: checks.cases.into_iter().map(CaseView::from).collect(),
        }
    }
}

impl From<Changed> for ChangedView {
    fn from(changed: Changed) -> Self {
        Self { added: changed.added, removed: changed.removed }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(diff))
        .routes(routes!(yank))
        .routes(routes!(deprecate))
        .routes(routes!(restore))
}

/// Lists a function's versions, oldest first.
#[utoipa::path(get, path = "/api/v1/functions/{id}/versions", tag = "functions", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = List<VersionView>)))]
async fn versions(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<VersionView>>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let page = state.store.list_versions(&actor, function.id, &page.into()).await?;
    Ok(Json(List::of(page, |version| VersionView::of(version, None))))
}

async fn get(state: &ApiState, actor: &Actor, function: &str, version: &str) -> Result<FunctionVersion, Problem> {
    let function = find(state, actor, function).await?;
    let version = find_version(state, actor, &function, version).await?;
    Ok(state.store.get_version(actor, function.id, version).await?)
}

/// Shows a version, by id or by the partner's own version text, with what was found in it.
#[utoipa::path(get, path = "/api/v1/functions/{id}/versions/{version}", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path)), responses((status = 200, body = VersionView)))]
async fn version(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    let version = get(&state, &actor, &function, &version).await?;
    let found = state.store.inspection(version.id).await?;
    let checks = state.store.checks(version.id).await?.unwrap_or_default();
    Ok(Json(VersionView::of(version, found.map(|found| (found, checks)))))
}

/// Shows what a version changes.
#[utoipa::path(get, path = "/api/v1/functions/{id}/versions/{version}/diff", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path), Base), responses((status = 200, body = DiffView)))]
async fn diff(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, version)): Path<(String, String)>,
    Asked(base): Asked<Base>,
) -> Result<Json<DiffView>, Problem> {
    let function = find(&state, &actor, &function).await?;
    let from = wanted_version(&state, &actor, &function, base.from.as_deref()).await?;
    let to = wanted_version(&state, &actor, &function, Some(&version)).await?;
    let imports = async |version: &FunctionVersion| {
        let found = state.store.inspection(version.id).await?;
        Ok::<_, Problem>(found.map(|found| found.imports).unwrap_or_default())
    };
    let imports = Changed::between(imports(&from).await?, imports(&to).await?);
    let found = compare(&from.manifest, &to.manifest);
    let size = (from.size != to.size).then_some(("size", Some(from.size), Some(to.size)));
    let numbers = size.into_iter().chain(found.limits);
    Ok(Json(DiffView {
        from: from.id.to_string(),
        to: to.id.to_string(),
        hosts: found.hosts.into(),
        secrets: found.secrets.into(),
        reveals: found.reveals.into(),
        events: found.events.into(),
        fields: found.fields.into(),
        imports: imports.into(),
        settings: found.settings.into(),
        changed_settings: found.changed_settings,
        numbers: numbers.map(|(name, from, to)| Numbers { name, from, to }).collect(),
        breaking: found.breaking,
        wider: wider(&from.manifest, &to.manifest),
    }))
}

async fn set(
    state: &ApiState,
    actor: &Actor,
    (function, version): (String, String),
    to: VersionState,
    reason: Option<String>,
) -> Result<Json<VersionView>, Problem> {
    let fits = |reason: &String| reason.chars().count() <= MAX_REASON && !reason.chars().any(char::is_control);
    if reason.as_ref().is_some_and(|reason| !fits(reason)) {
        let detail = format!("`reason` must be one line of at most {MAX_REASON} characters");
        return Err(Problem::unprocessable("invalid_reason", detail));
    }
    let version = get(state, actor, &function, &version).await?;
    let version = state.store.set_version_state(actor, version.function, version.id, to, reason).await?;
    Ok(Json(VersionView::of(version, None)))
}

/// Takes a version back: nothing may be promoted or pinned to it any more. Destinations that run it go on.
#[utoipa::path(post, path = "/api/v1/functions/{id}/versions/{version}/yank", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path)), request_body = Reason,
    responses((status = 200, body = VersionView)))]
async fn yank(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(which): Path<(String, String)>,
    Body(why): Body<Reason>,
) -> Result<Json<VersionView>, Problem> {
    set(&state, &actor, which, VersionState::Yanked, why.reason).await
}

/// Marks a version as one that its partner would rather not see chosen. It may be.
#[utoipa::path(post, path = "/api/v1/functions/{id}/versions/{version}/deprecate", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path)), request_body = Reason,
    responses((status = 200, body = VersionView)))]
async fn deprecate(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(which): Path<(String, String)>,
    Body(why): Body<Reason>,
) -> Result<Json<VersionView>, Problem> {
    set(&state, &actor, which, VersionState::Deprecated, why.reason).await
}

/// Makes a version that was yanked or deprecated available again.
#[utoipa::path(post, path = "/api/v1/functions/{id}/versions/{version}/restore", tag = "functions",
    params(("id" = String, Path), ("version" = String, Path)), responses((status = 200, body = VersionView)))]
async fn restore(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(which): Path<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    set(&state, &actor, which, VersionState::Available, None).await
}
