//! Pool: the memory that all guests together may have beyond what each needs to be there at all, and the answers that are kept
//! for them.
//!
//! Guarantees: the sum never exceeds what the operator set, however many guests sleep with memory in their hands. Who finds the
//! pool empty waits a moment, in line; a guest that then still gets nothing is not to blame, so that is the host's fault.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What a guest may have without asking the pool: the whole of most functions in Rust, so that no other guest keeps them from running.
pub(super) const FREE: usize = 2 << 20;

/// What an answer may have without asking: most are smaller, and there are few in one invocation (`limits.requests`).
pub(super) const FREE_ANSWER: usize = 16 << 10;

/// How long who needs memory waits for others to end: most do within milliseconds, and the deadline runs meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// The pool. Clones are the same pool.
#[derive(Clone)]
pub(super) struct Pool(Arc<Semaphore>);

/// A part of the pool, until it is dropped.
#[derive(Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

/// The pool has had nothing for as long as one waits.
#[derive(Debug, thiserror::Error)]
#[error(
    "all guests together have the memory that they may have (`sandbox.memory_percent`), and {0} more KiB were not free within a second"
)]
pub(super) struct Empty(usize);

impl Pool {
    /// With so many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Makes `held` hold at least so many bytes.
    pub async fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Empty> {
        let more = bytes.div_ceil(UNIT).saturating_sub(held.units());
        if more == 0 {
            return Ok(());
        }
        let permits = u32::try_from(more).map_err(|_| Empty(more))?;
        let got = match Arc::clone(&self.0).try_acquire_many_owned(permits) {
            Ok(got) => got,
            // Nothing closes the semaphore.
            Err(_) => match timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(permits)).await {
                Ok(Ok(got)) => got,
                Ok(Err(_)) | Err(_) => return Err(Empty(more)),
            },
        };
        match &mut held.0 {
            Some(before) => before.merge(got),
            none => *none = Some(got),
        }
        Ok(())
    }
}

impl Held {
    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_missing_until_it_is_dropped_and_who_finds_nothing_waits_a_second() {
        let pool = Pool::new(10 << 10);
        let (mut one, mut two) = (Held::default(), Held::default());
        pool.hold(&mut one, 6 << 10).await.unwrap();
        pool.hold(&mut one, (5 << 10) + 1).await.unwrap();
        assert_eq!((one.units(), pool.0.available_permits()), (6, 4));
        pool.hold(&mut two, 1).await.unwrap();
        assert!(pool.hold(&mut two, 6 << 10).await.unwrap_err().to_string().contains("5 more KiB"));
        let (waited, ()) = tokio::join!(pool.hold(&mut two, 6 << 10), async { drop(one) });
        waited.unwrap();
        assert_eq!(pool.0.available_permits(), 4);
        drop(two);
        assert_eq!(pool.0.available_permits(), 10);
    }
}
