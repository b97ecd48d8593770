//! Another `--shards`: the data directory is laid out anew before the node serves.

use std::fs;
use std::path::Path;

use redis::Value;
use ringmain_tests::process::{Client, Cluster, Lone, Ringmain, until};
use rustix::process::Signal;

const KEY_COUNT: usize = 5000;

fn stop(mut node: Ringmain) {
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
}

/// Writes every key anew, deletes one in seven, and makes one with two siblings.
fn write(node: &Ringmain, round: usize) {
    let mut client = Client::connect(node.ready().resp).unwrap();
    let sets = (0..KEY_COUNT).map(|n| format!("SET key-{n} value-{n}-{round}"));
    let dels = (0..KEY_COUNT).step_by(7).map(|n| format!("DEL key-{n}"));
    let lines: Vec<_> = sets.chain(dels).collect();
    client.pipeline::<Vec<Value>>(&lines).unwrap();
    for _ in 0..2 {
        client.ask::<Value>(&format!("RM.PUT siblings-{round} - twin")).unwrap();
    }
}

fn check(node: &Ringmain, round: usize) {
    let mut client = Client::connect(node.ready().resp).unwrap();
    let lines: Vec<_> = (0..KEY_COUNT).map(|n| format!("GET key-{n}")).collect();
    let found: Vec<Option<String>> = client.pipeline(&lines).unwrap();
    for (n, found) in found.into_iter().enumerate() {
        let wanted = (n % 7 > 0).then(|| format!("value-{n}-{round}"));
        assert_eq!(found, wanted, "key-{n}");
    }
    for round in 0..=round {
        let answer: Vec<Value> = client.ask(&format!("RM.GET siblings-{round}")).unwrap();
        assert_eq!(answer.len(), 3, "a context and two siblings");
    }
}

fn shard_folders(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains("shard-")).count()
}

#[test]
fn a_node_serves_the_same_with_another_number_of_shards() {
    let lone = Lone::new();
    let node = lone.start(Some("1"));
    write(&node, 0);
    stop(node);
    for (round, shards) in ["2", "1", "3"].into_iter().enumerate() {
        let node = lone.start(Some(shards));
        assert_eq!(node.ready().shards.to_string(), shards);
        node.log_with(&format!("to {shards} shards: {} records", KEY_COUNT + round + 1));
        node.log_with("re-sharded ");
        check(&node, round);
        write(&node, round + 1);
        stop(node);
        assert_eq!(shard_folders(lone.dir()).to_string(), shards);
    }
    // Without the flag the count is the stored one, however many CPUs there are.
    let node = lone.start(None);
    assert_eq!(node.ready().shards, 3);
    assert!(!node.log().iter().any(|line| line.contains("re-shard")), "{:?}", node.log());
    check(&node, 3);
}

#[test]
fn a_node_killed_while_it_re_shards_has_everything_at_the_next_start() {
    let lone = Lone::new();
    let node = lone.start(Some("1"));
    write(&node, 0);
    stop(node);
    // Nobody knows where in its work the kill meets it: several rounds, each to a new count.
    for shards in ["2", "3", "4", "5", "6", "7"] {
        let mut node = lone.spawn(Some(shards));
        node.log_with("re-sharding ");
        node.signal(Signal::KILL);
        node.wait();
    }
    for shards in ["2", "1"] {
        let node = lone.start(Some(shards));
        assert_eq!(node.ready().shards.to_string(), shards);
        check(&node, 0);
        // Also a kill right behind the exchange: what was acknowledged since is there.
        Client::connect(node.ready().resp).unwrap().ask::<()>("SET key-1 value-1-0").unwrap();
        let mut node = node;
        node.signal(Signal::KILL);
        node.wait();
        assert_eq!(shard_folders(lone.dir()).to_string(), shards);
    }
    check(&lone.start(None), 0);
}

/// Peers learn the shard count when they connect; they hold it nowhere else.
#[test]
fn peers_reach_the_shards_that_a_node_has_now() {
    let mut cluster = Cluster::form_with(3, &["--durability", "always"]);
    let mut client = cluster.client(1);
    for n in 0..200 {
        client.ask::<Value>(&format!("RM.PUT key-{n} - {n} W 3")).unwrap();
    }
    for shards in ["4", "1"] {
        cluster.stop(0);
        cluster.start_with(0, &["--shards", shards]);
        assert_eq!(cluster.process(0).ready().shards.to_string(), shards);
        cluster.await_writes(1, 3);
        for n in 0..200 {
            let line = format!("RM.GET key-{n} R 3");
            until("all three have it", || {
                client.ask::<Vec<Value>>(&line).is_ok_and(|answer| answer.len() == 2)
            });
        }
    }
}
