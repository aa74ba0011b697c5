//! How fast a destination may be served.

use serde::{Deserialize, Serialize};

/// The fastest rate that can be written: beyond it nothing is limited on one machine.
const FASTEST: f64 = 1_000_000.0;

/// The slowest: one in a quarter of an hour. A slower destination could not be told from one that hangs.
const SLOWEST: f64 = 0.001;

/// A limit on attempts at one destination: in any time T no more than `T × rate + burst` begins. The partner sets one
/// in the manifest, the customer can tighten it; where both do, both hold.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests to the partner in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// Events handed to the function in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_s: Option<f64>,
    /// How many may begin at once after a pause; a second's worth if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl Rate {
    /// What is wrong with it: the key, the value and what can be.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        let rates = [("requests_per_s", self.requests_per_s), ("events_per_s", self.events_per_s)];
        for (key, rate) in rates {
            if let Some(rate) = rate.filter(|rate| !(SLOWEST..=FASTEST).contains(rate)) {
                return Err((key, rate.to_string(), format!("use a number from {SLOWEST} to {FASTEST}")));
            }
        }
        if rates.iter().all(|(_, rate)| rate.is_none()) {
            return Err(("requests_per_s", "absent".to_owned(), "give it, or `events_per_s`, or both".to_owned()));
        }
        match self.burst {
            Some(burst) if burst == 0 || f64::from(burst) > FASTEST => {
                Err(("burst", burst.to_string(), format!("use 1 to {FASTEST}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_names_at_least_one_speed_within_bounds() {
        let rate = |requests, events, burst| Rate { requests_per_s: requests, events_per_s: events, burst };
        for good in [rate(Some(0.5), None, None), rate(None, Some(100.0), Some(1)), rate(Some(1.0), Some(1.0), None)] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for (bad, key) in [
            (rate(None, None, None), "requests_per_s"),
            (rate(None, None, Some(4)), "requests_per_s"),
            (rate(Some(0.0), None, None), "requests_per_s"),
            (rate(Some(-1.0), None, None), "requests_per_s"),
            (rate(Some(f64::NAN), None, None), "requests_per_s"),
            (rate(None, Some(f64::INFINITY), None), "events_per_s"),
            (rate(Some(1.0), None, Some(0)), "burst"),
        ] {
            assert_eq!(bad.check().unwrap_err().0, key, "{bad:?}");
        }
    }
}
