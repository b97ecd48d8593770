//! Client requests: what was asked, the two values that decide it ([`Get`], [`Put`]), the table
//! that holds those in flight and the wheel of their deadlines.

mod deadlines;
mod get;
mod put;
mod table;

pub use deadlines::{Deadlines, Links};
pub use get::{Found, Get};
pub use put::{OwedReads, Put};
pub(crate) use table::{Pending, Phase};
pub use table::{Slot, Table};

use crate::hash::Key;
use crate::id::{NodeId, Partition, ShardIndex};
use crate::records::{Applied, Refusal};
use crate::time::Instant;

/// One connection of the driver, by a number that is never used again. Answers to what came
/// over it go back over it or nowhere.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Link(pub u64);

/// Who waits for the reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A session of this shard, by the driver's ticket.
    Session(u64),
    /// A frame: a native client, a node or shard that forwarded.
    Frame {
        /// The connection it came over.
        link: Link,
        /// The request number of its frame.
        request: u32,
        /// Of its key; goes back with the reply.
        order: u64,
    },
}

/// Where a key lives.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeyPlace {
    /// Its partition.
    pub partition: Partition,
    /// Its order inside it; acknowledgments carry it, so that none can count for another key.
    pub order: u64,
}

impl KeyPlace {
    /// Where `key` lives.
    pub fn of(key: &Key<'_>) -> KeyPlace {
        KeyPlace { partition: key.partition, order: key.order }
    }
}

/// The quorum that a request asks for; 0 = the cluster's default (R, W) or none (the others).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// R or W: distinct nodes.
    pub nodes: u8,
    /// PR or PW: primaries among them.
    pub primaries: u8,
    /// DW: nodes that synced it, among them.
    pub durable: u8,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Read; with `cover`, the answer must cover the context at hand (session reads).
    Get {
        /// R, PR.
        asked: Asked,
        /// A context was given.
        cover: bool,
    },
    /// Write; with `read`, first read with that quorum and write with the joined context.
    Put {
        /// W, PW, DW.
        asked: Asked,
        /// R, PR of the read before it (DEL, SET with a condition).
        read: Option<Asked>,
    },
    /// Read the keys of a partition from an order on. Any member does, of the owners.
    Scan {
        /// R.
        asked: Asked,
    },
}

/// One client request, without its bytes: those stay with the driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// Who waits.
    pub origin: Origin,
    /// Where its key lives; where a scan begins.
    pub key: KeyPlace,
    /// What is to be done.
    pub kind: Kind,
    /// When it fails. At most `limits::REQUEST_TIMEOUT_MAX` away.
    pub deadline: Instant,
    /// Another node forwarded it: it is not forwarded to a node again.
    pub forwarded: bool,
    /// The reply should carry the context.
    pub want_context: bool,
}

/// Where a request is forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// The shard of this node that holds the partition.
    Shard(ShardIndex),
    /// An owner, or who stands in for one.
    Node(NodeId),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Too few nodes answered in time; a write's outcome is unknown.
    NoQuorum {
        /// Nodes needed.
        needed: u8,
        /// Nodes that did.
        got: u8,
    },
    /// Refused before anything was written.
    Unavailable {
        /// Nodes needed.
        needed: u8,
        /// Nodes there are, or that can be reached.
        got: u8,
    },
    /// A read did not come to cover the context that was given.
    NotCovered,
    /// The context token is not one of this key and cluster.
    BadContext,
    /// A key, value or record is too large.
    TooLarge,
    /// Too many siblings, or too large a record.
    Siblings,
    /// Overload: try again.
    Busy,
    /// The log cannot grow: the disk is full, or no file can be made.
    NoSpace,
    /// The log failed; this shard takes no writes.
    ReadOnly,
    /// The local record is damaged and no other owner could take over.
    Damaged,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// What was gathered for it answers the read.
    Got,
    /// Written on enough nodes.
    Stored(Applied),
    /// The condition of a conditional write did not hold; what was gathered says why.
    ConditionFailed,
    /// Failed.
    Failed(Failure),
}

/// What a request value decides after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on waiting (and asking, while `Get::next_to_ask` names nodes).
    Wait,
    /// Reply.
    Reply(Outcome),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        use crate::records::{Full, Unread};
        match refusal {
            Refusal::Unread(Unread::Cold) | Refusal::Full(Full::Busy) => Failure::Busy,
            Refusal::Unread(Unread::Damaged) => Failure::Damaged,
            Refusal::Full(Full::NoSpace) => Failure::NoSpace,
            Refusal::Full(Full::ReadOnly) => Failure::ReadOnly,
            Refusal::Siblings => Failure::Siblings,
            Refusal::TooLarge => Failure::TooLarge,
        }
    }
}
