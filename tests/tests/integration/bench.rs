//! `ringmain bench`, against nodes of real processes.

use ringmain_tests::process::{Cluster, Ringmain, command, run};
use rustix::process::Signal;
use serde_json::Value;

const SETTINGS: [&str; 4] = ["--shards", "1", "--partitions", "64"];

/// What stands on its last line.
fn measured(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn bench(words: &[&str]) -> (Option<i32>, String, String) {
    let output = run(&[&["bench"], words].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_measures_over_both_protocols() {
    let cluster = Cluster::form_with(3, &SETTINGS);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (target, node) in [("native", cluster.native(0)), ("resp", cluster.resp(1))] {
        let (node, hgrm, plot) = (node.to_string(), file("hgrm"), file("plot"));
        let common = ["--target", target, "--node", &node, "--json", "--warmup", "0ms"];
        let files = ["--hgrm", &hgrm, "--plot", &plot, "--keys", "500", "--duration", "1s"];
        let paced = ["--rate", "300", "--connections", "3", "--distribution", "zipfian"];
        let (code, out, error) = bench(&[&common[..], &files, &paced].concat());
        assert_eq!(code, Some(0), "{error}");
        let told = measured(&out);
        assert_eq!((&told["target_ops_per_s"], &told["seconds"]), (&300.into(), &1.0.into()));
        let count = |kind: &str| told[kind]["count"].as_u64().unwrap();
        let all = count("get") + count("put");
        let due = all + told["errors"].as_u64().unwrap();
        assert_eq!(due, 300, "what was due is told, whatever became of it: {out}");
        assert!(count("get") > 0 && count("put") > 0, "{out}");
        assert!(out.contains("p99.99") && error.contains("1 s: "), "{out}{error}");
        let text = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(text(&hgrm).contains(&format!("Total count    = {:12}", all)), "{out}");
        assert!(text(&plot).starts_with("<svg "));

        let many = ["--pipeline", "16", "--keys", "500", "--duration", "200ms"];
        let sized = ["--value-bytes", "10KiB", "--read-ratio", "0.9"];
        let (code, out, error) = bench(&[&common[..], &many, &sized].concat());
        let told = measured(&out);
        // What is too much at once for a machine that is busy elsewhere is refused, and told.
        assert!(code == Some(0) && told["errors"].is_u64(), "{out}{error}");
        assert!(told["get"]["count"].as_u64() > Some(0) && told["target_ops_per_s"].is_null());
    }
    let client = cluster.client(0).ask::<Vec<u8>>("GET key:000000000499").unwrap();
    assert_eq!(client.len(), 10 << 10);
}

#[test]
fn it_asks_each_key_of_its_own_shard() {
    let cluster = Cluster::form_with(4, &["--shards", "2", "--partitions", "64"]);
    let node = cluster.native(3).to_string();
    let common = ["--routed", "--node", &node, "--json", "--warmup", "0ms", "--keys", "500"];
    let mut asked = 500;
    for paced in [&["--rate", "300", "--duration", "1s"][..], &["--duration", "1s"]] {
        let (code, out, error) = bench(&[&common[..], paced, &["--connections", "3"]].concat());
        assert_eq!(code, Some(0), "{error}");
        let told = measured(&out);
        let count = |kind: &str| told[kind]["count"].as_u64().unwrap();
        assert!(count("get") > 0 && count("put") > 0, "{out}");
        let due = count("get") + count("put") + told["errors"].as_u64().unwrap();
        assert!(told["target_ops_per_s"].is_null() || due == 300, "{out}");
        asked += due;
    }
    // Of a node that is asked at random, seven of eight requests are passed on. The forming of the
    // cluster has had some passed on, too.
    assert!(cluster.forward_count() < 200 + asked / 10, "of {asked}");
    let (code, _, error) = bench(&["--routed", "--target", "resp"]);
    assert!(code == Some(2) && error.contains("--routed"), "{error}");
}

/// A generator that waited for answers would tell of one late request on each connection.
#[test]
fn a_stall_is_charged_for_all_that_was_due_meanwhile() {
    // Longer than the stall: what waited is answered, not refused as too old.
    let patient = [&SETTINGS[..], &["--request-timeout", "30s"]].concat();
    let cluster = Cluster::form_with(1, &patient);
    let node = cluster.native(0).to_string();
    let words = ["bench", "--node", &node, "--rate", "200", "--duration", "6s", "--warmup", "0ms"];
    let more = ["--connections", "4", "--pipeline", "1000", "--keys", "100", "--json"];
    let mut bench = Ringmain::of(command(&[&words[..], &more].concat()));
    bench.log_with(" s: ");
    cluster.process(0).signal(Signal::STOP);
    bench.log_with(": 0 ops/s");
    cluster.process(0).signal(Signal::CONT);
    let mut last = String::new();
    while let Some(line) = bench.line() {
        last = line;
    }
    assert!(bench.wait().success());
    let told = measured(&last);
    let late = |name: &str| {
        let of = |kind: &str| told[kind][name].as_f64().unwrap();
        of("get").max(of("put"))
    };
    // For a second at least nothing was answered: a sixth of all was late.
    assert!(late("max_us") > 900_000.0, "{told}");
    assert!(late("p90_us") > 100_000.0, "{told}");
}

#[test]
fn what_it_cannot_do_is_said_in_one_line() {
    let refused = |words: &[&str], code: i32, part: &str| {
        let (ended, _, error) = bench(words);
        assert_eq!((ended, error.lines().count()), (Some(code), 1), "{error}");
        assert!(error.contains(part), "{part} in {error}");
    };
    refused(&["--node", "127.0.0.1:9"], 1, "cannot connect");
    refused(&["--target", "resp", "--node", "127.0.0.1:9"], 1, "cannot connect");
    refused(&["--target", "resp", "--r", "2"], 2, "have no --r and --w");
    refused(&["--read-ratio", "1.5"], 2, "is not a part: give a number from 0 to 1");
    refused(&["--connections", "10001"], 2, "--connections");
    refused(&["--pipeline", "1025"], 2, "--pipeline");
    refused(&["--value-bytes", "4194305"], 2, "larger than a value may be");
    let cluster = Cluster::form_with(1, &SETTINGS);
    let native = cluster.native(0).to_string();
    refused(&["--target", "resp", "--node", &native, "--keys", "1"], 1, "a connection broke");
}
