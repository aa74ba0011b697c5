//! Secrets from outside: a function holds handles, the partner gets values, and nothing that people see has either.

use serde_json::{Value, json};

use crate::host::{Host, function};
use crate::http::{self, Partner};

const VALUE: &str = "canary/7f3a \"9+";

const MANIFEST: &str = r#"name = "keeper"
version = "1"
events = ["track"]
[egress]
allow = ["{settings.own}", "{settings.other}"]
[settings.own]
type = "string"
[settings.other]
type = "string"
[settings.key]
type = "string"
secret = true
bind = [
    { origin = "{settings.own}", place = "bearer" },
    { origin = "{settings.own}", place = "basic-user" },
    { origin = "{settings.own}", place = "header", name = "x-key" },
    { origin = "{settings.own}", place = "query", name = "key" },
    { origin = "{settings.own}", place = "path" },
    { origin = "{settings.own}", place = "body" },
    { origin = "{settings.own}", place = "sign-hmac-sha256" },
]
[settings.shown]
type = "string"
secret = true
reveal = true
"#;

/// Puts the key where the event says, logs what it holds and gets back, and fails, so that every attempt is recorded.
const HANDLER: &str = r#"
async function onTrack(event, settings) {
  const { key, own, other, shown } = settings;
  const send = (url, options) => fetch(url, { method: 'POST', ...options });
  const headers = {
    bearer: { authorization: `Bearer ${key}` },
    basic: { authorization: `Basic ${btoa(`${key}:`)}` },
    header: { 'x-key': `Key ${key}` },
    wrong: { 'x-wrong': key },
  }[event.event] || {};
  const url = {
    query: `${own}/?a=1&key=${key}`,
    path: `${own}/in/${key}/x`,
    elsewhere: `${other}/${key}`,
  }[event.event] || own;
  const body = event.event === 'json' ? JSON.stringify({ deep: [{ key }] })
    : event.event === 'form' ? new URLSearchParams({ key }) : undefined;
  console.log(`holds ${key} and ${shown} ${btoa(shown)}`);
  const response = await send(url, { headers, body });
  console.log(`got ${response.headers.get('x-echo')}`);
  throw new ValidationError(`done with ${key} and ${shown}`);
}
"#;

/// A host with the function, a partner that repeats what it was sent, and one that must not be asked.
async fn start(data: &std::path::Path) -> (Host, Value, Partner, Partner) {
    let own = Partner::answering(|request| {
        let all =
            format!("{} {:?} {:?}", request.path, request.headers.get("authorization"), request.headers.get("x-key"));
        (200, vec![("x-echo", all.replace(|c: char| !c.is_ascii() || c.is_ascii_control(), "?"))])
    })
    .await;
    let other = Partner::start().await;
    let open = format!("[\"{}\", \"{}\"]", own.address, other.address);
    let host = Host::start_with(data, own.address, None, &[("TIDEGATE__EGRESS__ALLOW_ADDRESSES", &open)]);
    host.push_source(HANDLER, MANIFEST).await;
    let settings = json!({"key": VALUE, "shown": "shown-7f3a", "own": own.url(), "other": other.url()});
    let (source, destination) = host.feed("keeper", settings).await;
    assert_eq!(destination["reveals"], json!(["shown"]), "customers are shown what is revealed: {destination}");
    (host, source, own, other)
}

