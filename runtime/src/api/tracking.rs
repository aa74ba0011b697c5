//! The tracking API, as stock client libraries speak it: receive, hand to `ingest`, store, answer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::ingest_spans::IngestSpans;
use super::tracking_answer::{self as answer, TrackingError};
use super::{ApiState, Peer, auth, body};
use crate::ingest::{Arrival, Call, Code, fan_out, parse};
use crate::model::EventType;
use crate::store::{Accepted, NewEvent};

/// What a path `/v1/…` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Events(Call),
    /// What browser clients say about themselves.
    ClientMetrics,
}

/// Clients name calls in full, or by their first letter.
fn endpoint(name: &str) -> Option<Endpoint> {
    let call = match name {
        "batch" | "import" | "b" => Call::Batch,
        "identify" | "i" => Call::Single(EventType::Identify),
        "track" | "t" => Call::Single(EventType::Track),
        "page" | "p" => Call::Single(EventType::Page),
        "screen" | "s" => Call::Single(EventType::Screen),
        "group" | "g" => Call::Single(EventType::Group),
        "alias" | "a" => Call::Single(EventType::Alias),
        "m" => return Some(Endpoint::ClientMetrics),
        _ => return None,
    };
    Some(Endpoint::Events(call))
}

/// The public listener's routes. Every path works with and without a slash at its end.
pub fn public_router(state: &Arc<ApiState>) -> Router {
    let (call, settings) = (post(receive), get(settings));
    Router::new()
        .route("/v1/{call}", call.clone())
        .route("/v1/{call}/", call)
        .route("/v1/projects/{write_key}/settings", settings.clone())
        .route("/v1/projects/{write_key}/settings/", settings)
        .fallback(async |uri: Uri| TrackingError::NoSuchPath(uri.path().chars().take(200).collect()))
        .method_not_allowed_fallback(async || TrackingError::WrongMethod)
        .layer(middleware::from_fn(cors))
        .with_state(Arc::clone(state))
}

