//! The machine of one node: which operations are committed, who the members are, when data has
//! moved, and which members answer ([`membership::detector`](crate::membership::detector), which
//! changes nothing of all that). It lives on shard 0; its driver hands the rings to every shard.
//!
//! The committed set merges by union, so all nodes come to the same members and rings
//! ([`topology`](crate::membership::topology)), and may be added to anywhere. Then
//!
//! ```text
//! commit ─► on disk ─► published to the shards, told to all peers
//!             shards copy what this node gains      ── WARM ──► every peer
//! enough are warm ─► settled ─► on disk ─► published, told to all peers
//! ```
//!
//! A node is warm in a topology if its shards have what it gains there; see [`Shard`]. Operations
//! settle once every member that gains something, or leaves, is warm, and more than half of the
//! settled members: so two sides of a split cannot both settle what the other does not know.
//! Whoever sees that first settles them; the mark spreads with the set. Whatever a node promises is
//! on disk first.
//!
//! Whether the node's own disk is the newest that there was, its members say: see `epochs`.
//!
//! [`Shard`]: crate::shard::Shard

mod candidates;
mod epochs;
mod message;
mod settling;
mod staging;

#[cfg(test)]
mod tests;

pub use epochs::{Audience, Claims};
pub use message::{JoinRefusal, NodeInput, NodeOutput};

use crate::id::{Boot, NodeId, TopologyId};
use crate::limits::MEMBER_COUNT_MAX;
use crate::membership::detector::{Detector, DetectorConfig, Entry};
use crate::membership::member::{Contact, Member};
use crate::membership::operation::{Encoded, Operation};
use crate::membership::topology::{Operations, Topology};
use crate::ring::{RingConfig, Rings, Transition};
use crate::time::Instant;
use crate::wire::gossip::{Encoded as Update, Gossip, Liveness, Signal};
use candidates::Candidates;
use core::time::Duration;
use epochs::Known;
use heapless::{Deque, Vec};
use settling::Settling;
use staging::Staged;

/// Most outputs that wait at once: one message to each member, and a few more.
const OUTPUT_COUNT_MAX: usize = 2 * MEMBER_COUNT_MAX + 8;

/// What a node is told once.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// This node as it is, or wants to become, a member.
    pub member: Member,
    /// What the cluster fixed when it was founded.
    pub ring: RingConfig,
    /// Commit this node's own Add as soon as the cluster is reached.
    pub join: bool,
    /// Shards of this node.
    pub shards: u16,
    /// The process life of this node.
    pub boot: Boot,
    /// Its disk is the one that its last life wrote to, as far as that can be told without
    /// others; false if it was copied, or may have been.
    pub in_place: bool,
    /// How old a frame may be that this node takes.
    pub frame_age_max: Duration,
    /// Between two probes of the failure detector.
    pub probe_interval: Duration,
    /// Random, for the order of probes.
    pub seed: u64,
}

/// The memory that a node works in, lent once.
#[derive(Debug)]
pub struct NodeMemory<'a> {
    /// Committed operations: at most `OPERATION_COUNT_MAX`.
    pub operations: &'a mut [Encoded],
    /// Staged ones: at most `STAGED_COUNT_MAX`.
    pub staged: &'a mut [Encoded],
    /// The owners of all partitions: [`Rings::slot_count`] of them.
    pub owners: &'a mut [NodeId],
    /// What the failure detector knows of each other member: `MEMBER_COUNT_MAX` of them.
    pub entries: &'a mut [Entry],
}

