//! Clients that go to another node when theirs is gone, as those of a real cluster do, and a ledger
//! of what they were promised: what was acknowledged, what may have happened, what failed and how.
//!
//! A connection that is lost because the test ended its node is no fault of the cluster, nor that
//! a node which has left turns clients away: these are counted apart. Whatever else a node answers,
//! or leaves unanswered, is one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, Value};

use super::fate::Fate;
use super::{Client, PATIENCE, siblings};

/// How long a client waits for an answer: longer than a request may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(15);
/// A pause behind what failed.
const PAUSE: Duration = Duration::from_millis(5);
/// Requests that a client makes at one node before it goes to the next.
const STAY: u32 = 200;
/// Keys of one client: it is their only writer. Prime, so that each is deleted in its turn.
const KEY_COUNT: u64 = 53;
/// One write in so many is a delete.
const DELETE_EVERY: u64 = 8;

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Reads, whatever came of them, but for lost connections.
    pub reads: u64,
    /// Those that got an error, or no answer, of a node that was to serve.
    pub reads_failed: u64,
    /// Writes and deletes that were acknowledged.
    pub acked: u64,
    /// Deletes among them.
    pub deletes: u64,
    /// Writes and deletes that got an error, or no answer, of a node that was to serve.
    pub writes_failed: u64,
    /// Requests lost with a node that the test ended, or turned away by one that has left.
    pub lost: u64,
    /// Reads that did not show what they should have.
    pub behind: u64,
    /// Reads that showed siblings to the only writer of a key, who writes with their contexts and
    /// was never left without an answer.
    pub splits: u64,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// At which node.
    pub node: SocketAddr,
    /// How long after the start of all.
    pub at: Duration,
    /// A read, or a write.
    pub is_read: bool,
    /// What the client was told.
    pub error: String,
}

/// The clients.
pub struct Roaming {
    ledger: Arc<Ledger>,
    clients: Vec<JoinHandle<()>>,
}

/// What was promised when all had ended.
#[derive(Debug)]
pub struct Promised {
    /// By key.
    pub fates: BTreeMap<String, Fate>,
    /// All that was asked.
    pub counts: Counts,
    /// What failed of it.
    pub faults: Vec<Fault>,
    /// Reads that did not show what they should have, for people.
    pub behind: Vec<String>,
}

impl Roaming {
    /// Starts clients at those nodes: `setters` of plain commands, which also delete, and
    /// `modifiers`, which read and then write with the context that they read.
    pub fn start(nodes: &[SocketAddr], setters: usize, modifiers: usize) -> Roaming {
        let nodes = nodes.iter().map(|node| (*node, OPEN));
        let book = Book { nodes: nodes.collect(), ..Book::default() };
        let ledger = Ledger { book: Mutex::new(book), grew: Condvar::new(), begun: Instant::now() };
        let ledger = Arc::new(ledger);
        let clients = (0..setters + modifiers).map(|number| {
            let mut roamer = Roamer { ledger: Arc::clone(&ledger), seat: None, turn: number };
            thread::spawn(move || match number < setters {
                true => roamer.set(number),
                false => roamer.modify(number - setters),
            })
        });
        Roaming { clients: clients.collect(), ledger }
    }

    /// From now on clients may go to that node.
    pub fn admit(&self, node: SocketAddr) {
        let mut book = self.ledger.lock();
        book.nodes.entry(node).or_insert(OPEN).is_open = true;
    }

    /// From now on no client asks that node: it is about to end.
    pub fn dismiss(&self, node: SocketAddr) {
        let mut book = self.ledger.lock();
        let standing = book.nodes.get_mut(&node).expect("it was admitted");
        (standing.life, standing.is_open) = (standing.life + 1, false);
    }

    /// From now on that node may turn clients away: it leaves the cluster.
    ///
    /// # Panics
    /// If clients were never sent there; so does [`dismiss`](Self::dismiss).
    pub fn may_go(&self, node: SocketAddr) {
        self.ledger.lock().nodes.get_mut(&node).expect("it was admitted").may_go = true;
    }

