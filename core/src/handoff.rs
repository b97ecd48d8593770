//! Handing off what is kept for other nodes (Dynamo §4.6): for each of them how far that has come,
//! and when it goes on.
//!
//! The hints for a target are sent in passes, from the oldest on: some at once, and only as fast as
//! is fair to clients. A hint goes when it is acknowledged as durable. One that its target cannot
//! take, as its own copy is damaged, stays and holds no others back. What else fails ends the pass:
//! after a pause, longer each time, the next one begins with the oldest hint again. At the end of a
//! pass the target rests until it is looked at again, so that nothing is forgotten; it is, once a
//! pass finds nothing. The order means nothing: hints are joined where they arrive.
//!
//! Invariant: a pass begins only when nothing of the one before it is in flight.

use crate::id::NodeId;
use crate::limits::{
    HANDOFF_BURST_BYTES, HANDOFF_BYTES_PER_SECOND, HANDOFF_COUNT_MAX, HANDOFF_FETCH_COUNT_MAX,
    HANDOFF_FETCH_PAUSE, HANDOFF_PAUSE_MAX, HANDOFF_PAUSE_MIN, MEMBER_COUNT_MAX,
};
use crate::pace::Pace;
use crate::quorum::ASKED_COUNT_MAX;
use crate::records::Place;
use crate::time::Instant;
use core::time::Duration;
use heapless::Vec;

#[cfg(test)]
mod tests;

/// What is being done about the hints for a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// They are sent, or will be once the node can be reached.
    Going,
    /// Nothing more is sent before that time.
    Resting {
        /// The time.
        until: Instant,
    },
}

/// Where the pass of a target stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// The next hint can be looked for.
    Going,
    /// It goes on at that time: the next hint is being read into memory, or has just been stored.
    Pausing { until: Instant },
    /// The pass is over.
    Resting { until: Instant, has_failed: bool },
}

/// A node for which something is kept.
#[derive(Clone, Copy, Debug)]
struct Target {
    node: NodeId,
    standing: Standing,
    /// When this pass began.
    began: Instant,
    /// The last hint of this pass that was sent or passed over; 0 = none.
    after: Place,
    /// Hints that were sent and not acknowledged, and the one that is looked for.
    in_flight: usize,
    is_seeking: bool,
    /// Something was kept since the next hint is looked for: that there is none may be untrue.
    has_news: bool,
    /// How often the next hint was not in memory.
    fetches: u32,
    /// How long it rests after the next failure.
    pause: Duration,
}

impl Target {
    /// When the next hint can be looked for, the pace aside; none while others must be answered.
    fn next(&self) -> Option<Instant> {
        match self.standing {
            _ if self.is_seeking || self.in_flight >= HANDOFF_COUNT_MAX => None,
            Standing::Going => Some(Instant(0)),
            Standing::Pausing { until } => Some(until),
            Standing::Resting { until, .. } => (self.in_flight == 0).then_some(until),
        }
    }
}

/// Who waits for hints of a shard, and how far each has got.
#[derive(Debug)]
pub(crate) struct Handoff {
    targets: Vec<Target, MEMBER_COUNT_MAX>,
    /// Who comes first among those whose turn it is.
    first: usize,
    /// Of all targets.
    in_flight: usize,
    pace: Pace,
    interval: Duration,
}

impl Handoff {
    /// Targets that rest are looked at again every `interval`.
    pub(crate) fn new(interval: Duration) -> Handoff {
        assert!(!interval.is_zero());
        let pace = Pace::new(HANDOFF_BYTES_PER_SECOND, HANDOFF_BURST_BYTES);
        Handoff { targets: Vec::new(), first: 0, in_flight: 0, pace, interval }
    }

    /// See [`Pace::set_share`].
    pub(crate) fn set_share(&mut self, per_mille: u16) {
        self.pace.set_share(per_mille);
    }

    /// Something is kept for `node`, to be looked for at `at`, or when it has rested from a
    /// failure. If there are too many targets, this one is learnt of with its next hint or the next
    /// start.
    pub(crate) fn learn(&mut self, node: NodeId, at: Instant) {
        let Some(target) = self.target(node) else {
            let standing = Standing::Resting { until: at, has_failed: false };
            let _full = self.targets.push(Target {
                node,
                standing,
                began: at,
                after: Place(0),
                in_flight: 0,
                is_seeking: false,
                has_news: false,
                fetches: 0,
                pause: HANDOFF_PAUSE_MIN,
            });
            return;
        };
        target.has_news = true;
        match &mut target.standing {
            Standing::Pausing { until } => *until = at.min(*until),
            // What is new lies behind what was sent.
            Standing::Resting { until, has_failed: false } if at < *until => {
                target.standing = Standing::Pausing { until: at };
            }
            Standing::Going | Standing::Resting { .. } => {}
        }
    }

    /// `node` can be reached again: a rest is over.
    pub(crate) fn on_reachable(&mut self, now: Instant, node: NodeId) {
        let Some(target) = self.target(node) else { return };
        target.pause = HANDOFF_PAUSE_MIN;
        if let Standing::Resting { until, .. } = &mut target.standing {
            *until = now.min(*until);
        }
    }

