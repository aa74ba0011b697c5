//! What goes into the store and comes out of it, beyond the model's nouns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::attempts::{AttemptRecord, NewAttempt};
use crate::model::{
    CheckItem, ConnectionId, DeliveryId, DeliveryState, Destination, DestinationId, Event, EventField, EventType,
    FilterReason, FunctionId, KeyId, LeaseToken, OrderKey, Outcome, OutcomeCode, PartnerId, Rate, ReplayId, Role,
    Secret, Signed, SourceId, Stage, Timestamp, VersionId, WorkspaceId,
};

/// How the store works. Every number has a reason; the defaults come from `tidegate bench store`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// Events that may wait for the disk; more are refused at once.
    pub queue_events: usize,
    /// Bytes of events that may wait for the disk; more are refused at once.
    pub queue_bytes: usize,
    /// Events and settlements in one commit.
    pub max_commit_events: usize,
    /// How long a commit waits for company. Work that comes while a commit is under way shares the next one anyway.
    pub max_commit_wait: Duration,
    /// Connections that read beside the writer.
    pub readers: u32,
    /// Bytes of events kept in memory between accept and claim, so that a claim need not read them.
    pub cache_bytes: usize,
    /// How long settled deliveries and their events are kept, in days.
    pub keep_days: u32,
    /// Bytes that the disk must have free for new events to be taken.
    pub min_free_bytes: u64,
    /// The file with the vault's master keys; `vault.key` in the data directory if absent.
    pub key_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            // Under a second of work at the slowest rate that was measured.
            queue_events: 20_000,
            // 20,000 events of 3 KB; the largest event has 32 KB.
            queue_bytes: 64 << 20,
            // Larger commits gain little and make everyone in them wait.
            max_commit_events: 1_000,
            // What arrives during one fsync fills the next commit: waiting longer only adds latency.
            max_commit_wait: Duration::ZERO,
            // Two cores keep four readers busy with one of them waiting for the disk.
            readers: 4,
            // Half a minute of events at the rates that were measured on one machine.
            cache_bytes: 64 << 20,
            // A week is long enough to notice on Monday what broke on Friday.
            keep_days: 7,
            // The log's 16 MB, and some hours of settlements of what was taken before.
            min_free_bytes: 256 << 20,
            key_file: None,
        }
    }
}

impl StoreConfig {
    pub(super) fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_days) * 86_400)
    }
}

/// Where a store keeps its files.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub dir: PathBuf,
    pub database: PathBuf,
    pub components: PathBuf,
}

/// How the store stands at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Events that wait for the disk.
    pub queue_events: u64,
    /// Bytes that the disk has free.
    pub disk_free_bytes: u64,
    /// Bytes that it must have free for new events to be taken.
    pub disk_least_bytes: u64,
    /// Replays that are running.
    pub replays_running: u64,
}

/// One event to be accepted, with what it owes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// Whose event it is.
    pub workspace: WorkspaceId,
    /// Where it entered.
    pub source: SourceId,
    /// The event.
    pub event: Event,
    /// One entry for every connection of the source.
    pub owed: Vec<Owed>,
}

/// One event's debt to one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// Which connection.
    pub connection: ConnectionId,
    /// Its destination.
    pub destination: DestinationId,
    /// Whether it is to be delivered.
    pub state: OwedState,
}

/// How a delivery begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwedState {
    /// To be delivered.
    Pending,
    /// Recorded and counted, but not for this destination.
    Filtered(FilterReason),
}

/// What became of an accepted batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// Events that are stored now.
    pub accepted: u64,
    /// Those that are not, by their place in the batch: their source sent their `messageId` within the last 24 hours.
    pub repeated: Vec<usize>,
}

/// How much one claim asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Fresh deliveries at most.
    pub fresh: usize,
    /// Retries that are due, at most.
    pub retries: usize,
    /// Bytes of JSON at most, unless the first delivery alone is larger. Retries get half of it where both are asked for.
    pub bytes: usize,
}

/// What to do with a claimed delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settle {
    /// The partner has it.
    Delivered,
    /// The function does nothing with it.
    Filtered(FilterReason),
    /// Give it up.
    Dead,
    /// Try again, not before this moment.
    RetryAt(Timestamp),
    /// Give it back as it was: costs no attempt.
    Release,
    /// Keep it until those with its key that were accepted before it are over: costs no attempt. Due at once if they are.
    Hold,
}

impl Settle {
    /// What metrics and spans call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Filtered(_) => "filtered",
            Self::Dead => "dead",
            Self::RetryAt(_) => "retry",
            Self::Release => "released",
            Self::Hold => "held",
        }
    }
}

/// What to write down about one claimed delivery.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The lease under which it was claimed.
    pub lease: LeaseToken,
    /// What becomes of it.
    pub settle: Settle,
    /// Its place in an order, if its connection keeps one: kept with what is tried again or held.
    pub key: Option<OrderKey>,
    /// The attempt that was made, if one was.
    pub attempt: Option<NewAttempt>,
    /// Why it is given up without one.
    pub instead: Option<std::sync::Arc<Failure>>,
}

