//! Whether the data directory is the newest that there was: what nodes tell each other of reap
//! epochs, and the end of one that runs on an older copy.

use super::State;
use crate::checksum::Hardware;
use crate::log_writer::end_process_with;
use crate::session::native::frames::append_frame;
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::NodeId;
use ringmain_core::node::{Audience, NodeInput};
use ringmain_core::survey::Epochs;
use ringmain_core::wire::epochs;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the machine of the node says of its epochs, for all of its shards. An epoch that is being
/// raised is seen before it is on disk: so no shard says less than any copy of the directory does
/// that is made behind its answer.
#[derive(Debug, Default)]
pub(crate) struct SharedEpochs {
    raised: AtomicU64,
    floor: AtomicU64,
}

impl SharedEpochs {
    pub(crate) fn load(&self) -> Epochs {
        let floor = self.floor.load(Ordering::SeqCst);
        Epochs { raised: self.raised.load(Ordering::SeqCst), floor }
    }

    /// Before anything is written or sent for it.
    pub(crate) fn store(&self, epochs: Epochs) {
        self.raised.store(epochs.raised, Ordering::SeqCst);
        self.floor.store(epochs.floor, Ordering::SeqCst);
    }
}

impl State {
    pub(super) fn send_epochs(&mut self, to: NodeId, asks: bool) {
        let (Some(link), Some(members)) = (self.node_link(to), &self.members) else { return };
        let (claims, vouched) = (members.node.claims(), members.node.is_vouched());
        let epochs = epochs::Epochs { asks, vouched, claims: &claims };
        let hop = self.member_hop(Op::Epochs);
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &epochs);
            self.io.mark(link.0 as u32);
        }
    }

    pub(super) fn on_epochs_frame(
        &mut self,
        from: NodeId,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let epochs = epochs::Epochs::new_checked(frame.payload())?;
        self.node_input(NodeInput::Epochs { from, topology: frame.hop().topology, epochs });
        Ok(())
    }

    /// Says why nobody is served yet.
    pub(super) fn tell_copied(&self) {
        let Some(members) = &self.members else { return };
        if members.node.audience() == Audience::Nobody {
            tracing::warn!(
                "the data directory {} was copied here, or written by an older build: it may hold \
                 what was deleted since, so no client is served before another member says that \
                 it is the newest",
                members.dir.path().display()
            );
        }
    }

    /// The data directory is the newest: so it will be where it stands, also if nobody is there to
    /// say so at the next start.
    pub(super) fn keep_origin(&mut self) {
        let Some(members) = &mut self.members else { return };
        if members.in_place {
            return;
        }
        // Told once, also if it fails.
        members.in_place = true;
        if let Err(error) = members.dir.keep_origin() {
            tracing::warn!("{error}: at the next start, too, this node asks before it serves");
        }
    }

    /// This node's data directory is an older copy: nothing of it goes anywhere.
    pub(super) fn stop_outdated(&self, told_by: NodeId) -> ! {
        let dir = self.members.as_ref().map(|members| members.dir.path().display());
        tracing::error!(
            "the data directory {} was put back from an older copy, as node {told_by} knows: what \
             was deleted since could come back from it, so this node stops and leaves it as it is; \
             start with an empty one as a new node, and `ringmain cluster replace {} NEW`",
            dir.map(|dir| dir.to_string()).unwrap_or_default(),
            self.about.node
        );
        // As for a data directory that is another's.
        end_process_with(4);
    }

    /// Another node runs on an older copy: it learns that, and stops.
    pub(super) fn tell_peer_outdated(&self, node: NodeId) {
        tracing::warn!(
            "the data directory of node {node} was put back from an older copy: nothing is taken \
             from it; start it with an empty one as a new node, and `ringmain cluster replace \
             {node} NEW`"
        );
    }
}
