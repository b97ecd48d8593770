//! A cluster that grows and shrinks while clients ask without end: 3 nodes, 5, 4, 3, one of which
//! is then replaced by one with an empty disk, and each restarted in turn. A newcomer is killed
//! again and again while it catches up. Nothing acknowledged is lost, and hardly a read fails.
//!
//! `RINGMAIN_SOAK=1` does so with more data and more kills.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::fs;
use std::time::{Duration, Instant};

use ringmain_core::prng::Prng;
use ringmain_tests::crowd::Target;
use ringmain_tests::process::{
    Client, Cluster, Counts, Promised, Roaming, fetch, run, siblings, until, until_within,
};
use serde_json::Value;

use crate::operator::{cluster, json, plan};

const N: usize = 3;
const SETTERS: usize = 3;
const MODIFIERS: usize = 1;
const VALUE_BYTES: usize = 8192;
/// Most requests while the newcomer is away.
const REQUESTS_MAX: u64 = 50;
/// Commands in one pipeline.
const BATCH: usize = 100;

/// Within that all nodes have the ring that was committed.
const AGREED_MAX: Duration = Duration::from_secs(5);
/// The fullest node owns at most so many times the mean.
const PEAK_MAX: f64 = 1.15;
/// Copies that move are as many as the plan said, give or take such a part.
const MOVES_OFF_MAX: f64 = 0.1;
/// One read in so many may fail.
const READS_PER_FAILURE: u64 = 1000;
/// Data moves at a pace, and slower beside other tests.
const MOVING_PATIENCE: Duration = Duration::from_secs(600);

/// How much is done.
struct Size {
    settings: &'static [&'static str],
    kills: u64,
    /// Keys that are there before the cluster grows.
    keys: usize,
}

/// By default little, and with so much time for each request that a crowded machine is no reason to
/// fail it.
fn size() -> Size {
    match env::var_os("RINGMAIN_SOAK").is_some() {
        true => Size { settings: &["--shards", "1"], kills: 10, keys: 30_000 },
        false => Size {
            settings: &["--shards", "1", "--partitions", "256", "--request-timeout", "5s"],
            kills: 2,
            keys: 8_000,
        },
    }
}

fn key(index: usize) -> String {
    format!("before-{index}")
}

fn value(index: usize) -> String {
    format!("{index:0>VALUE_BYTES$}")
}

/// What one step came to.
struct Row {
    what: String,
    took: Duration,
    /// What moved, if the membership changed.
    change: Option<Change>,
    counts: Counts,
}

struct Change {
    planned: u64,
    moved: u64,
    peak: f64,
    agreed: Duration,
}

impl Display for Row {
    fn fmt(&self, to: &mut Formatter<'_>) -> Formatted {
        let Row { what, took, change, counts } = self;
        write!(to, "{what:<26}{:>8.1} s", took.as_secs_f64())?;
        match change {
            None => write!(to, "{:>9}{:>9}{:>7}{:>9}", "", "", "", "")?,
            Some(Change { planned, moved, peak, agreed }) => {
                let agreed = agreed.as_secs_f64();
                write!(to, "{planned:>9}{moved:>9}{peak:>7.3}{agreed:>7.2} s")?;
            }
        }
        let Counts { reads, reads_failed, acked, writes_failed, lost, .. } = counts;
        let Counts { behind, splits, .. } = counts;
        write!(to, "{reads:>9}{reads_failed:>7}{acked:>9}{writes_failed:>7}")?;
        write!(to, "{lost:>7}{behind:>7}{splits:>7}")
    }
}

const HEAD: &str = concat!(
    "step                            took  planned    moved   peak   agreed",
    "    reads failed   writes failed   lost behind  split",
);

fn since(now: Counts, before: Counts) -> Counts {
    Counts {
        reads: now.reads - before.reads,
        reads_failed: now.reads_failed - before.reads_failed,
        acked: now.acked - before.acked,
        deletes: now.deletes - before.deletes,
        writes_failed: now.writes_failed - before.writes_failed,
        lost: now.lost - before.lost,
        behind: now.behind - before.behind,
        splits: now.splits - before.splits,
    }
}

struct Scenario {
    nodes: Cluster,
    clients: Roaming,
    size: Size,
    members: Vec<usize>,
    prng: Prng,
    rows: Vec<Row>,
}

