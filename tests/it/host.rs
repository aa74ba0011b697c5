//! A real host in a process of its own, and a plain HTTP client to ask it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;

/// How long a test waits for something that should take a moment. Only a broken host comes near it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The built program. `cargo xtask test` builds it and says where it is.
pub fn program() -> PathBuf {
    from_env("TIDEGATE_BIN")
}

/// The folder of the built functions, in the folder of all that is built.
pub fn functions() -> PathBuf {
    from_env("TIDEGATE_FUNCTIONS")
}

/// A built function's component.
pub fn function(name: &str) -> PathBuf {
    functions().join(format!("{name}.wasm"))
}

/// The folder of the installed client libraries.
pub fn clients() -> PathBuf {
    from_env("TIDEGATE_CLIENTS")
}

fn from_env(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    value.map(PathBuf::from).unwrap_or_else(|| panic!("{name} is not set: run these tests by `cargo xtask test`"))
}

/// A running `tidegate serve`. Killed, as by `kill -9`, when it is dropped.
pub struct Host {
    child: Child,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub token: String,
}

impl Host {
    /// Starts a host on this data directory. `token` is needed from the second start on.
    pub fn start(data: &Path, partner: SocketAddr, token: Option<&str>) -> Self {
        Self::start_with(data, partner, token, &[])
    }

    /// The same, with further configuration variables.
    pub fn start_with(data: &Path, partner: SocketAddr, token: Option<&str>, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, partner, token, settings, Stdio::inherit())
    }

    /// The first start, with what it logs in a file.
    pub fn start_logging(data: &Path, partner: SocketAddr, settings: &[(&str, &str)], log: File) -> Self {
        Self::spawn(data, partner, None, settings, log.into())
    }

    fn spawn(data: &Path, partner: SocketAddr, token: Option<&str>, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut command = Command::new(program());
        command
            .args(["serve", "--data"])
            .arg(data)
            .env("TIDEGATE__LISTEN", "127.0.0.1:0")
            .env("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0")
            .env("TIDEGATE__EGRESS__ALLOW_ADDRESSES", format!("[\"{partner}\"]"))
            // A test that waits for something asks again and again.
            .env("TIDEGATE__CONTROL__KEY_REQUESTS_PER_S", "1000000")
            // An unoptimised build compiles slowly, on a machine that has other work.
            .env("TIDEGATE__CONTROL__UPLOAD_DEADLINE_S", "600")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stderr(log)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("stdout can be read");
        let ready: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("not the ready line: `{first}`"));
        // Nobody reads further, but the host must be able to write.
        std::thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
        let address = |name: &str| ready[name].as_str().expect("an address").parse().expect("an address");
        let token = ready["operator_token"].as_str().or(token).expect("a token at the first start").to_owned();
        Self { listen: address("listen"), admin: address("admin_listen"), token, child }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would end the process.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Asks it to shut down, and waits until it has.
    pub fn stop(mut self) -> std::process::ExitStatus {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
        self.child.wait().expect("it ends")
    }

    /// The program with these arguments, as this host's operator.
    pub fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env("TIDEGATE_SERVER", format!("http://{}", self.admin)).env("TIDEGATE_TOKEN", &self.token);
        command
    }

    /// A call of the control API that must succeed.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_api(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A call of the control API: status and JSON.
    pub async fn try_api(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = http::send(self.admin, method, path, &headers, body).await;
        (answer.status, answer.json())
    }

    /// Uploads a component.
    pub async fn push(&self, component: &[u8]) -> Value {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/wasm")];
        let answer = http::send(self.admin, "POST", "/api/v1/functions", &headers, component.to_vec()).await;
        assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
        answer.json()
    }

    /// A source that feeds a destination of the function in this component; the source and the destination.
    pub async fn wire(&self, component: &[u8], function: &str, settings: Value) -> (Value, Value) {
        self.push(component).await;
        self.feed(function, settings).await
    }

    /// Uploads a function in JavaScript with its manifest.
    pub async fn push_source(&self, handler: &str, manifest: &str) -> Value {
        let form = format!(
            "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{handler}\r\n\
             --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n{manifest}\r\n--e--\r\n"
        );
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
        let made = http::send(self.admin, "POST", "/api/v1/functions", &headers, form.into_bytes()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    }

    /// A source that feeds a destination of a function that is there; the source and the destination.
    pub async fn feed(&self, function: &str, settings: Value) -> (Value, Value) {
        let source = self.api("POST", "/api/v1/sources", json!({"name": format!("source of {function}")})).await;
        let destination = json!({"name": format!("to {function}"), "function": function, "settings": settings});
        let destination = self.api("POST", "/api/v1/destinations", destination).await;
        let connection = json!({"source": source["id"], "destination": destination["id"]});
        self.api("POST", "/api/v1/connections", connection).await;
        (source, destination)
    }

    /// The ledger, which must add up.
    pub async fn ledger(&self) -> Value {
        let ledger = self.api("GET", "/api/v1/ledger", Value::Null).await;
        let count = |name: &str| ledger[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {ledger}"));
        let sum = count("delivered") + count("filtered") + count("dead") + count("pending");
        assert_eq!(count("accepted"), sum, "the ledger must add up: {ledger}");
        ledger
    }

    /// Waits until nothing is pending; the ledger then.
    pub async fn drained(&self) -> Value {
        let start = Instant::now();
        loop {
            let ledger = self.ledger().await;
            if ledger["pending"] == 0 {
                return ledger;
            }
            assert!(start.elapsed() < PATIENCE, "still pending: {ledger}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until this holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
