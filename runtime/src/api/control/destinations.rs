//! `/api/v1/destinations`: customers' configured uses of functions.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, functions, masking};
use crate::api::extract::{Asked, Body, PageQuery, given, id};
use crate::api::{ApiState, Problem};
use crate::catalog::access::wider;
use crate::catalog::settings;
use crate::model::{
    Actor, Destination, DestinationHealth, DestinationId, Function, FunctionVersion, Manifest, Rate, Stage, VersionId,
};
use crate::store::{DestinationPatch, NewDestination, StoreError};

/// A destination. Secret settings are masked.
#[derive(Serialize, ToSchema)]
struct DestinationView {
    /// Its id.
    id: String,
    /// The workspace that it belongs to.
    workspace: String,
    /// Its name, unique in the workspace; the key that events' `integrations` use.
    name: String,
    /// The id of the function that it runs.
    function: String,
    /// The version it stays on; `null` if it follows the function's current one.
    pinned: Option<String>,
    /// The version it stays on although it follows, because the current one may do more than was agreed to; `null` if it
    /// runs what it follows.
    held: Option<String>,
    /// What the current version may do that was not agreed to, in sentences; `"consent": true` in a change agrees.
    asks: Vec<String>,
    /// The customer's values; secrets are `••••`.
    settings: Map<String, Value>,
    /// The secrets whose values the function itself gets to read, by the names of their settings.
    reveals: Vec<String>,
    /// The customer's own limit, beside the partner's; `null` if there is none.
    rate: Option<RateView>,
    /// Whether it gets events; while it does not, they are filtered and counted.
    enabled: bool,
    /// Whether its deliveries wait; events go on to be accepted for it.
    paused: bool,
    /// When it was made.
    created_at: String,
    /// When it was last changed.
    updated_at: String,
}

/// A destination with its health.
#[derive(Serialize, ToSchema)]
struct DestinationDetail {
    #[serde(flatten)]
    destination: DestinationView,
    /// `breaker` is `closed` (it is served), `open` (deliveries wait, at no cost of attempts) or `probing`; `reason`
    /// says why it opened; `outcomes` counts how attempts ended, by code, since this host first served it.
    /// `null` where this host delivers nothing at the moment.
    #[schema(value_type = Option<Object>)]
    health: Option<DestinationHealth>,
}

/// A limit: in any time T no more than `T × rate + burst` begins. At least one of the two rates is given.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RateView {
    /// Requests to the partner in a second.
    requests_per_s: Option<f64>,
    /// Events handed to the function in a second.
    events_per_s: Option<f64>,
    /// How many may begin at once after a pause; a second's worth if absent.
    burst: Option<u32>,
}

impl RateView {
    fn of(rate: Rate) -> Self {
        let Rate { requests_per_s, events_per_s, burst } = rate;
        Self { requests_per_s, events_per_s, burst }
    }

    fn checked(self) -> Result<Rate, Problem> {
        let Self { requests_per_s, events_per_s, burst } = self;
        let rate = Rate { requests_per_s, events_per_s, burst };
        rate.check().map_err(|(key, value, rule)| {
            Problem::unprocessable("invalid_rate", format!("`rate.{key}` is `{value}`: {rule}"))
        })?;
        Ok(rate)
    }
}

/// A destination to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DestinationToMake {
    /// Its name, unique in the workspace.
    name: String,
    /// The function's id or name.
    function: String,
    /// The version to stay on, by id or by its own text; absent to follow the function's current one.
    pinned: Option<String>,
    /// Values for the settings that the function's manifest names.
    #[serde(default)]
    settings: Map<String, Value>,
    /// A limit of the customer's own; it tightens the partner's and cannot loosen it.
    rate: Option<RateView>,
    /// Whether it gets events; yes if absent.
    enabled: Option<bool>,
}

