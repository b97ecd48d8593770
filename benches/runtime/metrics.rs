//! What it costs to count and to time. Beside it stands a `control`, one count in an array of as
//! many plain integers, and a `clock`, the read that timing each request by itself would need.

use std::hint::black_box;
use std::time::Instant;

use criterion::Criterion;
use ringmain_core::prng::Prng;
use ringmain_runtime::metrics::{BUCKET_COUNT, Counter, Metrics, Timing, bucket_of};

/// Durations as they come: 1 µs to 1 ms.
const DURATION_COUNT: usize = 1024;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let mut prng = Prng::new(1);
    let durations: Vec<u64> = (0..DURATION_COUNT).map(|_| 1000 << (prng.next_u64() % 10)).collect();
    let (_metrics, recorders) = Metrics::new(1);
    let recorder = &recorders[0];
    let mut next = durations.iter().copied().cycle();
    let mut next = move || next.next().unwrap_or_default();
    let mut group = criterion.benchmark_group("metrics");
    group.bench_function("count", |bencher| {
        bencher.iter(|| recorder.add(Counter::BytesSent, black_box(1)));
    });
    group.bench_function("time", |bencher| {
        bencher.iter(|| recorder.time(Timing::Get, black_box(next())));
    });
    group.bench_function("time_many", |bencher| {
        bencher.iter(|| recorder.time_many(Timing::Get, black_box(next()), black_box(16)));
    });
    group.bench_function("clock", |bencher| bencher.iter(Instant::now));
    let mut counts = vec![0_u64; BUCKET_COUNT];
    group.bench_function("control", |bencher| {
        bencher.iter(|| counts[bucket_of(black_box(next()))] += 1);
    });
    group.finish();
    black_box(counts);
}
