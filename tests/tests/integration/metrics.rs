//! What operators see of running nodes over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use redis::Value;
use ringmain_tests::process::{Cluster, Ringmain, fetch, until};
use rustix::process::Signal;

/// All samples of a node by name and labels; the text is read as strictly as Prometheus does.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(admin: SocketAddr) -> Scrape {
        let (status, text) = fetch(admin, "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
        let mut family = (String::new(), String::new());
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# ") {
                let mut words = described.splitn(3, ' ');
                let [kind, name, rest] = [(); 3].map(|()| words.next().unwrap());
                match kind {
                    "HELP" => assert!(families.insert(name.to_owned()), "{line}: told twice"),
                    "TYPE" => family = (name.into(), rest.into()),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(name.starts_with("ringmain_") && labels.ends_with('}'), "{line}");
            let suffixes: &[&str] = match family.1.as_str() {
                "counter" | "gauge" => &[""],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => panic!("{line} of the kind {other}"),
            };
            let is_of = |suffix: &&str| name.strip_suffix(*suffix) == Some(&family.0);
            assert!(family.1 != "counter" || name.ends_with("_total"), "{line}");
            assert!(suffixes.iter().any(is_of), "{line} in the family {}", family.0);
            let is_new = samples.insert(sample.into(), value.parse().unwrap()).is_none();
            assert!(is_new, "{line}: told twice");
        }
        Scrape(samples)
    }

    /// The sum of a metric over all its labels.
    fn sum(&self, name: &str) -> f64 {
        let of = |sample: &str| sample.split('{').next() == Some(name);
        assert!(self.0.keys().any(|sample| of(sample)), "there is no {name}");
        self.0.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
    }

    fn members(&self, state: &str) -> f64 {
        self.0[&format!("ringmain_members{{state=\"{state}\"}}")]
    }

    /// The buckets of a histogram of one shard, ascending, and its count.
    fn buckets(&self, name: &str, shard: u32) -> (Vec<(f64, f64)>, f64) {
        let label = format!("shard=\"{shard}\"");
        let of = |sample: &str| sample.starts_with(&format!("{name}_bucket{{"));
        let mut buckets: Vec<_> = self
            .0
            .iter()
            .filter(|(sample, _)| of(sample) && sample.contains(&label))
            .map(|(sample, count)| {
                let bound = sample.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
                (bound.parse().unwrap(), *count)
            })
            .collect();
        buckets.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
        (buckets, self.0[&format!("{name}_count{{{label}}}")])
    }
}

fn admin(cluster: &Cluster, index: usize) -> SocketAddr {
    cluster.process(index).ready().admin
}

