//! The links of a shard to and from other nodes, as far as time goes: what comes over them too late
//! is refused, none is silent for long, and none is kept whose bytes do not go.

use super::State;
use super::work::Work;
use crate::checksum::Hardware;
use crate::metrics::Counter;
use crate::session::native::clock::{LOOK_PAUSE, LinkClock};
use crate::session::native::frames::append_frame;
use ringmain_core::id::{NodeId, RequestId};
use ringmain_core::limits::FRAME_AGE_MAX;
use ringmain_core::request::Link;
use ringmain_core::time::Instant;
use ringmain_core::wire::age::Untimely;
use ringmain_core::wire::op::Op;

/// The links that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    links: Vec<Link>,
    /// When they are looked at next, if there are any.
    next: Instant,
}

impl State {
    /// The handshake of a link is over: from now on its frames are stamped, and have an age
    /// and a version.
    pub(super) fn begin_link(&mut self, link: Link, version: u8, clock: LinkClock) {
        let Some(connection) = self.io.connections.of(link) else { return };
        (connection.version, connection.clock) = (Some(version), Some(clock));
        if self.looks.links.is_empty() {
            self.looks.next = self.engine.now + LOOK_PAUSE;
        }
        self.looks.links.push(link);
    }

    /// A frame of `node` was sent too long ago, or nobody knows when. What it holds may have been
    /// deleted and forgotten everywhere since then, and so may what lies behind it: the link is
    /// dialed anew.
    pub(super) fn refuse_untimely(&mut self, slot: u32, node: NodeId, untimely: Untimely) {
        self.recorder.add(Counter::FramesStale, 1);
        tracing::warn!("a link of node {node} is closed: {untimely}");
        if let Some(connection) = self.io.connections.at(slot) {
            self.work.push_back(Work::Close(connection.id));
        }
    }

    /// When the links are to be looked at.
    pub(super) fn next_look_at_links(&self) -> Option<Instant> {
        (!self.looks.links.is_empty()).then_some(self.looks.next)
    }

    /// Looks at all links, if it is time. O(links), once in [`LOOK_PAUSE`].
    pub(super) fn look_at_links(&mut self) {
        let now = self.engine.now;
        if self.next_look_at_links().is_none_or(|at| at > now) {
            return;
        }
        self.looks.next = now + LOOK_PAUSE;
        let beat = self.hop(Op::Beat, RequestId::NONE);
        let State { io, looks, work, recorder, .. } = self;
        looks.links.retain(|link| {
            let Some(connection) = io.connections.of(*link) else { return false };
            // The other end would refuse what comes now; and what lies in its kernel's buffers
            // shall not come to lie there for longer.
            if connection.is_sending && now.since(connection.sending_since) > FRAME_AGE_MAX {
                recorder.add(Counter::LinksStuck, 1);
                tracing::warn!("a link is closed: what it has to send does not go");
                work.push_back(Work::Close(connection.id));
                return false;
            }
            if connection.clock.is_some_and(|clock| clock.is_beat_due(now)) {
                append_frame::<Hardware>(connection.out.tail(), &beat, &[].as_slice());
                io.mark(link.0 as u32);
            }
            true
        });
    }
}
