//! What a node knows of how far the data has moved that the committed topology asks for.

use super::{Node, NodeOutput};
use crate::id::{NodeId, TopologyId};
use crate::limits::MEMBER_COUNT_MAX;
use heapless::Vec;

/// Of the topology that was published last, and empty unless it is moving.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Members that catch up with partitions, and those that leave.
    concerned: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Members that are warm.
    warm: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Shards of this node that are warm.
    shards: u16,
    /// Operations are moving, but all who had the data before are gone, and whoever is a member was
    /// taken for settled at once: so that holds for what is committed from here on no more, their
    /// Adds must be settled, too, although nobody has to catch up.
    is_bare: bool,
}

impl Settling {
    fn add(&mut self, node: NodeId) {
        if !self.warm.contains(&node) {
            // More than members can be are none: they are not waited for.
            let _full = self.warm.push(node);
        }
    }
}

impl Node<'_> {
    /// Members that catch up with partitions, or leave, and are not known to be warm; none while
    /// nothing moves.
    pub fn awaited(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        let Settling { concerned, warm, .. } = &self.settling;
        concerned.iter().copied().filter(|node| !warm.contains(node))
    }

    /// Another topology was published.
    pub(super) fn begin_settling(&mut self) {
        let mut concerned = self.rings.catching_up();
        concerned.extend(self.rings.leaving().iter().copied());
        let is_bare = self.operations().is_moving() && !self.rings.is_moving();
        self.settling = Settling { concerned, is_bare, ..Settling::default() };
    }

    /// What was published waits for no data: if so, this member is warm.
    pub(super) fn settle_bare(&mut self) {
        if self.settling.is_bare && self.is_warm() {
            self.on_own_warm();
        }
    }

    /// A shard of this node has caught up.
    pub(super) fn on_shard_warm(&mut self, topology: TopologyId) {
        if topology != self.published {
            return;
        }
        self.settling.shards += 1;
        assert!(self.settling.shards <= self.config.shards, "a shard is warm once");
        if self.is_warm() {
            self.on_own_warm();
        }
    }

    fn on_own_warm(&mut self) {
        self.settling.add(self.config.member.node);
        for index in 0..self.peers.len() {
            self.tell_warm(self.peers[index]);
        }
        self.try_settle();
    }

    /// `from` has caught up in `topology`.
    pub(super) fn on_warm(&mut self, from: NodeId, topology: TopologyId) {
        let is_moving = self.rings.is_moving() || self.settling.is_bare;
        if topology == self.published && is_moving {
            self.settling.add(from);
            self.try_settle();
        }
    }

    /// Tells a peer that this node is warm, if it is: whoever was on another topology before
    /// could not make anything of it.
    pub(super) fn tell_warm(&mut self, to: NodeId) {
        if self.is_warm() {
            self.output(NodeOutput::SendWarm { to, topology: self.published });
        }
    }

    fn is_warm(&self) -> bool {
        if self.settling.is_bare {
            return self.rings.contains(self.config.member.node);
        }
        self.rings.is_moving() && self.settling.shards == self.config.shards
    }

    fn try_settle(&mut self) {
        // Another operation may be on its way to disk, for which nobody is warm.
        if self.topology.id() != self.published || self.awaited().next().is_some() {
            return;
        }
        let Node { rings, settling, .. } = &*self;
        let mut voters: Vec<_, MEMBER_COUNT_MAX> = rings.holders().collect();
        if voters.is_empty() {
            // All who had the data are lost, and it with them.
            voters.extend(rings.committed().nodes());
        }
        let warm = voters.iter().filter(|node| settling.warm.contains(node)).count();
        if 2 * warm > voters.len() && self.topology.settle() {
            self.persist();
        }
    }
}
