//! Messages of the failure detector: between the machine of the node, on shard 0, and its peers.

use super::State;
use crate::checksum::Hardware;
use crate::log_writer::end_process_with;
use crate::session::native::frames::append_frame;
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::NodeId;
use ringmain_core::node::NodeInput;
use ringmain_core::request::Link;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::gossip::{Gossip, Liveness, Signal};

impl State {
    /// A message of the failure detector of `from`.
    pub(super) fn on_gossip_frame(
        &mut self,
        link: Link,
        from: NodeId,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let gossip = Gossip::new_checked(frame.op(), frame.payload())?;
        // Two processes of one node have a link each: what is answered goes to who asked.
        self.set_asking(Some((from, link)));
        self.node_input(NodeInput::Gossip { from, gossip });
        self.set_asking(None);
        Ok(())
    }

    /// Sends what the detector asks for; to who cannot be reached, nothing: that is what it is
    /// there to find out.
    pub(super) fn send_gossip(&mut self, to: NodeId, signal: Signal) {
        let asking = self.members.as_ref().and_then(|members| members.asking);
        let link = asking.filter(|(node, _)| *node == to).map(|(_, link)| link);
        let link = link.or_else(|| self.node_link(to));
        let hop = self.member_hop(signal.op());
        let Some(members) = &mut self.members else { return };
        let mut room = vec![[0; _]; signal.update_count_max()];
        // Written even if it cannot be sent: it counts as sent.
        let gossip = members.node.gossip(to, signal, &mut room);
        let Some(link) = link else { return };
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &gossip);
            self.io.mark(link.0 as u32);
        }
    }

    fn set_asking(&mut self, asking: Option<(NodeId, Link)>) {
        if let Some(members) = &mut self.members {
            members.asking = asking;
        }
    }

    /// What the cluster holds a member for has changed.
    pub(super) fn tell_liveness(&self, node: NodeId, liveness: Liveness) {
        match liveness {
            Liveness::Alive => tracing::info!("the cluster holds node {node} for alive"),
            Liveness::Suspect => tracing::warn!("the cluster suspects node {node}"),
            Liveness::Down => tracing::warn!("the cluster holds node {node} for down"),
        }
    }

    /// A younger process runs under this node's name: two would answer for one.
    pub(super) fn stop_superseded(&self) -> ! {
        tracing::error!(
            "a younger process runs as this node, from a copy of its data directory: this one \
             stops; enter the copy as a new node, or remove it"
        );
        // As for a data directory that is another's.
        end_process_with(4);
    }
}
