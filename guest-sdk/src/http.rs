//! Outgoing HTTP through the host's gate, which knows whom this function may reach.
//!
//! ```no_run
//! use tidegate_sdk::{Result, http::Request, json};
//!
//! fn greet() -> Result {
//!     Request::post("https://api.example.com/greet").bearer("token").json(&json!({"text": "hello"})).send()?.success()?;
//!     Ok(())
//! }
//! ```

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::tidegate::destination::http as wit;
use crate::civil::Civil;
use crate::sign::Aws;
use crate::{Event, Result, clock, encode};

/// Why there is no response. Each text is for a person.
///
/// `?` turns it into an [`Error`](crate::Error): one that is tried again where the partner could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The policy forbids it; nothing was sent.
    Denied(String),
    /// The request itself is malformed; nothing was sent.
    InvalidRequest(String),
    /// The name could not be resolved.
    Dns(String),
    /// No connection could be made, or it broke.
    Connect(String),
    /// The server's certificate or handshake was not acceptable.
    Tls(String),
    /// The time was up before the whole response was there.
    Timeout(String),
    /// The server broke the protocol.
    Protocol(String),
    /// The response is larger than the host allows.
    TooLarge(String),
    /// The call has used up its budget of requests.
    Limit(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Denied(text)
        | Self::InvalidRequest(text)
        | Self::Dns(text)
        | Self::Connect(text)
        | Self::Tls(text)
        | Self::Timeout(text)
        | Self::Protocol(text)
        | Self::TooLarge(text)
        | Self::Limit(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Error {}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Denied(text) => Self::Denied(text),
            wit::Error::InvalidRequest(text) => Self::InvalidRequest(text),
            wit::Error::Dns(text) => Self::Dns(text),
            wit::Error::Connect(text) => Self::Connect(text),
            wit::Error::Tls(text) => Self::Tls(text),
            wit::Error::Timeout(text) => Self::Timeout(text),
            wit::Error::Protocol(text) => Self::Protocol(text),
            wit::Error::TooLarge(text) => Self::TooLarge(text),
            wit::Error::Limit(text) => Self::Limit(text),
        }
    }
}

/// A request that is being written.
#[derive(Debug, Clone)]
pub struct Request {
    inner: wit::Request,
    /// What went wrong while it was written; told when it is sent, so that writing reads as one chain.
    problem: Option<String>,
}

impl Request {
    /// A request with any method to an absolute URL.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        let inner = wit::Request { method: method.to_owned(), url: url.into(), headers: vec![], body: vec![] };
        Self { inner, problem: None }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// A `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// A `DELETE`.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a header field. `host`, `content-length` and `user-agent` are the host's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inner.headers.push((name.into(), value.into()));
        self
    }

    /// `authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// `authorization: Basic …`; many APIs want a key as user and an empty password.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let encoded = encode::base64(format!("{user}:{password}").as_bytes());
        self.header("authorization", format!("Basic {encoded}"))
    }

    /// `idempotency-key: …`, with [`Event::idempotency_key`].
    pub fn idempotency_key(self, event: &Event, purpose: &str) -> Self {
        self.header("idempotency-key", event.idempotency_key(purpose))
    }

    /// Signs it for AWS (Signature Version 4): the last thing to be done to it before it is sent.
    ///
    /// Adds `x-amz-date` and `authorization`, in which the secret's handle stands for the signature; the host makes that of what
    /// it sends. All header fields that the request has are signed.
    pub fn sign_aws(self, signer: &Aws<'_>) -> Self {
        let Civil { year, month, day, hour, minute, second, .. } = clock::now().into();
        let date = format!("{year:04}{month:02}{day:02}");
        let request = self.header("x-amz-date", format!("{date}T{hour:02}{minute:02}{second:02}Z"));
        let mut names: Vec<String> = request.inner.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.push("host".to_owned());
        names.sort();
        names.dedup();
        let Aws { access_key_id, secret_access_key, region, service } = signer;
        let credential = format!("{access_key_id}/{date}/{region}/{service}/aws4_request");
        let names = names.join(";");
        request.header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={secret_access_key}"),
        )
    }

    /// A JSON body, with its `content-type`.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.inner.body = body,
            Err(error) => self.problem = Some(format!("the body cannot be written as JSON: {error}")),
        }
        self.header("content-type", "application/json")
    }

    /// A form as body, with its `content-type`.
    pub fn form<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.inner.body = encode::form(fields).into_bytes();
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// Any bytes as body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.inner.body = body.into();
        self
    }

    /// Sends it and waits for the whole response, of whatever status.
    ///
    /// # Errors
    /// If there is no response.
    pub fn send(self) -> Result<Response, Error> {
        Ok(wit::send(&self.checked()?)?.into())
    }

    /// Sends it and goes on; see [`Pending::wait`] and [`wait_any`].
    ///
    /// # Errors
    /// If it cannot be sent at all.
    pub fn start(self) -> Result<Pending, Error> {
        Ok(Pending(wit::start(&self.checked()?)?))
    }

    fn checked(self) -> Result<wit::Request, Error> {
        self.problem.map_or(Ok(self.inner), |problem| Err(Error::InvalidRequest(problem)))
    }
}

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200 to 599. Redirects are not followed.
    pub status: u16,
    /// Header fields in the order in which they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, after decompression.
    pub body: Vec<u8>,
}

