//! A node that is killed at any moment, while it takes writes, merges its log, or lays it out for
//! another number of shards: what it acknowledged is there when it is back, and nothing else.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use ringmain_core::prng::Prng;
use ringmain_runtime::data_dir::DataDir;
use ringmain_tests::process::{Client, Load, Lone, Ringmain, until};
use rustix::process::Signal;

/// Digits of a number, which are the bytes of a value: so the log grows fast.
const DIGITS: usize = 60_000;
const CLIENT_COUNT: usize = 2;
/// Most writes between a start and a kill.
const WRITE_COUNT_MAX: u64 = 800;
/// Files of a shard that a start may remove which held nothing of the log.
const VOID_COUNT_MAX: usize = 2;

fn kill(mut node: Ringmain) {
    node.signal(Signal::KILL);
    node.wait();
}

/// Every key has a number that was sent to it, not older than the latest acknowledged one.
fn check(lone: &Lone, load: &Load) {
    let mut client = Client::connect(lone.resp()).unwrap();
    for (key, (acked, sent)) in load.bounds() {
        let found: String = client.ask(&format!("GET {key}")).unwrap();
        let number: u64 = found.parse().unwrap();
        assert!((acked..=sent).contains(&number), "{key}: {acked} to {sent}, found {number}");
        assert!(found == format!("{number:0>DIGITS$}"), "{key}: {number} is not what was sent");
    }
}

/// It is another one once the file was replaced.
fn inode_of_identity(lone: &Lone) -> u64 {
    fs::metadata(lone.dir().join("identity")).unwrap().ino()
}

/// Whether the next start has folders to exchange before all else.
fn is_exchanging(lone: &Lone) -> bool {
    DataDir::open(lone.dir()).unwrap().is_exchanging().unwrap()
}

/// Kills a node so many times; every fifth time it is started for another number of shards, and
/// killed in the midst of that, too.
fn kill_rounds(rounds: usize) {
    let mut prng = Prng::new(rounds as u64);
    let lone = Lone::new();
    let mut node = lone.start(Some("1"));
    let load = Load::start_with(&[lone.resp()], CLIENT_COUNT, DIGITS);
    let (mut merged, mut resharded, mut gone_on) = (0, 0, 0);
    for round in 0..rounds {
        let (before, shards) = (lone.segments(), node.ready().shards);
        load.await_acked(prng.below(WRITE_COUNT_MAX));
        load.set_up(0, false);
        kill(node);
        let gone = before.difference(&lone.segments()).count();
        merged += gone.saturating_sub(VOID_COUNT_MAX * usize::from(shards));
        if round % 5 == 4 {
            // Other than before, wherever the kill before has left it.
            let shards = [0, 1, 2].map(|step| ((shards + step) % 4 + 1).to_string());
            for shards in &shards[..1 + prng.below(2) as usize] {
                let identity = inode_of_identity(&lone);
                let interrupted = lone.spawn(Some(shards));
                if prng.below(2) == 0 {
                    interrupted.log_with("re-sharding ");
                } else {
                    // All is copied, and folders are exchanged.
                    until("a mark", || inode_of_identity(&lone) != identity);
                }
                kill(interrupted);
                resharded += 1;
                gone_on += usize::from(is_exchanging(&lone));
            }
            node = lone.start(Some(&shards[2]));
        } else {
            node = lone.start(None);
        }
        check(&lone, &load);
        load.set_up(0, true);
        load.await_success(|_| true, Instant::now());
    }
    let writes = load.acked_count();
    println!("{writes} writes, {merged} merged, {resharded} re-shardings, {gone_on} exchanges");
    assert!(resharded >= rounds / 5);
    assert!(rounds < 100 || gone_on > 0, "no kill met an exchange of folders");
    assert!(merged >= rounds / 4, "{merged} segments were merged in {rounds} rounds");
    load.set_up(0, false);
    kill(node);
    let node = lone.start(None);
    check(&lone, &load);
    load.finish();
    kill(node);
}

#[test]
fn a_node_killed_while_it_merges_and_re_shards_keeps_what_it_acknowledged() {
    kill_rounds(6);
}

#[test]
fn a_hundred_kills_of_one_node() {
    if env::var_os("RINGMAIN_SOAK").is_none() {
        return eprintln!("skipped: set RINGMAIN_SOAK=1 to kill one node a hundred times");
    }
    kill_rounds(100);
}
