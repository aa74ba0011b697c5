//! Destinations: rows and what may be done with them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::audit::{self, Owner};
use super::control::{self, changed, not_found, unique};
use super::error::StoreError;
use super::functions;
use super::rows::{id, json, ms, optional, time, uuid};
use super::secrets;
use super::snapshot::Thing;
use super::types::{DestinationPatch, NewDestination, Page, Paged};
use super::work::Commit;
use crate::model::{Actor, ConnectionId, Destination, DestinationId, FilterReason, FunctionId, VersionId, WorkspaceId};

const COLUMNS: &str =
    "id, workspace, name, function, pinned, settings, enabled, created_at, updated_at, rate, paused, consented, held";

/// The columns and, as the last one, all secrets.
fn select() -> String {
    format!("SELECT {COLUMNS}, {} FROM destinations", secrets::COLUMN)
}

fn from(row: &Row<'_>) -> rusqlite::Result<Destination> {
    Ok(Destination {
        id: id(row, 0, DestinationId::from_uuid)?,
        workspace: id(row, 1, WorkspaceId::from_uuid)?,
        name: row.get(2)?,
        function: id(row, 3, FunctionId::from_uuid)?,
        pinned: optional(row, 4, VersionId::from_uuid)?,
        settings: json(row, 5)?,
        enabled: row.get(6)?,
        created_at: time(row, 7)?,
        updated_at: time(row, 8)?,
        rate: row.get::<_, Option<String>>(9)?.map(|_| json(row, 9)).transpose()?,
        paused: row.get(10)?,
        consented: id(row, 11, VersionId::from_uuid)?,
        held: optional(row, 12, VersionId::from_uuid)?,
        secrets: secrets::read(row, 13)?,
    })
}

pub(super) fn all(sql: &Connection) -> rusqlite::Result<Vec<Destination>> {
    sql.prepare_cached(&select())?.query_map([], from)?.collect()
}

/// A destination, whoever's it is.
pub(super) fn any(sql: &Connection, destination: DestinationId) -> rusqlite::Result<Option<Destination>> {
    sql.prepare_cached(&format!("{} WHERE id = ?1", select()))?.query_row([uuid(destination.uuid())], from).optional()
}

/// The destinations that run a function, whoever's they are.
pub(super) fn of(sql: &Connection, function: FunctionId) -> rusqlite::Result<Vec<Destination>> {
    sql.prepare_cached(&format!("{} WHERE function = ?1", select()))?
        .query_map([uuid(function.uuid())], from)?
        .collect()
}

