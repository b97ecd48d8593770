//! Clusters of real processes: they form, lose nodes, restart, and keep what they acknowledged.

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use redis::Value;
use ringmain_tests::process::{Client, Cluster, Load, Ringmain, newest, until};
use rustix::process::Signal;

/// Requests begun at other nodes longer than this after a kill do not fail.
const RECOVERY: Duration = Duration::from_secs(2);

/// Kills each round another node under load, and starts it again from its disk.
fn kill_rounds(rounds: usize) {
    let mut cluster = Cluster::form(3);
    cluster.client(0).ask::<Value>("RM.PUT anchor - deep DW 3").unwrap();
    let nodes: Vec<_> = (0..3).map(|index| cluster.resp(index)).collect();
    let load = Load::start(&nodes, 2);
    for victim in (0..rounds).map(|round| round % 3) {
        load.set_up(victim, false);
        let killed = Instant::now();
        cluster.kill(victim);
        load.await_success(|node| node != victim, killed + RECOVERY);
        let failed = load.failed();
        let late = failed.iter().filter(|it| it.node != victim && it.begun > killed + RECOVERY);
        assert_eq!(late.collect::<Vec<_>>().len(), 0, "{failed:?}");

        cluster.start(victim);
        let own_copy: Vec<Value> = cluster.client(victim).ask("RM.GET anchor R 1").unwrap();
        assert_eq!(own_copy[1], Value::BulkString(b"deep".into()), "it has its data");
        load.set_up(victim, true);
        load.await_success(|_| true, Instant::now());
    }
    for (key, number) in load.finish() {
        for client in &mut cluster.clients() {
            let found = newest(client, &key).unwrap();
            assert!(found.is_some_and(|it| it >= number), "{key}: {number}, found {found:?}");
        }
    }
}

#[test]
fn killed_nodes_come_back_and_nothing_acknowledged_is_lost() {
    kill_rounds(5);
}

#[test]
fn a_long_series_of_kills() {
    if env::var_os("RINGMAIN_SOAK").is_none() {
        return eprintln!("skipped: set RINGMAIN_SOAK=1 to kill for minutes");
    }
    kill_rounds(60);
}

/// Writes one key at each node, with all copies acknowledged; reads them back after `restart`.
fn survives(durability: &str, restart: impl FnOnce(&mut Cluster)) {
    let mut cluster = Cluster::form_with(3, &["--shards", "1", "--durability", durability]);
    for (index, client) in cluster.clients().iter_mut().enumerate() {
        let lines = (0..50).map(|key| format!("SET {index}-{key} {durability}-{key}"));
        client.pipeline::<Vec<Value>>(&lines.collect::<Vec<_>>()).unwrap();
    }
    restart(&mut cluster);
    (0..3).for_each(|index| cluster.start(index));
    cluster.await_formed();
    for client in &mut cluster.clients() {
        for index in 0..3 {
            let lines: Vec<_> = (0..50).map(|key| format!("GET {index}-{key}")).collect();
            let values: Vec<String> = client.pipeline(&lines).unwrap();
            for (key, value) in values.iter().enumerate() {
                assert_eq!(*value, format!("{durability}-{key}"));
            }
        }
    }
}

fn all_stop(cluster: &mut Cluster) {
    for node in &mut cluster.end_all(Signal::TERM) {
        assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
    }
}

#[test]
fn data_survives_a_stop_of_all_nodes_with_always() {
    survives("always", all_stop);
}

#[test]
fn data_survives_a_stop_of_all_nodes_with_interval() {
    survives("interval:10ms", all_stop);
}

#[test]
fn data_survives_a_stop_of_all_nodes_with_none() {
    survives("none", all_stop);
}

#[test]
fn data_survives_a_kill_of_all_nodes_with_always() {
    survives("always", |cluster| {
        cluster.end_all(Signal::KILL);
    });
}

/// A node that was asked to stop went on reading commands; each failed only at its deadline, and
/// the stop took as long as it may.
#[test]
fn nodes_stop_under_load_and_keep_what_they_acknowledged() {
    let mut cluster = Cluster::form(3);
    let nodes: Vec<_> = (0..3).map(|index| cluster.resp(index)).collect();
    let load = Load::start(&nodes, 4);
    load.set_up(2, false);
    cluster.stop(2);
    load.await_success(|node| node != 2, Instant::now());
    (0..3).for_each(|node| load.set_up(node, false));
    all_stop(&mut cluster);
    let acked = load.finish();
    (0..3).for_each(|index| cluster.start(index));
    cluster.await_formed();
    let mut client = cluster.client(1);
    for (key, number) in acked {
        let found = newest(&mut client, &key).unwrap();
        assert!(found.is_some_and(|it| it >= number), "{key}: {number}, found {found:?}");
    }
}

