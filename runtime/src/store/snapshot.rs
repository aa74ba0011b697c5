//! The newest routes, and what changed since they were read.
//!
//! A change notes what it changed; the next one who asks reads just that. So many changes in a row are read together, and asking
//! costs a counter and a shared lock otherwise. Guarantees: who asks after a change has returned is shown it; what could not be read is
//! read by the next one.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::Connection as Sql;

use super::error::StoreError;
use super::readers::Readers;
use super::routes::{Changes, DestinationRoute, Known, Routes};
use super::{connections, destinations, functions, sources};
use crate::model::{ConnectionId, Destination, DestinationId, FunctionId, FunctionVersion, SourceId, VersionId};

/// What routes show of the control plane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Thing {
    Source(SourceId),
    Destination(DestinationId),
    Connection(ConnectionId),
    /// The destinations that run one of its versions.
    Function(FunctionId),
}

/// What changed since somebody last read it.
enum Waiting {
    /// Nobody has read anything yet.
    Everything,
    These(BTreeSet<Thing>),
}

/// What changed, and how often.
pub(super) struct Touched {
    version: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Default for Touched {
    fn default() -> Self {
        Self { version: AtomicU64::new(1), waiting: Mutex::new(Waiting::Everything) }
    }
}

impl Touched {
    /// Notes a change that is committed.
    pub fn note(&self, thing: Thing) {
        if let Waiting::These(things) = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            things.insert(thing);
        }
        // After it can be found: whoever sees the new version finds the change.
        self.version.fetch_add(1, Ordering::Release);
    }

    fn take(&self) -> Waiting {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *waiting, Waiting::These(BTreeSet::new()))
    }

    /// Gives back what could not be read.
    fn give_back(&self, taken: Waiting) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *waiting, taken) {
            (Waiting::These(newer), Waiting::These(older)) => newer.extend(older),
            (waiting, Waiting::Everything) => *waiting = Waiting::Everything,
            (Waiting::Everything, Waiting::These(_)) => {}
        }
    }
}

/// The newest routes and the version of what they show.
#[derive(Default)]
pub(super) struct Snapshot {
    newest: RwLock<(u64, Arc<Routes>)>,
    reading: Mutex<Reading>,
}

/// What whoever reads changes needs to know.
#[derive(Default)]
struct Reading {
    known: Known,
    versions: Versions,
}

/// Versions never change, so they are read once.
type Versions = HashMap<VersionId, (String, Arc<FunctionVersion>)>;

impl Snapshot {
    /// The same as [`Self::get`] would give, where nothing has to be read for it.
    pub fn at_hand(&self, touched: &Touched) -> Option<Arc<Routes>> {
        let (version, routes) = self.newest();
        (version == touched.version.load(Ordering::Acquire)).then_some(routes)
    }

    fn newest(&self) -> (u64, Arc<Routes>) {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        (newest.0, Arc::clone(&newest.1))
    }

    /// Routes that show everything that `touched` has noted by now. If that cannot be read, they stay as they were.
    pub fn get(&self, touched: &Touched, readers: &Readers) -> Arc<Routes> {
        if let Some(routes) = self.at_hand(touched) {
            return routes;
        }
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Before what changed is taken: a change that comes in between only causes one more reading.
        let wanted = touched.version.load(Ordering::Acquire);
        let (version, routes) = self.newest();
        if version == wanted {
            return routes;
        }
        let waiting = touched.take();
        match readers.with(|sql| read(sql, &waiting, &mut reading.versions)) {
            Ok(changes) => {
                let routes = Arc::new(routes.after(&mut reading.known, changes));
                *self.newest.write().unwrap_or_else(PoisonError::into_inner) = (wanted, Arc::clone(&routes));
                routes
            }
            Err(error) => {
                tracing::error!(%error, "the routes cannot be read: they stay as they were");
                touched.give_back(waiting);
                routes
            }
        }
    }
}

/// Reads what changed.
fn read(sql: &Sql, waiting: &Waiting, versions: &mut Versions) -> Result<Changes, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let mut changes = Changes::default();
    let mut found = Vec::new();
    let mut current = HashMap::new();
    match waiting {
        Waiting::Everything => {
            changes.sources.extend(sources::all(&snapshot)?.into_iter().map(|source| (source.id, Some(source))));
            changes.connections.extend(connections::all(&snapshot)?.into_iter().map(|one| (one.id, Some(one))));
            found = destinations::all(&snapshot)?;
            current = functions::current(&snapshot)?;
        }
        Waiting::These(things) => {
            for thing in things {
                match *thing {
                    Thing::Source(id) => changes.sources.push((id, sources::any(&snapshot, id)?)),
                    Thing::Connection(id) => changes.connections.push((id, connections::any(&snapshot, id)?)),
                    Thing::Destination(id) => match destinations::any(&snapshot, id)? {
                        Some(destination) => found.push(destination),
                        None => changes.destinations.push((id, None)),
                    },
                    Thing::Function(id) => found.extend(destinations::of(&snapshot, id)?),
                }
            }
        }
    }
    for destination in found {
        let route = routed(&snapshot, versions, &mut current, destination)?;
        changes.destinations.push((route.destination.id, Some(route)));
    }
    Ok(changes)
}

fn routed(
    sql: &Sql,
    versions: &mut Versions,
    current: &mut HashMap<FunctionId, VersionId>,
    destination: Destination,
) -> Result<DestinationRoute, StoreError> {
    let damaged =
        |why: &str| StoreError::Damaged { what: "destination", id: destination.id.to_string(), why: why.to_owned() };
    let followed = |current: &mut HashMap<_, _>| match current.get(&destination.function) {
        Some(known) => Ok(*known),
        None => {
            let found = functions::current_of(sql, destination.function)?;
            let found = found.ok_or_else(|| damaged("its function is not stored"))?;
            current.insert(destination.function, found);
            Ok::<_, StoreError>(found)
        }
    };
    let wanted = match destination.pinned.or(destination.held) {
        Some(own) => own,
        None => followed(current)?,
    };
    let (function_name, version) = match versions.get(&wanted) {
        Some(known) => known.clone(),
        None => {
            let (name, version) =
                functions::version(sql, wanted)?.ok_or_else(|| damaged("its function version is not stored"))?;
            versions.entry(wanted).or_insert((name, Arc::new(version))).clone()
        }
    };
    Ok(DestinationRoute::new(destination, function_name, version))
}
