//! What a crowd does to a node and to those who behave: the load of a process of its own against
//! a node that it starts.
//!
//! `cargo build --release && cargo run --release -p ringmain-tests --bin crowd -- \
//!  target/release/ringmain [--idle 10000] [--active 100] [--slow 2000] [--deaf 20] \
//!  [--mutants 1000000] [--requests 100000] [--shards 2] [--seed 1]`
//!
//! Each line of the table is a part of one run: how long the requests of the active took in it,
//! beside a control before the crowd came, and what the node took.
#![forbid(unsafe_code)]

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmain_tests::crowd::{
    Active, Deaf, Idle, Latencies, Slow, Target, Told, native_mutants, resp_mutants, store_large,
};
use ringmain_tests::process::{Ringmain, raise_file_limit, until};

/// So many of the slow send a byte, then all rest for a while: each sends about one in a second.
const SLOW_COUNT: usize = 10;
/// See [`SLOW_COUNT`].
const SLOW_PAUSE: Duration = Duration::from_millis(5);
/// Bytes of each value that the deaf ask for.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of a value that the slow send at once, before they are slow.
const BEGUN_BYTES: usize = 64 << 10;

/// Threads that send mutants, so that they do not wait for each answer in turn.
const MUTANT_THREAD_COUNT: u64 = 8;

/// How large the crowd is.
struct Sizes {
    idle: usize,
    active: u64,
    slow: usize,
    deaf: usize,
    mutants: u64,
    requests: usize,
    shards: String,
    seed: u64,
}

impl Sizes {
    fn read(words: impl Iterator<Item = String>) -> Sizes {
        let words: Vec<String> = words.collect();
        let of = |name: &str, usual: u64| {
            let at = words.iter().position(|word| *word == format!("--{name}"));
            at.map_or(usual, |at| words[at + 1].parse().expect("a number"))
        };
        Sizes {
            idle: of("idle", 10_000) as usize,
            active: of("active", 100),
            slow: of("slow", 2_000) as usize,
            deaf: of("deaf", 20) as usize,
            mutants: of("mutants", 1_000_000),
            requests: of("requests", 100_000) as usize,
            shards: of("shards", 2).to_string(),
            seed: of("seed", 1),
        }
    }
}

fn main() {
    let mut words = env::args().skip(1);
    let binary = words.next().expect("the first argument is the binary of the node");
    let sizes = Sizes::read(words);
    raise_file_limit();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut start = Command::new(binary);
    start.args(["start", "--listen", "127.0.77.1", "--max-connections", "20000", "--durability"]);
    start.args(["interval:10ms", "--shards", &sizes.shards, "--data-dir"]).arg(folder.path());
    let mut node = Ringmain::of(start);
    node.await_ready();
    let target = Target { ready: node.ready().clone(), id: node.id() };
    store_large(target.resp(), LARGE_BYTES);
    println!(
        "part                    p50 µs   p99 µs  p99.9 µs  busy  RssAnon MB  buffers MB  files  \
         conns"
    );
    let mut table = Table { active: Active::connect(target.resp(), sizes.active), target };
    table.run(&sizes);
    drop(table);
    for line in node.log() {
        assert!(!line.contains("panicked"), "{line}");
    }
}

/// This thread lets others have the CPU first: where the crowd shares the cores with the node and
/// with those who are measured, its own work must not be what these wait for.
fn stand_back() {
    // Of the calling thread alone; who may not is measured with it.
    let _refused = rustix::process::setpriority_process(None, 19);
}

struct Table {
    active: Active,
    target: Target,
}

impl Table {
    fn run(&mut self, sizes: &Sizes) {
        let address = self.target.resp();
        self.line("warm-up", sizes.requests);
        self.line("control", sizes.requests);
        let before = self.target.taken();
        let mut idle = Idle::open(address, sizes.idle);
        self.await_connections(before.connection_count + sizes.idle as u64);
        let taken = self.target.taken();
        let each = taken.anonymous_bytes.saturating_sub(before.anonymous_bytes);
        println!("  {} bytes for each that idles", each / sizes.idle.max(1) as u64);
        self.line("idle", sizes.requests);
        idle.work_once(50_000);
        self.line("idle, once busy", sizes.requests);
        let mut deaf = Deaf::connect(address, sizes.deaf);
        deaf.ask(1000);
        self.line("+ deaf", sizes.requests);
        let is_over = AtomicBool::new(false);
        let mut slow = Slow::connect(address, sizes.slow, BEGUN_BYTES);
        let native = self.target.ready.native;
        thread::scope(|scope| {
            scope.spawn(|| {
                stand_back();
                while !is_over.load(Ordering::Relaxed) {
                    slow.send_byte(SLOW_COUNT);
                    thread::park_timeout(SLOW_PAUSE);
                }
            });
            self.line("+ slow", sizes.requests);
            deaf.ask(1000);
            self.line("+ slow, again", sizes.requests);
            let begun = Instant::now();
            let share = sizes.mutants / MUTANT_THREAD_COUNT;
            let mutants = (0..MUTANT_THREAD_COUNT).map(|thread| {
                let seed = sizes.seed + thread;
                scope.spawn(move || {
                    stand_back();
                    let resp = resp_mutants(address, seed, share * 4 / 5);
                    (resp, native_mutants(native, seed, share / 5))
                })
            });
            let mutants: Vec<_> = mutants.collect();
            let mut rounds = Vec::new();
            while !mutants.iter().all(|thread| thread.is_finished()) {
                rounds.push(self.active.work(sizes.requests));
            }
            rounds.sort_by_key(|latencies| latencies.per_mille(990));
            if let [_, .., worst] | [worst] = &rounds[..] {
                self.print("+ mutants, median", &rounds[(rounds.len() - 1) / 2]);
                self.print("+ mutants, worst", worst);
                println!("  of {} rounds of as many requests", rounds.len());
            }
            let told = mutants.into_iter().map(|thread| thread.join().expect("all of them ended"));
            let (resp, native): (Vec<_>, Vec<_>) = told.unzip();
            for (port, told) in [("RESP", resp), ("native", native)] {
                println!("  {port}: {}", Told::sum(&told));
            }
            println!("  in {:?}", begun.elapsed());
            is_over.store(true, Ordering::Relaxed);
        });
        println!("  the slow were refused {} times", slow.refused_count());
        drop((idle, deaf, slow));
        self.await_connections(before.connection_count);
        self.line("control, alone again", sizes.requests);
        thread::park_timeout(Duration::from_secs(5));
        self.line("5 s later", sizes.requests);
    }

    fn await_connections(&self, count: u64) {
        until(&format!("{count} connections"), || self.target.taken().connection_count == count);
    }

    fn line(&mut self, name: &str, requests: usize) {
        let latencies = self.active.work(requests);
        self.print(name, &latencies);
    }

    fn print(&self, name: &str, latencies: &Latencies) {
        let [half, most, nearly] = [500, 990, 999].map(|part| latencies.per_mille(part));
        let taken = self.target.taken();
        println!(
            "{name:<22} {half:>7} {most:>8} {nearly:>9} {:>5} {:>11} {:>11} {:>6} {:>6}",
            latencies.busy_count,
            taken.anonymous_bytes / 1_000_000,
            taken.buffer_bytes / 1_000_000,
            taken.file_count,
            taken.connection_count,
        );
    }
}
