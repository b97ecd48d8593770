//! Client requests: who coordinates them, and what each answer does to them.

use super::standing::Role;
use super::{Output, Shard};
use crate::id::{NodeId, RequestId, ShardIndex};
use crate::limits::{BIRTH_MAX, FORWARD_GRACE, TOPOLOGY_RETRY};
use crate::quorum::{ASKED_COUNT_MAX, Need};
use crate::records::Applied;
use crate::replica::Owed;
use crate::request::{Asked, Failure, Kind, Outcome, OwedReads, Put, Request, Step, Target};
use crate::request::{Pending, Phase};
use crate::time::Instant;
use crate::wire::peer::RejectReason;
use heapless::Vec;

/// Owners, and who stands in for them.
pub(super) type Nodes = Vec<NodeId, ASKED_COUNT_MAX>;

impl Shard<'_> {
    pub(super) fn on_request(&mut self, now: Instant, request: Request) {
        let partition = request.key.partition;
        if !self.holds(partition) {
            let shards = self.config.shards;
            let shard = ShardIndex::of(partition, shards, self.config.partition_bits);
            return self.forward(now, request, Target::Shard(shard));
        }
        if let Err(failure) = self.check_need(request.kind) {
            return self.refuse(request, failure);
        }
        if let Kind::Scan { asked } = request.kind {
            return self.start_read(now, request, NodeId(0), (asked, false));
        }
        match self.role(partition, request.forwarded) {
            Role::Coordinate { target } => self.coordinate(now, request, target),
            Role::Forward(node) => self.forward(now, request, Target::Node(node)),
            Role::Refuse => self.refuse(request, Failure::Unavailable { needed: 1, got: 0 }),
        }
    }

    /// Begins a request, as an owner or standing in for the owner `target`.
    fn coordinate(&mut self, now: Instant, request: Request, target: NodeId) {
        match request.kind {
            Kind::Get { asked, cover } => self.start_read(now, request, target, (asked, cover)),
            Kind::Scan { .. } => unreachable!("nobody stands in for it, and none hands it on"),
            Kind::Put { asked, read } => {
                if let Some(failure) = self.write_refusal(request, asked) {
                    return self.refuse(request, failure);
                }
                match read {
                    Some(read) => self.start_read(now, request, target, (read, false)),
                    None => self.start_write(now, request, target),
                }
            }
        }
    }

    /// What the quorum parameters of `kind` ask beyond the owners that there are.
    pub(super) fn check_need(&self, kind: Kind) -> Result<(), Failure> {
        let (asked, read) = match kind {
            Kind::Get { asked, .. } | Kind::Scan { asked } => (asked, None),
            Kind::Put { asked, read } => (asked, read),
        };
        let read = read.unwrap_or_default();
        let most = [asked.nodes, asked.primaries, asked.durable, read.nodes, read.primaries];
        let needed = most.into_iter().max().unwrap_or(0);
        // A node that is in no ring serves nobody, though it may know the ring of others.
        let is_member = self.rings.contains(self.config.node);
        let got = if is_member { self.rings.committed().replica_count() as u8 } else { 0 };
        if got == 0 || needed > got {
            return Err(Failure::Unavailable { needed: needed.max(1), got });
        }
        Ok(())
    }

    /// Why a write must not even begin.
    pub(super) fn write_refusal(&self, request: Request, asked: Asked) -> Option<Failure> {
        if self.is_stopping || !self.replica.has_room() {
            return Some(Failure::Busy);
        }
        if self.read_only {
            return Some(Failure::ReadOnly);
        }
        let owners = self.rings.owners(request.key.partition);
        let need = need_of(owners.count_max(), asked, self.config.w);
        if let Some((needed, got)) = self.out_of_reach(&owners, need) {
            return Some(Failure::Unavailable { needed, got });
        }
        let birth = self.births[self.birth_index(request)];
        (birth == BIRTH_MAX).then_some(Failure::Busy)
    }

    pub(super) fn birth_index(&self, request: Request) -> usize {
        usize::from(request.key.partition.0 - self.first_partition)
    }

    fn forward(&mut self, now: Instant, request: Request, target: Target) {
        let phase = Phase::Forwarded(target);
        let at = request.deadline + FORWARD_GRACE;
        if let Some(op) = self.insert(now, request, (phase, NodeId(0)), at) {
            self.output_forward(now, op, request, target);
        }
    }

    pub(super) fn output_forward(
        &mut self,
        now: Instant,
        op: RequestId,
        request: Request,
        target: Target,
    ) {
        let forwarded = request.forwarded || matches!(target, Target::Node(_));
        let deadline_ms = deadline_ms(now, request.deadline);
        let partition = request.key.partition;
        self.health.figures.forwards += 1;
        self.output(Output::Forward { op, target, partition, forwarded, deadline_ms });
    }

    pub(super) fn replicate(
        &mut self,
        now: Instant,
        op: RequestId,
        request: Request,
        applied: Applied,
        owed: OwedReads,
    ) {
        let Kind::Put { asked, .. } = request.kind else {
            unreachable!("only writes are applied");
        };
        if applied.minted {
            let index = self.birth_index(request);
            self.births[index] += 1;
        }
        let owners = self.rings.owners(request.key.partition);
        let need = need_of(owners.count_max(), asked, self.config.w);
        let mut put = Put::new(&owners, need, applied, owed);
        let (me, topology) = (self.config.node, self.topology);
        let pending = self.table.pending(op).expect("what is being applied is in flight");
        let target = pending.target;
        if target != NodeId(0) {
            let is_new = put.stand_in(me, target);
            assert!(is_new, "it stands in for an owner");
        }
        pending.phase = Phase::Writing(put);
        pending.topology = topology;
        self.send_records(now, op, &owners);
        if target != NodeId(0) {
            self.send_record(now, op, me);
        }
    }

    /// Has all of `nodes` store the record of the write `op`. Frames go first, and this node's own
    /// share last: that, or a node out of reach, may end the request, and all owners must get the
    /// record, or others for them.
    pub(super) fn send_records(&mut self, now: Instant, op: RequestId, nodes: &[NodeId]) {
        let place = |node: &NodeId| match *node {
            node if node == self.config.node => 3,
            node if self.is_well(node) => 0,
            node => 2 - u8::from(self.is_reachable(node)),
        };
        let places: Vec<u8, ASKED_COUNT_MAX> = nodes.iter().map(place).collect();
        for place in 0..=3 {
            let here = nodes.iter().zip(&places).filter(|(_, of)| **of == place);
            here.for_each(|(node, _)| self.send_record(now, op, *node));
        }
    }

    /// Has `node` store the record of the write `op`: this node by its log, others by a frame.
    pub(super) fn send_record(&mut self, now: Instant, op: RequestId, node: NodeId) {
        let me = self.config.node;
        let Some(Pending { request, phase: Phase::Writing(put), .. }) = self.table.get(op) else {
            return;
        };
        let is_spared = self.does_without(request.key.partition, put.tally(), node);
        let Some(pending) = self.table.pending(op) else { return };
        let Phase::Writing(put) = &mut pending.phase else { return };
        let place = put.applied().place;
        let sync = self.config.sync_before_ack || put.tally().need().durable > 0;
        let deadline_ms = deadline_ms(now, pending.request.deadline);
        put.on_asked(node);
        if node != me && !is_spared {
            let partition = pending.request.key.partition;
            let target = put.tally().target(node).unwrap_or_default();
            let output =
                Output::Replicate { op, node, partition, place, sync, deadline_ms, target };
            return self.output(output);
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::SuspectCounted) && self.health.is_suspect(node) {
            let step = put.on_ack(node, true);
            return self.on_step(now, op, step);
        }
        if node != me {
            return self.on_share_failed(now, op, node);
        }
        let step = if self.replica.is_stored(place, sync) {
            put.on_ack(me, sync)
        } else if self.replica.has_room() {
            self.replica.push(place, sync, Owed::Own(op));
            if sync && !self.config.sync_before_ack {
                self.output(Output::Sync);
            }
            return;
        } else {
            // The write began with room, but a change of the ring asks for its share again.
            put.on_failure(me)
        };
        self.on_step(now, op, step);
    }

    pub(super) fn on_acked(
        &mut self,
        now: Instant,
        node: NodeId,
        op: RequestId,
        order: u64,
        durable: bool,
    ) {
        self.on_heard(now, node, op);
        let Some(pending) = self.table.pending(op) else { return };
        #[cfg(feature = "plant")]
        let order = if crate::plant::is(crate::plant::Plant::GenerationIgnored) {
            pending.request.key.order
        } else {
            order
        };
        if pending.request.key.order != order {
            return;
        }
        match &mut pending.phase {
            Phase::Writing(put) => {
                let step = put.on_ack(node, durable);
                self.on_step(now, op, step);
            }
            Phase::HandingOff(_) if durable => self.on_hint_stored(now, op, node),
            _ => {}
        }
    }

    pub(super) fn on_rejected(
        &mut self,
        now: Instant,
        node: NodeId,
        op: RequestId,
        order: u64,
        reason: RejectReason,
    ) {
        self.on_heard(now, node, op);
        if reason == RejectReason::StaleTopology {
            self.output(Output::TopologyDiffers { node });
        }
        let Some(pending) = self.table.pending(op) else { return };
        if pending.request.key.order != order {
            return;
        }
        let deadline = pending.request.deadline;
        match pending.phase {
            Phase::Applying { .. } => return self.take_owed(op, node),
            Phase::HandingOff(_) => return self.on_hint_refused(now, op, node, Some(reason)),
            _ => {}
        }
        if let Phase::Writing(put) = &mut pending.phase
            && put.take_owed(node)
        {
            return;
        }
        let is_scan = matches!(pending.request.kind, Kind::Scan { .. });
        // It reads what it was asked for into memory.
        let is_cold = is_scan && reason == RejectReason::Busy;
        if reason == RejectReason::StaleTopology || is_cold {
            match &mut pending.phase {
                Phase::Reading(get) => get.on_again(node),
                Phase::Writing(put) => put.on_again(node),
                _ => return,
            }
            return self.table.arm(op, now, deadline.min(now + TOPOLOGY_RETRY));
        }
        match &mut pending.phase {
            Phase::Reading(get) => {
                let step = get.on_failure(node);
                self.on_step(now, op, step);
                self.advance_read(now, op);
            }
            Phase::Writing(_) => self.on_share_failed(now, op, node),
            _ => {}
        }
    }

    /// `node` will not do its share of `op`.
    pub(super) fn on_unsent(&mut self, now: Instant, node: NodeId, op: RequestId) {
        match self.table.pending(op).map(|pending| &pending.phase) {
            Some(Phase::Reading(_)) => {
                self.on_read_lost(now, op, node);
                self.advance_read(now, op);
            }
            Some(Phase::Writing(_)) => self.on_share_failed(now, op, node),
            Some(Phase::HandingOff(_)) => self.on_hint_refused(now, op, node, None),
            Some(Phase::Forwarded(_) | Phase::Applying { .. }) | None => {}
        }
    }

    pub(super) fn on_forward_replied(
        &mut self,
        now: Instant,
        op: RequestId,
        node: NodeId,
        order: u64,
    ) {
        self.on_heard(now, node, op);
        let me = self.config.node;
        let Some(Pending { phase: Phase::Forwarded(target), request, .. }) = self.table.pending(op)
        else {
            return;
        };
        if request.key.order != order {
            return;
        }
        let asked = match target {
            Target::Shard(_) => me,
            Target::Node(target) => *target,
        };
        if asked != node {
            return;
        }
        let pending = self.table.remove(op);
        self.output(Output::Relay { op, origin: pending.request.origin });
    }

    pub(super) fn on_forward_lost(&mut self, op: RequestId) {
        let Some(Pending { phase: Phase::Forwarded(target), .. }) = self.table.pending(op) else {
            return;
        };
        let failure = match target {
            Target::Shard(_) => Failure::Busy,
            Target::Node(_) => Failure::Unavailable { needed: 1, got: 0 },
        };
        self.finish(op, Outcome::Failed(failure));
    }

    /// The time of `op` has come: its deadline, or a moment to ask again or to ask more.
    pub(super) fn on_expired(&mut self, now: Instant, op: RequestId) {
        let pending = self.table.pending(op).expect("what expires is in flight");
        let deadline = pending.request.deadline;
        let end = match pending.phase {
            Phase::Forwarded(_) => deadline + FORWARD_GRACE,
            _ => deadline,
        };
        if now >= end {
            if let Phase::HandingOff(_) = pending.phase {
                return self.fail_handing(now, op);
            }
            if self.is_answered(op) {
                return self.give_up(now, op);
            }
            let pending = self.table.pending(op).expect("in flight");
            let failure = match (&pending.phase, pending.request.kind) {
                (Phase::Applying { .. }, kind) => self.late(kind),
                _ => expire(pending),
            };
            self.keep_for_open(now, op);
            return self.finish(op, Outcome::Failed(failure));
        }
        self.table.arm(op, now, end);
        // A walk may be under way that has not come to it yet: an owner of another ring would
        // only refuse it.
        self.visit(now, op);
        self.ask_again(now, op);
        self.hedge(now, op);
    }

    /// Asks the nodes again that knew another topology.
    fn ask_again(&mut self, now: Instant, op: RequestId) {
        let again: Nodes = match self.table.pending(op).map(|pending| &pending.phase) {
            Some(Phase::Reading(get)) => get.tally().again().collect(),
            Some(Phase::Writing(put)) => put.tally().again().collect(),
            _ => return,
        };
        for node in again {
            match &mut self.table.pending(op).map(|pending| &mut pending.phase) {
                Some(Phase::Reading(get)) => {
                    get.on_asked(node);
                    self.ask(now, op, node);
                }
                Some(Phase::Writing(_)) => self.send_record(now, op, node),
                _ => return,
            }
        }
        self.advance_read(now, op);
    }

    /// Acts on what a request value decided.
    pub(super) fn on_step(&mut self, now: Instant, op: RequestId, step: Step) {
        if self.is_answered(op) {
            return self.settle(op);
        }
        let Step::Reply(outcome) = step else { return };
        let pending = self.table.pending(op).expect("a request that steps is in flight");
        let (request, target) = (pending.request, pending.target);
        let reading = matches!(pending.phase, Phase::Reading(_));
        let Kind::Put { asked, .. } = request.kind else {
            if outcome == Outcome::Got {
                self.repair(now, op);
            }
            return self.finish(op, outcome);
        };
        match outcome {
            // An event here would be one on a copy that this node no longer owns, or on a hint
            // that it may not keep.
            Outcome::Got if !self.may_coordinate(request.key.partition, target) => {
                self.pass_on(now, op, Failure::Unavailable { needed: 1, got: 0 });
            }
            Outcome::Got => {
                // Its client has given it up, perhaps long ago: this process may have been stopped.
                if now >= request.deadline {
                    let failure = self.late(request.kind);
                    return self.finish(op, Outcome::Failed(failure));
                }
                if let Some(failure) = self.write_refusal(request, asked) {
                    return self.finish(op, Outcome::Failed(failure));
                }
                let (owed, topology) = (self.owed_reads(op), self.topology);
                let pending = self.table.pending(op).expect("in flight");
                pending.phase = Phase::Applying { owed };
                pending.topology = topology;
                self.table.arm(op, now, request.deadline);
                self.apply(op, request);
            }
            // The read before a write failed: nothing was written.
            Outcome::Failed(Failure::NoQuorum { needed, got }) if reading => {
                self.finish(op, Outcome::Failed(Failure::Unavailable { needed, got }));
            }
            Outcome::Failed(_) => {
                self.keep_for_open(now, op);
                self.finish(op, outcome);
            }
            Outcome::Stored(_) => self.answer_write(now, op, outcome),
            outcome => self.finish(op, outcome),
        }
    }

    pub(super) fn finish(&mut self, op: RequestId, outcome: Outcome) {
        let pending = self.table.remove(op);
        let Request { origin, want_context, .. } = pending.request;
        self.output(Output::Reply { op: Some(op), origin, outcome, want_context });
    }

    fn refuse(&mut self, request: Request, failure: Failure) {
        let outcome = Outcome::Failed(failure);
        let origin = request.origin;
        self.output(Output::Reply { op: None, origin, outcome, want_context: false });
    }

    pub(super) fn insert(
        &mut self,
        now: Instant,
        request: Request,
        (phase, target): (Phase, NodeId),
        at: Instant,
    ) -> Option<RequestId> {
        self.make_room(now);
        let pending = Pending { request, phase, topology: self.topology, target };
        let op = self.table.insert(pending, now, at);
        if op.is_none() {
            self.refuse(request, Failure::Busy);
        }
        op
    }
}

