//! Functions and their immutable versions. The components' bytes are files, see [`super::components`].

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::consent;
use super::control::{self, changed, not_found};
use super::error::StoreError;
use super::rows::{count, id, json, ms, optional, time, uuid};
use super::signing;
use super::snapshot::Thing;
use super::types::{Page, Paged, Turn, Vouched};
use super::version_texts;
use super::work::Commit;
use crate::model::{
    Actor, Checks, Digest, Function, FunctionId, FunctionVersion, Inspection, Manifest, PartnerId, ScriptText, Stage,
    VersionId, VersionState,
};

const COLUMNS: &str = "id, partner, name, current, created_at, previous, stage";
/// What [`version_from`] reads.
pub(super) const VERSION_COLUMNS: &str =
    "id, function, digest, manifest, size, created_at, state, reason, signing_key, sequence,
    signature, approved_at IS NOT NULL";

/// Which functions an actor sees: a partner (`?1`) its own; a workspace (`?2`) what is for all, what it was invited to, and
/// what it runs. `NULL` for who sees all.
const SEEN: &str = "(?1 IS NULL OR partner = ?1) AND (?2 IS NULL OR stage IN ('public-beta', 'public', 'deprecated')
    OR stage = 'private-beta' AND EXISTS
      (SELECT 1 FROM function_guests guest WHERE guest.workspace = ?2 AND guest.function = functions.id)
    OR EXISTS (SELECT 1 FROM destinations own WHERE own.function = functions.id AND own.workspace = ?2))";

fn from(row: &Row<'_>) -> rusqlite::Result<Function> {
    Ok(Function {
        id: id(row, 0, FunctionId::from_uuid)?,
        partner: id(row, 1, PartnerId::from_uuid)?,
        name: row.get(2)?,
        current: id(row, 3, VersionId::from_uuid)?,
        created_at: time(row, 4)?,
        previous: optional(row, 5, VersionId::from_uuid)?,
        stage: word(row, 6)?,
    })
}

/// A word of the model, as it is read.
pub(super) fn word<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

/// A version of a row of [`VERSION_COLUMNS`].
pub(super) fn version_from(row: &Row<'_>) -> rusqlite::Result<FunctionVersion> {
    Ok(FunctionVersion {
        id: id(row, 0, VersionId::from_uuid)?,
        function: id(row, 1, FunctionId::from_uuid)?,
        digest: Digest(row.get(2)?),
        manifest: json(row, 3)?,
        size: count(row.get(4)?),
        created_at: time(row, 5)?,
        state: word(row, 6)?,
        reason: row.get(7)?,
        signed: signing::read(row, 8)?,
        approved: row.get(11)?,
    })
}

/// The current version of every function.
pub(super) fn current(sql: &Connection) -> rusqlite::Result<HashMap<FunctionId, VersionId>> {
    sql.prepare_cached("SELECT id, current FROM functions")?
        .query_map([], |row| Ok((id(row, 0, FunctionId::from_uuid)?, id(row, 1, VersionId::from_uuid)?)))?
        .collect()
}

/// The current version of one.
pub(super) fn current_of(sql: &Connection, function: FunctionId) -> rusqlite::Result<Option<VersionId>> {
    sql.prepare_cached("SELECT current FROM functions WHERE id = ?1")?
        .query_row([uuid(function.uuid())], |row| id(row, 0, VersionId::from_uuid))
        .optional()
}

/// A version, with its function's name.
pub(super) fn version(sql: &Connection, version: VersionId) -> rusqlite::Result<Option<(String, FunctionVersion)>> {
    sql.prepare_cached(
        "SELECT v.id, v.function, v.digest, v.manifest, v.size, v.created_at, v.state, v.reason,
           v.signing_key, v.sequence, v.signature, v.approved_at IS NOT NULL, f.name
         FROM function_versions v JOIN functions f ON f.id = v.function WHERE v.id = ?1",
    )?
    .query_row([uuid(version.uuid())], |row| Ok((row.get(12)?, version_from(row)?)))
    .optional()
}

