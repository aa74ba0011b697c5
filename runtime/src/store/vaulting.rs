//! The vault's calls: secrets for deliveries, and turning to another master key.

use std::collections::BTreeMap;

use super::audit::{self, Owner};
use super::error::StoreError;
use super::handle::Store;
use super::secrets;
use super::work::Commit;
use crate::model::{Actor, Destination, Secret};

/// What the vault's keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VaultState {
    /// The id of the master key in use.
    pub key: String,
    /// Whether an older one is still needed.
    pub rotating: bool,
    /// How many workspaces have secrets.
    pub workspaces: u64,
}

impl Store {
    /// The values of a destination's secrets: for deliveries, and for no answer.
    ///
    /// # Errors
    /// [`StoreError::Vault`] if one of them does not open.
    pub fn open_secrets(&self, destination: &Destination) -> Result<BTreeMap<String, Secret>, StoreError> {
        self.readers.with(|sql| secrets::opened(sql, &self.shared.vault, destination))
    }

    /// What the vault's keys are now.
    ///
    /// # Errors
    /// The database fails.
    pub async fn vault(&self) -> Result<VaultState, StoreError> {
        let workspaces = self.readers.read(secrets::count).await?;
        let vault = &self.shared.vault;
        Ok(VaultState { key: vault.current(), rotating: vault.is_rotating(), workspaces })
    }

    /// Makes a new master key, wraps every data key with it, and forgets the old one, while everything goes on. A crash at any
    /// moment of it leaves both keys in the key file, and the next start finishes it.
    ///
    /// # Errors
    /// [`StoreError::Vault`] if the key file cannot be written: what is done stays, and doing it again goes on.
    pub async fn rotate_vault(&self, actor: &Actor) -> Result<VaultState, StoreError> {
        let _turn = self.rotating.lock().await;
        let vault = &self.shared.vault;
        let before = vault.current();
        vault.begin()?;
        let (actor, after) = (actor.clone(), vault.current());
        let line = move |commit: &mut Commit<'_>| {
            audit::write(commit, &actor, Owner::Host, "vault.rotate", &after, Some(&before), Some(&after))
        };
        self.call(line).await?;
        // Each call returns when it is on disk.
        while self.call(|commit| secrets::rewrap(commit.sql, &commit.shared.vault, secrets::AT_ONCE)).await? > 0 {}
        vault.finish()?;
        self.vault().await
    }
}