    /// Waits until `count` more requests were answered well.
    ///
    /// # Panics
    /// If patience runs out, with what failed last.
    pub fn await_done(&self, count: u64) {
        let book = self.ledger.lock();
        let goal = book.done() + count;
        let lacks = |book: &mut Book| book.done() < goal;
        let waited = self.ledger.grew.wait_timeout_while(book, PATIENCE, lacks);
        let (book, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let last = book.faults.last().cloned();
        drop(book);
        assert!(!timeout.timed_out(), "requests succeed no more: {last:?}");
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.ledger.lock().counts
    }

    /// How long ago all began.
    pub fn elapsed(&self) -> Duration {
        self.ledger.begun.elapsed()
    }

    /// Ends all clients.
    ///
    /// # Panics
    /// If one panicked.
    pub fn finish(mut self) -> Promised {
        self.end();
        let mut book = self.ledger.lock();
        let (fates, faults) = (std::mem::take(&mut book.fates), std::mem::take(&mut book.faults));
        let behind = std::mem::take(&mut book.behind);
        Promised { fates, faults, behind, counts: book.counts }
    }

    fn end(&mut self) {
        self.ledger.lock().is_over = true;
        for client in self.clients.drain(..) {
            let ended = client.join();
            assert!(ended.is_ok() || thread::panicking(), "a client panicked");
        }
    }
}

impl Drop for Roaming {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug)]
struct Ledger {
    book: Mutex<Book>,
    grew: Condvar,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Book {
    nodes: BTreeMap<SocketAddr, Standing>,
    fates: BTreeMap<String, Fate>,
    counts: Counts,
    faults: Vec<Fault>,
    behind: Vec<String>,
    is_over: bool,
}

impl Book {
    fn done(&self) -> u64 {
        self.counts.reads + self.counts.acked - self.counts.reads_failed
    }
}

/// How a node is, as whoever sends clients to it knows.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Grows when it is ended: connections of earlier lives may be lost.
    life: u32,
    is_open: bool,
    may_go: bool,
}

/// It is to serve.
const OPEN: Standing = Standing { life: 0, is_open: true, may_go: false };

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client.
struct Roamer {
    ledger: Arc<Ledger>,
    seat: Option<Seat>,
    /// Which node is next.
    turn: usize,
}

/// A connection, to a life of a node, and for how many requests more.
struct Seat {
    client: Client,
    node: SocketAddr,
    life: u32,
    stay: u32,
}

/// A request that brought nothing.
enum Failed {
    /// It was refused: nothing came of it.
    Refused,
    /// Nobody knows what came of it.
    Unknown,
}

impl Roamer {
    /// Writes plainly, and reads what it wrote, and something older.
    fn set(&mut self, client: usize) {
        let key_of = |number: u64| format!("set-{client}-{}", number % KEY_COUNT);
        let mut number = 0;
        while !self.ledger.lock().is_over {
            if !self.sit() {
                continue;
            }
            number += 1;
            let key = key_of(number);
            let is_delete = number.is_multiple_of(DELETE_EVERY);
            let line = match is_delete {
                true => format!("DEL {key}"),
                false => format!("SET {key} {number}"),
            };
            self.write(&key, number, is_delete, &line);
            for seen in [number, number + KEY_COUNT / 2] {
                let _context = self.read(&key_of(seen), false);
            }
        }
    }

    /// Reads, and writes with the context that it has read.
    fn modify(&mut self, client: usize) {
        let mut number = 0;
        while !self.ledger.lock().is_over {
            number += 1;
            let key = format!("turn-{client}-{}", number % KEY_COUNT);
            if let Some(context) = self.read(&key, true)
                && self.sit()
            {
                self.write(&key, number, false, &format!("RM.PUT {key} {context} {number}"));
            }
        }
    }

    /// Whoever calls sits.
    fn write(&mut self, key: &str, number: u64, is_delete: bool, line: &str) {
        let ledger = Arc::clone(&self.ledger);
        ledger.lock().fates.entry(key.into()).or_default().on_sent(number, is_delete);
        let result = self.ask(false, |client| client.ask::<Value>(line));
        let mut book = ledger.lock();
        let fate = book.fates.get_mut(key).expect("it was just sent");
        match result {
            Ok(_) => {
                fate.on_acked(number);
                book.counts.acked += 1;
                book.counts.deletes += u64::from(is_delete);
                ledger.grew.notify_all();
            }
            Err(Failed::Refused) => fate.on_refused(number),
            Err(Failed::Unknown) => {}
        }
    }

