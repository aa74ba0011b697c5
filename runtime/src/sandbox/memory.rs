//! The memory budget of one invocation: all memories and tables of all its instances, the handles that it holds and what the host
//! keeps for it behind them, together.
//!
//! Guarantees: the sum never exceeds the limit; a refusal is remembered, because a guest that is refused memory
//! usually crashes over it a moment later and the crash alone does not say why. What is more than a little comes out of the
//! pool of all guests.

use std::pin::Pin;

use wasmtime::{Error, ResourceLimiterAsync, Result};

use super::HostFault;
use super::cpu::{CpuMeter, SMALL};
use super::pool::{Empty, FREE, Held, Pool};

/// What one table element takes: a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// What one handle takes in the host beside the bytes that cross: its place in the table, and a request's or a stream's state.
const HANDLE_BYTES: usize = 256;

/// Core instances in one component. Rust and JavaScript components have three (the program and two shims);
/// composed ones have more.
pub(super) const INSTANCES: u32 = 16;
/// Memories in one component: the program's and one of an adapter.
pub(super) const MEMORIES: u32 = 2;
/// Tables in one component: the program's, a shim's, and room for composed ones.
pub(super) const TABLES: u32 = 8;

/// The sum and its limit.
pub(super) struct MemoryBudget {
    limit: usize,
    used: usize,
    /// The most that handles took at one time.
    handles: usize,
    /// What the host keeps behind them.
    kept: usize,
    last: usize,
    refused: Option<usize>,
    cpu: CpuMeter,
    pool: Pool,
    held: Held,
}

/// The answer to a guest that wants more.
type Granted<'a> = Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>>;

impl MemoryBudget {
    /// What grows large needs its turn from then on: this meter is told.
    pub(super) fn new(limit: u64, cpu: CpuMeter, pool: Pool) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, used: 0, handles: 0, kept: 0, last: 0, refused: None, cpu, pool, held: Held::default() }
    }

    /// Grants or refuses; one that becomes large goes on in its turn, before it can touch what it got.
    async fn asked(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit: usize) -> Result<bool> {
        let was_small = self.used <= SMALL;
        let granted = self.grow(current, desired, maximum, unit);
        if was_small && self.used > SMALL {
            self.cpu.is_large();
            tokio::task::yield_now().await;
        }
        let beyond = self.beyond();
        self.pool.hold(&mut self.held, beyond).await.map_err(|empty| HostFault(empty.to_string()))?;
        Ok(granted)
    }

    /// What is to come out of the pool.
    fn beyond(&self) -> usize {
        self.used.saturating_add(self.kept).saturating_sub(FREE)
    }

    /// Whether there is room for so many bytes more in the host. They count to the end, as memory does; who asks for them in a call
    /// that cannot wait gets what the pool has at once.
    pub(super) fn keeps(&mut self, bytes: usize) -> std::result::Result<bool, Empty> {
        self.kept = self.kept.saturating_add(bytes);
        if self.used.saturating_add(self.handles).saturating_add(self.kept) > self.limit {
            return Ok(false);
        }
        let beyond = self.beyond();
        self.pool.hold_now(&mut self.held, beyond).map(|()| true)
    }

    /// Bytes in use. Memories and tables never shrink, and handles count by their peak, so this is the most there ever was.
    pub(super) fn used(&self) -> u64 {
        self.used.saturating_add(self.handles).saturating_add(self.kept) as u64
    }

    /// Whether there is room for so many handles at one time.
    pub(super) fn holds(&mut self, handles: usize) -> bool {
        self.handles = self.handles.max(handles.saturating_mul(HANDLE_BYTES));
        self.used.saturating_add(self.handles).saturating_add(self.kept) <= self.limit
    }

    /// The most handles at one time.
    pub(super) fn handles(&self) -> u64 {
        (self.handles / HANDLE_BYTES) as u64
    }

    /// How many bytes the guest would have had if it had not been refused some.
    pub(super) fn refused(&self) -> Option<usize> {
        self.refused
    }

    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit: usize) -> bool {
        let wanted = self.used.saturating_add(desired.saturating_sub(current).saturating_mul(unit));
        let in_all = wanted.saturating_add(self.handles).saturating_add(self.kept);
        if in_all > self.limit {
            self.refused = Some(in_all);
            return false;
        }
        // The guest's own maximum is no refusal of ours.
        if maximum.is_some_and(|most| desired > most) {
            return false;
        }
        self.last = wanted - self.used;
        self.used = wanted;
        true
    }

    fn failed(&mut self) {
        self.used -= std::mem::take(&mut self.last);
    }
}

impl ResourceLimiterAsync for MemoryBudget {
    fn memory_growing<'budget, 'answer>(
        &'budget mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Granted<'answer>
    where
        'budget: 'answer,
    {
        Box::pin(self.asked(current, desired, maximum, 1))
    }

    fn memory_grow_failed(&mut self, _: Error) -> Result<()> {
        self.failed();
        Ok(())
    }

    fn table_growing<'budget, 'answer>(
        &'budget mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Granted<'answer>
    where
        'budget: 'answer,
    {
        Box::pin(self.asked(current, desired, maximum, ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, _: Error) -> Result<()> {
        self.failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_budget() {
        let mut budget = MemoryBudget::new(100, CpuMeter::default(), Pool::new(0));
        assert!(budget.grow(0, 40, None, 1));
        assert!(budget.grow(0, 5, None, ELEMENT_BYTES));
        assert_eq!((budget.used(), budget.refused()), (80, None));
        assert!(!budget.grow(40, 61, None, 1));
        assert_eq!((budget.used(), budget.refused()), (80, Some(101)));
        assert!(budget.grow(40, 60, None, 1));
    }

    #[test]
    fn handles_count_by_the_most_that_there_were() {
        let mut budget = MemoryBudget::new(3 * HANDLE_BYTES as u64, CpuMeter::default(), Pool::new(0));
        assert!(budget.holds(2) && budget.holds(1));
        assert_eq!((budget.used(), budget.handles()), (2 * HANDLE_BYTES as u64, 2));
        assert!(!budget.grow(0, HANDLE_BYTES + 1, None, 1) && budget.grow(0, HANDLE_BYTES, None, 1));
        assert!(budget.holds(2) && !budget.holds(3));
    }

    #[test]
    fn what_the_host_keeps_shares_the_budget_and_comes_out_of_the_pool_beyond_what_is_free() {
        let pool = Pool::new(8 << 10);
        let mut budget = MemoryBudget::new(2 * FREE as u64, CpuMeter::default(), pool);
        assert!(budget.grow(0, FREE, None, 1));
        assert!(budget.keeps(4 << 10).unwrap());
        assert!(budget.keeps(1).is_err());
        assert_eq!(budget.used(), FREE as u64 + (4 << 10) + 1);
        let mut alone = MemoryBudget::new(100, CpuMeter::default(), Pool::new(0));
        assert!(alone.keeps(60).unwrap());
        assert!(!alone.grow(0, 41, None, 1) && alone.grow(0, 40, None, 1) && !alone.keeps(1).unwrap());
    }

    #[test]
    fn a_guests_own_maximum_and_a_failed_growth_cost_nothing() {
        let mut budget = MemoryBudget::new(100, CpuMeter::default(), Pool::new(0));
        assert!(!budget.grow(0, 20, Some(10), 1));
        assert_eq!(budget.refused(), None);
        assert!(budget.grow(0, 20, Some(20), 1));
        budget.failed();
        assert_eq!(budget.used(), 0);
    }
}
