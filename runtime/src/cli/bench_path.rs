//! `tidegate bench path`: events through the whole durable path to a server of another process on this machine.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use super::bench::{PATH, event, start, wire};
use super::client::Client;
use super::partner;

/// Events in one request to the tracking API: what stock server clients send at most.
const BATCH: u64 = 100;

/// Requests under way at the same time, at the baselines.
const CONCURRENCY: usize = 64;

/// How long everything may take to arrive. Only a broken host comes near it.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the partner is asked how much has arrived: each time takes the processor from what is measured.
const ASKED_EVERY: Duration = Duration::from_millis(10);

/// What `slack-rust` sends for each event.
const BODY: &[u8] = br#"{"text":"user-1 did Order Completed"}"#;

pub(super) async fn run(component: Vec<u8>, events: u64) -> anyhow::Result<Value> {
    let mut partner = Partner::start().await?;
    let body = match crate::catalog::inspect(&component)?.manifest.name.as_str() {
        "webhook" => Bytes::from(event(1).to_string()),
        _ => Bytes::from_static(BODY),
    };
    let data = tempfile::tempdir()?;
    let (listen, api, stop, host) = start(data.path(), partner.address).await?;
    let write_key = wire(&api, component, partner.address).await?;
    let batches = batches(&write_key, events);

    // Baselines, path, baselines: the machine's drift during the run falls on both sides of the path.
    let before = (pooled(partner.address, &body, events).await?, bare(partner.address, &body, events).await?);
    let served = partner.served().await?;
    let began = Instant::now();
    ingest(listen, batches).await?;
    let acknowledged = began.elapsed();
    while partner.served().await? < served + events {
        anyhow::ensure!(began.elapsed() < PATIENCE, "not all of {events} events arrived");
        tokio::time::sleep(ASKED_EVERY).await;
    }
    let delivered = began.elapsed();
    let after = (pooled(partner.address, &body, events).await?, bare(partner.address, &body, events).await?);
    let ledger = api.get("/api/v1/ledger").await?;
    stop.cancel();
    host.await??;

    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    let (plain, bare) = ((before.0 + after.0) / 2.0, (before.1 + after.1) / 2.0);
    let thousandths = |ratio: f64| (ratio * 1000.0).round() / 1000.0;
    Ok(json!({
        "events": events,
        "acknowledged_per_s": rate(acknowledged).round(),
        "delivered_per_s": rate(delivered).round(),
        "plain_client_per_s": plain.round(),
        "ratio": thousandths(rate(delivered) / plain),
        "bare_connections_per_s": bare.round(),
        "ratio_to_bare_connections": thousandths(rate(delivered) / bare),
        "ledger": ledger,
    }))
}

/// The stand-in for the partner, a process of its own, as a partner is: it shares this machine's processors with what is
/// measured, and nothing else. It stands back as much as guests do, so that it does not take a guest's processor with every request:
/// a partner has its own.
struct Partner {
    address: SocketAddr,
    answers: Lines<BufReader<ChildStdout>>,
    questions: ChildStdin,
    /// Ends with this.
    _process: Child,
}

impl Partner {
    async fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "partner"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let runtime = tokio::runtime::Handle::current();
        // On a thread of its own: a process gets what the thread has that begins it, and that does not get back what it gave up.
        let begun = std::thread::spawn(move || {
            let _ = rustix::process::nice(crate::app::GUESTS_NICE);
            let _entered = runtime.enter();
            command.spawn()
        });
        let mut process = begun.join().map_err(|_| anyhow::anyhow!("the partner was not begun"))??;
        let questions = process.stdin.take().context("the partner has no input")?;
        let output = process.stdout.take().context("the partner has no output")?;
        let mut answers = BufReader::new(output).lines();
        let address = answers.next_line().await?.context("the partner ended at once")?.parse()?;
        Ok(Self { address, answers, questions, _process: process })
    }

    /// How many requests it has had.
    async fn served(&mut self) -> anyhow::Result<u64> {
        self.questions.write_all(b"\n").await?;
        Ok(self.answers.next_line().await?.context("the partner ended")?.parse()?)
    }
}

/// The partner's process: says where it listens, then, for each line that it reads, how many requests it has had.
pub(super) async fn serve() -> anyhow::Result<()> {
    let served = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&served);
    let address = partner::start(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    })
    .await?;
    println!("{address}");
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while questions.next_line().await?.is_some() {
        println!("{}", served.load(Ordering::Relaxed));
    }
    Ok(())
}

/// The bodies of all requests to the tracking API, made beforehand: a client's work is not what is measured.
fn batches(write_key: &str, events: u64) -> Vec<Bytes> {
    (0..events)
        .step_by(BATCH as usize)
        .map(|first| {
            let batch: Vec<Value> = (first..(first + BATCH).min(events)).map(event).collect();
            Bytes::from(json!({ "writeKey": write_key, "batch": batch }).to_string())
        })
        .collect()
}

/// Sends all batches over several connections, and waits for each acknowledgement.
async fn ingest(listen: SocketAddr, batches: Vec<Bytes>) -> anyhow::Result<()> {
    let batches = Arc::new(std::sync::Mutex::new(batches.into_iter()));
    let client = Arc::new(Client::at(format!("http://{listen}"), None)?);
    let next = move || batches.lock().map_or(None, |mut batches| batches.next());
    each(8, move || {
        let (next, client) = (next.clone(), Arc::clone(&client));
        async move {
            while let Some(batch) = next() {
                client.call(http::Method::POST, "/v1/batch", "application/json", batch).await?;
            }
            Ok(())
        }
    })
    .await
}

/// Requests a second of hyper's plain client with its pool of connections, which posts what the function posts.
async fn pooled(partner: SocketAddr, body: &Bytes, requests: u64) -> anyhow::Result<f64> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Pooled<_, Full<Bytes>> = Pooled::builder(TokioExecutor::new()).build(connector);
    let (left, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    each(CONCURRENCY, || {
        let (left, client, body) = (Arc::clone(&left), client.clone(), body.clone());
        async move {
            while left.fetch_add(1, Ordering::Relaxed) < requests {
                let request = http::Request::post(format!("http://{partner}{PATH}"))
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()))?;
                client.request(request).await?.into_body().collect().await?;
            }
            Ok(())
        }
    })
    .await?;
    Ok(requests as f64 / began.elapsed().as_secs_f64())
}

/// The same over connections that are never looked for: one for each of those who send. The most that HTTP can do here.
async fn bare(partner: SocketAddr, body: &Bytes, requests: u64) -> anyhow::Result<f64> {
    let (left, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    each(CONCURRENCY, || {
        let (left, body) = (Arc::clone(&left), body.clone());
        async move {
            let stream = tokio::net::TcpStream::connect(partner).await?;
            stream.set_nodelay(true)?;
            let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            while left.fetch_add(1, Ordering::Relaxed) < requests {
                let request = http::Request::post(PATH)
                    .header("host", partner.to_string())
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()))?;
                client.send_request(request).await?.into_body().collect().await?;
                client.ready().await?;
            }
            Ok(())
        }
    })
    .await?;
    Ok(requests as f64 / began.elapsed().as_secs_f64())
}

/// Runs that many of the same at the same time, to their ends.
async fn each<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    count: usize,
    one: impl Fn() -> F,
) -> anyhow::Result<()> {
    let mut all: JoinSet<anyhow::Result<()>> = (0..count).map(|_| one()).collect();
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}
