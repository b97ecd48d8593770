//! The seam between a session and the driver of its shard.
//!
//! Every command on keys becomes single-key [`Request`]s, one for each key. The driver answers
//! at once where it can (a read of an own copy), else later by the request's [`Ticket`].
//!
//! Invariant: a session submits a request only after every earlier one of its connection on the
//! same key was answered, except that reads may overtake reads, and that the driver may lift the
//! rule with [`Submitted::LaterInOrder`] (protocol.md §13).

use std::fmt::{Display, Write};
use std::net::SocketAddr;

use ringmain_core::id::Partition;

/// Names one request until it is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    /// The number that the driver gave to the session.
    pub connection: u64,
    /// Counted by the session, wrapping. A late answer to an answered number is ignored.
    pub operation: u32,
}

/// What a client asks of one key. Keys are 1 to `key_bytes_max` bytes long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request<'a> {
    /// Read the siblings of a key.
    Get {
        /// The key.
        key: &'a [u8],
        /// Answers to wait for, at least 1; `None` is the cluster's `r`.
        r: Option<u8>,
        /// How many of them from primaries; `None` is 0.
        pr: Option<u8>,
        /// Raw token that the answer must cover, never empty; `None`: no such demand.
        context: Option<&'a [u8]>,
        /// The answer needs the context token.
        want_context: bool,
    },
    /// Write one value, or a tombstone.
    Put {
        /// The key.
        key: &'a [u8],
        /// At most `value_bytes_max` bytes; `None` is a tombstone.
        value: Option<&'a [u8]>,
        /// What the write replaces.
        context: Source<'a>,
        /// What the read before the write must have found.
        condition: Condition,
        /// The answer needs the siblings that the read before the write found.
        return_old: bool,
        /// The answer needs the new context token.
        want_context: bool,
        /// Copies to wait for, at least 1; `None` is the cluster's `w`.
        w: Option<u8>,
        /// How many of them on primaries; `None` is 0.
        pw: Option<u8>,
        /// How many of them synced to disk; `None` is 0.
        dw: Option<u8>,
    },
}

impl<'a> Request<'a> {
    /// A read with the cluster's `r`, and without the context.
    #[inline]
    pub fn read(key: &'a [u8]) -> Request<'a> {
        Request::Get { key, r: None, pr: None, context: None, want_context: false }
    }

    /// A write with the cluster's `w`, whose answer needs neither context nor old siblings.
    #[inline]
    pub fn write(
        key: &'a [u8],
        value: Option<&'a [u8]>,
        context: Source<'a>,
        condition: Condition,
    ) -> Request<'a> {
        Request::Put {
            key,
            value,
            context,
            condition,
            return_old: false,
            want_context: false,
            w: None,
            pw: None,
            dw: None,
        }
    }

    /// The same write, whose answer needs the old siblings. A read stays as it is.
    pub fn with_old(mut self) -> Request<'a> {
        if let Request::Put { return_old, .. } = &mut self {
            *return_old = true;
        }
        self
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        match *self {
            Request::Get { key, .. } | Request::Put { key, .. } => key,
        }
    }

    /// Whether it may change the key's record.
    pub fn writes(&self) -> bool {
        matches!(self, Request::Put { .. })
    }
}

/// Where the context of a write comes from: the versions that it replaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source<'a> {
    /// What the coordinator's own record knows at that moment.
    Local,
    /// What R replicas know, read first and joined.
    ReadFirst,
    /// A raw token. Empty is the empty context: the write replaces nothing.
    Token(&'a [u8]),
}

/// When a write takes place. Anything but `Always` comes with [`Source::ReadFirst`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// In any case.
    Always,
    /// Only when the read found no live sibling. Best effort, not atomic.
    IfAbsent,
    /// Only when the read found a live sibling. Best effort, not atomic.
    IfPresent,
}

/// What became of a request that was handed over.
#[derive(Clone, Copy, Debug)]
pub enum Submitted<'a> {
    /// Answered at once.
    Done(Answer<'a>),
    /// The answer comes later. Until then the session submits nothing more on this key (but
    /// reads behind a read).
    Later,
    /// The answer comes later, and the driver promises that whatever is submitted after it on
    /// this key takes effect after it; so the session need not wait.
    LaterInOrder,
}

/// The answer to a [`Request`], borrowed from the store or from the last reply of a replica.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To a `Get`.
    Got {
        /// Raw token of the joined record; empty for an absent key, or when not wanted.
        context: &'a [u8],
        /// The live siblings.
        siblings: Siblings<'a>,
    },
    /// To a `Put`.
    Put {
        /// False when the condition did not hold and nothing was written.
        applied: bool,
        /// Raw token, when wanted and when the new version is the only sibling.
        context: Option<&'a [u8]>,
        /// Live siblings after the write.
        live: u16,
        /// Live siblings that the read before the write found; 0 without such a read.
        found: u16,
        /// Those siblings, when `return_old` asked for them.
        old: Siblings<'a>,
    },
    /// No success. After [`Failure::NoQuorum`] of a write its outcome is unknown.
    Failed(Failure),
}

