//! What the smallest steps cost the disk: the pages that a commit writes to the log, each of them 4 KB and the same again later,
//! in the database. Beside replays and floods, how long an event waits is mostly this.

use super::super::open;
use super::*;
use crate::model::{DeliveryId, DeliveryState};
use crate::store::{NewReplay, Readmission, ReplayStep};

/// Repetitions of a step: the pages of the one in the middle count, for now and then one fills a page and begins another.
const TIMES: usize = 15;

/// A frame of the log.
const FRAME: usize = 4096 + 24;
/// What is before its first one.
const HEADER: usize = 32;

impl Bed {
    /// The log: the salt of its frames, which is another one when it is written from its beginning, and how many there are.
    fn log(&self) -> ([u8; 8], u64) {
        let log = std::fs::read(self.dir.path().join("tidegate.db-wal")).unwrap();
        let salt = |at: usize| <[u8; 8]>::try_from(&log[at..at + 8]).unwrap();
        let frames = log[HEADER..].chunks_exact(FRAME).take_while(|frame| frame[8..16] == salt(16)).count();
        (salt(16), frames as u64)
    }

    fn pages_since(&self, (salt, frames): ([u8; 8], u64)) -> u64 {
        let (now, all) = self.log();
        if now == salt { all - frames } else { all }
    }

    /// One delivery that was accepted and claimed alone, so that its block is its own.
    async fn one(&self, id: &str) -> ClaimedDelivery {
        self.accept(&[id]).await;
        self.claim(1, NOW).await.remove(0)
    }

    async fn settle_without_record(&self, claimed: &ClaimedDelivery, settle: Settle) {
        let mut settlement = settlement(claimed, settle);
        if let Some(attempt) = &mut settlement.attempt {
            attempt.version = self.destinations[0].consented;
            attempt.record = None;
        }
        self.store.settle(vec![settlement]).await.unwrap();
    }
}

fn middle(mut pages: Vec<u64>) -> u64 {
    pages.sort_unstable();
    pages[pages.len() / 2]
}

#[tokio::test]
async fn each_step_of_one_event_writes_few_pages() {
    let bed = Bed::new(1).await;
    // Trees of more than one page.
    for number in 0..150 {
        let claimed = bed.one(&format!("before {number}")).await;
        bed.settle(&claimed, if number % 2 == 0 { Settle::Dead } else { Settle::Delivered }).await;
    }
    let mut steps: Vec<(&str, Vec<u64>)> = Vec::new();
    let mut add = |step: &'static str, pages: u64| match steps.iter_mut().find(|(known, _)| *known == step) {
        Some((_, all)) => all.push(pages),
        None => steps.push((step, vec![pages])),
    };
    let mut dead = Vec::new();
    for number in 0..TIMES {
        let before = bed.log();
        bed.accept(&[&format!("fine {number}")]).await;
        add("accepted", bed.pages_since(before));
        let claimed = bed.claim(1, NOW).await.remove(0);
        let before = bed.log();
        bed.settle_without_record(&claimed, Settle::Delivered).await;
        add("delivered", bed.pages_since(before));

        let claimed = bed.one(&format!("recorded {number}")).await;
        let mut settlement = settlement(&claimed, Settle::Delivered);
        settlement.attempt.as_mut().unwrap().number = 2;
        let before = bed.log();
        bed.store.settle(vec![settlement]).await.unwrap();
        add("delivered, with a record", bed.pages_since(before));

        let claimed = bed.one(&format!("again {number}")).await;
        let before = bed.log();
        bed.settle(&claimed, Settle::RetryAt(later(1_000))).await;
        add("to be tried again", bed.pages_since(before));

        let claimed = bed.one(&format!("dead {number}")).await;
        let before = bed.log();
        bed.settle(&claimed, Settle::Dead).await;
        add("dead", bed.pages_since(before));
        dead.push(claimed.id);
    }
    let destination = bed.destinations[0].id;
    let new = NewReplay {
        filter: Default::default(),
        version: Default::default(),
        events_per_s: 100,
        until: i64::MAX,
        destinations: vec![destination],
        matching: TIMES as u64,
    };
    let replay = bed.store.create_replay(&bed.actor, new).await.unwrap().id;
    for (at, two) in dead.chunks_exact(2).enumerate() {
        let owe = |delivery: &DeliveryId| (*delivery, Readmission::Owe { was: DeliveryState::Dead, version: None });
        let items = two.iter().map(owe).collect();
        let next = Some(crate::store::Cursor { seq: at as i64 + 1, position: 1 });
        let before = bed.log();
        assert!(bed.store.replay_step(replay, vec![ReplayStep { destination, items, next }]).await.unwrap());
        add("two given back by a replay", bed.pages_since(before));
    }
    let most = [
        ("accepted", 7),
        ("delivered", 3),
        ("delivered, with a record", 6),
        ("to be tried again", 7),
        ("dead", 8),
        ("two given back by a replay", 9),
    ];
    assert_eq!(steps.len(), most.len());
    for ((step, pages), (known, most)) in steps.into_iter().zip(most) {
        assert_eq!(step, known);
        let pages = middle(pages);
        assert!(pages <= most, "{step}: {pages} pages instead of {most} at most");
    }
    bed.ledger().await;
}

