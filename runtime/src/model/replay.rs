//! Replay: deliveries that are given back to their destinations, by a filter and at a rate of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::VersionId;

/// Where a replay stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// It gives deliveries back, as far as its rate and live events let it.
    Running,
    /// A person stopped it, and may resume it where it stood.
    Paused,
    /// A person ended it. What it gave back goes on.
    Cancelled,
    /// It gave back everything that it was made for.
    Done,
}

impl ReplayState {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Cancelled, Self::Done];

    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }
}

/// Which version of the function a replayed delivery runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReplayVersion {
    /// What its destination runs at the moment of the attempt.
    #[default]
    Current,
    /// What ran at its last recorded attempt.
    Old,
    /// This one.
    Pinned(VersionId),
}

/// Text that names no version for a replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version for a replay: use `current`, `old` or a version's id, `fnv_…`")]
pub struct BadReplayVersion(String);

impl FromStr for ReplayVersion {
    type Err = BadReplayVersion;

    fn from_str(text: &str) -> Result<Self, BadReplayVersion> {
        match text {
            "current" => Ok(Self::Current),
            "old" => Ok(Self::Old),
            id => id.parse().map(Self::Pinned).map_err(|_| BadReplayVersion(id.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for ReplayVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("current"),
            Self::Old => f.write_str("old"),
            Self::Pinned(version) => version.fmt(f),
        }
    }
}

impl TryFrom<String> for ReplayVersion {
    type Error = BadReplayVersion;

    fn try_from(text: String) -> Result<Self, BadReplayVersion> {
        text.parse()
    }
}

impl From<ReplayVersion> for String {
    fn from(version: ReplayVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timestamp;
    use super::*;

    #[test]
    fn a_version_for_a_replay_survives_its_text_and_nothing_else_is_one() {
        let pinned = ReplayVersion::Pinned(VersionId::new(Timestamp::from_millis(1)));
        for version in [ReplayVersion::Current, ReplayVersion::Old, pinned] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for bad in ["", "newest", "fnv_1", "Current"] {
            assert!(bad.parse::<ReplayVersion>().is_err(), "{bad}");
        }
    }
}
