//! Shard 0's part: the machine of the node, its file, and what it tells the shards.

use super::control::{Control, Published, SharedRings};
use super::epochs::SharedEpochs;
use super::peers::Dial;
use super::{State, status};
use crate::checksum::Hardware;
use crate::data_dir::{DataDir, DataDirError};
use crate::log_writer::end_process;
use crate::metrics::Gauge;
use crate::session::native::frames::append_frame;
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::{NodeId, Partition, RequestId, ShardIndex, TopologyId};
use ringmain_core::membership::member::Contact;
use ringmain_core::membership::operation::{Committed, Operation};
use ringmain_core::membership::topology::Operations;
use ringmain_core::node::{Audience, JoinRefusal, Node, NodeInput, NodeOutput};
use ringmain_core::request::Link;
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use ringmain_core::wire::frame::{Frame, Hop};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::topology::{Items, Staged, Topology};
use ringmain_core::wire::version::Versions;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use super::members_file::Members;

/// Pause between two rounds of dialing the seeds.
const SEED_PAUSE: Duration = Duration::from_millis(500);

/// The node machine with what it works on.
pub(crate) struct Membership {
    pub(crate) node: Box<Node<'static>>,
    pub(crate) dir: Arc<DataDir>,
    /// All that the file held was given to the machine.
    pub(crate) is_restored: bool,
    /// A start finds out that the directory was not copied since; or that could not be noted.
    pub(crate) in_place: bool,
    /// What the file holds, once it was written in this process life.
    pub(crate) on_disk: Vec<u8>,
    /// The rings that are handed to the shards.
    pub(crate) rings: SharedRings,
    /// What the shards say of the reap epochs that the machine knows.
    pub(crate) epochs: Arc<SharedEpochs>,
    /// Connections that the shard 0 of other nodes made to this one, which may have no link
    /// to them.
    pub(crate) incoming: BTreeMap<NodeId, Link>,
    /// The newest version of the protocol that each of those says it speaks.
    pub(crate) newest: BTreeMap<NodeId, u8>,
    /// Asked until this node is a member.
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) next_seeds: Option<Instant>,
    /// Whose message the failure detector is answering, and over which link it came.
    pub(crate) asking: Option<(NodeId, Link)>,
    /// Refusals of seeds that were told, so that each is told once.
    pub(crate) told: Option<String>,
}

impl Membership {
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        [self.node.poll_timeout(), self.next_seeds].into_iter().flatten().min()
    }
}

impl State {
    /// Once, before the first turn: what was on disk, and where this node answers.
    pub(crate) fn begin(&mut self, contact: Contact, members: &Members) {
        self.engine.now = self.now();
        self.tell_stored();
        self.tell_hints();
        // Until shard 0 knows more.
        self.engine.turn(&mut self.io).input(Input::Audience(Audience::Nobody));
        if self.members.is_none() {
            return;
        }
        // What was on disk is written once more when all of it is known again, and not before.
        let (operations, claims) = (members.operations(), members.claims());
        self.node_input(NodeInput::Restored { operations, claims });
        for known in members.contacts.iter().filter(|known| known.node != contact.node) {
            self.node_input(NodeInput::Contact(*known));
        }
        if let Some(members) = &mut self.members {
            members.is_restored = true;
        }
        self.node_input(NodeInput::Contact(contact));
        self.tell_copied();
    }

    /// Feeds the node machine and does what it asks for, until it is quiet.
    pub(crate) fn node_input(&mut self, input: NodeInput<'_>) {
        let now = self.engine.now;
        let Some(members) = &mut self.members else { return };
        members.node.handle_input(now, input);
        self.drain_node();
    }

    fn drain_node(&mut self) {
        let mut results = Vec::new();
        loop {
            let Some(members) = &mut self.members else { return };
            members.epochs.store(members.node.epochs());
            if let Some(output) = members.node.poll_output() {
                self.do_node_output(output, &mut results);
            } else if let Some(input) = results.pop() {
                members.node.handle_input(self.engine.now, input);
            } else {
                return;
            }
        }
    }

