//! A shard's connections as the drive loop sees them: where frames go, and who gets answers.
//!
//! Invariant: what a connection holds is counted in `memory` before the turn ends in which it
//! changed, since whatever changes it marks the connection.

use super::answers::Answers;
use super::connection::{Connection, Connections, SocketCount, Speaks};
use super::control::Control;
use super::latencies::{Ended, Latencies};
use super::peers::Peers;
use crate::admission::{LONG_BYTES, Level, Memory};
use crate::checksum::Hardware;
use crate::mesh::{self, Endpoint};
use crate::net::{ConnectionId, Doorbell};
use crate::session::native::frames::append_frame;
use ringmain_core::drive::{Answer, Links, Lost, Notice, To};
use ringmain_core::id::ShardIndex;
use ringmain_core::limits::BODY_BYTES_MAX;
use ringmain_core::request::Link;
use ringmain_core::time::Instant;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::reply::{Reply, ReplyHead, Status};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Most bytes that wait for one client: parsing stops at 256 KiB, then come few long answers, or
/// short ones instead.
const CLIENT_OUT_BYTES_MAX: usize = (256 << 10) + FIRST_BYTES + BODY_BYTES_MAX;
/// Room beyond that for what is said instead of answers that have none, bytes: all at once.
const REFUSED_BYTES_MAX: usize = 64 * 128;
/// Most bytes that wait for one peer; a frame that finds no room is lost.
pub(super) const PEER_OUT_BYTES_MAX: usize = (8 << 20) + FIRST_BYTES + BODY_BYTES_MAX;
/// The same while memory is tight; one frame alone is sent in any case.
pub(super) const PEER_OUT_BYTES_TIGHT: usize = 1 << 20;
/// Marks links to other shards of this node.
const SHARD_LINK: u64 = 1 << 63;

/// A shard's end of the mesh.
pub(crate) type MeshEndpoint = Endpoint<Control, LateDoorbell, Hardware>;

/// The doorbell of a shard whose ring may not be made yet: nobody is asleep before that.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateDoorbell(pub(crate) Arc<OnceLock<Doorbell>>);

impl mesh::Doorbell for LateDoorbell {
    fn ring(&self) {
        if let Some(doorbell) = self.0.get() {
            doorbell.ring();
        }
    }
}

/// The connections of one shard.
pub(crate) struct Io {
    pub(crate) connections: Connections,
    /// Shared with the other shards.
    pub(crate) clients: SocketCount,
    /// The same, of native connections that were accepted and have not said who they are.
    pub(crate) strangers: SocketCount,
    pub(crate) peers: Peers,
    pub(crate) mesh: MeshEndpoint,
    pub(crate) answers: Answers,
    pub(crate) latencies: Latencies,
    pub(crate) notices: Vec<Notice>,
    /// Slots with something to send.
    pub(crate) dirty: Vec<u32>,
    /// What all this may take.
    pub(crate) memory: Memory,
    /// Connections that may have to rest, and when each was used last, as far as this knows.
    pub(crate) warm: VecDeque<(Instant, u32)>,
    /// Frames that found no room, not counted in the metrics yet.
    pub(crate) lost_count: u64,
    /// Commands given up half-way, likewise.
    pub(crate) shed_count: u64,
}

impl Io {
    /// Marks a connection to be flushed at the end of the turn.
    pub(crate) fn mark(&mut self, slot: u32) {
        if let Some(connection) = self.connections.at(slot)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Counts what the buffers of a connection hold by now.
    pub(crate) fn recount(&mut self, slot: u32) {
        if let Some(connection) = self.connections.at(slot) {
            let bytes = connection.memory_bytes();
            let before = std::mem::replace(&mut connection.counted_bytes, bytes);
            self.memory.change(before, bytes);
        }
    }

    /// Takes a connection out.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let connection = self.connections.remove(id)?;
        self.memory.change(connection.counted_bytes, 0);
        Some(connection)
    }

