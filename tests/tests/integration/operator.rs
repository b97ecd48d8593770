//! What operators say: `ringmain cluster …` at a node of a cluster of real processes.

use std::process::Output;

use ringmain_tests::process::{Cluster, run, until};
use serde_json::Value;

/// `ringmain cluster …` at node `at`.
pub(crate) fn cluster(nodes: &Cluster, at: usize, words: &[&str]) -> Output {
    let native = nodes.native(at).to_string();
    run(&[&["cluster"], words, &["--node", &native]].concat())
}

/// Its JSON.
pub(crate) fn json(nodes: &Cluster, at: usize, words: &[&str]) -> Value {
    let output = cluster(nodes, at, &[words, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Looks at the plan at node `at` until it stages `count` changes.
pub(crate) fn plan(nodes: &Cluster, at: usize, count: usize) -> Value {
    let mut found = Value::Null;
    until(&format!("{count} staged changes at node {at}"), || {
        found = json(nodes, at, &["plan"]);
        found["staged"].as_array().unwrap().len() == count
    });
    found
}

/// What a node says of the cluster.
pub(crate) fn status(nodes: &Cluster, at: usize) -> Value {
    json(nodes, at, &["status"])
}
