//! Uploads that mean harm, and those that do not, at a real host: each is compiled in a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::{Host, PATIENCE, function, program};
use crate::http::{self, Answer, Partner};

const DELIVERED: &str = include_str!("../guests/delivered.wat");

/// 200 KB within every structural cap, for which the compiler would take gigabytes: thousands of variables over
/// thousands of branches.
fn compile_bomb() -> Vec<u8> {
    const LOCALS: usize = 3000;
    let step = |at: usize| {
        let [condition, to, one, other] = [at, at * 7, at * 13, at * 3].map(|number| number % LOCALS);
        format!(
            "(block (br_if 0 (local.get {condition}))
               (local.set {to} (i32.add (local.get {one}) (local.get {other}))))"
        )
    };
    let body: String = (0..12_000).map(step).collect();
    let locals = "i32 ".repeat(LOCALS);
    let bomb = format!("(func (param i32) (local {locals}) (loop {body} (br_if 0 (local.get 0)))))");
    let module = format!("{}{bomb}", DELIVERED.trim_end().strip_suffix(')').unwrap());
    component_from_core(module.as_bytes(), "name = \"bomb\"\nversion = \"1\"\nevents = [\"track\"]\n").unwrap()
}

fn harmless() -> Vec<u8> {
    component_from_core(DELIVERED.as_bytes(), "name = \"calm\"\nversion = \"1\"\nevents = [\"track\"]\n").unwrap()
}

async fn upload(host: &Host, query: &str, kind: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {}", host.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
    http::send(host.admin, "POST", &format!("/api/v1/functions{query}"), &headers, body.to_vec()).await
}

fn is_problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json()["code"], code, "{}", answer.text());
    answer.json()
}

