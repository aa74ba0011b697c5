//! Canned answers in place of the network: `function run --answers`, `function test`, benchmarks.
//!
//! Guarantees: the same rules, policy and secrets as in the real gate, and the same caps; no socket, no DNS.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

use super::{
    EgressError, InboundResponse, OutboundRequest, Outlet, ResponseCaps, SendFuture, body::too_large, fill::permitted,
    grant::Grant, origin::Origin, permit::LastOrigin, reach::Reach, secrets::Secrets,
};

/// One answer of a list: a response, or the reason why there is none.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(untagged)]
pub enum CannedAnswer {
    /// No response.
    Error(CannedError),
    /// A response.
    Response(CannedResponse),
}

/// A connection that could not be made.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CannedError {
    /// What the guest is told, such as `connection refused`.
    pub error: String,
}

/// A response, each part of it optional.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CannedResponse {
    /// The status code, 200 to 599; 200 where absent.
    pub status: Option<u16>,
    /// Header fields; names are put in lower case.
    pub headers: BTreeMap<String, String>,
    /// Text as it is; any other JSON value is sent as JSON; nothing where absent.
    pub body: Value,
}

/// Why a list of answers cannot be used.
#[derive(Debug, Error)]
pub enum AnswersError {
    /// Not the JSON that is expected.
    #[error(
        "the answers are not a JSON array of `{{\"status\":200,\"headers\":{{}},\"body\":…}}` or `{{\"error\":\"…\"}}`: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// A status that no final response has.
    #[error("answer {position} has the status `{status}`; it must be 200 to 599")]
    Status {
        /// Which answer, from 1.
        position: usize,
        /// Its status.
        status: u16,
    },
}

/// Answers in their order; when they are used up, `200` with the body `{}`.
pub struct Answers {
    grant: Grant,
    reach: Reach,
    last: LastOrigin,
    secrets: Secrets,
    list: Arc<[Result<InboundResponse, EgressError>]>,
    next: AtomicUsize,
}

impl Answers {
    /// Reads a JSON array of answers.
    pub fn parse(json: &str) -> Result<Vec<CannedAnswer>, AnswersError> {
        Ok(serde_json::from_str(json)?)
    }

    /// Answers requests that the grant permits.
    pub fn new(answers: Vec<CannedAnswer>, grant: Grant, reach: Reach, secrets: Secrets) -> Result<Self, AnswersError> {
        let list = answers.into_iter().enumerate().map(|(at, answer)| response(at + 1, answer));
        let list = list.collect::<Result<Vec<_>, _>>()?.into();
        Ok(Self { grant, reach, last: LastOrigin::default(), secrets, list, next: AtomicUsize::new(0) })
    }

    /// The next answer, with the origin that gives it.
    fn answer(&self, request: OutboundRequest, caps: ResponseCaps) -> Result<(Origin, InboundResponse), EgressError> {
        let permitted = permitted(&request, (&self.grant, &self.reach), &self.last, &self.secrets)?;
        let at = self.next.fetch_add(1, Relaxed);
        let response = match self.list.get(at) {
            Some(answer) => answer.clone()?,
            None => InboundResponse { status: 200, headers: Vec::new(), body: Bytes::from_static(b"{}") },
        };
        let from = permitted.origin.to_string();
        if response.body.len() as u64 > caps.body_bytes {
            return Err(too_large(&from, "bytes of body", response.body.len() as u64, caps.body_bytes));
        }
        if response.headers.len() > caps.headers as usize {
            return Err(too_large(&from, "header fields", response.headers.len() as u64, u64::from(caps.headers)));
        }
        let bytes: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > caps.header_bytes as usize {
            return Err(too_large(&from, "bytes of header fields", bytes as u64, u64::from(caps.header_bytes)));
        }
        Ok((permitted.origin, response))
    }
}

impl Outlet for Answers {
    fn send(&self, request: OutboundRequest, _deadline: Instant, caps: ResponseCaps) -> SendFuture {
        let (answer, secrets) = (self.answer(request, caps), self.secrets.clone());
        Box::pin(async move {
            let (origin, response) = answer?;
            secrets.masked(&origin, response).await
        })
    }

