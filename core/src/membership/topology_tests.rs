//! The laws of the set, against a `BTreeSet`, and the border of its encoding.

use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::member::{Member, Name};
use super::operation::{Committed, Encoded, MalformedOperations, Operation};
use super::topology::{Comparison, Full, Operations, Topology};
use crate::id::{NodeId, TopologyId};
use crate::limits::{MEMBER_COUNT_MAX, OPERATION_COUNT_MAX};
use crate::prng::Prng;

fn add(node: u32, uuid: u128, weight: u16, zone: &str) -> Operation {
    Operation::Add(Member { node: NodeId(node), uuid, weight, zone: Name::new(zone).unwrap() })
}

/// Four operations that differ in every way that two Adds of few nodes can.
fn universe() -> [Operation; 4] {
    [add(1, 10, 100, "a"), add(1, 9, 200, "b"), add(0x0200, 10, 100, "a"), add(3, 7, 1, "c")]
}

/// The set of the operations whose bits are set.
fn oracle(bits: usize) -> BTreeSet<Encoded> {
    let chosen = universe().into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
    chosen.map(|(_, operation)| operation.settled().to_bytes()).collect()
}

fn flat(set: &BTreeSet<Encoded>) -> Vec<u8> {
    set.iter().flatten().copied().collect()
}

#[test]
fn operations_have_the_documented_layout() {
    let bytes = add(0x0403_0201, 0x1122, 0x0605, "east").settled().to_bytes();
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[..8], [1, 2, 3, 4, 1, 0, 0, 0]);
    assert_eq!(bytes[8..24], 0x1122u128.to_le_bytes());
    assert_eq!(bytes[24..32], [0, 0, 0, 0, 5, 6, 0, 0]);
    assert_eq!(bytes[32..37], *b"east\0");
    let east = add(0x0403_0201, 0x1122, 0x0605, "east");
    assert_eq!(Committed::from_bytes(&bytes), Ok(east.settled()));
}

#[test]
fn golden_ids() {
    assert_eq!(Operations::EMPTY.id(), TopologyId(0));
    assert_eq!(
        Operations::new_checked(&flat(&oracle(1))).unwrap().id(),
        TopologyId(0x50cb_0b62_a2bf_bb2b)
    );
    assert_eq!(
        Operations::new_checked(&flat(&oracle(15))).unwrap().id(),
        TopologyId(0x9ad9_cb81_98cc_827a)
    );
}

/// Every pair of subsets: union, its id, and how the two compare.
#[test]
fn merging_is_union_for_every_pair_of_sets() {
    for left in 0..16 {
        for right in 0..16 {
            let (a, b) = (flat(&oracle(left)), flat(&oracle(right)));
            let (a, b) =
                (Operations::new_checked(&a).unwrap(), Operations::new_checked(&b).unwrap());
            let mut storage = [[0; Operation::BYTES]; 4];
            let mut topology = Topology::new(&mut storage);
            assert_eq!(topology.merge(a), Ok(left != 0));
            assert_eq!(topology.merge(b), Ok(right & !left != 0));
            assert_eq!(topology.operations().bytes(), flat(&oracle(left | right)));
            assert_eq!(topology.id() == a.id(), left | right == left);
            assert_eq!(a.covers(b), right & !left == 0);
            let comparison = match (left & !right, right & !left) {
                (0, 0) => Comparison::Equal,
                (_, 0) => Comparison::Newer,
                (0, _) => Comparison::Older,
                _ => Comparison::Diverged,
            };
            assert_eq!(a.compare(b), comparison);
        }
    }
}

