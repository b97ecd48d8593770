//! What a shard is told and what it asks for: two closed sets.

use super::exchange::ExchangeEvent;
use super::survey::SurveyEvent;
use crate::exchange::{Finished, Session, Step};
use crate::id::{NodeId, Partition, RequestId, TopologyId};
use crate::node::Audience;
use crate::records::{Applied, Joined, Place, Refusal, Unread};
use crate::request::{Found, KeyPlace, Link, Origin, Outcome, Request, Target};
use crate::ring::Rings;
use crate::survey::Purpose;
use crate::wire::exchange::EndReason;
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
    /// The owner for whose hint it is; 0 for this node's own copy.
    pub target: NodeId,
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
    /// A peer said something that concerns nothing in flight.
    Heard {
        /// The peer.
        node: NodeId,
        /// The request, if it is a late answer.
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
    /// A peer is about to be reachable over links of that version of the protocol. Without it, and
    /// after [`Input::PeerDown`], it counts as one of this build's version.
    PeerSpeaks {
        /// The peer.
        node: NodeId,
        /// The version, the lowest of all links to it.
        version: u8,
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
    /// Hints are kept for a node: told for each such node at the start. The machine itself knows of
    /// those that are stored later.
    Hinted {
        /// The node.
        target: NodeId,
    },
    /// [`Output::SeekHint`] was done.
    Sought {
        /// The hint, as a request.
        op: RequestId,
        /// What was found.
        result: Sought,
    },
    /// [`Output::SeekEnd`] was done.
    EndsAt {
        /// The place behind all that was appended.
        end: Place,
    },
    /// See [`ExchangeEvent`].
    Exchange(ExchangeEvent<'a>),
    /// See [`SurveyEvent`].
    Survey(SurveyEvent<'a>),
    /// Client writes and replication are refused from now on, and nothing begins by itself: the
    /// process stops.
    Stop,
    /// The node has new rings; the shard keeps a copy.
    Rings {
        /// The rings.
        rings: &'a Rings<'a>,
        /// Their topology.
        topology: TopologyId,
    },
    /// Whom the shard may answer, as the node machine knows it; at first all. While that is not
    /// other nodes, the topology that the machine gives is one that they refuse, and do not name.
    Audience(Audience),
    /// Background work may use that many thousandths of its rates from now on, at least 1: clients
    /// wait too long.
    Background {
        /// The share.
        per_mille: u16,
    },
}

/// What became of the search for the next hint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sought {
    /// It can be sent.
    Found(FoundHint),
    /// It cannot be read, or refers to a copy that is not there: it is kept, and others come first.
    Passed {
        /// Where it lies.
        place: Place,
    },
    /// It is being read into memory.
    Cold {
        /// Where it lies.
        place: Place,
    },
    /// The store cannot take what has to be joined first.
    Refused,
    /// There is none behind the place that was named.
    Nothing,
}

/// A hint that can be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FoundHint {
    /// Where it lies.
    pub place: Place,
    /// Where the record lies that is sent for it: there, or where this node's own copy is.
    pub sends: Place,
    /// Of its key.
    pub key: KeyPlace,
    /// Length of what is sent, bytes.
    pub bytes: u32,
    /// It was joined into this node's own copy.
    pub joined: bool,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Read the local record of the request and gather it; answer with [`Input::Looked`].
    Look {
        /// The request.
        op: RequestId,
        /// The hint kept for this node is meant; 0 = the own copy.
        target: NodeId,
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
        /// The hint kept for this node is changed; 0 = the own copy.
        target: NodeId,
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
        /// The replica is to keep it for this node; 0 = as its own copy.
        target: NodeId,
    },
    /// Keep a hint that refers to this node's own copy of what is at `place`, for an owner that
    /// did not get it. Whether that succeeds changes nothing here.
    Keep {
        /// The record.
        place: Place,
        /// Of its key.
        key: KeyPlace,
        /// The owner.
        target: NodeId,
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
        /// The hint that the replica keeps for this node is wanted; 0 = its own copy.
        target: NodeId,
    },
    /// Ask a peer for a sign of life: a read that its shard answers at once, whatever it has, and
    /// that is of no request.
    Probe {
        /// The peer.
        node: NodeId,
        /// A partition of the shard that is meant.
        partition: Partition,
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
    /// Look for the oldest hint that is kept for a node behind a place; answer with
    /// [`Input::Sought`].
    SeekHint {
        /// The hint, as a request.
        op: RequestId,
        /// The node.
        target: NodeId,
        /// The place; 0 = from the first on.
        after: Place,
    },
    /// Look where the store ends; answer with [`Input::EndsAt`].
    SeekEnd,
    /// A hint has come home: keep it no longer, unless a newer one has taken its place.
    DropHint {
        /// For whom it was kept.
        target: NodeId,
        /// Where it lies.
        place: Place,
        /// Where the record lay that was sent for it. If that was this node's own copy, which has
        /// changed since, the target may lack the change: then the hint is kept.
        sent: Place,
    },
    /// Do a step of an exchange; answer with the [`ExchangeEvent`] that belongs to it.
    Exchange {
        /// The exchange.
        session: Session,
        /// The partition that it is about.
        partition: Partition,
        /// What is to be done.
        step: Step,
    },
    /// Join the record at hand, which came in an exchange; answer with [`ExchangeEvent::Joined`].
    ExchangeJoin {
        /// The connection it came over.
        link: Link,
        /// The node behind it.
        node: NodeId,
    },
    /// Answer a frame of an exchange with EXCHANGE_END.
    ExchangeRefuse {
        /// The connection it came over.
        link: Link,
        /// As in the frame.
        number: u32,
        /// Why.
        reason: EndReason,
    },
    /// An exchange has finished.
    Exchanged(Finished),
    /// Tell the node machine that this shard has all that it gains in a topology.
    Warm {
        /// The topology.
        topology: TopologyId,
    },
    /// List what of a partition may leave; answer with [`SurveyEvent::Listed`].
    SurveyList {
        /// The partition.
        partition: Partition,
        /// Why.
        purpose: Purpose,
        /// From this order on.
        from: u64,
    },
    /// Ask a node, perhaps this one, whether the records of a survey may leave; it answers with
    /// [`SurveyEvent::Answered`].
    SurveyAsk {
        /// The survey.
        number: u32,
        /// The node.
        node: NodeId,
        /// The partition of the keys.
        partition: Partition,
    },
    /// Have the node machine raise this node's reap epoch, if it is not above that.
    Raise {
        /// What all members had at most.
        above: u64,
    },
    /// Drop the next records of a survey; answer with [`SurveyEvent::Concluded`].
    SurveyConclude {
        /// The survey.
        number: u32,
    },
    /// The log is to be synced although its durability mode would not.
    Sync,
    /// A peer knows another topology: the node machine must exchange them.
    TopologyDiffers {
        /// The peer.
        node: NodeId,
    },
    /// This node lost events of its own actors: the process must restart with a new boot.
    LostOwnEvents,
}