/// A change; what is absent stays.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DestinationChange {
    /// A new name.
    name: Option<String>,
    /// Another version to stay on, by id or by its own text; `null` to follow the function's current one.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pinned: Option<Option<String>>,
    /// New settings instead of all old ones. A secret that is given as `••••` stays as it is.
    settings: Option<Map<String, Value>>,
    /// Changes to single settings, as a JSON merge patch (RFC 7396): what is not named stays as it is, secrets too; `null` takes a setting
    /// away; of a setting that is an object only the named members change. What comes of it is checked as a whole, and no change of
    /// somebody else's that comes in between is lost. Not beside `settings`.
    settings_patch: Option<Map<String, Value>>,
    /// Another limit; `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<RateView>)]
    rate: Option<Option<RateView>>,
    /// Whether it gets events; while it does not, they are filtered and counted, and what it already owes waits.
    enabled: Option<bool>,
    /// Whether its deliveries wait; events go on to be accepted for it.
    paused: Option<bool>,
    /// `true` agrees to all that the version may do which it is to run: the function's current one, or the pinned one.
    consent: Option<bool>,
}

impl DestinationView {
    fn of(destination: Destination, manifest: &Manifest, asks: Vec<String>) -> Self {
        let revealed = manifest.settings.iter().filter(|(_, setting)| setting.reveal);
        let settings = masking::masked(manifest, &destination);
        Self {
            id: destination.id.to_string(),
            workspace: destination.workspace.to_string(),
            name: destination.name,
            function: destination.function.to_string(),
            pinned: destination.pinned.map(|version| version.to_string()),
            held: destination.held.map(|version| version.to_string()),
            asks,
            settings,
            reveals: revealed.map(|(name, _)| name.clone()).collect(),
            rate: destination.rate.map(RateView::of),
            enabled: destination.enabled,
            paused: destination.paused,
            created_at: destination.created_at.to_string(),
            updated_at: destination.updated_at.to_string(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, change, delete))
}

/// The version that a destination is to stay on, if any.
async fn pin(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    wanted: Option<String>,
) -> Result<Option<VersionId>, Problem> {
    match wanted {
        Some(key) => Ok(Some(functions::find_version(state, actor, function, &key).await?)),
        None => Ok(None),
    }
}

/// The manifest of what a destination runs.
async fn manifest(state: &ApiState, actor: &Actor, destination: &Destination) -> Result<Manifest, Problem> {
    Ok(running(state, actor, destination).await?.manifest)
}

/// The version that a destination runs.
pub(super) async fn running(
    state: &ApiState,
    actor: &Actor,
    destination: &Destination,
) -> Result<FunctionVersion, Problem> {
    let function = destination.function;
    let version = match destination.pinned.or(destination.held) {
        Some(pinned) => pinned,
        None => state.store.get_function(actor, function).await?.current,
    };
    Ok(state.store.get_version(actor, function, version).await?)
}

async fn view(state: &ApiState, actor: &Actor, destination: Destination) -> Result<DestinationView, Problem> {
    let manifest = manifest(state, actor, &destination).await?;
    let asks = match destination.held {
        Some(_) => {
            let current = state.store.get_function(actor, destination.function).await?.current;
            unagreed(state, actor, &destination, current).await?
        }
        None => Vec::new(),
    };
    Ok(DestinationView::of(destination, &manifest, asks))
}

/// What a version may do that the customer of a destination did not agree to.
async fn unagreed(
    state: &ApiState,
    actor: &Actor,
    destination: &Destination,
    to: VersionId,
) -> Result<Vec<String>, Problem> {
    let agreed = state.store.get_version(actor, destination.function, destination.consented).await?;
    let wanted = state.store.get_version(actor, destination.function, to).await?;
    Ok(wider(&agreed.manifest, &wanted.manifest))
}

/// Checks settings; those that are kept are there and were checked when they were saved.
pub(super) fn check_settings(
    state: &ApiState,
    manifest: &Manifest,
    values: &Map<String, Value>,
    kept: &BTreeSet<String>,
) -> Result<(), Problem> {
    let reachable = |()| match state.standing.open.unreachable(manifest, values) {
        errors if errors.is_empty() => Ok(()),
        errors => Err(errors),
    };
    settings::validate_with(manifest, values, kept).and_then(reachable).map_err(|errors| {
        let detail = format!("the settings do not fit the function `{}` {}", manifest.name, manifest.version);
        Problem::unprocessable("invalid_settings", detail).with_errors(errors.iter().map(ToString::to_string))
    })
}

/// Whether to do it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Trying {
    /// `true` makes nothing: it is checked, and answered with 204 if it could be made.
    dry_run: Option<bool>,
}

