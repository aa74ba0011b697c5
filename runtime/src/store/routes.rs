//! What ingest and delivery need to know of the control plane, in memory.
//!
//! Guarantees: a copy of the routes never changes, and looking something up in it takes no lock. New routes share with those
//! before all that did not change, so that a change costs what it changes: its own rows, and the list of the source that it is on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::tree::Tree;
use crate::model::{
    Connection, ConnectionId, Destination, DestinationId, EventField, FunctionVersion, Manifest, Source, SourceId,
};

/// All sources with their connections, and all destinations, as they are at one moment.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_write_key: Tree<String, Arc<SourceRoute>>,
    destinations: Tree<Uuid, Arc<DestinationRoute>>,
    connections: Tree<Uuid, Arc<ConnectionRoute>>,
}

/// A source and where its events go.
#[derive(Debug)]
pub struct SourceRoute {
    /// The source.
    pub source: Source,
    /// Its connections, in the order in which they were made.
    pub connections: Vec<Arc<ConnectionRoute>>,
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
#[derive(Clone, Debug)]
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

/// What stands in the database by now: for each id, the thing or that there is none any more.
#[derive(Default)]
pub(super) struct Changes {
    pub sources: Vec<(SourceId, Option<Source>)>,
    /// Without their order, which connections say.
    pub destinations: Vec<(DestinationId, Option<DestinationRoute>)>,
    pub connections: Vec<(ConnectionId, Option<Connection>)>,
}

/// What is known beside the newest routes, to find by it what a change reaches.
#[derive(Default)]
pub(super) struct Known {
    write_keys: HashMap<SourceId, String>,
    /// The connections that lead to a destination.
    leading: HashMap<DestinationId, BTreeSet<ConnectionId>>,
}

impl Routes {
    /// The source with this write key.
    pub fn source(&self, write_key: &str) -> Option<&Arc<SourceRoute>> {
        self.by_write_key.get(write_key)
    }

    /// The destination with this id.
    pub fn destination(&self, id: DestinationId) -> Option<&Arc<DestinationRoute>> {
        self.destinations.get(&id.uuid())
    }

    /// The connection with this id.
    pub fn connection(&self, id: ConnectionId) -> Option<&ConnectionRoute> {
        self.connections.get(&id.uuid()).map(Arc::as_ref)
    }

    /// The destinations that are, or run, something else than in these routes, or are only in one of the two. Costs what they differ.
    pub fn other_destinations(&self, before: &Self) -> Vec<DestinationId> {
        let ids = self.destinations.differing(&before.destinations);
        ids.into_iter().map(DestinationId::from_uuid).collect()
    }

    /// The routes after these changes.
    pub(super) fn after(&self, known: &mut Known, changes: Changes) -> Self {
        let mut next = self.clone();
        let mut changed = BTreeMap::<SourceId, BTreeSet<ConnectionId>>::new();
        let (fresh, reordered) = next.take_connections(known, changes.connections, &mut changed);
        let remade = next.take_destinations(known, changes.destinations, reordered, &fresh);
        next.lead(&fresh, remade, &mut changed);
        next.take_sources(known, changes.sources, changed);
        next
    }

    /// Notes which connections there are: gives those that are new or other ones, and the destinations whose order they change.
    fn take_connections(
        &mut self,
        known: &mut Known,
        rows: Vec<(ConnectionId, Option<Connection>)>,
        changed: &mut BTreeMap<SourceId, BTreeSet<ConnectionId>>,
    ) -> (BTreeMap<ConnectionId, Connection>, BTreeSet<DestinationId>) {
        let (mut fresh, mut reordered) = (BTreeMap::new(), BTreeSet::new());
        for (id, row) in rows {
            let old = self.connection(id).map(|way| way.connection.clone());
            for one in old.iter().chain(&row) {
                changed.entry(one.source).or_default().insert(id);
                if one.ordered_by.is_some() {
                    reordered.insert(one.destination);
                }
            }
            match row {
                Some(row) => {
                    known.leading.entry(row.destination).or_default().insert(id);
                    fresh.insert(id, row);
                }
                None => {
                    self.connections.remove(&id.uuid());
                    if let Some(leading) = old.and_then(|old| known.leading.get_mut(&old.destination)) {
                        leading.remove(&id);
                    }
                }
            }
        }
        (fresh, reordered)
    }

