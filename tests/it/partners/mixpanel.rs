//! Mixpanel: `/import` with `strict=1`, and `/engage`.

use serde_json::{Value, json};

use super::{Received, Refusal, all_are_taken, body, header, list, need, refuses, text};

/// `token:` in base64.
const BASIC: &str = "Basic dG9rZW46";
/// Bytes of one request, before compression.
const MOST_BYTES: usize = 10 << 20;

fn refuse(request: &Received) -> Result<(), Refusal> {
    need(header(request, "authorization") == BASIC, 401, "authorization")?;
    need(request.body.len() <= MOST_BYTES, 413, "too large")?;
    let body = body(request)?;
    match request.path.as_str() {
        "/import?strict=1" => list(&body, "the body", 2000)?.iter().try_for_each(event),
        "/engage?verbose=1" => list(&body, "the body", 2000)?.iter().try_for_each(profile),
        other => Err((404, other.to_owned())),
    }
}

fn event(event: &Value) -> Result<(), Refusal> {
    text(&event["event"], "event", 255)?;
    let properties = &event["properties"];
    let time = properties["time"].as_u64().ok_or((400, "properties.time".to_owned()))?;
    need(time > 31_536_000, 400, "properties.time is before 1971")?;
    let id = text(&properties["$insert_id"], "$insert_id", 36)?;
    need(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), 400, format!("$insert_id {id}"))?;
    need(properties["distinct_id"].as_str().is_some_and(|id| id.len() <= 255), 400, "distinct_id")?;
    need(properties.as_object().is_some_and(|all| all.len() <= 255), 400, "too many properties")
}

fn profile(profile: &Value) -> Result<(), Refusal> {
    need(profile["$token"] == "token", 401, "$token")?;
    text(&profile["$distinct_id"], "$distinct_id", 255)?;
    need(profile["$set"].is_object(), 400, "$set")
}

#[tokio::test(flavor = "multi_thread")]
async fn mixpanel_takes_all_that_its_function_sends_under_ids_of_their_own() {
    let received = all_are_taken("mixpanel", |url| json!({"token": "token", "endpoint": url}), 3, refuse).await;
    let imported = received.iter().filter(|one| one.path.starts_with("/import"));
    let rows = imported.flat_map(|one| serde_json::from_slice::<Vec<Value>>(&one.body).unwrap());
    let ids: std::collections::BTreeSet<String> =
        rows.map(|row| row["properties"]["$insert_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 104);
}

#[test]
fn the_stand_in_for_mixpanel_refuses_what_mixpanel_refuses() {
    let good = || {
        let headers = vec![("authorization", BASIC.to_owned()), ("content-type", "application/json".to_owned())];
        let properties = json!({"time": 1_767_323_045_678_u64, "distinct_id": "ada", "$insert_id": "m-1"});
        (headers, json!([{"event": "x", "properties": properties}]))
    };
    refuses(
        refuse,
        good,
        "/import?strict=1",
        &[
            (401, &|headers, _| drop(headers.remove(0))),
            (400, &|_, body| body[0]["event"] = json!("")),
            (400, &|_, body| body[0]["properties"]["time"] = json!("2026-01-02")),
            (400, &|_, body| body[0]["properties"]["$insert_id"] = json!("a.b")),
            (400, &|_, body| body[0]["properties"]["$insert_id"] = json!("x".repeat(37))),
            (400, &|_, body| body[0]["properties"]["distinct_id"] = Value::Null),
            (400, &|_, body| *body = json!(vec![body[0].clone(); 2001])),
            (413, &|_, body| body[0]["event"] = json!("x".repeat(11 << 20))),
        ],
    );
}