/// The machine. See the module's page.
#[derive(Debug)]
pub struct Node<'a> {
    config: NodeConfig,
    topology: Topology<'a>,
    rings: Rings<'a>,
    /// The topology that `rings` was computed from and that is on disk.
    published: TopologyId,
    /// A write of the topology is under way.
    persisting: bool,
    /// What is being written has changed since.
    persist_again: bool,
    contacts: Vec<Contact, MEMBER_COUNT_MAX>,
    /// Nodes that can be reached, sorted.
    peers: Vec<NodeId, MEMBER_COUNT_MAX>,
    settling: Settling,
    staged: Staged<'a>,
    candidates: Candidates,
    epochs: Known,
    /// It was said that this node is a member no more.
    is_removed: bool,
    /// Why this node's own Add was not committed: said once.
    refused: Option<JoinRefusal>,
    detector: Detector<'a>,
    outputs: Deque<NodeOutput, OUTPUT_COUNT_MAX>,
}

impl<'a> Node<'a> {
    /// A node that knows nothing yet, and works in this memory.
    pub fn new(config: NodeConfig, memory: NodeMemory<'a>) -> Node<'a> {
        let NodeMemory { operations, staged, owners, entries } = memory;
        let (node, boot, interval) = (config.member.node, config.boot, config.probe_interval);
        let detector = DetectorConfig { node, boot, interval, seed: config.seed };
        Node {
            detector: Detector::new(detector, entries),
            config,
            topology: Topology::new(operations),
            rings: Rings::new(owners, config.ring),
            published: TopologyId(0),
            persisting: false,
            persist_again: false,
            contacts: Vec::new(),
            peers: Vec::new(),
            settling: Settling::default(),
            staged: Staged::new(staged),
            candidates: Vec::new(),
            epochs: Known::default(),
            is_removed: false,
            refused: None,
            outputs: Deque::new(),
        }
    }

    /// One mutation; drain [`Node::poll_output`] before the next.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_input(&mut self, now: Instant, input: NodeInput<'_>) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        self.begin_life(now);
        match input {
            NodeInput::Found => self.on_found(),
            NodeInput::Restored { operations, claims } => {
                self.restore_claims(claims);
                self.on_restored(now, operations);
            }
            NodeInput::PeerUp(node) => self.on_peer_up(now, node),
            NodeInput::PeerDown(node) => self.on_peer_down(node),
            NodeInput::Topology { from, operations } => self.on_topology(from, operations),
            NodeInput::Contact(contact) => self.on_contact(contact),
            NodeInput::Differs(node) => self.output(NodeOutput::SendTopology { to: node }),
            NodeInput::Commit { operations } => self.on_commit(operations),
            NodeInput::Stage { operation } => self.on_stage(operation),
            NodeInput::Staged { from, revision, operations } => {
                self.on_staged(from, revision, operations);
            }
            NodeInput::ClearStaged => self.on_clear(),
            NodeInput::Candidate(member) => self.on_candidate(member),
            NodeInput::ShardWarm { topology } => self.on_shard_warm(topology),
            NodeInput::Warm { from, topology } => self.on_warm(from, topology),
            NodeInput::Persisted => self.on_persisted(now),
            NodeInput::Gossip { from, gossip } => {
                self.detector.on_message(now, from, &gossip);
                self.ask_epochs_again(from);
            }
            NodeInput::Epochs { from, topology, epochs } => {
                self.on_epochs(now, (from, topology), &epochs);
            }
            NodeInput::Raise { above } => self.on_raise(now, above),
        }
        self.tell_epochs();
        self.check_invariants();
    }

