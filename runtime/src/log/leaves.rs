//! The Merkle leaves of a shard's partitions: each the wrapping sum of its keys' version hashes.

use crate::sys::{Errno, ZeroMap, prefetch};
use ringmain_core::id::Partition;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::leaf_of;
use zerocopy::IntoBytes;

/// The leaves of a shard: one anonymous map, in huge pages where there are some, since every
/// write touches one leaf at random. What was never touched takes no memory.
pub(super) struct Leaves {
    first: Partition,
    leaves: ZeroMap<u64>,
}

impl Leaves {
    /// Zero leaves for `count` partitions from `first` on.
    ///
    /// # Errors
    /// ENOMEM if the system has no room for the map.
    pub(super) fn new(first: Partition, count: usize) -> Result<Leaves, Errno> {
        Ok(Leaves { first, leaves: ZeroMap::new(count * MERKLE_LEAF_COUNT)? })
    }

    /// The leaves of `partition`.
    ///
    /// # Panics
    /// If the partition is not of this shard.
    pub(super) fn of(&mut self, partition: Partition) -> &mut [u64] {
        let index = usize::from(partition.0) - usize::from(self.first.0);
        &mut self.leaves[index * MERKLE_LEAF_COUNT..][..MERKLE_LEAF_COUNT]
    }

    /// Has the leaf of a key begin to arrive in the caches.
    pub(super) fn prefetch(&self, partition: Partition, order: u64) {
        let index = usize::from(partition.0) - usize::from(self.first.0);
        prefetch(self.leaves[index * MERKLE_LEAF_COUNT + leaf_of(order)].as_bytes());
    }

    /// Adds the version hash of a key's record to its leaf.
    pub(super) fn add(&mut self, partition: Partition, order: u64, version: u64) {
        let leaf = &mut self.of(partition)[leaf_of(order)];
        *leaf = leaf.wrapping_add(version);
    }
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaves({} from {:?})", self.leaves.len(), self.first)
    }
}
