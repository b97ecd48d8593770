//! What many nodes send.

use super::*;

/// Bytes that a node may send per second, and packets per period.
const BYTES_MAX: f64 = 12_000.0;
const PACKETS_MAX: f64 = 4.0;

/// What the busiest node sends.
#[derive(Debug)]
struct Load {
    bytes_per_second: f64,
    packets_per_period: f64,
}

impl Load {
    fn of(network: &mut Network, span: Duration) -> Load {
        network.hosts.iter_mut().for_each(|host| (host.bytes, host.packets) = (0, 0));
        network.run(span);
        let most = |of: fn(&Host) -> u64| network.hosts.iter().map(of).max().unwrap() as f64;
        let periods = span.div_duration_f64(PROBE_INTERVAL);
        Load {
            bytes_per_second: most(|host| host.bytes) / span.as_secs_f64(),
            packets_per_period: most(|host| host.packets) / periods,
        }
    }
}

/// As the formulas of SWIM say (Das, Gupta, Motivala 2002, §3): a probe and its answer, however
/// many there are, and more only while somebody does not answer.
#[test]
fn hundreds_of_nodes_send_little() {
    for count in [100, 200] {
        let mut network = Network::new(count, 5);
        let forming = Load::of(&mut network, seconds(10));
        network.run(seconds(30));
        let steady = Load::of(&mut network, seconds(60));
        network.crash(3);
        let crash = Load::of(&mut network, seconds(15));
        std::println!("{count} nodes: forming {forming:?}, steady {steady:?}, crash {crash:?}");
        for load in [&forming, &steady, &crash] {
            assert!(load.bytes_per_second <= BYTES_MAX);
            assert!(load.packets_per_period <= PACKETS_MAX);
        }
        assert!(network.is_right());
        assert!(network.are_digests_equal());
    }
}

#[test]
fn two_halves_of_two_hundred_nodes_heal() {
    let mut network = Network::new(200, 6);
    let left: Vec<usize> = (0..100).collect();
    network.split(&left);
    network.run(seconds(90));
    assert_eq!(network.status(0, 150), Liveness::Down);
    network.heal();
    network.hosts.iter_mut().for_each(|host| host.bytes = 0);
    let passed = network.time_until_right(seconds(60));
    let most = network.hosts.iter().map(|host| host.bytes).max().unwrap();
    std::println!("100|100 heals within {passed:?}; a node sends at most {most} bytes");
    assert!(most as f64 <= BYTES_MAX * passed.as_secs_f64().max(1.0));
    network.run(seconds(5));
    assert!(network.are_digests_equal());
}
