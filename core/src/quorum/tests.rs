//! The tally against a model that keeps sets of nodes, over every short sequence of answers.

use super::*;
use crate::id::Partition;
use crate::membership::member::{Member, Name};
use crate::ring::{RingConfig, Rings, Transition};
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

    fn verdict(&self, need: Need, owners: &[NodeId]) -> Verdict {
        let met = |more: &BTreeSet<NodeId>| {
            let with_more =
                |set: &BTreeSet<NodeId>| -> BTreeSet<NodeId> { set.union(more).copied().collect() };
            let (stored, durable) = (with_more(&self.stored), with_more(&self.durable));
            let primaries = owners.iter().filter(|owner| stored.contains(owner)).count();
            shares(&stored, owners) >= usize::from(need.nodes)
                && primaries >= usize::from(need.primaries)
                && shares(&durable, owners) >= usize::from(need.durable)
        };
        let is_open = |node: &&NodeId| !self.stored.contains(node) && !self.failed.contains(node);
        let open = NODES.iter().filter(is_open).copied().collect();
        if met(&BTreeSet::new()) {
            Verdict::Met
        } else if met(&open) {
            Verdict::Wait
        } else {
            Verdict::Impossible
        }
    }
}

/// How many owners are among `nodes`, or have the last node there in their stead.
fn shares(nodes: &BTreeSet<NodeId>, owners: &[NodeId]) -> usize {
    let stood_for = |node: &NodeId| if owners.contains(node) { *node } else { NODES[1] };
    nodes.iter().map(stood_for).collect::<BTreeSet<_>>().len()
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
                // Without a stand-in, and with one for the second of two owners.
                let owners = &NODES[..if nodes % 2 == 0 { 3 } else { 2 }];
                let count = moves.len().pow(4);
                for code in 0..count {
                    let mut tally = Tally::new(&Owners::new(owners), need);
                    if owners.len() < NODES.len() {
                        assert!(tally.stand_in(NODES[2], NODES[1]));
                    }
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
                        assert_eq!(verdict, model.verdict(need, owners), "{need:?} {step:?}");
                        assert_eq!(usize::from(tally.got()), shares(&model.stored, owners));
                    }
                }
            }
        }
    }
}

#[test]
fn a_quorum_that_cannot_be_met_fails_at_once() {
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 2, ..Need::default() });
    assert_eq!(tally.on_failure(NodeId(1)), Verdict::Wait);
    assert_eq!(tally.on_failure(NodeId(2)), Verdict::Impossible);
    assert_eq!(tally.on_success(NodeId(2), true), Verdict::Wait);
    assert_eq!(tally.on_success(NodeId(3), true), Verdict::Met);
}

#[test]
fn moving_keeps_what_remaining_owners_did() {
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 2, ..Need::default() });
    tally.on_success(NodeId(1), true);
    tally.on_success(NodeId(2), false);
    let moved =
        tally.moved_to(&Owners::new(&[NodeId(4), NodeId(2), NodeId(5)]), tally.need(), |_| true);
    assert_eq!(moved.verdict(), Verdict::Wait);
    assert_eq!(moved.got(), 1);
    assert_eq!(moved.unasked().collect::<Vec<_>>(), [NodeId(4), NodeId(5)]);
}

/// Who has caught up since it was asked may have answered before that; who still has to goes on to
/// count where it did, and of a write nothing is void.
#[test]
fn what_was_answered_before_it_was_there_is_void_once_it_is() {
    let need = Need { nodes: 2, ..Need::default() };
    let void_count = core::cell::Cell::new(0);
    for_each_pair_of_owners(|owners, old, new| {
        for asked in 0..1 << owners.len() {
            let mut tally = Tally::new(owners, need);
            let is_asked = |index: usize| asked >> index & 1 == 1;
            for (index, node) in owners.iter().enumerate().filter(|(index, _)| is_asked(*index)) {
                match index % 2 {
                    0 => tally.on_asked(*node),
                    _ => {
                        tally.on_success(*node, false);
                    }
                }
            }
            let all_answer = |mut tally: Tally, nodes: &[NodeId]| {
                for node in nodes {
                    tally.on_success(*node, false);
                    tally.on_failure(*node);
                }
                nodes.iter().filter(|node| tally.is_done_by(**node)).count()
            };
            let is_void = |node: &&NodeId| {
                let index = owners.iter().position(|owner| owner == *node).unwrap();
                !old.contains(node) && is_asked(index)
            };
            let voids = new.iter().filter(is_void).count();
            void_count.set(void_count.get() + voids);
            let settled = Owners::new(new);
            let moved = tally.read_moved_to(&settled, need, |_| true);
            assert_eq!(all_answer(moved, new), new.len() - voids, "{old:?} {new:?} {asked}");
            let written = tally.moved_to(&settled, need, |_| true);
            assert_eq!(all_answer(written, new), new.len());
            let same = tally.read_moved_to(owners, need, |_| true);
            assert_eq!(all_answer(same, owners), owners.len());
        }
    });
    assert!(void_count.get() > 0);
}