/// Makes a destination. Its settings are checked against the function's manifest.
#[utoipa::path(post, path = "/api/v1/destinations", tag = "destinations", params(Trying), request_body = DestinationToMake,
    responses((status = 201, body = DestinationView), (status = 204, description = "It could be made, and was not")))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(trying): Asked<Trying>,
    Body(mut new): Body<DestinationToMake>,
) -> Result<Response, Problem> {
    super::check_name("name", &new.name)?;
    let function = functions::find(&state, &actor, &new.function).await?;
    let pinned = pin(&state, &actor, &function, new.pinned).await?;
    if actor.customer().is_some() && function.stage == Stage::Deprecated {
        let why = "it is deprecated: who runs it goes on, and nobody else begins".to_owned();
        return Err(StoreError::NotNow { what: "enable function", id: function.name, why }.into());
    }
    let version = state.store.get_version(&actor, function.id, pinned.unwrap_or(function.current)).await?;
    let kept = masking::kept(&version.manifest, &mut new.settings, None)?;
    check_settings(&state, &version.manifest, &new.settings, &kept)?;
    let secrets = masking::secrets(&version.manifest, &mut new.settings, kept);
    let new = NewDestination {
        name: new.name,
        function: function.id,
        pinned,
        consented: version.id,
        settings: new.settings,
        secrets,
        rate: new.rate.map(RateView::checked).transpose()?,
        enabled: new.enabled.unwrap_or(true),
    };
    if trying.dry_run.unwrap_or(false) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let destination = state.store.create_destination(&actor, new).await?;
    Ok((StatusCode::CREATED, Json(DestinationView::of(destination, &version.manifest, Vec::new()))).into_response())
}

/// Lists destinations, oldest first.
#[utoipa::path(get, path = "/api/v1/destinations", tag = "destinations", params(PageQuery),
    responses((status = 200, body = List<DestinationView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<List<DestinationView>>, Problem> {
    let page = state.store.list_destinations(&actor, &page.into()).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for destination in page.items {
        items.push(view(&state, &actor, destination).await?);
    }
    Ok(Json(List { items, next: page.next }))
}

/// Shows a destination, and how its deliveries go.
#[utoipa::path(get, path = "/api/v1/destinations/{id}", tag = "destinations", params(("id" = String, Path)),
    responses((status = 200, body = DestinationDetail)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(destination): Path<String>,
) -> Result<Json<DestinationDetail>, Problem> {
    let destination = state.store.get_destination(&actor, id(&destination)?).await?;
    let health = (state.standing.health)(destination.id).await;
    Ok(Json(DestinationDetail { destination: view(&state, &actor, destination).await?, health }))
}

/// How often a change of some settings begins anew because others changed them at the same moment. Each time, one of those others was done.
const TRIES: usize = 64;

/// Why a change was not made.
enum Refusal {
    /// For a reason of the call's.
    Problem(Problem),
    /// For one of the store's.
    Store(StoreError),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Problem(problem) => problem,
            Refusal::Store(error) => error.into(),
        }
    }
}

/// Changes a destination. What it will have afterwards is checked as a whole.
#[utoipa::path(patch, path = "/api/v1/destinations/{id}", tag = "destinations", params(("id" = String, Path)),
    request_body = DestinationChange, responses((status = 200, body = DestinationView)))]
async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(destination): Path<String>,
    Body(change): Body<DestinationChange>,
) -> Result<Json<DestinationView>, Problem> {
    change.name.iter().try_for_each(|name| super::check_name("name", name))?;
    if change.settings.is_some() && change.settings_patch.is_some() {
        let detail = "`settings` replaces all settings and `settings_patch` changes some: give one of them";
        return Err(Problem::unprocessable("invalid_settings", detail));
    }
    let destination = id(&destination)?;
    for _ in 1..TRIES {
        match changed(&state, &actor, destination, change.clone()).await {
            Err(Refusal::Store(StoreError::Changed { .. })) => {}
            done => return Ok(Json(done?)),
        }
    }
    Ok(Json(changed(&state, &actor, destination, change).await?))
}

