//! What a shard is told and what it asks for: two closed sets.

use crate::id::{NodeId, Partition, RequestId, TopologyId};
use crate::records::{Applied, Joined, Place, Refusal, Unread};
use crate::request::{Found, KeyPlace, Link, Origin, Outcome, Request, Target};
use crate::ring::Ring;
use crate::wire::peer::RejectReason;

/// A data frame of a coordinator, without its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataFrame {
    /// The connection it came over.
    pub link: Link,
    /// The node behind it.
    pub node: NodeId,
    /// The request number of its frame.
    pub request: u32,
    /// The topology that the coordinator works on.
    pub topology: TopologyId,
    /// Where its key lives.
    pub key: KeyPlace,
    /// Its acknowledgment must wait for a sync.
    pub sync: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A client request, its bytes at hand.
    Request(Request),
    /// [`Output::Look`] was done.
    Looked {
        /// The request.
        op: RequestId,
        /// What this node has, or why its record could not be read.
        result: Result<Found, Unread>,
    },
    /// [`Output::Apply`] was done.
    Applied {
        /// The request.
        op: RequestId,
        /// What it did; on an error nothing changed.
        result: Result<Applied, Refusal>,
    },
    /// [`Output::Apply`] found that the write's condition does not hold; nothing changed.
    ConditionFailed {
        /// The request.
        op: RequestId,
    },
    /// The cold record that [`Output::Apply`] met is in memory: the write can be tried again.
    Fetched {
        /// The request.
        op: RequestId,
    },
    /// A record to store, its bytes at hand.
    Replicate(DataFrame),
    /// [`Output::Join`] was done.
    Joined {
        /// As in the frame.
        link: Link,
        /// As in the frame.
        request: u32,
        /// As in the frame.
        order: u64,
        /// As in the frame.
        sync: bool,
        /// What it did.
        result: Result<Joined, Refusal>,
    },
    /// A record to send back.
    Read(DataFrame),
    /// A replica stored a record.
    Acked {
        /// The replica.
        node: NodeId,
        /// The request.
        op: RequestId,
        /// The key it stored.
        order: u64,
        /// It synced it, too.
        durable: bool,
    },
    /// A replica answered a read; its record has been gathered.
    Answered {
        /// The replica.
        node: NodeId,
        /// The request.
        op: RequestId,
        /// The key it read.
        order: u64,
        /// What it has.
        found: Found,
    },
    /// A replica refused a record or a read.
    Rejected {
        /// The replica.
        node: NodeId,
        /// The request.
        op: RequestId,
        /// The key.
        order: u64,
        /// Why.
        reason: RejectReason,
    },
    /// A frame to a replica was not taken: its queue is full, or it is gone.
    Unsent {
        /// The replica.
        node: NodeId,
        /// The request.
        op: RequestId,
    },
    /// The reply to a forwarded request is at hand.
    ForwardReplied {
        /// The request.
        op: RequestId,
        /// The node that sent it; this node for its other shards.
        node: NodeId,
        /// Of the key that it is about.
        order: u64,
    },
    /// A forwarded request could not be sent: its target's queue is full or gone.
    ForwardLost {
        /// The request.
        op: RequestId,
    },
    /// A peer can be reached.
    PeerUp(NodeId),
    /// A peer cannot be reached; what was sent to it may or may not have arrived.
    PeerDown(NodeId),
    /// How far the log has come. Told once at the start, too, for what recovery found: a record
    /// that a join leaves as it is is acknowledged by its old place.
    Stored {
        /// What lies below this place outlives the process: the operating system has it.
        written: Place,
        /// What lies below this place outlives the operating system: it is on disk. Not above
        /// `written`.
        synced: Place,
    },
    /// A write or sync of the log failed: nothing above what was stored counts.
    LogFailed,
    /// The node has a new ring; the shard keeps a copy.
    Ring {
        /// The ring.
        ring: &'a Ring<'a>,
        /// Its topology.
        topology: TopologyId,
    },
    /// Client writes and replication are refused from now on: a member is being added.
    Hold,
    /// They go on.
    Release,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Read the local record of the request and gather it; answer with [`Input::Looked`].
    Look {
        /// The request.
        op: RequestId,
    },
    /// Apply the request's write to the local record; answer with [`Input::Applied`], or once the
    /// record is no longer cold with [`Input::Fetched`].
    Apply {
        /// The request.
        op: RequestId,
        /// The birth to use if a new actor is minted.
        birth: u32,
        /// Use the context of what was gathered, and check the write's condition against it.
        gathered: bool,
    },
    /// Join the record at hand into the store; answer with [`Input::Joined`], or offer the frame
    /// again once the store has what it lacked.
    Join {
        /// As in the frame.
        link: Link,
        /// As in the frame.
        node: NodeId,
        /// As in the frame.
        request: u32,
        /// As in the frame.
        order: u64,
        /// As in the frame.
        sync: bool,
    },
    /// Send the local record of the read at hand.
    Serve {
        /// The connection.
        link: Link,
        /// The request number of the read.
        request: u32,
        /// Its key.
        order: u64,
    },
    /// Send the record at `place` to a replica.
    Replicate {
        /// The request.
        op: RequestId,
        /// The replica.
        node: NodeId,
        /// The partition of its key.
        partition: Partition,
        /// The record.
        place: Place,
        /// Acknowledge only when synced.
        sync: bool,
        /// Milliseconds until the request's deadline.
        deadline_ms: u16,
    },
    /// Ask a replica for its record.
    Ask {
        /// The request.
        op: RequestId,
        /// The replica.
        node: NodeId,
        /// The partition of its key.
        partition: Partition,
        /// Milliseconds until the request's deadline.
        deadline_ms: u16,
    },
    /// Give a node what was gathered for the read if it has another version: this node by its
    /// store, others by a frame. Whether that succeeds changes nothing here.
    Repair {
        /// The request.
        op: RequestId,
        /// The node.
        node: NodeId,
        /// What it has.
        version: u64,
        /// The partition of its key.
        partition: Partition,
    },
    /// Hand the request at hand to another shard or node.
    Forward {
        /// The request.
        op: RequestId,
        /// Where to.
        target: Target,
        /// The partition of its key.
        partition: Partition,
        /// Mark it as forwarded by a node.
        forwarded: bool,
        /// Milliseconds until the request's deadline.
        deadline_ms: u16,
    },
    /// Acknowledge a record.
    Ack {
        /// The connection it came over.
        link: Link,
        /// As in the frame.
        request: u32,
        /// As in the frame.
        order: u64,
        /// It is synced.
        durable: bool,
    },
    /// Refuse a record or a read.
    Reject {
        /// The connection it came over.
        link: Link,
        /// As in the frame.
        request: u32,
        /// As in the frame.
        order: u64,
        /// Why.
        reason: RejectReason,
    },
    /// Answer the client; the request is over, and what was kept for it can go.
    Reply {
        /// The request; none if it never took a slot.
        op: Option<RequestId>,
        /// Who waits.
        origin: Origin,
        /// The answer.
        outcome: Outcome,
        /// As in the request.
        want_context: bool,
    },
    /// Pass the reply at hand on to the client; the forwarded request is over.
    Relay {
        /// The request.
        op: RequestId,
        /// Who waits.
        origin: Origin,
    },
    /// A write wants the log synced although its durability mode would not.
    Sync,
    /// A peer knows another topology: the node machine must exchange them.
    TopologyDiffers {
        /// The peer.
        node: NodeId,
    },
    /// This node lost events of its own actors: the process must restart with a new boot.
    LostOwnEvents,
}
