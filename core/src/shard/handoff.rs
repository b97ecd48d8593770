//! What is kept for other nodes, on its way to them (Dynamo §4.6). Its pace is decided by
//! [`handoff`](crate::handoff).
//!
//! A hint goes to the owner for which it is kept; if that owns the key no longer, or will not, to
//! all that do or will: others may have taken over from that owner already. What this node had of a
//! partition that it does not own any more is kept for itself, hence goes to all that do.
//! It is dropped once each of them has it on disk, on the topology on which it was sent. While it
//! is in flight it has a slot of the table, as a request of nobody's.

use super::coordinate::Nodes;
use super::message::{FoundHint, Sought};
use super::{Output, Shard};
use crate::handoff::{Delivery, Handing};
use crate::health::Health;
use crate::id::{NodeId, Partition, RequestId};
use crate::limits::{HANDOFF_PAUSE_MIN, HANDOFF_TIMEOUT};
use crate::replica::Owed;
use crate::request::{Asked, KeyPlace, Kind, Origin, Pending, Phase, Request};
use crate::ring::Rings;
use crate::time::Instant;
use crate::wire::peer::RejectReason;

/// Slots of the table for each that hints in flight may have; one they always may.
const SLOTS_PER_HINT: usize = 4;

impl Shard<'_> {
    /// The nodes for which hints are kept, as far as this shard knows, and what is being done.
    pub fn hint_targets(&self) -> impl Iterator<Item = (NodeId, Delivery)> + use<'_> {
        self.handoff.targets()
    }

    /// Something is kept for `target`; the driver knows, or its record is in memory by now.
    pub(super) fn on_hinted(&mut self, at: Instant, target: NodeId) {
        assert!(target != NodeId(0));
        self.handoff.learn(target, at);
    }

    /// Something is being kept for `target`, which did not take it just now: it has a moment.
    pub(super) fn learn_hint(&mut self, now: Instant, target: NodeId) {
        self.on_hinted(now + HANDOFF_PAUSE_MIN, target);
    }

    /// When [`Shard::hand_off`] has something to do, if nothing else happens before.
    pub(super) fn next_handoff(&self) -> Option<Instant> {
        let is_near = |node| self.is_near(node);
        if self.may_hand_off() { self.handoff.next(is_near) } else { None }
    }

    /// Looks for one hint that can be handed off, if there is any.
    pub(super) fn hand_off(&mut self, now: Instant) {
        if !self.may_hand_off() {
            return;
        }
        let Shard { handoff, rings, reachable, health, config, .. } = self;
        let is_near = |node| node == config.node || is_near(rings, reachable, health, node);
        let Some((target, after)) = handoff.seek(now, is_near) else { return };
        let deadline = now + HANDOFF_TIMEOUT;
        let pending = Pending {
            request: Request { deadline, ..NOBODYS },
            phase: Phase::HandingOff(Handing::default()),
            topology: self.topology,
            target,
        };
        let op = self.table.insert(pending, now, deadline).expect("one is free");
        self.output(Output::SeekHint { op, target, after });
    }

    pub(super) fn on_sought(&mut self, now: Instant, op: RequestId, result: Sought) {
        let Some(pending) = self.table.pending(op) else { return };
        let (Phase::HandingOff(_), target) = (&pending.phase, pending.target) else { return };
        match result {
            Sought::Found(hint) => return self.send_hint(now, op, target, hint),
            Sought::Passed { place } => self.handoff.on_passed(target, place),
            Sought::Cold { place } => self.handoff.on_cold(now, target, place),
            Sought::Refused => self.handoff.on_failed(now, target),
            Sought::Nothing => self.handoff.on_end(now, target),
        }
        self.table.remove(op);
    }

    /// Sends a hint to all that are to have it.
    fn send_hint(&mut self, now: Instant, op: RequestId, target: NodeId, hint: FoundHint) {
        let me = self.config.node;
        let FoundHint { place, sends, key, bytes, joined } = hint;
        let KeyPlace { partition, .. } = key;
        let mut owing = self.hint_owners(partition, target);
        if joined && !owing.contains(&me) {
            owing.push(me).expect("a place for each owner and one more");
        }
        let is_own = owing.contains(&me);
        let peers: Nodes = owing.iter().copied().filter(|node| *node != me).collect();
        self.handoff.on_found(now, target, place, u64::from(bytes) * peers.len() as u64);
        self.note_hint(now, partition);
        // Not all owners are in reach: others have it, and this one stays until they are.
        if peers.iter().any(|node| !self.is_well(*node)) {
            self.handoff.on_kept(target);
            self.table.remove(op);
            return;
        }
        let is_stored = self.replica.is_stored(sends, true);
        if is_own && !is_stored && !self.replica.has_room() {
            return self.fail_handing(now, op);
        }
        let pending = self.table.pending(op).expect("in flight");
        pending.request.key = key;
        pending.phase = Phase::HandingOff(Handing::new(place, sends, &owing));
        let deadline_ms = HANDOFF_TIMEOUT.as_millis() as u16;
        for node in peers {
            let (place, sync, target) = (sends, true, NodeId(0));
            self.output(Output::Replicate {
                op,
                node,
                partition,
                place,
                sync,
                deadline_ms,
                target,
            });
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::HintDroppedEarly) {
            self.output(Output::DropHint { target, place, sent: sends });
        }
        if !is_own {
            return;
        }
        if is_stored {
            return self.on_hint_stored(now, op, me);
        }
        self.replica.push(sends, true, Owed::Own(op));
        if !self.config.sync_before_ack {
            self.output(Output::Sync);
        }
    }

    /// Who is to have a hint for `target`: the owner itself, or all if it is none any more, or
    /// will be none.
    fn hint_owners(&self, partition: Partition, target: NodeId) -> Nodes {
        if self.rings.committed().is_owner(partition, target) {
            return Nodes::from_iter([target]);
        }
        self.rings.owners(partition).iter().copied().collect()
    }

    /// `node` has the hint `op` on disk.
    pub(super) fn on_hint_stored(&mut self, now: Instant, op: RequestId, node: NodeId) {
        let topology = self.topology;
        let Some(pending) = self.table.pending(op) else { return };
        let Phase::HandingOff(handing) = &mut pending.phase else { return };
        // Others may be the owners by now.
        if pending.topology != topology {
            return self.fail_handing(now, op);
        }
        if !handing.on_ack(node) {
            return;
        }
        let (Handing { place, sent, .. }, target) = (*handing, pending.target);
        self.table.remove(op);
        self.handoff.on_delivered(target);
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::HintDroppedEarly) {
            return;
        }
        self.output(Output::DropHint { target, place, sent });
    }

    /// `node` does not take the hint `op`; why, if it has said so. What is wrong with the record
    /// there or here holds no others back: it stays where it is in this pass.
    pub(super) fn on_hint_refused(
        &mut self,
        now: Instant,
        op: RequestId,
        node: NodeId,
        reason: Option<RejectReason>,
    ) {
        use RejectReason::{Damaged, Malformed, TooLarge};
        let Some(pending) = self.table.pending(op) else { return };
        let Phase::HandingOff(handing) = &pending.phase else { return };
        if !handing.owing().any(|owing| owing == node) {
            return;
        }
        match reason {
            Some(Damaged | Malformed | TooLarge) => {
                let pending = self.table.remove(op);
                self.handoff.on_kept(pending.target);
            }
            _ => self.fail_handing(now, op),
        }
    }

    /// The hint `op` was not taken: it stays.
    pub(super) fn fail_handing(&mut self, now: Instant, op: RequestId) {
        let pending = self.table.remove(op);
        assert!(matches!(pending.phase, Phase::HandingOff(_)));
        self.handoff.on_failed(now, pending.target);
    }

    /// Fails the hint `op` if the ring has changed, or one that should have it is out of reach.
    pub(super) fn visit_handing(&mut self, now: Instant, op: RequestId, handing: Handing) {
        let is_old = self.table.pending(op).is_some_and(|at| at.topology != self.topology);
        if is_old || handing.owing().any(|node| !self.is_well(node)) {
            self.fail_handing(now, op);
        }
    }

    fn is_near(&self, target: NodeId) -> bool {
        // What this node had of partitions that it gave up is kept for all who own them.
        target == self.config.node || is_near(&self.rings, &self.reachable, &self.health, target)
    }

    /// Whether hints may be sent now: this node may write and be written to, and clients have room.
    fn may_hand_off(&self) -> bool {
        let slots = self.table.capacity();
        let used = self.table.count() - self.table.answered_count();
        !self.is_stopping
            && !self.read_only
            && self.rings.contains(self.config.node)
            && (self.handoff.in_flight() + 1) * SLOTS_PER_HINT <= slots.max(SLOTS_PER_HINT)
            && 2 * (slots - used) >= slots
            && self.table.count() < slots
    }
}

/// Whether hints for `target` can go: it is in reach and well, or left the cluster and others own
/// what it did. (A member that is away may have lost some of its keys to others; they wait with the
/// rest.)
fn is_near(rings: &Rings<'_>, reachable: &[NodeId], health: &Health, target: NodeId) -> bool {
    let is_well = reachable.binary_search(&target).is_ok() && !health.is_suspect(target);
    is_well || !rings.contains(target)
}

/// What stands in the slot of a hint: it is nobody's request, and is never answered.
const NOBODYS: Request = Request {
    origin: Origin::Session(0),
    key: KeyPlace { partition: Partition(0), order: 0 },
    kind: Kind::Get { asked: Asked { nodes: 0, primaries: 0, durable: 0 }, cover: false },
    deadline: Instant(0),
    forwarded: false,
    want_context: false,
};
