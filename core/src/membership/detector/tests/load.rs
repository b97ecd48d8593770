//! What two hundred nodes send.

use super::*;

/// Bytes per second that the busiest and the mean node sent in `span`.
fn load(network: &mut Network, span: Duration) -> (u64, u64) {
    network.hosts.iter_mut().for_each(|host| host.bytes = 0);
    network.run(span);
    let most = network.hosts.iter().map(|host| host.bytes).max().unwrap();
    let all: u64 = network.hosts.iter().map(|host| host.bytes).sum();
    (most / span.as_secs(), all / span.as_secs() / network.hosts.len() as u64)
}

#[test]
fn two_hundred_nodes_send_little() {
    let mut network = Network::new(200, 5);
    let (most, mean) = load(&mut network, seconds(10));
    std::println!("at start: {mean} B/s, at most {most}");
    assert!(most <= 12_000);
    network.run(seconds(30));
    let (most, mean) = load(&mut network, seconds(30));
    std::println!("steady: {mean} B/s, at most {most}");
    assert!(most <= 12_000);
    network.crash(3);
    let (most, mean) = load(&mut network, seconds(15));
    std::println!("one crash: {mean} B/s, at most {most}");
    assert!(most <= 12_000);
    assert!(network.is_right());
    assert!(network.are_digests_equal());
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
    assert!(most <= 12_000 * passed.as_secs().max(1));
    network.run(seconds(5));
    assert!(network.are_digests_equal());
}
