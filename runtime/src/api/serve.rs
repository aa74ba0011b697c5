//! Accepts connections and speaks HTTP/1.1 and HTTP/2 on them, within bounds.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;

/// The address of the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Bytes of a request's head: twice what browsers send with their longest cookies.
const HEAD_BYTES: usize = 64 << 10;

/// Requests at the same time on one HTTP/2 connection: what browsers open at most as connections, ten times over.
const STREAMS: u32 = 64;

/// How long to wait after `accept` failed for want of descriptors or memory, which only time can mend.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What a client of HTTP/2 says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often to look for the rest of that.
const PEEK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Serves until `stop` is cancelled; then takes no new connections, lets requests that are under way finish, and
/// returns. At most `bounds.connections` are open; more wait in the listener's queue.
pub async fn serve(listener: TcpListener, router: Router, bounds: HttpConfig, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            // The semaphore is never closed, so this waits for a place.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let serving = connection(stream, Peer(peer), router.clone(), bounds, stop.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, bounds: HttpConfig, stop: CancellationToken) {
    // Answers are small and written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&router, request)
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(HEAD_BYTES);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(bounds.header_timeout)
        .keep_alive_timeout(bounds.header_timeout);
    let said = tokio::select! {
        said = tokio::time::timeout(bounds.header_timeout, said_which(&stream)) => said.is_ok(),
        () = stop.cancelled() => false,
    };
    if !said {
        tracing::debug!(peer = %peer.0, "a connection asked for nothing");
        return;
    }
    let serving = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %peer.0, "a connection ended early");
    }
}

/// Waits until it is known which version of HTTP the other end speaks, or that it has gone: telling them apart has no time limit of
/// its own, and a connection that is silent would hold its place for ever.
async fn said_which(stream: &TcpStream) {
    let mut begin = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut begin).await {
            Ok(0) | Err(_) => return,
            Ok(length) if length == PREFACE.len() || !PREFACE.starts_with(&begin[..length]) => return,
            // The same bytes are there again at once: more of them come when they come.
            Ok(_) => tokio::time::sleep(PEEK_PAUSE).await,
        }
    }
}
