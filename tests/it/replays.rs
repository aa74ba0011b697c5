//! Replay from outside: dead letters come back, once, at their own rate, through crashes; what was delivered goes once more.

use std::collections::HashMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, PATIENCE, function};
use crate::http::{self, Partner};

/// A partner whose status can be changed while it answers; the path `/hangs` never answers in time.
async fn partner(status: &Arc<AtomicU16>) -> Partner {
    let status = Arc::clone(status);
    Partner::answering(move |_| (status.load(Ordering::Relaxed), vec![])).await
}

async fn send(host: &Host, source: &Value, events: Vec<Value>) {
    let body = json!({"writeKey": source["write_key"], "batch": events}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn track(id: &str, name: &str) -> Value {
    json!({"type": "track", "event": name, "userId": "u", "messageId": id})
}

/// A host with that many dead letters, `m0` and on, of a partner that works again.
async fn with_dead(data: &std::path::Path, partner: &Partner, status: &AtomicU16, dead: usize) -> (Host, Value, Value) {
    let host = Host::start(data, partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    status.store(400, Ordering::Relaxed);
    let events: Vec<_> = (0..dead).map(|n| track(&format!("m{n}"), "Tested")).collect();
    for some in events.chunks(500) {
        send(&host, &source, some.to_vec()).await;
    }
    assert_eq!(host.drained().await["dead"], dead);
    status.store(200, Ordering::Relaxed);
    partner.received.lock().unwrap().clear();
    (host, source, destination)
}

async fn replay(host: &Host, body: Value) -> Value {
    host.api("POST", "/api/v1/replays", body).await
}

/// The replay once this is true of it.
async fn until(host: &Host, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let replay = host.api("GET", &format!("/api/v1/replays/{id}"), Value::Null).await;
        let number = |name: &str| replay[name].as_u64().unwrap();
        let sum = number("delivered") + number("filtered") + number("dead") + number("pending");
        assert_eq!(number("released"), sum, "a replay must add up: {replay}");
        if is(&replay) {
            return replay;
        }
        assert!(start.elapsed() < PATIENCE, "{replay}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_over(replay: &Value) -> bool {
    replay["state"] == "done" && replay["pending"] == 0
}

fn cli(host: &Host, args: &[&str]) -> Output {
    host.cli(args).output().unwrap()
}

/// What the program prints, which must succeed.
fn printed(host: &Host, args: &[&str]) -> Value {
    let output = cli(host, &[args, &["--output", "json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn arrived(partner: &Partner) -> HashMap<String, usize> {
    let mut arrived = HashMap::new();
    for body in partner.bodies() {
        *arrived.entry(body["messageId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_through_kills_and_gives_no_event_back_twice() {
    const DEAD: usize = 600;
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (mut host, _, _) = with_dead(data.path(), &partner, &status, DEAD).await;
    let token = host.token.clone();
    let made = replay(&host, json!({"events_per_s": 300})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["state"], &made["matching"]), (&json!("running"), &json!(DEAD)), "{made}");
    for part in [60, 180, 280, 400, 500] {
        let before = until(&host, &id, |replay| replay["released"].as_u64().unwrap() >= part).await;
        assert_eq!(before["state"], "running", "killed in the middle: {before}");
        host.kill();
        host = Host::start(data.path(), partner.address, Some(&token));
        let ledger = host.ledger().await;
        assert_eq!(ledger["accepted"], DEAD, "{ledger}");
        let after = until(&host, &id, |_| true).await;
        assert!(after["released"].as_u64() >= before["released"].as_u64(), "{before} {after}");
    }
    let replay = until(&host, &id, is_over).await;
    assert_eq!((&replay["released"], &replay["delivered"]), (&json!(DEAD), &json!(DEAD)), "{replay}");
    assert_eq!(replay["skipped"], json!({}), "{replay}");
    let ledger = host.ledger().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(DEAD), &json!(0)), "{ledger}");
    let arrived = arrived(&partner);
    assert_eq!(arrived.len(), DEAD);
    // What was under way at a kill may be repeated, as after any crash; nothing else may.
    let again: usize = arrived.values().map(|times| times - 1).sum();
    assert!(again <= 5 * 32, "{again} came again, more than can have been under way");
    // Dead letters come back as themselves: nothing new was accepted, and the attempts are counted on.
    let deliveries = host.api("GET", "/api/v1/deliveries?limit=1", Value::Null).await;
    assert_eq!(deliveries["items"][0]["attempts"], 2, "{deliveries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_each_filter_would_give_back_and_changes_nothing() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, source, destination) = with_dead(data.path(), &partner, &status, 3).await;
    status.store(400, Ordering::Relaxed);
    let page = json!({"type": "page", "name": "Home", "userId": "u", "messageId": "p"});
    send(&host, &source, vec![page, track("other", "Other")]).await;
    host.drained().await;
    status.store(200, Ordering::Relaxed);
    send(&host, &source, vec![track("fine", "Tested")]).await;
    host.drained().await;
    let dead = host.api("GET", "/api/v1/deliveries?state=dead", Value::Null).await;
    let newest = &dead["items"][0];
    let later = newest["accepted_at"].as_str().unwrap();
    let cases = [
        (json!({}), 5),
        (json!({"destination": destination["id"]}), 5),
        (json!({"source": source["id"], "state": "all"}), 6),
        (json!({"source": source["id"], "state": "delivered"}), 1),
        (json!({"event": "Tested"}), 3),
        (json!({"event": "Home"}), 1),
        (json!({"type": "page"}), 1),
        (json!({"type": "track"}), 4),
        (json!({"type": "identify"}), 0),
        (json!({"outcome": "message_rejected"}), 5),
        (json!({"outcome": "gateway_timeout"}), 0),
        (json!({"delivery": newest["id"]}), 1),
        (json!({"from": later}), 2),
        (json!({"to": later}), 3),
        (json!({"from": later, "event": "Other"}), 1),
    ];
    for (filter, matching) in cases {
        let mut body = filter.clone();
        body["dry_run"] = json!(true);
        let plan = replay(&host, body).await;
        assert_eq!(
            (&plan["matching"], &plan["would_release"]),
            (&json!(matching), &json!(matching)),
            "{filter}: {plan}"
        );
    }
    let list = |query: &str| format!("/api/v1/deliveries?{query}");
    for (query, matching) in [("event=Tested&state=dead", 3), ("type=page", 1), ("outcome=message_rejected", 5)] {
        let found = host.api("GET", &list(query), Value::Null).await;
        assert_eq!(found["items"].as_array().unwrap().len(), matching, "{query}: {found}");
    }
    let none = host.api("GET", "/api/v1/replays", Value::Null).await;
    assert_eq!(none["items"], json!([]), "a dry run makes nothing");
    assert_eq!(host.ledger().await["dead"], 5);

    // The same by the program, as a person asks.
    let plan = printed(&host, &["replay", "create", "--event", "Tested", "--dry-run"]);
    assert_eq!(plan["would_release"], 3, "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_shows_its_cause_and_its_last_request_answer_and_log() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, ..) = with_dead(data.path(), &partner, &status, 1).await;
    let dead = printed(&host, &["delivery", "list", "--state", "dead"]);
    let id = dead["items"][0]["id"].as_str().unwrap();
    let cause = dead["items"][0]["dead"]["cause"].as_str().unwrap();
    assert!(cause.starts_with("message_rejected: "), "{cause}");
    let shown = printed(&host, &["delivery", "show", id]);
    let request = &shown["last_attempt"]["report"]["requests"][0];
    assert_eq!((&request["status"], &request["answer"]), (&json!(400), &json!("ok")), "{shown}");
    assert!(request["body"].as_str().unwrap().contains("\"messageId\":\"m0\""), "{shown}");
    assert!(shown["last_attempt"]["report"]["log"].is_array(), "{shown}");
    let table = cli(&host, &["delivery", "list", "--state", "dead"]);
    assert!(String::from_utf8(table.stdout).unwrap().contains("CAUSE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_events_go_once_more_as_new_deliveries_and_the_ledger_adds_up() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, source, destination) = with_dead(data.path(), &partner, &status, 2).await;
    let delivered: Vec<_> = (0..30).map(|n| track(&format!("d{n}"), "Fine")).collect();
    send(&host, &source, delivered).await;
    host.drained().await;
    let (code, wide) = host.try_api("POST", "/api/v1/replays", json!({"state": "delivered"})).await;
    assert_eq!((code, &wide["code"]), (409, &json!("replay_too_wide")), "{wide}");

    let body = json!({"state": "delivered", "destination": destination["id"], "events_per_s": 1000});
    for round in 1..=2 {
        let made = replay(&host, body.clone()).await;
        assert_eq!(made["matching"], 30, "each event once, however often it was replayed: {made}");
        let replay = until(&host, made["id"].as_str().unwrap(), is_over).await;
        assert_eq!((&replay["released"], &replay["delivered"]), (&json!(30), &json!(30)), "{replay}");
        let ledger = host.ledger().await;
        assert_eq!((&ledger["accepted"], &ledger["dead"]), (&json!(32 + round * 30), &json!(2)), "{ledger}");
        let recount = host.api("GET", "/api/v1/ledger?recount=true", Value::Null).await;
        assert_eq!(recount, ledger);
        let arrived = arrived(&partner);
        assert!(arrived.values().all(|times| *times == round + 1), "{arrived:?}");
        let newest = host.api("GET", "/api/v1/deliveries?limit=1", Value::Null).await;
        assert_eq!(newest["items"][0]["replay"], replay["id"], "{newest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replays_for_the_same_dead_letters_send_each_of_them_once() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, _, _) = with_dead(data.path(), &partner, &status, 600).await;
    let mut both = Vec::new();
    for _ in 0..2 {
        both.push(replay(&host, json!({"events_per_s": 300})).await["id"].as_str().unwrap().to_owned());
    }
    let mut given = 0;
    for id in &both {
        given += until(&host, id, is_over).await["released"].as_u64().unwrap();
    }
    assert_eq!(given, 600);
    let arrived = arrived(&partner);
    assert!(arrived.len() == 600 && arrived.values().all(|times| *times == 1), "{arrived:?}");
    assert_eq!(host.drained().await["accepted"], 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_paused_resumed_and_cancelled_and_the_rest_stays_dead() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, ..) = with_dead(data.path(), &partner, &status, 300).await;
    let began = Instant::now();
    let made = printed(&host, &["replay", "create", "--rate", "100"]);
    let id = made["id"].as_str().unwrap().to_owned();
    until(&host, &id, |replay| replay["released"].as_u64().unwrap() > 0).await;
    let paused = printed(&host, &["replay", "pause", &id]);
    assert_eq!(paused["state"], "paused", "{paused}");
    // A step that was in the same commit is not counted in that answer.
    let paused = until(&host, &id, |replay| replay["state"] == "paused").await;
    let still = until(&host, &id, |replay| replay["pending"] == 0).await;
    assert_eq!(still["released"], paused["released"], "nothing is given back while it is paused");
    assert_eq!(printed(&host, &["replay", "resume", &id])["state"], "running");
    let half = until(&host, &id, |replay| replay["released"].as_u64().unwrap() >= 150).await;
    // It began with one, and may have caught up on a tenth of a second, twice.
    let most = began.elapsed().as_secs_f64() * 100.0 + 21.0;
    assert!(half["released"].as_f64().unwrap() <= most, "faster than 100 a second: {half}");
    let cancelled = printed(&host, &["replay", "cancel", &id]);
    let (released, ended) = (cancelled["released"].as_u64().unwrap(), &cancelled["ended_at"]);
    assert!(cancelled["state"] == "cancelled" && !ended.is_null(), "{cancelled}");
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(released), &json!(300 - released)), "{ledger}");
    let again = cli(&host, &["replay", "resume", &id]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(String::from_utf8_lossy(&again.stderr).contains("cancelled"));
    let listed = printed(&host, &["replay", "list", "--state", "cancelled"]);
    assert_eq!(listed["items"][0]["id"], *id, "{listed}");
    // Another one takes the rest, and says so while it goes on.
    let rest = cli(&host, &["replay", "create", "--rate", "1000", "--follow"]);
    assert!(String::from_utf8_lossy(&rest.stderr).contains("given back"));
    assert_eq!(host.ledger().await["dead"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_gets_nothing_back_and_current_settings_hold() {
    let status = Arc::new(AtomicU16::new(200));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let (host, _, destination) = with_dead(data.path(), &partner, &status, 3).await;
    let connections = host.api("GET", "/api/v1/connections", Value::Null).await;
    let connection = format!("/api/v1/connections/{}", connections["items"][0]["id"].as_str().unwrap());
    host.api("PATCH", &connection, json!({"enabled": false})).await;
    let plan = replay(&host, json!({"dry_run": true})).await;
    assert_eq!((&plan["would_release"], &plan["skipped"]), (&json!(0), &json!({"connection_disabled": 3})), "{plan}");
    let made = replay(&host, json!({})).await;
    let done = until(&host, made["id"].as_str().unwrap(), is_over).await;
    assert_eq!((&done["released"], &done["skipped"]), (&json!(0), &json!({"connection_disabled": 3})), "{done}");
    assert_eq!(host.ledger().await["dead"], 3, "they stay dead, and can be replayed later");

    host.api("PATCH", &connection, json!({"enabled": true})).await;
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    let url = format!("{}/elsewhere", partner.url());
    host.api("PATCH", &path, json!({"settings": {"url": url}})).await;
    let made = replay(&host, json!({})).await;
    let done = until(&host, made["id"].as_str().unwrap(), is_over).await;
    assert_eq!(done["delivered"], 3, "{done}");
    let received = partner.received.lock().unwrap();
    let elsewhere = received.iter().filter(|one| one.path == "/elsewhere").count();
    assert_eq!(elsewhere, 3, "the settings of now");
}

/// A function that says at which version it is, and refuses where the partner does.
async fn upload(host: &Host, partner: &Partner, version: &str) -> Value {
    let manifest = format!(
        "name = \"said\"\nversion = \"{version}\"\nevents = [\"track\"]\negress.allow = [\"{}\"]\n",
        partner.url()
    );
    let script = format!(
        "async function onTrack(event) {{\n  const answer = await fetch('{}/{version}', {{ method: 'POST', body: \
         JSON.stringify(event) }});\n  if (!answer.ok) throw new InvalidEventPayload('no');\n}}\n",
        partner.url()
    );
    let form = format!(
        "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{script}\r\n\
         --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n{manifest}\r\n--e--\r\n"
    );
    let bearer = format!("Bearer {}", host.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
    let made = http::send(host.admin, "POST", "/api/v1/functions", &headers, form.into_bytes()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_version_runs_again_unless_an_older_one_is_asked_for() {
    let status = Arc::new(AtomicU16::new(400));
    let (data, partner) = (tempfile::tempdir().unwrap(), partner(&status).await);
    let host = Host::start(data.path(), partner.address, None);
    upload(&host, &partner, "1").await;
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    let destination = json!({"name": "d", "function": "said", "settings": {}});
    let destination = host.api("POST", "/api/v1/destinations", destination).await;
    let connection = json!({"source": source["id"], "destination": destination["id"]});
    host.api("POST", "/api/v1/connections", connection).await;
    send(&host, &source, vec![track("a", "Tested")]).await;
    host.drained().await;
    let versions = host.api("GET", "/api/v1/functions/said/versions", Value::Null).await;
    let first = versions["items"][0]["id"].as_str().unwrap().to_owned();
    upload(&host, &partner, "2").await;
    host.api("POST", "/api/v1/functions/said/versions/2/promote", json!({})).await;
    let (code, unknown) = host.try_api("POST", "/api/v1/replays", json!({"version": "newest"})).await;
    assert_eq!(code, 400, "{unknown}");
    // It is refused each time, so that the next one finds it dead again.
    let cases = [(json!({"version": "old"}), "/1"), (json!({}), "/2"), (json!({"version": first}), "/1")];
    for (body, path) in cases {
        let made = replay(&host, body.clone()).await;
        let done = until(&host, made["id"].as_str().unwrap(), is_over).await;
        assert_eq!((&done["released"], &done["dead"]), (&json!(1), &json!(1)), "{done}");
        let received = partner.received.lock().unwrap();
        assert_eq!(received.last().unwrap().path, path, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_suppressed_user_nothing_is_taken_in_delivered_or_replayed_until_they_are_not() {
    let (status, data) = (Arc::new(AtomicU16::new(400)), tempfile::tempdir().unwrap());
    let partner = partner(&status).await;
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let of = |user: &str, id: &str| json!({"type": "track", "event": "E", "userId": user, "messageId": id});
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    // Dead before, pending while, and sent after.
    send(&host, &source, vec![of("ada", "dead-1"), of("bob", "dead-2")]).await;
    assert_eq!(host.drained().await["dead"], 2);
    host.api("PATCH", &path, json!({"paused": true})).await;
    send(&host, &source, vec![of("ada", "owed-1"), of("bob", "owed-2")]).await;
    status.store(200, Ordering::Relaxed);
    partner.received.lock().unwrap().clear();
    let added = printed(&host, &["suppression", "add", "ada", "eve/ x"]);
    assert_eq!(added["items"].as_array().unwrap().len(), 2, "{added}");
    send(&host, &source, vec![of("ada", "late-1"), of("bob", "late-2")]).await;
    host.api("PATCH", &path, json!({"paused": false})).await;
    let ledger = host.drained().await;
    assert_eq!(
        (&ledger["delivered"], &ledger["filtered"], &ledger["dead"]),
        (&json!(2), &json!(1), &json!(2)),
        "{ledger}"
    );
    let filtered = printed(&host, &["delivery", "list", "--state", "filtered"]);
    let filtered = filtered["items"].as_array().unwrap();
    assert_eq!(
        (filtered.len(), &filtered[0]["message_id"], &filtered[0]["filter_reason"]),
        (1, &json!("owed-1"), &json!("user_suppressed"))
    );
    let shown = host.api("GET", &format!("/api/v1/sources/{}", source["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(shown["rejected"]["user_suppressed"], 1, "{shown}");

    let body = json!({"destination": destination["id"], "dry_run": true});
    let plan = replay(&host, body.clone()).await;
    assert_eq!(plan["skipped"]["user_suppressed"], 1, "{plan}");
    let job = replay(&host, json!({"destination": destination["id"]})).await;
    until(&host, job["id"].as_str().unwrap(), is_over).await;
    let ids: Vec<_> = partner.bodies().iter().map(|body| body["messageId"].as_str().unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| id.ends_with("-2")) && ids.len() == 3, "{ids:?}");

    // Also after a restart, and until they are taken off the list.
    let token = host.token.clone();
    assert!(host.stop().success());
    let host = Host::start(data.path(), partner.address, Some(&token));
    send(&host, &source, vec![of("ada", "again-1")]).await;
    assert_eq!(host.drained().await["accepted"], 5, "nothing of it is kept");
    let removed = cli(&host, &["suppression", "remove", "ada"]);
    assert!(removed.status.success() && removed.stdout.is_empty(), "{removed:?}");
    let gone = cli(&host, &["suppression", "remove", "ada"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("is not suppressed"), "{gone:?}");
    send(&host, &source, vec![of("ada", "free-1")]).await;
    let job = replay(&host, json!({"destination": destination["id"]})).await;
    until(&host, job["id"].as_str().unwrap(), is_over).await;
    host.drained().await;
    let ids: Vec<_> = partner.bodies().iter().map(|body| body["messageId"].as_str().unwrap().to_owned()).collect();
    assert!(ids.contains(&"free-1".to_owned()) && ids.contains(&"dead-1".to_owned()), "{ids:?}");
    let (answered, long) =
        host.try_api("POST", "/api/v1/suppressions", json!({"user_ids": ["ok", "x".repeat(257)]})).await;
    assert!(answered == 422 && long.to_string().contains("user_ids[1]"), "{long}");
}
