//! Counting answers: how many distinct nodes did what was asked, and can it still be enough?
//!
//! Nodes are counted, never slots or messages, so a duplicate answer counts once (Riak's
//! `node_confirms`). A tally that can no longer be met says so at once instead of waiting for
//! the deadline. For an owner that is away another node may stand in, which counts as a node but
//! not as a primary (sloppy quorum, Dynamo §4.6). While the membership changes, what is needed is
//! needed in the settled topology and in the committed one, in each no more than all of its owners.
//! Invariant: a node is waited for, or answered, or failed, and never two of these.
//!
//! Each answer to each request is counted here, so sets of nodes are bits.

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

/// Some of the nodes of a tally: a bit for each, by its position.
type Set = u32;

/// What became of each node.
#[derive(Clone, Copy, Debug)]
struct Answers {
    /// By [`Answer`]; each node is in one of them.
    sets: [Set; Answer::Void as usize + 1],
}

impl Answers {
    /// Of so many nodes, none of which was asked.
    fn unasked(count: usize) -> Answers {
        let mut sets = [0; Answer::Void as usize + 1];
        sets[Answer::Unasked as usize] = (1 << count) - 1;
        Answers { sets }
    }

    /// The nodes with that answer.
    fn of(&self, answer: Answer) -> Set {
        self.sets[answer as usize]
    }

    /// Those that did what was asked.
    fn done(&self) -> Set {
        self.of(Answer::Stored) | self.of(Answer::Durable)
    }

    /// Those that were asked, and are waited for or to be asked again.
    fn waited(&self) -> Set {
        self.of(Answer::Waited) | self.of(Answer::Again)
    }

    /// Those of which nothing is known yet.
    fn open(&self) -> Set {
        self.of(Answer::Unasked) | self.waited()
    }

    /// The node at `index` has given that answer, and no other.
    fn set(&mut self, index: usize, answer: Answer) {
        self.sets.iter_mut().for_each(|set| *set &= !(1 << index));
        self.sets[answer as usize] |= 1 << index;
    }

    /// What the node at `index` has given.
    fn at(&self, index: usize) -> Answer {
        use Answer::{Again, Durable, Failed, Stored, Unasked, Void, Waited};
        let all = [Unasked, Waited, Again, Stored, Durable, Failed, Void];
        let given = all.into_iter().find(|answer| has(self.of(*answer), index));
        given.expect("each node of a tally is in one of the sets")
    }
}

fn has(set: Set, index: usize) -> bool {
    set >> index & 1 == 1
}

/// The answers of the nodes that one request asked.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// The owners, then those that stand in for some of them.
    nodes: [NodeId; ASKED_COUNT_MAX],
    answers: Answers,
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

const _: () = assert!(ASKED_COUNT_MAX < Set::BITS as usize, "each node has a bit");