    /// The context of a key, if the read comes about; what it shows is checked. With `is_alone`,
    /// all writes of the key have the context of all before them.
    fn read(&mut self, key: &str, is_alone: bool) -> Option<String> {
        if !self.sit() {
            return None;
        }
        let node = self.seat.as_ref().map(|seat| seat.node);
        let (context, values) = self.ask(true, |client| siblings(client, key, "")).ok()?;
        let ledger = Arc::clone(&self.ledger);
        let mut book = ledger.lock();
        book.counts.reads += 1;
        let at = ledger.begun.elapsed();
        let fate = book.fates.entry(key.into()).or_default();
        let wrong = fate.wrong(&numbers(&values));
        let is_split = is_alone && values.len() > 1 && fate.is_sure();
        if let Some(wrong) = wrong {
            book.counts.behind += 1;
            book.behind.push(format!("{at:.1?}: {key} at {node:?}: {wrong}"));
        }
        if is_split {
            book.counts.splits += 1;
            book.behind.push(format!("{at:.1?}: {key} at {node:?}: {values:?} are siblings"));
        }
        ledger.grew.notify_all();
        Some(context)
    }

    /// Sits down at a node that is open, if it can.
    fn sit(&mut self) -> bool {
        let book = self.ledger.lock();
        let is_well = |seat: &Seat| {
            let standing = book.nodes[&seat.node];
            seat.stay > 0 && standing.is_open && standing.life == seat.life
        };
        if self.seat.as_ref().is_some_and(is_well) {
            return true;
        }
        let open: Vec<_> = book.nodes.iter().filter(|(_, standing)| standing.is_open).collect();
        self.turn += 1;
        let (node, Standing { life, .. }) = open[self.turn % open.len()];
        let (node, life) = (*node, *life);
        drop(book);
        match Client::connect_within(node, CLIENT_PATIENCE) {
            Ok(client) => self.seat = Some(Seat { client, node, life, stay: STAY }),
            Err(error) => {
                self.seat = None;
                self.note((node, life), true, &error);
            }
        }
        self.seat.is_some()
    }

    /// One request where it sits.
    fn ask<T>(
        &mut self,
        is_read: bool,
        request: impl FnOnce(&mut Client) -> RedisResult<T>,
    ) -> Result<T, Failed> {
        let mut seat = self.seat.take().expect("whoever asks sits");
        match request(&mut seat.client) {
            Ok(answer) => {
                seat.stay -= 1;
                self.seat = Some(seat);
                Ok(answer)
            }
            Err(error) => {
                self.note((seat.node, seat.life), is_read, &error);
                let is_refused = error.code().is_some_and(|code| code != "NOQUORUM");
                Err(if is_refused { Failed::Refused } else { Failed::Unknown })
            }
        }
    }

    /// Takes down what failed at a life of a node, and pauses.
    fn note(&self, (node, life): (SocketAddr, u32), is_read: bool, error: &RedisError) {
        let mut book = self.ledger.lock();
        let standing = book.nodes[&node];
        let was_answered = error.code().is_some() || error.is_timeout();
        let has_gone = standing.may_go && error.code() == Some("UNAVAILABLE");
        if has_gone || !was_answered && standing.life != life {
            book.counts.lost += 1;
        } else {
            let at = self.ledger.begun.elapsed();
            book.faults.push(Fault { node, at, is_read, error: error.to_string() });
            book.counts.reads += u64::from(is_read);
            book.counts.reads_failed += u64::from(is_read);
            book.counts.writes_failed += u64::from(!is_read);
        }
        drop(book);
        thread::park_timeout(PAUSE);
    }
}

/// All values are numbers.
fn numbers(values: &BTreeSet<String>) -> BTreeSet<u64> {
    values.iter().map(|value| value.parse().expect("only numbers are written")).collect()
}
