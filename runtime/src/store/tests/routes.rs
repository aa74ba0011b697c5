//! Routes after changes, and what a change costs.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::snapshot::{Snapshot, Touched};
use super::counted::Steps;
use super::*;
use crate::model::{ConnectionId, DestinationId, FunctionVersion, WorkspaceId};
use crate::store::{ConnectionPatch, DestinationPatch, Once, Routes, SourcePatch, Turn};

/// One step of people's. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    MakeSource,
    MakeDestination(bool),
    Connect(usize, usize, bool),
    Rename(usize),
    Switch(usize, bool),
    Pin(usize, bool),
    Order(usize, Option<&'static str>),
    Promote,
    DropSource(usize),
    DropDestination(usize),
    DropConnection(usize),
    /// Somebody asks for the routes.
    Ask,
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = 0..64_usize;
    let order = prop_oneof![Just(None), Just(Some("userId")), Just(Some("anonymousId"))];
    prop_oneof![
        1 => Just(Step::MakeSource),
        2 => any::<bool>().prop_map(Step::MakeDestination),
        5 => (one.clone(), one.clone(), any::<bool>()).prop_map(|(source, to, on)| Step::Connect(source, to, on)),
        1 => one.clone().prop_map(Step::Rename),
        2 => (one.clone(), any::<bool>()).prop_map(|(at, on)| Step::Switch(at, on)),
        1 => (one.clone(), any::<bool>()).prop_map(|(at, pinned)| Step::Pin(at, pinned)),
        2 => (one.clone(), order).prop_map(|(at, by)| Step::Order(at, by)),
        1 => Just(Step::Promote),
        1 => one.clone().prop_map(Step::DropSource),
        1 => one.clone().prop_map(Step::DropDestination),
        1 => one.prop_map(Step::DropConnection),
        4 => Just(Step::Ask),
    ]
}

fn pick<T>(all: &[T], number: usize) -> Option<&T> {
    all.get(number.checked_rem(all.len())?)
}

/// What there is or was, and what follows from it.
struct World {
    bed: Bed,
    sources: Vec<Source>,
    versions: Vec<FunctionVersion>,
    destinations: Vec<DestinationId>,
    connections: Vec<ConnectionId>,
    made: usize,
}

impl World {
    async fn new() -> Self {
        let bed = Bed::new(2).await;
        let mut versions = Vec::new();
        for version in ["1.0.0", "2.0.0"] {
            versions.push(put(&bed, Manifest { version: version.to_owned(), ..manifest("webhook") }).await);
        }
        let sources = vec![bed.source.clone()];
        let destinations = bed.destinations.iter().map(|destination| destination.id).collect();
        let connections = bed.connections.iter().map(|connection| connection.id).collect();
        Self { bed, sources, versions, destinations, connections, made: 0 }
    }

    /// Does a step, as far as it can be done: what is deleted cannot be changed.
    async fn step(&mut self, step: &Step) {
        let (store, actor) = (&self.bed.store, &self.bed.actor);
        self.made += 1;
        let name = format!("{}", self.made);
        match *step {
            Step::MakeSource => self.sources.push(store.create_source(actor, &name).await.unwrap()),
            Step::MakeDestination(enabled) => {
                let new = NewDestination { enabled, ..new_destination(&self.versions[0], name) };
                self.destinations.push(store.create_destination(actor, new).await.unwrap().id);
            }
            Step::Connect(source, destination, ordered) => {
                let (source, destination) =
                    (pick(&self.sources, source).unwrap().id, *pick(&self.destinations, destination).unwrap());
                let ordered_by = ordered.then(|| "userId".to_owned().try_into().unwrap());
                let new = NewConnection { source, destination, enabled: true, ordered_by };
                self.connections.extend(store.create_connection(actor, new).await.map(|connection| connection.id));
            }
            Step::Rename(source) => {
                let patch = SourcePatch { name: Some(name), enabled: None };
                drop(store.update_source(actor, pick(&self.sources, source).unwrap().id, patch).await);
            }
            Step::Switch(destination, enabled) => {
                let patch = DestinationPatch { enabled: Some(enabled), ..DestinationPatch::default() };
                drop(store.update_destination(actor, *pick(&self.destinations, destination).unwrap(), patch).await);
            }
            Step::Pin(destination, pinned) => {
                let patch = DestinationPatch {
                    pinned: Some(pinned.then_some(self.versions[1].id)),
                    ..DestinationPatch::default()
                };
                drop(store.update_destination(actor, *pick(&self.destinations, destination).unwrap(), patch).await);
            }
            Step::Order(connection, by) => {
                let ordered_by = Some(by.map(|by| by.to_owned().try_into().unwrap()));
                let patch = ConnectionPatch { ordered_by, ..ConnectionPatch::default() };
                drop(store.update_connection(actor, *pick(&self.connections, connection).unwrap(), patch).await);
            }
            Step::Promote => {
                self.versions.rotate_left(1);
                let turn = Turn {
                    to: self.versions[0].id,
                    approve: false,
                    within: self.versions.iter().map(|version| version.id).collect(),
                    agrees: None,
                };
                store.promote(actor, self.versions[0].function, turn).await.unwrap();
            }
            Step::DropSource(at) => {
                drop(store.delete_source(actor, pick(&self.sources, at).unwrap().id).await);
            }
            Step::DropDestination(at) => {
                drop(store.delete_destination(actor, *pick(&self.destinations, at).unwrap()).await);
            }
            Step::DropConnection(at) => {
                drop(store.delete_connection(actor, *pick(&self.connections, at).unwrap()).await);
            }
            Step::Ask => self.ask(),
        }
    }

