//! Time is handed in: whoever needs the time of day holds a [`Clock`], so tests and replays can fix it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// A source of the time of day.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Always the same moment.
    Fixed(Timestamp),
}

impl Clock {
    /// The time of day. A machine clock before 1970 reads as 1970.
    pub fn now(self) -> Timestamp {
        match self {
            Self::Fixed(time) => time,
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}
