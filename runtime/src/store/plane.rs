//! The control plane's calls. Every one carries who asks, and sees only what is theirs.

use bytes::Bytes;

use super::attempts::AttemptRecord;
use super::control::not_found;
use super::error::StoreError;
use super::handle::Store;
use super::select::DeliveryFilter;
use super::types::{
    ConnectionPatch, DeliveryDetail, DeliverySummary, DestinationPatch, Ledger, LedgerScope, NewConnection,
    NewDestination, Page, Paged, SourcePatch, Turn, Vouched,
};
use super::{components, connections, deliveries, destinations, functions, ledger, readmit, sources};
use crate::model::{
    Actor, Connection, ConnectionId, DeliveryId, Destination, DestinationId, Digest, Function, FunctionId,
    FunctionVersion, Inspection, Manifest, Role, Source, SourceId, VersionId, VersionState,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Sources. Errors: [`StoreError::NotFound`] for what is not this actor's, [`StoreError::Conflict`] for a name that is taken.
impl Store {
    /// Makes a source, with a write key of its own.
    pub async fn create_source(&self, actor: &Actor, name: &str) -> Result<Source> {
        let (actor, name) = (actor.clone(), name.to_owned());
        self.call(move |commit| sources::create(commit, &actor, name)).await
    }

    /// One page of the workspace's sources, oldest first.
    pub async fn list_sources(&self, actor: &Actor, page: &Page) -> Result<Paged<Source>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| sources::list(sql, &actor, &page)).await
    }

    /// One source.
    pub async fn get_source(&self, actor: &Actor, id: SourceId) -> Result<Source> {
        let actor = actor.clone();
        self.readers.read(move |sql| sources::get(sql, &actor, id)).await
    }

    /// Changes a source.
    pub async fn update_source(&self, actor: &Actor, id: SourceId, patch: SourcePatch) -> Result<Source> {
        let actor = actor.clone();
        self.call(move |commit| sources::update(commit, &actor, id, patch)).await
    }

    /// Deletes a source and its connections; what they still owe is filtered.
    pub async fn delete_source(&self, actor: &Actor, id: SourceId) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| sources::delete(commit, &actor, id)).await
    }
}

/// Destinations. Errors as for sources.
impl Store {
    /// Makes a destination. The caller has checked the settings.
    pub async fn create_destination(&self, actor: &Actor, new: NewDestination) -> Result<Destination> {
        let actor = actor.clone();
        self.call(move |commit| destinations::create(commit, &actor, new)).await
    }

    /// One page of the workspace's destinations, oldest first.
    pub async fn list_destinations(&self, actor: &Actor, page: &Page) -> Result<Paged<Destination>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| destinations::list(sql, &actor, &page)).await
    }

    /// One destination.
    pub async fn get_destination(&self, actor: &Actor, id: DestinationId) -> Result<Destination> {
        let actor = actor.clone();
        self.readers.read(move |sql| destinations::get(sql, &actor, id)).await
    }

    /// Changes a destination. One that is switched off keeps what it owes, and is not claimed for, until it is on again.
    pub async fn update_destination(
        &self,
        actor: &Actor,
        id: DestinationId,
        patch: DestinationPatch,
    ) -> Result<Destination> {
        let actor = actor.clone();
        self.call(move |commit| destinations::update(commit, &actor, id, patch)).await
    }

    /// Deletes a destination and its connections; what they still owe is filtered.
    pub async fn delete_destination(&self, actor: &Actor, id: DestinationId) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| destinations::delete(commit, &actor, id)).await
    }
}

/// Connections. Errors as for sources; a second connection between the same two is a conflict.
impl Store {
    /// Makes a connection.
    pub async fn create_connection(&self, actor: &Actor, new: NewConnection) -> Result<Connection> {
        let actor = actor.clone();
        self.call(move |commit| connections::create(commit, &actor, new)).await
    }

