//! Deliveries that are held until those before them are over.

use std::time::Duration;

use super::*;
use crate::model::OrderKey;
use crate::store::Settled;

/// The deliveries of a claim, all with this key, as the delivery core gives it to them.
async fn keyed(bed: &Bed, most: usize, key: u64) -> Vec<ClaimedDelivery> {
    let mut claimed = bed.claim(most, NOW).await;
    claimed.iter_mut().for_each(|delivery| delivery.key = Some(OrderKey(key)));
    claimed
}

async fn holding(bed: &Bed, delivery: &ClaimedDelivery) {
    assert_eq!(bed.settle(delivery, Settle::Hold).await, Settled::Done);
}

#[tokio::test]
async fn what_is_held_is_due_when_those_before_it_are_over_one_after_the_other_also_after_a_restart() {
    let mut bed = Bed::new(1).await;
    bed.accept(&["a", "b", "c"]).await;
    let claimed = keyed(&bed, 9, 7).await;
    bed.settle(&claimed[0], Settle::RetryAt(later(500))).await;
    // In any order: only when they were accepted counts.
    holding(&bed, &claimed[2]).await;
    holding(&bed, &claimed[1]).await;
    let held = bed.store.get_delivery(&bed.actor, claimed[1].id).await.unwrap().summary;
    assert_eq!((held.attempts, held.next_due), (0, None));
    assert_eq!(bed.store.stored_keys(bed.destinations[0].id).await.unwrap(), [(OrderKey(7), 3)]);
    for (ends, (wanted, attempt)) in
        [Settle::Dead, Settle::Delivered, Settle::Delivered].into_iter().zip([("a", 2), ("b", 1), ("c", 1)])
    {
        bed = bed.reopen_at(later(500));
        let next = bed.claim(9, later(500)).await;
        assert_eq!((ids(&next), next[0].attempt, next[0].key), (vec![wanted], attempt, Some(OrderKey(7))));
        bed.settle(&next[0], ends).await;
    }
    assert!(bed.store.stored_keys(bed.destinations[0].id).await.unwrap().is_empty());
    assert_eq!(bed.ledger().await, counts(3, 2, 0, 1, 0));
}

#[tokio::test]
async fn what_is_held_when_nothing_before_it_is_open_any_more_is_due_at_once() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let claimed = keyed(&bed, 9, 7).await;
    bed.settle(&claimed[0], Settle::RetryAt(NOW)).await;
    let again = bed.claim(1, NOW).await.remove(0);
    // Whoever holds the second one back does not know yet that the first one is over.
    bed.settle(&again, Settle::Delivered).await;
    holding(&bed, &claimed[1]).await;
    assert_eq!(ids(&bed.claim(9, NOW).await), ["b"]);
}

#[tokio::test]
async fn another_key_and_a_revived_delivery_wait_for_nobody() {
    let bed = Bed::new(1).await;
    bed.accept(&["a", "b"]).await;
    let mut claimed = keyed(&bed, 9, 7).await;
    claimed[1].key = Some(OrderKey(8));
    bed.settle(&claimed[0], Settle::RetryAt(later(500))).await;
    holding(&bed, &claimed[1]).await;
    let other = bed.claim(9, NOW).await.remove(0);
    assert_eq!(other.event.message_id, "b");
    bed.settle(&other, Settle::Dead).await;
    bed.store.retry(&bed.actor, other.id).await.unwrap();
    assert_eq!(bed.claim(9, NOW).await.remove(0).key, None, "its key went on without it");
}

#[tokio::test]
async fn after_the_clock_was_set_back_what_comes_later_still_waits_behind_what_came_before() {
    let mut bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let first = keyed(&bed, 9, 7).await.remove(0);
    bed.settle(&first, Settle::RetryAt(later(500))).await;
    let back = NOW.minus(Duration::from_secs(3 * 3600));
    bed = bed.reopen_at(back);
    bed.accept(&["b"]).await;
    let mut second = bed.claim(9, back).await.remove(0);
    assert_eq!(second.event.message_id, "b", "a is not due yet");
    assert!(second.id > first.id, "ids tell who came first");
    second.key = Some(OrderKey(7));
    holding(&bed, &second).await;
    let soon = back.plus(Duration::from_secs(60));
    for wanted in ["a", "b"] {
        let next = bed.claim(9, soon).await;
        assert_eq!(ids(&next), [wanted]);
        bed.settle(&next[0], Settle::Delivered).await;
    }
}

#[tokio::test]
async fn after_the_clock_was_set_back_a_retry_is_due_within_a_minute_and_its_window_has_not_begun_in_times_to_come() {
    let mut bed = Bed::new(1).await;
    bed.accept(&["a"]).await;
    let first = bed.claim(9, NOW).await.remove(0);
    bed.settle(&first, Settle::RetryAt(later(90_000))).await;
    let back = NOW.minus(Duration::from_secs(74 * 365 * 86_400));
    bed = bed.reopen_at(back);
    let again = bed.claim(9, back.plus(Duration::from_secs(60))).await.remove(0);
    assert_eq!((again.attempt, again.accepted_at), (2, back));
}