    /// When [`Handoff::seek`] names a target, if nothing else happens before; only those count that
    /// `is_near`.
    pub(crate) fn next(&self, is_near: impl Fn(NodeId) -> bool) -> Option<Instant> {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::HintNeverSent) {
            return None;
        }
        let near = self.targets.iter().filter(|target| is_near(target.node));
        let first = near.filter_map(Target::next).min()?;
        Some(first.max(self.pace.next()))
    }

    /// The target whose turn it is now, if any, and behind which place its next hint lies; marked
    /// as looked for.
    pub(crate) fn seek(
        &mut self,
        now: Instant,
        is_near: impl Fn(NodeId) -> bool,
    ) -> Option<(NodeId, Place)> {
        self.next(&is_near).filter(|at| *at <= now)?;
        let count = self.targets.len();
        let mut turns = (0..count).map(|step| (self.first + step) % count);
        let index = turns.find(|index| {
            let target = &self.targets[*index];
            target.next().is_some_and(|at| at <= now) && is_near(target.node)
        })?;
        self.first = index + 1;
        let target = &mut self.targets[index];
        if let Standing::Resting { .. } = target.standing {
            (target.began, target.after, target.fetches) = (now, Place(0), 0);
        }
        target.standing = Standing::Going;
        (target.is_seeking, target.has_news) = (true, false);
        target.in_flight += 1;
        self.in_flight += 1;
        Some((target.node, target.after))
    }

    /// The next hint for `node` was found at `place`; `bytes` are sent for it.
    pub(crate) fn on_found(&mut self, now: Instant, node: NodeId, place: Place, bytes: u64) {
        self.pace.take(now, bytes);
        self.pass(node, place);
    }

    /// The next hint for `node`, at `place`, stays where it is in this pass.
    pub(crate) fn on_passed(&mut self, node: NodeId, place: Place) {
        self.pass(node, place);
        self.land(node);
    }

    /// The hint that was found for `node` stays where it is in this pass.
    pub(crate) fn on_kept(&mut self, node: NodeId) {
        self.land(node);
    }

    /// The next hint for `node`, at `place`, is not in memory. One that never comes is passed over.
    pub(crate) fn on_cold(&mut self, now: Instant, node: NodeId, place: Place) {
        let target = self.known(node);
        target.fetches += 1;
        if target.fetches > HANDOFF_FETCH_COUNT_MAX {
            return self.on_passed(node, place);
        }
        target.standing = Standing::Pausing { until: now + HANDOFF_FETCH_PAUSE };
        self.land(node);
    }

    /// There are no more hints for `node`: none at all, if this is where the pass began.
    pub(crate) fn on_end(&mut self, now: Instant, node: NodeId) {
        self.land(node);
        let interval = self.interval;
        let target = self.known(node);
        if target.has_news {
            if target.standing == Standing::Going {
                target.standing = Standing::Pausing { until: now };
            }
        } else if target.after == Place(0) {
            assert!(target.in_flight == 0, "a pass begins when nothing is in flight");
            self.targets.retain(|target| target.node != node);
        } else if target.standing == Standing::Going {
            let until = now.max(target.began + interval);
            target.standing = Standing::Resting { until, has_failed: false };
        }
    }

    /// A hint was not taken, or the next one cannot be sent now.
    pub(crate) fn on_failed(&mut self, now: Instant, node: NodeId) {
        self.land(node);
        let target = self.known(node);
        // The failures of one pass count once.
        if matches!(target.standing, Standing::Resting { has_failed: true, .. }) {
            return;
        }
        target.standing = Standing::Resting { until: now + target.pause, has_failed: true };
        target.pause = (2 * target.pause).min(HANDOFF_PAUSE_MAX);
    }

    /// A hint was acknowledged.
    pub(crate) fn on_delivered(&mut self, node: NodeId) {
        self.land(node);
        self.known(node).pause = HANDOFF_PAUSE_MIN;
    }

    /// Hints in flight, to all targets.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// All targets, and what is being done about each.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (NodeId, Delivery)> + use<'_> {
        self.targets.iter().map(|target| match target.standing {
            Standing::Going => (target.node, Delivery::Going),
            Standing::Pausing { until } | Standing::Resting { until, .. } => {
                (target.node, Delivery::Resting { until })
            }
        })
    }

    /// The pass of `node` has come to `place`.
    fn pass(&mut self, node: NodeId, place: Place) {
        let target = self.known(node);
        assert!(place > target.after, "hints are sent from the oldest on");
        target.after = place;
        target.fetches = 0;
        target.is_seeking = false;
    }

    /// One less is in flight.
    fn land(&mut self, node: NodeId) {
        let target = self.known(node);
        target.in_flight -= 1;
        target.is_seeking = false;
        self.in_flight -= 1;
    }

    fn known(&mut self, node: NodeId) -> &mut Target {
        self.target(node).expect("a target stays while something is in flight to it")
    }

    fn target(&mut self, node: NodeId) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.node == node)
    }
}

/// A hint in flight.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Handing {
    /// Where it lies; 0 while it is looked for.
    pub(crate) place: Place,
    /// Where the record lies that was sent for it.
    pub(crate) sent: Place,
    /// Who has not acknowledged it; 0 = nobody.
    owing: [NodeId; ASKED_COUNT_MAX],
}

impl Handing {
    /// The hint at `place`, for which the record at `sent` is to be acknowledged by all of `nodes`.
    ///
    /// # Panics
    /// If there are more than one request asks.
    pub(crate) fn new(place: Place, sent: Place, nodes: &[NodeId]) -> Handing {
        let mut owing = [NodeId(0); ASKED_COUNT_MAX];
        owing[..nodes.len()].copy_from_slice(nodes);
        Handing { place, sent, owing }
    }

    /// Who has not acknowledged it.
    pub(crate) fn owing(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.owing.iter().copied().filter(|node| *node != NodeId(0))
    }

    /// `node` has acknowledged it as durable. Whether all have by now.
    pub(crate) fn on_ack(&mut self, node: NodeId) -> bool {
        for owing in self.owing.iter_mut().filter(|owing| **owing == node) {
            *owing = NodeId(0);
        }
        self.place != Place(0) && self.owing().next().is_none()
    }
}
