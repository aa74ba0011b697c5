//! A map whose copies share what is equal: a copy costs nothing, a change of one costs a short way from the root to what changed.
//!
//! Guarantees: a copy is never changed by what is done to another one; looking up takes no lock. Libraries for this have licences
//! that are not among ours, or compare keys at a dozen places where this looks at three.

use std::array;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

/// Branches of the root, and of each of its branches. So a hundred thousand things are 25 in each of 4,096 leaves.
const WIDTH: usize = 64;

/// What a tree is looked up by.
pub(super) trait Spread: Ord {
    /// Bits that differ from key to key, the low twelve above all.
    fn spread(&self) -> u64;
}

impl Spread for Uuid {
    fn spread(&self) -> u64 {
        // Random, unlike the other half, which begins with the time.
        self.as_u64_pair().1
    }
}

impl Spread for str {
    fn spread(&self) -> u64 {
        let mix = |mixed: u64, byte: u8| (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        // A key that is shown may be as long as anybody likes; those that there are differ early.
        let mixed = self.bytes().take(64).fold(0xcbf2_9ce4_8422_2325, mix);
        mixed ^ mixed >> 32
    }
}

impl Spread for String {
    fn spread(&self) -> u64 {
        self.as_str().spread()
    }
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    spread: u64,
    key: K,
    value: V,
}

impl<K, V> Entry<K, V> {
    fn place<Q: Spread + ?Sized>(&self, spread: u64, key: &Q) -> Ordering
    where
        K: Borrow<Q>,
    {
        self.spread.cmp(&spread).then_with(|| self.key.borrow().cmp(key))
    }
}

/// In order of [`Entry::place`].
type Leaf<K, V> = Vec<Entry<K, V>>;

type Branch<T> = Arc<[Arc<T>; WIDTH]>;

/// The map.
#[derive(Debug)]
pub(super) struct Tree<K, V>(Branch<[Arc<Leaf<K, V>>; WIDTH]>);

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        let leaf = Arc::new(Vec::new());
        let branch: Branch<Leaf<K, V>> = Arc::new(array::from_fn(|_| Arc::clone(&leaf)));
        Self(Arc::new(array::from_fn(|_| Arc::clone(&branch))))
    }
}

/// The branches that lead to a key.
fn way(spread: u64) -> (usize, usize) {
    (spread as usize % WIDTH, spread as usize / WIDTH % WIDTH)
}

impl<K, V> Tree<K, V> {
    /// What stands under this key.
    pub fn get<Q: Spread + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let spread = key.spread();
        let (first, second) = way(spread);
        let leaf = &self.0[first][second];
        let at = leaf.binary_search_by(|entry| entry.place(spread, key)).ok()?;
        Some(&leaf[at].value)
    }
}

impl<K: Spread + Clone, V: Clone> Tree<K, V> {
    /// Puts a value under a key, instead of what was there.
    pub fn insert(&mut self, key: K, value: V) {
        let spread = key.spread();
        let leaf = self.leaf(spread);
        match leaf.binary_search_by(|entry| entry.place(spread, &key)) {
            Ok(at) => leaf[at].value = value,
            Err(at) => leaf.insert(at, Entry { spread, key, value }),
        }
    }

    /// Takes away what stands under a key.
    pub fn remove<Q: Spread + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if self.get(key).is_none() {
            return;
        }
        let spread = key.spread();
        let leaf = self.leaf(spread);
        leaf.retain(|entry| entry.place(spread, key).is_ne());
    }

    /// Where a key's entry is or would be, as this tree's own.
    fn leaf(&mut self, spread: u64) -> &mut Leaf<K, V> {
        let (first, second) = way(spread);
        let branch = Arc::make_mut(&mut Arc::make_mut(&mut self.0)[first]);
        Arc::make_mut(&mut branch[second])
    }
}

