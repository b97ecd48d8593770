//! `ringmain bench`: a load generator, for nodes and for whatever speaks RESP.
//!
//! *Problem.* A client that waits for an answer before it asks again asks a server least while that
//! is slowest, so its percentiles leave out what matters (coordinated omission; Tene 2013).
//! *Answer.* With `--rate`, requests are due at fixed times ([`source::Pace`]); what one took is
//! counted from then, however late it was sent. Each worker thread serves its connections to one
//! node by epoll ([`engine`]), a connection keeps what is in flight ([`lane`]); or it asks as
//! clients do that know the ring ([`fleet`]). Latencies go to HDR histograms ([`tally`]), which are
//! added up and told ([`report`], [`plot`]). *Invariant.* What was due and not answered well is
//! counted: as an error, or as not sent.

mod draw;
mod engine;
mod fleet;
mod lane;
pub(crate) mod limits;
mod plot;
mod report;
mod resp;
mod source;
mod tally;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use self::draw::{Draw, value_bytes};
use self::fleet::Fleet;
use self::lane::Lane;
use self::limits::{LOAD_PIPELINE_COUNT, LOAD_REFUSED_PER_KEY_MAX};
use self::source::{Loading, Pace, Piece, Running, Source, Span};
use self::tally::Tally;
use crate::args::{BenchArgs, Target};
use crate::failure::Failure;
use crate::output::{print_line, tell};
use crate::progress::Progress;

/// Until all threads stand ready.
const LEAD: Duration = Duration::from_millis(20);
/// Between two looks at how far the loading is.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Loads, measures and prints.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let remedy = "leave it out, or measure with --target native";
    if args.target == Target::Resp && (args.r.is_some() || args.w.is_some()) {
        return Err(Failure::usage("GET and SET of RESP have no --r and --w", remedy));
    }
    if args.target == Target::Resp && args.routed {
        return Err(Failure::usage("clients of RESP do not know the ring: no --routed", remedy));
    }
    let port = if args.target == Target::Native { 7400 } else { 7379 };
    let node = args.node.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut workers = connect(node, args)?;
    let value = value_bytes(args.value_bytes);
    load(&mut workers, args, &value)?;
    let measured = measure(&mut workers, args, &value)?;
    print_line(&report::text(args, &measured))?;
    if let Some(path) = &args.hgrm {
        report::write(path, &report::hgrm(&measured.all()))?;
    }
    if let Some(path) = &args.plot {
        report::write(path, &plot::svg(&measured))?;
    }
    if args.json {
        print_line(&report::json(args, &measured).to_string())?;
    }
    match measured.count() {
        0 => Err(Failure::failed("no request was answered well", "see the errors above")),
        _ => Ok(()),
    }
}

/// One thread, and what it asks.
enum Worker {
    /// Connections to one node.
    Lanes(Vec<Lane>),
    /// Connections to wherever the keys are.
    Fleet(Box<Fleet>),
}

impl Worker {
    fn set_room(&mut self, count: u64) {
        match self {
            Worker::Lanes(lanes) => lanes.iter_mut().for_each(|lane| lane.set_room(count)),
            Worker::Fleet(fleet) => fleet.set_room(count),
        }
    }

    /// Lanes, as its source counts them.
    fn lane_count(&self) -> usize {
        match self {
            Worker::Lanes(lanes) => lanes.len(),
            Worker::Fleet(_) => 1,
        }
    }

    fn serve(
        &mut self,
        source: &mut impl Source,
        value: &[u8],
        is_broken: &AtomicBool,
    ) -> Result<(), Failure> {
        match self {
            Worker::Lanes(lanes) => engine::serve(lanes, source, value, is_broken),
            Worker::Fleet(fleet) => fleet.serve(source, value, is_broken),
        }
    }
}

