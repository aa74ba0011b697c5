//! Attempts, on their way into the store and out of it. What is kept of them is written out and sealed by whoever made them: the writer, for whom
//! everybody waits, only copies it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::handle::Store;
use super::sealing::Sealing;
use super::work::Commit;
use crate::model::{DeliveryId, Outcome, Timestamp, VersionId, WorkspaceId};

/// One try at one delivery, to be written down.
#[derive(Clone, Debug)]
pub struct NewAttempt {
    /// Which try, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub wall_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What ran.
    pub version: VersionId,
    /// What is kept of it; none if only the version is.
    pub record: Option<Record>,
}

/// One try at one delivery, as it was written down.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AttemptRecord {
    /// Which try, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub wall_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What ran.
    pub version: VersionId,
    /// The report that `contract.md` describes, cut to its bounds.
    pub report: Value,
}

/// What is kept of an attempt, as it goes to disk.
#[derive(Clone, Debug)]
pub struct Record {
    outcome: Text,
    report: Text,
}

#[derive(Clone, Debug)]
enum Text {
    Sealed(Vec<u8>),
    /// Its workspace has no key yet: the writer makes one.
    Plain(String),
}

impl Store {
    /// What is kept of an attempt at a delivery of this workspace: its outcome, and the report that `contract.md` describes, cut to
    /// its bounds. For whoever has the time: it takes that of writing and sealing all of it.
    pub fn record(&self, workspace: WorkspaceId, delivery: DeliveryId, outcome: &Outcome, report: &Value) -> Record {
        let text = |text: String| match self.shared.sealing.seal_known(workspace, delivery.uuid(), text.as_bytes()) {
            Some(sealed) => Text::Sealed(sealed),
            None => Text::Plain(text),
        };
        Record { outcome: text(json!(outcome).to_string()), report: text(report.to_string()) }
    }
}

impl Record {
    /// How much of the disk it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.outcome.bytes() + self.report.bytes()
    }

    /// The same for the writer to seal.
    pub(super) fn plain(outcome: &Outcome, report: &Value) -> Self {
        Self { outcome: Text::Plain(json!(outcome).to_string()), report: Text::Plain(report.to_string()) }
    }

    /// That of an attempt of which nothing else is known.
    pub(super) fn brief(attempt: &NewAttempt) -> Self {
        let NewAttempt { outcome, wall_ms, .. } = attempt;
        let used = json!({ "wall_ms": wall_ms });
        Self::plain(outcome, &json!({"outcome": outcome, "requests": [], "log": [], "used": used, "limits": {}}))
    }

    /// Outcome and report, sealed; nothing if the workspace is gone.
    pub(super) fn sealed(
        &self,
        commit: &Commit<'_>,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> rusqlite::Result<Option<[Cow<'_, [u8]>; 2]>> {
        let sealed = |text| Text::sealed(text, commit, workspace, delivery);
        Ok(sealed(&self.outcome)?.zip(sealed(&self.report)?).map(<[_; 2]>::from))
    }
}

impl Text {
    fn bytes(&self) -> usize {
        match self {
            Self::Sealed(bytes) => bytes.len(),
            Self::Plain(text) => text.len(),
        }
    }

    fn sealed(
        &self,
        commit: &Commit<'_>,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> rusqlite::Result<Option<Cow<'_, [u8]>>> {
        match self {
            Self::Sealed(bytes) => Ok(Some(bytes.into())),
            Self::Plain(text) => {
                Ok(Sealing::seal(commit, workspace, delivery.uuid(), text.as_bytes())?.map(Cow::Owned))
            }
        }
    }
}