#[test]
fn only_as_many_are_asked_as_are_needed() {
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 2, ..Need::default() });
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
fn one_stands_in_for_each_owner() {
    let (four, five) = (NodeId(4), NodeId(5));
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 3, primaries: 2, durable: 0 });
    assert!(!tally.stand_in(four, NodeId(9)), "no owner");
    assert!(tally.stand_in(four, NODES[2]));
    assert!(!tally.stand_in(five, NODES[2]), "one for each");
    assert_eq!([four, NODES[2], five].map(|node| tally.target(node)), [Some(NODES[2]), None, None]);
    tally.on_failure(NODES[2]);
    tally.on_success(four, false);
    tally.on_success(NODES[0], false);
    assert_eq!((tally.got(), tally.verdict()), (2, Verdict::Wait));
    assert_eq!(tally.on_failure(NODES[1]), Verdict::Impossible);
    assert!(tally.stand_in(five, NODES[1]));
    assert_eq!(tally.on_success(five, false), Verdict::Impossible, "a stand-in is no primary");
    assert_eq!(tally.on_success(NODES[2], false), Verdict::Met, "a late one is");
    let moved = tally.moved_to(&Owners::new(&[four, NODES[0], NODES[2]]), tally.need(), |_| true);
    assert_eq!((moved.got(), moved.target(five)), (2, None), "what was kept for others is no copy");
    let moved =
        tally.moved_to(&Owners::new(&[NodeId(6), NODES[1], NODES[0]]), tally.need(), |_| true);
    assert_eq!((moved.got(), moved.target(four)), (2, None), "nor for who owns nothing any more");
    assert_eq!(moved.target(five), Some(NODES[1]));
    let moved =
        tally.moved_to(&Owners::new(&[NodeId(6), NODES[1], NODES[0]]), tally.need(), |node| {
            node != five
        });
    assert_eq!((moved.got(), moved.target(five)), (1, None), "nor by who is no member");
}

#[test]
fn what_lacks_is_told() {
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 2, primaries: 2, durable: 1 });
    tally.on_success(NODES[0], false);
    assert_eq!(tally.shortfall(), (2, 1));
    tally.on_failure(NODES[1]);
    assert!(tally.stand_in(NodeId(4), NODES[1]));
    tally.on_success(NodeId(4), true);
    assert_eq!(tally.shortfall(), (2, 1), "a stand-in is no primary");
    tally.on_success(NODES[2], false);
    assert_eq!((tally.shortfall(), tally.verdict()), ((2, 3), Verdict::Met));
}

#[test]
fn a_stand_in_is_asked_behind_the_owners() {
    let mut tally = Tally::new(&Owners::new(&NODES[..2]), Need { nodes: 2, ..Need::default() });
    tally.on_failure(NODES[0]);
    assert!(tally.stand_in(NodeId(4), NODES[0]));
    for expected in [NODES[1], NodeId(4)] {
        assert_eq!(tally.next_to_ask(), Some(expected));
        tally.on_asked(expected);
    }
    // Enough nodes are asked, but too few primaries.
    let mut tally = Tally::new(&Owners::new(&NODES), Need { nodes: 1, primaries: 2, durable: 0 });
    tally.on_asked(NODES[0]);
    assert_eq!(tally.next_to_ask(), Some(NODES[1]));
    tally.on_asked(NODES[1]);
    assert_eq!(tally.next_to_ask(), None);
}

#[test]
fn owners_at_the_limit_are_taken() {
    let owners: Vec<NodeId> = (1..=8).map(NodeId).collect();
    let tally = Tally::new(&Owners::new(&owners), Need { nodes: 8, ..Need::default() });
    assert_eq!(tally.verdict(), Verdict::Wait);
}

#[test]
#[should_panic(expected = "REPLICA_COUNT_MAX")]
fn one_owner_past_the_limit_is_a_bug() {
    let owners: Vec<NodeId> = (1..=9).map(NodeId).collect();
    Tally::new(&Owners::new(&owners), Need::default());
}