/// All workers, connected.
fn connect(node: SocketAddr, args: &BenchArgs) -> Result<Vec<Worker>, Failure> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let count = cpus.min(args.connections as usize);
    let workers = (0..count).map(|worker| {
        let own = (worker..args.connections as usize).step_by(count);
        if args.routed {
            let fleet = Fleet::connect(node, own.count() as u64, args)?;
            return Ok(Worker::Fleet(Box::new(fleet)));
        }
        let lanes = own.map(|_| Lane::connect(node, args)).collect::<Result<_, _>>()?;
        Ok(Worker::Lanes(lanes))
    });
    workers.collect()
}

/// Writes every key once.
fn load(workers: &mut [Worker], args: &BenchArgs, value: &[u8]) -> Result<(), Failure> {
    let (count, done, is_broken) =
        (workers.len() as u64, AtomicU64::new(0), AtomicBool::new(false));
    let refusals_max = args.keys.div_ceil(count) * LOAD_REFUSED_PER_KEY_MAX;
    let mut progress = Progress::new("loading", "keys");
    let loaded = thread::scope(|scope| {
        let threads = workers.iter_mut().zip(0..).map(|(asker, worker)| {
            let (done, is_broken) = (&done, &is_broken);
            scope.spawn(move || {
                asker.set_room(LOAD_PIPELINE_COUNT);
                let mut keys = Loading::new(args.keys, (worker, count), refusals_max, done);
                asker.serve(&mut keys, value, is_broken)?;
                let Some(error) = keys.failure() else { return Ok(()) };
                is_broken.store(true, Ordering::Relaxed);
                Err(Failure::failed(format!("loading: {error}"), "see what the node says"))
            })
        });
        let threads: Vec<_> = threads.collect();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            progress.show(done.load(Ordering::Relaxed), args.keys);
            // Few keys are loaded before anybody would look.
            thread::sleep(LOOK_PAUSE.min(Duration::from_millis(args.keys / 1000 + 1)));
        }
        first_failure(threads)
    });
    progress.end();
    loaded
}

/// Sends what is to be sent, and tells each second.
fn measure(workers: &mut [Worker], args: &BenchArgs, value: &[u8]) -> Result<Tally, Failure> {
    let (count, is_broken) = (workers.len(), AtomicBool::new(false));
    let begin = Instant::now() + LEAD;
    let from = begin + args.warmup;
    let span = Span { begin, from, until: from + args.duration };
    let (reports, pieces) = channel();
    thread::scope(|scope| {
        let threads = workers.iter_mut().zip(0..).map(|(asker, worker)| {
            let (is_broken, reports) = (&is_broken, reports.clone());
            scope.spawn(move || {
                asker.set_room(args.pipeline);
                let of = (worker, count as u64);
                let pace = args.rate.map(|rate| Pace::new(span.begin, rate, of));
                let draw = Draw::new(args, worker);
                thread::sleep(span.begin.saturating_duration_since(Instant::now()));
                let lanes = asker.lane_count();
                let mut running = Running::new(draw, span, pace, lanes, reports);
                asker.serve(&mut running, value, is_broken)?;
                running.finish();
                Ok(())
            })
        });
        let threads: Vec<_> = threads.collect();
        drop(reports);
        let measured = gather(&pieces, count);
        first_failure(threads).map(|()| measured)
    })
}

/// Adds up what the workers report until all have ended, and tells each second that all of them
/// have reported.
fn gather(pieces: &Receiver<Piece>, workers: usize) -> Tally {
    let mut all = Tally::new();
    let mut seconds: BTreeMap<u64, (usize, Tally)> = BTreeMap::new();
    for Piece { second, tally } in pieces {
        let Some(second) = second else {
            all.add(tally);
            continue;
        };
        let (count, whole) = seconds.entry(second).or_insert_with(|| (0, Tally::new()));
        whole.add(tally);
        *count += 1;
        if *count == workers {
            let (_, whole) = seconds.remove(&second).expect("it is there");
            tell(&report::line(second, &whole));
            all.add(whole);
        }
    }
    seconds.into_values().for_each(|(_, part)| all.add(part));
    all
}

fn first_failure(
    threads: Vec<thread::ScopedJoinHandle<'_, Result<(), Failure>>>,
) -> Result<(), Failure> {
    let ended = threads.into_iter().map(|thread| {
        // The hook has told what it was.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    ended.collect::<Vec<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
