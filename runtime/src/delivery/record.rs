//! Record: what an invocation did, as the JSON that people and dashboards read.
//!
//! Guarantees: the shape of one report everywhere (stored attempts, `function run`, tests), and that no value of a
//! secret setting is in it.

use serde_json::{Map, Value, json};

use crate::model::{Exchange, InvocationReport, Manifest, Outcome, Setting};

/// Bytes of a body that a stored attempt keeps. An error page's beginning tells the cause; a megabyte of it does not tell more.
pub const STORED_BODY_BYTES: usize = 8 << 10;

/// The report of one invocation, for one of its events.
pub fn report(report: &InvocationReport, outcome: &Outcome, secrets: &Secrets, body_bytes: usize) -> Value {
    let mut value = json!({
        "outcome": outcome,
        "requests": report.requests.iter().map(|request| exchange(request, body_bytes)).collect::<Vec<_>>(),
        "log": report.log,
        "used": report.used,
        "limits": {
            "cpu_ms": report.limits.cpu_ms,
            "deadline_ms": report.limits.deadline_ms,
            "memory_bytes": report.limits.memory_bytes,
            "host_calls": report.limits.host_calls,
            "requests": report.limits.requests,
        },
    });
    secrets.mask(&mut value);
    value
}

fn exchange(request: &Exchange, body_bytes: usize) -> Value {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        match headers.get_mut(name) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => {
                headers.insert(name.clone(), Value::String(value.clone()));
            }
        }
    }
    json!({
        "method": request.method,
        "url": request.url,
        "headers": headers,
        "body": text(&request.body, body_bytes),
        "status": request.status,
        "answer": text(&request.answer, body_bytes),
        "error": request.error,
        "ms": request.ms,
    })
}

fn text(body: &[u8], most: usize) -> String {
    let kept = &body[..body.len().min(most)];
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if kept.len() < body.len() {
        text.push_str(&format!("… ({} of {} bytes)", kept.len(), body.len()));
    }
    text
}

/// The values of a destination's secret settings, to be kept out of every record.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(String, String)>);

/// Shorter values are not masked: they would blank out half of every record, and protect nothing.
const SHORTEST_SECRET: usize = 4;

impl Secrets {
    /// The secrets among these settings.
    pub fn of(manifest: &Manifest, settings: &Map<String, Value>) -> Self {
        let is_secret = |name: &str| manifest.settings.get(name).is_some_and(|setting: &Setting| setting.secret);
        let mut found = Vec::new();
        for (name, value) in settings.iter().filter(|(name, _)| is_secret(name)) {
            strings(value, &mut |text| {
                if text.len() >= SHORTEST_SECRET {
                    found.push((text.to_owned(), format!("[secret {name}]")));
                    let escaped = Value::String(text.to_owned()).to_string();
                    let escaped = &escaped[1..escaped.len() - 1];
                    if escaped != text {
                        found.push((escaped.to_owned(), format!("[secret {name}]")));
                    }
                }
            });
        }
        // The longest first, so that a secret which contains another is masked whole.
        found.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Self(found)
    }

    /// Replaces every secret in a text by its setting's name.
    pub fn mask_text(&self, text: &mut String) {
        for (secret, name) in &self.0 {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), name);
            }
        }
    }

    fn mask(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.mask_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.mask(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn strings(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let setting = |secret| json!({"type": "string", "secret": secret});
        let manifest: Manifest = serde_json::from_value(json!({
            "name": "slack", "version": "1", "events": ["track"],
            "settings": {"path": setting(true), "channel": setting(false), "quoted": setting(true)},
        }))
        .unwrap();
        let settings = json!({"path": "/services/T0/B0", "channel": "general", "quoted": "a\"bcd"});
        Secrets::of(&manifest, settings.as_object().unwrap())
    }

    #[test]
    fn secret_settings_are_masked_wherever_they_stand_and_others_are_not() {
        let mut value =
            json!({"url": "https://x/services/T0/B0?a", "list": ["general", "say a\"bcd", "{\"k\":\"a\\\"bcd\"}"]});
        secrets().mask(&mut value);
        assert_eq!(
            value,
            json!({"url": "https://x[secret path]?a", "list": ["general", "say [secret quoted]", "{\"k\":\"[secret quoted]\"}"]})
        );
    }

    #[test]
    fn a_long_body_is_cut_and_says_so() {
        assert_eq!(text(b"abcdef", 4), "abcd… (4 of 6 bytes)");
        assert_eq!(text(b"abcd", 4), "abcd");
    }
}
