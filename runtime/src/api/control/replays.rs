//! `/api/v1/replays`: giving back what was given up, or sending once more what was delivered.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::api::extract::{Asked, Body, Limit, id};
use crate::api::{ApiState, Problem};
use crate::catalog::access::wider;
use crate::model::{
    Actor, ConnectionId, DeliveryId, DeliveryState, DestinationId, EventType, FunctionVersion, OutcomeCode,
    ReplayState, ReplayVersion, SourceId, Timestamp, VersionId, VersionState,
};
use crate::replay::{Plan, plan};
use crate::store::{DeliveryFilter, NewReplay, Page, Replay, StoreError};

/// Which deliveries a replay is for: those that stand so.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum States {
    /// Those that were given up. They are owed again.
    #[default]
    Dead,
    /// Those that were delivered. Their events are owed once more, as new deliveries.
    Delivered,
    /// Both.
    All,
}

/// A replay to be made: for the deliveries that fit all that is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReplayBody {
    /// Only those owed to this destination.
    #[schema(value_type = Option<String>)]
    destination: Option<DestinationId>,
    /// Only of events from this source.
    #[schema(value_type = Option<String>)]
    source: Option<SourceId>,
    /// Only those of this connection.
    #[schema(value_type = Option<String>)]
    connection: Option<ConnectionId>,
    /// Only this one.
    #[schema(value_type = Option<String>)]
    delivery: Option<DeliveryId>,
    /// `dead` if absent.
    #[serde(default)]
    state: States,
    /// Only those accepted then or later.
    #[schema(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Only those accepted before then.
    #[schema(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// Only those whose last recorded attempt ended so, such as `gateway_timeout`.
    #[schema(value_type = Option<String>)]
    outcome: Option<OutcomeCode>,
    /// Only of events of this type, such as `track`.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    event_type: Option<EventType>,
    /// Only of events of this name: `event` of a track, `name` of a page or screen.
    event: Option<String>,
    /// `current` (if absent): what each destination runs at the moment of the attempt; `old`: what ran at the last recorded
    /// attempt; `fnv_…`: this one. Settings are the destination's current ones in any case.
    #[serde(default)]
    #[schema(value_type = String)]
    version: ReplayVersion,
    /// Deliveries given back in a second, at most; `replay.events_per_s` if absent.
    events_per_s: Option<u32>,
    /// `true` only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// What a replay would do now.
#[derive(Serialize, ToSchema)]
struct PlanView {
    /// Always `true`: nothing was done.
    dry_run: bool,
    /// Deliveries that fit.
    matching: u64,
    /// Those of them that would be given back.
    would_release: u64,
    /// The same by destination.
    destinations: BTreeMap<String, u64>,
    /// What would be left as it is, by reason.
    skipped: BTreeMap<&'static str, u64>,
    /// What fits, by the outcome of the last recorded attempt.
    outcomes: BTreeMap<&'static str, u64>,
    /// When the first of them was accepted.
    oldest: Option<String>,
    /// When the last of them was accepted.
    newest: Option<String>,
    /// Deliveries given back in a second, at most.
    events_per_s: u32,
    /// How many seconds that takes at least.
    least_seconds: u64,
}

/// One replay. `released` is the sum of `delivered`, `filtered`, `dead` and `pending`.
#[derive(Serialize, ToSchema)]
struct ReplayView {
    /// Its id.
    id: String,
    /// The workspace that it belongs to.
    workspace: String,
    /// `running`, `paused`, `cancelled` or `done`: everything is given back. What it gave back may still be pending.
    state: &'static str,
    /// What it is for.
    filter: Value,
    /// What its deliveries run.
    version: String,
    /// Deliveries given back in a second, at most.
    events_per_s: u32,
    /// Deliveries that fitted when it was made.
    matching: u64,
    /// Those that it gave back.
    released: u64,
    /// Those of them that the partner has now.
    delivered: u64,
    /// Those of them that are filtered now.
    filtered: u64,
    /// Those of them that were given up again.
    dead: u64,
    /// Those of them that are still owed.
    pending: u64,
    /// What it left as it was, by reason.
    skipped: BTreeMap<String, u64>,
    /// When it was made.
    created_at: String,
    /// When it was done or cancelled.
    ended_at: Option<String>,
}

/// Which replays.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Only those that stand so: `running`, `paused`, `cancelled` or `done`.
    #[param(value_type = Option<String>)]
    state: Option<ReplayState>,
}

