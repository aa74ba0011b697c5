//! Links from outside: a customer without a key gets into one workspace, or to one destination, for a while, once.

use serde_json::{Value, json};

use super::tenancy::{Neighbours, call};
use super::{Answer, Apis, send};

async fn open(apis: &Apis, link: &str) -> Answer {
    let body = json!({ "link": link }).to_string();
    send(apis.admin, "POST", "/api/v1/sessions", &[("content-type", "application/json")], body.as_bytes()).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

#[tokio::test]
async fn a_link_opens_one_session_that_sees_its_workspace_as_its_role_does() {
    let bed = Neighbours::new().await;
    let (apis, admin) = (&bed.apis, &bed.mine["workspace-admin"]);
    let asked = json!({"name": "for Ann", "role": "workspace-editor", "session_s": 600});
    let made = call(apis, admin, &[], "POST", "/api/v1/links", &asked).await;
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")), "{}", made.text());
    let (link, id) = (text(&made.json(), "link"), text(&made.json(), "id"));
    let path = format!("/api/v1/links/{id}");
    let shown = call(apis, admin, &[], "GET", &path, &Value::Null).await.json();
    assert!(shown.get("link").is_none() && shown["opened_at"].is_null(), "{shown}");

    let opened = open(apis, &link).await;
    assert_eq!((opened.status, opened.header("cache-control")), (201, Some("no-store")), "{}", opened.text());
    let session = opened.json();
    let token = text(&session, "token");
    assert_eq!((&session["role"], &session["workspace"]), (&json!("workspace-editor"), &shown["workspace"]));
    let me = call(apis, &token, &[], "GET", "/api/v1/whoami", &Value::Null).await.json();
    assert_eq!((&me["role"], &me["workspace"]), (&session["role"], &session["workspace"]));
    let source = call(apis, &token, &[], "POST", "/api/v1/sources", &json!({"name": "s"})).await;
    assert_eq!((source.status, source.json()["workspace"].clone()), (201, shown["workspace"].clone()));
    for path in ["/api/v1/links", "/api/v1/keys", "/api/v1/audit"] {
        assert_eq!(code(&call(apis, &token, &[], "GET", path, &Value::Null).await).0, 403, "{path}");
    }
    let theirs = format!("/api/v1/sources/{}", bed.theirs["sources"]);
    assert_eq!(call(apis, &token, &[], "GET", &theirs, &Value::Null).await.status, 404);
    assert_eq!(code(&open(apis, &link).await), (401, "opened_link".to_owned()), "it opens once");

    let key = format!("/api/v1/keys/{}", text(&session, "key"));
    let listed = call(apis, admin, &[], "GET", &key, &Value::Null).await.json();
    assert_eq!((&listed["link"], listed["expires_at"].is_string()), (&json!(id), true), "{listed}");
    let longer = call(apis, admin, &[], "POST", &format!("{key}/rotate"), &json!({})).await;
    assert_eq!(code(&longer), (409, "not_now".to_owned()), "a session ends with its time");
    assert_eq!(call(apis, admin, &[], "DELETE", &path, &Value::Null).await.status, 204);
    assert_eq!(call(apis, admin, &[], "DELETE", &path, &Value::Null).await.status, 204, "twice is as once");
    let ended = call(apis, &token, &[], "GET", "/api/v1/whoami", &Value::Null).await;
    assert_eq!(code(&ended), (401, "unknown_token".to_owned()), "its session ends with it");
    let lines = call(apis, admin, &[], "GET", &format!("/api/v1/audit?id={id}"), &Value::Null).await.json();
    let actions: Vec<_> = lines["items"].as_array().unwrap().iter().map(|line| text(line, "action")).collect();
    assert_eq!(actions, ["link.revoke", "link.open", "link.create"]);
    assert!(!lines.to_string().contains(&link[4..]), "{lines}");
}

#[tokio::test]
async fn a_link_to_one_destination_shows_no_other_and_nothing_else_of_the_workspace() {
    let bed = Neighbours::new().await;
    let (apis, at) = (&bed.apis, [("tidegate-workspace", "theirs")]);
    let other = json!({"name": "other", "function": "theirs"});
    let other = text(&call(apis, &apis.token, &at, "POST", "/api/v1/destinations", &other).await.json(), "id");
    let connection = json!({"source": bed.theirs["sources"], "destination": other});
    assert_eq!(call(apis, &apis.token, &at, "POST", "/api/v1/connections", &connection).await.status, 201);
    let source = format!("/api/v1/sources/{}", bed.theirs["sources"]);
    let source = call(apis, &apis.token, &at, "GET", &source, &Value::Null).await.json();
    let event = json!({"writeKey": source["write_key"], "event": "E", "userId": "u"}).to_string();
    assert_eq!(send(apis.public, "POST", "/v1/track", &[], event.as_bytes()).await.status, 200);
    let list = call(apis, &apis.token, &at, "GET", "/api/v1/deliveries", &Value::Null).await.json();
    let of = |destination: &str| {
        let all = list["items"].as_array().unwrap();
        all.iter().filter(|one| one["destination"] == destination).map(|one| text(one, "id")).collect::<Vec<_>>()
    };
    let (own, others) = (of(&bed.theirs["destinations"]), of(&other));
    assert_eq!((own.len(), others.len()), (2, 1), "{list}");

    let own_id = &bed.theirs["destinations"];
    let asked = json!({"name": "l", "role": "workspace-editor", "destination": own_id});
    let link = call(apis, &apis.token, &at, "POST", "/api/v1/links", &asked).await.json();
    let token = text(&open(apis, &text(&link, "link")).await.json(), "token");
    let see = async |method: &str, path: String, body: Value| call(apis, &token, &[], method, &path, &body).await;
    let get = async |path: String| see("GET", path, Value::Null).await;
    assert_eq!(get("/api/v1/whoami".to_owned()).await.json()["destination"], *own_id);
    let listed = get("/api/v1/destinations".to_owned()).await.json();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["id"]), (1, &json!(own_id)), "{listed}");
    assert_eq!(get(format!("/api/v1/destinations?after={own_id}")).await.json()["items"], json!([]));
    let renamed = see("PATCH", format!("/api/v1/destinations/{own_id}"), json!({"name": "renamed"})).await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (200, &json!("renamed")));
    for (method, path, body) in [
        ("GET", format!("/api/v1/destinations/{other}"), Value::Null),
        ("PATCH", format!("/api/v1/destinations/{other}"), json!({"name": "x"})),
        ("POST", format!("/api/v1/destinations/{other}/test"), json!({})),
        ("GET", format!("/api/v1/deliveries/{}", others[0]), Value::Null),
        ("GET", format!("/api/v1/deliveries/{}/attempts", others[0]), Value::Null),
        ("POST", format!("/api/v1/deliveries/{}/retry", others[0]), Value::Null),
        ("GET", format!("/api/v1/ledger?destination={other}"), Value::Null),
    ] {
        let answer = see(method, path.clone(), body).await;
        assert_eq!(code(&answer), (404, "not_found".to_owned()), "{method} {path}: {}", answer.text());
    }
    let seen = get("/api/v1/deliveries".to_owned()).await.json();
    let seen: Vec<_> = seen["items"].as_array().unwrap().iter().map(|one| text(one, "id")).collect();
    assert_eq!(seen, own);
    assert_eq!(get(format!("/api/v1/deliveries?destination={other}")).await.json()["items"], json!([]));
    assert_eq!(get(format!("/api/v1/deliveries/{}", own[0])).await.status, 200);
    assert_eq!(get("/api/v1/ledger".to_owned()).await.json()["accepted"], 2);
    for (method, path, body) in [
        ("GET", "/api/v1/sources".to_owned(), Value::Null),
        ("GET", "/api/v1/connections".to_owned(), Value::Null),
        ("GET", "/api/v1/replays".to_owned(), Value::Null),
        ("POST", "/api/v1/destinations".to_owned(), json!({"name": "n", "function": "theirs"})),
        ("DELETE", format!("/api/v1/destinations/{own_id}"), Value::Null),
    ] {
        let answer = see(method, path.clone(), body).await;
        assert_eq!(code(&answer), (403, "forbidden".to_owned()), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_link_that_was_changed_is_late_or_was_taken_back_opens_nothing() {
    let apis = Apis::start(&[]).await;
    let make = async |name: &str| apis.make("/api/v1/links", &json!({"name": name, "role": "workspace-viewer"})).await;
    let made = make("a").await;
    let link = text(&made, "link");
    let (other, end) = (text(&make("b").await, "link"), link.len() - 3);
    let swapped = format!("{}{}", &link[..30], &other[30..]);
    let flipped = format!("{}{}{}", &link[..end], if &link[end..=end] == "A" { "B" } else { "A" }, &link[end + 1..]);
    for wrong in ["", "tgl_", &link[4..], &link[..40], &flipped, &swapped, &format!("{link}AAAA")] {
        assert_eq!(code(&open(&apis, wrong).await), (401, "unknown_link".to_owned()), "{wrong}");
    }
    let sql = rusqlite::Connection::open(apis.dir.path().join("tidegate.db")).unwrap();
    let id = text(&made, "id")["lnk_".len()..].to_owned();
    let set = |what: &str| {
        assert_eq!(sql.execute(&format!("UPDATE links SET {what} WHERE id = unhex(?1)"), [&id]).unwrap(), 1);
    };
    // Whoever writes the database makes no more of a link than was signed.
    set("role = 'workspace-admin'");
    assert_eq!(code(&open(&apis, &link).await), (401, "unknown_link".to_owned()));
    set("role = 'workspace-viewer', expires_at = expires_at + 1");
    assert_eq!(code(&open(&apis, &link).await), (401, "unknown_link".to_owned()));
    set("expires_at = expires_at - 1, opened_at = 5");
    assert_eq!(code(&open(&apis, &link).await), (401, "opened_link".to_owned()));
    set("opened_at = NULL");
    assert_eq!(open(&apis, &link).await.status, 201);

    let taken = make("c").await;
    let path = format!("/api/v1/links/{}", text(&taken, "id"));
    assert_eq!(apis.control("DELETE", &path, None).await.status, 204);
    assert_eq!(code(&open(&apis, &text(&taken, "link")).await), (401, "revoked_link".to_owned()));
    let turned = text(&make("d").await, "link");
    assert_eq!(apis.control("POST", "/api/v1/vault/rotate", None).await.status, 200);
    assert_eq!(code(&open(&apis, &turned).await), (401, "unknown_link".to_owned()), "its key is gone");
}

#[tokio::test]
async fn a_link_that_cannot_be_made_is_refused_by_what_is_wrong_and_guesses_are_counted() {
    let apis = Apis::start(&[("TIDEGATE__CONTROL__WRONG_KEYS", "3")]).await;
    let cases = [
        (json!({"name": "", "role": "workspace-viewer"}), 422, "invalid_name"),
        (json!({"name": "x", "role": "workspace-admin"}), 422, "invalid_link"),
        (json!({"name": "x", "role": "operator"}), 422, "invalid_link"),
        (json!({"name": "x", "role": "workspace-viewer", "expires_in_s": 59}), 422, "invalid_link"),
        (json!({"name": "x", "role": "workspace-viewer", "session_s": 86_401}), 422, "invalid_link"),
        (
            json!({"name": "x", "role": "workspace-viewer", "destination": "dst_00000000000000000000000000000000"}),
            404,
            "not_found",
        ),
    ];
    for (body, status, expected) in cases {
        let answer = apis.control("POST", "/api/v1/links", Some(&body)).await;
        assert_eq!(code(&answer), (status, expected.to_owned()), "{body}: {}", answer.text());
    }
    for _ in 0..3 {
        assert_eq!(code(&open(&apis, "tgl_guess").await), (401, "unknown_link".to_owned()));
    }
    assert_eq!(code(&open(&apis, "tgl_guess").await), (429, "too_many_wrong_tokens".to_owned()));
    let right = apis.make("/api/v1/links", &json!({"name": "x", "role": "workspace-viewer"})).await;
    assert_eq!(open(&apis, &text(&right, "link")).await.status, 201, "a right one is taken all the same");
}