#[test]
fn any_order_of_inserts_and_merges_gives_the_same_set() {
    let mut prng = Prng::new(5);
    for _ in 0..200 {
        let all: Vec<Operation> = (0..prng.below(20))
            .map(|_| {
                let node = 1 + prng.below(8) as u32 * 0x80;
                add(node, prng.below(4).into(), 1 + prng.below(3) as u16, "z")
            })
            .collect();
        let set: BTreeSet<Encoded> = all.iter().map(|op| op.settled().to_bytes()).collect();
        let mut storage = [[0; Operation::BYTES]; 20];
        let mut topology = Topology::new(&mut storage);
        let mut shuffled = all.clone();
        while !shuffled.is_empty() {
            let operation = shuffled.swap_remove(prng.below(shuffled.len() as u64) as usize);
            let new = !topology.operations().contains(&operation);
            assert_eq!(topology.insert(operation.settled()), Ok(new));
            assert_eq!(topology.insert(operation.settled()), Ok(false));
        }
        assert_eq!(topology.operations().bytes(), flat(&set));
        assert_eq!(topology.operations().len(), set.len());

        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        for encoded in set {
            let side = prng.below(3);
            let _ = side != 0 && left.insert(encoded);
            let _ = side != 1 && right.insert(encoded);
        }
        let mut storage = [[0; Operation::BYTES]; 20];
        let mut merged = Topology::new(&mut storage);
        for side in [flat(&left), flat(&right), flat(&left)] {
            merged.merge(Operations::new_checked(&side).unwrap()).unwrap();
        }
        assert_eq!(merged.operations(), topology.operations());
        assert_eq!(merged.id(), topology.id());
        assert_eq!(merged.members(), topology.members());
    }
}

#[test]
fn members_ascend_and_the_greatest_add_of_a_node_holds() {
    let mut prng = Prng::new(6);
    for _ in 0..100 {
        let mut storage = [[0; Operation::BYTES]; 30];
        let mut topology = Topology::new(&mut storage);
        let mut oracle = BTreeMap::<NodeId, (u128, u16, Name)>::new();
        for _ in 0..prng.below(30) {
            let node = NodeId(1 + prng.below(6) as u32 * 0xff);
            let uuid = u128::from(prng.below(3) * 0xff);
            let weight = 1 + prng.below(3) as u16 * 0xff;
            let zone = Name::new(["a", "b"][prng.below(2) as usize]).unwrap();
            let add = Operation::Add(Member { node, uuid, weight, zone });
            topology.insert(add.settled()).unwrap();
            let best = oracle.entry(node).or_insert((uuid, weight, zone));
            *best = (*best).max((uuid, weight, zone));
        }
        let members = oracle.into_iter().map(|(node, (uuid, weight, zone))| Member {
            node,
            uuid,
            weight,
            zone,
        });
        assert!(topology.members().into_iter().eq(members));
    }
}

#[test]
fn a_full_set_is_left_as_it_was() {
    let mut storage = [[0; Operation::BYTES]; 2];
    let mut topology = Topology::new(&mut storage);
    topology.insert(universe()[0].settled()).unwrap();
    let before = flat(&oracle(1));
    assert_eq!(topology.merge(Operations::new_checked(&flat(&oracle(15))).unwrap()), Err(Full));
    assert_eq!(topology.operations().bytes(), before);
    assert_eq!(topology.insert(universe()[1].settled()), Ok(true));
    assert_eq!(topology.insert(universe()[2].settled()), Err(Full));
    assert_eq!(topology.insert(universe()[0].settled()), Ok(false), "what is known always fits");
}

#[test]
fn members_are_bounded_too() {
    let mut storage = vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX];
    let mut topology = Topology::new(&mut storage);
    for node in 0..MEMBER_COUNT_MAX as u32 {
        topology.insert(add(1 + node, 1, 1, "z").settled()).unwrap();
        topology.insert(add(1 + node, 2, 1, "z").settled()).unwrap();
    }
    assert_eq!(topology.members().len(), MEMBER_COUNT_MAX);
    assert_eq!(topology.insert(add(9999, 1, 1, "z").settled()), Err(Full));
    assert_eq!(topology.insert(add(1, 3, 1, "z").settled()), Ok(true));
    let mut bytes = Vec::from(topology.operations().bytes());
    assert!(Operations::new_checked(&bytes).is_ok());
    bytes.extend(add(u32::MAX, 1, 1, "z").settled().to_bytes());
    assert_eq!(Operations::new_checked(&bytes), Err(MalformedOperations::TooMany));
    let one = add(1, 1, 1, "z").settled().to_bytes();
    let many = one.repeat(OPERATION_COUNT_MAX + 1);
    assert_eq!(Operations::new_checked(&many), Err(MalformedOperations::TooMany));
}

