//! The nouns of Tidegate: plain values that every step shares.
//!
//! Guarantees: no IO, no async, no clock, and nothing imported from the rest of the crate.
//! Everything that does something with these values lives in the module of the step that does it.

mod actor;
mod answer;
mod control;
mod delivery;
mod event;
mod field;
mod health;
pub(crate) mod hex;
mod ids;
mod lifecycle;
mod limits;
mod link;
mod manifest;
mod outcome;
mod rate;
mod reads;
mod replay;
mod report;
mod secret;
mod signing;
mod time;
mod trial;
mod version;

pub use actor::{Actor, Key, Role, Side, Tenant, UnknownRole};
pub use answer::{Answer, Ending};
pub use control::{Connection, Destination, Digest, Function, FunctionVersion, Source, Suppression};
pub use delivery::{ClaimedDelivery, DeliveryState, FilterReason, LeaseToken};
pub use event::{BadEvent, Event, EventType, Integrations, UnknownEventType};
pub use field::{BadField, EventField, OrderKey};
pub use health::{BreakerHealth, DeliveryFigures, DestinationHealth};
pub(crate) use ids::listing;
pub use ids::{
    BadId, ConnectionId, DeliveryId, DestinationId, FunctionId, InvitationId, KeyId, LinkId, PartnerId, ReplayId,
    ReviewId, SigningKeyId, SourceId, SuppressionId, VersionId, WishId, WorkspaceId,
};
pub use lifecycle::{
    CaseResult, CheckItem, Checks, Comment, Invitation, Review, ReviewState, Stage, UnknownReviewState, UnknownStage,
    Wish,
};
pub use limits::{Ceilings, Limit, Limits};
pub use link::Link;
pub use manifest::{
    Batch, Bind, ChoicesFrom, Egress, Listing, Manifest, ManifestLimits, ManifestRetry, Place, Setting, SettingType,
};
pub use outcome::{Outcome, OutcomeCode};
pub use rate::Rate;
pub use reads::{BadReads, Reads};
pub use replay::{BadReplayVersion, ReplayState, ReplayVersion};
pub use report::{Exchange, InvocationReport, LogLevel, LogLine, Used};
pub use secret::{Sealed, Secret};
pub use signing::{PublicKey, Signed, SigningKey};
pub use time::{BadTimestamp, Timestamp};
pub use trial::{Trial, TrialError};
pub use version::{Inspection, ScriptText, Structure, UnknownVersionState, VersionState};
