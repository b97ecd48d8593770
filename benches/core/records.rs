//! The record that most of these benchmarks work on: three entries, one sibling, 100 bytes.

use ringmain_core::causality::{Actor, Dot, Sibling, VersionVector, encode_record, record_bytes};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::prng::Prng;
use ringmain_core::time::UnixMs;

/// The process life of every actor here.
pub(crate) const BOOT: Boot = Boot(9);
/// A key of 16 bytes.
pub(crate) const KEY: &[u8; 16] = b"user:00000012345";

/// A record whose nodes 1, 2 and 3 have written `numbers` times; the last write of node `author`
/// is the one that survives.
pub(crate) fn record(numbers: [u32; 3], author: u32) -> Vec<u8> {
    let dot = |node: u32| {
        let actor = Actor::new(NodeId(node), BOOT, 1);
        Dot::new(actor, numbers[node as usize - 1])
    };
    let entries = [1, 2, 3].map(|node| dot(node).to_bytes());
    let version_vector = VersionVector::new_checked(&entries).expect("three nodes, ascending");
    let value = value();
    let sibling = Sibling {
        dot: dot(author),
        flags: 0,
        timestamp: UnixMs(1_700_000_000_000),
        expires: None,
        value: &value,
    };
    let mut bytes = vec![0; record_bytes(version_vector, &[sibling])];
    encode_record(version_vector, &[sibling], &mut bytes);
    bytes
}

/// A value of 100 random bytes, always the same.
pub(crate) fn value() -> [u8; 100] {
    let mut prng = Prng::new(1);
    [0; 100].map(|_: u8| prng.next_u64() as u8)
}
