//! How an attempt ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The stable name of an ending. The spellings are those that existing dashboards know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeCode {
    /// The partner has it.
    Delivered,
    /// The function does nothing with such events.
    UnsupportedEventType,
    /// The event can never be accepted as it is.
    MessageRejected,
    /// The function failed in a way it did not foresee.
    BadRequest,
    /// The customer's settings cannot work.
    InvalidSettings,
    /// The partner could not take it now.
    Retry,
    /// The time was up.
    GatewayTimeout,
    /// The partner, or this host for it, throttles.
    TooManyRequests,
    /// The function came to one of its limits.
    LimitExceeded,
    /// The function asked for a host that is not its own, and failed over it.
    EgressDenied,
    /// This host's own fault.
    Internal,
}

impl OutcomeCode {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Delivered,
        Self::UnsupportedEventType,
        Self::MessageRejected,
        Self::BadRequest,
        Self::InvalidSettings,
        Self::Retry,
        Self::GatewayTimeout,
        Self::TooManyRequests,
        Self::LimitExceeded,
        Self::EgressDenied,
        Self::Internal,
    ];

    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::UnsupportedEventType => "unsupported_event_type",
            Self::MessageRejected => "message_rejected",
            Self::BadRequest => "bad_request",
            Self::InvalidSettings => "invalid_settings",
            Self::Retry => "retry",
            Self::GatewayTimeout => "gateway_timeout",
            Self::TooManyRequests => "too_many_requests",
            Self::LimitExceeded => "limit_exceeded",
            Self::EgressDenied => "egress_denied",
            Self::Internal => "internal",
        }
    }
}

/// How one attempt at one delivery ended, for people and for the decision what to do next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Which ending.
    pub code: OutcomeCode,
    /// Why, in a sentence; empty if delivered.
    pub message: String,
    /// Whether trying again can help.
    pub retryable: bool,
    /// The guest's own name of the error, where it gave one.
    pub error: Option<String>,
    /// How long to wait at least before the next attempt.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}
