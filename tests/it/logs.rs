//! `function logs`: what a function's versions did, over all destinations, and what comes while somebody watches.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::host::{Host, program};
use crate::http::{self, Partner};

const LOGS: &str = "/api/v1/functions/talker/logs";

/// Takes what is called `Good`, rejects everything else; either way it says so, with what would colour a terminal.
const SCRIPT: &str = "function onTrack(event) {\n\
    console.warn('\\u001b[31mgot', event.messageId);\n\
    if (event.event !== 'Good') throw new InvalidEventPayload('not good');\n}\n";

async fn upload(host: &Host, version: &str) -> Value {
    let form = format!(
        "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{SCRIPT}// {version}\r\n\
         --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n\
         name = \"talker\"\nversion = \"{version}\"\nevents = [\"track\"]\r\n--e--\r\n"
    );
    let bearer = format!("Bearer {}", host.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
    let made = http::send(host.admin, "POST", "/api/v1/functions", &headers, form.into_bytes()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

/// A host with two destinations of the function, and the write key of the source that feeds both.
async fn wired(data: &tempfile::TempDir) -> (Host, String) {
    let partner = Partner::start().await;
    let host = Host::start(data.path(), partner.address, None);
    upload(&host, "1").await;
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    for name in ["a", "b"] {
        let destination = json!({"name": name, "function": "talker", "settings": {}});
        let destination = host.api("POST", "/api/v1/destinations", destination).await;
        let connection = json!({"source": source["id"], "destination": destination["id"]});
        host.api("POST", "/api/v1/connections", connection).await;
    }
    (host, source["write_key"].as_str().unwrap().to_owned())
}

async fn send(host: &Host, write_key: &str, name: &str, ids: impl Iterator<Item = String>) {
    let event = |id: String| json!({"type": "track", "event": name, "userId": "u", "messageId": id});
    let body = json!({"writeKey": write_key, "batch": ids.map(event).collect::<Vec<_>>()});
    let headers = [("content-type", "application/json")];
    let answer = http::send(host.listen, "POST", "/v1/batch", &headers, body.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn command(host: &Host, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["function", "logs"]).args(args);
    command.env("TIDEGATE_SERVER", format!("http://{}", host.admin)).env("TIDEGATE_TOKEN", &host.token);
    command
}

fn run(host: &Host, args: &[&str]) -> Output {
    command(host, args).output().unwrap()
}

/// Ctrl-C.
fn interrupt(mut child: Child) -> Option<i32> {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

fn ids(logs: &Value) -> Vec<&str> {
    logs["items"].as_array().unwrap().iter().map(|item| item["message_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_every_failure_over_all_destinations_and_versions_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let (host, write_key) = wired(&data).await;
    for id in ["m1", "m2"] {
        send(&host, &write_key, "Bad", [id.to_owned()].into_iter()).await;
        host.drained().await;
    }
    let all = host.api("GET", LOGS, Value::Null).await;
    assert_eq!(ids(&all), ["m2", "m2", "m1", "m1"], "newest first, both destinations");
    let item = &all["items"][0];
    assert_ne!(item["destination"], all["items"][1]["destination"]);
    assert_eq!((&item["event_type"], &item["outcome"]["code"]), (&json!("track"), &json!("message_rejected")));
    let text = item["log"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("got m2") && !text.contains('\u{1b}'), "{text}");
    assert!(item.get("requests").is_none() && item.get("report").is_none(), "{item}");

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = host.api("GET", &format!("{LOGS}?limit=1{cursor}"), Value::Null).await;
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(json!(paged), all["items"]);

    let second = upload(&host, "2").await;
    host.api("POST", "/api/v1/functions/talker/versions/2/promote", json!({})).await;
    send(&host, &write_key, "Good", ["m3".to_owned()].into_iter()).await;
    host.drained().await;
    let since = host.api("GET", &format!("{LOGS}?since={}", all["newest"].as_str().unwrap()), Value::Null).await;
    assert_eq!(ids(&since), ["m3", "m3"], "the sample of successes");
    assert_eq!(since["items"][0]["version"], second["version"]["id"]);
    for (query, expected) in
        [("version=1", 4), ("version=2", 2), ("outcome=delivered", 2), ("version=2&outcome=retry", 0)]
    {
        let found = host.api("GET", &format!("{LOGS}?{query}"), Value::Null).await;
        assert_eq!(ids(&found).len(), expected, "{query}");
    }
    for (query, status) in [("cursor=x", 400), ("cursor=1&since=1", 400), ("outcome=fine", 400), ("version=9", 404)] {
        assert_eq!(host.try_api("GET", &format!("{LOGS}?{query}"), Value::Null).await.0, status, "{query}");
    }

    let output = run(&host, &["talker", "--limit", "3"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let heads: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!((heads.len(), text.lines().count()), (3, 6), "{text}");
    assert!(heads[0].contains("m2") && heads[2].contains("m3"), "the newest last: {text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert_eq!(run(&host, &["talker", "--outcome", "fine"]).status.code(), Some(2));
    assert_eq!(run(&host, &["nobody"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_shows_each_attempt_once_and_ends_with_ctrl_c() {
    let data = tempfile::tempdir().unwrap();
    let (host, write_key) = wired(&data).await;
    send(&host, &write_key, "Bad", (0..20).map(|n| format!("past-{n}"))).await;
    host.drained().await;
    let follow = ["--output", "json", "talker", "--follow", "--limit", "10"];
    let mut child = command(&host, &follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("a line").unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    let mut take = |most: usize| {
        (0..most).for_each(|_| {
            let item = next();
            let (delivery, attempt) = (item["delivery"].to_string(), item["attempt"].to_string());
            assert!(seen.insert((delivery, attempt)), "twice: {item}");
        });
    };
    take(10);
    for round in 0..3 {
        send(&host, &write_key, "Bad", (0..100).map(|n| format!("new-{round}-{n}"))).await;
    }
    take(600);
    host.drained().await;
    assert_eq!(seen.len(), 610);
    assert_eq!(interrupt(child), Some(0));
}
