//! Errors of the control API: problem+json (RFC 9457) with a stable `code`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::problems;
use crate::catalog::{self, Severity};
use crate::model::Timestamp;
use crate::store::StoreError;

/// What went wrong, for a person and for a program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The page that says what the code means and what helps.
    #[serde(rename = "type", serialize_with = "page")]
    #[schema(value_type = String, example = "/problems/not_found")]
    kind: &'static str,
    /// What the status means.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, example = 404)]
    status: StatusCode,
    /// Which problem; stays the same when texts change.
    #[schema(example = "not_found")]
    code: &'static str,
    /// What was tried, why not, and what would help.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// Every single thing that is wrong, where there may be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    /// The places in the source that is wrong, where there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
    /// Seconds after which to try again; 0 if that is not known.
    #[serde(skip)]
    wait_s: u16,
}

/// A mistake in a source, and its place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(super) struct Finding {
    /// The file's name.
    #[schema(example = "handler.js")]
    file: String,
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// `error` or `warning`.
    severity: &'static str,
    /// What it is, and what to write instead where that is known.
    message: String,
}

impl From<&catalog::Finding> for Finding {
    fn from(finding: &catalog::Finding) -> Self {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let catalog::Finding { file, line, column, message, .. } = finding.clone();
        Self { file, line, column, severity, message }
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

/// A code's page. A code that has none is one whose title says enough.
fn page<S: serde::Serializer>(code: &str, to: S) -> Result<S::Ok, S::Error> {
    if problems::is_known(code) {
        to.collect_str(&format_args!("/problems/{code}"))
    } else {
        to.serialize_str("about:blank")
    }
}

impl Problem {
    /// Which problem it is.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// A problem with this status, code and detail.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: code,
            title,
            status,
            code,
            detail: detail.into().into_boxed_str(),
            errors: Vec::new(),
            findings: Vec::new(),
            wait_s: if status == StatusCode::SERVICE_UNAVAILABLE { 1 } else { 0 },
        }
    }

    /// The same with everything that is wrong, one text each.
    #[must_use]
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = String>) -> Self {
        self.errors = errors.into_iter().collect();
        self
    }

    /// The same with what is wrong in a source.
    #[must_use]
    pub fn with_findings(mut self, findings: &[catalog::Finding]) -> Self {
        self.findings = findings.iter().map(Finding::from).collect();
        self
    }

    /// `400`: the request itself is wrong.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// `401`: nobody knows who asks.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// `403`: whoever asks may not do this, to nothing.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// `410`, if it was taken back: a list still says what it was.
    pub(super) fn unless_revoked(what: &str, at: Option<Timestamp>) -> Result<(), Self> {
        let Some(at) = at else { return Ok(()) };
        let detail = format!("this {what} was taken back at {at}: the list still shows it");
        Err(Self::new(StatusCode::GONE, "revoked", detail))
    }

    /// `405`: the path is right, the method is not.
    pub fn method_not_allowed() -> Self {
        let detail = "this path does not take that method; /openapi.json lists those it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// `429`: too often; the answer says in its head when to try again.
    pub fn too_many(code: &'static str, detail: impl Into<String>, wait: Duration) -> Self {
        let wait_s = u16::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u16::MAX).max(1);
        Self { wait_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail) }
    }

    /// Whether whoever asks is told to wait.
    pub(super) fn is_too_many(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// `422`: well-formed, but what it says cannot be.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// `404`: there is no such thing for who asks.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::NotFound { .. } | StoreError::NoInvitation => Self::not_found(detail),
            StoreError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "name_taken", detail),
            StoreError::Changed { .. } | StoreError::NotNow { .. } => {
                Self::new(StatusCode::CONFLICT, "not_now", detail)
            }
            StoreError::Unsigned { .. } => Self::unprocessable("signature_required", detail),
            StoreError::VersionTaken { .. } => Self::new(StatusCode::CONFLICT, "version_taken", detail),
            StoreError::Replayed { .. } => Self::new(StatusCode::CONFLICT, "signature_replayed", detail),
            StoreError::BadCursor(_) => Self::bad_request("bad_cursor", detail),
            StoreError::DiskFull => Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk_full", detail),
            StoreError::Stopped(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_stopped", detail),
            StoreError::Locked(_)
            | StoreError::File { .. }
            | StoreError::Database(_)
            | StoreError::TooNew { .. }
            | StoreError::Damaged { .. }
            | StoreError::Vault(_) => {
                // Paths and SQL are for the operator's log, not for whoever asks.
                tracing::error!(error = %detail, "a control call failed in the store");
                let shown = "the host could not read or write its data; its log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", shown)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        if self.wait_s > 0 {
            headers.insert(header::RETRY_AFTER, self.wait_s.into());
        }
        response
    }
}
