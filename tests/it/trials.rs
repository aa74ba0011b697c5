//! Trying a function on a host: `POST /api/v1/functions/{id}/test` and `function run --remote`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::host::{Host, function, program};
use crate::http::{self, Partner};

const TEST: &str = "/api/v1/functions/webhook/test";

async fn with_webhook(data: &tempfile::TempDir, partner: &Partner) -> Host {
    let host = Host::start(data.path(), partner.address, None);
    host.push(&std::fs::read(function("webhook")).unwrap()).await;
    host
}

fn event() -> Value {
    json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_with_answers_sends_nothing_and_reports_everything_without_secrets() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = with_webhook(&data, &partner).await;
    let settings = json!({"url": partner.url(), "api_key": "s3cret-value"});
    let body = json!({"event": event(), "settings": settings, "answers": [{"status": 429}]});
    let report = host.api("POST", TEST, body).await;
    assert_eq!(
        (&report["outcome"]["code"], &report["outcome"]["retryable"]),
        (&json!("retry"), &json!(true)),
        "{report}"
    );
    assert_eq!(report["requests"][0]["status"], 429, "{report}");
    assert!(report["log"].is_array() && report["used"]["requests"] == 1 && report["limits"]["cpu_ms"].is_u64());
    assert!(!report.to_string().contains("s3cret"), "{report}");
    let events = json!({"events": [event(), event()], "settings": settings, "answers": []});
    let report = host.api("POST", TEST, events).await;
    assert_eq!(report["outcomes"].as_array().unwrap().len(), 2, "{report}");
    assert!(partner.received.lock().unwrap().is_empty(), "nothing goes out");
    assert_eq!(host.ledger().await["accepted"], 0, "no delivery is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_without_answers_goes_through_the_hosts_gate_under_the_hosts_rules() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = with_webhook(&data, &partner).await;
    let report = host.api("POST", TEST, json!({"event": event(), "settings": {"url": partner.url()}})).await;
    assert_eq!((&report["outcome"]["code"], &report["requests"][0]["answer"]), (&json!("delivered"), &json!("ok")));
    assert_eq!(partner.bodies()[0]["messageId"], "m");
    // A name is asked for when it is used.
    let report =
        host.api("POST", TEST, json!({"event": event(), "settings": {"url": "https://a.invalid.example"}})).await;
    assert_ne!(report["outcome"]["code"], "delivered", "{report}");
    assert!(report["requests"][0]["status"].is_null(), "{report}");
    // What is known to be closed is refused before anything runs.
    let own = format!("http://{}", host.admin);
    for url in [own.as_str(), "http://127.0.0.1:1", "https://169.254.169.254"] {
        let closed = json!({"event": event(), "settings": {"url": url}});
        let (status, problem) = host.try_api("POST", TEST, closed).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_settings")), "{problem}");
    }
}

/// How long the threads of a host that are called so have been on a processor, in milliseconds.
fn on_processor(host: &Host, name: &str) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("Linux");
    let read = |path: &std::path::Path, file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
    let of = threads.flatten().map(|thread| thread.path()).filter(|path| read(path, "comm").trim_end() == name);
    of.map(|path| {
        read(&path, "schedstat").split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e6
    })
    .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_computes_on_the_threads_of_guests_and_not_on_those_of_the_listeners() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    host.push_source(
        "async function onTrack() { for (;;); }",
        "name = \"spinner\"\nversion = \"1\"\nevents = [\"track\"]\n",
    )
    .await;
    let before = on_processor(&host, "tidegate-guests");
    let report = host.api("POST", "/api/v1/functions/spinner/test", json!({"event": event(), "settings": {}})).await;
    assert_eq!(report["outcome"]["code"], "limit_exceeded", "{report}");
    let (used, there) = (report["used"]["cpu_ms"].as_f64().unwrap(), on_processor(&host, "tidegate-guests") - before);
    assert!(used >= 100.0 && there >= used * 0.9, "{used} ms, of which {there} on the threads of guests");
}

/// A host with trials that do not end, since the partner lets everybody connect and says nothing.
struct Silent {
    host: Host,
    body: Value,
    trying: JoinSet<(u16, Value)>,
    _partner: std::net::TcpListener,
}

impl Silent {
    async fn start(data: &tempfile::TempDir) -> Self {
        let partner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = partner.local_addr().unwrap();
        let host = Host::start_with(data.path(), address, None, &[("TIDEGATE__LIMITS__DEADLINE_MS", "600000")]);
        host.push(&std::fs::read(function("webhook")).unwrap()).await;
        host.api("POST", "/api/v1/workspaces", json!({"name": "neighbours"})).await;
        let body = json!({"event": event(), "settings": {"url": format!("http://{address}")}});
        Self { host, body, trying: JoinSet::new(), _partner: partner }
    }

    /// One more trial, by an operator who works in this workspace.
    fn tries(&mut self, workspace: &'static str) {
        let (bearer, admin) = (format!("Bearer {}", self.host.token), self.host.admin);
        let body = self.body.to_string().into_bytes();
        self.trying.spawn(async move { tried(admin, &bearer, workspace, body).await });
    }

    /// What the first that ends came to: those that run do not end.
    async fn refused(&mut self) -> (u16, Value) {
        self.trying.join_next().await.unwrap().unwrap()
    }
}

