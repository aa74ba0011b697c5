//! `idempotency-key`: a call that changes something takes place once, however often it is sent.
//!
//! Guarantees: the same key with the same request is answered as the first time, also after a restart; with another
//! request it is refused; while the first is under way, or if nobody knows how it ended, it is refused too, and never
//! done again. An answer that no cache may keep, such as a new token, is not kept here either.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use sha2::{Digest, Sha256};

use super::auth::{PARTNER, WORKSPACE};
use super::control::CONTENT_DIGEST;
use super::extract::refused;
use super::{ApiState, Problem, body};
use crate::model::{Actor, KeyId};
use crate::store::{KeptAnswer, Once};

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Characters of a key: a UUID has 36.
const MAX_NAME: usize = 200;

/// Bytes of an answer that is kept. Answers to changes are one thing each.
const MAX_ANSWER: usize = 256 << 10;

/// Calls that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<HashSet<(KeyId, String)>>);

/// Takes a name back when its call ends, however it ends.
struct Hold {
    state: Arc<ApiState>,
    call: (KeyId, String),
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.under_way.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call);
    }
}

fn hold(state: &Arc<ApiState>, key: KeyId, name: &str) -> Result<Hold, Problem> {
    let call = (key, name.to_owned());
    let mut all = state.under_way.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !all.insert(call.clone()) {
        let detail = format!("a call with the `idempotency-key` `{name}` is under way: wait for its answer");
        return Err(Problem::new(StatusCode::CONFLICT, "idempotency_in_progress", detail));
    }
    Ok(Hold { state: Arc::clone(state), call })
}

/// The layer.
pub(super) async fn once(
    State(state): State<Arc<ApiState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let actor = request.extensions().get::<Actor>().cloned();
    let (Some(actor), Some(name), true) = (actor, request.headers().get(NAME), request.method() == Method::POST) else {
        return Ok(next.run(request).await);
    };
    let fits = |name: &&str| (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    let name = name.to_str().ok().filter(fits).map(str::to_owned).ok_or_else(|| {
        let detail = format!("`idempotency-key` must have 1 to {MAX_NAME} visible ASCII characters");
        Problem::bad_request("invalid_header", detail)
    })?;
    let key = actor.key;
    let hold = hold(&state, key, &name)?;
    let (request, fingerprint) = fingerprint(&state, request).await?;
    match state.store.begin_once(&actor, name.clone(), fingerprint).await? {
        Once::New => {}
        Once::Done(answer) => return replay(&name, answer),
        Once::Other => {
            let detail = format!("the `idempotency-key` `{name}` came with another request before: make a new one");
            return Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_reused", detail));
        }
        Once::Begun => {
            let detail = format!(
                "the first call with the `idempotency-key` `{name}` began, and the host stopped before it was answered: look \
                 whether it took place, and make it with a new key if not"
            );
            return Err(Problem::new(StatusCode::CONFLICT, "idempotency_unknown", detail));
        }
    }
    // On a task of its own: a client that hangs up must not leave a call without an ending.
    let call = tokio::spawn(async move {
        let answer = next.run(request).await;
        let kept = keep(&hold.state, key, name, answer).await;
        drop(hold);
        kept
    });
    call.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What tells this request from others. Uploads are told apart by their length, and by their digest where they say it: they are not read
/// twice.
async fn fingerprint(state: &ApiState, request: Request) -> Result<(Request, [u8; 32]), Problem> {
    let (parts, mut body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    let mut hash = Sha256::new()
        .chain_update(parts.uri.to_string())
        .chain_update([0])
        .chain_update(text(header::CONTENT_TYPE))
        .chain_update([0]);
    // An operator's call for another workspace or partner is another call.
    for (name, tenant) in [WORKSPACE, PARTNER].into_iter().filter_map(|name| Some((name, parts.headers.get(name)?))) {
        hash.update([name.as_bytes(), &[0], tenant.as_bytes(), &[0]].concat());
    }
    if text(header::CONTENT_TYPE).starts_with(b"application/json")
        && !parts.headers.contains_key(header::CONTENT_ENCODING)
    {
        let limit = state.control.body_bytes;
        let bytes = body::read(&parts.headers, body, limit, state.http().body_timeout)
            .await
            .map_err(|error| refused(&error, "control.body_bytes", limit))?;
        hash.update(&bytes);
        body = Body::from(bytes);
    } else {
        hash.update(text(header::CONTENT_LENGTH));
        hash.update(text(HeaderName::from_static(CONTENT_DIGEST)));
    }
    Ok((Request::from_parts(parts, body), hash.finalize().into()))
}

/// Writes an answer down, and gives it back. What the host could not do may be tried again.
async fn keep(state: &ApiState, key: KeyId, name: String, answer: Response) -> Result<Response, Problem> {
    let (parts, body) = answer.into_parts();
    let again = parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS;
    let bytes = Limited::new(body, MAX_ANSWER).collect().await.map(|all| all.to_bytes().to_vec());
    let bytes = bytes.map_err(|error| {
        tracing::error!(%error, "an answer could not be kept");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer to a call could not be kept")
    })?;
    let secret = parts.headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-store");
    let kept = KeptAnswer {
        status: parts.status.as_u16(),
        kind: parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        body: (!secret).then(|| bytes.clone()),
    };
    state.store.end_once(key, name, (!again).then_some(kept)).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn replay(name: &str, answer: KeptAnswer) -> Result<Response, Problem> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let Some(body) = answer.body else {
        let detail = format!(
            "the call with the `idempotency-key` `{name}` was done ({status}); its answer held a token, which is shown once"
        );
        return Err(Problem::new(StatusCode::CONFLICT, "idempotency_unrepeatable", detail));
    };
    let mut response = (status, body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    if let (Ok(kind), false) = (HeaderValue::from_str(&answer.kind), answer.kind.is_empty()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
