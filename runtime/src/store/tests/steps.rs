//! Accept, claim, settle.

use super::*;
use crate::model::{DeliveryState, FilterReason, LeaseToken};
use crate::store::{AcceptError, DeliveryFilter, Failure, Page, Settled, StoreError, Want};

#[tokio::test]
async fn an_event_goes_its_way_and_the_ledger_holds_at_every_step() {
    let bed = Bed::new(2).await;
    assert_eq!(bed.accept(&["a", "b", "c"]).await.accepted, 3);
    assert_eq!(bed.ledger().await, counts(6, 0, 0, 0, 6));
    let claimed = bed.claim(10, NOW).await;
    assert_eq!(ids(&claimed), ["a", "b", "c"]);
    assert!(claimed.iter().all(|delivery| delivery.attempt == 1 && delivery.source == bed.source.id));
    assert_eq!(bed.ledger().await, counts(6, 0, 0, 0, 6));
    assert_eq!(bed.settle(&claimed[0], Settle::Delivered).await, Settled::Done);
    assert_eq!(bed.ledger().await, counts(6, 1, 0, 0, 5));
    assert_eq!(bed.settle(&claimed[1], Settle::Filtered(FilterReason::Unsupported)).await, Settled::Done);
    assert_eq!(bed.settle(&claimed[2], Settle::Dead).await, Settled::Done);
    assert_eq!(bed.ledger().await, counts(6, 1, 1, 1, 3));
    let one = LedgerScope { destination: Some(bed.destinations[0].id), ..LedgerScope::default() };
    assert_eq!(bed.store.ledger(&bed.actor, &one).await.unwrap(), counts(3, 1, 1, 1, 0));
}

#[tokio::test]
async fn the_same_message_id_is_taken_once_for_24_hours_and_for_each_source() {
    let bed = Bed::new(1).await;
    assert_eq!(bed.accept(&["a", "a", "b"]).await, super::super::Accepted { accepted: 2, repeated: vec![1] });
    assert_eq!(bed.accept(&["b", "c"]).await.repeated, [0]);
    let other = bed.store.create_source(&bed.actor, "other").await.unwrap();
    let event = NewEvent { source: other.id, owed: Vec::new(), ..bed.event("a") };
    assert_eq!(bed.store.accept(vec![event]).await.unwrap().accepted, 1);
    let bed = bed.reopen_at(later(86_400_000 - 1));
    assert_eq!(bed.accept(&["a", "d"]).await.repeated.len(), 1);
    let bed = bed.reopen_at(later(86_400_000));
    assert_eq!(bed.accept(&["a", "d"]).await.repeated.len(), 1);
}

#[tokio::test]
async fn a_long_batch_is_answered_as_one_and_repeated_events_are_named_by_their_places_in_all_of_it() {
    let bed = Bed::new(1).await;
    let mut names: Vec<String> = (0..170).map(|number| format!("event {number}")).collect();
    names[60] = names[3].clone();
    names[169] = names[100].clone();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(bed.accept(&names).await, super::super::Accepted { accepted: 168, repeated: vec![60, 169] });
    // As when its answer was lost on the way, or when it failed in the middle.
    assert_eq!(bed.accept(&names).await, super::super::Accepted { accepted: 0, repeated: (0..170).collect() });
    assert_eq!(bed.ledger().await, counts(168, 0, 0, 0, 168));
}

