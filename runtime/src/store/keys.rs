//! Keys of the control API: rows, what may be done with them, and the memory in which a shown token is looked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found};
use super::error::{KeyError, StoreError};
use super::rows::{count, id, ms, optional, time, uuid};
use super::types::{NewKey, Page, Paged};
use super::work::Commit;
use super::{tenants, tokens};
use crate::model::{Actor, DestinationId, Key, KeyId, LinkId, PartnerId, Role, Side, Timestamp, WorkspaceId};

const COLUMNS: &str = "id, role, workspace, partner, name, prefix, created_at, created_by, replaces, expires_at,
    revoked_at, last_used_at, link, destination";

/// The statement's part that holds an actor to what is theirs: an operator (`?1`) sees all keys.
const SEEN: &str = "(?1 OR workspace = ?2 OR partner = ?3)";

/// How exact the last use is written down: a commit for each call would cost more than most calls.
const USE_STEP: u64 = 60_000;

/// A key as it is compared.
struct Entry {
    actor: Actor,
    hash: [u8; 32],
    expires_at: Option<Timestamp>,
    /// When its use was last written down, in milliseconds.
    noted: AtomicU64,
}

/// All keys that are not revoked, in memory: there are few, and each is compared with what is shown.
#[derive(Default)]
pub(super) struct Keys {
    all: RwLock<Vec<Entry>>,
}

impl Keys {
    /// Reads all keys anew. Whoever changed keys calls this after the commit; the lock is held while reading, so that an
    /// older state never replaces a newer one.
    pub fn load(&self, sql: &Connection, home: (WorkspaceId, PartnerId)) -> Result<(), StoreError> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut find = sql.prepare_cached(&format!("SELECT {COLUMNS}, hash FROM keys WHERE revoked_at IS NULL"))?;
        let mut rows = find.query([])?;
        let mut read = Vec::new();
        while let Some(row) = rows.next()? {
            let key = from(row)?;
            let (workspace, partner) = match key.role.side() {
                Side::Host => home,
                Side::Partner | Side::Workspace => {
                    (key.workspace.unwrap_or(Actor::NO_WORKSPACE), key.partner.unwrap_or(Actor::NO_PARTNER))
                }
            };
            read.push(Entry {
                actor: Actor { key: key.id, role: key.role, workspace, partner, destination: key.destination },
                hash: row.get(14)?,
                expires_at: key.expires_at,
                noted: AtomicU64::new(key.last_used_at.unwrap_or_default().as_millis()),
            });
        }
        *all = read;
        Ok(())
    }

    /// Whose token this is, and whether its use should be written down. Every key is compared in full, so that the time
    /// says nothing.
    pub fn authenticate(&self, token: &str, now: Timestamp) -> Result<(Actor, bool), KeyError> {
        if !tokens::is_token(token) {
            return Err(KeyError::Unknown);
        }
        let shown = tokens::hash(token);
        let keys = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for entry in keys.iter() {
            if bool::from(entry.hash.ct_eq(&shown)) {
                found = Some(entry);
            }
        }
        let entry = found.ok_or(KeyError::Unknown)?;
        if let Some(expired_at) = entry.expires_at.filter(|expires_at| *expires_at <= now) {
            return Err(KeyError::Expired { key: entry.actor.key, expired_at });
        }
        let (noted, now) = (entry.noted.load(Ordering::Relaxed), now.as_millis());
        let due = now.saturating_sub(noted) >= USE_STEP;
        // Of several calls at once one writes.
        let note = due && entry.noted.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Ok((entry.actor.clone(), note))
    }
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|ms| Timestamp::from_millis(count(ms))))
}

fn from(row: &Row<'_>) -> rusqlite::Result<Key> {
    let unknown = |error: crate::model::UnknownRole| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into())
    };
    Ok(Key {
        id: id(row, 0, KeyId::from_uuid)?,
        role: row.get_ref(1)?.as_str()?.parse().map_err(unknown)?,
        workspace: optional(row, 2, WorkspaceId::from_uuid)?,
        partner: optional(row, 3, PartnerId::from_uuid)?,
        name: row.get(4)?,
        prefix: row.get(5)?,
        created_at: time(row, 6)?,
        created_by: optional(row, 7, KeyId::from_uuid)?,
        replaces: optional(row, 8, KeyId::from_uuid)?,
        expires_at: moment(row, 9)?,
        revoked_at: moment(row, 10)?,
        last_used_at: moment(row, 11)?,
        link: optional(row, 12, LinkId::from_uuid)?,
        destination: optional(row, 13, DestinationId::from_uuid)?,
    })
}

