//! What holds for all calls of the control API: pages for problems, tags, calls that take place once, rates, no CORS.

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Answer, Apis, send};

async fn call(apis: &Apis, more: &[(&str, &str)], method: &str, path: &str, body: &Value) -> Answer {
    super::tenancy::call(apis, &apis.token, more, method, path, body).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_problem_leads_to_the_page_of_its_code() {
    let apis = Apis::start(&[]).await;
    let problem = apis.control("GET", "/api/v1/sources/src_x", None).await.json();
    assert_eq!(problem["type"], "/problems/not_found");
    let page = send(apis.admin, "GET", problem["type"].as_str().unwrap(), &[], b"").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("not_found"), "{}", page.text());
    let list = send(apis.admin, "GET", "/problems", &[], b"").await.text();
    assert!(list.contains("/problems/not_found") && list.contains("/problems/precondition_failed"), "{list}");
    assert_eq!(code(&send(apis.admin, "GET", "/problems/nothing", &[], b"").await), (404, "not_found".to_owned()));
    for code in codes_in_the_source() {
        assert!(list.contains(&format!("/problems/{code}\"")), "`{code}` has no page: add it to `api/problems.rs`");
    }
}

/// Every code that a handler names: the texts in snake case that stand alone in a call beside a status, or in a short form.
fn codes_in_the_source() -> Vec<String> {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src/api")];
    let mut codes = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
            let text = text.replace("( ", "(");
            for before in [
                "Problem::new(",
                "Problem::bad_request(",
                "Problem::unprocessable(",
                "Problem::unauthorized(",
                "Problem::too_many(",
            ] {
                for (at, _) in text.match_indices(before) {
                    let call = &text[at + before.len()..];
                    let call =
                        if before == "Problem::new(" { call.split_once(", ").unwrap_or_default().1 } else { call };
                    let code = call.strip_prefix('"').and_then(|rest| rest.split('"').next());
                    codes.extend(code.map(str::to_owned));
                }
            }
        }
    }
    assert!(codes.len() > 20, "{codes:?}");
    codes
}