impl From<Replay> for ReplayView {
    fn from(replay: Replay) -> Self {
        let pending = replay.pending();
        Self {
            id: replay.id.to_string(),
            workspace: replay.workspace.to_string(),
            state: replay.state.as_str(),
            // A filter has only texts in it.
            filter: serde_json::to_value(&replay.filter).unwrap_or_default(),
            version: replay.version.to_string(),
            events_per_s: replay.events_per_s,
            matching: replay.matching,
            released: replay.released,
            delivered: replay.delivered,
            filtered: replay.filtered,
            dead: replay.dead,
            pending,
            skipped: replay.skipped,
            created_at: replay.created_at.to_string(),
            ended_at: replay.ended_at.map(|at| at.to_string()),
        }
    }
}

impl PlanView {
    fn of(plan: Plan, events_per_s: u32) -> Self {
        let would_release = plan.destinations.values().sum::<u64>();
        Self {
            dry_run: true,
            matching: plan.matching,
            would_release,
            destinations: plan.destinations.into_iter().map(|(id, number)| (id.to_string(), number)).collect(),
            skipped: plan.skipped,
            outcomes: plan.outcomes,
            oldest: plan.oldest.map(|at| at.to_string()),
            newest: plan.newest.map(|at| at.to_string()),
            events_per_s,
            least_seconds: would_release.div_ceil(events_per_s.into()),
        }
    }
}

impl NewReplayBody {
    fn filter(&self) -> DeliveryFilter {
        let states = match self.state {
            States::Dead => vec![DeliveryState::Dead],
            States::Delivered => vec![DeliveryState::Delivered],
            States::All => vec![DeliveryState::Dead, DeliveryState::Delivered],
        };
        DeliveryFilter {
            source: self.source,
            destination: self.destination,
            connection: self.connection,
            delivery: self.delivery,
            states,
            from: self.from,
            to: self.to,
            outcome: self.outcome,
            event_type: self.event_type,
            event: self.event.clone(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
}

/// Makes a replay, which begins at once, or says what it would do.
#[utoipa::path(post, path = "/api/v1/replays", tag = "replays", request_body = NewReplayBody,
    responses((status = 201, body = ReplayView), (status = 200, description = "A dry run", body = PlanView)))]
async fn create(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Body(body): Body<NewReplayBody>,
) -> Result<Response, Problem> {
    let (filter, version) = (body.filter(), body.version);
    let events_per_s = rate(&state, body.events_per_s)?;
    narrow_enough(&body)?;
    known(&state, &actor, &body).await?;
    let plan = plan(&state.store, &actor, &filter, version).await?;
    agreed(&state, &actor, version, plan.destinations.keys().chain(&body.destination)).await?;
    if body.dry_run {
        return Ok(Json(PlanView::of(plan, events_per_s)).into_response());
    }
    let Plan { until, matching, destinations, .. } = plan;
    let destinations = destinations.into_keys().collect();
    let new = NewReplay { filter, version, events_per_s, until, matching, destinations };
    let made = state.store.create_replay(&actor, new).await?;
    Ok((StatusCode::CREATED, Json(ReplayView::from(made))).into_response())
}

fn rate(state: &ApiState, wanted: Option<u32>) -> Result<u32, Problem> {
    let (rate, most) = (wanted.unwrap_or(state.replay.events_per_s), state.replay.max_events_per_s);
    if (1..=most).contains(&rate) {
        return Ok(rate);
    }
    let detail = format!("`events_per_s` is `{rate}`: it must be from 1 to {most} (`replay.max_events_per_s`)");
    Err(Problem::unprocessable("invalid_rate", detail))
}

/// What is dead can be given back as a whole. What was delivered would reach partners a second time: that has to be
/// asked for by name.
fn narrow_enough(body: &NewReplayBody) -> Result<(), Problem> {
    let named = body.destination.is_some() || body.source.is_some() || body.connection.is_some();
    if matches!(body.state, States::Dead) || named || body.delivery.is_some() {
        return Ok(());
    }
    let detail = "delivered events would reach every partner a second time: name the `destination`, `source`, \
                  `connection` or `delivery` that this is meant for";
    Err(Problem::new(StatusCode::CONFLICT, "replay_too_wide", detail))
}

/// A filter that names what is not there matches nothing for a reason that is worth saying.
async fn known(state: &ApiState, actor: &Actor, body: &NewReplayBody) -> Result<(), Problem> {
    let store = &state.store;
    if let Some(source) = body.source {
        store.get_source(actor, source).await?;
    }
    if let Some(connection) = body.connection {
        store.get_connection(actor, connection).await?;
    }
    if let Some(delivery) = body.delivery {
        store.get_delivery(actor, delivery).await?;
    }
    let destination = match body.destination {
        Some(id) => Some(store.get_destination(actor, id).await?),
        None => None,
    };
    let ReplayVersion::Pinned(version) = body.version else { return Ok(()) };
    let found = chosen(state, actor, version).await?;
    match destination {
        Some(destination) if destination.function != found.function => {
            let detail = format!("`{version}` is no version of the function that `{}` runs", destination.id);
            Err(Problem::unprocessable("version_of_another_function", detail))
        }
        _ => Ok(()),
    }
}

/// A version that an actor names for what is given back: one that they see, and that may still be chosen.
async fn chosen(state: &ApiState, actor: &Actor, version: VersionId) -> Result<FunctionVersion, Problem> {
    let unknown = || {
        let detail = format!(
            "there is no function version `{version}` here: `tidegate function versions NAME` shows those there are"
        );
        Problem::not_found(detail)
    };
    let found = state.store.version(version).await?.ok_or_else(unknown)?;
    let found = match state.store.get_version(actor, found.function, version).await {
        // Whether it is the function or the version that they do not see is not said.
        Err(StoreError::NotFound { .. }) => return Err(unknown()),
        found => found?,
    };
    if found.state == VersionState::Yanked {
        let why = "it is yanked: choose another version".to_owned();
        return Err(StoreError::NotNow { what: "choose version", id: version.to_string(), why }.into());
    }
    Ok(found)
}

/// A version that may do more than the customer of a destination agreed to is run for that by no replay either.
async fn agreed<'d>(
    state: &ApiState,
    actor: &Actor,
    version: ReplayVersion,
    destinations: impl Iterator<Item = &'d DestinationId>,
) -> Result<(), Problem> {
    let (ReplayVersion::Pinned(version), Some(_)) = (version, actor.customer()) else { return Ok(()) };
    let wanted = chosen(state, actor, version).await?;
    for id in destinations {
        let destination = match state.store.get_destination(actor, *id).await {
            // What one that was deleted was owed is skipped.
            Err(StoreError::NotFound { .. }) => continue,
            found => found?,
        };
        if destination.function != wanted.function {
            continue;
        }
        let known = state.store.get_version(actor, destination.function, destination.consented).await?;
        let more = wider(&known.manifest, &wanted.manifest);
        if !more.is_empty() {
            let detail = format!(
                "{} may do more than the customer of `{id}` agreed to: pin the destination to it first, which asks \
                 (`tidegate destination update --pin`)",
                wanted.manifest.version
            );
            return Err(Problem::new(StatusCode::CONFLICT, "consent_needed", detail).with_errors(more));
        }
    }
    Ok(())
}

