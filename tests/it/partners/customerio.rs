//! Customer.io: `/api/v2/batch` of its Track API.

use serde_json::{Value, json};

use super::{Received, Refusal, all_are_taken, body, count, header, list, need, refuses, text};

/// `site:key` in base64.
const BASIC: &str = "Basic c2l0ZTprZXk=";
/// Bytes of one request.
const MOST_BYTES: usize = 500_000;
/// Bytes of one operation.
const MOST_OPERATION: usize = 32_000;

fn refuse(request: &Received) -> Result<(), Refusal> {
    need(request.path == "/api/v2/batch", 404, &request.path)?;
    need(header(request, "authorization") == BASIC, 401, "authorization")?;
    need(request.body.len() < MOST_BYTES, 413, "too large")?;
    list(&body(request)?["batch"], "batch", usize::MAX)?.iter().try_for_each(operation)
}

fn operation(operation: &Value) -> Result<(), Refusal> {
    need(operation.to_string().len() <= MOST_OPERATION, 400, "operation too large")?;
    need(operation["type"] == "person", 400, "type")?;
    text(&operation["identifiers"]["id"], "identifiers.id", 150)?;
    match operation["action"].as_str() {
        Some("identify") => need(operation["attributes"].is_object(), 400, "attributes"),
        Some("delete") => Ok(()),
        Some("event" | "page" | "screen") => {
            text(&operation["name"], "name", 1000)?;
            need(
                operation["timestamp"].as_u64().is_some_and(|time| time < 100_000_000_000),
                400,
                "timestamp in seconds",
            )?;
            ulid(text(&operation["id"], "id", 26)?)
        }
        other => Err((400, format!("action {other:?}"))),
    }
}

fn ulid(id: &str) -> Result<(), Refusal> {
    let letters = id.bytes().all(|byte| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte));
    // 128 bits are 26 letters of which the first has only three bits.
    need(id.len() == 26 && letters && id.as_bytes()[0] <= b'7', 400, format!("id {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn customerio_takes_all_that_its_function_sends() {
    let settings = |url| json!({"siteId": "site", "apiKey": "key", "endpoint": url});
    let received = all_are_taken("customerio", settings, 2, refuse).await;
    let bodies: Vec<Value> = received.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let all: Vec<&Value> = bodies.iter().flat_map(|body| body["batch"].as_array().unwrap()).collect();
    let actions = count(all.iter().map(|one| one["action"].as_str().unwrap()));
    let expected = [("event", 101), ("page", 2), ("screen", 1), ("identify", 2), ("delete", 1)];
    assert_eq!(actions, expected.map(|(action, n)| (action.to_owned(), n)).into());
    let ids: std::collections::BTreeSet<_> = all.iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids.len(), 104);
}

#[test]
fn the_stand_in_for_customerio_refuses_what_customerio_refuses() {
    let good = || {
        let headers = vec![("authorization", BASIC.to_owned()), ("content-type", "application/json".to_owned())];
        let event = json!({"type": "person", "identifiers": {"id": "ada"}, "action": "event", "name": "x",
            "timestamp": 1_767_323_045, "id": "01KDYK9XXE0123456789ABCDEF"});
        (headers, json!({"batch": [event]}))
    };
    refuses(
        refuse,
        good,
        "/api/v2/batch",
        &[
            (401, &|headers, _| drop(headers.remove(0))),
            (400, &|_, body| body["batch"][0]["identifiers"] = json!({})),
            (400, &|_, body| body["batch"][0]["action"] = json!("track")),
            (400, &|_, body| body["batch"][0]["name"] = Value::Null),
            (400, &|_, body| body["batch"][0]["timestamp"] = json!(1_767_323_045_678_u64)),
            (400, &|_, body| body["batch"][0]["id"] = json!("not-a-ulid")),
            (400, &|_, body| body["batch"][0]["attributes"] = json!({"x": "x".repeat(32_000)})),
            (413, &|_, body| body["batch"] = json!(vec![json!({"x": "x".repeat(20_000)}); 25])),
        ],
    );
}