/// Sends one event and gives its last attempt.
async fn attempt(host: &Host, source: &Value, event: &str) -> Value {
    let body =
        json!({"writeKey": source["write_key"], "type": "track", "event": event, "userId": "u", "messageId": event});
    let body = body.to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/track", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    host.drained().await;
    let all = host.api("GET", "/api/v1/deliveries", Value::Null).await;
    let last = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["message_id"] == event)
        .unwrap_or_else(|| panic!("{all}"));
    let path = format!("/api/v1/deliveries/{}/attempts", last["id"].as_str().unwrap());
    host.api("GET", &path, Value::Null).await["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_get_values_functions_hold_handles_and_people_see_names() {
    let data = tempfile::tempdir().unwrap();
    let (host, source, own, other) = start(data.path()).await;
    let encoded = "canary%2F7f3a%20%229%2B";
    for (event, sent, shown) in [
        ("bearer", format!("Bearer {VALUE}"), "Bearer {secret.key}"),
        ("basic", "Basic Y2FuYXJ5LzdmM2EgIjkrOg==".to_owned(), "Basic {secret.key}:"),
        ("header", format!("Key {VALUE}"), "Key {secret.key}"),
        ("query", format!("/?a=1&key={encoded}"), "/?a=1&key={secret.key}"),
        ("path", "/in/canary/7f3a%20%229+/x".to_owned(), "/in/{secret.key}/x"),
        ("json", json!({"deep": [{"key": VALUE}]}).to_string(), "{\"deep\":[{\"key\":\"{secret.key}\"}]}"),
        ("form", format!("key={encoded}"), "key={secret.key}"),
    ] {
        let attempt = attempt(&host, &source, event).await;
        assert_eq!(attempt["outcome"]["message"], "done with {secret.key} and {secret.shown}", "{attempt}");
        let received = own.received.lock().unwrap().last().unwrap().clone();
        let header = |name: &str| received.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let all = [
            received.path.clone(),
            header("authorization"),
            header("x-key"),
            String::from_utf8(received.body.to_vec()).unwrap(),
        ];
        assert!(all.contains(&sent), "{event}: {all:?}");
        let told = attempt.to_string();
        assert!(told.contains(json!(shown).to_string().trim_matches('"')), "{event}: {told}");
        for leak in ["7f3a", "N2YzYQ", "tgs_", "37663361"] {
            assert!(!told.contains(leak), "{event} leaks `{leak}`: {told}");
        }
        let log = attempt["report"]["log"][0]["text"].as_str().unwrap();
        // The last letter of base64 depends on what follows.
        assert!(log.starts_with("holds {secret.key} and {secret.shown} {secret.shown}"), "{attempt}");
        if ["bearer", "header", "query", "path"].contains(&event) {
            assert!(attempt["report"]["log"][1]["text"].as_str().unwrap().contains("{secret.key}"), "{attempt}");
        }
    }
    assert!(other.received.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_for_another_origin_or_place_is_refused_before_anything_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let (host, source, own, other) = start(data.path()).await;
    for (event, expected) in [
        ("elsewhere", "the secret `key` may not go to `http://127.0.0.1"),
        ("wrong", "the secret `key` may not stand in the header `x-wrong`"),
    ] {
        let attempt = attempt(&host, &source, event).await;
        assert_eq!(attempt["outcome"]["code"], "egress_denied", "{attempt}");
        assert!(attempt["report"]["requests"][0]["error"].as_str().unwrap().contains(expected), "{attempt}");
    }
    assert!(own.received.lock().unwrap().is_empty() && other.received.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_holds_for_what_is_queued_already() {
    let data = tempfile::tempdir().unwrap();
    let partner =
        Partner::answering(|request| if request.path.contains("new") { (200, vec![]) } else { (503, vec![]) }).await;
    let quick = [("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "10"), ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "20")];
    let host = Host::start_with(data.path(), partner.address, None, &quick);
    let component = std::fs::read(function("slack")).unwrap();
    let settings = json!({"webhook_path": "/services/old", "base_url": partner.url()});
    let (source, destination) = host.wire(&component, "slack", settings).await;
    let body = json!({"writeKey": source["write_key"], "type": "track", "event": "E", "userId": "u"}).to_string();
    http::send(host.listen, "POST", "/v1/track", &[("content-type", "application/json")], body.into_bytes()).await;
    while partner.received.lock().unwrap().is_empty() {
        host.ledger().await;
    }
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    let change = json!({"settings": {"webhook_path": "/services/new", "base_url": partner.url()}});
    host.api("PATCH", &path, change).await;
    assert_eq!(host.drained().await["delivered"], 1);
    let received = partner.received.lock().unwrap();
    assert_eq!((received[0].path.as_str(), received.last().unwrap().path.as_str()), ("/services/old", "/services/new"));
}

/// Signs with a handle in both ways that JavaScript has, and in one that there is not.
const SIGNER: &str = r#"
async function onTrack(event, settings) {
  const { key, unbound, own } = settings;
  const node = crypto.createHmac('sha256', key).update('a ').update('message').digest('hex');
  const raw = await crypto.subtle.importKey('raw', new TextEncoder().encode(key), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const web = Buffer.from(await crypto.subtle.sign('HMAC', raw, new TextEncoder().encode('a message'))).toString('hex');
  const plain = crypto.createHmac('sha256', 'no handle').update('a message').digest('hex');
  const refused = [['sha256', unbound], ['sha1', key], ['sha256', 'tgs_00000000000000000000000000000000']].map(([hash, key]) => {
    try {
      return crypto.createHmac(hash, key).update('').digest('hex');
    } catch (error) {
      return error.message;
    }
  });
  await fetch(own, { method: 'POST', body: JSON.stringify({ node, web, plain, refused }) });
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_function_signs_with_a_secret_that_it_does_not_have() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let manifest = r#"
name = "signer"
version = "1"
events = ["track"]
[egress]
allow = ["{settings.own}"]
[settings]
own = { type = "string" }
key = { type = "string", secret = true, bind = [{ origin = "{settings.own}", place = "sign-hmac-sha256" }] }
unbound = { type = "string", secret = true, bind = [{ origin = "{settings.own}", place = "bearer" }] }
"#;
    host.push_source(SIGNER, manifest).await;
    let settings = json!({"own": partner.url(), "key": "a signing key", "unbound": "another"});
    let (source, _) = host.feed("signer", settings).await;
    let body = json!({"writeKey": source["write_key"], "type": "track", "event": "E", "userId": "u"}).to_string();
    http::send(host.listen, "POST", "/v1/track", &[("content-type", "application/json")], body.into_bytes()).await;
    let ledger = host.drained().await;
    assert_eq!(ledger["delivered"], 1, "{ledger}");
    let sent = partner.bodies().remove(0);
    // printf 'a message' | openssl dgst -sha256 -hmac 'a signing key'
    let code = "2d02197d31b43aed077b96085636ed01cb64645a219ebd4f21c6b3230da7f889";
    assert_eq!((&sent["node"], &sent["web"]), (&json!(code), &json!(code)), "{sent}");
    assert_eq!(sent["plain"], "f0b750eb4b7496d32f76f6aac31ad53318faf56f6b37aeb77901f9e2722a3a39");
    for (refused, expected) in sent["refused"].as_array().unwrap().iter().zip([
        "add the place `sign-hmac-sha256` to `bind` below `[settings.unbound]`",
        "signs with sha256, not with sha1",
        "not the handle of a secret setting",
    ]) {
        assert!(refused.as_str().unwrap().contains(expected), "{refused}");
    }
}
