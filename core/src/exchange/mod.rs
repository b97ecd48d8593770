//! Anti-entropy (Dynamo §4.7): two owners of a partition find what they differ in, and repair it.
//!
//! One exchange is an [`Initiator`] here and a [`Responder`] there, which talk over one ordered
//! connection and die with it. The initiator asks one question at a time and decides; the
//! responder knows only the question at hand, so the list of a leaf travels one way alone:
//!
//! ```text
//! initiator                               responder
//! EXCHANGE_OPEN root                  ->  EXCHANGE_SAME, or the 16 children of its root
//! EXCHANGE_NODES                      ->  EXCHANGE_HASHES     Descent: twice, leaves are known
//! EXCHANGE_LIST leaves                ->  EXCHANGE_LISTED     Comparison: Differences
//!   waits 2 x request deadline
//! EXCHANGE_LIST differing orders      ->  EXCHANGE_LISTED     what was in flight has vanished
//! EXCHANGE_RECORD .. EXCHANGE_FETCH   ->  EXCHANGE_RECORD .. EXCHANGE_FETCHED
//! EXCHANGE_END
//! ```
//!
//! Is one side's copy less than half of the other's, the fuller one streams all of its records in
//! order first (EXCHANGE_STREAM), and what differs then is found as above. How far that came
//! outlives the exchange ([`Resume`]).
//!
//! Both are values: they say what they want next and what it costs ([`Machine::want`]), and
//! their shard grants it when its budget allows ([`Machine::grant`]). Records and cold reads are
//! the driver's, so a [`Step`] is answered by a later event.
//!
//! Invariants: nothing is removed, only joined; whatever is sent was found different twice, or is
//! streamed to a copy that has less than half; memory and traffic are bounded by `limits`. Two
//! keys of one order are two entries, and travel together. Sources: range reconciliation (Meyer,
//! arXiv 2212.13567); repeated differences alone count (Riak's Tictac AAE).
//!
//! A [`Shard`](crate::shard::Shard) has many at once: [`Exchanges`].

mod comparison;
mod descent;
mod differences;
mod initiator;
mod machine;
mod responder;
mod schedule;
mod sessions;
#[cfg(test)]
mod tests;

pub use initiator::Initiator;
pub use machine::Machine;
pub use responder::Responder;
pub use schedule::{Pair, Schedule, Start};
pub(crate) use sessions::Heard;
pub use sessions::{
    Answering, Asking, Counts, ExchangeFrame, Exchanges, Finished, Memory, Role, Session, Settings,
    Way,
};

use core::time::Duration;

use crate::id::{NodeId, Partition, TopologyId};
use crate::merkle::{EMPTY_ROOT, Tree};
use crate::wire::exchange::{EndReason, Entry};
use crate::wire::frame::frame_length;
use crate::wire::message::Message;
use crate::wire::payload::Payload;

/// The bounds that a node configures.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Pause before differences are checked again: 2 × request deadline.
    pub recheck: Duration,
    /// How long the peer may be silent.
    pub silence: Duration,
    /// Records that travel before the receiver confirms them, about, bytes.
    pub window_bytes: u32,
    /// With fewer keys on both sides, nothing is streamed.
    pub bulk_keys_min: u64,
    /// Differences that are known at once: more are found in several rounds.
    pub difference_count_max: usize,
}

/// Between whom an exchange is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parties {
    /// The partition.
    pub partition: Partition,
    /// The other owner.
    pub peer: NodeId,
    /// The topology of both; frames of another one end the exchange.
    pub topology: TopologyId,
}

/// This node's copy of the partition.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Its tree.
    pub tree: Tree<'a>,
    /// Its keys.
    pub keys: u64,
}

impl Held<'_> {
    /// The root of its tree. O(1) without keys: then all leaves are 0.
    pub fn root(&self) -> u64 {
        if self.keys == 0 { EMPTY_ROOT } else { self.tree.root() }
    }
}

/// What the driver has to do. Each but `Send` is answered by one event, unless the exchange ends
/// before; so is each record that `on_record` took. The request number of the frames tells the
/// events of an earlier exchange apart: they go nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Hash the own tree and count the keys; answer with `on_summarized`.
    Summarize,
    /// Send a frame with the message at hand.
    Send,
    /// List entries above `after` of orders up to `last`, ascending, equal ones together, without
    /// records of version 0, and as many at once as the driver likes; answer with `on_listed`. May
    /// read cold records.
    List {
        /// The entry that comes before them.
        after: Entry,
        /// The last order.
        last: u64,
    },
    /// Send all records of this order, each in an EXCHANGE_RECORD; answer with `on_pushed`.
    Push {
        /// The order.
        order: u64,
    },
    /// Send the records of the orders from here on, until about so many bytes went or there is
    /// none left; all of one order, and at least one order. Answer with `on_streamed`.
    Stream {
        /// The first order.
        from: u64,
        /// Enough bytes.
        bytes: u32,
    },
}

impl Step {
    /// What it costs at least, in bytes to send, if `message` is at hand.
    fn least_bytes<'a>(self, message: impl FnOnce() -> Message<'a>) -> usize {
        match self {
            Step::Send => frame_length(0, message().bytes()),
            Step::Push { .. } | Step::Stream { .. } => frame_length(1, 1),
            Step::Summarize | Step::List { .. } => 0,
        }
    }
}

/// What the driver sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Records.
    pub records: u32,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// The versions of a record that came in an EXCHANGE_RECORD and was joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    /// Of the record that was there; 0 = none.
    pub before: u64,
    /// Of the record that came.
    pub received: u64,
    /// Of the record that is there now.
    pub after: u64,
}

/// Where streaming goes on after a lost connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resume {
    /// The first order that is not confirmed.
    pub from: u64,
    /// The peer's copy is the smaller one.
    pub to_peer: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Why. Only [`EndReason::Finished`] says anything about `differences` being all.
    pub reason: EndReason,
    /// Orders that were found different, twice, and repaired.
    pub repaired: u32,
    /// Orders or records that could not be repaired.
    pub differences: u32,
    /// Records sent.
    pub sent: u64,
    /// Records received.
    pub got: u64,
    /// Streaming ended before its end.
    pub resume: Option<Resume>,
}

impl Summary {
    /// Of an exchange in which nothing happened.
    const NONE: Summary = Summary {
        reason: EndReason::Finished,
        repaired: 0,
        differences: 0,
        sent: 0,
        got: 0,
        resume: None,
    };

    /// The two were equal, but for writes in flight, when they were last compared.
    pub fn is_equal(&self) -> bool {
        self.reason == EndReason::Finished && self.differences == 0
    }
}

const _: () = assert!(size_of::<Step>() <= 32, "steps are copied");
