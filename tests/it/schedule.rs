//! When deliveries are attempted: lanes, rates, breakers, batches and order, from outside with real functions.

mod batches;
mod figures;
mod lanes;
mod order;
mod restart;

use std::time::Instant;

use serde_json::{Value, json};

use crate::host::{Host, PATIENCE};
use crate::http::{self, Partner};

/// Posts each event to the destination's own path, and says of the partner's status what the reference says.
const POSTS: &str = r#"
async function post(event, settings) {
  const body = JSON.stringify({ id: event.messageId, user: event.userId });
  const answer = await fetch(settings.url, { method: "POST", body });
  if (answer.status === 401) throw new InvalidSettings("HTTP 401");
  if (answer.status === 429 || answer.status >= 500) throw new RetryError(`HTTP ${answer.status}`);
  if (!answer.ok) throw new InvalidEventPayload(`HTTP ${answer.status}`);
}
const onTrack = post;
"#;

/// Retries without the waits of real life.
const QUICK: &[(&str, &str)] =
    &[("TIDEGATE__DELIVERY__BACKOFF_BASE_MS", "10"), ("TIDEGATE__DELIVERY__BACKOFF_CAP_MS", "50")];

/// A host with one function, and a source that feeds its destinations.
struct Bed {
    data: tempfile::TempDir,
    host: Host,
    partner: Partner,
    source: Value,
}

impl Bed {
    /// `more` is added to the function's manifest, `settings` to the host's configuration.
    async fn start(partner: Partner, script: &str, more: &str, settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let host = Host::start_with(data.path(), partner.address, None, &[QUICK, settings].concat());
        let manifest = format!(
            "name = \"posts\"\nversion = \"1\"\nevents = [\"track\"]\n{more}\n[egress]\nallow = [\"{{settings.url}}\"]\n\
             [settings.url]\ntype = \"string\"\n"
        );
        let form = format!(
            "--e\r\ncontent-disposition: form-data; name=\"handler.js\"\r\n\r\n{script}\r\n\
             --e\r\ncontent-disposition: form-data; name=\"function.toml\"\r\n\r\n{manifest}\r\n--e--\r\n"
        );
        let bearer = format!("Bearer {}", host.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
        let made = http::send(host.admin, "POST", "/api/v1/functions", &headers, form.into_bytes()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
        Self { data, host, partner, source }
    }

    /// Stops the host, does something, and starts it again with these settings beside the quick ones.
    async fn restart(&mut self, settings: &[(&str, &str)], meanwhile: impl AsyncFnOnce()) {
        let token = self.host.token.clone();
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Host::start_with(elsewhere.path(), self.partner.address, None, QUICK);
        assert!(std::mem::replace(&mut self.host, other).stop().success());
        meanwhile().await;
        let settings = [QUICK, settings].concat();
        self.host = Host::start_with(self.data.path(), self.partner.address, Some(&token), &settings);
    }

    /// A destination that posts to this path; `more` is added to what makes it.
    async fn destination(&self, path: &str, more: Value) -> Value {
        self.connected(path, more, json!({})).await
    }

    async fn connected(&self, path: &str, more: Value, connection: Value) -> Value {
        let url = format!("{}{path}", self.partner.url());
        let mut new = json!({"name": format!("to {path}"), "function": "posts", "settings": {"url": url}});
        new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let destination = self.host.api("POST", "/api/v1/destinations", new).await;
        let mut edge = json!({"source": self.source["id"], "destination": destination["id"]});
        edge.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
        self.host.api("POST", "/api/v1/connections", edge).await;
        destination
    }

    /// Sends events with these ids, each of this user.
    async fn send(&self, events: impl IntoIterator<Item = (String, String)>) {
        let event = |(id, user)| json!({"type": "track", "event": "E", "userId": user, "messageId": id});
        let batch: Vec<Value> = events.into_iter().map(event).collect();
        let body = json!({"writeKey": self.source["write_key"], "batch": batch}).to_string().into_bytes();
        let kind = [("content-type", "application/json")];
        let answer = http::send(self.host.listen, "POST", "/v1/batch", &kind, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    async fn send_many(&self, count: usize) {
        self.send((0..count).map(|n| (format!("m{n}"), format!("u{n}")))).await;
    }

    async fn health(&self, destination: &Value) -> Value {
        let id = destination["id"].as_str().unwrap();
        self.host.api("GET", &format!("/api/v1/destinations/{id}"), Value::Null).await["health"].clone()
    }

    async fn ledger(&self, destination: &Value) -> Value {
        let id = destination["id"].as_str().unwrap();
        self.host.api("GET", &format!("/api/v1/ledger?destination={id}"), Value::Null).await
    }

    /// Asks until the answer is as wanted.
    async fn until<F: Future<Output = Value>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}: {answer}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The attempts at the delivery of this event.
    async fn attempts(&self, message_id: &str) -> Vec<Value> {
        let all = self.host.api("GET", "/api/v1/deliveries?limit=1000", Value::Null).await;
        let found = all["items"].as_array().unwrap().iter().find(|one| one["message_id"] == message_id);
        let id = found.unwrap_or_else(|| panic!("no delivery of {message_id}"))["id"].as_str().unwrap();
        let attempts = self.host.api("GET", &format!("/api/v1/deliveries/{id}/attempts"), Value::Null).await;
        attempts["items"].as_array().unwrap().clone()
    }

    /// Ids of events in the order in which they reached this path.
    fn arrived(&self, path: &str) -> Vec<String> {
        let received = self.partner.received.lock().unwrap();
        let body = |one: &http::Received| serde_json::from_slice::<Value>(&one.body).unwrap();
        received.iter().filter(|one| one.path == path).map(|one| body(one)["id"].as_str().unwrap().to_owned()).collect()
    }
}
