//! CRC-32C by the CPU, beside core's tables: of a small record, and of a page.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::checksum::{Checksum, Software};
use ringmain_core::prng::Prng;
use ringmain_runtime::checksum::Hardware;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let mut prng = Prng::new(1);
    let page: Vec<u8> = (0..4096).map(|_| prng.next_u64() as u8).collect();
    let mut group = criterion.benchmark_group("crc32c");
    for length in [128, 4096] {
        group.throughput(Throughput::Bytes(length as u64));
        let bytes = &page[..length];
        group.bench_with_input(BenchmarkId::new("hardware", length), bytes, |bencher, bytes| {
            bencher.iter(|| Hardware::crc32c(0, black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("software", length), bytes, |bencher, bytes| {
            bencher.iter(|| Software::crc32c(0, black_box(bytes)));
        });
    }
    group.finish();
}
