//! Who asks.

use serde::{Deserialize, Serialize};

use super::{KeyId, PartnerId, WorkspaceId};

/// What a key may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the host: may do everything.
    Operator,
}

/// Who asks for something, and on whose behalf. Every call of the control plane carries one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The key that was shown.
    pub key: KeyId,
    /// What that key may do.
    pub role: Role,
    /// The workspace in which customers' things are made and seen.
    pub workspace: WorkspaceId,
    /// The partner for whom functions are published.
    pub partner: PartnerId,
}
