//! Customers' events and what became of them, on disk: sealed with their workspace's data key.
//!
//! Guarantees: what is written through here is readable only with a key that is wrapped by the vault, so that destroying the key
//! destroys what was sealed with it, also where the file system or the database kept old pages; a key is in memory before
//! anything that it sealed is committed, so that a reader never meets a block that it cannot open.
//!
//! Readers open by SQL functions, `opened` and `opened_text`, so that a statement says what it reads.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, Error};
use uuid::Uuid;

use super::error::StoreError;
use super::rows::uuid;
use super::secrets;
use super::work::Commit;
use crate::model::WorkspaceId;
use crate::vault::{DataKey, Vault, VaultError};

/// The first byte of what is sealed. An event block that is not begins with the version of its layout, which is another number.
const SEALED: u8 = 0x53;

/// The workspaces' data keys, unwrapped: every event that is written or read from disk needs one.
#[derive(Default)]
pub(super) struct Sealing {
    keys: RwLock<HashMap<[u8; 16], Arc<DataKey>>>,
}

impl Sealing {
    /// All keys that are stored. What an undone commit made is none of them.
    pub fn load(&self, sql: &Connection, vault: &Vault) -> Result<(), StoreError> {
        let keys = secrets::all_keys(sql, vault)?;
        let keys = keys.into_iter().map(|(workspace, key)| (uuid(workspace.uuid()), Arc::new(key))).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn key(&self, workspace: &[u8; 16]) -> Option<Arc<DataKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(workspace).map(Arc::clone)
    }

    /// Forgets a key that is destroyed.
    pub fn forget(&self, workspace: WorkspaceId) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&uuid(workspace.uuid()));
    }

    /// What is written instead of these bytes, in this place. `None` if the workspace has no key.
    pub fn seal_known(&self, workspace: WorkspaceId, place: Uuid, plain: &[u8]) -> Option<Vec<u8>> {
        let id = uuid(workspace.uuid());
        Some(self.key(&id)?.seal_bytes(SEALED, &place_of(&id, place.as_bytes()), plain))
    }

    /// The same in a commit, which makes the key if there is none. `None` if the workspace is gone: nothing new of it is kept.
    pub fn seal(
        commit: &Commit<'_>,
        workspace: WorkspaceId,
        place: Uuid,
        plain: &[u8],
    ) -> rusqlite::Result<Option<Vec<u8>>> {
        let (this, id) = (&commit.shared.sealing, uuid(workspace.uuid()));
        let key = match this.key(&id) {
            Some(key) => key,
            None if !commit.memory.workspaces.contains(&workspace) => return Ok(None),
            None => {
                let made = secrets::data_key(commit.sql, &commit.shared.vault, workspace);
                let made = Arc::new(made.map_err(|error| Error::UserFunctionError(Box::new(error)))?);
                let mut keys = this.keys.write().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(keys.entry(id).or_insert(made))
            }
        };
        Ok(Some(key.seal_bytes(SEALED, &place_of(&id, place.as_bytes()), plain)))
    }

    /// Gives a connection the functions `opened(workspace, place, bytes)`, whose result is bytes, and `opened_text`, whose is text.
    pub fn lend(self: &Arc<Self>, sql: &Connection) -> rusqlite::Result<()> {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
        let this = Arc::clone(self);
        sql.create_scalar_function("opened", 3, flags, move |call| this.open(call))?;
        let this = Arc::clone(self);
        let text = move |call: &mut Context<'_>| {
            let text = this.open(call)?.map(String::from_utf8).transpose();
            text.map_err(|error| Error::UserFunctionError(Box::new(error)))
        };
        sql.create_scalar_function("opened_text", 3, flags, text)
    }

    fn open(&self, call: &Context<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
        let Some(bytes) = call.get_raw(2).as_blob_or_null()? else { return Ok(None) };
        let Some(sealed) = bytes.strip_prefix(&[SEALED]) else { return Ok(Some(bytes.to_vec())) };
        let (workspace, place): ([u8; 16], [u8; 16]) = (call.get(0)?, call.get(1)?);
        let opened = self
            .key(&workspace)
            .ok_or(VaultError::Sealed)
            .and_then(|key| key.open_bytes(&place_of(&workspace, &place), sealed));
        opened.map(Some).map_err(|error| Error::UserFunctionError(Box::new(error)))
    }
}

/// Where something sealed belongs: it opens for no other workspace, source or delivery.
fn place_of(workspace: &[u8; 16], place: &[u8; 16]) -> Vec<u8> {
    [&b"tidegate events 1\0"[..], workspace, place].concat()
}
