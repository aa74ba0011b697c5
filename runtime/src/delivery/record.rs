//! Record: what an invocation did, as the JSON that people and dashboards read.
//!
//! Guarantees: the shape of one report everywhere (stored attempts, `function run`, tests), and that where a secret or its
//! handle would stand, its name does: `{secret.NAME}`.

use serde_json::{Map, Value, json};

use crate::egress::Secrets;
use crate::model::{Exchange, InvocationReport, LogLevel, LogLine, Outcome};

/// How much of an invocation a report shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes of each body, of each URL, and of each request's header fields.
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
            request.url.len().min(self.body_bytes)
                + headers.min(self.body_bytes)
                + request.error.as_ref().map_or(0, String::len)
                + [&request.body, &request.answer].map(|body| body.len().min(self.body_bytes)).iter().sum::<usize>()
        };
        let log: usize = report.log.iter().map(|line| line.text.len()).sum();
        report.requests.iter().rev().take(self.requests).map(of).sum::<usize>() + log.min(self.log_bytes)
    }
}

/// The reports of one invocation's events: they differ in the outcome alone, so all else is made once for all of them.
pub struct Reports<'r> {
    of: &'r InvocationReport,
    secrets: &'r Secrets,
    /// Events whose reports may still be asked for: the last one takes what the others copied.
    left: usize,
    made: Vec<(Extent, Map<String, Value>)>,
}

impl<'r> Reports<'r> {
    /// None of them yet, for so many events.
    pub fn new(of: &'r InvocationReport, secrets: &'r Secrets, events: usize) -> Self {
        Self { of, secrets, left: events, made: Vec::new() }
    }

    /// The report for an event that ended so. An outcome is given to [`redact_outcome`] first.
    pub fn report(&mut self, outcome: &Outcome, extent: Extent) -> Value {
        self.left = self.left.saturating_sub(1);
        let at = self.made.iter().position(|(made, _)| *made == extent).unwrap_or_else(|| {
            self.made.push((extent, shared(self.of, self.secrets, extent)));
            self.made.len() - 1
        });
        let made = if self.left > 0 { self.made[at].1.clone() } else { self.made.swap_remove(at).1 };
        // An outcome has only texts and numbers.
        let outcome = serde_json::to_value(outcome).unwrap_or_default();
        let first = std::iter::once(("outcome".to_owned(), outcome));
        Value::Object(first.chain(made).collect())
    }
}

