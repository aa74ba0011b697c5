//! Reads what a control call is given: bodies, queries and ids, each with a problem that names what is wrong.

use std::fmt::Display;
use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::IntoParams;

use super::body::{self, ReadError};
use super::{ApiState, Problem};
use crate::store::Page;

/// A JSON body of the control API. What its type does not know is an error that names it.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<ApiState>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let detail = format!("the body is `{kind}`: this call takes `application/json`");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let limit = state.control.body_bytes;
        let bytes = body::read(&parts.headers, body, limit, state.http().body_timeout)
            .await
            .map_err(|error| refused(&error, "control.body_bytes", limit))?;
        // A list of its fields' values, in their order, would pass for an object otherwise.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{')
            && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
        {
            return Err(Problem::bad_request("invalid_field", "the body is JSON, and no object"));
        }
        let value = serde_json::from_slice(&bytes).or_else(|error| with_whole_numbers(&bytes).ok_or(error));
        value.map(Self).map_err(|error| {
            let code = if error.is_data() { "invalid_field" } else { "invalid_json" };
            Problem::bad_request(code, format!("the body cannot be used: {error}"))
        })
    }
}

/// The same body with `2.0` read as `2`: to JSON both are the same number, and some clients write all of theirs so.
fn with_whole_numbers<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    fn whole(value: &mut Value) {
        match value {
            Value::Number(number) => {
                // As far as a float tells neighbouring integers apart.
                let float =
                    number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15);
                if let Some(float) = float {
                    *number = (float as i64).into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(whole),
            Value::Object(fields) => fields.values_mut().for_each(whole),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    whole(&mut value);
    serde_json::from_value(value).ok()
}

/// The problem of a body that could not be read. The messages of the tracking API name its own option.
pub(super) fn refused(error: &ReadError, option: &str, limit: usize) -> Problem {
    use crate::ingest::BodyError;
    match error {
        ReadError::Refused(BodyError::TooLarge { .. }) => {
            let detail = format!("the body has more than {limit} bytes, the most this call takes (`{option}`)");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        ReadError::Refused(refused) => Problem::bad_request(refused.code(), error.to_string()),
        ReadError::Encoding(_) => {
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", error.to_string())
        }
        ReadError::TimedOut(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error.to_string()),
        ReadError::Broken(_) => Problem::bad_request("body_broken", error.to_string()),
        ReadError::Spool(why) => {
            tracing::error!(error = %why, "a body cannot be kept in the data directory while it arrives");
            match why.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk_full", error.to_string())
                }
                _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
            }
        }
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next` of the page before; absent for the first page.
    after: Option<String>,
    /// How many items at most, 1 to 1,000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
}

impl From<PageQuery> for Page {
    fn from(query: PageQuery) -> Self {
        Self { after: query.after, limit: Limit::or_default(query.limit) }
    }
}

/// How many items of a list.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit(u32);

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, String> {
        if (1..=Page::MAX).contains(&limit) {
            return Ok(Self(limit));
        }
        Err(format!("`{limit}` is no number of items: use 1 to {}", Page::MAX))
    }
}

impl Limit {
    /// The limit, or what a list has without one.
    pub(super) fn or_default(limit: Option<Self>) -> u32 {
        limit.map_or(Page::default().limit, |limit| limit.0)
    }
}

/// A query string. What its type does not know is an error that names it.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<ApiState>> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|rejection: QueryRejection| {
            Problem::bad_request("invalid_query", format!("the query cannot be used: {}", rejection.body_text()))
        })
    }
}

/// An id out of a path. What is not an id names nothing, hence 404.
pub(super) fn id<T: FromStr<Err: Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::not_found(error.to_string()))
}

/// For a field that may be absent (leave it), `null` (take it away) or a value (set it).
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}
