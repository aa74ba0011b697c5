//! Datadog: `/api/v2/series`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Received, Refusal, all_are_taken, body, header, list, need, refuses, text};

/// Bytes of one request without compression.
const MOST_BYTES: usize = 512_000;

fn refuse(request: &Received) -> Result<(), Refusal> {
    need(request.path == "/api/v2/series", 404, &request.path)?;
    need(header(request, "dd-api-key") == "key", 403, "dd-api-key")?;
    need(request.body.len() <= MOST_BYTES, 413, "too large")?;
    for series in list(&body(request)?["series"], "series", usize::MAX)? {
        let metric = text(&series["metric"], "metric", 200)?;
        let plain = metric.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
        need(plain && metric.as_bytes()[0].is_ascii_alphabetic(), 400, metric)?;
        need(series["type"].as_u64().is_some_and(|kind| kind <= 3), 400, "type")?;
        for point in list(&series["points"], "points", usize::MAX)? {
            let time = point["timestamp"].as_u64().ok_or((400, "timestamp".to_owned()))?;
            need(time > now() - 3_600 && time < now() + 600, 400, format!("timestamp {time}"))?;
            need(point["value"].is_number(), 400, "value")?;
        }
        for tag in series["tags"].as_array().into_iter().flatten() {
            let tag = text(tag, "tag", 200)?;
            need(!tag.contains(char::is_whitespace) && !tag.contains(char::is_uppercase), 400, tag)?;
        }
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn datadog_takes_all_that_its_function_sends_and_each_event_counts_once() {
    let settings = |url| json!({"apiKey": "key", "tags": ["env:test"], "endpoint": url});
    let received = all_are_taken("datadog", settings, 0, refuse).await;
    let bodies: Vec<Value> = received.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let all: Vec<&Value> = bodies.iter().flat_map(|body| body["series"].as_array().unwrap()).collect();
    let sum = |tag: &str| -> u64 {
        let tagged = all.iter().filter(|one| one["tags"].as_array().unwrap().contains(&json!(tag)));
        tagged.map(|one| one["points"][0]["value"].as_u64().unwrap()).sum()
    };
    let tags = ["env:test", "event_type:track", "event_type:page", "event:signed_up", "event:größe_geändert"];
    assert_eq!(tags.map(sum), [109, 101, 2, 17, 17]);
}

#[test]
fn the_stand_in_for_datadog_refuses_what_datadog_refuses() {
    let good = || {
        let headers = vec![("dd-api-key", "key".to_owned()), ("content-type", "application/json".to_owned())];
        let point = json!({"timestamp": now(), "value": 1});
        (headers, json!({"series": [{"metric": "a.b", "type": 1, "points": [point], "tags": ["a:b"]}]}))
    };
    refuses(
        refuse,
        good,
        "/api/v2/series",
        &[
            (403, &|headers, _| drop(headers.remove(0))),
            (400, &|_, body| body["series"][0]["metric"] = json!("1st")),
            (400, &|_, body| body["series"][0]["type"] = json!("count")),
            (400, &|_, body| body["series"][0]["points"] = json!([])),
            (400, &|_, body| body["series"][0]["points"][0]["timestamp"] = json!(now() - 4_000)),
            (400, &|_, body| body["series"][0]["points"][0]["value"] = json!("1")),
            (400, &|_, body| body["series"][0]["tags"] = json!(["Two Words"])),
            (413, &|_, body| body["series"][0]["metric"] = json!("x".repeat(600_000))),
        ],
    );
}
