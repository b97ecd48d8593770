//! The machine of one node: which operations are committed, who the members are, how a node is
//! added, and which members answer ([`membership::detector`](crate::membership::detector), which
//! changes nothing of all that). It lives on shard 0; its driver hands the ring to every shard.
//!
//! The committed set merges by union, so all nodes come to the same members and ring
//! ([`topology`](crate::membership::topology)). Until data can move, a node is added only while
//! every member can be reached and holds nothing (protocol: empty clusters). The newcomer asks:
//!
//! ```text
//! newcomer ── HOLD ──► every member   stops client writes, says whether it is empty   ── HELD ──►
//!          ── COMMIT ► every member   persists the Add, then takes writes again  ── COMMITTED ──►
//!          ── ABORT ─► every member   if one refused or is silent: takes writes again
//! ```
//!
//! A member holds only for a newcomer that knows the same topology, so every member was asked.
//! The newcomer alone decides; COMMIT is accepted only by a member that holds for that attempt.
//! Its HELD is on disk first, so that a restarted member still holds.
//! A member whose newcomer falls silent asks all others to promise that they will not accept
//! that COMMIT any more; only when all promised does it take writes again. So no write is
//! accepted on a ring that a committed Add has replaced.

mod hold;
mod message;
mod newcomer;

#[cfg(test)]
mod tests;

pub use message::{Message, NodeInput, NodeOutput, Verdict};

use crate::id::{Boot, NodeId, TopologyId};
use crate::limits::MEMBER_COUNT_MAX;
use crate::membership::detector::{Detector, DetectorConfig, Entry};
use crate::membership::member::{Contact, Member};
use crate::membership::topology::{Encoded, Operation, Operations, Topology};
use crate::ring::{Ring, RingConfig};
use crate::time::Instant;
use crate::wire::gossip::{Encoded as Update, Gossip, Liveness, Signal};
use core::time::Duration;
use heapless::{Deque, Vec};
use hold::Hold;
pub use hold::Vote;
use newcomer::Newcomer;

/// Most outputs that wait at once: one message to each member, and a few more.
const OUTPUT_COUNT_MAX: usize = 2 * MEMBER_COUNT_MAX + 8;

/// Promises that a node remembers. An attempt lasts seconds, and attempts are paused apart.
const PROMISE_COUNT_MAX: usize = 64;

/// What a node is told once.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// This node as it is, or wants to become, a member.
    pub member: Member,
    /// What the cluster fixed when it was founded.
    pub ring: RingConfig,
    /// Stage and commit this node's own Add as soon as the cluster is reached.
    pub join: bool,
    /// The process life of this node.
    pub boot: Boot,
    /// Between two probes of the failure detector.
    pub probe_interval: Duration,
    /// Random, for the pauses between attempts and the order of probes.
    pub seed: u64,
}

/// The memory that a node works in, lent once.
#[derive(Debug)]
pub struct NodeMemory<'a> {
    /// Committed operations: at most `OPERATION_COUNT_MAX`.
    pub operations: &'a mut [Encoded],
    /// The owners of all partitions: [`RingConfig::slot_count`] of them.
    pub owners: &'a mut [NodeId],
    /// What the failure detector knows of each other member: `MEMBER_COUNT_MAX` of them.
    pub entries: &'a mut [Entry],
}

/// The machine. See the module's page.
#[derive(Debug)]
pub struct Node<'a> {
    config: NodeConfig,
    topology: Topology<'a>,
    ring: Ring<'a>,
    /// The topology that `ring` was computed from and that is on disk.
    published: TopologyId,
    /// A write of the topology is under way.
    persisting: bool,
    /// What is being written has changed since.
    persist_again: bool,
    contacts: Vec<Contact, MEMBER_COUNT_MAX>,
    /// Nodes that can be reached, sorted.
    peers: Vec<NodeId, MEMBER_COUNT_MAX>,
    hold: Hold,
    /// Members that have not promised to refuse the COMMIT that this node holds for.
    unpromised: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Attempts whose COMMIT this node promised to refuse, the latest ones.
    promised: Deque<(NodeId, u32), PROMISE_COUNT_MAX>,
    newcomer: Newcomer,
    detector: Detector<'a>,
    outputs: Deque<NodeOutput, OUTPUT_COUNT_MAX>,
}

