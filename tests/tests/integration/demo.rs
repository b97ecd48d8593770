//! `ringmain demo`: what a person at a laptop sees, and what is left afterwards.

use std::path::Path;

use ringmain_tests::process::{Network, Ringmain, command, ends};
use rustix::process::{Pid, Signal, kill_process};

/// A demo whose ring has formed, and the process ids of its nodes.
fn formed(arguments: &[&str], network: &Network, nodes: usize) -> (Ringmain, Vec<u32>) {
    let base = network.base().to_string();
    let mut demo = command(&[&["demo", "--network", &base], arguments].concat());
    // Nodes that read the demo's environment would refuse this.
    demo.env("RINGMAIN_NONSENSE", "1");
    let mut demo = Ringmain::of(demo);
    demo.line_with(" a ring:");
    let pids = (0..nodes).map(|_| {
        let line = demo.line_with("  node ");
        let pid = line.split_once("pid ").and_then(|(_, rest)| rest.split(' ').next());
        pid.unwrap().parse().unwrap()
    });
    let pids = pids.collect();
    (demo, pids)
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

/// The data directory in the command that the demo gives to start a node again.
fn data_dir(line: &str) -> &str {
    line.split_once("--data-dir ").unwrap().1.split(' ').next().unwrap()
}

#[test]
fn a_node_that_dies_is_reported_and_ctrl_c_stops_the_rest() {
    let network = Network::take();
    let (mut demo, pids) = formed(&[], &network, 3);
    kill(pids[2]);
    let line = demo.log_with("node 3 was killed by signal 9; to start it again: ");
    let folder = Path::new(data_dir(&line)).to_owned();
    assert!(folder.is_dir());
    demo.signal(Signal::INT);
    assert_eq!(demo.wait().code(), Some(0));
    assert!(pids.into_iter().all(ends));
    assert!(!folder.exists(), "a temporary directory is removed");
}

#[test]
fn a_demo_that_is_asked_to_stop_leaves_nothing() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let base = network.base().to_string();
    let mut demo = command(&["demo", "--nodes", "1", "--network", &base, "--log-level", "info"]);
    demo.env("TMPDIR", folder.path());
    let mut demo = Ringmain::of(demo);
    demo.line_with(" a ring:");
    demo.log_with("founds a cluster");
    demo.signal(Signal::TERM);
    assert_eq!(demo.wait().code(), Some(0));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the data is removed");
}

#[test]
fn a_killed_demo_leaves_no_nodes() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (mut demo, pids) = formed(&["--nodes", "1", "--data-dir", dir], &network, 1);
    demo.signal(Signal::KILL);
    demo.wait();
    assert!(pids.into_iter().all(ends));
    assert!(folder.path().join("node-1").is_dir(), "a given directory stays");
}
