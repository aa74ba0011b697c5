//! Functions and their immutable versions. The components' bytes are files, see [`super::components`].

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::audit::{self, Owner};
use super::control::{self, changed, not_found};
use super::error::StoreError;
use super::rows::{count, id, json, ms, time, uuid};
use super::signing;
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{
    Actor, Digest, Function, FunctionId, FunctionVersion, Inspection, Manifest, PartnerId, Signed, UnknownVersionState,
    VersionId, VersionState,
};

const COLUMNS: &str = "id, partner, name, current, created_at";
const VERSION_COLUMNS: &str =
    "id, function, digest, manifest, size, created_at, state, reason, signing_key, sequence, signature";

fn from(row: &Row<'_>) -> rusqlite::Result<Function> {
    Ok(Function {
        id: id(row, 0, FunctionId::from_uuid)?,
        partner: id(row, 1, PartnerId::from_uuid)?,
        name: row.get(2)?,
        current: id(row, 3, VersionId::from_uuid)?,
        created_at: time(row, 4)?,
    })
}

fn version_from(row: &Row<'_>) -> rusqlite::Result<FunctionVersion> {
    Ok(FunctionVersion {
        id: id(row, 0, VersionId::from_uuid)?,
        function: id(row, 1, FunctionId::from_uuid)?,
        digest: Digest(row.get(2)?),
        manifest: json(row, 3)?,
        size: count(row.get(4)?),
        created_at: time(row, 5)?,
        state: row.get_ref(6)?.as_str()?.parse().map_err(|error: UnknownVersionState| {
            rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, error.into())
        })?,
        reason: row.get(7)?,
        signed: signing::read(row, 8)?,
    })
}

/// The current version of every function.
pub(super) fn current(sql: &Connection) -> rusqlite::Result<HashMap<FunctionId, VersionId>> {
    sql.prepare_cached("SELECT id, current FROM functions")?
        .query_map([], |row| Ok((id(row, 0, FunctionId::from_uuid)?, id(row, 1, VersionId::from_uuid)?)))?
        .collect()
}

/// A version, with its function's name.
pub(super) fn version(sql: &Connection, version: VersionId) -> rusqlite::Result<Option<(String, FunctionVersion)>> {
    sql.prepare_cached(
        "SELECT v.id, v.function, v.digest, v.manifest, v.size, v.created_at, v.state, v.reason,
           v.signing_key, v.sequence, v.signature, f.name
         FROM function_versions v JOIN functions f ON f.id = v.function WHERE v.id = ?1",
    )?
    .query_row([uuid(version.uuid())], |row| Ok((row.get(11)?, version_from(row)?)))
    .optional()
}

/// Whether a destination may run this: every function is for every workspace until there are private ones.
pub(super) fn usable(sql: &Connection, function: FunctionId, pinned: Option<VersionId>) -> Result<(), StoreError> {
    let known = sql.prepare_cached("SELECT 1 FROM functions WHERE id = ?1")?.exists([uuid(function.uuid())])?;
    if !known {
        return Err(not_found("function", function));
    }
    let Some(pinned) = pinned else { return Ok(()) };
    match version(sql, pinned)? {
        Some((_, version)) if version.function == function => Ok(()),
        Some(_) | None => Err(not_found("function version", pinned)),
    }
}

/// Whether a destination, or the function itself, may begin to run this.
pub(super) fn selectable(sql: &Connection, function: FunctionId, wanted: Option<VersionId>) -> Result<(), StoreError> {
    usable(sql, function, wanted)?;
    let Some(wanted) = wanted else { return Ok(()) };
    match version(sql, wanted)? {
        Some((_, FunctionVersion { state: VersionState::Yanked, reason, .. })) => {
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let why = format!("it is yanked{reason}: choose another version");
            Err(StoreError::NotNow { what: "choose version", id: wanted.to_string(), why })
        }
        Some(_) | None => Ok(()),
    }
}

/// What was found when a version was uploaded.
pub(super) fn inspection(sql: &Connection, version: VersionId) -> Result<Option<Inspection>, StoreError> {
    let found = sql
        .prepare_cached("SELECT inspection FROM function_versions WHERE id = ?1 AND inspection IS NOT NULL")?
        .query_row([uuid(version.uuid())], |row| json(row, 0))
        .optional()?;
    Ok(found)
}

/// How many destinations follow a function's current version.
pub(super) fn followers(sql: &Connection, function: FunctionId) -> Result<u64, StoreError> {
    let select = "SELECT count(*) FROM destinations WHERE function = ?1 AND pinned IS NULL";
    Ok(count(sql.prepare_cached(select)?.query_row([uuid(function.uuid())], |row| row.get(0))?))
}