impl Scenario {
    /// Three nodes with data, and clients.
    fn begin() -> Scenario {
        let size = size();
        let nodes = Cluster::form_with(3, size.settings);
        let mut client = nodes.client(0);
        for first in (0..size.keys).step_by(BATCH) {
            let sets = (first..size.keys.min(first + BATCH))
                .map(|index| format!("SET {} {}", key(index), value(index)));
            let sets: Vec<_> = sets.collect();
            until("keys are written", || client.pipeline::<()>(&sets).is_ok());
        }
        let addresses: Vec<_> = (0..3).map(|node| nodes.resp(node)).collect();
        let clients = Roaming::start(&addresses, SETTERS, MODIFIERS);
        clients.await_done(100);
        let prng = Prng::new(size.kills);
        Scenario { nodes, clients, size, members: vec![0, 1, 2], prng, rows: Vec::new() }
    }

    /// The JSON of a node's page; null if it is too busy to say.
    fn page(&self, node: usize) -> Value {
        let admin = self.nodes.process(node).ready().admin;
        let page = fetch(admin, "/status").ok();
        page.and_then(|(_, text)| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn id(&self, node: usize) -> String {
        self.nodes.process(node).ready().node.clone()
    }

    fn await_serving(&self, node: usize) {
        let admin = self.nodes.process(node).ready().admin;
        until(&format!("node {node} serves"), || {
            fetch(admin, "/ready").is_ok_and(|(code, _)| code == 200)
        });
        self.clients.admit(self.nodes.resp(node));
    }

    /// Stages something, as soon as it is not refused: news takes its time.
    fn stage(&self, words: &[&str]) {
        until(&format!("{words:?}"), || cluster(&self.nodes, 0, words).status.success());
    }

    /// Who owns what.
    fn ring(&self) -> Vec<BTreeSet<String>> {
        let ring = json(&self.nodes, 0, &["ring"]);
        let owners = |arc: &Value| {
            let owners = arc["owners"].as_array().unwrap().iter();
            owners.map(|owner| owner.as_str().unwrap().to_owned()).collect()
        };
        ring.as_array().unwrap().iter().map(owners).collect()
    }

    /// Commits `count` changes that are staged, after which there are those `members`, and waits
    /// until all data has moved; `meanwhile` is done in between.
    fn change(
        &mut self,
        what: &str,
        members: &[usize],
        count: usize,
        meanwhile: impl FnOnce(&mut Scenario),
    ) {
        let (begun, counts, before) = (Instant::now(), self.clients.counts(), self.ring());
        let hash_before = self.page(0)["ring_hash"].clone();
        let plan = plan(&self.nodes, 0, count);
        let committed = Instant::now();
        json(&self.nodes, 0, &["commit", plan["hash"].as_str().unwrap()]);
        until("all have the new ring", || {
            let hash = self.page(0)["ring_hash"].clone();
            hash.is_string()
                && hash != hash_before
                && members.iter().all(|node| self.page(*node)["ring_hash"] == hash)
        });
        let agreed = committed.elapsed();
        self.members = members.to_vec();
        members.iter().for_each(|node| self.await_serving(*node));
        meanwhile(self);
        for node in members {
            until_within(&format!("node {node} has settled"), MOVING_PATIENCE, || {
                let page = self.page(*node);
                let seats = page["nodes"].as_array().map_or(0, Vec::len);
                page["active_topologies"] == 1 && seats == members.len()
            });
        }
        let after = self.ring();
        let gained = before.iter().zip(&after).map(|(old, new)| new.difference(old).count() as u64);
        let change = Change {
            planned: plan["moves"].as_u64().unwrap(),
            moved: gained.sum(),
            peak: peak(&after),
            agreed,
        };
        let counts = since(self.clients.counts(), counts);
        let (what, took) = (what.into(), begun.elapsed());
        self.rows.push(Row { what, took, change: Some(change), counts });
        assert_eq!(owners(&after).len(), members.len(), "who owns something are the members");
    }

    /// Kills a newcomer at random moments while it catches up, spread over what it has to get.
    fn kill_while_it_catches_up(&mut self, node: usize) {
        let (kills, id, page) = (self.size.kills, self.id(node), self.page(0));
        let mut seats = page["nodes"].as_array().unwrap().iter();
        let seat = seats.find(|seat| seat["node"] == id.as_str()).unwrap();
        let (owned, all) = (seat["owned"].as_u64().unwrap(), page["partitions"].as_u64().unwrap());
        let keys = self.size.keys as u64 * owned / all;
        for number in 0..kills {
            let moment = (number * 1000 + self.prng.below(1000)) * keys * 9 / 10 / kills / 1000;
            let mut found = 0;
            until_within("the newcomer gets data", MOVING_PATIENCE, || {
                found = self.keys_at(node);
                found >= moment
            });
            println!("kill {}: with {found} of {keys} keys", number + 1);
            let is_moving = self.page(node)["active_topologies"] == 2;
            assert!(is_moving && found < keys, "it has caught up: there is too little data");
            self.clients.dismiss(self.nodes.resp(node));
            self.nodes.kill(node);
            self.clients.await_done(1 + self.prng.below(REQUESTS_MAX));
            self.nodes.start(node);
            self.await_serving(node);
        }
    }

    fn keys_at(&self, node: usize) -> u64 {
        let process = self.nodes.process(node);
        Target { ready: process.ready().clone(), id: process.id() }.metric("ringmain_keys")
    }

    /// A member hands over what it has, and goes.
    fn leave(&mut self, node: usize) {
        let members: Vec<_> = self.members.iter().copied().filter(|one| *one != node).collect();
        self.stage(&["leave", &self.id(node)]);
        self.clients.may_go(self.nodes.resp(node));
        let what = format!("{} to {} nodes", members.len() + 1, members.len());
        self.change(&what, &members, 1, |_| {});
        self.clients.dismiss(self.nodes.resp(node));
        self.nodes.stop(node);
    }

    /// A member dies with its disk, and one with an empty disk takes its place.
    fn replace(&mut self, node: usize) {
        let (begun, counts, old) = (Instant::now(), self.clients.counts(), self.id(node));
        self.clients.dismiss(self.nodes.resp(node));
        self.nodes.kill(node);
        until("it is down", || state(&self.page(0), &old) == "down");
        fs::remove_dir_all(self.nodes.dir(node)).unwrap();
        let seed = self.nodes.native(0).to_string();
        self.nodes.start_with(node, &["--seed", &seed]);
        let counts = since(self.clients.counts(), counts);
        let (what, took) = ("a node dies with its disk".into(), begun.elapsed());
        self.rows.push(Row { what, took, change: None, counts });
        self.stage(&["replace", &old, &self.id(node)]);
        let members = self.members.clone();
        self.change("it is replaced", &members, 2, |_| {});
    }

    /// Restarts one member after the other.
    fn restart_all(&mut self) {
        let (begun, counts) = (Instant::now(), self.clients.counts());
        for node in self.members.clone() {
            let id = self.id(node);
            self.clients.dismiss(self.nodes.resp(node));
            self.nodes.stop(node);
            self.clients.await_done(200);
            self.nodes.start(node);
            self.await_serving(node);
            for other in &self.members {
                until("all know that it is back", || state(&self.page(*other), &id) == "alive");
            }
            self.clients.await_done(200);
        }
        let counts = since(self.clients.counts(), counts);
        let (what, took) = ("each is restarted".into(), begun.elapsed());
        self.rows.push(Row { what, took, change: None, counts });
    }

    /// Ends the clients, prints what came of it all, and holds the cluster to it.
    fn check(self) {
        let promised = self.clients.finish();
        println!("{HEAD}");
        self.rows.iter().for_each(|row| println!("{row}"));
        let (took, counts) = (self.rows.iter().map(|row| row.took).sum(), promised.counts);
        println!("{}", Row { what: "all".into(), took, change: None, counts });
        print_faults(&promised);
        await_equal(&self.nodes);
        let mut lost = Vec::new();
        for node in &self.members {
            let mut client = self.nodes.client(*node);
            lost.extend(lost_promises(&mut client, &promised).map(|one| format!("{node}: {one}")));
            lost.extend(
                lost_values(&mut client, self.size.keys).map(|one| format!("{node}: {one}")),
            );
        }
        println!("{} kills, {} keys before, {} lost", self.size.kills, self.size.keys, lost.len());
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!((counts.behind, counts.splits), (0, 0), "{:?}", promised.behind);
        let (reads, failed) = (counts.reads, counts.reads_failed);
        assert!(failed * READS_PER_FAILURE < reads, "{failed} of {reads} reads failed");
        for Change { planned, moved, peak, agreed } in
            self.rows.iter().filter_map(|row| row.change.as_ref())
        {
            let off = moved.abs_diff(*planned) as f64;
            assert!(off <= MOVES_OFF_MAX * *planned as f64, "{planned} planned, {moved} moved");
            assert!(*peak <= PEAK_MAX, "{peak}");
            assert!(*agreed <= AGREED_MAX, "{agreed:?}");
        }
    }
}

/// How a node is, by its id.
fn state(page: &Value, id: &str) -> String {
    let seats = page["nodes"].as_array().cloned().unwrap_or_default();
    let seat = seats.iter().find(|seat| seat["node"] == id);
    seat.and_then(|seat| seat["state"].as_str()).unwrap_or("unknown").to_owned()
}

/// How many partitions each owns.
fn owners(ring: &[BTreeSet<String>]) -> BTreeMap<&String, usize> {
    let mut counts = BTreeMap::new();
    ring.iter().flatten().for_each(|owner| *counts.entry(owner).or_default() += 1);
    counts
}

/// What the fullest node owns, in times of the mean.
fn peak(ring: &[BTreeSet<String>]) -> f64 {
    let counts = owners(ring);
    let most = counts.values().max().copied().unwrap_or(0);
    (most * counts.len()) as f64 / (ring.len() * N) as f64
}

fn print_faults(promised: &Promised) {
    let mut kinds: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
    for fault in &promised.faults {
        let moment = format!("{:.1?} at {}", fault.at, fault.node.ip());
        kinds.entry((fault.is_read, &fault.error)).or_default().push(moment);
    }
    for ((is_read, error), moments) in kinds {
        let what = if is_read { "reads" } else { "writes" };
        let some: Vec<_> = moments.iter().take(5).map(String::as_str).collect();
        println!("{} {what} failed: {error}: {}", moments.len(), some.join(", "));
    }
}

/// Nothing is kept for others, and all copies are equal.
fn await_equal(nodes: &Cluster) {
    until("no hints", || {
        let output = cluster(nodes, 0, &["hints", "--json"]);
        output.status.success() && output.stdout == b"[]\n"
    });
    let native = nodes.native(0).to_string();
    until_within("equal copies", MOVING_PATIENCE, || {
        let output = run(&["repair", "--json", "--node", &native]);
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success() && text.contains("\"differences\":0")
    });
}

/// Keys of the clients that a read of two copies does not show as it should.
fn lost_promises(client: &mut Client, promised: &Promised) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    for (key, fate) in &promised.fates {
        let mut values = BTreeSet::new();
        until("a key is read", || {
            siblings(client, key, "R 2").map(|(_, found)| values = found).is_ok()
        });
        let numbers = values.iter().map(|value| value.parse().unwrap()).collect();
        wrong.extend(fate.wrong(&numbers).map(|why| format!("{key}: {why}")));
        if key.starts_with("turn-") && values.len() > 1 {
            wrong.push(format!("{key}: its only writer left siblings: {values:?}"));
        }
    }
    wrong.into_iter()
}

/// Keys that were there before all, and are not as they were.
fn lost_values(client: &mut Client, count: usize) -> impl Iterator<Item = String> {
    let mut wrong = Vec::new();
    for first in (0..count).step_by(BATCH) {
        let all = first..count.min(first + BATCH);
        let gets: Vec<_> = all.clone().map(|index| format!("GET {}", key(index))).collect();
        let mut found: Vec<Option<String>> = Vec::new();
        until("keys are read", || client.pipeline(&gets).map(|all| found = all).is_ok());
        let pairs = all.zip(found);
        let lost = pairs.filter(|(index, found)| found.as_ref() != Some(&value(*index)));
        wrong.extend(lost.map(|(index, _)| key(index)));
    }
    wrong.into_iter()
}

#[test]
fn a_cluster_grows_and_shrinks_under_load() {
    let mut scenario = Scenario::begin();
    let joiners = [scenario.nodes.add_waiting(&[]), scenario.nodes.add_waiting(&[])];
    for joiner in joiners {
        scenario.stage(&["join", &scenario.id(joiner)]);
    }
    let five = [0, 1, 2, joiners[0], joiners[1]];
    scenario.change("3 to 5 nodes, and kills", &five, 2, |scenario| {
        scenario.kill_while_it_catches_up(joiners[0]);
    });
    scenario.leave(1);
    scenario.leave(2);
    scenario.replace(joiners[0]);
    scenario.restart_all();
    scenario.check();
}
