//! Events that were accepted a moment ago, so that a claim need not read them from disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::work::Events;

/// A bounded map from event block to its events; the oldest leave first.
pub(super) struct Cache {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<i64, (Events, usize)>,
    order: VecDeque<i64>,
    bytes: usize,
}

impl Cache {
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, block: i64) -> Option<Events> {
        self.lock().blocks.get(&block).map(|(events, _)| Events::clone(events))
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    pub fn put(&self, block: i64, events: Events, bytes: usize) {
        let mut state = self.lock();
        if bytes > self.most || state.blocks.contains_key(&block) {
            return;
        }
        state.blocks.insert(block, (events, bytes));
        state.order.push_back(block);
        state.bytes += bytes;
        while state.bytes > self.most {
            let Some(oldest) = state.order.pop_front() else { break };
            state.bytes -= state.blocks.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_when_the_bytes_do_not_fit() {
        let cache = Cache::new(10);
        for block in 0..4 {
            cache.put(block, Events::from([]), 4);
        }
        assert_eq!([0, 1, 2, 3].map(|block| cache.get(block).is_some()), [false, false, true, true]);
        cache.put(9, Events::from([]), 11);
        assert!(cache.get(9).is_none() && cache.get(3).is_some());
    }
}
