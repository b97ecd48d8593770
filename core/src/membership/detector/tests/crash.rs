//! A node crashes: how long until all others know.

use super::*;
use crate::membership::detector::pace::Pace;

/// Microseconds from the crash to the first and to the last view that holds the node for down.
fn detection(count: usize, seed: u64) -> (Duration, Duration) {
    let mut network = Network::new(count, seed);
    network.run(seconds(8) + millis(37 * (seed % 27)));
    assert_eq!(network.changes, []);
    let begin = network.now;
    let dead = network.prng.below(count as u64) as usize;
    network.crash(dead);
    let last = network.time_until_right(seconds(60));
    let (first, ..) = network.changes.iter().find(|change| change.3 == Liveness::Down).unwrap();
    assert!(network.changes.iter().all(|change| change.2 == node(dead)), "only the dead");
    (first.since(begin), last)
}

/// The sums of SWIM's analysis: a member is first probed after 1.58 T in the mean, within 7 T in
/// 99.9 % of cases; the probe takes T; then the suspicion, at its shortest if two confirm in
/// time, which others' probes do at the same rate; then the spreading, about log2 n periods.
fn check(count: usize, seeds: u64) {
    let pace = Pace::new(PROBE_INTERVAL, count as u32);
    let spreading = PROBE_INTERVAL * (count.ilog2() + 1);
    let worst = PROBE_INTERVAL * 8 + pace.suspicion_min() + spreading;
    let mean = PROBE_INTERVAL * 258 / 100 + pace.suspicion_min() + spreading;
    let (mut firsts, mut lasts, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for seed in 0..seeds {
        let (first, last) = detection(count, seed);
        assert!(last <= worst, "seed {seed}: {last:?} is more than {worst:?}");
        firsts += first;
        lasts += last;
        slowest = slowest.max(last);
    }
    let (first, last) = (firsts / seeds as u32, lasts / seeds as u32);
    std::println!(
        "n={count}: first {first:?}, all {last:?} of {mean:?}, slowest {slowest:?} of {worst:?}"
    );
    assert!(last <= mean, "the mean {last:?} is more than {mean:?}");
}

#[test]
fn five_nodes_know_in_time() {
    check(5, 400);
}

#[test]
fn twenty_four_nodes_know_in_time() {
    check(24, 60);
}

#[test]
fn two_hundred_nodes_know_in_time() {
    check(200, 20);
}

#[test]
fn two_and_three_nodes_know_without_confirmations() {
    for (count, seed) in [(2, 1), (2, 2), (3, 1), (3, 2)] {
        let (_, last) = detection(count, seed);
        assert!(last <= PROBE_INTERVAL * 4 + seconds(2) + millis(100), "{count}: {last:?}");
    }
}

#[test]
fn a_restart_is_known_at_once() {
    for seed in 0..40 {
        let mut network = Network::new(5, seed);
        network.run(seconds(5));
        network.crash(1);
        // Before or after others know of the crash.
        network.run(millis(400 * seed));
        network.restart(1);
        let passed = network.assert_settles(seconds(20));
        assert!(passed <= seconds(12), "{seed}: {passed:?}");
    }
}

#[test]
fn the_older_of_two_processes_stops() {
    let mut network = Network::new(4, 9);
    network.run(seconds(5));
    // A copy of host 1 begins on host 1's place; what was host 1 speaks from there, too.
    let older = network.hosts[1].detector.take().unwrap();
    network.restart(1);
    network.run(seconds(5));
    let younger = network.hosts[1].detector.replace(older).unwrap();
    network.hosts[1].deadline = Some(network.now);
    network.run(seconds(60));
    assert!(network.superseded.iter().all(|stopped| *stopped == node(1)));
    assert_eq!(network.superseded.len(), 1);
    network.hosts[1].detector = Some(younger);
    network.hosts[1].deadline = Some(network.now);
    network.run(seconds(60));
    assert!(network.is_right());
}
