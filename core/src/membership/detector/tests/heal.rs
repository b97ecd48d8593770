//! After every fault has ended, every member is alive in every view (L4).

use super::*;

/// Two hear nothing from three for a minute: both sides hold the other for down; then all is
/// well again, without anybody's help.
#[test]
fn a_split_of_two_and_three_heals() {
    let mut slowest = Duration::ZERO;
    for seed in 0..40 {
        let mut network = Network::new(5, seed);
        network.run(seconds(3));
        network.split(&[0, 1]);
        network.run(seconds(60));
        let (far, near) = (network.status(0, 2), network.status(0, 1));
        assert_eq!((far, near), (Liveness::Down, Liveness::Alive));
        network.heal();
        slowest = slowest.max(network.assert_settles(seconds(20)));
    }
    std::println!("2|3 heals within {slowest:?}");
}

#[test]
fn a_node_that_hears_but_is_not_heard_heals() {
    for seed in 0..20 {
        let mut network = Network::new(5, seed);
        network.run(seconds(3));
        let is_deaf = seed % 2 == 0;
        for other in 1..5 {
            let (from, to) = if is_deaf { (other, 0) } else { (0, other) };
            network.cuts[from][to] = true;
        }
        network.run(seconds(90));
        network.heal();
        network.assert_settles(seconds(40));
    }
}

/// Two nodes cannot reach each other, but every other can: the relays show that both live.
#[test]
fn a_cut_between_two_nodes_takes_nobody_down() {
    for seed in 0..10 {
        let mut network = Network::new(5, seed);
        network.run(seconds(3));
        network.cuts[0][1] = true;
        network.cuts[1][0] = true;
        network.run(seconds(300));
        assert_eq!(network.down_count(), 0, "{seed}");
        network.heal();
        network.assert_settles(seconds(20));
    }
}

#[test]
fn a_flapping_link_heals() {
    for seed in 0..20 {
        let mut network = Network::new(5, seed);
        for turn in 0..30 {
            network.mend();
            if turn % 2 == 0 {
                network.split(&[0, 1]);
            }
            let span = millis(500 + network.prng.below(8_000));
            network.run(span);
        }
        network.heal();
        network.assert_settles(seconds(40));
    }
}

/// One random fault on top of those there are.
fn fault(network: &mut Network) {
    let count = network.hosts.len();
    let at = network.prng.below(count as u64) as usize;
    let other = network.prng.below(count as u64) as usize;
    match network.prng.below(10) {
        0 => network.crash(at),
        1 if network.hosts[at].detector.is_none() => network.restart(at),
        1 | 2 => {
            let span = millis(100 + network.prng.below(30_000));
            network.pause(at, span);
        }
        3 => network.cuts[at][other] = true,
        4 => network.split(&[at]),
        5 => network.split(&[at, other]),
        6 => network.loss_percent = network.prng.below(31),
        7 => network.delay_us_max = 1 + network.prng.below(400_000),
        8 => network.duplicate_percent = network.prng.below(50),
        _ => network.mend(),
    }
}

#[test]
fn random_faults_heal() {
    let mut slowest = Duration::ZERO;
    for seed in 0..120 {
        let mut network = Network::new(2 + (seed % 8) as usize, seed);
        for _ in 0..20 {
            fault(&mut network);
            let span = millis(network.prng.below(12_000));
            network.run(span);
        }
        network.heal();
        let passed = network.assert_settles(seconds(90));
        slowest = slowest.max(passed);
    }
    std::println!("random faults heal within {slowest:?}");
}

/// A connection shows a node that others hold for down: nobody waits for a probe.
#[test]
fn a_connection_heals_at_once() {
    let mut network = Network::new(5, 4);
    network.split(&[0, 1]);
    network.run(seconds(60));
    network.heal();
    for (at, peer) in [(0, 2), (1, 3), (4, 0)] {
        let now = network.now;
        network.running(at).on_peer_up(now, node(peer));
        network.drain(at);
    }
    network.run(millis(2_500));
    assert!(network.is_right());
}
