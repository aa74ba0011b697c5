//! Backup and restore of a whole host, while it runs, and what a damaged backup is told.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::host::{Host, function, program};
use crate::http::{self, Partner};

fn run(args: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(program());
    command.args(["--output", "json"]).args(args);
    for (flag, path) in paths {
        if !flag.is_empty() {
            command.arg(flag);
        }
        command.arg(path);
    }
    command.output().unwrap()
}

fn says(output: &Output, text: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_runs_is_backed_up_and_restored_with_all_it_had() {
    let (partner, folder) = (Partner::start().await, tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let host = Host::start(&at("data"), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    host.api("PATCH", &path, json!({"paused": true})).await;
    let event = json!({"writeKey": source["write_key"], "event": "E", "userId": "u", "messageId": "kept"});
    let kind = [("content-type", "application/json")];
    let sent = http::send(host.listen, "POST", "/v1/track", &kind, event.to_string().into_bytes()).await;
    assert_eq!(sent.status, 200);

    let made = run(&["backup"], &[("", &at("backup")), ("--data", &at("data"))]);
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["files"].as_u64() >= Some(2), "the database and a component: {made}");
    says(&run(&["backup"], &[("", &at("backup")), ("--data", &at("data"))]), "is not empty");
    says(&run(&["backup"], &[("", &at("other")), ("--data", &at("nothing"))]), "is no data directory");
    says(&run(&["restore"], &[("", &at("backup")), ("--data", &at("data"))]), "is not empty");
    // What comes after the backup is not in it.
    host.api("POST", "/api/v1/sources", json!({"name": "later"})).await;
    let token = host.token.clone();
    host.kill();

    let restored = run(&["restore"], &[("", &at("backup")), ("--data", &at("restored"))]);
    assert!(restored.status.success(), "{restored:?}");
    let host = Host::start(&at("restored"), partner.address, Some(&token));
    let sources = host.api("GET", "/api/v1/sources", Value::Null).await;
    assert_eq!(sources["items"].as_array().unwrap().len(), 1);
    assert_eq!(host.api("GET", "/api/v1/audit/verify", Value::Null).await["ok"], true);
    host.api("PATCH", &path, json!({"paused": false})).await;
    assert_eq!(
        host.drained().await["delivered"],
        1,
        "the event that was owed is delivered by the function that was stored"
    );
    assert_eq!(partner.bodies().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_cut_off_or_forged_is_not_restored() {
    let (partner, folder) = (Partner::start().await, tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let host = Host::start(&at("data"), partner.address, None);
    host.push(&std::fs::read(function("webhook")).unwrap()).await;
    assert!(run(&["backup"], &[("", &at("backup")), ("--data", &at("data"))]).status.success());
    host.kill();
    let restore = || run(&["restore"], &[("", &at("backup")), ("--data", &at("restored"))]);
    let record = at("backup").join("backup.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let name = whole["files"].as_object().unwrap().keys().find(|name| name.starts_with("components/")).unwrap();
    let file = at("backup").join(name);
    let bytes = std::fs::read(&file).unwrap();
    let empty = || std::fs::read_dir(at("restored")).unwrap().all(|entry| entry.unwrap().path().is_dir());

    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    says(&restore(), "is damaged");
    assert!(empty(), "nothing is left that looks like a host's data");
    std::fs::remove_dir_all(at("restored")).unwrap();
    std::fs::remove_file(&file).unwrap();
    says(&restore(), "it is missing");
    std::fs::remove_dir_all(at("restored")).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    for (forged, expected) in [
        (text.replace(name.as_str(), "../outside"), "lies outside of the folder"),
        (text.replace("\"format\": 1", "\"format\": 9"), "its format is 9"),
        (text.replace("tidegate.db", "other.db"), "it names no `tidegate.db`"),
        ("{".to_owned(), "cannot be read"),
    ] {
        std::fs::write(&record, forged).unwrap();
        says(&restore(), expected);
    }
    std::fs::remove_file(&record).unwrap();
    says(&restore(), "is no complete backup");
    std::fs::write(&record, text).unwrap();
    assert!(restore().status.success());
}
