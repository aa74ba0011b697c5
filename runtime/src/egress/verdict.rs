//! What the gate says to a request before anything is sent, and which of its rules says so.

use std::net::SocketAddr;

use serde::Serialize;

use super::{EgressError, origin::BadUrl};

/// The rules in the order in which they are asked. The first that objects answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The URL is written so that everybody reads it the same way.
    Url,
    /// The host is one that a grant could name.
    Host,
    /// The method is one that functions may use.
    Method,
    /// The header fields are the guest's to set, well-formed, and not too many.
    Header,
    /// The grant names the origin.
    Policy,
    /// Plain `http` is open for it.
    Scheme,
    /// Each secret goes to an origin and into a place that the manifest binds it to.
    Secret,
    /// The name resolves.
    Dns,
    /// Every address may be dialled.
    Address,
}

impl Rule {
    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Host => "host",
            Self::Method => "method",
            Self::Header => "header",
            Self::Policy => "policy",
            Self::Scheme => "scheme",
            Self::Secret => "secret",
            Self::Dns => "dns",
            Self::Address => "address",
        }
    }
}

/// A refusal: nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Denial {
    /// Which rule.
    pub rule: Rule,
    /// Why, for a person.
    pub reason: String,
}

impl Denial {
    pub(super) fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self { rule, reason: reason.into() }
    }
}

impl From<BadUrl> for Denial {
    fn from(error: BadUrl) -> Self {
        let rule = match error {
            BadUrl::Malformed { .. } => Rule::Url,
            BadUrl::Host { .. } => Rule::Host,
        };
        Self::new(rule, error.to_string())
    }
}

impl From<Denial> for EgressError {
    fn from(denial: Denial) -> Self {
        match denial.rule {
            Rule::Url | Rule::Method | Rule::Header => Self::InvalidRequest(denial.reason),
            Rule::Host | Rule::Policy | Rule::Scheme | Rule::Secret | Rule::Address => Self::Denied(denial.reason),
            Rule::Dns => Self::Dns(denial.reason),
        }
    }
}

/// The gate's answer to a question that sends nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A request would be sent to one of these addresses.
    Allow {
        /// All of them passed.
        addresses: Vec<SocketAddr>,
    },
    /// It would not.
    Deny(Denial),
}
