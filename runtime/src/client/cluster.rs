//! A client of a whole cluster for programs on glommio: many tasks ask, one connection per shard
//! carries what they ask at the same time.
//!
//! ```no_run
//! use glommio::LocalExecutorBuilder;
//! use ringmain_runtime::client::{ClusterClient, Options};
//!
//! let program = LocalExecutorBuilder::default().spawn(|| async {
//!     let seeds = ["127.0.0.1:7400".parse().expect("an address")];
//!     let client = ClusterClient::connect(&seeds, Options::default()).await?;
//!     let cart = client.get(b"cart").await?;
//!     client.put(b"cart", &cart.context, b"apples").await?;
//!     Ok::<_, ringmain_runtime::client::ClientError>(())
//! });
//! program.expect("an executor").join().expect("no panic").expect("a cluster that answers");
//! ```
//!
//! What tasks ask before the executor comes to the task that sends goes with one call. A request
//! whose future is dropped is given up: of a write, nobody learns what came of it.

mod tasks;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use ahash::AHashMap;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest};
use ringmain_core::wire::reply::Reply;

use self::tasks::Connection;
use super::resolve::{RESOLVE_COUNT_MAX, Step, get_request, put_request};
use super::router::{Options, Router, Ticket};
use super::{ClientError, Found, One, Resolve, Stored, Value};

/// See the module. Clones are the same client; it lives as long as one of them.
#[derive(Clone)]
pub struct ClusterClient {
    handle: Rc<Handle>,
}

/// The connections end with it.
struct Handle {
    inner: Rc<Inner>,
}

/// What the tasks of a client share.
struct Inner {
    router: RefCell<Router>,
    waiting: RefCell<AHashMap<Ticket, Waiting>>,
    /// By the index of their link.
    connections: RefCell<Vec<Option<Rc<Connection>>>>,
    /// Who waits for room, or for the way.
    idlers: RefCell<Vec<Waker>>,
    has_timer: Cell<bool>,
    is_over: Cell<bool>,
    resolve: RefCell<Option<Box<Resolve>>>,
}

/// A request without an answer, or one that nobody took yet.
#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    answer: Option<Result<Reading, ClientError>>,
    is_read: bool,
}

/// An answer, as it was read.
enum Reading {
    Found(Found),
    Stored(Stored),
}

/// A request that is given up when its future is dropped.
struct Guard<'a> {
    inner: &'a Inner,
    ticket: Ticket,
}

impl ClusterClient {
    /// Connects to the first of `seeds`, native ports, that answers, and learns the way.
    ///
    /// # Errors
    /// If none of them answers within the time of a request; why the last one did not.
    ///
    /// # Panics
    /// As [`Router::new`], or outside of a glommio executor.
    pub async fn connect(
        seeds: &[SocketAddr],
        options: Options,
    ) -> Result<ClusterClient, ClientError> {
        let router = Router::new(seeds, options)?;
        let inner = Rc::new(Inner {
            router: RefCell::new(router),
            waiting: RefCell::default(),
            connections: RefCell::default(),
            idlers: RefCell::default(),
            has_timer: Cell::new(false),
            is_over: Cell::new(false),
            resolve: RefCell::default(),
        });
        let until = Instant::now() + options.timeout;
        inner.router.borrow_mut().begin(Instant::now());
        inner.act();
        let client = ClusterClient { handle: Rc::new(Handle { inner: inner.clone() }) };
        poll_fn(|context| {
            let router = inner.router.borrow();
            if router.is_settled() {
                return Poll::Ready(Ok(()));
            }
            if Instant::now() >= until {
                return Poll::Ready(Err(router.failure()));
            }
            // The timer wakes it, too.
            inner.idle(context.waker());
            Poll::Pending
        })
        .await?;
        Ok(client)
    }

    /// Siblings are made one by `resolve` in [`ClusterClient::get_one`] and
    /// [`ClusterClient::update`], of all clones. Without it, the one that a plain GET would
    /// show is taken, and the others go with the next write.
    #[must_use]
    pub fn with_resolver(
        self,
        resolve: impl FnMut(&[u8], &[Value]) -> Vec<u8> + 'static,
    ) -> ClusterClient {
        *self.handle.inner.resolve.borrow_mut() = Some(Box::new(resolve));
        self
    }

    /// Reads all siblings of a key, and their context.
    ///
    /// # Errors
    /// Any of [`ClientError`]; not found is none.
    pub async fn get(&self, key: &[u8]) -> Result<Found, ClientError> {
        self.get_with(key, &get_request()).await
    }

    /// Likewise, as asked.
    ///
    /// # Errors
    /// As [`ClusterClient::get`].
    pub async fn get_with(
        &self,
        key: &[u8],
        request: &GetRequest<'_>,
    ) -> Result<Found, ClientError> {
        let begin = |router: &mut Router| router.get(key, request, Instant::now());
        match self.handle.inner.ask(true, begin).await? {
            Reading::Found(found) => Ok(found),
            Reading::Stored(_) => unreachable!("it is a read"),
        }
    }

