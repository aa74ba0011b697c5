//! How many requests one source may send, or one key make: a bucket of tokens that fills with time.

use std::hash::Hash;
use std::num::NonZeroU64;
use std::time::Duration;

use dashmap::DashMap;

use crate::model::Timestamp;

/// A bucket in thousandths of a token, so that a slow rate fills evenly by the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bucket {
    thousandths: u64,
    at: Timestamp,
}

/// Takes one token, or says how long until there is one. Pure.
fn take(bucket: Bucket, now: Timestamp, per_second: NonZeroU64, burst: NonZeroU64) -> (Bucket, Option<Duration>) {
    const ONE: u64 = 1000;
    // A clock that goes back fills nothing, and fills on from where it is.
    let passed = u64::try_from(now.since(bucket.at).as_millis()).unwrap_or(u64::MAX);
    let full = burst.get().saturating_mul(ONE);
    // One token a second is one thousandth a millisecond.
    let filled = bucket.thousandths.saturating_add(passed.saturating_mul(per_second.get())).min(full);
    if filled >= ONE {
        return (Bucket { thousandths: filled - ONE, at: now }, None);
    }
    let wait = Duration::from_millis((ONE - filled).div_ceil(per_second.get()));
    (Bucket { thousandths: filled, at: now }, Some(wait))
}

/// A bucket for each of those whose quota it is.
#[derive(Debug)]
pub struct Quota<K: Eq + Hash> {
    per_second: NonZeroU64,
    burst: NonZeroU64,
    buckets: DashMap<K, Bucket>,
}

impl<K: Eq + Hash> Quota<K> {
    /// Buckets that start full. Only who exists may get one: so their number is bounded.
    pub fn new(per_second: NonZeroU64, burst: NonZeroU64) -> Self {
        Self { per_second, burst, buckets: DashMap::new() }
    }

    /// Takes one request of this one; how many are left.
    ///
    /// # Errors
    /// How long until the next one will be taken.
    pub fn take(&self, of: K, now: Timestamp) -> Result<u64, Duration> {
        let full = Bucket { thousandths: self.burst.get().saturating_mul(1000), at: now };
        let mut bucket = self.buckets.entry(of).or_insert(full);
        let (next, wait) = take(*bucket, now, self.per_second, self.burst);
        *bucket = next;
        wait.map_or(Ok(next.thousandths / 1000), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceId;

    #[test]
    fn a_burst_passes_then_the_rate_and_each_source_has_its_own() {
        let at = Timestamp::from_millis;
        let two = NonZeroU64::new(2).unwrap();
        let quota = Quota::new(two, NonZeroU64::new(3).unwrap());
        let (one, other) = (SourceId::new(at(1)), SourceId::new(at(2)));
        let results: Vec<bool> = [1000, 1000, 1000, 1000, 1499, 1500, 1500, 9000, 9000, 9000, 9000, 500, 999, 1000]
            .map(|ms| quota.take(one, at(ms)).is_ok())
            .to_vec();
        let (yes, no) = (true, false);
        assert_eq!(results, [yes, yes, yes, no, no, yes, no, yes, yes, yes, no, no, no, yes]);
        assert_eq!(quota.take(other, at(1000)), Ok(2));
        assert_eq!(quota.take(one, at(1000)), Err(Duration::from_millis(500)));
    }
}
