//! What ingest and delivery need to know of the control plane, in memory.
//!
//! A change marks the snapshot as old; the next one who asks makes a new one. So many changes in a row cost one rebuild, and
//! asking costs a counter and a shared lock otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::Connection as Sql;
use serde_json::{Map, Value};

use super::error::StoreError;
use super::{connections, destinations, functions, sources};
use crate::model::{
    Connection, ConnectionId, Destination, DestinationId, EventField, FunctionId, FunctionVersion, Manifest, Source,
    VersionId,
};

/// A snapshot of all sources with their connections, and of all destinations.
#[derive(Debug, Default)]
pub struct Routes {
    by_write_key: HashMap<String, Arc<SourceRoute>>,
    destinations: HashMap<DestinationId, Arc<DestinationRoute>>,
    connections: HashMap<ConnectionId, ConnectionRoute>,
}

/// A source and where its events go.
#[derive(Debug)]
pub struct SourceRoute {
    /// The source.
    pub source: Source,
    /// Its connections, in the order in which they were made.
    pub connections: Vec<ConnectionRoute>,
}

/// One way out of a source.
#[derive(Clone, Debug)]
pub struct ConnectionRoute {
    /// The connection.
    pub connection: Connection,
    /// Where it leads.
    pub destination: Arc<DestinationRoute>,
}

/// A destination with what it runs.
#[derive(Debug)]
pub struct DestinationRoute {
    /// The destination.
    pub destination: Destination,
    /// Its settings with the manifest's defaults, as JSON text.
    pub settings_json: Arc<str>,
    /// The name of its function.
    pub function_name: String,
    /// The version it runs: the pinned one, or the function's current one.
    pub version: Arc<FunctionVersion>,
    /// Connections to it that keep events in order, and by what.
    pub ordered: Vec<(ConnectionId, EventField)>,
}

impl Routes {
    /// The source with this write key.
    pub fn source(&self, write_key: &str) -> Option<&Arc<SourceRoute>> {
        self.by_write_key.get(write_key)
    }

    /// The destination with this id.
    pub fn destination(&self, id: DestinationId) -> Option<&Arc<DestinationRoute>> {
        self.destinations.get(&id)
    }

    /// The connection with this id.
    pub fn connection(&self, id: ConnectionId) -> Option<&ConnectionRoute> {
        self.connections.get(&id)
    }

    /// All sources, in no order.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SourceRoute>> {
        self.by_write_key.values()
    }
}

/// The newest snapshot and its version.
#[derive(Default)]
pub(super) struct Snapshot {
    newest: RwLock<(u64, Arc<Routes>)>,
    rebuilding: Mutex<Versions>,
}

/// Versions never change, so they are read once.
type Versions = HashMap<VersionId, (String, Arc<FunctionVersion>)>;

impl Snapshot {
    /// The snapshot of at least this version: what `version` says now is what it shows.
    pub fn get(
        &self,
        version: &AtomicU64,
        read: impl FnOnce(&mut Versions) -> Result<Routes, StoreError>,
    ) -> Arc<Routes> {
        let fits = |wanted: u64| {
            let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
            (newest.0 == wanted).then(|| Arc::clone(&newest.1))
        };
        if let Some(routes) = fits(version.load(Ordering::Acquire)) {
            return routes;
        }
        let mut versions = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the rows are: a change that comes in between only causes one more rebuild.
        let wanted = version.load(Ordering::Acquire);
        if let Some(routes) = fits(wanted) {
            return routes;
        }
        match read(&mut versions) {
            Ok(routes) => {
                let routes = Arc::new(routes);
                *self.newest.write().unwrap_or_else(PoisonError::into_inner) = (wanted, Arc::clone(&routes));
                routes
            }
            Err(error) => {
                tracing::error!(%error, "the routes cannot be read: they stay as they were");
                Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner).1)
            }
        }
    }
}

/// Reads everything.
pub(super) fn read(sql: &Sql, versions: &mut Versions) -> Result<Routes, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let current = functions::current(&snapshot)?;
    let mut routes = Routes::default();
    let connections = connections::all(&snapshot)?;
    let mut ordered: HashMap<_, Vec<(ConnectionId, EventField)>> = HashMap::new();
    for connection in &connections {
        if let Some(field) = &connection.ordered_by {
            ordered.entry(connection.destination).or_default().push((connection.id, field.clone()));
        }
    }
    for destination in destinations::all(&snapshot)? {
        let ordered = ordered.remove(&destination.id).unwrap_or_default();
        let route = destination_route(&snapshot, versions, &current, destination)?;
        routes.destinations.insert(route.destination.id, Arc::new(DestinationRoute { ordered, ..route }));
    }
    let mut outgoing: HashMap<_, Vec<ConnectionRoute>> = HashMap::new();
    for connection in connections {
        if let Some(destination) = routes.destinations.get(&connection.destination) {
            let destination = Arc::clone(destination);
            let way = ConnectionRoute { connection, destination };
            routes.connections.insert(way.connection.id, way.clone());
            outgoing.entry(way.connection.source).or_default().push(way);
        }
    }
    for source in sources::all(&snapshot)? {
        let connections = outgoing.remove(&source.id).unwrap_or_default();
        routes.by_write_key.insert(source.write_key.clone(), Arc::new(SourceRoute { source, connections }));
    }
    Ok(routes)
}

fn destination_route(
    sql: &Sql,
    versions: &mut Versions,
    current: &HashMap<FunctionId, VersionId>,
    destination: Destination,
) -> Result<DestinationRoute, StoreError> {
    let damaged =
        |why: &str| StoreError::Damaged { what: "destination", id: destination.id.to_string(), why: why.to_owned() };
    let wanted = destination.pinned.or(destination.held).or_else(|| current.get(&destination.function).copied());
    let wanted = wanted.ok_or_else(|| damaged("its function is not stored"))?;
    let (function_name, version) = match versions.get(&wanted) {
        Some(known) => known.clone(),
        None => {
            let (name, version) =
                functions::version(sql, wanted)?.ok_or_else(|| damaged("its function version is not stored"))?;
            versions.entry(wanted).or_insert((name, Arc::new(version))).clone()
        }
    };
    let settings_json = given(&destination.settings, &version.manifest).into();
    Ok(DestinationRoute { destination, settings_json, function_name, version, ordered: Vec::new() })
}

impl DestinationRoute {
    /// The same destination as it would be on another version: with its settings, and that version's defaults.
    #[must_use]
    pub fn at(&self, version: &Arc<FunctionVersion>) -> Self {
        Self {
            destination: self.destination.clone(),
            settings_json: given(&self.destination.settings, &version.manifest).into(),
            function_name: self.function_name.clone(),
            version: Arc::clone(version),
            ordered: self.ordered.clone(),
        }
    }
}

/// What the guest gets, as JSON.
fn given(settings: &Map<String, Value>, manifest: &Manifest) -> String {
    Value::Object(manifest.with_defaults(settings)).to_string()
}
