//! Native connections on a shard: handshakes, then frames of clients, peers and other shards.

use super::State;
use super::connection::{Connection, Speaks};
use super::io::link_of_shard;
use super::latencies::Operation;
use super::status;
use super::work::Work;
use crate::checksum::Hardware;
use crate::metrics::Counter;
use crate::session::native::Local;
use crate::session::native::acceptor::{Accepted, Acceptor, Step, answer_proof, refuse};
use crate::session::native::ahead::Ahead;
use crate::session::native::dialer::{self, DialError};
use crate::session::native::frames::{
    CLIENT_FRAME_BYTES_MAX, FRAME_BYTES_MAX, Flow, FrameReader, Pause, append_frame,
};
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::{NodeId, RequestId, ShardIndex};
use ringmain_core::request::Link;
use ringmain_core::time::Instant;
use ringmain_core::wire::admin::{AdminReply, Repair, Scrub};
use ringmain_core::wire::frame::{Frame, Hop};
use ringmain_core::wire::hello::Reason;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::reply::Status;
use ringmain_core::wire::version::Versions;
use std::ops::ControlFlow;

/// Most requests of one native client that wait for their answers, as of a RESP client.
const OPEN_COUNT_MAX: u32 = 64;
/// Output of a native connection above this stops its parsing, bytes.
const OUT_BYTES_STOP: usize = 256 << 10;