/// Makes a change of what is stored now.
async fn changed(
    state: &ApiState,
    actor: &Actor,
    destination: DestinationId,
    change: DestinationChange,
) -> Result<DestinationView, Refusal> {
    let old = state.store.get_destination(actor, destination).await?;
    let mut after = old.clone();
    if let Some(pinned) = change.pinned {
        let function = state.store.get_function(actor, old.function).await?;
        after.pinned = pin(state, actor, &function, pinned).await?;
    }
    let repinned = (after.pinned != old.pinned).then_some(after.pinned);
    let consent = change.consent.unwrap_or(false);
    if repinned.is_some() || consent {
        after = agreed_to(state, actor, after, consent).await?;
    }
    let manifest = manifest(state, actor, &after).await?;
    let mut patch = DestinationPatch {
        name: change.name,
        pinned: repinned,
        settings: change.settings,
        enabled: change.enabled,
        paused: change.paused,
        consented: (after.consented != old.consented).then_some(after.consented),
        released: after.held.is_none(),
        ..DestinationPatch::default()
    };
    if let Some(settings) = &mut patch.settings {
        let kept = masking::kept(&manifest, settings, Some(&old))?;
        check_settings(state, &manifest, settings, &kept)?;
        patch.secrets = masking::secrets(&manifest, settings, kept);
    } else if let Some(some) = change.settings_patch {
        let masking::Merged { mut settings, kept, aside } = masking::merged(&manifest, &old, some)?;
        let declared = kept.iter().filter(|name| manifest.settings.contains_key(*name));
        check_settings(state, &manifest, &settings, &declared.cloned().collect())?;
        patch.secrets = masking::secrets(&manifest, &mut settings, kept);
        settings.extend(aside);
        patch.settings = Some(settings);
        patch.based_on = Some(Box::new(old.clone()));
    } else if patch.pinned.is_some() || consent {
        // What another version declared is not for this one, and stays for the way back.
        let declared = |name: &String| manifest.open_settings || manifest.settings.contains_key(name);
        let settings = old.settings.iter().filter(|(name, _)| declared(name));
        let settings = settings.map(|(name, value)| (name.clone(), value.clone())).collect();
        check_settings(
            state,
            &manifest,
            &settings,
            &old.secrets.keys().filter(|name| declared(name)).cloned().collect(),
        )?;
    }
    patch.rate = change.rate.map(|rate| rate.map(RateView::checked).transpose()).transpose()?;
    let destination = state.store.update_destination(actor, old.id, patch).await?;
    Ok(view(state, actor, destination).await?)
}

/// The destination on what it is to run, if its customer agreed to that or does now.
async fn agreed_to(
    state: &ApiState,
    actor: &Actor,
    destination: Destination,
    consent: bool,
) -> Result<Destination, Problem> {
    let wanted = match destination.pinned {
        Some(pinned) => pinned,
        None => state.store.get_function(actor, destination.function).await?.current,
    };
    let more = unagreed(state, actor, &destination, wanted).await?;
    if !more.is_empty() && !consent && actor.customer().is_some() {
        let detail = "this version may do more than you agreed to: `\"consent\": true` in the change agrees \
                      (`tidegate destination update --consent`)";
        return Err(Problem::new(StatusCode::CONFLICT, "consent_needed", detail).with_errors(more));
    }
    let consented = if more.is_empty() { destination.consented } else { wanted };
    Ok(Destination { held: None, consented, ..destination })
}

/// Deletes a destination and its connections. What is still owed to it is filtered.
#[utoipa::path(delete, path = "/api/v1/destinations/{id}", tag = "destinations", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(destination): Path<String>,
) -> Result<StatusCode, Problem> {
    state.store.delete_destination(&actor, id(&destination)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