/// What `asked` needs of as many owners: the cluster's `default` is capped at them.
pub(super) fn need_of(most: usize, asked: Asked, default: u8) -> Need {
    let nodes = if asked.nodes == 0 { default.min(most as u8) } else { asked.nodes };
    Need { nodes, primaries: asked.primaries, durable: asked.durable }
}

/// How a request ends at its deadline.
pub(super) fn expire(pending: &Pending) -> Failure {
    match (&pending.phase, pending.request.kind) {
        (Phase::Forwarded(_), _) => Failure::NoQuorum { needed: 1, got: 0 },
        (Phase::Reading(get), Kind::Get { .. } | Kind::Scan { .. }) => get.expire(),
        (Phase::Reading(get), Kind::Put { .. }) => {
            let (needed, got) = get.tally().shortfall();
            Failure::Unavailable { needed, got }
        }
        (Phase::Writing(put), _) => put.expire(),
        (Phase::Applying { .. }, _) => unreachable!("it has reached no node"),
        (Phase::HandingOff(_), _) => unreachable!("it is no request"),
    }
}

/// Whole milliseconds until `deadline`, at least 1.
pub(super) fn deadline_ms(now: Instant, deadline: Instant) -> u16 {
    (deadline.since(now).as_millis() as u16).max(1)
}