    /// One page of the workspace's connections, oldest first.
    pub async fn list_connections(&self, actor: &Actor, page: &Page) -> Result<Paged<Connection>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| connections::list(sql, &actor, &page)).await
    }

    /// One connection.
    pub async fn get_connection(&self, actor: &Actor, id: ConnectionId) -> Result<Connection> {
        let actor = actor.clone();
        self.readers.read(move |sql| connections::get(sql, &actor, id)).await
    }

    /// Changes a connection. What it already owes goes on, also while it is off.
    pub async fn update_connection(
        &self,
        actor: &Actor,
        id: ConnectionId,
        patch: ConnectionPatch,
    ) -> Result<Connection> {
        let actor = actor.clone();
        self.call(move |commit| connections::update(commit, &actor, id, patch)).await
    }

    /// Deletes a connection; what it still owes is filtered.
    pub async fn delete_connection(&self, actor: &Actor, id: ConnectionId) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| connections::delete(commit, &actor, id)).await
    }
}

/// Functions. Errors: [`StoreError::NotFound`] for what is not this actor's.
impl Store {
    /// Stores a checked component as a version of the function that its manifest names. A function's first version becomes its current one.
    /// The same bytes again give back the version that there is, whoever signed them. Whether a signature holds was checked by the caller.
    /// Customers may run it if it is approved; a new function whose first version is, is for everybody, and any other one is its
    /// partner's to build.
    ///
    /// # Errors
    /// [`StoreError::VersionTaken`], [`StoreError::Unsigned`] and [`StoreError::Replayed`]; [`StoreError::Damaged`] if `digest` is not that of `bytes`.
    pub async fn put_function_version(
        &self,
        actor: &Actor,
        manifest: Manifest,
        inspection: Inspection,
        digest: Digest,
        bytes: Bytes,
        vouched: Vouched,
    ) -> Result<(Function, FunctionVersion)> {
        let found = components::digest(&bytes);
        if found != digest {
            let why = format!("its bytes have the digest `{found}`");
            return Err(StoreError::Damaged { what: "component", id: digest.to_string(), why });
        }
        let (actor, size) = (actor.clone(), bytes.len() as u64);
        let dir = self.shared.places.components.clone();
        self.readers.read(move |_| components::put(&dir, digest, &bytes)).await?;
        self.call(move |commit| functions::put(commit, &actor, manifest, &inspection, (digest, size), vouched)).await
    }

    /// One page of the functions that the actor sees, oldest first: a partner its own, others the whole catalogue.
    pub async fn list_functions(&self, actor: &Actor, page: &Page) -> Result<Paged<Function>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| functions::list(sql, &actor, &page)).await
    }

    /// One function.
    pub async fn get_function(&self, actor: &Actor, id: FunctionId) -> Result<Function> {
        let actor = actor.clone();
        self.readers.read(move |sql| functions::get(sql, &actor, id)).await
    }

    /// The function of this name.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if several partners have one and the actor sees them.
    pub async fn find_function(&self, actor: &Actor, name: &str) -> Result<Option<Function>> {
        let (actor, name) = (actor.clone(), name.to_owned());
        self.readers.read(move |sql| functions::find(sql, &actor, &name)).await
    }

    /// One page of a function's versions, oldest first.
    pub async fn list_versions(&self, actor: &Actor, id: FunctionId, page: &Page) -> Result<Paged<FunctionVersion>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| functions::versions(sql, &actor, id, &page)).await
    }

    /// One version of a function.
    pub async fn get_version(&self, actor: &Actor, id: FunctionId, version: VersionId) -> Result<FunctionVersion> {
        let actor = actor.clone();
        self.readers.read(move |sql| functions::get_version(sql, &actor, id, version)).await
    }

    /// The ids of all versions of a function, oldest first.
    pub async fn version_ids(&self, actor: &Actor, id: FunctionId) -> Result<Vec<VersionId>> {
        let actor = actor.clone();
        self.readers.read(move |sql| functions::version_ids(sql, &actor, id)).await
    }

    /// What was found when a version was uploaded; none for those that older programs stored.
    pub async fn inspection(&self, version: VersionId) -> Result<Option<Inspection>> {
        self.readers.read(move |sql| functions::inspection(sql, version)).await
    }

    /// How many destinations follow a function's current version, in all workspaces.
    pub async fn followers(&self, id: FunctionId) -> Result<u64> {
        self.readers.read(move |sql| functions::followers(sql, id)).await
    }

    /// Says whether a version may be chosen, and why not. Who runs it goes on.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it is to be yanked and is the current one.
    pub async fn set_version_state(
        &self,
        actor: &Actor,
        id: FunctionId,
        version: VersionId,
        state: VersionState,
        reason: Option<String>,
    ) -> Result<FunctionVersion> {
        let actor = actor.clone();
        self.call(move |commit| functions::set_state(commit, &actor, id, version, state, reason)).await
    }

    /// Makes a version the current one.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it is yanked, or customers may not run it.
    pub async fn promote(&self, actor: &Actor, id: FunctionId, turn: Turn) -> Result<Function> {
        let actor = actor.clone();
        self.call(move |commit| functions::promote(commit, &actor, id, &turn)).await
    }

    /// Makes the version current that was it before.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it is yanked, or another one by now.
    pub async fn rollback(&self, actor: &Actor, id: FunctionId, turn: Turn) -> Result<Function> {
        let actor = actor.clone();
        self.call(move |commit| functions::rollback(commit, &actor, id, &turn)).await
    }

    /// The bytes of a component, checked against their digest.
    ///
    /// # Errors
    /// [`StoreError::File`] if they are not there, [`StoreError::Damaged`] if they are not those.
    pub async fn component(&self, digest: Digest) -> Result<Bytes> {
        let dir = self.shared.places.components.clone();
        self.delivering.read(move |_| components::get(&dir, digest)).await
    }
}

