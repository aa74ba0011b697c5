//! Links: how a customer without a key gets into one workspace for a while.

use serde::Serialize;

use super::{DestinationId, KeyId, LinkId, Role, Timestamp, WorkspaceId};

/// A link that opens one session, without the signed text that it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// What people call it.
    pub name: String,
    /// The one workspace that its session sees.
    pub workspace: WorkspaceId,
    /// What its session may do: a workspace's editor or viewer.
    pub role: Role,
    /// The one destination that its session sees, if it is held to one.
    pub destination: Option<DestinationId>,
    /// Seconds that its session lasts.
    pub session_s: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// When it was opened, which it can be once.
    pub opened_at: Option<Timestamp>,
    /// Since when it is taken back, and its session with it.
    pub revoked_at: Option<Timestamp>,
}
