//! Owners of partitions: all of them computed anew, and those of one key looked up.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::hash::KeyHash;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::ring::{Ring, RingConfig};

use crate::paths::ring::{self as paths, CONFIG, members};

/// As many partitions as a hundred nodes take.
const LARGE: RingConfig = RingConfig { partition_bits: 12, ..CONFIG };

pub(crate) fn benchmark(criterion: &mut Criterion) {
    rebuild(criterion);
    lookup(criterion);
}

fn rebuild(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring_rebuild");
    for (count, config) in [(3, CONFIG), (12, CONFIG), (24, CONFIG), (100, LARGE)] {
        let members = members(count);
        let mut storage = vec![NodeId(0); config.slot_count()];
        let mut ring = Ring::new(&mut storage, config);
        let hash_count = config.partition_count() * members.len();
        group.throughput(Throughput::Elements(hash_count as u64));
        group.bench_with_input(BenchmarkId::new("rebuild", count), &members, |bencher, members| {
            bencher.iter(|| ring.rebuild(black_box(members)));
        });
        // One hash for each pair of partition and member.
        group.bench_function(BenchmarkId::new("control_hashes", count), |bencher| {
            let pair = [5; 18];
            bencher.iter(|| {
                let hash = |_| KeyHash::new(1, black_box(&pair)).0;
                (0..hash_count).map(hash).fold(0, u128::wrapping_add)
            });
        });
    }
    group.finish();
}

/// Of random keys.
fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring_lookup");
    let mut lookup = paths::lookup();
    group.bench_function("owners", |bencher| bencher.iter(&mut lookup));
    group.bench_function("control_array", |bencher| {
        let (rings, hashes, mut next) = (paths::rings(), paths::hashes(), 0);
        let owners_of = |partition| {
            let owners = rings.committed().owners(Partition(partition));
            <[NodeId; 3]>::try_from(owners).expect("12 members, so 3 owners")
        };
        let table: Vec<_> = (0..CONFIG.partition_count() as u16).map(owners_of).collect();
        bencher.iter(|| {
            let hash = black_box(&hashes)[next % hashes.len()];
            next += 1;
            table[usize::from(hash.partition(CONFIG.partition_bits).0)]
        });
    });
    group.finish();
}