impl From<wit::Response> for Response {
    fn from(response: wit::Response) -> Self {
        Self { status: response.status, headers: response.headers, body: response.body }
    }
}

impl Response {
    /// The first header field of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed), if it is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// How long the partner asks to wait, where it says so in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// The response, if its status is a success; else what the status commonly means:
    ///
    /// | status | error |
    /// | --- | --- |
    /// | 408, 423, 429, 5xx but 501 | retry, not before `retry-after` |
    /// | 401, 403 | invalid settings |
    /// | 501 | unsupported |
    /// | any other | rejected |
    ///
    /// Match on [`Response::status`] first where a partner's API means something else.
    ///
    /// # Errors
    /// Any status but 2xx.
    pub fn success(self) -> Result<Self> {
        match self.status {
            200..=299 => Ok(self),
            408 | 423 | 429 | 500 | 502..=599 => {
                Err(crate::Error::Retry { message: self.summary(), after: self.retry_after() })
            }
            401 | 403 => Err(crate::Error::InvalidSettings(self.summary())),
            501 => Err(crate::Error::Unsupported),
            _ => Err(crate::Error::Rejected(self.summary())),
        }
    }

    /// Status and the beginning of the body in one line, for an error's message.
    pub fn summary(&self) -> String {
        let text: String = self.text().chars().take(200).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() { format!("HTTP {}", self.status) } else { format!("HTTP {}: {text}", self.status) }
    }
}

/// A request that is under way. Dropping it cancels it.
#[derive(Debug)]
pub struct Pending(wit::Pending);

impl Pending {
    /// Waits until it has ended.
    ///
    /// # Errors
    /// If there is no response.
    pub fn wait(self) -> Result<Response, Error> {
        match wit::wait_any(&[&self.0], None) {
            Some((_, result)) => Ok(result?.into()),
            // Without a time to wait there is always an answer.
            None => Err(Error::Timeout("the request has not ended".to_owned())),
        }
    }
}

/// Waits until one of these requests has ended, takes it out, and says which it was (its place before) and how it
/// ended; `None` if there are none.
pub fn wait_any(pending: &mut Vec<Pending>) -> Option<(usize, Result<Response, Error>)> {
    if pending.is_empty() {
        return None;
    }
    let borrowed: Vec<&wit::Pending> = pending.iter().map(|pending| &pending.0).collect();
    // Without a time to wait there is always an answer.
    let (place, result) = wit::wait_any(&borrowed, None)?;
    let place = place as usize;
    pending.remove(place);
    Some((place, result.map(Response::from).map_err(Error::from)))
}

/// Sends all of them, as many at a time as the host lends, and gives the results in the order of the requests. Each is a handle of the
/// function until it has ended.
pub fn send_all(requests: impl IntoIterator<Item = Request>) -> Vec<Result<Response, Error>> {
    // The host carries on all that wait for their turn while the guest waits for one of them.
    let started: Vec<_> = requests.into_iter().map(Request::start).collect();
    started.into_iter().map(|pending| pending?.wait()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status, headers, body: b" slow\n down ".to_vec() }
    }

    #[test]
    fn a_status_means_what_it_commonly_means() {
        let ending = |status| match response(status, &[]).success() {
            Ok(_) => "ok",
            Err(crate::Error::Retry { .. }) => "retry",
            Err(crate::Error::InvalidSettings(_)) => "settings",
            Err(crate::Error::Unsupported) => "unsupported",
            Err(_) => "rejected",
        };
        let cases = [(200, "ok"), (202, "ok"), (302, "rejected"), (400, "rejected"), (401, "settings")];
        let more = [(403, "settings"), (404, "rejected"), (408, "retry"), (423, "retry"), (429, "retry")];
        let most = [(500, "retry"), (501, "unsupported"), (503, "retry"), (599, "retry")];
        for (status, expected) in cases.into_iter().chain(more).chain(most) {
            assert_eq!(ending(status), expected, "{status}");
        }
    }

    #[test]
    fn a_retry_carries_the_partners_own_pause_and_words() {
        let error = response(429, &[("retry-after", " 30 ")]).success().unwrap_err();
        let after = Some(Duration::from_secs(30));
        assert_eq!(error, crate::Error::Retry { message: "HTTP 429: slow down".to_owned(), after });
    }

    #[test]
    fn helpers_write_the_headers_that_they_promise() {
        let request = Request::post("https://x.example").basic_auth("key", "").json(&[1]);
        let expected = [("authorization", "Basic a2V5Og=="), ("content-type", "application/json")];
        assert_eq!(request.inner.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(request.inner.body, b"[1]");
        assert_eq!(Request::get("https://x.example").form([("a", "b c")]).inner.body, b"a=b+c");
    }
}
