//! What the shards of a node tell each other besides frames.

use crate::log::Errno;
use crate::log_files::Segment;
use ringmain_core::id::{NodeId, Partition, TopologyId};
use ringmain_core::membership::member::Contact;
use ringmain_core::node::Audience;
use ringmain_core::ring::Rings;
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

/// One message to a shard.
pub(crate) enum Control {
    /// A native connection that asked for this shard, with the bytes that it has sent.
    Adopt { socket: OwnedFd, received: Vec<u8>, is_loopback: bool },
    /// The node has other rings, or knows other addresses.
    Published(Arc<Published>),
    /// To shard 0: another shard has what this node gains in a topology.
    ShardWarm(TopologyId),
    /// To shard 0: a peer knows another topology.
    TopologyDiffers(NodeId),
    /// To shard 0: the reap epoch of this node is to be above that.
    Raise(u64),
    /// To shard 0: what a person or program asks from the admin port.
    Status(SyncSender<String>),
    /// A segment that this shard's log asked for was made, or not.
    Created { segment: u32, result: Result<Segment, Errno> },
    /// A part of a snapshot was written, or not.
    Stored { result: Result<(), Errno> },
    /// Check all that the log holds, and then give up what is lost if that is said.
    Scrub { round: u64, accepts_loss: bool },
    /// Compare all copies, or those of a partition, with other owners' now.
    Repair { round: u64, partition: Option<Partition> },
    /// See now what may leave for good.
    Reap { round: u64 },
    /// Stop: take nothing new, sync, end.
    Stop,
}

/// The newest rings with their topology: one for the life of the process, as its memory is lent
/// once. Who handles an older [`Published`] finds the newer rings, under their own name.
pub(crate) type SharedRings = Arc<Mutex<(TopologyId, Rings<'static>)>>;

/// What the node machine publishes to all shards. The rings are copied by each.
pub(crate) struct Published {
    pub(crate) rings: SharedRings,
    /// Where the members answer, this node too.
    pub(crate) contacts: Vec<Contact>,
    /// Whom the shards may answer.
    pub(crate) audience: Audience,
}