impl Tally {
    /// A tally over `owners`, none asked yet; every owner is a primary.
    pub fn new(owners: &Owners, need: Need) -> Tally {
        let mut nodes = [NodeId(0); ASKED_COUNT_MAX];
        nodes[..owners.len()].copy_from_slice(owners);
        let answers = Answers::unasked(owners.len());
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
        self.answers.set(usize::from(self.count), Answer::Unasked);
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
        if let Some(index) = self.index(node)
            && !has(self.answers.of(Answer::Void), index)
        {
            let is_durable = durable || has(self.answers.of(Answer::Durable), index);
            self.answers.set(index, if is_durable { Answer::Durable } else { Answer::Stored });
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
                self.answers.set(index, Answer::Failed);
            }
        }
        self.verdict()
    }

    /// `node` is being asked.
    pub fn on_asked(&mut self, node: NodeId) {
        if let Some(index) = self.index(node)
            && self.is_open(index)
        {
            self.answers.set(index, Answer::Waited);
        }
    }

    /// `node` must be asked again after a pause: it knew another topology.
    pub fn on_again(&mut self, node: NodeId) {
        if let Some(index) = self.index(node)
            && self.is_open(index)
        {
            self.answers.set(index, Answer::Again);
        }
    }

    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        let (done, durable) = (self.answers.done(), self.answers.of(Answer::Durable));
        if self.is_enough(done, durable) {
            return Verdict::Met;
        }
        let open = self.answers.open();
        let may_be_met = self.is_enough(done | open, durable | open);
        if may_be_met { Verdict::Wait } else { Verdict::Impossible }
    }

    /// The next node to ask so that as many are asked as are still needed.
    pub fn next_to_ask(&self) -> Option<NodeId> {
        let asked = self.answers.done() | self.answers.waited();
        // Who counts in one of those topologies: others would be asked for nothing.
        let short = self.topologies().filter(|topology| !self.meets(asked, Set::MAX, *topology));
        let useful = short.fold(0, |bits, (quorum, _)| bits | quorum);
        let unasked = self.answers.of(Answer::Unasked);
        let mut all = 0..usize::from(self.count);
        let next = all.find(|index| has(unasked, *index) && self.bit(*index) & useful != 0);
        next.map(|index| self.nodes[index])
    }

    /// The share that a node does: the owner's that it is or stands in for.
    fn bit(&self, index: usize) -> u16 {
        let stands_for = index.checked_sub(usize::from(self.owners));
        1 << stands_for.map_or(index, |position| usize::from(self.stands_for[position]))
    }

    /// Whether it is enough, in each topology, if `done` did what was asked, and `durable` have it
    /// on disk.
    #[inline]
    fn is_enough(&self, done: Set, durable: Set) -> bool {
        let [settled, committed] = self.quorums;
        if settled == committed {
            return self.meets(done, durable, (settled, self.need));
        }
        self.is_enough_in_both(done, durable)
    }

    #[cold]
    #[inline(never)]
    fn is_enough_in_both(&self, done: Set, durable: Set) -> bool {
        self.topologies().all(|topology| self.meets(done, durable, topology))
    }

    /// Whether it is enough in a topology: those who count there, and what is needed.
    #[inline]
    fn meets(&self, done: Set, durable: Set, (quorum, need): (u16, Need)) -> bool {
        has_as_many(self.shares_of(done) & quorum, need.nodes)
            && (need.primaries == 0 || has_as_many(self.owners_of(done) & quorum, need.primaries))
            && (need.durable == 0 || has_as_many(self.shares_of(durable) & quorum, need.durable))
    }

    /// Who counts in each topology that is in force, by their bits, and what is needed there. If
    /// nothing moves there is one.
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
        let skipped = usize::from(is_planted && committed != 0 || settled == committed);
        // Without any owner there is nobody whose word would be enough.
        let is_nobody = settled | committed == 0;
        all.into_iter().skip(skipped).filter(move |(quorum, _)| *quorum != 0 || is_nobody)
    }

    /// Distinct nodes that did what was asked; an owner and who stands in for it are one, since
    /// what is kept for an owner is dropped once the owner has it.
    /// The fewest of all topologies.
    pub fn got(&self) -> u8 {
        let done = self.shares_of(self.answers.done());
        self.topologies().map(|(quorum, _)| count(done & quorum)).min().unwrap_or(0)
    }

    /// The nodes that did what was asked, with their positions.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (usize, NodeId)> + use<'_> {
        let done = self.answers.done();
        let asked = self.nodes[..usize::from(self.count)].iter().copied().enumerate();
        asked.filter(move |(index, _)| has(done, *index))
    }

    /// Whether nothing is known yet of what `node` did.
    pub(crate) fn is_open_to(&self, node: NodeId) -> bool {
        self.index(node).is_some_and(|index| self.is_open(index))
    }

    /// Whether `node` did what was asked.
    pub(crate) fn is_done_by(&self, node: NodeId) -> bool {
        self.index(node).is_some_and(|index| has(self.answers.done(), index))
    }

    /// Whether `owner` did what was asked, or somebody who stands in for it.
    pub(crate) fn is_share_done(&self, owner: NodeId) -> bool {
        let mut stand_ins = self.stand_ins().filter(|(_, known)| *known == owner);
        self.is_done_by(owner) || stand_ins.any(|(node, _)| self.is_done_by(node))
    }

    /// The nodes of which nothing is known yet.
    pub(crate) fn open(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_of(self.answers.open())
    }

    /// What is missing, as a client is told: of how many nodes how many did it, in the topology in
    /// which most are missing. Of the primaries alone where others made up the number.
    pub(crate) fn shortfall(&self) -> (u8, u8) {
        let needed = |need: Need| need.nodes.max(need.primaries).max(need.durable);
        self.worst(self.answers.done(), needed)
    }

    /// As `shortfall`, if all did it that may: of how many nodes, whichever they are, or else of
    /// how many primaries.
    pub(crate) fn outlook(&self) -> (u8, u8) {
        let may_do = self.answers.done() | self.answers.open();
        self.worst(may_do, |need| need.nodes.max(need.durable))
    }

    fn worst(&self, done: Set, needed: impl Fn(Need) -> u8) -> (u8, u8) {
        let (shares, owners) = (self.shares_of(done), self.owners_of(done));
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
        self.nodes_of(self.answers.of(Answer::Waited))
    }

    /// The nodes that were not asked yet.
    pub fn unasked(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_of(self.answers.of(Answer::Unasked))
    }

    /// The nodes to ask again.
    pub fn again(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.nodes_of(self.answers.of(Answer::Again))
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
                moved.answers.set(index, self.answers.at(old));
            }
        }
        for (position, (node, owner)) in self.stand_ins().enumerate() {
            if !owners.contains(&node) && is_member(node) && moved.stand_in(node, owner) {
                let answer = self.answers.at(usize::from(self.owners) + position);
                moved.answers.set(usize::from(moved.count) - 1, answer);
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
            if was_behind && !has(moved.answers.of(Answer::Unasked), index) {
                moved.answers.set(index, Answer::Void);
            }
        }
        moved
    }

    fn nodes_of(&self, set: Set) -> impl Iterator<Item = NodeId> + use<'_> {
        let asked = self.nodes[..usize::from(self.count)].iter().enumerate();
        asked.filter(move |(index, _)| has(set, *index)).map(|(_, node)| *node)
    }

    fn is_open(&self, index: usize) -> bool {
        has(self.answers.open(), index)
    }

    /// Which owners are in `set`.
    fn owners_of(&self, set: Set) -> u16 {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::StandInCountedAsPrimary) {
            return self.shares_of(set);
        }
        self.bits_of_owners(set)
    }

    /// Which owners are in `set`, or somebody who stands in for them is.
    fn shares_of(&self, set: Set) -> u16 {
        let owners = self.bits_of_owners(set);
        if set >> self.owners == 0 {
            return owners;
        }
        let stand_ins = usize::from(self.owners)..usize::from(self.count);
        let stand_ins = stand_ins.filter(|index| has(set, *index));
        stand_ins.fold(owners, |bits, index| bits | self.bit(index))
    }

    fn bits_of_owners(&self, set: Set) -> u16 {
        (set & ((1 << self.owners) - 1)) as u16
    }

    /// The position of `node` among those that may be asked, owners first.
    pub(crate) fn index(&self, node: NodeId) -> Option<usize> {
        self.nodes[..usize::from(self.count)].iter().position(|asked| *asked == node)
    }
}

fn count(bits: u16) -> u8 {
    bits.count_ones() as u8
}

/// Whether as many as `needed`, which are few, are among `bits`.
fn has_as_many(bits: u16, needed: u8) -> bool {
    let mut left = bits;
    for _ in 0..needed {
        if left == 0 {
            return false;
        }
        left &= left - 1;
    }
    true
}
