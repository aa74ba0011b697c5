//! Time is handed in: whoever needs the time of day holds a [`Clock`], so tests and replays can fix it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// A source of the time of day.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Always the same moment.
    Fixed(Timestamp),
    /// The machine's clock as it was at one moment, and since then the time that passed: see [`Clock::steady`].
    Steady {
        /// What the machine's clock said.
        began: Timestamp,
        /// When that was.
        at: Instant,
    },
}

impl Clock {
    /// This clock for schedules: from now on it goes as time passes, and setting the machine's clock neither makes
    /// everything due at once nor holds it back. It follows a clock that was set only when it is made anew.
    #[must_use]
    pub fn steady(self) -> Self {
        match self {
            Self::System => Self::Steady { began: self.now(), at: Instant::now() },
            Self::Fixed(_) | Self::Steady { .. } => self,
        }
    }

    /// The time of day. A machine clock before 1970 reads as 1970.
    pub fn now(self) -> Timestamp {
        match self {
            Self::Fixed(time) => time,
            Self::Steady { began, at } => began.plus(at.elapsed()),
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}
