//! Counting answers: how many distinct nodes did what was asked, and can it still be enough?
//!
//! Nodes are counted, never slots or messages, so a duplicate answer counts once (Riak's
//! `node_confirms`). A tally that can no longer be met says so at once instead of waiting for
//! the deadline. For an owner that is away another node may stand in, which counts as a node but
//! not as a primary (sloppy quorum, Dynamo §4.6). Invariant: a node is waited for, or answered, or
//! failed, and never two of these.

use crate::id::NodeId;
use crate::limits::REPLICA_COUNT_MAX;

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
    need: Need,
}

/// Most nodes that one request asks: for every owner one may stand in.
pub(crate) const ASKED_COUNT_MAX: usize = 2 * REPLICA_COUNT_MAX;

impl Tally {
    /// A tally over `owners`, none asked yet; every owner is a primary.
    ///
    /// # Panics
    /// If there are more than `REPLICA_COUNT_MAX` owners.
    pub fn new(owners: &[NodeId], need: Need) -> Tally {
        assert!(owners.len() <= REPLICA_COUNT_MAX);
        let mut nodes = [NodeId(0); ASKED_COUNT_MAX];
        nodes[..owners.len()].copy_from_slice(owners);
        let answers = [Answer::Unasked; ASKED_COUNT_MAX];
        let (stands_for, count) = ([0; REPLICA_COUNT_MAX], owners.len() as u8);
        Tally { nodes, answers, stands_for, owners: count, count, need }
    }

    /// `node`, which has no part in this yet, may be asked to stand in for `owner`. False if there
    /// is no such owner, or somebody does already: one for each, so that a write which meets ever
    /// more full disks ends.
    ///
    /// # Panics
    /// If `node` has a part in this.
    pub fn stand_in(&mut self, node: NodeId, owner: NodeId) -> bool {
        assert!(self.index(node).is_none());
        let owners = &self.nodes[..usize::from(self.owners)];
        let Some(position) = owners.iter().position(|known| *known == owner) else { return false };
        if self.stand_ins().any(|(_, stands_for)| stands_for == owner) {
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
        let Need { nodes, primaries, durable } = self.need;
        let is_met = self.got() >= nodes
            && self.owners_having(Answer::is_done) >= primaries
            && self.shares_having(is_durable) >= durable;
        let may_be_met = self.shares_having(|answer| answer.is_done() || answer.is_open()) >= nodes
            && self.owners_having(|answer| answer.is_done() || answer.is_open()) >= primaries
            && self.shares_having(|answer| is_durable(answer) || answer.is_open()) >= durable;
        match (is_met, may_be_met) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::Wait,
            (false, false) => Verdict::Impossible,
        }
    }

    /// The next node to ask so that as many are asked as are still needed.
    pub fn next_to_ask(&self) -> Option<NodeId> {
        let is_asked = |answer: Answer| answer.is_done() || answer.is_waited();
        let is_enough = self.shares_having(is_asked) >= self.need.nodes
            && self.owners_having(is_asked) >= self.need.primaries;
        if is_enough { None } else { self.unasked().next() }
    }

    /// Distinct nodes that did what was asked; an owner and who stands in for it are one, since
    /// what is kept for an owner is dropped once the owner has it.
    pub fn got(&self) -> u8 {
        self.shares_having(Answer::is_done)
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

    /// What is missing, as a client is told: of how many nodes how many did it. Of the primaries
    /// alone where others made up the number.
    pub(crate) fn shortfall(&self) -> (u8, u8) {
        let Need { nodes, primaries, durable } = self.need;
        let needed = nodes.max(primaries).max(durable);
        let done = self.owners_having(Answer::is_done);
        if done < primaries && self.got() >= needed {
            (primaries, done)
        } else {
            (needed, self.got())
        }
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

    /// The same answers against another set of owners: what nodes that are still owners did is
    /// kept, and what those did that still stand in for one; new owners are unasked. Who stands in
    /// must be a member.
    #[must_use]
    pub fn moved_to(&self, owners: &[NodeId], is_member: impl Fn(NodeId) -> bool) -> Tally {
        let mut moved = Tally::new(owners, self.need);
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

    fn nodes_having(&self, is: fn(Answer) -> bool) -> impl Iterator<Item = NodeId> + use<'_> {
        let count = usize::from(self.count);
        let asked = self.nodes[..count].iter().zip(&self.answers[..count]);
        asked.filter(move |(_, answer)| is(**answer)).map(|(node, _)| *node)
    }

    fn is_open(&self, index: usize) -> bool {
        self.answers[index].is_open()
    }

    /// How many owners have such an answer.
    fn owners_having(&self, is: impl Fn(Answer) -> bool) -> u8 {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::StandInCountedAsPrimary) {
            return self.shares_having(is);
        }
        let answers = &self.answers[..usize::from(self.owners)];
        answers.iter().filter(|answer| is(**answer)).count() as u8
    }

    /// How many owners have such an answer, or somebody who stands in for them has.
    fn shares_having(&self, is: impl Fn(Answer) -> bool) -> u8 {
        let owners = usize::from(self.owners);
        let stand_ins = &self.answers[owners..usize::from(self.count)];
        let mut shares = [false; REPLICA_COUNT_MAX];
        for (share, answer) in shares.iter_mut().zip(&self.answers[..owners]) {
            *share = is(*answer);
        }
        for (owner, answer) in self.stands_for.iter().zip(stand_ins) {
            shares[usize::from(*owner)] |= is(*answer);
        }
        shares.into_iter().filter(|share| *share).count() as u8
    }

    /// The position of `node` among those that may be asked, owners first.
    pub(crate) fn index(&self, node: NodeId) -> Option<usize> {
        self.nodes[..usize::from(self.count)].iter().position(|asked| *asked == node)
    }
}
