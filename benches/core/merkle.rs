//! What the Merkle tree of a partition costs: a leaf that follows a write, and the root that an
//! exchange asks for.

use std::hint::black_box;

use criterion::Criterion;
use ringmain_core::causality::Record;
use ringmain_core::hash::Key;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::merkle::Tree;
use ringmain_core::prng::Prng;
use ringmain_core::records::leaf_index;
use ringmain_runtime::sys::{ZeroMap, prefetch};
use zerocopy::IntoBytes;

use crate::records::{KEY, record};

/// Partitions of a node of three: their leaves fit no cache.
const PARTITION_COUNT: usize = 1024;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    update(criterion);
    root(criterion);
}

/// Commands of a pipeline whose keys are looked up ahead.
const EXPECTED_COUNT: usize = 16;

/// The versions of the record before a put and behind it, and the leaf of a random key, in memory
/// as the log has it; of a lone put, and of those of a pipeline, whose leaves are fetched ahead.
fn update(criterion: &mut Criterion) {
    let (before, after) = (record([5, 4, 3], 2), record([5, 4, 4], 3));
    let parsed = |bytes| Record::new_checked(bytes).expect("a record that was encoded");
    let (before, after) = (parsed(&before), parsed(&after));
    let key = Key::new(KEY, 1, 10);
    let mut leaves = ZeroMap::<u64>::new(PARTITION_COUNT * MERKLE_LEAF_COUNT).expect("memory");
    // What was never written has no page.
    leaves.fill(1);
    let mut prng = Prng::new(1);
    let mut random_leaf = || {
        let partition = prng.below(PARTITION_COUNT as u64) as usize;
        partition * MERKLE_LEAF_COUNT + leaf_index(&Key { order: prng.next_u64(), ..key })
    };
    let put = |leaf: &mut u64| {
        let (before, after) = (black_box(before).version(&key), black_box(after).version(&key));
        *leaf = leaf.wrapping_sub(before).wrapping_add(after);
    };
    let mut group = criterion.benchmark_group("merkle_update");
    group.bench_function("update", |bencher| bencher.iter(|| put(&mut leaves[random_leaf()])));
    group.bench_function("update_expected", |bencher| {
        let mut expected = [0; EXPECTED_COUNT].map(|_: usize| random_leaf());
        let mut next = 0;
        bencher.iter(|| {
            put(&mut leaves[expected[next]]);
            expected[next] = random_leaf();
            prefetch(leaves[expected[next]].as_bytes());
            next = (next + 1) % EXPECTED_COUNT;
        });
    });
    // The same leaf, found and written, with nothing to add up.
    group.bench_function("control_leaf", |bencher| {
        bencher.iter(|| {
            let leaf = &mut leaves[random_leaf()];
            *leaf = leaf.wrapping_add(black_box(1));
        });
    });
    group.finish();
}

fn root(criterion: &mut Criterion) {
    let mut prng = Prng::new(1);
    let leaves: Vec<u64> = (0..MERKLE_LEAF_COUNT).map(|_| prng.next_u64()).collect();
    let mut group = criterion.benchmark_group("merkle_root");
    group.bench_function("root", |bencher| {
        bencher.iter(|| Tree::new(black_box(&leaves)).root());
    });
    // All leaves, read once.
    group.bench_function("control_sum", |bencher| {
        bencher.iter(|| black_box(&leaves).iter().fold(0_u64, |sum, leaf| sum.wrapping_add(*leaf)));
    });
    group.finish();
}
