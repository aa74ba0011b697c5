//! Takes an upload, a component or JavaScript: its bytes within their bound, then the workshop's work on it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::numbers;
use crate::api::body::ReadError;
use crate::api::extract::refused;
use crate::api::spool::spool;
use crate::api::{ApiState, Problem};
use crate::catalog::cases::{self, Case};
use crate::catalog::content_digest::{self, ContentDigestError};
use crate::catalog::manifest::MAX_NAME;
pub(super) use crate::catalog::workshop::Made;
use crate::catalog::workshop::{Job, Share, Turn, WorkError, Wrong};
use crate::model::{Actor, FunctionVersion};

/// What stands around the parts in a form, and a manifest: both are kilobytes.
const FORM_BYTES: usize = 64 << 10;

/// What the name of a case's field begins with.
const CASES: &str = "cases/";

/// Cases with one upload: the functions that are known best have twenty.
const MAX_CASES: usize = 100;

/// Bytes of all cases together, beside the function.
const CASES_BYTES: usize = 2 << 20;

/// What a script is called where nobody says otherwise.
const SCRIPT: &str = "handler.js";

/// The same in TypeScript.
const TYPED_SCRIPT: &str = "handler.ts";

/// What a request says beside its body.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// The name of a function in JavaScript that has no manifest: lower-case letters, digits and hyphens.
    name: Option<String>,
}

/// A form with a component, or with JavaScript and its manifest.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what is read piece by piece")]
pub(super) struct Form {
    /// The component.
    #[schema(value_type = String, format = Binary, required = false)]
    component: Option<Vec<u8>>,
    /// JavaScript.
    #[schema(rename = "handler.js", value_type = String, required = false)]
    handler: Option<String>,
    /// The same by another name.
    #[schema(value_type = String, required = false)]
    bundle: Option<String>,
    /// TypeScript instead.
    #[schema(rename = "handler.ts", value_type = String, required = false)]
    typed_handler: Option<String>,
    /// What is expected of the function: any number of files, each as a field that is called like it. The host runs them.
    #[schema(rename = "cases/NAME.json", value_type = CaseFile, required = false)]
    cases: Option<String>,
    /// The manifest of a script. Without it the query names the function, and it reaches nothing.
    #[schema(rename = "function.toml", value_type = String, required = false)]
    manifest: Option<String>,
}

/// The fields of a form, for whoever sends another one.
const FIELDS: &str = "`component`, `handler.js` (or `bundle`), `handler.ts`, `function.toml` and `cases/NAME.json`";

/// What is expected of a function: `event` with `outcome`, or `events` with as many `outcomes`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what `catalog::cases` reads")]
pub(super) struct CaseFile {
    /// What it shows, as a sentence.
    name: String,
    /// The event of a single call.
    #[schema(value_type = Object, required = false)]
    event: Option<()>,
    /// The events of a batch call.
    #[schema(value_type = Vec<Object>, required = false)]
    events: Option<()>,
    /// The customer's settings.
    #[schema(value_type = Object, required = false)]
    settings: Option<()>,
    /// What partners answer, in the order of the requests; afterwards `200 {}`.
    #[schema(value_type = Vec<Object>, required = false)]
    answers: Option<()>,
    /// Every request that is expected, in order: `method`, `url`, `headers` and `body`, as far as they matter.
    #[schema(value_type = Vec<Object>, required = false)]
    requests: Option<()>,
    /// What the outcome must contain, such as `{"code": "delivered"}`.
    #[schema(value_type = Object, required = false)]
    outcome: Option<()>,
    /// The same for each event of a batch.
    #[schema(value_type = Vec<Object>, required = false)]
    outcomes: Option<()>,
}

/// What an upload brought.
pub(super) struct Received {
    /// The function.
    pub(super) made: Made,
    /// The version that it is already, if that is known by more than its bytes.
    pub(super) known: Option<FunctionVersion>,
    /// Its cases: each file's name, and what it expects.
    pub(super) cases: Vec<(String, Case)>,
    /// Held until the function is stored, so that the next upload of this partner is told apart from it, and its cases have run.
    pub(super) share: Share,
}

/// By which a sender says what they send.
pub(in crate::api) const CONTENT_DIGEST: &str = "content-digest";

/// What is to be built of which bytes, and the version that it may be already, with the text of the next one.
struct Order {
    job: Job,
    bytes: Bytes,
    again: Option<(FunctionVersion, String)>,
}

impl Order {
    /// Of a script without a manifest.
    async fn of_script(state: &ApiState, actor: &Actor, file: String, script: Bytes) -> Result<Self, Problem> {
        let numbers::Called { version, again } = numbers::of_script(state, actor, &file, &script).await?;
        let job = Job::Source { file, manifest: None, version: Some(version), follows: false };
        Ok(Self { job, bytes: script, again })
    }
}

