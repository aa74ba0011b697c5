//! What invocations may keep for the next ones of the same destination: the capability `cache`.
//!
//! Guarantees: a value is seen only under the function version, the destination and the settings under which it was
//! kept, so no customer meets another one's token, nor that of credentials that were changed since; every size has a
//! bound, and what exceeds one is refused or makes the least recently used value go; nothing is written to disk.
//! Leaves to others: what crosses is counted where it crosses (`host`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::model::{DestinationId, Digest, Timestamp};

/// Bytes of a key: an API's address with an account's name.
const KEY_BYTES: usize = 256;
/// Bytes of a value: access tokens have 1 to 4 KiB, a list of an account's fields some more.
const VALUE_BYTES: usize = 32 << 10;
/// Values of one destination: a token and some dozens of ids that were looked up.
const VALUES: usize = 64;
/// Bytes of one destination's keys and values together: two of the largest values.
const BYTES: usize = 64 << 10;
/// Destinations that keep something at the same time: with `BYTES`, 64 MiB for the whole host.
const DESTINATIONS: usize = 1024;
/// What the host needs for a value beside its text, so that many small ones are not free.
const OVERHEAD: usize = 128;

/// Why a value is not kept. The guest is told and goes on.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// The key is too long.
    #[error("cache.set: the key has {0} bytes, {KEY_BYTES} is the most; use a shorter one")]
    Key(usize),
    /// The value is too long.
    #[error(
        "cache.set: the value of `{key}` has {bytes} bytes, {VALUE_BYTES} is the most; keep only what you need of it"
    )]
    Value {
        /// Its key.
        key: String,
        /// Its size.
        bytes: usize,
    },
}

/// What all destinations keep.
#[derive(Default)]
pub struct Caches {
    shelves: Mutex<Shelves>,
}

/// The part of the caches that one invocation sees.
#[derive(Clone)]
pub struct CacheScope {
    caches: Arc<Caches>,
    destination: DestinationId,
    digest: Digest,
    settings: Arc<str>,
}

#[derive(Default)]
struct Shelves {
    by_destination: HashMap<DestinationId, Shelf>,
    /// Counts uses, to know which is the oldest.
    turn: u64,
}

/// What one destination keeps, and under which version and settings.
struct Shelf {
    digest: Digest,
    settings: Arc<str>,
    values: HashMap<String, Kept>,
    bytes: usize,
    used: u64,
}

struct Kept {
    text: String,
    ends: Option<Timestamp>,
    used: u64,
}

impl CacheScope {
    /// What this destination keeps under this version and these settings.
    pub fn new(caches: &Arc<Caches>, destination: DestinationId, digest: Digest, settings: &Arc<str>) -> Self {
        Self { caches: Arc::clone(caches), destination, digest, settings: Arc::clone(settings) }
    }

    /// A cache of its own, empty and forgotten with the invocation: where a function is tried.
    pub fn alone() -> Self {
        Self::new(&Arc::default(), DestinationId::new(Timestamp::default()), Digest([0; 32]), &Arc::from(""))
    }

    pub(super) fn get(&self, key: &str, now: Timestamp) -> Option<String> {
        let mut shelves = self.shelves();
        let turn = shelves.next_turn();
        let shelf = shelves.by_destination.get_mut(&self.destination).filter(|shelf| shelf.is_for(self))?;
        shelf.used = turn;
        let kept = shelf.values.get_mut(key)?;
        if kept.is_over(now) {
            shelf.remove(key);
            return None;
        }
        kept.used = turn;
        Some(kept.text.clone())
    }

    pub(super) fn set(&self, key: String, text: String, time: Option<Duration>, now: Timestamp) -> Result<(), Refused> {
        if key.len() > KEY_BYTES {
            return Err(Refused::Key(key.len()));
        }
        if text.len() > VALUE_BYTES {
            return Err(Refused::Value { key, bytes: text.len() });
        }
        let mut shelves = self.shelves();
        let turn = shelves.next_turn();
        let shelf = shelves.shelf(self);
        shelf.used = turn;
        shelf.remove(&key);
        shelf.make_room(cost(&key, &text), now);
        shelf.bytes += cost(&key, &text);
        shelf.values.insert(key, Kept { text, ends: time.map(|time| now.plus(time)), used: turn });
        Ok(())
    }

    pub(super) fn delete(&self, key: &str) {
        let mut shelves = self.shelves();
        if let Some(shelf) = shelves.by_destination.get_mut(&self.destination).filter(|shelf| shelf.is_for(self)) {
            shelf.remove(key);
        }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // Whoever panicked left at worst a wrong count of bytes.
        self.caches.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The shelf of this scope, empty if there is none; one of another version or other settings makes way for it.
    fn shelf(&mut self, scope: &CacheScope) -> &mut Shelf {
        let known = self.by_destination.contains_key(&scope.destination);
        if !known
            && self.by_destination.len() >= DESTINATIONS
            && let Some(oldest) = self.by_destination.iter().min_by_key(|(_, shelf)| shelf.used).map(|(id, _)| *id)
        {
            self.by_destination.remove(&oldest);
        }
        let shelf = self.by_destination.entry(scope.destination).or_insert_with(|| Shelf::new(scope));
        if !shelf.is_for(scope) {
            *shelf = Shelf::new(scope);
        }
        shelf
    }
}

impl Shelf {
    fn new(scope: &CacheScope) -> Self {
        let CacheScope { digest, settings, .. } = scope;
        Self { digest: *digest, settings: Arc::clone(settings), values: HashMap::new(), bytes: 0, used: 0 }
    }

