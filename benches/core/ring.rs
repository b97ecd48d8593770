//! Owners of partitions: all of them computed anew, and one looked up.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::hash::KeyHash;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::prng::Prng;
use ringmain_core::ring::{Ring, RingConfig};

const CONFIG: RingConfig = RingConfig { partition_bits: 10, n: 3, seed: 1 };
/// As many partitions as a hundred nodes take.
const LARGE: RingConfig = RingConfig { partition_bits: 12, ..CONFIG };
const ZONES: [&str; 3] = ["a", "b", "c"];

pub(crate) fn benchmark(criterion: &mut Criterion) {
    rebuild(criterion);
    owners(criterion);
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

/// Of random partitions, as keys name them.
fn owners(criterion: &mut Criterion) {
    let mut storage = vec![NodeId(0); CONFIG.slot_count()];
    let mut ring = Ring::new(&mut storage, CONFIG);
    ring.rebuild(&members(12));
    let mut prng = Prng::new(2);
    let partition_count = CONFIG.partition_count() as u64;
    let partitions: Vec<_> =
        (0..1024).map(|_| Partition(prng.below(partition_count) as u16)).collect();
    let table: Vec<[NodeId; 3]> = (0..CONFIG.partition_count())
        .map(|partition| {
            let owners = ring.owners(Partition(partition as u16));
            owners.try_into().expect("12 members, so 3 owners")
        })
        .collect();

    let mut group = criterion.benchmark_group("ring_owners");
    group.throughput(Throughput::Elements(partitions.len() as u64));
    group.bench_function("owners", |bencher| {
        let leader = |partition: &Partition| ring.owners(*partition)[0].0;
        bencher.iter(|| black_box(&partitions).iter().map(leader).fold(0, u32::wrapping_add));
    });
    group.bench_function("control_array", |bencher| {
        let leader = |partition: &Partition| table[usize::from(partition.0)][0].0;
        bencher.iter(|| black_box(&partitions).iter().map(leader).fold(0, u32::wrapping_add));
    });
    group.finish();
}

/// Equal nodes in three zones.
fn members(count: u32) -> Vec<Member> {
    let mut prng = Prng::new(3);
    let mut member = |node: u32| {
        let uuid = u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64());
        let zone = ZONES[node as usize % ZONES.len()];
        let zone = Name::new(zone).expect("a short word");
        Member { node: NodeId(node), uuid, weight: 100, zone }
    };
    (1..=count).map(&mut member).collect()
}