    /// Puts the destinations that are other ones, and those whose order is, and gives the connections that lead to them.
    fn take_destinations(
        &mut self,
        known: &mut Known,
        rows: Vec<(DestinationId, Option<DestinationRoute>)>,
        reordered: BTreeSet<DestinationId>,
        fresh: &BTreeMap<ConnectionId, Connection>,
    ) -> BTreeSet<ConnectionId> {
        let as_before = |id: DestinationId| (id, self.destination(id).map(|route| DestinationRoute::clone(route)));
        let mut remade: BTreeMap<_, _> = reordered.into_iter().map(as_before).collect();
        remade.extend(rows);
        let mut led = BTreeSet::new();
        for (id, route) in remade {
            let Some(route) = route else {
                self.destinations.remove(&id.uuid());
                led.extend(known.leading.remove(&id).into_iter().flatten());
                continue;
            };
            let leading = known.leading.get(&id).into_iter().flatten().copied();
            let field = |id: ConnectionId| {
                let connection = fresh.get(&id).or_else(|| Some(&self.connection(id)?.connection))?;
                Some((id, connection.ordered_by.clone()?))
            };
            let ordered = leading.clone().filter_map(field).collect();
            led.extend(leading);
            self.destinations.insert(id.uuid(), Arc::new(DestinationRoute { ordered, ..route }));
        }
        led
    }

    /// Has connections lead to their destinations: those that are new or other ones, and those whose destination is.
    fn lead(
        &mut self,
        fresh: &BTreeMap<ConnectionId, Connection>,
        remade: BTreeSet<ConnectionId>,
        changed: &mut BTreeMap<SourceId, BTreeSet<ConnectionId>>,
    ) {
        let ids: BTreeSet<ConnectionId> = fresh.keys().copied().chain(remade).collect();
        for id in ids {
            let known = fresh.get(&id).or_else(|| Some(&self.connection(id)?.connection)).cloned();
            let Some(connection) = known else { continue };
            changed.entry(connection.source).or_default().insert(id);
            match self.destination(connection.destination).cloned() {
                Some(destination) => {
                    self.connections.insert(id.uuid(), Arc::new(ConnectionRoute { connection, destination }));
                }
                None => self.connections.remove(&id.uuid()),
            }
        }
    }

    /// Puts the sources that are other ones, and those of which a connection is.
    fn take_sources(
        &mut self,
        known: &mut Known,
        rows: Vec<(SourceId, Option<Source>)>,
        mut changed: BTreeMap<SourceId, BTreeSet<ConnectionId>>,
    ) {
        let mut rows: BTreeMap<_, _> = rows.into_iter().collect();
        for id in rows.keys() {
            changed.entry(*id).or_default();
        }
        for (id, others) in changed {
            let old = known.write_keys.get(&id).and_then(|key| self.by_write_key.get(key)).cloned();
            let source = match rows.remove(&id) {
                Some(Some(source)) => source,
                Some(None) => {
                    known.write_keys.remove(&id).into_iter().for_each(|key| self.by_write_key.remove(&key));
                    continue;
                }
                None => match &old {
                    Some(old) => old.source.clone(),
                    None => continue,
                },
            };
            let staying =
                old.iter().flat_map(|old| &old.connections).filter(|way| !others.contains(&way.connection.id));
            let coming = others.iter().filter_map(|id| self.connections.get(&id.uuid()));
            let mut connections: Vec<_> = staying.chain(coming).cloned().collect();
            // As they were made. Nearly all are in order already, which sorting makes use of.
            connections.sort_by_key(|way| way.connection.id);
            known.write_keys.insert(id, source.write_key.clone());
            self.by_write_key.insert(source.write_key.clone(), Arc::new(SourceRoute { source, connections }));
        }
    }
}

impl DestinationRoute {
    /// A destination on a version of the function of this name; its order is not known yet.
    pub(super) fn new(destination: Destination, function_name: String, version: Arc<FunctionVersion>) -> Self {
        let settings_json = given(&destination.settings, &version.manifest).into();
        Self { destination, settings_json, function_name, version, ordered: Vec::new() }
    }

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
