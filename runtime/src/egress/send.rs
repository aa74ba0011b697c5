//! *Send*: a permitted request goes out on a connection and its whole response comes back.
//!
//! Guarantees: any violation, and any end before the last byte, drops the connection; only one that is clean and idle
//! goes back to the pool. Nothing is sent twice: a request is tried again only if not a byte of it was written.
//! Redirects are responses like any other.
//!
//! Leaves to others: names, addresses and time (`gate`).

use std::{error::Error as _, fmt, io};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header::CONTENT_LENGTH};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{
    EgressError, InboundResponse, ResponseCaps,
    body::{Coding, Collector, head, too_large},
    connection::Connection,
    permit::PermittedRequest,
};

/// Who sent a response, as messages name them. Written out only if there is something to say.
pub type Sender<'a> = &'a (dyn fmt::Display + Sync);

/// A request as it goes on the wire.
pub type WireRequest = Request<Full<Bytes>>;

/// Makes the wire form. The target is the path alone: the host stands in its header.
pub fn wire(request: PermittedRequest) -> WireRequest {
    let empty = request.body.is_empty();
    let mut wire = Request::new(Full::new(request.body));
    *wire.uri_mut() = Uri::from(request.path);
    *wire.headers_mut() = request.headers;
    if empty && matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        // Some servers answer 411 to a method that usually has a body and says nothing about it.
        wire.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    *wire.method_mut() = request.method;
    wire
}

/// How an exchange without a response ended.
pub enum Failed {
    /// The connection had ended before anything was written; here is the request.
    Unsent(Box<WireRequest>),
    /// Anything else.
    Broken(EgressError),
}

/// Sends the request and waits for the response's head.
pub async fn exchange(
    connection: &mut Connection,
    request: WireRequest,
    from: Sender<'_>,
    caps: &ResponseCaps,
) -> Result<Response<Incoming>, Failed> {
    let mut failed = match connection.exchange(request, caps).await {
        Ok(response) => return Ok(response),
        Err(failed) => failed,
    };
    match failed.take_message() {
        Some(request) => Err(Failed::Unsent(Box::new(request))),
        None => Err(Failed::Broken(explain(from, &failed.into_error(), connection))),
    }
}

/// Reads the whole response. The connection is clean only after `Ok`.
pub async fn receive(
    connection: &mut Connection,
    response: Response<Incoming>,
    from: Sender<'_>,
    caps: &ResponseCaps,
) -> Result<InboundResponse, EgressError> {
    let (parts, mut body) = response.into_parts();
    let status = parts.status.as_u16();
    if !(200..=599).contains(&status) {
        return Err(EgressError::Protocol(format!(
            "`{from}` answered with the status {status}, which is no final answer"
        )));
    }
    let coding = Coding::of(&parts.headers);
    let headers = head(from, parts.version, &parts.headers, coding, caps)?;
    if coding == Coding::Plain && body.size_hint().lower() > caps.body_bytes {
        return Err(too_large(from, "bytes of body", body.size_hint().lower(), caps.body_bytes));
    }
    let mut collector = Collector::new(from, coding, caps.body_bytes);
    while let Some(frame) = connection.frame(&mut body).await {
        let frame = frame.map_err(|error| explain(from, &error, connection))?;
        // Trailers are bounded by the head's size and dropped.
        if let Ok(piece) = frame.into_data() {
            collector.push(piece)?;
        }
    }
    Ok(InboundResponse { status, headers, body: collector.finish()? })
}

fn explain(from: Sender<'_>, error: &hyper::Error, connection: &Connection) -> EgressError {
    if let Some(spent) = connection.meter().spent() {
        return EgressError::TooLarge(format!("`{from}` was cut off: {spent}"));
    }
    if error.is_parse_too_large() {
        return EgressError::TooLarge(format!("the response of `{from}` has a larger head than the host allows"));
    }
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let malformed =
        source.is_some_and(|source| matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    let reason = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    if error.is_parse() || malformed {
        EgressError::Protocol(format!("`{from}` broke the protocol: {reason}"))
    } else {
        EgressError::Connect(format!("the connection to `{from}` broke before the whole response was there: {reason}"))
    }
}
