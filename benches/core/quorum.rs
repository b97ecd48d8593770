//! Counting the answers of replicas.

use std::hint::black_box;

use criterion::Criterion;

use crate::paths::quorum as paths;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tally");
    let mut step = paths::tally_step_waits();
    group.bench_function("step_waits", |bencher| bencher.iter(&mut step));
    let mut step = paths::tally_step_meets();
    group.bench_function("step_meets", |bencher| bencher.iter(&mut step));
    let mut whole = paths::tally_whole();
    group.bench_function("whole", |bencher| bencher.iter(&mut whole));
    // One bit set, all counted, and compared.
    group.bench_function("control_bits", |bencher| {
        let mut bits = 0_u16;
        bencher.iter(|| {
            *black_box(&mut bits) |= 1 << black_box(1);
            bits.count_ones() >= black_box(2)
        });
    });
    group.finish();
}