    fn hmac_sha256(&self, handle: &str, message: &[u8]) -> Result<[u8; 32], String> {
        self.secrets.hmac_sha256(handle, message)
    }

    fn shown<'a>(&self, text: &'a str, most: usize) -> Cow<'a, str> {
        self.secrets.shown(text, most)
    }
}

fn response(position: usize, answer: CannedAnswer) -> Result<Result<InboundResponse, EgressError>, AnswersError> {
    let canned = match answer {
        CannedAnswer::Error(canned) => return Ok(Err(EgressError::Connect(canned.error))),
        CannedAnswer::Response(canned) => canned,
    };
    let status = canned.status.unwrap_or(200);
    if !(200..=599).contains(&status) {
        return Err(AnswersError::Status { position, status });
    }
    let body = match canned.body {
        Value::Null => Bytes::new(),
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    let headers = canned.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Ok(Ok(InboundResponse { status, headers, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: ResponseCaps = ResponseCaps { body_bytes: 16, headers: 4, header_bytes: 100 };

    fn answers(json: &str) -> Answers {
        let grant = Grant::new(&["https://a.example".to_owned()], &serde_json::Map::new(), "test").expect("a grant");
        Answers::new(Answers::parse(json).expect("json"), grant, Reach::default(), Secrets::default()).expect("answers")
    }

    fn ask(answers: &Answers, url: &str) -> Result<InboundResponse, EgressError> {
        let request = OutboundRequest { method: "POST".into(), url: url.into(), ..OutboundRequest::default() };
        answers.answer(request, CAPS).map(|(_, response)| response)
    }

    #[test]
    fn answers_come_in_order_and_then_200() {
        let answers = answers(
            r#"[{"status":429,"headers":{"Retry-After":"7"},"body":"slow"},{"error":"connection refused"},{"body":{"ok":true}}]"#,
        );
        let first = ask(&answers, "https://a.example/").expect("a response");
        assert_eq!(
            (first.status, &first.headers[..], &first.body[..]),
            (429, &[("retry-after".into(), "7".into())][..], &b"slow"[..])
        );
        assert_eq!(ask(&answers, "https://a.example/"), Err(EgressError::Connect("connection refused".into())));
        assert_eq!(ask(&answers, "https://a.example/").expect("a response").body, r#"{"ok":true}"#);
        for _ in 0..2 {
            let after = ask(&answers, "https://a.example/").expect("a response");
            assert_eq!((after.status, &after.body[..]), (200, &b"{}"[..]));
        }
    }

    #[test]
    fn a_denied_request_uses_up_no_answer() {
        let answers = answers(r#"[{"status":204}]"#);
        assert!(matches!(ask(&answers, "https://b.example/"), Err(EgressError::Denied(_))));
        assert_eq!(ask(&answers, "https://a.example/").expect("a response").status, 204);
    }

    #[test]
    fn answers_obey_the_caps() {
        let long = "v".repeat(100);
        let answers = answers(&format!(
            r#"[{{"body":"12345678901234567"}},{{"headers":{{"a":"{long}"}}}},{{"headers":{{"a":"","b":"","c":"","d":"","e":""}}}}]"#
        ));
        for _ in 0..3 {
            assert!(matches!(ask(&answers, "https://a.example/"), Err(EgressError::TooLarge(_))));
        }
    }

    #[test]
    fn mistyped_answers_are_refused() {
        for json in ["{}", r#"[{"statsu":200}]"#, r#"[{"status":200,"error":"x"}]"#, r#"[{"status":"200"}]"#, "[7]"] {
            assert!(Answers::parse(json).is_err(), "{json}");
        }
        let grant = Grant::new(&[], &serde_json::Map::new(), "test").expect("a grant");
        let list = Answers::parse(r#"[{"status":101}]"#).expect("json");
        assert!(Answers::new(list, grant, Reach::default(), Secrets::default()).is_err());
    }
}