    fn is_for(&self, scope: &CacheScope) -> bool {
        self.digest == scope.digest && self.settings == scope.settings
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, kept)) = self.values.remove_entry(key) {
            self.bytes -= cost(&key, &kept.text);
        }
    }

    /// Drops what is over, then what was used longest ago, until so many bytes fit.
    fn make_room(&mut self, bytes: usize, now: Timestamp) {
        let over: Vec<String> =
            self.values.iter().filter(|(_, kept)| kept.is_over(now)).map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.remove(key));
        while self.values.len() >= VALUES || self.bytes + bytes > BYTES {
            let oldest = self.values.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
    }
}

impl Kept {
    fn is_over(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

fn cost(key: &str, text: &str) -> usize {
    key.len() + text.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn set(scope: &CacheScope, key: &str, text: &str) {
        scope.set(key.to_owned(), text.to_owned(), None, NOW).unwrap();
    }

    fn get(scope: &CacheScope, key: &str) -> Option<String> {
        scope.get(key, NOW)
    }

    #[test]
    fn only_the_same_version_destination_and_settings_see_a_value() {
        let caches = Arc::default();
        let (destination, digest, settings) = (DestinationId::new(NOW), Digest([1; 32]), Arc::from("{\"key\":\"a\"}"));
        let scope = CacheScope::new(&caches, destination, digest, &settings);
        set(&scope, "token", "t");
        assert_eq!(get(&CacheScope::new(&caches, destination, digest, &settings), "token").as_deref(), Some("t"));
        for other in [
            CacheScope::new(&caches, DestinationId::new(NOW), digest, &settings),
            CacheScope::new(&caches, destination, Digest([2; 32]), &settings),
            CacheScope::new(&caches, destination, digest, &Arc::from("{\"key\":\"b\"}")),
        ] {
            assert_eq!(get(&other, "token"), None);
            other.delete("token");
            assert_eq!(get(&scope, "token").as_deref(), Some("t"));
        }
        set(&CacheScope::new(&caches, destination, Digest([2; 32]), &settings), "token", "u");
        assert_eq!(get(&scope, "token"), None, "a newer version has taken the place");
    }

    #[test]
    fn a_value_ends_with_its_time_its_deletion_or_its_successor() {
        let scope = CacheScope::alone();
        let second = Some(Duration::from_secs(1));
        scope.set("k".to_owned(), "v".to_owned(), second, NOW).unwrap();
        assert_eq!(scope.get("k", NOW.plus(Duration::from_millis(999))).as_deref(), Some("v"));
        assert_eq!(scope.get("k", NOW.plus(Duration::from_secs(1))), None);
        set(&scope, "k", "w");
        set(&scope, "k", "x");
        assert_eq!(scope.get("k", NOW.plus(Duration::from_secs(1 << 30))).as_deref(), Some("x"));
        scope.delete("k");
        assert_eq!(get(&scope, "k"), None);
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_bound_and_leaves_the_rest() {
        let scope = CacheScope::alone();
        set(&scope, "k", "v");
        let refused = scope.set("x".repeat(257), String::new(), None, NOW).unwrap_err();
        assert_eq!(refused.to_string(), "cache.set: the key has 257 bytes, 256 is the most; use a shorter one");
        let refused = scope.set("k".to_owned(), "x".repeat(32_769), None, NOW).unwrap_err();
        assert!(refused.to_string().contains("`k` has 32769 bytes, 32768 is the most"), "{refused}");
        assert_eq!(get(&scope, "k").as_deref(), Some("v"));
    }

    #[test]
    fn a_destination_keeps_so_many_values_and_bytes_and_the_least_used_go_first() {
        let scope = CacheScope::alone();
        for number in 0..VALUES {
            set(&scope, &number.to_string(), "v");
        }
        assert!(get(&scope, "0").is_some());
        set(&scope, "more", "v");
        assert!(get(&scope, "0").is_some() && get(&scope, "1").is_none() && get(&scope, "more").is_some());

        let large = "x".repeat(VALUE_BYTES - OVERHEAD - 8);
        set(&scope, "a", &large);
        set(&scope, "b", &large);
        assert!(get(&scope, "a").is_some());
        set(&scope, "c", &large);
        assert_eq!(["a", "b", "c"].map(|key| get(&scope, key).is_some()), [true, false, true]);
        let shelves = scope.shelves();
        let shelf = shelves.by_destination.values().next().unwrap();
        assert!(shelf.bytes <= BYTES);
        assert_eq!(shelf.bytes, shelf.values.iter().map(|(key, kept)| cost(key, &kept.text)).sum::<usize>());
    }

    #[test]
    fn values_that_are_over_make_room_before_others() {
        let scope = CacheScope::alone();
        set(&scope, "old", "v");
        for number in 1..VALUES {
            scope.set(number.to_string(), String::new(), Some(Duration::from_secs(1)), NOW).unwrap();
        }
        scope.set("new".to_owned(), String::new(), None, NOW.plus(Duration::from_secs(2))).unwrap();
        assert!(get(&scope, "old").is_some());
    }

    #[test]
    fn so_many_destinations_keep_something_and_the_least_used_forgets() {
        let caches = Arc::default();
        let settings = Arc::from("{}");
        let scopes: Vec<CacheScope> = (0..=DESTINATIONS)
            .map(|_| CacheScope::new(&caches, DestinationId::new(NOW), Digest([0; 32]), &settings))
            .collect();
        for scope in &scopes[..DESTINATIONS] {
            assert_eq!(get(scope, "k"), None, "looking takes no room");
            set(scope, "k", "v");
        }
        assert!(get(&scopes[0], "k").is_some());
        set(&scopes[DESTINATIONS], "k", "v");
        assert!(get(&scopes[0], "k").is_some() && get(&scopes[1], "k").is_none());
        assert_eq!(scopes[0].shelves().by_destination.len(), DESTINATIONS);
    }
}
