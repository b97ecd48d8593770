//! A read (Dynamo §4.5, §5): ask as many owners as R needs, more when one fails or is slow, and
//! reply when R distinct nodes answered. Their records are joined by the driver as they come.

use super::{Failure, Outcome, Step};
use crate::id::NodeId;
use crate::limits::REPLICA_COUNT_MAX;
use crate::quorum::{Need, Tally, Verdict};

/// What the answer of one node brought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// [`Record::version`](crate::causality::Record::version) of its record; 0 if it has none.
    pub version: u64,
    /// Whether what is gathered by now covers the context that the read was given.
    pub covered: bool,
}

/// A read in flight.
#[derive(Clone, Copy, Debug)]
pub struct Get {
    tally: Tally,
    /// The versions of those that answered, by their position among the owners.
    versions: [u64; REPLICA_COUNT_MAX],
    /// A context was given and what was gathered does not cover it yet.
    uncovered: bool,
}

impl Get {
    /// A read from `owners` in the order in which they should be asked.
    pub fn new(owners: &[NodeId], need: Need, cover: bool) -> Get {
        let versions = [0; REPLICA_COUNT_MAX];
        Get { tally: Tally::new(owners, need), versions, uncovered: cover }
    }

    /// The next node to ask now, marked as asked; none when enough are asked.
    pub fn next_to_ask(&mut self) -> Option<NodeId> {
        let next = match self.tally.verdict() {
            // The quorum has answered without covering the context: everybody else is asked.
            Verdict::Met if self.uncovered => self.tally.unasked().next(),
            Verdict::Met | Verdict::Impossible => None,
            Verdict::Wait => self.tally.next_to_ask(),
        };
        if let Some(node) = next {
            self.tally.on_asked(node);
        }
        next
    }

    /// One more node to ask although enough are asked: an asked one is slow.
    pub fn hedge(&mut self) -> Option<NodeId> {
        let node = self.tally.unasked().next()?;
        self.tally.on_asked(node);
        Some(node)
    }

    /// `node` answered.
    pub fn on_answer(&mut self, node: NodeId, found: Found) -> Step {
        self.uncovered &= !found.covered;
        if let Some(index) = self.tally.index(node) {
            self.versions[index] = found.version;
        }
        self.tally.on_success(node, false);
        self.step()
    }

    /// `node` failed, or cannot be reached. A damaged record is a failure, never "not found".
    pub fn on_failure(&mut self, node: NodeId) -> Step {
        self.tally.on_failure(node);
        self.step()
    }

    /// The answers so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// See [`Tally::on_again`].
    pub fn on_again(&mut self, node: NodeId) {
        self.tally.on_again(node);
    }

    /// See [`Tally::on_asked`].
    pub fn on_asked(&mut self, node: NodeId) {
        self.tally.on_asked(node);
    }

    /// Goes on with another set of owners.
    pub fn move_to(&mut self, owners: &[NodeId]) -> Step {
        let mut versions = [0; REPLICA_COUNT_MAX];
        for (version, owner) in versions.iter_mut().zip(owners) {
            *version = self.tally.index(*owner).map_or(0, |index| self.versions[index]);
        }
        (self.tally, self.versions) = (self.tally.moved_to(owners), versions);
        self.step()
    }

    /// The nodes that answered with their versions, if those differ: then some of them lack what
    /// others have.
    pub fn differing(&self) -> impl Iterator<Item = (NodeId, u64)> + use<'_> {
        let answered = || self.tally.answered().map(|(index, node)| (node, self.versions[index]));
        let mut versions = answered().map(|(_, version)| version);
        let first = versions.next().unwrap_or_default();
        let differ = versions.any(|version| version != first);
        answered().filter(move |_| differ)
    }

    /// How the read ends when its deadline passes.
    pub fn expire(&self) -> Failure {
        if self.tally.verdict() == Verdict::Met { Failure::NotCovered } else { self.no_quorum() }
    }

    fn no_quorum(&self) -> Failure {
        let need = self.tally.need();
        Failure::NoQuorum { needed: need.nodes.max(need.primaries), got: self.tally.got() }
    }

    fn step(&self) -> Step {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ReadQuorumIgnored) && self.tally.got() > 0 {
            return Step::Reply(Outcome::Got);
        }
        let open = self.tally.waited().chain(self.tally.unasked()).chain(self.tally.again());
        match self.tally.verdict() {
            Verdict::Met if !self.uncovered => Step::Reply(Outcome::Got),
            Verdict::Met if open.count() == 0 => Step::Reply(Outcome::Failed(Failure::NotCovered)),
            Verdict::Impossible => Step::Reply(Outcome::Failed(self.no_quorum())),
            Verdict::Met | Verdict::Wait => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn found(version: u64, covered: bool) -> Found {
        Found { version, covered }
    }

    /// A read of two of three owners, both asked.
    fn read(cover: bool) -> Get {
        let mut get = Get::new(&OWNERS, Need { nodes: 2, ..Need::default() }, cover);
        assert_eq!(get.next_to_ask(), Some(NodeId(1)));
        assert_eq!(get.next_to_ask(), Some(NodeId(2)));
        assert_eq!(get.next_to_ask(), None);
        assert_eq!(get.on_answer(NodeId(1), found(7, false)), Step::Wait);
        get
    }

    #[test]
    fn nobody_is_asked_once_the_read_is_answered() {
        let mut get = read(false);
        assert_eq!(get.on_answer(NodeId(2), found(7, false)), Step::Reply(Outcome::Got));
        assert_eq!(get.next_to_ask(), None);
        // Even if the context was covered only by the last answer.
        let mut get = read(true);
        assert_eq!(get.on_answer(NodeId(2), found(7, true)), Step::Reply(Outcome::Got));
        assert_eq!(get.next_to_ask(), None);
    }

    #[test]
    fn everybody_is_asked_while_the_context_is_not_covered() {
        let mut get = read(true);
        assert_eq!(get.on_answer(NodeId(2), found(7, false)), Step::Wait);
        assert_eq!(get.next_to_ask(), Some(NodeId(3)));
        assert_eq!(get.next_to_ask(), None);
        let not_covered = Step::Reply(Outcome::Failed(Failure::NotCovered));
        assert_eq!(get.on_answer(NodeId(3), found(7, false)), not_covered);
    }

    #[test]
    fn versions_are_told_only_if_they_differ() {
        let differing = |get: &Get| get.differing().collect::<std::vec::Vec<_>>();
        let mut get = read(false);
        assert_eq!(differing(&get), []);
        get.on_answer(NodeId(2), found(7, false));
        assert_eq!(differing(&get), []);
        get.on_answer(NodeId(3), found(0, false));
        let (one, two, three) = ((NodeId(1), 7), (NodeId(2), 7), (NodeId(3), 0));
        assert_eq!(differing(&get), [one, two, three]);
        // Whoever failed has no version.
        let mut get = read(false);
        get.on_failure(NodeId(2));
        assert_eq!(differing(&get), []);
        get.on_answer(NodeId(3), found(8, false));
        assert_eq!(differing(&get), [one, (NodeId(3), 8)]);
        get.move_to(&[NodeId(3), NodeId(4), NodeId(1)]);
        assert_eq!(differing(&get), [(NodeId(3), 8), one]);
        get.move_to(&[NodeId(3), NodeId(4)]);
        assert_eq!(differing(&get), []);
    }
}