pub(super) fn get(sql: &Connection, actor: &Actor, function: FunctionId) -> Result<Function, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM functions WHERE (?1 IS NULL OR partner = ?1) AND id = ?2"))?
        .query_row(params![publisher(actor), uuid(function.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("function", function))
}

/// The function of this name. Names are unique for a partner only.
pub(super) fn find(sql: &Connection, actor: &Actor, name: &str) -> Result<Option<Function>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM functions WHERE (?1 IS NULL OR partner = ?1) AND name = ?2 LIMIT 2");
    let mut find = sql.prepare_cached(&select)?;
    let mut found: Vec<_> = find.query_map(params![publisher(actor), name], from)?.collect::<rusqlite::Result<_>>()?;
    if found.len() > 1 {
        let why = "several partners publish one of that name: give its id".to_owned();
        return Err(StoreError::NotNow { what: "choose function", id: name.to_owned(), why });
    }
    Ok(found.pop())
}

/// The function of this name that an actor's uploads are versions of.
fn own(sql: &Connection, actor: &Actor, name: &str) -> rusqlite::Result<Option<Function>> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM functions WHERE partner = ?1 AND name = ?2"))?
        .query_row(params![uuid(actor.partner.uuid()), name], from)
        .optional()
}

/// Whose functions an actor sees, as it is bound: `NULL` for all.
fn publisher(actor: &Actor) -> Option<[u8; 16]> {
    actor.publisher().map(|partner| uuid(partner.uuid()))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Function>, StoreError> {
    let after = control::after::<FunctionId>(page)?.map(FunctionId::uuid);
    let select =
        format!("SELECT {COLUMNS} FROM functions WHERE (?1 IS NULL OR partner = ?1) AND id > ?2 ORDER BY id LIMIT ?3");
    let publisher = actor.publisher().map(PartnerId::uuid);
    control::page(sql, &select, publisher, after, page, from, |function| function.id.to_string())
}

pub(super) fn versions(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    page: &Page,
) -> Result<Paged<FunctionVersion>, StoreError> {
    let function = get(sql, actor, function)?;
    let after = control::after::<VersionId>(page)?.map(VersionId::uuid);
    let select =
        format!("SELECT {VERSION_COLUMNS} FROM function_versions WHERE function = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    control::page(sql, &select, function.id.uuid(), after, page, version_from, |version| version.id.to_string())
}

/// The ids of all versions, oldest first.
pub(super) fn version_ids(sql: &Connection, actor: &Actor, function: FunctionId) -> Result<Vec<VersionId>, StoreError> {
    let function = get(sql, actor, function)?;
    let mut find = sql.prepare_cached("SELECT id FROM function_versions WHERE function = ?1 ORDER BY id")?;
    let ids = find.query_map([uuid(function.id.uuid())], |row| id(row, 0, VersionId::from_uuid))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn get_version(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    wanted: VersionId,
) -> Result<FunctionVersion, StoreError> {
    get(sql, actor, function)?;
    match version(sql, wanted)? {
        Some((_, version)) if version.function == function => Ok(version),
        Some(_) | None => Err(not_found("function version", wanted)),
    }
}

/// A new version of the function that the manifest names; the first one becomes its current one. The same bytes again are the same version.
pub(super) fn put(
    commit: &mut Commit<'_>,
    actor: &Actor,
    manifest: Manifest,
    inspection: &Inspection,
    (digest, size): (Digest, u64),
    signed: Option<Signed>,
) -> Result<(Function, FunctionVersion), StoreError> {
    let sql = commit.sql;
    let known = own(sql, actor, &manifest.name)?;
    if let Some(function) = &known {
        let select = format!("SELECT {VERSION_COLUMNS} FROM function_versions WHERE function = ?1 AND digest = ?2");
        let same = sql
            .prepare_cached(&select)?
            .query_row(params![uuid(function.id.uuid()), digest.0], version_from)
            .optional()?;
        if let Some(same) = same {
            return Ok((function.clone(), same));
        }
    }
    signing::admit(sql, actor, known.as_ref(), &manifest.name, signed.as_ref())?;
    let version = VersionId::new(commit.now);
    let function = match known {
        Some(function) => function,
        None => insert(commit, actor, &manifest.name, version)?,
    };
    let version = FunctionVersion {
        id: version,
        function: function.id,
        digest,
        manifest,
        size,
        created_at: commit.now,
        state: VersionState::Available,
        reason: None,
        signed,
    };
    let signed = version.signed.as_ref();
    let insert = "INSERT INTO function_versions (id, partner, function, digest, manifest, size, created_at, inspection,
                    signing_key, sequence, signature)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    sql.prepare_cached(insert)?.execute(params![
        uuid(version.id.uuid()),
        uuid(function.partner.uuid()),
        uuid(function.id.uuid()),
        digest.0,
        serde_json::json!(version.manifest).to_string(),
        i64::try_from(size).unwrap_or(i64::MAX),
        ms(commit.now),
        serde_json::json!(inspection).to_string(),
        signed.map(|signed| uuid(signed.key.uuid())),
        signed.map(|signed| signed.sequence.cast_signed()),
        signed.map(|signed| &signed.signature),
    ])?;
    let owner = Owner::Partner(function.partner);
    audit::write(commit, actor, owner, "function.upload", version.id, None, Some(&version))?;
    Ok((function, version))
}

fn insert(commit: &mut Commit<'_>, actor: &Actor, name: &str, current: VersionId) -> Result<Function, StoreError> {
    let function = Function {
        id: FunctionId::new(commit.now),
        partner: actor.partner,
        name: name.to_owned(),
        current,
        created_at: commit.now,
    };
    commit.sql.prepare_cached(&format!("INSERT INTO functions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"))?.execute(
        params![
            uuid(function.id.uuid()),
            uuid(function.partner.uuid()),
            function.name,
            uuid(current.uuid()),
            ms(commit.now),
        ],
    )?;
    Ok(function)
}

/// Makes a version the current one. What was current before can be gone back to.
pub(super) fn promote(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    to: VersionId,
) -> Result<Function, StoreError> {
    let before = get(commit.sql, actor, function)?;
    selectable(commit.sql, function, Some(to))?;
    commit
        .sql
        .prepare_cached(
            "UPDATE functions SET previous = current, current = ?3 WHERE partner = ?1 AND id = ?2 AND current <> ?3",
        )?
        .execute([uuid(before.partner.uuid()), uuid(function.uuid()), uuid(to.uuid())])?;
    moved(commit, actor, &before, "function.promote")
}

/// Makes the version current that was it before.
pub(super) fn rollback(commit: &mut Commit<'_>, actor: &Actor, function: FunctionId) -> Result<Function, StoreError> {
    let before = get(commit.sql, actor, function)?;
    let previous: Option<[u8; 16]> = commit
        .sql
        .prepare_cached("SELECT previous FROM functions WHERE id = ?1")?
        .query_row([uuid(function.uuid())], |row| row.get(0))?;
    let previous = previous.map(|id| VersionId::from_uuid(uuid::Uuid::from_bytes(id)));
    selectable(commit.sql, function, previous)?;
    let back = commit
        .sql
        .prepare_cached(
            "UPDATE functions SET previous = current, current = previous
             WHERE partner = ?1 AND id = ?2 AND previous IS NOT NULL",
        )?
        .execute([uuid(before.partner.uuid()), uuid(function.uuid())])?;
    if back == 0 {
        let why = "no version was current before this one: promote another version first".to_owned();
        return Err(StoreError::NotNow { what: "roll back function", id: function.to_string(), why });
    }
    moved(commit, actor, &before, "function.rollback")
}

/// The function whose current version is another one now.
fn moved(
    commit: &mut Commit<'_>,
    actor: &Actor,
    before: &Function,
    action: &'static str,
) -> Result<Function, StoreError> {
    let after = get(commit.sql, actor, before.id)?;
    audit::write(commit, actor, Owner::Partner(after.partner), action, after.id, Some(before), Some(&after))?;
    changed(commit);
    Ok(after)
}

/// Says whether a version may be chosen. Who runs it goes on.
pub(super) fn set_state(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    wanted: VersionId,
    state: VersionState,
    reason: Option<String>,
) -> Result<FunctionVersion, StoreError> {
    let parent = get(commit.sql, actor, function)?;
    let before = get_version(commit.sql, actor, function, wanted)?;
    if state == VersionState::Yanked && parent.current == wanted {
        let why = "it is the current one: promote another version first".to_owned();
        return Err(StoreError::NotNow { what: "yank version", id: wanted.to_string(), why });
    }
    let after = FunctionVersion { state, reason, ..before.clone() };
    commit
        .sql
        .prepare_cached("UPDATE function_versions SET state = ?3, reason = ?4 WHERE partner = ?1 AND id = ?2")?
        .execute(params![uuid(parent.partner.uuid()), uuid(wanted.uuid()), state.as_str(), after.reason])?;
    let action = match state {
        VersionState::Available => "version.restore",
        VersionState::Deprecated => "version.deprecate",
        VersionState::Yanked => "version.yank",
    };
    audit::write(commit, actor, Owner::Partner(parent.partner), action, wanted, Some(&before), Some(&after))?;
    Ok(after)
}
