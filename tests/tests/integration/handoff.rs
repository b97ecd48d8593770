//! Writes while owners are away: others stand in for them, and hand over what they kept.

use std::collections::BTreeSet;

use redis::Value;
use ringmain_tests::process::{Client, Cluster, code, until};

/// What the node behind `client` has of `key` itself, if it owns it.
fn own_copy(client: &mut Client, key: &str) -> Vec<Value> {
    let mut found: Vec<Value> = client.ask(&format!("RM.GET {key} R 1")).unwrap();
    found.split_off(1)
}

/// The owners of `key`, by their RESP addresses.
fn owners(client: &mut Client, key: &str) -> BTreeSet<String> {
    let ring: Vec<Value> = client.ask(&format!("RM.RING {key}")).unwrap();
    let owners: Vec<String> = redis::from_redis_value(ring[1].clone()).unwrap();
    owners.into_iter().collect()
}

/// Of five nodes, three own a key: with one of these away, a write is stored three times all the
/// same, though not by three owners.
#[test]
fn another_node_stands_in_for_an_owner_and_hands_over_what_it_kept() {
    let mut cluster = Cluster::form_with(5, &["--shards", "2"]);
    let keys: Vec<String> = (0..40).map(|key| format!("cart-{key}")).collect();
    let mut client = cluster.client(0);
    for key in &keys {
        client.ask::<Value>(&format!("RM.PUT {key} - before W 3")).unwrap();
    }
    let id = cluster.process(4).ready().node.clone();
    cluster.kill(4);
    // What was on its way to it when it died, nobody keeps for it.
    (0..4).for_each(|node| drop(cluster.process(node).log_with(&format!("node {id} is down"))));
    let away = cluster.resp(4).to_string();
    let missed: Vec<&String> =
        keys.iter().filter(|key| owners(&mut client, key).contains(&away)).collect();
    assert!(missed.len() > 10);
    for key in &keys {
        until("a write that others stand in for", || {
            client.ask::<Value>(&format!("SET {key} after")).is_ok()
        });
        client.ask::<Value>(&format!("RM.PUT {key}-new - new W 3")).unwrap();
    }
    let refused = client.ask::<Value>(&format!("RM.PUT {} - never PW 3", missed[0]));
    assert_eq!(code(refused), "UNAVAILABLE", "nobody stands in for a primary");
    cluster.start(4);
    let mut back = cluster.client(4);
    for key in missed {
        let wanted = [Value::BulkString(b"after".into())];
        until(&format!("{key} is handed over"), || own_copy(&mut back, key) == wanted);
    }
}

/// Of three nodes nobody is left to stand in: those that have a write keep in mind who lacks it.
#[test]
fn three_nodes_hand_over_what_one_of_them_missed() {
    let mut cluster = Cluster::form_with(3, &["--shards", "1"]);
    let mut client = cluster.client(0);
    client.ask::<Value>("RM.PUT cart - apples W 3").unwrap();
    let id = cluster.process(2).ready().node.clone();
    cluster.kill(2);
    (0..2).for_each(|node| drop(cluster.process(node).log_with(&format!("node {id} is down"))));
    for number in 0..100 {
        until("a write to two of three", || {
            client.ask::<Value>(&format!("SET cart nuts-{number}")).is_ok()
        });
    }
    client.ask::<Value>("SET other pears").unwrap();
    // Who keeps it in mind forgets nothing by a restart.
    cluster.kill(0);
    cluster.start(0);
    cluster.start(2);
    let mut back = cluster.client(2);
    for (key, value) in [("cart", "nuts-99"), ("other", "pears")] {
        let wanted = [Value::BulkString(value.into())];
        until(&format!("{key} is handed over"), || own_copy(&mut back, key) == wanted);
    }
}
