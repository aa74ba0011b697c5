//! Calls to a host's control API.

use std::pin::Pin;
use std::task::{Context as Turn, Poll};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::Exit;
use super::progress::Progress;
pub(super) use super::target::ServerArgs;
use super::target::Target;
use crate::catalog::Finding;
use crate::catalog::content_digest;
use crate::egress::{Caller, caller, is_tls_error, is_untrusted};

/// How long one call may take beside its bytes: an upload is compiled in it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes in a second that a slow line brings at least.
const SLOWEST: u64 = 16 << 10;

/// Bytes of an answer: a page of large events.
const ANSWER_BYTES: usize = 64 << 20;

/// Bytes that are handed over at a time.
const PIECE: usize = 32 << 10;

/// A client of one host.
#[derive(Clone)]
pub(super) struct Client {
    http: Http<Caller, Upload>,
    target: Target,
}

impl Client {
    /// A client of the host that these arguments, the environment and the stored profiles name.
    pub(super) fn new(args: ServerArgs) -> anyhow::Result<Self> {
        Self::to(Target::of(&args)?)
    }

    /// The same without a key, for what takes none.
    pub(super) fn without_key(args: ServerArgs) -> anyhow::Result<Self> {
        let target = Target::of(&args)?;
        Self::to(Target { ca: target.ca, ..Target::plain(target.server, None) })
    }

    /// A client of this host with this key, whatever anything else says.
    pub(super) fn at(server: String, token: Option<String>) -> anyhow::Result<Self> {
        Self::to(Target::plain(server, token))
    }

    /// A client of this host.
    pub(super) fn to(target: Target) -> anyhow::Result<Self> {
        let is_tls = is_address(&target.server)?;
        let way = caller(is_tls, target.ca.as_deref());
        let way = way.map_err(|error| Exit::Misuse(format!("the host's authority (--ca, TIDEGATE_CA): {error}")))?;
        Ok(Self { http: Http::builder(TokioExecutor::new()).build(way), target })
    }

    /// The key that it shows, if it has one.
    pub(super) fn token(&self) -> Option<&str> {
        self.target.token.as_deref()
    }

    /// Whether what it says passes machines that can read it.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        let uri: Uri = self.target.server.parse().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        uri.scheme_str() != Some("https") && !here
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, "application/json", Bytes::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, "application/json", body.to_string().into()).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, "application/json", body.to_string().into()).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, "application/json", Bytes::new()).await
    }

    /// One call; the answer's JSON, `null` if it has no body.
    pub(super) async fn call(&self, method: Method, path: &str, kind: &str, body: Bytes) -> anyhow::Result<Value> {
        self.call_with(method, path, kind, &[], body).await
    }

    /// One call with further headers.
    pub(super) async fn call_with(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Value> {
        self.send(method, path, kind, headers, Upload { bytes: body, sent: 0, progress: Progress::none() }).await
    }

    /// Brings bytes, and shows how many of them have gone and that the host then works on them.
    pub(super) async fn upload(
        &self,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        progress: &Progress,
    ) -> anyhow::Result<Value> {
        progress.bytes("uploading", body.len() as u64);
        // What a proxy cut off or changed on the way is refused, and not taken for what was meant.
        let digest = content_digest::of(&body);
        let headers = [headers, &[("content-digest", digest.as_str())]].concat();
        let body = Upload { bytes: body, sent: 0, progress: progress.clone() };
        let answer = self.send(Method::POST, path, kind, &headers, body).await;
        progress.done();
        answer
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        headers: &[(&str, &str)],
        body: Upload,
    ) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.target.server.trim_end_matches('/'));
        let mut request = Request::builder().method(method.clone()).uri(&url).header(header::CONTENT_TYPE, kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.target.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let tenants = [("tidegate-workspace", &self.target.workspace), ("tidegate-partner", &self.target.partner)];
        for (name, tenant) in tenants {
            if let Some(tenant) = tenant {
                request = request.header(name, tenant);
            }
        }
        let patience = PATIENCE + Duration::from_secs(body.bytes.len() as u64 / SLOWEST);
        let request = request.body(body).with_context(|| format!("`{url}` cannot be asked"))?;
        let answer = tokio::time::timeout(patience, self.http.request(request))
            .await
            .with_context(|| format!("{method} {url}: no answer within {} s", patience.as_secs()))?
            .map_err(|error| {
                let hint = unreached(&error, self.target.flag);
                anyhow::Error::new(error).context(format!("{method} {url}: {hint}"))
            })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{method} {url}: the answer broke off: {error}"))?.to_bytes();
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(Value::Null) };
        if status.is_success() {
            return Ok(value);
        }
        self.refused(status, &value)
    }

    fn refused(&self, status: StatusCode, problem: &Value) -> anyhow::Result<Value> {
        let field = |name: &str| problem.get(name).and_then(Value::as_str);
        let mut message =
            field("detail").or(field("message")).or(field("title")).unwrap_or("no reason given").to_owned();
        if let Some(code) = field("code") {
            message = format!("{message} ({code})");
        }
        for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
            message.push_str(&format!("\n  {}", error.as_str().map_or_else(|| error.to_string(), str::to_owned)));
        }
        message.push_str(&findings(problem).map(|line| format!("\n  {line}")).collect::<String>());
        match status {
            StatusCode::UNAUTHORIZED if field("code") == Some("missing_token") => {
                let kept_back = self.target.kept_back.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                let how = "`tidegate login`, set TIDEGATE_TOKEN, or give --token";
                Err(Exit::Refused(format!("{message}: {how}{kept_back}")).into())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Err(Exit::Refused(message).into())
            }
            _ => bail!("{message}"),
        }
    }
}