#[test]
fn malformed_operations_are_refused_by_fault() {
    let refused = |at: usize, value: u8| {
        let mut bytes = add(1, 1, 1, "z").settled().to_bytes();
        bytes[at] = value;
        Operations::new_checked(&bytes).unwrap_err()
    };
    assert_eq!(refused(0, 0), MalformedOperations::Node);
    for kind in [0, 5, 255] {
        assert_eq!(refused(4, kind), MalformedOperations::Kind(kind));
    }
    for kind in [2, 3, 4] {
        assert_eq!(refused(4, kind), MalformedOperations::Reserved, "it has a uuid");
    }
    for at in [6, 7, 24, 25, 26, 27, 30, 31] {
        assert_eq!(refused(at, 1), MalformedOperations::Reserved, "byte {at}");
    }
    assert_eq!(refused(5, 2), MalformedOperations::Reserved);
    assert_eq!(refused(28, 0), MalformedOperations::Weight);
    for (at, value) in [(32, 0), (32, b'\n'), (34, b'x'), (63, 1)] {
        assert_eq!(refused(at, value), MalformedOperations::Zone);
    }
}

#[test]
fn order_and_duplicates_are_refused() {
    let (a, b) = (universe()[0].settled().to_bytes(), universe()[2].settled().to_bytes());
    let pair = |first: Encoded, second: Encoded| {
        Operations::new_checked(&[first, second].concat()).map(|set| set.id())
    };
    assert!(pair(a.min(b), a.max(b)).is_ok());
    assert_eq!(pair(a.max(b), a.min(b)), Err(MalformedOperations::Order));
    assert_eq!(pair(a, a), Err(MalformedOperations::Order));
}

#[test]
fn truncation_at_every_byte_is_an_error_or_a_smaller_set() {
    let bytes = flat(&oracle(15));
    let whole = Operations::new_checked(&bytes).unwrap();
    for length in 0..bytes.len() {
        match Operations::new_checked(&bytes[..length]) {
            Ok(part) => {
                assert_eq!(length % Operation::BYTES, 0);
                assert_eq!(part.compare(whole), Comparison::Older);
                assert_eq!(part.is_empty(), length == 0);
            }
            Err(error) => assert_eq!(error, MalformedOperations::Length),
        }
    }
}

#[test]
fn any_flipped_bit_gives_an_error_or_another_set() {
    let bytes = flat(&oracle(15));
    let id = Operations::new_checked(&bytes).unwrap().id();
    let mut accepted = 0;
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Operations::new_checked(&flipped) {
            assert_ne!(other.id(), id);
            assert_eq!(other.bytes(), flipped, "bit {bit}");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "no flip was accepted: the test sees errors alone");
}

#[test]
#[should_panic(expected = "operation.node().0 != 0")]
fn node_zero_is_not_encoded() {
    add(0, 1, 1, "z").settled().to_bytes();
}

#[test]
#[should_panic(expected = "weight != 0")]
fn weight_zero_is_not_encoded() {
    add(1, 1, 0, "z").settled().to_bytes();
}

/// Operations of every kind about two nodes, and one more settled or not.
fn changes() -> Vec<Operation> {
    let (node, zone) = (NodeId(1), Name::new("b").unwrap());
    vec![
        add(1, 10, 100, "a"),
        add(2, 20, 100, "a"),
        Operation::SetWeight { node, version: 1, weight: 7 },
        Operation::SetWeight { node, version: 2, weight: 5 },
        Operation::SetZone { node, version: 1, zone },
        Operation::Remove { node, is_lost: false },
        Operation::Remove { node, is_lost: true },
    ]
}

/// Each operation absent, moving or settled on either side: the union has the greater of both.
#[test]
fn settled_wins_in_every_union() {
    let changes = changes();
    let states = |mut number: usize| -> Vec<(Operation, Option<bool>)> {
        let state = |operation: &Operation| {
            let state = [None, Some(false), Some(true)][number % 3];
            number /= 3;
            (*operation, state)
        };
        changes.iter().map(state).collect()
    };
    let set = |states: &[(Operation, Option<bool>)]| {
        let mut topology = Topology::new(vec![[0; Operation::BYTES]; 8].leak());
        for (operation, settled) in states {
            match settled {
                None => false,
                Some(false) => topology.insert(operation.moving()).unwrap(),
                Some(true) => topology.insert(operation.settled()).unwrap(),
            };
        }
        topology
    };
    let mut prng = Prng::new(9);
    for left in 0..3_usize.pow(changes.len() as u32) {
        let right = prng.below(3_u64.pow(changes.len() as u32)) as usize;
        let (a, b) = (states(left), states(right));
        let both: Vec<_> = a.iter().zip(&b).map(|(a, b)| (a.0, a.1.max(b.1))).collect();
        let (mut one, mut other, both) = (set(&a), set(&b), set(&both));
        let (first, second) = (set(&a), set(&b));
        assert_eq!(first.operations().covers(second.operations()), both.id() == first.id());
        assert_eq!(one.merge(second.operations()), Ok(both.id() != first.id()));
        assert_eq!(other.merge(first.operations()), Ok(both.id() != second.id()));
        assert_eq!(one.operations(), both.operations());
        assert_eq!(other.operations(), both.operations());
        assert!(Operations::new_checked(one.operations().bytes()).is_ok());
        let was_moving = one.operations().is_moving();
        let members = one.members();
        assert_eq!(one.settle(), was_moving);
        assert!(!one.operations().is_moving());
        assert_eq!((one.members(), one.operations().settled_members()), (members.clone(), members));
    }
}