    /// The routes say of everything that there is or was what they say when all of it is read anew.
    fn ask(&self) {
        let store = &self.bed.store;
        let (routes, anew) = (store.routes(), Snapshot::default().get(&Touched::default(), &store.readers));
        let said = |routes: &Routes| {
            let sources = self.sources.iter().map(|source| format!("{:?}", routes.source(&source.write_key)));
            let destinations = self.destinations.iter().map(|id| format!("{:?}", routes.destination(*id)));
            let connections = self.connections.iter().map(|id| format!("{:?}", routes.connection(*id)));
            sources.chain(destinations).chain(connections).collect::<Vec<_>>()
        };
        assert_eq!(said(&routes), said(&anew));
        for source in self.sources.iter().filter_map(|source| routes.source(&source.write_key)) {
            for way in &source.connections {
                let destination = routes.destination(way.destination.destination.id).unwrap();
                assert!(
                    Arc::ptr_eq(destination, &way.destination),
                    "one destination is one thing, however it is found"
                );
            }
        }
    }
}

fn new_destination(version: &FunctionVersion, name: String) -> NewDestination {
    NewDestination {
        name,
        function: version.function,
        pinned: None,
        consented: version.id,
        settings: Map::from_iter([("url".to_owned(), json!("x"))]),
        secrets: Default::default(),
        rate: None,
        enabled: true,
    }
}

async fn put(bed: &Bed, manifest: Manifest) -> FunctionVersion {
    let bytes = match manifest.version.as_str() {
        "1.0.0" => Bytes::from_static(b"component"),
        version => format!("{} {version}", manifest.name).into(),
    };
    let digest = components::digest(&bytes);
    let put = bed.store.put_function_version(
        &bed.actor,
        manifest,
        Inspection::default(),
        digest,
        bytes,
        Vouched::BY_OPERATOR,
    );
    put.await.unwrap().1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn routes_after_any_changes_are_those_that_are_read_anew(steps in prop::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.step(step).await;
            }
            world.ask();
        });
    }
}

#[tokio::test]
async fn routes_share_all_that_did_not_change_and_say_what_did() {
    let bed = Bed::new(3).await;
    let [one, two, three] = [0, 1, 2].map(|at| bed.destinations[at].id);
    let before = bed.store.routes();
    let patch = DestinationPatch { enabled: Some(false), ..DestinationPatch::default() };
    bed.store.update_destination(&bed.actor, two, patch).await.unwrap();
    bed.store.delete_destination(&bed.actor, three).await.unwrap();
    let after = bed.store.routes();
    let mut others = after.other_destinations(&before);
    others.sort();
    assert_eq!(others, [two, three]);
    assert!(Arc::ptr_eq(before.destination(one).unwrap(), after.destination(one).unwrap()));
    assert!(before.destination(three).is_some(), "what was handed out stays as it was");
}

