//! `ringmain scrub` against a disk that rots.

use std::fs;
use std::process::Output;

use redis::Value;
use ringmain_tests::process::{Cluster, code, run, until};
use rustix::process::Signal;

fn scrub(cluster: &Cluster, more: &[&str]) -> (i32, String, String) {
    let node = cluster.native(0).to_string();
    let output: Output = run(&[&["scrub", "--node", &node], more].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("it exits");
    (code, text(&output.stdout), text(&output.stderr))
}

fn lone_node(shards: &str) -> Cluster {
    let cluster = Cluster::form_with(1, &["--shards", shards]);
    let lines: Vec<_> = (0..200).map(|key| format!("SET {key} value-{key}")).collect();
    cluster.client(0).pipeline::<Vec<Value>>(&lines).unwrap();
    cluster
}

#[test]
fn a_sound_node_is_told_so() {
    let cluster = lone_node("2");
    let (code, out, error) = scrub(&cluster, &[]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("shard") || out.trim_start().starts_with("shard"), "{out}");
    let (code, out, _) = scrub(&cluster, &["--json", "--accept-loss"]);
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let shards = json["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for shard in shards {
        assert_eq!(shard["is_whole"], true);
        assert_eq!(shard["damage_count"], 0);
        assert_eq!(shard["bytes"], shard["bytes_checked"]);
        assert!(shard["bytes"].as_u64().unwrap() > 64);
    }
    let stats = cluster.client(0).ask::<String>("INFO stats").unwrap();
    assert!(!stats.contains("scrubbed_bytes_total:0\r\n"), "{stats}");
    assert!(stats.contains("scrub_damage_total:0\r\n"), "{stats}");
    assert_eq!(cluster.client(0).ask::<String>("GET 7").unwrap(), "value-7");
}

/// Before this, a lone node that had lost a record answered errors for ever: it could only be
/// replaced, and there was nothing to replace it from.
#[test]
fn a_node_that_gives_up_what_it_lost_serves_the_rest() {
    let mut cluster = lone_node("1");
    cluster.end_all(Signal::TERM);
    let file = cluster.dir(0).join("shard-000/0000000001.segment");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).position(|window| window == b"value-150").unwrap();
    bytes[at] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    cluster.start(0);
    let mut client = cluster.client(0);
    for key in [3, 150, 999] {
        assert_eq!(code(client.ask::<Value>(&format!("GET {key}"))), "NOQUORUM");
    }
    let (code, out, error) = scrub(&cluster, &[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains("segment 1: ") && out.contains("a start met damage"), "{out}");
    assert!(error.contains("--accept-loss"), "{error}");
    let (code, out, error) = scrub(&cluster, &["--accept-loss"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("given up"), "{out}");
    cluster.process(0).log_with("shard 0: given up: ");
    for _ in 0..2 {
        let mut client = cluster.client(0);
        for key in (0..200).filter(|key| *key != 150) {
            let value = client.ask::<String>(&format!("GET {key}")).unwrap();
            assert_eq!(value, format!("value-{key}"));
        }
        for key in [150, 999] {
            assert_eq!(client.ask::<Value>(&format!("GET {key}")).unwrap(), Value::Nil);
        }
        let (code, out, _) = scrub(&cluster, &[]);
        assert_eq!(code, 0, "{out}");
        cluster.stop(0);
        cluster.start(0);
    }
    cluster.client(0).ask::<Value>("SET 150 again").unwrap();
    assert_eq!(cluster.client(0).ask::<String>("GET 150").unwrap(), "again");
    assert!(!file.exists());
}

/// Before this, zeros in the place of the last writes of a node that was stopped were taken for a
/// torn tail: what had been acknowledged was not found.
#[test]
fn a_node_that_was_stopped_knows_where_its_log_ended() {
    let mut cluster = lone_node("1");
    cluster.end_all(Signal::TERM);
    let file = cluster.dir(0).join("shard-000/0000000001.segment");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).position(|window| window == b"value-150").unwrap();
    bytes[at..].fill(0);
    fs::write(&file, bytes).unwrap();
    cluster.start(0);
    cluster.process(0).log_with("log segment 1 is damaged from offset ");
    let mut client = cluster.client(0);
    for key in [3, 150, 199, 999] {
        assert_eq!(code(client.ask::<Value>(&format!("GET {key}"))), "NOQUORUM");
    }
}

/// A segment that somebody had removed was missed by the next start only: until then all it holds
/// can be read.
#[test]
fn a_segment_that_is_removed_while_its_node_runs_is_told_and_saved() {
    let mut cluster = lone_node("1");
    // So much that it is not merged away before.
    let long = "x".repeat(1 << 20);
    (0..2).for_each(|key| cluster.client(0).ask::<()>(&format!("SET long-{key} {long}")).unwrap());
    cluster.stop(0);
    cluster.start(0);
    let file = cluster.dir(0).join("shard-000/0000000001.segment");
    fs::remove_file(&file).unwrap();
    let (code, out, error) = scrub(&cluster, &[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains("segment 1: "), "{out}");
    cluster.process(0).log_with("log segment 1 was removed while this node runs");
    let (code, out, error) = scrub(&cluster, &["--accept-loss"]);
    assert_eq!(code, 0, "{out}{error}");
    for _ in 0..2 {
        let mut client = cluster.client(0);
        for key in 0..200 {
            let value = client.ask::<String>(&format!("GET {key}")).unwrap();
            assert_eq!(value, format!("value-{key}"));
        }
        let (code, out, _) = scrub(&cluster, &[]);
        assert_eq!(code, 0, "{out}");
        cluster.stop(0);
        cluster.start(0);
    }
}

/// Before this, only the client heard of it, until the next sweep.
#[test]
fn damage_that_a_read_meets_is_told() {
    let mut cluster = lone_node("1");
    let mut client = cluster.client(0);
    let long = "x".repeat(1 << 20);
    (0..32).for_each(|key| client.ask::<()>(&format!("SET long-{key} {long}")).unwrap());
    // With it the start does not read the segment: the client's read is the first.
    let file = cluster.dir(0).join("shard-000/0000000001.segment");
    until("a snapshot", || file.with_extension("snapshot").exists());
    cluster.stop(0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).position(|window| window == b"value-150").unwrap();
    bytes[at] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    cluster.start(0);
    let mut client = cluster.client(0);
    for _ in 0..2 {
        assert_eq!(code(client.ask::<Value>("GET 150")), "NOQUORUM");
        assert_eq!(client.ask::<String>("GET 151").unwrap(), "value-151");
    }
    cluster.process(0).log_with("shard 0: the record in segment 1 at offset ");
    until("a count", || {
        !client.ask::<String>("INFO stats").unwrap().contains("damaged_reads_total:0\r\n")
    });
}
