//! What was deleted leaves all nodes, never to come back, and so do copies that were given away.

use std::time::{Duration, Instant};

use redis::Value;
use ringmain_tests::crowd::Target;
use ringmain_tests::process::{Client, Cluster, Ringmain, run, until, until_within};
use rustix::process::Signal;

/// Small, so that little has to be looked at, and quick to notice who is gone.
const SETTINGS: [&str; 6] = ["--shards", "2", "--partitions", "64", "--probe-interval", "100ms"];

/// The least grace that there is, and nodes that catch up soon.
pub(super) const HASTY: [&str; 12] = [
    "--shards",
    "2",
    "--partitions",
    "64",
    "--probe-interval",
    "100ms",
    "--reap-grace",
    "10s",
    "--hint-interval",
    "1s",
    "--anti-entropy-interval",
    "3s",
];

/// What a test harness writes to see that a cluster has formed.
const FORMED_COUNT: u64 = 16;

/// As above, and what clocks may differ by.
pub(super) const GRACE: Duration = Duration::from_secs(11);

/// Between the two questions of a reaping lie 60 s. Before the first lies the grace, or the minute
/// in which a node that has started does not agree; and whoever just missed that looks again within
/// a minute. So much is usual, and as much again is for a crowded machine.
pub(super) const REAPING_PATIENCE: Duration = Duration::from_secs(2 * 180);

