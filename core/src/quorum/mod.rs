//! Counting answers: how many distinct nodes did what was asked, and can it still be enough?
//!
//! Nodes are counted, never slots or messages, so a duplicate answer counts once (Riak's
//! `node_confirms`). A tally that can no longer be met says so at once instead of waiting for
//! the deadline. Invariant: a node is waited for, or answered, or failed, and never two of these.

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
        matches!(self, Answer::Unasked | Answer::Waited | Answer::Again)
    }
}

/// The answers of the nodes that one request asked.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    nodes: [NodeId; REPLICA_COUNT_MAX],
    answers: [Answer; REPLICA_COUNT_MAX],
    count: u8,
    need: Need,
}

impl Tally {
    /// A tally over `owners`, none asked yet; every owner is a primary.
    ///
    /// # Panics
    /// If there are more than `REPLICA_COUNT_MAX` owners.
    pub fn new(owners: &[NodeId], need: Need) -> Tally {
        assert!(owners.len() <= REPLICA_COUNT_MAX);
        let mut nodes = [NodeId(0); REPLICA_COUNT_MAX];
        nodes[..owners.len()].copy_from_slice(owners);
        let answers = [Answer::Unasked; REPLICA_COUNT_MAX];
        Tally { nodes, answers, count: owners.len() as u8, need }
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
        let stored = self.got();
        let durable = self.having(|answer| answer == Answer::Durable);
        let open = self.having(Answer::is_open);
        let Need { nodes, primaries, durable: need_durable } = self.need;
        let short = nodes.max(primaries).saturating_sub(stored);
        let short = short.max(need_durable.saturating_sub(durable));
        if short == 0 {
            Verdict::Met
        } else if short <= open {
            Verdict::Wait
        } else {
            Verdict::Impossible
        }
    }

    /// The next node to ask so that as many are asked as are still needed.
    pub fn next_to_ask(&self) -> Option<NodeId> {
        let waited = self.having(|answer| matches!(answer, Answer::Waited | Answer::Again));
        let need = self.need.nodes.max(self.need.primaries);
        if self.got() + waited >= need { None } else { self.unasked().next() }
    }

    /// Distinct nodes that did what was asked.
    pub fn got(&self) -> u8 {
        self.having(|answer| matches!(answer, Answer::Stored | Answer::Durable))
    }

    /// The nodes that did what was asked, with their positions.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (usize, NodeId)> + use<'_> {
        let count = usize::from(self.count);
        let asked = self.nodes[..count].iter().copied().zip(&self.answers[..count]).enumerate();
        asked
            .filter(|(_, (_, answer))| matches!(answer, Answer::Stored | Answer::Durable))
            .map(|(index, (node, _))| (index, node))
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
    /// kept, new ones are unasked.
    #[must_use]
    pub fn moved_to(&self, owners: &[NodeId]) -> Tally {
        let mut moved = Tally::new(owners, self.need);
        for (index, node) in owners.iter().enumerate() {
            if let Some(old) = self.index(*node) {
                moved.answers[index] = self.answers[old];
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

    fn having(&self, is: fn(Answer) -> bool) -> u8 {
        let answers = &self.answers[..usize::from(self.count)];
        answers.iter().filter(|answer| is(**answer)).count() as u8
    }

    /// The position of `node` among the owners.
    pub(crate) fn index(&self, node: NodeId) -> Option<usize> {
        self.nodes[..usize::from(self.count)].iter().position(|asked| *asked == node)
    }
}