/// Any page may send, none may send credentials: the write key is all there is.
async fn cors(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, authorization, x-retry-count, content-encoding"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        // Two hours: the longest that browsers keep it.
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after, x-ratelimit-reset"),
    ];
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    for (name, value) in HEADERS {
        let on_all = name == header::ACCESS_CONTROL_ALLOW_ORIGIN || name == header::ACCESS_CONTROL_EXPOSE_HEADERS;
        if preflight || on_all {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

async fn receive(State(state): State<Arc<ApiState>>, Path(call): Path<String>, request: Request) -> Response {
    let began = std::time::Instant::now();
    let taken = match endpoint(&call) {
        None => Err(TrackingError::NoSuchPath(format!("/v1/{call}").chars().take(200).collect())),
        Some(Endpoint::ClientMetrics) => discard(&state, request).await,
        Some(Endpoint::Events(call)) => take(&state, call, request).await,
    };
    let code = taken.as_ref().map_or_else(TrackingError::code, |()| "ok");
    state.metrics.tracking_answers.get_or_create(&[("code", code)]).inc();
    state.metrics.tracking_seconds.observe(began.elapsed().as_secs_f64());
    taken.map_or_else(IntoResponse::into_response, |()| answer::success())
}

async fn read(state: &ApiState, request: Request) -> Result<(axum::http::request::Parts, Vec<u8>), TrackingError> {
    let (parts, body) = request.into_parts();
    let config = state.ingest.config();
    let body = body::read(&parts.headers, body, config.body_bytes, state.http().body_timeout).await?;
    Ok((parts, body))
}

/// A place for one request, before anything of it is read.
fn permit(state: &ApiState) -> Result<tokio::sync::SemaphorePermit<'_>, TrackingError> {
    let config = state.ingest.config();
    if let Some((used, most)) = state.ingest.memory.is_over() {
        let why = format!("it uses {used} bytes of memory, and may use {most} (`ingest.memory_percent`)");
        return Err(TrackingError::Busy { why, wait: config.retry_after });
    }
    if let Some(refused) = state.store.refuses() {
        return Err(TrackingError::from_accept(&refused, config.retry_after));
    }
    state.reading.try_acquire().map_err(|_| TrackingError::Busy {
        why: format!("{} requests are being read (`ingest.concurrent_requests`)", config.concurrent_requests),
        wait: config.retry_after,
    })
}

async fn discard(state: &ApiState, request: Request) -> Result<(), TrackingError> {
    let _permit = permit(state)?;
    read(state, request).await?;
    state.metrics.client_metrics.inc();
    Ok(())
}

/// Takes a request's events, and returns when they are on disk.
async fn take(state: &ApiState, call: Call, request: Request) -> Result<(), TrackingError> {
    let _permit = permit(state)?;
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let mut spans = state.telemetry.tracer.as_ref().map(|tracer| IngestSpans::begin(tracer, request.headers()));
    let (parts, body) = read(state, request).await?;
    let header_key = auth::basic_write_key(&parts.headers);
    let browser = parts.headers.contains_key(header::ORIGIN);
    spans.iter_mut().for_each(IngestSpans::read);
    let events = events(state, call, &body, header_key, peer, browser)?;
    drop(body);
    spans.iter_mut().for_each(|spans| spans.made(&events));
    let stored = state.store.accept(events).await;
    spans.into_iter().for_each(|spans| spans.stored(stored.as_ref().ok()));
    let stored = stored.map_err(|error| TrackingError::from_accept(&error, state.ingest.config().retry_after))?;
    let Accepted { accepted, repeated } = stored;
    state.metrics.events_accepted.inc_by(accepted);
    state.metrics.events_duplicate.inc_by(repeated.len() as u64);
    Ok(())
}

/// From a body to what is to be stored. Nothing in here waits.
fn events(
    state: &ApiState,
    call: Call,
    body: &[u8],
    header_key: Option<String>,
    peer: IpAddr,
    browser: bool,
) -> Result<Vec<NewEvent>, TrackingError> {
    let request = parse(call, body)?;
    let key = request.write_key.as_deref().filter(|key| !key.is_empty()).or(header_key.as_deref());
    let key = key.ok_or(TrackingError::NoWriteKey)?;
    let routes = state.store.routes();
    let route = routes.source(key).ok_or_else(|| TrackingError::UnknownWriteKey(key.chars().take(100).collect()))?;
    let source = &route.source;
    let received_at = state.clock.now();
    let quota = &state.ingest.quota;
    quota.take(source.id, received_at).map_err(|wait| TrackingError::OverQuota {
        per_second: state.ingest.config().source_requests_per_s.get(),
        wait,
    })?;
    if !source.enabled {
        state.ingest.counts.add(source.id, Code::SourceDisabled, request.len());
        return Ok(Vec::new());
    }
    let arrival = Arrival { source: source.id, received_at, peer, browser };
    let mut events = state.ingest.events(call, &request, &arrival)?;
    let came = events.len();
    events.retain(|(event, _)| !state.store.is_user_suppressed(source.workspace, event));
    state.ingest.counts.add(source.id, Code::UserSuppressed, came - events.len());
    let new = |(event, integrations)| NewEvent {
        workspace: source.workspace,
        source: source.id,
        owed: fan_out(&event, &integrations, route),
        event,
    };
    Ok(events.into_iter().map(new).collect())
}

/// What browser and mobile clients ask for before they send: the least that keeps them working.
async fn settings(State(state): State<Arc<ApiState>>, Path(write_key): Path<String>, request: Request) -> Response {
    let routes = state.store.routes();
    if routes.source(&write_key).is_none() {
        let known = TrackingError::UnknownWriteKey(write_key.chars().take(100).collect());
        let message = known.to_string();
        let body = json!({"success": false, "code": known.code(), "message": message, "error": message});
        return answer::json(StatusCode::NOT_FOUND, Body::from(body.to_string()));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let body = json!({
        "integrations": {"Segment.io": {"apiKey": write_key, "apiHost": format!("{host}/v1")}},
        "plan": {"track": {}, "identify": {}, "group": {}},
    });
    answer::json(StatusCode::OK, Body::from(body.to_string()))
}
