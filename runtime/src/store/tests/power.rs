//! A power failure at any moment: the disk has what was synced, and any part of what was written since.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::faults::{keep_synced, on_disk, while_they_stand_still};
use super::*;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// How much of what was not synced the disk has.
#[derive(Clone, Copy, Debug)]
enum Written {
    Nothing,
    All,
    /// Any sectors of it.
    Some,
}

/// What the disk may have of a file.
fn image(certain: &[u8], now: &[u8], written: Written, dice: &mut StdRng) -> Vec<u8> {
    match written {
        Written::Nothing => certain.to_vec(),
        Written::All => now.to_vec(),
        Written::Some => {
            let mut image = certain.to_vec();
            image.resize(certain.len().max(now.len()), 0);
            for at in (0..now.len()).step_by(SECTOR).filter(|_| dice.random_bool(0.5)) {
                let end = now.len().min(at + SECTOR);
                image[at..end].copy_from_slice(&now[at..end]);
            }
            image
        }
    }
}

/// The data directory as a power failure leaves it.
fn after_power_failure(folder: &Path, synced: &Path, database: Written, log: Written, dice: &mut StdRng) -> TempDir {
    let after = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file()) {
        let name = entry.file_name();
        let written = match name.to_str().unwrap() {
            "tidegate.db" => database,
            "tidegate.db-wal" => log,
            "tidegate.db-shm" | "lock" => continue,
            _ => Written::All,
        };
        let certain = std::fs::read(synced.join(&name)).unwrap_or_default();
        let now = std::fs::read(entry.path()).unwrap();
        std::fs::write(after.path().join(&name), image(&certain, &now, written, dice)).unwrap();
    }
    after
}

#[tokio::test]
async fn after_a_power_failure_at_any_moment_everything_acknowledged_is_there_and_the_ledger_holds() {
    let (bed, folder) = on_disk().await;
    let synced = tempfile::tempdir().unwrap();
    for name in ["tidegate.db", "tidegate.db-wal"] {
        // So far nothing was left to the system: all of it was synced or is about to be.
        std::fs::copy(folder.join(name), synced.path().join(name)).unwrap();
    }
    keep_synced(&folder, synced.path());
    let mut dice = StdRng::seed_from_u64(7);
    let mut acknowledged = 0;
    // Enough for the log to be written from its beginning some times.
    for round in 0..24 {
        // A batch of two commits.
        let long: Vec<String> = (0..60).map(|number| format!("long {round} {number}")).collect();
        acknowledged += bed.accept(&long.iter().map(String::as_str).collect::<Vec<_>>()).await.accepted;
        for number in 0..25 {
            let ids = [0, 1].map(|one| format!("{round} {number} {one}"));
            assert_eq!(bed.accept(&[&ids[0], &ids[1]]).await.accepted, 2);
            acknowledged += 2;
            let claimed = bed.claim(2, NOW).await;
            let settles = [Settle::Delivered, Settle::Dead, Settle::RetryAt(later(9_000_000))];
            for delivery in claimed.iter().take(dice.random_range(0..3)) {
                bed.settle(delivery, settles[dice.random_range(0..3)]).await;
            }
        }
        let everywhere = [Written::Nothing, Written::All, Written::Some];
        let [database, log] = [0, 1].map(|_| everywhere[dice.random_range(0..3)]);
        let what = format!("round {round}: {database:?} of the database, {log:?} of the log");
        let fails = || after_power_failure(&folder, synced.path(), database, log, &mut dice);
        let after = while_they_stand_still(fails);
        let sql = rusqlite::Connection::open(after.path().join("tidegate.db")).unwrap();
        let sound: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{what}");
        drop(sql);
        let store = open(after.path());
        let ledger = store.ledger(&bed.actor, &LedgerScope::default()).await.unwrap();
        assert!(ledger.holds() && ledger.accepted == acknowledged, "{what}: {ledger:?} instead of {acknowledged}");
        assert_eq!(ledger, store.ledger_recount(&bed.actor, &LedgerScope::default()).await.unwrap(), "{what}");
        let known = store.accept(vec![bed.event("0 0 0"), bed.event(&format!("{round} 24 1"))]).await.unwrap();
        assert_eq!(known.repeated, [0, 1], "{what}: message ids are known");
    }
}
