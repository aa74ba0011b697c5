//! How deliveries stand at one moment.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Timestamp;

/// Whether a destination is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerHealth {
    /// It is.
    #[default]
    Closed,
    /// Its deliveries wait, at no cost of attempts, until a probe works.
    Open,
    /// A probe is under way.
    Probing,
}

/// How one destination stands, as far as this process has seen it.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DestinationHealth {
    /// Whether it is served.
    pub breaker: BreakerHealth,
    /// Why not: `failures` or `slowness`.
    pub reason: Option<&'static str>,
    /// When the breaker last opened or closed.
    pub since: Option<Timestamp>,
    /// When the next probe may begin.
    pub next_probe: Option<Timestamp>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Deliveries that are claimed and wait for their turn; more may be in the store.
    pub waiting: u64,
    /// Attempts a second that were learned from the partner's pushing back; none: nothing is limited.
    pub learned_per_s: Option<f64>,
    /// How attempts at deliveries ended, by outcome code, since this process first served it.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// Figures over all destinations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeliveryFigures {
    /// Attempts under way.
    pub in_flight: u64,
    /// Deliveries that are claimed and wait for their turn.
    pub waiting: u64,
    /// Destinations that are served.
    pub breakers_closed: u64,
    /// Destinations whose deliveries wait.
    pub breakers_open: u64,
    /// Destinations with a probe under way.
    pub breakers_probing: u64,
    /// Destinations with a learned rate.
    pub slowed: u64,
    /// How often breakers opened: for failures, and for slowness.
    pub breakers_opened: [u64; 2],
}
