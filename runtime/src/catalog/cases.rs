//! Before any event: what a function's author expects, and how a run differs from it.
//!
//! Guarantees: unknown keys are errors, so that a typo never passes as an expectation; every difference is reported,
//! each with its place. Running the function is left to the caller, who hands in the report as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{EventType, Timestamp};

/// The moment that cases run at, so that what a function makes of the time can be expected: 2026-01-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The randomness that cases run with.
pub const SEED: u64 = 1;

/// One expectation: events in, requests out, answers in, outcome out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// The event of a single call.
    #[serde(default)]
    pub event: Option<Map<String, Value>>,
    /// The events of a batch call. Exactly one of the two is given.
    #[serde(default)]
    pub events: Option<Vec<Map<String, Value>>>,
    /// The customer's settings, checked and completed as those of a destination.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// What partners answer, in the order of the requests; afterwards `200 {}`.
    #[serde(default)]
    pub answers: Vec<Value>,
    /// Every request that is expected, in order.
    #[serde(default)]
    pub requests: Vec<ExpectedRequest>,
    /// What the report's `outcome` must contain.
    #[serde(default)]
    pub outcome: Map<String, Value>,
    /// What the report's `outcomes` must contain, for each event of a batch.
    #[serde(default)]
    pub outcomes: Vec<Map<String, Value>>,
}

/// One expected request. What is not given is not compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRequest {
    /// The method, in upper case.
    #[serde(default)]
    pub method: Option<String>,
    /// The whole URL.
    #[serde(default)]
    pub url: Option<String>,
    /// Header fields that must be there, among others.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A string is the body's exact text; anything else is compared with the body as JSON.
    #[serde(default)]
    pub body: Option<Value>,
}

/// Why a case cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The folder or file cannot be read.
    #[error("`{path}` cannot be read: {error}")]
    Io {
        /// Which.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// Not a case.
    #[error("`{path}` is not a case: {problem}")]
    Invalid {
        /// Which file.
        path: String,
        /// What is wrong; for JSON with its line.
        problem: String,
    },
}

/// Reads every `*.json` of a function's `cases` folder, by name. No folder: no cases.
///
/// # Errors
/// The first file that is not a case.
pub fn load(folder: &Path) -> Result<Vec<(PathBuf, Case)>, CaseError> {
    let io = |error| CaseError::Io { path: folder.display().to_string(), error };
    if !folder.exists() {
        return Ok(vec![]);
    }
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CaseError::Io { path: path.display().to_string(), error })?;
        let case = parse(&text).map_err(|problem| CaseError::Invalid { path: path.display().to_string(), problem })?;
        Ok((path, case))
    };
    paths.into_iter().map(read).collect()
}

/// Reads one case.
///
/// # Errors
/// What is wrong with it; for JSON with its line.
pub fn parse(text: &str) -> Result<Case, String> {
    let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match (&case.event, &case.events) {
        (Some(_), None) if case.outcome.is_empty() => Err("`outcome` is missing: give at least its `code`".to_owned()),
        (Some(_), None) if !case.outcomes.is_empty() => Err("`outcomes` belongs to `events`".to_owned()),
        (None, Some(events)) if case.outcomes.len() != events.len() => {
            Err(format!("`outcomes` has {} entries for {} events", case.outcomes.len(), events.len()))
        }
        (None, Some(_)) if !case.outcome.is_empty() => Err("`outcome` belongs to `event`".to_owned()),
        (Some(_), None) | (None, Some(_)) => Ok(case),
        _ => Err("give either `event` or `events`".to_owned()),
    }
}

impl Case {
    /// Its events: one, or those of a batch.
    pub fn given(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.event.iter().chain(self.events.iter().flatten())
    }

    /// The types of its events, each once.
    pub fn types(&self) -> Vec<EventType> {
        let types = self.given().filter_map(|event| event.get("type")?.as_str()?.parse().ok());
        types.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// How a report (the JSON of `function run`) differs from what is expected; empty if it does not.
    pub fn differences(&self, report: &Value) -> Vec<String> {
        let mut found = Differences::default();
        let none = Vec::new();
        let requests = report["requests"].as_array().unwrap_or(&none);
        if requests.len() != self.requests.len() {
            found.add("requests", format!("expected {}, got {}", self.requests.len(), requests.len()));
        }
        for (at, expected) in self.requests.iter().enumerate() {
            match requests.get(at) {
                Some(request) => found.request(&format!("requests[{at}]"), expected, request),
                None => found.add(&format!("requests[{at}]"), format!("missing: {}", expected.summary())),
            }
        }
        for (at, extra) in requests.iter().enumerate().skip(self.requests.len()) {
            let line = format!("not expected: {} {}", text(&extra["method"]), text(&extra["url"]));
            found.add(&format!("requests[{at}]"), line);
        }
        found.subset("outcome", &self.outcome, &report["outcome"]);
        found.explained("outcome.code", text(&report["outcome"]["message"]));
        for (at, expected) in self.outcomes.iter().enumerate() {
            found.subset(&format!("outcomes[{at}]"), expected, &report["outcomes"][at]);
        }
        found.0
    }
}

impl ExpectedRequest {
    fn summary(&self) -> String {
        let any = |field: &Option<String>| field.clone().unwrap_or_else(|| "any".to_owned());
        format!("{} {}", any(&self.method), any(&self.url))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Lines such as `requests[0].body.text: expected "a", got "b"`.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    /// Adds what the host said to a difference, for whoever cannot see why it ended otherwise.
    fn explained(&mut self, place: &str, why: &str) {
        let line = self.0.iter_mut().find(|line| line.split(':').next() == Some(place));
        if let (Some(line), false) = (line, why.is_empty()) {
            line.push_str(&format!(" ({why})"));
        }
    }

    fn add(&mut self, place: &str, line: String) {
        self.0.push(format!("{place}: {line}"));
    }

    fn request(&mut self, place: &str, expected: &ExpectedRequest, request: &Value) {
        for (field, expected) in [("method", &expected.method), ("url", &expected.url)] {
            if let Some(expected) = expected {
                self.json(&format!("{place}.{field}"), &Value::from(expected.as_str()), &request[field]);
            }
        }
        for (name, expected) in &expected.headers {
            let name = name.to_ascii_lowercase();
            let found = &request["headers"][&name];
            self.json(&format!("{place}.headers.{name}"), &Value::from(expected.as_str()), found);
        }
        match &expected.body {
            None => {}
            Some(Value::String(_)) => {
                self.json(&format!("{place}.body"), expected.body.as_ref().unwrap_or(&Value::Null), &request["body"]);
            }
            Some(expected) => match serde_json::from_str(text(&request["body"])) {
                Ok(found) => self.json(&format!("{place}.body"), expected, &found),
                Err(_) => self.add(&format!("{place}.body"), format!("expected {expected}, got {}", request["body"])),
            },
        }
    }

    fn subset(&mut self, place: &str, expected: &Map<String, Value>, found: &Value) {
        for (key, expected) in expected {
            self.json(&format!("{place}.{key}"), expected, &found[key]);
        }
    }

    fn json(&mut self, place: &str, expected: &Value, found: &Value) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                for (key, value) in expected {
                    match found.get(key) {
                        Some(other) => self.json(&format!("{place}.{key}"), value, other),
                        None => self.add(&format!("{place}.{key}"), format!("expected {value}, got nothing")),
                    }
                }
                for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                    self.add(&format!("{place}.{key}"), format!("not expected: {value}"));
                }
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.json(&format!("{place}[{at}]"), expected, found);
                }
            }
            _ if same(expected, found) => {}
            _ => self.add(place, format!("expected {expected}, got {found}")),
        }
    }
}

