//! The whole step: bodies in, events and counts out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::model::{SourceId, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn ingest() -> Ingest {
    Ingest::new(Config::load(None, []).unwrap().ingest)
}

fn arrival() -> Arrival {
    Arrival { source: SourceId::new(NOW), received_at: NOW, peer: "203.0.113.7".parse().unwrap(), browser: false }
}

fn take(ingest: &Ingest, arrival: &Arrival, body: &Value) -> Vec<(Event, Integrations)> {
    let body = body.to_string();
    let request = parse(Call::Batch, body.as_bytes()).unwrap();
    ingest.events(Call::Batch, &request, arrival).unwrap()
}

fn one(body: &Value) -> (Event, Value) {
    let (event, _) = take(&ingest(), &arrival(), body).remove(0);
    let json = serde_json::from_slice(&event.json).unwrap();
    (event, json)
}

#[test]
fn an_event_gets_what_the_host_knows_and_keeps_what_the_client_said() {
    let arrival = arrival();
    let body = r#"{"writeKey":"secret","sentAt":"2023-11-14T22:00:10.000Z","batch":[{"type":"track","event":"Paid",
        "userId":"u","messageId":"m1","timestamp":"2023-11-14T22:00:00.000Z","projectId":"forged","version":9,
        "properties":{"amount":1.10000000000000000001,"s":"\u00e9"},"writeKey":"secret"}]}"#;
    let request = parse(Call::Batch, body.as_bytes()).unwrap();
    let (event, _) = ingest().events(Call::Batch, &request, &arrival).unwrap().remove(0);
    let text = String::from_utf8(event.json.to_vec()).unwrap();
    assert!(text.contains(r#""properties":{"amount":1.10000000000000000001,"s":"\u00e9"}"#), "{text}");
    assert!(!text.contains("secret") && !text.contains("forged"), "{text}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["timestamp"], "2023-11-14T22:13:10.000Z", "ten seconds before it was received");
    assert_eq!(json["originalTimestamp"], "2023-11-14T22:00:00.000Z");
    assert_eq!(json["sentAt"], "2023-11-14T22:00:10.000Z");
    assert_eq!(json["receivedAt"], NOW.to_string());
    assert_eq!(json["projectId"], arrival.source.to_string());
    assert_eq!((&json["version"], &json["channel"]), (&json!(2), &json!("server")));
    assert_eq!((&json["context"], &json["integrations"]), (&json!({}), &json!({})));
    assert_eq!((event.message_id.as_str(), event.name.as_deref()), ("m1", Some("Paid")));
}

#[test]
fn an_event_without_message_id_gets_one_of_its_own() {
    let event = json!({"type":"track","event":"E","userId":"u","messageId":""});
    let events = take(&ingest(), &arrival(), &json!({"batch":[event, event]}));
    assert_ne!(events[0].0.message_id, events[1].0.message_id);
    assert!(events.iter().all(|(event, _)| !event.message_id.is_empty() && event.message_id.len() < 100));
}

#[test]
fn context_and_integrations_of_the_batch_are_merged_and_the_event_wins() {
    let (_, json) = one(&json!({
        "context": {"app": "batch", "library": {"name": "x"}}, "integrations": {"All": false, "Slack": true},
        "batch": [{"type":"track","event":"E","userId":"u","context":{"app":"event"},"integrations":{"Slack":false}}],
    }));
    assert_eq!(json["context"], json!({"library":{"name":"x"},"app":"event"}));
    assert_eq!(json["integrations"], json!({"All":false,"Slack":false}));
}

#[test]
fn the_address_is_added_only_where_the_client_asks_for_it() {
    for (context, ip) in [
        (json!({}), Value::Null),
        (json!({"direct": false}), Value::Null),
        (json!({"direct": true}), json!("203.0.113.7")),
        (json!({"direct": true, "ip": null}), json!("203.0.113.7")),
        (json!({"direct": true, "ip": "198.51.100.1"}), json!("198.51.100.1")),
    ] {
        let (_, json) = one(&json!({"batch":[{"type":"track","event":"E","userId":"u","context":context}]}));
        assert_eq!(json["context"]["ip"], ip, "{context}");
    }
}

#[test]
fn a_bad_event_is_counted_and_its_neighbours_are_taken() {
    let (ingest, arrival) = (ingest(), arrival());
    let good = json!({"type":"track","event":"E","userId":"u"});
    let large = json!({"type":"track","event":"E","userId":"u","properties":{"p":"x".repeat(33_000)}});
    let events = take(&ingest, &arrival, &json!({"batch":[good, {"type":"track","userId":"u"}, 7, large, good]}));
    assert_eq!(events.len(), 2);
    let counts = [(Code::EventNotDefined, 1), (Code::BadRequest, 1), (Code::EventTooLarge, 1)];
    let mut counts = counts.to_vec();
    counts.sort_unstable();
    assert_eq!(ingest.counts.of(arrival.source), counts);
}

#[test]
fn empty_and_over_large_batches_are_counted_and_nothing_of_them_is_taken() {
    let (ingest, arrival) = (ingest(), arrival());
    assert!(take(&ingest, &arrival, &json!({"batch":[]})).is_empty());
    assert!(take(&ingest, &arrival, &json!({"batch":[1]})).is_empty());
    let good = json!({"type":"track","event":"E","userId":"u"});
    assert_eq!(take(&ingest, &arrival, &json!({"batch": vec![good.clone(); 2500]})).len(), 2500);
    assert!(take(&ingest, &arrival, &json!({"batch": vec![good; 2501]})).is_empty());
    let counts = ingest.counts.of(arrival.source);
    let mut expected =
        vec![(Code::EmptyBatch, 1), (Code::EmptyBatchResult, 1), (Code::BadRequest, 1), (Code::BatchTooLarge, 2501)];
    expected.sort_unstable();
    assert_eq!(counts, expected);
}

#[test]
fn a_batch_cannot_multiply_its_context_without_bound() {
    let good = json!({"type":"track","event":"E","userId":"u"});
    let body = json!({"context":{"x":"x".repeat(30_000)}, "batch": vec![good; 2000]}).to_string();
    let request = parse(Call::Batch, body.as_bytes()).unwrap();
    let end = ingest().events(Call::Batch, &request, &arrival());
    assert_eq!(end.unwrap_err(), BodyError::TooLargeMerged { limit: 16 * 524_288 });
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names = prop_oneof![
            4 => prop::sample::select(vec![
                "type", "event", "userId", "anonymousId", "messageId", "timestamp", "sentAt", "context", "integrations",
                "properties", "traits", "name", "direct", "ip", "consent", "All", "channel", "version",
            ]).prop_map(str::to_owned),
            1 => ".{0,4}".prop_map(|name| name),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_taken_is_json_with_the_hosts_fields_and_all_of_the_clients(
        mut event in any_json(), context in any_json(), integrations in any_json(),
    ) {
        if let Value::Object(fields) = &mut event {
            fields.entry("type").or_insert(json!("track"));
            fields.entry("event").or_insert(json!("E"));
            fields.entry("userId").or_insert(json!("u"));
        }
        let body = json!({"batch":[event], "context":context, "integrations":integrations});
        for (taken, _) in take(&ingest(), &arrival(), &body) {
            let json: Value = serde_json::from_slice(&taken.json).unwrap();
            prop_assert_eq!(&json["version"], &json!(2));
            prop_assert_eq!(&json["messageId"], &json!(taken.message_id));
            for name in ["properties", "traits", "userId", "event", "name"] {
                prop_assert_eq!(json.get(name), event.get(name), "{}", name);
            }
            let own = event.get("context").and_then(Value::as_object);
            for (name, value) in own.into_iter().flatten().filter(|(name, _)| *name != "ip") {
                prop_assert_eq!(&json["context"][name], value);
            }
        }
    }
}
