//! What a setting may be, asked of the function itself, in the real sandbox and through the gate.

use std::process::Command;

use serde_json::{Value, json};
use tidegate::catalog::{component_from_core, inspect};

use crate::host::{Host, program};
use crate::http::Partner;

const MANIFEST: &str = r#"name = "lists"
version = "1"
events = ["track"]
[egress]
allow = ["{settings.own}"]
[settings.own]
type = "string"
required = true
[settings.key]
type = "string"
secret = true
required = true
bind = [{ origin = "{settings.own}", place = "bearer" }]
[settings.list]
type = "string"
choices_from = "function"
[settings.plain]
type = "string"
[settings.shown]
type = "string"
secret = true
reveal = true
"#;

/// Says that every setting may be `eu` or `us`, the second of which is labelled. The first number of an answer is its case, here "ok".
const WAT: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 16) "eu" "us" "United")
  (data (i32.const 64) "\10\00\00\00" "\02\00\00\00" "\00\00\00\00" "\00\00\00\00")
  (data (i32.const 80) "\12\00\00\00" "\02\00\00\00" "\14\00\00\00" "\06\00\00\00")
  (data (i32.const 128) "\00\00\00\00" "\40\00\00\00" "\02\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "tidegate:destination/choices@0.1.0#get-choices") (param i32 i32 i32 i32) (result i32) (i32.const 128))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32) (i32.const 0))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32)
    (i32.const 0)))"#;

/// Asks the partner with the key, and does what it should not where the name of the setting's present value says so.
const HANDLER: &str = r#"
async function onTrack(event, settings) {}

async function onChoices(setting, settings) {
  if (settings.plain === 'throw') throw new InvalidSettings(`the key ${settings.key} is wrong`);
  if (settings.plain === 'many') return Array.from({ length: 1001 }, (_, n) => `n${n}`);
  if (settings.plain === 'strange') return [{ label: 'no value' }];
  if (settings.plain === 'none') return undefined;
  if (settings.plain === 'spin') for (;;);
  if (settings.plain === 'shown') return [{ value: `v-${settings.shown}`, label: `${settings.shown} ${settings.key}` }];
  const response = await fetch(`${settings.own}/lists`, { headers: { authorization: `Bearer ${settings.key}` } });
  const lists = JSON.parse(response.headers.get('x-lists'));
  return [setting, ...lists.map(({ id, name }) => ({ value: id, label: name }))];
}
"#;

async fn host(data: &std::path::Path) -> (Host, Partner) {
    let lists = r#"[{"id":"l1","name":"News"},{"id":"l2","name":"Offers"}]"#;
    let partner = Partner::answering(move |_| (200, vec![("x-lists", lists.to_owned())])).await;
    let host = Host::start(data, partner.address, None);
    host.push_source(HANDLER, MANIFEST).await;
    (host, partner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_says_what_a_setting_may_be_with_a_secret_that_it_does_not_have() {
    let data = tempfile::tempdir().unwrap();
    let (host, partner) = host(data.path()).await;
    let settings = json!({"own": partner.url(), "key": "canary-1"});
    let asked = json!({"setting": "list", "settings": settings});
    let before = host.api("POST", "/api/v1/functions/lists/choices", asked).await;
    let expected = json!([
        {"value": "list", "label": ""}, {"value": "l1", "label": "News"}, {"value": "l2", "label": "Offers"},
    ]);
    assert_eq!((&before["choices"], &before["requests"]), (&expected, &json!(1)));
    let (_, destination) = host.feed("lists", settings).await;
    let id = destination["id"].as_str().unwrap();
    let output = Command::new(program())
        .args(["destination", "choices", id, "list", "--output", "json"])
        .env("TIDEGATE_SERVER", format!("http://{}", host.admin))
        .env("TIDEGATE_TOKEN", &host.token)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["choices"], expected);
    // Settings that a person is changing, with the saved secret, and with another one.
    let at = format!("/api/v1/destinations/{id}/choices");
    let masked = json!({"own": partner.url(), "key": "••••"});
    assert_eq!(host.api("POST", &at, json!({"setting": "list", "settings": masked})).await["choices"], expected);
    let typed = json!({"own": partner.url(), "key": "canary-2"});
    host.api("POST", &at, json!({"setting": "list", "settings": typed})).await;
    let keys: Vec<_> = partner
        .received
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.headers["authorization"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["Bearer canary-1", "Bearer canary-1", "Bearer canary-1", "Bearer canary-2"]);
    assert_eq!(host.ledger().await["accepted"], 0, "no delivery is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_are_told_without_secrets() {
    let data = tempfile::tempdir().unwrap();
    let (host, partner) = host(data.path()).await;
    let settings = json!({"own": partner.url(), "key": "canary-4", "shown": "canary-5", "plain": "shown"});
    let given =
        host.api("POST", "/api/v1/functions/lists/choices", json!({"setting": "list", "settings": settings})).await;
    let expected = json!([{"value": "v-{secret.shown}", "label": "{secret.shown} {secret.key}"}]);
    assert_eq!(given["choices"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_function_gives_no_choices_its_reason_is_told_without_secrets() {
    let data = tempfile::tempdir().unwrap();
    let (host, partner) = host(data.path()).await;
    let ask = async |setting: &str, plain: &str| {
        let settings = json!({"own": partner.url(), "key": "canary-3", "plain": plain});
        let asked = json!({"setting": setting, "settings": settings});
        let (status, problem) = host.try_api("POST", "/api/v1/functions/lists/choices", asked).await;
        assert_eq!((status, &problem["code"]), (422, &json!("no_choices")), "{plain}: {problem}");
        assert!(!problem.to_string().contains("canary"), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    for (plain, expected) in [
        ("throw", "the key {secret.key} is wrong"),
        ("many", "1001 choices"),
        ("strange", "neither a string nor { value, label }"),
        ("none", "onChoices returned undefined, not a list"),
        ("spin", "cpu"),
    ] {
        let said = ask("list", plain).await;
        assert!(said.to_lowercase().contains(&expected.to_lowercase()), "{plain}: {said}");
    }
    assert!(ask("plain", "").await.contains("no such setting with `choices_from`"));
    assert!(ask("nothing", "").await.contains("`nothing`"));
    let unreachable = json!({"setting": "list", "settings": {"key": "k"}});
    let (status, problem) = host.try_api("POST", "/api/v1/functions/lists/choices", unreachable).await;
    assert_eq!(status, 422, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_in_another_language_is_asked_too_and_one_that_cannot_be_is_refused_when_it_comes() {
    let manifest = "name = \"regions\"\nversion = \"1\"\nevents = [\"track\"]\n\
                    [settings.region]\ntype = \"string\"\nchoices_from = \"function\"\n";
    let older = component_from_core(include_bytes!("../guests/delivered.wat"), manifest).unwrap();
    let refused = inspect(&older).unwrap_err().to_string();
    assert!(refused.contains("`region`") && refused.contains("build it anew"), "{refused}");
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    host.push(&component_from_core(WAT.as_bytes(), manifest).unwrap()).await;
    let given = host.api("POST", "/api/v1/functions/regions/choices", json!({"setting": "region"})).await;
    let expected = json!([{"value": "eu", "label": ""}, {"value": "us", "label": "United"}]);
    assert_eq!(given["choices"], expected);
    // Other values are taken too: a partner's lists change.
    host.feed("regions", json!({"region": "asia"})).await;
}
