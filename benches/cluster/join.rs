//! A third node joins two, and every key goes to it: how fast, and what those who ask the two
//! notice, held against the time before in the same run.
//!
//! The data comes by exchanges, which each shard of the two sends at
//! [`EXCHANGE_BYTES_PER_SECOND`] at most. While clients wait for long, the two send less
//! (`ringmain_background_share`).

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ringmain_core::limits::EXCHANGE_BYTES_PER_SECOND;

use crate::load::{Demand, Load, Sample, fill};
use crate::machine::describe;
use crate::nodes::{LOOK_PAUSE, Node, host, release_binary, start_all, tiny_binary};

const MIB: f64 = (1 << 20) as f64;
/// Behind the loading, until what it left to do is done.
const REST: Duration = Duration::from_secs(15);

/// What is measured, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The binary.
    #[arg(long, default_value_os_t = release_binary())]
    ringmain: PathBuf,
    /// Keys that are there before the third node.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
    /// Requests per second, half of them reads.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Connections of clients, to both nodes in turn; a multiple of four.
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Seconds for which clients ask before the control begins.
    #[arg(long, default_value_t = 5.0)]
    warm_up: f64,
    /// Seconds of the control.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Shards of each node.
    #[arg(long, default_value_t = 1)]
    shards: u64,
    /// As of `ringmain start`.
    #[arg(long, default_value = "always")]
    durability: String,
    /// Where the data directories are made; [default: the folder for temporary files].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Whether this only shows that it works.
    #[arg(skip)]
    is_tiny: bool,
}

impl Options {
    /// All of it, in seconds.
    pub(crate) fn tiny() -> Options {
        Options {
            ringmain: tiny_binary(),
            keys: 2000,
            value_bytes: 100,
            rate: 200,
            connections: 4,
            warm_up: 0.0,
            seconds: 0.2,
            shards: 1,
            durability: "none".into(),
            dir: None,
            is_tiny: true,
        }
    }
}

/// Measures, and prints a table in Markdown.
///
/// # Panics
/// If the nodes do not do what they are to.
pub(crate) fn run(options: &Options) {
    assert!(options.connections.is_multiple_of(4), "so that each node has as many of each kind");
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("join-").tempdir_in(&dir);
    let folder = folder.expect("the folder for files can be written to");
    if !options.is_tiny {
        println!("{}\n", describe(&dir));
    }
    let shards = options.shards.to_string();
    let settings = ["--shards", shards.as_str(), "--durability", options.durability.as_str()];
    let others = start_all(&options.ringmain, folder.path(), 2, &settings);
    let demand = Demand {
        nodes: others.iter().map(Node::resp).collect(),
        connections: options.connections,
        rate: options.rate,
        keys: options.keys,
        value_bytes: options.value_bytes,
    };
    fill(&demand);
    let pause = |whole| thread::sleep(if options.is_tiny { LOOK_PAUSE } else { whole });
    pause(REST);

    let load = Load::start(&demand);
    thread::sleep(Duration::from_secs_f64(options.warm_up));
    let control = Instant::now();
    thread::sleep(Duration::from_secs_f64(options.seconds));
    let sent_before = sent(&others);
    let join = Instant::now();
    let seed = others[0].native();
    let settings = [&settings[..], &["--seed", &seed, "--join"]].concat();
    let third = Node::start(&options.ringmain, folder.path(), host(3), &settings);
    let arrival = watch(&others, &third, options.keys);
    others[0].await_settled(3);
    let settled = Instant::now();
    let samples = load.finish();
    if options.is_tiny {
        assert!(samples.iter().any(|sample| !sample.has_failed), "no request was answered well");
        return;
    }
    let sent = arrival.sent - sent_before;
    print_arrival(options, &arrival, sent, settled);
    let of = |from: Instant, to: Instant| {
        let within = |sample: &&Sample| (from..to).contains(&sample.due);
        samples.iter().filter(within).copied().collect::<Vec<_>>()
    };
    print_latencies(&of(control, join), &of(arrival.begun, arrival.ended));
}

