//! What the Merkle tree of a partition costs: a leaf that follows a write, and the root that an
//! exchange asks for.

use std::hint::black_box;

use criterion::Criterion;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::merkle::Tree;
use ringmain_core::prng::Prng;

use crate::paths::merkle::{self as paths, Leaves};

pub(crate) fn benchmark(criterion: &mut Criterion) {
    update(criterion);
    root(criterion);
}

/// The versions of the record before a put and behind it, and the leaf of a random key; of a lone
/// put, and of those of a pipeline, whose leaves are fetched ahead.
fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merkle_update");
    let mut update = paths::update();
    group.bench_function("update", |bencher| bencher.iter(&mut update));
    let mut update = paths::update_expected();
    group.bench_function("update_expected", |bencher| bencher.iter(&mut update));
    // The same leaf, found and written, with nothing to add up.
    let mut leaves = Leaves::new();
    group.bench_function("control_leaf", |bencher| {
        bencher.iter(|| {
            let leaf = leaves.next();
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