    fn do_node_output(&mut self, output: NodeOutput, results: &mut Vec<NodeInput<'static>>) {
        match output {
            NodeOutput::SendTopology { to } => {
                self.send_topology(to);
                let members = self.members.as_ref();
                let asks = members.is_some_and(|members| members.node.asks_epochs(to));
                self.send_epochs(to, asks);
            }
            NodeOutput::SendEpochs { to, asks } => self.send_epochs(to, asks),
            NodeOutput::SendStaged { to } => self.send_staged(to),
            NodeOutput::StagedFull => {
                tracing::warn!("more changes of the membership were staged than a node keeps");
            }
            NodeOutput::SendWarm { to, topology } => self.send_warm(to, topology),
            NodeOutput::Persist { .. } => {
                self.write_members();
                results.push(NodeInput::Persisted);
            }
            NodeOutput::Publish { .. } => self.publish(),
            NodeOutput::ContactChanged { .. } => {
                let is_restored = self.members.as_ref().is_some_and(|members| members.is_restored);
                if is_restored {
                    self.write_contacts();
                    self.publish();
                }
            }
            NodeOutput::JoinRefused { refusal } => tell_refused(refusal),
            NodeOutput::Removed => {
                tracing::warn!(
                    "this node was removed from its cluster, which is for ever: it serves nothing, \
                     and keeps its data directory; start it with an empty one to join as a new node"
                );
            }
            NodeOutput::Gossip { to, signal } => self.send_gossip(to, signal),
            NodeOutput::Liveness { node, liveness } => self.tell_liveness(node, liveness),
            NodeOutput::Superseded => self.stop_superseded(),
            NodeOutput::Outdated { told_by } => self.stop_outdated(told_by),
            NodeOutput::PeerOutdated { node } => self.tell_peer_outdated(node),
            NodeOutput::TopologyFull => {
                tracing::error!("more members, or changes, were offered than a cluster can have");
            }
        }
    }

    /// The file is small and rarely written; the shard waits for it.
    fn write_members(&mut self) {
        if let Err(error) = self.try_write_members() {
            // Without it, a restart could break a promise: better none.
            tracing::error!("the members cannot be written: {error}");
            end_process();
        }
    }

    /// Addresses alone are no promise: they are told again by who has them.
    fn write_contacts(&mut self) {
        if let Err(error) = self.try_write_members() {
            tracing::warn!("an address of a member cannot be written: {error}; going on without");
        }
    }

    fn try_write_members(&mut self) -> Result<(), DataDirError> {
        let Some(members) = &mut self.members else { return Ok(()) };
        let bytes = Members::of(&members.node).to_bytes();
        if bytes != members.on_disk {
            members.dir.write_members(&bytes)?;
            members.on_disk = bytes;
        }
        Ok(())
    }

    fn broadcast(&mut self, control: impl Fn() -> Control) {
        let shards = self.engine.shard.config().shards;
        for shard in (1..shards).map(ShardIndex) {
            let mut control = control();
            // The other shard empties its queue every turn.
            while let Err(back) = self.io.mesh.control(shard, control) {
                control = back;
                std::thread::yield_now();
            }
        }
    }

    fn publish(&mut self) {
        let Some(members) = &self.members else { return };
        let mut shared = members.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.0 = members.node.published();
        shared.1.copy_from(members.node.rings());
        drop(shared);
        let rings = Arc::clone(&members.rings);
        let contacts = members.node.contacts().to_vec();
        let audience = members.node.audience();
        if audience == Audience::All {
            self.keep_origin();
        }
        let published = Arc::new(Published { rings, contacts, audience });
        self.broadcast(|| Control::Published(Arc::clone(&published)));
        self.on_published(&published);
    }

    /// On every shard: the rings and the addresses are these now.
    pub(super) fn on_published(&mut self, published: &Published) {
        let shared = published.rings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (topology, rings) = (shared.0, &shared.1);
        let me = self.engine.shard.config().node;
        self.is_member = rings.contains(me);
        self.recorder.set(Gauge::InRing, u64::from(self.is_member));
        let audience = published.audience;
        self.recorder.set(Gauge::Serves, u64::from(audience != Audience::Nobody));
        self.engine.turn(&mut self.io).input(Input::Audience(audience));
        if topology != self.engine.shard.topology() {
            self.engine.turn(&mut self.io).input(Input::Rings { rings, topology });
        }
        let is_node = |contact: &&Contact| rings.contains(contact.node);
        let contacts: Vec<Contact> = published.contacts.iter().filter(is_node).copied().collect();
        drop(shared);
        let (lost, down) = self.io.peers.set_contacts(&contacts, self.engine.now);
        for node in down {
            self.engine.turn(&mut self.io).input(Input::PeerDown(node));
        }
        for link in lost {
            if let Some(connection) = self.io.connections.of(link) {
                self.work.push_back(super::work::Work::Close(connection.id));
            }
        }
    }

    /// The connection over which the node machine reaches `node`.
    pub(super) fn node_link(&self, node: NodeId) -> Option<Link> {
        let members = self.members.as_ref()?;
        let link = self.io.peers.link(node, Partition(0));
        link.or_else(|| members.incoming.get(&node).copied())
    }

