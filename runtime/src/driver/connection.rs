//! One socket of a shard, and what is spoken on it.

use super::latencies::Asked;
use super::peers::Dial;
use crate::checksum::Hardware;
use crate::net::ConnectionId;
use crate::session::native::acceptor::Acceptor;
use crate::session::native::clock::LinkClock;
use crate::session::native::dialer::Dialer;
use crate::session::native::frames::FrameReader;
use crate::session::resp::RespSession;
use crate::sys::SendBuffer;
use bytes::BytesMut;
use ringmain_core::id::{NodeId, ShardIndex};
use ringmain_core::request::Link;
use ringmain_core::time::Instant;
use ringmain_core::wire::VERSION;
use ringmain_core::wire::frame::stamp_frames;
use ringmain_core::wire::handshake::Challenge;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a connection stands in its life, and what it speaks.
#[derive(Debug)]
pub(crate) enum Speaks {
    /// RESP, with what arrived and was not parsed.
    Resp(Box<RespSession>, BytesMut),
    /// An accepted native connection before its handshake is over.
    Accepting(Box<Acceptor<Hardware>>),
    /// A native client.
    Client(FrameReader<Hardware>),
    /// A peer's link: requests come, answers go.
    PeerIn(NodeId, FrameReader<Hardware>),
    /// A link of ours before its handshake is over.
    Dialing(Box<Dialer<Hardware>>, Dial),
    /// A link of ours to a shard of a peer: requests go, answers come.
    PeerOut(NodeId, ShardIndex, FrameReader<Hardware>),
    /// Nothing: it is being taken apart, or handled right now.
    Nothing,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) link: Link,
    pub(crate) speaks: Speaks,
    /// What a native client's proof of the secret is made over.
    pub(crate) challenge: Option<Box<Challenge>>,
    /// Of a link to or from another node.
    pub(crate) clock: Option<LinkClock>,
    /// The version on which both ends agreed; none before that.
    pub(crate) version: Option<u8>,
    /// What is to be sent.
    pub(crate) out: SendBuffer,
    /// So much of it, bytes, is stamped.
    pub(crate) stamped_bytes: usize,
    /// An empty buffer that was sent, to be used again.
    pub(crate) spare: SendBuffer,
    /// A send is under way.
    pub(crate) is_sending: bool,
    /// It is in the list of connections to flush.
    pub(crate) is_dirty: bool,
    /// It is closed once everything was sent.
    pub(crate) is_closing: bool,
    /// Something that it sent was appended here: it waits while the log has no room.
    pub(crate) has_written: bool,
    /// Something that it sent has waited for a cold record or for room: it waits while much does.
    pub(crate) has_waited: bool,
    /// Receiving is paused until output has gone.
    pub(crate) is_paused: bool,
    /// It counts among the clients of the node.
    pub(crate) is_counted: bool,
    /// It counts among the sockets of the node of which nobody knows yet whose they are.
    pub(crate) is_stranger: bool,
    /// It may ask about the cluster: over loopback, or since it proved the secret.
    pub(crate) may_manage: bool,
    /// Requests of a native client that have no answer yet.
    pub(crate) open: u32,
    /// Requests of a client that have no answer yet, to be timed.
    pub(crate) asked: Asked,
    /// How long answers to a native client are lately, bytes.
    pub(crate) typical: usize,
    /// What its buffers held when they were counted last, bytes.
    pub(crate) counted_bytes: usize,
    /// Memory of what arrived and was not parsed, bytes, while there is some.
    pub(crate) rest_bytes: usize,
    /// Memory of what is being sent, bytes.
    pub(crate) sending_bytes: usize,
    /// When the send under way was begun.
    pub(crate) sending_since: Instant,
    /// When bytes arrived last.
    pub(crate) received_at: Instant,
    /// When it had something to do last.
    pub(crate) used_at: Instant,
    /// It is in the list of connections that may have to rest.
    pub(crate) is_warm: bool,
}

/// What is taken for the length of an answer before the first one has gone, bytes.
const TYPICAL_BYTES_FIRST: usize = 64 << 10;

/// Sockets of one kind, counted by all shards of a node.
#[derive(Clone, Debug)]
pub(crate) struct SocketCount {
    count: Arc<AtomicU32>,
    most: u32,
}

impl SocketCount {
    /// None yet, and at most `most`.
    pub(crate) fn new(most: u32) -> SocketCount {
        SocketCount { count: Arc::default(), most }
    }