/// Statements of the hot path, and of what reads behind it, that must not read a table from one end to the other.
#[tokio::test]
async fn no_step_reads_all_delivery_blocks() {
    let bed = Bed::new(1).await;
    let with = crate::store::prune::WITH;
    let mut statements = vec![
        format!("DELETE FROM delivery_blocks WHERE {with}"),
        format!("SELECT EXISTS (SELECT 1 FROM delivery_blocks WHERE {with} AND open > 0)"),
        crate::store::claim::fresh_blocks(),
    ];
    statements.extend(crate::store::newest::statements());
    let sql = rusqlite::Connection::open(bed.dir.path().join("tidegate.db")).unwrap();
    for statement in statements {
        let mut plan = sql.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        // Nothing is bound: the plan must be the same whatever is.
        let (mut rows, mut steps) = (plan.raw_query(), Vec::<String>::new());
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        let reads: Vec<_> = steps.iter().filter(|step| step.contains("delivery_blocks")).collect();
        assert!(!reads.is_empty() && reads.iter().all(|step| step.starts_with("SEARCH")), "{statement}: {steps:?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{statement}: {steps:?}");
    }
}

#[tokio::test]
async fn a_workspaces_list_is_in_order_over_its_destinations_whatever_became_of_their_deliveries() {
    let bed = Bed::new(3).await;
    // Of each event one destination owes nothing, so that their blocks come in other turns.
    let mut expected = Vec::new();
    for number in 0..90 {
        let mut event = bed.event(&format!("event {number}"));
        event.owed.remove(number % 3);
        bed.store.accept(vec![event]).await.unwrap();
        for (at, destination) in bed.destinations.iter().enumerate() {
            let Some(claimed) = bed.store.claim(destination.id, want(1), NOW).await.unwrap().pop() else { continue };
            let (settle, state) = match (number + at) % 4 {
                0 => (Settle::Delivered, DeliveryState::Delivered),
                1 => (Settle::Dead, DeliveryState::Dead),
                2 => (Settle::RetryAt(later(1_000_000)), DeliveryState::Pending),
                _ => (Settle::Filtered(crate::model::FilterReason::Unsupported), DeliveryState::Filtered),
            };
            bed.settle(&claimed, settle).await;
            expected.push((number, state));
        }
    }
    for states in [&[][..], &[DeliveryState::Pending], &[DeliveryState::Dead], &[DeliveryState::Delivered]] {
        let filter = crate::store::DeliveryFilter { states: states.to_vec(), ..Default::default() };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = crate::store::Page { after, limit: 7 };
            let page = bed.store.list_deliveries(&bed.actor, &filter, &page).await.unwrap();
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let wanted = expected.iter().filter(|(_, state)| states.is_empty() || states.contains(state)).count();
        let ids: std::collections::HashSet<_> = found.iter().map(|one| one.id).collect();
        assert_eq!((found.len(), ids.len()), (wanted, wanted), "{states:?}: each once");
        let numbers: Vec<usize> =
            found.iter().map(|one| one.message_id.trim_start_matches("event ").parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a >= b), "{states:?}: newest first: {numbers:?}");
        // One delivery by its id.
        let one = found[found.len() / 2].id;
        let filter = crate::store::DeliveryFilter { delivery: Some(one), ..filter };
        let page = bed.store.list_deliveries(&bed.actor, &filter, &crate::store::Page { after: None, limit: 7 });
        assert_eq!(page.await.unwrap().items.iter().map(|one| one.id).collect::<Vec<_>>(), [one]);
    }
}

#[test]
fn blocks_of_older_programs_are_found_by_their_events_and_as_owed_and_stand_before_all_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (places, _lock) = open::lock(dir.path()).unwrap();
    let mut sql = open::writer(&places).unwrap();
    for step in &open::MIGRATIONS[..20] {
        sql.execute_batch(step).unwrap();
    }
    sql.pragma_update(None, "user_version", 20).unwrap();
    for event_block in 1..=3 {
        let events =
            "INSERT INTO event_blocks (workspace, source, accepted_at, count, data) VALUES (x'01', x'02', 1, 1, x'')";
        sql.execute(events, []).unwrap();
        for destination in 1..=2_u8 {
            let block = "INSERT INTO delivery_blocks (id, workspace, source, connection, destination, event_block, accepted_at, fresh,
                           open, dead, states) VALUES (randomblob(16), x'01', x'02', x'03', ?1, ?2, 1, ?3, ?3, 0, x'00')";
            sql.execute(block, rusqlite::params![[destination; 16], event_block, event_block % 2]).unwrap();
        }
    }
    open::migrate(&mut sql, &places).unwrap();
    let numbers = |statement: String, bound: &[&dyn rusqlite::ToSql]| -> Vec<i64> {
        sql.prepare(&statement).unwrap().query_map(bound, |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut new = crate::store::numbers::Numbers::default();
    let event_block = new.event_block(&sql).unwrap();
    assert!(event_block > 3);
    for (old, expected) in [(1, vec![1, 2]), (2, vec![3, 4]), (3, vec![5, 6])] {
        let (first, last) = crate::store::numbers::blocks_of(old);
        assert!(last < crate::store::numbers::blocks_of(event_block).0);
        let with = format!("SELECT seq FROM delivery_blocks WHERE {} ORDER BY seq", crate::store::prune::WITH);
        assert_eq!(numbers(with, &[&old, &first, &last]), expected);
    }
    assert_eq!(numbers(crate::store::claim::fresh_blocks(), &[&[1_u8; 16], &0]), [1, 5]);
    assert_eq!(numbers(crate::store::claim::fresh_blocks(), &[&[2_u8; 16], &3]), [6]);
}
