//! A closed loop of connections, each of which sends a pipeline, waits for all of its answers and
//! sends the next: what `redis-benchmark -P` does, for memcached, too.
//!
//! One thread; one write, one read and a share of an `epoll_wait` for each pipeline. A latency is
//! from the write of a pipeline to the read that brought the answer.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::protocol::{self, Answer, Kind, Protocol, Template};

/// Events that are taken at once.
const EVENT_COUNT: usize = 256;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pipeline fits into the buffers of any socket, so a write never waits for a server that waits
/// for us to read.
const PIPELINE_BYTES_MAX: usize = 32 << 10;
/// The answers of a pipeline fit into this.
const INPUT_BYTES: usize = 64 << 10;
/// Answers that were not as due are told apart up to here.
const ERROR_KINDS_MAX: usize = 16;
/// Latencies are told apart up to here, nanoseconds.
const LATENCY_MAX: u64 = 1_000_000_000_000;

/// What is asked of whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Address of a server; of several, connections take them in turn.
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',', required = true)]
    node: Vec<SocketAddr>,
    #[arg(long, value_enum, default_value_t = Protocol::Resp)]
    protocol: Protocol,
    #[arg(long, value_enum, default_value_t = Kind::Get)]
    kind: Kind,
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Requests of a pipeline.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Of which one is drawn for each request.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Set each key once instead, in order.
    #[arg(long)]
    fill: bool,
}

impl Options {
    /// All of it, in a moment.
    pub(crate) fn tiny(node: SocketAddr) -> Options {
        protocol::check();
        Options {
            node: vec![node],
            protocol: Protocol::Resp,
            kind: Kind::Set,
            connections: 2,
            pipeline: 3,
            keys: 10,
            value_bytes: 20,
            seconds: 0.01,
            fill: false,
        }
    }
}

/// What was answered.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// Answers as due.
    pub(crate) count: u64,
    /// Other answers, by their words.
    errors: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    seconds: f64,
    /// User and system time of this process meanwhile.
    cpu_seconds: f64,
    p50_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
}

/// Loads the servers, and tells what they answered.
///
/// # Errors
/// If a connection cannot be made or breaks, or nothing comes for long.
pub(crate) fn run(options: &Options) -> io::Result<Measured> {
    let mut value = vec![0; options.value_bytes];
    // Printable, since a server may look at it: nothing here compresses.
    let mut random = SmallRng::seed_from_u64(1);
    random.fill_bytes(&mut value);
    value.iter_mut().for_each(|byte| *byte = b'!' + *byte % 94);
    let kind = if options.fill { Kind::Set } else { options.kind };
    let template = Template::new(options.protocol, kind, &value);
    let requests = template.requests(options.pipeline);
    let answers_bytes = options.pipeline * template.answer_bytes() + template.end().len();
    if requests.len() > PIPELINE_BYTES_MAX || answers_bytes > INPUT_BYTES {
        return Err(io::Error::other("a pipeline has more than 32 KiB: ask for less"));
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut lanes = Vec::new();
    for index in 0..options.connections {
        let lane = Lane::connect(options.node[index % options.node.len()], &requests)?;
        epoll::add(&epoll, &lane.stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        lanes.push(lane);
    }
    let mut session = Session::new(options, &template, random);
    let (begin, cpu) = (Instant::now(), cpu_time());
    session.until = begin + Duration::from_secs_f64(options.seconds);
    let mut running = 0;
    for lane in &mut lanes {
        running += usize::from(session.send(lane)?);
    }
    let mut events = Vec::with_capacity(EVENT_COUNT);
    let patience = Timespec::try_from(PATIENCE).expect("a moment");
    while running > 0 {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 30 s")),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let lane = &mut lanes[event.data.u64() as usize];
            if session.receive(lane)? && !session.send(lane)? {
                running -= 1;
            }
        }
    }
    Ok(session.measured(begin.elapsed(), cpu_time() - cpu))
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One connection.
struct Lane {
    stream: TcpStream,
    requests: Vec<u8>,
    /// What came and is not read yet.
    input: Vec<u8>,
    received: usize,
    /// Answers of the pipeline that are missing.
    missing: usize,
    sent: Instant,
}

impl Lane {
    fn connect(node: SocketAddr, requests: &[u8]) -> io::Result<Lane> {
        let stream = TcpStream::connect(node)?;
        stream.set_nodelay(true)?;
        let (requests, input) = (requests.to_vec(), vec![0; INPUT_BYTES]);
        Ok(Lane { stream, requests, input, received: 0, missing: 0, sent: Instant::now() })
    }
}

/// What all connections share.
struct Session<'a> {
    options: &'a Options,
    template: &'a Template,
    random: SmallRng,
    until: Instant,
    /// Keys that were set, to fill.
    filled: u64,
    latencies: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl<'a> Session<'a> {
    fn new(options: &'a Options, template: &'a Template, random: SmallRng) -> Session<'a> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        Session {
            options,
            template,
            random,
            until: Instant::now(),
            filled: 0,
            latencies: latencies.expect("the bounds are in order"),
            errors: BTreeMap::new(),
        }
    }

    /// Sends the next pipeline of a connection; false if it is over.
    fn send(&mut self, lane: &mut Lane) -> io::Result<bool> {
        let now = Instant::now();
        let keys = self.options.keys;
        let is_over = if self.options.fill { self.filled >= keys } else { now >= self.until };
        if is_over {
            return Ok(false);
        }
        for index in 0..self.options.pipeline {
            let key = match self.options.fill {
                true => (self.filled + index as u64) % keys,
                false => self.random.random_range(0..keys),
            };
            self.template.set_key(&mut lane.requests, index, key);
        }
        self.filled += self.options.pipeline as u64;
        (lane.missing, lane.sent) = (self.options.pipeline, now);
        lane.stream.write_all(&lane.requests)?;
        Ok(true)
    }

    /// Reads what came; true if that was the last answer of a pipeline.
    fn receive(&mut self, lane: &mut Lane) -> io::Result<bool> {
        match lane.stream.read(&mut lane.input[lane.received..])? {
            0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server hung up")),
            count => lane.received += count,
        }
        let (mut used, mut good) = (0, 0);
        while lane.missing > 0 {
            match self.template.answer(&lane.input[used..lane.received]) {
                Answer::Good(bytes) => (used, good) = (used + bytes, good + 1),
                Answer::Bad(line) => {
                    let text = String::from_utf8_lossy(line).trim_end().to_owned();
                    let is_known = self.errors.contains_key(&text);
                    let room = self.errors.len() < ERROR_KINDS_MAX;
                    let text = if is_known || room { text } else { "others".into() };
                    *self.errors.entry(text).or_default() += 1;
                    used += line.len() + 1;
                }
                Answer::Part => break,
            }
            lane.missing -= 1;
        }
        let end = self.template.end();
        let is_whole = lane.missing == 0 && lane.input[used..lane.received].starts_with(end);
        used += if is_whole { end.len() } else { 0 };
        lane.input.copy_within(used..lane.received, 0);
        lane.received -= used;
        let took = lane.sent.elapsed().as_nanos() as u64;
        self.latencies.saturating_record_n(took.max(1), good);
        Ok(is_whole)
    }

    fn measured(self, took: Duration, cpu_seconds: f64) -> Measured {
        let at = |part| self.latencies.value_at_quantile(part) as f64 / 1000.0;
        Measured {
            count: self.latencies.len(),
            seconds: took.as_secs_f64(),
            cpu_seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.latencies.max() as f64 / 1000.0,
            errors: self.errors,
        }
    }
}
