//! What a function reads: a delivery, a trial and a run on the author's machine give it those fields and no others.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::host::{Host, program};
use crate::http::{self, Partner};

/// Posts the whole event as the function sees it, and what a batch has of it.
const ECHO: &str = "async function onTrack(event, settings) {
  await fetch(settings.url, { method: 'POST', body: JSON.stringify(event) });
}";

fn manifest(version: &str, reads: &str, partner: &Partner) -> String {
    format!(
        "name = \"echo\"\nversion = \"{version}\"\nevents = [\"track\"]\n{reads}[egress]\nallow = [\"{}\"]\n\
         [settings.url]\ntype = \"string\"\ndefault = \"{}/in\"\n[settings.key]\ntype = \"string\"\nlabel = \"API key\"\n\
         secret = true\nbind = [{{ origin = \"{}\", place = \"bearer\" }}]\n",
        partner.url(),
        partner.url(),
        partner.url()
    )
}

fn event() -> Value {
    json!({
        "type": "track", "messageId": "m-1", "userId": "ada", "anonymousId": "a-1", "event": "Bought",
        "properties": {"total": 3, "card": "4111"}, "context": {"ip": "1.2.3.4", "page": {"url": "https://a", "title": "A"}},
    })
}

const READS: &str = "reads = [\"userId\", \"event\", \"properties.total\", \"context.page.url\"]\n";

fn expected() -> Value {
    json!({
        "type": "track", "messageId": "m-1", "userId": "ada", "event": "Bought", "properties": {"total": 3},
        "context": {"page": {"url": "https://a"}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_and_a_trial_bring_the_declared_fields_and_no_others() {
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    host.push_source(ECHO, &manifest("1", READS, &partner)).await;
    let (source, _) = host.feed("echo", json!({})).await;
    let mut sent = event();
    sent["writeKey"] = source["write_key"].clone();
    let kind = [("content-type", "application/json")];
    let answer = http::send(host.listen, "POST", "/v1/track", &kind, sent.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200);
    host.drained().await;
    let mut got = partner.bodies().remove(0);
    assert!(got.as_object_mut().unwrap().remove("receivedAt").is_some(), "{got}");
    assert_eq!(got, expected());

    let trial = json!({"event": event(), "answers": []});
    let report = host.api("POST", "/api/v1/functions/echo/test", trial).await;
    let body: Value = serde_json::from_str(report["requests"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, expected());

    // Without a declaration it is everything, and that is shown.
    host.push_source(ECHO, &manifest("2", "", &partner)).await;
    let diff = host.api("GET", "/api/v1/functions/echo/versions/2/diff", Value::Null).await;
    assert_eq!(diff["fields"]["added"], json!(["*"]));
    assert_eq!(diff["wider"], json!(["It also reads everything of each event."]));
    host.api("POST", "/api/v1/functions/echo/versions/2/promote", json!({})).await;
    let trial = json!({"event": event(), "answers": []});
    let report = host.api("POST", "/api/v1/functions/echo/test", trial).await;
    let body: Value = serde_json::from_str(report["requests"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, event());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_told_in_plain_words_what_a_function_may_do() {
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    host.push_source(ECHO, &manifest("1", READS, &partner)).await;
    let access = host.api("GET", "/api/v1/functions/echo/access", Value::Null).await;
    assert_eq!(access["fields"], json!(["userId", "event", "properties.total", "context.page.url"]));
    let sentences = [
        format!("It sends to {}, and to nobody else.", partner.url()),
        "Of track events it gets userId, event, properties.total and context.page.url, and nothing else that they say."
            .to_owned(),
        format!(
            "It never sees your “API key”: this host writes it into its requests, as the key of those to {}.",
            partner.url()
        ),
    ];
    assert_eq!(access["sentences"], json!(sentences));
    let shown = host.api("GET", "/api/v1/functions/echo/versions/1", Value::Null).await;
    assert_eq!(shown["inspection"]["fields"], access["fields"]);
    for asked in [&["function", "show", "echo"][..], &["destination", "create", "E", "--function", "echo", "--dry-run"]]
    {
        let text = String::from_utf8(tidegate(&host, &host.token, asked).stdout).unwrap();
        for sentence in &sentences {
            assert!(text.contains(sentence), "{asked:?}: {text}");
        }
    }
    let made = host.api("GET", "/api/v1/destinations", Value::Null).await;
    assert_eq!(made["items"], json!([]), "nothing was made");
}

fn tidegate(host: &Host, token: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(args).env("TIDEGATE_SERVER", format!("http://{}", host.admin)).env("TIDEGATE_TOKEN", token);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_events_go_to_the_version_that_they_agreed_to_until_they_agree_to_more() {
    let partner = Partner::start().await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), partner.address, None);
    host.push_source(ECHO, &manifest("1", READS, &partner)).await;
    tidegate(&host, &host.token, &["workspace", "create", "acme"]);
    let json = |args: &[&str], token: &str| -> Value {
        let args = [&["--output", "json"], args].concat();
        serde_json::from_slice(&tidegate(&host, token, &args).stdout).unwrap()
    };
    let key = json(&["key", "create", "k", "--role", "workspace-admin", "--workspace", "acme"], &host.token);
    let customer = key["token"].as_str().unwrap();
    let source = json(&["source", "create", "web"], customer);
    let destination = json(&["destination", "create", "Echo", "--function", "echo"], customer);
    let id = destination["id"].as_str().unwrap();
    json(&["connection", "create", "--source", source["id"].as_str().unwrap(), "--destination", id], customer);
    let send = async |message: &str| {
        let mut sent = event();
        sent["writeKey"] = source["write_key"].clone();
        sent["messageId"] = message.into();
        let kind = [("content-type", "application/json")];
        let answer = http::send(host.listen, "POST", "/v1/track", &kind, sent.to_string().into_bytes()).await;
        assert_eq!(answer.status, 200);
        host.drained().await;
        partner.bodies().pop().unwrap()
    };
    assert_eq!(send("one").await.get("anonymousId"), None);
    // The operator's own promotion asks the customer all the same.
    host.push_source(ECHO, &manifest("2", "", &partner)).await;
    host.api("POST", "/api/v1/functions/echo/versions/2/promote", json!({})).await;
    assert_eq!(send("two").await.get("anonymousId"), None);
    let shown = tidegate(&host, customer, &["destination", "show", id]);
    assert!(String::from_utf8_lossy(&shown.stderr).contains("destination consent"), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("It also reads everything of each event."), "{shown:?}");
    json(&["destination", "consent", id], customer);
    assert_eq!(send("three").await["anonymousId"], "a-1");
}

#[test]
fn a_run_on_the_authors_machine_gives_the_declared_fields_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("handler.js"), "async function onTrack(event) { console.log(JSON.stringify(event)); }").unwrap();
    std::fs::write(at("function.toml"), format!("name = \"echo\"\nversion = \"1\"\nevents = [\"track\"]\n{READS}"))
        .unwrap();
    std::fs::write(at("event.json"), event().to_string()).unwrap();
    let run = Command::new(program())
        .args(["function", "run"])
        .arg(folder.path())
        .arg("--event")
        .arg(at("event.json"))
        .output()
        .unwrap();
    let report: Value =
        serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&run.stderr)));
    let logged: Value = serde_json::from_str(report["log"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(logged, expected());
    let check =
        Command::new(program()).args(["--output", "json", "function", "check"]).arg(folder.path()).output().unwrap();
    let checked: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(checked["reads"], json!(["userId", "event", "properties.total", "context.page.url"]));
}
