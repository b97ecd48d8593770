//! Names of things, one type each, so that no two can be mixed up.

use core::fmt;

/// One running server of a cluster. Random, accepted when its Add commits, never reused.
/// 0 is never a node.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    /// Eight hex digits, the form that people and JSON see everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One cluster, minted when it is founded. Only its digest travels in frames.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// The 64 bits that every frame carries; frames of another cluster are refused.
    pub fn digest(self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0.to_le_bytes())
    }

    /// Seed of the key hash: public, sent in HELLO, so that clients can place keys.
    pub fn hash_seed(self) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&self.0.to_le_bytes(), 1)
    }
}

/// One process life of a node: 40 bits, larger at every start, persisted before it is used.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Boot(pub u64);

/// One of Q equal arcs of the hash space: the unit of ownership, Merkle tree and handoff
/// (the virtual node of Dynamo §4.2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition(pub u16);

/// One CPU core of a node. Shard = partition × shards / Q: contiguous ranges of partitions.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardIndex(pub u16);

impl ShardIndex {
    /// The shard that holds `partition` on a node of `shards` shards, in a cluster with
    /// 2^`partition_bits` partitions.
    pub fn of(partition: Partition, shards: u16, partition_bits: u32) -> ShardIndex {
        ShardIndex(((u32::from(partition.0) * u32::from(shards)) >> partition_bits) as u16)
    }
}

/// A committed set of topology operations, by the hash of its sorted operations.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopologyId(pub u64);

/// One request of a coordinator shard, as its frames name it: slot index and generation.
/// Generations make a late reply to a reused slot harmless.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u32);

impl RequestId {
    /// No request: the number of frames whose answer nobody waits for. No slot has that index.
    pub const NONE: RequestId = RequestId(u32::MAX);
}