/// The function that a request's body is, compiled, and its cases; nothing of it is stored yet.
pub(super) async fn receive(
    state: &Arc<ApiState>,
    actor: &Actor,
    query: &UploadQuery,
    request: Request,
) -> Result<Received, Problem> {
    // An upload is bounded as it stands: compressed it would only hide its size until it is read.
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "a function is taken without `content-encoding`: upload the file as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", detail));
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let share = state.workshop.share(actor.partner).await.map_err(|error| problem(&error))?;
    let mut cases = Vec::new();
    let (order, turn) = match kind.as_str() {
        "application/wasm" => {
            let (_, bytes, turn) = whole(state, share, request, state.control.upload_bytes).await?;
            (Order { job: Job::Component, bytes, again: None }, turn)
        }
        "text/javascript" | "application/javascript" | "text/typescript" | "application/typescript" => {
            let ending = if kind.ends_with("typescript") { "ts" } else { "js" };
            let file = file(query, ending)?;
            let (_, script, turn) = whole(state, share, request, state.control.upload_bytes).await?;
            (Order::of_script(state, actor, file, script).await?, turn)
        }
        "multipart/form-data" => {
            let limit = state.control.upload_bytes.saturating_add(FORM_BYTES + CASES_BYTES);
            let (parts, bytes, turn) = whole(state, share, request, limit).await?;
            let form = Request::from_parts(parts, Body::from(bytes));
            (from_form(state, actor, query, form, &mut cases).await?, turn)
        }
        _ => {
            let detail = format!(
                "the body is `{kind}`: send `application/wasm`, `text/javascript` or `text/typescript` with `?name=`, or a \
                 form with the field `component`, or `handler.js` or `handler.ts` and `function.toml`"
            );
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
    };
    let (made, known) = work(state, &turn, order).await?;
    Ok(Received { made, known, cases, share: turn.done() })
}

/// Has an order built. What turns out to be no repetition of the version that it was taken for is built once more, as the next one.
async fn work(state: &ApiState, turn: &Turn, order: Order) -> Result<(Made, Option<FunctionVersion>), Problem> {
    let Order { job, bytes, again } = order;
    let make = async |job, bytes| state.workshop.make(turn, job, bytes).await.map_err(|error| problem(&error));
    let made = make(job.clone(), bytes.clone()).await?;
    let Some((known, next)) = again else { return Ok((made, None)) };
    if numbers::is_again((known.digest, &known.manifest), (made.digest, &made.manifest)) {
        return Ok((made, Some(known)));
    }
    let job = match job {
        Job::Source { file, manifest, follows, .. } => Job::Source { file, manifest, version: Some(next), follows },
        Job::Component => job,
    };
    Ok((make(job, bytes).await?, None))
}

/// The function that a job comes to, compiled; nothing of it is stored yet.
pub(super) async fn build(state: &ApiState, actor: &Actor, job: Job, bytes: Bytes) -> Result<Made, Problem> {
    let share = state.workshop.share(actor.partner).await.map_err(|error| problem(&error))?;
    let turn = state.workshop.turn(share).await.map_err(|error| problem(&error))?;
    state.workshop.make(&turn, job, bytes).await.map_err(|error| problem(&error))
}

/// What a script without manifest is called, and the function after it.
fn file(query: &UploadQuery, ending: &str) -> Result<String, Problem> {
    let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    match query.name.as_deref() {
        Some(name)
            if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain) && name.trim_matches('-') == name =>
        {
            Ok(format!("{name}.{ending}"))
        }
        Some(name) => {
            let shown: String = name.chars().take(MAX_NAME).collect();
            let rule = format!("1 to {MAX_NAME} lower-case letters, digits and hyphens, no hyphen at an end");
            Err(Problem::bad_request("invalid_name", format!("`name` is `{shown}`: it must be {rule}")))
        }
        None => {
            let detail = "JavaScript without a manifest has no name: add `?name=NAME`, or send a form with \
                          `handler.js` and `function.toml`";
            Err(Problem::unprocessable("name_missing", detail))
        }
    }
}

/// The request's body, and a place to work on it: taken once the body is there, so that whoever sends slowly holds up nobody.
async fn whole(
    state: &ApiState,
    share: Share,
    request: Request,
    limit: usize,
) -> Result<(Parts, Bytes, Turn), Problem> {
    let (parts, body) = request.into_parts();
    let shown = |error: &ReadError| refused(error, "control.upload_bytes", state.control.upload_bytes);
    let spooled = spool(&parts.headers, body, limit, state.http().body_timeout, &state.spool).await;
    let spooled = spooled.map_err(|error| shown(&error))?;
    let turn = state.workshop.turn(share).await.map_err(|error| problem(&error))?;
    let bytes = spooled.bytes().await.map_err(|error| shown(&ReadError::Spool(error)))?;
    intact(&parts, bytes.clone()).await?;
    Ok((parts, bytes, turn))
}

