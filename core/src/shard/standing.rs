//! Owners that are away (sloppy quorum, Dynamo §4.6): who coordinates and who answers in their
//! stead, and what is kept for them.
//!
//! A write is to be stored N times, also while an owner is away: the first fallback in reach keeps
//! a hint for it, which counts to W and not to PW; a read asks that fallback for the hint. One
//! stands in for each owner. Where none is left, or that one fails, too, a coordinator that owns
//! the key keeps in mind, uncounted, that the owner lacks what it has itself.

use super::coordinate::{Nodes, expire};
use super::{Output, Shard};
use crate::id::{NodeId, Partition, RequestId};
use crate::quorum::Tally;
use crate::request::{KeyPlace, Kind, Outcome, Pending, Phase, Put, Request};
use crate::time::Instant;

/// What a node does with a request of a partition that its shard holds.
pub(super) enum Role {
    /// Coordinates it: as an owner (0), or standing in for `target`.
    Coordinate { target: NodeId },
    /// Hands it on.
    Forward(NodeId),
    /// Refuses it: no owner can be reached, and nobody stands in for one.
    Refuse,
}

impl Shard<'_> {
    /// Who coordinates a request of `partition`: this node if it has its copy, else such an owner
    /// that is well, else the first of those that stand in for these owners. Who got it `forwarded`
    /// by another node does not hand it on.
    ///
    /// # Panics
    /// If this node is no member.
    pub(super) fn role(&self, partition: Partition, forwarded: bool) -> Role {
        assert!(self.rings.contains(self.config.node));
        if self.is_coordinator(partition) {
            return Role::Coordinate { target: NodeId(0) };
        }
        let owners = self.rings.coordinators(partition);
        let away = owners.iter().copied().find(|owner| !self.is_well(*owner));
        // None are left if all members were removed, here and there.
        let Some(target) = away.or(owners.first().copied()) else { return Role::Refuse };
        if forwarded && self.may_keep(partition, target) {
            return Role::Coordinate { target };
        }
        let is_near = |owner: &NodeId| match self.config.keeps_hints {
            true => self.is_well(*owner),
            false => self.is_reachable(*owner),
        };
        let near = owners.iter().copied().filter(is_near);
        if let Some(owner) = self.first_near(&Nodes::from_iter(near)) {
            return if forwarded { Role::Refuse } else { Role::Forward(owner) };
        }
        if !self.config.keeps_hints {
            return Role::Refuse;
        }
        let fallbacks = self.rings.fallbacks(partition);
        match fallbacks.iter().copied().find(|node| self.is_well(*node)) {
            Some(node) if node == self.config.node => Role::Coordinate { target },
            Some(node) if !forwarded => Role::Forward(node),
            _ => Role::Refuse,
        }
    }

    /// For whom the record is kept that this node would work on as the coordinator of a request of
    /// `partition` now; 0 = for itself, or it coordinates none.
    pub(crate) fn would_stand_for(&self, partition: Partition, forwarded: bool) -> NodeId {
        if !self.holds(partition) || !self.rings.contains(self.config.node) {
            return NodeId(0);
        }
        match self.role(partition, forwarded) {
            Role::Coordinate { target } => target,
            Role::Forward(_) | Role::Refuse => NodeId(0),
        }
    }

    /// Whether this node may still coordinate what it began as an owner, or standing in for
    /// `target`: a change of the ring may end that.
    pub(super) fn may_coordinate(&self, partition: Partition, target: NodeId) -> bool {
        match target {
            NodeId(0) => self.is_coordinator(partition),
            target => self.may_keep(partition, target),
        }
    }

    /// Whether this node may keep hints for `target`: it is a member that owns no copy itself.
    pub(super) fn may_keep(&self, partition: Partition, target: NodeId) -> bool {
        let me = self.config.node;
        let is_fallback =
            self.rings.committed().contains(me) && !self.rings.is_owner(partition, me);
        self.config.keeps_hints
            && self.holds(partition)
            && is_fallback
            && self.rings.is_owner(partition, target)
    }

    /// The owner for which this node coordinates `op`; 0 if it is one itself, or `op` is over.
    pub(crate) fn stands_for(&self, op: RequestId) -> NodeId {
        self.table.get(op).map_or(NodeId(0), |pending| pending.target)
    }

    /// The next node that may stand in for `owner`, which cannot do its share of a request. Not
    /// this one: what it has of the request is counted, or is no hint.
    pub(super) fn next_stand_in(
        &self,
        partition: Partition,
        tally: &Tally,
        owner: NodeId,
    ) -> Option<NodeId> {
        let me = self.config.node;
        if owner == me || tally.is_stood_for(owner) || !self.config.keeps_hints {
            return None;
        }
        let is_free =
            |node: &NodeId| *node != me && self.is_well(*node) && tally.index(*node).is_none();
        self.rings.fallbacks(partition).into_iter().find(is_free)
    }

    /// The next node that may answer a read in the stead of `owner`: of a scan nobody, since hints
    /// are found by their keys alone.
    pub(super) fn next_reader(
        &self,
        request: &Request,
        tally: &Tally,
        owner: NodeId,
    ) -> Option<NodeId> {
        match request.kind {
            Kind::Scan { .. } => None,
            _ => self.next_stand_in(request.key.partition, tally, owner),
        }
    }

    /// `node` will not store the record of the write `op`: somebody else stands in for the owner
    /// that it is or stands in for, or this node keeps in mind that the owner lacks it. The second
    /// failure of a node does nothing.
    pub(super) fn on_share_failed(&mut self, now: Instant, op: RequestId, node: NodeId) {
        let Some(Pending { request, phase: Phase::Writing(put), .. }) = self.table.pending(op)
        else {
            return;
        };
        let (key, mut put) = (request.key, *put);
        if !put.tally().is_open_to(node) {
            return;
        }
        let owner = put.tally().target(node).unwrap_or(node);
        let stand_in = self.next_stand_in(key.partition, put.tally(), owner);
        if let Some(stand_in) = stand_in {
            put.stand_in(stand_in, owner);
        }
        let step = put.on_failure(node);
        self.table.pending(op).expect("in flight").phase = Phase::Writing(put);
        // Before the step: it may end the request, and a record must be kept for the owner.
        match stand_in {
            Some(stand_in) => self.send_record(now, op, stand_in),
            None => self.keep_for(now, op, key, (&put, owner)),
        }
        self.on_step(now, op, step);
    }

    /// The write `op` is given up: owners of which nothing is known, or only that others were asked
    /// to stand in for them, may lack it.
    pub(super) fn keep_for_open(&mut self, now: Instant, op: RequestId) {
        let Some(Pending { request, phase: Phase::Writing(put), .. }) = self.table.pending(op)
        else {
            return;
        };
        let (key, put) = (request.key, *put);
        for node in put.tally().open() {
            let owner = put.tally().target(node).unwrap_or(node);
            self.keep_for(now, op, key, (&put, owner));
        }
    }

    /// Keeps in mind that `owner` lacks the record of a write, unless it has it after all.
    fn keep_for(
        &mut self,
        now: Instant,
        op: RequestId,
        key: KeyPlace,
        (put, owner): (&Put, NodeId),
    ) {
        let is_answered = self.is_answered(op);
        let is_other = owner != self.config.node && self.rings.is_owner(key.partition, owner);
        if self.config.keeps_hints
            && is_other
            && self.owns(key.partition)
            && !self.read_only
            && !put.tally().is_done_by(owner)
        {
            self.health.figures.stragglers += u64::from(is_answered);
            self.output(Output::Keep { place: put.applied().place, key, target: owner });
            self.learn_hint(now, owner);
        }
    }

    /// `node` cannot be reached for the read `op`: another one stands in for it. Not so if it
    /// refuses: what it has and cannot read, nobody has who stands in for it.
    pub(super) fn on_read_lost(&mut self, now: Instant, op: RequestId, node: NodeId) {
        let Some(Pending { request, phase: Phase::Reading(get), .. }) = self.table.pending(op)
        else {
            return;
        };
        let (request, mut get) = (*request, *get);
        let owner = get.tally().target(node).unwrap_or(node);
        if get.tally().is_open_to(node)
            && let Some(stand_in) = self.next_reader(&request, get.tally(), owner)
        {
            get.stand_in(stand_in, owner);
        }
        let step = get.on_failure(node);
        self.table.pending(op).expect("in flight").phase = Phase::Reading(get);
        self.on_step(now, op, step);
    }

    /// The ring has changed under the request `op` so that this node may not stand in any more. A
    /// read, also one before a write, is left to an owner; the outcome of a write is unknown.
    pub(super) fn end_stand_in(&mut self, now: Instant, op: RequestId) {
        if self.is_answered(op) {
            self.table.remove(op);
            return;
        }
        let Some(pending) = self.table.pending(op) else { return };
        let failure = expire(pending);
        match pending.phase {
            Phase::Reading(_) => self.pass_on(now, op, failure),
            _ => self.finish(op, Outcome::Failed(failure)),
        }
    }
}
