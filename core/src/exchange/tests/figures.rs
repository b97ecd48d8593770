//! What exchanges cost.

use super::*;
use std::println;

use crate::limits::EXCHANGE_DIFFERENCE_COUNT_MAX;

/// A world of two equal stores with `keys` keys of random orders.
fn equal_stores(keys: u64) -> World {
    let mut world = World::new(1, 2);
    world.list_max = 512;
    world.config.difference_count_max = EXCHANGE_DIFFERENCE_COUNT_MAX;
    for number in 0..keys {
        let key = (Prng::new(number).next_u64(), number);
        world.put(0, key, [1, 0, 0]);
        world.put(1, key, [1, 0, 0]);
    }
    world
}

#[test]
fn one_key_of_100_000_is_repaired_with_little_traffic() {
    for (node, record) in [(0, [2, 0, 0]), (1, [1, 1, 0])] {
        let mut world = equal_stores(100_000);
        let key = (Prng::new(77).next_u64(), 77);
        world.put(node, key, record);
        let (summary, traffic) = world.exchange(0, 1);
        println!("{summary:?} {traffic:?}");
        assert_eq!((summary.repaired, summary.differences), (1, 0));
        world.check_converged(&node);
        assert!(traffic.records <= 2);
        assert!(traffic.bytes <= 8 << 10, "{traffic:?}");
    }
}

#[test]
fn traffic_is_proportional_to_the_difference() {
    for differing in [1, 10, 100, 1000] {
        let mut world = equal_stores(20_000);
        for number in 0..differing {
            world.put(1, (Prng::new(number).next_u64(), number), [1, 1, 0]);
        }
        let (summary, traffic) = world.exchange(0, 1);
        println!("{differing} differing: {traffic:?}");
        assert_eq!(u64::from(summary.repaired), differing);
        world.check_converged(&differing);
        // Two nodes of hashes, a leaf of 5 keys, and three times the order.
        assert!(traffic.bytes as u64 <= 1000 + 520 * differing, "{traffic:?}");
    }
}

#[test]
fn few_writes_in_flight_are_sent_again() {
    let mut world = equal_stores(10_000);
    let (mut written, mut sent, mut sessions) = (0_u64, 0, 0);
    while world.now < Instant(120_000_000) {
        world.begin(0, 1, None, None);
        let mut next_write = world.now;
        while !world.sessions[0].is_over() {
            while next_write <= world.now {
                let number = match world.prng.chance(20) {
                    true => world.prng.below(10),
                    false => world.prng.below(10_000),
                };
                let node = world.prng.below(2) as usize;
                world.write(node, (Prng::new(number).next_u64(), number), 100_000, 0);
                written += 1;
                next_write = next_write + Duration::from_millis(2);
            }
            world.step();
        }
        let session = world.sessions.pop().unwrap();
        sent += session.traffic.records as u64;
        sessions += 1;
    }
    println!("{written} written, {sent} sent again by {sessions} exchanges");
    assert!(sessions > 20);
    // Those of keys that are written all the time: whether an earlier write is missing, too, nobody
    // can see.
    assert!(sent < 4 * sessions, "{sent} by {sessions}");
    world.quiesce();
    assert_eq!(world.exchange(0, 1).0.repaired, 0);
    world.check_converged(&written);
}

/// Refills the empty copy of `empty`, with connections cut after so many frames.
fn refill(empty: usize, cuts: &[usize]) {
    let mut world = equal_stores(20_000);
    world.record_bytes = 256;
    world.stores[empty].clear();
    let (mut resume, mut record_bytes, mut body_bytes, mut bytes, mut records) = (None, 0, 0, 0, 0);
    for cut in cuts.iter().copied().map(Some).chain([None]) {
        let (summary, traffic) = world.exchange_with(0, 1, resume, cut);
        resume = summary.resume;
        assert_eq!(resume.is_some(), cut.is_some());
        assert!(cut.is_some() || summary.is_equal());
        record_bytes += traffic.record_bytes;
        body_bytes += traffic.body_bytes;
        bytes += traffic.bytes;
        records += traffic.records;
    }
    world.check_converged(&empty);
    let window = world.config.window_bytes as usize;
    let again = (records - 20_000) * (record_bytes / records);
    let overhead = (record_bytes + bytes - body_bytes) * 1000 / body_bytes;
    println!("{records} records, {overhead} permille above bodies, {again} bytes again");
    assert!(again <= cuts.len() * (window + 400), "at most a window for each cut");
    assert!(overhead <= 200, "{overhead}");
    assert_eq!(world.stores[empty].len(), 20_000);
}

#[test]
fn an_empty_copy_is_streamed() {
    for empty in 0..2 {
        refill(empty, &[]);
    }
}

#[test]
fn streaming_goes_on_where_it_was_cut() {
    for empty in 0..2 {
        refill(empty, &[5_000]);
        refill(empty, &[1_000, 9_000, 3_000]);
    }
}

#[test]
fn a_half_empty_copy_is_streamed_and_keeps_what_it_has() {
    let mut world = equal_stores(3_000);
    world.stores[0].clear();
    for number in 0..1_000 {
        world.put(0, (Prng::new(number + 2_500).next_u64(), number + 2_500), [2, 0, 0]);
    }
    let (summary, _) = world.exchange(0, 1);
    assert!(summary.is_equal());
    world.check_converged(&());
}

/// Another owner may have brought the rest of a stream that broke.
#[test]
fn a_stream_is_not_taken_up_to_a_copy_that_has_the_rest() {
    for to_peer in [true, false] {
        let mut world = equal_stores(3_000);
        world.put(0, (Prng::new(9_999).next_u64(), 9_999), [2, 0, 0]);
        let resume = Some(Resume { from: 0, to_peer });
        let (summary, traffic) = world.exchange_with(0, 1, resume, None);
        assert!(summary.is_equal());
        assert_eq!(traffic.records, 1);
        world.check_converged(&to_peer);
    }
}
