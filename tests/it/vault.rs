//! Secrets on disk, with a real process: they are unreadable there, and turning the key survives a kill at any moment.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, function, program};
use crate::http::{self, Partner};

const PATH: &str = "/services/canary-4e1c7a";

/// Sends an event and waits until the partner has it.
async fn delivers(host: &Host, source: &Value, partner: &Partner) {
    let before = partner.received.lock().unwrap().len();
    let body = json!({"writeKey": source["write_key"], "type": "track", "event": "E", "userId": "u"}).to_string();
    http::send(host.listen, "POST", "/v1/track", &[("content-type", "application/json")], body.into_bytes()).await;
    let ledger = host.drained().await;
    assert_eq!(ledger["dead"], 0, "{ledger}");
    let received = partner.received.lock().unwrap();
    assert_eq!((received.len(), received.last().unwrap().path.as_str()), (before + 1, PATH));
}

fn keys(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().filter(|line| line.len() == 64).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn turning_the_key_survives_a_kill_at_any_moment() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let file = data.path().join("vault.key");
    let mut host = Host::start(data.path(), partner.address, None);
    let settings = json!({"webhook_path": PATH, "base_url": partner.url()});
    let (source, _) = host.wire(&std::fs::read(function("slack")).unwrap(), "slack", settings).await;
    delivers(&host, &source, &partner).await;
    let mut turned = 0;
    for moment in 0..12 {
        let before = keys(&file);
        assert_eq!(before.len(), 1);
        let bearer = format!("Bearer {}", host.token);
        let (admin, token) = (host.admin, host.token.clone());
        let asked = tokio::spawn(async move {
            let headers = [("authorization", bearer.as_str())];
            drop(http::try_send(admin, "POST", "/api/v1/vault/rotate", &headers, Vec::new()).await);
        });
        // From before it begins to after it has ended; twice as soon as the new key is on disk.
        match moment {
            0 | 1 => while keys(&file) == before {},
            later => tokio::time::sleep(Duration::from_micros(700 * later)).await,
        }
        host.kill();
        asked.await.unwrap();
        host = Host::start(data.path(), partner.address, Some(&token));
        assert_eq!(keys(&file).len(), 1, "the next start ends it");
        assert_eq!(host.api("GET", "/api/v1/vault", Value::Null).await["rotating"], false);
        turned += usize::from(keys(&file) != before);
        delivers(&host, &source, &partner).await;
    }
    assert!(turned >= 2, "{turned} of 12 came as far as a new key");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_can_be_kept_elsewhere_and_turned_by_the_program() {
    let (data, elsewhere, partner) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Partner::start().await);
    let file = elsewhere.path().join("master.key");
    let settings = [("TIDEGATE__VAULT__KEY_FILE", file.to_str().unwrap())];
    let host = Host::start_with(data.path(), partner.address, None, &settings);
    let own = json!({"webhook_path": PATH, "base_url": partner.url()});
    let (source, _) = host.wire(&std::fs::read(function("slack")).unwrap(), "slack", own).await;
    delivers(&host, &source, &partner).await;
    assert!(!data.path().join("vault.key").exists());
    let before = keys(&file);
    let run = |noun: &str, verb: &str| {
        let mut command = std::process::Command::new(program());
        command.args([noun, verb, "--output", "json"]).env("TIDEGATE_SERVER", format!("http://{}", host.admin));
        let output = command.env("TIDEGATE_TOKEN", &host.token).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (shown, turned) = (run("vault", "show"), run("key", "rotate"));
    assert_ne!(shown["key"], turned["key"]);
    assert_eq!((&turned["rotating"], &turned["workspaces"]), (&json!(false), &json!(1)));
    assert_ne!(keys(&file), before);
    assert_ne!(run("vault", "rotate")["key"], turned["key"], "the older name is the same");
    delivers(&host, &source, &partner).await;
    host.kill();
    std::fs::write(&file, format!("{}\n", before[0])).unwrap();
    let mut serve = std::process::Command::new(program());
    serve.args(["serve", "--data"]).arg(data.path()).env("TIDEGATE__LISTEN", "127.0.0.1:0").envs(settings);
    let refused = serve.env("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("put that key back"), "an older key opens nothing: {said}");
}

/// Whether any file below a folder has this text.
fn any_file_has(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => any_file_has(&path, text),
        // What goes away while it is looked for has nothing either.
        false => std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes())),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_a_workspace_destroys_what_is_readable_of_it_and_of_no_other() {
    const CANARY: &str = "canary-b07a91";
    const PLAIN: &str = "plain-canary-55d0e3";
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let run = |host: &Host, token: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(args).args(["--output", "json"]).env("TIDEGATE_SERVER", format!("http://{}", host.admin));
        command.env("TIDEGATE_TOKEN", token).output().unwrap()
    };
    let printed = |args: &[&str]| {
        let output = run(&host, &host.token, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let settings = json!({"webhook_path": PATH, "base_url": partner.url()});
    let (own, _) = host.wire(&std::fs::read(function("slack")).unwrap(), "slack", settings.clone()).await;
    printed(&["workspace", "create", "acme"]);
    let key = printed(&["key", "create", "k", "--role", "workspace-admin", "--workspace", "acme"]);
    let token = key["token"].as_str().unwrap().to_owned();
    let as_acme = async |method: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        http::send(host.admin, method, path, &headers, body.to_string().into_bytes()).await.json()
    };
    let source = as_acme("POST", "/api/v1/sources", json!({"name": "web"})).await;
    let destination = json!({"name": "d", "function": "slack", "settings": settings});
    let destination = as_acme("POST", "/api/v1/destinations", destination).await;
    // What is no secret is readable while there is the workspace, and no longer.
    let named = json!({"name": PLAIN, "function": "slack", "settings": settings});
    as_acme("POST", "/api/v1/destinations", named).await;
    assert!(any_file_has(data.path(), PLAIN));
    let ends = json!({"source": source["id"], "destination": destination["id"]});
    as_acme("POST", "/api/v1/connections", ends).await;
    for source in [&own, &source] {
        let event = json!({"writeKey": source["write_key"], "type": "track", "event": CANARY, "userId": "u"});
        let json = [("content-type", "application/json")];
        http::send(host.listen, "POST", "/v1/track", &json, event.to_string().into_bytes()).await;
    }
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], partner.received.lock().unwrap().len()), (&json!(2), 2), "{ledger}");
    assert!(partner.received.lock().unwrap().iter().all(|one| String::from_utf8_lossy(&one.body).contains(CANARY)));
    assert!(!any_file_has(data.path(), CANARY) && !any_file_has(data.path(), PATH), "events and secrets are sealed");

    let master = keys(&data.path().join("vault.key"));
    let slip = run(&host, &host.token, &["workspace", "destroy", "acme", "--confirm", "acne"]);
    assert_eq!(slip.status.code(), Some(1), "{slip:?}");
    assert!(as_acme("GET", "/api/v1/deliveries", Value::Null).await["items"][0]["event_name"] == CANARY);
    let destroyed = printed(&["workspace", "destroy", "acme", "--confirm", "acme"]);
    assert_eq!(destroyed["remains"], false);
    assert!(!any_file_has(data.path(), PLAIN), "nor in the log");
    assert_eq!(run(&host, &token, &["source", "list"]).status.code(), Some(3), "its keys are gone");
    let gone = run(&host, &host.token, &["delivery", "list", "--workspace", "acme"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert_ne!(keys(&data.path().join("vault.key")), master, "no older copy of its key opens");
    let lines = printed(&["audit", "list", "--action", "workspace.destroy"]);
    assert_eq!(lines["items"][0]["id"], destroyed["id"]);
    assert_eq!(host.ledger().await["accepted"], 2);

    let token = host.token.clone();
    assert!(host.stop().success());
    assert!(!any_file_has(data.path(), CANARY) && !any_file_has(data.path(), PATH));
    let host = Host::start(data.path(), partner.address, Some(&token));
    let left = host.api("GET", "/api/v1/deliveries", Value::Null).await;
    assert_eq!((left["items"].as_array().unwrap().len(), &left["items"][0]["event_name"]), (1, &json!(CANARY)));
    delivers(&host, &own, &partner).await;
}