/// The exit code of a command at node `node`, its output and its failure.
pub(super) fn ask(cluster: &Cluster, node: usize, words: &[&str]) -> (i32, String, String) {
    let native = cluster.native(node).to_string();
    let output = run(&[words, &["--node", &native]].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it exits");
    (code, text(&output.stdout), text(&output.stderr))
}

/// `ringmain reap`, told by node `node` who is a member: the exit code, and what was done.
fn reap(cluster: &Cluster, node: usize) -> (i32, serde_json::Value) {
    let (code, out, error) = ask(cluster, node, &["reap", "--json"]);
    let told = serde_json::from_str(&out);
    (code, told.unwrap_or_else(|unread| panic!("{unread}: {out}{error}")))
}

/// A metric, summed over those nodes.
pub(super) fn metric(cluster: &Cluster, nodes: std::ops::Range<usize>, name: &str) -> u64 {
    let of = |node| {
        let process = cluster.process(node);
        Target { ready: process.ready().clone(), id: process.id() }.metric(name)
    };
    nodes.map(of).sum()
}

pub(super) fn write(client: &mut Client, name: &str, count: usize) {
    let lines: Vec<_> = (0..count).map(|key| format!("RM.PUT {name}-{key} - v W 3")).collect();
    client.pipeline::<Vec<Value>>(&lines).unwrap();
}

pub(super) fn delete(client: &mut Client, name: &str, keys: std::ops::Range<usize>) {
    for key in keys {
        let line = format!("DEL {name}-{key}");
        until(&line, || client.ask::<Value>(&line).is_ok());
    }
}

/// No node that runs knows the deleted keys in any way, and all know the others.
fn check(cluster: &Cluster, gone: &[(&str, usize)], kept: (&str, usize)) {
    for client in &mut cluster.clients() {
        let unwritten: Vec<Value> = client.ask("RM.GET unwritten").unwrap();
        for (name, count) in gone {
            for key in 0..*count {
                for line in [format!("RM.GET {name}-{key} R 3"), format!("RM.GET {name}-{key} R 1")]
                {
                    assert_eq!(client.ask::<Vec<Value>>(&line).unwrap(), unwritten, "{line}");
                }
            }
        }
        let (name, count) = kept;
        for key in 0..count {
            assert_eq!(client.ask::<String>(&format!("GET {name}-{key}")).unwrap(), "v");
        }
        assert_eq!(client.ask::<u64>("DBSIZE").unwrap(), count as u64 + FORMED_COUNT);
    }
}

#[test]
fn a_deleted_key_does_not_count_and_is_too_young_to_leave() {
    let cluster = Cluster::form_with(3, &SETTINGS);
    let mut clients = cluster.clients();
    write(&mut clients[0], "key", 300);
    delete(&mut clients[1], "key", 0..100);
    for client in &mut clients {
        until("a count without what was deleted", || {
            client.ask::<u64>("DBSIZE").unwrap() == 200 + FORMED_COUNT
        });
    }
    until("each node has the tombstones", || {
        metric(&cluster, 0..3, "ringmain_tombstones") == 3 * 100
    });
    let (code, told) = reap(&cluster, 1);
    assert_eq!((code, &told["is_running"]), (0, &false.into()), "{told}");
    assert_eq!((&told["young"], &told["tombstones"]), (&100.into(), &300.into()), "{told}");
    for nothing in ["reaped", "given_away", "put_off", "away", "barred", "unowned"] {
        assert_eq!(told[nothing], 0, "{nothing} in {told}");
    }
    let (code, out, error) = ask(&cluster, 2, &["reap"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("too young: 100 keys"), "{out}");
}

#[test]
fn copies_that_were_given_away_leave() {
    let mut cluster = Cluster::form_with(3, &SETTINGS);
    write(&mut cluster.client(0), "key", 300);
    let added = cluster.add(&[]);
    for node in 0..4 {
        cluster.await_members(node, 4);
        cluster.await_settled(node);
    }
    until("no copy where none belongs", || {
        let (code, told) = reap(&cluster, added);
        code == 0 && told["unowned"] == 0
    });
    let keys = 300 + FORMED_COUNT;
    assert_eq!(metric(&cluster, 0..4, "ringmain_keys"), 3 * keys);
    assert_eq!(metric(&cluster, 0..4, "ringmain_unowned_keys"), 0);
    let given_away = metric(&cluster, 0..4, "ringmain_given_away_total");
    assert_eq!(given_away, metric(&cluster, 3..4, "ringmain_keys"), "what the fourth got");
    check(&cluster, &[], ("key", 300));
}

/// Takes node `left` out of the cluster; `meanwhile` is done while its data moves.
fn leave(cluster: &Cluster, left: usize, meanwhile: impl FnOnce()) {
    let id = cluster.process(left).ready().node.clone();
    let (code, _, error) = ask(cluster, 0, &["cluster", "leave", &id]);
    assert_eq!(code, 0, "{error}");
    let (_, out, _) = ask(cluster, 0, &["cluster", "plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
    let hash = plan["hash"].as_str().unwrap();
    let (code, _, error) = ask(cluster, 0, &["cluster", "commit", hash]);
    assert_eq!(code, 0, "{error}");
    meanwhile();
    for node in 0..left {
        cluster.await_members(node, left);
        cluster.await_settled(node);
    }
}

/// Kills node 2, and waits until the others know.
fn kill_last(cluster: &mut Cluster) -> String {
    let id = cluster.process(2).ready().node.clone();
    cluster.kill(2);
    let down = format!("node {id} is down");
    until("the others know that one is away", || {
        let (_, out, _) = ask(cluster, 0, &["cluster", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&out).unwrap();
        let mut nodes = status["nodes"].as_array().unwrap().iter();
        nodes.any(|seat| seat["node"] == id.as_str() && seat["state"] == "down")
    });
    drop(cluster.process(1).log_with(&down));
    id
}

fn start_all(cluster: &mut Cluster) {
    (0..3).for_each(|node| cluster.start(node));
    for node in 0..3 {
        cluster.await_members(node, 3);
        cluster.await_settled(node);
    }
}

/// With node 2 away, waits until all that was deleted is old enough to leave; how many keys that
/// is. The away one leads some of the partitions: for their keys nobody asks.
fn await_put_off(cluster: &Cluster, away: &str) -> u64 {
    let mut put_off = 0;
    until("what could leave is put off", || {
        let (code, told) = reap(cluster, 0);
        assert_eq!((code, &told["reaped"]), (1, &0.into()), "{told}");
        assert!(told["unasked"][0].as_str().is_some_and(|name| name.contains(away)), "{told}");
        put_off = told["put_off"].as_u64().unwrap();
        told["young"] == 0 && put_off > 0 && told["away"] != 0
    });
    put_off
}

#[test]
fn what_was_deleted_leaves_all_nodes_once_all_are_there() {
    let mut cluster = Cluster::form_with(3, &HASTY);
    let mut client = cluster.client(0);
    write(&mut client, "gone", 100);
    write(&mut client, "moved", 60);
    write(&mut client, "kept", 50);
    // Old enough to leave, but one member has the values still.
    let away = kill_last(&mut cluster);
    delete(&mut client, "gone", 0..100);
    let put_off = await_put_off(&cluster, &away);
    let (code, out, error) = ask(&cluster, 1, &["reap"]);
    assert!(code == 1 && error.contains("1 of 3 members could not be asked"), "{error}");
    assert!(out.contains(&format!("put off: {put_off} records: a member is away")), "{out}");
    assert_eq!(metric(&cluster, 0..2, "ringmain_reaped_total"), 0);
    assert_eq!(metric(&cluster, 0..2, "ringmain_tombstones"), 2 * 100);
    cluster.start(2);
    cluster.await_members(2, 3);

    // A fourth node gets values that are deleted meanwhile, and gives back what it has of them.
    let fourth = cluster.add(&[]);
    delete(&mut client, "moved", 0..30);
    for node in 0..4 {
        cluster.await_members(node, 4);
        cluster.await_settled(node);
    }
    let mut other = cluster.client(1);
    leave(&cluster, fourth, || delete(&mut other, "moved", 30..60));
    cluster.kill(fourth);
    until("all owners have all tombstones", || {
        metric(&cluster, 0..3, "ringmain_tombstones") == 3 * 160
    });

    // A look that goes on has left out what was too young: all die in its midst, and begin anew
    // when all is old enough.
    let deleted = Instant::now();
    until("the grace is over", || {
        client.ask::<String>("PING").unwrap() == "PONG" && deleted.elapsed() > GRACE
    });
    cluster.end_all(Signal::KILL);
    start_all(&mut cluster);
    let native = cluster.native(1).to_string();
    let mut reaper = Ringmain::spawn(&["reap", "--node", &native]);
    until_within("no tombstone at any node", REAPING_PATIENCE, || {
        metric(&cluster, 0..3, "ringmain_tombstones") == 0
    });
    drop(reaper.line_with("left for good: "));
    reaper.wait();
    let (code, told) = reap(&cluster, 2);
    assert_eq!((code, &told["young"], &told["put_off"]), (0, &0.into(), &0.into()), "{told}");
    let gone = [("gone", 100), ("moved", 60)];
    check(&cluster, &gone, ("kept", 50));
    assert_eq!(metric(&cluster, 0..3, "ringmain_keys"), 3 * (50 + FORMED_COUNT));
    assert!(metric(&cluster, 0..3, "ringmain_log_erasure_bytes") > 0);

    // What says that they left is on disk.
    cluster.end_all(Signal::KILL);
    start_all(&mut cluster);
    until("all reach each other", || ask(&cluster, 0, &["repair"]).0 == 0);
    check(&cluster, &gone, ("kept", 50));
    assert_eq!(metric(&cluster, 0..3, "ringmain_keys"), 3 * (50 + FORMED_COUNT));
}