#[tokio::test]
async fn settlements_and_events_that_come_meanwhile_are_all_written() {
    let bed = Bed::new(1).await;
    let ids: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    bed.accept(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let claimed = bed.claim(400, NOW).await;
    let all = claimed.iter().map(|one| settlement(one, Settle::Dead)).collect();
    let others = async {
        for number in 0..50 {
            assert_eq!(bed.accept(&[&format!("other {number}")]).await.accepted, 1);
        }
    };
    let (settled, ()) = tokio::join!(bed.store.settle(all), others);
    assert_eq!(settled.unwrap(), vec![Settled::Done; 400]);
    assert_eq!(bed.ledger().await, counts(450, 0, 0, 400, 50));
}

#[tokio::test]
async fn claims_are_exclusive_and_bounded_by_number_and_bytes() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b", "c", "d", "e"]).await;
    assert_eq!(ids(&bed.claim(2, NOW).await), ["a", "b"]);
    let size = bed.event("c").event.json.len();
    let claim = |bytes| bed.store.claim(bed.destinations[0].id, Want { bytes, ..want(10) }, NOW);
    assert_eq!(ids(&claim(size * 2).await.unwrap()), ["c", "d"]);
    assert_eq!(ids(&claim(1).await.unwrap()), ["e"]);
    assert!(claim(usize::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_settlement_under_an_older_lease_changes_nothing() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let first = bed.claim(1, NOW).await.remove(0);
    assert_eq!(bed.settle(&first, Settle::Release).await, Settled::Done);
    let second = bed.claim(1, NOW).await.remove(0);
    assert!(second.lease > first.lease);
    assert_eq!(second.attempt, 1, "a release costs no attempt");
    assert_eq!(bed.settle(&first, Settle::Delivered).await, Settled::LeaseLost);
    let forged = ClaimedDelivery { lease: LeaseToken(u64::MAX), ..second.clone() };
    assert_eq!(bed.settle(&forged, Settle::Dead).await, Settled::LeaseLost);
    assert_eq!(bed.ledger().await, counts(1, 0, 0, 0, 1));
    let twice = vec![settlement(&second, Settle::Delivered), settlement(&second, Settle::Dead)];
    assert_eq!(bed.store.settle(twice).await.unwrap(), [Settled::Done, Settled::LeaseLost]);
    assert_eq!(bed.settle(&second, Settle::Dead).await, Settled::LeaseLost);
    assert_eq!(bed.ledger().await, counts(1, 1, 0, 0, 0));
}

#[tokio::test]
async fn a_lease_of_an_earlier_process_is_lost_and_its_delivery_owed_again() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let before = bed.claim(1, NOW).await.remove(0);
    let bed = bed.reopen_at(later(1));
    assert_eq!(bed.store.pending_destinations(), [bed.destinations[0].id]);
    let after = bed.claim(10, NOW).await;
    assert_eq!(ids(&after), ["a", "b"]);
    assert_eq!(after[0].attempt, 1, "an attempt that nobody finished costs none");
    assert_eq!(bed.settle(&before, Settle::Delivered).await, Settled::LeaseLost);
    assert_eq!(bed.settle(&after[0], Settle::Delivered).await, Settled::Done);
}

#[tokio::test]
async fn a_retry_is_claimed_when_it_is_due_and_not_before_also_after_a_restart() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let claimed = bed.claim(10, NOW).await;
    bed.settle(&claimed[0], Settle::RetryAt(later(1_000))).await;
    bed.settle(&claimed[1], Settle::RetryAt(later(500))).await;
    assert_eq!(bed.store.due(NOW), (vec![], Some(later(500))));
    assert!(bed.claim(10, later(499)).await.is_empty());
    let bed = bed.reopen();
    assert_eq!(bed.store.due(later(500)), (vec![bed.destinations[0].id], None));
    let again = bed.claim(10, later(500)).await;
    assert_eq!((ids(&again), again[0].attempt), (vec!["b"], 2));
    assert_eq!(bed.store.due(later(600)), (vec![], Some(later(1_000))));
    bed.settle(&again[0], Settle::Release).await;
    let again = bed.claim(10, later(1_000)).await;
    assert_eq!(ids(&again), ["b", "a"]);
    assert_eq!(again[0].attempt, 2, "a release costs no attempt");
    for delivery in &again {
        bed.settle(delivery, Settle::Delivered).await;
    }
    assert_eq!(bed.store.due(later(2_000)), (vec![], None));
    assert_eq!(bed.ledger().await, counts(2, 2, 0, 0, 0));
}

#[tokio::test]
async fn neither_retries_nor_fresh_deliveries_starve_the_other() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b", "c", "d"]).await;
    for delivery in bed.claim(10, NOW).await {
        bed.settle(&delivery, Settle::RetryAt(NOW)).await;
    }
    bed.accept(&["e", "f", "g", "h"]).await;
    let claim = |want| bed.store.claim(bed.destinations[0].id, want, NOW);
    assert_eq!(ids(&claim(Want { retries: 1, ..want(2) }).await.unwrap()), ["a", "e", "f"]);
    assert_eq!(ids(&claim(Want { fresh: 0, ..want(1) }).await.unwrap()), ["b"]);
    assert_eq!(bed.store.due(NOW).0, [bed.destinations[0].id], "it is known that more are due");
    assert_eq!(ids(&claim(Want { retries: 0, ..want(1) }).await.unwrap()), ["g"]);
    assert_eq!(bed.store.due(NOW).0, [bed.destinations[0].id], "also after a claim that did not look");
    let size = bed.event("c").event.json.len();
    assert_eq!(ids(&claim(Want { bytes: 2 * size, ..want(9) }).await.unwrap()), ["c", "h"], "half of the bytes each");
    assert_eq!(ids(&bed.claim(10, NOW).await), ["d"]);
}

