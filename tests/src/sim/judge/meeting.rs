//! S10: which writes a read must show, since their quorums meet.

use std::collections::{BTreeMap, BTreeSet};

use ringmain_core::membership::topology::Operations;

use super::super::client::Put;
use super::super::oracle::Set;
use super::{Acked, Judge};

/// What a read must cover.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Required {
    events: Set,
    /// All nodes were on one topology when it began.
    is_agreed: bool,
}

/// The sets of operations that there were.
#[derive(Debug, Default)]
pub(super) struct Topologies {
    /// Each once.
    sets: Vec<Vec<u8>>,
    /// Which of them nodes took, in this order.
    taken: Vec<usize>,
    /// Which of them each node has.
    current: BTreeMap<usize, usize>,
    /// On which of them each write may have been done, by its stamp: those that nodes had when it
    /// was sent, and from where on those count that they took.
    sent: BTreeMap<u64, (BTreeSet<usize>, usize)>,
}

impl Topologies {
    fn take(&mut self, node: usize, operations: &[u8]) {
        let at = self.sets.iter().position(|set| set == operations).unwrap_or_else(|| {
            self.sets.push(operations.to_vec());
            self.sets.len() - 1
        });
        self.taken.push(at);
        self.current.insert(node, at);
    }

    fn on_issue(&mut self, stamp: u64) {
        let current = || self.current.values().copied().collect();
        self.sent.entry(stamp).or_insert_with(|| (current(), self.taken.len()));
    }

    /// Whether there ever was a set that has no topology in common with one on which that write
    /// may have been done: of operations that moved at once the one had settled some alone, when
    /// the other went on with more. Of such sets nothing is claimed.
    fn is_apart(&self, stamp: u64) -> bool {
        let Some((had, since)) = self.sent.get(&stamp) else { return false };
        let mut of_write: BTreeSet<usize> = self.taken[*since..].iter().copied().collect();
        of_write.extend(had);
        let set = |bytes| Operations::new_checked(bytes).expect("a node has checked it");
        let sets = || self.sets.iter().map(|bytes| set(bytes));
        of_write.iter().any(|at| {
            let of_write = set(&self.sets[*at]);
            sets().any(|other| {
                has_settled_apart(of_write, other) || has_settled_apart(other, of_write)
            })
        })
    }
}

/// Whether something has settled in `set` that moves in `other`, beside something that `set` lacks.
fn has_settled_apart(set: Operations<'_>, other: Operations<'_>) -> bool {
    let settled = |operation| set.iter().any(|one| one.operation == operation && !one.is_moving);
    other.iter().any(|one| one.is_moving && settled(one.operation))
        && other.iter().any(|one| !set.contains(&one.operation))
}

impl Judge {
    /// `node` has this set of operations from now on.
    pub(in crate::sim) fn on_operations(&mut self, node: usize, operations: &[u8]) {
        self.topologies.take(node, operations);
    }

    pub(super) fn note_topologies(&mut self, put: &Put) {
        self.topologies.on_issue(put.stamp);
    }

    /// S10: what a read with this R must cover if it begins now. While the topology changes that
    /// is claimed of the cluster's R and W, or more; not of who says R 1, whom an owner answers
    /// from its own copy, whatever becomes of that.
    pub(in crate::sim) fn required(&self, key: usize, r: u8, pr: u8, is_agreed: bool) -> Required {
        let n = self.owner_count();
        let full = self.swarm.r.min(n);
        let reads_own = r == 1 && pr <= 1;
        let r = (if r == 0 { full } else { r }).max(pr);
        // Where others may stand in for owners, only the owners asked for meet.
        let is_sloppy = self.member_count > usize::from(n);
        let asked = if is_sloppy { pr } else { r };
        let may_change = self.swarm.faults.change.is_some() || self.swarm.early.is_some();
        let is_full = |acked: &Acked| {
            let asked = if is_sloppy { acked.pw } else { acked.w };
            asked >= acked.full || acked.is_default && !is_sloppy
        };
        let meets = |acked: &&Acked| match is_sloppy {
            true => acked.pw + pr > n,
            false => acked.w + r > n,
        };
        if !is_agreed && (asked < full || reads_own) {
            return Required::default();
        }
        let events = self.acked[key].iter().filter(|acked| acked.is_held).filter(meets);
        let events = events.filter(|acked| !may_change || is_full(acked));
        let single = events.filter_map(|acked| self.histories[key].only_event(acked.stamp));
        Required { events: single.collect(), is_agreed }
    }

    /// S10: a write of `key` that the answer to a read misses, whose context covers `events`.
    pub(super) fn missed(&self, key: usize, required: &Required, events: &Set) -> Option<u64> {
        let history = &self.histories[key];
        let is_missed = |acked: &&Acked| {
            let is_required = acked.is_held && history.holds(acked.stamp, &required.events);
            is_required && !history.holds(acked.stamp, events)
        };
        let is_claimed =
            |acked: &&Acked| required.is_agreed || !self.topologies.is_apart(acked.stamp);
        let mut missed = self.acked[key].iter().filter(is_missed).filter(is_claimed);
        missed.next().map(|acked| acked.stamp)
    }
}
