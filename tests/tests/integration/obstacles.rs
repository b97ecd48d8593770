//! Files and folders in the way of a node's own: it says in one line what it cannot do, or does
//! without.

use std::fs;
use std::path::Path;

use redis::Value;
use ringmain_tests::process::{Client, Lone, Ringmain, code, until};
use rustix::fs::{CWD, FileType};
use rustix::process::Signal;

/// A node that held something and was stopped.
fn stopped() -> Lone {
    let lone = Lone::new();
    let node = lone.start(Some("1"));
    Client::connect(lone.resp()).unwrap().ask::<()>("SET a 1").unwrap();
    stop(node);
    lone
}

fn stop(mut node: Ringmain) {
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
}

/// The one line of a start that exits with 3 or 4.
fn refused(lone: &Lone, shards: Option<&str>) -> String {
    let mut node = lone.spawn(shards);
    assert_eq!(node.line(), None, "it started");
    let status = node.wait();
    let line = node.log_with("ringmain: ");
    assert!(matches!(status.code(), Some(3 | 4)), "{status}: {line}");
    assert!(!node.log().iter().any(|line| line.contains("panicked")), "{:?}", node.log());
    line
}

/// What a start says while something else is at `path`, and that it starts once it is gone.
fn in_the_way(lone: &Lone, path: &Path, put: impl FnOnce(&Path), shards: Option<&str>) -> String {
    let away = lone.dir().with_extension("away");
    let was_there = fs::rename(path, &away).is_ok();
    put(path);
    let line = refused(lone, shards);
    let _removed = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    if was_there {
        fs::rename(&away, path).unwrap();
    }
    let node = lone.start(None);
    assert_eq!(Client::connect(lone.resp()).unwrap().ask::<String>("GET a").unwrap(), "1");
    stop(node);
    line
}

#[test]
fn what_is_in_the_way_is_named() {
    let lone = stopped();
    let folder = |path: &Path| fs::create_dir_all(path.join("inside")).unwrap();
    let file = |path: &Path| fs::write(path, b"").unwrap();
    for name in ["boot", "boot.new", "secret", "members", "identity", "lock"] {
        let line = in_the_way(&lone, &lone.dir().join(name), folder, None);
        assert!(line.contains(name), "{line}");
    }
    // To open a pipe waits until somebody writes to it.
    let pipe =
        |path: &Path| rustix::fs::mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
    let shard = Path::new("shard-000");
    let segment = shard.join("0000000009.segment");
    for name in ["boot", "secret", "members", "identity", segment.to_str().unwrap()] {
        let line = in_the_way(&lone, &lone.dir().join(name), pipe, None);
        assert!(line.contains("not a regular file"), "{line}");
    }
    // A lock is made where there is none, but not where a link points.
    let outside = lone.dir().with_extension("outside");
    let link = |path: &Path| std::os::unix::fs::symlink(&outside, path).unwrap();
    let line = in_the_way(&lone, &lone.dir().join("lock"), link, None);
    assert!(line.contains("lock") && !outside.exists(), "{line}");
    let shard = lone.dir().join("shard-000");
    let line = in_the_way(&lone, &shard, file, None);
    assert!(line.contains("shard-000"), "{line}");
    let line = in_the_way(&lone, &shard.join("0000000009.segment"), folder, None);
    assert!(line.contains("shard 0"), "{line}");
    let line = in_the_way(&lone, &lone.dir().join("new-shard-001"), file, Some("2"));
    assert!(line.contains("new-shard-001"), "{line}");
}

/// What is written to a file without a name is gone with the process.
#[test]
fn a_directory_that_is_removed_takes_no_more_writes() {
    let lone = stopped();
    let mut node = lone.start(None);
    // The node may make a file in a folder that is just being emptied.
    until("the directory is gone", || {
        let _not_empty = fs::remove_dir_all(lone.dir());
        !lone.dir().exists()
    });
    let mut client = Client::connect(lone.resp()).unwrap();
    until("writes are refused", || {
        let result = client.ask::<()>("SET a 2");
        result.is_err() && code(result) == "READONLY"
    });
    node.log_with("this shard takes no writes any more");
    node.signal(Signal::TERM);
    assert_ne!(node.wait().code(), Some(0));
}

/// A snapshot only spares a scan.
#[test]
fn a_folder_in_the_place_of_a_snapshot_costs_a_scan() {
    let lone = stopped();
    let snapshot = lone.dir().join("shard-000/0000000001.snapshot");
    fs::create_dir(&snapshot).unwrap();
    let node = lone.start(None);
    let mut client = Client::connect(lone.resp()).unwrap();
    assert_eq!(client.ask::<String>("GET a").unwrap(), "1");
    client.ask::<Value>("SET a 2").unwrap();
    stop(node);
    assert!(snapshot.is_dir(), "it could not be replaced, and nothing else happened");
}
