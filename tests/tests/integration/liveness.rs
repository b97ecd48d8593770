//! Which members the cluster holds for alive: nodes that are killed or stopped, and two processes
//! of one node.

use std::fs;
use std::net::SocketAddr;

use ringmain_tests::process::{Client, Cluster, Ringmain, run, until};
use ringmain_tests::stored::copy_files;
use rustix::process::Signal;
use serde_json::Value;

/// Small, so that a test does not take long; what is suspected has 2 s to say that it is there.
const SETTINGS: [&str; 4] = ["--shards", "1", "--probe-interval", "100ms"];

/// What node `asked` holds node `of` for.
fn state(cluster: &Cluster, asked: usize, of: usize) -> String {
    state_at(cluster, asked, cluster.resp(of)).unwrap()
}

/// What node `asked` holds the node for that serves RESP at `resp`, if it knows one.
fn state_at(cluster: &Cluster, asked: usize, resp: SocketAddr) -> Option<String> {
    let native = cluster.native(asked).to_string();
    let output = run(&["cluster", "status", "--json", "--node", &native]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let resp = resp.to_string();
    let nodes = status["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["resp"] == resp.as_str())?;
    Some(node["state"].as_str().unwrap().to_owned())
}

fn await_state(cluster: &Cluster, of: usize, wanted: &str) {
    for asked in (0..cluster.count()).filter(|asked| *asked != of) {
        until(&format!("{wanted} at node {asked}"), || state(cluster, asked, of) == wanted);
    }
}

/// The connections of a stopped process stand, and nobody else would notice.
#[test]
fn a_node_that_is_stopped_or_killed_is_down_until_it_is_back() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    await_state(&cluster, 2, "alive");
    cluster.process(2).signal(Signal::STOP);
    await_state(&cluster, 2, "down");
    let id = cluster.process(2).ready().node.clone();
    cluster.process(0).log_with(&format!("the cluster holds node {id} for down"));
    cluster.process(2).signal(Signal::CONT);
    await_state(&cluster, 2, "alive");
    cluster.kill(2);
    await_state(&cluster, 2, "down");
    cluster.start(2);
    await_state(&cluster, 2, "alive");
}

/// Node 2 moves while node 1, which knows only where it was, is down: node 0 tells it.
#[test]
fn a_node_that_comes_back_at_another_address_is_found() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    cluster.kill(1);
    cluster.kill(2);
    let listen = cluster.network().host(9).to_string();
    let dir = cluster.dir(2);
    let moved = ["--listen", &listen, "--data-dir", dir.to_str().unwrap()];
    let moved = Ringmain::start(&[&moved[..], &SETTINGS].concat());
    let resp = moved.ready().resp;
    let is_alive = |cluster: &Cluster, asked| {
        state_at(cluster, asked, resp).is_some_and(|state| state == "alive")
    };
    until("it is alive to a node that was up", || is_alive(&cluster, 0));
    cluster.start(1);
    until("it is alive to a node that was down", || is_alive(&cluster, 1));
    cluster.kill(0);
    let mut client = Client::connect(resp).unwrap();
    until("a write to both", || client.ask::<redis::Value>("RM.PUT a - b W 2").is_ok());
}

#[test]
fn of_two_processes_of_one_node_the_older_one_stops() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    cluster.stop(2);
    let dir = cluster.dir(2).with_extension("copy");
    copy_files(&cluster.dir(2), &dir);
    cluster.start(2);
    let older = cluster.process(2);
    older.log_with(": boot ");
    // So that the copy's number is larger even if it begins within the same second.
    fs::copy(cluster.dir(2).join("boot"), dir.join("boot")).unwrap();
    let listen = cluster.network().host(9).to_string();
    let copied = ["--listen", &listen, "--data-dir", dir.to_str().unwrap()];
    let _younger = Ringmain::start(&[&copied[..], &SETTINGS].concat());
    older.log_with("a younger process runs as this node");
    assert_eq!(cluster.process_mut(2).wait().code(), Some(4));
}
