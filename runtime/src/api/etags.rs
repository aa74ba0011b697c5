//! `etag`, `if-none-match` and `if-match`: nobody changes what somebody else has changed since they read it.
//!
//! Guarantees: a tag covers what people changed, not counters that move by themselves. The look before a change is a call like any
//! other: who may not see a thing is told so. What then becomes of the change is in `changing.rs`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Problem;
use super::changing::Look;

/// Fields that move without anybody changing the thing.
const MOVING: [&str; 3] = ["rejected", "health", "last_used_at"];

/// Whether a call changes a thing that has a tag.
pub(super) fn is_change(method: &Method) -> bool {
    [Method::PATCH, Method::DELETE].contains(method)
}

/// The layer.
pub(super) async fn etags(mut request: Request, next: Next) -> Result<Response, Problem> {
    let method = request.method().clone();
    if method == Method::GET {
        let known = text(request.headers(), header::IF_NONE_MATCH);
        let (tag, answer) = tagged(next.run(request).await).await?;
        return Ok(match (known, tag) {
            (Some(known), Some(tag)) if names(&known, &tag) => {
                let tag = HeaderMap::from_iter([(header::ETAG, tag_value(&tag))]);
                (StatusCode::NOT_MODIFIED, rates(&answer), tag).into_response()
            }
            _ => answer,
        });
    }
    if is_change(&method) && request.headers().contains_key(header::IF_MATCH) {
        request.extensions_mut().insert(Look(next.clone()));
    }
    let answer = next.run(request).await;
    // A change's answer shows the thing as it is now, with its new tag.
    Ok(if method == Method::PATCH { tagged(answer).await?.1 } else { answer })
}

/// What an answer says of the calls that are left: it holds for the one that is given instead of it.
fn rates(answer: &Response) -> HeaderMap {
    let is_rate = |(name, _): &(&HeaderName, &HeaderValue)| name.as_str().starts_with("ratelimit-");
    answer.headers().iter().filter(is_rate).map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Gives an answer its tag, if it shows something.
pub(super) async fn tagged(answer: Response) -> Result<(Option<String>, Response), Problem> {
    let json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if answer.status() != StatusCode::OK || !json {
        return Ok((None, answer));
    }
    let (mut parts, body) = answer.into_parts();
    // It was made here, in one piece.
    let bytes = body.collect().await.map(|all| all.to_bytes()).map_err(|error| {
        tracing::error!(%error, "an answer broke off");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer broke off")
    })?;
    let tag = tag(&bytes);
    parts.headers.insert(header::ETAG, tag_value(&tag));
    Ok((Some(tag), Response::from_parts(parts, Body::from(bytes))))
}

fn tag(json: &[u8]) -> String {
    let hash = match serde_json::from_slice(json) {
        Ok(Value::Object(mut fields)) if MOVING.iter().any(|name| fields.contains_key(*name)) => {
            fields.retain(|name, _| !MOVING.contains(&name.as_str()));
            Sha256::digest(Value::Object(fields).to_string())
        }
        _ => Sha256::digest(json),
    };
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn tag_value(tag: &str) -> HeaderValue {
    // It has only hexadecimal digits and quotes.
    HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether a header of tags names this one. Weak tags are taken too: proxies weaken them when they compress.
pub(super) fn names(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_covers_what_people_change_and_not_what_moves_by_itself() {
        let tags = [
            r#"{"id":"src_1","name":"a","rejected":{}}"#,
            r#"{"id":"src_1","name":"a","rejected":{"x":5}}"#,
            r#"{"id":"src_1","name":"b","rejected":{}}"#,
        ]
        .map(|json| tag(json.as_bytes()));
        assert_eq!(tags[0], tags[1]);
        assert_ne!(tags[0], tags[2]);
        assert_eq!(tags[0].len(), 34);
    }

    #[test]
    fn a_header_names_tags_alone_in_a_list_weakly_or_all() {
        for header in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(names(header, "\"a\""), "{header}");
        }
        for header in ["", "a", "\"ab\"", "\"b\""] {
            assert!(!names(header, "\"a\""), "{header}");
        }
    }
}
