//! The control API: the whole job by hand, who may, and what wrong calls are told.

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;

use super::{Answer, Apis, send};

const WAT: &str = include_str!("../../guests/delivered.wat");

fn component(version: &str) -> Vec<u8> {
    let manifest = format!(
        "name = \"mailer\"\nversion = \"{version}\"\nevents = [\"track\"]\n\
         [settings.key]\ntype = \"string\"\nsecret = true\nrequired = true\n[settings.room]\ntype = \"string\"\n"
    );
    component_from_core(WAT.as_bytes(), &manifest).unwrap()
}

async fn upload(apis: &Apis, kind: &str, body: &[u8]) -> Answer {
    let token = format!("Bearer {}", apis.token);
    let headers = [("authorization", token.as_str()), ("content-type", kind)];
    send(apis.admin, "POST", "/api/v1/functions", &headers, body).await
}

fn is_problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
    assert!(problem["detail"].is_string() && problem["title"].is_string(), "{problem}");
    problem
}

#[tokio::test]
async fn the_whole_job_can_be_done_by_hand() {
    let apis = Apis::start(&[]).await;
    let uploaded = upload(&apis, "application/wasm", &component("1.0.0")).await;
    assert_eq!(uploaded.status, 201, "{}", uploaded.text());
    let first = uploaded.json();
    assert_eq!((&first["function"]["name"], &first["version"]["version"]), (&json!("mailer"), &json!("1.0.0")));
    let (source, key) = apis.source("web").await;
    let settings = json!({"key": "s3cret", "room": "a"});
    let destination = json!({"name": "Mail", "function": "mailer", "settings": settings});
    let destination = apis.make("/api/v1/destinations", &destination).await;
    assert_eq!(destination["settings"], json!({"key": "••••", "room": "a"}));
    let connection = json!({"source": source, "destination": destination["id"]});
    let connection = apis.make("/api/v1/connections", &connection).await;
    assert_eq!(connection["enabled"], json!(true));

    let events = json!([
        {"type": "track", "event": "E", "userId": "u", "messageId": "m1"},
        {"type": "track", "event": "E", "userId": "u", "messageId": "m2", "integrations": {"Mail": false}},
        {"type": "identify", "userId": "u", "messageId": "m3"},
    ]);
    let body = json!({"writeKey": key, "batch": events}).to_string();
    let answer = send(apis.public, "POST", "/v1/batch", &[], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({"accepted": 3, "delivered": 0, "filtered": 2, "dead": 0, "pending": 1});
    for query in ["", "?recount=true", &format!("?source={source}")] {
        assert_eq!(apis.control("GET", &format!("/api/v1/ledger{query}"), None).await.json(), expected, "{query}");
    }
    let list = apis.control("GET", "/api/v1/deliveries", None).await.json();
    let mut found: Vec<_> = list["items"].as_array().unwrap().iter().collect();
    found.sort_by_key(|delivery| delivery["message_id"].to_string());
    let reasons: Vec<_> = found.iter().map(|delivery| (&delivery["state"], &delivery["filter_reason"])).collect();
    let (filtered, pending) = (json!("filtered"), json!("pending"));
    let (off, kind) = (json!("integrations"), json!("event_type"));
    assert_eq!(reasons, [(&pending, &Value::Null), (&filtered, &off), (&filtered, &kind)]);
    let path = format!("/api/v1/deliveries/{}", found[0]["id"].as_str().unwrap());
    let shown = apis.control("GET", &path, None).await.json();
    assert_eq!(shown["event"]["messageId"], json!("m1"));
    assert_eq!(apis.control("GET", &format!("{path}/attempts"), None).await.json(), json!({"items": []}));
    is_problem(&apis.control("POST", &format!("{path}/retry"), None).await, 409, "not_now");
}

#[tokio::test]
async fn versions_are_uploaded_once_promoted_and_rolled_back() {
    let apis = Apis::start(&[]).await;
    let one = upload(&apis, "application/wasm", &component("1")).await.json();
    let form = [
        b"--edge\r\ncontent-disposition: form-data; name=\"component\"; filename=\"f.wasm\"\r\n\r\n".as_slice(),
        &component("2"),
        b"\r\n--edge--\r\n",
    ]
    .concat();
    let two = upload(&apis, "multipart/form-data; boundary=edge", &form).await;
    assert_eq!(two.status, 201, "{}", two.text());
    let two = two.json();
    let again = upload(&apis, "application/wasm", &component("2")).await.json();
    assert_eq!(again["version"]["id"], two["version"]["id"]);
    assert_eq!(two["function"]["current"], one["version"]["id"], "a new version is not run by itself");
    let promoted = apis.control("POST", "/api/v1/functions/mailer/versions/2/promote", None).await.json();
    assert_eq!(promoted["current"], two["version"]["id"]);
    let back = apis.control("POST", "/api/v1/functions/mailer/rollback", None).await.json();
    assert_eq!(back["current"], one["version"]["id"]);
    let versions = apis.control("GET", "/api/v1/functions/mailer/versions", None).await.json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_the_reason() {
    let small = [("TIDEGATE__CONTROL__UPLOAD_BYTES", "20000")];
    let apis = Apis::start(&small).await;
    let wasm = "application/wasm";
    let core = b"\0asm\x01\0\0\0";
    for bytes in [core.as_slice(), b"\x7fELF\x02\x01\x01", b"", b"\x1f\x8b\x08\0", &component("1")[..200]] {
        is_problem(&upload(&apis, wasm, bytes).await, 422, "invalid_component");
    }
    let large = is_problem(&upload(&apis, wasm, &[0; 20_001]).await, 413, "body_too_large");
    assert!(large["detail"].as_str().unwrap().contains("20000"), "{large}");
    is_problem(&upload(&apis, "text/plain", core).await, 415, "unsupported_media_type");
    is_problem(&upload(&apis, "multipart/form-data; boundary=x", b"--x--\r\n").await, 400, "invalid_form");
    let token = format!("Bearer {}", apis.token);
    let zipped = [("authorization", token.as_str()), ("content-type", wasm), ("content-encoding", "gzip")];
    let zipped = send(apis.admin, "POST", "/api/v1/functions", &zipped, core).await;
    is_problem(&zipped, 415, "unsupported_content_encoding");
}

#[tokio::test]
async fn settings_are_checked_and_secrets_never_leave() {
    let apis = Apis::start(&[]).await;
    upload(&apis, "application/wasm", &component("1")).await;
    let make = async |settings: Value| {
        let body = json!({"name": "Mail", "function": "mailer", "settings": settings});
        apis.control("POST", "/api/v1/destinations", Some(&body)).await
    };
    let wrong = is_problem(&make(json!({"room": 7, "rome": "x"})).await, 422, "invalid_settings");
    let errors = wrong["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect::<String>();
    for part in ["`room`", "`7`", "`rome`", "`key`"] {
        assert!(errors.contains(part), "{part} in {wrong}");
    }
    is_problem(&make(json!({"key": "••••"})).await, 422, "invalid_settings");
    let made = make(json!({"key": "s3cret-value", "room": "a"})).await;
    let path = format!("/api/v1/destinations/{}", made.json()["id"].as_str().unwrap());
    let change = json!({"settings": {"key": "••••", "room": "b"}});
    let changed = apis.control("PATCH", &path, Some(&change)).await;
    assert_eq!(changed.json()["settings"], json!({"key": "••••", "room": "b"}));
    let wrong = json!({"settings": {"key": 12345678}});
    is_problem(&apis.control("PATCH", &path, Some(&wrong)).await, 422, "invalid_settings");
    for answer in [made, changed, apis.control("GET", "/api/v1/destinations", None).await] {
        assert!(!answer.text().contains("s3cret"), "{}", answer.text());
    }
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let actor = apis.store.authenticate(&apis.token).unwrap();
    let stored = apis.store.get_destination(&actor, id).await.unwrap();
    assert_eq!(stored.settings, json!({"room": "b"}).as_object().unwrap().clone(), "no secret is among them");
    let secrets = apis.store.open_secrets(&stored).unwrap();
    assert_eq!(secrets["key"].expose(), "s3cret-value", "the mask stood for the old secret");
}

#[tokio::test]
async fn wrong_calls_are_told_what_is_wrong() {
    let apis = Apis::start(&[]).await;
    let post = async |path: &str, body: Value| apis.control("POST", path, Some(&body)).await;
    let unknown = is_problem(&post("/api/v1/sources", json!({"name": "a", "colour": 1})).await, 400, "invalid_field");
    assert!(unknown["detail"].as_str().unwrap().contains("`colour`"), "{unknown}");
    is_problem(&post("/api/v1/sources", json!({"name": ""})).await, 422, "invalid_name");
    apis.source("a").await;
    let taken = is_problem(&post("/api/v1/sources", json!({"name": "a"})).await, 409, "name_taken");
    assert!(taken["detail"].as_str().unwrap().contains("`a`"), "{taken}");
    is_problem(&post("/api/v1/destinations", json!({"name": "d", "function": "nobody"})).await, 404, "not_found");
    let ends = json!({"source": "src_1", "destination": "dst_1"});
    is_problem(&post("/api/v1/connections", ends).await, 400, "invalid_field");
    for path in ["/api/v1/sources/src_x", "/api/v1/deliveries/nothing", "/api/v1/else", "/"] {
        is_problem(&apis.control("GET", path, None).await, 404, "not_found");
    }
    is_problem(&apis.control("GET", "/api/v1/sources?limt=5", None).await, 400, "invalid_query");
    is_problem(&apis.control("GET", "/api/v1/sources?after=zzz", None).await, 400, "bad_cursor");
    is_problem(&apis.control("PUT", "/api/v1/sources", None).await, 405, "method_not_allowed");
    let large = json!({"name": "x".repeat(2 << 20)});
    is_problem(&post("/api/v1/sources", large).await, 413, "body_too_large");
    let token = format!("Bearer {}", apis.token);
    let text = [("authorization", token.as_str()), ("content-type", "text/plain")];
    let text = send(apis.admin, "POST", "/api/v1/sources", &text, b"{\"name\":\"b\"}").await;
    is_problem(&text, 415, "unsupported_media_type");
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let apis = Apis::start(&[]).await;
    for name in ["a", "b", "c"] {
        apis.source(name).await;
    }
    let (mut names, mut path) = (Vec::new(), "/api/v1/sources?limit=2".to_owned());
    loop {
        let page = apis.control("GET", &path, None).await.json();
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/sources?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn no_described_call_works_without_a_token_and_the_description_needs_none() {
    let apis = Apis::start(&[("TIDEGATE__CONTROL__WRONG_KEYS", "10000")]).await;
    let api = send(apis.admin, "GET", "/openapi.json", &[], b"").await.json();
    let mut calls = 0;
    for (path, operations) in api["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()) {
            let path = path.replace(['{', '}'], "");
            if !path.starts_with("/api/") {
                assert_eq!(send(apis.admin, &method, &path, &[], b"").await.status, 200, "{method} {path}");
                continue;
            }
            if operations[method.to_ascii_lowercase()].get("security").is_none() {
                assert_eq!(path, "/api/v1/sessions", "only a link is opened without a key");
                continue;
            }
            let nobody = send(apis.admin, &method, &path, &[], b"").await;
            is_problem(&nobody, 401, "missing_token");
            assert!(nobody.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
            let stranger = [("authorization", "Bearer tg_stranger")];
            is_problem(&send(apis.admin, &method, &path, &stranger, b"").await, 401, "unknown_token");
            calls += 1;
        }
    }
    assert!(calls >= 24, "{calls} calls are described");
}
