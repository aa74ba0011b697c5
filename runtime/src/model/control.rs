//! The things that people make: functions, sources, destinations, connections.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hex;
use super::{
    ConnectionId, DestinationId, EventField, FunctionId, Manifest, PartnerId, Rate, Sealed, Secret, Signed, SourceId,
    Stage, SuppressionId, Timestamp, VersionId, VersionState, WorkspaceId,
};

/// The SHA-256 of a component's bytes. Text and JSON are `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// A digest as it is shown; none if the text is not one.
    pub fn read(text: &str) -> Option<Self> {
        text.strip_prefix("sha256:").and_then(hex::bytes).map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A partner's program, by name.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Function {
    /// Its id.
    pub id: FunctionId,
    /// Who publishes it.
    pub partner: PartnerId,
    /// Its name, unique for the partner.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// The version that unpinned destinations run.
    pub current: VersionId,
    /// The one that was it before, to which one can go back.
    pub previous: Option<VersionId>,
    /// When it was first uploaded.
    pub created_at: Timestamp,
}

/// One immutable checked component of a function.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FunctionVersion {
    /// Its id.
    pub id: VersionId,
    /// Whose version it is.
    pub function: FunctionId,
    /// What it is: the digest of the component's bytes.
    pub digest: Digest,
    /// The manifest inside the component.
    pub manifest: Manifest,
    /// The component's size in bytes.
    pub size: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// Whether it may be chosen.
    pub state: VersionState,
    /// Why it is deprecated or yanked.
    pub reason: Option<String>,
    /// By whom it was signed, if it was.
    pub signed: Option<Signed>,
    /// Whether customers may run it.
    pub approved: bool,
}

/// Where a customer's events enter.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its name, unique in the workspace.
    pub name: String,
    /// What clients show. Stock clients publish it in web pages: it identifies, it does not protect.
    pub write_key: String,
    /// Whether it takes events.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A customer's configured use of a function.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Destination {
    /// Its id.
    pub id: DestinationId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its name, unique in the workspace; the key that events' `integrations` use.
    pub name: String,
    /// Which function it runs.
    pub function: FunctionId,
    /// The version it stays on; without one it follows the function's current version.
    pub pinned: Option<VersionId>,
    /// The version it stays on although it follows, until the customer agrees to what the current one may do.
    pub held: Option<VersionId>,
    /// The version whose access the customer agreed to.
    pub consented: VersionId,
    /// The customer's values, checked against the manifest, without secrets.
    pub settings: Map<String, Value>,
    /// The secrets, by their settings' names.
    #[serde(skip_deserializing)]
    pub secrets: BTreeMap<String, Sealed>,
    /// The customer's own limit, beside the partner's.
    pub rate: Option<Rate>,
    /// Whether it gets events; events for one that is off are filtered and counted.
    pub enabled: bool,
    /// Whether its deliveries wait. Events go on to be accepted for it.
    pub paused: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Destination {
    /// Whether its deliveries are made at this time.
    pub const fn is_served(&self) -> bool {
        self.enabled && !self.paused
    }

    /// Its settings for a version of its function: `settings`, and in their places the secrets that were `opened`.
    ///
    /// # Errors
    /// The version would read a value that was saved as a secret, which the customer has not allowed.
    pub fn with_secrets(
        &self,
        manifest: &Manifest,
        mut settings: Map<String, Value>,
        opened: BTreeMap<String, Secret>,
    ) -> Result<Map<String, Value>, NotAllowed> {
        for (name, value) in opened {
            let Some(setting) = manifest.settings.get(&name) else { continue };
            let allowed = self.secrets.get(&name).is_some_and(|sealed| sealed.revealed);
            if (setting.reveal || !setting.secret) && !allowed {
                return Err(NotAllowed { setting: name, version: manifest.version.clone() });
            }
            settings.insert(name, Value::from(value.expose()));
        }
        Ok(settings)
    }
}

/// A version would read what was saved as a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the setting `{setting}` was saved as a secret, and version {version} of the function wants to read it: save it again to \
     allow that"
)]
pub struct NotAllowed {
    setting: String,
    version: String,
}

/// The edge from a source to a destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Where events come from.
    pub source: SourceId,
    /// Where they go.
    pub destination: DestinationId,
    /// Whether they go.
    pub enabled: bool,
    /// Events with the same value here go one after the other; none: no order.
    pub ordered_by: Option<EventField>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user of a workspace of whom nothing is taken in or delivered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Suppression {
    /// Its id.
    pub id: SuppressionId,
    /// The user's id, as events have it in `userId`.
    pub user_id: String,
    /// Since when.
    pub created_at: Timestamp,
}
