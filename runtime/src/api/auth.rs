//! Who sends: a source by its write key, an actor by a bearer token; and whether that actor may.
//!
//! Guarantees: [`authorise`] stands before every call of the control API, whatever its handler asks for; a role that may not
//! do something is told so before anything is looked up, so that the answer says nothing about what exists.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{ApiState, Peer, Problem, policy};
use crate::model::{Actor, PartnerId, Role, WorkspaceId};
use crate::store::{KeyError, TenantId};

/// By which an operator says in which workspace to work: its id or name.
pub(super) const WORKSPACE: &str = "tidegate-workspace";
/// By which an operator says for which partner to work: its id or name.
pub(super) const PARTNER: &str = "tidegate-partner";

/// Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The write key in `Authorization: Basic base64(KEY:)`; the colon may be missing, a password is ignored.
pub(super) fn basic_write_key(headers: &HeaderMap) -> Option<String> {
    let decoded = BASE64.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let key = text.split(':').next().unwrap_or_default();
    (!key.is_empty()).then(|| key.to_owned())
}

fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (given, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

/// Lets a call of the control API through if its token's role may make it; hands its handler the actor.
pub(super) async fn authorise(
    State(state): State<Arc<ApiState>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    if policy::WITHOUT_KEY.contains(&path.as_str()) {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let Some(action) = policy::action(&parts.method, path.as_str()) else {
        return Ok(unrouted(&state, &parts, Problem::method_not_allowed()).await);
    };
    if policy::is_open(action) {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let peer = peer(&parts);
    let mut actor = authenticate(&state, &parts.headers, peer).await?;
    let (rate, may) = counted(&state, &actor);
    let answer = match may {
        Ok(()) => {
            let admitted = admit(&state, &mut actor, action, &parts, path.as_str()).await;
            match admitted {
                Ok(()) => {
                    parts.extensions.insert(actor);
                    next.run(Request::from_parts(parts, body)).await
                }
                Err(problem) => problem.into_response(),
            }
        }
        Err(too_many) => too_many.into_response(),
    };
    Ok((rate, answer).into_response())
}

/// The answer to a call that nothing takes. It counts as a call of its key as any other, and says what the key has left; whoever shows
/// none is answered all the same.
pub(super) async fn unrouted(state: &ApiState, call: &Parts, problem: Problem) -> Response {
    if credentials(&call.headers, "bearer").is_none() {
        return problem.into_response();
    }
    match authenticate(state, &call.headers, peer(call)).await {
        Ok(actor) => match counted(state, &actor) {
            (rate, Ok(())) => (rate, problem).into_response(),
            (rate, Err(too_many)) => (rate, too_many).into_response(),
        },
        Err(too_many) if too_many.is_too_many() => too_many.into_response(),
        Err(_) => problem.into_response(),
    }
}

/// Counts a call of a key: what it has left, and whether it may.
fn counted(state: &ApiState, actor: &Actor) -> ([(HeaderName, HeaderValue); 3], Result<(), Problem>) {
    let left = state.rates.take(actor.key, state.clock.now());
    let rate = rate_headers(state, &left);
    let may = left.map(drop).map_err(|wait| {
        let most = state.control.key_requests_per_s;
        let detail = format!("this key calls more than {most} times a second (`control.key_requests_per_s`)");
        Problem::too_many("too_many_requests", detail, wait)
    });
    (rate, may)
}

/// From which address a call comes.
fn peer(call: &Parts) -> IpAddr {
    call.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

/// From which address a call comes, for handlers that count what is wrong.
pub(super) struct From(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(peer(parts)))
    }
}

/// Counts a wrong token or link of an address.
pub(super) fn count_wrong(state: &ApiState, peer: IpAddr) -> Result<(), Problem> {
    state.wrong_keys.count(peer, state.clock.now()).map_err(|wait| {
        let detail = "too many wrong tokens came from this address (`control.wrong_keys`): try again later";
        Problem::too_many("too_many_wrong_tokens", detail, wait)
    })
}

/// Lets a role do what it may, in the tenants that the call names.
async fn admit(
    state: &ApiState,
    actor: &mut Actor,
    action: policy::Action,
    call: &Parts,
    path: &str,
) -> Result<(), Problem> {
    if !policy::allows(actor.role, action) {
        return Err(forbidden(actor.role, &call.method, path, policy::roles(action)));
    }
    if actor.destination.is_some() && !policy::allows_with_one_destination(&call.method, path) {
        let detail = format!("the link to one destination does not allow {} {path}", call.method);
        return Err(Problem::forbidden(detail));
    }
    if let Some(workspace) = named::<WorkspaceId>(state, actor, &call.headers, WORKSPACE).await? {
        actor.workspace = workspace;
    }
    if let Some(partner) = named::<PartnerId>(state, actor, &call.headers, PARTNER).await? {
        actor.partner = partner;
    }
    Ok(())
}

/// How many calls the key has left at this moment, and in how many seconds it has all of them again.
fn rate_headers(state: &ApiState, left: &Result<u64, Duration>) -> [(HeaderName, HeaderValue); 3] {
    let limit = state.control.key_burst.get();
    let remaining = *left.as_ref().unwrap_or(&0);
    let reset = (limit - remaining.min(limit)).div_ceil(state.control.key_requests_per_s.get());
    [("ratelimit-limit", limit), ("ratelimit-remaining", remaining), ("ratelimit-reset", reset)]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from(value)))
}

