//! The seam between a session and the driver of its shard.
//!
//! Every command on keys becomes single-key [`Command`]s, one for each key. The driver answers
//! at once where it can (a read of an own copy), else later by the request's [`Ticket`].
//!
//! Invariant: a session submits a request only after every earlier one of its connection on the
//! same key was answered, except that reads may overtake reads, and that the driver may lift the
//! rule with [`Submitted::LaterInOrder`].

use std::fmt::{Display, Write};
use std::net::SocketAddr;

use super::resp::OUTPUT_BYTES_MAX;
use crate::sys::MapPart;
use ringmain_core::drive::{Answer, Command};
use ringmain_core::id::Partition;
use ringmain_core::time::UnixMs;

/// Names one request until it is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    /// The number that the driver gave to the session.
    pub connection: u32,
    /// Counted by the session, wrapping. A late answer to an answered number is ignored.
    pub operation: u32,
}

impl Ticket {
    /// Both numbers in one, as `ringmain-core` carries it.
    pub fn number(self) -> u64 {
        u64::from(self.connection) << 32 | u64::from(self.operation)
    }

    /// The ticket with that number.
    pub fn from_number(number: u64) -> Ticket {
        Ticket { connection: (number >> 32) as u32, operation: number as u32 }
    }
}

/// What became of a request that was handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Submitted {
    /// It was answered at once.
    Done,
    /// The answer comes later. Until then the session submits nothing more on this key (but
    /// reads behind a read).
    Later {
        /// So long the answer will be, as far as is known by now, bytes; 0: nothing is known.
        bytes: usize,
    },
    /// The answer comes later, and the driver promises that whatever is submitted after it on
    /// this key takes effect after it; so the session need not wait.
    LaterInOrder,
}

/// Lends bytes of an answer to be sent from where they lie. `None`: they have to be copied.
pub type Lend<'a> = dyn Fn(&[u8]) -> Option<MapPart> + 'a;

/// Lends nothing.
pub fn copied(_: &[u8]) -> Option<MapPart> {
    None
}

/// What a session may take of its shard's memory at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// Output above this stops its parsing, at least 1 byte.
    pub output_bytes_max: usize,
    /// A command that takes more bytes and is not whole yet is refused, and skipped.
    pub command_bytes_max: usize,
}

impl Default for Room {
    /// As much as a session's own bounds allow.
    fn default() -> Room {
        Room { output_bytes_max: OUTPUT_BYTES_MAX, command_bytes_max: usize::MAX }
    }
}

/// Most keys that a session names ahead at once: the depth of a usual pipeline.
pub const EXPECTED_COUNT_MAX: usize = 16;

/// What a session needs from the driver of its shard.
pub trait Requests {
    /// Takes one request; what it borrows lives no longer than the call. Keys are 1 to
    /// `key_bytes_max` bytes long, values at most `value_bytes_max`; tokens are raw and not
    /// verified. Calls `answer` once if it returns [`Submitted::Done`], else not at all, and with
    /// it who lends its values. Answers to other requests of the same connection have to wait
    /// until the session has returned.
    fn submit(
        &mut self,
        ticket: Ticket,
        key: &[u8],
        command: Command<'_>,
        answer: &mut dyn FnMut(Answer<'_>, &Lend<'_>),
    ) -> Submitted;

    /// The wall clock of this turn.
    fn wall(&self) -> UnixMs;

    /// What the session may take now; asked once for each piece that it reads.
    fn room(&self) -> Room {
        Room::default()
    }

    /// The session has refused a command that was not whole, for lack of room.
    fn note_shed(&mut self) {}

    /// These keys, at most [`EXPECTED_COUNT_MAX`], are about to be asked for, so their memory may
    /// begin to arrive. Changes nothing else.
    fn expect(&self, keys: &[&[u8]]);

    /// How many partitions the cluster has; 0 while this node is in no ring.
    fn partition_count(&self) -> u32;

    /// The partition of a key. Asked only when there is a ring.
    fn partition(&self, key: &[u8]) -> Partition;

    /// Calls `each` for the owners of a partition in their order, then for its fallbacks. Two
    /// calls in a row name the same nodes. Asked only when there is a ring.
    fn placement(&self, partition: Partition, each: &mut dyn FnMut(Role, SocketAddr));

    /// Writes the lines of one section of INFO; none leaves it out.
    fn info(&self, section: Section, lines: &mut InfoLines<'_>);

    /// Calls `each` for every name and value that CONFIG GET shows, in the order of the names;
    /// `redis-benchmark` asks for `appendonly` and `save`.
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

    /// Appends `name:value`.
    ///
    /// # Panics
    /// If either holds a line break: both come from the server itself.
    pub fn line(&mut self, name: &str, value: impl Display) {
        let mut line = String::new();
        write!(line, "{name}:{value}").expect("a String takes every write");
        assert!(!line.contains(['\r', '\n']));
        self.text.extend_from_slice(line.as_bytes());
        self.text.extend_from_slice(b"\r\n");
    }
}
