//! Changes of one thing: those that first look at it come between no others, and nobody's change holds up another's of something else.
//!
//! Guarantees: a change with `if-match` is made only if the thing is as it was when that tag was given, and no other change comes
//! between the look and the change, by whichever of its names. A change waits for others of the same collection only, and for none
//! that is still arriving: its body is read before. Only who was let through comes here, so nobody without a key makes anybody wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::RwLock;

use super::extract::refused;
use super::{ApiState, Peer, Problem, body, etags};

/// Asks for a thing as any client would: what a change with `if-match` brings along.
#[derive(Clone)]
pub(super) struct Look(pub(super) Next);

/// For each collection in which something is changed now, the lock that a change holds alone if it looks first.
#[derive(Debug, Default)]
pub(super) struct Changing(Mutex<HashMap<String, Arc<RwLock<()>>>>);

impl Changing {
    fn at(&self, collection: &str) -> Arc<RwLock<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever changes something holds a second reference; the others need not be remembered.
        all.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(all.entry(collection.to_owned()).or_default())
    }
}

/// What a thing is one of. A thing itself may have several names.
fn collection(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(collection, _)| collection)
}

/// The layer.
pub(super) async fn changing(
    State(state): State<Arc<ApiState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !etags::is_change(request.method()) {
        return Ok(next.run(request).await);
    }
    let mut request = arrived(&state, request).await?;
    let lock = state.changing.at(collection(request.uri().path()));
    let Some(Look(look)) = request.extensions_mut().remove() else {
        let _others = lock.read().await;
        return Ok(next.run(request).await);
    };
    let _alone = lock.write().await;
    let (parts, body) = request.into_parts();
    let found = look.run(question(&parts)).await;
    let (tag, found) = etags::tagged(found).await?;
    if !found.status().is_success() {
        return Ok(found);
    }
    let wanted = etags::text(&parts.headers, header::IF_MATCH).unwrap_or_default();
    if !tag.is_some_and(|tag| etags::names(&wanted, &tag)) {
        let detail = "it was changed since you read it (`if-match` names another `etag`): read it again";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail));
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The request with all of its body.
async fn arrived(state: &ApiState, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let limit = state.control.body_bytes;
    let bytes = body::read(&parts.headers, body, limit, state.http().body_timeout)
        .await
        .map_err(|error| refused(&error, "control.body_bytes", limit))?;
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The request that asks for what another one changes.
fn question(change: &Parts) -> Request {
    let mut look = Request::new(Body::empty());
    *look.method_mut() = Method::GET;
    *look.uri_mut() = change.uri.clone();
    *look.headers_mut() = change.headers.clone();
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH] {
        look.headers_mut().remove(name);
    }
    // What the way through the router left in the change would be taken for the look's own.
    if let Some(peer) = change.extensions.get::<Peer>() {
        look.extensions_mut().insert(*peer);
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_collection_has_one_lock_while_somebody_holds_it_and_none_afterwards() {
        assert_eq!(["/api/v1/partners/acme", "/api/v1/partners/prt_1"].map(collection), ["/api/v1/partners"; 2]);
        let changing = Changing::default();
        let (one, same, other) = (changing.at("/a"), changing.at("/a"), changing.at("/b"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        drop((one, same, other));
        drop(changing.at("/c"));
        assert_eq!(changing.0.lock().unwrap().len(), 1, "only the last one is still remembered");
    }
}