#[tokio::test]
async fn a_dead_delivery_can_be_retried_with_its_attempts_kept() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let first = bed.claim(1, NOW).await.remove(0);
    let retry = |id| bed.store.retry(&bed.actor, id);
    assert!(matches!(retry(first.id).await, Err(StoreError::NotNow { .. })));
    bed.settle(&first, Settle::Dead).await;
    assert_eq!(bed.ledger().await, counts(1, 0, 0, 1, 0));
    retry(first.id).await.unwrap();
    assert_eq!(bed.ledger().await, counts(1, 0, 0, 0, 1));
    let second = bed.claim(1, NOW).await.remove(0);
    assert_eq!(second.attempt, 2);
    bed.settle(&second, Settle::Delivered).await;
    let attempts = bed.store.attempts(&bed.actor, first.id).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    let shown = bed.store.get_delivery(&bed.actor, first.id).await.unwrap();
    assert_eq!((shown.summary.state, shown.summary.attempts), (DeliveryState::Delivered, 2));
    assert_eq!(shown.event.get(), r#"{"messageId":"a"}"#);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_what_it_took_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { queue_events: 1, ..StoreConfig::default() };
    let bed = Bed::new(1).await;
    let store = Store::open(dir.path(), &config, Clock::Fixed(NOW)).unwrap();
    // The futures are polled in order without a pause, so the writer cannot empty the queue between all of them.
    let event = |id: &str| NewEvent { workspace: store.tenants.0, ..bed.event(id) };
    let accepts = (0..200).map(|n| store.accept(vec![event(&n.to_string()), event(&format!("{n}b"))]));
    let mut stored = 0;
    let mut refused = 0;
    for result in futures_of(accepts).await {
        match result {
            Ok(done) => stored += done.accepted,
            Err(AcceptError::Overloaded { retry_after, .. }) => {
                assert!(!retry_after.is_zero());
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(stored + refused * 2, 400);
    assert!(refused > 0);
    let ledger = store.ledger(&bed.actor, &LedgerScope::default()).await.unwrap();
    assert_eq!(ledger.accepted, stored);
}

/// Polls all at once, and waits for all.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn a_failed_commit_stops_the_store_and_what_was_acknowledged_before_is_there_after_a_restart() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let broken: Result<(), _> =
        bed.store.call(|commit| Ok(commit.sql.execute_batch("SELECT * FROM no_such_table")?)).await;
    assert!(matches!(broken, Err(StoreError::Stopped(_))));
    let refused = bed.store.accept(vec![bed.event("b")]).await;
    assert!(matches!(refused, Err(AcceptError::Stopped(_))), "{refused:?}");
    let claim = bed.store.claim(bed.destinations[0].id, want(1), NOW).await;
    assert!(matches!(claim, Err(StoreError::Stopped(_))));
    let bed = bed.reopen();
    assert_eq!(ids(&bed.claim(10, NOW).await), ["a"]);
    assert_eq!(bed.accept(&["b"]).await.accepted, 1);
}

#[tokio::test]
async fn a_second_open_of_the_same_directory_is_refused_by_its_name() {
    let bed = Bed::new(0).await;
    let Err(error) = Store::open(bed.dir.path(), &StoreConfig::default(), Clock::Fixed(NOW)) else {
        panic!("opened twice");
    };
    assert!(matches!(error, StoreError::Locked(_)));
    assert!(error.to_string().contains(&bed.dir.path().display().to_string()), "{error}");
    bed.store.close().await;
    open(bed.dir.path());
}

#[tokio::test]
async fn waiting_for_work_ends_when_there_is_some() {
    let bed = Bed::new(2).await;
    bed.store.wait_ready().await;
    let (ready, _) = tokio::join!(bed.store.wait_ready(), bed.accept(&["a"]));
    let mut wanted: Vec<_> = bed.destinations.iter().map(|destination| destination.id).collect();
    wanted.sort();
    assert_eq!(ready, wanted);
}

#[tokio::test]
async fn lists_show_what_is_asked_for_newest_first_in_pages() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    bed.accept(&["c", "d", "e"]).await;
    let claimed = bed.claim(10, NOW).await;
    bed.settle(&claimed[1], Settle::Dead).await;
    bed.settle(&claimed[3], Settle::RetryAt(later(5))).await;
    let mut page = Page { after: None, limit: 2 };
    let mut seen = Vec::new();
    loop {
        let part = bed.store.list_deliveries(&bed.actor, &DeliveryFilter::default(), &page).await.unwrap();
        assert!(part.items.len() <= 2);
        seen.extend(part.items.into_iter().map(|delivery| delivery.message_id));
        let Some(next) = part.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, ["e", "d", "c", "b", "a"]);
    let state = |state| DeliveryFilter { states: vec![state], ..DeliveryFilter::default() };
    let dead = bed.store.list_deliveries(&bed.actor, &state(DeliveryState::Dead), &Page::default()).await.unwrap();
    assert_eq!((dead.items.len(), dead.items[0].message_id.as_str()), (1, "b"));
    assert_eq!(dead.items[0].last_outcome.as_ref().unwrap().code, OutcomeCode::MessageRejected);
    let pending =
        bed.store.list_deliveries(&bed.actor, &state(DeliveryState::Pending), &Page::default()).await.unwrap();
    let due: Vec<_> = pending.items.iter().map(|d| (d.message_id.as_str(), d.attempts, d.next_due)).collect();
    assert_eq!(due, [("e", 0, None), ("d", 1, Some(later(5))), ("c", 0, None), ("a", 0, None)]);
    page.after = Some("x".to_owned());
    let wrong = bed.store.list_deliveries(&bed.actor, &DeliveryFilter::default(), &page).await;
    assert!(matches!(wrong, Err(StoreError::BadCursor(_))));
}

#[tokio::test]
async fn what_is_given_up_without_an_attempt_is_found_by_how_its_destination_failed() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let claimed = bed.claim(10, NOW).await;
    let last = Failure { delivery: claimed[1].id, code: OutcomeCode::GatewayTimeout, message: "no answer".to_owned() };
    let settlement = Settlement { attempt: None, instead: Some(last.into()), ..settlement(&claimed[0], Settle::Dead) };
    bed.store.settle(vec![settlement]).await.unwrap();
    let with = |outcome| DeliveryFilter { outcome: Some(outcome), ..DeliveryFilter::default() };
    let found =
        bed.store.list_deliveries(&bed.actor, &with(OutcomeCode::GatewayTimeout), &Page::default()).await.unwrap();
    let [dead] = &found.items[..] else { panic!("{found:?}") };
    assert_eq!((dead.message_id.as_str(), dead.attempts), ("a", 0));
    let cause = &dead.dead.as_ref().unwrap().cause;
    assert!(cause.starts_with("gateway_timeout: ") && cause.contains(&claimed[1].id.to_string()), "{cause}");
    assert!(cause.ends_with("no answer"), "{cause}");
    let other = bed.store.list_deliveries(&bed.actor, &with(OutcomeCode::Retry), &Page::default()).await.unwrap();
    assert!(other.items.is_empty());
    bed.store.retry(&bed.actor, claimed[0].id).await.unwrap();
    assert_eq!(ids(&bed.claim(10, NOW).await), ["a"]);
}

