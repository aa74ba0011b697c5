//! Calls to a host's control API.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::Exit;
use crate::catalog::Finding;

/// Where `tidegate serve` has its control API unless it is told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8081";

/// Where the host is, and who asks.
#[derive(clap::Args, Clone)]
pub(super) struct ServerArgs {
    /// The host's control API.
    #[arg(long, env = "TIDEGATE_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    pub(super) server: String,
    /// The key to show. `tidegate serve` prints one at its first start.
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// The workspace to work in, by name or id. For operators; other keys know theirs.
    #[arg(long, env = "TIDEGATE_WORKSPACE", value_name = "WORKSPACE")]
    pub(super) workspace: Option<String>,
    /// The partner to work for, by name or id. For operators; other keys know theirs.
    #[arg(long, env = "TIDEGATE_PARTNER", value_name = "PARTNER")]
    pub(super) partner: Option<String>,
}

impl ServerArgs {
    /// This server with this key, in the tenants that the key knows.
    pub(super) const fn of(server: String, token: Option<String>) -> Self {
        Self { server, token, workspace: None, partner: None }
    }

    /// What the environment says, for commands that ask a host only sometimes.
    pub(super) fn from_environment() -> Self {
        let given = |name: &str| std::env::var(name).ok();
        Self {
            server: given("TIDEGATE_SERVER").unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
            token: given("TIDEGATE_TOKEN"),
            workspace: given("TIDEGATE_WORKSPACE"),
            partner: given("TIDEGATE_PARTNER"),
        }
    }
}

/// How long one call may take: an upload is compiled in it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer: a page of large events.
const ANSWER_BYTES: usize = 64 << 20;

/// A client of one host.
#[derive(Clone)]
pub(super) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    args: ServerArgs,
}

impl Client {
    pub(super) fn new(args: ServerArgs) -> Self {
        Self { http: Http::builder(TokioExecutor::new()).build_http(), args }
    }

    /// The key that it shows, if it has one.
    pub(super) fn token(&self) -> Option<&str> {
        self.args.token.as_deref()
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
        let url = format!("{}{path}", self.args.server.trim_end_matches('/'));
        let mut request = Request::builder().method(method.clone()).uri(&url).header(header::CONTENT_TYPE, kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.args.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let tenants = [("tidegate-workspace", &self.args.workspace), ("tidegate-partner", &self.args.partner)];
        for (name, tenant) in tenants {
            if let Some(tenant) = tenant {
                request = request.header(name, tenant);
            }
        }
        let request = request.body(Full::new(body)).with_context(|| {
            format!("`{url}` is not a URL that can be asked; --server takes one such as http://127.0.0.1:8081")
        })?;
        let answer = tokio::time::timeout(PATIENCE, self.http.request(request))
            .await
            .with_context(|| format!("{method} {url}: no answer within {} s", PATIENCE.as_secs()))?
            .with_context(|| format!("{method} {url}: is the host running there? (`tidegate serve`, --server)"))?;
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
            StatusCode::UNAUTHORIZED if self.args.token.is_none() => {
                Err(Exit::Refused(format!("{message}: give --token or set TIDEGATE_TOKEN")).into())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Err(Exit::Refused(message).into())
            }
            _ => bail!("{message}"),
        }
    }
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
    fn reserved_characters_are_encoded() {
        assert_eq!(encode("a-b_c.d~e/ä?&"), "a-b_c.d~e%2F%C3%A4%3F%26");
    }
}
