//! Clients that read, modify and write keys that they share, and the proof that no acknowledged
//! write is lost: it is still there, or a later one has seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::{RedisResult, Value};

use super::{Client, PATIENCE};

/// How long a client waits for a node, which may be stopped, before it asks another: longer than a
/// request may take. With more, all of them would wait for that node in the end.
const CLIENT_PATIENCE: Duration = Duration::from_secs(3);

/// A pause behind what failed, so that a node that is away is not all that is asked.
const PAUSE: Duration = Duration::from_millis(5);

/// The clients.
pub struct Modifiers {
    book: Arc<(Mutex<Book>, Condvar)>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    /// By key and value, what its writer had read: the write replaces that.
    seen: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Values whose writes were acknowledged, by key.
    acked: BTreeMap<String, BTreeSet<String>>,
    acked_count: u64,
    failed_count: u64,
    /// What the last request that failed was told.
    last_error: String,
    is_over: bool,
}

impl Modifiers {
    /// Starts `count` clients that share the keys `shared-0` to `shared-{key_count - 1}`, and ask
    /// the nodes in turn.
    pub fn start(nodes: &[SocketAddr], count: usize, key_count: u64) -> Modifiers {
        let book = Arc::new((Mutex::default(), Condvar::new()));
        let clients = (0..count).map(|client| {
            let (book, nodes) = (Arc::clone(&book), nodes.to_vec());
            thread::spawn(move || work(&book, client, &nodes, key_count))
        });
        Modifiers { clients: clients.collect(), book }
    }

    /// Waits until `count` more writes are acknowledged.
    ///
    /// # Panics
    /// If patience runs out.
    pub fn await_acked(&self, count: u64) {
        let (book, grew) = &*self.book;
        let book = lock(book);
        let goal = book.acked_count + count;
        let waited = grew.wait_timeout_while(book, PATIENCE, |book| book.acked_count < goal);
        let (book, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let last = book.last_error.clone();
        drop(book);
        assert!(!timeout.timed_out(), "writes succeed no more: {last}");
    }

    /// Ends all clients. How many writes were acknowledged, and how many requests failed.
    ///
    /// # Panics
    /// If a client panicked.
    pub fn finish(&mut self) -> (u64, u64) {
        lock(&self.book.0).is_over = true;
        for client in self.clients.drain(..) {
            let ended = client.join();
            assert!(ended.is_ok() || thread::panicking(), "a client panicked");
        }
        let book = lock(&self.book.0);
        (book.acked_count, book.failed_count)
    }

    /// The keys.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.book.0).seen.keys().cloned().collect()
    }

    /// Acknowledged values of `key` that are neither among `live` nor replaced by another write.
    pub fn lost(&self, key: &str, live: &BTreeSet<String>) -> Vec<String> {
        let book = lock(&self.book.0);
        let replaced: BTreeSet<&String> =
            book.seen.get(key).into_iter().flat_map(|writes| writes.values()).flatten().collect();
        let acked = book.acked.get(key).into_iter().flatten();
        let lost = acked.filter(|value| !live.contains(*value) && !replaced.contains(value));
        lost.cloned().collect()
    }
}

impl Drop for Modifiers {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The context and the values of `key`, as `RM.GET` answers with `words` behind it.
///
/// # Errors
/// Those of the request.
pub fn siblings(
    client: &mut Client,
    key: &str,
    words: &str,
) -> RedisResult<(String, BTreeSet<String>)> {
    let mut answer: Vec<Value> = client.ask(format!("RM.GET {key} {words}").trim_end())?;
    let values = answer.split_off(1).into_iter().map(redis::from_redis_value);
    let values = values.collect::<Result<BTreeSet<String>, _>>()?;
    // Nothing has been seen of a key that is not there.
    let context: Option<Option<String>> = answer.pop().map(redis::from_redis_value).transpose()?;
    Ok((context.flatten().unwrap_or_else(|| "-".into()), values))
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(
    (book, grew): &(Mutex<Book>, Condvar),
    client: usize,
    nodes: &[SocketAddr],
    key_count: u64,
) {
    let mut connected: Option<Client> = None;
    for number in 0_u64.. {
        if lock(book).is_over {
            return;
        }
        let key = format!("shared-{}", (number * 7 + client as u64 * 3) % key_count);
        let value = format!("{client}-{number}");
        // After what failed, another node is asked.
        let asked = match connected.take() {
            Some(client) => Ok(client),
            None => {
                let node = nodes[(client + number as usize) % nodes.len()];
                Client::connect_within(node, CLIENT_PATIENCE)
            }
        };
        let result = asked.and_then(|mut asked| {
            let (context, seen) = siblings(&mut asked, &key, "")?;
            {
                let writes = &mut lock(book).seen;
                writes.entry(key.clone()).or_default().insert(value.clone(), seen);
            }
            asked.ask::<Value>(&format!("RM.PUT {key} {context} {value}"))?;
            connected = Some(asked);
            Ok(())
        });
        let mut book = lock(book);
        match result {
            Ok(()) => {
                book.acked_count += 1;
                book.acked.entry(key).or_default().insert(value);
                grew.notify_all();
            }
            Err(error) => {
                book.failed_count += 1;
                book.last_error = error.to_string();
                drop(book);
                thread::park_timeout(PAUSE);
            }
        }
    }
}
