//! Which versions a text names, which texts no version has, and which version is the newest: found by an index, however many versions
//! there are.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;
use super::functions::{VERSION_COLUMNS, get, version_from};
use super::handle::Store;
use super::rows::{count, uuid};
use crate::model::{Actor, Digest, FunctionId, FunctionVersion, VersionState};

type Result<T> = std::result::Result<T, StoreError>;

/// How many versions of one text are told apart. Since texts are unique only hosts that are older than that have any.
const CANDIDATES: usize = 20;

/// The newest version of a function, and whether it was built of a certain text.
#[derive(Clone, PartialEq, Debug)]
pub struct Newest {
    /// The version.
    pub version: FunctionVersion,
    /// Whether that text was what it was built of.
    pub is_of_text: bool,
}

/// Versions by their texts. Errors: [`StoreError::NotFound`] for a function that is not this actor's.
impl Store {
    /// The versions that have this text or this digest: one, or none, or several that older programs took.
    pub async fn versions_called(&self, actor: &Actor, id: FunctionId, key: &str) -> Result<Vec<FunctionVersion>> {
        let (actor, key) = (actor.clone(), key.to_owned());
        self.readers.read(move |sql| called(sql, &actor, id, &key)).await
    }

    /// The newest version for its partner, beside the text of a script; none for customers.
    pub async fn newest_version(&self, actor: &Actor, id: FunctionId, script: String) -> Result<Option<Newest>> {
        let actor = actor.clone();
        self.readers.read(move |sql| newest(sql, &actor, id, &script)).await
    }

    /// The newest version that an actor sees and that is not yanked.
    pub async fn newest_choosable(&self, actor: &Actor, id: FunctionId) -> Result<Option<FunctionVersion>> {
        let actor = actor.clone();
        self.readers.read(move |sql| choosable(sql, &actor, id)).await
    }

    /// The first number from this one on that no version has as its text behind these characters.
    pub async fn free_number(&self, actor: &Actor, id: FunctionId, before: &'static str, from: u64) -> Result<u64> {
        let actor = actor.clone();
        self.readers.read(move |sql| free(sql, &actor, id, before, from)).await
    }
}

fn called(sql: &Connection, actor: &Actor, function: FunctionId, key: &str) -> Result<Vec<FunctionVersion>> {
    let function = get(sql, actor, function)?;
    let select = format!(
        "SELECT {VERSION_COLUMNS} FROM function_versions
         WHERE function = ?1 AND (?2 OR approved_at IS NOT NULL)
           AND (json_extract(manifest, '$.version') = ?3 OR digest = ?4)
         ORDER BY id LIMIT {CANDIDATES}"
    );
    let mut find = sql.prepare_cached(&select)?;
    let (all, digest) = (actor.customer().is_none(), Digest::read(key));
    let parameters = params![uuid(function.id.uuid()), all, key, digest.map(|digest| digest.0)];
    let found = find.query_map(parameters, version_from)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn newest(sql: &Connection, actor: &Actor, function: FunctionId, script: &str) -> Result<Option<Newest>> {
    let function = get(sql, actor, function)?;
    if actor.customer().is_some() {
        return Ok(None);
    }
    let select =
        format!("SELECT {VERSION_COLUMNS} FROM function_versions WHERE function = ?1 ORDER BY id DESC LIMIT 1");
    let newest = sql.prepare_cached(&select)?.query_row([uuid(function.id.uuid())], version_from).optional()?;
    let Some(version) = newest else { return Ok(None) };
    let is_of_text = sql
        .prepare_cached("SELECT 1 FROM version_scripts WHERE version = ?1 AND text = ?2")?
        .exists(params![uuid(version.id.uuid()), script])?;
    Ok(Some(Newest { version, is_of_text }))
}

fn choosable(sql: &Connection, actor: &Actor, function: FunctionId) -> Result<Option<FunctionVersion>> {
    let function = get(sql, actor, function)?;
    let select = format!(
        "SELECT {VERSION_COLUMNS} FROM function_versions
         WHERE function = ?1 AND (?2 OR approved_at IS NOT NULL) AND state <> ?3 ORDER BY id DESC LIMIT 1"
    );
    let parameters = params![uuid(function.id.uuid()), actor.customer().is_none(), VersionState::Yanked.as_str()];
    Ok(sql.prepare_cached(&select)?.query_row(parameters, version_from).optional()?)
}

/// The digest of a version with this text, if there is one. Whether it may be chosen does not matter: who reads the text means one thing.
pub(super) fn of_text(sql: &Connection, function: FunctionId, text: &str) -> rusqlite::Result<Option<Digest>> {
    sql.prepare_cached(
        "SELECT digest FROM function_versions WHERE function = ?1 AND json_extract(manifest, '$.version') = ?2 LIMIT 1",
    )?
    .query_row(params![uuid(function.uuid()), text], |row| Ok(Digest(row.get(0)?)))
    .optional()
}

fn free(sql: &Connection, actor: &Actor, function: FunctionId, before: &str, from: u64) -> Result<u64> {
    let function = get(sql, actor, function)?;
    let first = sql
        .prepare_cached(
            "WITH RECURSIVE numbers (number) AS (
               SELECT ?3 UNION ALL SELECT number + 1 FROM numbers WHERE EXISTS (
                 SELECT 1 FROM function_versions
                 WHERE function = ?1 AND json_extract(manifest, '$.version') = ?2 || number))
             SELECT max(number) FROM numbers",
        )?
        .query_row(params![uuid(function.id.uuid()), before, from.cast_signed()], |row| row.get(0))?;
    Ok(count(first))
}
