//! Secrets on disk.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection as Sql;

use super::*;
use crate::model::{DestinationId, Secret, WorkspaceId};
use crate::store::{DestinationPatch, NewSecret, StoreError, Turn, secrets};
use crate::vault::{Vault, VaultError};

const VALUE: &str = "canary-9b1d5e";

fn set(value: &str) -> NewSecret {
    NewSecret::Set { value: Secret::new(value.to_owned()), revealed: false }
}

fn one(field: &str, secret: NewSecret) -> BTreeMap<String, NewSecret> {
    [(field.to_owned(), secret)].into()
}

impl Bed {
    /// Gives a destination these secrets, and takes away all others.
    async fn give(&self, at: usize, new: BTreeMap<String, NewSecret>) -> Destination {
        let patch = DestinationPatch { settings: Some(Map::new()), secrets: new, ..DestinationPatch::default() };
        self.store.update_destination(&self.actor, self.destinations[at].id, patch).await.unwrap()
    }

    /// What a destination's secrets are, read anew.
    async fn opened(&self, at: usize) -> Result<BTreeMap<String, String>, StoreError> {
        let found = self.store.routes().destination(self.destinations[at].id).unwrap().destination.clone();
        let opened = self.store.open_secrets(&found)?;
        Ok(opened.into_iter().map(|(field, value)| (field, value.expose().to_owned())).collect())
    }

    /// A change by somebody who can write to the file.
    async fn tamper(&self, change: &str) {
        Sql::open(self.dir.path().join("tidegate.db")).unwrap().execute_batch(change).unwrap();
        // Routes are read anew after a change that the store knows of.
        self.store.create_source(&self.actor, &format!("source {}", DestinationId::new(NOW))).await.unwrap();
    }

