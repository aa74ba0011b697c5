//! Order: events of one connection with the same key, one after the other.
//!
//! Guarantees: pure. Of one key at most one delivery is startable or under way, and they start in the order of their
//! acceptance. When one fails and waits for its next attempt, those behind it are handed back to be held by the
//! store, so that they fill no memory and nobody else waits for them. When it is over, the store lets the next one go.

use std::collections::{HashMap, VecDeque};

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::OrderKey;

use super::Item;

/// The keys of one destination that have something open.
#[derive(Default)]
pub(in crate::delivery) struct Keys {
    keys: HashMap<OrderKey, Key>,
    waiting: usize,
}

#[derive(Default)]
struct Key {
    /// One of it is startable or under way.
    busy: bool,
    /// Deliveries of it that the store has written down: tried and failed, or held.
    stored: u32,
    /// Fresh ones behind the busy one, in order.
    waiting: VecDeque<Item>,
}

/// What becomes of a claimed delivery.
pub(in crate::delivery) enum Admitted {
    /// It may start.
    Startable(Item),
    /// It waits here for its turn.
    Waiting,
    /// The store is to hold it until the ones before it are over.
    Held(Item),
}

/// How a delivery with a key came out of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) struct Fate {
    pub key: OrderKey,
    /// Whether the store had it written down before.
    pub stored: bool,
    /// Whether it is over: delivered, filtered or dead.
    pub over: bool,
}

impl Keys {
    /// What the store had written down when the lane began.
    pub fn load(&mut self, stored: impl IntoIterator<Item = (OrderKey, u32)>) {
        for (key, count) in stored {
            self.keys.entry(key).or_default().stored = count;
        }
    }

    /// Deliveries that wait here behind another of their key.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes in a claimed delivery.
    pub fn admit(&mut self, item: Item) -> Admitted {
        #[cfg(test)]
        if made(Mistake::OrderIgnored) {
            return Admitted::Startable(item);
        }
        let Some(key) = item.delivery.key else { return Admitted::Startable(item) };
        let state = self.keys.entry(key).or_default();
        if item.delivery.again {
            // The store lets only the first of a key go. It must know it, too, should this have been forgotten here.
            state.stored = state.stored.max(1);
        } else if state.stored > 0 {
            state.stored += 1;
            return Admitted::Held(item);
        }
        if state.busy {
            state.waiting.push_back(item);
            self.waiting += 1;
            return Admitted::Waiting;
        }
        state.busy = true;
        Admitted::Startable(item)
    }

    /// An attempt at a delivery of a key has ended: what may start now, and what the store is to hold.
    pub fn ended(&mut self, fate: Fate) -> (Option<Item>, VecDeque<Item>) {
        let Some(state) = self.keys.get_mut(&fate.key) else { return (None, VecDeque::new()) };
        state.busy = false;
        match (fate.over, fate.stored) {
            (true, true) => state.stored = state.stored.saturating_sub(1),
            (false, false) => state.stored += 1,
            (true, false) | (false, true) => {}
        }
        let (mut next, mut held) = (None, VecDeque::new());
        if state.stored == 0 {
            next = state.waiting.pop_front();
            state.busy = next.is_some();
        } else {
            // What is stored already waits there; the others join it.
            held = std::mem::take(&mut state.waiting);
            let joining = held.iter().filter(|item| !item.delivery.again).count();
            state.stored += u32::try_from(joining).unwrap_or(u32::MAX);
        }
        self.waiting -= held.len() + usize::from(next.is_some());
        if !state.busy && state.stored == 0 {
            self.keys.remove(&fate.key);
        }
        (next, held)
    }

    /// Gives back everything that waits here, when the lane is given up.
    pub fn drain(&mut self) -> Vec<Item> {
        self.waiting = 0;
        self.keys.values_mut().flat_map(|key| std::mem::take(&mut key.waiting)).collect()
    }

    /// These are neither startable nor under way any more, and as if they had never been claimed.
    pub fn forget<'a>(&mut self, items: impl IntoIterator<Item = &'a Item>) {
        for item in items {
            let Some(key) = item.delivery.key else { continue };
            let Some(state) = self.keys.get_mut(&key) else { continue };
            state.busy = false;
            if state.stored == 0 && state.waiting.is_empty() {
                self.keys.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::item;
    use super::*;

    fn keyed(key: u64, again: bool) -> Item {
        let mut item = item(again);
        item.delivery.key = Some(OrderKey(key));
        item
    }

    fn kind(admitted: &Admitted) -> char {
        match admitted {
            Admitted::Startable(_) => 's',
            Admitted::Waiting => 'w',
            Admitted::Held(_) => 'h',
        }
    }

    fn ended(keys: &mut Keys, key: u64, stored: bool, over: bool) -> (bool, usize) {
        let (next, held) = keys.ended(Fate { key: OrderKey(key), stored, over });
        (next.is_some(), held.len())
    }

    #[test]
    fn one_of_a_key_starts_and_the_next_follows_when_it_is_over() {
        let mut keys = Keys::default();
        let admitted: String = [1, 1, 2, 1].map(|key| kind(&keys.admit(keyed(key, false)))).iter().collect();
        assert_eq!(admitted, "swsw");
        assert_eq!(ended(&mut keys, 1, false, true), (true, 0));
        assert_eq!(ended(&mut keys, 1, false, true), (true, 0));
        assert_eq!(ended(&mut keys, 1, false, true), (false, 0));
        assert_eq!(ended(&mut keys, 2, false, true), (false, 0));
        assert!(keys.is_empty());
    }

    #[test]
    fn a_failed_one_sends_those_behind_it_to_the_store_and_so_do_later_ones_until_all_are_over() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.admit(keyed(1, false));
        }
        assert_eq!(ended(&mut keys, 1, false, false), (false, 2), "two are held");
        assert_eq!(kind(&keys.admit(keyed(1, false))), 'h');
        assert_eq!(kind(&keys.admit(keyed(2, false))), 's', "another key goes on");
        for last in [false, false, false, true] {
            assert_eq!(kind(&keys.admit(keyed(1, true))), 's', "the store lets the next one go");
            assert_eq!(ended(&mut keys, 1, true, true), (false, 0));
            assert_eq!(kind(&keys.admit(keyed(1, false))), if last { 's' } else { 'h' });
            if !last {
                // The new one is stored as well: it is taken out again to keep this short.
                keys.keys.get_mut(&OrderKey(1)).unwrap().stored -= 1;
            }
        }
    }

    #[test]
    fn what_the_store_had_written_down_before_a_restart_holds_fresh_ones_back() {
        let mut keys = Keys::default();
        keys.load([(OrderKey(1), 1)]);
        assert_eq!(kind(&keys.admit(keyed(1, false))), 'h');
        assert_eq!(kind(&keys.admit(keyed(1, true))), 's');
    }
}
