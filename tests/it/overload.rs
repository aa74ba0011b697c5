//! Too much: what cannot be kept is refused before it is acknowledged, and is taken again when there is room, without a restart.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::host::{Host, PATIENCE, function};
use crate::http::{self, Answer, Partner};

/// A file system of its own for a data directory, in memory and small.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mebibytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        let mounted = mounted.expect("mount is there: `apt-get install mount`");
        assert!(
            mounted.status.success(),
            "a small file system is needed, and making one needs root: run the tests by `sudo -E cargo xtask test`, \
             or in a container with `--cap-add SYS_ADMIN`; mount says: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Takes room until so many bytes are left. The file is there until it is dropped.
    fn leave(&self, bytes: u64) -> Ballast {
        let path = self.dir.path().join("ballast");
        let ballast = Ballast(path.clone());
        let mut size = free(self.dir.path()) - bytes;
        // What is taken is taken in pages: the last one may not fit.
        while !allocated(&path, size) {
            size -= 4096;
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a host that was killed a moment ago may hold it open.
        drop(Command::new("umount").arg("--lazy").arg(self.dir.path()).status());
    }
}

struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the ballast is there");
    }
}

fn allocated(path: &Path, bytes: u64) -> bool {
    Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(path).status().expect("fallocate runs").success()
}

fn free(path: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(path).output().expect("stat runs");
    let text = String::from_utf8(output.stdout).unwrap();
    let (blocks, size) = text.trim().split_once(' ').expect("two numbers");
    blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap()
}

async fn post(host: &Host, write_key: &Value, ids: &[String]) -> Answer {
    let event = |id: &String| {
        json!({"type": "track", "event": "Tested", "userId": "u", "messageId": id,
        "properties": {"note": "x".repeat(2_000)}})
    };
    let body = json!({"writeKey": write_key, "batch": ids.iter().map(event).collect::<Vec<_>>()});
    let headers = [("content-type", "application/json")];
    http::send(host.listen, "POST", "/v1/batch", &headers, body.to_string().into_bytes()).await
}

fn ids(round: &str) -> Vec<String> {
    (0..50).map(|n| format!("{round}-{n}")).collect()
}

/// Waits until the host says that it is ready, or is not.
async fn ready(host: &Host, status: u16) {
    let start = std::time::Instant::now();
    while http::send(host.admin, "GET", "/readyz", &[], Vec::new()).await.status != status {
        assert!(start.elapsed() < PATIENCE, "/readyz never says {status}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn assert_refused(answer: &Answer, option: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"));
    let body = answer.json();
    assert_eq!((&body["success"], &body["code"]), (&json!(false), &json!("overloaded")), "{body}");
    assert!(body["message"].as_str().unwrap().contains(option), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_runs_low_new_events_are_refused_old_ones_delivered_and_room_ends_it() {
    let (disk, partner) = (SmallDisk::new(64), Partner::start().await);
    let least = [("TIDEGATE__STORE__MIN_FREE_BYTES", "20971520")];
    let host = Host::start_with(&disk.data(), partner.address, None, &least);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, destination) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let key = &source["write_key"];
    let path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    assert_eq!(post(&host, key, &ids("before")).await.status, 200);
    host.drained().await;
    let ballast = disk.leave(10 << 20);
    ready(&host, 503).await;
    assert_refused(&post(&host, key, &ids("low")).await, "store.min_free_bytes");
    // People can still work with what is there.
    host.api("PATCH", &path, json!({"name": "renamed"})).await;
    assert_eq!(host.ledger().await["delivered"], 50);
    drop(ballast);
    ready(&host, 200).await;
    assert_eq!(post(&host, key, &ids("low")).await.status, 200, "the same process takes them now");
    let ledger = host.drained().await;
    assert_eq!((&ledger["accepted"], &ledger["delivered"]), (&json!(100), &json!(100)), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_costs_nothing_that_was_acknowledged_and_the_host_goes_on_when_there_is_room() {
    let (disk, partner) = (SmallDisk::new(64), Partner::start().await);
    // The least there may be: the disk itself is what refuses.
    let least = [("TIDEGATE__STORE__MIN_FREE_BYTES", "1")];
    let host = Host::start_with(&disk.data(), partner.address, None, &least);
    let component = std::fs::read(function("webhook")).unwrap();
    let (source, _) = host.wire(&component, "webhook", json!({"url": partner.url()})).await;
    let key = &source["write_key"];
    let ballast = disk.leave(6 << 20);
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for round in 0..1_000 {
        let ids = ids(&round.to_string());
        let answer = post(&host, key, &ids).await;
        match answer.status {
            200 => acknowledged.extend(ids),
            _ => {
                assert_refused(&answer, "disk");
                refused += 1;
            }
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk never was full");
    assert!(acknowledged.len() > 500, "{} were taken before it was", acknowledged.len());
    let alive = http::send(host.admin, "GET", "/livez", &[], Vec::new()).await;
    assert_eq!(alive.status, 200);
    drop(ballast);
    // The next ones are taken by the same process, and nothing that was acknowledged is missing.
    let ledger = host.drained().await;
    assert_eq!(ledger["accepted"], acknowledged.len(), "{ledger}");
    assert_eq!(post(&host, key, &ids("after")).await.status, 200);
    let ledger = host.drained().await;
    assert_eq!(ledger["delivered"], acknowledged.len() + 50, "{ledger}");
    let mut arrived: Vec<_> =
        partner.bodies().iter().map(|body| body["messageId"].as_str().unwrap().to_owned()).collect();
    arrived.sort();
    arrived.dedup();
    assert!(acknowledged.iter().all(|id| arrived.binary_search(id).is_ok()));
    assert_eq!(arrived.len(), acknowledged.len() + 50, "what was refused was not taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_above_its_share_of_the_memory_refuses_before_it_reads() {
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    // A thousandth of a percent of any machine is less than an empty host has.
    let share = [("TIDEGATE__INGEST__MEMORY_PERCENT", "0.001")];
    let host = Host::start_with(data.path(), partner.address, None, &share);
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    assert_refused(&post(&host, &source["write_key"], &ids("a")).await, "ingest.memory_percent");
    assert_eq!(host.ledger().await["accepted"], 0);
}
