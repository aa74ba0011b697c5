//! Keys of the control API. Only their hashes are stored; they are compared in constant time.

use std::sync::{PoisonError, RwLock};

use rand::distr::{Alphanumeric, SampleString};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::StoreError;
use super::rows::{id, ms, uuid};
use super::work::Commit;
use crate::model::{Actor, KeyId, PartnerId, Role, WorkspaceId};

/// What every token begins with, so that scanners find it where it does not belong.
const PREFIX: &str = "tgk_";
/// Letters and digits of the secret: 238 bits.
const SECRET: usize = 40;
/// Hexadecimal digits of the checksum: a mistyped token is told apart without looking it up.
const CHECK: usize = 6;

/// All keys, in memory: there are few, and each is compared with what is shown.
#[derive(Default)]
pub(super) struct Keys {
    all: RwLock<Vec<(Actor, [u8; 32])>>,
}

fn check(secret: &str) -> String {
    Sha256::digest(secret).iter().take(CHECK / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// A new token.
fn token() -> String {
    let secret = Alphanumeric.sample_string(&mut rand::rng(), SECRET);
    let check = check(&secret);
    format!("{PREFIX}{secret}{check}")
}

/// Whether a text has the form of a token, checksum included.
fn is_token(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .filter(|rest| rest.is_ascii() && rest.len() == SECRET + CHECK)
        .is_some_and(|rest| check(&rest[..SECRET]) == rest[SECRET..])
}

impl Keys {
    /// Reads all keys anew.
    pub fn load(&self, sql: &Connection) -> Result<(), StoreError> {
        let mut find = sql.prepare("SELECT id, role, workspace, partner, hash FROM keys")?;
        let mut rows = find.query([])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let role = match row.get_ref(1)?.as_str().unwrap_or_default() {
                "operator" => Role::Operator,
                other => {
                    let key = id(row, 0, KeyId::from_uuid)?.to_string();
                    return Err(StoreError::Damaged { what: "key", id: key, why: format!("its role is `{other}`") });
                }
            };
            let actor = Actor {
                key: id(row, 0, KeyId::from_uuid)?,
                role,
                workspace: id(row, 2, WorkspaceId::from_uuid)?,
                partner: id(row, 3, PartnerId::from_uuid)?,
            };
            keys.push((actor, row.get(4)?));
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whose token this is. Every key is compared in full, so that the time says nothing.
    pub fn authenticate(&self, token: &str) -> Option<Actor> {
        if !is_token(token) {
            return None;
        }
        let shown = hash(token);
        let keys = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (actor, hash) in keys.iter() {
            if bool::from(hash.ct_eq(&shown)) {
                found = Some(actor.clone());
            }
        }
        found
    }
}

/// Makes an operator's key if there is none, and gives back its token, which is kept nowhere.
pub(super) fn ensure_operator(
    commit: &mut Commit<'_>,
    workspace: WorkspaceId,
    partner: PartnerId,
) -> Result<Option<String>, StoreError> {
    if commit.sql.prepare_cached("SELECT 1 FROM keys WHERE role = 'operator'")?.exists([])? {
        return Ok(None);
    }
    let token = token();
    commit
        .sql
        .prepare_cached(
            "INSERT INTO keys (id, role, workspace, partner, hash, created_at) VALUES (?1, 'operator', ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            uuid(KeyId::new(commit.now).uuid()),
            uuid(workspace.uuid()),
            uuid(partner.uuid()),
            hash(&token),
            ms(commit.now)
        ])?;
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_checksum_that_finds_every_changed_character() {
        let token = token();
        assert!(is_token(&token));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_token(&String::from_utf8(changed).unwrap()), "{at}");
        }
        assert!(!is_token(&token[1..]) && !is_token("") && !is_token(&format!("{token}x")));
    }
}
