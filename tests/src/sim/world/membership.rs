//! The machine of a node, and the frames of membership.

use ringmain_core::checksum::Software;
use ringmain_core::id::RequestId;
use ringmain_core::membership::member::Contact;
use ringmain_core::membership::topology::{Operation, Operations};
use ringmain_core::node::{Message, NodeInput, NodeOutput, Verdict};
use ringmain_core::shard::Input;
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::gossip::{Gossip, Liveness};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::topology::{Answer, Items, Proposal, Topology};

use super::super::host::Persisted;
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::{Invariant, Violation};
use super::super::outbox::{node_id, node_index};
use super::{Event, World, note};

impl World<'_> {
    /// The first inputs of a fresh node machine.
    pub(super) fn on_started(&mut self, node: usize, own: Contact) -> Result<(), Violation> {
        if let Some(Persisted { operations, vote }) = self.hosts[node].persisted.clone() {
            let operations = Operations::new_checked(&operations).expect("as it was persisted");
            self.node_turn(node, NodeInput::Restored { operations, vote })?;
        } else if node == 0 {
            self.node_turn(node, NodeInput::Found)?;
        }
        self.node_turn(node, NodeInput::Contact(own))?;
        for shard in 0..self.hosts[node].stores.len() {
            for target in self.hosts[node].stores[shard].hint_targets() {
                self.turn(Site { node, shard }, |turn| turn.input(Input::Hinted { target }))?;
            }
        }
        Ok(())
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
        let (message, operation) = match frame.op() {
            op if op.is_gossip() => {
                let gossip = Gossip::new_checked(op, payload).map_err(|_| malformed())?;
                return self.node_turn(node, NodeInput::Gossip { from, gossip });
            }
            Op::Topology => {
                let topology = Topology::new_checked(payload).map_err(|_| malformed())?;
                return self.on_topology(node, from, topology);
            }
            op @ (Op::Hold | Op::Commit | Op::Abort) => {
                let proposal = Proposal::new_checked(payload).map_err(|_| malformed())?;
                let message = match op {
                    Op::Hold => Message::Hold,
                    Op::Commit => Message::Commit,
                    _ => Message::Abort,
                };
                (message, proposal.operation)
            }
            op => {
                let answer = Answer::new_checked(payload).map_err(|_| malformed())?;
                let verdict = Verdict::from_number(answer.verdict).ok_or_else(malformed)?;
                let message = match op {
                    Op::Held => Message::Held(verdict),
                    Op::Committed => Message::Committed(verdict),
                    _ => Message::Aborted(verdict),
                };
                (message, answer.operation)
            }
        };
        let operation = operation.try_into().map_err(|_| malformed())?;
        let operation = Operation::from_bytes(operation).map_err(|_| malformed())?;
        let (attempt, topology) = (frame.hop().request.0, frame.hop().topology);
        let input = NodeInput::Message { from, topology, attempt, message, operation };
        self.node_turn(node, input)
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
            self.send_of_node(node, to, op, 0, &payload.as_slice());
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
            NodeOutput::Send { to, attempt, message, operation } => {
                note!(self, "n{node} sends {message:?} of {attempt:08x} to n{}", node_index(to));
                self.send_message(node, node_index(to), attempt, message, &operation);
            }
            NodeOutput::HoldShards => {
                self.feed_shards(node, Input::Hold)?;
                let empty = self.hosts[node].stores.iter().all(|store| store.count() == 0);
                return self.node_turn(node, NodeInput::ShardsHeld { empty });
            }
            NodeOutput::ReleaseShards => {
                self.provoke(node);
                return self.feed_shards(node, Input::Release);
            }
            NodeOutput::Persist { topology } => {
                note!(self, "n{node} persists topology {:016x}", topology.0);
                let process = self.hosts[node].process.as_ref().expect("its process runs");
                let machine = process.node.as_ref().expect("it is not at work");
                let operations = machine.operations().bytes().to_vec();
                let persisted = Persisted { operations, vote: machine.vote() };
                let (life, delay) = (self.life(node), self.random.delay(self.swarm.disk.sync));
                self.after(delay, Event::Persisted { node, life, persisted });
            }
            NodeOutput::Publish { topology } => {
                note!(self, "n{node} publishes topology {:016x}", topology.0);
                self.provoke(node);
                return self.publish(node);
            }
            NodeOutput::ContactChanged { .. } => {}
            NodeOutput::JoinRefused { verdict, .. } => {
                note!(self, "n{node} is refused: {verdict:?}");
                self.marks.hit(Mark::JoinRefused);
            }
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

    fn feed_shards(&mut self, node: usize, input: Input<'static>) -> Result<(), Violation> {
        for shard in 0..self.hosts[node].stores.len() {
            self.turn(Site { node, shard }, |turn| turn.input(input))?;
        }
        Ok(())
    }

    /// Gives the ring of the node's machine to its shards.
    fn publish(&mut self, node: usize) -> Result<(), Violation> {
        let process = self.hosts[node].process.as_mut().expect("its process runs");
        let machine = process.node.take().expect("it is not at work");
        self.judge.on_ring(node, machine.published(), machine.ring())?;
        for shard in 0..self.hosts[node].stores.len() {
            let (ring, topology) = (machine.ring(), machine.published());
            self.turn(Site { node, shard }, |turn| turn.input(Input::Ring { ring, topology }))?;
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
        self.send_of_node(node, to, Op::Topology, 0, &payload);
    }

    fn send_message(
        &mut self,
        node: usize,
        to: usize,
        attempt: u32,
        message: Message,
        operation: &Operation,
    ) {
        let bytes = operation.to_bytes();
        let (op, verdict) = match message {
            Message::Hold => (Op::Hold, None),
            Message::Commit => (Op::Commit, None),
            Message::Abort => (Op::Abort, None),
            Message::Held(verdict) => (Op::Held, Some(verdict)),
            Message::Committed(verdict) => (Op::Committed, Some(verdict)),
            Message::Aborted(verdict) => (Op::Aborted, Some(verdict)),
        };
        match verdict {
            None => self.send_of_node(node, to, op, attempt, &Proposal { operation: &bytes }),
            Some(verdict) => {
                let answer = Answer { verdict: verdict as u8, operation: &bytes };
                self.send_of_node(node, to, op, attempt, &answer);
            }
        }
    }

    fn send_of_node(
        &mut self,
        node: usize,
        to: usize,
        op: Op,
        request: u32,
        payload: &impl Payload,
    ) {
        if !self.connected[node][to] {
            return;
        }
        let process = self.hosts[node].process.as_ref().expect("its process runs");
        let Some(machine) = process.node.as_ref() else { return };
        let hop = Hop {
            op,
            request: RequestId(request),
            deadline_ms: 0,
            age_ms: 0,
            topology: machine.operations().id(),
            cluster_digest: self.settings.cluster_digest,
        };
        let mut frame = vec![0; frame_length(0, payload.bytes())];
        write_frame::<Software>(&hop, &[], payload, &mut frame);
        let (from, to) = (Site { node, shard: 0 }, Site { node: to, shard: 0 });
        self.send(from, to, &frame);
    }
}
