//! Secrets on disk.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection as Sql;

use super::*;
use crate::model::{DestinationId, Secret, WorkspaceId};
use crate::store::{DestinationPatch, NewSecret, StoreError, secrets};
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
    let stored = bed.store.put_function_version(&bed.actor, manifest, Inspection::default(), digest, bytes, None).await;
    let (function, _) = stored.unwrap();
    let new = NewDestination {
        name: "old".to_owned(),
        function: function.id,
        pinned: None,
        settings: json!({"key": VALUE, "room": "a"}).as_object().unwrap().clone(),
        secrets: BTreeMap::new(),
        rate: None,
        enabled: true,
    };
    let old = bed.store.create_destination(&bed.actor, new).await.unwrap();
    assert!(bed.has_on_disk(VALUE), "the test would show nothing");
    let bed = bed.reopen();
    assert!(!bed.has_on_disk(VALUE));
    let now = bed.store.get_destination(&bed.actor, old.id).await.unwrap();
    assert_eq!(now.settings, json!({"room": "a"}).as_object().unwrap().clone());
    assert_eq!(bed.store.open_secrets(&now).unwrap()["key"].expose(), VALUE);
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
