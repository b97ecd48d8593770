//! The Merkle leaves of a shard's partitions: each the wrapping sum of its keys' version hashes.

use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::leaf_index;

/// The leaves of a shard. A partition that was never touched takes no memory.
#[derive(Debug)]
pub(super) struct Leaves {
    first: Partition,
    partitions: Vec<Box<[u64]>>,
}

impl Leaves {
    /// Zero leaves for `count` partitions from `first` on.
    pub(super) fn new(first: Partition, count: usize) -> Leaves {
        Leaves { first, partitions: vec![Box::default(); count] }
    }

    /// The leaves of `partition`.
    ///
    /// # Panics
    /// If the partition is not of this shard.
    pub(super) fn of(&mut self, partition: Partition) -> &mut [u64] {
        let leaves = &mut self.partitions[usize::from(partition.0) - usize::from(self.first.0)];
        if leaves.is_empty() {
            *leaves = vec![0; MERKLE_LEAF_COUNT].into_boxed_slice();
        }
        leaves
    }

    /// Replaces a key's version hash (0 = no record) in its leaf.
    pub(super) fn replace(&mut self, key: &Key<'_>, old: u64, new: u64) {
        let leaf = &mut self.of(key.partition)[leaf_index(key)];
        *leaf = leaf.wrapping_sub(old).wrapping_add(new);
    }
}
