//! Two rings in force, against sets: who owns, who coordinates, that whoever is read once all has
//! settled has what was acknowledged before, and that nobody is then read any more as before.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::tests::{members, partitions};
use super::{Owners, RingConfig, Rings, Transition};
use crate::id::{NodeId, Partition};
use crate::membership::member::Member;
use crate::prng::Prng;

const CONFIG: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 3 };

type Nodes = BTreeSet<NodeId>;

/// A transition that the generator drew: of ten nodes some are settled, some committed, some that
/// were removed are lost.
struct Drawn {
    settled: Vec<Member>,
    committed: Vec<Member>,
    lost: Vec<NodeId>,
    leaving: Vec<NodeId>,
}

impl Drawn {
    fn draw(prng: &mut Prng) -> Drawn {
        let all = members(10, 3, 5);
        let pick = |prng: &mut Prng, percent| {
            let mut picked = all.clone();
            picked.retain(|_| prng.chance(percent));
            if picked.is_empty() { vec![all[0]] } else { picked }
        };
        let (share, other) = (20 + prng.below(80), 20 + prng.below(80));
        let (settled, committed) = (pick(prng, share), pick(prng, other));
        let is_gone = |member: &&Member| committed.iter().all(|one| one.node != member.node);
        let gone = settled.iter().filter(is_gone).map(|member| member.node);
        let (lost, leaving) = gone.partition(|_| prng.chance(30));
        Drawn { settled, committed, lost, leaving }
    }

    fn rings(&self) -> Rings<'static> {
        let storage = vec![NodeId(0); Rings::slot_count(&CONFIG)].leak();
        let mut rings = Rings::new(storage, CONFIG);
        let Drawn { settled, committed, lost, leaving } = self;
        rings.rebuild(&Transition { settled, committed, lost, leaving, is_moving: true });
        rings
    }
}

fn set(nodes: &[NodeId]) -> Nodes {
    nodes.iter().copied().collect()
}

/// The nodes whose bits are set.
fn of_bits(owners: &Owners, bits: u16) -> Nodes {
    let counted = owners.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
    counted.map(|(_, node)| *node).collect()
}

#[test]
fn owners_are_those_of_both_rings_without_the_lost() {
    let mut prng = Prng::new(1);
    for _ in 0..60 {
        let drawn = Drawn::draw(&mut prng);
        let rings = drawn.rings();
        let lost = set(&drawn.lost);
        for partition in partitions(&CONFIG) {
            let committed = set(rings.committed().owners(partition));
            let left: Nodes = &set(rings.settled().owners(partition)) - &lost;
            let coordinators = if left.is_empty() { committed.clone() } else { left };
            let all: Nodes = &coordinators | &committed;
            let owners = rings.owners(partition);
            assert_eq!(set(&owners), all);
            assert_eq!(owners.len(), all.len(), "none twice");
            let [settled_bits, committed_bits] = owners.quorums();
            assert_eq!(of_bits(&owners, settled_bits), coordinators);
            assert_eq!(of_bits(&owners, committed_bits), committed);
            assert_eq!(set(&rings.coordinators(partition)), coordinators);
            let mut sorted = owners.clone();
            sorted.sort_by(Reverse);
            assert!(sorted.is_sorted_by(|one, other| one > other));
            let sorted_bits = sorted.quorums().map(|bits| of_bits(&sorted, bits));
            assert_eq!(
                (set(&sorted), sorted_bits),
                (all.clone(), [coordinators.clone(), committed])
            );
            let most = coordinators.len().max(rings.committed().owners(partition).len());
            assert_eq!(owners.count_max(), most);
            for node in drawn.settled.iter().chain(&drawn.committed).map(|member| member.node) {
                assert_eq!(rings.is_owner(partition, node), all.contains(&node));
                assert_eq!(rings.is_coordinator(partition, node), coordinators.contains(&node));
                let is_member = drawn.committed.iter().any(|member| member.node == node);
                let leaves = drawn.leaving.contains(&node);
                assert_eq!(rings.contains(node), is_member || leaves);
            }
            let spare: Nodes = &rings.committed().nodes().collect::<Nodes>() - &all;
            assert_eq!(set(&rings.fallbacks(partition)), spare);
        }
    }
}