/// How the last attempt at a destination failed: why what waited there can be given up without an attempt of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// At which delivery.
    pub delivery: DeliveryId,
    /// How it ended.
    pub code: OutcomeCode,
    /// Why, in a sentence.
    pub message: String,
}

/// What a function's author sees of one recorded attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct LogEntry {
    /// Its place in the order of all attempts.
    pub cursor: String,
    /// At which delivery.
    pub delivery: DeliveryId,
    /// To which destination.
    pub destination: DestinationId,
    /// The event's id.
    pub message_id: String,
    /// The event's type.
    pub event_type: EventType,
    /// Which try, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub wall_ms: u64,
    /// What ran.
    pub version: VersionId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the function logged, as in the report.
    pub log: Value,
}

/// Which attempts of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter {
    /// Only of this version.
    pub version: Option<VersionId>,
    /// Only those that ended so.
    pub outcome: Option<OutcomeCode>,
    /// Which part of them.
    pub part: LogPart,
}

/// Which part of a function's attempts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogPart {
    /// The newest ones, newest first.
    Newest,
    /// Those before this cursor, newest first.
    Before(String),
    /// Those after this cursor, oldest first.
    Since(String),
}

/// Part of a function's attempts. It may be short, or empty, and still have a next part.
#[derive(Clone, PartialEq, Debug)]
pub struct LogPage {
    /// The attempts.
    pub items: Vec<LogEntry>,
    /// Give this as [`LogPart::Before`] for older ones; none at the end, and none if newer ones were asked for.
    pub next: Option<String>,
    /// Give this as [`LogPart::Since`] for what comes later.
    pub newest: String,
}

/// What became of one settlement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It is written down.
    Done,
    /// The lease is not the newest one, or the delivery is settled: nothing was changed.
    LeaseLost,
}

/// Which part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The `next` of the page before; none for the first page.
    pub after: Option<String>,
    /// How many at most; values outside 1 to [`Page::MAX`] become the nearest of them.
    pub limit: u32,
}

impl Page {
    /// The longest page: a megabyte or so of JSON.
    pub const MAX: u32 = 1_000;

    pub(super) fn rows(&self) -> usize {
        self.limit.clamp(1, Self::MAX) as usize
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 100 }
    }
}

/// Part of a list. It may be short, or empty, and still have a next part.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// Which deliveries the ledger counts: those that fit all that is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LedgerScope {
    /// Only this workspace's.
    pub workspace: Option<WorkspaceId>,
    /// Only of events from this source.
    pub source: Option<SourceId>,
    /// Only those owed to this destination.
    pub destination: Option<DestinationId>,
}

/// The ledger: `accepted = delivered + filtered + dead + pending`, at every moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ledger {
    /// Deliveries that were ever owed. An event owed to two destinations counts twice.
    pub accepted: u64,
    /// The partner has them.
    pub delivered: u64,
    /// Recorded, not meant for the destination.
    pub filtered: u64,
    /// Given up.
    pub dead: u64,
    /// Still owed.
    pub pending: u64,
}

impl Ledger {
    /// Whether the sum holds.
    pub fn holds(&self) -> bool {
        self.accepted == self.delivered + self.filtered + self.dead + self.pending
    }
}

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditLine {
    /// Its place, from 1, without a gap.
    pub no: u64,
    /// When.
    pub at: Timestamp,
    /// By which key.
    pub key: KeyId,
    /// In which role.
    pub role: String,
    /// What was done, such as `source.create`.
    pub action: String,
    /// To what.
    pub id: String,
    /// Whose it is, if a workspace's.
    pub workspace: Option<WorkspaceId>,
    /// Whose it is, if a partner's.
    pub partner: Option<PartnerId>,
    /// The keyed digest of what there was; none if it was made.
    pub before: Option<String>,
    /// The keyed digest of what there is; none if it is gone.
    pub after: Option<String>,
    /// Covers this line and the one before.
    pub hash: [u8; 32],
}

/// Which lines of the audit log: those that fit all that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditFilter {
    /// Only of this action.
    pub action: Option<String>,
    /// Only about the thing with this id.
    pub id: Option<String>,
}

/// A key to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// For which workspace, if it is a workspace's and not the actor's own.
    pub workspace: Option<WorkspaceId>,
    /// For which partner, if it is a partner's and not the actor's own.
    pub partner: Option<PartnerId>,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
}

/// A change to a source; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourcePatch {
    /// A new name.
    pub name: Option<String>,
    /// On or off.
    pub enabled: Option<bool>,
}

