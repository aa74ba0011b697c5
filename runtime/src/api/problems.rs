//! `/problems`: what each code of the control API's errors means, and what helps. The `type` of a problem leads here.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Problem;

/// Every code: its name, the usual status, what it means and what helps.
const CODES: &[(&str, u16, &str, &str)] = &[
    (
        "ambiguous_version",
        409,
        "Several versions of the function have this version text, which older hosts allowed.",
        "Give the id of the one that is meant, or its digest; `errors` has both.",
    ),
    (
        "approval_needed",
        409,
        "The version may do more than what was approved, and customers run this function.",
        "Submit it for a review; the errors say what is more.",
    ),
    (
        "bad_cursor",
        400,
        "The `after` of a list is none that this host gave out.",
        "Use the `next` of the page before, or leave it out.",
    ),
    ("body_broken", 400, "The connection ended before the body did.", "Send it again."),
    (
        "body_timeout",
        408,
        "The body did not come in time.",
        "Send it again over a faster link; the operator sets `http.body_timeout_s`.",
    ),
    (
        "body_too_large",
        413,
        "The body is larger than this call takes.",
        "Send less; the detail names the operator's option.",
    ),
    (
        "breaking_settings",
        409,
        "Destinations follow this function, and their settings may not fit the version.",
        "Tell the customers first, let them pin, or promote with `force=true` (`tidegate function promote --force`).",
    ),
    ("busy", 503, "As many such things are under way as may be.", "Try again after the time in `retry-after`."),
    (
        "checklist_failed",
        409,
        "The function is not ready for a review.",
        "Repair what the errors name, push it again, and submit that version.",
    ),
    (
        "consent_needed",
        409,
        "The version may do more than the customer agreed to.",
        "Read the errors; `\"consent\": true` in the change (`tidegate destination update --consent`) agrees to it.",
    ),
    (
        "digest_mismatch",
        422,
        "The body that arrived is not the one that `content-digest` is of.",
        "Send it again; the answer has the digest of what arrived.",
    ),
    (
        "disk_full",
        503,
        "The disk of the data directory is full; nothing was changed.",
        "Make room, and send it again; no restart is needed.",
    ),
    (
        "expired_link",
        401,
        "The link was right, and was not opened in time.",
        "Ask whoever gave it to you for a new one.",
    ),
    (
        "expired_token",
        401,
        "The key was right, and has expired.",
        "Use the key that came in its place, or let an admin make one.",
    ),
    (
        "forbidden",
        403,
        "The key's role may not do this, to nothing.",
        "Use a key with one of the roles that the detail names.",
    ),
    (
        "idempotency_in_progress",
        409,
        "A call with this `idempotency-key` is under way.",
        "Wait for its answer, or ask again later with the same key.",
    ),
    (
        "idempotency_key_reused",
        409,
        "This `idempotency-key` came with another request before.",
        "Make a new key for each new request.",
    ),
    (
        "idempotency_unknown",
        409,
        "The host stopped during the first call with this `idempotency-key`.",
        "Look whether it took place; if not, make it with a new key.",
    ),
    (
        "idempotency_unrepeatable",
        409,
        "The first call with this `idempotency-key` was done, and its answer is not kept because it held a token.",
        "Look for what was made; rotate a key whose token was lost.",
    ),
    ("internal", 500, "The host failed by itself.", "Its log says why; tell the operator the time of the call."),
    (
        "invalid_answers",
        422,
        "The canned answers of a trial cannot be used.",
        "Each is `{\"status\":200,\"headers\":{},\"body\":…}` or `{\"error\":\"…\"}`.",
    ),
    (
        "invalid_case",
        422,
        "A case that came with the upload cannot be used.",
        "The detail names the file and what is wrong with it.",
    ),
    (
        "invalid_component",
        422,
        "What was uploaded is no component that this host runs.",
        "The detail says what it is, or what it asks for; `tidegate function check` says the same before an upload.",
    ),
    (
        "invalid_event",
        422,
        "What was to be tried is no event.",
        "Give `event`, an object with a `type`, or `events`, a list of them.",
    ),
    (
        "invalid_expiry",
        409,
        "A key or a link would have expired before it was made, or would last too long.",
        "Give a time in the future, or none.",
    ),
    (
        "invalid_field",
        400,
        "The body is JSON, but a field is missing, unknown or of another type.",
        "The detail names it; `/openapi.json` has all fields.",
    ),
    (
        "invalid_form",
        400,
        "The form of an upload cannot be used.",
        "It has the field `component`, or `handler.js` and `function.toml`.",
    ),
    (
        "invalid_gzip",
        400,
        "The body says that it is gzip, and is not.",
        "Send it whole, or without `content-encoding`.",
    ),
    ("invalid_header", 400, "A header has a value that cannot be used.", "The detail names it."),
    ("invalid_json", 400, "The body is not JSON.", "The detail says where it stops being JSON."),
    (
        "invalid_link",
        422,
        "The link that was to be made is none that can be.",
        "The detail names the field and its bounds.",
    ),
    (
        "invalid_manifest",
        422,
        "The `function.toml` of an upload makes no sense.",
        "The detail names the key, the value and what would be right.",
    ),
    ("invalid_name", 422, "A name cannot be used.", "The detail says what a name looks like."),
    (
        "invalid_overlap",
        422,
        "The overlap of a rotation is too long.",
        "At most thirty days; two keys that work longer are two keys.",
    ),
    (
        "invalid_query",
        400,
        "A parameter of the query is unknown or of another type.",
        "The detail names it; `/openapi.json` has all parameters.",
    ),
    ("invalid_rate", 422, "A rate is none that can be kept.", "The detail names the number and its bounds."),
    ("invalid_reason", 422, "A reason is too long or has line breaks.", "One line of at most 200 characters."),
    (
        "invalid_settings",
        422,
        "The settings do not fit the function.",
        "`errors` names each wrong setting and what it must be.",
    ),
    (
        "invalid_signature",
        422,
        "The signature of an upload is none, or is over something else.",
        "Sign the component that is uploaded, after its last change: `tidegate function push --sign-key FILE` does both.",
    ),
    (
        "invalid_signing_key",
        422,
        "What was to be registered is no ed25519 public key.",
        "Give its 64 hexadecimal digits, or PEM as `openssl pkey -pubout` writes it.",
    ),
    (
        "invalid_source",
        422,
        "The JavaScript of an upload cannot be built.",
        "`findings` names each place with line and column.",
    ),
    (
        "invalid_stage",
        422,
        "There is no such stage, or the function cannot go there.",
        "The detail says where it may go.",
    ),
    (
        "invalid_tenant",
        409,
        "A key's role belongs to no such tenant.",
        "Workspace roles take `workspace`, partner roles `partner`, operators none.",
    ),
    ("invalid_text", 422, "A text is empty, too long or not for people.", "The detail says what is taken."),
    (
        "invalid_user_ids",
        422,
        "Ids of users are missing, too many or too long.",
        "The detail names which, and the bound.",
    ),
    (
        "method_not_allowed",
        405,
        "The path exists, and does not take this method.",
        "`/openapi.json` lists what it takes.",
    ),
    ("missing_token", 401, "The call needs a key.", "Send `authorization: Bearer TOKEN`."),
    (
        "name_missing",
        422,
        "JavaScript without a manifest has no name.",
        "Add `?name=NAME`, or send a form with a `function.toml`.",
    ),
    ("name_taken", 409, "Something of this kind has the name.", "Choose another, or change that one."),
    (
        "no_choices",
        422,
        "The function says nothing of what this setting may be.",
        "The detail says why, often in the function's own words: a key that is missing or wrong, or a setting that has no choices.",
    ),
    (
        "no_javascript",
        501,
        "This host builds no JavaScript.",
        "Build the component with `tidegate function build`, and upload that.",
    ),
    (
        "not_confirmed",
        409,
        "A workspace was to be destroyed, and its name was not given once more.",
        "Give the workspace's name as `confirm`.",
    ),
    (
        "not_found",
        404,
        "There is no such thing, or it is not yours: this host does not say which.",
        "Compare the id with what the list shows.",
    ),
    (
        "not_now",
        409,
        "It cannot be done in the state in which the thing is.",
        "The detail says what would have to be done first.",
    ),
    ("not_ready", 503, "The host takes nothing at the moment.", "Its log says why."),
    (
        "opened_link",
        401,
        "The link was opened before, and opens once.",
        "Go on with the session that it opened, or ask for a new link; if it was not you who opened it, say so.",
    ),
    (
        "precondition_failed",
        412,
        "The thing was changed since you read it: its `etag` is another one.",
        "Read it again, and decide anew.",
    ),
    (
        "replay_too_wide",
        409,
        "Delivered events would reach every partner a second time.",
        "Name the destination, source, connection or delivery that is meant.",
    ),
    (
        "revoked",
        410,
        "It was taken back, and opens nothing any more.",
        "The list still shows it, and since when; make a new one.",
    ),
    ("revoked_link", 401, "The link was taken back.", "Ask whoever gave it to you for a new one."),
    (
        "signature_replayed",
        409,
        "A version that was signed later was taken before: an older one does not come as new.",
        "Sign it again if it is meant; to go back to a version that is there, promote it.",
    ),
    (
        "signature_required",
        422,
        "The partner takes no unsigned uploads.",
        "Sign the component with a registered key: `tidegate function push --sign-key FILE`.",
    ),
    (
        "store_stopped",
        503,
        "The host's disk failed, and it takes nothing until it is started again.",
        "Tell the operator.",
    ),
    (
        "too_many_requests",
        429,
        "This key calls more often than it may.",
        "Wait for the time in `retry-after`; the operator sets `control.key_requests_per_s`.",
    ),
    (
        "too_many_trials",
        429,
        "As many functions are being tried for this workspace or partner as may be for one at a time.",
        "Wait until one of them ends.",
    ),
    (
        "too_many_wrong_tokens",
        429,
        "Too many wrong keys came from this address.",
        "Find who still has an old key; wait for the time in `retry-after`.",
    ),
    (
        "unknown_link",
        401,
        "This host did not sign the link, or it was changed or cut off on its way.",
        "Copy it whole, or ask for a new one.",
    ),
    (
        "unknown_signing_key",
        422,
        "The upload is signed with a key that the partner did not register, or took back.",
        "`tidegate signing-key list` shows those that count.",
    ),
    (
        "unknown_token",
        401,
        "No key of this host has this token, or it was taken back.",
        "Compare it with what was printed when it was made; an admin can make another.",
    ),
    (
        "unsupported_content_encoding",
        415,
        "The body is compressed in a way that this call does not take.",
        "Send gzip or nothing; uploads as they are.",
    ),
    (
        "unsupported_media_type",
        415,
        "The body is of a kind that this call does not take.",
        "The detail says which it takes.",
    ),
    ("upload_interrupted", 503, "The process that compiled the upload was ended from outside.", "Upload again."),
    (
        "upload_limit_exceeded",
        422,
        "Compiling the upload took more than it may.",
        "Make it smaller; the operator sets `control.upload_*`.",
    ),
    (
        "vault",
        409,
        "The vault's key file cannot be read or written.",
        "The detail says why; nothing is lost, do it again.",
    ),
    (
        "version_of_another_function",
        422,
        "The version that a replay is to run belongs to another function than the destination's.",
        "Name a version of the function that the destination runs.",
    ),
    (
        "version_taken",
        409,
        "Another version of the function has this version text: it names one thing, for whoever promotes, pins or reads it.",
        "Raise `version` in `function.toml`, and upload that.",
    ),
];