/// A newcomer once stopped all writes, and was refused because there was data.
#[test]
fn a_cluster_in_use_takes_a_newcomer_and_goes_on() {
    let mut cluster = Cluster::form_with(2, &["--shards", "2"]);
    let load = Load::start(&[cluster.resp(0), cluster.resp(1)], 2);
    for _ in 0..200 {
        load.await_success(|_| true, Instant::now());
    }
    cluster.add(&[]);
    cluster.await_formed();
    for _ in 0..200 {
        load.await_success(|_| true, Instant::now());
    }
    assert!(load.failed().is_empty(), "{:?}", load.failed());
    let acked = load.finish();
    // The newcomer has its copies: it answers alone for the others.
    cluster.kill(0);
    cluster.kill(1);
    let mut client = cluster.client(2);
    for (key, number) in acked {
        let found = newest(&mut client, &format!("{key} R 1")).unwrap();
        assert!(found.is_some_and(|it| it >= number), "{key}: {number}, found {found:?}");
    }
}

#[test]
fn newcomers_at_once_all_get_in() {
    let mut cluster = Cluster::empty(&["--shards", "1"]);
    cluster.add(&[]);
    for _ in 0..4 {
        cluster.add_unready(&[]);
    }
    (1..5).for_each(|index| cluster.await_ready(index));
    cluster.await_formed();
}

#[test]
fn a_newcomer_waits_for_its_seed() {
    let mut cluster = Cluster::empty(&["--shards", "1"]);
    let seed = format!("{}:7400", cluster.network().host(1));
    let listen = cluster.network().host(9).to_string();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let words = ["start", "--listen", &listen, "--seed", &seed, "--join", "--data-dir", dir];
    let mut early = Ringmain::spawn(&words);
    early.log_with("asking again");
    cluster.add(&[]);
    early.await_ready();
    cluster.await_members(0, 2);
    let mut client = Client::connect(early.ready().resp).unwrap();
    until("a write at the newcomer", || client.ask::<Value>("RM.PUT a - b W 2").is_ok());
}

#[test]
fn a_newcomer_passes_over_seeds_that_are_down() {
    let mut cluster = Cluster::form(3);
    cluster.kill(0);
    cluster.kill(1);
    let seeds = [0, 1, 2].map(|index| cluster.native(index).to_string());
    let listen = cluster.network().host(9).to_string();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let words = ["start", "--listen", &listen, "--join", "--data-dir", dir];
    let seeds = ["--seed", &seeds[0], "--seed", &seeds[1], "--seed", &seeds[2]];
    let newcomer = Ringmain::spawn(&[&words[..], &seeds].concat());
    cluster.await_members(2, 4);
    (0..2).for_each(|index| cluster.start(index));
    (0..3).for_each(|index| cluster.await_members(index, 4));
    drop(newcomer);
}

#[test]
fn shards_of_any_number_reach_each_other() {
    let mut cluster = Cluster::empty(&[]);
    for shards in ["2", "1", "2"] {
        cluster.add(&["--shards", shards]);
    }
    cluster.await_formed();
    // Connections land on either shard: several of each node see both.
    let clients = || (0..4).flat_map(|_| cluster.clients()).collect::<Vec<_>>();
    for (index, client) in clients().iter_mut().enumerate() {
        let sets: Vec<_> = (0..100).map(|key| format!("SET {index}-{key} {key}")).collect();
        client.pipeline::<Vec<Value>>(&sets).unwrap();
    }
    for client in &mut clients() {
        for index in 0..12 {
            let keys: Vec<_> = (0..100).map(|key| format!("{index}-{key}")).collect();
            let values: Vec<usize> = client.ask(&format!("MGET {}", keys.join(" "))).unwrap();
            assert_eq!(values, (0..100).collect::<Vec<_>>());
        }
    }
    let dir = cluster.dir(0);
    assert!(fs::exists(dir.join("shard-001")).unwrap());
}

#[test]
fn nodes_that_restart_one_by_one_alone_are_a_cluster_afterwards() {
    for count in [1, 3] {
        let mut cluster = Cluster::form(count);
        cluster.client(0).ask::<()>(&format!("SET kept {count}")).unwrap();
        cluster.end_all(Signal::KILL);
        for _ in 0..2 {
            for index in 0..count {
                cluster.start(index);
                cluster.kill(index);
            }
        }
        for index in 0..count {
            cluster.start(index);
        }
        cluster.await_formed();
        for client in &mut cluster.clients() {
            assert_eq!(client.ask::<usize>("GET kept").unwrap(), count);
        }
    }
}

/// Keys of other shards, values that fill the links between shards many times over.
#[test]
fn large_values_pass_between_shards() {
    let cluster = Cluster::form_with(1, &["--shards", "2"]);
    let mut client = cluster.client(0);
    let value = "v".repeat(900_000);
    let sets: Vec<_> = (0..60).map(|key| format!("SET {key} {value}")).collect();
    client.pipeline::<()>(&sets).unwrap();
    let gets: Vec<_> = (0..60).map(|key| format!("GET {key}")).collect();
    for _ in 0..2 {
        let found: Vec<String> = client.pipeline(&gets).unwrap();
        assert!(found.iter().all(|found| *found == value));
    }
}
