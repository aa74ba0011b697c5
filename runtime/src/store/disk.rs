//! How much room the disk has, asked a few times a second.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How old an answer may be. At the highest rates that were measured less than 20 MB are written in that time.
const FRESH: Duration = Duration::from_millis(100);

/// The disk under the data directory.
pub(super) struct Disk {
    dir: PathBuf,
    least: u64,
    free: AtomicU64,
    /// Milliseconds after `start`, plus one, at which `free` was asked for.
    asked: AtomicU64,
    start: Instant,
}

impl Disk {
    pub fn new(dir: PathBuf, least: u64) -> Self {
        Self { dir, least, free: AtomicU64::new(u64::MAX), asked: AtomicU64::new(0), start: Instant::now() }
    }

    /// Bytes that are free. If the system does not say, they are enough: a write that finds no room says so itself.
    pub fn free(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let asked = self.asked.load(Ordering::Relaxed);
        let old = asked == 0 || now.saturating_sub(asked) >= FRESH.as_millis() as u64;
        // One asks, whoever comes in that moment uses the answer before.
        if old && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let free =
                rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            self.free.store(free, Ordering::Relaxed);
        }
        self.free.load(Ordering::Relaxed)
    }

    /// Bytes that have to be free for anything new to be taken.
    pub fn least(&self) -> u64 {
        self.least
    }

    /// How much is free, and how much should be, if it is too little to take anything new.
    pub fn is_low(&self) -> Option<(u64, u64)> {
        let free = self.free();
        (free < self.least).then_some((free, self.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_below_its_least_and_one_that_does_not_say_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Disk::new(dir.path().to_owned(), 1).is_low(), None);
        let (free, least) = Disk::new(dir.path().to_owned(), u64::MAX).is_low().unwrap();
        assert!(free > 0 && least == u64::MAX);
        assert_eq!(Disk::new(dir.path().join("gone"), u64::MAX).is_low(), None);
    }
}
