//! Writes up to their append: applied at once, or when a cold record was read.

use super::coordinate::{Nodes, need_of};
use super::{Output, Shard};
use crate::id::{NodeId, RequestId};
use crate::limits::FORWARD_GRACE;
use crate::records::{Applied, Refusal, Unread};
use crate::request::{Failure, Kind, Outcome, OwedReads, Request, Target};
use crate::request::{Pending, Phase};
use crate::time::Instant;

impl Shard<'_> {
    /// Begins a write as an owner, or standing in for the owner `target`.
    pub(super) fn start_write(&mut self, now: Instant, request: Request, target: NodeId) {
        let phase = (Phase::Applying { owed: OwedReads::default() }, target);
        if let Some(op) = self.insert(now, request, phase, request.deadline) {
            self.apply(op, request);
        }
    }

    /// Has the write `op` applied. Its birth is the next one now: what was offered to an earlier
    /// attempt may have been used since, and a dot must name one write.
    pub(super) fn apply(&mut self, op: RequestId, request: Request) {
        let birth = self.births[self.birth_index(request)] + 1;
        let gathered = matches!(request.kind, Kind::Put { read: Some(_), .. });
        let target = self.stands_for(op);
        self.output(Output::Apply { op, birth, gathered, target });
    }

    pub(super) fn on_applied(
        &mut self,
        now: Instant,
        op: RequestId,
        result: Result<Applied, Refusal>,
    ) {
        let pending = self.table.pending(op).expect("what is being applied is in flight");
        let Phase::Applying { owed } = pending.phase else { panic!("it is being applied") };
        let (request, target) = (pending.request, pending.target);
        match result {
            Ok(applied) => {
                if target != NodeId(0) {
                    self.learn_hint(now, target);
                }
                self.replicate(now, op, request, applied, owed);
            }
            // Never an event on a record that cannot be read (riak_kv #679).
            Err(Refusal::Unread(Unread::Damaged)) => self.pass_on(now, op, Failure::Damaged),
            Err(refusal) => self.finish(op, Outcome::Failed(refusal.into())),
        }
    }

    pub(super) fn on_condition_failed(&mut self, op: RequestId) {
        let pending = self.table.pending(op).expect("what is being applied is in flight");
        assert!(matches!(pending.phase, Phase::Applying { .. }));
        self.finish(op, Outcome::ConditionFailed);
    }

    /// The cold record that the write `op` met was read: whatever forbids a write is asked again.
    pub(super) fn on_fetched(&mut self, now: Instant, op: RequestId) {
        let Some(Pending { request, phase: Phase::Applying { .. }, .. }) = self.table.pending(op)
        else {
            return;
        };
        let request = *request;
        let Kind::Put { asked, .. } = request.kind else {
            unreachable!("only writes are applied");
        };
        if now >= request.deadline {
            let failure = self.late(request.kind);
            return self.finish(op, Outcome::Failed(failure));
        }
        self.update_owed(op);
        if !self.may_coordinate(request.key.partition, self.stands_for(op)) {
            return self.pass_on(now, op, Failure::Unavailable { needed: 1, got: 0 });
        }
        match self.write_refusal(request, asked) {
            Some(failure) => self.finish(op, Outcome::Failed(failure)),
            None => self.apply(op, request),
        }
    }

    /// Leaves the write `op`, of which nothing was stored, to another owner; `failure` if it was
    /// forwarded already or none can be reached.
    pub(super) fn pass_on(&mut self, now: Instant, op: RequestId, failure: Failure) {
        let me = self.config.node;
        let request = self.table.pending(op).expect("in flight").request;
        let coordinators = self.rings.coordinators(request.key.partition);
        let others: Nodes = coordinators.iter().copied().filter(|node| *node != me).collect();
        let other = self.first_near(&others);
        let Some(other) = other.filter(|_| !request.forwarded) else {
            return self.finish(op, Outcome::Failed(failure));
        };
        let target = Target::Node(other);
        let pending = self.table.pending(op).expect("in flight");
        (pending.phase, pending.target) = (Phase::Forwarded(target), NodeId(0));
        self.table.arm(op, now, request.deadline + FORWARD_GRACE);
        self.output_forward(now, op, request, target);
    }

    /// The nodes that still owe an answer to the read `op`.
    pub(super) fn owed_reads(&mut self, op: RequestId) -> OwedReads {
        match self.table.pending(op).map(|pending| &pending.phase) {
            Some(Phase::Reading(get)) => OwedReads::by(get.tally().waited()),
            _ => OwedReads::default(),
        }
    }

    /// `node` has answered the read before the write `op`, which is not applied yet.
    pub(super) fn take_owed(&mut self, op: RequestId, node: NodeId) {
        self.update_owed(op);
        if let Some(Pending { phase: Phase::Applying { owed }, .. }) = self.table.pending(op) {
            owed.take(node);
        }
    }

    /// Forgets which answers the read before the write `op` is owed where they will not come, or
    /// where they were counted on another ring.
    pub(super) fn update_owed(&mut self, op: RequestId) {
        let topology = self.topology;
        let Some(pending) = self.table.pending(op) else { return };
        let Phase::Applying { owed } = &mut pending.phase else { return };
        if pending.topology != topology {
            *owed = OwedReads::default();
            pending.topology = topology;
        }
        owed.retain(|node| self.reachable.binary_search(&node).is_ok());
    }

    /// How a request ends whose deadline passed before it reached any node.
    pub(crate) fn late(&self, kind: Kind) -> Failure {
        let most = self.rings.replica_count_max();
        match kind {
            Kind::Get { asked, .. } | Kind::Scan { asked } => {
                let need = need_of(most, asked, self.config.r);
                Failure::NoQuorum { needed: need.nodes.max(need.primaries), got: 0 }
            }
            Kind::Put { asked, .. } => {
                let need = need_of(most, asked, self.config.w);
                let needed = need.nodes.max(need.primaries).max(need.durable);
                Failure::Unavailable { needed, got: 0 }
            }
        }
    }

    /// When the write `op`, which is being applied, ends at the latest.
    pub(crate) fn apply_deadline(&mut self, op: RequestId) -> Instant {
        self.table.pending(op).expect("what is being applied is in flight").request.deadline
    }
}
