//! What a hot ring tells its shard, and what it remembers of an operation.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::connection::ConnectionId;
use crate::sys::{Errno, SendBuffer};

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A listener with this tag accepted a connection.
    Accepted {
        /// It: to adopt here, to move to another thread, or to drop.
        socket: OwnedFd,
        /// Of the listener.
        tag: u8,
        /// From where; `None` if the peer is gone already.
        peer: Option<SocketAddr>,
    },
    /// [`connect`](super::HotRing::connect) succeeded; the connection receives from now on.
    Connected {
        /// Which.
        connection: ConnectionId,
    },
    /// The next bytes of a connection's stream. They may still come after `pause_receive`, but
    /// not after `close`.
    Received {
        /// Which.
        connection: ConnectionId,
        /// At least one, at most `buffer_bytes`; the room goes back to the kernel with the next
        /// call of `next_event` or `submit_and_wait`.
        bytes: &'a mut [u8],
    },
    /// The peer sends no more, or the connection failed: to be followed by
    /// [`close`](super::HotRing::close), after `Finished` when all output was sent.
    Ended {
        /// Which.
        connection: ConnectionId,
        /// How. `Failed` may follow `Finished`, but nothing follows `Failed`; neither comes twice.
        ending: Ending,
    },
    /// All of a buffer was given to the kernel. The connection takes the next one.
    Sent {
        /// Which.
        connection: ConnectionId,
        /// As it was given to `send`.
        buffer: SendBuffer,
    },
    /// The last event of a connection that was closed.
    Closed {
        /// Which; it names nothing any more.
        connection: ConnectionId,
        /// The buffer that was not, or not wholly, sent.
        unsent: Option<SendBuffer>,
    },
    /// A write to a file ended: all bytes, or an error after some of them.
    Written {
        /// As given.
        tag: u64,
        /// Nothing, or why it failed.
        result: Result<(), Errno>,
    },
    /// A sync of a file ended. After a failed write none comes.
    Synced {
        /// As given.
        tag: u64,
        /// Nothing, or why it failed.
        result: Result<(), Errno>,
    },
    /// A read of a file ended.
    Read {
        /// As given.
        tag: u64,
        /// As given, with what was read at its start.
        buffer: Vec<u8>,
        /// Bytes read: fewer than asked for at the end of the file.
        result: Result<usize, Errno>,
    },
    /// A doorbell was rung, once or more often: look at what other threads left.
    Doorbell,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The peer sends no more, but may still read.
    Finished,
    /// Nothing can be sent or received any more; ETIMEDOUT if it never connected in time.
    Failed(Errno),
}

/// What an operation in flight is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    /// Of the listener with this index.
    Accept(usize),
    /// The rest of that listener after an error.
    Rest(usize),
    Connect(ConnectionId),
    Receive(ConnectionId),
    Send(ConnectionId),
    /// Of the write in this slot.
    Write(usize),
    /// Linked behind its first part.
    SyncBehind(usize),
    /// Started after it.
    SyncAfter(usize),
    /// With this tag.
    Sync(u64),
    /// With this tag.
    Read(u64),
    Doorbell,
    /// Wakes a parked shard at its deadline.
    Deadline,
}