/// Equal, where `1` and `1.0` are the same number.
fn same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|number| other.as_f64() == Some(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case() -> Case {
        parse(
            r#"{"name": "a purchase is told", "event": {"type": "track"}, "settings": {"path": "/x"},
            "answers": [{"status": 200}],
            "requests": [{"method": "POST", "url": "https://h.example/x", "headers": {"Content-Type": "application/json"},
                          "body": {"text": "hi", "tags": [1, 2]}}],
            "outcome": {"code": "delivered"}}"#,
        )
        .unwrap()
    }

    fn report() -> Value {
        json!({"outcome": {"code": "delivered", "message": "", "retryable": false},
               "requests": [{"method": "POST", "url": "https://h.example/x", "status": 200,
                             "headers": {"content-type": "application/json", "x": "y"},
                             "body": "{\"tags\":[1.0,2],\"text\":\"hi\"}"}]})
    }

    #[test]
    fn a_report_that_has_what_is_expected_has_no_differences() {
        assert_eq!(case().differences(&report()), Vec::<String>::new());
    }

    #[test]
    fn an_outcome_that_differs_says_why_it_ended_so() {
        let mut report = report();
        report["outcome"] =
            json!({"code": "egress_denied", "message": "`h.example` is named by no manifest", "retryable": false});
        let why = "outcome.code: expected \"delivered\", got \"egress_denied\" (`h.example` is named by no manifest)";
        assert!(case().differences(&report).contains(&why.to_owned()), "{:?}", case().differences(&report));
    }

    #[test]
    fn each_difference_is_told_with_its_place() {
        let changed = |pointer: &str, value: Value| {
            let mut report = report();
            *report.pointer_mut(pointer).unwrap() = value;
            case().differences(&report)
        };
        let body = |value: Value| Value::from(value.to_string());
        let cases = [
            ("/outcome/code", json!("retry"), "outcome.code: expected \"delivered\", got \"retry\""),
            ("/requests", json!([]), "requests: expected 1, got 0"),
            ("/requests/0/method", json!("PUT"), "requests[0].method: expected \"POST\", got \"PUT\""),
            ("/requests/0/headers", json!({}), "requests[0].headers.content-type: expected"),
            ("/requests/0/body", json!("oops"), "requests[0].body: expected {"),
            ("/requests/0/body", body(json!({"text": "ho", "tags": [1, 2]})), "requests[0].body.text: expected \"hi\""),
            ("/requests/0/body", body(json!({"text": "hi", "tags": [1, 3]})), "requests[0].body.tags[1]: expected 2"),
            ("/requests/0/body", body(json!({"tags": [1, 2]})), "requests[0].body.text: expected \"hi\", got nothing"),
            (
                "/requests/0/body",
                body(json!({"text": "hi", "tags": [1, 2], "z": 0})),
                "requests[0].body.z: not expected",
            ),
        ];
        for (pointer, value, expected) in cases {
            let found = changed(pointer, value);
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn an_unexpected_request_is_named() {
        let mut report = report();
        let extra = json!({"method": "GET", "url": "https://h.example/y"});
        report["requests"].as_array_mut().unwrap().push(extra);
        assert_eq!(case().differences(&report)[1], "requests[1]: not expected: GET https://h.example/y");
    }

    #[test]
    fn what_is_not_a_case_is_refused_with_the_reason() {
        let cases = [
            ("{", "EOF"),
            (r#"{"name": "x", "evnet": {}}"#, "unknown field `evnet`"),
            (r#"{"name": "x", "outcome": {"code": "retry"}}"#, "either `event` or `events`"),
            (r#"{"name": "x", "event": {}}"#, "`outcome` is missing"),
            (r#"{"name": "x", "events": [{}], "outcomes": []}"#, "0 entries for 1 events"),
        ];
        for (text, expected) in cases {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
