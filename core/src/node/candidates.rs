//! Nodes that are no members and can be reached: each tells what it would commit to become one, so
//! that people may stage that at any member. Nothing of it is kept once such a node is gone.

use super::Node;
use crate::id::NodeId;
use crate::limits::CANDIDATE_COUNT_MAX;
use crate::membership::member::Member;
use heapless::Vec;

/// Ascending by node.
pub(super) type Candidates = Vec<Member, CANDIDATE_COUNT_MAX>;

impl Node<'_> {
    /// This node as it would become a member; `None` if it is one, or cannot be one any more. To be
    /// sent whenever the topology is.
    pub fn own_candidacy(&self) -> Option<Member> {
        let member = self.config.member;
        self.may_join(member.node).then_some(member)
    }

    /// Nodes that could become members, as they told, ascending; not this one.
    pub fn candidates(&self) -> &[Member] {
        &self.candidates
    }

    /// A node tells that it is no member, and what it would be.
    pub(super) fn on_candidate(&mut self, member: Member) {
        let node = member.node;
        if !self.may_join(node) || !self.is_reachable(node) {
            return;
        }
        match self.candidates.binary_search_by_key(&node, |known| known.node) {
            Ok(index) => self.candidates[index] = member,
            // One of too many is not shown; it may stage itself.
            Err(index) => drop(self.candidates.insert(index, member)),
        }
    }

    /// `node` cannot be reached any more.
    pub(super) fn drop_candidate(&mut self, node: NodeId) {
        self.candidates.retain(|known| known.node != node);
    }

    /// Another topology is in force: whom it adds or removes is no candidate.
    pub(super) fn drop_members(&mut self) {
        let mut candidates = core::mem::take(&mut self.candidates);
        candidates.retain(|known| self.may_join(known.node));
        self.candidates = candidates;
    }

    /// Whether no operation was committed about `node`.
    fn may_join(&self, node: NodeId) -> bool {
        let operations = self.operations();
        operations.last_known(node).is_none() && !operations.is_removed(node)
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::limits::{CANDIDATE_COUNT_MAX, FRAME_AGE_MAX, PROBE_INTERVAL};
    use crate::membership::member::Name;
    use std::boxed::Box;

    const NOW: Instant = Instant(1);

    fn member(node: u32) -> Member {
        let zone = Name::new("default").unwrap();
        Member { node: NodeId(node), uuid: node.into(), weight: 100, zone }
    }

    fn node(node: u32) -> Box<Node<'static>> {
        let ring = RingConfig { partition_bits: 6, n: 3, seed: 1 };
        let config = NodeConfig {
            member: member(node),
            ring,
            join: false,
            shards: 1,
            boot: Boot(1),
            in_place: true,
            frame_age_max: FRAME_AGE_MAX,
            probe_interval: PROBE_INTERVAL,
            seed: 1,
        };
        let memory = NodeMemory {
            operations: std::vec![[0; Operation::BYTES]; 64].leak(),
            staged: std::vec![[0; Operation::BYTES]; 4].leak(),
            owners: std::vec![NodeId(0); Rings::slot_count(&ring)].leak(),
            entries: std::vec![Entry::EMPTY; MEMBER_COUNT_MAX].leak(),
        };
        Box::new(Node::new(config, memory))
    }

    fn input(node: &mut Node<'_>, input: NodeInput<'_>) {
        node.handle_input(NOW, input);
        let mut persists = false;
        while let Some(output) = node.poll_output() {
            persists |= matches!(output, NodeOutput::Persist { .. });
        }
        if persists {
            self::input(node, NodeInput::Persisted);
        }
    }

    fn shown(node: &Node<'_>) -> std::vec::Vec<u32> {
        node.candidates().iter().map(|member| member.node.0).collect()
    }

    #[test]
    fn who_waits_is_known_until_it_is_a_member_or_gone() {
        let mut founder = node(1);
        assert_eq!(founder.own_candidacy(), Some(member(1)));
        input(&mut founder, NodeInput::Found);
        assert_eq!(founder.own_candidacy(), None);
        input(&mut founder, NodeInput::Candidate(member(7)));
        assert_eq!(shown(&founder), [], "it cannot be reached");
        for other in [7, 5, 6] {
            input(&mut founder, NodeInput::PeerUp(NodeId(other)));
            input(&mut founder, NodeInput::Candidate(member(other)));
            input(&mut founder, NodeInput::Candidate(member(other)));
        }
        assert_eq!(shown(&founder), [5, 6, 7]);
        input(&mut founder, NodeInput::PeerDown(NodeId(6)));
        assert_eq!(shown(&founder), [5, 7]);
        let add = [Operation::Add(member(7)).moving().to_bytes()];
        let operations = Operations::new_checked(add.as_flattened()).unwrap();
        input(&mut founder, NodeInput::Commit { operations });
        assert_eq!(shown(&founder), [5]);
        input(&mut founder, NodeInput::Candidate(member(7)));
        assert_eq!(shown(&founder), [5], "a member is none");
    }

    #[test]
    fn candidates_are_bounded() {
        let mut founder = node(1);
        input(&mut founder, NodeInput::Found);
        for other in 2..CANDIDATE_COUNT_MAX as u32 + 9 {
            input(&mut founder, NodeInput::PeerUp(NodeId(other)));
            input(&mut founder, NodeInput::Candidate(member(other)));
        }
        assert_eq!(shown(&founder).len(), CANDIDATE_COUNT_MAX);
    }
}
