//! A whole host under attack, seen from outside: guests that spin, partners that never end, a process that gave things up.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::egress::server::{Server, read_head};
use crate::guests;
use crate::host::{Host, function, program};
use crate::http::{self, Partner};

async fn send(host: &Host, source: &Value, numbers: Range<usize>) {
    let events: Vec<Value> = numbers
        .map(|n| json!({"type": "track", "event": "Tested", "userId": "u", "messageId": format!("m{n}")}))
        .collect();
    let body = json!({"writeKey": source["write_key"], "batch": events}).to_string().into_bytes();
    let answer = http::send(host.listen, "POST", "/v1/batch", &[("content-type", "application/json")], body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
}

/// What is still owed to a destination.
async fn pending(host: &Host, destination: &Value) -> u64 {
    let id = destination["id"].as_str().expect("an id");
    host.api("GET", &format!("/api/v1/ledger?destination={id}"), Value::Null).await["pending"]
        .as_u64()
        .expect("a count")
}

/// A number from `/proc/PID/status`, in its unit.
fn status(host: &Host, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("the host runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no `{field}`"));
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_spin_on_every_thread_hold_up_neither_the_control_plane_nor_other_destinations() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let threads = std::thread::available_parallelism().unwrap().get();
    // Four times as many guests as threads, each of which would spin for a minute.
    let (spinning, twice) = (4 * threads, (8 * threads).to_string());
    let settings = [
        ("TIDEGATE__LIMITS__CPU_MS", "60000"),
        ("TIDEGATE__LIMITS__DEADLINE_MS", "300000"),
        ("TIDEGATE__DELIVERY__IN_FLIGHT_PER_DESTINATION", twice.as_str()),
        ("TIDEGATE__DELIVERY__DRAIN_MS", "1"),
    ];
    let host = Host::start_with(data.path(), partner.address, None, &settings);
    let (spins, attacker) = host.wire(&guests::SPIN_HANDLER.component(), "spin-handler", json!({})).await;
    let webhook = std::fs::read(function("webhook")).unwrap();
    let (calm, neighbour) = host.wire(&webhook, "webhook", json!({"url": partner.url()})).await;
    send(&host, &spins, 0..spinning).await;
    for round in 0..3 {
        assert_eq!(http::send(host.admin, "GET", "/livez", &[], Vec::new()).await.status, 200);
        assert_eq!(http::send(host.admin, "GET", "/readyz", &[], Vec::new()).await.status, 200);
        send(&host, &calm, 10 * round..10 * (round + 1)).await;
        while pending(&host, &neighbour).await > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(partner.bodies().len(), 30);
    assert_eq!(pending(&host, &attacker).await, spinning as u64, "they spun all the time");
    host.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_while_partners_send_without_end() {
    const ROUND: usize = 64;
    let heard = Arc::new(Semaphore::new(0));
    let count = AtomicUsize::new(0);
    let said = heard.clone();
    let server = Server::start("127.0.0.1", move |mut stream| {
        let (at, said) = (count.fetch_add(1, Ordering::Relaxed), said.clone());
        async move {
            read_head(&mut stream).await;
            let begin: &[u8] = match at % 4 {
                0 => b"HTTP/1.1 200 OK\r\n\r\n",
                1 => b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
                2 => b"HTTP/1.1 200 OK\r\nx: ",
                _ => b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n",
            };
            let again = vec![b'x'; 64 << 10];
            let mut sent = stream.write_all(begin).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
            // The host has dropped the connection.
            said.add_permits(1);
        }
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let host = Host::start(data.path(), server.address, None);
    let webhook = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&webhook, "webhook", json!({"url": server.url()})).await;
    let round = async |at: usize| {
        send(&host, &source, ROUND * at..ROUND * (at + 1)).await;
        heard.acquire_many(ROUND as u32).await.expect("open").forget();
    };
    round(0).await;
    round(1).await;
    let before = status(&host, "VmHWM");
    for at in 2..10 {
        round(at).await;
    }
    let after = status(&host, "VmHWM");
    // Each of the 512 would have sent gigabytes.
    assert!(after < before + (48 << 10), "from {before} to {after} KiB");
    assert_eq!(host.ledger().await["delivered"], 0);
    let attempts = host.api("GET", "/api/v1/functions/webhook/logs", Value::Null).await;
    let attempts = attempts["items"].as_array().unwrap();
    let outcomes: BTreeSet<&str> = attempts.iter().map(|one| one["outcome"]["code"].as_str().unwrap()).collect();
    // What is too large is no better the next time; what is no compressed data may be.
    assert_eq!(outcomes, BTreeSet::from(["bad_request", "retry"]));
    host.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_process_and_those_that_compile_for_it_have_given_up_what_they_do_not_need() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap();
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    // An upload still finds its process.
    host.push(&guests::DELIVERED.component()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_shells_limit_on_open_files_keep_nobody_from_being_served() {
    let data = tempfile::tempdir().unwrap();
    // A shell's limit in small: fewer files than connections that somebody holds open.
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 120 && exec \"$0\" serve --data \"$1\""])
        .args([program().as_os_str(), data.path().as_os_str()])
        .env("TIDEGATE__LISTEN", "127.0.0.1:0")
        .env("TIDEGATE__ADMIN_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let ready: Value = serde_json::from_str(&first).unwrap();
    let address = |name: &str| ready[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(address("listen")).await.unwrap());
    }
    let answer = http::send(address("admin_listen"), "GET", "/livez", &[], Vec::new()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.status, 200);
}

/// Compiled code is written into a folder that was exchanged for a link to one outside of the data directory.
async fn write_outside(settings: &[(&str, &str)]) -> (u16, usize) {
    let (data, partner, outside) = (tempfile::tempdir().unwrap(), Partner::start().await, tempfile::tempdir().unwrap());
    let host = Host::start_with(data.path(), partner.address, None, settings);
    let compiled = data.path().join("compiled");
    std::fs::remove_dir_all(&compiled).unwrap();
    std::os::unix::fs::symlink(outside.path(), &compiled).unwrap();
    let bearer = format!("Bearer {}", host.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/wasm")];
    let answer = http::send(host.admin, "POST", "/api/v1/functions", &headers, guests::DELIVERED.component()).await;
    (answer.status, count(outside.path()))
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_outside_of_the_data_directory() {
    assert_eq!(write_outside(&[]).await, (500, 0));
    assert_eq!(write_outside(&[("TIDEGATE__HARDENING__LANDLOCK", "false")]).await, (201, 1), "the attack is one");
}
