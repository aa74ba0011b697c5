//! What is known of a function version beside its manifest: what its component is made of, and whether it may be chosen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a look into a component found. Nothing of it can change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Inspection {
    /// The interfaces it imports, sorted.
    pub imports: Vec<String>,
    /// What it exports, sorted.
    pub exports: Vec<String>,
    /// How large its parts are.
    pub structure: Structure,
}

/// How large the parts of a component are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Structure {
    /// Core modules.
    pub core_modules: u32,
    /// Functions in all core modules together.
    pub functions: u32,
    /// Bytes of all functions' bodies.
    pub code_bytes: u64,
    /// Bytes of the largest function's body.
    pub largest_function_bytes: u64,
    /// Bytes with which memories begin.
    pub data_bytes: u64,
}

/// Whether a version may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// Yes.
    Available,
    /// Yes, but its partner would rather not.
    Deprecated,
    /// No. Who runs it already goes on.
    Yanked,
}

/// Text that is no state of a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a version")]
pub struct UnknownVersionState(String);

impl VersionState {
    /// Its name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Deprecated => "deprecated",
            Self::Yanked => "yanked",
        }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VersionState {
    type Err = UnknownVersionState;

    fn from_str(text: &str) -> Result<Self, UnknownVersionState> {
        let all = [Self::Available, Self::Deprecated, Self::Yanked];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownVersionState(text.chars().take(40).collect()))
    }
}

/// The text that a version was built of on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptText {
    /// The file's name, which says whether it is JavaScript or TypeScript.
    pub file: String,
    /// All of it.
    pub text: String,
}
