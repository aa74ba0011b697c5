//! Destroying a workspace: everything of it goes, and the key with which it was sealed, so that what is left of it anywhere on disk
//! cannot be read any more.
//!
//! Guarantees: once this has returned, nothing of the workspace is answered, delivered or readable in the data directory's files; the
//! ledger still adds up; a crash in between leaves a workspace that can be destroyed again. It takes as long as deleting its events.
//!
//! What a backup from before has, it keeps: whoever destroys a workspace destroys those too.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::params;

use super::audit::{self, Owner};
use super::error::StoreError;
use super::handle::Store;
use super::prune::prune_block;
use super::rows::{id, uuid};
use super::tenants;
use super::work::Commit;
use super::{destinations, replays, sources};
use crate::model::{Actor, DestinationId, ReplayState, SourceId, Tenant, WorkspaceId};

/// Event blocks in one step, as for pruning: others wait for it.
const BLOCKS: i64 = 64;

/// What is left of a workspace that was destroyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destroyed {
    /// What it was.
    pub workspace: Tenant<WorkspaceId>,
    /// Whether there still is one of this id and name, empty: the one in which operators work is always there.
    pub remains: bool,
    /// The id of the master key that is in use since.
    pub key: String,
}

impl Store {
    /// Destroys a workspace: its sources, destinations, links and keys, its events and attempts, and its data key; then turns the
    /// master key, so that no older copy of the data key opens either.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Vault`] if the key file cannot be written: all but the last step is done then.
    pub async fn destroy_workspace(&self, actor: &Actor, workspace: WorkspaceId) -> Result<Destroyed, StoreError> {
        let remains = workspace == self.tenants.0;
        let inside = Actor { workspace, ..actor.clone() };
        let found = self.call(move |commit| empty(commit, &inside)).await?;
        self.reload_keys()?;
        let mut after = 0;
        while let Some(last) = self.call(move |commit| sweep(commit, workspace, after)).await? {
            after = last;
        }
        self.call(move |commit| end(commit, workspace, after, remains)).await?;
        // Whoever began to read before that commit still finds the key, and nobody begins now.
        self.readers.passed().await;
        self.delivering.passed().await;
        self.shared.sealing.forget(workspace);
        self.shared.cache.clear();
        let key = self.rotate_vault(actor).await?.key;
        self.erase_log().await?;
        Ok(Destroyed { workspace: found, remains, key })
    }
}

impl Store {
    /// The log holds pages as they were: writes it to its end, and leaves nothing in it. Waits for whoever reads, for some seconds.
    async fn erase_log(&self) -> Result<(), StoreError> {
        self.shared.erase_log.store(true, Ordering::Release);
        for _ in 0..500 {
            // What is done behind a commit is done before the next one.
            self.call(|_| Ok(())).await?;
            if !self.shared.erase_log.load(Ordering::Acquire) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!("somebody reads for so long that the log could not be erased: it is with the next checkpoints");
        Ok(())
    }
}

/// Takes everything away by which something comes in or goes out.
fn empty(commit: &mut Commit<'_>, actor: &Actor) -> Result<Tenant<WorkspaceId>, StoreError> {
    let found = tenants::get(commit.sql, actor, actor.workspace)?;
    let workspace = uuid(actor.workspace.uuid());
    audit::write(commit, actor, Owner::Host, "workspace.destroy", actor.workspace, Some(&found), None)?;
    erasing(commit, true)?;
    let all: Vec<DestinationId> = commit
        .sql
        .prepare_cached("SELECT id FROM destinations WHERE workspace = ?1")?
        .query_map([workspace], |row| id(row, 0, DestinationId::from_uuid))?
        .collect::<rusqlite::Result<_>>()?;
    for destination in all {
        destinations::delete(commit, actor, destination)?;
    }
    let all: Vec<SourceId> = commit
        .sql
        .prepare_cached("SELECT id FROM sources WHERE workspace = ?1")?
        .query_map([workspace], |row| id(row, 0, SourceId::from_uuid))?
        .collect::<rusqlite::Result<_>>()?;
    for source in all {
        sources::delete(commit, actor, source)?;
    }
    for table in ["function_guests", "wish_votes", "suppressions"] {
        commit.sql.prepare_cached(&format!("DELETE FROM {table} WHERE workspace = ?1"))?.execute([workspace])?;
    }
    let unfinished: Vec<i64> = commit
        .sql
        .prepare_cached("SELECT no FROM replays WHERE workspace = ?1 AND ended_at IS NULL")?
        .query_map([workspace], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for replay in unfinished {
        replays::set_state(commit, replay, ReplayState::Cancelled)?;
    }
    // Their filters may name events; and answers that were kept may show them.
    for change in [
        "UPDATE replays SET filter = '{\"states\":[]}' WHERE workspace = ?1",
        "DELETE FROM once WHERE key IN (SELECT id FROM keys WHERE workspace = ?1)",
        "DELETE FROM keys WHERE workspace = ?1",
        "DELETE FROM links WHERE workspace = ?1",
    ] {
        commit.sql.execute(change, [workspace])?;
    }
    erasing(commit, false)?;
    let workspace = actor.workspace;
    commit.effects.push(Box::new(move |shared| {
        shared.suppressed.forget(workspace);
        shared.replays_changed.notify_one();
    }));
    Ok(found)
}

/// Deletes some of a workspace's events behind this block, and says up to which; none if there are no more.
fn sweep(commit: &mut Commit<'_>, workspace: WorkspaceId, after: i64) -> Result<Option<i64>, StoreError> {
    let blocks: Vec<i64> = commit
        .sql
        .prepare_cached("SELECT seq FROM event_blocks WHERE workspace = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?
        .query_map(params![uuid(workspace.uuid()), after, BLOCKS], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    erasing(commit, true)?;
    for block in &blocks {
        prune_block(commit, *block)?;
    }
    erasing(commit, false)?;
    Ok(blocks.last().copied())
}

/// What came in meanwhile, and then the key.
fn end(commit: &mut Commit<'_>, workspace: WorkspaceId, after: i64, remains: bool) -> Result<(), StoreError> {
    let mut after = after;
    while let Some(last) = sweep(commit, workspace, after)? {
        after = last;
    }
    erasing(commit, true)?;
    let id = uuid(workspace.uuid());
    for table in ["data_keys", "suppressions"] {
        commit.sql.execute(&format!("DELETE FROM {table} WHERE workspace = ?1"), [id])?;
    }
    commit.effects.push(Box::new(move |shared| shared.suppressed.forget(workspace)));
    if !remains {
        commit.sql.execute("DELETE FROM workspaces WHERE id = ?1", [id])?;
        commit.memory.workspaces.remove(&workspace);
    }
    Ok(erasing(commit, false)?)
}

/// Whether what is deleted is overwritten too. Older programs wrote events as they are, and their place would keep them.
fn erasing(commit: &Commit<'_>, on: bool) -> rusqlite::Result<()> {
    commit.sql.pragma_update(None, "secure_delete", on)
}