    /// Handles what is due for the failure detector, and for reap epochs.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_timeout(&mut self, now: Instant) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next step");
        if self.detector.next_deadline().is_some_and(|at| at <= now) {
            self.detector.on_timeout(now);
        }
        if self.next_review().is_some_and(|at| at <= now) {
            self.review(now);
        }
        if self.next_raise().is_some_and(|at| at <= now) {
            self.raise_wanted(now);
        }
        self.tell_epochs();
        self.check_invariants();
    }

    /// What the driver has to do next; none when it is drained.
    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front().or_else(|| self.detector.poll().map(NodeOutput::from))
    }

    /// When [`Node::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.detector.next_deadline(), self.next_review(), self.next_raise()];
        timers.into_iter().flatten().min()
    }

    /// The rings, as last published.
    pub fn rings(&self) -> &Rings<'a> {
        &self.rings
    }

    /// The topology that the rings were computed from, as the shards are to name it: until this
    /// node is vouched for, as nobody else does.
    pub fn published(&self) -> TopologyId {
        self.shown_topology()
    }

    /// The committed operations, to be persisted or sent.
    pub fn operations(&self) -> Operations<'_> {
        self.topology.operations()
    }

    /// Where nodes answer, in no particular order; this node among them once it said so.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// Whether this node is a member, settled or committed.
    pub fn is_member(&self) -> bool {
        self.rings.contains(self.config.member.node)
    }

    /// Whether `node` can be reached.
    pub fn is_reachable(&self, node: NodeId) -> bool {
        node == self.config.member.node || self.peers.binary_search(&node).is_ok()
    }

    /// What is claimed of a member; `None` if it is none.
    pub fn liveness(&self, node: NodeId) -> Option<Liveness> {
        self.detector.status(node)
    }

    /// The message that [`NodeOutput::Gossip`] asks for; see [`Detector::gossip`].
    ///
    /// # Panics
    /// If `room` is too short for it.
    pub fn gossip<'r>(&mut self, to: NodeId, signal: Signal, room: &'r mut [Update]) -> Gossip<'r> {
        self.detector.gossip(to, signal, room)
    }

    fn on_found(&mut self) {
        assert!(self.operations().is_empty(), "only an empty node founds");
        let operation = Operation::Add(self.config.member);
        self.topology.insert(operation.settled()).expect("an empty topology has room");
        self.persist();
    }

    fn on_restored(&mut self, now: Instant, operations: Operations<'_>) {
        assert!(self.operations().is_empty(), "restored first");
        assert!(self.contacts.is_empty(), "a contact has the driver write all that is known");
        self.topology.merge(operations).expect("what was persisted fits");
        self.publish(now);
    }

    /// Operators, or this node itself, want these operations committed.
    fn on_commit(&mut self, operations: Operations<'_>) {
        match self.topology.merge(operations) {
            Ok(true) => self.persist(),
            Ok(false) => {}
            Err(_full) => self.output(NodeOutput::TopologyFull),
        }
    }

    /// Commits the Add of this node if it wants to join and knows of a cluster.
    fn try_join(&mut self) {
        let add = Operation::Add(self.config.member);
        let operations = self.operations();
        let me = self.config.member.node;
        let is_done = operations.contains(&add) || operations.is_removed(me);
        if !self.config.join || operations.is_empty() || is_done {
            return;
        }
        let members = operations.members();
        let mut others = members.iter().filter(|member| member.node == me);
        let refusal = if others.any(|other| other.uuid != self.config.member.uuid) {
            JoinRefusal::IdTaken
        } else if members.iter().any(|member| member.node == me) {
            return;
        } else {
            match self.topology.insert(add.moving()) {
                Ok(_) => return self.persist(),
                Err(_full) => JoinRefusal::Full,
            }
        };
        if self.refused.replace(refusal) != Some(refusal) {
            self.output(NodeOutput::JoinRefused { refusal });
        }
    }

    fn on_peer_up(&mut self, now: Instant, node: NodeId) {
        // A member takes the place of a stranger; of more strangers than fit nothing is known.
        if self.peers.is_full() && self.rings.contains(node) && !self.peers.contains(&node) {
            let stranger = self.peers.iter().position(|peer| !self.rings.contains(*peer));
            stranger.map(|index| self.peers.remove(index));
        }
        if let Err(index) = self.peers.binary_search(&node) {
            let _full = self.peers.insert(index, node);
        }
        self.output(NodeOutput::SendTopology { to: node });
        self.output(NodeOutput::SendStaged { to: node });
        self.detector.on_peer_up(now, node);
        self.try_join();
    }

    fn on_peer_down(&mut self, node: NodeId) {
        if let Ok(index) = self.peers.binary_search(&node) {
            self.peers.remove(index);
            self.drop_candidate(node);
        }
    }

    fn on_topology(&mut self, from: NodeId, operations: Operations<'_>) {
        let ours_is_more = !operations.covers(self.operations());
        match self.topology.merge(operations) {
            Ok(true) => self.persist(),
            Ok(false) => {}
            // The other has no room for the two of them either: it was told when it came up, and
            // would say the same again.
            Err(_full) => return self.output(NodeOutput::TopologyFull),
        }
        if ours_is_more {
            self.output(NodeOutput::SendTopology { to: from });
        } else if operations.id() == self.published {
            self.tell_warm(from);
        }
        self.try_join();
    }

    fn on_contact(&mut self, contact: Contact) {
        let index = self.contacts.iter().position(|known| known.node == contact.node);
        match index {
            Some(index) => {
                let merged = self.contacts[index].merge(contact);
                if merged == self.contacts[index] {
                    return;
                }
                self.contacts[index] = merged;
            }
            None => {
                if self.contacts.is_full() && !self.make_room(contact.node) {
                    return;
                }
                let pushed = self.contacts.push(contact);
                pushed.expect("room was made, or there was some");
            }
        }
        self.output(NodeOutput::ContactChanged { node: contact.node });
        self.send_topology_to_all();
    }

    /// Forgets a node that is no member, as one that asked to join and never did, for the member
    /// `node`. Not for another stranger: nodes that remember different ones would exchange them
    /// for ever.
    fn make_room(&mut self, node: NodeId) -> bool {
        let me = self.config.member.node;
        let is_known = |node| node == me || self.rings.contains(node);
        if !is_known(node) {
            return false;
        }
        let stranger = self.contacts.iter().position(|contact| !is_known(contact.node));
        stranger.map(|index| self.contacts.remove(index)).is_some()
    }

    /// The set has changed: it goes to disk before anything acts on it.
    fn persist(&mut self) {
        self.drop_committed();
        if self.persisting {
            self.persist_again = true;
        } else {
            self.persisting = true;
            self.on_writing_claims();
            self.output(NodeOutput::Persist { topology: self.topology.id() });
        }
    }

    fn on_persisted(&mut self, now: Instant) {
        assert!(self.persisting);
        self.persisting = false;
        self.on_claims_written();
        if core::mem::take(&mut self.persist_again) {
            return self.persist();
        }
        if self.published != self.topology.id() {
            self.publish(now);
            self.send_topology_to_all();
        } else {
            self.review(now);
        }
    }

    fn publish(&mut self, now: Instant) {
        let operations = self.topology.operations();
        let (settled, committed) = (operations.settled_members(), operations.members());
        self.rings.rebuild(&Transition {
            settled: &settled,
            committed: &committed,
            lost: &operations.lost(),
            leaving: &operations.leaving(),
            is_moving: operations.is_moving(),
        });
        self.detector.on_members(now, self.rings.nodes().iter().copied());
        self.published = self.topology.id();
        self.begin_settling();
        self.drop_members();
        self.on_epoch_topology(now);
        self.output(NodeOutput::Publish { topology: self.published() });
        self.settle_bare();
        let me = self.config.member.node;
        if self.operations().is_removed(me) && !self.is_member() && !self.is_removed {
            self.is_removed = true;
            self.output(NodeOutput::Removed);
        }
    }

    fn send_topology_to_all(&mut self) {
        for index in 0..self.peers.len() {
            self.output(NodeOutput::SendTopology { to: self.peers[index] });
        }
        self.on_epochs_told();
    }

    fn output(&mut self, output: NodeOutput) {
        self.outputs.push_back(output).expect("the bound of outputs per input holds");
    }

    fn check_invariants(&self) {
        assert!(self.peers.is_sorted());
    }
}
