//! Google Analytics 4: the Measurement Protocol. The real one drops without a word; this one says what it would drop.

use serde_json::{Value, json};

use super::{Received, Refusal, all_are_taken, body, count, list, need, refuses, text};

const PATH: &str = "/mp/collect?measurement_id=G-TEST1234&api_secret=secret";
/// Bytes of one request.
const MOST_BYTES: usize = 130_000;

fn refuse(request: &Received) -> Result<(), Refusal> {
    need(request.path == PATH, 403, &request.path)?;
    need(request.body.len() <= MOST_BYTES, 413, "too large")?;
    let body = body(request)?;
    text(&body["client_id"], "client_id", 256)?;
    need(body["user_id"].is_null() || body["user_id"].is_string(), 400, "user_id")?;
    need(body["timestamp_micros"].is_null() || body["timestamp_micros"].is_u64(), 400, "timestamp_micros")?;
    for event in list(&body["events"], "events", 25)? {
        name(text(&event["name"], "name", 40)?)?;
        let params = event["params"].as_object().ok_or((400, "params".to_owned()))?;
        need(params.len() <= 25, 400, format!("{} parameters", params.len()))?;
        for (key, value) in params {
            need(key.len() <= 40, 400, key)?;
            name(key)?;
            let most = match key.as_str() {
                "page_location" => 1000,
                "page_referrer" => 420,
                "page_title" => 300,
                _ => 100,
            };
            let fits = value.as_str().is_none_or(|text| text.chars().count() <= most);
            need(fits && (key == "items" || !(value.is_array() || value.is_object())), 400, key)?;
        }
    }
    Ok(())
}

fn name(name: &str) -> Result<(), Refusal> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let reserved = ["_", "firebase_", "ga_", "google_"].iter().any(|prefix| name.starts_with(prefix));
    need(plain && !reserved && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic), 400, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn google_analytics_takes_all_that_its_function_sends() {
    let settings = |url| json!({"measurementId": "G-TEST1234", "apiSecret": "secret", "endpoint": url});
    let received = all_are_taken("google-analytics", settings, 5, refuse).await;
    let bodies: Vec<Value> = received.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let names = count(bodies.iter().map(|body| body["events"][0]["name"].as_str().unwrap()));
    let known = ["purchase", "page_view", "screen_view", "sign_up", "view_item", "a_b_test_variant_2"];
    assert_eq!(known.map(|name| names[name]), [1, 2, 1, 17, 17, 16], "{names:?}");
    let purchase = bodies.iter().find(|body| body["events"][0]["name"] == "purchase").unwrap();
    assert_eq!(purchase["events"][0]["params"]["items"][1]["price"], 1.25);
}

#[test]
fn the_stand_in_for_google_analytics_refuses_what_google_drops() {
    let good = || {
        let headers = vec![("content-type", "application/json".to_owned())];
        (headers, json!({"client_id": "c", "events": [{"name": "x", "params": {"a": "b"}}]}))
    };
    refuses(
        refuse,
        good,
        PATH,
        &[
            (400, &|_, body| body["client_id"] = Value::Null),
            (400, &|_, body| body["events"][0]["name"] = json!("two words")),
            (400, &|_, body| body["events"][0]["name"] = json!("x".repeat(41))),
            (400, &|_, body| body["events"][0]["params"]["ga_x"] = json!(1)),
            (400, &|_, body| body["events"][0]["params"]["a"] = json!("x".repeat(101))),
            (400, &|_, body| body["events"][0]["params"]["a"] = json!({})),
            (400, &|_, body| body["events"] = json!(vec![body["events"][0].clone(); 26])),
            (413, &|_, body| body["client_id"] = json!("x".repeat(130_000))),
        ],
    );
    let wrong = super::request("/mp/collect?measurement_id=G-TEST1234", &[], &json!({}));
    assert_eq!(refuse(&wrong).unwrap_err().0, 403);
}
