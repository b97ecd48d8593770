//! Where a key lives: xxh3-128, seeded by the cluster, so every machine agrees: the top
//! bits are the partition, the next 64 order keys inside it.

use crate::id::{NodeId, Partition};

/// The hash of a key's bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// Hashes `key` with the cluster's seed ([`ClusterId::hash_seed`](crate::id::ClusterId)).
    pub fn new(seed: u64, key: &[u8]) -> KeyHash {
        KeyHash(xxhash_rust::xxh3::xxh3_128_with_seed(key, seed))
    }

    /// The partition among 2^`partition_bits`.
    pub fn partition(self, partition_bits: u32) -> Partition {
        Partition((self.0 >> (128 - partition_bits)) as u16)
    }

    /// The 64 bits that order keys inside their partition.
    pub fn order(self, partition_bits: u32) -> u64 {
        (self.0 >> (64 - partition_bits)) as u64
    }
}

/// A key with its place: hashed once, at the border.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Key<'a> {
    /// The key as clients write it: 1..=`limits::KEY_BYTES_MAX` bytes.
    pub bytes: &'a [u8],
    /// Its hash.
    pub hash: KeyHash,
    /// Its partition.
    pub partition: Partition,
    /// Its order inside the partition.
    pub order: u64,
    /// Whose copy is meant: 0 = this node's own, else the hint that this node keeps for another.
    pub target: NodeId,
}

impl<'a> Key<'a> {
    /// Hashes and places `bytes`.
    pub fn new(bytes: &'a [u8], seed: u64, partition_bits: u32) -> Key<'a> {
        let hash = KeyHash::new(seed, bytes);
        let partition = hash.partition(partition_bits);
        Key { bytes, hash, partition, order: hash.order(partition_bits), target: NodeId(0) }
    }

    /// The same key, but the hint that is kept for `target`; the own copy if that is 0.
    #[must_use]
    pub fn kept_for(self, target: NodeId) -> Key<'a> {
        Key { target, ..self }
    }

    /// Whether a hint is meant.
    pub fn is_hint(&self) -> bool {
        self.target != NodeId(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_and_order_are_adjacent_bits() {
        let hash = KeyHash(0xabcd_1234_5678_9abc_def0_1111_2222_3333);
        assert_eq!(hash.partition(16), Partition(0xabcd));
        assert_eq!(hash.order(16), 0x1234_5678_9abc_def0);
        assert_eq!(hash.partition(4), Partition(0xa));
        assert_eq!(hash.order(4), 0xbcd1_2345_6789_abcd);
    }

    #[test]
    fn golden_hash_is_stable() {
        assert_eq!(KeyHash::new(7, b"ringmain").0, 0x4ae6_bba7_5a2a_fe87_6797_7723_fd58_210c);
    }
}
