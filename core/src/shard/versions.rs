//! Which version of the protocol each peer speaks with this node: while a cluster is upgraded node
//! by node, some do not know all ops. See [`version`](crate::wire::version).

use super::Shard;
use crate::id::NodeId;
use crate::wire::op::Op;
use crate::wire::{VERSION, VERSION_MIN};

impl Shard<'_> {
    /// The version of what is sent to `node`, and of what it sends, while it can be reached: who
    /// writes a payload whose bytes depend on it asks here.
    pub fn wire_version(&self, node: NodeId) -> u8 {
        if self.older.contains(&node) { VERSION_MIN } else { VERSION }
    }

    /// How many peers that can be reached speak an older version than this node.
    pub fn older_count(&self) -> usize {
        self.older.len()
    }

    /// Links to `node` stand, and it knows `op`; or it is this node.
    pub(crate) fn may_send(&self, node: NodeId, op: Op) -> bool {
        self.is_reachable(node) && op.since() <= self.wire_version(node)
    }

    /// The first of `nodes` whose build is too old to know `op`; of one that cannot be reached
    /// nobody knows that.
    pub(super) fn too_old_for(&self, op: Op, nodes: &[NodeId]) -> Option<NodeId> {
        nodes.iter().copied().find(|node| op.since() > self.wire_version(*node))
    }

    /// Links to `node` are about to stand that speak `version`.
    pub(super) fn on_peer_speaks(&mut self, node: NodeId, version: u8) {
        self.forget_version(node);
        if node != self.config.node && version < VERSION {
            self.older.push(node).expect("no more peers than members");
        }
    }

    /// Links to `node` are gone: it may come back as another build.
    pub(super) fn forget_version(&mut self, node: NodeId) {
        self.older.retain(|older| *older != node);
    }
}