/// Two topologies in force: a verdict is the worse of both, each counted alone, and in the settled
/// one all owners are always enough.
#[test]
fn a_quorum_is_needed_in_both_topologies() {
    for_each_pair_of_owners(|owners, old, new| {
        for answers in 0..3_usize.pow(owners.len() as u32) {
            let need = Need { nodes: 2, primaries: 1, durable: 1 };
            let at_most = |owners: &[NodeId]| Need { nodes: 2.min(owners.len() as u8), ..need };
            let mut tallies = [
                Tally::new(owners, need),
                Tally::new(&Owners::new(old), at_most(old)),
                Tally::new(&Owners::new(new), at_most(new)),
            ];
            let mut number = answers;
            for node in owners.iter() {
                for tally in &mut tallies {
                    match number % 3 {
                        0 => tally.on_failure(*node),
                        1 => tally.on_success(*node, true),
                        _ => Verdict::Wait,
                    };
                }
                number /= 3;
            }
            let [both, one, other] = tallies.map(|tally| tally.verdict());
            let expected = match (one, other) {
                (Verdict::Impossible, _) | (_, Verdict::Impossible) => Verdict::Impossible,
                (Verdict::Met, Verdict::Met) => Verdict::Met,
                _ => Verdict::Wait,
            };
            assert_eq!(both, expected, "{old:?} {new:?} {answers}");
        }
    });
}

/// Whatever the order, those who are asked are enough in both topologies, and each was asked since
/// one in which it counts lacked answers.
#[test]
fn nobody_is_asked_for_a_topology_in_which_enough_are() {
    let need = Need { nodes: 2, ..Need::default() };
    for_each_pair_of_owners(|owners, old, new| {
        for order in 0..8 {
            let mut owners = owners.clone();
            owners.sort_by(|node| node.0.wrapping_mul(0x9E37_79B9) >> order & 7);
            let mut tally = Tally::new(&owners, need);
            let mut asked = BTreeSet::new();
            while let Some(node) = tally.next_to_ask() {
                let lacks = |owners: &[NodeId]| {
                    let count = owners.iter().filter(|owner| asked.contains(*owner)).count();
                    owners.contains(&node) && count < 2.min(owners.len())
                };
                assert!(
                    lacks(old) || lacks(new),
                    "{node} of {old:?} {new:?}, {asked:?} were asked"
                );
                tally.on_asked(node);
                asked.insert(node);
            }
            for node in asked {
                tally.on_success(node, false);
            }
            assert_eq!(tally.verdict(), Verdict::Met, "{old:?} {new:?}");
        }
    });
}

/// The owners of partitions in both topologies, in the settled one, and in the committed one.
fn for_each_pair_of_owners(check: impl Fn(&Owners, &[NodeId], &[NodeId])) {
    let zone = Name::new("default").unwrap();
    let member = |node: u32| Member { node: NodeId(node), uuid: node.into(), weight: 100, zone };
    let members = |nodes: &[u32]| nodes.iter().map(|node| member(*node)).collect::<Vec<_>>();
    let config = RingConfig { partition_bits: 6, n: 3, seed: 1 };
    for (settled, committed) in
        [(&[1][..], &[1, 2, 3][..]), (&[1, 2, 3], &[4]), (&[1, 2, 3, 4, 5], &[1, 2, 3, 6])]
    {
        let mut storage = std::vec![NodeId(0); Rings::slot_count(&config)];
        let mut rings = Rings::new(&mut storage, config);
        let (old, new) = (members(settled), members(committed));
        rings.rebuild(&Transition {
            settled: &old,
            committed: &new,
            is_moving: true,
            ..Transition::none(&[])
        });
        for partition in (0..64).map(Partition) {
            let (old, new) =
                (rings.settled().owners(partition), rings.committed().owners(partition));
            check(&rings.owners(partition), old, new);
        }
    }
}

/// All members may be removed while a request is under way: it must not end well for that.
#[test]
fn nobody_is_no_quorum() {
    let none = Owners::new(&[]);
    let need = Need { nodes: 1, ..Need::default() };
    assert_eq!(Tally::new(&none, need).verdict(), Verdict::Impossible);
    let mut tally = Tally::new(&Owners::new(&NODES), need);
    assert_eq!(tally.on_success(NODES[0], true), Verdict::Met);
    let moved = tally.moved_to(&none, need, |_| false);
    assert_eq!((moved.verdict(), moved.shortfall()), (Verdict::Impossible, (1, 0)));
}
