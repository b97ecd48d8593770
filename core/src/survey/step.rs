//! What surveys have a shard do.

use crate::id::NodeId;

/// What is to be done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// List what of the partition with this index may leave, from an order on.
    List {
        /// Among those of the shard.
        index: usize,
        /// The order.
        from: u64,
        /// Keys with long version vectors, not what may leave.
        is_long: bool,
    },
    /// Ask a node.
    Ask {
        /// The batch.
        number: u32,
        /// The node.
        node: NodeId,
    },
    /// Have this node's reap epoch raised.
    Raise {
        /// If it is not above this.
        above: u64,
    },
    /// Drop the next entries of a batch.
    Conclude {
        /// The batch.
        number: u32,
    },
}