    /// Writes a key; what `context` covers is replaced.
    ///
    /// # Errors
    /// As [`ClusterClient::put_with`].
    pub async fn put(
        &self,
        key: &[u8],
        context: &[u8],
        value: &[u8],
    ) -> Result<Stored, ClientError> {
        self.put_with(key, &put_request(context, Content::Value { expires: None, value })).await
    }

    /// Deletes what `context` covers.
    ///
    /// # Errors
    /// As [`ClusterClient::put_with`].
    pub async fn delete(&self, key: &[u8], context: &[u8]) -> Result<Stored, ClientError> {
        self.put_with(key, &put_request(context, Content::Tombstone)).await
    }

    /// Writes as asked.
    ///
    /// # Errors
    /// Any of [`ClientError`]. `NoQuorum`, `Lost` and `TimedOut` leave the outcome unknown.
    pub async fn put_with(
        &self,
        key: &[u8],
        request: &PutRequest<'_>,
    ) -> Result<Stored, ClientError> {
        let begin = |router: &mut Router| router.put(key, request, Instant::now());
        match self.handle.inner.ask(false, begin).await? {
            Reading::Stored(stored) => Ok(stored),
            Reading::Found(_) => unreachable!("it is a write"),
        }
    }

    /// Reads the one value of a key. Siblings are made one first by the resolver, and that is
    /// written back, without an expiry; if it cannot be, the next reader will.
    ///
    /// # Errors
    /// As [`ClusterClient::get`].
    pub async fn get_one(&self, key: &[u8]) -> Result<One, ClientError> {
        let mut count = 0;
        loop {
            let found = self.get(key).await?;
            let step = Step::of(key, found, self.handle.inner.resolve.borrow_mut().as_deref_mut());
            let one = match step {
                Step::Done(one) => return Ok(one),
                Step::WriteBack(one) => one,
            };
            count += 1;
            let value = one.value.as_deref().unwrap_or_default();
            match self.put(key, &one.context, value).await {
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
    /// As [`ClusterClient::put_with`].
    pub async fn update(
        &self,
        key: &[u8],
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Stored, ClientError> {
        let one = self.get_one(key).await?;
        match change(one.value.as_deref()) {
            Some(value) => self.put(key, &one.context, &value).await,
            None => self.delete(key, &one.context).await,
        }
    }
}

impl Inner {
    /// One request, from its beginning to its end.
    async fn ask(
        self: &Rc<Inner>,
        is_read: bool,
        begin: impl Fn(&mut Router) -> Result<Ticket, ClientError>,
    ) -> Result<Reading, ClientError> {
        let ticket = poll_fn(|context| {
            let mut router = self.router.borrow_mut();
            match begin(&mut router) {
                Err(ClientError::Full) if router.in_flight() > 0 => {
                    self.idle(context.waker());
                    Poll::Pending
                }
                begun => Poll::Ready(begun),
            }
        })
        .await?;
        self.waiting.borrow_mut().insert(ticket, Waiting { is_read, ..Waiting::default() });
        let guard = Guard { inner: self, ticket };
        self.act();
        poll_fn(|context| {
            let mut waiting = self.waiting.borrow_mut();
            let known = waiting.get_mut(&guard.ticket).expect("it is taken once");
            match known.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    known.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Wakes who calls, when anything has happened.
    fn idle(&self, waker: &Waker) {
        let mut idlers = self.idlers.borrow_mut();
        if !idlers.iter().any(|idler| idler.will_wake(waker)) {
            idlers.push(waker.clone());
        }
    }

    /// Has the router do something, and hands out what became of requests by that.
    fn with_router(
        self: &Rc<Inner>,
        step: impl FnOnce(&mut Router, &mut dyn FnMut(Ticket, Result<Reply<'_>, ClientError>)),
    ) {
        let mut done = |ticket, reply: Result<Reply<'_>, ClientError>| {
            let mut waiting = self.waiting.borrow_mut();
            let known = waiting.get_mut(&ticket).expect("who gives up tells the router");
            known.answer = Some(reply.map(|reply| match known.is_read {
                true => Reading::Found(Found::of(&reply)),
                false => Reading::Stored(Stored::of(&reply)),
            }));
            known.waker.take().into_iter().for_each(Waker::wake);
        };
        step(&mut self.router.borrow_mut(), &mut done);
        self.idlers.borrow_mut().drain(..).for_each(Waker::wake);
        self.act();
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.inner.waiting.borrow_mut().remove(&self.ticket);
        self.inner.router.borrow_mut().forget(self.ticket);
        self.inner.idlers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let router = self.handle.inner.router.borrow();
        f.debug_struct("ClusterClient").field("router", &router).finish_non_exhaustive()
    }
}