async fn authenticate(state: &ApiState, headers: &HeaderMap, peer: IpAddr) -> Result<Actor, Problem> {
    let token = credentials(headers, "bearer").ok_or_else(|| {
        Problem::unauthorized("missing_token", "this call needs `authorization: Bearer TOKEN`".to_owned())
    })?;
    let error = match state.store.authenticate_and_note(token).await {
        Ok(actor) => return Ok(actor),
        Err(error) => error,
    };
    count_wrong(state, peer)?;
    // The token itself is never repeated: it may be right for another host.
    Err(match error {
        KeyError::Unknown => {
            let detail = "the bearer token is not known here; the operator's was printed at the first start";
            Problem::unauthorized("unknown_token", detail)
        }
        KeyError::Expired { .. } => Problem::unauthorized("expired_token", error.to_string()),
    })
}

fn forbidden(role: Role, method: &Method, path: &str, needed: &[Role]) -> Problem {
    let needed: Vec<_> = needed.iter().map(|role| format!("`{role}`")).collect();
    let detail = format!("a key with the role `{role}` may not {method} {path}: it takes {}", needed.join(" or "));
    Problem::forbidden(detail)
}

/// The tenant that a header names. To others than operators only their own exists.
async fn named<I: TenantId>(
    state: &ApiState,
    actor: &Actor,
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<I>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let key = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::bad_request("invalid_header", format!("`{name}` is not UTF-8")))?;
    Ok(Some(state.store.find_tenant::<I>(actor, key).await?.id))
}

impl FromRequestParts<Arc<ApiState>> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        // Only a router that was built without `authorise` comes here without one.
        parts.extensions.get().cloned().ok_or_else(|| {
            Problem::unauthorized("missing_token", "this call needs `authorization: Bearer TOKEN`".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_key_is_read_from_basic_with_and_without_colon_and_padding() {
        let cases = [
            ("Basic a2V5Og==", Some("key")),
            ("basic a2V5Og", Some("key")),
            ("Basic a2V5", Some("key")),
            ("Basic a2V5OnB3", Some("key")),
            ("Basic Og==", None),
            ("Basic ???", None),
            ("Basic /w==", None),
            ("Basic", None),
            ("Bearer a2V5", None),
        ];
        for (value, key) in cases {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(basic_write_key(&headers).as_deref(), key, "{value}");
        }
    }
}