#[tokio::test]
async fn nobody_changes_what_somebody_else_has_changed() {
    let apis = Apis::start(&[]).await;
    let (source, write_key) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    let read = apis.control("GET", &path, None).await;
    let tag = read.header("etag").unwrap().to_owned();
    let not_modified = call(&apis, &[("if-none-match", &tag)], "GET", &path, &Value::Null).await;
    assert_eq!((not_modified.status, not_modified.body.len()), (304, 0));
    // A counter that moves by itself is no change.
    let nothing = json!({"writeKey": write_key, "batch": [{"type": "nothing"}]}).to_string();
    send(apis.public, "POST", "/v1/batch", &[], nothing.as_bytes()).await;
    let changed = call(&apis, &[("if-match", &tag)], "PATCH", &path, &json!({"name": "one"})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let late = call(&apis, &[("if-match", &tag)], "PATCH", &path, &json!({"name": "two"})).await;
    assert_eq!(code(&late), (412, "precondition_failed".to_owned()));
    assert_eq!(code(&call(&apis, &[("if-match", &tag)], "DELETE", &path, &Value::Null).await).0, 412);
    let read = apis.control("GET", &path, None).await;
    assert_eq!((&read.json()["name"], read.header("etag")), (&json!("one"), changed.header("etag")));
    let tag = changed.header("etag").unwrap().to_owned();
    assert_eq!(call(&apis, &[("if-match", &tag)], "DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(call(&apis, &[("if-match", "*")], "PATCH", &path, &json!({})).await.status, 404);
}

#[tokio::test]
async fn a_change_that_arrives_slowly_holds_up_no_other_one() {
    // Longer than any answer is waited for here.
    let apis = Apis::start(&[("TIDEGATE__HTTP__BODY_TIMEOUT_S", "3600")]).await;
    let (slow, _) = apis.source("slow").await;
    let (quick, _) = apis.source("quick").await;
    let tag = apis.control("GET", &format!("/api/v1/sources/{quick}"), None).await.header("etag").unwrap().to_owned();
    let tag = [("if-match", tag.as_str())];
    let slow = format!("/api/v1/sources/{slow}");
    let mut held = Vec::new();
    for more in ["", "if-match: *\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(apis.admin).await.unwrap();
        let begin = format!(
            "PATCH {slow} HTTP/1.1\r\nhost: host.test\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{more}\
             content-length: 100\r\nexpect: 100-continue\r\n\r\n",
            apis.token
        );
        stream.write_all(begin.as_bytes()).await.unwrap();
        // Once the host asks for the body, somebody waits for it.
        let mut asked = [0; 12];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100");
        held.push(stream);
    }
    let path = format!("/api/v1/sources/{quick}");
    let changed = call(&apis, &tag, "PATCH", &path, &json!({"name": "quicker"})).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let same = call(&apis, &[("if-match", "*")], "PATCH", &slow, &json!({"name": "slower"})).await;
    assert_eq!(same.status, 200, "not even of the same thing: {}", same.text());
}

#[tokio::test]
async fn of_changes_that_name_the_same_tag_one_is_made() {
    let apis = Apis::start(&[]).await;
    let (source, _) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    let tag = apis.control("GET", &path, None).await.header("etag").unwrap().to_owned();
    let (to, bearer, mut all) = (apis.admin, format!("Bearer {}", apis.token), tokio::task::JoinSet::new());
    for number in 0..8 {
        let (path, bearer, tag, body) =
            (path.clone(), bearer.clone(), tag.clone(), json!({"name": format!("n{number}")}));
        all.spawn(async move {
            let headers =
                [("authorization", bearer.as_str()), ("content-type", "application/json"), ("if-match", tag.as_str())];
            send(to, "PATCH", &path, &headers, body.to_string().as_bytes()).await.status
        });
    }
    let mut statuses = all.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn a_change_that_looks_first_may_be_compressed_and_is_bounded() {
    let apis = Apis::start(&[("TIDEGATE__CONTROL__BODY_BYTES", "1024")]).await;
    let (source, _) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut zipped, br#"{"name": "unzipped"}"#).unwrap();
    let bearer = format!("Bearer {}", apis.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("if-match", "*"),
    ];
    let changed = send(apis.admin, "PATCH", &path, &headers, &zipped.finish().unwrap()).await;
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("unzipped")));
    let long = call(&apis, &[("if-match", "*")], "PATCH", &path, &json!({"name": "x".repeat(1_100)})).await;
    assert_eq!(code(&long), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn a_call_with_an_idempotency_key_takes_place_once() {
    let apis = Apis::start(&[]).await;
    let make = async |name: &str, key: &str| {
        call(&apis, &[("idempotency-key", key)], "POST", "/api/v1/sources", &json!({ "name": name })).await
    };
    let (first, again) = (make("web", "k1").await, make("web", "k1").await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(again.header("content-type"), Some("application/json"));
    assert_eq!(code(&make("other", "k1").await), (409, "idempotency_key_reused".to_owned()));
    assert_eq!(code(&make("web", "k2").await), (409, "name_taken".to_owned()), "another key is another call");
    let refusal = make("web", "k2").await;
    assert_eq!(code(&refusal), (409, "name_taken".to_owned()));
    assert_eq!(refusal.header("content-type"), Some("application/problem+json"), "a refusal is an answer too");
    assert_eq!(code(&make("x", "").await), (400, "invalid_header".to_owned()));
    let list = apis.control("GET", "/api/v1/sources", None).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    // An operator's call for another workspace is another request, and is not answered with the first one's write key.
    apis.make("/api/v1/workspaces", &json!({"name": "acme"})).await;
    let elsewhere = [("idempotency-key", "k1"), ("tidegate-workspace", "acme")];
    let other = call(&apis, &elsewhere, "POST", "/api/v1/sources", &json!({"name": "web"})).await;
    assert_eq!(code(&other), (409, "idempotency_key_reused".to_owned()), "{}", other.text());

    let key = json!({"name": "k", "role": "operator"});
    let made = call(&apis, &[("idempotency-key", "k3")], "POST", "/api/v1/keys", &key).await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let again = call(&apis, &[("idempotency-key", "k3")], "POST", "/api/v1/keys", &key).await;
    assert_eq!(code(&again), (409, "idempotency_unrepeatable".to_owned()));
    let named = json!({"name": "y"});
    let own = super::tenancy::call(&apis, &token, &[("idempotency-key", "k1")], "POST", "/api/v1/sources", &named);
    assert_eq!(own.await.status, 201, "each caller has names of their own");

    let sql = Connection::open(apis.dir.path().join("tidegate.db")).unwrap();
    let kept: i64 = sql.query_row("SELECT count(*) FROM once WHERE body LIKE '%tgk_%'", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0, "no token is stored");
    sql.execute("UPDATE once SET status = NULL, body = NULL WHERE name = 'k1'", []).unwrap();
    assert_eq!(code(&make("web", "k1").await), (409, "idempotency_unknown".to_owned()), "as after a crash");
}

#[tokio::test]
async fn calls_with_one_idempotency_key_at_the_same_time_make_one_thing() {
    let apis = Apis::start(&[]).await;
    let name = json!({"name": "web"});
    let (to, bearer, mut all) = (apis.admin, format!("Bearer {}", apis.token), tokio::task::JoinSet::new());
    for _ in 0..8 {
        let (bearer, body) = (bearer.clone(), name.to_string());
        all.spawn(async move {
            let headers =
                [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "k")];
            send(to, "POST", "/api/v1/sources", &headers, body.as_bytes()).await
        });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(answer) = all.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            201 => drop(ids.insert(answer.json()["id"].as_str().unwrap().to_owned())),
            _ => assert_eq!(code(&answer), (409, "idempotency_in_progress".to_owned())),
        }
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_told_when_to_go_on() {
    let settings = [("TIDEGATE__CONTROL__KEY_REQUESTS_PER_S", "1"), ("TIDEGATE__CONTROL__KEY_BURST", "3")];
    let apis = Apis::start(&settings).await;
    let look = async || apis.control("GET", "/api/v1/whoami", None).await;
    for left in ["2", "1", "0"] {
        let answer = look().await;
        assert_eq!((answer.status, answer.header("ratelimit-remaining")), (200, Some(left)));
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
    }
    let refused = look().await;
    assert_eq!(code(&refused), (429, "too_many_requests".to_owned()));
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), (Some("1"), Some("0")));
    let refused = apis.control("GET", "/functions", None).await;
    let data = json!({"remainingPoints": 0, "msBeforeNext": 1000, "consumedPoints": 3});
    assert_eq!((refused.status, &refused.json()["errors"][0]["data"]), (429, &data));
    let nothing = apis.control("GET", "/api/v1/nothing", None).await;
    assert_eq!(nothing.status, 429, "what nothing takes is a call too");
}

#[tokio::test]
async fn every_answer_to_a_key_says_how_many_calls_it_has_left() {
    let apis = Apis::start(&[]).await;
    let (source, _) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    let tag = apis.control("GET", &path, None).await.header("etag").unwrap().to_owned();
    let other = [("if-match", "\"other\"")];
    for (headers, method, path, status) in [
        (&[][..], "GET", "/api/v1/nothing", 404),
        (&[], "GET", "/api/v1/sources/src_x", 404),
        (&[], "PUT", &path, 405),
        (&other, "PATCH", &path, 412),
        (&other, "DELETE", &path, 412),
        (&[("if-none-match", tag.as_str())], "GET", &path, 304),
        (&[], "PATCH", "/api/v1/nothing", 404),
    ] {
        let answer = call(&apis, headers, method, path, &json!({})).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
            assert!(answer.header(name).is_some(), "{method} {path}: {status} without `{name}`");
        }
    }
    let nobody = send(apis.admin, "GET", "/api/v1/nothing", &[], b"").await;
    assert_eq!((nobody.status, nobody.header("ratelimit-limit")), (404, None));
}

#[tokio::test]
async fn no_page_of_another_origin_may_use_the_control_api() {
    let apis = Apis::start(&[]).await;
    let origin = [("origin", "https://evil.example"), ("access-control-request-method", "GET")];
    for (method, path) in [("OPTIONS", "/api/v1/sources"), ("GET", "/api/v1/sources"), ("GET", "/openapi.json")] {
        let answer = call(&apis, &origin, method, path, &Value::Null).await;
        assert!(
            !answer.headers.iter().any(|(name, _)| name.starts_with("access-control")),
            "{method} {path}: {answer:?}"
        );
    }
    assert_eq!(call(&apis, &origin, "OPTIONS", "/api/v1/sources", &Value::Null).await.status, 405);
}

#[tokio::test]
async fn what_the_description_says_of_a_field_is_what_is_taken() {
    let apis = Apis::start(&[]).await;
    let api = send(apis.admin, "GET", "/openapi.json", &[], b"").await.json();
    let field = |schema: &str, field: &str| api["components"]["schemas"][schema]["properties"][field].clone();
    let roles = field("KeyToMake", "role")["enum"].clone();
    for role in roles.as_array().unwrap() {
        let made = call(&apis, &[], "POST", "/api/v1/keys", &json!({"name": "k", "role": role})).await;
        assert_eq!(made.status, 201, "{role}: {}", made.text());
    }
    assert_eq!(field("LinkToMake", "role")["enum"], json!(["workspace-editor", "workspace-viewer"]));
    assert_eq!(field("ConnectionToMake", "source")["pattern"], "^src_[0-9a-f]{32}$");
    assert_eq!(field("SourceView", "name")["pattern"], Value::Null, "an answer is whatever it is");
    let lists = ["sources", "destinations", "connections", "keys", "links", "signing-keys", "workspaces", "partners"];
    for list in lists {
        let form = &api["paths"][format!("/api/v1/{list}")]["get"]["parameters"][0]["schema"]["pattern"];
        let cursor = form.as_str().unwrap().trim_matches(['^', '$']).replace("[0-9a-f]{32}", &"0".repeat(32));
        let page = apis.control("GET", &format!("/api/v1/{list}?after={cursor}"), None).await;
        assert_eq!(page.status, 200, "{list} {cursor}: {}", page.text());
    }
    let session = &api["paths"]["/api/v1/sessions"]["post"];
    assert!(session.get("security").is_none() && session["parameters"] == json!([]), "{session}");
}

#[tokio::test]
async fn a_body_is_an_object_and_a_whole_number_is_one_however_it_is_written() {
    let apis = Apis::start(&[]).await;
    let (source, _) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    for body in [json!([null, null]), json!(["x", true]), json!("x"), json!(7)] {
        let answer = call(&apis, &[], "PATCH", &path, &body).await;
        assert_eq!(code(&answer), (400, "invalid_field".to_owned()), "{body}");
    }
    let made = |session: &str| format!("{{\"name\": \"l\", \"role\": \"workspace-viewer\", \"session_s\": {session}}}");
    let bearer = format!("Bearer {}", apis.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (text, status) in [("90.0", 201), ("9e1", 201), ("90", 201), ("90.5", 400), ("1e300", 400)] {
        let answer = send(apis.admin, "POST", "/api/v1/links", &headers, made(text).as_bytes()).await;
        assert_eq!(answer.status, status, "{text}: {}", answer.text());
        assert!(status != 201 || answer.json()["session_s"] == 90, "{text}");
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_whatever_it_begins_with() {
    let apis = Apis::start(&[("TIDEGATE__HTTP__HEADER_TIMEOUT_S", "1")]).await;
    for address in [apis.public, apis.admin] {
        for begin in ["", "P", "PRI * HT", "GET / HT"] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "`{begin}` holds its place");
        }
    }
}
