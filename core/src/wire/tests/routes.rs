//! ROUTES and ROUTES_REPLY: samples, and their rules.

use zerocopy::little_endian::U16;

use super::*;
use crate::limits::{
    MEMBER_COUNT_MAX, PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX, SHARD_COUNT_MAX,
};
use crate::wire::payload::Malformed;
use crate::wire::routes::{NO_NODE, RouteNode, Routes, RoutesReply, RoutesRequest};

const fn ip(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last]
}

static NODES: [RouteNode; 2] =
    [RouteNode::new(NodeId(7), 7400, 4, ip(1)), RouteNode::new(NodeId(9), 7401, 1, ip(2))];
static ROWS: [U16; 128] = {
    let mut rows = [NO_NODE; 128];
    let mut partition = 0;
    while partition < 63 {
        rows[2 * partition] = U16::ZERO;
        partition += 1;
    }
    rows[0] = U16::new(1);
    rows[1] = U16::ZERO;
    rows
};

const SOME: Routes<'static> = Routes { partition_bits: 6, nodes: &NODES, rows: &ROWS };

pub(super) fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let known = TopologyId(0x1112_1314_1516_1718);
    vec![
        ("routes", b"", Message::Routes(RoutesRequest { known })),
        ("routes_same", b"", Message::RoutesReply(RoutesReply::Same)),
        ("routes_reply", b"", Message::RoutesReply(RoutesReply::Routes(SOME))),
    ]
}

/// A payload by its parts, whatever they are.
fn payload(bits: u32, row: usize, nodes: &[RouteNode], rows: &[U16]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let mut bytes = vec![bits as u8, row as u8];
    bytes.extend((nodes.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(nodes.as_bytes());
    bytes.extend(rows.as_bytes());
    bytes
}

fn is_sound(bits: u32, row: usize, nodes: &[RouteNode], rows: &[U16]) -> bool {
    RoutesReply::new_checked(&payload(bits, row, nodes, rows)).is_ok()
}

#[test]
fn coordinators_of_a_partition_are_those_of_its_row() {
    let of = |partition| {
        let nodes = SOME.coordinators(Partition(partition)).map(RouteNode::node);
        nodes.map(|node| node.0).collect::<Vec<_>>()
    };
    assert_eq!([of(0), of(1), of(62), of(63)], [vec![9, 7], vec![7], vec![7], vec![]]);
    let nobody = Routes { partition_bits: 6, nodes: &[], rows: &[] };
    assert_eq!(nobody.coordinators(Partition(63)).count(), 0);
    let first = NODES[0];
    assert_eq!((first.native_port(), first.shards(), first.ip()), (7400, 4, ip(1)));
}

#[test]
fn routes_of_every_size_and_none_beyond() {
    for bits in [PARTITION_BITS_MIN, PARTITION_BITS_MAX] {
        for row in [0, 1, REPLICA_COUNT_MAX, REPLICA_COUNT_MAX + 1] {
            let rows = vec![U16::ZERO; row << bits];
            assert_eq!(is_sound(bits, row, &NODES, &rows), row <= REPLICA_COUNT_MAX, "{row}");
        }
    }
    assert!(!is_sound(PARTITION_BITS_MIN - 1, 1, &NODES, &[U16::ZERO; 32]));
    assert!(!is_sound(PARTITION_BITS_MAX + 1, 1, &NODES, &[U16::ZERO; 32768]));
    for count in [MEMBER_COUNT_MAX, MEMBER_COUNT_MAX + 1] {
        let nodes = vec![NODES[0]; count];
        assert_eq!(is_sound(6, 1, &nodes, &[U16::ZERO; 64]), count == MEMBER_COUNT_MAX);
    }
}

#[test]
fn a_row_names_nodes_that_are_there_and_then_none() {
    let with = |place: usize, index: U16| {
        let mut rows = ROWS;
        rows[place] = index;
        is_sound(6, 2, &NODES, &rows)
    };
    assert!(with(1, U16::new(1)));
    assert!(!with(1, U16::new(2)), "there are two nodes");
    assert!(!with(0, NO_NODE), "one stands behind it");
    assert!(with(2, NO_NODE));
    assert!(!is_sound(6, 2, &NODES, &ROWS[..127]));
    assert!(!is_sound(6, 1, &NODES, &ROWS));
}

#[test]
fn a_node_can_be_reached() {
    let shards_max = SHARD_COUNT_MAX as u16;
    let with = |node: RouteNode| is_sound(6, 2, &[NODES[0], node], &ROWS);
    assert!(with(RouteNode::new(NodeId(1), 1, shards_max, ip(1))));
    assert!(!with(RouteNode::new(NodeId(0), 1, 1, ip(1))));
    assert!(!with(RouteNode::new(NodeId(1), 0, 1, ip(1))));
    assert!(!with(RouteNode::new(NodeId(1), 1, 0, ip(1))));
    assert!(!with(RouteNode::new(NodeId(1), 1, shards_max + 1, ip(1))));
}

#[test]
fn what_holds_still_says_nothing_more() {
    let same = payload(0, 0, &[], &[]);
    assert_eq!(RoutesReply::new_checked(&same), Ok(RoutesReply::Same));
    for at in 1..8 {
        let mut other = same.clone();
        other[at] = 1;
        assert_eq!(RoutesReply::new_checked(&other), Err(Malformed), "byte {at}");
    }
    assert_eq!(RoutesReply::new_checked(&payload(0, 0, &NODES, &[])), Err(Malformed));
}
