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
    let run = |verb: &str| {
        let mut command = std::process::Command::new(program());
        command.args(["vault", verb, "--output", "json"]).env("TIDEGATE_SERVER", format!("http://{}", host.admin));
        let output = command.env("TIDEGATE_TOKEN", &host.token).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let (shown, turned) = (run("show"), run("rotate"));
    assert_ne!(shown["key"], turned["key"]);
    assert_eq!((&turned["rotating"], &turned["workspaces"]), (&json!(false), &json!(1)));
    assert_ne!(keys(&file), before);
    delivers(&host, &source, &partner).await;
    host.kill();
    std::fs::write(&file, format!("{}\n", before[0])).unwrap();
    let mut serve = std::process::Command::new(program());
    serve.args(["serve", "--data"]).arg(data.path()).env("TIDEGATE__LISTEN", "127.0.0.1:0").envs(settings);
    let refused = serve.env("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("put that key back"), "an older key opens nothing: {said}");
}
