//! Trying a function: one run of a stored version on events of whoever asks.

use serde_json::{Map, Value};

use super::{Event, FunctionId, FunctionVersion, PartnerId, Timestamp, WorkspaceId};

/// What is to be tried. Its settings may hold secrets, so it does not show itself.
#[derive(Clone)]
pub struct Trial {
    /// For whom it is tried: each has its share of what can be tried at a time.
    pub tenant: (WorkspaceId, PartnerId),
    /// The function.
    pub function: FunctionId,
    /// The version of it.
    pub version: FunctionVersion,
    /// The setting that it is asked the choices of, instead of handling events.
    pub choices_of: Option<String>,
    /// The events, at least one unless it is asked for choices.
    pub events: Vec<Event>,
    /// Whether the batch handler gets them.
    pub batch: bool,
    /// Settings that fit the manifest, with its defaults.
    pub settings: Map<String, Value>,
    /// A JSON array of answers; with it nothing goes out.
    pub answers: Option<String>,
    /// What the guest's clock shows, if not the time.
    pub now: Option<Timestamp>,
    /// Fixes the guest's randomness.
    pub seed: Option<u64>,
    /// Whether it is one of the function's own cases: run as on its author's machine, with the same handles and whole
    /// bodies, and behind others instead of not at all.
    pub case: bool,
}

/// Why a trial gives no report. What the function does wrong is in the report instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrialError {
    /// Others are running.
    #[error("{0} functions are being tried already, the most at a time: try again in a second")]
    Busy(usize),
    /// The tenant has its share already.
    #[error(
        "{0} of your trials are running already, as many as one workspace or partner may have at a time: wait until one of them ends"
    )]
    Share(usize),
    /// The settings give no origins.
    #[error("with these settings the function has nowhere to send to: {0}")]
    Settings(String),
    /// The answers cannot be used.
    #[error("{0}")]
    Answers(String),
    /// The version cannot be run.
    #[error("{0}")]
    Unusable(String),
    /// The function gives no choices; why, in its own words or those of what ended it.
    #[error("the function gives no choices: {0}")]
    NoChoices(String),
    /// A fault of the host's own.
    #[error("the host could not run the function: {0}")]
    Host(String),
}
