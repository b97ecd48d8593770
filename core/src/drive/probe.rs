//! Signs of life that are asked of peers.

use super::{Bodies, Links, To, Turn, Waiting};
use crate::checksum::Checksum;
use crate::id::{NodeId, Partition, RequestId};
use crate::records::Records;
use crate::wire::op::Op;
use crate::wire::peer::Read;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// A read of a key that nobody asks about: even the refusal of a shard that does not own it is
    /// a sign of life.
    pub(super) fn probe(&mut self, node: NodeId, partition: Partition) {
        let hop = self.hop(Op::Read, RequestId::NONE.0);
        let read = Read { known: 0, target: NodeId(0) };
        self.send(To::Node(node, partition), hop, &[0], &read);
    }
}