/// How the data came.
struct Arrival {
    /// When the third was a member.
    begun: Instant,
    /// When it had all keys.
    ended: Instant,
    /// What exchanges of the others had sent then, bytes.
    sent: u64,
    /// The smallest share that their background work had, thousandths.
    share_min: u64,
}

fn watch(others: &[Node], third: &Node, keys: u64) -> Arrival {
    while third.metric("ringmain_in_ring") == 0 {
        thread::sleep(LOOK_PAUSE / 10);
    }
    let begun = Instant::now();
    let mut share_min = 1000;
    while third.metric("ringmain_keys") < keys {
        let shares = others.iter().map(|node| node.metric("ringmain_background_share"));
        share_min = shares.min().unwrap_or(0).min(share_min);
        thread::sleep(LOOK_PAUSE);
    }
    Arrival { begun, ended: Instant::now(), sent: sent(others), share_min }
}

/// Bytes that exchanges of these have sent.
fn sent(nodes: &[Node]) -> u64 {
    nodes.iter().map(|node| node.metric("ringmain_exchange_bytes_sent_total")).sum()
}

fn print_arrival(options: &Options, arrival: &Arrival, sent: u64, settled: Instant) {
    let Arrival { begun, ended, share_min, .. } = *arrival;
    let seconds = (ended - begun).as_secs_f64();
    let pace = 2.0 * options.shards as f64 * EXCHANGE_BYTES_PER_SECOND as f64;
    let rate = sent as f64 / seconds;
    println!(
        "{} keys of {} B came in {seconds:.1} s: {:.2} MiB/s of values, {:.2} MiB/s of exchanges, \
         {:.0} % of the pace of {:.0} MiB/s; settled after {:.1} s more; background share at least \
         {:.2}.",
        options.keys,
        options.value_bytes,
        options.keys as f64 * options.value_bytes as f64 / seconds / MIB,
        rate / MIB,
        100.0 * rate / pace,
        pace / MIB,
        (settled - ended).as_secs_f64(),
        share_min as f64 / 1000.0,
    );
    println!(
        "Clients: {} requests/s, half of them reads, {} connections, durability {}.\n",
        options.rate, options.connections, options.durability
    );
}

fn print_latencies(control: &[Sample], join: &[Sample]) {
    println!("| | requests | failed | p50 ms | p99 ms | p99.9 ms | max ms | p99.9 / control |");
    println!("|---|---|---|---|---|---|---|---|");
    for (what, is_read) in [("reads", true), ("writes", false)] {
        let before = Latencies::new(control, is_read);
        let during = Latencies::new(join, is_read);
        println!("| {what}, before | {} | |", before.cells());
        let ratio = during.at(0.999) / before.at(0.999);
        println!("| {what}, while it joins | {} | {ratio:.2} |", during.cells());
    }
}

/// How long requests of one kind took.
struct Latencies {
    /// Milliseconds, ascending.
    all: Vec<f64>,
    failed: usize,
}

impl Latencies {
    fn new(samples: &[Sample], is_read: bool) -> Latencies {
        let meant = || samples.iter().filter(|sample| sample.is_read == is_read);
        let failed = meant().filter(|sample| sample.has_failed).count();
        let mut all: Vec<f64> = meant().map(|one| one.took.as_secs_f64() * 1000.0).collect();
        assert!(!all.is_empty(), "there was no request");
        all.sort_unstable_by(f64::total_cmp);
        Latencies { all, failed }
    }

    /// What that part of the requests kept below.
    fn at(&self, part: f64) -> f64 {
        self.all[((self.all.len() - 1) as f64 * part) as usize]
    }

    fn cells(&self) -> String {
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|part| self.at(part));
        let (count, failed) = (self.all.len(), self.failed);
        format!("{count} | {failed} | {p50:.2} | {p99:.2} | {p999:.2} | {most:.1}")
    }
}
