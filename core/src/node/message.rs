//! What a node is told and what it asks for: two closed sets.

use super::Vote;
use crate::id::{NodeId, TopologyId};
use crate::membership::detector::DetectorOutput;
use crate::membership::member::Contact;
use crate::membership::topology::{Operation, Operations};
use crate::wire::gossip::{Gossip, Liveness, Signal};

/// A message of the adding of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// Hold writes, for this attempt to commit the operation.
    Hold,
    /// Answer to `Hold`.
    Held(Verdict),
    /// The operation is committed.
    Commit,
    /// Answer to `Commit`.
    Committed(Verdict),
    /// From the newcomer: this attempt is over. From a member: promise not to commit it.
    Abort,
    /// Answer to `Abort` of a member.
    Aborted(Verdict),
}

/// The answer to one of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Verdict {
    /// Done, or promised.
    Yes = 0,
    /// The operation is committed already.
    Already = 1,
    /// Another node is being added, or the hold is over: try again.
    Busy = 2,
    /// The cluster holds data, and data cannot move yet.
    DataPresent = 3,
    /// A member cannot be reached.
    MemberAway = 4,
    /// The node that answers is no member itself.
    NotMember = 5,
}

impl Verdict {
    /// The verdict of that number.
    pub fn from_number(number: u8) -> Option<Verdict> {
        use Verdict::{Already, Busy, DataPresent, MemberAway, NotMember, Yes};
        let all = [Yes, Already, Busy, DataPresent, MemberAway, NotMember];
        all.get(usize::from(number)).copied()
    }
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
        /// The vote.
        vote: Option<Vote>,
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
    /// A message of the adding of a node.
    Message {
        /// Its sender.
        from: NodeId,
        /// The topology that the sender knew.
        topology: TopologyId,
        /// The newcomer's number for its attempt.
        attempt: u32,
        /// The message.
        message: Message,
        /// The operation it is about.
        operation: Operation,
    },
    /// [`NodeOutput::HoldShards`] was done: every shard refuses writes; `empty` if none has a key.
    ShardsHeld {
        /// No shard has a key.
        empty: bool,
    },
    /// [`NodeOutput::Persist`] was done.
    Persisted,
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
    /// Send the committed operations and the known contacts.
    SendTopology {
        /// To this node.
        to: NodeId,
    },
    /// Send a message of the adding of a node.
    Send {
        /// To this node.
        to: NodeId,
        /// As in the message.
        attempt: u32,
        /// The message.
        message: Message,
        /// The operation it is about.
        operation: Operation,
    },
    /// Tell every shard to hold; answer with [`NodeInput::ShardsHeld`].
    HoldShards,
    /// Tell every shard to go on.
    ReleaseShards,
    /// Write the committed operations and [`Node::vote`](super::Node::vote), as they are now, to
    /// disk; answer with [`NodeInput::Persisted`].
    Persist {
        /// Their id.
        topology: TopologyId,
    },
    /// Give [`Node::ring`](super::Node::ring) to every shard.
    Publish {
        /// Its topology.
        topology: TopologyId,
    },
    /// A contact is new or has changed.
    ContactChanged {
        /// Of this node.
        node: NodeId,
    },
    /// This node's own Add was refused; it tries again, unless people must act first.
    JoinRefused {
        /// By this member, or put off by this node itself.
        by: NodeId,
        /// Why.
        verdict: Verdict,
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
