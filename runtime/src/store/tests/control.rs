//! The control plane.

use super::*;
use crate::model::{FilterReason, Inspection, KeyId, PartnerId, Role, ScriptText, WorkspaceId};
use crate::store::{ConnectionPatch, DestinationPatch, Once, Page, Settled, SourcePatch, StoreError, Turn};

#[tokio::test]
async fn the_operators_token_is_made_once_and_only_it_opens() {
    let bed = Bed::new(0).await;
    assert_eq!(bed.store.ensure_operator_key().await.unwrap(), None);
    assert!(bed.store.authenticate("tgk_nonsense").is_err());
    let bed = bed.reopen();
    assert_eq!(bed.store.ensure_operator_key().await.unwrap(), None);
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_that_names_it_and_leaves_no_trace() {
    let bed = Bed::new(1).await;
    let conflict = bed.store.create_source(&bed.actor, "web").await.unwrap_err();
    assert!(conflict.to_string().contains("`web`"), "{conflict}");
    let (source, destination) = (bed.source.id, bed.destinations[0].id);
    let again = NewConnection { source, destination, enabled: true, ordered_by: None };
    assert!(matches!(bed.store.create_connection(&bed.actor, again).await, Err(StoreError::Conflict { .. })));
    let other = bed.store.create_source(&bed.actor, "other").await.unwrap();
    let patch = SourcePatch { name: Some("web".to_owned()), enabled: Some(false) };
    assert!(matches!(bed.store.update_source(&bed.actor, other.id, patch).await, Err(StoreError::Conflict { .. })));
    assert_eq!(bed.store.get_source(&bed.actor, other.id).await.unwrap(), other);
}

#[tokio::test]
async fn another_workspace_or_partner_sees_and_changes_nothing() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let claimed = bed.claim(1, NOW).await.remove(0);
    bed.settle(&claimed, Settle::Dead).await;
    let stranger = Actor {
        destination: None,
        key: KeyId::new(NOW),
        workspace: WorkspaceId::new(NOW),
        partner: PartnerId::new(NOW),
        role: Role::WorkspaceAdmin,
    };
    let publisher = Actor { role: Role::PartnerAdmin, ..stranger.clone() };
    let (store, page) = (&bed.store, Page::default());
    let (source, destination, connection) = (bed.source.id, bed.destinations[0].id, bed.connections[0].id);
    let function = bed.destinations[0].function;
    let lost = |error: StoreError| assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    lost(store.get_source(&stranger, source).await.unwrap_err());
    lost(store.update_source(&stranger, source, SourcePatch::default()).await.unwrap_err());
    lost(store.delete_source(&stranger, source).await.unwrap_err());
    lost(store.get_destination(&stranger, destination).await.unwrap_err());
    lost(store.update_destination(&stranger, destination, DestinationPatch::default()).await.unwrap_err());
    lost(store.delete_destination(&stranger, destination).await.unwrap_err());
    lost(store.get_connection(&stranger, connection).await.unwrap_err());
    lost(store.update_connection(&stranger, connection, ConnectionPatch::default()).await.unwrap_err());
    lost(store.delete_connection(&stranger, connection).await.unwrap_err());
    lost(store.get_function(&publisher, function).await.unwrap_err());
    lost(store.list_versions(&publisher, function, &page).await.unwrap_err());
    lost(store.rollback(&publisher, function, turn(VersionId::new(NOW), &[])).await.unwrap_err());
    lost(store.get_delivery(&stranger, claimed.id).await.unwrap_err());
    lost(store.attempts(&stranger, claimed.id).await.unwrap_err());
    lost(store.retry(&stranger, claimed.id).await.unwrap_err());
    assert!(store.list_sources(&stranger, &page).await.unwrap().items.is_empty());
    assert!(store.list_destinations(&stranger, &page).await.unwrap().items.is_empty());
    assert!(store.list_connections(&stranger, &page).await.unwrap().items.is_empty());
    assert!(store.list_functions(&publisher, &page).await.unwrap().items.is_empty());
    assert!(store.list_deliveries(&stranger, &Default::default(), &page).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn routes_show_every_change_that_has_returned() {
    let bed = Bed::new(1).await;
    let routes = bed.store.routes();
    let route = routes.source(&bed.source.write_key).unwrap();
    let destination = &route.connections[0].destination;
    assert_eq!(destination.function_name, "webhook");
    assert_eq!(&*destination.settings_json, r#"{"mode":"fast"}"#, "the manifest's default");
    assert!(std::sync::Arc::ptr_eq(&routes, &bed.store.routes()), "nothing changed");
    let mut settings = Map::new();
    settings.insert("mode".to_owned(), json!("slow"));
    let patch = DestinationPatch { settings: Some(settings), ..DestinationPatch::default() };
    bed.store.update_destination(&bed.actor, bed.destinations[0].id, patch).await.unwrap();
    let routes = bed.store.routes();
    assert_eq!(&*routes.destination(bed.destinations[0].id).unwrap().settings_json, r#"{"mode":"slow"}"#);
    bed.store.delete_source(&bed.actor, bed.source.id).await.unwrap();
    assert!(bed.store.routes().source(&bed.source.write_key).is_none());
}

#[tokio::test]
async fn what_a_deleted_destination_owes_is_filtered_and_claims_on_it_are_lost() {
    let bed = Bed::new(2).await;
    bed.accept(&["a", "b", "c"]).await;
    let claimed = bed.claim(2, NOW).await;
    bed.settle(&claimed[0], Settle::RetryAt(NOW)).await;
    let routes_before = bed.event("late");
    bed.store.delete_destination(&bed.actor, bed.destinations[0].id).await.unwrap();
    assert_eq!(bed.ledger().await, counts(6, 0, 3, 0, 3));
    assert_eq!(bed.settle(&claimed[1], Settle::Delivered).await, Settled::LeaseLost);
    assert!(bed.claim(10, NOW).await.is_empty());
    bed.store.accept(vec![routes_before]).await.unwrap();
    assert_eq!(bed.ledger().await, counts(8, 0, 4, 0, 4));
    let shown = bed.store.get_delivery(&bed.actor, claimed[1].id).await.unwrap();
    assert_eq!(shown.summary.filter_reason, Some(FilterReason::DestinationDeleted));
    let bed = bed.reopen();
    assert!(bed.claim(10, NOW).await.is_empty());
    bed.store.delete_connection(&bed.actor, bed.connections[1].id).await.unwrap();
    assert_eq!(bed.ledger().await, counts(8, 0, 8, 0, 0));
}

#[tokio::test]
async fn a_destination_that_is_off_keeps_what_it_owes_until_it_is_on() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let switch = |enabled| DestinationPatch { enabled: Some(enabled), ..DestinationPatch::default() };
    let id = bed.destinations[0].id;
    bed.store.update_destination(&bed.actor, id, switch(false)).await.unwrap();
    assert!(bed.claim(1, NOW).await.is_empty());
    let bed = bed.reopen();
    assert!(bed.claim(1, NOW).await.is_empty());
    assert!(bed.store.pending_destinations().is_empty());
    bed.store.update_destination(&bed.actor, id, switch(true)).await.unwrap();
    assert_eq!(ids(&bed.claim(1, NOW).await), ["a"]);
}

/// A turn to a version that does no more than these.
fn turn(to: VersionId, within: &[VersionId]) -> Turn {
    Turn { to, approve: false, within: within.to_vec(), agrees: None }
}

#[tokio::test]
async fn a_version_is_immutable_and_the_first_is_current_until_another_is_promoted() {
    let bed = Bed::new(1).await;
    let (store, actor) = (&bed.store, &bed.actor);
    let put = |version: &str, bytes: &'static [u8]| {
        let bytes = Bytes::from_static(bytes);
        store.put_function_version(
            actor,
            Manifest { version: version.to_owned(), ..manifest("webhook") },
            Inspection::default(),
            components::digest(&bytes),
            bytes,
            Vouched::BY_OPERATOR,
        )
    };
    let (function, first) = put("1.0.0", b"component").await.unwrap();
    let (_, again) = put("1.0.0", b"component").await.unwrap();
    assert_eq!(first, again);
    let taken = put("1.0.0", b"component 2").await;
    let Err(StoreError::VersionTaken { version, taken, .. }) = taken else { panic!("{taken:?}") };
    assert_eq!((version.as_str(), taken), ("1.0.0", first.digest));
    let (same, second) = put("2.0.0", b"component 2").await.unwrap();
    assert_eq!((same.id, same.current), (function.id, first.id));
    let early = store.rollback(actor, function.id, turn(first.id, &[])).await;
    assert!(matches!(early, Err(StoreError::NotNow { .. })));
    store.promote(actor, function.id, turn(second.id, &[first.id])).await.unwrap();
    let running = || store.routes().destination(bed.destinations[0].id).unwrap().version.id;
    assert_eq!(running(), second.id);
    assert_eq!(store.rollback(actor, function.id, turn(first.id, &[first.id])).await.unwrap().current, first.id);
    assert_eq!(running(), first.id);
    // Who did not agree to what the version may do stays, until they do or another one comes that does no more.
    assert_eq!(store.agreed(function.id).await.unwrap(), [first.id]);
    store.promote(actor, function.id, turn(second.id, &[second.id])).await.unwrap();
    assert_eq!(running(), first.id);
    store.promote(actor, function.id, turn(first.id, &[first.id])).await.unwrap();
    store.promote(actor, function.id, turn(second.id, &[])).await.unwrap();
    let destination = bed.destinations[0].id;
    let consent = DestinationPatch { consented: Some(second.id), released: true, ..DestinationPatch::default() };
    store.update_destination(actor, destination, consent).await.unwrap();
    assert_eq!(running(), second.id);
    store.rollback(actor, function.id, turn(first.id, &[first.id, second.id])).await.unwrap();
    assert_eq!(running(), first.id);
    let pin = DestinationPatch { pinned: Some(Some(second.id)), ..DestinationPatch::default() };
    store.update_destination(actor, bed.destinations[0].id, pin).await.unwrap();
    assert_eq!(running(), second.id);
    assert_eq!(store.component(second.digest).await.unwrap(), "component 2");
    let versions = store.list_versions(actor, function.id, &Page::default()).await.unwrap();
    assert_eq!(versions.items.len(), 2);
    let wrong = store
        .put_function_version(
            actor,
            manifest("webhook"),
            Inspection::default(),
            first.digest,
            Bytes::from_static(b"x"),
            Vouched::BY_OPERATOR,
        )
        .await;
    assert!(matches!(wrong, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn pages_give_everything_once() {
    let bed = Bed::new(0).await;
    for number in 0..5 {
        bed.store.create_source(&bed.actor, &format!("source {number}")).await.unwrap();
    }
    let mut page = Page { after: None, limit: 4 };
    let first = bed.store.list_sources(&bed.actor, &page).await.unwrap();
    page.after = first.next;
    let second = bed.store.list_sources(&bed.actor, &page).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (4, 2, None));
    assert!(first.items.iter().all(|source| !second.items.contains(source)));
}

#[tokio::test]
async fn many_names_of_one_tenant_end_none_of_another() {
    let bed = Bed::new(0).await;
    let caller =
        |role: Role| Actor { role, key: KeyId::new(NOW), workspace: WorkspaceId::new(NOW), ..bed.actor.clone() };
    let (quiet, loud) = (caller(Role::WorkspaceAdmin), caller(Role::WorkspaceEditor));
    let begin = async |actor: &Actor, name: &str| bed.store.begin_once(actor, name.to_owned(), [7; 32]).await.unwrap();
    assert_eq!(begin(&quiet, "first").await, Once::New);
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    sql.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO once (key, name, fingerprint, at, tenant) SELECT randomblob(16), 'n' || i, zeroblob(32), ?1 + i, ?2 FROM n",
        rusqlite::params![NOW.as_millis() as i64, loud.workspace.uuid().into_bytes()],
    )
    .unwrap();
    assert_eq!(begin(&loud, "one more").await, Once::New);
    let kept = |tenant: WorkspaceId| -> i64 {
        let select = "SELECT count(*) FROM once WHERE tenant = ?1";
        sql.query_row(select, [tenant.uuid().into_bytes()], |row| row.get(0)).unwrap()
    };
    assert!(kept(loud.workspace) < 2_000, "its own oldest are gone");
    assert_eq!(kept(quiet.workspace), 1);
    assert_eq!(begin(&quiet, "first").await, Once::Begun, "and is still known");
}

#[tokio::test]
async fn numbers_of_versions_are_found_without_reading_versions() {
    let bed = Bed::new(0).await;
    let (store, actor) = (&bed.store, &bed.actor);
    let mut function = None;
    for version in ["0.1.0", "0.1.1", "1", "0.1.3", "2", "0.1.2x"] {
        let manifest = Manifest { version: version.to_owned(), ..manifest("lone") };
        let bytes = Bytes::from(version.to_owned());
        let digest = components::digest(&bytes);
        let put =
            store.put_function_version(actor, manifest, Inspection::default(), digest, bytes, Vouched::BY_OPERATOR);
        function = Some(put.await.unwrap().0.id);
    }
    let function = function.unwrap();
    for (before, from, first) in
        [("0.1.", 0, 2), ("0.1.", 2, 2), ("0.1.", 3, 4), ("0.1.", 9, 9), ("", 0, 0), ("", 1, 3), ("0.2.", 0, 0)]
    {
        assert_eq!(store.free_number(actor, function, before, from).await.unwrap(), first, "{before}{from}");
    }
    let newest = store.newest_version(actor, function, String::new()).await.unwrap().unwrap();
    assert_eq!((newest.version.manifest.version.as_str(), newest.is_of_text), ("0.1.2x", false));
    let script = ScriptText { file: "handler.js".to_owned(), text: "x".to_owned() };
    store.set_script(newest.version.id, script).await.unwrap();
    assert!(store.newest_version(actor, function, "x".to_owned()).await.unwrap().unwrap().is_of_text);
    let customer = Actor { role: Role::WorkspaceAdmin, ..actor.clone() };
    assert_eq!(store.newest_version(&customer, function, "x".to_owned()).await.unwrap(), None);
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    let plan = "EXPLAIN QUERY PLAN SELECT 1 FROM function_versions WHERE function = ?1 AND json_extract(manifest, '$.version') = ?2";
    let plan: String = sql.query_row(plan, ["", ""], |row| row.get(3)).unwrap();
    assert!(plan.contains("function_versions_by_text (function=? AND <expr>=?)"), "{plan}");
}
