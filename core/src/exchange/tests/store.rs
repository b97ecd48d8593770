//! A store that is a map: key to the highest write of each node, joined by maximum.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::super::{Held, Versions};
use crate::limits::MERKLE_LEAF_COUNT;
use crate::merkle::Tree;
use crate::records::leaf_of;
use crate::wire::exchange::Entry;

/// Order, and what tells apart the keys of one order.
pub(super) type KeyId = (u64, u64);
/// Writes of each node that the record covers.
pub(super) type Vector = [u32; 3];

#[derive(Clone)]
pub(super) struct Store {
    keys: BTreeMap<KeyId, Vector>,
    leaves: Vec<u64>,
}

impl Default for Store {
    fn default() -> Store {
        Store { keys: BTreeMap::new(), leaves: vec![0; MERKLE_LEAF_COUNT] }
    }
}

impl Store {
    pub(super) fn record(&self, key: KeyId) -> Option<Vector> {
        self.keys.get(&key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn join(&mut self, key: KeyId, received: Vector) -> Versions {
        let before = self.record(key).map_or(0, |record| version(key, record));
        let record = self.keys.entry(key).or_default();
        join(record, received);
        let after = version(key, *record);
        let leaf = &mut self.leaves[leaf_of(key.0)];
        *leaf = leaf.wrapping_sub(before).wrapping_add(after);
        Versions { before, received: version(key, received), after }
    }

    pub(super) fn clear(&mut self) {
        *self = Store::default();
    }

    pub(super) fn held(&self) -> Held<'_> {
        Held { tree: Tree::new(&self.leaves), keys: self.keys.len() as u64 }
    }

    pub(super) fn leaves(&self) -> &Vec<u64> {
        &self.leaves
    }

    /// The leaves, computed from scratch.
    pub(super) fn leaves_again(&self) -> Vec<u64> {
        let mut leaves = vec![0_u64; MERKLE_LEAF_COUNT];
        for (key, record) in &self.keys {
            let leaf = &mut leaves[leaf_of(key.0)];
            *leaf = leaf.wrapping_add(version(*key, *record));
        }
        leaves
    }

    /// Up to `most` entries above `after` of orders up to `last`, and whether there are more.
    pub(super) fn list(&self, after: Entry, last: u64, most: usize) -> (Vec<Entry>, bool) {
        let keys = self.keys.range((after.order(), 0)..=(last, u64::MAX));
        let mut entries: Vec<Entry> = Vec::new();
        for (key, record) in keys {
            // One more than wanted, and whole orders: their versions are not sorted yet.
            if entries.len() > most && entries.last().is_some_and(|last| last.order() != key.0) {
                break;
            }
            let entry = Entry::new(key.0, version(*key, *record));
            if entry > after {
                entries.push(entry);
            }
        }
        entries.sort_unstable();
        let more = entries.len() > most;
        entries.truncate(most);
        (entries, more)
    }

    pub(super) fn records(&self, orders: core::ops::RangeInclusive<u64>) -> Vec<(KeyId, Vector)> {
        let keys = self.keys.range((*orders.start(), 0)..=(*orders.end(), u64::MAX));
        keys.map(|(key, record)| (*key, *record)).collect()
    }
}

pub(super) fn join(record: &mut Vector, received: Vector) {
    for (mine, theirs) in record.iter_mut().zip(received) {
        *mine = theirs.max(*mine);
    }
}

pub(super) fn version(key: KeyId, record: Vector) -> u64 {
    let words = [key.0, key.1, u64::from(record[0]), u64::from(record[1]), u64::from(record[2])];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes).max(1)
}

pub(super) fn encode(record: Vector, bytes: usize) -> Vec<u8> {
    let mut out: Vec<u8> = record.iter().flat_map(|count| count.to_le_bytes()).collect();
    out.resize(bytes.max(out.len()), 0);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Vector {
    core::array::from_fn(|at| u32::from_le_bytes(bytes[4 * at..][..4].try_into().unwrap()))
}
