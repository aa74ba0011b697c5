//! Function versions from outside: what was found in them, what they change, and which may be chosen.

use rusqlite::Connection;
use serde_json::{Value, json};
use tidegate::catalog::{component_from_core, content_digest};

use super::{Answer, Apis, send};

const WAT: &str = include_str!("../../guests/delivered.wat");

async fn push(apis: &Apis, version: &str, more: &str) -> Value {
    let manifest = format!("name = \"mailer\"\nversion = \"{version}\"\nevents = [\"track\"]\n{more}");
    let component = component_from_core(WAT.as_bytes(), &manifest).unwrap();
    let token = format!("Bearer {}", apis.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/wasm")];
    let answer = send(apis.admin, "POST", "/api/v1/functions", &headers, &component).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

async fn post(apis: &Apis, path: &str, body: Value) -> Answer {
    apis.control("POST", &format!("/api/v1/functions/mailer/{path}"), Some(&body)).await
}

#[tokio::test]
async fn what_was_found_in_an_upload_is_kept_and_shown() {
    let apis = Apis::start(&[]).await;
    let more = "[egress]\nallow = [\"https://api.example.com\"]\n[settings.key]\ntype = \"string\"\nsecret = true\n\
                bind = [{ origin = \"https://api.example.com\", place = \"bearer\" }]\n";
    push(&apis, "1", more).await;
    let shown = apis.control("GET", "/api/v1/functions/mailer/versions/1", None).await.json();
    let found = &shown["inspection"];
    assert_eq!((&found["hosts"], &found["secrets"]), (&json!(["https://api.example.com"]), &json!(["key"])), "{shown}");
    assert_eq!(found["exports"], json!(["tidegate:destination/handler@0.1.0"]));
    assert_eq!(found["imports"], json!(["tidegate:destination/types@0.1.0"]));
    for count in ["core_modules", "functions", "code_bytes", "largest_function_bytes"] {
        assert!(found[count].as_u64().unwrap() > 0, "{count} in {found}");
    }
    assert!(shown["size"].as_u64() > found["code_bytes"].as_u64());
    let listed = apis.control("GET", "/api/v1/functions/mailer/versions", None).await.json();
    assert!(listed["items"][0].get("inspection").is_none());
}

#[tokio::test]
async fn a_version_that_asks_for_more_is_told_apart_and_not_promoted_by_mistake() {
    let apis = Apis::start(&[]).await;
    push(&apis, "1", "[egress]\nallow = [\"https://a.example.com\"]\n").await;
    let more = "[egress]\nallow = [\"https://b.example.com\"]\n[settings.room]\ntype = \"string\"\nrequired = true\n\
                [limits]\ncpu_ms = 20\n";
    let second = push(&apis, "2", more).await;
    assert_eq!(second["breaking"], json!(["`room` is new and required"]));
    let diff = apis.control("GET", "/api/v1/functions/mailer/versions/2/diff", None).await.json();
    assert_eq!(diff["hosts"], json!({"added": ["https://b.example.com"], "removed": ["https://a.example.com"]}));
    assert_eq!(diff["settings"], json!({"added": ["room"], "removed": []}));
    assert_eq!(diff["breaking"], second["breaking"]);
    let numbers: Vec<_> = diff["numbers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(numbers, ["size", "cpu_ms"]);
    let back = apis.control("GET", "/api/v1/functions/mailer/versions/1/diff?from=2", None).await.json();
    assert_eq!((&back["breaking"], &back["settings"]["removed"]), (&json!([]), &json!(["room"])));

    apis.make("/api/v1/destinations", &json!({"name": "d", "function": "mailer"})).await;
    let refused = post(&apis, "versions/2/promote", json!({})).await;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (409, json!("breaking_settings")),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["errors"], second["breaking"]);
    assert_eq!(post(&apis, "versions/2/promote?force=true", json!({})).await.status, 200);
    assert_eq!(post(&apis, "rollback", json!({})).await.status, 200);
}

#[tokio::test]
async fn a_yanked_version_is_chosen_by_nobody_until_it_is_restored() {
    let apis = Apis::start(&[]).await;
    let first = push(&apis, "1", "").await;
    let second = push(&apis, "2", "").await;
    let (one, two) = (&first["version"]["id"], &second["version"]["id"]);
    let pinned = json!({"name": "pinned", "function": "mailer", "pinned": two});
    let pinned = apis.make("/api/v1/destinations", &pinned).await;
    let current = post(&apis, "versions/1/yank", json!({})).await;
    assert_eq!((current.status, current.json()["code"].clone()), (409, json!("not_now")), "{}", current.text());
    let yanked = post(&apis, "versions/2/yank", json!({"reason": "sends twice"})).await.json();
    assert_eq!((&yanked["state"], &yanked["reason"]), (&json!("yanked"), &json!("sends twice")));
    let refused = post(&apis, "versions/2/promote", json!({})).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("sends twice"), "{}", refused.text());
    let pin = json!({"name": "new", "function": "mailer", "pinned": two});
    assert_eq!(apis.control("POST", "/api/v1/destinations", Some(&pin)).await.status, 409);
    let path = format!("/api/v1/destinations/{}", pinned["id"].as_str().unwrap());
    let renamed = apis.control("PATCH", &path, Some(&json!({"name": "still pinned"}))).await;
    assert_eq!((renamed.status, &renamed.json()["pinned"]), (200, two), "who runs it goes on");
    assert_eq!(apis.control("PATCH", &path, Some(&json!({"pinned": one}))).await.status, 200);
    assert_eq!(apis.control("PATCH", &path, Some(&json!({"pinned": two}))).await.status, 409);

    assert_eq!(post(&apis, "versions/2/restore", json!({})).await.json()["reason"], Value::Null);
    assert_eq!(post(&apis, "versions/2/promote", json!({})).await.status, 200);
    assert_eq!(post(&apis, "versions/1/yank", json!({})).await.status, 200);
    let back = post(&apis, "rollback", json!({})).await;
    assert_eq!(back.status, 409, "what was current before is yanked: {}", back.text());
    let deprecated = post(&apis, "versions/2/deprecate", json!({"reason": "use 3"})).await;
    assert_eq!(deprecated.json()["state"], "deprecated");
    assert_eq!(apis.control("PATCH", &path, Some(&json!({"pinned": two}))).await.status, 200, "it still may be");
    let long = post(&apis, "versions/2/deprecate", json!({"reason": "x".repeat(201)})).await;
    assert_eq!((long.status, long.json()["code"].clone()), (422, json!("invalid_reason")));
}

/// A host's first JavaScript takes an unoptimised build long, on a machine that has other work.
const PATIENT: &[(&str, &str)] = &[("TIDEGATE__CONTROL__UPLOAD_CPU_S", "300")];

async fn push_script(apis: &Apis, name: &str, kind: &str, body: &str) -> Value {
    let token = format!("Bearer {}", apis.token);
    let headers = [("authorization", token.as_str()), ("content-type", kind)];
    let answer = send(apis.admin, "POST", &format!("/api/v1/functions?name={name}"), &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_pushed_again_is_the_same_version_also_when_another_engine_makes_other_bytes_of_it() {
    let apis = Apis::start(PATIENT).await;
    let (one, two) = ("async function onTrack() {}", "async function onTrack() { return 1 }");
    let first = push_script(&apis, "lone", "text/javascript", one).await;
    assert_eq!(first["version"], "0.1.0");
    // As if it had been built before this program's engine was.
    let sql = Connection::open(apis.dir.path().join("tidegate.db")).unwrap();
    let changed = sql.execute("UPDATE function_versions SET digest = zeroblob(32)", []).unwrap();
    assert_eq!(changed, 1);
    let again = push_script(&apis, "lone", "text/javascript", one).await;
    assert_eq!((&again["id"], &again["version"]), (&first["id"], &first["version"]));
    assert_eq!(push_script(&apis, "lone", "text/javascript", two).await["version"], "0.1.1");

    // Without the manifest that it had, the same text is another version: the manifest let it reach somebody.
    let script = "async function onTrack() {}";
    let form = format!(
        "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{script}\r\n\
         --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\nname = \"kept\"\nversion = \"0.1.7\"\n\
         events = [\"track\"]\n[egress]\nallow = [\"https://api.example.com\"]\r\n--e--\r\n"
    );
    let with = push_script(&apis, "kept", "multipart/form-data; boundary=e", &form).await;
    let without = push_script(&apis, "kept", "text/javascript", script).await;
    assert_eq!((&with["version"], &without["version"]), (&json!("0.1.7"), &json!("0.1.8")));
    let again = push_script(&apis, "kept", "text/javascript", script).await;
    assert_eq!(again["id"], without["id"]);
}

#[tokio::test]
async fn a_version_is_found_by_its_text_its_digest_or_its_id_among_many() {
    let apis = Apis::start(&[]).await;
    let mut versions = Vec::new();
    for number in 0..5 {
        versions.push(push(&apis, &number.to_string(), "").await["version"].clone());
    }
    for version in &versions {
        for key in ["version", "digest", "id"] {
            let path = format!("/api/v1/functions/mailer/versions/{}", version[key].as_str().unwrap());
            assert_eq!(apis.control("GET", &path, None).await.json()["id"], version["id"], "{path}");
        }
    }
    for key in ["5", "sha256:00", "sha256:+0", "SHA256:", "%F0%9F%8C%8A", "fnv_0", ""] {
        let path = format!("/api/v1/functions/mailer/versions/{key}");
        assert_eq!(apis.control("GET", &path, None).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_upload_that_arrives_otherwise_than_it_was_sent_is_refused() {
    let apis = Apis::start(&[]).await;
    let manifest = |version: &str| format!("name = \"mailer\"\nversion = \"{version}\"\nevents = [\"track\"]");
    let component = |version: &str| component_from_core(WAT.as_bytes(), &manifest(version)).unwrap();
    let token = format!("Bearer {}", apis.token);
    let upload = async |digest: &str, more: (&str, &str), body: &[u8]| {
        let headers =
            [("authorization", token.as_str()), ("content-type", "application/wasm"), ("content-digest", digest), more];
        let answer = send(apis.admin, "POST", "/api/v1/functions", &headers, body).await;
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let (one, two) = (component("1"), component("2"));
    let (of_one, of_two) = (content_digest::of(&one), content_digest::of(&two));
    let none = ("accept", "*/*");
    assert_eq!(upload(&of_two, none, &one).await, (422, "digest_mismatch".to_owned()));
    assert_eq!(upload("sha-512=:AAAA:", none, &one).await, (400, "invalid_header".to_owned()));
    assert_eq!(apis.control("GET", "/api/v1/functions", None).await.json()["items"], json!([]), "nothing is stored");
    assert_eq!(upload(&of_one, none, &one).await.0, 201);
    // Two uploads of one length are told apart, too.
    assert_eq!(one.len(), two.len());
    let key = ("idempotency-key", "k");
    assert_eq!(upload(&of_one, key, &one).await.0, 201);
    assert_eq!(upload(&of_two, key, &two).await, (409, "idempotency_key_reused".to_owned()));
}
