//! Record: what an invocation did, as the JSON that people and dashboards read.
//!
//! Guarantees: the shape of one report everywhere (stored attempts, `function run`, tests), and that where a secret or its
//! handle would stand, its name does: `{secret.NAME}`.

use serde_json::{Map, Value, json};

use crate::egress::Secrets;
use crate::model::{Exchange, InvocationReport, Outcome};

/// Bytes of a body that a stored attempt keeps. An error page's beginning tells the cause; a megabyte of it does not tell more.
pub const STORED_BODY_BYTES: usize = 8 << 10;

/// The report of one invocation, for one of its events.
pub fn report(report: &InvocationReport, outcome: &Outcome, secrets: &Secrets, body_bytes: usize) -> Value {
    let mut value = json!({
        "outcome": outcome,
        "requests": report.requests.iter().map(|request| exchange(request, body_bytes, secrets)).collect::<Vec<_>>(),
        "log": report.log,
        "used": report.used,
        "limits": {
            "cpu_ms": report.limits.cpu_ms,
            "deadline_ms": report.limits.deadline_ms,
            "memory_bytes": report.limits.memory_bytes,
            "host_calls": report.limits.host_calls,
            "requests": report.limits.requests,
            "bytes_in": report.limits.bytes_in,
            "bytes_out": report.limits.bytes_out,
        },
    });
    if !secrets.is_empty() {
        redact(&mut value, secrets);
    }
    value
}

fn exchange(request: &Exchange, body_bytes: usize, secrets: &Secrets) -> Value {
    json!({
        "method": request.method,
        "url": request.url,
        "headers": fields(&mut request.headers.clone(), secrets),
        "body": text(&request.body, body_bytes, secrets),
        "status": request.status,
        "answer": text(&request.answer, body_bytes, secrets),
        "error": request.error,
        "ms": request.ms,
    })
}

fn fields(headers: &mut [(String, String)], secrets: &Secrets) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in headers {
        if name == "authorization" {
            secrets.redact_authorization(value);
        }
        match fields.get_mut(name) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => {
                fields.insert(name.clone(), Value::String(value.clone()));
            }
        }
    }
    fields
}

/// Secrets are taken out first: one that is cut in two would not be found.
fn text(body: &[u8], most: usize, secrets: &Secrets) -> String {
    let body = secrets.redacted(body);
    let kept = &body[..body.len().min(most)];
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if kept.len() < body.len() {
        text.push_str(&format!("… ({} of {} bytes)", kept.len(), body.len()));
    }
    text
}

/// Puts names in the place of secrets in an outcome, in which a function may quote what it holds.
pub fn redact_outcome(outcome: &mut Outcome, secrets: &Secrets) {
    secrets.redact(&mut outcome.message);
    outcome.error.iter_mut().for_each(|error| secrets.redact(error));
}

/// Puts names in the place of secrets wherever a text stands.
fn redact(value: &mut Value, secrets: &Secrets) {
    match value {
        Value::String(text) => secrets.redact(text),
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact(field, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::HandleKey;
    use crate::model::Manifest;

    fn secrets() -> (Secrets, Map<String, Value>) {
        let setting = |secret, reveal| json!({"type": "string", "secret": secret, "reveal": reveal});
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "slack", "version": "1", "events": ["track"],
            "settings": {"path": setting(true, false), "channel": setting(false, false), "quoted": setting(true, true)},
        }))
        .unwrap();
        let settings = json!({"path": "/services/T0/B0", "channel": "general", "quoted": "a\"bcd"});
        let mut settings = settings.as_object().unwrap().clone();
        let secrets = Secrets::take(&manifest, &mut settings, "dst", &HandleKey::fixed()).unwrap();
        (secrets, settings)
    }

    #[test]
    fn secrets_and_their_handles_are_named_wherever_they_stand_and_other_settings_stay() {
        let (secrets, settings) = secrets();
        let handle = settings["path"].as_str().unwrap();
        let mut value = json!({"url": format!("https://x{handle}?a"), "answer": "/services/T0/B0",
            "list": ["general", "say a\"bcd", "{\"k\":\"a\\\"bcd\"}"]});
        redact(&mut value, &secrets);
        assert_eq!(
            value,
            json!({"url": "https://x{secret.path}?a", "answer": "{secret.path}",
                "list": ["general", "say {secret.quoted}", "{\"k\":\"{secret.quoted}\"}"]})
        );
    }

    #[test]
    fn a_long_body_is_cut_after_secrets_were_taken_out_and_says_so() {
        let none = Secrets::default();
        assert_eq!(text(b"abcdef", 4, &none), "abcd… (4 of 6 bytes)");
        assert_eq!(text(b"abcd", 4, &none), "abcd");
        let (secrets, _) = secrets();
        assert_eq!(text(b"12/services/T0/B0", 6, &secrets), "12{sec… (6 of 15 bytes)");
    }
}
