//! Nothing is lost: `kill -9` at random moments under load.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner};

/// How often the host is killed.
const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing_acknowledged_and_repeat_only_what_was_in_flight() {
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let component = std::fs::read(function("webhook")).unwrap();
    let mut host = Host::start(data.path(), partner.address, None);
    let token = host.token.clone();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let write_key = source["write_key"].as_str().unwrap().to_owned();

    // How often each event had arrived when the round before was settled: that number may not grow any more.
    let mut settled: HashMap<String, usize> = HashMap::new();
    for round in 0..KILLS {
        let load = tokio::spawn(load(host.listen, write_key.clone(), round));
        // Pseudo-random moments, the same in every run: from before the first commit to the middle of the delivery.
        tokio::time::sleep(Duration::from_millis(5 + (round * 7919) % 400)).await;
        host.kill();
        let acknowledged = load.await.unwrap();
        host = Host::start(data.path(), partner.address, Some(&token));
        let ledger = host.drained().await;

        let mut arrived: HashMap<String, usize> = HashMap::new();
        for body in partner.bodies() {
            *arrived.entry(message_id(&body)).or_default() += 1;
        }
        for id in &acknowledged {
            assert!(arrived.contains_key(id), "round {round}: `{id}` was acknowledged and never arrived");
        }
        for (id, times) in &settled {
            assert_eq!(&arrived[id], times, "round {round}: `{id}` was settled before the kill and came again");
        }
        assert_eq!(ledger["delivered"], ledger["accepted"], "round {round}: {ledger}");
        assert_eq!(ledger["accepted"], arrived.len(), "round {round}: what arrived is what was accepted");
        settled = arrived;
    }
}

fn message_id(body: &Value) -> String {
    body["messageId"].as_str().expect("a messageId").to_owned()
}

/// Sends batches one after the other until the host goes away; the ids of all events whose batch got a 200.
async fn load(to: std::net::SocketAddr, write_key: String, round: u64) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for batch in 0..200 {
        let ids: Vec<String> = (0..20).map(|n| format!("m-{round}-{batch}-{n}")).collect();
        let events: Vec<Value> =
            ids.iter().map(|id| json!({"type": "track", "event": "Tested", "userId": "u", "messageId": id})).collect();
        let body = json!({"writeKey": write_key, "batch": events}).to_string().into_bytes();
        match http::try_send(to, "POST", "/v1/batch", &[("content-type", "application/json")], body).await {
            Ok(answer) if answer.status == 200 => acknowledged.extend(ids),
            Ok(answer) => panic!("{} {}", answer.status, answer.text()),
            Err(_) => break,
        }
    }
    acknowledged
}