/// Deliveries and the ledger.
impl Store {
    /// One page of the workspace's deliveries, newest first. A page may be short and still have a next one.
    pub async fn list_deliveries(
        &self,
        actor: &Actor,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Paged<DeliverySummary>> {
        let (actor, filter, page) = (actor.clone(), filter.clone(), page.clone());
        let shared = std::sync::Arc::clone(&self.shared);
        self.readers.read(move |sql| deliveries::list(sql, &shared.cache, &actor, &filter, &page)).await
    }

    /// One delivery with its event.
    pub async fn get_delivery(&self, actor: &Actor, id: DeliveryId) -> Result<DeliveryDetail> {
        let actor = actor.clone();
        let shared = std::sync::Arc::clone(&self.shared);
        self.readers.read(move |sql| deliveries::show(sql, &shared.cache, &actor, id)).await
    }

    /// The attempts at a delivery that were recorded: every failure, and successes in a sample.
    pub async fn attempts(&self, actor: &Actor, id: DeliveryId) -> Result<Vec<AttemptRecord>> {
        let actor = actor.clone();
        self.readers.read(move |sql| deliveries::attempts(sql, &actor, id)).await
    }

    /// Makes a dead delivery pending again, due at once, with its attempts kept and its retry window begun anew.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] if it is not dead, or its connection is gone.
    pub async fn retry(&self, actor: &Actor, id: DeliveryId) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| readmit::retry(commit, &actor, id)).await
    }

    /// The ledger of a scope. An operator sees all workspaces unless the scope names one; to others a workspace that is not
    /// theirs does not exist.
    pub async fn ledger(&self, actor: &Actor, scope: &LedgerScope) -> Result<Ledger> {
        let scope = seen_by(actor, scope)?;
        self.readers.read(move |sql| Ok(ledger::read(sql, &scope)?)).await
    }

    /// The ledger of everything, for the host's own figures: nobody in particular asks.
    pub async fn ledger_overall(&self) -> Result<Ledger> {
        self.readers.read(|sql| Ok(ledger::read(sql, &LedgerScope::default())?)).await
    }

    /// What [`Store::ledger`] says, from the deliveries themselves instead of the counters. Reads everything: for verification.
    pub async fn ledger_recount(&self, actor: &Actor, scope: &LedgerScope) -> Result<Ledger> {
        let scope = seen_by(actor, scope)?;
        self.readers.read(move |sql| Ok(ledger::recount(sql, &scope)?)).await
    }
}

/// What of a scope an actor may see.
fn seen_by(actor: &Actor, scope: &LedgerScope) -> Result<LedgerScope> {
    let scope = match (actor.destination, scope.destination) {
        (Some(only), Some(other)) if only != other => return Err(not_found("destination", other)),
        (Some(only), _) => &LedgerScope { destination: Some(only), ..*scope },
        (None, _) => scope,
    };
    match scope.workspace {
        _ if actor.role == Role::Operator => Ok(*scope),
        Some(other) if other != actor.workspace => Err(not_found("workspace", other)),
        Some(_) | None => Ok(LedgerScope { workspace: Some(actor.workspace), ..*scope }),
    }
}
