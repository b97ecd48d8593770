//! Which version of the protocol goes over which connection, and who parts with this node over it.
//! See [`version`](ringmain_core::wire::version).

use super::State;
use crate::metrics::Counter;
use ringmain_core::id::NodeId;
use ringmain_core::request::Link;
use ringmain_core::shard::Input;
use ringmain_core::wire::VERSION;
use ringmain_core::wire::version::Apart;
use std::collections::VecDeque;

/// So many partings are remembered, so that each is told once although it is met again with each
/// call.
const TOLD_COUNT_MAX: usize = 16;

/// Those that were told last, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Told(VecDeque<(NodeId, Apart)>);

impl Told {
    /// Whether it was told; from now on it was.
    fn tell(&mut self, node: NodeId, apart: Apart) -> bool {
        if self.0.contains(&(node, apart)) {
            return true;
        }
        if self.0.len() == TOLD_COUNT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((node, apart));
        false
    }
}

impl State {
    /// A member that this node has called has no version in common with it: counted, and told once.
    pub(super) fn on_peer_apart(&mut self, node: NodeId, apart: Apart) {
        self.recorder.add(Counter::ConnectionsApart, 1);
        if !self.told.tell(node, apart) {
            tracing::warn!("no connection with node {node}: {apart}");
        }
    }

    /// So has somebody who calls, and says that it is `node`, or a client: 0. It was told; whether
    /// it is nobody knows, so it gets no line of the log that people read.
    pub(super) fn on_caller_apart(&mut self, node: NodeId, apart: Apart) {
        self.recorder.add(Counter::ConnectionsApart, 1);
        tracing::debug!("a caller that says it is node {node} was refused: {apart}");
    }

    /// All links to a peer stand: the machine is told what goes over them, and that it is there.
    pub(super) fn on_all_links_up(&mut self, node: NodeId) {
        let links: Vec<Link> = self.io.peers.links(node).collect();
        let version =
            |link: &Link| self.io.connections.of(*link).and_then(|connection| connection.version);
        let version = links.iter().filter_map(version).min().unwrap_or(VERSION);
        self.engine.turn(&mut self.io).input(Input::PeerSpeaks { node, version });
        self.engine.turn(&mut self.io).input(Input::PeerUp(node));
        match version {
            VERSION => tracing::info!("node {node} is up"),
            older => tracing::info!("node {node} is up, and speaks version {older}: reaping waits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_core::wire::version::Versions;

    #[test]
    fn each_parting_is_told_once_as_long_as_it_is_remembered() {
        let own = Versions::OWN;
        let apart =
            |newest: usize| Apart { own, other: Versions { oldest: 9, newest: newest as u8 } };
        let mut told = Told::default();
        for newest in 0..TOLD_COUNT_MAX {
            assert!(!told.tell(NodeId(1), apart(newest)));
        }
        assert!(told.tell(NodeId(1), apart(0)), "as many as are remembered");
        assert!(!told.tell(NodeId(2), apart(0)), "of another node");
        assert!(!told.tell(NodeId(1), apart(0)), "one past: the oldest is forgotten");
        assert_eq!(told.0.len(), TOLD_COUNT_MAX);
    }
}
