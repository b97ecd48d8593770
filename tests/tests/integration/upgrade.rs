//! A cluster whose nodes are restarted one by one under load, as the same build and as the next:
//! nothing acknowledged is lost, and nothing fails but what was said to a node that went down.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use redis::Value;
use ringmain_core::checksum::{Checksum, Software};
use ringmain_tests::process::{Build, Client, Cluster, Load, Lone, newest, run, run_to_end, until};
use rustix::process::Signal;
use serde_json::Value as Json;

const SETTINGS: [&str; 4] = ["--shards", "2", "--partitions", "64"];
const NODE_COUNT: usize = 3;
const WORKER_COUNT: usize = 2;
const KEY_COUNT: usize = 100;

/// A command of that build at node `node`: the exit code, its output and its failure.
fn ask(build: Build, cluster: &Cluster, node: usize, words: &[&str]) -> (i32, String, String) {
    let native = cluster.native(node).to_string();
    let output = run_to_end(build.command(&[words, &["--node", &native]].concat()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it exits");
    (code, text(&output.stdout), text(&output.stderr))
}

fn ask_json(build: Build, cluster: &Cluster, node: usize, words: &[&str]) -> Json {
    let (code, out, error) = ask(build, cluster, node, &[words, &["--json"]].concat());
    assert_eq!(code, 0, "{words:?}: {error}");
    serde_json::from_str(&out).unwrap()
}

fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    (0..cluster.count()).map(|node| cluster.resp(node)).collect()
}

/// Takes node `node` down in its own way, has it started again, and waits until it serves as
/// before. What failed meanwhile was said to that node, which refused it or lost its connection.
fn restart(cluster: &mut Cluster, load: &Load, node: usize, down: impl FnOnce(&mut Cluster)) {
    let before = load.failed().len();
    down(cluster);
    load.set_up(node, false);
    // The others go on at once, and what they write now has to be handed over.
    load.await_success(|other| other != node, Instant::now());
    load.await_acked(100);
    cluster.start(node);
    cluster.await_members(node, cluster.count());
    cluster.await_writes(node, cluster.count());
    load.set_up(node, true);
    load.await_success(|_| true, Instant::now());
    let failed = load.failed().split_off(before);
    let elsewhere: Vec<_> = failed.iter().filter(|one| one.node != node).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // A node that is asked to stop refuses what still comes, and nothing of it was stored.
    let kinds = ["os error", "end of file", "BUSY"];
    let is_retried = |error: &str| kinds.iter().any(|kind| error.contains(kind));
    assert!(failed.iter().all(|one| is_retried(&one.error)), "{failed:?}");
}

/// All that was acknowledged is at all nodes, asked at each.
fn check(cluster: &Cluster, load: Load) {
    let acked = load.finish();
    assert!(!acked.is_empty());
    for client in &mut cluster.clients() {
        for (key, number) in &acked {
            let found = newest(client, key).unwrap();
            assert!(found >= Some(*number), "{key}: {number} was acknowledged, {found:?} is read");
        }
    }
}

/// The keys that a scan at `client` shows.
fn scan(client: &mut Client, pattern: &str) -> usize {
    let (mut cursor, mut count) = (String::from("0"), 0);
    loop {
        let line = format!("SCAN {cursor} MATCH {pattern} COUNT 1000");
        let (next, keys): (String, Vec<String>) = client.ask(&line).unwrap();
        count += keys.len();
        cursor = next;
        if cursor == "0" {
            return count;
        }
    }
}

/// What members say of each other's builds, asked by each build at each node.
fn check_status(cluster: &Cluster, wires: [u8; NODE_COUNT]) {
    for build in [Build::Newest, Build::Older] {
        for node in 0..NODE_COUNT {
            until("a status that all have completed", || {
                let status = ask_json(build, cluster, node, &["cluster", "status"]);
                let natives = (0..NODE_COUNT).map(|node| cluster.native(node).to_string());
                let told = natives.map(|native| {
                    let members = status["nodes"].as_array().unwrap().iter();
                    let member = members.clone().find(|member| member["native"] == *native);
                    member.unwrap()["wire"].as_u64()
                });
                told.collect::<Vec<_>>() == wires.map(|wire| Some(u64::from(wire)))
            });
        }
    }
}

/// While some are upgraded and others are not, all is done but reaping.
fn check_mixed(cluster: &Cluster, older: &[usize], round: usize) {
    for (node, client) in cluster.clients().iter_mut().enumerate() {
        for key in 0..KEY_COUNT {
            let found: Vec<Value> = client.ask(&format!("RM.GET kept-{key} R 3")).unwrap();
            assert_eq!(found.len(), 2, "a context and a value at node {node}");
        }
        assert_eq!(scan(client, "kept-*"), KEY_COUNT);
    }
    for node in 0..NODE_COUNT {
        for build in [Build::Newest, Build::Older] {
            let (code, _, error) = ask(build, cluster, node, &["repair"]);
            assert_eq!(code, 0, "{error}");
        }
        // In one line, which node is older; an older command says that of itself.
        let (code, out, error) = ask(Build::Newest, cluster, node, &["reap"]);
        assert_eq!((code, out.as_str(), error.lines().count()), (1, "", 1), "{error}");
        let is_named = |node: &usize| error.contains(&cluster.process(*node).ready().node);
        assert!(older.iter().any(is_named), "{error}");
        assert!(error.contains("speaks version 1 of the wire protocol"), "{error}");
        assert!(error.contains("upgrade it"), "{error}");
        let (code, _, error) = ask(Build::Older, cluster, node, &["reap"]);
        assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    }
    // The membership changes, by a command of one build at a node of the other.
    let (build, node) = match round % 2 {
        0 => (Build::Older, 0),
        _ => (Build::Newest, NODE_COUNT - 1),
    };
    let name = cluster.process(round).ready().node.clone();
    let weight = (100 + 10 * round).to_string();
    ask_json(build, cluster, node, &["cluster", "weight", &name, &weight]);
    let plan = ask_json(build, cluster, node, &["cluster", "plan"]);
    let hash = plan["hash"].as_str().unwrap().to_owned();
    ask_json(build, cluster, node, &["cluster", "commit", &hash]);
    for node in 0..NODE_COUNT {
        until("the weight is known everywhere, and all has moved", || {
            let status = ask_json(Build::Newest, cluster, node, &["cluster", "status"]);
            let mut members = status["nodes"].as_array().unwrap().iter();
            let is_told = members.any(|member| {
                member["node"] == *name && member["weight"] == weight.parse::<u64>().unwrap()
            });
            is_told && status["active_topologies"] == 1
        });
    }
}

#[test]
fn a_cluster_is_upgraded_node_by_node_under_load() {
    let began = Instant::now();
    Build::Older.binary();
    println!("the older build: {:?}", began.elapsed());
    let mut cluster = Cluster::form_of(Build::Older, NODE_COUNT, &SETTINGS);
    let mut client = cluster.client(0);
    for key in 0..KEY_COUNT {
        client.ask::<Value>(&format!("RM.PUT kept-{key} - v W 3")).unwrap();
        client.ask::<Value>(&format!("SET gone-{key} v")).unwrap();
        client.ask::<Value>(&format!("DEL gone-{key}")).unwrap();
    }
    check_status(&cluster, [1; NODE_COUNT]);
    let load = Load::start(&addresses(&cluster), WORKER_COUNT);
    let mut wires = [1; NODE_COUNT];
    for node in 0..NODE_COUNT {
        restart(&mut cluster, &load, node, |cluster| {
            cluster.kill(node);
            cluster.set_build(node, Build::Newest);
        });
        wires[node] = 2;
        check_status(&cluster, wires);
        let older: Vec<usize> = (node + 1..NODE_COUNT).collect();
        if !older.is_empty() {
            check_mixed(&cluster, &older, node);
        }
    }
    // All are upgraded: nothing waits any more.
    let reaped = ask_json(Build::Newest, &cluster, 0, &["reap"]);
    assert_eq!((&reaped["is_running"], &reaped["put_off"]), (&false.into(), &0.into()), "{reaped}");
    assert_eq!(reaped["too_old"], Json::Array(Vec::new()));
    // The older command still speaks with what is newer by one.
    let (code, _, error) = ask(Build::Older, &cluster, 0, &["reap"]);
    assert_eq!(code, 1);
    assert!(error.contains("take the one of a newer build"), "{error}");
    check(&cluster, load);
}

#[test]
fn nodes_that_are_restarted_in_turn_fail_nobody_else() {
    let mut cluster = Cluster::form_with(NODE_COUNT, &SETTINGS);
    let load = Load::start(&addresses(&cluster), WORKER_COUNT);
    for node in 0..NODE_COUNT {
        restart(&mut cluster, &load, node, |cluster| cluster.stop(node));
    }
    let native = cluster.native(0).to_string();
    let status = run(&["cluster", "status", "--node", &native]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("wire"), "a column of the table");
    check(&cluster, load);
}

/// Writes `bytes`, a small file of a data directory or the header of a segment, as a later format
/// would look: its version, and checksums that are right. What it was, and became.
fn of_later_format(name: &str, bytes: &[u8]) -> (u32, Vec<u8>) {
    let mut later = bytes.to_vec();
    let version = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    later[8..12].copy_from_slice(&(version + 1).to_le_bytes());
    let (at, checksum) = if name.ends_with(".segment") {
        (60, Software::crc32c(0, &later[..60]))
    } else {
        (16, Software::crc32c(Software::crc32c(0, &later[..16]), &later[20..]))
    };
    later[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    (version, later)
}

/// Nothing that a later build has written is guessed at, and nothing of it is changed.
#[test]
fn a_file_of_a_later_format_is_refused_with_both_versions() {
    let lone = Lone::new();
    let mut node = lone.start(Some("1"));
    let mut client = Client::connect(lone.resp()).unwrap();
    client.ask::<Value>("SET kept v").unwrap();
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    let small =
        ["identity", "members", "secret", "boot", "origin", "shard-000/stopped"].map(String::from);
    for name in small.into_iter().chain(lone.segments()) {
        let path = lone.dir().join(&name);
        let whole = fs::read(&path).unwrap();
        let (version, later) = of_later_format(&name, &whole);
        fs::write(&path, &later).unwrap();
        let mut node = lone.spawn(None);
        assert!(node.try_ready().is_none(), "{name}");
        assert_eq!(node.wait().code(), Some(4), "{name}");
        let line = node.log_with("ringmain: ");
        for told in [format!(" {}", version + 1), version.to_string(), "start the version".into()] {
            assert!(line.contains(&told), "{name}: {told} in {line}");
        }
        assert_eq!(fs::read(&path).unwrap(), later, "{name} is as it was");
        fs::write(&path, &whole).unwrap();
    }
    let mut node = lone.start(None);
    let mut client = Client::connect(lone.resp()).unwrap();
    assert_eq!(client.ask::<String>("GET kept").unwrap(), "v");
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}