/// Why a request has no success to report; contract.md §3 lists the prefixes that clients see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The deadline passed, or too many replicas failed: the outcome of a write is unknown.
    NoQuorum {
        /// Answers that were needed.
        needed: u8,
        /// Answers that came.
        got: u8,
    },
    /// Refused before anything was written: fewer nodes than the request asks for.
    TooFewNodes {
        /// Which number of the request cannot be met.
        quorum: Quorum,
        /// Its value.
        needed: u8,
        /// Nodes that could count to it.
        nodes: u8,
    },
    /// Refused before anything was written, for another reason.
    Unavailable(Reason),
    /// The token does not parse or verify, or belongs to another key or cluster.
    BadContext,
    /// The key or the value is over a limit.
    TooLarge,
    /// The write would leave more siblings or a larger record than a record may have.
    Siblings,
    /// The node has too much to do; nothing was written.
    Busy,
    /// The disk is full.
    NoSpace,
    /// The shard takes no more writes after a failed sync.
    ReadOnly,
}

/// One of the five counts of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quorum {
    /// Answers to a read.
    R,
    /// Answers of primaries to a read.
    Pr,
    /// Copies of a write.
    W,
    /// Copies of a write on primaries.
    Pw,
    /// Synced copies of a write.
    Dw,
}

/// Why a node cannot serve a request now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It is in no ring yet.
    NoRing,
    /// It is stopping.
    Stopping,
    /// The own copy is damaged, or lies in a damaged range of the log.
    Damaged,
    /// No node that could coordinate the request can be reached.
    NoCoordinator,
    /// No reachable replica covers the context that the read demands.
    Behind,
}

/// The live siblings of a record: a cheap view, in ascending order of their dots, so that every
/// node lists them alike. Tombstones and expired siblings are left out.
#[derive(Clone, Copy, Debug)]
pub enum Siblings<'a> {
    /// None.
    None,
    /// Values lent by the caller.
    Values {
        /// The values, not empty, in ascending order of their dots.
        values: &'a [&'a [u8]],
        /// Index of the one with the greatest (timestamp, dot).
        winner: usize,
    },
}

impl<'a> Siblings<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Siblings::None => 0,
            Siblings::Values { values, .. } => values.len(),
        }
    }

    /// Whether the key counts as absent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value that plain commands show: of the greatest (timestamp, dot).
    pub fn winner(&self) -> Option<&'a [u8]> {
        match self {
            Siblings::None => None,
            Siblings::Values { values, winner } => Some(values[*winner]),
        }
    }

    /// All values, in ascending order of their dots.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        match self {
            Siblings::None => [].iter().copied(),
            Siblings::Values { values, .. } => values.iter().copied(),
        }
    }
}

/// What a session needs from the driver of its shard.
pub trait Requests {
    /// Takes one request. What it borrows lives no longer than the call.
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submitted<'_>;

    /// How many partitions the cluster has; 0 while this node is in no ring.
    fn partition_count(&self) -> u32;

    /// The partition of a key. Asked only when there is a ring.
    fn partition(&self, key: &[u8]) -> Partition;

    /// Calls `each` for the owners of a partition in their order, then for its fallbacks. Two
    /// calls in a row name the same nodes. Asked only when there is a ring.
    fn placement(&self, partition: Partition, each: &mut dyn FnMut(Role, SocketAddr));

    /// Writes the lines of one section of INFO; none leaves it out.
    fn info(&self, section: Section, lines: &mut InfoLines<'_>);

    /// Calls `each` for every name and value that CONFIG GET shows, in the order of the names.
    fn config(&self, each: &mut dyn FnMut(&str, &str));
}

/// What a node is to a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Holds a copy.
    Owner,
    /// Takes the place of an owner that cannot be reached.
    Fallback,
}

/// The sections of INFO, in the order in which it shows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    /// The build, the process, its ports.
    Server,
    /// Connections.
    Clients,
    /// Memory.
    Memory,
    /// The log and its durability.
    Persistence,
    /// Counters.
    Stats,
    /// Hints and exchanges.
    Replication,
    /// CPU time.
    Cpu,
    /// Ring and members.
    Cluster,
    /// Keys.
    Keyspace,
}

/// The text of one section of INFO, line by line.
#[derive(Debug)]
pub struct InfoLines<'a> {
    text: &'a mut Vec<u8>,
}

impl<'a> InfoLines<'a> {
    /// Lines appended to `text`.
    pub fn new(text: &'a mut Vec<u8>) -> InfoLines<'a> {
        InfoLines { text }
    }

    /// Appends `name:value`. Neither may hold a line break: both come from the server itself.
    pub fn line(&mut self, name: &str, value: impl Display) {
        let mut line = String::new();
        write!(line, "{name}:{value}").expect("a String takes every write");
        assert!(!line.contains(['\r', '\n']));
        self.text.extend_from_slice(line.as_bytes());
        self.text.extend_from_slice(b"\r\n");
    }
}
