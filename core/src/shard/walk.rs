//! The replica's part, and what concerns many requests at once and is walked in bounded steps.

use super::coordinate::{Nodes, need_of};
use super::message::DataFrame;
use super::{Output, Shard};
use crate::id::{NodeId, RequestId, TopologyId};
use crate::records::{Joined, Place, Refusal, Unread};
use crate::replica::Owed;
use crate::request::{Failure, Kind, Link, Outcome, Pending, Phase, Request, Step, Target};
use crate::ring::Rings;
use crate::time::Instant;
use crate::wire::peer::RejectReason;

/// Slots that one step of a walk visits.
const VISIT_COUNT: usize = 256;

impl Shard<'_> {
    pub(super) fn on_replicate(&mut self, now: Instant, frame: DataFrame) {
        self.on_heard(now, frame.node, RequestId::NONE);
        let is_right = match frame.target {
            NodeId(0) => self.owns(frame.key.partition),
            target => self.may_keep(frame.key.partition, target),
        };
        let refusal =
            self.refusal(frame, is_right).or(if self.is_stopping || !self.replica.has_room() {
                Some(RejectReason::Busy)
            } else if self.read_only {
                Some(RejectReason::ReadOnly)
            } else {
                None
            });
        let DataFrame { link, node, request, key, sync, .. } = frame;
        if let Some(reason) = refusal {
            return self.reject(frame, reason);
        }
        if frame.target != NodeId(0) {
            self.learn_hint(now, frame.target);
            self.note_hint(now, frame.key.partition);
        }
        self.output(Output::Join { link, node, request, order: key.order, sync });
    }

    pub(super) fn on_read(&mut self, now: Instant, frame: DataFrame) {
        self.on_heard(now, frame.node, RequestId::NONE);
        let DataFrame { link, request, key, .. } = frame;
        let is_right = match frame.target {
            NodeId(0) => self.owns(frame.key.partition),
            target => self.may_keep(frame.key.partition, target),
        };
        match self.refusal(frame, is_right) {
            Some(reason) => self.reject(frame, reason),
            None => self.output(Output::Serve { link, request, order: key.order }),
        }
    }

    /// A frame of a coordinator on another topology, or that should not have come here.
    fn refusal(&self, frame: DataFrame, is_right: bool) -> Option<RejectReason> {
        let is_stale = frame.topology != self.topology;
        #[cfg(feature = "plant")]
        let is_stale = is_stale && !crate::plant::is(crate::plant::Plant::StaleTopologyAccepted);
        if is_stale {
            return Some(RejectReason::StaleTopology);
        }
        (!is_right).then_some(RejectReason::NotOwner)
    }

    fn reject(&mut self, frame: DataFrame, reason: RejectReason) {
        let DataFrame { link, node, request, key, .. } = frame;
        self.output(Output::Reject { link, request, order: key.order, reason });
        if reason == RejectReason::StaleTopology {
            self.output(Output::TopologyDiffers { node });
        }
    }

    pub(super) fn on_joined(
        &mut self,
        link: Link,
        request: u32,
        order: u64,
        sync: bool,
        result: Result<Joined, Refusal>,
    ) {
        let joined = match result {
            Ok(joined) => joined,
            Err(refusal) => {
                let reason = reason(refusal);
                return self.output(Output::Reject { link, request, order, reason });
            }
        };
        if joined.lost_mine == Some(self.config.boot) {
            self.output(Output::LostOwnEvents);
        }
        let sync = sync || self.config.sync_before_ack;
        if self.replica.is_stored(joined.place, sync) {
            return self.output(Output::Ack { link, request, order, durable: sync });
        }
        self.replica.push(joined.place, sync, Owed::Peer { link, request, order });
        if sync && !self.config.sync_before_ack {
            self.output(Output::Sync);
        }
    }

    pub(super) fn on_stored(&mut self, now: Instant, written: Place, synced: Place) {
        self.replica.on_stored(written, synced);
        self.release_acks(now);
    }

    pub(super) fn on_log_failed(&mut self, now: Instant) {
        self.read_only = true;
        self.hold_exchanges(now);
        self.release_acks(now);
    }

    /// Sends the acknowledgments that may leave, as many as there is room for; after a failure
    /// of the log the others are taken back.
    pub(super) fn release_acks(&mut self, now: Instant) {
        while self.has_room() {
            if let Some((owed, durable)) = self.replica.pop() {
                match owed {
                    Owed::Own(op) => self.on_own_share(now, op, Some(durable)),
                    Owed::Warm(topology) if topology == self.topology => self.on_warm_synced(),
                    Owed::Warm(_) => {}
                    Owed::Peer { link, request, order } => {
                        self.output(Output::Ack { link, request, order, durable });
                    }
                }
            } else if !self.read_only {
                return;
            } else if let Some(owed) = self.replica.drop_first() {
                match owed {
                    Owed::Own(op) => self.on_own_share(now, op, None),
                    Owed::Warm(_) => {}
                    Owed::Peer { link, request, order } => {
                        let reason = RejectReason::ReadOnly;
                        self.output(Output::Reject { link, request, order, reason });
                    }
                }
            } else {
                return;
            }
        }
    }

    /// This node's own share of the write `op` is stored, durable or not, or never will be.
    fn on_own_share(&mut self, now: Instant, op: RequestId, durable: Option<bool>) {
        let me = self.config.node;
        let put = match self.table.pending(op).map(|pending| &mut pending.phase) {
            Some(Phase::Writing(put)) => put,
            Some(Phase::HandingOff(_)) if durable == Some(true) => {
                return self.on_hint_stored(now, op, me);
            }
            Some(Phase::HandingOff(_)) => return self.fail_handing(now, op),
            _ => return,
        };
        let step = match durable {
            Some(durable) => put.on_ack(me, durable),
            None => put.on_failure(me),
        };
        self.on_step(now, op, step);
    }

    pub(super) fn on_peer_up(&mut self, now: Instant, node: NodeId) {
        assert!(node != self.config.node);
        if self.is_reachable(node) || self.returning.contains(&node) {
            return;
        }
        self.handoff.on_reachable(now, node);
        self.exchanges.on_peer_up(now, node);
        self.health.on_links_changed(node);
        if self.walk.is_some() {
            self.returning.push(node).expect("no more peers than members");
        } else {
            self.add_reachable(node);
        }
    }

    pub(super) fn on_peer_down(&mut self, now: Instant, node: NodeId) {
        assert!(node != self.config.node);
        if let Ok(index) = self.reachable.binary_search(&node) {
            self.reachable.remove(index);
        }
        self.forget_version(node);
        self.health.on_links_changed(node);
        self.returning.retain(|returning| *returning != node);
        self.exchanges.on_peer_down(now, node);
        self.walk = Some(0);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn on_rings(&mut self, now: Instant, rings: &Rings<'_>, topology: TopologyId) {
        self.rings.copy_from(rings);
        self.topology = topology;
        let last = self.first_partition + (self.births.len() - 1) as u16;
        let partitions = self.first_partition..=last;
        self.exchanges.on_rings(now, &self.rings, self.config.node, partitions);
        self.surveys.on_rings(now);
        self.begin_warming();
        self.walk = Some(0);
    }

    fn add_reachable(&mut self, node: NodeId) {
        if let Err(index) = self.reachable.binary_search(&node) {
            self.reachable.insert(index, node).expect("no more peers than members");
        }
    }

    /// Visits some slots: moves requests to the current ring, and fails what waits for peers that
    /// are gone.
    pub(super) fn walk(&mut self, now: Instant) {
        let Some(start) = self.walk else { return };
        let end = self.table.capacity().min(start + VISIT_COUNT);
        for index in start..end {
            if !self.has_room() {
                self.walk = Some(index);
                return;
            }
            if let Some(op) = self.table.at(index) {
                self.visit(now, op);
            }
        }
        self.walk = (end < self.table.capacity()).then_some(end);
        if self.walk.is_none() {
            while let Some(node) = self.returning.pop() {
                self.add_reachable(node);
            }
        }
    }

    pub(super) fn visit(&mut self, now: Instant, op: RequestId) {
        let phase = self.table.pending(op).expect("only what is in flight is visited").phase;
        match phase {
            Phase::Forwarded(Target::Node(node)) if !self.is_reachable(node) => {
                let failure = Failure::NoQuorum { needed: 1, got: 0 };
                self.finish(op, Outcome::Failed(failure));
            }
            Phase::Reading(_) => {
                self.move_read(now, op);
                self.fail_lost(now, op);
                self.advance_read(now, op);
            }
            Phase::Writing(_) => {
                self.move_write(now, op);
                self.fail_lost(now, op);
            }
            Phase::HandingOff(handing) => self.visit_handing(now, op, handing),
            Phase::Applying { .. } => self.update_owed(op),
            Phase::Forwarded(_) => {}
        }
    }

    fn move_read(&mut self, now: Instant, op: RequestId) {
        let topology = self.topology;
        let Some(pending) = self.table.pending(op) else { return };
        let request = pending.request;
        if pending.topology == topology {
            return;
        }
        let target = pending.target;
        if target != NodeId(0) && !self.may_keep(request.key.partition, target) {
            return self.end_stand_in(now, op);
        }
        let owners = self.read_order(request);
        let (Kind::Get { asked, .. } | Kind::Scan { asked } | Kind::Put { read: Some(asked), .. }) =
            request.kind
        else {
            unreachable!("it reads");
        };
        let need = need_of(owners.count_max(), asked, self.config.r);
        let Shard { table, rings, .. } = self;
        let pending = table.pending(op).expect("in flight");
        pending.topology = topology;
        let Phase::Reading(get) = &mut pending.phase else { return };
        let step = get.move_to(&owners, need, |node| rings.contains(node));
        let step = self.checked_step(request, step);
        self.on_step(now, op, step);
    }

    fn move_write(&mut self, now: Instant, op: RequestId) {
        let topology = self.topology;
        let Some(pending) = self.table.pending(op) else { return };
        let request = pending.request;
        if pending.topology == topology {
            return;
        }
        let target = pending.target;
        if target != NodeId(0) && !self.may_keep(request.key.partition, target) {
            return self.end_stand_in(now, op);
        }
        let owners = self.rings.owners(request.key.partition);
        let Kind::Put { asked, .. } = request.kind else { unreachable!("it writes") };
        let need = need_of(owners.count_max(), asked, self.config.w);
        let Shard { table, rings, .. } = self;
        let pending = table.pending(op).expect("in flight");
        pending.topology = topology;
        let Phase::Writing(put) = &mut pending.phase else { return };
        let step = put.move_to(&owners, need, |node| rings.contains(node));
        let unasked: Nodes = put.tally().unasked().collect();
        let step = self.checked_step(request, step);
        self.on_step(now, op, step);
        self.send_records(now, op, &unasked);
    }

    /// `step`, unless the request asked for more than the owners that there are to be from now on.
    fn checked_step(&self, request: Request, step: Step) -> Step {
        // Without a change the tally itself asks for all.
        match self.check_need(request.kind) {
            Ok(()) => step,
            Err(_) if !self.rings.is_moving() => step,
            Err(Failure::Unavailable { needed, got }) => {
                Step::Reply(Outcome::Failed(Failure::NoQuorum { needed, got }))
            }
            Err(failure) => Step::Reply(Outcome::Failed(failure)),
        }
    }

    /// Fails every node that `op` waits for and that cannot be reached, or is suspect and can be
    /// done without.
    fn fail_lost(&mut self, now: Instant, op: RequestId) {
        let waited: Nodes = match self.table.pending(op).map(|pending| &pending.phase) {
            Some(Phase::Reading(get)) => get.tally().waited().collect(),
            Some(Phase::Writing(put)) => put.tally().waited().collect(),
            _ => return,
        };
        for node in waited {
            if self.is_well(node) {
                continue;
            }
            let Some(Pending { request, phase, .. }) = self.table.get(op) else { return };
            let partition = request.key.partition;
            match phase {
                Phase::Reading(get) if self.reads_past(request, get.tally(), node) => {
                    self.on_read_lost(now, op, node);
                }
                Phase::Writing(put) if self.does_without(partition, put.tally(), node) => {
                    self.on_share_failed(now, op, node);
                }
                Phase::Reading(_) | Phase::Writing(_) => {}
                _ => return,
            }
        }
    }
}

fn reason(refusal: Refusal) -> RejectReason {
    use crate::records::Full;
    match refusal {
        Refusal::Unread(Unread::Damaged) => RejectReason::Damaged,
        Refusal::Full(Full::NoSpace) => RejectReason::NoSpace,
        Refusal::Full(Full::ReadOnly) => RejectReason::ReadOnly,
        Refusal::Unread(Unread::Cold) | Refusal::Full(Full::Busy) => RejectReason::Busy,
        Refusal::TooLarge => RejectReason::TooLarge,
        Refusal::Siblings => unreachable!("joins are never refused for siblings"),
    }
}
