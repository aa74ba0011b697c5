//! Stand-ins for partners' APIs, each of which refuses what the partner's own would refuse, and the functions in
//! `functions/` against them: a broad set of events through a whole host, all of which must be taken.

mod braze;
mod customerio;
mod datadog;
mod google_analytics;
mod mixpanel;
mod personalize;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner, Received};

/// Why a request is refused: the status, and what is wrong for who reads the test.
type Refusal = (u16, String);

/// The header fields of a request that a test makes.
type Headers = Vec<(&'static str, String)>;

/// What makes a good request a bad one.
type Change<'a> = &'a dyn Fn(&mut Headers, &mut Value);

/// Every event type, names and values of all kinds. The host stamps them with the time of now.
fn events() -> Vec<Value> {
    let products = json!([
        {"product_id": "sku-1", "name": "Tea", "price": 9.5, "quantity": 2},
        {"sku": "sku-2", "name": "Größe \"M\"", "price": "1.25"},
    ]);
    let order = json!({"order_id": "o-1", "revenue": 20.25, "currency": "EUR", "products": products});
    let names =
        ["Signed Up", "Plan Changed", "Größe geändert ✓", "Product Viewed", "clicked_button", "A/B Test: Variant 2"];
    let mut events = vec![
        json!({"type": "identify", "traits": {"email": "ada@example.com", "firstName": "Ada", "age": 36, "vip": true}}),
        json!({"type": "identify", "traits": {}}),
        json!({"type": "track", "event": "Order Completed", "properties": order}),
        json!({"type": "page", "name": "Home", "properties": {"url": "https://example.com/?q=ü", "title": "Home"}}),
        json!({"type": "page", "properties": {"url": "https://example.com/", "referrer": "https://example.org/"}}),
        json!({"type": "screen", "name": "Cart", "context": {"sessionId": 1_767_323_000}}),
        json!({"type": "group", "groupId": "acme", "traits": {"name": "Acme"}}),
        json!({"type": "alias", "previousId": "anon-1"}),
        json!({"type": "delete"}),
    ];
    for (n, name) in names.iter().cycle().take(100).enumerate() {
        let properties = json!({"product_id": format!("p-{n}"), "value": n, "list": ["a", 1, null], "deep": {"x": {"y": []}},
            "empty": null, "text": "é".repeat(300), "flag": n % 2 == 0, "price": "12.5"});
        events.push(json!({"type": "track", "event": name, "properties": properties}));
    }
    for (n, event) in events.iter_mut().enumerate() {
        event["messageId"] = json!(format!("message-{n}-{}", "x".repeat(n % 60)));
        event["userId"] = json!(format!("user-{}", n % 7));
        event["anonymousId"] = json!(format!("anon-{}", n % 7));
    }
    events
}

/// Sends all events through a host to this stand-in and gives what it got. Nothing may be refused, none lost.
async fn all_are_taken(
    name: &str,
    settings: impl Fn(String) -> Value,
    filtered: u64,
    refuse: fn(&Received) -> Result<(), Refusal>,
) -> Vec<Received> {
    let refusals: Arc<Mutex<Vec<Refusal>>> = Arc::default();
    let told = Arc::clone(&refusals);
    let partner = Partner::answering(move |request| match refuse(request) {
        Ok(()) => (200, vec![]),
        Err(refusal) => {
            let status = refusal.0;
            told.lock().unwrap().push(refusal);
            (status, vec![])
        }
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function(name)).unwrap();
    let (source, _) = host.wire(&component, name, settings(partner.url())).await;
    let all = events();
    let body = json!({"writeKey": source["write_key"], "batch": all}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let ledger = host.drained().await;
    assert_eq!(*refusals.lock().unwrap(), [], "{ledger}");
    assert_eq!((&ledger["filtered"], &ledger["dead"]), (&json!(filtered), &json!(0)), "{ledger}");
    assert_eq!(ledger["delivered"], json!(all.len() as u64 - filtered), "{ledger}");
    partner.received.lock().unwrap().clone()
}

/// A request as a function might make it, to hold a stand-in against.
fn request(path: &str, headers: &[(&'static str, &str)], body: &Value) -> Received {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Received { at: std::time::Instant::now(), path: path.to_owned(), headers, body: body.to_string().into() }
}

/// Holds that a good request is taken, and that each change to it is refused with the status that goes with it.
fn refuses(
    refuse: fn(&Received) -> Result<(), Refusal>,
    good: impl Fn() -> (Headers, Value),
    path: &str,
    cases: &[(u16, Change<'_>)],
) {
    let made = |headers: &Headers, body: &Value| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(path, &headers, body)
    };
    let (headers, body) = good();
    assert_eq!(refuse(&made(&headers, &body)), Ok(()));
    for (n, (status, change)) in cases.iter().enumerate() {
        let (mut headers, mut body) = good();
        change(&mut headers, &mut body);
        let answer = refuse(&made(&headers, &body));
        assert_eq!(answer.as_ref().map_err(|(status, _)| *status), Err(*status), "case {n}: {answer:?}");
    }
}

fn header<'a>(request: &'a Received, name: &str) -> &'a str {
    request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Unless the condition holds, a refusal.
fn need(holds: bool, status: u16, what: impl Into<String>) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err((status, what.into())) }
}

fn body(request: &Received) -> Result<Value, Refusal> {
    need(header(request, "content-type").starts_with("application/json"), 400, "content-type")?;
    serde_json::from_slice(&request.body).map_err(|error| (400, error.to_string()))
}

/// A text of 1 to `most` characters.
fn text<'a>(value: &'a Value, what: &str, most: usize) -> Result<&'a str, Refusal> {
    let text = value.as_str().ok_or((400, format!("`{what}` is {value}")))?;
    need((1..=most).contains(&text.chars().count()), 400, format!("`{what}` is `{text}`"))?;
    Ok(text)
}

/// A list of 1 to `most` items.
fn list<'a>(value: &'a Value, what: &str, most: usize) -> Result<&'a Vec<Value>, Refusal> {
    let list = value.as_array().ok_or((400, format!("`{what}` is no list")))?;
    need((1..=most).contains(&list.len()), 400, format!("`{what}` has {} items", list.len()))?;
    Ok(list)
}

/// How often each of these occurs.
fn count<'a>(all: impl IntoIterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one.to_owned()).or_default() += 1;
    }
    counts
}
