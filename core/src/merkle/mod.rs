//! The Merkle tree of one partition (Dynamo §4.7): two owners compare 8 bytes to learn that they
//! are equal, and otherwise find the leaves that differ in three round trips.
//!
//! Only the leaves exist, each the wrapping sum of the versions of its keys, so a write costs one
//! addition ([`records`](crate::records)). What stands above them is computed when an exchange
//! asks: a parent is the xxh3-64 of its 16 children, little-endian. Levels have 1, 16, 256 and
//! 4096 nodes, level 0 being the root.
//!
//! Invariant: equal roots mean equal leaves, and equal leaves equal sibling sets, but for
//! collisions of 64 bits. A leaf without keys is 0; that an inner node is empty does not show.

#[cfg(test)]
mod tests;

use crate::limits::{MERKLE_FANOUT, MERKLE_LEAF_COUNT};

/// The level of the leaves.
pub const LEAF_LEVEL: u8 = 3;

/// The root over leaves that are all 0.
pub const EMPTY_ROOT: u64 = 15_169_293_184_170_851_677;

/// How many nodes `level` has.
pub const fn node_count(level: u8) -> usize {
    MERKLE_FANOUT.pow(level as u32)
}

/// A tree over lent leaves.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    leaves: &'a [u64],
}

impl<'a> Tree<'a> {
    /// The tree over `leaves`.
    ///
    /// # Panics
    /// If there are not `limits::MERKLE_LEAF_COUNT` of them.
    pub fn new(leaves: &'a [u64]) -> Tree<'a> {
        assert!(leaves.len() == MERKLE_LEAF_COUNT);
        Tree { leaves }
    }

    /// The hash of all leaves: 273 hashes of 128 bytes each, about 4 µs.
    pub fn root(self) -> u64 {
        self.node(0, 0)
    }

    /// The 16 children of node `index` of `level`. Computes 272 hashes at level 0, 16 at level 1
    /// and none at level 2, whose children are leaves.
    ///
    /// # Panics
    /// If there is no such node, or it is a leaf.
    pub fn children(self, level: u8, index: usize) -> [u64; MERKLE_FANOUT] {
        assert!(level < LEAF_LEVEL);
        assert!(index < node_count(level));
        let first = index * MERKLE_FANOUT;
        if level + 1 == LEAF_LEVEL {
            let leaves = &self.leaves[first..first + MERKLE_FANOUT];
            return leaves.try_into().expect("a range of MERKLE_FANOUT leaves");
        }
        core::array::from_fn(|child| self.node(level + 1, first + child))
    }

    fn node(self, level: u8, index: usize) -> u64 {
        let mut bytes = [0; 8 * MERKLE_FANOUT];
        for (chunk, child) in bytes.as_chunks_mut().0.iter_mut().zip(self.children(level, index)) {
            *chunk = child.to_le_bytes();
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}