/// Whether there is a page for this code.
pub(super) fn is_known(code: &str) -> bool {
    CODES.iter().any(|(known, ..)| *known == code)
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem}}</style>{body}</html>\n"
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// Text in a page: code in backticks, and nothing that a browser acts on.
fn html(text: &str) -> String {
    let safe = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let marked = safe.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    marked.collect()
}

/// What one code means.
pub(super) async fn show(Path(code): Path<String>) -> Result<Response, Problem> {
    let found = CODES.iter().find(|(known, ..)| *known == code);
    let shown: String = code.chars().take(80).collect();
    let (code, status, means, helps) =
        found.ok_or_else(|| Problem::not_found(format!("`{shown}` is no problem's code; /problems lists them")))?;
    let body = format!("<h1><code>{code}</code> ({status})</h1><p>{}</p><p>{}</p>", html(means), html(helps));
    Ok(page(code, &body))
}

/// All codes.
pub(super) async fn list() -> Response {
    let row = |(code, status, means, _): &(&str, u16, &str, &str)| {
        format!("<dt><a href=\"/problems/{code}\"><code>{code}</code></a> ({status})</dt><dd>{}</dd>", html(means))
    };
    page("Problems", &format!("<h1>Problems</h1><dl>{}</dl>", CODES.iter().map(row).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_have_their_two_sentences() {
        assert!(CODES.is_sorted_by(|one, other| one.0 < other.0));
        for (code, status, means, helps) in CODES {
            assert!((400..600).contains(status) && means.ends_with('.') && helps.ends_with('.'), "{code}");
        }
        assert_eq!(html("a `b<c`."), "a <code>b&lt;c</code>.");
    }
}
