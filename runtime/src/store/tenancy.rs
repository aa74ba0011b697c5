//! The control plane's calls about tenants and keys, and who a token is.

use std::time::Duration;

use super::error::{KeyError, StoreError};
use super::handle::Store;
use super::tenants::TenantId;
use super::types::{NewKey, Page, Paged};
use super::{keys, tenants};
use crate::model::{Actor, Key, KeyId, PartnerId, Tenant, WorkspaceId};

type Result<T> = std::result::Result<T, StoreError>;

/// Workspaces and partners. An operator sees all, everybody else their own. Errors: [`StoreError::NotFound`] for what is not this actor's,
/// [`StoreError::Conflict`] for a name that is taken.
impl Store {
    /// Makes a tenant.
    pub async fn create_tenant<I: TenantId>(&self, actor: &Actor, name: &str) -> Result<Tenant<I>> {
        let (actor, name) = (actor.clone(), name.to_owned());
        self.call(move |commit| tenants::create(commit, &actor, name)).await
    }

    /// One page of the tenants, oldest first.
    pub async fn list_tenants<I: TenantId>(&self, actor: &Actor, page: &Page) -> Result<Paged<Tenant<I>>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| tenants::list(sql, &actor, &page)).await
    }

    /// One tenant, by its id or its name.
    pub async fn find_tenant<I: TenantId>(&self, actor: &Actor, key: &str) -> Result<Tenant<I>> {
        let (actor, key) = (actor.clone(), key.to_owned());
        self.readers.read(move |sql| tenants::find(sql, &actor, &key)).await
    }

    /// Changes a tenant's name, if there is a new one.
    pub async fn rename_tenant<I: TenantId>(&self, actor: &Actor, id: I, name: Option<String>) -> Result<Tenant<I>> {
        let actor = actor.clone();
        self.call(move |commit| tenants::rename(commit, &actor, id, name)).await
    }

    /// Deletes a workspace and its keys.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it has sources or destinations, or is the one in which operators work.
    pub async fn delete_workspace(&self, actor: &Actor, id: WorkspaceId) -> Result<()> {
        let (actor, home) = (actor.clone(), self.tenants.0);
        self.call(move |commit| tenants::delete(commit, &actor, id, home)).await?;
        self.reload_keys()
    }

    /// Deletes a partner and its keys.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it has functions, or is the one for which operators publish.
    pub async fn delete_partner(&self, actor: &Actor, id: PartnerId) -> Result<()> {
        let (actor, home) = (actor.clone(), self.tenants.1);
        self.call(move |commit| tenants::delete(commit, &actor, id, home)).await?;
        self.reload_keys()
    }
}

/// Keys. An operator sees all, everybody else those of their tenant. Errors: [`StoreError::NotFound`] for what is not this actor's.
impl Store {
    /// Makes a key, and gives back its token, which is kept nowhere. Whether the actor may give the role is decided by the caller.
    pub async fn create_key(&self, actor: &Actor, new: NewKey) -> Result<(Key, String)> {
        let actor = actor.clone();
        let made = self.call(move |commit| keys::create(commit, &actor, new)).await?;
        self.reload_keys()?;
        Ok(made)
    }

    /// One page of keys, oldest first; those that are revoked or expired too.
    pub async fn list_keys(&self, actor: &Actor, page: &Page) -> Result<Paged<Key>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| keys::list(sql, &actor, &page)).await
    }

    /// One key.
    pub async fn get_key(&self, actor: &Actor, id: KeyId) -> Result<Key> {
        let actor = actor.clone();
        self.readers.read(move |sql| keys::get(sql, &actor, id)).await
    }

    /// Makes a key like this one, and gives back its token. The old one goes on for the time of the overlap.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if the key is revoked or has expired.
    pub async fn rotate_key(&self, actor: &Actor, id: KeyId, overlap: Duration) -> Result<(Key, String)> {
        let actor = actor.clone();
        let made = self.call(move |commit| keys::rotate(commit, &actor, id, overlap)).await?;
        self.reload_keys()?;
        Ok(made)
    }

    /// Takes a key back: once this has returned, it opens nothing any more.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it is the last key with which somebody makes keys for themselves, and nobody said `force`.
    pub async fn revoke_key(&self, actor: &Actor, id: KeyId, force: bool) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| keys::revoke(commit, &actor, id, force)).await?;
        self.reload_keys()
    }

    /// Makes an operator's key if there never was one, and gives back its token; only the token's hash is kept.
    pub async fn ensure_operator_key(&self) -> Result<Option<String>> {
        let token = self.call(|commit| keys::ensure_operator(commit, false)).await?;
        self.reload_keys()?;
        Ok(token)
    }

    /// Makes one more operator's key, for whoever has the data directory and lost the others.
    pub async fn recover_operator_key(&self) -> Result<Option<String>> {
        let token = self.call(|commit| keys::ensure_operator(commit, true)).await?;
        self.reload_keys()?;
        Ok(token)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn authenticate(&self, token: &str) -> std::result::Result<Actor, KeyError> {
        Ok(self.keys.authenticate(token, self.shared.clock.now())?.0)
    }

    /// [`Store::authenticate`], and writes down at most once a minute that the key was used.
    ///
    /// # Errors
    /// See [`KeyError`]. That the use could not be written down is only logged.
    pub async fn authenticate_and_note(&self, token: &str) -> std::result::Result<Actor, KeyError> {
        let (actor, note) = self.keys.authenticate(token, self.shared.clock.now())?;
        if note {
            let key = actor.key;
            if let Err(error) = self.call(move |commit| keys::note_use(commit, key)).await {
                tracing::warn!(%error, %key, "the use of a key was not written down");
            }
        }
        Ok(actor)
    }

    pub(super) fn reload_keys(&self) -> Result<()> {
        self.readers.with(|sql| self.keys.load(sql, self.tenants))
    }
}
