//! Writes up to their append: applied at once, or when a cold record was read.

use super::{Output, Shard};
use crate::id::{NodeId, RequestId};
use crate::limits::FORWARD_GRACE;
use crate::records::{Applied, Refusal, Unread};
use crate::request::{Failure, Kind, Outcome, Request, Target};
use crate::request::{Pending, Phase};
use crate::time::Instant;

impl Shard<'_> {
    pub(super) fn start_write(&mut self, now: Instant, request: Request) {
        if let Some(op) = self.insert(now, request, Phase::Applying { owed: 0 }, request.deadline) {
            self.apply(op, request);
        }
    }

    /// Has the write `op` applied. Its birth is the next one now: what was offered to an earlier
    /// attempt may have been used since, and a dot must name one write.
    pub(super) fn apply(&mut self, op: RequestId, request: Request) {
        let birth = self.births[self.birth_index(request)] + 1;
        let gathered = matches!(request.kind, Kind::Put { read: Some(_), .. });
        self.output(Output::Apply { op, birth, gathered });
    }

    pub(super) fn on_applied(
        &mut self,
        now: Instant,
        op: RequestId,
        result: Result<Applied, Refusal>,
    ) {
        let pending = self.table.pending(op).expect("what is being applied is in flight");
        let Phase::Applying { owed } = pending.phase else { panic!("it is being applied") };
        let request = pending.request;
        match result {
            Ok(applied) => self.replicate(now, op, request, applied, owed),
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
        if !self.owns(request.key.partition) {
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
        let owners = self.ring.owners(request.key.partition);
        let other = owners.iter().copied().find(|node| *node != me && self.is_reachable(*node));
        let Some(other) = other.filter(|_| !request.forwarded) else {
            return self.finish(op, Outcome::Failed(failure));
        };
        let target = Target::Node(other);
        self.table.pending(op).expect("in flight").phase = Phase::Forwarded(target);
        self.table.arm(op, now, request.deadline + FORWARD_GRACE);
        self.output_forward(now, op, request, target);
    }

    /// The owners that still owe an answer to the read `op`: a bit for each, by position.
    pub(super) fn owed_reads(&mut self, op: RequestId) -> u8 {
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.pending(op)
        else {
            return 0;
        };
        let owners = self.ring.owners(request.key.partition);
        let index = |node: NodeId| owners.iter().position(|owner| *owner == node);
        get.tally().waited().filter_map(index).fold(0, |owed, index| owed | 1 << index)
    }

    /// `node` has answered the read before the write `op`, which is not applied yet.
    pub(super) fn take_owed(&mut self, op: RequestId, node: NodeId) {
        self.update_owed(op);
        let Some(Pending { request, phase: Phase::Applying { owed }, .. }) = self.table.pending(op)
        else {
            return;
        };
        let owners = self.ring.owners(request.key.partition);
        if let Some(index) = owners.iter().position(|owner| *owner == node) {
            *owed &= !(1 << index);
        }
    }

    /// Forgets which answers the read before the write `op` is owed where they will not come, or
    /// where they were counted on another ring.
    pub(super) fn update_owed(&mut self, op: RequestId) {
        let (me, topology) = (self.config.node, self.topology);
        let Some(pending) = self.table.pending(op) else { return };
        let Phase::Applying { owed } = &mut pending.phase else { return };
        if pending.topology != topology {
            *owed = 0;
            pending.topology = topology;
        }
        for (index, owner) in self.ring.owners(pending.request.key.partition).iter().enumerate() {
            if *owner != me && self.reachable.binary_search(owner).is_err() {
                *owed &= !(1 << index);
            }
        }
    }

    /// How a request ends whose deadline passed before it reached any node.
    pub(crate) fn late(&self, kind: Kind) -> Failure {
        match kind {
            Kind::Get { asked, .. } => {
                let need = self.need(asked, self.config.r);
                Failure::NoQuorum { needed: need.nodes.max(need.primaries), got: 0 }
            }
            Kind::Put { asked, .. } => {
                let need = self.need(asked, self.config.w);
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