    /// Whether a file in the directory has this text.
    fn has_on_disk(&self, text: &str) -> bool {
        let files = fs::read_dir(self.dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.into_iter().any(|file| memchr::memmem::find(&fs::read(file.path()).unwrap(), text.as_bytes()).is_some())
    }
}

fn is_sealed(result: Result<BTreeMap<String, String>, StoreError>) -> bool {
    matches!(result, Err(StoreError::Vault(VaultError::Sealed)))
}

#[tokio::test]
async fn a_secret_is_sealed_on_disk_and_each_value_is_a_version() {
    let bed = Bed::new(1).await;
    let first = bed.give(0, one("key", set(VALUE))).await;
    assert!(!bed.has_on_disk(VALUE));
    assert_eq!(bed.opened(0).await.unwrap()["key"], VALUE);
    let kept = bed.give(0, one("key", NewSecret::Keep)).await;
    assert_eq!(kept.secrets, first.secrets);
    let second = bed.give(0, one("key", set("another"))).await;
    assert_eq!((first.secrets["key"].version, second.secrets["key"].version), (1, 2));
    let bed = bed.reopen();
    assert_eq!(bed.opened(0).await.unwrap()["key"], "another");
    assert!(bed.give(0, BTreeMap::new()).await.secrets.is_empty());
    assert!(bed.opened(0).await.unwrap().is_empty());
    bed.give(0, one("key", set(VALUE))).await;
    bed.store.delete_destination(&bed.actor, bed.destinations[0].id).await.unwrap();
    let sql = Sql::open(bed.dir.path().join("tidegate.db")).unwrap();
    let left: i64 = sql.query_row("SELECT count(*) FROM secrets", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_row_that_is_moved_to_another_destination_field_version_or_workspace_does_not_open() {
    let hex = |id: uuid::Uuid| format!("x'{}'", id.simple());
    for change in [
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets o WHERE o.destination <> secrets.destination) WHERE destination = FIRST",
        "UPDATE secrets SET field = 'other' WHERE destination = FIRST",
        "UPDATE secrets SET version = 2 WHERE destination = FIRST",
        "UPDATE secrets SET version = 0 WHERE destination = FIRST",
        "UPDATE destinations SET workspace = STRANGER WHERE id = FIRST",
        "UPDATE destinations SET workspace = STRANGER WHERE id = FIRST;
         INSERT INTO data_keys SELECT STRANGER, master, wrapped FROM data_keys",
    ] {
        let bed = Bed::new(2).await;
        let stranger = bed.store.create_tenant::<WorkspaceId>(&bed.actor, "stranger").await.unwrap();
        bed.give(0, one("key", set(VALUE))).await;
        bed.give(1, one("key", set("other"))).await;
        let first = hex(bed.destinations[0].id.uuid());
        bed.tamper(&change.replace("FIRST", &first).replace("STRANGER", &hex(stranger.id.uuid()))).await;
        assert!(is_sealed(bed.opened(0).await), "{change}");
        assert_eq!(bed.opened(1).await.unwrap()["key"], "other", "{change}");
    }
}

#[tokio::test]
async fn secrets_that_an_older_program_stored_as_plain_text_are_sealed_at_the_start() {
    let bed = Bed::new(1).await;
    let manifest = serde_json::from_value(json!({"name": "keeper", "version": "1", "events": ["track"],
        "settings": {"key": {"type": "string", "secret": true}, "room": {"type": "string"}}}));
    let bytes = Bytes::from_static(b"keeper");
    let digest = components::digest(&bytes);
    let manifest: Manifest = manifest.unwrap();
    let stored = bed
        .store
        .put_function_version(&bed.actor, manifest, Inspection::default(), digest, bytes, Vouched::BY_OPERATOR)
        .await;
    let (function, _) = stored.unwrap();
    let new = NewDestination {
        name: "old".to_owned(),
        function: function.id,
        pinned: None,
        consented: function.current,
        settings: json!({"room": "a"}).as_object().unwrap().clone(),
        secrets: BTreeMap::new(),
        rate: None,
        enabled: true,
    };
    let old = bed.store.create_destination(&bed.actor, new).await.unwrap();
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    let settings = json!({"key": VALUE, "room": "a"}).to_string();
    sql.execute("UPDATE destinations SET settings = ?1 WHERE name = 'old'", [settings]).unwrap();
    drop(sql);
    assert!(bed.has_on_disk(VALUE), "the test would show nothing");
    let bed = bed.reopen();
    assert!(!bed.has_on_disk(VALUE));
    let now = bed.store.get_destination(&bed.actor, old.id).await.unwrap();
    assert_eq!(now.settings, json!({"room": "a"}).as_object().unwrap().clone());
    assert_eq!(bed.store.open_secrets(&now).unwrap()["key"].expose(), VALUE);
}

#[tokio::test]
async fn a_setting_that_a_newer_version_calls_a_secret_is_sealed_as_the_destination_turns_to_it() {
    let bed = Bed::new(1).await;
    let put = |version: &str, secret: bool| {
        let manifest = json!({"name": "keeper", "version": version, "events": ["track"],
            "settings": {"key": {"type": "string", "secret": secret}, "room": {"type": "string"}}});
        let bytes = Bytes::from(version.to_owned());
        let (manifest, digest) = (serde_json::from_value(manifest).unwrap(), components::digest(&bytes));
        bed.store.put_function_version(&bed.actor, manifest, Inspection::default(), digest, bytes, Vouched::BY_OPERATOR)
    };
    let (function, plain) = put("1", false).await.unwrap();
    let (_, secret) = put("2", true).await.unwrap();
    let make = async |name: &str, pinned: Option<VersionId>| {
        let new = NewDestination {
            name: name.to_owned(),
            function: function.id,
            pinned,
            consented: plain.id,
            settings: json!({"key": VALUE, "room": "a"}).as_object().unwrap().clone(),
            secrets: BTreeMap::new(),
            rate: None,
            enabled: true,
        };
        bed.store.create_destination(&bed.actor, new).await.unwrap()
    };
    let (follows, pinned) = (make("follows", None).await, make("pinned", Some(plain.id)).await);
    assert!(bed.has_on_disk(VALUE), "the test would show nothing");
    let within = vec![plain.id, secret.id];
    let turn = |to| Turn { to, approve: false, within: within.clone(), agrees: None };
    bed.store.promote(&bed.actor, function.id, turn(secret.id)).await.unwrap();
    let patch = DestinationPatch { pinned: Some(Some(secret.id)), ..DestinationPatch::default() };
    let told = bed.store.update_destination(&bed.actor, pinned.id, patch).await.unwrap();
    assert!(told.secrets.contains_key("key") && !told.settings.contains_key("key"));
    let room = json!({"room": "a"}).as_object().unwrap().clone();
    for destination in [&follows, &pinned] {
        let now = bed.store.get_destination(&bed.actor, destination.id).await.unwrap();
        assert_eq!(now.settings, room);
        assert_eq!(bed.store.open_secrets(&now).unwrap()["key"].expose(), VALUE);
    }
    // What is done behind a commit is done before the next one.
    bed.store.create_source(&bed.actor, "another").await.unwrap();
    assert!(!bed.has_on_disk(VALUE));
    // The version before read it, and still does after going back.
    bed.store.rollback(&bed.actor, function.id, turn(plain.id)).await.unwrap();
    let now = bed.store.get_destination(&bed.actor, follows.id).await.unwrap();
    let opened = bed.store.open_secrets(&now).unwrap();
    let settings = now.with_secrets(&plain.manifest, now.settings.clone(), opened).unwrap();
    assert_eq!(settings["key"], VALUE);
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_at_any_step_is_ended_by_the_next_start() {
    for step in 0..4 {
        let bed = Bed::new(1).await;
        bed.give(0, one("key", set(VALUE))).await;
        let stranger = bed.store.create_tenant::<WorkspaceId>(&bed.actor, "stranger").await.unwrap();
        let before = bed.store.vault().await.unwrap();
        let path = bed.dir.path().join("vault.key");
        bed.store.close().await;
        let sql = Sql::open(bed.dir.path().join("tidegate.db")).unwrap();
        let vault = Vault::open(&path, false).unwrap();
        // A second workspace, so that there is a moment when one of two is done.
        let (_, wrapped) = vault.new_data_key(stranger.id);
        sql.execute(
            "INSERT INTO data_keys VALUES (?1, ?2, ?3)",
            (stranger.id.uuid().into_bytes(), wrapped.master, wrapped.bytes),
        )
        .unwrap();
        if step > 0 {
            vault.begin().unwrap();
        }
        for _ in 1..step {
            assert_eq!(secrets::rewrap(&sql, &vault, 1).unwrap(), 1);
        }
        drop((sql, vault));
        let bed = bed.reopen();
        let after = bed.store.vault().await.unwrap();
        assert_eq!((after.rotating, after.workspaces), (false, 2), "step {step}");
        assert_eq!(after.key == before.key, step == 0, "step {step}");
        assert_eq!(bed.opened(0).await.unwrap()["key"], VALUE, "step {step}");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().filter(|line| line.len() == 64).count(), 1);
    }
}

#[tokio::test]
async fn a_rotation_leaves_secrets_as_they_are_and_the_old_key_opens_nothing_any_more() {
    let bed = Bed::new(1).await;
    bed.give(0, one("key", set(VALUE))).await;
    let path = bed.dir.path().join("vault.key");
    let old = fs::read(&path).unwrap();
    let before = bed.store.vault().await.unwrap();
    let after = bed.store.rotate_vault(&bed.actor).await.unwrap();
    assert!(before.key != after.key && !after.rotating);
    assert_eq!(bed.opened(0).await.unwrap()["key"], VALUE);
    bed.give(0, one("key", set("after"))).await;
    let bed = bed.reopen();
    assert_eq!(bed.opened(0).await.unwrap()["key"], "after");
    let dir = bed.dir.path().to_owned();
    bed.store.close().await;
    fs::write(&path, old).unwrap();
    let wrong = Store::open(&dir, &StoreConfig::default(), Clock::Fixed(NOW)).err().unwrap();
    assert!(matches!(wrong, StoreError::Vault(VaultError::NoSuchKey { .. })), "{wrong}");
    fs::remove_file(&path).unwrap();
    let missing = Store::open(&dir, &StoreConfig::default(), Clock::Fixed(NOW)).err().unwrap();
    assert!(matches!(missing, StoreError::Vault(VaultError::File { what: "read", .. })), "{missing}");
}

/// Sends events with a canary in them, one of which is given up with the canary in its cause and its report.
async fn with_canaries(bed: &Bed) -> crate::model::DeliveryId {
    bed.accept(&[VALUE, "other"]).await;
    let claimed = bed.claim(1, NOW).await.remove(0);
    let mut given_up = settlement(&claimed, Settle::Dead);
    let attempt = given_up.attempt.as_mut().unwrap();
    attempt.outcome.message = format!("the partner refused {VALUE}");
    let report = json!({"log": [{"level": "info", "text": VALUE}]});
    attempt.record = Some(bed.store.record(bed.actor.workspace, claimed.id, &attempt.outcome, &report));
    bed.store.settle(vec![given_up]).await.unwrap();
    claimed.id
}

#[tokio::test]
async fn events_and_what_became_of_them_are_sealed_on_disk_and_read_back_after_a_restart() {
    let bed = Bed::new(1).await;
    let delivery = with_canaries(&bed).await;
    assert!(!bed.has_on_disk(VALUE) && !bed.has_on_disk("the partner refused"));
    let bed = bed.reopen_at(NOW);
    let shown = bed.store.get_delivery(&bed.actor, delivery).await.unwrap();
    assert!(shown.event.get().contains(VALUE), "{shown:?}");
    assert!(shown.summary.dead.unwrap().cause.contains(VALUE));
    let last = shown.last_attempt.unwrap();
    assert!(last.outcome.message.contains(VALUE) && last.report.to_string().contains(VALUE));
    assert_eq!(ids(&bed.claim(5, NOW).await), ["other"]);
    let another = WorkspaceId::new(NOW).uuid().simple().to_string();
    let moved = format!("UPDATE event_blocks SET workspace = x'{another}'");
    drop(bed.store);
    Sql::open(bed.dir.path().join("tidegate.db")).unwrap().execute_batch(&moved).unwrap();
    let store = open_at(bed.dir.path(), NOW);
    assert!(
        store.get_delivery(&bed.actor, delivery).await.is_err(),
        "what was moved to another workspace opens nowhere"
    );
}

#[tokio::test]
async fn what_an_older_program_stored_plain_is_still_read() {
    let bed = Bed::new(1).await;
    let delivery = with_canaries(&bed).await;
    let plain = bed.store.get_delivery(&bed.actor, delivery).await.unwrap();
    let event = bed.event(VALUE).event;
    let block = [super::super::codec::empty(), super::super::codec::record(&event)].concat();
    drop(bed.store);
    let sql = Sql::open(bed.dir.path().join("tidegate.db")).unwrap();
    sql.execute("UPDATE event_blocks SET data = ?1", [block]).unwrap();
    let outcome = serde_json::to_string(&plain.last_attempt.as_ref().unwrap().outcome).unwrap();
    let change =
        "UPDATE attempts SET outcome = ?1, report = '{\"log\":[]}', sealed_outcome = NULL, sealed_report = NULL";
    sql.execute(change, [outcome]).unwrap();
    sql.execute("UPDATE dead SET cause = 'an old one', sealed_cause = NULL", []).unwrap();
    drop(sql);
    let store = open_at(bed.dir.path(), NOW);
    let shown = store.get_delivery(&bed.actor, delivery).await.unwrap();
    assert_eq!(shown.event.get(), plain.event.get());
    assert_eq!(shown.summary.dead.unwrap().cause, "an old one");
    assert_eq!(shown.last_attempt.unwrap().outcome, plain.last_attempt.unwrap().outcome);
}

#[tokio::test]
async fn destroying_a_workspace_leaves_nothing_that_can_be_read_and_the_ledger_adds_up() {
    let bed = Bed::new(2).await;
    bed.give(0, one("key", set(VALUE))).await;
    let delivery = with_canaries(&bed).await;
    let before = bed.ledger().await;
    assert_eq!((before.accepted, before.dead, before.pending), (4, 1, 3));
    let database = bed.dir.path().join("tidegate.db");
    let select = "SELECT master, wrapped FROM data_keys";
    let wrapped = Sql::open(&database)
        .unwrap()
        .query_row(select, [], |row| Ok(crate::vault::Wrapped { master: row.get(0)?, bytes: row.get(1)? }));
    let (wrapped, file) = (wrapped.unwrap(), bed.dir.path().join("vault.key"));
    let opens = || Vault::open(&file, false).unwrap().unwrap(bed.actor.workspace, &wrapped).is_ok();
    assert!(opens());
    let claimed = bed.claim(1, NOW).await.remove(0);

    let operator = Actor { role: crate::model::Role::Operator, ..bed.actor.clone() };
    let done = bed.store.destroy_workspace(&operator, bed.actor.workspace).await.unwrap();
    assert!(done.remains, "the one in which operators work is always there");
    assert!(!opens(), "a copy of its key that somebody kept opens with no key that is left");
    assert!(!bed.has_on_disk(VALUE) && !bed.has_on_disk("the partner refused"));
    let left: i64 = Sql::open(&database)
        .unwrap()
        .query_row("SELECT (SELECT count(*) FROM event_blocks) + (SELECT count(*) FROM data_keys)", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(bed.ledger().await, counts(4, 0, 3, 1, 0), "what was owed is filtered");
    assert_eq!(bed.settle(&claimed, Settle::Delivered).await, crate::store::Settled::LeaseLost);
    assert!(bed.store.get_delivery(&bed.actor, delivery).await.is_err());
    // It can be used again, with another key.
    let source = bed.store.create_source(&bed.actor, "again").await.unwrap();
    let event = NewEvent { source: source.id, owed: Vec::new(), ..bed.event("new") };
    assert_eq!(bed.store.accept(vec![event]).await.unwrap().accepted, 1);
    drop(bed.store);
    open_at(bed.dir.path(), NOW);
}

#[tokio::test]
async fn events_of_a_workspace_that_is_gone_are_not_kept_and_stop_nothing() {
    let bed = Bed::new(1).await;
    let operator = Actor { role: crate::model::Role::Operator, ..bed.actor.clone() };
    let other = bed.store.create_tenant::<WorkspaceId>(&operator, "acme").await.unwrap().id;
    let inside = Actor { workspace: other, ..operator.clone() };
    let source = bed.store.create_source(&inside, "web").await.unwrap();
    let event = |id: &str| NewEvent { workspace: other, source: source.id, owed: Vec::new(), ..bed.event(id) };
    bed.store.accept(vec![event("a")]).await.unwrap();
    let done = bed.store.destroy_workspace(&operator, other).await.unwrap();
    assert!(!done.remains && bed.store.find_tenant::<WorkspaceId>(&operator, "acme").await.is_err());
    // Ingest may still have known the source.
    bed.store.accept(vec![event("late")]).await.unwrap();
    assert!(bed.store.stopped().is_none());
    let kept: i64 = Sql::open(bed.dir.path().join("tidegate.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM event_blocks", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 0);
    bed.accept(&["b"]).await;
    assert_eq!(ids(&bed.claim(5, NOW).await), ["b"], "its neighbours go on");
}
