//! A stand-in for a partner's API on this machine: a plain HTTP server that takes every request and says `200`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One request that the partner got.
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

/// A path that has this in it gets no answer at all.
pub(super) const HANGS: &str = "hangs";

/// Starts a partner on a free port of 127.0.0.1; `on_request` hears of every request before it is answered.
pub(super) async fn start(on_request: impl Fn(Received) + Send + Sync + 'static) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let on_request = Arc::new(on_request);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            let on_request = Arc::clone(&on_request);
            let service = service_fn(move |request| answer(Arc::clone(&on_request), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

async fn answer<F: Fn(Received)>(
    on_request: Arc<F>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let path = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let hangs = path.contains(HANGS);
    on_request(Received { method: head.method, path, content_type, body });
    if hangs {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}
