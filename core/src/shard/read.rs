//! Reads: GET, and what a write reads first.

use super::coordinate::{deadline_ms, need_of};
use super::{Output, Shard};
use crate::id::{NodeId, RequestId};
use crate::limits::{READ_EXPLORE, TOPOLOGY_RETRY};
use crate::records::Unread;
use crate::request::{Asked, Found, Get, Kind, Pending, Phase, Request};
use crate::ring::{OWNER_COUNT_MAX, Owners};
use crate::time::Instant;
use core::time::Duration;
use heapless::Vec;

impl Shard<'_> {
    /// Begins a read as an owner, or standing in for the owner `target`.
    pub(super) fn start_read(
        &mut self,
        now: Instant,
        request: Request,
        target: NodeId,
        (asked, cover): (Asked, bool),
    ) {
        let owners = self.read_order(request);
        let need = need_of(owners.count_max(), asked, self.config.r);
        let mut get = Get::new(&owners, need, cover);
        if target != NodeId(0) {
            let is_new = get.stand_in(self.config.node, target);
            assert!(is_new, "it stands in for an owner");
        }
        let more = get.tally().unasked().count() > usize::from(need.nodes.max(need.primaries));
        let deadline = request.deadline;
        let Some(op) = self.insert(now, request, (Phase::Reading(get), target), deadline) else {
            return;
        };
        self.advance_read(now, op);
        if !more || !self.is_reading(op) {
            return;
        }
        self.table.arm(op, now, deadline.min(now + self.hedge_delay(op)));
        self.reads = self.reads.wrapping_add(1);
        if self.reads.is_multiple_of(READ_EXPLORE) {
            while self.ask_one_more(now, op) {}
        }
    }

    /// Whether answers to the read `op` still count.
    pub(crate) fn is_reading(&mut self, op: RequestId) -> bool {
        matches!(self.table.pending(op), Some(Pending { phase: Phase::Reading(_), .. }))
    }

    /// The owners in the order in which a read asks them: this node, those that are well, the
    /// quickest first, suspects, the others. While the membership changes those come first of their
    /// kind that count in both topologies. Equals stay in the order of the ring.
    pub(super) fn read_order(&self, request: Request) -> Owners {
        let partition = request.key.partition;
        let Shard { rings, config, .. } = self;
        let counts_once = |node: NodeId| {
            let is_both = |node| {
                rings.settled().is_owner(partition, node)
                    && rings.committed().is_owner(partition, node)
            };
            rings.is_moving() && !is_both(node)
        };
        let rank = |node: NodeId| match node {
            node if node == config.node => (0, false, Duration::ZERO),
            node if self.is_well(node) => (1, counts_once(node), self.health.latency(node)),
            node => (3 - u8::from(self.is_reachable(node)), counts_once(node), Duration::ZERO),
        };
        let mut owners = rings.owners(partition);
        owners.sort_by(rank);
        owners
    }

    /// Asks as many nodes as the read needs now; ends it if it can end.
    pub(super) fn advance_read(&mut self, now: Instant, op: RequestId) {
        loop {
            let Some(Pending { phase: Phase::Reading(get), .. }) = self.table.pending(op) else {
                return;
            };
            let Some(node) = get.next_to_ask() else { return };
            self.ask(now, op, node);
        }
    }

    /// Asks `node` for the record of the read `op`; a node out of reach fails at once, and so does
    /// a suspect for which somebody stands in.
    pub(super) fn ask(&mut self, now: Instant, op: RequestId, node: NodeId) {
        let me = self.config.node;
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.get(op) else {
            return;
        };
        let reachable = !self.reads_past(request, get.tally(), node);
        let Some(pending) = self.table.pending(op) else { return };
        let deadline_ms = deadline_ms(now, pending.request.deadline);
        let partition = pending.request.key.partition;
        let Phase::Reading(get) = &pending.phase else { return };
        let target = get.tally().target(node).unwrap_or_default();
        if node == me {
            self.output(Output::Look { op, target });
        } else if reachable {
            self.output(Output::Ask { op, node, partition, deadline_ms, target });
        } else {
            self.on_read_lost(now, op, node);
        }
    }

    pub(super) fn on_looked(&mut self, now: Instant, op: RequestId, result: Result<Found, Unread>) {
        let me = self.config.node;
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.pending(op)
        else {
            return;
        };
        let step = match result {
            Ok(found) => get.on_answer(me, found),
            // A command waits for its record before it comes here; a scan may meet many.
            Err(Unread::Cold) if matches!(request.kind, Kind::Scan { .. }) => {
                let at = request.deadline.min(now + TOPOLOGY_RETRY);
                get.on_again(me);
                return self.table.arm(op, now, at);
            }
            Err(_) => get.on_failure(me),
        };
        self.on_step(now, op, step);
        self.advance_read(now, op);
    }

    pub(super) fn on_answered(
        &mut self,
        now: Instant,
        node: NodeId,
        op: RequestId,
        order: u64,
        found: Found,
    ) {
        self.on_heard(now, node, op);
        let Some(pending) = self.table.pending(op) else { return };
        if pending.request.key.order != order {
            return;
        }
        let step = match &mut pending.phase {
            Phase::Reading(get) => get.on_answer(node, found),
            Phase::Writing(put) => {
                put.take_owed(node);
                return;
            }
            Phase::Applying { .. } => return self.take_owed(op, node),
            Phase::Forwarded(_) | Phase::HandingOff(_) => return,
        };
        self.on_step(now, op, step);
        self.advance_read(now, op);
    }

    /// Brings the copies up to date of those nodes that answered the read `op` with less than was
    /// gathered (read repair, Dynamo §5), as long as that is within its pace.
    pub(super) fn repair(&mut self, now: Instant, op: RequestId) {
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.pending(op)
        else {
            return;
        };
        let partition = request.key.partition;
        let differing: Vec<(NodeId, u64), OWNER_COUNT_MAX> = get.differing().collect();
        for (node, version) in differing {
            if !self.read_repair.take(now, 1) {
                return;
            }
            self.output(Output::Repair { op, node, version, partition });
        }
    }

    /// Asks one more node although enough are asked, and comes again while more are left.
    pub(super) fn hedge(&mut self, now: Instant, op: RequestId) {
        if !self.ask_one_more(now, op) {
            return;
        }
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.get(op) else {
            return;
        };
        self.health.figures.hedges += 1;
        if get.tally().unasked().next().is_some() {
            let at = request.deadline.min(now + self.hedge_delay(op));
            self.table.arm(op, now, at);
        }
    }

    /// Asks the read `op` of the next node that is well, although enough are asked. Whether there
    /// was one: suspects are asked if they are needed.
    fn ask_one_more(&mut self, now: Instant, op: RequestId) -> bool {
        loop {
            let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.get(op)
            else {
                return false;
            };
            let mut get = *get;
            let Some(node) = get.hedge() else { return false };
            let is_lost = self.reads_past(request, get.tally(), node);
            if !is_lost && !self.is_well(node) {
                return false;
            }
            self.table.pending(op).expect("in flight").phase = Phase::Reading(get);
            self.ask(now, op, node);
            if !is_lost {
                return true;
            }
        }
    }
}
