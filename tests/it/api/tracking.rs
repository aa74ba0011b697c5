//! The tracking API as stock clients speak it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Answer, Apis, exchange, send, send_chunked};

const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// An event that is valid for every endpoint.
fn event() -> Value {
    json!({"type": "track", "event": "E", "userId": "u", "groupId": "g", "previousId": "p", "name": "N"})
}

fn is_success(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"success":true}"#), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}");
}

fn is_error(answer: &Answer, status: u16, code: &str) -> String {
    let body = answer.json();
    assert_eq!((answer.status, body["code"].as_str()), (status, Some(code)), "{body}");
    assert_eq!((&body["success"], &body["error"]), (&json!(false), &body["message"]), "{body}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    body["message"].as_str().unwrap().to_owned()
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            out.push(if at <= three.len() { char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]) } else { '=' });
        }
    }
    out
}

#[tokio::test]
async fn every_endpoint_takes_every_form_of_key_and_encoding() {
    let apis = Apis::start(&[]).await;
    let (source, key) = apis.source("web").await;
    let batches = ["batch", "import", "b"];
    let singles = ["identify", "track", "page", "screen", "group", "alias", "i", "t", "p", "s", "g", "a"];
    let basic = [format!("Basic {}", base64(&format!("{key}:"))), format!("Basic {}", base64(&key))];
    let mut sent = 0;
    for (endpoint, is_batch) in batches.map(|name| (name, true)).into_iter().chain(singles.map(|name| (name, false))) {
        for (slash, auth) in ["", "/"].into_iter().flat_map(|slash| (0..4).map(move |auth| (slash, auth))) {
            let mut body = if is_batch { json!({"batch": [event()]}) } else { event() };
            let authorization = match auth {
                0 | 1 => Some(basic[auth].clone()),
                2 => Some("Bearer some.oauth.token".to_owned()),
                _ => None,
            };
            if auth >= 2 {
                body["writeKey"] = json!(key);
            }
            let (path, plain) = (format!("/v1/{endpoint}{slash}"), body.to_string());
            let mut headers = vec![("x-retry-count", "3")];
            headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
            let what = format!("{path}, auth {auth}");
            let mut json = headers.clone();
            json.push(JSON);
            is_success(&send(apis.public, "POST", &path, &json, plain.as_bytes()).await, &what);
            let mut text = headers.clone();
            text.extend([("content-type", "text/plain"), ("content-encoding", "gzip")]);
            is_success(&send_chunked(apis.public, "POST", &path, &text, &gzip(plain.as_bytes())).await, &what);
            sent += 2;
        }
    }
    assert_eq!(apis.metric("tidegate_events_accepted_total").await, sent);
    assert_eq!(apis.rejected(&source).await, json!({}));
}

#[tokio::test]
async fn bad_bodies_get_400_with_a_reason_and_store_nothing() {
    let apis = Apis::start(&[]).await;
    let (_, key) = apis.source("web").await;
    let post =
        async |headers: &[(&str, &str)], body: &[u8]| send(apis.public, "POST", "/v1/batch", headers, body).await;
    is_error(&post(&[JSON], b"{\"batch\":").await, 400, "invalid_json");
    is_error(&post(&[JSON], b"").await, 400, "invalid_json");
    is_error(&post(&[JSON], &[b'['; 300_000]).await, 400, "invalid_json");
    is_error(&post(&[JSON], b"[]").await, 400, "invalid_body");
    is_error(&post(&[("content-encoding", "gzip")], b"{\"batch\":[]}").await, 400, "invalid_gzip");
    let message = is_error(&post(&[("content-encoding", "br")], b"x").await, 400, "unsupported_content_encoding");
    assert!(message.contains("br"), "{message}");
    // Ten megabytes, announced and in chunks; a bomb of fifty; and one that was not even sent.
    let large = json!({"writeKey": key, "batch": [], "x": "x".repeat(10 << 20)}).to_string();
    let message = is_error(&post(&[JSON], large.as_bytes()).await, 400, "body_too_large");
    assert!(message.contains("524288") && message.contains("ingest.body_bytes"), "{message}");
    is_error(&send_chunked(apis.public, "POST", "/v1/batch", &[], large.as_bytes()).await, 400, "body_too_large");
    let bomb = gzip(&vec![b' '; 50 << 20]);
    let zip = [("content-encoding", "gzip")];
    is_error(&send_chunked(apis.public, "POST", "/v1/batch", &zip, &bomb).await, 400, "body_too_large");
    let announced = b"POST /v1/batch HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n";
    is_error(&exchange(apis.public, announced).await, 400, "body_too_large");
    assert_eq!(apis.metric("tidegate_events_accepted_total").await, 0);
    // A body of exactly the limit passes.
    let empty = json!({"writeKey": key, "batch": [], "x": ""}).to_string();
    let full = empty.replace("\"x\":\"\"", &format!("\"x\":\"{}\"", "x".repeat(524_288 - empty.len())));
    is_success(&post(&[JSON], full.as_bytes()).await, "a full body");
}

#[tokio::test]
async fn keys_that_are_missing_or_unknown_are_401_and_name_the_key() {
    let apis = Apis::start(&[]).await;
    let body = json!({"batch": [event()]}).to_string();
    let missing = send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await;
    is_error(&missing, 401, "missing_write_key");
    let body = json!({"writeKey": "wk_nobody", "batch": [event()]}).to_string();
    let unknown = send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await;
    let message = is_error(&unknown, 401, "unknown_write_key");
    assert!(message.contains("`wk_nobody`"), "{message}");
}

