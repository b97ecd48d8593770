//! A client of a whole cluster that blocks: on std alone, for programs with threads of their own.
//!
//! ```no_run
//! use ringmain_runtime::client::Options;
//! use ringmain_runtime::client::blocking::ClusterClient;
//!
//! # fn main() -> Result<(), ringmain_runtime::client::ClientError> {
//! let seeds = ["127.0.0.1:7400".parse().expect("an address")];
//! let mut client = ClusterClient::connect(&seeds, Options::default())?;
//! let cart = client.get(b"cart")?;
//! client.put(b"cart", &cart.context, b"apples")?;
//! # Ok(())
//! # }
//! ```
//!
//! Many requests at a time go through [`ClusterClient::submit_get`] and its like: their answers
//! are taken with [`ClusterClient::wait`], in any order.

mod sockets;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest};
use ringmain_core::wire::reply::Reply;

pub use self::sockets::Sockets;
use self::sockets::WAIT_MAX;
use super::resolve::{RESOLVE_COUNT_MAX, Step, get_request, put_request};
use super::router::{Options, Router, Ticket};
use super::{ClientError, Found, One, Resolve, Stored, Value};

/// Answers that may have been taken before their order is tidied.
const ORDER_COUNT_KEPT: usize = 64;

/// See the module. One thread's: give each its own.
pub struct ClusterClient {
    router: Router,
    sockets: Sockets,
    ended: Ended,
    resolve: Option<Box<Resolve>>,
}

/// What a request came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Of a read.
    Found(Found),
    /// Of a write.
    Stored(Stored),
}

/// An answer, or why there is none.
pub type Outcome = Result<Answer, ClientError>;

/// Requests that have ended and were not told of, in that order.
#[derive(Debug, Default)]
struct Ended {
    /// Whether those in flight are reads.
    reads: HashMap<Ticket, bool>,
    order: VecDeque<Ticket>,
    answers: HashMap<Ticket, Outcome>,
}

impl ClusterClient {
    /// Connects to the first of `seeds`, native ports, that answers, and learns the way.
    ///
    /// # Errors
    /// If none of them answers within the time of a request; why the last one did not.
    ///
    /// # Panics
    /// As [`Router::new`].
    pub fn connect(seeds: &[SocketAddr], options: Options) -> Result<ClusterClient, ClientError> {
        let (mut router, mut sockets) = (Router::new(seeds, options)?, Sockets::new());
        sockets.connect(&mut router)?;
        let (ended, resolve) = (Ended::default(), None);
        Ok(ClusterClient { router, sockets, ended, resolve })
    }

    /// Siblings are made one by `resolve` in [`ClusterClient::get_one`] and
    /// [`ClusterClient::update`]. Without it, the one that a plain GET would show is taken, and the
    /// others go with the next write.
    #[must_use]
    pub fn with_resolver(
        mut self,
        resolve: impl FnMut(&[u8], &[Value]) -> Vec<u8> + 'static,
    ) -> ClusterClient {
        self.resolve = Some(Box::new(resolve));
        self
    }

    /// Reads all siblings of a key, and their context.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`]; not found is none.
    pub fn get(&mut self, key: &[u8]) -> Result<Found, ClientError> {
        self.get_with(key, &get_request())
    }

    /// Likewise, as asked.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`].
    pub fn get_with(&mut self, key: &[u8], request: &GetRequest<'_>) -> Result<Found, ClientError> {
        let ticket = self.submit_get(key, request)?;
        match self.wait(ticket)? {
            Answer::Found(found) => Ok(found),
            Answer::Stored(_) => unreachable!("it is a read"),
        }
    }

    /// Writes a key; what `context` covers is replaced.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`].
    pub fn put(&mut self, key: &[u8], context: &[u8], value: &[u8]) -> Result<Stored, ClientError> {
        self.put_with(key, &put_request(context, Content::Value { expires: None, value }))
    }

    /// Deletes what `context` covers.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`].
    pub fn delete(&mut self, key: &[u8], context: &[u8]) -> Result<Stored, ClientError> {
        self.put_with(key, &put_request(context, Content::Tombstone))
    }

    /// Writes as asked.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`].
    pub fn put_with(
        &mut self,
        key: &[u8],
        request: &PutRequest<'_>,
    ) -> Result<Stored, ClientError> {
        let ticket = self.submit_put(key, request)?;
        match self.wait(ticket)? {
            Answer::Stored(stored) => Ok(stored),
            Answer::Found(_) => unreachable!("it is a write"),
        }
    }