    /// Counts one more, unless there are as many as may be.
    pub(crate) fn enter(&self) -> bool {
        let more = |count| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts one more in any case: another is about to leave for it.
    pub(crate) fn enter_instead(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was counted is gone.
    pub(crate) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn get(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// Whether requests of a client come over it.
    pub(crate) fn is_client(&self) -> bool {
        matches!(self.speaks, Speaks::Resp(..) | Speaks::Client(_))
    }

    /// Memory of its buffers, bytes, and what it should need for answers to come.
    pub(crate) fn memory_bytes(&self) -> usize {
        let spoken = match &self.speaks {
            Speaks::Resp(session, rest) => {
                session.memory_bytes() + self.rest_bytes.max(rest.capacity())
            }
            Speaks::Client(reader) | Speaks::PeerIn(_, reader) | Speaks::PeerOut(_, _, reader) => {
                reader.memory_bytes()
            }
            // Their frames are short.
            Speaks::Accepting(_) | Speaks::Dialing(..) | Speaks::Nothing => 0,
        };
        spoken + self.out.capacity() + self.spare.capacity() + self.sending_bytes
    }

    /// Stamps the frames that entered the output in the turn that began at `now` with the version
    /// of the connection, and those of a link with the time: the one place where that is done,
    /// whoever wrote them.
    pub(crate) fn stamp(&mut self, now: Instant) {
        let Some(version) = self.version else { return };
        let out = self.out.tail();
        let frames = &mut out[self.stamped_bytes..];
        match &mut self.clock {
            Some(clock) => clock.stamp(now, version, frames),
            // That of this build is what they say already.
            None if version == VERSION => return,
            None => stamp_frames(frames, version, 0),
        }
        self.stamped_bytes = out.len();
    }

    /// Takes out all that is to be sent; what is written from now on goes into the spare buffer.
    pub(crate) fn take_out(&mut self) -> SendBuffer {
        self.stamped_bytes = 0;
        std::mem::replace(&mut self.out, std::mem::take(&mut self.spare))
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn rest(&mut self) {
        match &mut self.speaks {
            Speaks::Resp(session, _) => session.rest(),
            Speaks::Client(reader) | Speaks::PeerIn(_, reader) | Speaks::PeerOut(_, _, reader) => {
                reader.rest();
            }
            Speaks::Accepting(_) | Speaks::Dialing(..) | Speaks::Nothing => {}
        }
        self.spare = SendBuffer::default();
        if self.out.is_empty() {
            self.out = SendBuffer::default();
        }
        self.asked.rest();
    }
}

/// All sockets of a shard, by the slot that the ring gave them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Box<Connection>>>,
    generation: u32,
}

impl Connections {
    /// Takes a new socket in; `speaks` gets the number of its link.
    pub(crate) fn insert(&mut self, id: ConnectionId, speaks: impl FnOnce(Link) -> Speaks) -> u32 {
        self.generation = (self.generation + 1) & 0x7fff_ffff;
        let slot = id.slot();
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "the ring uses a slot again once it was closed");
        let link = Link(u64::from(self.generation) << 32 | slot as u64);
        self.slots[slot] = Some(Box::new(Connection {
            id,
            link,
            speaks: speaks(link),
            challenge: None,
            clock: None,
            version: None,
            out: SendBuffer::default(),
            stamped_bytes: 0,
            spare: SendBuffer::default(),
            is_sending: false,
            is_dirty: false,
            is_closing: false,
            has_written: false,
            has_waited: false,
            is_paused: false,
            is_counted: false,
            is_stranger: false,
            may_manage: false,
            open: 0,
            asked: Asked::default(),
            typical: TYPICAL_BYTES_FIRST,
            counted_bytes: 0,
            rest_bytes: 0,
            sending_bytes: 0,
            sending_since: Instant(0),
            received_at: Instant(0),
            used_at: Instant(0),
            is_warm: false,
        }));
        slot as u32
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.slots.get_mut(id.slot())?.take()
    }

    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Slots below this may be in use.
    pub(crate) fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }

    /// What tells a session from others: slot, and part of the link's number.
    pub(crate) fn session_number(link: Link) -> u32 {
        (link.0 & 0xffff) as u32 | ((link.0 >> 32) as u32) << 16
    }

    /// The slot of the session of that number, unless it is gone.
    pub(crate) fn slot_of(&mut self, session: u32) -> Option<u32> {
        let slot = session & 0xffff;
        let link = self.at(slot)?.link;
        (Connections::session_number(link) == session).then_some(slot)
    }

    /// The connection of that link, unless it is gone.
    pub(crate) fn of(&mut self, link: Link) -> Option<&mut Connection> {
        let connection = self.at(link.0 as u32)?;
        (connection.link == link).then_some(connection)
    }
}
