//! The machine of a node, and the frames of membership.

use ringmain_core::checksum::Software;
use ringmain_core::id::{RequestId, TopologyId};
use ringmain_core::membership::member::Contact;
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::Operations;
use ringmain_core::node::{Audience, NodeInput, NodeOutput};
use ringmain_core::shard::Input;
use ringmain_core::wire::epochs::Epochs;
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::gossip::{Gossip, Liveness};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::topology::{Items, Staged, Topology};

use super::super::host::Persisted;
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::{Invariant, Violation};
use super::super::outbox::{node_id, node_index};
use super::{Event, World, note};

impl World<'_> {
    /// The first inputs of a fresh node machine.
    pub(super) fn on_started(&mut self, node: usize, own: Contact) -> Result<(), Violation> {
        for shard in 0..self.hosts[node].stores.len() {
            for target in self.hosts[node].stores[shard].hint_targets() {
                self.turn(Site { node, shard }, |turn| turn.input(Input::Hinted { target }))?;
            }
        }
        if let Some(Persisted { operations, claims }) = self.hosts[node].persisted.clone() {
            self.judge.on_operations(node, &operations);
            let operations = Operations::new_checked(&operations).expect("as it was persisted");
            self.node_turn(node, NodeInput::Restored { operations, claims: &claims })?;
        } else if node == 0 {
            self.node_turn(node, NodeInput::Found)?;
        }
        self.node_turn(node, NodeInput::Contact(own))
    }

    /// Feeds the machine of `node` and does what it asks for.
    pub(super) fn node_turn(&mut self, node: usize, input: NodeInput<'_>) -> Result<(), Violation> {
        let now = self.local(node);
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        let machine = process.node.as_mut().expect("it is not at work");
        machine.handle_input(now, input);
        self.drain_node(node)
    }

    pub(super) fn on_wake_node(&mut self, node: usize) -> Result<(), Violation> {
        let (global, now) = (self.now, self.local(node));
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        if process.wake.is_none_or(|wake| wake > global) {
            return Ok(());
        }
        process.wake = None;
        let machine = process.node.as_mut().expect("it is not at work");
        if machine.poll_timeout().is_some_and(|at| at <= now) {
            machine.handle_timeout(now);
        }
        self.drain_node(node)
    }

    pub(super) fn on_persisted(
        &mut self,
        node: usize,
        persisted: Persisted,
    ) -> Result<(), Violation> {
        self.hosts[node].persisted = Some(persisted);
        self.node_turn(node, NodeInput::Persisted)
    }

    pub(super) fn on_membership_frame(
        &mut self,
        node: usize,
        from: usize,
        frame: &Frame<'_>,
    ) -> Result<(), Violation> {
        let malformed = || Violation::new(Invariant::OneReply, format!("malformed {frame:?}"));
        let (from, payload) = (node_id(from), frame.payload());
        match frame.op() {
            op if op.is_gossip() => {
                let gossip = Gossip::new_checked(op, payload).map_err(|_| malformed())?;
                self.node_turn(node, NodeInput::Gossip { from, gossip })
            }
            Op::Staged => {
                let staged = Staged::new_checked(payload).map_err(|_| malformed())?;
                let bytes: Vec<u8> = staged.operations.iter().flatten().copied().collect();
                let operations = Operations::new_checked(&bytes).map_err(|_| malformed())?;
                let revision = staged.revision;
                self.node_turn(node, NodeInput::Staged { from, revision, operations })
            }
            Op::Epochs => {
                let epochs = Epochs::new_checked(payload).map_err(|_| malformed())?;
                let topology = frame.hop().topology;
                self.node_turn(node, NodeInput::Epochs { from, topology, epochs })
            }
            Op::Warm => {
                let topology = frame.hop().topology;
                self.node_turn(node, NodeInput::Warm { from, topology })
            }
            _ => {
                let topology = Topology::new_checked(payload).map_err(|_| malformed())?;
                self.on_topology(node, from, topology)
            }
        }
    }

    fn on_topology(
        &mut self,
        node: usize,
        from: ringmain_core::id::NodeId,
        topology: Topology<'_>,
    ) -> Result<(), Violation> {
        let bytes: Vec<u8> = topology.operations.iter().flatten().copied().collect();
        let operations = Operations::new_checked(&bytes).map_err(|wrong| {
            Violation::new(Invariant::RingAgreement, format!("from {from}: {wrong:?}"))
        })?;
        self.node_turn(node, NodeInput::Topology { from, operations })?;
        for contact in topology.contacts.iter() {
            let contact = contact.try_into().expect("all contacts have one length");
            let contact = Contact::from_bytes(contact).expect("a node wrote it");
            self.node_turn(node, NodeInput::Contact(contact))?;
        }
        Ok(())
    }

    fn drain_node(&mut self, node: usize) -> Result<(), Violation> {
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        let machine = process.node.as_mut().expect("it is not at work");
        process.epochs = machine.epochs();
        let mut outputs = Vec::new();
        let mut messages = Vec::new();
        while let Some(output) = machine.poll_output() {
            if let NodeOutput::Gossip { to, signal } = output {
                // It is written before the machine goes on.
                let mut room = vec![[0; _]; signal.update_count_max()];
                let gossip = machine.gossip(to, signal, &mut room);
                let mut payload = vec![0; gossip.bytes()];
                gossip.write(&mut payload);
                messages.push((node_index(to), signal.op(), payload));
            } else {
                outputs.push(output);
            }
        }
        for (to, op, payload) in messages {
            self.send_of_node(node, to, op, &payload.as_slice());
        }
        for output in outputs {
            self.act_on_node(node, output)?;
        }
        self.schedule_node(node);
        Ok(())
    }

    fn schedule_node(&mut self, node: usize) {
        let (now, life) = (self.now, self.life(node));
        let host = &mut self.hosts[node];
        let process = host.process.as_ref().expect("its process runs");
        let machine = process.node.as_ref().expect("it is not at work");
        let Some(local) = machine.poll_timeout() else { return };
        let at = host.global(now, local);
        let process = host.process.as_mut().expect("its process runs");
        if process.wake.is_none_or(|wake| at < wake) {
            process.wake = Some(at);
            self.queue.push(at, Event::WakeNode { node, life });
        }
    }

    fn act_on_node(&mut self, node: usize, output: NodeOutput) -> Result<(), Violation> {
        match output {
            NodeOutput::SendTopology { to } => self.send_topology(node, node_index(to)),
            NodeOutput::SendEpochs { to, asks } => self.send_epochs(node, node_index(to), asks),
            NodeOutput::Outdated { .. } => self.schedule_outdated(node),
            NodeOutput::PeerOutdated { node: peer } => {
                note!(self, "n{node} knows n{} for an older copy", node_index(peer));
            }
            NodeOutput::SendStaged { to } => self.send_staged(node, node_index(to)),
            NodeOutput::StagedFull => {
                let detail = format!("n{node} has no room for what is staged");
                return Err(Violation::new(Invariant::Bounds, detail));
            }
            NodeOutput::SendWarm { to, topology } => {
                note!(self, "n{node} is warm in {:016x} for n{}", topology.0, node_index(to));
                self.send_warm(node, node_index(to), topology);
            }
            NodeOutput::Persist { topology } => {
                note!(self, "n{node} persists topology {:016x}", topology.0);
                let process = self.hosts[node].process.as_ref().expect("its process runs");
                let machine = process.node.as_ref().expect("it is not at work");
                let persisted = Persisted::of(machine);
                self.judge.on_operations(node, &persisted.operations);
                let (life, delay) = (self.life(node), self.random.delay(self.swarm.disk.sync));
                self.after(delay, Event::Persisted { node, life, persisted });
            }
            NodeOutput::Publish { topology } => {
                note!(self, "n{node} publishes topology {:016x}", topology.0);
                let process = self.hosts[node].process.as_ref().expect("its process runs");
                let machine = process.node.as_ref().expect("it is not at work");
                let is_moving = machine.rings().is_moving();
                if std::mem::replace(&mut self.hosts[node].is_moving, is_moving) && !is_moving {
                    self.marks.hit(Mark::Settled);
                }
                self.provoke(node);
                self.publish(node)?;
                if self.hosts.iter().any(|host| host.is_damaged) {
                    self.judge.on_damage(&self.hosts, self.settings.hash_seed);
                }
            }
            NodeOutput::ContactChanged { .. } => {}
            NodeOutput::JoinRefused { refusal } => {
                let detail = format!("n{node} cannot join: {refusal:?}");
                return Err(Violation::new(Invariant::Liveness, detail));
            }
            NodeOutput::Removed => note!(self, "n{node} is a member no more"),
            NodeOutput::Liveness { node: other, liveness } => {
                note!(self, "n{node} holds n{} for {liveness:?}", node_index(other));
                self.marks.hit(match liveness {
                    Liveness::Alive => Mark::MemberBack,
                    Liveness::Suspect => Mark::MemberSuspected,
                    Liveness::Down => Mark::MemberDown,
                });
            }
            NodeOutput::Gossip { .. } => unreachable!("it was sent"),
            NodeOutput::Superseded => {
                let detail = format!("n{node} hears of a younger process of its own");
                return Err(Violation::new(Invariant::Liveness, detail));
            }
            NodeOutput::TopologyFull => {
                let detail = format!("n{node} has no room for the topology");
                return Err(Violation::new(Invariant::Bounds, detail));
            }
        }
        Ok(())
    }

    /// Gives the rings of the node's machine to its shards.
    fn publish(&mut self, node: usize) -> Result<(), Violation> {
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        let machine = process.node.take().expect("it is not at work");
        let audience = machine.audience();
        self.hosts[node].is_copied &= audience != Audience::All;
        self.judge.on_rings(node, machine.published(), machine.rings())?;
        for shard in 0..self.hosts[node].stores.len() {
            let (rings, topology) = (machine.rings(), machine.published());
            self.turn(Site { node, shard }, |turn| {
                turn.input(Input::Audience(audience));
                turn.input(Input::Rings { rings, topology });
            })?;
        }
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        process.node = Some(machine);
        Ok(())
    }

    fn send_topology(&mut self, node: usize, to: usize) {
        let process = self.hosts[node].process.as_ref().expect("its process runs");
        let Some(machine) = process.node.as_ref() else { return };
        let operations = machine.operations().bytes().to_vec();
        let contacts: Vec<u8> = machine.contacts().iter().flat_map(Contact::to_bytes).collect();
        let payload = Topology {
            operations: Items::new(&operations, Operation::BYTES).expect("whole operations"),
            contacts: Items::new(&contacts, Contact::BYTES).expect("whole contacts"),
        };
        let asks = machine.asks_epochs(node_id(to));
        self.send_of_node(node, to, Op::Topology, &payload);
        self.send_epochs(node, to, asks);
    }

    fn send_staged(&mut self, node: usize, to: usize) {
        let process = self.hosts[node].process.as_ref().expect("its process runs");
        let Some(machine) = process.node.as_ref() else { return };
        let (revision, operations) = machine.staged();
        let operations = operations.bytes().to_vec();
        let operations = Items::new(&operations, Operation::BYTES).expect("whole operations");
        self.send_of_node(node, to, Op::Staged, &Staged { revision, operations });
    }

    fn send_epochs(&mut self, node: usize, to: usize, asks: bool) {
        let process = self.hosts[node].process.as_ref().expect("its process runs");
        let Some(machine) = process.node.as_ref() else { return };
        let (claims, vouched) = (machine.claims(), machine.is_vouched());
        let epochs = Epochs { asks, vouched, claims: &claims };
        self.send_of_node(node, to, Op::Epochs, &epochs);
    }

    fn send_warm(&mut self, node: usize, to: usize, topology: TopologyId) {
        self.send_on(node, to, (Op::Warm, topology), &[].as_slice());
    }

    /// A frame of a node names the newest topology, which its shards may not work on yet.
    fn send_of_node(&mut self, node: usize, to: usize, op: Op, payload: &impl Payload) {
        let process = self.hosts[node].process.as_ref().expect("its process runs");
        let Some(machine) = process.node.as_ref() else { return };
        let topology = machine.operations().id();
        self.send_on(node, to, (op, topology), payload);
    }

    fn send_on(
        &mut self,
        node: usize,
        to: usize,
        (op, topology): (Op, TopologyId),
        payload: &impl Payload,
    ) {
        if !self.connected[node][to] {
            return;
        }
        let hop = Hop {
            op,
            request: RequestId::NONE,
            deadline_ms: 0,
            sent_ms: 0,
            topology,
            cluster_digest: self.settings.cluster_digest,
        };
        let mut frame = vec![0; frame_length(0, payload.bytes())];
        write_frame::<Software>(&hop, &[], payload, &mut frame);
        let (from, to) = (Site { node, shard: 0 }, Site { node: to, shard: 0 });
        self.send(from, to, &mut frame);
    }
}