/// Compares what arrived with what its sender says of it, if they do.
async fn intact(parts: &Parts, bytes: Bytes) -> Result<(), Problem> {
    let Some(said) = parts.headers.get(CONTENT_DIGEST) else { return Ok(()) };
    let said = String::from_utf8_lossy(said.as_bytes()).into_owned();
    // Of megabytes it takes as long as many a call.
    let checked = tokio::task::spawn_blocking(move || content_digest::check(&said, &bytes)).await;
    let checked =
        checked.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    checked.map_err(|error| match error {
        ContentDigestError::Form(_) => Problem::bad_request("invalid_header", error.to_string()),
        ContentDigestError::Other { .. } => Problem::unprocessable("digest_mismatch", error.to_string()),
    })
}

/// A form that was read within the bound, so that nothing in it can be larger than that.
async fn from_form(
    state: &Arc<ApiState>,
    actor: &Actor,
    query: &UploadQuery,
    request: Request,
    cases: &mut Vec<(String, Case)>,
) -> Result<Order, Problem> {
    let bad = |why: String| Problem::bad_request("invalid_form", format!("the form cannot be used: {why}"));
    let mut form = Multipart::from_request(request, state).await.map_err(|error| bad(error.body_text()))?;
    let (mut script, mut called, mut manifest, mut component) = (None, SCRIPT, None, None);
    while let Some(field) = form.next_field().await.map_err(|error| bad(error.body_text()))? {
        let broken = |error: axum::extract::multipart::MultipartError| bad(error.body_text());
        match field.name() {
            Some("component") => component = Some(field.bytes().await.map_err(broken)?),
            Some("handler.js" | "bundle") => script = Some(field.bytes().await.map_err(broken)?),
            Some(TYPED_SCRIPT) => (script, called) = (Some(field.bytes().await.map_err(broken)?), TYPED_SCRIPT),
            Some("function.toml") => manifest = Some(field.text().await.map_err(broken)?),
            Some(name) if name.starts_with(CASES) => {
                let file = name[CASES.len()..].chars().take(MAX_NAME).collect();
                let text = field.text().await.map_err(broken)?;
                cases.push(case(file, &text, cases.len())?);
            }
            Some(name) => {
                let shown: String = name.chars().take(MAX_NAME).collect();
                return Err(bad(format!("it has a field `{shown}`, which is none of those that are taken: {FIELDS}")));
            }
            None => return Err(bad(format!("a field of it has no name: those that are taken are {FIELDS}"))),
        }
    }
    if let Some(component) = component {
        return Ok(Order { job: Job::Component, bytes: component, again: None });
    }
    let script = script.ok_or_else(|| bad("it has no field `component`, `handler.js` or `handler.ts`".to_owned()))?;
    if manifest.as_ref().is_some_and(|manifest| manifest.len() > FORM_BYTES) {
        return Err(bad(format!("`function.toml` has more than {FORM_BYTES} bytes")));
    }
    let ending = if called == SCRIPT { "js" } else { "ts" };
    if manifest.is_none() {
        return Order::of_script(state, actor, file(query, ending)?, script).await;
    }
    let job = Job::Source { file: called.to_owned(), manifest, version: None, follows: false };
    Ok(Order { job, bytes: script, again: None })
}

/// One case, if there is room for one more.
fn case(file: String, text: &str, before: usize) -> Result<(String, Case), Problem> {
    let wrong =
        |why: String| Problem::unprocessable("invalid_case", format!("the case `{file}` cannot be used: {why}"));
    if before >= MAX_CASES {
        return Err(wrong(format!("at most {MAX_CASES} cases are taken with an upload")));
    }
    let parsed = cases::parse(text).map_err(wrong)?;
    Ok((file, parsed))
}

fn problem(error: &WorkError) -> Problem {
    let detail = error.to_string();
    match error {
        WorkError::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
        WorkError::Refused(refusal) => {
            let (status, code) = match refusal.what {
                Wrong::Component => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_component"),
                Wrong::Manifest => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_manifest"),
                Wrong::Source => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_source"),
                Wrong::NoEngine => (StatusCode::NOT_IMPLEMENTED, "no_javascript"),
            };
            Problem::new(status, code, detail).with_findings(&refusal.findings)
        }
        WorkError::Memory { .. } | WorkError::Cpu { .. } | WorkError::Deadline { .. } => {
            Problem::unprocessable("upload_limit_exceeded", detail)
        }
        WorkError::Ended(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upload_interrupted", detail),
        WorkError::Failed(_) => {
            tracing::error!(error = %detail, "an upload could not be compiled");
            let shown = "the host could not compile the upload, through no fault of it; its log says why";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_what_the_query_says_and_only_if_that_is_a_name() {
        let file = |name: &str| file(&UploadQuery { name: Some(name.to_owned()) }, "js");
        assert_eq!(file("to-slack-2").unwrap(), "to-slack-2.js");
        for name in ["", "-a", "a-", "A", "a/b", "a.js", "ä", &"a".repeat(MAX_NAME + 1)] {
            assert!(file(name).is_err(), "{name}");
        }
        assert!(super::file(&UploadQuery { name: None }, "js").is_err());
    }
}
