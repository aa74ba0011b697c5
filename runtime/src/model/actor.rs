//! Who asks, for whom, and by which key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DestinationId, KeyId, LinkId, PartnerId, Timestamp, WorkspaceId};

/// What a key is for. Which role may do what is `api/policy.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the host: may do everything, in one workspace and for one partner at a time.
    Operator,
    /// Publishes a partner's functions, and gives keys to others of the same partner.
    PartnerAdmin,
    /// Publishes a partner's functions.
    PartnerDeveloper,
    /// Changes everything in a workspace, and gives keys to others of the same workspace.
    WorkspaceAdmin,
    /// Changes everything in a workspace.
    WorkspaceEditor,
    /// Sees everything in a workspace.
    WorkspaceViewer,
}

/// To what kind of tenant a role belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The host itself.
    Host,
    /// A partner.
    Partner,
    /// A workspace.
    Workspace,
}

/// Text that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no role: there are {}", Role::ALL.map(|role| format!("`{role}`")).join(", "))]
pub struct UnknownRole {
    text: String,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Operator,
        Self::PartnerAdmin,
        Self::PartnerDeveloper,
        Self::WorkspaceAdmin,
        Self::WorkspaceEditor,
        Self::WorkspaceViewer,
    ];

    /// Its name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::PartnerAdmin => "partner-admin",
            Self::PartnerDeveloper => "partner-developer",
            Self::WorkspaceAdmin => "workspace-admin",
            Self::WorkspaceEditor => "workspace-editor",
            Self::WorkspaceViewer => "workspace-viewer",
        }
    }

    /// To what kind of tenant it belongs.
    pub const fn side(self) -> Side {
        match self {
            Self::Operator => Side::Host,
            Self::PartnerAdmin | Self::PartnerDeveloper => Side::Partner,
            Self::WorkspaceAdmin | Self::WorkspaceEditor | Self::WorkspaceViewer => Side::Workspace,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole { text: text.chars().take(40).collect() })
    }
}

/// Who asks for something, and on whose behalf. Every call of the control plane carries one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The key that was shown.
    pub key: KeyId,
    /// What that key may do.
    pub role: Role,
    /// The workspace in which customers' things are made and seen; [`Actor::NO_WORKSPACE`] for a partner's key.
    pub workspace: WorkspaceId,
    /// The partner for whom functions are published; [`Actor::NO_PARTNER`] for a workspace's key.
    pub partner: PartnerId,
    /// The one destination of the workspace that exists for this actor, if it came by a link to one.
    pub destination: Option<DestinationId>,
}

impl Actor {
    /// The workspace of who has none. No row has it, so a statement that filters by it finds nothing.
    pub const NO_WORKSPACE: WorkspaceId = WorkspaceId::from_uuid(Uuid::nil());
    /// The partner of who has none. No row has it.
    pub const NO_PARTNER: PartnerId = PartnerId::from_uuid(Uuid::nil());

    /// Whether this destination may exist for the actor, as far as a link holds it to one.
    pub fn reaches(&self, destination: DestinationId) -> bool {
        self.destination.is_none_or(|only| only == destination)
    }

    /// The customer who asks, if one does: they see what is for customers.
    pub fn customer(&self) -> Option<WorkspaceId> {
        match self.role.side() {
            Side::Workspace => Some(self.workspace),
            Side::Host | Side::Partner => None,
        }
    }

    /// On whose behalf it asks: a workspace's key has no partner and the other way round, an operator has both.
    pub fn tenant(&self) -> (WorkspaceId, PartnerId) {
        (self.workspace, self.partner)
    }

    /// Whose functions this actor sees: a partner its own, everybody else the whole catalogue (`None`).
    pub fn publisher(&self) -> Option<PartnerId> {
        match self.role.side() {
            Side::Partner => Some(self.partner),
            Side::Host | Side::Workspace => None,
        }
    }
}

/// A tenant: a workspace or a partner, by the kind of its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tenant<I> {
    /// Its id.
    pub id: I,
    /// Its name, unique on the host among its kind.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key of the control API, without the token that it belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The workspace that it is for, if it is a workspace's.
    pub workspace: Option<WorkspaceId>,
    /// The partner that it is for, if it is a partner's.
    pub partner: Option<PartnerId>,
    /// The first characters of its token, by which people recognise it.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom; none for the host's first key.
    pub created_by: Option<KeyId>,
    /// The key in whose place it came.
    pub replaces: Option<KeyId>,
    /// From when on it no longer opens anything.
    pub expires_at: Option<Timestamp>,
    /// Since when it is taken back.
    pub revoked_at: Option<Timestamp>,
    /// When it was last shown, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// The link that made it, if it is a session's.
    pub link: Option<LinkId>,
    /// The one destination that it is held to, if its link names one.
    pub destination: Option<DestinationId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_one_name_in_text_and_json() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("`workspace-viewer`"));
    }
}