#[tokio::test]
async fn bad_events_over_large_batches_and_switched_off_sources_get_200_and_are_counted() {
    let apis = Apis::start(&[]).await;
    let (source, key) = apis.source("web").await;
    let batch = async |events: Value| {
        let body = json!({"writeKey": key, "batch": events}).to_string();
        is_success(&send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await, "200 all the same");
    };
    batch(json!([event(), {"type": "track", "userId": "u"}, "no event"])).await;
    batch(json!([])).await;
    batch(Value::from(vec![json!({"type": "track", "event": "E", "userId": "u"}); 2501])).await;
    assert_eq!(apis.metric("tidegate_events_accepted_total").await, 1);
    let off = apis.control("PATCH", &format!("/api/v1/sources/{source}"), Some(&json!({"enabled": false}))).await;
    assert_eq!(off.status, 200);
    batch(json!([event()])).await;
    assert_eq!(apis.metric("tidegate_events_accepted_total").await, 1);
    let expected = json!({"batch_too_large": 2501, "bad_request": 1, "empty_batch": 1, "event_not_defined": 1,
        "source_disabled": 1});
    assert_eq!(apis.rejected(&source).await, expected);
    let metric = format!("tidegate_events_rejected_total{{source=\"{source}\",code=\"batch_too_large\"}}");
    assert_eq!(apis.metric(&metric).await, 2501);
}

#[tokio::test]
async fn an_event_that_is_sent_twice_is_stored_once() {
    let apis = Apis::start(&[]).await;
    let ((_, one), (_, other)) = (apis.source("one").await, apis.source("other").await);
    let mut twice = event();
    twice["messageId"] = json!("m-1");
    for key in [&one, &one, &other] {
        let body = json!({"writeKey": key, "batch": [twice, twice]}).to_string();
        is_success(&send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await, "taken or known");
    }
    assert_eq!(apis.metric("tidegate_events_accepted_total").await, 2, "once for each source");
    assert_eq!(apis.metric("tidegate_events_duplicate_total").await, 4);
}

#[tokio::test]
async fn a_source_over_its_quota_is_told_when_to_come_back() {
    let quota = [("TIDEGATE__INGEST__SOURCE_REQUESTS_PER_S", "1"), ("TIDEGATE__INGEST__SOURCE_BURST", "1")];
    let apis = Apis::start(&quota).await;
    let (_, key) = apis.source("web").await;
    let body = json!({"writeKey": key, "batch": [event()]}).to_string();
    let post = || send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes());
    let mut answers = vec![post().await];
    // A bucket of one that fills once a second cannot take all of these, however slow the machine is at most of them.
    while answers.last().is_some_and(|answer| answer.status == 200) && answers.len() < 100 {
        answers.push(post().await);
    }
    let over = answers.last().unwrap();
    is_error(over, 429, "rate_limited");
    assert_eq!((over.header("retry-after"), over.header("x-ratelimit-reset")), (Some("1"), Some("1")));
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_503_with_retry_after() {
    let apis = Apis::start(&[]).await;
    let (_, key) = apis.source("web").await;
    // The routes are in memory from here on.
    let body = json!({"writeKey": key, "batch": [event()]}).to_string();
    is_success(&send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await, "before");
    assert_eq!(send(apis.admin, "GET", "/readyz", &[], b"").await.status, 200);
    apis.store.close().await;
    let after = send(apis.public, "POST", "/v1/batch", &[JSON], body.as_bytes()).await;
    is_error(&after, 503, "overloaded");
    assert_eq!(after.header("retry-after"), Some("1"));
    assert_eq!(send(apis.admin, "GET", "/readyz", &[], b"").await.status, 503);
    assert_eq!(send(apis.admin, "GET", "/livez", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_browser_may_ask_first_and_learns_what_it_may_send() {
    let apis = Apis::start(&[]).await;
    for path in ["/v1/t", "/v1/batch/", "/v1/m", "/v1/projects/k/settings", "/v1/unknown"] {
        let asked = [("origin", "https://shop.test"), ("access-control-request-method", "POST")];
        let answer = send(apis.public, "OPTIONS", path, &asked, b"").await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let headers = "content-type, authorization, x-retry-count, content-encoding";
        assert_eq!(answer.header("access-control-allow-headers"), Some(headers));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn client_metrics_are_discarded_and_settings_are_given() {
    let apis = Apis::start(&[]).await;
    let (_, key) = apis.source("web").await;
    let text = ("content-type", "text/plain");
    is_success(&send(apis.public, "POST", "/v1/m", &[text], b"{\"series\":[]}").await, "metrics");
    assert_eq!(apis.metric("tidegate_client_metrics_total").await, 1);
    for slash in ["", "/"] {
        let answer = send(apis.public, "GET", &format!("/v1/projects/{key}/settings{slash}"), &[], b"").await;
        let expected = json!({"integrations": {"Segment.io": {"apiKey": key, "apiHost": "host.test/v1"}},
            "plan": {"track": {}, "identify": {}, "group": {}}});
        assert_eq!((answer.status, answer.json()), (200, expected));
    }
    let unknown = send(apis.public, "GET", "/v1/projects/wk_nobody/settings", &[], b"").await;
    is_error(&unknown, 404, "unknown_write_key");
    is_error(&send(apis.public, "POST", "/v1/paint", &[], b"{}").await, 404, "not_found");
    is_error(&send(apis.public, "POST", "/else", &[], b"{}").await, 404, "not_found");
    is_error(&send(apis.public, "GET", "/v1/batch", &[], b"").await, 405, "method_not_allowed");
}