/// A workspace with as many functions as destinations and connections, and names of calls, and what was called last in each.
async fn filled(count: u64) -> Bed {
    let bed = Bed::new(1).await;
    let (actor, function, source) = (bed.actor.clone(), bed.destinations[0].function, bed.source.id);
    let fill = move |commit: &mut crate::store::work::Commit<'_>| {
        let (workspace, partner) = (actor.workspace.uuid().into_bytes(), actor.partner.uuid().into_bytes());
        let function = function.uuid().into_bytes();
        for statement in [
            "INSERT INTO workspaces (id, name, created_at) SELECT randomblob(16), 'workspace ' || i, 1 FROM n",
            "INSERT INTO functions (id, partner, name, current, created_at)
               SELECT randomblob(16), ?2, 'function ' || i, f.current, 1 FROM n, functions f WHERE f.id = ?3",
            "INSERT INTO function_versions (id, partner, function, digest, manifest, size, created_at, approved_at)
               SELECT f.current, ?2, f.id, randomblob(32), replace(v.manifest, '\"settings\":{', '\"settings\":{\"key\":{\"type\":\"string\",\"secret\":true},'), 1, 1, 1
               FROM functions f, function_versions v WHERE f.name LIKE 'function %' AND v.function = ?3",
            "INSERT INTO destinations (id, workspace, name, function, settings, enabled, created_at, updated_at, consented)
               SELECT randomblob(16), ?1, 'other ' || i, f.id, '{\"url\":\"x\"}', 1, 1, 1, f.current
               FROM n, functions f WHERE f.name = 'function ' || i",
            "INSERT INTO connections (id, workspace, source, destination, enabled, created_at)
               SELECT randomblob(16), ?1, ?4, d.id, 1, 1 FROM destinations d WHERE d.name LIKE 'other %'",
            "INSERT INTO once (key, name, fingerprint, at, tenant) SELECT randomblob(16), 'n' || i, zeroblob(32), ?6, ?1 FROM n",
        ] {
            let with = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?5 AND ?6 > 0) {statement}");
            let parameters = rusqlite::params![
                workspace,
                partner,
                function,
                source.uuid().into_bytes(),
                count.cast_signed(),
                NOW.as_millis().cast_signed()
            ];
            commit.sql.execute(&with, parameters)?;
            // A version of its own for each.
            if statement.starts_with("INSERT INTO functions") {
                commit.sql.execute("UPDATE functions SET current = randomblob(16) WHERE name LIKE 'function %'", [])?;
            }
        }
        Ok(())
    };
    bed.store.call(fill).await.unwrap();
    bed
}

/// How many steps of the database each change of the control plane takes, with the reading of routes after it: the least of three times,
/// since the writer has to do of its own now and then.
async fn costs(count: u64) -> Vec<(&'static str, u64)> {
    // As after a restart, so that memory knows what was filled in.
    let bed = filled(count).await;
    let steps = Steps::in_dir(bed.dir.path());
    let bed = bed.reopen();
    let (store, actor) = (&bed.store, &bed.actor);
    assert!(steps.taken() > count, "opening reads all of it");
    let mut least = std::collections::BTreeMap::<&'static str, u64>::new();
    for round in 0..4 {
        let mut took = |what: &'static str| {
            drop(store.routes());
            let taken = steps.taken();
            // Statements are prepared in the first round, which reads the schema.
            if round > 0 {
                let least = least.entry(what).or_insert(u64::MAX);
                *least = taken.min(*least);
            }
        };
        let name = |what: &str| format!("{what} of round {round}");
        took("nothing");
        let source = store.create_source(actor, &name("source")).await.unwrap();
        took("create a source");
        let manifest = Manifest { name: name("function"), version: "2.0.0".to_owned(), ..manifest("f") };
        let first = put(&bed, manifest.clone()).await;
        took("put a function's first version");
        let second = put(&bed, Manifest { version: "3.0.0".to_owned(), ..manifest }).await;
        took("put a function's second version");
        let found = store.find_function(actor, &name("function")).await.unwrap().unwrap();
        took("find a function");
        let destination = store.create_destination(actor, new_destination(&first, name("destination"))).await.unwrap();
        took("create a destination");
        let new = NewConnection { source: source.id, destination: destination.id, enabled: true, ordered_by: None };
        let connection = store.create_connection(actor, new).await.unwrap();
        took("create a connection");
        let patch = DestinationPatch {
            settings: Some(Map::from_iter([("url".to_owned(), json!("y"))])),
            ..DestinationPatch::default()
        };
        store.update_destination(actor, destination.id, patch).await.unwrap();
        took("change a destination");
        let turn = Turn { to: second.id, approve: false, within: vec![first.id], agrees: None };
        store.promote(actor, found.id, turn).await.unwrap();
        took("promote a version");
        store.delete_connection(actor, connection.id).await.unwrap();
        took("delete a connection");
        store.delete_destination(actor, destination.id).await.unwrap();
        took("delete a destination");
        store.delete_source(actor, source.id).await.unwrap();
        took("delete a source");
        store.create_tenant::<WorkspaceId>(actor, &name("workspace")).await.unwrap();
        took("create a workspace");
        let caller = Actor { role: crate::model::Role::WorkspaceAdmin, ..actor.clone() };
        assert_eq!(store.begin_once(&caller, name("call"), [7; 32]).await.unwrap(), Once::New);
        took("begin a call that is to take place once");
    }
    least.into_iter().collect()
}

#[tokio::test]
async fn a_change_reads_what_it_changes_however_much_is_configured() {
    let (few, many) = (costs(100).await, costs(1_900).await);
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        assert!(few > 0 || what == "nothing", "{what}: nothing was counted");
        // A row that is only looked at is some steps, so that reading the 1,800 more would be thousands.
        assert!(many <= few + 1_000, "{what}: {few} steps beside 100 others, {many} beside 1,900");
    }
}
