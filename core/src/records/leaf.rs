//! Which leaf of its partition's tree holds a key.

use crate::hash::Key;
use crate::limits;

/// The leaf that holds `key`: the top 12 bits of its order.
pub fn leaf_index(key: &Key<'_>) -> usize {
    leaf_of(key.order)
}

/// The leaf that holds the keys of an order.
pub fn leaf_of(order: u64) -> usize {
    (order >> (64 - limits::MERKLE_LEAF_COUNT.ilog2())) as usize
}

/// The first and the last order of a leaf's keys.
///
/// # Panics
/// If there is no such leaf.
pub fn leaf_orders(leaf: usize) -> (u64, u64) {
    assert!(leaf < limits::MERKLE_LEAF_COUNT);
    let bits = 64 - limits::MERKLE_LEAF_COUNT.ilog2();
    let first = (leaf as u64) << bits;
    (first, first | ((1 << bits) - 1))
}
