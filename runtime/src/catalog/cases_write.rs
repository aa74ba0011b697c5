//! Before any event: what a run did becomes what a case expects.
//!
//! Guarantees: a case that is written anew keeps its form: what it did not look at before, it does not look at
//! afterwards, and what is the same stays letter by letter. Reading and comparing cases is [`cases`](super::cases)'s.

use serde_json::{Map, Value, json};

/// What a new case says of an outcome, as far as there is something to say.
const OUTCOME: [&str; 2] = ["code", "message"];

/// The case, as the file has it, with the requests and outcomes of this report (the JSON of `function run`).
pub fn updated(case: &Value, report: &Value) -> Value {
    let mut case = case.clone();
    let Some(object) = case.as_object_mut() else { return case };
    let none = Vec::new();
    let before = object.get("requests").and_then(Value::as_array).cloned().unwrap_or_default();
    let requests = report["requests"].as_array().unwrap_or(&none);
    let requests: Vec<Value> = requests
        .iter()
        .enumerate()
        .map(|(at, made)| before.get(at).map_or_else(|| new_request(made), |expected| request(expected, made)))
        .collect();
    if !requests.is_empty() || object.contains_key("requests") {
        object.insert("requests".to_owned(), Value::Array(requests));
    }
    if object.contains_key("events") {
        let before = object.get("outcomes").and_then(Value::as_array).cloned().unwrap_or_default();
        let outcomes = report["outcomes"].as_array().unwrap_or(&none).iter().enumerate();
        let outcomes = outcomes.map(|(at, found)| outcome(before.get(at).unwrap_or(&Value::Null), found)).collect();
        object.insert("outcomes".to_owned(), Value::Array(outcomes));
    } else {
        let before = object.get("outcome").cloned().unwrap_or_default();
        object.insert("outcome".to_owned(), outcome(&before, &report["outcome"]));
    }
    case
}

/// A case of this name, made of a run: `given` is its event, or the list of its events. Without `answers`, what the
/// partner really said becomes them.
pub fn from_run(
    name: &str,
    given: &Value,
    settings: &Map<String, Value>,
    answers: Option<Value>,
    report: &Value,
) -> Value {
    let mut case = json!({"name": name});
    case[if given.is_array() { "events" } else { "event" }] = given.clone();
    if !settings.is_empty() {
        case["settings"] = Value::Object(settings.clone());
    }
    let requests = report["requests"].as_array().map_or(&[][..], Vec::as_slice);
    let answers = answers.unwrap_or_else(|| requests.iter().map(answer).collect());
    if answers.as_array().is_some_and(|answers| !answers.is_empty()) {
        case["answers"] = answers;
    }
    updated(&case, report)
}

/// The case with every occurrence of these texts replaced by another text each.
pub fn without(case: &Value, secrets: &[(String, String)]) -> Value {
    match case {
        Value::String(text) => {
            let replaced =
                secrets.iter().fold(text.clone(), |text, (secret, name)| text.replace(secret.as_str(), name));
            Value::String(replaced)
        }
        Value::Array(list) => list.iter().map(|value| without(value, secrets)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), without(value, secrets))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The text of a case's file.
pub fn text(case: &Value) -> String {
    format!("{case:#}\n")
}

fn answer(made: &Value) -> Value {
    match &made["error"] {
        Value::String(error) => json!({"error": error}),
        _ => json!({"status": made["status"], "body": made["answer"]}),
    }
}

/// An expectation with what was found in place of what it said.
fn request(expected: &Value, made: &Value) -> Value {
    let Some(fields) = expected.as_object() else { return new_request(made) };
    let mut fields = fields.clone();
    for (name, value) in &mut fields {
        match (name.as_str(), &mut *value) {
            ("headers", Value::Object(headers)) => {
                headers.retain(|name, value| {
                    let found = &made["headers"][name.to_ascii_lowercase()];
                    *value = found.clone();
                    !found.is_null()
                });
            }
            ("body", Value::String(_)) => *value = made["body"].clone(),
            ("body", before) => *before = aligned(before, &body(made)),
            (name, value) => *value = made[name].clone(),
        }
    }
    Value::Object(fields)
}

fn new_request(made: &Value) -> Value {
    let mut request = json!({"method": made["method"], "url": made["url"]});
    if let Some(kind) = made["headers"].get("content-type") {
        request["headers"] = json!({"content-type": kind});
    }
    let body = body(made);
    if body != "" {
        request["body"] = body;
    }
    request
}

/// The body as JSON if it is an object or a list, else as the text that it is.
fn body(made: &Value) -> Value {
    let text = made["body"].as_str().unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
        _ => Value::from(text),
    }
}