/// A body that is handed over in pieces, as the host takes them.
struct Upload {
    bytes: Bytes,
    sent: u64,
    progress: Progress,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Turn<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.progress.moved(self.sent);
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.bytes.len().min(PIECE);
        let piece = self.bytes.split_to(piece);
        self.sent += piece.len() as u64;
        if self.bytes.is_empty() {
            self.progress.awaits("the host builds and checks it");
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// Whether a host is asked by TLS.
fn is_address(server: &str) -> Result<bool, Exit> {
    let uri = server.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("https") => Ok(true),
        Some("http") => Ok(false),
        _ => Err(Exit::Misuse(format!(
            "`{server}` is no address of a host: give one such as http://127.0.0.1:8081 or https://tidegate.example.com"
        ))),
    }
}

/// What may be wrong where nobody answers.
fn unreached(error: &hyper_util::client::legacy::Error, flag: &str) -> String {
    if is_untrusted(error) {
        return "nobody who is trusted here vouches for the host's certificate: --ca FILE (TIDEGATE_CA) names its authority".to_owned();
    }
    if is_tls_error(error) {
        return "no connection by TLS: does the address begin with the right one of http and https, and name the host as its certificate does?".to_owned();
    }
    format!("is the host running there? (`tidegate serve`, {flag})")
}

/// What an answer says of the source that was uploaded, one line each.
pub(super) fn findings(answer: &Value) -> impl Iterator<Item = String> {
    let of = |finding: &Value| serde_json::from_value::<Finding>(finding.clone()).ok();
    answer.get("findings").and_then(Value::as_array).into_iter().flatten().filter_map(of).map(|one| one.to_string())
}

/// A value for a URL's path or query: everything but unreserved characters is percent-encoded.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_at_http_or_https_and_nowhere_else() {
        for (server, is_tls) in
            [("http://127.0.0.1:8081", false), ("https://a.example/base", true), ("https://[::1]:1", true)]
        {
            assert_eq!(is_address(server).ok(), Some(is_tls), "{server}");
        }
        for server in ["", "127.0.0.1:8081", "localhost", "ftp://a.example", "https://", "unix:/x", "http://a b"] {
            assert!(is_address(server).is_err_and(|error| error.to_string().contains(server)), "{server}");
        }
    }

    #[test]
    fn who_is_asked_without_tls_beyond_this_machine_is_told() {
        let readable = |server: &str| Client::at(server.to_owned(), None).unwrap().is_readable_on_the_way();
        for (server, expected) in [
            ("http://127.0.0.1:8081", false),
            ("http://[::1]:8081", false),
            ("http://localhost:8081", false),
            ("http://10.0.0.1", true),
            ("http://tidegate.example", true),
        ] {
            assert_eq!(readable(server), expected, "{server}");
        }
    }

    #[tokio::test]
    async fn an_upload_is_handed_over_in_pieces_and_whole() {
        let bytes = Bytes::from((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let mut body = Upload { bytes: bytes.clone(), sent: 0, progress: Progress::none() };
        assert_eq!(body.size_hint().exact(), Some(100_000));
        let mut pieces = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            pieces.push(frame.into_data().unwrap());
        }
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE) && pieces.len() == 4, "{}", pieces.len());
        assert_eq!(pieces.concat(), bytes);
    }

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(encode("a-b_c.d~e/ä?&"), "a-b_c.d~e%2F%C3%A4%3F%26");
    }
}