impl<'a> Node<'a> {
    /// A node that knows nothing yet, and works in this memory.
    pub fn new(config: NodeConfig, memory: NodeMemory<'a>) -> Node<'a> {
        let NodeMemory { operations, owners, entries } = memory;
        let (node, boot, interval) = (config.member.node, config.boot, config.probe_interval);
        let detector = DetectorConfig { node, boot, interval, seed: config.seed };
        Node {
            detector: Detector::new(detector, entries),
            config,
            topology: Topology::new(operations),
            ring: Ring::new(owners, config.ring),
            published: TopologyId(0),
            persisting: false,
            persist_again: false,
            contacts: Vec::new(),
            peers: Vec::new(),
            hold: Hold::None,
            unpromised: Vec::new(),
            promised: Deque::new(),
            newcomer: Newcomer::new(config.seed),
            outputs: Deque::new(),
        }
    }

    /// One mutation; drain [`Node::poll_output`] before the next.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_input(&mut self, now: Instant, input: NodeInput<'_>) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        match input {
            NodeInput::Found => self.on_found(),
            NodeInput::Restored { operations, vote } => self.on_restored(now, operations, vote),
            NodeInput::PeerUp(node) => self.on_peer_up(now, node),
            NodeInput::PeerDown(node) => self.on_peer_down(now, node),
            NodeInput::Topology { from, operations } => self.on_topology(now, from, operations),
            NodeInput::Contact(contact) => self.on_contact(contact),
            NodeInput::Differs(node) => self.output(NodeOutput::SendTopology { to: node }),
            NodeInput::Message { from, topology, attempt, message: Message::Hold, operation } => {
                self.on_hold(now, from, topology, attempt, operation);
            }
            NodeInput::Message { from, attempt, message, operation, .. } => {
                self.on_message(now, from, attempt, message, operation);
            }
            NodeInput::ShardsHeld { empty } => self.on_shards_held(empty),
            NodeInput::Persisted => self.on_persisted(now),
            NodeInput::Gossip { from, gossip } => self.detector.on_message(now, from, &gossip),
        }
        self.check_invariants();
    }

    /// Handles what is due: a pause that ended, a newcomer or member that is silent.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_timeout(&mut self, now: Instant) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next step");
        if self.newcomer.timeout().is_some_and(|at| at <= now) {
            self.on_newcomer_timeout(now);
        } else if self.hold.timeout().is_some_and(|at| at <= now) {
            self.on_hold_timeout(now);
        } else if self.detector.next_deadline().is_some_and(|at| at <= now) {
            self.detector.on_timeout(now);
        }
        self.check_invariants();
    }

    /// What the driver has to do next; none when it is drained.
    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        self.outputs.pop_front().or_else(|| self.detector.poll().map(NodeOutput::from))
    }

    /// When [`Node::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let detector = self.detector.next_deadline();
        [self.newcomer.timeout(), self.hold.timeout(), detector].into_iter().flatten().min()
    }

    /// The ring, as last published.
    pub fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// The topology that the ring was computed from.
    pub fn published(&self) -> TopologyId {
        self.published
    }

    /// The committed operations, to be persisted or sent.
    pub fn operations(&self) -> Operations<'_> {
        self.topology.operations()
    }

    /// Where nodes answer, in no particular order; this node among them once it said so.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// Whether this node is a member.
    pub fn is_member(&self) -> bool {
        self.ring.contains(self.config.member.node)
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

    /// Whether client writes are held because a member is being added.
    pub fn is_holding(&self) -> bool {
        self.hold.is_holding()
    }

    fn on_found(&mut self) {
        assert!(self.operations().is_empty(), "only an empty node founds");
        let operation = Operation::Add(self.config.member);
        self.topology.insert(&operation).expect("an empty topology has room");
        self.persist();
    }

    fn on_restored(&mut self, now: Instant, operations: Operations<'_>, vote: Option<Vote>) {
        assert!(self.operations().is_empty(), "restored first");
        assert!(self.contacts.is_empty(), "a contact has the driver write all that is known");
        self.topology.merge(operations).expect("what was persisted fits");
        if let Some(vote) = vote {
            self.restore_vote(now, vote);
        }
        self.publish(now);
        self.on_hold_topology();
    }

    fn on_peer_up(&mut self, now: Instant, node: NodeId) {
        if let Err(index) = self.peers.binary_search(&node) {
            // More strangers than members can be: the driver bounds connections, this table too.
            let _full = self.peers.insert(index, node);
        }
        self.output(NodeOutput::SendTopology { to: node });
        self.detector.on_peer_up(now, node);
        self.try_join(now);
    }

    fn on_peer_down(&mut self, now: Instant, node: NodeId) {
        if let Ok(index) = self.peers.binary_search(&node) {
            self.peers.remove(index);
        }
        self.on_newcomer_peer_down(now, node);
        self.on_hold_peer_down(now, node);
    }

    fn on_topology(&mut self, now: Instant, from: NodeId, operations: Operations<'_>) {
        let ours_is_more = !operations.covers(self.operations());
        match self.topology.merge(operations) {
            Ok(true) => self.persist(),
            Ok(false) => {}
            Err(_full) => self.output(NodeOutput::TopologyFull),
        }
        if ours_is_more {
            self.output(NodeOutput::SendTopology { to: from });
        }
        self.on_hold_topology();
        self.try_join(now);
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
        let members = self.topology.members();
        let is_known = |node| node == me || members.iter().any(|member| member.node == node);
        if !is_known(node) {
            return false;
        }
        let stranger = self.contacts.iter().position(|contact| !is_known(contact.node));
        stranger.map(|index| self.contacts.remove(index)).is_some()
    }

    fn on_message(
        &mut self,
        now: Instant,
        from: NodeId,
        attempt: u32,
        message: Message,
        operation: Operation,
    ) {
        match message {
            Message::Hold => unreachable!("it needs the topology of its sender"),
            Message::Commit => self.on_commit(from, attempt, operation),
            Message::Abort => self.on_abort(from, attempt, operation),
            Message::Held(verdict) => self.on_held(now, from, attempt, verdict),
            Message::Committed(verdict) => self.on_committed(now, from, attempt, verdict),
            Message::Aborted(verdict) => self.on_aborted(from, attempt, operation, verdict),
        }
    }

    /// The set or the vote has changed: it goes to disk before anything acts on it.
    fn persist(&mut self) {
        if self.persisting {
            self.persist_again = true;
        } else {
            self.persisting = true;
            self.output(NodeOutput::Persist { topology: self.topology.id() });
        }
    }

    fn on_persisted(&mut self, now: Instant) {
        assert!(self.persisting);
        self.persisting = false;
        if core::mem::take(&mut self.persist_again) {
            return self.persist();
        }
        if self.published != self.topology.id() {
            self.publish(now);
            self.send_topology_to_all();
        }
        self.on_hold_persisted(now);
        self.try_join(now);
    }

    fn publish(&mut self, now: Instant) {
        let members = self.topology.members();
        self.ring.rebuild(&members);
        self.detector.on_members(now, members.iter().map(|member| member.node));
        self.published = self.topology.id();
        self.output(NodeOutput::Publish { topology: self.published });
    }

    fn send_topology_to_all(&mut self) {
        for index in 0..self.peers.len() {
            self.output(NodeOutput::SendTopology { to: self.peers[index] });
        }
    }

    fn send(&mut self, to: NodeId, attempt: u32, message: Message, operation: Operation) {
        self.output(NodeOutput::Send { to, attempt, message, operation });
    }

    fn output(&mut self, output: NodeOutput) {
        self.outputs.push_back(output).expect("the bound of outputs per input holds");
    }

    fn check_invariants(&self) {
        assert!(self.peers.is_sorted());
        assert!(!self.hold.is_holding() || self.is_member());
    }
}
