//! Secret settings: their rows, and the data keys that they are sealed with.
//!
//! Guarantees: a secret is written sealed, in the transaction of the destination that it belongs to; what is read is sealed, and
//! opened only by [`opened`], for deliveries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::error::StoreError;
use super::rows::{self, id, json, uuid};
use super::types::NewSecret;
use super::work::Commit;
use crate::model::{Destination, DestinationId, FunctionId, Manifest, Sealed, Secret, WorkspaceId};
use crate::vault::{DataKey, Slot, Vault, VaultError, Wrapped};

/// Data keys that are rewrapped in one transaction: each takes microseconds, and others wait for it.
pub(super) const AT_ONCE: usize = 256;

/// All of a destination's secrets as one column of its row.
pub(super) const COLUMN: &str = "(SELECT json_group_array(json_array(field, version, revealed, hex(sealed)))
    FROM secrets WHERE destination = destinations.id)";

/// Reads that column.
pub(super) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, Sealed>> {
    let all: Vec<(String, u64, u8, String)> = json(row, column)?;
    let bytes = |hex: &str| hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    let sealed = |(field, version, revealed, hex): (String, u64, u8, String)| {
        (field, Sealed { version, revealed: revealed != 0, bytes: bytes(&hex) })
    };
    Ok(all.into_iter().map(sealed).collect())
}

/// What SQLite's `hex` writes.
fn digit(hex: u8) -> u8 {
    if hex.is_ascii_digit() { hex - b'0' } else { hex - b'A' + 10 }
}

