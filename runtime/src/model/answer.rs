//! What a guest said, and how its run ended.

use std::time::Duration;

use super::Limit;

/// How a function dealt with one event: the guest's own word, see `wit/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The partner has it.
    Delivered,
    /// The function does nothing with such events.
    Unsupported,
    /// The event can never be accepted as it is; why.
    Rejected(String),
    /// The partner could not take it now.
    Retry {
        /// Why.
        message: String,
        /// How long to wait at least.
        after: Option<Duration>,
    },
    /// The customer's settings cannot work; why.
    InvalidSettings(String),
    /// Anything else that went wrong.
    Failed {
        /// The guest's own name of the error.
        name: String,
        /// What went wrong.
        message: String,
    },
}

/// How one invocation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The guest returned: one answer for each event, in order (checked).
    Answered(Vec<Answer>),
    /// The guest returned another number of answers than it was given events.
    WrongAnswerCount {
        /// How many events went in.
        events: usize,
        /// How many answers came out.
        answers: usize,
    },
    /// The guest crashed; the text says how, for a person.
    Trapped(String),
    /// The guest came to one of its limits and was stopped.
    LimitExceeded {
        /// Which one.
        limit: Limit,
        /// A message that names the limit, its value and what would raise it.
        message: String,
    },
    /// The invocation's deadline passed.
    DeadlineExceeded {
        /// The deadline.
        after: Duration,
    },
    /// The host itself could not run the guest: no fault of the function's, no attempt counted.
    HostFault(String),
}
