//! Counting answers: how many distinct nodes did what was asked, and can it still be enough?
//!
//! Nodes are counted, never slots or messages, so a duplicate answer counts once (Riak's
//! `node_confirms`). A tally that can no longer be met says so at once instead of waiting for
//! the deadline. For an owner that is away another node may stand in, which counts as a node but
//! not as a primary (sloppy quorum, Dynamo §4.6). While the membership changes, what is needed is
//! needed in the settled topology and in the committed one, in each no more than all of its owners.
//! Invariant: a node is waited for, or answered, or failed, and never two of these.

use crate::id::NodeId;
use crate::limits::REPLICA_COUNT_MAX;
use crate::ring::{OWNER_COUNT_MAX, Owners};

#[cfg(test)]
mod tests;

/// How a tally stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// More answers are needed and may still come.
    Wait,
    /// Enough distinct nodes answered.
    Met,
    /// Too many failed: it can no longer be met.
    Impossible,
}

/// How many nodes must do what, of the nodes asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Need {
    /// Distinct nodes (R or W).
    pub nodes: u8,
    /// Among them primaries, the owners of the partition (PR or PW).
    pub primaries: u8,
    /// Among them nodes that have it synced to disk (DW).
    pub durable: u8,
}

/// What became of one node: its variants read as its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Unasked,
    Waited,
    Again,
    Stored,
    Durable,
    Failed,
    /// Whatever it says counts for nothing.
    Void,
}

impl Answer {
    fn is_open(self) -> bool {
        self == Answer::Unasked || self.is_waited()
    }

    fn is_waited(self) -> bool {
        matches!(self, Answer::Waited | Answer::Again)
    }

    fn is_done(self) -> bool {
        matches!(self, Answer::Stored | Answer::Durable)
    }
}

/// The answers of the nodes that one request asked.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// The owners, then those that stand in for some of them.
    nodes: [NodeId; ASKED_COUNT_MAX],
    answers: [Answer; ASKED_COUNT_MAX],
    /// For whom each of the latter stands in: a position among the owners.
    stands_for: [u8; REPLICA_COUNT_MAX],
    owners: u8,
    count: u8,
    /// As [`Owners::quorums`].
    quorums: [u16; 2],
    need: Need,
}

/// Most nodes that one request asks: for as many owners as a topology has others may stand in.
pub(crate) const ASKED_COUNT_MAX: usize = OWNER_COUNT_MAX + REPLICA_COUNT_MAX;

impl Tally {
    /// A tally over `owners`, none asked yet; every owner is a primary.
    pub fn new(owners: &Owners, need: Need) -> Tally {
        let mut nodes = [NodeId(0); ASKED_COUNT_MAX];
        nodes[..owners.len()].copy_from_slice(owners);
        let answers = [Answer::Unasked; ASKED_COUNT_MAX];
        let (stands_for, count) = ([0; REPLICA_COUNT_MAX], owners.len() as u8);
        let quorums = owners.quorums();
        Tally { nodes, answers, stands_for, owners: count, count, quorums, need }
    }

    /// `node`, which has no part in this yet, may be asked to stand in for `owner`. False if there
    /// is no such owner, or somebody does already: one for each, so that a write which meets ever
    /// more full disks ends; or if `REPLICA_COUNT_MAX` nodes stand in.
    ///
    /// # Panics
    /// If `node` has a part in this.
    pub fn stand_in(&mut self, node: NodeId, owner: NodeId) -> bool {
        assert!(self.index(node).is_none());
        let owners = &self.nodes[..usize::from(self.owners)];
        let Some(position) = owners.iter().position(|known| *known == owner) else { return false };
        let is_full = usize::from(self.count - self.owners) == REPLICA_COUNT_MAX;
        if is_full || self.is_stood_for(owner) {
            return false;
        }
        self.stands_for[usize::from(self.count - self.owners)] = position as u8;
        self.nodes[usize::from(self.count)] = node;
        self.count += 1;
        true
    }

    /// For whom `node` stands in; none if it is an owner, or has no part in this.
    pub fn target(&self, node: NodeId) -> Option<NodeId> {
        self.stand_ins().find(|(known, _)| *known == node).map(|(_, owner)| owner)
    }

