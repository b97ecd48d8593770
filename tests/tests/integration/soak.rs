//! Five nodes, and clients that modify what they share, while nodes are killed, stopped, and cut
//! from each other: nothing that was acknowledged is lost, and soon all owners have the same.
//!
//! `RINGMAIN_SOAK=1` makes each kind of trouble last for a minute.

use std::collections::BTreeSet;
use std::env;
use std::time::{Duration, Instant};

use redis::Value;
use ringmain_core::prng::Prng;
use ringmain_tests::process::{Client, Cluster, Modifiers, Namespace, run, siblings, until};
use rustix::process::Signal;

const NODE_COUNT: usize = 5;
const CLIENT_COUNT: usize = 8;
const KEY_COUNT: u64 = 24;
/// Writes that must succeed during each trouble.
const ACKED_COUNT: u64 = 150;

fn length() -> Duration {
    let is_soak = env::var_os("RINGMAIN_SOAK").is_some();
    Duration::from_secs(if is_soak { 60 } else { 6 })
}

fn five() -> Cluster {
    Cluster::form_with(NODE_COUNT, &["--shards", "1", "--anti-entropy-interval", "5s"])
}

fn modifiers(cluster: &Cluster) -> Modifiers {
    let nodes: Vec<_> = (0..NODE_COUNT).map(|node| cluster.resp(node)).collect();
    Modifiers::start(&nodes, CLIENT_COUNT, KEY_COUNT)
}

fn ask(cluster: &Cluster, words: &[&str]) -> Option<String> {
    let native = cluster.native(0).to_string();
    let output = run(&[words, &["--node", &native]].concat());
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The owners of `key`, by their RESP addresses.
fn owners(client: &mut Client, key: &str) -> BTreeSet<String> {
    let ring: Vec<Value> = client.ask(&format!("RM.RING {key}")).unwrap();
    let owners: Vec<String> = redis::from_redis_value(ring[1].clone()).unwrap();
    owners.into_iter().collect()
}

/// All is well again: within patience all owners have one sibling set that covers what was
/// acknowledged, nobody keeps hints, and all trees are equal.
fn check(cluster: &Cluster, mut modifiers: Modifiers, what: &str) {
    let (acked, failed) = modifiers.finish();
    let healed = Instant::now();
    until("no hints", || ask(cluster, &["cluster", "hints", "--json"]).as_deref() == Some("[]\n"));
    until("equal copies", || {
        ask(cluster, &["repair", "--json"]).is_some_and(|text| text.contains("\"differences\":0"))
    });
    let settled = healed.elapsed();
    let mut clients = cluster.clients();
    for key in modifiers.keys() {
        let owners = owners(&mut clients[0], &key);
        assert_eq!(owners.len(), 3, "{key}");
        let own = (0..NODE_COUNT).filter(|node| owners.contains(&cluster.resp(*node).to_string()));
        let copies: Vec<BTreeSet<String>> =
            own.map(|node| siblings(&mut clients[node], &key, "R 1").unwrap().1).collect();
        assert!(copies.iter().all(|copy| *copy == copies[0]), "{key}: {copies:?}");
        let lost = modifiers.lost(&key, &copies[0]);
        assert!(lost.is_empty(), "{key}: {lost:?} were acknowledged, {:?} is left", copies[0]);
    }
    println!(
        "{what}: {acked} writes acknowledged, {failed} requests failed, settled in {settled:?}"
    );
}

/// Does `trouble` again and again.
fn again(modifiers: &Modifiers, mut trouble: impl FnMut(&mut Prng)) {
    let mut prng = Prng::new(length().as_secs());
    let begun = Instant::now();
    while begun.elapsed() < length() {
        trouble(&mut prng);
        modifiers.await_acked(ACKED_COUNT);
    }
}

#[test]
fn nodes_are_killed_under_writers_of_the_same_keys() {
    let mut cluster = five();
    let modifiers = modifiers(&cluster);
    again(&modifiers, |prng| {
        let node = prng.below(NODE_COUNT as u64) as usize;
        cluster.kill(node);
        modifiers.await_acked(ACKED_COUNT);
        cluster.start(node);
    });
    check(&cluster, modifiers, "killed");
}

#[test]
fn nodes_are_stopped_under_writers_of_the_same_keys() {
    let cluster = five();
    let modifiers = modifiers(&cluster);
    again(&modifiers, |prng| {
        let node = prng.below(NODE_COUNT as u64) as usize;
        cluster.process(node).signal(Signal::STOP);
        modifiers.await_acked(ACKED_COUNT);
        cluster.process(node).signal(Signal::CONT);
    });
    check(&cluster, modifiers, "stopped");
}

#[test]
fn nodes_are_cut_from_each_other_under_writers_of_the_same_keys() {
    let Some(namespace) = Namespace::enter() else {
        return eprintln!("skipped: cutting nodes from each other needs root and `ip`");
    };
    let cluster = five();
    let modifiers = modifiers(&cluster);
    let hosts: Vec<_> = (1..=NODE_COUNT as u8).map(|host| cluster.network().host(host)).collect();
    again(&modifiers, |prng| {
        // Two from three, both ways or one; or only one pair.
        let kind = prng.below(3);
        let (a, b) = match kind {
            0 | 1 => (&hosts[..2], &hosts[2..]),
            _ => (&hosts[..1], &hosts[3..4]),
        };
        for from in a {
            for to in b {
                namespace.cut(*from, *to);
                if kind == 0 {
                    namespace.cut(*to, *from);
                }
            }
        }
        modifiers.await_acked(ACKED_COUNT);
        namespace.heal();
    });
    check(&cluster, modifiers, "cut");
}