impl<K: Spread + Clone, T> Tree<K, Arc<T>> {
    /// The keys under which something else stands than in another tree, or only in one of the two. What both share is not looked at.
    pub fn differing(&self, other: &Self) -> Vec<K> {
        let mut found = Vec::new();
        let pairs = apart(&self.0, &other.0).flat_map(|(mine, theirs)| apart(mine, theirs));
        for (mine, theirs) in pairs {
            let of = |leaf: &Leaf<K, Arc<T>>, entry: &Entry<K, Arc<T>>| {
                let at = leaf.binary_search_by(|other| other.place(entry.spread, &entry.key)).ok()?;
                Some(Arc::as_ptr(&leaf[at].value))
            };
            let changed = mine.iter().filter(|entry| of(theirs, entry) != Some(Arc::as_ptr(&entry.value)));
            found.extend(changed.map(|entry| entry.key.clone()));
            found.extend(theirs.iter().filter(|entry| of(mine, entry).is_none()).map(|entry| entry.key.clone()));
        }
        found
    }
}

/// The pairs of branches that are not the same one.
fn apart<'a, T>(
    mine: &'a [Arc<T>; WIDTH],
    theirs: &'a [Arc<T>; WIDTH],
) -> impl Iterator<Item = (&'a Arc<T>, &'a Arc<T>)> {
    mine.iter().zip(theirs).filter(|(mine, theirs)| !Arc::ptr_eq(mine, theirs))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Keys of few spreads, so that many share a leaf and some a spread.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Key(u64);

    impl Spread for Key {
        fn spread(&self) -> u64 {
            self.0 % 200
        }
    }

    #[test]
    fn a_tree_is_the_map_that_its_changes_make_and_differs_from_its_copies_by_them() {
        let (mut tree, mut map) = (Tree::default(), BTreeMap::new());
        let mut random = 7_u64;
        for step in 0..400 {
            let (tree_before, map_before): (Tree<Key, Arc<u64>>, BTreeMap<Key, Arc<u64>>) = (tree.clone(), map.clone());
            for _ in 0..step % 7 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (key, value) = (Key(random >> 33 & 0x3ff), Arc::new(random));
                if random >> 50 & 3 == 0 {
                    tree.remove(&key);
                    map.remove(&key);
                } else {
                    tree.insert(key.clone(), Arc::clone(&value));
                    map.insert(key, value);
                }
            }
            for key in (0..0x400).map(Key) {
                assert_eq!(tree.get(&key), map.get(&key), "step {step}: {key:?}");
                assert_eq!(tree_before.get(&key), map_before.get(&key), "the copy before step {step}: {key:?}");
            }
            let mut differing = tree.differing(&tree_before);
            differing.sort();
            let expected: Vec<Key> = (0..0x400).map(Key).filter(|key| map.get(key) != map_before.get(key)).collect();
            assert_eq!(differing, expected, "step {step}");
        }
        assert!(map.len() > 400, "most leaves have several");
    }

    #[test]
    fn ids_and_write_keys_spread_over_all_leaves() {
        let now = crate::model::Timestamp::from_millis(1_800_000_000_000);
        let full = |ways: Vec<(usize, usize)>| {
            let mut leaves = BTreeMap::<_, usize>::new();
            ways.into_iter().for_each(|way| *leaves.entry(way).or_default() += 1);
            (leaves.len(), leaves.into_values().max().unwrap_or_default())
        };
        let ids = (0..40_960).map(|_| way(crate::model::DestinationId::new(now).uuid().spread()));
        let keys = (0..40_960).map(|number| way(format!("key of source {number}").spread()));
        for (leaves, most) in [full(ids.collect()), full(keys.collect())] {
            assert!(leaves > 4_000 && most < 40, "{leaves} leaves, {most} in one");
        }
    }

    #[test]
    fn copies_share_all_but_the_way_to_what_changed() {
        let mut tree = Tree::default();
        (0..10_000_u64).for_each(|number| tree.insert(Uuid::from_u128(number.into()), Arc::new(number)));
        let before = tree.clone();
        tree.insert(Uuid::from_u128(5_000), Arc::new(0));
        let leaves = apart(&tree.0, &before.0).flat_map(|(mine, theirs)| apart(mine, theirs));
        assert_eq!(leaves.count(), 1);
    }
}
