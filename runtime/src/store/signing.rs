//! Keys with which partners sign uploads, and what a signed upload must be to be taken.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::audit::{self, Owner};
use super::control::{self, not_found, unique};
use super::error::StoreError;
use super::handle::Store;
use super::keys::moment;
use super::rows::{id, ms, time, uuid};
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{Actor, Function, KeyId, PartnerId, PublicKey, Signed, SigningKey, SigningKeyId};

const COLUMNS: &str = "id, partner, name, public, created_at, created_by, revoked_at";

fn from(row: &Row<'_>) -> rusqlite::Result<SigningKey> {
    Ok(SigningKey {
        id: id(row, 0, SigningKeyId::from_uuid)?,
        partner: id(row, 1, PartnerId::from_uuid)?,
        name: row.get(2)?,
        public: PublicKey(row.get(3)?),
        created_at: time(row, 4)?,
        created_by: id(row, 5, KeyId::from_uuid)?,
        revoked_at: moment(row, 6)?,
    })
}

fn get(sql: &Connection, actor: &Actor, key: SigningKeyId) -> Result<SigningKey, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM signing_keys WHERE partner = ?1 AND id = ?2"))?
        .query_row([uuid(actor.partner.uuid()), uuid(key.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("signing key", key))
}

fn find(sql: &Connection, partner: PartnerId, public: PublicKey) -> Result<Option<SigningKey>, StoreError> {
    let select =
        format!("SELECT {COLUMNS} FROM signing_keys WHERE partner = ?1 AND public = ?2 AND revoked_at IS NULL");
    let mut find = sql.prepare_cached(&select)?;
    Ok(find.query_row(params![uuid(partner.uuid()), public.0], from).optional()?)
}

fn create(commit: &mut Commit<'_>, actor: &Actor, name: String, public: PublicKey) -> Result<SigningKey, StoreError> {
    let key = SigningKey {
        id: SigningKeyId::new(commit.now),
        partner: actor.partner,
        name,
        public,
        created_at: commit.now,
        created_by: actor.key,
        revoked_at: None,
    };
    commit
        .sql
        .prepare_cached(&format!("INSERT INTO signing_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)"))?
        .execute(params![
            uuid(key.id.uuid()),
            uuid(key.partner.uuid()),
            key.name,
            key.public.0,
            ms(key.created_at),
            uuid(key.created_by.uuid()),
        ])
        .map_err(|error| unique(error, "signing key", &key.public.to_string()))?;
    audit::write(commit, actor, Owner::Partner(key.partner), "signing-key.create", key.id, None, Some(&key))?;
    Ok(key)
}

/// Takes nothing more that this key signed. What it signed before stays, and so does the key: once taken back it cannot come again.
fn revoke(commit: &mut Commit<'_>, actor: &Actor, key: SigningKeyId) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, key)?;
    if before.revoked_at.is_some() {
        return Ok(());
    }
    let after = SigningKey { revoked_at: Some(commit.now), ..before.clone() };
    commit
        .sql
        .prepare_cached("UPDATE signing_keys SET revoked_at = ?3 WHERE partner = ?1 AND id = ?2")?
        .execute(params![uuid(before.partner.uuid()), uuid(key.uuid()), ms(commit.now)])?;
    audit::write(commit, actor, Owner::Partner(before.partner), "signing-key.revoke", key, Some(&before), Some(&after))
}

fn required(sql: &Connection, partner: PartnerId) -> Result<bool, StoreError> {
    let select = "SELECT requires_signatures FROM partners WHERE id = ?1";
    let found = sql.prepare_cached(select)?.query_row([uuid(partner.uuid())], |row| row.get(0)).optional()?;
    found.ok_or_else(|| not_found("partner", partner))
}

fn require(commit: &mut Commit<'_>, actor: &Actor, wanted: bool) -> Result<(), StoreError> {
    let before = required(commit.sql, actor.partner)?;
    commit
        .sql
        .prepare_cached("UPDATE partners SET requires_signatures = ?2 WHERE id = ?1")?
        .execute(params![uuid(actor.partner.uuid()), wanted])?;
    let owner = Owner::Partner(actor.partner);
    audit::write(commit, actor, owner, "partner.require-signatures", actor.partner, Some(&before), Some(&wanted))
}

/// Whether a new version may come as it does: signed where it must be, by a key that still counts, and later than every signed one.
pub(super) fn admit(
    sql: &Connection,
    actor: &Actor,
    function: Option<&Function>,
    name: &str,
    signed: Option<&Signed>,
) -> Result<(), StoreError> {
    let Some(signed) = signed else {
        return match required(sql, actor.partner)? {
            true => Err(StoreError::Unsigned { function: name.to_owned() }),
            false => Ok(()),
        };
    };
    // It was looked up before the upload was in; it may be taken back since.
    if get(sql, actor, signed.key)?.revoked_at.is_some() {
        return Err(not_found("signing key", signed.key));
    }
    let Some(function) = function else { return Ok(()) };
    let last: Option<i64> = sql
        .prepare_cached("SELECT max(sequence) FROM function_versions WHERE function = ?1")?
        .query_row([uuid(function.id.uuid())], |row| row.get(0))?;
    match last.and_then(|last| u64::try_from(last).ok()) {
        Some(last) if signed.sequence <= last => {
            Err(StoreError::Replayed { function: name.to_owned(), sequence: signed.sequence, last })
        }
        Some(_) | None => Ok(()),
    }
}

/// The signature of a version, of three columns from this one on.
pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Signed>> {
    let Some(key) = super::rows::optional(row, first, SigningKeyId::from_uuid)? else { return Ok(None) };
    Ok(Some(Signed { key, sequence: super::rows::count(row.get(first + 1)?), signature: row.get(first + 2)? }))
}

/// Signing keys of the actor's partner. Errors: [`StoreError::NotFound`] for what is not this partner's.
impl Store {
    /// Registers a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the partner has or had it.
    pub async fn create_signing_key(
        &self,
        actor: &Actor,
        name: String,
        public: PublicKey,
    ) -> Result<SigningKey, StoreError> {
        let actor = actor.clone();
        self.call(move |commit| create(commit, &actor, name, public)).await
    }

    /// One page of keys, oldest first; those that are taken back too.
    pub async fn list_signing_keys(&self, actor: &Actor, page: &Page) -> Result<Paged<SigningKey>, StoreError> {
        let (actor, page) = (actor.clone(), page.clone());
        let select = format!("SELECT {COLUMNS} FROM signing_keys WHERE partner = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        let list = move |sql: &Connection| {
            let after = control::after::<SigningKeyId>(&page)?.map(SigningKeyId::uuid);
            control::page(sql, &select, actor.partner.uuid(), after, &page, from, |key: &SigningKey| key.id.to_string())
        };
        self.readers.read(list).await
    }

    /// One key.
    pub async fn get_signing_key(&self, actor: &Actor, id: SigningKeyId) -> Result<SigningKey, StoreError> {
        let actor = actor.clone();
        self.readers.read(move |sql| get(sql, &actor, id)).await
    }

    /// The key that is this, if it counts.
    pub async fn find_signing_key(&self, actor: &Actor, public: PublicKey) -> Result<Option<SigningKey>, StoreError> {
        let partner = actor.partner;
        self.readers.read(move |sql| find(sql, partner, public)).await
    }

    /// Takes a key back: nothing that it signed is taken any more. Versions that it signed stay.
    pub async fn revoke_signing_key(&self, actor: &Actor, id: SigningKeyId) -> Result<(), StoreError> {
        let actor = actor.clone();
        self.call(move |commit| revoke(commit, &actor, id)).await
    }

    /// Whether unsigned uploads of the actor's partner are refused.
    pub async fn signatures_required(&self, actor: &Actor) -> Result<bool, StoreError> {
        let partner = actor.partner;
        self.readers.read(move |sql| required(sql, partner)).await
    }

    /// Says whether they are.
    pub async fn require_signatures(&self, actor: &Actor, required: bool) -> Result<(), StoreError> {
        let actor = actor.clone();
        self.call(move |commit| require(commit, &actor, required)).await
    }
}
