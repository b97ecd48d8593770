//! Connections between nodes, and the frames on them.

use std::time::Duration;

use ringmain_core::checksum::Software;
use ringmain_core::node::NodeInput;
use ringmain_core::shard::Input;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;

use super::super::mark::Mark;
use super::super::network::{Parcel, Site};
use super::super::oracle::{Invariant, Violation};
use super::super::outbox::{Reply, link_to, node_id};
use super::{Event, World, note};

impl World<'_> {
    /// Sends a frame.
    pub(super) fn send(&mut self, from: Site, to: Site, bytes: &mut [u8]) {
        self.stamp(from, to, bytes);
        let World { now, network, marks, queue, .. } = self;
        network.send(*now, from, to, bytes, marks, |at, parcel| {
            queue.push(at, Event::Arrive(parcel));
        });
    }

    pub(super) fn on_arrive(&mut self, parcel: &Parcel) -> Result<(), Violation> {
        let Parcel { from, to, connection, .. } = *parcel;
        let delivers = self.network.delivers(self.now, parcel, &mut self.marks);
        let inside = from.node == to.node;
        let connected = inside || self.connected[to.node][from.node];
        if !delivers || !connected || self.hosts[to.node].process.is_none() {
            return Ok(());
        }
        let Ok(frame) = Frame::new_checked::<Software>(&parcel.bytes) else {
            note!(self, "{to:?} gets a damaged frame from {from:?}");
            return self.disconnect(from.node, to.node);
        };
        if !inside {
            self.check_version(parcel, &frame)?;
            if !self.is_fresh(parcel, &frame)? {
                return self.disconnect(from.node, to.node);
            }
        }
        note!(self, "{to:?} gets {:?} {} from {from:?}", frame.op(), frame.hop().request.0);
        if is_of_membership(frame.op()) {
            return self.on_membership_frame(to.node, from.node, &frame);
        }
        self.arrived = (frame.op() == Op::Reply).then(|| Reply::of_frame(&frame, None));
        let records = matches!(frame.op(), Op::Replicate | Op::ReplicateSync);
        let before = self.hosts[to.node].stores[to.shard].count();
        let topology = self.shard_mut(to).machine.topology();
        let link = link_to(from, connection);
        let (mut result, mut taken) = (Ok(()), 0);
        self.turn(to, |turn| {
            result = turn.frame(link, Some(node_id(from.node)), frame);
            // Not what its timers do behind it.
            taken = turn.store.count();
        })?;
        if let Err(refused) = result {
            let detail = format!("{to:?} refuses a frame of {from:?}: {refused:?}");
            return Err(Violation::new(Invariant::OneReply, detail));
        }
        if !inside {
            self.check_heard(to, from.node)?;
        }
        let stored = self.hosts[to.node].stores[to.shard].count() > before;
        if records && !stored {
            self.marks.hit(Mark::NothingStored);
        }
        if records && taken > before && frame.hop().topology != topology {
            let detail = format!("{to:?} took a record of {from:?} from another topology");
            return Err(Violation::new(Invariant::RingAgreement, detail));
        }
        Ok(())
    }

    /// Two nodes try to connect; if they cannot, they try again.
    pub(super) fn on_connect(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if self.connected[a][b] && self.connected[b][a] {
            return Ok(());
        }
        let split = self.network.is_blocked(a, b) || self.network.is_blocked(b, a);
        if split || !self.hosts[a].is_running() || !self.hosts[b].is_running() {
            let again = Duration::from_millis(self.random.between(20, 200));
            self.after(again, Event::Connect { a, b });
            return Ok(());
        }
        self.lose_connections(a, b)?;
        note!(self, "n{a} and n{b} connect");
        for (node, peer) in [(a, b), (b, a)] {
            self.connected[node][peer] = true;
        }
        let version = self.common_version(a, b);
        self.link_clocks.begin(self.now, (a, b), version);
        self.on_peer(a, b, true)?;
        self.on_peer(b, a, true)
    }

    /// Two nodes lose their connections, with all frames under way; they will connect again.
    pub(super) fn disconnect(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if a == b || !(self.connected[a][b] || self.connected[b][a]) {
            return Ok(());
        }
        note!(self, "n{a} and n{b} lose their connections");
        let again = Duration::from_millis(self.random.between(1, 200));
        self.after(again, Event::Connect { a, b });
        self.lose_connections(a, b)
    }

    fn lose_connections(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        self.network.reset(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            if std::mem::take(&mut self.connected[node][peer]) {
                let life = self.life(node);
                self.handle(Event::Peer { node, life, peer, up: false })?;
            }
        }
        Ok(())
    }

    /// `node` learns that its connections with `peer` came up or were lost.
    pub(super) fn on_peer(&mut self, node: usize, peer: usize, up: bool) -> Result<(), Violation> {
        let id = node_id(peer);
        for shard in 0..self.hosts[node].stores.len() {
            let (site, version) = (Site { node, shard }, self.link_clocks.version(node, peer));
            if up {
                let speaks = Input::PeerSpeaks { node: id, version };
                self.turn(site, |turn| turn.input(speaks))?;
            }
            let input = if up { Input::PeerUp(id) } else { Input::PeerDown(id) };
            self.turn(site, |turn| turn.input(input))?;
        }
        let input = if up { NodeInput::PeerUp(id) } else { NodeInput::PeerDown(id) };
        self.node_turn(node, input)
    }

    /// Ends all splits.
    pub(super) fn heal(&mut self) {
        note!(self, "the network heals");
        let World { now, network, marks, queue, .. } = self;
        network.heal(*now, marks, |at, parcel| queue.push(at, Event::Arrive(parcel)));
    }

    /// Splits the network. Peers that cannot talk any more may notice.
    pub(super) fn split(&mut self) {
        self.network.split(&mut self.marks);
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if !self.network.is_blocked(a, b) {
                    continue;
                }
                note!(self, "split: n{a} cannot reach n{b}");
                if self.swarm.faults.notices {
                    let delay = self.random.delay(Duration::from_millis(500));
                    self.after(delay, Event::Disconnect { a, b });
                }
            }
        }
        let length = self.fault_length(self.swarm.faults.split_length);
        self.after(length, Event::Heal);
    }

    /// Two nodes that the seed draws lose their connections.
    pub(super) fn reset_pair(&mut self) -> Result<(), Violation> {
        let nodes = self.hosts.len();
        if nodes < 2 {
            return Ok(());
        }
        let a = self.random.below(nodes);
        let b = (a + 1 + self.random.below(nodes - 1)) % nodes;
        if self.connected[a][b] {
            self.marks.hit(Mark::LinkReset);
        }
        self.disconnect(a, b)
    }
}

fn is_of_membership(op: Op) -> bool {
    matches!(op, Op::Topology | Op::Warm | Op::Staged | Op::Epochs) || op.is_gossip()
}