/// The process that the host has started for an upload, once there is one.
async fn worker(host: &Host) -> u32 {
    let start = Instant::now();
    loop {
        let processes =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let child = format!("PPid:\t{}", host.pid());
        let found = processes.filter_map(|name| name.parse::<u32>().ok()).find(|pid| {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            // Until it has become another program, it is a copy of the host.
            read("cmdline").contains("compile-worker") && read("status").lines().any(|line| line == child)
        });
        if let Some(pid) = found {
            return pid;
        }
        assert!(start.elapsed() < PATIENCE, "no process for the upload");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn nothing_is_stored(host: &Host) {
    let functions = host.api("GET", "/api/v1/functions", Value::Null).await;
    assert_eq!(functions["items"], json!([]), "no half of a version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_ends_with_the_name_of_the_limit_that_it_met() {
    let bounds = [
        ("CPU_S", "1", "control.upload_cpu_s"),
        ("MEMORY_BYTES", "200000000", "control.upload_memory_bytes"),
        ("DEADLINE_S", "1", "control.upload_deadline_s"),
    ];
    for (variable, value, option) in bounds {
        let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
        let variable = format!("TIDEGATE__CONTROL__UPLOAD_{variable}");
        let host = Host::start_with(data.path(), partner.address, None, &[(&variable, value)]);
        let problem =
            is_problem(&upload(&host, "", "application/wasm", &compile_bomb()).await, 422, "upload_limit_exceeded");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(option) && detail.contains(value), "{detail}");
        nothing_is_stored(&host).await;
        assert_eq!(upload(&host, "", "application/wasm", &harmless()).await.status, 201, "{option}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_serves_while_a_bomb_compiles_and_a_process_that_is_killed_leaves_nothing() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let bomb = compile_bomb();
    let (answer, ()) = tokio::join!(upload(&host, "", "application/wasm", &bomb), async {
        let pid = worker(&host).await;
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        let known = environment.split('\0').filter(|variable| !variable.is_empty());
        let of_the_host: Vec<_> = known.filter(|variable| !variable.starts_with("MIMALLOC_")).collect();
        assert!(of_the_host.is_empty(), "the process knows nothing of the host but how to allocate: {of_the_host:?}");
        assert_eq!(http::send(host.admin, "GET", "/livez", &[], Vec::new()).await.status, 200);
        let event = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"});
        let body = json!({"writeKey": source["write_key"], "batch": [event]}).to_string().into_bytes();
        let json = [("content-type", "application/json")];
        assert_eq!(http::send(host.listen, "POST", "/v1/batch", &json, body).await.status, 200);
        assert_eq!(host.drained().await["delivered"], 1);
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "it was compiling all the time");
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    });
    is_problem(&answer, 503, "upload_interrupted");
    let functions = host.api("GET", "/api/v1/functions", Value::Null).await;
    assert_eq!(functions["items"].as_array().unwrap().len(), 1, "only the webhook: {functions}");
    assert_eq!(upload(&host, "", "application/wasm", &harmless()).await.status, 201);
}

/// An upload of which the host has begun to read the body, and which does not come to its end.
async fn unfinished(host: &Host, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host.admin).await.unwrap();
    let head = format!(
        "POST /api/v1/functions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/wasm\r\n\
         content-length: 3000000\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = [0; 25];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    // More than waits in memory.
    stream.write_all(&vec![0; 2_500_000]).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_come_slowly_hold_up_no_other_partner_and_leave_nothing() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start_with(data.path(), partner.address, None, &[("TIDEGATE__CONTROL__CONCURRENT_UPLOADS", "1")]);
    let mut slow = Vec::new();
    for name in ["slow", "slower"] {
        let made = host.api("POST", "/api/v1/partners", json!({"name": name})).await;
        let key = json!({"name": name, "role": "partner-developer", "partner": made["id"]});
        let key = host.api("POST", "/api/v1/keys", key).await;
        slow.push(unfinished(&host, key["token"].as_str().unwrap()).await);
    }
    assert_eq!(upload(&host, "", "application/wasm", &harmless()).await.status, 201, "while the others are coming");
    // What is there after all is worked on as ever.
    slow[0].write_all(&vec![0; 500_000]).await.unwrap();
    let mut answer = vec![0; 12];
    slow[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 422");
    drop(slow);
    let entries =
        std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = entries.filter(|name| name.starts_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partners_bomb_delays_no_other_partners_upload() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let mut tokens = Vec::new();
    for name in ["bombers", "others"] {
        let made = host.api("POST", "/api/v1/partners", json!({"name": name})).await;
        let key = json!({"name": name, "role": "partner-developer", "partner": made["id"]});
        tokens.push(host.api("POST", "/api/v1/keys", key).await["token"].as_str().unwrap().to_owned());
    }
    let upload = async |token: &str, component: Vec<u8>| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/wasm")];
        http::send(host.admin, "POST", "/api/v1/functions", &headers, component).await
    };
    let attack = async {
        // Each waits for the one before it, and none of them has compiled when the others have.
        tokio::join!(upload(&tokens[0], compile_bomb()), upload(&tokens[0], compile_bomb()));
    };
    let others = async {
        let bomb = worker(&host).await;
        for version in 1..=3 {
            let manifest = format!("name = \"calm\"\nversion = \"{version}\"\nevents = [\"track\"]\n");
            let component = component_from_core(DELIVERED.as_bytes(), &manifest).unwrap();
            let made = upload(&tokens[1], component).await;
            assert_eq!(made.status, 201, "{}", made.text());
        }
        assert!(Path::new(&format!("/proc/{bomb}")).exists(), "it was compiling all the time");
    };
    tokio::select! {
        () = attack => panic!("the bombs were compiled before the others' uploads"),
        () = others => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_is_uploaded_as_it_is_and_delivers_under_its_name() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let source = "async function onTrack(event) {\n  if (event.event === 'never') consol.log(1);\n}\n";
    let made = upload(&host, "?name=to-nobody", "text/javascript", source.as_bytes()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(
        (&made["function"]["name"], &made["version"]["manifest"]["events"]),
        (&json!("to-nobody"), &json!(["track"]))
    );
    let finding = &made["findings"][0];
    assert_eq!(
        (&finding["line"], &finding["column"], &finding["severity"]),
        (&json!(2), &json!(32), &json!("warning"))
    );
    let again = upload(&host, "?name=to-nobody", "text/javascript", source.as_bytes()).await.json();
    assert_eq!(again["version"]["id"], made["version"]["id"], "the same text is the same version");

    let manifest =
        format!("name = \"caller\"\nversion = \"2\"\nevents = [\"track\"]\negress.allow = [\"{}\"]\n", partner.url());
    let script = format!(
        "async function onTrack(event) {{ await fetch('{}/in', {{method: 'POST', body: 'b'}}); }}",
        partner.url()
    );
    let form = format!(
        "--edge\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{script}\r\n\
         --edge\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n{manifest}\r\n--edge--\r\n"
    );
    let made = upload(&host, "", "multipart/form-data; boundary=edge", form.as_bytes()).await;
    assert_eq!((made.status, &made.json()["version"]["version"]), (201, &json!("2")), "{}", made.text());
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    let destination =
        host.api("POST", "/api/v1/destinations", json!({"name": "d", "function": "caller", "settings": {}})).await;
    host.api("POST", "/api/v1/connections", json!({"source": source["id"], "destination": destination["id"]})).await;
    let event = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"});
    let body = json!({"writeKey": source["write_key"], "batch": [event]}).to_string().into_bytes();
    http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!(host.drained().await["delivered"], 1);
    assert_eq!(partner.received.lock().unwrap()[0].path, "/in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compiled_again_is_compiled_under_the_same_bounds_and_costs_no_delivery() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let token = host.token.clone();
    assert_eq!(upload(&host, "?name=f", "text/javascript", b"function onTrack() {}").await.status, 201);
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    let destination =
        host.api("POST", "/api/v1/destinations", json!({"name": "d", "function": "f", "settings": {}})).await;
    host.api("POST", "/api/v1/connections", json!({"source": source["id"], "destination": destination["id"]})).await;
    assert!(host.stop().success());

    let forget = || std::fs::remove_dir_all(data.path().join("compiled")).unwrap();
    forget();
    let small = [("TIDEGATE__CONTROL__UPLOAD_MEMORY_BYTES", "67108864")];
    let host = Host::start_with(data.path(), partner.address, Some(&token), &small);
    let body = json!({"event": {"type": "track"}, "answers": []});
    assert_eq!(host.try_api("POST", "/api/v1/functions/f/test", body).await.0, 500, "its code is not to be had");
    let event = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"});
    let body = json!({"writeKey": source["write_key"], "batch": [event]}).to_string().into_bytes();
    http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert!(host.stop().success());

    let host = Host::start(data.path(), partner.address, Some(&token));
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(1), &json!(0)), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_that_cannot_be_built_is_refused_with_every_place() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let cases = [
        ("async function onTrack() {\n  é(;\n}", (2, 5), "SyntaxError"),
        ("\nthrow new TypeError('no');", (2, 11), "TypeError: no"),
        ("function onTrack() {}\nwhile (true);", (1, 1), "takes too long"),
        ("const x = [];\nfor (;;) x.push(new Array(1e5).fill(1));", (2, 32), "out of memory"),
        ("const nothing = 1;", (1, 1), "has no handler"),
    ];
    for (source, (line, column), text) in cases {
        let problem =
            is_problem(&upload(&host, "?name=f", "text/javascript", source.as_bytes()).await, 422, "invalid_source");
        let finding = &problem["findings"][0];
        assert!(finding["message"].as_str().unwrap().contains(text), "{problem}");
        assert_eq!((&finding["line"], &finding["column"]), (&json!(line), &json!(column)), "{problem}");
        assert_eq!(finding["file"], "f.js");
    }
    let typed =
        "enum A { B }\nexport async function onTrack(event: A): Promise<void> {}\nthrow new TypeError('no') as never;";
    let problem =
        is_problem(&upload(&host, "?name=f", "text/typescript", typed.as_bytes()).await, 422, "invalid_source");
    let finding = &problem["findings"][0];
    assert_eq!((&finding["file"], &finding["line"]), (&json!("f.ts"), &json!(3)), "{problem}");
    assert_eq!(finding["message"], "TypeError: no");
    is_problem(&upload(&host, "?name=f", "text/javascript", b"\xff\xfe").await, 422, "invalid_source");
    is_problem(&upload(&host, "", "text/javascript", b"function onTrack() {}").await, 422, "name_missing");
    is_problem(&upload(&host, "?name=A", "text/javascript", b"function onTrack() {}").await, 400, "invalid_name");
    is_problem(&upload(&host, "?nam=a", "text/javascript", b"").await, 400, "invalid_query");
    let form = "--e\r\ncontent-disposition: form-data; name=\"bundle\"\r\n\r\nfunction onTrack() {}\r\n\
                --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\nname = 3\r\n--e--\r\n";
    is_problem(&upload(&host, "", "multipart/form-data; boundary=e", form.as_bytes()).await, 422, "invalid_manifest");
    nothing_is_stored(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_sends_javascript_as_it_is_and_prints_what_the_host_says_of_it() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let push = |path: &Path| {
        let mut command = std::process::Command::new(program());
        command.args(["--output", "json", "function", "push"]).arg(path);
        command.env("TIDEGATE_SERVER", format!("http://{}", host.admin)).env("TIDEGATE_TOKEN", &host.token);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let slack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/slack");
    // To a host that only listens: what is sent says what it is.
    let mut command = std::process::Command::new(program());
    command.args(["function", "push", "--token", "t", "--server", &partner.url()]).arg(&slack).output().unwrap();
    let sent = partner.received.lock().unwrap().pop().unwrap();
    let said = tidegate::catalog::content_digest::of(&sent.body);
    assert_eq!(sent.headers["content-digest"], said.as_str());

    let (code, made, said) = push(&slack);
    assert_eq!(code, Some(0), "{said}");
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["function"]["name"], &made["findings"]), (&json!("slack"), &json!([])));
    let built = tidegate::catalog::inspect(&std::fs::read(function("slack")).unwrap()).unwrap();
    assert_eq!(made["version"]["digest"], built.digest.to_string(), "the same as if it had been built here");

    let file = data.path().join("My Function.js");
    std::fs::write(&file, "function onTrack() {\n  consol.log();\n}\n").unwrap();
    let (code, made, said) = push(&file);
    assert_eq!(
        (code, serde_json::from_str::<Value>(&made).unwrap()["function"]["name"].take()),
        (Some(0), json!("my-function"))
    );
    assert!(said.contains("my-function.js:2:3: warning: `consol` is not defined"), "{said}");
    std::fs::write(&file, "function onTrack() {\n  (;\n}\n").unwrap();
    let (code, _, said) = push(&file);
    assert_eq!(code, Some(1));
    assert!(said.contains("my-function.js:2:4: error: SyntaxError"), "{said}");
}
