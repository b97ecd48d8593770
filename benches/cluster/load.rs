//! Clients that send at fixed times: open loop, so that a node which stalls does not thereby get
//! less to do, and what a request took is counted from when it was to be sent.
//!
//! `ringmain bench` does so, too, and `latency` takes that. Here each request is kept with the time
//! at which it was due, since which of them count is known only afterwards: those from when a node
//! was a member until it had all data.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Commands in one pipeline while keys are loaded.
const BATCH: u64 = 128;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Clients connect to these in turn.
    pub(crate) nodes: Vec<SocketAddr>,
    /// Half of them for reads: answers come in order, so a read would wait for the write before it.
    pub(crate) connections: u64,
    /// Requests per second of all, half of them reads.
    pub(crate) rate: u64,
    /// Of which one is drawn for each request.
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it was to be sent.
    pub(crate) due: Instant,
    /// From then until its answer was read.
    pub(crate) took: Duration,
    pub(crate) is_read: bool,
    /// Whether the answer was an error.
    pub(crate) has_failed: bool,
}

/// Running clients.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Starts them.
    ///
    /// # Panics
    /// As the other methods: if a node does not take a connection, or breaks one.
    pub(crate) fn start(demand: &Demand) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let mut clients = Vec::new();
        for number in 0..demand.connections {
            let stream = connect(demand, number);
            let answers = BufReader::new(stream.try_clone().expect("there are files left"));
            let (sender, receiver) = channel();
            let (demand, is_over) = (demand.clone(), Arc::clone(&is_over));
            thread::spawn(move || send(&demand, number, begin, stream, &sender, &is_over));
            clients.push(thread::spawn(move || receive(answers, &receiver)));
        }
        Load { is_over, clients }
    }

    /// Ends them, and gives all that was asked, in no order.
    pub(crate) fn finish(self) -> Vec<Sample> {
        self.is_over.store(true, Ordering::Relaxed);
        let samples = self.clients.into_iter().map(|client| client.join().expect("it has ended"));
        samples.flatten().collect()
    }
}

/// Writes all keys once, as fast as that goes; what is refused is sent again.
pub(crate) fn fill(demand: &Demand) {
    let parts = demand.connections;
    thread::scope(|scope| {
        for part in 0..parts {
            scope.spawn(move || {
                let mut stream = connect(demand, part);
                let mut answers = BufReader::new(stream.try_clone().expect("there are files left"));
                let keys: Vec<u64> = (part..demand.keys).step_by(parts as usize).collect();
                for batch in keys.chunks(BATCH as usize) {
                    let mut left = batch.to_vec();
                    while !left.is_empty() {
                        let sets = left.iter().flat_map(|key| set(*key, demand.value_bytes));
                        stream.write_all(&sets.collect::<Vec<u8>>()).expect("a node takes writes");
                        left.retain(|_| !answer(&mut answers).expect("a node answers"));
                    }
                }
            });
        }
    });
}

fn connect(demand: &Demand, number: u64) -> TcpStream {
    let node = demand.nodes[number as usize % demand.nodes.len()];
    let stream = TcpStream::connect(node).expect("a node takes connections");
    stream.set_nodelay(true).expect("a connected socket takes it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket takes it");
    stream
}

/// Sends each request when it is due, and tells the other thread of the client.
fn send(
    demand: &Demand,
    number: u64,
    begin: Instant,
    mut stream: TcpStream,
    told: &Sender<(Instant, bool)>,
    is_over: &AtomicBool,
) {
    let mut rng = SmallRng::seed_from_u64(number);
    let is_read = (number / demand.nodes.len() as u64).is_multiple_of(2);
    for turn in (number..).step_by(demand.connections as usize) {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let due = begin + Duration::from_nanos(turn * 1_000_000_000 / demand.rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let key = rng.random_range(0..demand.keys);
        let bytes = if is_read { get(key) } else { set(key, demand.value_bytes) };
        let is_gone = told.send((due, is_read)).is_err();
        if is_gone || stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn receive(mut answers: BufReader<TcpStream>, told: &Receiver<(Instant, bool)>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (due, is_read) in told.iter() {
        let has_failed = !answer(&mut answers).expect("a node keeps its connections");
        samples.push(Sample { due, took: due.elapsed(), is_read, has_failed });
    }
    samples
}

fn get(key: u64) -> Vec<u8> {
    format!("*2\r\n$3\r\nGET\r\n$11\r\nkey-{key:07}\r\n").into_bytes()
}

fn set(key: u64, value_bytes: usize) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n$11\r\nkey-{key:07}\r\n${value_bytes}\r\n{key:0>value_bytes$}\r\n")
        .into_bytes()
}

/// Reads one answer; false if it is an error, or nothing.
fn answer(answers: &mut BufReader<TcpStream>) -> Result<bool> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    match line.as_bytes().first() {
        Some(b'+') => Ok(true),
        Some(b'-') => Ok(false),
        Some(b'$') => {
            let count = line[1..].trim_end().parse::<i64>();
            let count = count.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            let Ok(count) = usize::try_from(count) else { return Ok(false) };
            answers.read_exact(&mut vec![0; count + 2])?;
            Ok(true)
        }
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
