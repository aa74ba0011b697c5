//! Pool: the memory that all guests together may have beyond what each needs to be there at all, and the bodies of
//! requests and answers that are kept for them.
//!
//! Guarantees: what they keep never exceeds what the operator set, however many sleep with memory in their hands. Who finds the
//! pool empty waits a moment, in line; a guest that then still gets nothing is not to blame, so that is the host's fault.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::cpu::SMALL;

/// What a guest may have without asking the pool: the whole of most functions, so that no other guest keeps them from running. A function in
/// JavaScript begins with 3.6 MiB, of which it touches little.
pub(super) const FREE: usize = 4 << 20;

/// What a request's body, or an answer, may have without asking: most are smaller, and there are few in one invocation (`limits.requests`).
pub(super) const FREE_ANSWER: usize = 16 << 10;

/// What is held for an answer before its request is sent: what comes back is smaller nearly always, and nothing is sent in vain then.
pub(super) const ORDINARY_ANSWER: usize = 128 << 10;

/// How long who needs memory waits for others to end: most do within milliseconds, and the deadline runs meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// The pool. Clones are the same pool.
///
/// One half is for what anybody has up to [`SMALL`], the other for what is more: who sleeps with much in its hands keeps that from
/// others who want much, and whoever waits for much stands before nobody who wants little.
#[derive(Clone)]
pub(super) struct Pool {
    little: Arc<Semaphore>,
    much: Arc<Semaphore>,
}

/// A part of the pool, until it is dropped.
#[derive(Default)]
pub(super) struct Held {
    little: Option<OwnedSemaphorePermit>,
    much: Option<OwnedSemaphorePermit>,
}

/// The pool has had nothing for as long as one waits.
#[derive(Debug, thiserror::Error)]
#[error(
    "all guests together have the memory that they may have (`sandbox.memory_percent`), and {0} more KiB were not free within a second"
)]
pub(super) struct Empty(usize);

impl Pool {
    /// With so many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / 2 / UNIT as u64).unwrap_or(usize::MAX);
        let half = || Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Self { little: half(), much: half() }
    }

    /// Makes `held` hold at least so many bytes.
    pub async fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Empty> {
        take(&self.little, &mut held.little, bytes.min(SMALL)).await?;
        take(&self.much, &mut held.much, bytes.saturating_sub(SMALL)).await
    }
}

async fn take(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Empty> {
    let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = bytes.div_ceil(UNIT).saturating_sub(has);
    if more == 0 {
        return Ok(());
    }
    let permits = u32::try_from(more).map_err(|_| Empty(more))?;
    let got = match Arc::clone(from).try_acquire_many_owned(permits) {
        Ok(got) => got,
        // Nothing closes the semaphore.
        Err(_) => match timeout(PATIENCE, Arc::clone(from).acquire_many_owned(permits)).await {
            Ok(Ok(got)) => got,
            Ok(Err(_)) | Err(_) => return Err(Empty(more)),
        },
    };
    match held {
        Some(before) => before.merge(got),
        none => *none = Some(got),
    }
    Ok(())
}

impl Held {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.little.is_none() && self.much.is_none()
    }

    /// Gives back what is more than so many bytes, of what is little.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(held) = &mut self.little {
            drop(held.split(held.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_is_missing_until_it_is_dropped_and_who_finds_nothing_waits_a_second() {
        let pool = Pool::new(20 << 10);
        let free = || pool.little.available_permits();
        let (mut one, mut two) = (Held::default(), Held::default());
        pool.hold(&mut one, 6 << 10).await.unwrap();
        pool.hold(&mut one, (5 << 10) + 1).await.unwrap();
        assert_eq!(free(), 4);
        pool.hold(&mut two, 1).await.unwrap();
        assert!(pool.hold(&mut two, 6 << 10).await.unwrap_err().to_string().contains("5 more KiB"));
        let (waited, ()) = tokio::join!(pool.hold(&mut two, 6 << 10), async { drop(one) });
        waited.unwrap();
        assert_eq!(free(), 4);
        two.shrink(1);
        assert_eq!(free(), 9);
        drop(two);
        assert_eq!(free(), 10);
    }

    #[tokio::test]
    async fn who_wants_much_takes_nothing_from_those_who_want_little() {
        let pool = Pool::new(6 * SMALL as u64);
        let (mut large, mut small) = (Held::default(), Held::default());
        pool.hold(&mut large, 4 * SMALL).await.unwrap();
        let (another, little) = tokio::join!(
            async {
                let mut held = Held::default();
                pool.hold(&mut held, 2 * SMALL).await
            },
            async {
                tokio::task::yield_now().await;
                pool.hold(&mut small, 1 << 10).await
            },
        );
        assert!(another.is_err() && little.is_ok(), "{another:?} {little:?}");
    }
}