/// The parameters of [`SEEN`].
fn seen(actor: &Actor) -> (bool, [u8; 16], [u8; 16]) {
    (actor.role == Role::Operator, uuid(actor.workspace.uuid()), uuid(actor.partner.uuid()))
}

pub(super) fn get(sql: &Connection, actor: &Actor, key: KeyId) -> Result<Key, StoreError> {
    let (all, workspace, partner) = seen(actor);
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE {SEEN} AND id = ?4"))?
        .query_row(params![all, workspace, partner, uuid(key.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("key", key))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Key>, StoreError> {
    let after = control::after::<KeyId>(page)?.map_or(Uuid::nil(), KeyId::uuid);
    let (all, workspace, partner) = seen(actor);
    let select = format!("SELECT {COLUMNS} FROM keys WHERE {SEEN} AND id > ?4 ORDER BY id LIMIT ?5");
    let mut find = sql.prepare_cached(&select)?;
    let rows = params![all, workspace, partner, uuid(after), page.rows() as i64 + 1];
    let items = find.query_map(rows, from)?.collect::<rusqlite::Result<_>>()?;
    Ok(control::cut(items, page, |key: &Key| key.id.to_string()))
}

/// Makes a key for a tenant that the actor sees; its token is kept nowhere.
pub(super) fn create(commit: &mut Commit<'_>, actor: &Actor, new: NewKey) -> Result<(Key, String), StoreError> {
    let (workspace, partner) = match new.role.side() {
        Side::Host => (None, None),
        Side::Partner => (None, Some(new.partner.unwrap_or(actor.partner))),
        Side::Workspace => (Some(new.workspace.unwrap_or(actor.workspace)), None),
    };
    workspace.map(|id| tenants::get(commit.sql, actor, id)).transpose()?;
    partner.map(|id| tenants::get(commit.sql, actor, id)).transpose()?;
    let key = Key {
        id: KeyId::new(commit.now),
        name: new.name,
        role: new.role,
        workspace,
        partner,
        prefix: String::new(),
        created_at: commit.now,
        created_by: Some(actor.key),
        replaces: None,
        expires_at: new.expires_at,
        revoked_at: None,
        last_used_at: None,
        link: None,
        destination: None,
    };
    let made = insert(commit.sql, key)?;
    audit::write(commit, actor, owner(&made.0), "key.create", made.0.id, None, Some(&made.0))?;
    Ok(made)
}

/// Whose key it is.
fn owner(key: &Key) -> Owner {
    match (key.workspace, key.partner) {
        (Some(workspace), _) => Owner::Workspace(workspace),
        (None, Some(partner)) => Owner::Partner(partner),
        (None, None) => Owner::Host,
    }
}

pub(super) fn insert(sql: &Connection, mut key: Key) -> Result<(Key, String), StoreError> {
    let token = tokens::token();
    key.prefix = tokens::prefix(&token);
    sql.prepare_cached(&format!(
        "INSERT INTO keys ({COLUMNS}, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, NULL, ?11, ?12, ?13)"
    ))?
    .execute(params![
        uuid(key.id.uuid()),
        key.role.as_str(),
        key.workspace.map(|id| uuid(id.uuid())),
        key.partner.map(|id| uuid(id.uuid())),
        key.name,
        key.prefix,
        ms(key.created_at),
        key.created_by.map(|id| uuid(id.uuid())),
        key.replaces.map(|id| uuid(id.uuid())),
        key.expires_at.map(ms),
        key.link.map(|id| uuid(id.uuid())),
        key.destination.map(|id| uuid(id.uuid())),
        tokens::hash(&token),
    ])?;
    Ok((key, token))
}

/// Makes a key in place of another, which goes on for the time of the overlap.
pub(super) fn rotate(
    commit: &mut Commit<'_>,
    actor: &Actor,
    id: KeyId,
    overlap: Duration,
) -> Result<(Key, String), StoreError> {
    let old = get(commit.sql, actor, id)?;
    let (now, not_now) = (commit.now, |why: &str| cannot("rotate key", id, why));
    if old.revoked_at.is_some() {
        return Err(not_now("it is revoked: make a new one"));
    }
    if old.link.is_some() {
        return Err(not_now("a link's session ends with its time: make another link"));
    }
    if old.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(not_now("it has expired: make a new one"));
    }
    let ends = now.plus(overlap);
    let ends = old.expires_at.map_or(ends, |expires_at| expires_at.min(ends));
    commit
        .sql
        .prepare_cached("UPDATE keys SET expires_at = ?2 WHERE id = ?1")?
        .execute(params![uuid(id.uuid()), ms(ends)])?;
    let lifetime = old.expires_at.map(|expires_at| expires_at.since(old.created_at));
    let key = Key {
        id: KeyId::new(now),
        created_at: now,
        created_by: Some(actor.key),
        replaces: Some(id),
        expires_at: lifetime.map(|lifetime| now.plus(lifetime)),
        last_used_at: None,
        ..old.clone()
    };
    let made = insert(commit.sql, key)?;
    let ended = Key { expires_at: Some(ends), ..old.clone() };
    audit::write(commit, actor, owner(&old), "key.rotate", id, Some(&old), Some(&ended))?;
    audit::write(commit, actor, owner(&old), "key.create", made.0.id, None, Some(&made.0))?;
    Ok(made)
}

fn cannot(what: &'static str, id: KeyId, why: &str) -> StoreError {
    StoreError::NotNow { what, id: id.to_string(), why: why.to_owned() }
}

/// How long another key must last to be one that remains: longer than the overlap in which a key that was turned works on.
const LASTING: Duration = Duration::from_secs(8 * 86_400);

/// Takes a key back. A key that is taken back already stays so. The last key with which somebody can make others for themselves is taken
/// back only by `force`.
pub(super) fn revoke(commit: &mut Commit<'_>, actor: &Actor, id: KeyId, force: bool) -> Result<(), StoreError> {
    let key = get(commit.sql, actor, id)?;
    if key.revoked_at.is_some() {
        return Ok(());
    }
    if !force && let Some(without) = locked_out(actor.role, key.role) {
        let others = commit
            .sql
            .prepare_cached(
                "SELECT 1 FROM keys WHERE role = ?1 AND workspace IS ?2 AND partner IS ?3 AND id <> ?4 AND revoked_at IS NULL
                   AND link IS NULL AND (expires_at IS NULL OR expires_at > ?5)",
            )?
            .exists(params![
                key.role.as_str(),
                key.workspace.map(|workspace| uuid(workspace.uuid())),
                key.partner.map(|partner| uuid(partner.uuid())),
                uuid(id.uuid()),
                ms(commit.now.plus(LASTING))
            ])?;
        if !others {
            let why = format!(
                "it is the last key of its kind ({}), and without it {without}: make another one first (`tidegate key create`), or \
                 take it back all the same by `force=true` (`tidegate key revoke --force`)",
                key.role
            );
            return Err(cannot("revoke key", id, &why));
        }
    }
    commit
        .sql
        .prepare_cached("UPDATE keys SET revoked_at = ?2 WHERE id = ?1")?
        .execute(params![uuid(id.uuid()), ms(commit.now)])?;
    let after = Key { revoked_at: Some(commit.now), ..key.clone() };
    audit::write(commit, actor, owner(&key), "key.revoke", id, Some(&key), Some(&after))
}

/// What nobody could do any more without the last key of this role, if whoever takes it back cannot make another one afterwards.
const fn locked_out(actor: Role, key: Role) -> Option<&'static str> {
    match key {
        Role::Operator => {
            Some("nobody is the operator, until somebody runs `tidegate key recover` where the data directory is")
        }
        Role::WorkspaceAdmin | Role::PartnerAdmin if !matches!(actor, Role::Operator) => {
            Some("nobody here makes keys any more, until an operator does")
        }
        _ => None,
    }
}

/// Writes down that a key was used.
pub(super) fn note_use(commit: &mut Commit<'_>, id: KeyId) -> Result<(), StoreError> {
    commit
        .sql
        .prepare_cached("UPDATE keys SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![uuid(id.uuid()), ms(commit.now)])?;
    Ok(())
}

/// Makes an operator's key if there never was one, or `anew`, and gives back its token, which is kept nowhere.
pub(super) fn ensure_operator(commit: &mut Commit<'_>, anew: bool) -> Result<Option<String>, StoreError> {
    if !anew && commit.sql.prepare_cached("SELECT 1 FROM keys WHERE role = 'operator'")?.exists([])? {
        return Ok(None);
    }
    let key = Key {
        id: KeyId::new(commit.now),
        name: if anew { "operator, recovered" } else { "operator" }.to_owned(),
        role: Role::Operator,
        workspace: None,
        partner: None,
        prefix: String::new(),
        created_at: commit.now,
        created_by: None,
        replaces: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        link: None,
        destination: None,
    };
    let (key, token) = insert(commit.sql, key)?;
    // Nobody asked: who can write the data directory did it.
    let actor = Actor {
        key: key.id,
        role: key.role,
        workspace: Actor::NO_WORKSPACE,
        partner: Actor::NO_PARTNER,
        destination: None,
    };
    let action = if anew { "key.recover" } else { "key.create" };
    audit::write(commit, &actor, Owner::Host, action, key.id, None, Some(&key))?;
    Ok(Some(token))
}
