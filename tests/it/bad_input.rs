//! Bad input gets a message that names the value and the fix, and costs nobody's data.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::host::{Host, function, program};
use crate::http::{self, Answer, Partner};

/// A host with a source that feeds the webhook function.
async fn wired(data: &Path, partner: &Partner) -> (Host, String) {
    let host = Host::start(data, partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    (host, source["write_key"].as_str().unwrap().to_owned())
}

async fn post(host: &Host, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    http::send(host.listen, "POST", "/v1/batch", headers, body).await
}

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tracking_bodies_are_refused_by_name_and_the_next_good_event_arrives() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let (host, write_key) = wired(data.path(), &partner).await;
    let json = ("content-type", "application/json");
    let huge = format!("{{\"writeKey\":\"{write_key}\",\"batch\":[\"{}\"]}}", "x".repeat(10 << 20)).into_bytes();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "the bomb itself is small");
    let cases = [
        ("malformed JSON", "identity", b"{\"batch\": [".to_vec()),
        ("not UTF-8", "identity", vec![0xff, 0xfe, 0x00]),
        ("10 MB", "identity", huge),
        ("a gzip bomb", "gzip", bomb),
        ("broken gzip", "gzip", b"not gzip at all".to_vec()),
    ];
    for (name, encoding, body) in cases {
        let answer = post(&host, &[json, ("content-encoding", encoding)], body).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{name}");
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let error = answer.json();
        assert_eq!(error["success"], false, "{name}: {error}");
        for field in ["code", "message", "error"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{name}: no `{field}` in {error}");
        }
    }
    let unknown = json!({"writeKey": "no-such-key", "batch": [{"type": "track", "event": "x", "userId": "u"}]});
    let answer = post(&host, &[json], unknown.to_string().into_bytes()).await;
    assert!((400..500).contains(&answer.status), "an unknown write key: {} {}", answer.status, answer.text());
    assert!(answer.text().contains("write"), "the message names what is wrong: {}", answer.text());

    // Invalid events do not cost their batch, and are not refused to the client.
    let mixed = json!({"writeKey": write_key, "batch": [
        {"type": "track", "userId": "u", "messageId": "no-event-name"},
        {"type": "sing", "userId": "u", "messageId": "no-such-type"},
        {"type": "track", "event": "Good", "userId": "u", "messageId": "good"},
    ]});
    let answer = post(&host, &[json], mixed.to_string().into_bytes()).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
    let ledger = host.drained().await;
    assert_eq!(ledger["delivered"], 1, "{ledger}");
    assert_eq!(partner.bodies()[0]["messageId"], "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_numbers_and_texts_that_many_cannot_read_is_delivered_and_shown() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let (host, write_key) = wired(data.path(), &partner).await;
    let odd = r#"{"n":1e999,"digits":12345678901234567890123.50,"cut":"so \ud83d"}"#;
    let event = format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"odd","properties":{odd}}}"#);
    let body = format!(r#"{{"writeKey":"{write_key}","batch":[{event}]}}"#).into_bytes();
    assert_eq!(post(&host, &[("content-type", "application/json")], body).await.status, 200);
    assert_eq!(host.drained().await["delivered"], 1);
    let kept = r#"{"n":1e999,"digits":12345678901234567890123.50,"cut":"so \ufffd"}"#;
    let sent = partner.received.lock().unwrap()[0].body.clone();
    assert!(String::from_utf8_lossy(&sent).contains(kept), "{}", String::from_utf8_lossy(&sent));
    let deliveries = host.api("GET", "/api/v1/deliveries", Value::Null).await;
    let path = format!("/api/v1/deliveries/{}", deliveries["items"][0]["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", host.token);
    let shown = http::send(host.admin, "GET", &path, &[("authorization", &bearer)], Vec::new()).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(shown.text().contains(kept), "{}", shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_no_components_are_refused_by_what_they_are() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let elf = std::fs::read(program()).unwrap()[..4096].to_vec();
    let cases = [
        ("a core module", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("an ELF file", elf, "ELF"),
        ("a truncated component", component[..component.len() / 2].to_vec(), ""),
        ("a gzipped component", gzip(&component), "gzip"),
        ("nothing", Vec::new(), ""),
    ];
    let bearer = format!("Bearer {}", host.token);
    for (name, body, wanted) in cases {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/wasm")];
        let answer = http::send(host.admin, "POST", "/api/v1/functions", &headers, body).await;
        assert!((400..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
        let problem = answer.json();
        assert!(problem["code"].is_string(), "{name}: {problem}");
        assert!(problem["detail"].as_str().unwrap_or_default().contains(wanted), "{name}: {problem}");
    }
    let functions = host.api("GET", "/api/v1/functions", Value::Null).await;
    assert_eq!(functions["items"], json!([]), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_the_manifest_are_refused_by_name_and_without_a_key_nothing_is_answered() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    host.push(&std::fs::read(function("slack")).unwrap()).await;
    for (settings, wanted) in [
        (json!({"webhook_path": 5}), "webhook_path"),
        (json!({}), "webhook_path"),
        (json!({"webhook_path": "/x", "colour": "red"}), "colour"),
    ] {
        let body = json!({"name": "bad", "function": "slack", "settings": settings});
        let (status, problem) = host.try_api("POST", "/api/v1/destinations", body).await;
        assert!((400..500).contains(&status), "{settings}: {status} {problem}");
        assert!(problem.to_string().contains(wanted), "{settings}: {problem}");
    }
    let (status, problem) = host.try_api("POST", "/api/v1/sources", json!({"nmae": "typo"})).await;
    assert!((400..500).contains(&status) && problem.to_string().contains("nmae"), "{status} {problem}");
    for token in ["", "Bearer nonsense", "Bearer tgk_00000000000000000000000000000000"] {
        let answer = http::send(host.admin, "GET", "/api/v1/sources", &[("authorization", token)], Vec::new()).await;
        assert_eq!(answer.status, 401, "`{token}`: {}", answer.text());
    }
}

fn tidegate(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_bad_configuration_is_named_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("tidegate.toml");
    let cases = [
        ("lisen = \"127.0.0.1:0\"\n", "lisen"),
        ("[ingest]\nbody_bytes = \"much\"\n", "body_bytes"),
        ("[delivery]\nin_flight = 0\n", "in_flight"),
        ("listen = \"nowhere\"\n", "nowhere"),
    ];
    for (text, wanted) in cases {
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        for args in
            [&["serve", "--config", file, "--data", data.to_str().unwrap()][..], &["config", "check", "--config", file]]
        {
            let output = tidegate(args, &[]);
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(64), "{text}: {message}");
            assert!(message.contains(wanted), "{text}: {message}");
            assert!(output.stdout.is_empty(), "{text}: nothing was said to be ready");
        }
    }
    let output = tidegate(&["config", "check"], &[("TIDEGATE__INGEST__BODY_BITES", "1")]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).to_lowercase().contains("body_bites"));
    assert!(!data.exists(), "no data directory was made");
}

#[test]
fn a_manifest_with_a_typo_is_refused_with_the_name_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.wat"), "(module)").unwrap();
    std::fs::write(
        folder.path().join("function.toml"),
        "name = \"typo\"\nversion = \"1.0.0\"\nevents = [\"track\"]\n[egress]\nalow = [\"https://example.com\"]\n",
    )
    .unwrap();
    let output = tidegate(&["function", "build", folder.path().to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("alow"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_same_data_directory_refuses_to_start() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let first = Host::start(data.path(), partner.address, None);
    let variables = [("TIDEGATE__LISTEN", "127.0.0.1:0"), ("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0")];
    let second = tidegate(&["serve", "--data", data.path().to_str().unwrap()], &variables);
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains(data.path().to_str().unwrap()), "{message}");
    assert_eq!(first.ledger().await["accepted"], 0, "the first goes on");
}
