//! Sources: rows and what may be done with them.

use rand::distr::{Alphanumeric, SampleString};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::audit::{self, Owner};
use super::control::{self, changed, not_found, unique};
use super::error::StoreError;
use super::rows::{id, ms, time, uuid};
use super::snapshot::Thing;
use super::types::{Page, Paged, SourcePatch};
use super::work::Commit;
use crate::model::{Actor, ConnectionId, FilterReason, Source, SourceId, WorkspaceId};

const COLUMNS: &str = "id, workspace, name, write_key, enabled, created_at";
/// Letters and digits of a write key: 190 bits, and what clients' documentation shows.
const WRITE_KEY: usize = 32;

fn from(row: &Row<'_>) -> rusqlite::Result<Source> {
    Ok(Source {
        id: id(row, 0, SourceId::from_uuid)?,
        workspace: id(row, 1, WorkspaceId::from_uuid)?,
        name: row.get(2)?,
        write_key: row.get(3)?,
        enabled: row.get(4)?,
        created_at: time(row, 5)?,
    })
}

pub(super) fn all(sql: &Connection) -> rusqlite::Result<Vec<Source>> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM sources"))?.query_map([], from)?.collect()
}

/// A source, whoever's it is.
pub(super) fn any(sql: &Connection, source: SourceId) -> rusqlite::Result<Option<Source>> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM sources WHERE id = ?1"))?
        .query_row([uuid(source.uuid())], from)
        .optional()
}

pub(super) fn get(sql: &Connection, actor: &Actor, source: SourceId) -> Result<Source, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM sources WHERE workspace = ?1 AND id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(source.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("source", source))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Source>, StoreError> {
    let after = control::after::<SourceId>(page)?.map(SourceId::uuid);
    let select = format!("SELECT {COLUMNS} FROM sources WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    control::page(sql, &select, actor.workspace.uuid(), after, page, from, |source| source.id.to_string())
}

pub(super) fn create(commit: &mut Commit<'_>, actor: &Actor, name: String) -> Result<Source, StoreError> {
    let source = Source {
        id: SourceId::new(commit.now),
        workspace: actor.workspace,
        name,
        write_key: Alphanumeric.sample_string(&mut rand::rng(), WRITE_KEY),
        enabled: true,
        created_at: commit.now,
    };
    commit
        .sql
        .prepare_cached(&format!("INSERT INTO sources ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?
        .execute(params![
            uuid(source.id.uuid()),
            uuid(source.workspace.uuid()),
            source.name,
            source.write_key,
            source.enabled,
            ms(source.created_at),
        ])
        .map_err(|error| unique(error, "source", &source.name))?;
    audit::write(commit, actor, Owner::Workspace(source.workspace), "source.create", source.id, None, Some(&source))?;
    changed(commit, Thing::Source(source.id));
    Ok(source)
}

pub(super) fn update(
    commit: &mut Commit<'_>,
    actor: &Actor,
    id: SourceId,
    patch: SourcePatch,
) -> Result<Source, StoreError> {
    let before = get(commit.sql, actor, id)?;
    let mut source = before.clone();
    source.name = patch.name.unwrap_or(source.name);
    source.enabled = patch.enabled.unwrap_or(source.enabled);
    commit
        .sql
        .prepare_cached("UPDATE sources SET name = ?3, enabled = ?4 WHERE workspace = ?1 AND id = ?2")?
        .execute(params![uuid(actor.workspace.uuid()), uuid(id.uuid()), source.name, source.enabled])
        .map_err(|error| unique(error, "source", &source.name))?;
    audit::write(commit, actor, Owner::Workspace(source.workspace), "source.update", id, Some(&before), Some(&source))?;
    changed(commit, Thing::Source(id));
    Ok(source)
}

/// Deletes a source and its connections; what they still owe is filtered.
pub(super) fn delete(commit: &mut Commit<'_>, actor: &Actor, source: SourceId) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, source)?;
    let connections: Vec<_> = commit
        .sql
        .prepare_cached("SELECT id FROM connections WHERE workspace = ?1 AND source = ?2")?
        .query_map([uuid(actor.workspace.uuid()), uuid(source.uuid())], |row| id(row, 0, ConnectionId::from_uuid))?
        .collect::<rusqlite::Result<_>>()?;
    for connection in connections {
        super::connections::remove(commit, actor.workspace, connection, FilterReason::ConnectionDeleted)?;
    }
    commit
        .sql
        .prepare_cached("DELETE FROM sources WHERE workspace = ?1 AND id = ?2")?
        .execute([uuid(actor.workspace.uuid()), uuid(source.uuid())])?;
    audit::write(commit, actor, Owner::Workspace(before.workspace), "source.delete", source, Some(&before), None)?;
    changed(commit, Thing::Source(source));
    Ok(())
}
