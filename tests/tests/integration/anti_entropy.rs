//! Copies are compared and made equal: what a disk has lost comes back, and people see it.

use std::fs;
use std::path::Path;

use redis::Value;
use ringmain_tests::crowd::Target;
use ringmain_tests::process::{Client, Cluster, run, until};

/// What the node behind `client` has of `key` itself; none if it cannot be read.
fn own_copy(client: &mut Client, key: &str) -> Option<Vec<Value>> {
    let mut found: Vec<Value> = client.ask(&format!("RM.GET {key} R 1")).ok()?;
    Some(found.split_off(1))
}

/// The exit code of a command at node `node`, and what it said.
fn ask(cluster: &Cluster, node: usize, words: &[&str]) -> (i32, String, String) {
    let native = cluster.native(node).to_string();
    let output = run(&[words, &["--node", &native]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it exits");
    (code, text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Turns a bit in the value of `value` wherever it lies in the segments of shard 0.
fn rot(dir: &Path, value: &[u8]) {
    let mut count = 0;
    for entry in fs::read_dir(dir.join("shard-000")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "segment") {
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        let found = bytes.windows(value.len()).position(|window| window == value);
        let Some(at) = found else { continue };
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        count += 1;
    }
    assert!(count > 0, "the value is there");
}

/// Three nodes with 200 keys, of which the last node has lost one.
fn rotten(interval: &str) -> Cluster {
    let mut cluster =
        Cluster::form_with(3, &["--shards", "1", "--anti-entropy-interval", interval]);
    let lines: Vec<_> = (0..200).map(|key| format!("RM.PUT {key} - value-{key} W 3")).collect();
    cluster.client(0).pipeline::<Vec<Value>>(&lines).unwrap();
    cluster.stop(2);
    rot(&cluster.dir(2), b"value-150");
    cluster.start(2);
    cluster.await_members(2, 3);
    cluster
}

/// With the others gone, the last node has every key.
fn check_alone(cluster: &mut Cluster) {
    (0..2).for_each(|node| cluster.kill(node));
    let mut client = cluster.client(2);
    for key in 0..200 {
        let wanted = Some(vec![Value::BulkString(format!("value-{key}").into_bytes())]);
        until(&format!("{key} is here"), || own_copy(&mut client, &key.to_string()) == wanted);
    }
}

#[test]
fn a_record_that_a_disk_lost_comes_back_from_another_owner() {
    let cluster = rotten("3s");
    until("an exchange that repairs", || {
        let repaired = (0..3).map(|node| {
            let process = cluster.process(node);
            let target = Target { ready: process.ready().clone(), id: process.id() };
            target.metric("ringmain_exchange_keys_repaired_total")
        });
        repaired.sum::<u64>() > 0
    });
    let mut client = cluster.client(2);
    for key in 0..200 {
        let wanted = Some(vec![Value::BulkString(format!("value-{key}").into_bytes())]);
        until(&format!("{key} is here"), || own_copy(&mut client, &key.to_string()) == wanted);
    }
}

#[test]
fn a_repair_compares_all_copies_now() {
    let mut cluster = rotten("1h");
    let (code, out, error) = ask(&cluster, 0, &["repair"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains(" pairs of copies were compared"), "{out}");

    let (code, out, _) = ask(&cluster, 1, &["cluster", "exchanges", "--json"]);
    assert_eq!(code, 0);
    let pairs = json(&out);
    let pairs = pairs.as_array().unwrap();
    assert_eq!(pairs.len(), 3 * 1024, "every two owners of every partition, once");
    for pair in pairs {
        assert!(pair["last_equal_s"].is_u64(), "{pair}");
        assert_eq!(pair["differences"], 0, "{pair}");
    }

    // What is away is not compared, and that is told.
    let id = cluster.process(1).ready().node.clone();
    cluster.kill(1);
    for node in [0, 2] {
        drop(cluster.process(node).log_with(&format!("node {id} is down")));
    }
    let (code, out, error) = ask(&cluster, 0, &["repair", "--json"]);
    assert!(code == 1 && error.contains("1 of 3 members could not be asked"), "{error}");
    let told = json(&out);
    assert!(told["unasked"][0].as_str().is_some_and(|name| name.contains(&id)), "{told}");
    // Each node begins the exchanges with those whose ids are higher.
    let lower = [0, 2].map(|node| cluster.process(node).ready().node < id);
    let pairs = 1024 * lower.iter().filter(|is_lower| **is_lower).count();
    assert_eq!(told["deferred"].as_array().unwrap().len(), pairs, "{told}");
    let (code, out, _) = ask(&cluster, 0, &["repair", "--partition", "7"]);
    let is_of_one_partition = (1..=3).any(|pairs| out.contains(&format!(" of {pairs} pairs")));
    assert!(code == 1 && is_of_one_partition, "{out}");
    assert_eq!(ask(&cluster, 0, &["repair", "--partition", "1024"]).0, 2);
    cluster.start(1);
    until("a repair of all", || ask(&cluster, 2, &["repair"]).0 == 0);
    check_alone(&mut cluster);
}

#[test]
fn hints_are_seen_until_there_are_none() {
    let mut cluster = Cluster::form_with(3, &["--shards", "2"]);
    // A crowded machine may have kept some while the cluster formed.
    until("none at first", || {
        let (code, out, _) = ask(&cluster, 0, &["cluster", "hints"]);
        code == 0 && out.trim() == "no hints"
    });
    let id = cluster.process(2).ready().node.clone();
    cluster.kill(2);
    (0..2).for_each(|node| drop(cluster.process(node).log_with(&format!("node {id} is down"))));
    let mut client = cluster.client(0);
    for key in 0..50 {
        until("a write to two of three", || client.ask::<Value>(&format!("SET {key} x")).is_ok());
    }
    until("fifty hints", || {
        let (_, out, _) = ask(&cluster, 0, &["cluster", "hints", "--json"]);
        let hints = json(&out);
        let hints = hints.as_array().unwrap();
        hints.iter().all(|one| one["target"] == id.as_str())
            && hints.iter().map(|one| one["count"].as_u64().unwrap()).sum::<u64>() >= 50
    });
    cluster.start(2);
    until("no hints", || {
        ask(&cluster, 1, &["cluster", "hints"]) == (0, "no hints\n".into(), String::new())
    });
}