/// Every subset of `nodes` that has `count` of them.
fn subsets(nodes: &Nodes, count: usize) -> Vec<Nodes> {
    let nodes: Vec<NodeId> = nodes.iter().copied().collect();
    let all = (0..1_u32 << nodes.len()).filter(|bits| bits.count_ones() as usize == count);
    let chosen = |bits: u32| {
        let chosen = nodes.iter().enumerate().filter(move |(index, _)| bits >> index & 1 == 1);
        chosen.map(|(_, node)| *node).collect()
    };
    all.map(chosen).collect()
}

/// Every set of W owners that acknowledged a write before the change, every set of readers from
/// which each that catches up may have heard: once all has settled, R of the owners find the write,
/// unless all who had it are lost.
#[test]
fn what_was_acknowledged_before_a_change_is_read_behind_it() {
    let mut prng = Prng::new(2);
    for _ in 0..40 {
        let drawn = Drawn::draw(&mut prng);
        let rings = drawn.rings();
        for partition in (0..16).map(Partition) {
            for w in 1..=3 {
                check_partition(&rings, partition, w, &set(&drawn.lost));
            }
        }
    }
}

fn check_partition(rings: &Rings<'_>, partition: Partition, w: u8, lost: &Nodes) {
    let settled = set(rings.settled().owners(partition));
    let committed = set(rings.committed().owners(partition));
    let coordinators = set(&rings.coordinators(partition));
    if coordinators.is_subset(&committed) && !coordinators.is_subset(&settled) {
        return; // Nobody is left who had anything.
    }
    for acked in subsets(&settled, usize::from(w).min(settled.len())) {
        let had: Nodes = &acked - lost;
        let heard = rings.warm_count(partition, w);
        // Too few are left to be sure: an operator had to accept that.
        let is_sure = lost.intersection(&settled).count() < settled.len() + 1 - heard.max(1);
        if had.is_empty() || !is_sure {
            continue;
        }
        let mut has: Nodes = &had & &committed;
        for node in committed.iter().filter(|node| rings.catches_up(partition, **node)) {
            let own = usize::from(coordinators.contains(node));
            let others = &coordinators - &Nodes::from([*node]);
            let misses = |asked: &Nodes| asked.is_disjoint(&had) && !has.contains(node);
            if !subsets(&others, heard.saturating_sub(own)).iter().any(misses) {
                has.insert(*node);
            }
        }
        let r = (committed.len() + 1).saturating_sub(usize::from(w)).max(1);
        for asked in subsets(&committed, r.min(committed.len())) {
            let text = (&settled, &committed, lost, &acked, w);
            assert!(!asked.is_disjoint(&has), "{asked:?} do not have it: {text:?}");
        }
    }
}

/// Once all has settled, some node has heard of each partition that moved, from so many of its
/// owners that too few are left to answer a read on an older topology.
#[test]
fn who_does_not_know_of_a_change_reads_nothing_once_it_is_over() {
    let mut prng = Prng::new(4);
    let mut moved = 0;
    for _ in 0..100 {
        let rings = Drawn::draw(&mut prng).rings();
        for partition in partitions(&CONFIG) {
            let committed = set(rings.committed().owners(partition));
            let coordinators = set(&rings.coordinators(partition));
            let settled = set(rings.settled().owners(partition));
            if committed == settled || coordinators.is_disjoint(&settled) {
                continue;
            }
            moved += 1;
            let mut catch_up = committed.iter().filter(|node| rings.catches_up(partition, **node));
            assert!(catch_up.next().is_some(), "{settled:?} {committed:?}");
            for r in 1..=3 {
                let heard = rings.warm_count(partition, r);
                let left = coordinators.len() - heard;
                assert!(left < usize::from(r).min(coordinators.len()), "{settled:?} {heard}");
            }
        }
    }
    assert!(moved > 1000, "{moved} partitions moved");
}

#[test]
fn without_a_change_both_are_one() {
    let members = members(5, 2, 7);
    let mut rings = Drawn::draw(&mut Prng::new(3)).rings();
    rings.rebuild(&Transition::none(&members));
    assert!(!rings.is_moving());
    assert_eq!(rings.settled().hash(), rings.committed().hash());
    assert!(rings.catching_up().is_empty());
    for partition in partitions(&CONFIG) {
        let owners = rings.owners(partition);
        assert_eq!(owners.quorums(), [7, 7]);
        assert_eq!(rings.coordinators(partition), owners);
    }
}
