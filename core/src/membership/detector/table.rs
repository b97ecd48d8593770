//! The table of a detector: one entry for each other member.

use core::time::Duration;

use super::Detector;
use super::claim::Claim;
use crate::id::{Boot, NodeId};
use crate::limits::CONFIRMATION_COUNT_MAX;
use crate::time::Instant;
use crate::wire::gossip::{Liveness, Update};

/// What a detector knows of one member. Its storage is lent by the driver.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub(super) claim: Claim,
    /// What the driver was told last.
    told: Liveness,
    /// How often the claim was sent.
    pub(super) sent: u8,
    /// The node's multiplier when the suspicion began.
    factor: u8,
    /// Who suspects it, the first accuser first; 0 where there is none.
    accusers: [NodeId; 1 + CONFIRMATION_COUNT_MAX],
    /// When the suspicion began.
    pub(super) since: Instant,
}

impl Entry {
    /// Not in use.
    pub const EMPTY: Entry = Entry::new(NodeId(0), Boot(0));

    /// Nothing was heard of `node`; it is held for alive until that is wrong.
    const fn new(node: NodeId, boot: Boot) -> Entry {
        let claim = Claim { node, boot, incarnation: 0, status: Liveness::Alive };
        let accusers = [NodeId(0); 1 + CONFIRMATION_COUNT_MAX];
        let (told, since) = (Liveness::Alive, Instant(0));
        // What nobody said is not passed on.
        Entry { claim, told, sent: u8::MAX, factor: 1, accusers, since }
    }

    /// The entry of the node itself: news to all others.
    pub(super) const fn of_self(node: NodeId, boot: Boot) -> Entry {
        Entry { sent: 0, ..Entry::new(node, boot) }
    }

    pub(super) fn node(&self) -> NodeId {
        self.claim.node
    }

    /// What has changed since the driver was told.
    pub(super) fn tell(&mut self) -> Option<(NodeId, Liveness)> {
        let has_changed = self.told != self.claim.status;
        self.told = self.claim.status;
        has_changed.then_some((self.claim.node, self.told))
    }

    /// The claim as it travels next: each accuser takes its turn.
    pub(super) fn update(&self) -> Update {
        let turn = usize::from(self.sent) % self.accuser_count().max(1);
        self.claim.update(self.accusers[turn])
    }

    /// The claim as others see it in a whole table.
    pub(super) fn row(&self) -> Update {
        self.claim.update(self.accusers[0])
    }

    /// A claim that holds against the present one.
    pub(super) fn replace(&mut self, now: Instant, claim: Claim, accuser: NodeId, factor: u32) {
        assert!(claim.rank() > self.claim.rank());
        assert!((claim.status == Liveness::Suspect) == (accuser.0 != 0));
        self.claim = claim;
        self.sent = 0;
        self.since = now;
        self.factor = factor as u8;
        self.accusers = [NodeId(0); 1 + CONFIRMATION_COUNT_MAX];
        self.accusers[0] = accuser;
    }

    /// One more accuses the suspect; the fourth and later are not needed.
    pub(super) fn confirm(&mut self, accuser: NodeId) {
        assert!(self.claim.status == Liveness::Suspect);
        let count = self.accuser_count();
        let is_known = self.accusers[..count].contains(&accuser);
        if !is_known && count < self.accusers.len() {
            self.accusers[count] = accuser;
            self.sent = 0;
        }
    }

    /// How many accused it after the first.
    pub(super) fn confirmation_count(&self) -> usize {
        self.accuser_count().saturating_sub(1)
    }

    /// When the suspicion ends that is `allowed` to a node in good health.
    pub(super) fn expires(&self, allowed: Duration) -> Instant {
        self.since + allowed * u32::from(self.factor)
    }

    fn accuser_count(&self) -> usize {
        self.accusers.iter().filter(|accuser| accuser.0 != 0).count()
    }
}

impl Detector<'_> {
    /// Where the table has `node`.
    pub(super) fn find(&self, node: NodeId) -> Option<usize> {
        self.entries[..self.count].binary_search_by_key(&node, Entry::node).ok()
    }

    /// Takes everyone out of the table whom `stays` refuses.
    pub(super) fn retain(&mut self, stays: impl Fn(NodeId) -> bool) {
        let mut kept = 0;
        for index in 0..self.count {
            if stays(self.entries[index].node()) {
                self.entries[kept] = self.entries[index];
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Takes `node` into the table, if it is not there.
    pub(super) fn insert(&mut self, node: NodeId) {
        assert!(node.0 != 0);
        let found = self.entries[..self.count].binary_search_by_key(&node, Entry::node);
        let Err(index) = found else { return };
        assert!(self.count < self.entries.len(), "one entry is lent for every other member");
        self.entries.copy_within(index..self.count, index + 1);
        self.entries[index] = Entry::new(node, Boot(0));
        self.count += 1;
    }

    /// One member of `status`, at random, that is not `except` and not in `taken`.
    pub(super) fn choose(&mut self, status: Liveness, taken: &[NodeId]) -> Option<NodeId> {
        let mut chosen = None;
        let mut seen = 0;
        for entry in &self.entries[..self.count] {
            if entry.claim.status == status && !taken.contains(&entry.node()) {
                seen += 1;
                if self.prng.below(seen) == 0 {
                    chosen = Some(entry.node());
                }
            }
        }
        chosen
    }

    /// When the suspicion of `entry` ends; `None` if it is no suspect.
    pub(super) fn until(&self, entry: &Entry) -> Option<Instant> {
        if entry.claim.status != Liveness::Suspect {
            return None;
        }
        Some(entry.expires(self.pace().suspicion(entry.confirmation_count())))
    }

    /// A suspect whose time is over.
    pub(super) fn expired_suspicion(&self, now: Instant) -> Option<usize> {
        let is_over = |entry| self.until(entry).is_some_and(|until| until <= now);
        self.entries[..self.count].iter().position(is_over)
    }
}