/// Stores new secrets instead of all that a destination has, and puts them into it.
pub(super) fn replace(
    sql: &Connection,
    vault: &Vault,
    destination: &mut Destination,
    new: BTreeMap<String, NewSecret>,
) -> Result<(), StoreError> {
    let wanted: BTreeSet<&String> = new.keys().collect();
    let gone: Vec<String> = destination.secrets.keys().filter(|field| !wanted.contains(field)).cloned().collect();
    for field in gone {
        sql.prepare_cached("DELETE FROM secrets WHERE destination = ?1 AND field = ?2")?
            .execute(params![uuid(destination.id.uuid()), field])?;
        destination.secrets.remove(&field);
    }
    for (field, secret) in new {
        let NewSecret::Set { value, revealed } = secret else { continue };
        let version = destination.secrets.get(&field).map_or(1, |old| old.version + 1);
        let key = data_key(sql, vault, destination.workspace)?;
        let slot = Slot { workspace: destination.workspace, destination: destination.id, field: &field, version };
        let bytes = key.seal(slot, &value);
        sql.prepare_cached("INSERT OR REPLACE INTO secrets (destination, field, version, revealed, sealed) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![uuid(destination.id.uuid()), field, version.cast_signed(), revealed, bytes])?;
        destination.secrets.insert(field, Sealed { version, revealed, bytes });
    }
    Ok(())
}

/// The values of a destination's secrets.
pub(super) fn opened(
    sql: &Connection,
    vault: &Vault,
    destination: &Destination,
) -> Result<BTreeMap<String, Secret>, StoreError> {
    if destination.secrets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let workspace = destination.workspace;
    let stored = || wrapped(sql, workspace)?.ok_or(StoreError::Vault(VaultError::Sealed));
    let key = match vault.unwrap(workspace, &stored()?) {
        // Rewrapped and its old master key gone between reading the one and looking for the other.
        Err(VaultError::NoSuchKey { .. }) => vault.unwrap(workspace, &stored()?)?,
        unwrapped => unwrapped?,
    };
    let open = |(field, sealed): (&String, &Sealed)| {
        let slot = Slot { workspace, destination: destination.id, field, version: sealed.version };
        Ok((field.clone(), key.open(slot, &sealed.bytes)?))
    };
    destination.secrets.iter().map(open).collect()
}

fn wrapped(sql: &Connection, workspace: WorkspaceId) -> Result<Option<Wrapped>, StoreError> {
    let found = sql
        .prepare_cached("SELECT master, wrapped FROM data_keys WHERE workspace = ?1")?
        .query_row([uuid(workspace.uuid())], |row| Ok(Wrapped { master: row.get(0)?, bytes: row.get(1)? }))
        .optional()?;
    Ok(found)
}

/// The workspace's data key, made at the first that is sealed with it.
pub(super) fn data_key(sql: &Connection, vault: &Vault, workspace: WorkspaceId) -> Result<DataKey, StoreError> {
    if let Some(wrapped) = wrapped(sql, workspace)? {
        return Ok(vault.unwrap(workspace, &wrapped)?);
    }
    let (key, wrapped) = vault.new_data_key(workspace);
    sql.prepare_cached("INSERT INTO data_keys (workspace, master, wrapped) VALUES (?1, ?2, ?3)")?.execute(params![
        uuid(workspace.uuid()),
        wrapped.master,
        wrapped.bytes
    ])?;
    Ok(key)
}

/// Every data key. A host whose key file does not open them all does not start.
pub(super) fn all_keys(sql: &Connection, vault: &Vault) -> Result<Vec<(WorkspaceId, DataKey)>, StoreError> {
    let all: Vec<(WorkspaceId, Wrapped)> = sql
        .prepare("SELECT workspace, master, wrapped FROM data_keys")?
        .query_map([], |row| {
            Ok((id(row, 0, WorkspaceId::from_uuid)?, Wrapped { master: row.get(1)?, bytes: row.get(2)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    all.into_iter().map(|(workspace, wrapped)| Ok((workspace, vault.unwrap(workspace, &wrapped)?))).collect()
}

/// How many workspaces have a data key.
pub(super) fn count(sql: &Connection) -> Result<u64, StoreError> {
    let count: i64 = sql.query_row("SELECT count(*) FROM data_keys", [], |row| row.get(0))?;
    Ok(rows::count(count))
}

/// Whether anything is sealed, so that a missing master key is a loss.
pub(super) fn any(sql: &Connection) -> rusqlite::Result<bool> {
    sql.prepare("SELECT 1 FROM data_keys")?.exists([])
}

/// Wraps some data keys with the master key in use that are not wrapped with it, and says how many.
pub(super) fn rewrap(sql: &Connection, vault: &Vault, most: usize) -> Result<usize, StoreError> {
    let current = vault.current();
    let old: Vec<(WorkspaceId, Wrapped)> = sql
        .prepare_cached("SELECT workspace, master, wrapped FROM data_keys WHERE master <> ?1 LIMIT ?2")?
        .query_map(params![current, most as i64], |row| {
            Ok((id(row, 0, WorkspaceId::from_uuid)?, Wrapped { master: row.get(1)?, bytes: row.get(2)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (workspace, wrapped) in &old {
        let new = vault.rewrap(*workspace, wrapped)?;
        sql.prepare_cached("UPDATE data_keys SET master = ?2, wrapped = ?3 WHERE workspace = ?1")?.execute(params![
            uuid(workspace.uuid()),
            new.master,
            new.bytes
        ])?;
    }
    Ok(old.len())
}

/// By version: the names of its secret settings, and whether it reads them itself.
type SecretSettings = HashMap<[u8; 16], Vec<(String, bool)>>;

/// A destination as it is stored: whose, with which settings, and the version that it runs.
type Stored = (DestinationId, WorkspaceId, Map<String, Value>, [u8; 16]);

/// Which destinations are looked at.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// All.
    Everything,
    /// Those of this function.
    Function(FunctionId),
    /// This one, of this function.
    Destination(FunctionId, DestinationId),
}

impl Of {
    fn function(self) -> Option<FunctionId> {
        match self {
            Self::Everything => None,
            Self::Function(function) | Self::Destination(function, _) => Some(function),
        }
    }
}

/// The secret settings of every version that has some, and whether it reads them itself; of one function's or of all. Each manifest is
/// read once, however many destinations run it.
fn secret_settings(sql: &Connection, function: Option<FunctionId>) -> rusqlite::Result<SecretSettings> {
    let some = "SELECT id, manifest FROM function_versions WHERE manifest LIKE '%\"secret\":true%'";
    let read = |row: &Row<'_>| {
        let manifest: Manifest = json(row, 1)?;
        let secret = manifest.settings.into_iter().filter(|(_, setting)| setting.secret);
        Ok((row.get(0)?, secret.map(|(name, setting)| (name, setting.reveal)).collect()))
    };
    match function {
        None => sql.prepare_cached(some)?.query_map([], read)?.collect(),
        Some(function) => sql
            .prepare_cached(&format!("{some} AND function = ?1"))?
            .query_map([uuid(function.uuid())], read)?
            .collect(),
    }
}

/// Destinations with plain settings. Statements of their own, so that each finds its rows by an index.
fn with_settings(sql: &Connection, of: Of) -> rusqlite::Result<Vec<Stored>> {
    const SOME: &str = "SELECT d.id, d.workspace, d.settings, coalesce(d.pinned, d.held, f.current)
        FROM destinations d CROSS JOIN functions f ON f.id = d.function WHERE d.settings <> '{}'";
    let read = |row: &Row<'_>| {
        let ids = (id(row, 0, DestinationId::from_uuid)?, id(row, 1, WorkspaceId::from_uuid)?);
        Ok((ids.0, ids.1, json(row, 2)?, row.get(3)?))
    };
    let (and, id) = match of {
        Of::Everything => return sql.prepare_cached(SOME)?.query_map([], read)?.collect(),
        Of::Function(function) => ("d.function", function.uuid()),
        Of::Destination(_, destination) => ("d.id", destination.uuid()),
    };
    sql.prepare_cached(&format!("{SOME} AND {and} = ?1"))?.query_map([uuid(id)], read)?.collect()
}

/// Seals plain settings that the version that runs calls secrets, and says how many. `revealed` says whether the function may go on to
/// read one, by whether that version asks to.
fn seal(sql: &Connection, vault: &Vault, of: Of, revealed: fn(bool) -> bool) -> Result<u64, StoreError> {
    let plain = with_settings(sql, of)?;
    // Most have none, or their function knows no secrets.
    let secret = match plain.is_empty() {
        true => return Ok(0),
        false => secret_settings(sql, of.function())?,
    };
    let mut sealed = 0;
    for (destination, workspace, mut settings, version) in plain {
        let before = settings.len();
        for (field, reveal) in secret.get(&version).into_iter().flatten() {
            let Some(Value::String(text)) = settings.remove(field) else { continue };
            let slot = Slot { workspace, destination, field, version: 1 };
            let bytes = data_key(sql, vault, workspace)?.seal(slot, &Secret::new(text));
            // A sealed value that is there already is newer.
            let insert = "INSERT OR IGNORE INTO secrets (destination, field, version, revealed, sealed) VALUES (?1, ?2, 1, ?3, ?4)";
            sql.prepare_cached(insert)?.execute(params![uuid(destination.uuid()), field, revealed(*reveal), bytes])?;
            sealed += 1;
        }
        if settings.len() < before {
            let settings = Value::Object(settings).to_string();
            sql.prepare_cached("UPDATE destinations SET settings = ?2 WHERE id = ?1")?
                .execute(params![uuid(destination.uuid()), settings])?;
        }
    }
    Ok(sealed)
}

/// Seals what is still stored as a plain setting although the destination's function calls it a secret, as programs before this one
/// did. Leaves no plain text behind in the database's files.
pub(super) fn seal_plain(sql: &mut Connection, vault: &Vault) -> Result<(), StoreError> {
    // Freed space would keep what was there.
    sql.pragma_update(None, "secure_delete", true)?;
    let step = sql.transaction()?;
    let sealed = seal(&step, vault, Of::Everything, |reveal| reveal)?;
    step.commit()?;
    if sealed > 0 {
        // The log holds the pages as they were.
        sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        tracing::info!(sealed, "secret settings that were stored as plain text are sealed now");
    }
    sql.pragma_update(None, "secure_delete", false)?;
    Ok(())
}

/// Seals what became a secret because these destinations run another version now, within the commit in which they turn to it. The
/// customer gave it to the function in plain text, so a version that reads it, such as the one before, still may.
pub(super) fn seal_turned(commit: &mut Commit<'_>, of: Of) -> Result<(), StoreError> {
    commit.sql.pragma_update(None, "secure_delete", true)?;
    let sealed = seal(commit.sql, &commit.shared.vault, of, |_| true);
    commit.sql.pragma_update(None, "secure_delete", false)?;
    if sealed? > 0 {
        commit.effects.push(Box::new(|shared| shared.erase_log.store(true, Ordering::Release)));
    }
    Ok(())
}
