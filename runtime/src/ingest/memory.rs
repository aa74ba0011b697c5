//! How much memory the process uses, of what it may use; asked a few times a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How old an answer may be: in that time a host that is under full load takes some tens of megabytes.
const FRESH: Duration = Duration::from_millis(100);

/// The process's memory.
#[derive(Debug)]
pub struct Memory {
    /// Bytes that may be used while new events are taken.
    most: u64,
    used: AtomicU64,
    /// Milliseconds after `start`, plus one, at which `used` was asked for.
    asked: AtomicU64,
    start: Instant,
}

impl Memory {
    /// With this share, in percent, of what the control group or the machine has.
    pub fn new(percent: f64) -> Self {
        let all = group_limit().unwrap_or(u64::MAX).min(machine().unwrap_or(u64::MAX));
        let most = (all as f64 * percent / 100.0) as u64;
        Self { most, used: AtomicU64::new(0), asked: AtomicU64::new(0), start: Instant::now() }
    }

    /// Bytes that the process has in memory. Where the system does not say, none.
    pub fn used(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let asked = self.asked.load(Ordering::Relaxed);
        let old = asked == 0 || now.saturating_sub(asked) >= FRESH.as_millis() as u64;
        // One asks, whoever comes in that moment uses the answer before.
        if old && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.used.store(resident().unwrap_or(0), Ordering::Relaxed);
        }
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be used while new events are taken.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// How much is used and how much may be, if it is too much to take anything new.
    pub fn is_over(&self) -> Option<(u64, u64)> {
        let used = self.used();
        (used > self.most).then_some((used, self.most))
    }
}

fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The least limit of the control groups that the process is in.
fn group_limit() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
    let root = std::path::Path::new("/sys/fs/cgroup");
    let of = |group: &std::path::Path| limit(&std::fs::read_to_string(group.join("memory.max")).ok()?);
    root.join(own).ancestors().take_while(|group| group.starts_with(root)).filter_map(of).min()
}

/// What `memory.max` says; none for `max`.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_and_is_over_a_share_that_is_less() {
        assert!(Memory::new(0.0001).is_over().is_some_and(|(used, most)| used > most));
        let whole = Memory::new(100.0);
        assert!(whole.used() > 1 << 20, "{whole:?}");
        assert_eq!(whole.is_over(), None);
        assert_eq!([limit("max\n"), limit("1048576\n")], [None, Some(1 << 20)]);
    }
}
