//! Changes to a destination's settings: what is not named stays, whoever else changes something meanwhile.

use std::process::Output;

use serde_json::{Value, json};

use crate::host::Host;
use crate::http::{self, Partner};

const HANDLER: &str = "
async function onTrack(event, settings) {
  await fetch(`${settings.url}/${settings.account}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${settings.key}` },
    body: JSON.stringify({ labels: settings.labels, loud: settings.loud }),
  });
}";

fn manifest(version: u32, more: &str) -> String {
    format!(
        "name = \"keeper\"\nversion = \"{version}\"\nevents = [\"track\"]\negress.allow = [\"{{settings.url}}\"]\n[settings]\n\
         key = {{ type = \"string\", secret = true, required = true, bind = [{{ origin = \"{{settings.url}}\", place = \"bearer\" }}] }}\n\
         url = {{ type = \"string\", required = true }}\naccount = {{ type = \"string\" }}\nloud = {{ type = \"boolean\" }}\n\
         labels = {{ type = \"map\" }}\n{more}"
    )
}

/// The command of a destination, as JSON.
fn run(host: &Host, args: &[&str]) -> Output {
    host.cli(&[&["--output", "json", "destination"], args].concat()).output().unwrap()
}

fn shown(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn start(data: &std::path::Path) -> (Host, Partner, Value, String) {
    let partner = Partner::start().await;
    let host = Host::start(data, partner.address, None);
    host.push_source(HANDLER, &manifest(1, "")).await;
    let settings = json!({"key": "k-secret", "url": partner.url(), "labels": {"a": "1", "b": "2"}});
    let (source, destination) = host.feed("keeper", settings).await;
    let id = destination["id"].as_str().unwrap().to_owned();
    (host, partner, source, id)
}

async fn delivered(host: &Host, source: &Value, partner: &Partner) -> (String, String, Value) {
    let event = json!({"writeKey": source["write_key"], "event": "E", "userId": "u"});
    let kind = [("content-type", "application/json")];
    assert_eq!(http::send(host.listen, "POST", "/v1/track", &kind, event.to_string().into_bytes()).await.status, 200);
    host.drained().await;
    let received = partner.received.lock().unwrap();
    let last = received.last().expect("it was delivered");
    let bearer = last.headers["authorization"].to_str().unwrap().to_owned();
    (last.path.clone(), bearer, serde_json::from_slice(&last.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_setting_is_changed_and_the_others_and_the_secret_stay() {
    let data = tempfile::tempdir().unwrap();
    let (host, partner, source, id) = start(data.path()).await;
    // A text where the setting is one, though it looks like a number.
    let changed = shown(&run(&host, &["update", &id, "--set", "account=12345", "--set", "loud=true"]));
    assert_eq!((&changed["settings"]["account"], &changed["settings"]["loud"]), (&json!("12345"), &json!(true)));
    let changed = shown(&run(&host, &["update", &id, "--set", r#"labels={"b":"3"}"#]));
    assert_eq!(changed["settings"]["labels"], json!({"a": "1", "b": "3"}));
    let (path, bearer, body) = delivered(&host, &source, &partner).await;
    assert_eq!((path.as_str(), bearer.as_str()), ("/12345", "Bearer k-secret"));
    assert_eq!(body, json!({"labels": {"a": "1", "b": "3"}, "loud": true}));

    let changed = shown(&run(&host, &["update", &id, "--unset", "loud", "--set", "key=k-new"]));
    assert_eq!(changed["settings"]["loud"], Value::Null);
    assert_eq!(delivered(&host, &source, &partner).await.1, "Bearer k-new");
    // What comes of it is checked as a whole, and nothing of it is done if it does not fit.
    let wrong = run(&host, &["update", &id, "--unset", "key", "--set", "account=other"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("`key` is required"), "{said}");
    let wrong = run(&host, &["update", &id, "--set", "colour=red"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`colour` is not a setting"), "{wrong:?}");
    assert_eq!(shown(&run(&host, &["show", &id]))["settings"]["account"], "12345");
    // A file is everything.
    let file = data.path().join("all.json");
    std::fs::write(&file, json!({"key": "k-all", "url": partner.url()}).to_string()).unwrap();
    let changed = shown(&run(&host, &["update", &id, "--settings", file.to_str().unwrap()]));
    assert_eq!(changed["settings"], json!({"key": "••••", "url": partner.url()}));
    let path = format!("/api/v1/destinations/{id}");
    let both = host.try_api("PATCH", &path, json!({"settings": {}, "settings_patch": {}})).await;
    assert_eq!(both.0, 422, "{}", both.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_different_settings_at_the_same_moment_all_stay() {
    const CHANGES: usize = 24;
    let data = tempfile::tempdir().unwrap();
    let (host, partner, source, id) = start(data.path()).await;
    let (admin, bearer) = (host.admin, format!("Bearer {}", host.token));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..CHANGES {
        let (bearer, path) = (bearer.clone(), format!("/api/v1/destinations/{id}"));
        all.spawn(async move {
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let body = json!({"settings_patch": {"labels": {format!("n{number}"): "x"}}}).to_string();
            http::send(admin, "PATCH", &path, &headers, body.into_bytes()).await.status
        });
    }
    while let Some(status) = all.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let labels = shown(&run(&host, &["show", &id]))["settings"]["labels"].clone();
    assert_eq!(labels.as_object().unwrap().len(), CHANGES + 2, "{labels}");
    assert_eq!(delivered(&host, &source, &partner).await.1, "Bearer k-secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_type_comes_with_what_to_write() {
    let data = tempfile::tempdir().unwrap();
    let (host, _, _, id) = start(data.path()).await;
    let path = format!("/api/v1/destinations/{id}");
    for (change, hint) in [
        (json!({"account": 12345}), r#"--set 'account="12345"'"#),
        (json!({"account": true}), r#"--set 'account="true"'"#),
        (json!({"loud": "true"}), "--set 'loud=true'"),
    ] {
        let (status, problem) = host.try_api("PATCH", &path, json!({"settings_patch": change})).await;
        assert_eq!(status, 422);
        assert!(problem["errors"][0].as_str().unwrap().contains(hint), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_a_newer_version_calls_a_secret_is_sealed_at_its_promotion_and_still_works() {
    let data = tempfile::tempdir().unwrap();
    let (host, partner, source, id) = start(data.path()).await;
    shown(&run(&host, &["update", &id, "--set", "account=canary-55d1"]));
    let newer = manifest(2, "").replace(
        "account = { type = \"string\" }",
        "account = { type = \"string\", secret = true, bind = [{ origin = \"{settings.url}\", place = \"path\" }] }",
    );
    host.push_source(HANDLER, &newer).await;
    host.api("POST", "/api/v1/functions/keeper/versions/2/promote?force=true", json!({})).await;
    let consent = shown(&run(&host, &["update", &id, "--consent"]));
    assert_eq!(consent["settings"]["account"], "••••");
    let sql = rusqlite::Connection::open(data.path().join("tidegate.db")).unwrap();
    let settings: String = sql.query_row("SELECT settings FROM destinations", [], |row| row.get(0)).unwrap();
    assert!(!settings.contains("canary-55d1"), "{settings}");
    assert_eq!(delivered(&host, &source, &partner).await.0, "/canary-55d1");
    host.api("POST", "/api/v1/functions/keeper/rollback", json!({})).await;
    assert_eq!(
        delivered(&host, &source, &partner).await.0,
        "/canary-55d1",
        "the version before read it, and still may"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_text_names_one_version() {
    let data = tempfile::tempdir().unwrap();
    let (host, _, _, _) = start(data.path()).await;
    // The same again is the same version.
    host.push_source(HANDLER, &manifest(1, "")).await;
    let form = |handler: &str, manifest: &str| {
        format!(
            "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{handler}\r\n\
             --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n{manifest}\r\n--e--\r\n"
        )
    };
    let bearer = format!("Bearer {}", host.token);
    let push = async |path: &str, kind: &str, body: String| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let answer = http::send(host.admin, "POST", path, &headers, body.into_bytes()).await;
        (answer.status, answer.json())
    };
    let other = form(&HANDLER.replace("POST", "PUT"), &manifest(1, ""));
    let (status, problem) = push("/api/v1/functions", "multipart/form-data; boundary=e", other).await;
    assert_eq!((status, &problem["code"]), (409, &json!("version_taken")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("raise `version`"), "{problem}");
    let versions = host.api("GET", "/api/v1/functions/keeper/versions", Value::Null).await;
    assert_eq!(versions["items"].as_array().unwrap().len(), 1, "{versions}");
    // By its digest too.
    let digest = versions["items"][0]["digest"].as_str().unwrap();
    host.api("GET", &format!("/api/v1/functions/keeper/versions/{digest}"), Value::Null).await;

    // A script without a manifest is counted, and the same text is the same version.
    let mut texts = Vec::new();
    for script in
        ["async function onTrack() {}", "async function onTrack() {}", "async function onTrack() { return 1 }"]
    {
        let (status, made) = push("/api/v1/functions?name=lone", "text/javascript", script.to_owned()).await;
        assert_eq!(status, 201, "{made}");
        texts.push(made["version"]["version"].as_str().unwrap().to_owned());
    }
    assert_eq!(texts, ["0.1.0", "0.1.0", "0.1.1"]);
}
