//! Connections: rows and what may be done with them.

use rusqlite::{Connection as Sql, OptionalExtension, Row, params};

use super::audit::{self, Owner};
use super::control::{self, changed, not_found, unique};
use super::error::StoreError;
use super::rows::{id, ms, time, uuid};
use super::snapshot::Thing;
use super::types::{ConnectionPatch, NewConnection, Page, Paged};
use super::work::Commit;
use super::{destinations, settle, sources};
use crate::model::{
    Actor, BadField, Connection, ConnectionId, DestinationId, EventField, FilterReason, SourceId, WorkspaceId,
};

const COLUMNS: &str = "id, workspace, source, destination, enabled, created_at, ordered_by";

fn from(row: &Row<'_>) -> rusqlite::Result<Connection> {
    Ok(Connection {
        id: id(row, 0, ConnectionId::from_uuid)?,
        workspace: id(row, 1, WorkspaceId::from_uuid)?,
        source: id(row, 2, SourceId::from_uuid)?,
        destination: id(row, 3, DestinationId::from_uuid)?,
        enabled: row.get(4)?,
        created_at: time(row, 5)?,
        ordered_by: row
            .get::<_, Option<String>>(6)?
            .map(|name| {
                let wrong = |error: BadField| {
                    rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, error.into())
                };
                EventField::try_from(name).map_err(wrong)
            })
            .transpose()?,
    })
}

pub(super) fn all(sql: &Sql) -> rusqlite::Result<Vec<Connection>> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM connections ORDER BY id"))?.query_map([], from)?.collect()
}

/// A connection, whoever's it is.
pub(super) fn any(sql: &Sql, connection: ConnectionId) -> rusqlite::Result<Option<Connection>> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM connections WHERE id = ?1"))?
        .query_row([uuid(connection.uuid())], from)
        .optional()
}

pub(super) fn get(sql: &Sql, actor: &Actor, connection: ConnectionId) -> Result<Connection, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM connections WHERE workspace = ?1 AND id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(connection.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("connection", connection))
}

pub(super) fn list(sql: &Sql, actor: &Actor, page: &Page) -> Result<Paged<Connection>, StoreError> {
    let after = control::after::<ConnectionId>(page)?.map(ConnectionId::uuid);
    let select = format!("SELECT {COLUMNS} FROM connections WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    control::page(sql, &select, actor.workspace.uuid(), after, page, from, |connection| connection.id.to_string())
}

pub(super) fn create(commit: &mut Commit<'_>, actor: &Actor, new: NewConnection) -> Result<Connection, StoreError> {
    let source = sources::get(commit.sql, actor, new.source)?;
    let destination = destinations::get(commit.sql, actor, new.destination)?;
    let connection = Connection {
        id: ConnectionId::new(commit.now),
        workspace: actor.workspace,
        source: new.source,
        destination: new.destination,
        enabled: new.enabled,
        ordered_by: new.ordered_by,
        created_at: commit.now,
    };
    commit
        .sql
        .prepare_cached(&format!("INSERT INTO connections ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?
        .execute(params![
            uuid(connection.id.uuid()),
            uuid(connection.workspace.uuid()),
            uuid(connection.source.uuid()),
            uuid(connection.destination.uuid()),
            connection.enabled,
            ms(connection.created_at),
            connection.ordered_by.as_ref().map(EventField::as_str),
        ])
        .map_err(|error| unique(error, "connection", &format!("{} → {}", source.name, destination.name)))?;
    let owner = Owner::Workspace(connection.workspace);
    audit::write(commit, actor, owner, "connection.create", connection.id, None, Some(&connection))?;
    commit.memory.connections.insert(connection.id, connection.destination);
    changed(commit, Thing::Connection(connection.id));
    Ok(connection)
}

/// Changes a connection. What it already owes goes on.
pub(super) fn update(
    commit: &mut Commit<'_>,
    actor: &Actor,
    id: ConnectionId,
    patch: ConnectionPatch,
) -> Result<Connection, StoreError> {
    let before = get(commit.sql, actor, id)?;
    let mut connection = before.clone();
    connection.enabled = patch.enabled.unwrap_or(connection.enabled);
    connection.ordered_by = patch.ordered_by.unwrap_or(connection.ordered_by);
    commit
        .sql
        .prepare_cached("UPDATE connections SET enabled = ?3, ordered_by = ?4 WHERE workspace = ?1 AND id = ?2")?
        .execute(params![
            uuid(actor.workspace.uuid()),
            uuid(id.uuid()),
            connection.enabled,
            connection.ordered_by.as_ref().map(EventField::as_str),
        ])?;
    let owner = Owner::Workspace(connection.workspace);
    audit::write(commit, actor, owner, "connection.update", id, Some(&before), Some(&connection))?;
    changed(commit, Thing::Connection(id));
    Ok(connection)
}

/// Deletes a connection; what it still owes is filtered.
pub(super) fn delete(commit: &mut Commit<'_>, actor: &Actor, connection: ConnectionId) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, connection)?;
    let owner = Owner::Workspace(before.workspace);
    audit::write(commit, actor, owner, "connection.delete", connection, Some(&before), None)?;
    remove(commit, actor.workspace, connection, FilterReason::ConnectionDeleted)
}

/// Deletes a connection that exists, for this reason.
pub(super) fn remove(
    commit: &mut Commit<'_>,
    workspace: WorkspaceId,
    connection: ConnectionId,
    reason: FilterReason,
) -> Result<(), StoreError> {
    settle::filter_open(commit, connection, reason)?;
    commit
        .sql
        .prepare_cached("DELETE FROM connections WHERE workspace = ?1 AND id = ?2")?
        .execute([uuid(workspace.uuid()), uuid(connection.uuid())])?;
    commit.memory.connections.remove(&connection);
    commit.effects.push(Box::new(move |shared| shared.lanes.forget_connection(connection)));
    changed(commit, Thing::Connection(connection));
    Ok(())
}
