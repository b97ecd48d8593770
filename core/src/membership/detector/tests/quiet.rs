//! Nobody fails: nobody may be held for down.

use super::*;

/// Every pattern of losses among ten messages in a row, in a cluster of three. Eight or more are
/// most of what is sent while a suspect may refute.
#[test]
fn no_seven_losses_among_ten_messages_take_a_member_down() {
    for pattern in 0..1_u64 << 10 {
        let mut network = Network::new(3, 1);
        network.run(seconds(3));
        let begin = network.count;
        network.lost = (1..=10).filter(|bit| pattern >> (bit - 1) & 1 == 1).collect();
        network.lost.iter_mut().for_each(|number| *number += begin);
        network.run(seconds(8));
        assert!(network.down_count() == 0 || pattern.count_ones() > 7, "{pattern:b}");
        assert!(network.is_right(), "{pattern:b}");
        assert!(network.are_digests_equal(), "{pattern:b}");
    }
}

#[test]
fn nothing_changes_where_nothing_is_lost() {
    for count in [2, 3, 5, 24] {
        let mut network = Network::new(count, count as u64);
        network.run(seconds(300));
        assert_eq!(network.changes, []);
        assert!(network.are_digests_equal());
    }
}

/// The stated rate: none in a node's day at 10 % loss (24 × 1 h, 10 × 1 h and 5 × 2 h here).
#[test]
fn a_tenth_of_all_messages_may_be_lost() {
    for (count, hours) in [(5, 2), (10, 1), (24, 1)] {
        let mut network = Network::new(count, 40 + count as u64);
        network.loss_percent = 10;
        network.run(seconds(hours * 3600));
        std::println!("n={count}: {} changes", network.changes.len());
        assert_eq!(network.down_count(), 0, "{count}");
    }
}

#[test]
fn a_pause_takes_nobody_else_down() {
    for seed in 0..20 {
        let mut network = Network::new(5, seed);
        network.run(seconds(5));
        network.pause(2, seconds(1 + 6 * seed));
        network.run(seconds(140));
        assert!(network.changes.iter().all(|change| change.2 == node(2)), "{seed}");
        assert!(network.is_right(), "{seed}");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut network = Network::new(6, seed);
        network.loss_percent = 25;
        network.run(seconds(60));
        network.crash(1);
        network.run(seconds(30));
        network.restart(1);
        network.run(seconds(30));
        let bytes: Vec<u64> = network.hosts.iter().map(|host| host.bytes).collect();
        (network.changes, network.count, bytes)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