#[test]
fn load_moves_the_counters_and_a_killed_node_the_members() {
    let mut cluster = Cluster::form_with(3, &["--shards", "2"]);
    let before = Scrape::of(admin(&cluster, 0));
    let mut client = cluster.client(0);
    let value = "v".repeat(100);
    let sets: Vec<_> = (0..200).map(|key| format!("SET {key} {value}")).collect();
    let gets: Vec<_> = (0..200).map(|key| format!("GET {key}")).collect();
    let dels: Vec<_> = (0..50).map(|key| format!("DEL {key}")).collect();
    client.pipeline::<Vec<Value>>(&sets).unwrap();
    client.pipeline::<Vec<Value>>(&gets).unwrap();
    client.pipeline::<Vec<Value>>(&dels).unwrap();
    // More copies than there are nodes.
    client.ask::<Value>("RM.PUT a - b W 4").unwrap_err();
    let grown = |name: &str, least: f64| {
        until(&format!("{name} to have grown by {least}"), || {
            Scrape::of(admin(&cluster, 0)).sum(name) >= before.sum(name) + least
        });
    };
    grown("ringmain_put_seconds_count", 200.0);
    grown("ringmain_get_seconds_count", 200.0);
    grown("ringmain_delete_seconds_count", 50.0);
    grown("ringmain_requests_failed_total", 1.0);
    grown("ringmain_received_bytes_total", 20_000.0);
    grown("ringmain_log_bytes_total", 20_000.0);
    grown("ringmain_log_sync_seconds_count", 1.0);
    grown("ringmain_keys", 200.0);
    grown("ringmain_log_live_bytes", 15_000.0);
    let after = Scrape::of(admin(&cluster, 0));
    let puts = after.sum("ringmain_put_seconds_count") - before.sum("ringmain_put_seconds_count");
    assert_eq!(puts, 201.0, "each once: those that failed, too");
    let gets = after.sum("ringmain_get_seconds_count") - before.sum("ringmain_get_seconds_count");
    assert_eq!(gets, 200.0);
    for shard in 0..2 {
        let (buckets, count) = after.buckets("ringmain_put_seconds", shard);
        assert_eq!(buckets.len(), 22);
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count));
    }
    for name in ["ringmain_connections", "ringmain_index_bytes", "ringmain_log_file_bytes"] {
        assert!(after.sum(name) > 0.0, "{name}");
    }
    assert!(after.sum("ringmain_process_resident_bytes") > 1e6);
    assert!(after.sum("ringmain_process_open_fds") > 10.0);
    assert_eq!(after.sum("ringmain_in_ring"), 2.0);
    let sees = |what: &str, look: &dyn Fn(&Scrape) -> bool| {
        until(what, || look(&Scrape::of(admin(&cluster, 0))));
    };
    sees("three members that are alive", &|it| it.members("alive") == 3.0);
    sees("two peers at each shard", &|it| it.sum("ringmain_peers_reachable") == 4.0);
    cluster.kill(2);
    let sees = |what: &str, look: &dyn Fn(&Scrape) -> bool| {
        until(what, || look(&Scrape::of(admin(&cluster, 0))));
    };
    sees("one peer less", &|it| it.sum("ringmain_peers_reachable") == 2.0);
    sees("a member that is down", &|it| it.members("down") == 1.0 && it.members("alive") == 2.0);
    cluster.start(2);
    let back = || Scrape::of(admin(&cluster, 0)).members("alive") == 3.0;
    until("the member that is back", back);
}

/// A request of a native client is timed as one of a RESP client.
#[test]
fn native_requests_are_timed() {
    let cluster = Cluster::form(1);
    let native = cluster.native(0).to_string();
    let before = Scrape::of(admin(&cluster, 0));
    for words in [&["put", "k", "v"][..], &["get", "k"], &["del", "k"]] {
        let output = ringmain_tests::process::run(&[words, &["--node", &native]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
    for (name, least) in [("put", 1.0), ("get", 1.0), ("delete", 1.0)] {
        let name = format!("ringmain_{name}_seconds_count");
        until(&format!("a native request in {name}"), || {
            Scrape::of(admin(&cluster, 0)).sum(&name) >= before.sum(&name) + least
        });
    }
}

#[test]
fn a_node_is_ready_once_it_has_joined() {
    let mut cluster = Cluster::empty(&["--shards", "2"]);
    let seed = cluster.native(0).to_string();
    let listen = cluster.network().host(9).to_string();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let words = ["start", "--listen", &listen, "--seed", &seed, "--data-dir", dir];
    let early: SocketAddr = format!("{listen}:7480").parse().unwrap();

    let mut node = Ringmain::spawn(&words);
    node.log_with("asking again");
    let (status, line) = fetch(early, "/ready").unwrap();
    assert_eq!((status, line.lines().count()), (503, 1));
    assert!(line.contains("it is starting"), "{line}");
    assert_eq!(fetch(early, "/health").unwrap().0, 200);
    assert_eq!(fetch(early, "/metrics").unwrap().0, 503);

    cluster.add(&[]);
    until("a founder that is ready", || {
        fetch(admin(&cluster, 0), "/ready").unwrap() == (200, "ready\n".into())
    });
    node.await_ready();
    let (status, line) = fetch(early, "/ready").unwrap();
    assert_eq!((status, line.lines().count()), (503, 1));
    assert!(line.contains("in no ring"), "{line}");
    assert_eq!(Scrape::of(early).sum("ringmain_in_ring"), 0.0);
    let (status, page) = fetch(early, "/").unwrap();
    assert!(status == 200 && page.contains("It is not ready: it is in no ring"), "{page}");

    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    let mut node = Ringmain::spawn(&[&words[..], &["--join"]].concat());
    node.await_ready();
    until("a newcomer that is ready", || fetch(early, "/ready").unwrap().0 == 200);
    let page = fetch(early, "/").unwrap().1;
    assert!(page.contains("It is ready."), "{page}");
}