/// A destination to be made. The settings are checked by the caller, against the manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct NewDestination {
    /// Its name, unique in the workspace.
    pub name: String,
    /// Which function it runs.
    pub function: FunctionId,
    /// The version it stays on, if not the function's current one.
    pub pinned: Option<VersionId>,
    /// The version whose access the customer agrees to: what it runs at first.
    pub consented: VersionId,
    /// The customer's values, without secrets.
    pub settings: Map<String, Value>,
    /// The secrets, by their settings' names.
    pub secrets: BTreeMap<String, NewSecret>,
    /// The customer's own limit.
    pub rate: Option<Rate>,
    /// Whether it gets events.
    pub enabled: bool,
}

/// A secret setting to be stored.
#[derive(Clone, PartialEq, Debug)]
pub enum NewSecret {
    /// The one that is stored already.
    Keep,
    /// This one.
    Set {
        /// Its value.
        value: Secret,
        /// Whether the function may read it, as whoever saves it is shown.
        revealed: bool,
    },
}

/// Who vouches for a version that is uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    /// Whether customers may run it.
    pub approved: bool,
    /// Who signed it, if somebody did.
    pub signed: Option<Signed>,
}

impl Vouched {
    /// What an operator uploads is approved by that.
    pub const BY_OPERATOR: Self = Self { approved: true, signed: None };
}

/// A review to be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewReview {
    /// Of which function.
    pub function: FunctionId,
    /// Of which version.
    pub version: VersionId,
    /// Where the function is to be afterwards.
    pub stage: Stage,
    /// What was found.
    pub checklist: Vec<CheckItem>,
    /// What it may do that no approved version may.
    pub wider: Vec<String>,
    /// A word to the operator.
    pub comment: Option<String>,
}

/// A function's turn to another version, with what was found about those who follow it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The version.
    pub to: VersionId,
    /// Whether it is approved by this.
    pub approve: bool,
    /// Versions that may do all that this one may: who agreed to one of them follows, and everybody else stays where they are.
    pub within: Vec<VersionId>,
    /// The workspace that agrees by this, for an operator is its customer there.
    pub agrees: Option<WorkspaceId>,
}

/// A change to a destination; what is absent stays.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DestinationPatch {
    /// A new name.
    pub name: Option<String>,
    /// A new pin, or none any more.
    pub pinned: Option<Option<VersionId>>,
    /// New settings instead of all old ones.
    pub settings: Option<Map<String, Value>>,
    /// What the new settings were made of, where they were: if the stored ones are others by now, nothing is changed.
    pub based_on: Option<Box<Destination>>,
    /// The secrets that go with new settings. Without new settings the old ones stay.
    pub secrets: BTreeMap<String, NewSecret>,
    /// A new limit, or none any more.
    pub rate: Option<Option<Rate>>,
    /// On or off.
    pub enabled: Option<bool>,
    /// Whether its deliveries wait.
    pub paused: Option<bool>,
    /// The version whose access the customer agrees to.
    pub consented: Option<VersionId>,
    /// Whether it no longer stays on an older version for want of consent.
    pub released: bool,
}

/// A connection to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewConnection {
    /// Where events come from.
    pub source: SourceId,
    /// Where they go.
    pub destination: DestinationId,
    /// Whether they go.
    pub enabled: bool,
    /// Events with the same value here go one after the other.
    pub ordered_by: Option<EventField>,
}

/// A change to a connection; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPatch {
    /// Another field to keep order by, or none any more.
    pub ordered_by: Option<Option<EventField>>,
    /// On or off.
    pub enabled: Option<bool>,
}

/// Why a delivery was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeadLetter {
    /// When.
    pub at: Timestamp,
    /// The code of its last attempt's outcome, and what that said.
    pub cause: String,
}

/// One delivery, as a list shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DeliverySummary {
    /// Its id.
    pub id: DeliveryId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Where its event entered.
    pub source: SourceId,
    /// The connection that owes it.
    pub connection: ConnectionId,
    /// To whom it is owed.
    pub destination: DestinationId,
    /// The client's id of the event.
    pub message_id: String,
    /// The kind of the event.
    pub event_type: EventType,
    /// The event's name, if it has one.
    pub event_name: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it is filtered, if it is.
    pub filter_reason: Option<FilterReason>,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next attempt is due, if one is set.
    pub next_due: Option<Timestamp>,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// How the last attempt that was recorded ended; without any, how its destination failed that it was given up for. Failures
    /// always are recorded; successes in a sample.
    pub last_outcome: Option<Outcome>,
    /// What ran at the last attempt.
    pub version: Option<VersionId>,
    /// Why it was given up, if it is dead.
    pub dead: Option<DeadLetter>,
    /// The replay that gave it back, while it is pending, or that made it.
    pub replay: Option<ReplayId>,
}

/// One delivery with its event.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: DeliverySummary,
    /// The whole event, as it is: it may have numbers that no number here holds.
    pub event: Box<RawValue>,
    /// The last attempt that was recorded, with its requests, answers and log.
    pub last_attempt: Option<AttemptRecord>,
}
