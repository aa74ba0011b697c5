//! What stands between an invocation and the gate: a request, a bounded response, and why there is none.
//!
//! Guarantees: whatever an [`Outlet`] is made of, the guest sees the same answers and the same errors.
//! Leaves to others: the rules (`permit`), the network (`gate`), canned answers (`answers`).

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::Instant;

use crate::model::Limits;

/// One request as the guest made it. Nothing in it has been checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutboundRequest {
    /// `GET`, `POST` and so on, in any case.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// Header fields in the order in which they are sent.
    pub headers: Arc<[(String, String)]>,
    /// The body; empty for none.
    pub body: Bytes,
}

/// One whole response, within its caps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboundResponse {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Header fields in the order in which they came; names in lower case. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body, after decompression.
    pub body: Bytes,
}

/// How large a response may be. Counted while reading; one byte too many ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResponseCaps {
    /// Bytes of the body, after decompression.
    pub body_bytes: u64,
    /// Number of header fields.
    pub headers: u32,
    /// Bytes of header names and values together.
    pub header_bytes: u32,
}

impl From<&Limits> for ResponseCaps {
    fn from(limits: &Limits) -> Self {
        Self {
            body_bytes: limits.response_body_bytes,
            headers: limits.response_headers,
            header_bytes: limits.response_header_bytes,
        }
    }
}

/// Why there is no response. Each case is one of the contract's `http.error`; the texts are for people.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EgressError {
    /// The policy forbids it; nothing was sent.
    #[error("{0}")]
    Denied(String),
    /// The request itself is malformed; nothing was sent.
    #[error("{0}")]
    InvalidRequest(String),
    /// The name could not be resolved.
    #[error("{0}")]
    Dns(String),
    /// No connection could be made, or it broke.
    #[error("{0}")]
    Connect(String),
    /// The server's certificate or handshake was not acceptable.
    #[error("{0}")]
    Tls(String),
    /// The time was up before the whole response was there.
    #[error("{0}")]
    Timeout(String),
    /// The server broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The response is larger than the host allows.
    #[error("{0}")]
    TooLarge(String),
}

impl EgressError {
    /// The same with another text.
    pub(super) fn said(mut self, say: impl FnOnce(&str) -> String) -> Self {
        let (Self::Denied(text)
        | Self::InvalidRequest(text)
        | Self::Dns(text)
        | Self::Connect(text)
        | Self::Tls(text)
        | Self::Timeout(text)
        | Self::Protocol(text)
        | Self::TooLarge(text)) = &mut self;
        *text = say(text);
        self
    }
}

/// A response on its way. Dropping it gives up the request and its connection.
pub type SendFuture = Pin<Box<dyn Future<Output = Result<InboundResponse, EgressError>> + Send>>;

/// What an invocation sends through: the network behind its grant, or canned answers.
pub trait Outlet: Send + Sync {
    /// Sends one request and waits for its whole response, until `deadline` at the latest.
    fn send(&self, request: OutboundRequest, deadline: Instant, caps: ResponseCaps) -> SendFuture;

    /// HMAC-SHA256 of a message under the secret that a handle stands for.
    ///
    /// # Errors
    /// Why there is none, for the guest.
    fn hmac_sha256(&self, _handle: &str, _message: &[u8]) -> Result<[u8; 32], String> {
        Err(NO_HANDLE.to_owned())
    }

    /// The beginning, so many bytes at most, of a text that people will see: where it would end in the middle of a secret, its name
    /// stands. Whoever takes secrets out of what is left finds none of which only a part is there.
    fn shown<'a>(&self, text: &'a str, most: usize) -> Cow<'a, str> {
        text[..text.floor_char_boundary(most)].into()
    }
}

/// What a guest is told that signs with something else.
pub(super) const NO_HANDLE: &str = "the key is not the handle of a secret setting";
