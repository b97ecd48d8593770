//! Clients that write without end while things happen to the nodes, and what they were promised.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use redis::{RedisResult, Value};

use super::{Client, PATIENCE};

/// Keys of one worker: it is their only writer, so its latest acknowledged number is the truth.
const KEY_COUNT: u64 = 100;

/// Workers on every node. Each writes numbers, growing, to keys of its own, and reads them back.
pub struct Load {
    ledger: Arc<Ledger>,
    workers: Vec<JoinHandle<()>>,
}

/// A request that got an error, or no answer.
#[derive(Clone, Debug)]
pub struct Failed {
    /// At which node.
    pub node: usize,
    /// When it began.
    pub begun: Instant,
    /// What the client was told.
    pub error: String,
}

#[derive(Debug)]
struct Ledger {
    book: Mutex<Book>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct Book {
    /// The latest acknowledged number of each key.
    acked: BTreeMap<String, u64>,
    /// Writes acknowledged so far.
    acked_count: u64,
    /// The latest number that was sent to each key.
    sent: BTreeMap<String, u64>,
    failed: Vec<Failed>,
    /// A read did not show what had been acknowledged before it.
    lost: Vec<String>,
    /// By worker: its node, and when its latest request that succeeded began.
    latest: Vec<(usize, Option<Instant>)>,
    /// By node: whether a client may connect.
    is_up: Vec<bool>,
    is_over: bool,
}

impl Load {
    /// Starts `per_node` workers at each node.
    pub fn start(nodes: &[SocketAddr], per_node: usize) -> Load {
        Load::start_with(nodes, per_node, 1)
    }

    /// The same, with numbers of at least so many digits, zeros in front.
    pub fn start_with(nodes: &[SocketAddr], per_node: usize, digits: usize) -> Load {
        let latest = (0..nodes.len() * per_node).map(|worker| (worker % nodes.len(), None));
        let book =
            Book { latest: latest.collect(), is_up: vec![true; nodes.len()], ..Book::default() };
        let ledger = Arc::new(Ledger { book: Mutex::new(book), grew: Condvar::new() });
        let workers = (0..nodes.len() * per_node).map(|worker| {
            let (ledger, node) = (Arc::clone(&ledger), worker % nodes.len());
            let address = nodes[node];
            thread::spawn(move || ledger.work(worker, node, address, digits))
        });
        let load = Load { workers: workers.collect(), ledger };
        load.await_success(|_| true, Instant::now());
        load
    }

    /// Tells the workers of `node` to wait, or to go on.
    pub fn set_up(&self, node: usize, is_up: bool) {
        self.ledger.lock().is_up[node] = is_up;
        self.ledger.grew.notify_all();
    }

    /// Waits until each worker of the nodes that `is_meant` had a request succeed that it began
    /// after `instant`.
    ///
    /// # Panics
    /// If patience runs out, with what failed last.
    pub fn await_success(&self, is_meant: impl Fn(usize) -> bool, instant: Instant) {
        let lacks = |book: &mut Book| {
            let mut meant = book.latest.iter().filter(|(node, _)| is_meant(*node));
            !book.is_over && !meant.all(|(_, at)| at.is_some_and(|at| at > instant))
        };
        let waited = self.ledger.grew.wait_timeout_while(self.ledger.lock(), PATIENCE, lacks);
        let (book, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let last = book.failed.last().cloned();
        drop(book);
        assert!(!timeout.timed_out(), "requests succeed no more: {last:?}");
    }

    /// Waits until `count` more writes are acknowledged.
    ///
    /// # Panics
    /// If patience runs out.
    pub fn await_acked(&self, count: u64) {
        let book = self.ledger.lock();
        let goal = book.acked_count + count;
        let lacks = |book: &mut Book| book.acked_count < goal;
        let waited = self.ledger.grew.wait_timeout_while(book, PATIENCE, lacks);
        let (book, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(book);
        assert!(!timeout.timed_out(), "writes succeed no more");
    }

    /// Writes acknowledged so far.
    pub fn acked_count(&self) -> u64 {
        self.ledger.lock().acked_count
    }

    /// Of each key the latest number that was acknowledged, and the latest that was sent.
    pub fn bounds(&self) -> BTreeMap<String, (u64, u64)> {
        let book = self.ledger.lock();
        let bounds = |(key, acked): (&String, &u64)| (key.clone(), (*acked, book.sent[key]));
        book.acked.iter().map(bounds).collect()
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> Vec<Failed> {
        self.ledger.lock().failed.clone()
    }

    /// Ends all workers and checks that no read missed what it should have shown. Gives the
    /// latest acknowledged number of each key.
    ///
    /// # Panics
    /// If one did, or a worker panicked.
    pub fn finish(mut self) -> BTreeMap<String, u64> {
        self.end();
        let book = self.ledger.lock();
        let (acked, lost) = (book.acked.clone(), book.lost.clone());
        drop(book);
        assert!(lost.is_empty(), "{lost:?}");
        acked
    }

    fn end(&mut self) {
        self.ledger.lock().is_over = true;
        self.ledger.grew.notify_all();
        for worker in self.workers.drain(..) {
            let ended = worker.join();
            assert!(ended.is_ok() || thread::panicking(), "a worker panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// The greatest number among the siblings of `key` in a read of R replicas.
///
/// # Errors
/// Those of the request.
pub fn newest(client: &mut Client, key: &str) -> RedisResult<Option<u64>> {
    let answer: Vec<Value> = client.ask(&format!("RM.GET {key}"))?;
    let siblings = answer.into_iter().skip(1).map(redis::from_redis_value::<u64>);
    Ok(siblings.collect::<Result<Vec<_>, _>>()?.into_iter().max())
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, worker: usize, node: usize, address: SocketAddr, digits: usize) {
        let mut client = None;
        for number in 1.. {
            let book = self.lock();
            let waits = |book: &mut Book| !book.is_up[node] && !book.is_over;
            let book = self.grew.wait_while(book, waits).unwrap_or_else(PoisonError::into_inner);
            if book.is_over {
                return;
            }
            drop(book);
            let key = format!("load-{worker}-{}", number % KEY_COUNT);
            let begun = Instant::now();
            let asked = match client.take() {
                Some(client) => Ok(client),
                None => Client::connect(address),
            };
            let result = asked.and_then(|mut connected| {
                let result = self.request(&mut connected, &key, number, digits);
                let is_usable = result.as_ref().err().is_none_or(|error| error.code().is_some());
                client = is_usable.then_some(connected);
                result
            });
            let mut book = self.lock();
            match result {
                Ok(()) => book.latest[worker].1 = Some(begun),
                Err(error) => book.failed.push(Failed { node, begun, error: error.to_string() }),
            }
            drop(book);
            self.grew.notify_all();
        }
    }

    /// One write, and a read that must show it.
    fn request(
        &self,
        client: &mut Client,
        key: &str,
        number: u64,
        digits: usize,
    ) -> RedisResult<()> {
        self.lock().sent.insert(key.into(), number);
        client.ask::<()>(&format!("SET {key} {number:0>digits$}"))?;
        let mut book = self.lock();
        book.acked.insert(key.into(), number);
        book.acked_count += 1;
        drop(book);
        let found: Option<u64> = client.ask(&format!("GET {key}"))?;
        if found.is_none_or(|found| found < number) {
            self.lock().lost.push(format!("{key}: {number} was acknowledged, {found:?} is read"));
        }
        Ok(())
    }
}
