//! Small things shared by the tests of this module, and what needs no file of its own.

mod algebra;
mod codec;
mod compact;
mod token;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::id::{Boot, NodeId};
use crate::time::UnixMs;

/// The actor of node `node`, in boot 1 with birth 1.
fn actor(node: u32) -> Actor {
    Actor::new(NodeId(node), Boot(1), 1)
}

fn dot(node: u32, number: u32) -> Dot {
    Dot::new(actor(node), number)
}

/// A sibling whose whole content follows from its dot, as V2 demands.
fn sibling(dot: Dot) -> Sibling<'static> {
    let (flags, value): (u8, &[u8]) = match dot.number() % 3 {
        0 => (TOMBSTONE, b""),
        1 => (0, b"value"),
        _ => (EXPIRES, b""),
    };
    let expires = (flags == EXPIRES).then_some(UnixMs(9));
    Sibling { dot, flags, timestamp: UnixMs(u64::from(dot.number())), expires, value }
}

fn entries(dots: &[Dot]) -> Vec<[u8; 16]> {
    dots.iter().map(|dot| dot.to_bytes()).collect()
}

fn encode(version_vector: &[Dot], siblings: &[Sibling<'_>]) -> Vec<u8> {
    let entries = entries(version_vector);
    let version_vector = VersionVector::new_checked(&entries).unwrap();
    let mut bytes = vec![0xaa; record_bytes(version_vector, siblings)];
    encode_record(version_vector, siblings, &mut bytes);
    bytes
}

/// Fails unless `record` is written back as the bytes that it was read from.
fn assert_canonical(record: Record<'_>) {
    let siblings: Vec<_> = record.siblings().collect();
    let version_vector: Vec<_> = record.version_vector().iter().collect();
    assert_eq!(encode(&version_vector, &siblings), record.bytes());
}

#[test]
fn a_dot_gives_back_its_parts_and_sorts_like_its_bytes() {
    let actors =
        [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (u32::MAX, (1 << 40) - 1, NUMBER_MAX)]
            .map(|(node, boot, birth)| Actor::new(NodeId(node), Boot(boot), birth));
    let numbers = [1, 2, NUMBER_MAX];
    let dots: Vec<Dot> =
        actors.iter().flat_map(|&actor| numbers.map(|number| Dot::new(actor, number))).collect();
    assert!(dots.is_sorted());
    assert!(dots.iter().map(|dot| dot.to_bytes()).is_sorted());
    for (index, &dot) in dots.iter().enumerate() {
        assert_eq!(dot.actor(), actors[index / 3]);
        assert_eq!(dot.number(), numbers[index % 3]);
        assert_eq!(Dot::from_bytes(dot.to_bytes()), dot);
    }
    assert_eq!(actors[4].node(), NodeId(u32::MAX));
    assert_eq!(actors[4].boot(), Boot((1 << 40) - 1));
    assert_eq!(actors[4].birth(), NUMBER_MAX);
    assert_eq!(std::format!("{:?}", dots[4]), "00000001/1/2:2");
}

#[test]
fn version_vectors_refuse_disorder() {
    let good = entries(&[dot(1, 2), dot(2, 1)]);
    assert!(VersionVector::new_checked(&good).is_ok());
    assert!(VersionVector::from_bytes(good.as_flattened()).is_ok());
    assert!(VersionVector::from_bytes(&good.as_flattened()[1..]).is_err());
    let mut zero = good.clone();
    zero[1][15] = 0;
    zero[1][12] &= 0xf0;
    for bad in [
        entries(&[dot(2, 1), dot(1, 2)]),
        entries(&[dot(1, 2), dot(1, 2)]),
        entries(&[dot(1, 1), dot(1, 2)]),
        zero,
    ] {
        assert_eq!(VersionVector::new_checked(&bad), Err(MalformedVersionVector));
    }
    let many: Vec<Dot> = (0..=ENTRY_COUNT_ENCODED_MAX as u32).map(|node| dot(node, 1)).collect();
    let many = entries(&many);
    assert!(VersionVector::new_checked(&many[1..]).is_ok());
    assert!(VersionVector::new_checked(&many).is_err());
}

#[test]
fn the_winner_is_the_greatest_timestamp_then_dot_among_the_live() {
    let make = |node, flags, timestamp, expires: Option<u64>| Sibling {
        dot: dot(node, 1),
        flags,
        timestamp: UnixMs(timestamp),
        expires: expires.map(UnixMs),
        value: b"",
    };
    let siblings = [
        make(1, 0, 5, None),
        make(2, 0, 5, None),
        make(3, EXPIRES, 6, Some(100)),
        make(4, TOMBSTONE, 7, None),
        make(5, 0, 4, None),
    ];
    let bytes = encode(&siblings.map(|sibling| sibling.dot), &siblings);
    let record = Record::new_checked(&bytes).unwrap();
    assert_eq!(record.sibling_count(), 5);
    let before = record.live(UnixMs(99));
    assert_eq!((before.count(), before.winner()), (4, Some(siblings[2])));
    let mut ranked = Vec::new();
    before.for_each_winner_first(|sibling| ranked.push(sibling));
    assert_eq!(ranked, [siblings[2], siblings[1], siblings[0], siblings[4]]);
    let after = record.live(UnixMs(100));
    assert_eq!((after.count(), after.winner()), (3, Some(siblings[1])));
    assert_eq!(Record::empty().live(UnixMs(0)).winner(), None);
    let bytes = encode(&[dot(3, 1)], &siblings[2..3]);
    let only = Record::new_checked(&bytes).unwrap();
    assert_eq!(only.live(UnixMs(99)).winner(), Some(siblings[2]));
    assert_eq!(only.live(UnixMs(100)).winner(), None);
    let bytes = encode(&[dot(4, 1)], &siblings[3..4]);
    let deleted = Record::new_checked(&bytes).unwrap();
    let deleted = deleted.live(UnixMs(0));
    assert_eq!((deleted.winner(), deleted.count()), (None, 0));
}