pub(super) fn get(sql: &Connection, actor: &Actor, destination: DestinationId) -> Result<Destination, StoreError> {
    if !actor.reaches(destination) {
        return Err(not_found("destination", destination));
    }
    sql.prepare_cached(&format!("{} WHERE workspace = ?1 AND id = ?2", select()))?
        .query_row([uuid(actor.workspace.uuid()), uuid(destination.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("destination", destination))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Destination>, StoreError> {
    let after = control::after::<DestinationId>(page)?.map(DestinationId::uuid);
    if let Some(only) = actor.destination {
        let items = match after {
            Some(after) if only.uuid() <= after => Vec::new(),
            Some(_) | None => get(sql, actor, only).into_iter().collect(),
        };
        return Ok(Paged { items, next: None });
    }
    let select = format!("{} WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3", select());
    control::page(sql, &select, actor.workspace.uuid(), after, page, from, |destination| destination.id.to_string())
}

pub(super) fn create(commit: &mut Commit<'_>, actor: &Actor, new: NewDestination) -> Result<Destination, StoreError> {
    functions::selectable(commit.sql, actor, new.function, new.pinned)?;
    let mut destination = Destination {
        id: DestinationId::new(commit.now),
        workspace: actor.workspace,
        name: new.name,
        function: new.function,
        pinned: new.pinned,
        held: None,
        consented: new.consented,
        settings: new.settings,
        secrets: BTreeMap::new(),
        rate: new.rate,
        enabled: new.enabled,
        paused: false,
        created_at: commit.now,
        updated_at: commit.now,
    };
    let insert =
        format!("INSERT INTO destinations ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, 0, ?10, NULL)");
    commit
        .sql
        .prepare_cached(&insert)?
        .execute(params![
            uuid(destination.id.uuid()),
            uuid(actor.workspace.uuid()),
            destination.name,
            uuid(destination.function.uuid()),
            destination.pinned.map(|id| uuid(id.uuid())),
            Value::Object(destination.settings.clone()).to_string(),
            destination.enabled,
            ms(commit.now),
            destination.rate.map(|rate| serde_json::json!(rate).to_string()),
            uuid(destination.consented.uuid()),
        ])
        .map_err(|error| unique(error, "destination", &destination.name))?;
    secrets::replace(commit.sql, &commit.shared.vault, &mut destination, new.secrets)?;
    // The function may have turned since whoever asks looked at what it calls a secret.
    secrets::seal_turned(commit, secrets::Of::Destination(destination.function, destination.id))?;
    let destination = get(commit.sql, actor, destination.id)?;
    let owner = Owner::Workspace(destination.workspace);
    audit::write(commit, actor, owner, "destination.create", destination.id, None, Some(&destination))?;
    let (id, paused) = (destination.id, !destination.is_served());
    commit.memory.destinations.insert(id);
    commit.effects.push(Box::new(move |shared| shared.lanes.pause(id, paused)));
    changed(commit, Thing::Destination(id));
    Ok(destination)
}

/// Whether a destination's settings are still what somebody made new ones of, for the version that they looked at.
fn is_as_read(now: &Destination, read: &Destination) -> bool {
    now.settings == read.settings && now.secrets == read.secrets && (now.pinned, now.held) == (read.pinned, read.held)
}

/// Changes a destination. While it is off or paused, what it already owes stays owed and is not claimed.
pub(super) fn update(
    commit: &mut Commit<'_>,
    actor: &Actor,
    id: DestinationId,
    patch: DestinationPatch,
) -> Result<Destination, StoreError> {
    let before = get(commit.sql, actor, id)?;
    if patch.based_on.is_some_and(|read| !is_as_read(&before, &read)) {
        return Err(StoreError::Changed { kind: "destination", id: id.to_string() });
    }
    let mut destination = before.clone();
    destination.name = patch.name.unwrap_or(destination.name);
    destination.pinned = patch.pinned.unwrap_or(destination.pinned);
    let new_secrets = patch.settings.is_some().then_some(patch.secrets);
    destination.settings = patch.settings.unwrap_or(destination.settings);
    destination.rate = patch.rate.unwrap_or(destination.rate);
    destination.enabled = patch.enabled.unwrap_or(destination.enabled);
    destination.paused = patch.paused.unwrap_or(destination.paused);
    destination.consented = patch.consented.unwrap_or(destination.consented);
    destination.held = destination.held.filter(|_| !patch.released);
    destination.updated_at = commit.now;
    // Whoever runs a version that was yanked goes on with it; nobody else begins.
    if destination.pinned != before.pinned {
        functions::selectable(commit.sql, actor, destination.function, destination.pinned)?;
    }
    commit
        .sql
        .prepare_cached(
            "UPDATE destinations SET name = ?3, pinned = ?4, settings = ?5, enabled = ?6, updated_at = ?7, rate = ?8,
               paused = ?9, consented = ?10, held = ?11
             WHERE workspace = ?1 AND id = ?2",
        )?
        .execute(params![
            uuid(actor.workspace.uuid()),
            uuid(id.uuid()),
            destination.name,
            destination.pinned.map(|id| uuid(id.uuid())),
            Value::Object(destination.settings.clone()).to_string(),
            destination.enabled,
            ms(commit.now),
            destination.rate.map(|rate| serde_json::json!(rate).to_string()),
            destination.paused,
            uuid(destination.consented.uuid()),
            destination.held.map(|id| uuid(id.uuid())),
        ])
        .map_err(|error| unique(error, "destination", &destination.name))?;
    if let Some(new) = new_secrets {
        secrets::replace(commit.sql, &commit.shared.vault, &mut destination, new)?;
    }
    // The function may have turned since whoever asks looked at what it calls a secret.
    let turned = (destination.pinned, destination.held) != (before.pinned, before.held);
    if turned || destination.settings != before.settings {
        secrets::seal_turned(commit, secrets::Of::Destination(destination.function, id))?;
        destination = get(commit.sql, actor, id)?;
    }
    let owner = Owner::Workspace(destination.workspace);
    let action = if patch.consented.is_some() { "destination.consent" } else { "destination.update" };
    audit::write(commit, actor, owner, action, id, Some(&before), Some(&destination))?;
    let paused = !destination.is_served();
    commit.effects.push(Box::new(move |shared| shared.lanes.pause(id, paused)));
    changed(commit, Thing::Destination(id));
    Ok(destination)
}

/// Deletes a destination and its connections; what it still owes is filtered.
pub(super) fn delete(commit: &mut Commit<'_>, actor: &Actor, destination: DestinationId) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, destination)?;
    let connections: Vec<_> = commit
        .sql
        .prepare_cached("SELECT id FROM connections WHERE workspace = ?1 AND destination = ?2")?
        .query_map([uuid(actor.workspace.uuid()), uuid(destination.uuid())], |row| id(row, 0, ConnectionId::from_uuid))?
        .collect::<rusqlite::Result<_>>()?;
    for connection in connections {
        super::connections::remove(commit, actor.workspace, connection, FilterReason::DestinationDeleted)?;
    }
    commit
        .sql
        .prepare_cached("DELETE FROM destinations WHERE workspace = ?1 AND id = ?2")?
        .execute([uuid(actor.workspace.uuid()), uuid(destination.uuid())])?;
    let owner = Owner::Workspace(before.workspace);
    audit::write(commit, actor, owner, "destination.delete", destination, Some(&before), None)?;
    commit.memory.destinations.remove(&destination);
    commit.effects.push(Box::new(move |shared| shared.lanes.forget_destination(destination)));
    changed(commit, Thing::Destination(destination));
    Ok(())
}