/// Whether this actor's destination, or the function itself, may begin to run this.
pub(super) fn selectable(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    wanted: Option<VersionId>,
) -> Result<(), StoreError> {
    get(sql, actor, function)?;
    let Some(wanted) = wanted else { return Ok(()) };
    let FunctionVersion { state, reason, .. } = get_version(sql, actor, function, wanted)?;
    if state == VersionState::Yanked {
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let why = format!("it is yanked{reason}: choose another version");
        return Err(StoreError::NotNow { what: "choose version", id: wanted.to_string(), why });
    }
    Ok(())
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
    let (publisher, customer) = seen(actor);
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM functions WHERE {SEEN} AND id = ?3"))?
        .query_row(params![publisher, customer, uuid(function.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("function", function))
}

/// The function of this name. Names are unique for a partner only.
pub(super) fn find(sql: &Connection, actor: &Actor, name: &str) -> Result<Option<Function>, StoreError> {
    let (publisher, customer) = seen(actor);
    let select = format!("SELECT {COLUMNS} FROM functions WHERE {SEEN} AND name = ?3 LIMIT 2");
    let mut find = sql.prepare_cached(&select)?;
    let mut found: Vec<_> =
        find.query_map(params![publisher, customer, name], from)?.collect::<rusqlite::Result<_>>()?;
    if found.len() > 1 {
        let why =
            "several partners publish one of that name: give its id, which `tidegate function list` shows".to_owned();
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

/// The parameters of [`SEEN`].
fn seen(actor: &Actor) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
    (actor.publisher().map(|partner| uuid(partner.uuid())), actor.customer().map(|workspace| uuid(workspace.uuid())))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Function>, StoreError> {
    let after = control::after::<FunctionId>(page)?.map_or(Uuid::nil(), FunctionId::uuid);
    let (publisher, customer) = seen(actor);
    let select = format!("SELECT {COLUMNS} FROM functions WHERE {SEEN} AND id > ?3 ORDER BY id LIMIT ?4");
    let mut find = sql.prepare_cached(&select)?;
    let rows = find.query_map(params![publisher, customer, uuid(after), page.rows() as i64 + 1], from)?;
    Ok(control::cut(rows.collect::<rusqlite::Result<_>>()?, page, |function: &Function| function.id.to_string()))
}

/// Customers see the versions that they may run.
pub(super) fn versions(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    page: &Page,
) -> Result<Paged<FunctionVersion>, StoreError> {
    let function = get(sql, actor, function)?;
    let after = control::after::<VersionId>(page)?.map_or(Uuid::nil(), VersionId::uuid);
    let select = format!(
        "SELECT {VERSION_COLUMNS} FROM function_versions
         WHERE function = ?1 AND (?2 OR approved_at IS NOT NULL) AND id > ?3 ORDER BY id LIMIT ?4"
    );
    let mut find = sql.prepare_cached(&select)?;
    let all = actor.customer().is_none();
    let rows = params![uuid(function.id.uuid()), all, uuid(after), page.rows() as i64 + 1];
    let rows = find.query_map(rows, version_from)?.collect::<rusqlite::Result<_>>()?;
    Ok(control::cut(rows, page, |version: &FunctionVersion| version.id.to_string()))
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
        Some((_, version)) if version.function == function && (version.approved || actor.customer().is_none()) => {
            Ok(version)
        }
        Some(_) | None => Err(not_found("function version", wanted)),
    }
}

/// A new version of the function that the manifest names; the first one becomes its current one. The same bytes again are the same
/// version, and other bytes need another version text.
pub(super) fn put(
    commit: &mut Commit<'_>,
    actor: &Actor,
    manifest: Manifest,
    inspection: &Inspection,
    (digest, size): (Digest, u64),
    Vouched { approved, signed }: Vouched,
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
        if let Some(taken) = version_texts::of_text(sql, function.id, &manifest.version)? {
            return Err(StoreError::VersionTaken { function: manifest.name, version: manifest.version, taken });
        }
    }
    signing::admit(sql, actor, known.as_ref(), &manifest.name, signed.as_ref())?;
    let version = VersionId::new(commit.now);
    let function = match known {
        Some(function) => function,
        None => {
            let stage = if approved { Stage::Public } else { Stage::Building };
            insert(commit, actor, &manifest.name, version, stage)?
        }
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
        approved,
    };
    let signed = version.signed.as_ref();
    let insert = "INSERT INTO function_versions (id, partner, function, digest, manifest, size, created_at, inspection,
                    signing_key, sequence, signature, approved_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
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
        approved.then_some(ms(commit.now)),
    ])?;
    let owner = Owner::Partner(function.partner);
    audit::write(commit, actor, owner, "function.upload", version.id, None, Some(&version))?;
    Ok((function, version))
}

fn insert(
    commit: &mut Commit<'_>,
    actor: &Actor,
    name: &str,
    current: VersionId,
    stage: Stage,
) -> Result<Function, StoreError> {
    let function = Function {
        id: FunctionId::new(commit.now),
        partner: actor.partner,
        name: name.to_owned(),
        current,
        created_at: commit.now,
        previous: None,
        stage,
    };
    let insert = format!("INSERT INTO functions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6)");
    commit.sql.prepare_cached(&insert)?.execute(params![
        uuid(function.id.uuid()),
        uuid(function.partner.uuid()),
        function.name,
        uuid(current.uuid()),
        ms(commit.now),
        stage.as_str(),
    ])?;
    Ok(function)
}

/// Makes a version the current one. What was current before can be gone back to.
pub(super) fn promote(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    turn: &Turn,
) -> Result<Function, StoreError> {
    let before = get(commit.sql, actor, function)?;
    selectable(commit.sql, actor, function, Some(turn.to))?;
    if turn.approve {
        approve(commit, turn.to)?;
    }
    released(commit.sql, &before, turn.to)?;
    commit
        .sql
        .prepare_cached(
            "UPDATE functions SET previous = current, current = ?3 WHERE partner = ?1 AND id = ?2 AND current <> ?3",
        )?
        .execute([uuid(before.partner.uuid()), uuid(function.uuid()), uuid(turn.to.uuid())])?;
    consent::turn(commit, &before, turn)?;
    moved(commit, actor, &before, "function.promote")
}

