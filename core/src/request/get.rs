//! A read (Dynamo §4.5, §5): ask as many owners as R needs, more when one fails or is slow, and
//! reply when R distinct nodes answered. Their records are joined by the driver as they come.

use super::{Failure, Outcome, Step};
use crate::id::NodeId;
use crate::quorum::{ASKED_COUNT_MAX, Need, Tally, Verdict};
use crate::ring::Owners;

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
    /// The versions of those that answered, by their position in the tally.
    versions: [u64; ASKED_COUNT_MAX],
    /// A context was given and what was gathered does not cover it yet.
    uncovered: bool,
}

impl Get {
    /// A read from `owners` in the order in which they should be asked.
    pub fn new(owners: &Owners, need: Need, cover: bool) -> Get {
        let versions = [0; ASKED_COUNT_MAX];
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

    /// See [`Tally::stand_in`].
    pub fn stand_in(&mut self, node: NodeId, owner: NodeId) -> bool {
        self.tally.stand_in(node, owner)
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

    /// Goes on with another set of owners; see [`Tally::read_moved_to`].
    pub fn move_to(
        &mut self,
        owners: &Owners,
        need: Need,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Step {
        let tally = self.tally.read_moved_to(owners, need, is_member);
        let mut versions = [0; ASKED_COUNT_MAX];
        for (index, node) in tally.answered() {
            versions[index] = self.tally.index(node).map_or(0, |old| self.versions[old]);
        }
        (self.tally, self.versions) = (tally, versions);
        self.step()
    }

    /// The owners that answered with their versions, if those differ from each other or from what
    /// others keep for owners: then some of them lack what others have. Who keeps nothing for
    /// anybody lacks nothing.
    pub fn differing(&self) -> impl Iterator<Item = (NodeId, u64)> + use<'_> {
        let is_owner = |node: NodeId| self.tally.target(node).is_none();
        let answered = || self.tally.answered().map(|(index, node)| (node, self.versions[index]));
        let mut versions = answered()
            .filter(move |(node, version)| is_owner(*node) || *version != 0)
            .map(|(_, version)| version);
        let first = versions.next().unwrap_or_default();
        let differ = versions.any(|version| version != first);
        answered().filter(move |(node, _)| differ && is_owner(*node))
    }

    /// How the read ends when its deadline passes.
    pub fn expire(&self) -> Failure {
        if self.tally.verdict() == Verdict::Met { Failure::NotCovered } else { self.no_quorum() }
    }

    fn no_quorum(&self) -> Failure {
        let (needed, got) = self.tally.shortfall();
        Failure::NoQuorum { needed, got }
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
    const NEED: Need = Need { nodes: 2, primaries: 0, durable: 0 };

    fn found(version: u64, covered: bool) -> Found {
        Found { version, covered }
    }

    /// A read of two of three owners, both asked.
    fn read(cover: bool) -> Get {
        let mut get = Get::new(&Owners::new(&OWNERS), NEED, cover);
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
        get.move_to(&Owners::new(&[NodeId(3), NodeId(4), NodeId(1)]), NEED, |_| true);
        assert_eq!(differing(&get), [(NodeId(3), 8), one]);
        get.move_to(&Owners::new(&[NodeId(3), NodeId(4)]), NEED, |_| true);
        assert_eq!(differing(&get), []);
    }

    #[test]
    fn what_is_kept_for_an_owner_shows_what_others_lack() {
        let differing = |get: &Get| get.differing().collect::<std::vec::Vec<_>>();
        let four = NodeId(4);
        for (kept, expected) in [(0, &[][..]), (7, &[]), (8, &[(NodeId(1), 7)])] {
            let mut get = read(false);
            assert!(get.stand_in(four, NodeId(2)));
            assert_eq!(get.on_failure(NodeId(2)), Step::Wait);
            assert_eq!(get.on_answer(four, found(kept, false)), Step::Reply(Outcome::Got));
            assert_eq!(differing(&get), expected, "and who stands in is not brought up to date");
            get.move_to(&Owners::new(&[NodeId(3), NodeId(2), NodeId(1)]), NEED, |_| true);
            assert_eq!(differing(&get), expected, "on another ring, too");
            get.move_to(&Owners::new(&OWNERS), NEED, |node| node != four);
            assert_eq!(differing(&get), [], "unless it is no member any more");
        }
    }
}
