//! Clusters of real processes whose membership changes while they serve: nodes join, leave, are
//! weighed, forgotten and replaced by the commands of operators, and nothing acknowledged is lost.

use ringmain_tests::process::{Client, Cluster, Load, fetch, newest, until};
use serde_json::Value;

use crate::operator::{cluster, json, plan, status};

/// Small, so that little has to be compared, and quick to notice who is gone.
const SETTINGS: [&str; 6] = ["--shards", "1", "--partitions", "64", "--probe-interval", "100ms"];
const KEY_COUNT: usize = 300;

/// Its one line of refusal.
fn refused(nodes: &Cluster, at: usize, words: &[&str], part: &str) {
    let output = cluster(nodes, at, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
    assert!(stderr.contains(part) && stderr.lines().count() == 1, "{words:?}: {stderr}");
    assert!(stderr.starts_with("ringmain: "), "{stderr}");
}

/// Commits what is staged, and waits until nothing moves.
fn commit(nodes: &Cluster, at: usize, count: usize) -> Value {
    let plan = plan(nodes, at, count);
    json(nodes, at, &["commit", plan["hash"].as_str().unwrap(), "--wait"]);
    plan
}

/// A node of the status at node `at`.
fn seat(nodes: &Cluster, at: usize, name: &str) -> Option<Value> {
    let status = status(nodes, at);
    let seats = status["nodes"].as_array().unwrap();
    seats.iter().find(|seat| seat["name"] == name).cloned()
}

/// All members have settled, agree on the ring, and show every key.
fn check(nodes: &Cluster, load: &Load, members: &[usize]) {
    for at in members {
        until(&format!("node {at} has settled on {} members", members.len()), || {
            let status = status(nodes, *at);
            let count = status["nodes"].as_array().unwrap().len();
            status["active_topologies"] == 1 && count == members.len()
        });
    }
    let rings: Vec<Value> = members.iter().map(|at| json(nodes, *at, &["ring"])).collect();
    assert!(rings.iter().all(|ring| *ring == rings[0]), "rings differ");
    for at in members {
        let mut client = Client::connect(nodes.resp(*at)).unwrap();
        for key in 0..KEY_COUNT {
            until(&format!("key {key} at node {at}"), || {
                client
                    .ask::<String>(&format!("GET key-{key}"))
                    .is_ok_and(|it| it == key.to_string())
            });
        }
        for (key, (acked, _)) in load.bounds() {
            until(&format!("{key} at node {at}"), || {
                newest(&mut client, &key).is_ok_and(|found| found.is_some_and(|it| it >= acked))
            });
        }
    }
}

fn add_named(nodes: &mut Cluster, names: &[&str]) {
    for name in names {
        nodes.add(&["--name", name]);
    }
}

/// Three members with data, and a client that writes at each.
fn three_with_data() -> (Cluster, Load) {
    let mut nodes = Cluster::empty(&SETTINGS);
    add_named(&mut nodes, &["oak", "elm", "ash"]);
    nodes.await_formed();
    let sets: Vec<String> = (0..KEY_COUNT).map(|key| format!("SET key-{key} {key}")).collect();
    nodes.client(0).pipeline::<()>(&sets).unwrap();
    let load = Load::start(&[nodes.resp(0), nodes.resp(1), nodes.resp(2)], 1);
    (nodes, load)
}

#[test]
fn a_cluster_changes_while_it_serves() {
    let (mut nodes, load) = three_with_data();

    let fir = nodes.add_waiting(&["--name", "fir"]);
    until("the seed is known", || cluster(&nodes, fir, &["join"]).status.success());
    let join = commit(&nodes, 0, 1);
    assert_eq!(join["staged"][0]["op"], "join");
    assert_eq!(join["staged"][0]["name"], "fir");
    let moves = join["moves"].as_u64().unwrap();
    assert!((38..=58).contains(&moves), "about a quarter of 192: {moves}");
    assert!(join["bytes"].as_u64().unwrap() > 0);
    assert!(join["peak_over_fair"].as_f64().unwrap() < 1.3);
    check(&nodes, &load, &[0, 1, 2, fir]);
    assert_eq!(seat(&nodes, 0, "fir").unwrap()["owned"], moves);

    json(&nodes, 1, &["weight", "oak", "300"]);
    commit(&nodes, 2, 1);
    check(&nodes, &load, &[0, 1, 2, fir]);
    let oak = seat(&nodes, fir, "oak").unwrap();
    assert_eq!(oak["weight"], 300);
    assert!(oak["owned"].as_u64().unwrap() > 55, "{oak}");

    json(&nodes, 0, &["leave", "elm"]);
    load.set_up(1, false);
    commit(&nodes, 0, 1);
    check(&nodes, &load, &[0, 2, fir]);
    nodes.process(1).log_with("this node was removed from its cluster");
    until("it says that it has left", || {
        seat(&nodes, 1, "elm").is_some_and(|seat| seat["state"] == "left" && seat["owned"] == 0)
    });
    let admin = nodes.process(1).ready().admin;
    until("it is not ready", || fetch(admin, "/ready").is_ok_and(|(code, _)| code == 503));
    refused(&nodes, 1, &["leave", "oak"], "this node was removed");
    refused(&nodes, 0, &["leave", "elm"], "no node elm");
    nodes.stop(1);

    replace_and_forget(nodes, load, fir);
}

/// Of oak (0), ash (2) and `fir`, ash dies and is replaced, and fir dies and is forgotten.
fn replace_and_forget(mut nodes: Cluster, load: Load, fir: usize) {
    load.set_up(2, false);
    nodes.kill(2);
    let yew = nodes.add_waiting(&["--name", "yew"]);
    until("ash is down, and yew known", || {
        let is_down = seat(&nodes, 0, "ash").unwrap()["state"] == "down";
        is_down && cluster(&nodes, 0, &["replace", "ash", "yew"]).status.success()
    });
    let replace = plan(&nodes, fir, 2);
    let mut ops: Vec<_> = (0..2).map(|at| replace["staged"][at]["op"].as_str().unwrap()).collect();
    ops.sort_unstable();
    assert_eq!(ops, ["forget", "join"], "ash does not answer");
    assert_eq!(replace["thin"], 0, "two of three copies are left, and w is 2");
    commit(&nodes, fir, 2);
    check(&nodes, &load, &[0, fir, yew]);
    assert!(seat(&nodes, yew, "yew").unwrap()["owned"].as_u64().unwrap() > 0);

    refused(&nodes, 0, &["forget", "fir"], "answers");
    nodes.kill(fir);
    until("fir is down", || cluster(&nodes, 0, &["forget", "fir"]).status.success());
    commit(&nodes, yew, 1);
    check(&nodes, &load, &[0, yew]);
    load.finish();
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let mut nodes = Cluster::empty(&SETTINGS);
    add_named(&mut nodes, &["oak", "elm"]);
    nodes.await_formed();
    until("both have settled", || (0..2).all(|at| status(&nodes, at)["active_topologies"] == 1));
    let hash = |at, count| plan(&nodes, at, count)["hash"].as_str().unwrap().to_owned();
    refused(&nodes, 0, &["commit", &hash(0, 0)], "nothing is staged");
    refused(&nodes, 0, &["leave", "fir"], "no node fir");
    refused(&nodes, 0, &["join"], "is a member already");
    refused(&nodes, 0, &["forget", "elm"], "answers");
    refused(&nodes, 0, &["replace", "oak", "elm"], "is a member already");
    json(&nodes, 0, &["weight", "elm", "50"]);
    let early = hash(1, 1);
    assert_eq!(early, hash(0, 1), "all nodes show one plan");
    json(&nodes, 1, &["zone", "oak", "east"]);
    hash(0, 2);
    refused(&nodes, 0, &["commit", &early], "the plan is");
    json(&nodes, 0, &["clear"]);
    let empty = hash(1, 0);
    refused(&nodes, 1, &["commit", &empty], "nothing is staged");
    json(&nodes, 1, &["leave", "oak"]);
    until("the leave is known at the other", || {
        !cluster(&nodes, 0, &["leave", "elm"]).status.success()
    });
    refused(&nodes, 0, &["leave", "elm"], "no member would be left");
    let usage = cluster(&nodes, 0, &["commit", "12"]);
    assert_eq!(usage.status.code(), Some(2));
    let usage = cluster(&nodes, 0, &["weight", "elm", "0"]);
    assert_eq!(usage.status.code(), Some(2));
}