    /// As [`Io::send_whole`], unless it is a long answer for which there is no memory.
    pub(crate) fn send_link(
        &mut self,
        link: Link,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Lost> {
        let (is_client, held) = match self.connections.of(link) {
            Some(connection) => (connection.is_counted, connection.memory_bytes()),
            None => (false, 0),
        };
        let is_over = is_client && held + bytes > CLIENT_OUT_BYTES_MAX;
        if bytes <= LONG_BYTES || !(is_over || self.memory.refuses_answer(bytes, held)) {
            return self.send_whole(link, bytes, fill);
        }
        let mut frame = vec![0; bytes];
        fill(&mut frame);
        if let Some(short) = instead_of(&frame) {
            frame = short;
        }
        self.send_whole(link, frame.len(), |out| out.copy_from_slice(&frame))
    }

    fn send_whole(
        &mut self,
        link: Link,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Lost> {
        if let Some(shard) = shard_of_link(link) {
            let sent = self.mesh.send(shard, bytes, fill);
            self.lost_count += u64::from(sent.is_err());
            return sent;
        }
        let level = self.memory.level();
        let connection = self.connections.of(link).ok_or(Lost)?;
        let most = match (&connection.speaks, level) {
            (Speaks::PeerIn(..) | Speaks::PeerOut(..), Level::Roomy) => PEER_OUT_BYTES_MAX,
            (Speaks::PeerIn(..) | Speaks::PeerOut(..), _) => {
                let is_first = connection.out.is_empty() && !connection.is_sending;
                if is_first { PEER_OUT_BYTES_MAX } else { PEER_OUT_BYTES_TIGHT }
            }
            _ => CLIENT_OUT_BYTES_MAX + REFUSED_BYTES_MAX,
        };
        let is_client = connection.is_counted;
        if is_client {
            // To a client goes nothing but the answers to its requests, one each.
            assert!(connection.open > 0, "each request has one answer");
            connection.open -= 1;
            connection.typical = bytes.max(connection.typical - connection.typical / 4);
        }
        let start = connection.out.bytes();
        // A client that sends no more still gets what it is owed.
        if start + bytes > most || (connection.is_closing && !is_client) {
            connection.asked.clear();
            self.lost_count += 1;
            return Err(Lost);
        }
        let out = connection.out.tail();
        let start = out.len();
        out.resize(start + bytes, 0);
        fill(&mut out[start..]);
        if is_client
            && let Ok(frame) = Frame::without_checksum(&out[start..])
            && let Some(request) = connection.asked.take(frame.hop().request.0)
        {
            self.latencies.answer(request, Ended::of_frame(&frame));
        }
        self.mark(link.0 as u32);
        Ok(())
    }
}

impl Links for Io {
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        match to {
            To::Link(link) => self.send_link(link, bytes, fill),
            To::Shard(shard) => {
                let sent = self.mesh.send(shard, bytes, fill);
                self.lost_count += u64::from(sent.is_err());
                sent
            }
            To::Node(node, partition) => {
                let link = self.peers.link(node, partition).ok_or(Lost)?;
                self.send_link(link, bytes, fill)
            }
        }
    }

    fn answer(&mut self, ticket: u64, answer: Answer<'_>) {
        self.answers.push(ticket, answer);
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// A short answer in place of a long one; `None` if `frame` is no answer to a client's request.
fn instead_of(frame: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::without_checksum(frame).ok().filter(|frame| frame.op() == Op::Reply)?;
    let reply = Reply::new_checked(frame.payload()).ok()?;
    let ReplyHead { order, found, .. } = reply.head;
    // A write that may have happened: nothing is said that denies it.
    let is_write = found > 0 || reply.siblings().next().is_none();
    let status = if is_write { Status::NoQuorum } else { Status::Busy };
    let mut short = Vec::new();
    append_frame::<Hardware>(
        &mut short,
        frame.hop(),
        &ReplyHead { order, ..ReplyHead::of(status) },
    );
    Some(short)
}

/// The link that frames of another shard of this node come over.
pub(crate) fn link_of_shard(shard: ShardIndex) -> Link {
    Link(SHARD_LINK | u64::from(shard.0))
}

fn shard_of_link(link: Link) -> Option<ShardIndex> {
    (link.0 & SHARD_LINK != 0).then_some(ShardIndex(link.0 as u16))
}
