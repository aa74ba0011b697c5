//! How a call ends when it does not end well.

use std::time::Duration;

use crate::http;

/// The result of dealing with an event.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why an event was not delivered; each case decides what the host does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// This function does nothing with such events. Not tried again.
    Unsupported,
    /// The event can never be accepted as it is; the text says why. Not tried again.
    Rejected(String),
    /// The partner could not take it now. Tried again, with growing pauses, for four hours.
    Retry {
        /// Why, for the person who reads the delivery's record.
        message: String,
        /// How long to wait at least; `None` leaves it to the host.
        after: Option<Duration>,
    },
    /// The customer's settings cannot work; the text says which and why. Not tried again.
    InvalidSettings(String),
    /// Anything else that went wrong. Not tried again.
    Failed {
        /// A name for the kind of error, such as `JsonError`.
        name: String,
        /// What went wrong.
        message: String,
    },
}

impl Error {
    /// Try again, whenever the host sees fit.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: None }
    }

    /// An error that was not foreseen.
    pub fn failed(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { name: name.into(), message: message.into() }
    }
}

/// A partner that cannot be reached may be reachable later; a request that must not or cannot be sent will not be.
impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        let message = error.to_string();
        match error {
            http::Error::Dns(_)
            | http::Error::Connect(_)
            | http::Error::Tls(_)
            | http::Error::Timeout(_)
            | http::Error::Protocol(_) => Self::retry(message),
            http::Error::Denied(_) => Self::failed("EgressDenied", message),
            http::Error::InvalidRequest(_) => Self::failed("InvalidRequest", message),
            http::Error::TooLarge(_) => Self::failed("ResponseTooLarge", message),
            http::Error::Limit(_) => Self::failed("RequestLimit", message),
        }
    }
}

/// For answers of a partner that are not the JSON that was expected. [`Event::parse`](crate::Event::parse) rejects the
/// event instead.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::failed("JsonError", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_is_tried_again() {
        let retried = |error: http::Error| matches!(Error::from(error), Error::Retry { .. });
        assert!(retried(http::Error::Connect("refused".into())));
        assert!(retried(http::Error::Timeout("5 s".into())));
        assert!(!retried(http::Error::Denied("not yours".into())));
        assert!(!retried(http::Error::Limit("32 requests".into())));
    }
}
