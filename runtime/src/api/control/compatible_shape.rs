//! The form of the calls below `/functions`: what tools for another host's functions send and read.
//!
//! Guarantees: every answer there is `{"data": …}` or `{"errors": […]}`, whoever gave it; nothing else of an answer changes.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::{Value, json};

/// What is below this path has this form.
const ROOT: &str = "/functions";

/// Of a media type such as `application/vnd.segment.v1+json`, which is JSON.
const VENDOR: (&str, &str) = ("application/vnd.segment.", "+json");

/// What a call found or made.
#[derive(Serialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// Whether a path is one of these calls.
pub(super) fn is_compatible(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The layer.
pub(super) async fn shaped(mut request: Request, next: Next) -> Response {
    if !is_compatible(request.uri().path()) {
        return next.run(request).await;
    }
    if vendor(request.headers(), header::CONTENT_TYPE).is_some() {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let wanted = vendor(request.headers(), header::ACCEPT);
    let mut answer = with_errors(next.run(request).await).await;
    let headers = answer.headers_mut();
    let limit = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| number(headers, name));
    if let [Some(limit), Some(remaining), Some(reset)] = limit {
        let consumed = limit.saturating_sub(remaining);
        let all =
            [("x-ratelimit-consumed", consumed), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)];
        headers.extend(all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from(value))));
    }
    if let (Some(wanted), true) = (wanted, headers.contains_key(header::CONTENT_TYPE)) {
        headers.insert(header::CONTENT_TYPE, wanted);
    }
    answer
}

/// The vendor's media type that a header names.
fn vendor(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let text = headers.get(name)?.to_str().ok()?;
    let is_vendors = |one: &&str| one.starts_with(VENDOR.0) && one.ends_with(VENDOR.1);
    let one = text.split(',').filter_map(|one| one.split(';').next()).map(str::trim).find(is_vendors)?;
    HeaderValue::from_str(one).ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// An answer with its problem, if it is one, in this form.
async fn with_errors(answer: Response) -> Response {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/problem+json") {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    // It was made here, in one piece.
    let bytes = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let wait = number(&parts.headers, "retry-after").map(|wait_s| wait_s.saturating_mul(1000));
    // What is left is none then, so all of what there is has been used.
    let consumed = number(&parts.headers, "ratelimit-limit");
    let body = Body::from(errors(&problem, wait, consumed).to_string());
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, body)
}

/// A problem in this form: one error for each single thing that is wrong.
fn errors(problem: &Value, wait_ms: Option<u64>, consumed: Option<u64>) -> Value {
    let single = problem["errors"].as_array().cloned().unwrap_or_default().into_iter();
    let places = problem["findings"].as_array().cloned().unwrap_or_default().into_iter().map(|finding| {
        let Value::Object(place) = &finding else { return finding };
        let part = |name: &str| place.get(name).map(ToString::to_string).unwrap_or_default();
        let message = place.get("message").and_then(Value::as_str).unwrap_or_default();
        let file = place.get("file").and_then(Value::as_str).unwrap_or_default();
        Value::String(format!("{file}:{}:{}: {message}", part("line"), part("column")))
    });
    let messages: Vec<Value> = [problem["detail"].clone()].into_iter().chain(single).chain(places).collect();
    let error = |message: &Value| {
        let mut error = json!({"type": problem["code"], "message": message, "status": problem["status"]});
        if let Some(wait) = wait_ms.filter(|_| problem["status"] == 429) {
            error["data"] = json!({"remainingPoints": 0, "msBeforeNext": wait});
            if let Some(consumed) = consumed {
                error["data"]["consumedPoints"] = consumed.into();
            }
        }
        error
    };
    json!({"errors": messages.iter().map(error).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_functions_has_this_form() {
        for (path, expected) in [
            ("/functions", true),
            ("/functions/fn_1/versions", true),
            ("/functionsx", false),
            ("/api/v1/functions", false),
        ] {
            assert_eq!(is_compatible(path), expected, "{path}");
        }
    }

    #[test]
    fn a_problem_becomes_one_error_for_each_thing_that_is_wrong() {
        let problem = json!({"code": "invalid_source", "detail": "D", "status": 422, "errors": ["E"],
            "findings": [{"file": "a.js", "line": 2, "column": 3, "message": "M"}]});
        let messages: Vec<_> = errors(&problem, None, None)["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["message"].clone())
            .collect();
        assert_eq!(messages, ["D", "E", "a.js:2:3: M"]);
        let problem = json!({"code": "too_many_requests", "detail": "D", "status": 429});
        let data = json!({"remainingPoints": 0, "msBeforeNext": 2000, "consumedPoints": 50});
        assert_eq!(errors(&problem, Some(2000), Some(50))["errors"][0]["data"], data);
        // An address that is told to wait has no points.
        let data = json!({"remainingPoints": 0, "msBeforeNext": 2000});
        assert_eq!(errors(&problem, Some(2000), None)["errors"][0]["data"], data);
    }
}
