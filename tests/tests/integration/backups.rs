//! A data directory that is put back from an older copy: from it nothing comes back that was
//! deleted and has left since.

use std::env;
use std::fs;
use std::time::Instant;

use ringmain_tests::process::{Client, Cluster, Ringmain, until, until_within};
use ringmain_tests::stored::copy_files;
use serde_json::Value;

use super::reaping::{GRACE, HASTY, REAPING_PATIENCE, ask, delete, metric, write};

const GONE: usize = 40;
const KEPT: usize = 20;

/// What was deleted is nowhere, as far as those nodes know that answer, and the rest is there.
fn check(client: &mut Client, r: usize) {
    let unwritten: Vec<redis::Value> = client.ask(&format!("RM.GET unwritten R {r}")).unwrap();
    for key in 0..GONE {
        let line = format!("RM.GET gone-{key} R {r}");
        assert_eq!(client.ask::<Vec<redis::Value>>(&line).unwrap(), unwritten, "{line}");
    }
    for key in 0..KEPT {
        assert_eq!(client.ask::<String>(&format!("GET kept-{key}")).unwrap(), "v");
    }
}

/// Reaps what was deleted just now, and waits until no node has a tombstone.
fn reap_all(cluster: &Cluster, client: &mut Client) {
    until("all owners have all tombstones", || {
        metric(cluster, 0..3, "ringmain_tombstones") == 3 * GONE as u64
    });
    let deleted = Instant::now();
    until("the grace is over", || {
        client.ask::<String>("PING").unwrap() == "PONG" && deleted.elapsed() > GRACE
    });
    let native = cluster.native(1).to_string();
    let mut reaper = Ringmain::spawn(&["reap", "--node", &native]);
    until_within("no tombstone at any node", 2 * REAPING_PATIENCE, || {
        metric(cluster, 0..3, "ringmain_tombstones") == 0
    });
    reaper.wait();
}

/// Node `index` starts, and is told that its directory is an older copy: it ends.
fn is_refused(cluster: &mut Cluster, index: usize) {
    cluster.start(index);
    let mut node = cluster.await_end(index);
    assert_eq!(node.wait().code(), Some(4));
    let line = node.log_with("was put back from an older copy");
    let dir = cluster.dir(index);
    assert!(line.contains(dir.to_str().unwrap()), "{line}");
    assert!(line.contains("start with an empty one as a new node, and `ringmain cluster replace"));
}

/// Has node `new` take the place of the one of this id, which is gone for good.
fn replace(cluster: &Cluster, old: &str, new: usize) {
    let new = cluster.process(new).ready().node.clone();
    until("the old one is down, and the new one known", || {
        ask(cluster, 0, &["cluster", "replace", old, &new]).0 == 0
    });
    let (_, out, _) = ask(cluster, 0, &["cluster", "plan", "--json"]);
    let plan: Value = serde_json::from_str(&out).unwrap();
    let (code, _, error) = ask(cluster, 0, &["cluster", "commit", plan["hash"].as_str().unwrap()]);
    assert_eq!(code, 0, "{error}");
}

/// For three minutes, hence with `RINGMAIN_SOAK=1` alone: what leaves for good waits for frames.
#[test]
fn nothing_deleted_comes_back_from_an_older_copy() {
    if env::var_os("RINGMAIN_SOAK").is_none() {
        return eprintln!("skipped: set RINGMAIN_SOAK=1 to put an old copy back behind a reaping");
    }
    let mut cluster = Cluster::form_with(3, &HASTY);
    let mut client = cluster.client(0);
    write(&mut client, "gone", GONE);
    write(&mut client, "kept", KEPT);
    let id = cluster.process(2).ready().node.clone();
    let (dir, backup) = (cluster.dir(2), cluster.dir(2).with_extension("backup"));
    cluster.stop(2);
    copy_files(&dir, &backup);

    // A copy that is no older than the last that was reaped is as good as the original.
    fs::rename(&dir, dir.with_extension("original")).unwrap();
    copy_files(&backup, &dir);
    cluster.start(2);
    cluster.await_members(2, 3);
    cluster.await_writes(2, 3);

    delete(&mut client, "gone", 0..GONE);
    reap_all(&cluster, &mut client);
    cluster.stop(2);
    fs::rename(&dir, dir.with_extension("later")).unwrap();
    fs::rename(&backup, &dir).unwrap();
    is_refused(&mut cluster, 2);
    check(&mut client, 2);
    is_refused(&mut cluster, 2);
    assert!(dir.join("identity").exists() && dir.join("shard-000").exists(), "it is left as it is");

    // An empty directory is a new node, which takes the place of the old one.
    let new = cluster.add_waiting(&[]);
    replace(&cluster, &id, new);
    for node in [0, 1, new] {
        cluster.await_members(node, 3);
        cluster.await_settled(node);
    }
    check(&mut client, 3);
    check(&mut cluster.client(new), 3);
}
