use ringmain_runtime::metrics::Recorder;

use super::*;

fn of(shards: usize) -> (Exposition, Vec<Recorder>) {
    let (metrics, recorders) = Metrics::new(shards);
    (Exposition::of(metrics), recorders)
}

/// The lines of one family.
fn family<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let help = format!("# HELP {name} ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&help));
    let first = lines.next().into_iter();
    first.chain(lines.take_while(|line| !line.starts_with("# HELP"))).collect()
}

#[test]
fn counters_and_gauges_are_told_by_shard() {
    let (exposition, recorders) = of(2);
    recorders[0].add(Counter::BytesSent, 7);
    recorders[1].add(Counter::BytesSent, 1 << 40);
    recorders[1].set(Gauge::Keys, 3);
    recorders[0].set(Gauge::MembersAlive, 2);
    recorders[0].set(Gauge::MembersDown, 1);
    let text = exposition.text();
    let sent = [
        "# HELP ringmain_sent_bytes_total Bytes sent to sockets.",
        "# TYPE ringmain_sent_bytes_total counter",
        "ringmain_sent_bytes_total{shard=\"0\"} 7",
        "ringmain_sent_bytes_total{shard=\"1\"} 1099511627776",
    ];
    assert_eq!(family(&text, "ringmain_sent_bytes_total"), sent);
    let keys = [
        "# HELP ringmain_keys Keys in the index, those of deletions included.",
        "# TYPE ringmain_keys gauge",
        "ringmain_keys{shard=\"0\"} 0",
        "ringmain_keys{shard=\"1\"} 3",
    ];
    assert_eq!(family(&text, "ringmain_keys"), keys);
    let members = [
        "# HELP ringmain_members Members of the cluster, this node too, by what they are held for.",
        "# TYPE ringmain_members gauge",
        "ringmain_members{state=\"alive\"} 2",
        "ringmain_members{state=\"suspect\"} 0",
        "ringmain_members{state=\"down\"} 1",
    ];
    assert_eq!(family(&text, "ringmain_members"), members);
    assert!(text.ends_with('\n'));
}

#[test]
fn a_histogram_is_told_in_seconds() {
    let (exposition, recorders) = of(1);
    // The last below the first bound, one at it, some in the middle, one beyond the last bound.
    recorders[0].time(Timing::Get, (1 << 13) - 1);
    recorders[0].time(Timing::Get, 1 << 13);
    recorders[0].time_many(Timing::Get, 1_000_000, 5);
    recorders[0].time(Timing::Get, 10_000_000_000);
    let text = exposition.text();
    let lines = family(&text, "ringmain_get_seconds");
    let head = [
        "# HELP ringmain_get_seconds From a get's arrival to its reply.",
        "# TYPE ringmain_get_seconds histogram",
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"8.192e-06\"} 1",
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"1.6384e-05\"} 2",
    ];
    assert_eq!(lines[..4], head);
    let middle = [
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"0.000524288\"} 2",
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"0.001048576\"} 7",
    ];
    assert_eq!(lines[8..10], middle);
    let last = [
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"8.589934592\"} 7",
        "ringmain_get_seconds_bucket{shard=\"0\",le=\"+Inf\"} 8",
        "ringmain_get_seconds_sum{shard=\"0\"} 10.005016383",
        "ringmain_get_seconds_count{shard=\"0\"} 8",
    ];
    assert_eq!(lines[22..], last);
}

/// The naive model: each value is compared with each bound.
#[test]
fn coarse_buckets_lose_nothing() {
    let (metrics, recorders) = Metrics::new(1);
    let mut values = Vec::new();
    for bits in 0..40 {
        for value in [(1_u64 << bits) - 1, 3 << bits >> 1, (1 << bits) + 1_000] {
            recorders[0].time(Timing::Put, value);
            values.push(value);
        }
    }
    let coarse = coarse(&metrics.timing(0, Timing::Put));
    let mut below = 0;
    for (bound, count) in coarse {
        below += count;
        let expected = values.iter().filter(|value| seconds(**value) < bound).count();
        assert_eq!(below, expected as u64, "{bound}");
    }
    assert_eq!(below, values.len() as u64);
}

/// Whatever has happened, and for the most shards.
#[test]
fn a_scrape_is_bounded() {
    let (exposition, recorders) = of(256);
    for recorder in &recorders {
        for timing in Timing::ALL {
            recorder.time_many(*timing, 123_456_789, u64::MAX >> 20);
        }
        for counter in Counter::ALL {
            recorder.add(*counter, u64::MAX >> 1);
        }
    }
    let text = exposition.text();
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
}

#[test]
fn the_process_is_told() {
    let (exposition, _recorders) = of(1);
    let text = exposition.text();
    for name in ["ringmain_process_resident_bytes", "ringmain_process_open_fds"] {
        let value = family(&text, name)[2].rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        assert!(value > 2, "{name} {value}");
    }
}