    fn send_topology(&mut self, to: NodeId) {
        let Some(link) = self.node_link(to) else { return };
        let Some(members) = &self.members else { return };
        let operations = members.node.operations().bytes();
        let contacts: Vec<u8> =
            members.node.contacts().iter().flat_map(|contact| contact.to_bytes()).collect();
        let topology = Topology {
            operations: Items::new(operations, Operation::BYTES).expect("whole operations"),
            contacts: Items::new(&contacts, Contact::BYTES).expect("whole contacts"),
        };
        let hop = self.member_hop(Op::Topology);
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &topology);
            self.io.mark(link.0 as u32);
        }
        self.send_candidacy(link);
    }

    /// Tells a member that this node is none, as what it would become one.
    fn send_candidacy(&mut self, link: Link) {
        let own = self.members.as_ref().and_then(|members| members.node.own_candidacy());
        let Some(member) = own else { return };
        let operation = Operation::Add(member).moving().to_bytes();
        let hop = self.member_hop(Op::Candidate);
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &operation.as_slice());
            self.io.mark(link.0 as u32);
        }
    }

    fn send_staged(&mut self, to: NodeId) {
        let (Some(link), Some(members)) = (self.node_link(to), &self.members) else { return };
        let (revision, operations) = members.node.staged();
        let operations =
            Items::new(operations.bytes(), Operation::BYTES).expect("whole operations");
        let hop = self.member_hop(Op::Staged);
        if let Some(connection) = self.io.connections.of(link) {
            let staged = Staged { revision, operations };
            append_frame::<Hardware>(connection.out.tail(), &hop, &staged);
            self.io.mark(link.0 as u32);
        }
    }

    fn send_warm(&mut self, to: NodeId, topology: TopologyId) {
        let Some(link) = self.node_link(to) else { return };
        let hop = Hop { topology, ..self.member_hop(Op::Warm) };
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &[].as_slice());
            self.io.mark(link.0 as u32);
        }
    }

    /// Frames of members name the newest topology, which shards may not work on yet.
    pub(super) fn member_hop(&self, op: Op) -> Hop {
        let hop = self.hop(op, RequestId::NONE);
        let topology = self.members.as_ref().map(|members| members.node.operations().id());
        Hop { topology: topology.unwrap_or_default(), ..hop }
    }

    pub(super) fn on_member_frame(
        &mut self,
        from: NodeId,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        match frame.op() {
            Op::Topology => self.on_topology_frame(from, frame.payload()),
            Op::Staged => self.on_staged_frame(from, frame.payload()),
            Op::Candidate => self.on_candidate_frame(from, frame.payload()),
            Op::Epochs => self.on_epochs_frame(from, frame),
            _ => {
                self.node_input(NodeInput::Warm { from, topology: frame.hop().topology });
                Ok(())
            }
        }
    }

    fn on_staged_frame(&mut self, from: NodeId, payload: &[u8]) -> Result<(), FrameRefused> {
        let Staged { revision, operations } = Staged::new_checked(payload)?;
        let bytes: Vec<u8> = operations.iter().flatten().copied().collect();
        let operations = Operations::new_checked(&bytes).map_err(|_| FrameRefused::Malformed)?;
        self.node_input(NodeInput::Staged { from, revision, operations });
        Ok(())
    }

    fn on_candidate_frame(&mut self, from: NodeId, payload: &[u8]) -> Result<(), FrameRefused> {
        let encoded = payload.try_into().map_err(|_| FrameRefused::Malformed)?;
        let committed = Committed::from_bytes(encoded).map_err(|_| FrameRefused::Malformed)?;
        match committed.operation {
            Operation::Add(member) if member.node == from => {
                self.node_input(NodeInput::Candidate(member));
                Ok(())
            }
            _ => Err(FrameRefused::Malformed),
        }
    }

    fn on_topology_frame(&mut self, from: NodeId, payload: &[u8]) -> Result<(), FrameRefused> {
        let Topology { operations, contacts } = Topology::new_checked(payload)?;
        let malformed = FrameRefused::Malformed;
        let of_size = |items: &Items<'_>, bytes| items.is_empty() || items.item_bytes() == bytes;
        if !of_size(&operations, Operation::BYTES) || !of_size(&contacts, Contact::BYTES) {
            return Err(malformed);
        }
        let bytes: Vec<u8> = operations.iter().flatten().copied().collect();
        let operations = Operations::new_checked(&bytes).map_err(|_| malformed)?;
        let me = self.engine.shard.config().node;
        for contact in contacts.iter() {
            let contact = contact.try_into().map_err(|_| malformed)?;
            let contact = Contact::from_bytes(contact).map_err(|_| malformed)?;
            if contact.node != me {
                self.node_input(NodeInput::Contact(contact));
            }
        }
        self.node_input(NodeInput::Topology { from, operations });
        Ok(())
    }

    pub(super) fn on_member_control(&mut self, control: Control) {
        match control {
            Control::ShardWarm(topology) => self.node_input(NodeInput::ShardWarm { topology }),
            Control::TopologyDiffers(node) => self.node_input(NodeInput::Differs(node)),
            Control::Raise(above) => self.node_input(NodeInput::Raise { above }),
            Control::Status(reply) => {
                if let Some(members) = &self.members {
                    // Whoever asked may have gone.
                    let _gone = reply.try_send(status::status(
                        members,
                        &self.about,
                        self.clerk.ledger(),
                        self.engine.now,
                    ));
                }
            }
            _ => unreachable!("the caller looked"),
        }
    }

    pub(super) fn on_member_timers(&mut self) {
        let now = self.engine.now;
        let Some(members) = &mut self.members else { return };
        if members.node.poll_timeout().is_some_and(|at| at <= now) {
            members.node.handle_timeout(now);
            self.drain_node();
        }
        self.dial_seeds(now);
    }

    /// Until this node is a member it asks the seeds, again and again.
    fn dial_seeds(&mut self, now: Instant) {
        let is_member = self.is_member;
        let Some(members) = &mut self.members else { return };
        if members.next_seeds.is_none_or(|at| at > now) {
            return;
        }
        if is_member {
            members.next_seeds = None;
            return;
        }
        members.next_seeds = Some(now + SEED_PAUSE);
        if !members.incoming.is_empty() {
            return;
        }
        for address in members.seeds.clone() {
            let dial = Dial { node: NodeId(0), shard: ShardIndex(0), address };
            self.work.push_back(super::work::Work::Dial(dial));
        }
    }

    /// A link of ours stands.
    pub(super) fn on_link_up(&mut self, node: NodeId, shard: ShardIndex, link: Link) {
        let is_known = self.io.peers.contact(node).is_some();
        if self.io.peers.on_up(node, shard, link) {
            self.on_all_links_up(node);
        }
        if shard == ShardIndex(0) && self.members.is_some() {
            if !is_known && let Some(members) = &mut self.members {
                members.incoming.insert(node, link);
            }
            self.node_input(NodeInput::PeerUp(node));
        }
    }

    /// A link of ours is gone.
    pub(super) fn on_link_down(&mut self, node: NodeId, shard: ShardIndex, link: Link) {
        if self.io.peers.is_current(node, shard, link)
            && self.io.peers.on_down(node, shard, self.engine.now)
        {
            self.engine.turn(&mut self.io).input(Input::PeerDown(node));
            tracing::warn!("node {node} is down");
        }
        if shard == ShardIndex(0) && self.members.is_some() {
            self.on_incoming_down(node, link);
        }
    }

    /// Shard 0 of a node has connected to this shard.
    pub(super) fn on_incoming_up(&mut self, node: NodeId, versions: Versions, link: Link) {
        let Some(members) = &mut self.members else { return };
        members.incoming.insert(node, link);
        members.newest.insert(node, versions.newest);
        // Members are up once called themselves; a node that waits is called by nobody.
        if self.io.peers.contact(node).is_none() {
            self.node_input(NodeInput::PeerUp(node));
        }
    }

    /// A connection of a node is gone.
    pub(super) fn on_incoming_down(&mut self, node: NodeId, link: Link) {
        let Some(members) = &mut self.members else { return };
        if members.incoming.get(&node) == Some(&link) {
            members.incoming.remove(&node);
            members.newest.remove(&node);
        }
        if self.node_link(node).is_none() {
            self.node_input(NodeInput::PeerDown(node));
        }
    }

    /// A call came to nothing: it is tried again after a pause, and told once.
    pub(super) fn fail_dial(&mut self, dial: Dial, why: &str) {
        if dial.node != NodeId(0) {
            return self.io.peers.on_dial_failed(dial.node, dial.shard, self.engine.now);
        }
        let Some(members) = &mut self.members else { return };
        if members.told.as_deref() != Some(why) {
            tracing::warn!("seed {} cannot be entered by: {why}; asking again", dial.address);
            members.told = Some(why.to_owned());
        }
    }
}

fn tell_refused(refusal: JoinRefusal) {
    match refusal {
        JoinRefusal::IdTaken => tracing::error!(
            "this node cannot join: another one has its id; start it with an empty data directory"
        ),
        JoinRefusal::Full => {
            tracing::error!(
                "this node cannot join: the cluster has as many members as it can have"
            );
        }
    }
}
