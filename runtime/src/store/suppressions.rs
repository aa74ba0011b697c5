//! Suppressions: users of whom nothing is taken in or delivered any more, until their workspace says otherwise.
//!
//! Guarantees: whoever asks after a call has returned sees it, without reading the database; a list of a workspace is never seen
//! or used by another.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found};
use super::error::StoreError;
use super::handle::Store;
use super::rows::{id, ms, time, uuid};
use super::tenants;
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{Actor, Event, EventType, Suppression, SuppressionId, WorkspaceId};

/// Suppressed users of one workspace at most: half of a gigabyte, were all ids as long as they may be, and some tens of megabytes as they are.
const MOST: usize = 500_000;

/// What is asked for every event that comes in or goes out.
#[derive(Debug, Default)]
pub(super) struct Suppressed(RwLock<HashMap<WorkspaceId, HashSet<Box<str>>>>);

impl Suppressed {
    /// Reads all of them.
    pub fn load(&self, sql: &Connection) -> rusqlite::Result<()> {
        let mut find = sql.prepare("SELECT workspace, user_id FROM suppressions")?;
        let mut rows = find.query([])?;
        while let Some(row) = rows.next()? {
            self.set(id(row, 0, WorkspaceId::from_uuid)?, &row.get::<_, String>(1)?, true);
        }
        Ok(())
    }

    fn has(&self, workspace: WorkspaceId, user_id: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&workspace).is_some_and(|users| users.contains(user_id))
    }

    fn count(&self, workspace: WorkspaceId) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&workspace).map_or(0, HashSet::len)
    }

    fn set(&self, workspace: WorkspaceId, user_id: &str, on: bool) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let users = all.entry(workspace).or_default();
        if on {
            users.insert(user_id.into());
        } else {
            users.remove(user_id);
        }
        if users.is_empty() {
            all.remove(&workspace);
        }
    }

    /// The workspace is gone.
    pub fn forget(&self, workspace: WorkspaceId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&workspace);
    }
}

const COLUMNS: &str = "id, user_id, created_at";

fn from(row: &Row<'_>) -> rusqlite::Result<Suppression> {
    Ok(Suppression { id: id(row, 0, SuppressionId::from_uuid)?, user_id: row.get(1)?, created_at: time(row, 2)? })
}

fn list(sql: &Connection, actor: &Actor, user_id: Option<&str>, page: &Page) -> Result<Paged<Suppression>, StoreError> {
    let after = control::after::<SuppressionId>(page)?.map_or(Uuid::nil(), SuppressionId::uuid);
    let mut find = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM suppressions
         WHERE workspace = ?1 AND id > ?2 AND (?3 IS NULL OR user_id = ?3) ORDER BY id LIMIT ?4"
    ))?;
    let wanted = params![uuid(actor.workspace.uuid()), uuid(after), user_id, page.rows() as i64 + 1];
    let rows = find.query_map(wanted, from)?.collect::<rusqlite::Result<_>>()?;
    Ok(control::cut(rows, page, |one: &Suppression| one.id.to_string()))
}

fn get(sql: &Connection, actor: &Actor, wanted: SuppressionId) -> Result<Suppression, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM suppressions WHERE id = ?1 AND workspace = ?2"))?
        .query_row([uuid(wanted.uuid()), uuid(actor.workspace.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("suppression", wanted))
}

fn create(commit: &mut Commit<'_>, actor: &Actor, user_ids: Vec<String>) -> Result<Vec<Suppression>, StoreError> {
    let workspace = actor.workspace;
    // It may have been destroyed since the caller's key was looked at.
    tenants::get::<WorkspaceId>(commit.sql, actor, workspace)?;
    if commit.shared.suppressed.count(workspace) + user_ids.len() > MOST {
        let why = format!("a workspace has at most {MOST} suppressed users: take some off the list first");
        return Err(StoreError::NotNow { what: "suppress users of workspace", id: workspace.to_string(), why });
    }
    let mut all = Vec::with_capacity(user_ids.len());
    for user_id in user_ids {
        let known = commit
            .sql
            .prepare_cached(&format!("SELECT {COLUMNS} FROM suppressions WHERE workspace = ?1 AND user_id = ?2"))?
            .query_row(params![uuid(workspace.uuid()), user_id], from)
            .optional()?;
        if let Some(known) = known {
            all.push(known);
            continue;
        }
        let made = Suppression { id: SuppressionId::new(commit.now), user_id, created_at: commit.now };
        commit
            .sql
            .prepare_cached("INSERT INTO suppressions (id, workspace, user_id, created_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![uuid(made.id.uuid()), uuid(workspace.uuid()), made.user_id, ms(made.created_at)])?;
        // By its id: a person's cannot be taken out of the log again.
        let owner = Owner::Workspace(workspace);
        audit::write(commit, actor, owner, "suppression.create", made.id, None::<&Suppression>, Some(&made))?;
        all.push(made);
    }
    let users: Vec<_> = all.iter().map(|one| one.user_id.clone()).collect();
    commit.effects.push(Box::new(move |shared| {
        users.iter().for_each(|user_id| shared.suppressed.set(workspace, user_id, true));
    }));
    Ok(all)
}

fn delete(commit: &mut Commit<'_>, actor: &Actor, wanted: SuppressionId) -> Result<(), StoreError> {
    let workspace = actor.workspace;
    let found = commit
        .sql
        .prepare_cached(&format!("DELETE FROM suppressions WHERE id = ?1 AND workspace = ?2 RETURNING {COLUMNS}"))?
        .query_row([uuid(wanted.uuid()), uuid(workspace.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("suppression", wanted))?;
    let owner = Owner::Workspace(workspace);
    audit::write(commit, actor, owner, "suppression.delete", wanted, Some(&found), None::<&Suppression>)?;
    commit.effects.push(Box::new(move |shared| shared.suppressed.set(workspace, &found.user_id, false)));
    Ok(())
}

/// Suppressions. Errors: [`StoreError::NotFound`] for what is not this actor's.
impl Store {
    /// Whether this event's user is suppressed, so that it is not taken in or delivered. What asks partners to erase a user is not held
    /// back. Costs a shared lock.
    pub fn is_user_suppressed(&self, workspace: WorkspaceId, event: &Event) -> bool {
        event.event_type != EventType::Delete
            && event.user_id.as_deref().is_some_and(|user_id| self.shared.suppressed.has(workspace, user_id))
    }

    /// Suppresses users. Those who are already stay as they are.
    pub async fn suppress(&self, actor: &Actor, user_ids: Vec<String>) -> Result<Vec<Suppression>, StoreError> {
        let actor = actor.clone();
        self.call(move |commit| create(commit, &actor, user_ids)).await
    }

    /// One page of the workspace's suppressions, oldest first; only this user's where one is given.
    pub async fn list_suppressions(
        &self,
        actor: &Actor,
        user_id: Option<String>,
        page: &Page,
    ) -> Result<Paged<Suppression>, StoreError> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| list(sql, &actor, user_id.as_deref(), &page)).await
    }

    /// One suppression.
    pub async fn get_suppression(&self, actor: &Actor, suppression: SuppressionId) -> Result<Suppression, StoreError> {
        let actor = actor.clone();
        self.readers.read(move |sql| get(sql, &actor, suppression)).await
    }

    /// Takes in and delivers what comes of this user from now on.
    pub async fn unsuppress(&self, actor: &Actor, suppression: SuppressionId) -> Result<(), StoreError> {
        let actor = actor.clone();
        self.call(move |commit| delete(commit, &actor, suppression)).await
    }
}
