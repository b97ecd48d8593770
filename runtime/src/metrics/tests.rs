use std::thread;

use super::*;

/// The naive model: a bucket is the list of values it takes, found by walking their bounds.
fn bucket_by_search(value: u64) -> usize {
    (0..BUCKET_COUNT).find(|&bucket| value <= bucket_top(bucket)).unwrap()
}

#[test]
fn buckets_tile_the_line() {
    for value in 0..100_000 {
        assert_eq!(bucket_of(value), bucket_by_search(value), "{value}");
    }
    let mut value = 1u64;
    while value < 1 << 62 {
        for near in [value - 1, value, value + 1, value + value / 3] {
            assert_eq!(bucket_of(near), bucket_by_search(near), "{near}");
        }
        value *= 2;
    }
    assert_eq!(bucket_of(u64::MAX), BUCKET_COUNT - 1);
    assert_eq!(bucket_of((1 << 36) - 1), BUCKET_COUNT - 1);
}

#[test]
fn buckets_are_narrow() {
    for bucket in 17..BUCKET_COUNT - 1 {
        let bottom = bucket_top(bucket - 1) + 1;
        let width = bucket_top(bucket) - bottom + 1;
        assert!(width * 16 <= bottom, "bucket {bucket}: {bottom} + {width}");
    }
}

#[test]
fn quantiles_are_those_of_the_sorted_values() {
    let (metrics, recorders) = Metrics::new(1);
    let mut values: Vec<u64> =
        (0..5_000u64).map(|i| i.wrapping_mul(0x9e37_79b9) % 3_000_000).collect();
    for &value in &values {
        recorders[0].time(Timing::Get, value);
    }
    values.sort_unstable();
    let buckets = metrics.timing(0, Timing::Get);
    assert_eq!(buckets.count(), 5_000);
    assert_eq!(buckets.sum, values.iter().sum::<u64>());
    assert_eq!(buckets.quantile(1, 1), values.last().copied());
    for parts in [0, 1, 500, 900, 990, 999, 1000] {
        let exact = values[(parts * 5).max(1) as usize - 1];
        let answer = buckets.quantile(parts, 1000).unwrap();
        assert!(answer >= exact, "{parts}: {answer} < {exact}");
        assert!(answer <= exact + exact / 16 + 1, "{parts}: {answer} > {exact}");
    }
    assert_eq!(metrics.timing(0, Timing::Put).quantile(1, 2), None);
}

/// The naive model: a list of values, sorted into the buckets by a search.
#[test]
fn many_at_once_are_as_many_one_by_one() {
    let (metrics, recorders) = Metrics::new(1);
    let mut model = Buckets { counts: vec![0; BUCKET_COUNT], sum: 0, max: 0 };
    let mut value = 1u64;
    for count in (0..2_000).map(|step| step % 5) {
        value = value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let nanoseconds = value >> (24 + value % 40);
        recorders[0].time_many(Timing::Put, nanoseconds, count);
        for _ in 0..count {
            recorders[0].time(Timing::Get, nanoseconds);
            model.counts[bucket_by_search(nanoseconds)] += 1;
            model.sum += nanoseconds;
            model.max = model.max.max(nanoseconds);
        }
    }
    assert_eq!(metrics.timing(0, Timing::Get), model);
    assert_eq!(metrics.timing(0, Timing::Put), model);
}

#[test]
fn shards_add_up() {
    let (metrics, recorders) = Metrics::new(3);
    let threads: Vec<_> = recorders
        .into_iter()
        .zip(1..)
        .map(|(recorder, shard)| {
            thread::spawn(move || {
                for value in 0..10_000 {
                    recorder.add(Counter::BytesSent, shard);
                    recorder.time(Timing::Put, value * shard);
                }
                recorder.set(Gauge::Connections, shard);
                recorder.reach(Counter::LogSnapshots, shard);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(metrics.shard_count(), 3);
    assert_eq!(metrics.counter(2, Counter::BytesSent), 30_000);
    assert_eq!(metrics.counter_total(Counter::BytesSent), 60_000);
    assert_eq!(metrics.counter_total(Counter::BytesReceived), 0);
    assert_eq!(metrics.gauge(1, Gauge::Connections), 2);
    assert_eq!(metrics.counter_total(Counter::LogSnapshots), 6);
    let mut all = metrics.timing(0, Timing::Put);
    all.add(&metrics.timing(1, Timing::Put));
    all.add(&metrics.timing(2, Timing::Put));
    assert_eq!(all.count(), 30_000);
    assert_eq!(all.max, 29_997);
    assert_eq!(all.sum, 6 * (0..10_000).sum::<u64>());
}

#[test]
fn names_are_unique_and_plain() {
    let names = Counter::ALL.iter().map(|counter| counter.name());
    let names = names.chain(Gauge::ALL.iter().map(|gauge| gauge.name()));
    let mut names: Vec<_> = names.chain(Timing::ALL.iter().map(|timing| timing.name())).collect();
    assert!(names.iter().all(|name| name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
