//! The answers that stock clients understand. Some parse the body of every answer, and some only know `200`.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::ReadError;
use crate::ingest::BodyError;
use crate::store::AcceptError;

/// Why a tracking request was not taken. Not all of it is stored then; what is, is a duplicate when it comes again.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrackingError {
    /// Its body cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No write key anywhere.
    #[error(
        "the request names no source: send `writeKey` in the body, or `authorization: Basic` with the write key as user"
    )]
    NoWriteKey,
    /// A write key that no source has.
    #[error("no source has the write key `{0}`: compare it with what `tidegate source list` shows")]
    UnknownWriteKey(String),
    /// The source's quota is used up.
    #[error("this source sends more than its {per_second} requests a second (`ingest.source_requests_per_s`)")]
    OverQuota {
        /// The quota.
        per_second: u64,
        /// When it takes the next one.
        wait: Duration,
    },
    /// The host cannot take more.
    #[error("the host cannot take more at this moment: {why}")]
    Busy {
        /// What is full, or broken.
        why: String,
        /// When to try again.
        wait: Duration,
    },
    /// There is no such path.
    #[error("`{0}` is not a path of the tracking API: use /v1/batch, or /v1/track and its like")]
    NoSuchPath(String),
    /// The path exists, but not for this method.
    #[error("this path takes POST")]
    WrongMethod,
}

impl From<BodyError> for TrackingError {
    fn from(error: BodyError) -> Self {
        Self::Read(error.into())
    }
}

impl TrackingError {
    /// From a store that did not take a batch.
    pub fn from_accept(error: &AcceptError, pause: Duration) -> Self {
        let wait = match error {
            AcceptError::Overloaded { retry_after, .. }
            | AcceptError::DiskLow { retry_after, .. }
            | AcceptError::DiskFull { retry_after } => *retry_after,
            AcceptError::Stopped(_) => pause,
        };
        Self::Busy { why: error.to_string(), wait }
    }

    fn status(&self) -> StatusCode {
        match self {
            // 400 is what clients never repeat; other codes for the same some do.
            Self::Read(ReadError::Refused(_) | ReadError::Encoding(_) | ReadError::Broken(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::Read(ReadError::TimedOut(_)) => StatusCode::REQUEST_TIMEOUT,
            Self::Read(ReadError::Spool(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoWriteKey | Self::UnknownWriteKey(_) => StatusCode::UNAUTHORIZED,
            Self::OverQuota { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSuchPath(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The stable code in the body.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read(ReadError::Refused(refused)) => refused.code(),
            Self::Read(ReadError::Encoding(_)) => "unsupported_content_encoding",
            Self::Read(ReadError::TimedOut(_)) => "body_timeout",
            Self::Read(ReadError::Broken(_)) => "body_broken",
            Self::Read(ReadError::Spool(_)) => "disk_full",
            Self::NoWriteKey => "missing_write_key",
            Self::UnknownWriteKey(_) => "unknown_write_key",
            Self::OverQuota { .. } => "rate_limited",
            Self::Busy { .. } => "overloaded",
            Self::NoSuchPath(_) => "not_found",
            Self::WrongMethod => "method_not_allowed",
        }
    }

    /// Whole seconds to wait, rounded up: `0` would mean at once.
    fn wait_seconds(&self) -> Option<u64> {
        match self {
            Self::OverQuota { wait, .. } | Self::Busy { wait, .. } => {
                Some(u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1))
            }
            Self::Read(_) | Self::NoWriteKey | Self::UnknownWriteKey(_) | Self::NoSuchPath(_) | Self::WrongMethod => {
                None
            }
        }
    }
}

/// The one answer to what was taken.
pub(super) fn success() -> Response {
    json(StatusCode::OK, Body::from(r#"{"success":true}"#))
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl IntoResponse for TrackingError {
    fn into_response(self) -> Response {
        let (message, code) = (self.to_string(), self.code());
        // Some clients read `error`, some `code` and `message`, some `success`.
        let body = serde_json::json!({ "success": false, "code": code, "message": message, "error": message });
        let mut response = json(self.status(), Body::from(body.to_string()));
        if let Some(seconds) = self.wait_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            if self.status() == StatusCode::TOO_MANY_REQUESTS {
                response.headers_mut().insert("x-ratelimit-reset", seconds.into());
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_wait_is_told_at_least_one_second() {
        let wait = |ms| TrackingError::OverQuota { per_second: 1, wait: Duration::from_millis(ms) }.wait_seconds();
        assert_eq!([wait(0), wait(1), wait(1000), wait(1001)], [Some(1), Some(1), Some(1), Some(2)]);
    }
}
