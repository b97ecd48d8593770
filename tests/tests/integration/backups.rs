//! A data directory that is put back from an older copy: from it nothing comes back that was
//! deleted and has left since.

use std::env;
use std::fs;
use std::time::Instant;

use ringmain_tests::process::{Client, Cluster, Ringmain, code, fetch, until, until_within};
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
    check_kept(client);
}

fn check_kept(client: &mut Client) {
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
    until_within("no tombstone at any node", REAPING_PATIENCE, || {
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

/// Node `index` serves nobody yet, and says why.
fn is_withheld(cluster: &Cluster, index: usize, key: &str) {
    let mut client = cluster.client(index);
    for line in [format!("RM.GET {key} R 1"), format!("RM.PUT {key} - v W 1"), "DBSIZE".into()] {
        assert_eq!(code(client.ask::<redis::Value>(&line)), "UNAVAILABLE", "{line}");
    }
    let (status, why) = fetch(cluster.process(index).ready().admin, "/ready").unwrap();
    assert!(status == 503 && why.contains("its data directory was copied"), "{why}");
    cluster.process(index).log_with("was copied here");
}

fn is_ready(cluster: &Cluster, index: usize) -> bool {
    fetch(cluster.process(index).ready().admin, "/ready").unwrap().0 == 200
}

/// Takes the directory of node `index` away, whose process has ended, and puts a copy there.
fn copy_back(cluster: &Cluster, index: usize) {
    let (dir, original) = (cluster.dir(index), cluster.dir(index).with_extension("copied"));
    fs::rename(&dir, &original).unwrap();
    copy_files(&original, &dir);
    // As `cp -a` does: another file of the same name.
    fs::copy(original.join("lock"), dir.join("lock")).unwrap();
    fs::remove_dir_all(original).unwrap();
}

#[test]
fn a_copied_directory_serves_nobody_before_a_member_has_spoken() {
    let mut cluster = Cluster::form(3);
    write(&mut cluster.client(0), "kept", KEPT);
    let all = [0, 1, 2];
    let others = [0, 1].map(|node| cluster.process(node).ready().node.clone());
    all.iter().for_each(|node| cluster.stop(*node));

    // Where it was left, a node that starts alone serves at once.
    cluster.start(2);
    let _stored: redis::Value = cluster.client(2).ask("RM.PUT alone - v W 1").unwrap();
    assert!(is_ready(&cluster, 2));
    cluster.stop(2);
    copy_back(&cluster, 2);
    cluster.start(2);
    is_withheld(&cluster, 2, "kept-0");
    // A further start changes nothing.
    cluster.kill(2);
    cluster.start(2);
    is_withheld(&cluster, 2, "kept-0");

    cluster.start(0);
    until("a member has spoken", || is_ready(&cluster, 2));
    cluster.start(1);
    all.iter().for_each(|node| cluster.await_members(*node, 3));
    check_kept(&mut cluster.client(2));

    // From then on it is no copy any more.
    all.iter().for_each(|node| cluster.stop(*node));
    cluster.start(2);
    assert!(is_ready(&cluster, 2));
    cluster.stop(2);
    // But for a snapshot of the file system, of which that must be said.
    fs::remove_file(cluster.dir(2).join("origin")).unwrap();
    cluster.start(2);
    is_withheld(&cluster, 2, "kept-0");

    // Nobody who could know better is left once the others are given up.
    for node in &others {
        let (code, _, error) = ask(&cluster, 2, &["cluster", "forget", node, "--force"]);
        assert_eq!(code, 0, "{error}");
    }
    commit(&cluster, 2, &["--accept-loss"]);
    until("it is alone", || is_ready(&cluster, 2));
    check_kept(&mut cluster.client(2));
}

/// Has node `new` take the place of the one of this id, which is gone for good.
fn replace(cluster: &Cluster, old: &str, new: usize) {
    let new = cluster.process(new).ready().node.clone();
    until("the old one is down, and the new one known", || {
        ask(cluster, 0, &["cluster", "replace", old, &new]).0 == 0
    });
    commit(cluster, 0, &[]);
}

/// Commits at node `at` what is staged there.
fn commit(cluster: &Cluster, at: usize, options: &[&str]) {
    let (_, out, _) = ask(cluster, at, &["cluster", "plan", "--json"]);
    let plan: Value = serde_json::from_str(&out).unwrap();
    let commit = ["cluster", "commit", plan["hash"].as_str().unwrap()];
    let (code, _, error) = ask(cluster, at, &[&commit, options].concat());
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
    // Also with nobody there who knows better.
    cluster.stop(0);
    cluster.stop(1);
    cluster.start(2);
    is_withheld(&cluster, 2, "gone-0");
    cluster.kill(2);
    cluster.start(0);
    cluster.start(1);
    cluster.await_writes(0, 2);
    client = cluster.client(0);
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