/// What the reports of all events have.
fn shared(report: &InvocationReport, secrets: &Secrets, extent: Extent) -> Map<String, Value> {
    let first = report.requests.len().saturating_sub(extent.requests);
    let shown = report.requests[first..].iter().map(|request| exchange(request, extent.body_bytes, secrets));
    let mut value = json!({
        "requests": shown.collect::<Vec<_>>(),
        "log": log(&report.log, extent.log_bytes, secrets),
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
    // It was just made one.
    value.as_object_mut().map(std::mem::take).unwrap_or_default()
}

/// The first lines, and one that says so where some are missing.
fn log(lines: &[LogLine], most: usize, secrets: &Secrets) -> Vec<LogLine> {
    let mut left = most;
    let fits = |line: &&LogLine| {
        let rest = left.checked_sub(line.text.len());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let shown = |line: &LogLine| LogLine { level: line.level, text: redacted(&line.text, secrets) };
    let mut kept: Vec<LogLine> = lines.iter().take_while(fits).map(shown).collect();
    if kept.len() < lines.len() {
        let text = format!(
            "[{} more lines are not kept: this destination's failed attempts of this minute have filled their share of the disk]",
            lines.len() - kept.len()
        );
        kept.push(LogLine { level: LogLevel::Warn, text });
    }
    kept
}

fn exchange(request: &Exchange, body_bytes: usize, secrets: &Secrets) -> Value {
    json!({
        "method": redacted(&request.method, secrets),
        "url": beginning(&request.url, body_bytes, secrets),
        "headers": fields(&request.headers, body_bytes, secrets),
        "body": text(&request.body, body_bytes, secrets),
        "status": request.status,
        "answer": text(&request.answer, body_bytes, secrets),
        "error": request.error.as_deref().map(|error| redacted(error, secrets)),
        "ms": request.ms,
    })
}

/// So many bytes of them; the rest is one field that says how many are missing.
fn fields(headers: &[(String, String)], most: usize, secrets: &Secrets) -> Map<String, Value> {
    let (mut fields, mut left) = (Map::new(), most);
    for (at, (name, value)) in headers.iter().enumerate() {
        let Some(rest) = left.checked_sub(name.len() + value.len()) else {
            fields.insert("…".to_owned(), format!("{} more are not kept", headers.len() - at).into());
            break;
        };
        left = rest;
        let (shown, mut value) = (redacted(name, secrets), value.clone());
        if name == "authorization" {
            secrets.redact_authorization(&mut value);
        } else {
            secrets.redact(&mut value);
        }
        match fields.get_mut(&shown) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => {
                fields.insert(shown, Value::String(value));
            }
        }
    }
    fields
}

fn redacted(text: &str, secrets: &Secrets) -> String {
    let mut text = text.to_owned();
    secrets.redact(&mut text);
    text
}

/// So many bytes of a text, without secrets.
fn beginning(text: &str, most: usize, secrets: &Secrets) -> String {
    match text.len() > most {
        true => format!("{}…", secrets.shown(text, most)),
        false => redacted(text, secrets),
    }
}

/// So many bytes of a body, without secrets; one that begins in them is named whole.
fn text(body: &[u8], most: usize, secrets: &Secrets) -> String {
    match secrets.cut(body, most) {
        Some(kept) => format!("{}… ({most} of {} bytes)", String::from_utf8_lossy(&kept), body.len()),
        None => String::from_utf8_lossy(&secrets.redacted(body)).into_owned(),
    }
}

/// Puts names in the place of secrets in an outcome, in which a function may quote what it holds.
pub fn redact_outcome(outcome: &mut Outcome, secrets: &Secrets) {
    secrets.redact(&mut outcome.message);
    outcome.error.iter_mut().for_each(|error| secrets.redact(error));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::classify::outcome;
    use crate::egress::HandleKey;
    use crate::model::{Ending, Limits, Manifest, OutcomeCode, Used};

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

    fn invocation(requests: Vec<Exchange>, log: &[&str]) -> InvocationReport {
        let line = |text: &&str| LogLine { level: LogLevel::Info, text: (*text).to_owned() };
        InvocationReport {
            ending: Ending::Answered(Vec::new()),
            requests,
            log: log.iter().map(line).collect(),
            used: Used::default(),
            limits: Limits::default(),
        }
    }

    fn request(url: &str, headers: &[(&str, &str)], body: &str, answer: &str) -> Exchange {
        let field = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Exchange {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: headers.iter().map(field).collect(),
            body: body.to_owned().into(),
            status: Some(200),
            retry_after_secs: None,
            answer: answer.to_owned().into(),
            error: Some(format!("no answer to {url}")),
            denied: false,
            ms: 1,
            began: Duration::ZERO,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn secrets_and_their_handles_are_named_wherever_they_stand_and_other_settings_stay() {
        let (secrets, settings) = secrets();
        let handle = settings["path"].as_str().unwrap();
        let asked = request(
            &format!("https://x{handle}?a"),
            &[("x-quoted", "a\"bcd"), ("a\"bcd", "general")],
            r#"{"k":"a\"bcd"}"#,
            "/services/T0/B0",
        );
        let report = invocation(vec![asked], &["general", "say a\"bcd", r"\/services\u002fT0%2fB0"]);
        let shown =
            Reports::new(&report, &secrets, 1).report(&outcome(OutcomeCode::Retry, "m".to_owned()), Extent::STORED);
        assert_eq!(
            shown["requests"][0],
            json!({"method": "POST", "url": "https://x{secret.path}?a",
                "headers": {"x-quoted": "{secret.quoted}", "{secret.quoted}": "general"},
                "body": "{\"k\":\"{secret.quoted}\"}", "status": 200, "answer": "{secret.path}",
                "error": "no answer to https://x{secret.path}?a", "ms": 1})
        );
        let lines: Vec<_> = shown["log"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
        assert_eq!(lines, ["general", "say {secret.quoted}", "{secret.path}"]);
    }

    #[test]
    fn reports_of_one_invocation_differ_in_the_outcome_alone_and_come_in_its_extents() {
        let report = invocation(
            vec![request("https://a.example/1", &[], "", "a"), request("https://a.example/2", &[], "", "b")],
            &["x"],
        );
        let none = Secrets::default();
        let mut reports = Reports::new(&report, &none, 3);
        let [one, other] = ["one", "other"].map(|why| outcome(OutcomeCode::MessageRejected, why.to_owned()));
        let [first, second] = [&one, &other].map(|outcome| reports.report(outcome, Extent::STORED));
        assert_eq!((&first["outcome"]["message"], &second["outcome"]["message"]), (&json!("one"), &json!("other")));
        assert_eq!(first.as_object().unwrap().keys().next().unwrap(), "outcome");
        let without = |value: &Value| {
            value.as_object().unwrap().iter().skip(1).map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(without(&first), without(&second));
        let brief = reports.report(&one, Extent::BRIEF);
        assert_eq!(
            (&brief["requests_left_out"], &brief["requests"][0]["url"]),
            (&json!(1), &json!("https://a.example/2"))
        );
    }

    #[test]
    fn a_brief_record_is_brief_whatever_the_request_was() {
        let (secrets, _) = secrets();
        let long = "x".repeat(8 << 10);
        let url = format!("https://a.example/{}", "/services/T0/B0".repeat(300));
        let asked = request(&url, &[("a", "b"), ("x-long", &long), ("c", &long)], &long, &long);
        let report = invocation(vec![asked], &[&long]);
        let mut reports = Reports::new(&report, &secrets, 1);
        let shown = reports.report(&outcome(OutcomeCode::Retry, "m".to_owned()), Extent::BRIEF);
        let request = &shown["requests"][0];
        assert_eq!(request["headers"], json!({"a": "b", "…": "2 more are not kept"}));
        let url = request["url"].as_str().unwrap();
        assert!(
            url.len() <= 516 && url.starts_with("https://a.example/{secret.path}{secret") && url.ends_with('…'),
            "{url}"
        );
        assert!(["body", "answer"].iter().all(|part| request[part].as_str().unwrap().len() < 600));
    }

    #[test]
    fn a_log_that_is_too_long_keeps_its_first_lines_and_says_what_is_missing() {
        let (line, none) = (|text: &str| LogLine { level: LogLevel::Info, text: text.to_owned() }, Secrets::default());
        let lines = [line("one"), line("three"), line("5")];
        assert_eq!(log(&lines, 9, &none), lines);
        let cut = log(&lines, 7, &none);
        assert_eq!(cut[0], lines[0]);
        assert!(cut.len() == 2 && cut[1].text.starts_with("[2 more lines"), "{cut:?}");
    }

    #[test]
    fn a_secret_that_begins_in_what_is_kept_of_a_body_is_named_whole_and_nothing_of_it_stays() {
        let none = Secrets::default();
        assert_eq!(text(b"abcdef", 4, &none), "abcd… (4 of 6 bytes)");
        assert_eq!(text(b"abcd", 4, &none), "abcd");
        let (secrets, _) = secrets();
        for (most, shown) in [
            (2, "12… (2 of 17 bytes)"),
            (3, "12{secret.path}… (3 of 17 bytes)"),
            (16, "12{secret.path}… (16 of 17 bytes)"),
            (17, "12{secret.path}"),
        ] {
            assert_eq!(text(b"12/services/T0/B0", most, &secrets), shown);
        }
        // What is cut off is looked at as far as it takes to see what begins before.
        let long = [&b"12/services\\/T0\\/B0"[..], &[b'x'; 1 << 20]].concat();
        assert_eq!(text(&long, 4, &secrets), "12{secret.path}… (4 of 1048595 bytes)");
    }
}
