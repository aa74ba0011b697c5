//! Record: what an invocation did, as the JSON that people and dashboards read.
//!
//! Guarantees: the shape of one report everywhere (stored attempts, `function run`, tests), and that where a secret or its
//! handle would stand, its name does: `{secret.NAME}`.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::egress::Secrets;
use crate::model::{Exchange, InvocationReport, LogLevel, LogLine, Outcome};

/// How much of an invocation a report shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes of each body.
    pub body_bytes: usize,
    /// Bytes of the log.
    pub log_bytes: usize,
    /// Requests, counted from the last one.
    pub requests: usize,
}

impl Extent {
    /// All of it.
    pub const WHOLE: Self = Self { body_bytes: usize::MAX, log_bytes: usize::MAX, requests: usize::MAX };

    /// What a stored attempt keeps: an error page's beginning tells the cause; a megabyte of it does not tell more.
    pub const STORED: Self = Self { body_bytes: 8 << 10, ..Self::WHOLE };

    /// What it keeps when its destination has filled its share of the disk: enough to see whether it is the same again.
    pub const BRIEF: Self = Self { body_bytes: 512, log_bytes: 512, requests: 1 };

    /// About how many bytes a report of this takes.
    pub fn size(self, report: &InvocationReport) -> usize {
        let of = |request: &Exchange| {
            let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            request.url.len()
                + headers
                + [&request.body, &request.answer].map(|body| body.len().min(self.body_bytes)).iter().sum::<usize>()
        };
        let log: usize = report.log.iter().map(|line| line.text.len()).sum();
        report.requests.iter().rev().take(self.requests).map(of).sum::<usize>() + log.min(self.log_bytes)
    }
}

/// The report of one invocation, for one of its events.
pub fn report(report: &InvocationReport, outcome: &Outcome, secrets: &Secrets, extent: Extent) -> Value {
    let first = report.requests.len().saturating_sub(extent.requests);
    let shown = report.requests[first..].iter().map(|request| exchange(request, extent.body_bytes, secrets));
    let mut value = json!({
        "outcome": outcome,
        "requests": shown.collect::<Vec<_>>(),
        "log": log(&report.log, extent.log_bytes),
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
    if first > 0 {
        value["requests_left_out"] = first.into();
    }
    if !secrets.is_empty() {
        redact(&mut value, secrets);
    }
    value
}

/// The first lines, and one that says so where some are missing.
fn log(lines: &[LogLine], most: usize) -> Cow<'_, [LogLine]> {
    let mut left = most;
    let fits = |line: &&LogLine| {
        let rest = left.checked_sub(line.text.len());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let kept = lines.iter().take_while(fits).count();
    if kept == lines.len() {
        return Cow::Borrowed(lines);
    }
    let text = format!(
        "[{} more lines are not kept: this destination's failed attempts of this minute have filled their share of the disk]",
        lines.len() - kept
    );
    Cow::Owned([&lines[..kept], &[LogLine { level: LogLevel::Warn, text }]].concat())
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
    fn a_log_that_is_too_long_keeps_its_first_lines_and_says_what_is_missing() {
        let line = |text: &str| LogLine { level: LogLevel::Info, text: text.to_owned() };
        let lines = [line("one"), line("three"), line("5")];
        assert_eq!(*log(&lines, 9), lines);
        let cut = log(&lines, 7);
        assert_eq!(cut[0], lines[0]);
        assert!(cut.len() == 2 && cut[1].text.starts_with("[2 more lines"), "{cut:?}");
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
