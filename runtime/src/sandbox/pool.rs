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
    "all guests together have the memory that they may have (`sandbox.memory_percent`), and {0} more KiB were not free in time"
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

    /// The same, of what is free at once, for who cannot wait.
    pub fn hold_now(&self, held: &mut Held, bytes: usize) -> Result<(), Empty> {
        take_now(&self.little, &mut held.little, bytes.min(SMALL))?;
        take_now(&self.much, &mut held.much, bytes.saturating_sub(SMALL))
    }
}

async fn take(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Empty> {
    if take_now(from, held, bytes).is_ok() {
        return Ok(());
    }
    let more = missing(held.as_ref(), bytes);
    let permits = u32::try_from(more).map_err(|_| Empty(more))?;
    // Nothing closes the semaphore.
    let got = timeout(PATIENCE, Arc::clone(from).acquire_many_owned(permits)).await;
    add(held, got.ok().and_then(Result::ok).ok_or(Empty(more))?);
    Ok(())
}

fn take_now(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Empty> {
    let more = missing(held.as_ref(), bytes);
    if more == 0 {
        return Ok(());
    }
    let permits = u32::try_from(more).map_err(|_| Empty(more))?;
    add(held, Arc::clone(from).try_acquire_many_owned(permits).map_err(|_| Empty(more))?);
    Ok(())
}

/// How many more permits so many bytes need.
fn missing(held: Option<&OwnedSemaphorePermit>, bytes: usize) -> usize {
    bytes.div_ceil(UNIT).saturating_sub(held.map_or(0, OwnedSemaphorePermit::num_permits))
}

fn add(held: &mut Option<OwnedSemaphorePermit>, got: OwnedSemaphorePermit) {
    match held {
        Some(before) => before.merge(got),
        none => *none = Some(got),
    }
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

    #[test]
    fn who_cannot_wait_gets_what_is_free_and_nothing_else() {
        let pool = Pool::new(20 << 10);
        let (mut one, mut two) = (Held::default(), Held::default());
        pool.hold_now(&mut one, 6 << 10).unwrap();
        assert!(pool.hold_now(&mut two, 5 << 10).unwrap_err().to_string().contains("5 more KiB"));
        assert!(two.is_empty());
        pool.hold_now(&mut two, 4 << 10).unwrap();
        drop(one);
        pool.hold_now(&mut two, 10 << 10).unwrap();
        assert_eq!(pool.little.available_permits(), 0);
    }
}