fn outcome(before: &Value, found: &Value) -> Value {
    let kept = before.as_object().filter(|fields| !fields.is_empty());
    let keys: Vec<&str> = match kept {
        Some(fields) => fields.keys().map(String::as_str).collect(),
        None => OUTCOME.into_iter().filter(|key| !matches!(found[key].as_str(), None | Some(""))).collect(),
    };
    keys.into_iter().map(|key| (key.to_owned(), found[key].clone())).collect::<Map<_, _>>().into()
}

/// `found` in the order of `before`, and with its spelling of equal numbers, so that only what differs changes.
fn aligned(before: &Value, found: &Value) -> Value {
    match (before, found) {
        (Value::Object(before), Value::Object(found)) => {
            let known =
                before.iter().filter_map(|(name, value)| Some((name.clone(), aligned(value, found.get(name)?))));
            let new = found.iter().filter(|(name, _)| !before.contains_key(*name));
            known.chain(new.map(|(name, value)| (name.clone(), value.clone()))).collect::<Map<_, _>>().into()
        }
        (Value::Array(before), Value::Array(found)) => {
            let at = |index: usize| before.get(index).unwrap_or(&Value::Null);
            found.iter().enumerate().map(|(index, value)| aligned(at(index), value)).collect()
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => before.clone(),
        _ => found.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        json!({
            "outcome": {"code": "retry", "message": "later", "retryable": true, "error": "RetryError"},
            "requests": [
                {"method": "PUT", "url": "https://h.example/x", "headers": {"content-type": "application/json", "b": "2"},
                 "body": "{\"z\":1.0,\"a\":{\"new\":true}}", "status": 429, "answer": "slow", "error": null},
                {"method": "GET", "url": "https://h.example/y", "headers": {}, "body": "", "status": null, "answer": "",
                 "error": "connection refused"},
            ],
        })
    }

    #[test]
    fn a_case_keeps_what_it_looks_at_and_its_order() {
        let case = json!({
            "name": "n", "event": {"type": "track"},
            "requests": [{"url": "https://old.example", "headers": {"B": "1", "C": "1"}, "body": {"a": {}, "z": 1}}],
            "outcome": {"code": "delivered"}, "settings": {},
        });
        let expected = json!({
            "name": "n", "event": {"type": "track"},
            "requests": [
                {"url": "https://h.example/x", "headers": {"B": "2"}, "body": {"a": {"new": true}, "z": 1}},
                {"method": "GET", "url": "https://h.example/y"},
            ],
            "outcome": {"code": "retry"}, "settings": {},
        });
        assert_eq!(text(&updated(&case, &report())), text(&expected));
        assert_eq!(updated(&expected, &report()), expected, "and stays so");
    }

    #[test]
    fn a_run_becomes_a_case_that_it_passes() {
        let event = json!({"type": "track"});
        let settings = json!({"key": "s3cret"}).as_object().unwrap().clone();
        let case = from_run("a run", &event, &settings, None, &report());
        assert_eq!(case["answers"], json!([{"status": 429, "body": "slow"}, {"error": "connection refused"}]));
        assert_eq!(case["outcome"], json!({"code": "retry", "message": "later"}));
        let parsed = super::super::cases::parse(&text(&case)).unwrap();
        assert_eq!(parsed.differences(&report()), Vec::<String>::new());
        let masked = without(&case, &[("s3cret".to_owned(), "key-for-tests".to_owned())]);
        assert_eq!(masked["settings"]["key"], "key-for-tests");
        let batch =
            from_run("b", &json!([event]), &settings, Some(json!([])), &json!({"outcomes": [{"code": "delivered"}]}));
        assert_eq!(
            batch,
            json!({"name": "b", "events": [{"type": "track"}], "settings": {"key": "s3cret"}, "outcomes": [{"code": "delivered"}]})
        );
    }
}
