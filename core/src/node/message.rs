//! What a node is told and what it asks for: two closed sets.

use crate::id::{NodeId, TopologyId};
use crate::membership::detector::DetectorOutput;
use crate::membership::member::{Contact, Member};
use crate::membership::operation::Operation;
use crate::membership::topology::Operations;
use crate::wire::epochs::{Claim, Epochs};
use crate::wire::gossip::{Gossip, Liveness, Signal};

/// Why a node cannot become a member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JoinRefusal {
    /// Another node has its id.
    IdTaken,
    /// The cluster has as many members, or operations, as it can have.
    Full,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum NodeInput<'a> {
    /// Found a cluster: this node is its first member.
    Found,
    /// What the node had persisted.
    Restored {
        /// The committed operations.
        operations: Operations<'a>,
        /// What went with them: [`Node::claims_to_keep`](super::Node::claims_to_keep).
        claims: &'a [Claim],
    },
    /// A node can be reached.
    PeerUp(NodeId),
    /// A node cannot be reached.
    PeerDown(NodeId),
    /// The committed operations that another node knows.
    Topology {
        /// The other node.
        from: NodeId,
        /// Its operations.
        operations: Operations<'a>,
    },
    /// Where a node says that it answers.
    Contact(Contact),
    /// A shard met a peer that knows another topology.
    Differs(NodeId),
    /// These operations are to be committed.
    Commit {
        /// The operations, moving unless there is nothing to move.
        operations: Operations<'a>,
    },
    /// Somebody stages an operation.
    Stage {
        /// The operation.
        operation: Operation,
    },
    /// The operations that are staged, as another node knows.
    Staged {
        /// The other node.
        from: NodeId,
        /// Whoever drops them all raises it.
        revision: u64,
        /// The operations.
        operations: Operations<'a>,
    },
    /// Somebody drops all that is staged.
    ClearStaged,
    /// A node that is no member tells as what it would become one.
    Candidate(Member),
    /// A shard of this node has what the node gains in a topology: once for each topology that is
    /// moving.
    ShardWarm {
        /// The topology.
        topology: TopologyId,
    },
    /// Another node has what it gains in a topology.
    Warm {
        /// The node.
        from: NodeId,
        /// The topology.
        topology: TopologyId,
    },
    /// [`NodeOutput::Persist`] was done.
    Persisted,
    /// Another node tells what it knows of reap epochs.
    Epochs {
        /// The node.
        from: NodeId,
        /// The topology that it names.
        topology: TopologyId,
        /// What it tells.
        epochs: Epochs<'a>,
    },
    /// All members have agreed once to reap something, none of them at a greater reap epoch.
    Raise {
        /// The greatest one.
        above: u64,
    },
    /// A message of the failure detector of another node.
    Gossip {
        /// Its sender.
        from: NodeId,
        /// The message.
        gossip: Gossip<'a>,
    },
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeOutput {
    /// Send the committed operations and the known contacts; behind them the reap epochs, as in
    /// [`NodeOutput::SendEpochs`], asking if [`Node::asks_epochs`](super::Node::asks_epochs).
    SendTopology {
        /// To this node.
        to: NodeId,
    },
    /// Send the [`Node::staged`](super::Node::staged) operations.
    SendStaged {
        /// To this node.
        to: NodeId,
    },
    /// More was staged than a node keeps; the rest was dropped.
    StagedFull,
    /// Say that this node has what it gains in a topology.
    SendWarm {
        /// To this node.
        to: NodeId,
        /// The topology.
        topology: TopologyId,
    },
    /// Write the committed operations and [`Node::claims_to_keep`](super::Node::claims_to_keep), as
    /// they are now, to disk; answer with [`NodeInput::Persisted`].
    Persist {
        /// Their id.
        topology: TopologyId,
    },
    /// Give [`Node::rings`](super::Node::rings) to every shard, and whether this node
    /// [is vouched for](super::Node::is_vouched).
    Publish {
        /// Its topology.
        topology: TopologyId,
    },
    /// A contact is new or has changed.
    ContactChanged {
        /// Of this node.
        node: NodeId,
    },
    /// This node was a member and is none any more, for ever; nothing of what it has is served.
    Removed,
    /// Send what is known of reap epochs: [`Node::claims`](super::Node::claims).
    SendEpochs {
        /// To this node.
        to: NodeId,
        /// It is to answer.
        asks: bool,
    },
    /// The data directory is an older copy of this node's own: what was reaped since may be in it.
    /// This process must stop, and the directory must never be used again.
    Outdated {
        /// Who knows.
        told_by: NodeId,
    },
    /// The data directory of another node is an older copy; it is told so, and stops.
    PeerOutdated {
        /// The node.
        node: NodeId,
    },
    /// This node cannot join; said once for each reason.
    JoinRefused {
        /// The reason.
        refusal: JoinRefusal,
    },
    /// More operations or contacts than a node keeps were offered; the rest was dropped.
    TopologyFull,
    /// Send a message of the failure detector: [`Node::gossip`](super::Node::gossip) writes it,
    /// before the next input.
    Gossip {
        /// To this node.
        to: NodeId,
        /// What it asks or answers.
        signal: Signal,
    },
    /// A member is held for this from now on; at first it is held for alive.
    Liveness {
        /// The member.
        node: NodeId,
        /// What is claimed of it.
        liveness: Liveness,
    },
    /// A younger process runs under this node's id, as on a copied data directory: this one must
    /// stop.
    Superseded,
}

impl From<DetectorOutput> for NodeOutput {
    fn from(output: DetectorOutput) -> NodeOutput {
        match output {
            DetectorOutput::Send { to, signal } => NodeOutput::Gossip { to, signal },
            DetectorOutput::Changed { node, status } => {
                NodeOutput::Liveness { node, liveness: status }
            }
            DetectorOutput::Superseded => NodeOutput::Superseded,
        }
    }
}