#[test]
fn members_are_what_the_operations_come_to() {
    let members = |operations: &[Committed]| {
        let mut topology = Topology::new(vec![[0; Operation::BYTES]; 8].leak());
        for committed in operations {
            topology.insert(*committed).unwrap();
        }
        let set = topology.operations();
        let short = |members: super::topology::Members| -> Vec<(u32, u16, String)> {
            members.iter().map(|m| (m.node.0, m.weight, m.zone.to_string())).collect()
        };
        (short(set.settled_members()), short(set.members()), set.lost().to_vec())
    };
    let [one, two, seven, five, zone, gone, lost] = changes()[..] else { panic!("seven changes") };
    let of = |node, weight, zone: &str| (node, weight, zone.to_string());
    let (a, b) = (of(1, 100, "a"), of(2, 100, "a"));
    let base = [one.settled(), two.settled()];
    let with = |more: &[Committed]| members(&[&base, more].concat());
    assert_eq!(with(&[]), (vec![a.clone(), b.clone()], vec![a.clone(), b.clone()], vec![]));
    let changed = vec![of(1, 5, "b"), b.clone()];
    let all = [seven.settled(), five.moving(), zone.moving()];
    assert_eq!(with(&all), (vec![of(1, 7, "a"), b.clone()], changed, vec![]));
    let without = vec![b.clone()];
    assert_eq!(with(&[gone.moving()]), (vec![a.clone(), b.clone()], without.clone(), vec![]));
    let lost_too = [gone.moving(), lost.moving(), five.moving()];
    assert_eq!(with(&lost_too), (vec![a, b], without.clone(), vec![NodeId(1)]));
    assert_eq!(with(&[lost.settled()]), (without.clone(), without, vec![]));
    // Nobody comes back.
    assert_eq!(members(&[gone.settled(), one.moving()]).1, vec![]);
}

#[test]
fn those_who_left_take_no_room_from_members() {
    let mut topology = Topology::new(vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX].leak());
    let node = |number: usize| NodeId(1 + number as u32);
    for number in 0..MEMBER_COUNT_MAX {
        topology.insert(add(node(number).0, 1, 1, "z").settled()).unwrap();
    }
    let newcomer = add(9999, 1, 1, "z").settled();
    let remove = Operation::Remove { node: node(0), is_lost: false };
    assert_eq!(topology.insert(remove.moving()), Ok(true));
    assert_eq!(topology.insert(newcomer), Err(Full), "it still hands over");
    topology.settle();
    assert_eq!(topology.insert(newcomer), Ok(true));
    assert_eq!(topology.members().len(), MEMBER_COUNT_MAX);
    let lost = Operation::Remove { node: node(0), is_lost: true };
    assert_eq!(topology.insert(lost.settled()), Ok(true));
    assert_eq!(topology.insert(add(9998, 1, 1, "z").settled()), Err(Full), "one left, not two");
}

#[test]
fn who_joins_is_known_and_who_was_removed_stays_known() {
    let mut topology = Topology::new(vec![[0; Operation::BYTES]; 8].leak());
    let node = NodeId(7);
    assert_eq!(topology.operations().last_known(node), None);
    topology.insert(add(7, 1, 100, "a").moving()).unwrap();
    assert!(topology.operations().is_joining(node));
    topology.insert(Operation::SetWeight { node, version: 1, weight: 9 }.moving()).unwrap();
    topology.settle();
    assert!(!topology.operations().is_joining(node));
    topology.insert(Operation::Remove { node, is_lost: false }.settled()).unwrap();
    assert_eq!(topology.operations().last_known(node).map(|member| member.weight), Some(9));
    assert!(!topology.operations().is_joining(NodeId(8)));
}
