//! Calls that are to take place once: what was asked under which name, and what was answered.
//!
//! Guarantees: the name is on disk before the call begins, so that after a crash nobody takes an unknown ending for a
//! call that never was; names are kept for a day, of each key its own, unless there are more than are kept: then a tenant's oldest
//! go before anybody else's. A call that comes again never makes room for itself.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;
use super::handle::Store;
use super::rows::{ms, uuid};
use crate::model::{Actor, KeyId, Side};

/// How long a name is kept: longer than any client tries again.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Names that are kept at most; the oldest go first. Each is some hundred bytes, and more with its answer.
const NAMES: i64 = 100_000;

/// Names of one tenant that are kept at most, whatever keys it makes: its oldest go before anybody else's.
const NAMES_OF_TENANT: i64 = 2_000;

/// Names that one new one removes at most, so that no call waits for many.
const STEP: i64 = 100;

/// An answer that is given again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptAnswer {
    /// Its status.
    pub status: u16,
    /// Its content type.
    pub kind: String,
    /// Its body; none if it may not be kept.
    pub body: Option<Vec<u8>>,
}

/// What is known of a call by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Once {
    /// Nothing: it may begin, and its name is written down.
    New,
    /// It was another call.
    Other,
    /// It began, and nobody knows how it ended.
    Begun,
    /// It ended so.
    Done(KeptAnswer),
}

/// Whose call it is: a workspace's or a partner's, or that of one of this host's operators.
fn tenant(actor: &Actor) -> [u8; 16] {
    match actor.role.side() {
        Side::Host => uuid(actor.key.uuid()),
        Side::Partner => uuid(actor.partner.uuid()),
        Side::Workspace => uuid(actor.workspace.uuid()),
    }
}

/// Takes away names that are too old, and the oldest where there are too many.
fn make_room(sql: &Connection, tenant: [u8; 16], old: i64) -> rusqlite::Result<()> {
    let of_tenant: Option<i64> = sql
        .prepare_cached("SELECT names FROM once_counts WHERE tenant = ?1")?
        .query_row([tenant], |row| row.get(0))
        .optional()?;
    if of_tenant.is_some_and(|names| names >= NAMES_OF_TENANT) {
        sql.prepare_cached(
            "DELETE FROM once WHERE (key, name) IN (SELECT key, name FROM once WHERE tenant = ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute(params![tenant, STEP])?;
    }
    let all: i64 = sql.prepare_cached("SELECT names FROM once_total")?.query_row([], |row| row.get(0))?;
    let before = if all > NAMES { i64::MAX } else { old };
    sql.prepare_cached(
        "DELETE FROM once WHERE (key, name) IN (SELECT key, name FROM once WHERE at < ?1 ORDER BY at LIMIT ?2)",
    )?
    .execute(params![before, STEP])?;
    Ok(())
}

impl Store {
    /// Begins a call that is to take place once. `fingerprint` tells calls apart.
    ///
    /// # Errors
    /// [`StoreError::Stopped`]; then it must not begin.
    pub async fn begin_once(&self, actor: &Actor, name: String, fingerprint: [u8; 32]) -> Result<Once, StoreError> {
        let (key, tenant) = (actor.key, tenant(actor));
        self.call(move |commit| {
            let old = ms(commit.now.minus(KEPT));
            let found = commit
                .sql
                .prepare_cached(
                    "SELECT fingerprint, status, kind, body FROM once WHERE key = ?1 AND name = ?2 AND at >= ?3",
                )?
                .query_row(params![uuid(key.uuid()), name, old], |row| {
                    let known: [u8; 32] = row.get(0)?;
                    let status: Option<u16> = row.get(1)?;
                    let kind: Option<String> = row.get(2)?;
                    let body: Option<Vec<u8>> = row.get(3)?;
                    Ok((known, status.map(|status| KeptAnswer { status, kind: kind.unwrap_or_default(), body })))
                })
                .optional()?;
            match found {
                Some((known, _)) if known != fingerprint => return Ok(Once::Other),
                Some((_, Some(answer))) => return Ok(Once::Done(answer)),
                Some((_, None)) => return Ok(Once::Begun),
                None => {}
            }
            make_room(commit.sql, tenant, old)?;
            // One that is older than a day may still be there. Replacing it would go past what counts.
            commit
                .sql
                .prepare_cached("DELETE FROM once WHERE key = ?1 AND name = ?2")?
                .execute(params![uuid(key.uuid()), name])?;
            commit
                .sql
                .prepare_cached("INSERT INTO once (key, name, fingerprint, at, tenant) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![uuid(key.uuid()), name, fingerprint, ms(commit.now), tenant])?;
            Ok(Once::New)
        })
        .await
    }

    /// Writes down how a call ended; without an answer its name is free again, as if it had not begun.
    ///
    /// # Errors
    /// [`StoreError::Stopped`]; then its ending is not known.
    pub async fn end_once(&self, key: KeyId, name: String, answer: Option<KeptAnswer>) -> Result<(), StoreError> {
        self.call(move |commit| {
            let at = params![uuid(key.uuid()), name];
            let Some(answer) = answer else {
                commit.sql.prepare_cached("DELETE FROM once WHERE key = ?1 AND name = ?2")?.execute(at)?;
                return Ok(());
            };
            commit
                .sql
                .prepare_cached("UPDATE once SET status = ?3, kind = ?4, body = ?5 WHERE key = ?1 AND name = ?2")?
                .execute(params![uuid(key.uuid()), name, answer.status, answer.kind, answer.body])?;
            Ok(())
        })
        .await
    }
}
