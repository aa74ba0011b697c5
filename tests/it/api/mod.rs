//! The two HTTP APIs from outside: real listeners, a real store in a temporary folder, bytes on a socket.

mod audit;
mod compatible;
mod control;
mod lifecycle;
mod links;
mod quality;
mod tenancy;
mod tracking;
mod versions;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate::api::{ApiState, admin_router, public_router, serve};
use tidegate::app::{standing, trials, workshop_config};
use tidegate::catalog::workshop::Workshop;
use tidegate::clock::Clock;
use tidegate::config::Config;
use tidegate::delivery::Trials;
use tidegate::egress::{EgressConfig, Gate};
use tidegate::model::Ceilings;
use tidegate::sandbox::{Sandbox, SandboxConfig};
use tidegate::store::{Store, StoreConfig};
use tidegate::telemetry::Telemetry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Both listeners on a store, without anything that delivers.
pub struct Apis {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub token: String,
    pub store: Arc<Store>,
    stop: CancellationToken,
    dir: TempDir,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Apis {
    /// With these variables over the default configuration.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        // The program that runs now is the tests'.
        Self::start_building_with(variables, crate::host::program()).await
    }

    /// The same with another program in the place of the one that builds uploads.
    pub async fn start_building_with(variables: &[(&str, &str)], program: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(None, variables).unwrap();
        let store = Arc::new(Store::open(dir.path(), &StoreConfig::default(), Clock::System).unwrap());
        let token = store.ensure_operator_key().await.unwrap().unwrap();
        let sandbox = Sandbox::start(&SandboxConfig { max_instances: 1, ..SandboxConfig::in_memory() }).unwrap();
        let mut workshop = workshop_config(&config);
        workshop.processes.program = program;
        let sandbox = Arc::new(sandbox);
        let workshop = Workshop::new(workshop, Arc::clone(&sandbox));
        let gate = Arc::new(Gate::new(&EgressConfig::default()).unwrap());
        let guests = tokio::runtime::Handle::current();
        let tried = trials(Trials::new(
            Arc::clone(&store),
            sandbox,
            Arc::clone(&gate),
            Ceilings { all: config.limits.clone(), ..Ceilings::default() },
            guests,
        ));
        // Nothing is delivered here, so nobody answers.
        let standing = standing(tidegate::delivery::watch().0, &gate);
        let state =
            ApiState::new(Arc::clone(&store), workshop, tried, standing, Telemetry::default(), &config, Clock::System);
        let stop = CancellationToken::new();
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (public, admin) = (bind().await, bind().await);
        let addresses = (public.local_addr().unwrap(), admin.local_addr().unwrap());
        tokio::spawn(serve(public, public_router(&state), state.http(), stop.clone()));
        tokio::spawn(serve(admin, admin_router(&state), state.http(), stop.clone()));
        Self { public: addresses.0, admin: addresses.1, token, store, stop, dir }
    }

    /// A call of the control API with the token.
    pub async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = format!("Bearer {}", self.token);
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        send(self.admin, method, path, &headers, body.as_bytes()).await
    }

    /// What the control API made.
    pub async fn make(&self, path: &str, body: &Value) -> Value {
        let answer = self.control("POST", path, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// A new source: its id and write key.
    pub async fn source(&self, name: &str) -> (String, String) {
        let source = self.make("/api/v1/sources", &serde_json::json!({ "name": name })).await;
        (source["id"].as_str().unwrap().to_owned(), source["write_key"].as_str().unwrap().to_owned())
    }

    /// What was not taken of a source, by code.
    pub async fn rejected(&self, source: &str) -> Value {
        self.control("GET", &format!("/api/v1/sources/{source}"), None).await.json()["rejected"].clone()
    }

    /// The value of a metric.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = send(self.admin, "GET", "/metrics", &[], b"").await.text();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }
}

impl Drop for Apis {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One request with a `content-length`, on a connection of its own.
pub async fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut raw = head(method, path, headers);
    raw.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    raw.extend_from_slice(body);
    exchange(to, &raw).await
}

/// One request in chunks, without a `content-length`.
pub async fn send_chunked(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut raw = head(method, path, headers);
    raw.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    for piece in body.chunks(700) {
        raw.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        raw.extend_from_slice(piece);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"0\r\n\r\n");
    exchange(to, &raw).await
}

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: host.test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

/// Sends everything, then reads everything: what a simple client does.
pub async fn exchange(to: SocketAddr, raw: &[u8]) -> Answer {
    let talk = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(raw).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    // Only so that a hanging host ends the test; nothing is measured.
    let answer = tokio::time::timeout(Duration::from_secs(300), talk).await.expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: answer[end + 4..].to_vec() }
}