impl State {
    /// What a handshake must know of this end.
    pub(super) fn local(&self) -> Local<'_> {
        let config = self.engine.shard.config();
        Local {
            versions: Versions::OWN,
            node: config.node,
            boot: config.boot,
            shard: config.shard,
            shards: config.shards,
            cluster: Some(self.cluster.cluster),
            keys: Some(&self.cluster.keys),
            secret: self.cluster.secret_for_joiners.as_ref(),
            topology: self.engine.shard.topology(),
            now: self.now(),
        }
    }

    /// Bytes of a native connection, whatever stage it is in.
    pub(super) fn on_native(&mut self, slot: u32, received: &[u8]) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        match std::mem::replace(&mut connection.speaks, Speaks::Nothing) {
            Speaks::Accepting(acceptor) => self.on_accepting(slot, acceptor, received),
            Speaks::Dialing(dialer, dial) => self.on_dialing(slot, dialer, dial, received),
            Speaks::Client(reader) => self.on_frames(slot, None, reader, received, Speaks::Client),
            Speaks::PeerIn(node, reader) => {
                let back = |reader| Speaks::PeerIn(node, reader);
                self.on_frames(slot, Some(node), reader, received, back);
            }
            Speaks::PeerOut(node, shard, reader) => {
                let back = |reader| Speaks::PeerOut(node, shard, reader);
                self.on_frames(slot, Some(node), reader, received, back);
            }
            other @ (Speaks::Resp(..) | Speaks::Nothing) => connection.speaks = other,
        }
    }

    fn on_accepting(&mut self, slot: u32, mut acceptor: Box<Acceptor<Hardware>>, received: &[u8]) {
        let mut out = Vec::new();
        let taken = acceptor.receive(&self.local(), received, &mut out);
        let Some(connection) = self.io.connections.at(slot) else { return };
        connection.out.tail().extend_from_slice(&out);
        match taken.step {
            Step::Wait => {
                self.work.push_back(match acceptor.is_greeting() {
                    true => Work::Once(connection.id),
                    // The shard is the right one: from now on it receives all that comes.
                    false => Work::Stream(connection.id),
                });
                connection.speaks = Speaks::Accepting(acceptor);
            }
            Step::HandOver(shard) => {
                let mut bytes = acceptor.held().to_vec();
                bytes.extend_from_slice(&received[taken.consumed..]);
                self.work.push_back(Work::HandOver(connection.id, shard, bytes));
            }
            Step::Refused(reason) => {
                tracing::debug!("a native connection was refused: {reason:?}");
                connection.is_closing = true;
            }
            Step::Apart(node, apart) => {
                connection.is_closing = true;
                self.on_caller_apart(node, apart);
            }
            Step::Accepted(accepted) => {
                self.work.push_back(Work::Stream(connection.id));
                let link = connection.link;
                if std::mem::take(&mut connection.is_stranger) {
                    self.io.strangers.leave();
                }
                connection.speaks = match accepted {
                    Accepted::Client { .. } if !self.io.clients.enter() => {
                        return self.refuse_client(slot);
                    }
                    Accepted::Client { challenge, version } => {
                        connection.is_counted = true;
                        connection.version = Some(version);
                        connection.challenge = Some(Box::new(challenge));
                        Speaks::Client(FrameReader::new(CLIENT_FRAME_BYTES_MAX))
                    }
                    Accepted::Peer { node, .. } => {
                        Speaks::PeerIn(node, FrameReader::new(FRAME_BYTES_MAX))
                    }
                };
                if let Accepted::Peer { clock, version, .. } = accepted {
                    self.begin_link(link, version, clock);
                }
                // Its shard 0 alone speaks of members; its other shards may call this one, too.
                if let Accepted::Peer { node, shard: ShardIndex(0), versions, .. } = accepted {
                    self.on_incoming_up(node, versions, link);
                }
                self.on_native(slot, &received[taken.consumed..]);
            }
        }
        self.io.mark(slot);
    }

    /// There are as many clients as there may be.
    fn refuse_client(&mut self, slot: u32) {
        self.recorder.add(Counter::ConnectionsRefused, 1);
        let mut out = Vec::new();
        refuse::<Hardware>(&self.local(), RequestId(0), Reason::Full, &mut out);
        if let Some(connection) = self.io.connections.at(slot) {
            connection.out.tail().extend_from_slice(&out);
        }
        self.close_after_output(slot);
    }

    fn on_dialing(
        &mut self,
        slot: u32,
        mut dialer: Box<dialer::Dialer<Hardware>>,
        dial: super::peers::Dial,
        received: &[u8],
    ) {
        let mut out = Vec::new();
        let taken = dialer.receive(&self.local(), received, &mut out);
        let Some(connection) = self.io.connections.at(slot) else { return };
        connection.out.tail().extend_from_slice(&out);
        match taken.step {
            dialer::Step::Wait => connection.speaks = Speaks::Dialing(dialer, dial),
            dialer::Step::Failed(error) => {
                connection.is_closing = true;
                if let DialError::Apart(apart) = error {
                    self.on_peer_apart(dial.node, apart);
                }
                self.fail_dial(dial, &error.to_string());
            }
            dialer::Step::Dialed(dialed) => {
                let reader = FrameReader::new(FRAME_BYTES_MAX);
                connection.speaks = Speaks::PeerOut(dialed.node, dial.shard, reader);
                let link = connection.link;
                self.begin_link(link, dialed.version, dialed.clock);
                self.on_link_up(dialed.node, dial.shard, link);
                self.on_native(slot, &received[taken.consumed..]);
            }
        }
        self.io.mark(slot);
    }

    fn on_frames(
        &mut self,
        slot: u32,
        node: Option<NodeId>,
        mut reader: FrameReader<Hardware>,
        received: &[u8],
        back: impl FnOnce(FrameReader<Hardware>) -> Speaks,
    ) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        let (link, mut clock, version) = (connection.link, connection.clock, connection.version);
        let now = self.now();
        let mut ahead = Ahead::new(reader.held(), received);
        let fed = reader.feed(received, |frame| {
            if let Some(keys) = ahead.keys() {
                self.engine.prefetch(keys.as_slice(), self.about.hash_seed);
            }
            if let (Some(node), Some(clock)) = (node, &mut clock)
                && let Err(untimely) = clock.on_frame(now, &frame)
            {
                self.refuse_untimely(slot, node, untimely);
                return ControlFlow::Break(Pause::After);
            }
            let is_apart = version.is_some_and(|version| !frame.speaks(version));
            let taken = match is_apart {
                true => Err(FrameRefused::OtherVersion),
                false => self.on_frame(link, node, frame),
            };
            if let Err(refused) = taken {
                self.recorder.add(Counter::FramesRefused, 1);
                tracing::warn!("a frame was refused: {refused:?}");
                self.close_after_output(slot);
                return ControlFlow::Break(Pause::After);
            }
            let stop = self.io.memory.output_bytes_max(OUT_BYTES_STOP);
            let is_full =
                self.io.connections.at(slot).is_some_and(|connection| is_full(connection, stop));
            if node.is_none() && is_full {
                ControlFlow::Break(Pause::After)
            } else {
                ControlFlow::Continue(())
            }
        });
        let stop = self.io.memory.output_bytes_max(OUT_BYTES_STOP);
        let Some(connection) = self.io.connections.at(slot) else { return };
        connection.speaks = back(reader);
        connection.clock = clock;
        match fed {
            Err(error) => {
                self.recorder.add(Counter::FramesMalformed, 1);
                tracing::warn!("a native connection sent what is no frame: {error}");
                connection.is_closing = true;
                self.io.mark(slot);
            }
            Ok(_) if node.is_none() => {
                let is_full = is_full(connection, stop);
                if is_full != connection.is_paused {
                    connection.is_paused = is_full;
                    self.work.push_back(Work::Pause(connection.id, is_full));
                }
            }
            Ok(_) => {}
        }
    }

    /// Output of a client has gone: parsing that it stopped goes on.
    pub(super) fn on_native_sent(&mut self, slot: u32) {
        let stop = self.io.memory.output_bytes_max(OUT_BYTES_STOP);
        let Some(connection) = self.io.connections.at(slot) else { return };
        if connection.is_paused && !is_full(connection, stop) {
            self.on_native(slot, &[]);
        }
    }

    fn close_after_output(&mut self, slot: u32) {
        if let Some(connection) = self.io.connections.at(slot) {
            connection.is_closing = true;
        }
        self.io.mark(slot);
    }

    /// Frames of another shard of this node, one at least and more until then; says how many, and
    /// whether those were all.
    pub(super) fn on_shard_frames(&mut self, from: ShardIndex, until: Instant) -> (usize, Flow) {
        let me = self.engine.shard.config().node;
        let Some(mut inbound) = self.io.mesh.lend(from) else { return (0, Flow::Drained) };
        let mut count = 0;
        let received = inbound.receive(|frame| {
            count += 1;
            let link = link_of_shard(from);
            if self.is_shed(link, Some(me), &frame) {
                return ControlFlow::Continue(());
            }
            let taken = self.engine.turn(&mut self.io).frame(link, Some(me), frame);
            taken.expect("shards of one node understand each other");
            if self.now() < until {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(Pause::After)
            }
        });
        let (flow, made_room) = received.expect("shards of one node write frames");
        self.io.mesh.give(from, inbound, made_room);
        (count, flow)
    }

    fn on_frame(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        match frame.op() {
            op if op.is_gossip() => {
                let node = node.filter(|_| self.members.is_some());
                let node = node.ok_or(FrameRefused::NotPermitted)?;
                if !frame.is_of(self.engine.settings.cluster_digest) {
                    return Err(FrameRefused::OtherCluster);
                }
                self.on_gossip_frame(link, node, frame)
            }
            Op::Topology | Op::Warm | Op::Staged | Op::Candidate | Op::Epochs => {
                let node = node.filter(|_| self.members.is_some());
                let node = node.ok_or(FrameRefused::NotPermitted)?;
                if !frame.is_of(self.engine.settings.cluster_digest) {
                    return Err(FrameRefused::OtherCluster);
                }
                self.on_member_frame(node, frame)
            }
            Op::Beat if node.is_some() => Ok(()),
            Op::Proof if node.is_none() => self.on_client_proof(link, frame),
            Op::Status
            | Op::Ring
            | Op::Scrub
            | Op::ScrubStatus
            | Op::Hints
            | Op::Exchanges
            | Op::Repair
            | Op::RepairStatus
            | Op::Stage
            | Op::Plan
            | Op::Commit
            | Op::Clear
            | Op::Transfers
            | Op::Reap
            | Op::ReapStatus => self.on_admin_frame(link, node, frame),
            Op::Get | Op::Put if node.is_none() => self.on_client_request(link, frame),
            Op::Routes if node.is_none() => self.on_routes(link, &frame),
            Op::Scan if node.is_none() => Err(FrameRefused::NotPermitted),
            Op::Get | Op::Put | Op::Scan | Op::ReadReply | Op::PageReply
                if frame.is_of(self.engine.settings.cluster_digest)
                    && self.is_shed(link, node, &frame) =>
            {
                Ok(())
            }
            _ => self.engine.turn(&mut self.io).frame(link, node, frame),
        }
    }

    /// Counted first: the answer, which counts down, may come at once. What is refused has none.
    fn on_client_request(&mut self, link: Link, frame: Frame<'_>) -> Result<(), FrameRefused> {
        let number = frame.hop().request.0;
        if let Some(connection) = self.io.connections.of(link) {
            connection.open += 1;
            if let Some(operation) = Operation::of_frame(&frame) {
                connection.asked.push(number, self.io.latencies.ask(operation));
            }
        }
        let is_ours = frame.is_of(self.engine.settings.cluster_digest);
        if is_ours && self.refuses_request(frame.payload().len()) {
            self.refuse_frame(link, &frame);
            return Ok(());
        }
        let taken = self.engine.turn(&mut self.io).frame(link, None, frame);
        if taken.is_err()
            && let Some(connection) = self.io.connections.of(link)
        {
            connection.open -= 1;
            connection.asked.take(number);
        }
        taken
    }

    /// A client shows that it knows the secret: whoever may change the cluster does.
    fn on_client_proof(&mut self, link: Link, frame: Frame<'_>) -> Result<(), FrameRefused> {
        let of = self.io.connections.of(link);
        let challenge = of.and_then(|connection| connection.challenge.clone());
        let challenge = challenge.ok_or(FrameRefused::NotPermitted)?;
        let mut out = Vec::new();
        let verified = answer_proof::<Hardware>(&self.local(), &challenge, &frame, &mut out);
        if let Some(connection) = self.io.connections.of(link) {
            connection.out.tail().extend_from_slice(&out);
            connection.may_manage |= verified.is_ok();
            self.io.mark(link.0 as u32);
        }
        verified.map_err(|_| FrameRefused::NotPermitted)
    }

    fn on_admin_frame(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let of = self.io.connections.of(link);
        let is_permitted = node.is_some() || of.is_some_and(|connection| connection.may_manage);
        let mut status = Status::Ok;
        let answer = match (frame.op(), &self.members) {
            _ if !is_permitted => None,
            (Op::Status, Some(members)) => {
                Some(status::status(members, &self.about, self.clerk.ledger(), self.engine.now))
            }
            (Op::Scrub, Some(_)) => {
                let asked = Scrub::new_checked(frame.payload());
                let Scrub { accepts_loss } = asked.map_err(|_| FrameRefused::Malformed)?;
                let has_begun = self.begin_scrub(accepts_loss);
                status = if has_begun { Status::Ok } else { Status::Busy };
                Some(String::new())
            }
            (Op::ScrubStatus, Some(_)) => Some(self.scrub_status()),
            (Op::Hints, Some(_)) => Some(self.hints_json()),
            (Op::Exchanges, Some(_)) => Some(self.exchanges_json()),
            (Op::Repair, Some(_)) => {
                let asked = Repair::new_checked(frame.payload());
                let Repair { partition } = asked.map_err(|_| FrameRefused::Malformed)?;
                let has_begun = self.begin_repair(partition);
                status = if has_begun { Status::Ok } else { Status::Busy };
                Some(String::new())
            }
            (Op::RepairStatus, Some(_)) => Some(self.repair_status_json()),
            (Op::Reap, Some(_)) => {
                status = if self.begin_reap() { Status::Ok } else { Status::Busy };
                Some(String::new())
            }
            (Op::ReapStatus, Some(_)) => Some(self.reap_status_json()),
            (Op::Stage | Op::Plan | Op::Commit | Op::Clear | Op::Transfers, Some(_)) => {
                let (verdict, text) = self.on_verb_frame(&frame)?;
                status = verdict;
                Some(text)
            }
            (Op::Ring, _) => {
                let key = frame.key();
                let rings = self.engine.shard.rings();
                let bits = self.about.partition_bits;
                let partition = (!key.is_empty())
                    .then(|| super::peers::partition(self.about.hash_seed, key, bits));
                Some(status::ring(rings, partition))
            }
            _ => None,
        };
        let reply = match &answer {
            Some(json) => AdminReply { status, text: json },
            // Only shard 0 knows the members; every client can reach it.
            None if is_permitted => AdminReply { status: Status::Unsupported, text: "" },
            None => AdminReply { status: Status::NotPermitted, text: "" },
        };
        let hop = self.hop(Op::AdminReply, frame.hop().request);
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &reply);
            self.io.mark(link.0 as u32);
        }
        Ok(())
    }

    pub(super) fn hop(&self, op: Op, request: RequestId) -> Hop {
        Hop {
            op,
            request,
            deadline_ms: 0,
            sent_ms: 0,
            topology: self.engine.shard.topology(),
            cluster_digest: self.engine.settings.cluster_digest,
        }
    }
}

/// Whether a client has to wait for answers, or for its output to go, before more is read.
fn is_full(connection: &Connection, stop: usize) -> bool {
    let expected = connection.open as usize * connection.typical;
    connection.open >= OPEN_COUNT_MAX || connection.out.bytes() + expected > stop
}
