//! The tally against a model that keeps sets of nodes, over every short sequence of answers.

use super::*;
use std::collections::BTreeSet;
use std::vec::Vec;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

#[derive(Clone, Copy, Debug)]
enum Move {
    Stored(NodeId),
    Durable(NodeId),
    Failed(NodeId),
}

/// The naive model: sets, and "possible" by trying the best future.
#[derive(Default)]
struct Model {
    stored: BTreeSet<NodeId>,
    durable: BTreeSet<NodeId>,
    failed: BTreeSet<NodeId>,
}

impl Model {
    fn apply(&mut self, step: Move) {
        match step {
            Move::Stored(node) if NODES.contains(&node) => {
                self.stored.insert(node);
                self.failed.remove(&node);
            }
            Move::Durable(node) if NODES.contains(&node) => {
                self.stored.insert(node);
                self.durable.insert(node);
                self.failed.remove(&node);
            }
            Move::Failed(node) if NODES.contains(&node) && !self.stored.contains(&node) => {
                self.failed.insert(node);
            }
            _ => {}
        }
    }

    fn verdict(&self, need: Need) -> Verdict {
        let met = |stored: usize, durable: usize| {
            stored >= usize::from(need.nodes)
                && stored >= usize::from(need.primaries)
                && durable >= usize::from(need.durable)
        };
        let open = NODES.len() - self.stored.len() - self.failed.len();
        if met(self.stored.len(), self.durable.len()) {
            Verdict::Met
        } else if met(self.stored.len() + open, self.durable.len() + open) {
            Verdict::Wait
        } else {
            Verdict::Impossible
        }
    }
}

#[test]
fn every_sequence_of_four_answers_matches_the_model() {
    let mut moves = Vec::new();
    for node in [NodeId(1), NodeId(2), NodeId(3), NodeId(9)] {
        moves.extend([Move::Stored(node), Move::Durable(node), Move::Failed(node)]);
    }
    for nodes in 0..=4 {
        for primaries in [0, 2] {
            for durable in [0, 1, 3] {
                let need = Need { nodes, primaries, durable };
                let count = moves.len().pow(4);
                for code in 0..count {
                    let mut tally = Tally::new(&NODES, need);
                    let mut model = Model::default();
                    let mut code = code;
                    for _ in 0..4 {
                        let step = moves[code % moves.len()];
                        code /= moves.len();
                        model.apply(step);
                        let verdict = match step {
                            Move::Stored(node) => tally.on_success(node, false),
                            Move::Durable(node) => tally.on_success(node, true),
                            Move::Failed(node) => tally.on_failure(node),
                        };
                        assert_eq!(verdict, model.verdict(need), "{need:?} {step:?}");
                        assert_eq!(usize::from(tally.got()), model.stored.len());
                    }
                }
            }
        }
    }
}

#[test]
fn a_quorum_that_cannot_be_met_fails_at_once() {
    let mut tally = Tally::new(&NODES, Need { nodes: 2, ..Need::default() });
    assert_eq!(tally.on_failure(NodeId(1)), Verdict::Wait);
    assert_eq!(tally.on_failure(NodeId(2)), Verdict::Impossible);
    assert_eq!(tally.on_success(NodeId(2), true), Verdict::Wait);
    assert_eq!(tally.on_success(NodeId(3), true), Verdict::Met);
}

#[test]
fn moving_keeps_what_remaining_owners_did() {
    let mut tally = Tally::new(&NODES, Need { nodes: 2, ..Need::default() });
    tally.on_success(NodeId(1), true);
    tally.on_success(NodeId(2), false);
    let moved = tally.moved_to(&[NodeId(4), NodeId(2), NodeId(5)]);
    assert_eq!(moved.verdict(), Verdict::Wait);
    assert_eq!(moved.got(), 1);
    assert_eq!(moved.unasked().collect::<Vec<_>>(), [NodeId(4), NodeId(5)]);
}

#[test]
fn only_as_many_are_asked_as_are_needed() {
    let mut tally = Tally::new(&NODES, Need { nodes: 2, ..Need::default() });
    for expected in [NodeId(1), NodeId(2)] {
        assert_eq!(tally.next_to_ask(), Some(expected));
        tally.on_asked(expected);
    }
    assert_eq!(tally.next_to_ask(), None);
    tally.on_again(NodeId(1));
    assert_eq!(tally.next_to_ask(), None);
    assert_eq!(tally.again().collect::<Vec<_>>(), [NodeId(1)]);
    tally.on_failure(NodeId(2));
    assert_eq!(tally.next_to_ask(), Some(NodeId(3)));
    tally.on_asked(NodeId(3));
    assert_eq!(tally.waited().collect::<Vec<_>>(), [NodeId(3)]);
}

#[test]
fn owners_at_the_limit_are_taken() {
    let owners: Vec<NodeId> = (1..=8).map(NodeId).collect();
    let tally = Tally::new(&owners, Need { nodes: 8, ..Need::default() });
    assert_eq!(tally.verdict(), Verdict::Wait);
}

#[test]
#[should_panic(expected = "REPLICA_COUNT_MAX")]
fn one_owner_past_the_limit_is_a_bug() {
    let owners: Vec<NodeId> = (1..=9).map(NodeId).collect();
    Tally::new(&owners, Need::default());
}
