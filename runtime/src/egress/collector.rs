//! The host's own way out: what it tells of itself goes to the one place that the operator names.
//!
//! Guarantees: nothing here is a guest's or a customer's to choose, so no policy applies; the answer is bounded, the time
//! is bounded, and one connection is kept.
//!
//! Leaves to others: what is sent, and what an answer means (`telemetry`).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST},
    uri::PathAndQuery,
};
use http_body_util::Full;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    EgressError, GateError, InboundResponse, ResponseCaps,
    connection::Connection,
    meter::Stream,
    send::{Failed, exchange, receive},
    tls,
};

/// How long one request may take, as the collectors' own clients have it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers are some bytes, or an error's text.
const CAPS: ResponseCaps = ResponseCaps { body_bytes: 64 << 10, headers: 64, header_bytes: 16 << 10 };

/// A collector of what the host tells of itself.
pub struct Collector {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    authority: HeaderValue,
    path: PathAndQuery,
    content_type: &'static str,
    /// Open and idle, or none.
    kept: Mutex<Option<Connection>>,
}

impl Collector {
    /// At this address, below which `path` is; trusts the system's authorities and these. Opens nothing yet, but reads certificates.
    ///
    /// # Errors
    /// The address has no host, or a file of certificates cannot be used.
    pub fn new(
        endpoint: &Uri,
        path: &str,
        content_type: &'static str,
        extra_roots: &[PathBuf],
    ) -> Result<Self, GateError> {
        let unusable = |why: &str| GateError::Address(format!("`{endpoint}` is no collector's address: {why}"));
        let authority = endpoint.authority().ok_or_else(|| unusable("it has no host"))?;
        let path = format!("{}{path}", endpoint.path().trim_end_matches('/'));
        let is_tls = endpoint.scheme_str() == Some("https");
        let mut roots = Vec::new();
        for file in extra_roots.iter().filter(|_| is_tls) {
            roots.extend(tls::extra_roots(file).map_err(GateError::Roots)?);
        }
        Ok(Self {
            // An IPv6 address stands in brackets there, and nowhere else.
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            tls: is_tls.then(|| tls::configuration(roots)).transpose().map_err(GateError::Roots)?,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| unusable("its host is not ASCII"))?,
            path: PathAndQuery::try_from(path).map_err(|_| unusable("its path cannot be asked for"))?,
            content_type,
            kept: Mutex::default(),
        })
    }

    /// Brings it a body; its answer: status and body.
    ///
    /// # Errors
    /// There is none.
    pub async fn post(&self, body: Vec<u8>) -> Result<(u16, Bytes), EgressError> {
        let answer = timeout(PATIENCE, self.carry(body.into())).await;
        let late = |_| EgressError::Timeout(format!("`{}` did not answer within {PATIENCE:?}", self.host));
        let InboundResponse { status, body, .. } = answer.map_err(late)??;
        Ok((status, body))
    }

    async fn carry(&self, body: Bytes) -> Result<InboundResponse, EgressError> {
        let mut kept = self.kept.lock().await;
        // Taken out: whatever goes wrong from here on, or is given up, takes the connection along.
        if let Some(mut connection) = kept.take() {
            match self.ask(&mut connection, body.clone()).await {
                Ok(answer) => {
                    *kept = Some(connection);
                    return Ok(answer);
                }
                Err(Failed::Broken(error)) => return Err(error),
                Err(Failed::Unsent(_)) => {}
            }
        }
        let mut connection = self.connect().await?;
        match self.ask(&mut connection, body).await {
            Ok(answer) => {
                *kept = Some(connection);
                Ok(answer)
            }
            Err(Failed::Broken(error)) => Err(error),
            Err(Failed::Unsent(_)) => {
                Err(EgressError::Connect(format!("`{}` closed the connection before the request", self.host)))
            }
        }
    }

    async fn ask(&self, connection: &mut Connection, body: Bytes) -> Result<InboundResponse, Failed> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.path.clone());
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let response = exchange(connection, request, &self.host, &CAPS).await?;
        receive(connection, response, &self.host, &CAPS).await.map_err(Failed::Broken)
    }

    async fn connect(&self) -> Result<Connection, EgressError> {
        let broken = |error: io::Error| {
            EgressError::Connect(format!("`{}` at port {} cannot be reached: {error}", self.host, self.port))
        };
        // The system's own resolver: collectors have names such as `localhost` and those of a container's neighbours.
        let named = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(broken)?;
        let addresses: Vec<SocketAddr> = named.collect();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|error| EgressError::Tls(format!("`{}`: {error}", self.host)))?;
                let secured = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                Stream::Tls(Box::new(secured.map_err(|error| EgressError::Tls(format!("`{}`: {error}", self.host)))?))
            }
        };
        let failed = |error: hyper::Error| EgressError::Connect(format!("`{}`: {error}", self.host));
        Connection::start(stream, &CAPS).await.map_err(failed)
    }
}
