//! Amazon Personalize: PutEvents and PutUsers, whose signatures are computed anew, by other code than the function's.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Change, Headers, Received, Refusal, all_are_taken, body, header, list, need, refuses, text};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DATASET: &str = "arn:aws:personalize:eu-central-1:123456789012:dataset/shop/USERS";

fn refuse(request: &Received) -> Result<(), Refusal> {
    signed(request)?;
    let body = body(request)?;
    match request.path.as_str() {
        "/events" => {
            text(&body["trackingId"], "trackingId", 256)?;
            text(&body["sessionId"], "sessionId", 256)?;
            need(body["userId"].is_null() || body["userId"].is_string(), 400, "userId")?;
            list(&body["eventList"], "eventList", 10)?.iter().try_for_each(event)
        }
        "/users" => {
            need(body["datasetArn"] == DATASET, 404, "datasetArn")?;
            list(&body["users"], "users", 10)?.iter().try_for_each(|user| {
                text(&user["userId"], "userId", 256)?;
                properties(&user["properties"], 24_000)
            })
        }
        other => Err((404, other.to_owned())),
    }
}

fn event(event: &Value) -> Result<(), Refusal> {
    text(&event["eventType"], "eventType", 256)?;
    text(&event["eventId"], "eventId", 256)?;
    need(event["sentAt"].as_u64().is_some_and(|time| time < 100_000_000_000), 400, "sentAt in seconds")?;
    need(event["itemId"].is_null() || text(&event["itemId"], "itemId", 256).is_ok(), 400, "itemId")?;
    need(event["eventValue"].is_null() || event["eventValue"].is_number(), 400, "eventValue")?;
    properties(&event["properties"], 1_024)
}

/// A JSON object as text.
fn properties(value: &Value, most: usize) -> Result<(), Refusal> {
    if value.is_null() {
        return Ok(());
    }
    let parsed: Option<Value> = serde_json::from_str(text(value, "properties", most)?).ok();
    need(parsed.is_some_and(|parsed| parsed.is_object()), 400, "properties are no JSON object")
}

/// A change to what is signed afterwards.
type Unsigned = fn(&mut Value);

/// Signature Version 4: the header says who, when, what for and which fields; the rest follows.
fn signed(request: &Received) -> Result<(), Refusal> {
    let field = |name: &str| {
        let authorization = header(request, "authorization").strip_prefix("AWS4-HMAC-SHA256 ")?;
        authorization.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let part = |name: &str| field(name).ok_or((403, format!("no {name}")));
    let (credential, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
    let time = header(request, "x-amz-date");
    let (key, scope) = credential.split_once('/').unwrap_or_default();
    let wanted = format!("{}/eu-central-1/personalize/aws4_request", time.get(..8).unwrap_or_default());
    need(key == ACCESS_KEY && scope == wanted, 403, scope)?;
    need(["host", "x-amz-date"].iter().all(|name| names.split(';').any(|signed| signed == *name)), 403, names)?;
    let lines: String = names.split(';').map(|name| format!("{name}:{}\n", header(request, name))).collect();
    let hash = |data: &[u8]| hex(&Sha256::digest(data));
    let canonical = format!("POST\n{}\n\n{lines}\n{names}\n{}", request.path, hash(&request.body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
    let first = format!("AWS4{SECRET_KEY}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| hmac(&key, part.as_bytes()));
    need(hex(&hmac(&key, to_sign.as_bytes())) == signature, 403, "InvalidSignatureException")
}

/// HMAC as RFC 2104 writes it down.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = [&block.map(|byte| byte ^ 0x36)[..], message].concat();
    let outer = [&block.map(|byte| byte ^ 0x5c)[..], &Sha256::digest(inner)[..]].concat();
    Sha256::digest(outer).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn personalize_takes_all_that_its_function_sends_and_signs() {
    let settings = |url| {
        json!({"region": "eu-central-1", "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY,
            "tracking_id": "tracker", "users_dataset_arn": DATASET, "endpoint": url,
            "fields": {"list": "categories", "flag": "flag"}, "user_fields": {"age": "age"}})
    };
    let received = all_are_taken("amazon-personalize", settings, 3, refuse).await;
    let bodies: Vec<Value> = received.iter().map(|one| serde_json::from_slice(&one.body).unwrap()).collect();
    let all = |list: &str| {
        bodies.iter().flat_map(|body| body[list].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!((all("eventList").len(), all("users").len()), (104, 2));
    assert!(all("users").contains(&json!({"userId": "user-0", "properties": "{\"age\":36}"})));
    assert!(all("eventList").iter().any(|event| event["properties"] == "{\"categories\":\"a|1\",\"flag\":true}"));
}

#[test]
fn the_stand_in_for_personalize_refuses_what_aws_refuses() {
    let good = || {
        let body = json!({"trackingId": "t", "sessionId": "s", "eventList": [{"eventType": "x", "eventId": "m", "sentAt": 1}]});
        (sign(&body), body)
    };
    let forged: [(u16, Change<'_>); 3] = [
        (403, &|headers, _| drop(headers.remove(0))),
        (403, &|headers, _| headers[2].1 = "20260102T030406Z".to_owned()),
        (403, &|_, body| body["sessionId"] = json!("another")),
    ];
    refuses(refuse, good, "/events", &forged);
    let changes: [(u16, Unsigned); 5] = [
        (400, |body| body["sessionId"] = Value::Null),
        (400, |body| body["eventList"] = json!(vec![body["eventList"][0].clone(); 11])),
        (400, |body| body["eventList"][0]["sentAt"] = json!("2026-01-02T03:04:05Z")),
        (400, |body| body["eventList"][0]["properties"] = json!({"a": 1})),
        (400, |body| body["eventList"][0]["eventType"] = json!("")),
    ];
    for (status, change) in changes {
        let (_, mut body) = good();
        change(&mut body);
        let headers = sign(&body);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(refuse(&super::request("/events", &headers, &body)).unwrap_err().0, status, "{body}");
    }
}

/// The header fields of a request that is signed as AWS describes it.
fn sign(body: &Value) -> Headers {
    let (time, scope) = ("20260102T030405Z", "20260102/eu-central-1/personalize/aws4_request");
    let hash = |text: &str| hex(&Sha256::digest(text.as_bytes()));
    let names = "content-type;host;x-amz-date";
    let lines = format!("content-type:application/json\nhost:x\nx-amz-date:{time}\n");
    let canonical = format!("POST\n/events\n\n{lines}\n{names}\n{}", hash(&body.to_string()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&canonical));
    let key = scope.split('/').fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}");
    let fields = [("authorization", authorization), ("content-type", "application/json".to_owned())];
    fields.into_iter().chain([("x-amz-date", time.to_owned()), ("host", "x".to_owned())]).collect()
}
