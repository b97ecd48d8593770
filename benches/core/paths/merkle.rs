//! The leaf of a Merkle tree that follows a write.

use std::hint::black_box;

use ringmain_core::hash::Key;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::prng::Prng;
use ringmain_core::records::leaf_index;
use ringmain_runtime::sys::{ZeroMap, prefetch};
use zerocopy::IntoBytes as _;

use super::causality::parsed;
use crate::records::KEY;

/// Partitions of a node of three: their leaves fit no cache.
const PARTITION_COUNT: usize = 1024;
/// Commands of a pipeline whose keys are looked up ahead.
const EXPECTED_COUNT: usize = 16;

/// The leaves of a node, in memory as the log has them, and random keys.
pub(crate) struct Leaves {
    leaves: ZeroMap<u64>,
    prng: Prng,
}

impl Leaves {
    pub(crate) fn new() -> Leaves {
        let count = PARTITION_COUNT * MERKLE_LEAF_COUNT;
        let mut leaves = ZeroMap::<u64>::new(count).expect("there is memory");
        // What was never written has no page.
        leaves.fill(1);
        Leaves { leaves, prng: Prng::new(1) }
    }

    fn random(&mut self) -> usize {
        let partition = self.prng.below(PARTITION_COUNT as u64) as usize;
        let key = Key { order: self.prng.next_u64(), ..Key::default() };
        partition * MERKLE_LEAF_COUNT + leaf_index(&key)
    }

    /// A random one.
    pub(crate) fn next(&mut self) -> &mut u64 {
        let index = self.random();
        &mut self.leaves[index]
    }
}

/// Adds the version of a record behind a put, and takes that before it.
fn put() -> impl FnMut(&mut u64) {
    let (before, after) = (parsed([5, 4, 3], 2), parsed([5, 4, 4], 3));
    let key = Key::new(KEY, 1, 10);
    move |leaf| {
        let (before, after) = (black_box(before).version(&key), black_box(after).version(&key));
        *leaf = leaf.wrapping_sub(before).wrapping_add(after);
    }
}

/// Of a lone put, whose leaf is in no cache.
pub(crate) fn update() -> impl FnMut() {
    let (mut leaves, mut put) = (Leaves::new(), put());
    move || put(leaves.next())
}

/// Of a put in a pipeline, whose leaf was fetched ahead.
pub(crate) fn update_expected() -> impl FnMut() {
    let (mut leaves, mut put) = (Leaves::new(), put());
    let mut expected = [0; EXPECTED_COUNT].map(|_: usize| leaves.random());
    let mut next = 0;
    move || {
        put(&mut leaves.leaves[expected[next]]);
        expected[next] = leaves.random();
        prefetch(leaves.leaves[expected[next]].as_bytes());
        next = (next + 1) % EXPECTED_COUNT;
    }
}
