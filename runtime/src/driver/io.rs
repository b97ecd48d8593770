//! A shard's connections as the drive loop sees them: where frames go, and who gets answers.

use super::answers::Answers;
use super::connection::{Connections, SocketCount, Speaks};
use super::control::Control;
use super::latencies::{Ended, Latencies};
use super::peers::Peers;
use crate::checksum::Hardware;
use crate::mesh::{self, Endpoint};
use crate::net::Doorbell;
use ringmain_core::drive::{Answer, Links, Lost, Notice, To};
use ringmain_core::id::ShardIndex;
use ringmain_core::limits::BODY_BYTES_MAX;
use ringmain_core::request::Link;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::Frame;
use std::sync::{Arc, OnceLock};

/// Most bytes that wait for one client: parsing stops at 256 KiB, then comes at most one answer.
const CLIENT_OUT_BYTES_MAX: usize = (256 << 10) + FIRST_BYTES + BODY_BYTES_MAX;
/// Most bytes that wait for one peer; a frame that finds no room is lost.
const PEER_OUT_BYTES_MAX: usize = (8 << 20) + FIRST_BYTES + BODY_BYTES_MAX;
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

    fn send_link(
        &mut self,
        link: Link,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Lost> {
        if let Some(shard) = shard_of_link(link) {
            return self.mesh.send(shard, bytes, fill);
        }
        let connection = self.connections.of(link).ok_or(Lost)?;
        let most = match connection.speaks {
            Speaks::PeerIn(..) | Speaks::PeerOut(..) => PEER_OUT_BYTES_MAX,
            _ => CLIENT_OUT_BYTES_MAX,
        };
        let is_client = connection.is_counted;
        if is_client {
            // To a client goes nothing but the answers to its requests, one each.
            assert!(connection.open > 0, "each request has one answer");
            connection.open -= 1;
        }
        let start = connection.out.bytes();
        // A client that sends no more still gets what it is owed.
        if start + bytes > most || (connection.is_closing && !is_client) {
            connection.asked.clear();
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
            To::Shard(shard) => self.mesh.send(shard, bytes, fill),
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

/// The link that frames of another shard of this node come over.
pub(crate) fn link_of_shard(shard: ShardIndex) -> Link {
    Link(SHARD_LINK | u64::from(shard.0))
}

fn shard_of_link(link: Link) -> Option<ShardIndex> {
    (link.0 & SHARD_LINK != 0).then_some(ShardIndex(link.0 as u16))
}
