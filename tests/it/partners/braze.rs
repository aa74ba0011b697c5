//! Braze: `/users/track` and `/users/delete`, as its REST API describes them.

use serde_json::{Value, json};

use super::{Received, Refusal, all_are_taken, body, count, header, list, need, refuses, text};

fn refuse(request: &Received) -> Result<(), Refusal> {
    need(header(request, "authorization") == "Bearer braze-key", 401, "authorization")?;
    let body = body(request)?;
    match request.path.as_str() {
        "/users/track" => track(&body),
        "/users/delete" => list(&body["external_ids"], "external_ids", 50)?
            .iter()
            .try_for_each(|id| text(id, "external_id", 997).map(drop)),
        other => Err((404, other.to_owned())),
    }
}

fn track(body: &Value) -> Result<(), Refusal> {
    let fields = body.as_object().ok_or((400, "not an object".to_owned()))?;
    need(!fields.is_empty(), 400, "nothing to track")?;
    for (name, objects) in fields {
        need(["attributes", "events", "purchases"].contains(&name.as_str()), 400, name)?;
        for object in list(objects, name, 75)? {
            let alias = &object["user_alias"];
            let known = object["external_id"].is_string()
                || (alias["alias_name"].is_string() && alias["alias_label"].is_string());
            need(known, 400, "no identifier")?;
            match name.as_str() {
                "events" => {
                    let event = text(&object["name"], "name", 255)?;
                    need(!event.starts_with('$'), 400, event)?;
                    time(&object["time"])?;
                }
                "purchases" => {
                    text(&object["product_id"], "product_id", 255)?;
                    need(object["currency"].as_str().is_some_and(|code| code.len() == 3), 400, "currency")?;
                    need(object["price"].is_number(), 400, "price")?;
                    need(object["quantity"].as_u64().is_none_or(|n| (1..=100).contains(&n)), 400, "quantity")?;
                    time(&object["time"])?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn time(value: &Value) -> Result<(), Refusal> {
    let time = text(value, "time", 40)?;
    need(time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), 400, format!("time {time}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn braze_takes_all_that_its_function_sends() {
    let settings = |url| json!({"apiKey": "braze-key", "cluster": "iad-01", "endpoint": url});
    let received = all_are_taken("braze", settings, 2, refuse).await;
    let bodies: Vec<Value> = received.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let all = |list: &str| {
        bodies.iter().flat_map(|body| body[list].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!((all("events").len(), all("attributes").len(), all("purchases").len()), (103, 2, 2));
    assert_eq!(all("external_ids"), ["user-1"]);
    let names = all("events");
    let names = count(names.iter().map(|event| event["name"].as_str().unwrap()));
    assert_eq!((names["Viewed Home Page"], names["Signed Up"]), (1, 17));
    assert!(received.len() < 20, "{} requests: events share them", received.len());
}

#[test]
fn the_stand_in_for_braze_refuses_what_braze_refuses() {
    let good = || {
        let headers =
            vec![("authorization", "Bearer braze-key".to_owned()), ("content-type", "application/json".to_owned())];
        (headers, json!({"events": [{"external_id": "ada", "name": "x", "time": "2026-01-02T03:04:05.678Z"}]}))
    };
    refuses(
        refuse,
        good,
        "/users/track",
        &[
            (401, &|headers, _| drop(headers.remove(0))),
            (400, &|headers, _| drop(headers.remove(1))),
            (400, &|_, body| body["events"][0]["external_id"] = Value::Null),
            (400, &|_, body| body["events"][0]["name"] = json!("")),
            (400, &|_, body| body["events"][0]["time"] = json!(5)),
            (400, &|_, body| body["events"] = json!(vec![body["events"][0].clone(); 76])),
            (400, &|_, body| *body = json!({"purchases": [{"external_id": "ada", "product_id": "p", "price": "5"}]})),
            (400, &|_, body| *body = json!({})),
        ],
    );
}