/// Lists replays, newest first.
#[utoipa::path(get, path = "/api/v1/replays", tag = "replays", params(Which),
    responses((status = 200, body = List<ReplayView>)))]
async fn list(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Asked(which): Asked<Which>,
) -> Result<Json<List<ReplayView>>, Problem> {
    let page = Page { after: which.after, limit: Limit::or_default(which.limit) };
    Ok(Json(List::of(state.store.list_replays(&actor, which.state, &page).await?, ReplayView::from)))
}

/// Shows a replay.
#[utoipa::path(get, path = "/api/v1/replays/{id}", tag = "replays", params(("id" = String, Path)),
    responses((status = 200, body = ReplayView)))]
async fn show(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(replay): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    Ok(Json(state.store.get_replay(&actor, id(&replay)?).await?.into()))
}

async fn change(state: &ApiState, actor: &Actor, replay: &str, to: ReplayState) -> Result<Json<ReplayView>, Problem> {
    Ok(Json(state.store.change_replay(actor, id(replay)?, to).await?.into()))
}

/// Pauses a replay. What it gave back goes on.
#[utoipa::path(post, path = "/api/v1/replays/{id}/pause", tag = "replays", params(("id" = String, Path)),
    responses((status = 200, body = ReplayView)))]
async fn pause(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(replay): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    change(&state, &actor, &replay, ReplayState::Paused).await
}

/// Lets a paused replay go on where it stood.
#[utoipa::path(post, path = "/api/v1/replays/{id}/resume", tag = "replays", params(("id" = String, Path)),
    responses((status = 200, body = ReplayView)))]
async fn resume(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(replay): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    change(&state, &actor, &replay, ReplayState::Running).await
}

/// Ends a replay for good. What it gave back goes on; the rest stays as it is.
#[utoipa::path(post, path = "/api/v1/replays/{id}/cancel", tag = "replays", params(("id" = String, Path)),
    responses((status = 200, body = ReplayView)))]
async fn cancel(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(replay): Path<String>,
) -> Result<Json<ReplayView>, Problem> {
    change(&state, &actor, &replay, ReplayState::Cancelled).await
}