    /// Reads the one value of a key. Siblings are made one first by the resolver, and that is
    /// written back, without an expiry; if it cannot be, the next reader will.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`], of the read.
    pub fn get_one(&mut self, key: &[u8]) -> Result<One, ClientError> {
        let mut count = 0;
        loop {
            let found = self.get(key)?;
            let one = match Step::of(key, found, self.resolve.as_deref_mut()) {
                Step::Done(one) => return Ok(one),
                Step::WriteBack(one) => one,
            };
            count += 1;
            let value = one.value.as_deref().unwrap_or_default();
            match self.put(key, &one.context, value) {
                Ok(Stored { context: Some(context), .. }) => return Ok(One { context, ..one }),
                // Others write: see what they wrote.
                Ok(_) if count < RESOLVE_COUNT_MAX => {}
                Ok(_) | Err(_) => return Ok(one),
            }
        }
    }

    /// Reads the one value of a key and writes what `change` makes of it; `None` is no value, or to
    /// delete it. What others write at the same time stays beside it.
    ///
    /// # Errors
    /// As [`ClusterClient::wait`].
    pub fn update(
        &mut self,
        key: &[u8],
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Stored, ClientError> {
        let one = self.get_one(key)?;
        match change(one.value.as_deref()) {
            Some(value) => self.put(key, &one.context, &value),
            None => self.delete(key, &one.context),
        }
    }

    /// Begins a read: it is sent with the next wait, for this request or any. While too many
    /// requests are in flight, it waits for some to end.
    ///
    /// # Errors
    /// As [`Router::get`]; `Full` if as many have ended, and nobody took their answers.
    pub fn submit_get(
        &mut self,
        key: &[u8],
        request: &GetRequest<'_>,
    ) -> Result<Ticket, ClientError> {
        self.submit(true, |router| router.get(key, request, Instant::now()))
    }

    /// Begins a write.
    ///
    /// # Errors
    /// As [`ClusterClient::submit_get`].
    pub fn submit_put(
        &mut self,
        key: &[u8],
        request: &PutRequest<'_>,
    ) -> Result<Ticket, ClientError> {
        self.submit(false, |router| router.put(key, request, Instant::now()))
    }

    fn turn(&mut self) -> Result<(), ClientError> {
        let ended = &mut self.ended;
        let done = &mut |ticket, reply: Result<Reply<'_>, ClientError>| ended.take(ticket, reply);
        self.sockets.turn(&mut self.router, WAIT_MAX, done).map_err(ClientError::Lost)
    }

    fn submit(
        &mut self,
        is_read: bool,
        begin: impl Fn(&mut Router) -> Result<Ticket, ClientError>,
    ) -> Result<Ticket, ClientError> {
        let ended = &mut self.ended;
        let done = &mut |ticket, reply: Result<Reply<'_>, ClientError>| ended.take(ticket, reply);
        self.sockets.look(&mut self.router, done).map_err(ClientError::Lost)?;
        if self.ended.answers.len() >= self.router.options().requests_max {
            return Err(ClientError::Full);
        }
        loop {
            match begin(&mut self.router) {
                Ok(ticket) => {
                    self.ended.reads.insert(ticket, is_read);
                    return Ok(ticket);
                }
                Err(ClientError::Full) if self.router.in_flight() > 0 => self.turn()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the end of a request.
    ///
    /// # Errors
    /// Any. `NoQuorum`, `Lost` and `TimedOut` leave the outcome of a write unknown.
    ///
    /// # Panics
    /// If it was waited for before.
    pub fn wait(&mut self, ticket: Ticket) -> Result<Answer, ClientError> {
        loop {
            if let Some(answer) = self.ended.answers.remove(&ticket) {
                self.ended.tidy();
                return answer;
            }
            assert!(self.ended.reads.contains_key(&ticket), "it has ended, and was told");
            self.turn()?;
        }
    }

    /// Waits for the end of any request; `None` if there are none.
    ///
    /// # Errors
    /// If this host cannot wait for sockets.
    pub fn wait_any(&mut self) -> Result<Option<(Ticket, Outcome)>, ClientError> {
        loop {
            while let Some(ticket) = self.ended.order.pop_front() {
                // Else it was waited for by its name.
                if let Some(answer) = self.ended.answers.remove(&ticket) {
                    return Ok(Some((ticket, answer)));
                }
            }
            if self.router.in_flight() == 0 {
                return Ok(None);
            }
            self.turn()?;
        }
    }
}

impl Ended {
    /// Forgets the order of answers that were taken, once these are most.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.answers.len() + ORDER_COUNT_KEPT {
            self.order.retain(|ticket| self.answers.contains_key(ticket));
        }
    }

    fn take(&mut self, ticket: Ticket, reply: Result<Reply<'_>, ClientError>) {
        let is_read = self.reads.remove(&ticket).expect("it is in flight");
        let answer = reply.map(|reply| match is_read {
            true => Answer::Found(Found::of(&reply)),
            false => Answer::Stored(Stored::of(&reply)),
        });
        self.order.push_back(ticket);
        self.answers.insert(ticket, answer);
    }
}

impl fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterClient").field("router", &self.router).finish_non_exhaustive()
    }
}