#[tokio::test]
async fn settled_blocks_leave_after_their_retention_and_the_ledger_stays() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let claimed = bed.claim(10, NOW).await;
    bed.settle(&claimed[0], Settle::Delivered).await;
    bed.settle(&claimed[1], Settle::Dead).await;
    bed.accept(&["c"]).await;
    let bed = bed.reopen_at(later(8 * 86_400_000));
    // The writer prunes when it has nothing else to do for a second, or with the first commit after one.
    while bed.store.get_delivery(&bed.actor, claimed[0].id).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.ledger().await, counts(3, 1, 0, 1, 1));
    assert_eq!(ids(&bed.claim(10, NOW).await), ["c"]);
}

#[tokio::test]
async fn what_is_settled_and_not_stored_any_more_stops_nobody() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let claimed = bed.claim(2, NOW).await;
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    sql.execute("DELETE FROM delivery_blocks", []).unwrap();
    for delivery in &claimed {
        assert_eq!(bed.settle(delivery, Settle::Delivered).await, super::super::Settled::LeaseLost);
    }
    assert_eq!(bed.accept(&["c"]).await.accepted, 1);
    assert_eq!(ids(&bed.claim(2, NOW).await), ["c"]);
}

#[tokio::test]
async fn whoever_reads_for_long_holds_up_nobodys_deliveries() {
    let bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let (mut ends, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..StoreConfig::default().readers {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begins, begun) = tokio::sync::oneshot::channel();
        let readers = std::sync::Arc::clone(&bed.store.readers);
        reading.push(tokio::spawn(async move {
            let read = move |_: &rusqlite::Connection| {
                begins.send(()).unwrap();
                // Until its other end is dropped.
                let _ = ended.recv();
                Ok(())
            };
            readers.read(read).await
        }));
        begun.await.unwrap();
        ends.push(end);
    }
    assert_eq!(bed.store.stored_keys(bed.destinations[0].id).await.unwrap(), []);
    assert_eq!(bed.store.replay_room(bed.destinations[0].id, 5).await.unwrap(), 0, "something new waits");
    assert_eq!(ids(&bed.claim(1, NOW).await), ["a"]);
    drop(ends);
    for one in reading {
        one.await.unwrap().unwrap();
    }
}
