//! The hash of a key, once for each request and frame.

use std::hint::black_box;

use ahash::RandomState;
use criterion::{Criterion, Throughput};
use ringmain_core::hash::Key;

use crate::records::KEY;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    group.throughput(Throughput::Bytes(KEY.len() as u64));
    group.bench_function("new", |bencher| bencher.iter(|| Key::new(black_box(KEY), 1, 10)));
    // Half as wide, and different on each machine.
    group.bench_function("control_ahash", |bencher| {
        let state = RandomState::with_seeds(1, 2, 3, 4);
        bencher.iter(|| state.hash_one(black_box(KEY.as_slice())));
    });
    group.finish();
}
