//! A moment, to the millisecond.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment in milliseconds since 1970 UTC, never before it. Text and JSON are RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// Text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: expected RFC 3339 such as `2026-01-31T12:00:00Z`, between the years 1970 and 9999")]
pub struct BadTimestamp(String);

/// The last millisecond of the year 9999, beyond which RFC 3339 has no text.
const MAX_MILLIS: u64 = 253_402_207_200_999;

impl Timestamp {
    /// That many milliseconds after 1970-01-01T00:00:00Z; what lies beyond the year 9999 becomes its end.
    pub const fn from_millis(ms: u64) -> Self {
        Self(if ms > MAX_MILLIS { MAX_MILLIS } else { ms })
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment that an HTTP date names, such as `Sun, 06 Nov 1994 08:49:37 GMT`; none if it names none.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        u64::try_from(time.as_millisecond()).ok().map(Self::from_millis)
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This much earlier, not before 1970.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time since an earlier moment; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0 as i64).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok())
            .map(Self::from_millis)
            .ok_or_else(|| BadTimestamp(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = BadTimestamp;

    fn try_from(text: String) -> Result<Self, BadTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_text_to_the_millisecond() {
        for ms in [0, 1, 1_700_000_000_123, MAX_MILLIS] {
            let time = Timestamp::from_millis(ms);
            assert_eq!(time.to_string().parse(), Ok(time), "{time}");
        }
        assert_eq!(Timestamp::from_millis(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).as_millis(), MAX_MILLIS);
    }

    #[test]
    fn times_before_1970_and_other_text_are_refused() {
        for bad in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-01-01"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