    /// Whether somebody stands in for `owner`.
    pub fn is_stood_for(&self, owner: NodeId) -> bool {
        self.stand_ins().any(|(_, stands_for)| stands_for == owner)
    }

    /// The nodes that stand in, each with the owner for which it does.
    fn stand_ins(&self) -> impl Iterator<Item = (NodeId, NodeId)> + use<'_> {
        let nodes = &self.nodes[usize::from(self.owners)..usize::from(self.count)];
        let owner = |position: &u8| self.nodes[usize::from(*position)];
        nodes.iter().copied().zip(self.stands_for.iter().map(owner))
    }

    /// `node` did what was asked. A node that was not asked changes nothing, nor does a second
    /// answer of one that was counted; a late success of one that failed counts.
    pub fn on_success(&mut self, node: NodeId, durable: bool) -> Verdict {
        if let Some(index) = self.index(node) {
            let answer = &mut self.answers[index];
            if *answer == Answer::Void {
                return self.verdict();
            }
            if durable || *answer == Answer::Durable {
                *answer = Answer::Durable;
            } else {
                *answer = Answer::Stored;
            }
        }
        self.verdict()
    }

    /// `node` refused, or cannot be reached. A success that was counted stays counted.
    pub fn on_failure(&mut self, node: NodeId) -> Verdict {
        if let Some(index) = self.index(node) {
            #[cfg(feature = "plant")]
            if crate::plant::is(crate::plant::Plant::FailedReplicaCounted) {
                return self.on_success(node, true);
            }
            if self.is_open(index) {
                self.answers[index] = Answer::Failed;
            }
        }
        self.verdict()
    }

    /// `node` is being asked.
    pub fn on_asked(&mut self, node: NodeId) {
        if let Some(index) = self.index(node)
            && self.is_open(index)
        {
            self.answers[index] = Answer::Waited;
        }
    }

    /// `node` must be asked again after a pause: it knew another topology.
    pub fn on_again(&mut self, node: NodeId) {
        if let Some(index) = self.index(node)
            && self.is_open(index)
        {
            self.answers[index] = Answer::Again;
        }
    }

    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        let is_durable = |answer| answer == Answer::Durable;
        let is_met = self.is_enough([&Answer::is_done, &Answer::is_done, &is_durable]);
        let may_do = |answer: Answer| answer.is_done() || answer.is_open();
        let may_be_durable = |answer: Answer| is_durable(answer) || answer.is_open();
        match (is_met, self.is_enough([&may_do, &may_do, &may_be_durable])) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::Wait,
            (false, false) => Verdict::Impossible,
        }
    }

    /// The next node to ask so that as many are asked as are still needed.
    pub fn next_to_ask(&self) -> Option<NodeId> {
        let is_asked = |answer: Answer| answer.is_done() || answer.is_waited();
        let short = self.short_of([&is_asked, &is_asked, &|_| true]);
        // Who counts in one of those topologies: others would be asked for nothing.
        let useful = short.fold(0, |bits, (quorum, _)| bits | quorum);
        let mut all = 0..usize::from(self.count);
        let next = all.find(|index| {
            self.answers[*index] == Answer::Unasked && self.bit(*index) & useful != 0
        });
        next.map(|index| self.nodes[index])
    }

    /// The share that a node does: the owner's that it is or stands in for.
    fn bit(&self, index: usize) -> u16 {
        let stands_for = index.checked_sub(usize::from(self.owners));
        1 << stands_for.map_or(index, |position| usize::from(self.stands_for[position]))
    }

    /// Whether enough nodes, primaries among them, and nodes that have it on disk give such
    /// answers, in each topology.
    fn is_enough(&self, is: [&dyn Fn(Answer) -> bool; 3]) -> bool {
        self.short_of(is).next().is_none()
    }

    /// The topologies in which it is not.
    fn short_of(
        &self,
        is: [&dyn Fn(Answer) -> bool; 3],
    ) -> impl Iterator<Item = (u16, Need)> + use<> {
        let having =
            [self.shares_having(is[0]), self.owners_having(is[1]), self.shares_having(is[2])];
        self.topologies().filter(move |(quorum, need)| {
            let needed = [need.nodes, need.primaries, need.durable];
            having.iter().zip(needed).any(|(bits, needed)| count(bits & quorum) < needed)
        })
    }

    /// Who counts in each topology that is in force, by their bits, and what is needed there.
    fn topologies(&self) -> impl Iterator<Item = (u16, Need)> + use<> {
        let [settled, committed] = self.quorums;
        let need_of = |quorum: u16| {
            let Need { nodes, primaries, durable } = self.need;
            let all = if settled == committed { u8::MAX } else { count(quorum) };
            let at_most = |need: u8| need.min(all);
            let (nodes, primaries) = (at_most(nodes), at_most(primaries));
            (quorum, Need { nodes, primaries, durable: at_most(durable) })
        };
        let all = [need_of(settled), need_of(committed)];
        #[cfg(feature = "plant")]
        let is_planted = crate::plant::is(crate::plant::Plant::CommittedQuorumAlone);
        #[cfg(not(feature = "plant"))]
        let is_planted = false;
        let skipped = usize::from(is_planted && committed != 0);
        // Without any owner there is nobody whose word would be enough.
        let is_nobody = settled | committed == 0;
        all.into_iter().skip(skipped).filter(move |(quorum, _)| *quorum != 0 || is_nobody)
    }

    /// Distinct nodes that did what was asked; an owner and who stands in for it are one, since
    /// what is kept for an owner is dropped once the owner has it.
    /// The fewest of all topologies.
    pub fn got(&self) -> u8 {
        let done = self.shares_having(&Answer::is_done);
        self.topologies().map(|(quorum, _)| count(done & quorum)).min().unwrap_or(0)
    }

    /// The nodes that did what was asked, with their positions.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (usize, NodeId)> + use<'_> {
        let count = usize::from(self.count);
        let asked = self.nodes[..count].iter().copied().zip(&self.answers[..count]).enumerate();
        asked.filter(|(_, (_, answer))| answer.is_done()).map(|(index, (node, _))| (index, node))
    }

    /// Whether nothing is known yet of what `node` did.
    pub(crate) fn is_open_to(&self, node: NodeId) -> bool {
        self.index(node).is_some_and(|index| self.is_open(index))
    }

    /// Whether `node` did what was asked.
    pub(crate) fn is_done_by(&self, node: NodeId) -> bool {
        self.index(node).is_some_and(|index| self.answers[index].is_done())
    }

    /// Whether `owner` did what was asked, or somebody who stands in for it.
    pub(crate) fn is_share_done(&self, owner: NodeId) -> bool {
        let mut stand_ins = self.stand_ins().filter(|(_, known)| *known == owner);
        self.is_done_by(owner) || stand_ins.any(|(node, _)| self.is_done_by(node))
    }

    /// The nodes of which nothing is known yet.
    pub(crate) fn open(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_having(Answer::is_open)
    }

    /// What is missing, as a client is told: of how many nodes how many did it, in the topology in
    /// which most are missing. Of the primaries alone where others made up the number.
    pub(crate) fn shortfall(&self) -> (u8, u8) {
        self.worst(&Answer::is_done, |need| need.nodes.max(need.primaries).max(need.durable))
    }

    /// As `shortfall`, if all did it that may: of how many nodes, whichever they are, or else of
    /// how many primaries.
    pub(crate) fn outlook(&self) -> (u8, u8) {
        let may_do = |answer: Answer| answer.is_done() || answer.is_open();
        self.worst(&may_do, |need| need.nodes.max(need.durable))
    }

    fn worst(&self, is: &dyn Fn(Answer) -> bool, needed: impl Fn(Need) -> u8) -> (u8, u8) {
        let (shares, owners) = (self.shares_having(is), self.owners_having(is));
        let compared = self.topologies().map(|(quorum, need)| {
            let (got, primaries) = (count(shares & quorum), count(owners & quorum));
            let is_of_primaries = primaries < need.primaries && got >= needed(need);
            if is_of_primaries { (need.primaries, primaries) } else { (needed(need), got) }
        });
        compared.max_by_key(|(needed, got)| needed.saturating_sub(*got)).unwrap_or_default()
    }

    /// What was needed.
    pub fn need(&self) -> Need {
        self.need
    }

    /// The nodes that were asked and are waited for, in the order they were given.
    pub fn waited(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_having(|answer| answer == Answer::Waited)
    }

    /// The nodes that were not asked yet.
    pub fn unasked(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_having(|answer| answer == Answer::Unasked)
    }

    /// The nodes to ask again.
    pub fn again(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_having(|answer| answer == Answer::Again)
    }

    /// The same answers against another set of owners, and what is needed of them: what nodes that
    /// are still owners did is kept, and what those did that still stand in for one; new owners are
    /// unasked. Who stands in must be a member.
    #[must_use]
    pub fn moved_to(
        &self,
        owners: &Owners,
        need: Need,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Tally {
        let mut moved = Tally::new(owners, need);
        for (index, node) in owners.iter().enumerate() {
            let old = self.index(*node).filter(|old| *old < usize::from(self.owners));
            if let Some(old) = old {
                moved.answers[index] = self.answers[old];
            }
        }
        for (position, (node, owner)) in self.stand_ins().enumerate() {
            if !owners.contains(&node) && is_member(node) && moved.stand_in(node, owner) {
                let answer = self.answers[usize::from(self.owners) + position];
                moved.answers[usize::from(moved.count) - 1] = answer;
            }
        }
        moved
    }

    /// As `moved_to`, of a read: who had to catch up when it was asked, and counts as one that has
    /// by now, may have answered before it had; and so may what is on its way.
    #[must_use]
    pub fn read_moved_to(
        &self,
        owners: &Owners,
        need: Need,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Tally {
        let mut moved = self.moved_to(owners, need, is_member);
        let [settled, _] = moved.quorums;
        for index in (0..usize::from(moved.owners)).filter(|index| settled >> index & 1 == 1) {
            let old = self.index(moved.nodes[index]);
            let old = old.filter(|old| *old < usize::from(self.owners));
            let was_behind = old.is_some_and(|old| self.quorums[0] >> old & 1 == 0);
            if was_behind && moved.answers[index] != Answer::Unasked {
                moved.answers[index] = Answer::Void;
            }
        }
        moved
    }

    fn nodes_having(&self, is: fn(Answer) -> bool) -> impl Iterator<Item = NodeId> + use<'_> {
        let count = usize::from(self.count);
        let asked = self.nodes[..count].iter().zip(&self.answers[..count]);
        asked.filter(move |(_, answer)| is(**answer)).map(|(node, _)| *node)
    }

    fn is_open(&self, index: usize) -> bool {
        self.answers[index].is_open()
    }

    /// Which owners have such an answer: a bit for each.
    fn owners_having(&self, is: &dyn Fn(Answer) -> bool) -> u16 {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::StandInCountedAsPrimary) {
            return self.shares_having(is);
        }
        self.bits_of_owners(is)
    }

    /// Which owners have such an answer, or somebody who stands in for them has.
    fn shares_having(&self, is: &dyn Fn(Answer) -> bool) -> u16 {
        let stand_ins = &self.answers[usize::from(self.owners)..usize::from(self.count)];
        let stand_ins = self.stands_for.iter().zip(stand_ins);
        let of_stand_ins = stand_ins.filter(|(_, answer)| is(**answer));
        of_stand_ins.fold(self.bits_of_owners(is), |bits, (owner, _)| bits | 1 << owner)
    }

    fn bits_of_owners(&self, is: &dyn Fn(Answer) -> bool) -> u16 {
        let answers = self.answers[..usize::from(self.owners)].iter().enumerate();
        answers.fold(0, |bits, (index, answer)| bits | u16::from(is(*answer)) << index)
    }

    /// The position of `node` among those that may be asked, owners first.
    pub(crate) fn index(&self, node: NodeId) -> Option<usize> {
        self.nodes[..usize::from(self.count)].iter().position(|asked| *asked == node)
    }
}

fn count(bits: u16) -> u8 {
    bits.count_ones() as u8
}
