//! Takes an uploaded component: its bytes within their bound, then the catalogue's check.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use utoipa::ToSchema;

use crate::api::extract::refused;
use crate::api::{ApiState, Problem, body};
use crate::catalog::{self, Inspected};

/// What stands around the component in a form.
const FORM_BYTES: usize = 64 << 10;

/// A form with a component.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what is read piece by piece")]
pub(super) struct Form {
    /// The component.
    #[schema(value_type = String, format = Binary)]
    component: Vec<u8>,
}

/// The bytes of a request's component, and what it is.
pub(super) async fn receive(state: &Arc<ApiState>, request: Request) -> Result<(Inspected, Bytes), Problem> {
    // A component is code, not text: compressed it would only hide its size until it is read.
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "a component is taken without `content-encoding`: upload the file as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", detail));
    }
    let _permit = state.uploading.try_acquire().map_err(|_| {
        let detail = "other uploads are being checked (`control.concurrent_uploads`): try again in a second";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let bytes = match kind.split(';').next().unwrap_or_default().trim() {
        "application/wasm" => {
            let (parts, body) = request.into_parts();
            whole(state, &parts.headers, body, state.control.upload_bytes).await?
        }
        "multipart/form-data" => from_form(state, request).await?,
        _ => {
            let detail = format!("the body is `{kind}`: send `application/wasm`, or a form with the field `component`");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
    };
    let checked = bytes.clone();
    let inspected = tokio::task::spawn_blocking(move || catalog::inspect(&checked)).await;
    let inspected = inspected.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the check of the component did not end properly")
    })?;
    let inspected = inspected.map_err(|error| Problem::unprocessable("invalid_component", error.to_string()))?;
    Ok((inspected, bytes))
}

async fn whole(state: &ApiState, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = body::read(headers, body, limit, state.http().body_timeout).await;
    read.map(Bytes::from).map_err(|error| refused(&error, "control.upload_bytes", state.control.upload_bytes))
}

/// The whole form is read first, within the bound, so that nothing in it can be larger than that.
async fn from_form(state: &Arc<ApiState>, request: Request) -> Result<Bytes, Problem> {
    let bad = |why: String| Problem::bad_request("invalid_form", format!("the form cannot be used: {why}"));
    let (parts, body) = request.into_parts();
    let limit = state.control.upload_bytes.saturating_add(FORM_BYTES);
    let bytes = whole(state, &parts.headers, body, limit).await?;
    let request = Request::from_parts(parts, Body::from(bytes));
    let mut form = Multipart::from_request(request, state).await.map_err(|error| bad(error.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(|error| bad(error.body_text()))? {
        if field.name() == Some("component") {
            return field.bytes().await.map_err(|error| bad(error.body_text()));
        }
    }
    Err(bad("it has no field `component`".to_owned()))
}