async fn tried(admin: std::net::SocketAddr, bearer: &str, workspace: &str, body: Vec<u8>) -> (u16, Value) {
    let headers = [("authorization", bearer), ("content-type", "application/json"), ("tidegate-workspace", workspace)];
    let answer = http::send(admin, "POST", TEST, &headers, body).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_its_share_of_the_places_of_trials_and_the_others_are_left_to_others() {
    let data = tempfile::tempdir().unwrap();
    let mut silent = Silent::start(&data).await;
    (0..3).for_each(|_| silent.tries("default"));
    // One finds no place of its own, so its tenant has all that it may have.
    let (status, problem) = silent.refused().await;
    assert_eq!((status, &problem["code"]), (429, &json!("too_many_trials")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().starts_with("2 of your trials"), "{problem}");
    let mut body = silent.body.clone();
    body["answers"] = json!([{"status": 200}]);
    let bearer = format!("Bearer {}", silent.host.token);
    let (status, report) = tried(silent.host.admin, &bearer, "neighbours", body.to_string().into_bytes()).await;
    assert_eq!((status, &report["outcome"]["code"]), (200, &json!("delivered")), "{report}");
    // What has ended leaves its place.
    (0..3).for_each(|_| silent.tries("neighbours"));
    assert_eq!(silent.refused().await.1["code"], "too_many_trials");
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_of_uploads_run_while_every_place_of_trials_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let mut silent = Silent::start(&data).await;
    silent.host.api("POST", "/api/v1/workspaces", json!({"name": "others"})).await;
    ["default", "default", "neighbours", "neighbours", "others"].into_iter().for_each(|name| silent.tries(name));
    // One of them finds no place, so the others have them all.
    let (status, problem) = silent.refused().await;
    assert_eq!((status, &problem["code"]), (503, &json!("busy")), "{problem}");
    let case = r#"{"name": "a track", "event": {"type": "track", "messageId": "m"}, "outcome": {"code": "delivered"}}"#;
    let form = format!(
        "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\nasync function onTrack() {{}}\r\n\
         --e\r\ncontent-disposition: form-data; name=\"cases/a.json\"\r\n\r\n{case}\r\n--e--\r\n"
    );
    let bearer = format!("Bearer {}", silent.host.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
    let path = "/api/v1/functions?name=plain";
    let uploading = http::send(silent.host.admin, "POST", path, &headers, form.into_bytes());
    let uploaded = tokio::select! {
        uploaded = uploading => uploaded,
        ended = silent.trying.join_next() => panic!("a trial gave its place back: {ended:?}"),
    };
    assert_eq!(uploaded.status, 201, "{}", uploaded.text());
    assert_eq!(uploaded.json()["cases"][0]["passed"], true, "{}", uploaded.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_cannot_be_is_refused_by_what_is_wrong() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = with_webhook(&data, &partner).await;
    let settings = json!({"url": "https://example.com"});
    let cases = [
        (json!({"settings": settings}), 422, "invalid_event"),
        (json!({"event": event(), "events": [event()], "settings": settings}), 422, "invalid_event"),
        (json!({"events": [], "settings": settings}), 422, "invalid_event"),
        (json!({"events": vec![event(); 1001], "settings": settings}), 422, "invalid_event"),
        (json!({"event": {"userId": "u"}, "settings": settings}), 422, "invalid_event"),
        (json!({"event": {"type": "buy"}, "settings": settings}), 422, "invalid_event"),
        (json!({"event": event(), "settings": {}}), 422, "invalid_settings"),
        (json!({"event": event(), "settings": settings, "answers": [{"status": 99}]}), 422, "invalid_answers"),
        (json!({"event": event(), "settings": settings, "allow": ["https://evil.example"]}), 400, "invalid_field"),
        (json!({"event": event(), "settings": settings, "version": "9.9"}), 404, "not_found"),
        (json!({"event": event(), "settings": settings, "now": "noon"}), 400, "invalid_field"),
    ];
    for (body, status, code) in cases {
        let (found, problem) = host.try_api("POST", TEST, body.clone()).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{body}: {problem}");
    }
    let json = [("content-type", "application/json")];
    let body = json!({"event": event(), "settings": settings, "answers": []}).to_string().into_bytes();
    assert_eq!(http::send(host.admin, "POST", TEST, &json, body).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_the_randomness_and_the_version_of_a_trial_can_be_chosen() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let bearer = format!("Bearer {}", host.token);
    for version in ["1", "2"] {
        let form = format!(
            "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n\
             function onTrack() {{ console.log({version}, new Date().toISOString(), Math.random()); }}\r\n\
             --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n\
             name = \"dice\"\nversion = \"{version}\"\nevents = [\"track\"]\r\n--e--\r\n"
        );
        let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
        let made = http::send(host.admin, "POST", "/api/v1/functions", &headers, form.into_bytes()).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let run = async |more: Value| {
        let mut body = json!({"event": event(), "answers": [], "now": "2026-01-02T03:04:05.000Z"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let report = host.api("POST", "/api/v1/functions/dice/test", body).await;
        report["log"][0]["text"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
    };
    let first = run(json!({"seed": 7})).await;
    assert!(first.starts_with("1 2026-01-02T03:04:05.000Z "), "{first}");
    assert_eq!(run(json!({"seed": 7})).await, first);
    assert_ne!(run(json!({"seed": 8})).await, first);
    assert!(run(json!({"version": "2"})).await.starts_with("2 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_with_remote_prints_the_hosts_report() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = with_webhook(&data, &partner).await;
    let settings = data.path().join("settings.json");
    std::fs::write(&settings, json!({"url": partner.url()}).to_string()).unwrap();
    let run = |name: &str| {
        let mut child = Command::new(program())
            .args(["function", "run", name, "--remote", "--event", "-", "--settings"])
            .arg(&settings)
            .env("TIDEGATE_SERVER", format!("http://{}", host.admin))
            .env("TIDEGATE_TOKEN", &host.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(event().to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = run("webhook");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"]["code"], "delivered");
    assert_eq!(partner.bodies().len(), 1);
    assert_eq!(run("nobody").status.code(), Some(1));
}