/// Makes the version current that was it before, if that is the one that was looked at.
pub(super) fn rollback(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    turn: &Turn,
) -> Result<Function, StoreError> {
    let before = get(commit.sql, actor, function)?;
    if before.previous != Some(turn.to) {
        let why = "another version was promoted meanwhile: look, and try again".to_owned();
        return Err(StoreError::NotNow { what: "roll back function", id: function.to_string(), why });
    }
    selectable(commit.sql, actor, function, Some(turn.to))?;
    released(commit.sql, &before, turn.to)?;
    commit
        .sql
        .prepare_cached(
            "UPDATE functions SET previous = current, current = previous
             WHERE partner = ?1 AND id = ?2 AND previous IS NOT NULL",
        )?
        .execute([uuid(before.partner.uuid()), uuid(function.uuid())])?;
    consent::turn(commit, &before, turn)?;
    moved(commit, actor, &before, "function.rollback")
}

/// Once customers may run a version of a function, its current one is always such.
fn released(sql: &Connection, function: &Function, to: VersionId) -> Result<(), StoreError> {
    let approved = version(sql, to)?.is_some_and(|(_, version)| version.approved);
    let any = "SELECT 1 FROM function_versions WHERE function = ?1 AND approved_at IS NOT NULL";
    if approved || !sql.prepare_cached(any)?.exists([uuid(function.id.uuid())])? {
        return Ok(());
    }
    let why = "customers may run this function, and the version was not approved: submit it".to_owned();
    Err(StoreError::NotNow { what: "promote version", id: to.to_string(), why })
}

/// Lets customers run a version.
pub(super) fn approve(commit: &mut Commit<'_>, version: VersionId) -> rusqlite::Result<()> {
    commit
        .sql
        .prepare_cached("UPDATE function_versions SET approved_at = coalesce(approved_at, ?2) WHERE id = ?1")?
        .execute(params![uuid(version.uuid()), ms(commit.now)])?;
    Ok(())
}

/// What the host found when it tried a version; none for one that came before it did.
pub(super) fn checks(sql: &Connection, version: VersionId) -> Result<Option<Checks>, StoreError> {
    let found = sql
        .prepare_cached("SELECT checks FROM function_versions WHERE id = ?1 AND checks IS NOT NULL")?
        .query_row([uuid(version.uuid())], |row| json(row, 0))
        .optional()?;
    Ok(found)
}

/// Keeps what the host found when it tried a version.
pub(super) fn set_checks(commit: &mut Commit<'_>, version: VersionId, checks: &Checks) -> Result<(), StoreError> {
    commit
        .sql
        .prepare_cached("UPDATE function_versions SET checks = ?2 WHERE id = ?1")?
        .execute(params![uuid(version.uuid()), serde_json::json!(checks).to_string()])?;
    Ok(())
}

/// Keeps what a version was built of. The same bytes may come of another text: the last one counts.
pub(super) fn set_script(commit: &mut Commit<'_>, version: VersionId, script: &ScriptText) -> Result<(), StoreError> {
    commit
        .sql
        .prepare_cached("INSERT OR REPLACE INTO version_scripts (version, file, text) VALUES (?1, ?2, ?3)")?
        .execute(params![uuid(version.uuid()), script.file, script.text])?;
    Ok(())
}

/// What a version was built of, if that was here. It is its partner's, and no customer's.
pub(super) fn script(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    wanted: VersionId,
) -> Result<Option<ScriptText>, StoreError> {
    get_version(sql, actor, function, wanted)?;
    let found = sql
        .prepare_cached("SELECT file, text FROM version_scripts WHERE version = ?1 AND ?2")?
        .query_row(params![uuid(wanted.uuid()), actor.customer().is_none()], |row| {
            Ok(ScriptText { file: row.get(0)?, text: row.get(1)? })
        })
        .optional()?;
    Ok(found)
}

/// Puts a function where it is to be.
pub(super) fn set_stage(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    stage: Stage,
    action: &'static str,
) -> Result<Function, StoreError> {
    let before = get(commit.sql, actor, function)?;
    commit.sql.prepare_cached("UPDATE functions SET stage = ?3 WHERE partner = ?1 AND id = ?2")?.execute(params![
        uuid(before.partner.uuid()),
        uuid(function.uuid()),
        stage.as_str()
    ])?;
    moved(commit, actor, &before, action)
}

/// The function whose current version or stage is another one now.
pub(super) fn moved(
    commit: &mut Commit<'_>,
    actor: &Actor,
    before: &Function,
    action: &'static str,
) -> Result<Function, StoreError> {
    let after = get(commit.sql, actor, before.id)?;
    audit::write(commit, actor, Owner::Partner(after.partner), action, after.id, Some(before), Some(&after))?;
    changed(commit, Thing::Function(after.id));
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
    // Saying the same again without a reason takes the one that was given away from nobody.
    let reason = reason.or_else(|| before.reason.clone().filter(|_| before.state == state));
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
