//! Tenants and keys by the command line, on a real host.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::host::{Host, program};
use crate::http::Partner;

fn command(host: &Host, token: &str, args: &[&str]) -> Output {
    host.cli(&[&["--output", "json"], args].concat()).env("TIDEGATE_TOKEN", token).output().unwrap()
}

/// What a command prints that must succeed.
fn run(host: &Host, token: &str, args: &[&str]) -> Value {
    let output = command(host, token, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_and_a_partner_get_keys_of_their_own_by_the_command_line() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let root = host.token.clone();
    run(&host, &root, &["workspace", "create", "acme"]);
    run(&host, &root, &["partner", "create", "mailers"]);
    let key = ["key", "create", "ops", "--role", "workspace-admin", "--workspace", "acme", "--days", "90"];
    let key = run(&host, &root, &key);
    assert!(key["expires_at"].is_string(), "{key}");
    let token = key["token"].as_str().unwrap().to_owned();
    let source = run(&host, &token, &["source", "create", "web"]);
    assert_eq!(source["workspace"], key["workspace"]);
    let seen = run(&host, &root, &["source", "list", "--workspace", "acme"]);
    assert_eq!(seen["items"][0]["id"], source["id"]);
    assert_eq!(run(&host, &root, &["source", "list"])["items"], serde_json::json!([]));
    assert_eq!(run(&host, &token, &["key", "whoami"])["role"], "workspace-admin");

    let refused = command(&host, &token, &["workspace", "create", "other"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`operator`"), "{refused:?}");
    let id = key["id"].as_str().unwrap();
    let next = run(&host, &token, &["key", "rotate", id, "--overlap-hours", "0"]);
    assert_eq!(command(&host, &token, &["source", "list"]).status.code(), Some(3));
    let next = next["token"].as_str().unwrap();
    assert_eq!(run(&host, next, &["key", "list"])["items"].as_array().unwrap().len(), 2);
    run(&host, next, &["source", "delete", source["id"].as_str().unwrap()]);
    run(&host, &root, &["workspace", "update", "acme", "--name", "acme 2"]);
    run(&host, &root, &["workspace", "delete", "acme 2"]);
    assert_eq!(command(&host, next, &["source", "list"]).status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_a_key_comes_in_by_a_link_of_the_command_line() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let root = host.token.clone();
    run(&host, &root, &["workspace", "create", "acme"]);
    let make = ["link", "create", "for Ann", "--role", "workspace-viewer", "--workspace", "acme", "--minutes", "5"];
    let made = run(&host, &root, &make);
    let link = made["link"].as_str().unwrap();
    // The key that happens to be set is not shown for it.
    let session = run(&host, "tgk_another", &["link", "open", link]);
    let token = session["token"].as_str().unwrap();
    assert_eq!(run(&host, token, &["key", "whoami"])["workspace"], made["workspace"]);
    assert_eq!(command(&host, token, &["source", "create", "x"]).status.code(), Some(3));
    assert_eq!(command(&host, "", &["link", "open", link]).status.code(), Some(3), "it opens once");
    let id = made["id"].as_str().unwrap();
    assert!(run(&host, &root, &["link", "show", id, "--workspace", "acme"])["opened_at"].is_string());
    run(&host, &root, &["link", "revoke", id, "--workspace", "acme"]);
    assert_eq!(command(&host, token, &["source", "list"]).status.code(), Some(3));
    assert_eq!(run(&host, &root, &["link", "list", "--workspace", "acme"])["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_operators_key_is_made_anew_by_who_has_the_data_directory() {
    let (partner, data) = (Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start(data.path(), partner.address, None);
    let recover = |dir: &Path| {
        let mut command = Command::new(program());
        command.args(["--output", "json", "key", "recover", "--data"]).arg(dir);
        command.output().unwrap()
    };
    let running = recover(data.path());
    assert_eq!(running.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use by another tidegate process"), "{running:?}");
    assert!(host.stop().success());
    assert_eq!(recover(&data.path().join("nothing")).status.code(), Some(2));
    let made: Value = serde_json::from_slice(&recover(data.path()).stdout).unwrap();
    let token = made["token"].as_str().unwrap();
    let host = Host::start(data.path(), partner.address, Some(token));
    assert_eq!(run(&host, token, &["key", "list"])["items"].as_array().unwrap().len(), 2);
}
