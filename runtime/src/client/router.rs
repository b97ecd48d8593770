//! A client of a whole cluster without its I/O: whom to ask what, and what came of it.
//!
//! *Problem.* Any shard of any node answers for every key, but only an owner coordinates, and only
//! the shard that holds the key's partition; asked elsewhere, a request takes a hop or two more.
//! *Answer.* A router learns who coordinates what (ROUTES), keeps a connection to every shard that
//! it needs, and sends each request to the first coordinator of its key that answers; the others
//! come next. What it knows is checked every [`REFRESH_INTERVAL`], and at once when an answer was
//! given by another topology. It makes no system call: [`ClusterClient`](super::ClusterClient) and
//! [`blocking::ClusterClient`](super::blocking::ClusterClient) move its bytes.
//!
//! A read that fails is asked again elsewhere until its time is over, and of another coordinator,
//! too, when it takes long: the first answer holds. A write goes elsewhere only if it was refused
//! before anything was stored, or none of it was sent: what else was sent may have happened, and
//! done twice it would leave a sibling.
//!
//! ```text
//! Waits ── route ──► Queued ── on_stands ──► Asked ── on_reply ──► done
//!   ▲       │                                  ▲ │
//!   │       └────── the link stands ───────────┘ │
//!   └── nobody left: the next tick ◄── refused, lost ── or the time is over: done
//! ```
//!
//! Invariants: every request ends, once, at its deadline and a tick at the latest; no more than
//! [`Options::requests_max`] and [`REQUEST_BYTES_MAX`] are in flight. Source: Dynamo §6.4 (client-
//! driven coordination).

mod answers;
mod link;
mod routing;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use ringmain_core::id::{NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ringmain_core::prng::Prng;
use ringmain_core::wire::CONTEXT_BYTES_MAX;
use ringmain_core::wire::body::{body_bytes, write_body};
use ringmain_core::wire::frame::Hop;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::hello::Cluster;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_core::wire::reply::{Reply, Status};

use self::link::{Link, State};
use self::slots::{Slots, Stage};
use self::table::Table;
use super::{ClientError, HANDSHAKE_TIMEOUT, hello_of_client};
use crate::checksum::Hardware;
use crate::data_dir::random_bytes;
use crate::session::native::frames::Pause;

pub use self::slots::Ticket;

/// How old routes may become before they are checked again.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Least time between two checks when somebody could not be reached: his address is looked for.
pub const REFRESH_ALL_PAUSE: Duration = Duration::from_secs(1);
/// Least time between two checks.
pub const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// Longest time that a request may be given: as long as a node ever takes.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Most bytes of requests in flight.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Ticks in the time of a request: so exact are deadlines, and so often is what could not be asked
/// tried again.
const TICKS: u32 = 16;
/// Longest tick.
const TICK_MAX: Duration = Duration::from_millis(100);
/// So much of its time a read waits for one coordinator before it asks another one, too.
const PATIENCES: u32 = 4;
/// The bit of all that are asked because no coordinator answers.
const TRIED_OTHERS: u16 = 1 << 15;

/// How a cluster is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// How long a request may take with all its attempts, at most [`TIMEOUT_MAX`]. Nodes give up
    /// after their own time-out in any case.
    pub timeout: Duration,
    /// Most requests in flight.
    pub requests_max: usize,
    /// Connections to each shard, at least 1: a node reads no more than 64 unanswered requests of
    /// one.
    pub connections: u16,
}

impl Default for Options {
    /// A second, 4096 requests, one connection to each shard.
    fn default() -> Options {
        Options { timeout: Duration::from_secs(1), requests_max: 4096, connections: 1 }
    }
}

/// One connection of a router. Each that is dialed has an id of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LinkId {
    index: u32,
    dial: u32,
}

impl LinkId {
    /// Small, and never that of two connections at once.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// What has to be done for a router.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Connect, then [`Router::on_connected`] or [`Router::on_lost`].
    Dial(LinkId, SocketAddr),
    /// Send what [`Router::take_output`] gives; said once until that is called.
    Send(LinkId),
    /// Close it. Nothing more may be said of it.
    HangUp(LinkId),
}

/// Takes what became of a request.
pub type Done<'d> = dyn FnMut(Ticket, Result<Reply<'_>, ClientError>) + 'd;

/// See the module. After anything that is called, actions are to be taken.
#[derive(Debug)]
pub struct Router {
    options: Options,
    /// Links of the nodes that were named first: the first so many.
    seed_count: usize,
    next_seed: usize,
    links: Vec<Link>,
    /// By shard, and which of its connections.
    places: AHashMap<(NodeId, ShardIndex, u16), usize>,
    cluster: Option<Cluster>,
    table: Option<Table>,
    /// When routes were asked for last.
    asked_at: Option<Instant>,
    /// They are to be told, however little has changed: an address does not hold.
    needs_all: bool,
    slots: Slots,
    actions: VecDeque<Action>,
    tick_at: Option<Instant>,
    /// It was to begin, and whether that was successful.
    has_begun: bool,
    is_told: bool,
    failure: Option<ClientError>,
    prng: Prng,
}

impl Router {
    /// Of the cluster that the nodes at `seeds`, native ports, belong to.
    ///
    /// # Errors
    /// [`ClientError::NoRandom`].
    ///
    /// # Panics
    /// If there are no seeds, or an option is out of its bounds.
    pub fn new(seeds: &[SocketAddr], options: Options) -> Result<Router, ClientError> {
        assert!(!seeds.is_empty());
        assert!(!options.timeout.is_zero());
        assert!(options.timeout <= TIMEOUT_MAX);
        assert!(options.requests_max > 0);
        assert!(options.connections > 0);
        let seed = random_bytes().map_err(|_| no_random())?;
        let links = seeds.iter().map(|address| Link::new(*address, ShardIndex(0), None));
        Ok(Router {
            options,
            seed_count: seeds.len(),
            next_seed: 0,
            links: links.collect(),
            places: AHashMap::new(),
            cluster: None,
            table: None,
            asked_at: None,
            needs_all: false,
            slots: Slots::default(),
            actions: VecDeque::new(),
            tick_at: None,
            has_begun: false,
            is_told: false,
            failure: None,
            prng: Prng::new(u128::from_le_bytes(seed) as u64),
        })
    }

    /// Begins to learn the way before there is a request.
    pub fn begin(&mut self, now: Instant) {
        self.has_begun = true;
        self.tick_at.get_or_insert(now + self.tick());
        self.seed(now);
    }

    /// As it was made.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether a node has told the way, or that it does not know it.
    pub fn is_settled(&self) -> bool {
        self.is_told
    }

    /// Why a connection was lost last.
    pub fn failure(&self) -> ClientError {
        self.failure.as_ref().map_or(ClientError::TimedOut, ClientError::again)
    }

    /// Requests without an answer.
    pub fn in_flight(&self) -> usize {
        self.slots.count()
    }

    /// Asks for a key.
    ///
    /// # Errors
    /// [`ClientError::Full`]; `TooLarge` or `Malformed`, as a node would say it, of what fits no
    /// frame.
    pub fn get(
        &mut self,
        key: &[u8],
        request: &GetRequest<'_>,
        now: Instant,
    ) -> Result<Ticket, ClientError> {
        check(key, request.context, &[])?;
        self.submit(Op::Get, key, request, now)
    }

    /// Writes or deletes a key.
    ///
    /// # Errors
    /// As [`Router::get`].
    pub fn put(
        &mut self,
        key: &[u8],
        request: &PutRequest<'_>,
        now: Instant,
    ) -> Result<Ticket, ClientError> {
        let context = match request.replaces {
            Replaces::Given(context) => context,
            Replaces::Local | Replaces::ReadFirst { .. } => &[],
        };
        let value = match request.content {
            Content::Value { value, .. } | Content::ValueOnly { value } => value,
            Content::Tombstone | Content::ExpiryOnly { .. } => &[],
        };
        check(key, context, value)?;
        self.submit(Op::Put, key, request, now)
    }

    fn submit(
        &mut self,
        op: Op,
        key: &[u8],
        payload: &impl Payload,
        now: Instant,
    ) -> Result<Ticket, ClientError> {
        let length = body_bytes(key.len(), payload.bytes());
        // One that is too long alone is told so by the first node that hears of it.
        let is_full = self.slots.count() >= self.options.requests_max
            || self.slots.count() > 0 && self.slots.bytes() + length > REQUEST_BYTES_MAX;
        if is_full {
            return Err(ClientError::Full);
        }
        let Options { timeout, .. } = self.options;
        let times = (now + timeout / PATIENCES, now + timeout);
        let slot = self.slots.insert((op, key.len()), times, length, |out| {
            write_body::<Hardware>(key, out, |rest| payload.write(rest));
        });
        self.tick_at.get_or_insert(now + self.tick());
        self.refresh(now, None);
        self.route(slot, now);
        Ok(self.slots.ticket(slot))
    }

    /// Gives a request up: it has no end any more. One that has ended is nobody's.
    pub fn forget(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.index(ticket) {
            self.withdraw(slot);
            self.slots.remove(slot);
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Router::on_time`] is to be called; `None` while nothing waits.
    pub fn next_time(&self) -> Option<Instant> {
        self.tick_at
    }

    /// A connection stands.
    pub fn on_connected(&mut self, link: LinkId, now: Instant, done: &mut Done<'_>) {
        let Some(index) = self.current(link) else { return };
        let nonce = match random_bytes() {
            Ok(nonce) => nonce,
            Err(_) => {
                self.actions.push_back(Action::HangUp(link));
                return self.lose(index, now, &no_random(), done);
            }
        };
        let known = self.cluster.map(|cluster| cluster.id);
        let hello = hello_of_client(self.links[index].shard, nonce, known);
        let hop = Hop {
            op: Op::Hello,
            request: RequestId(0),
            deadline_ms: 0,
            sent_ms: 0,
            topology: TopologyId(0),
            cluster_digest: 0,
        };
        self.links[index].greet(&hop, &hello);
        self.flag(index);
    }

    /// A connection is gone, or could not be made.
    pub fn on_lost(&mut self, link: LinkId, error: io::Error, now: Instant, done: &mut Done<'_>) {
        let Some(index) = self.current(link) else { return };
        let error = match self.links[index].state {
            State::Dialing(_) => ClientError::Unreachable(error),
            _ => ClientError::Lost(error),
        };
        self.lose(index, now, &error, done);
    }

    /// Takes what is to be sent, in exchange for an empty buffer.
    ///
    /// # Panics
    /// If `buffer` is not empty.
    pub fn take_output(&mut self, link: LinkId, buffer: &mut Vec<u8>) {
        if let Some(index) = self.current(link) {
            self.links[index].take_output(buffer);
        }
    }

    /// Bytes came.
    pub fn on_received(&mut self, link: LinkId, bytes: &[u8], now: Instant, done: &mut Done<'_>) {
        let Some(index) = self.current(link) else { return };
        let Some(mut reader) = self.links[index].reader.take() else { return };
        self.links[index].hear(now);
        let mut failure = None;
        let fed = reader.feed(bytes, |frame| match self.on_frame(index, &frame, now, done) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(Pause::After)
            }
        });
        self.links[index].reader = Some(reader);
        let failure = failure.or(fed.err().map(ClientError::Foreign));
        if let Some(error) = failure {
            self.actions.push_back(Action::HangUp(link));
            self.lose(index, now, &error, done);
        }
    }

    /// Time has come: ends what is over, and tries again what could not be asked.
    pub fn on_time(&mut self, now: Instant, done: &mut Done<'_>) {
        if self.tick_at.is_none_or(|at| now < at) {
            return;
        }
        self.tick_at = None;
        for index in 0..self.links.len() {
            self.look_at_link(index, now, done);
        }
        self.refresh(now, None);
        for slot in self.slots.indices() {
            if self.slots.is_used(slot) {
                self.look_at_slot(slot, now, done);
            }
        }
        let is_beginning = self.has_begun && !self.is_told;
        if is_beginning {
            self.seed(now);
        }
        let is_greeting = |link: &Link| !matches!(link.state, State::Resting(_) | State::Ready);
        if self.slots.count() > 0 || is_beginning || self.links.iter().any(is_greeting) {
            self.tick_at = Some(now + self.tick());
        }
    }

    fn tick(&self) -> Duration {
        (self.options.timeout / TICKS).min(TICK_MAX)
    }

    /// The connection of that name, unless it is gone.
    fn current(&self, link: LinkId) -> Option<usize> {
        let known = self.links.get(link.index())?;
        let is_gone = matches!(known.state, State::Resting(_)) || known.dials != link.dial;
        (!is_gone).then_some(link.index())
    }

    fn id(&self, index: usize) -> LinkId {
        LinkId { index: index as u32, dial: self.links[index].dials }
    }

    /// A link may have output.
    fn flag(&mut self, index: usize) {
        if self.links[index].flag() {
            self.actions.push_back(Action::Send(self.id(index)));
        }
    }

    fn look_at_link(&mut self, index: usize, now: Instant, done: &mut Done<'_>) {
        let link = &self.links[index];
        let is_dead = match link.state {
            State::Dialing(since) | State::Greeting(since) => {
                now.saturating_duration_since(since) >= self.options.timeout.min(HANDSHAKE_TIMEOUT)
            }
            // A node may take all the time that it was given, and a while to say so.
            State::Ready => link.silence(now) > 2 * self.options.timeout,
            State::Resting(_) => return,
        };
        let is_idle = link.sent.is_empty() && link.queue.is_empty();
        if is_dead || is_idle && !self.is_wanted(index) {
            self.actions.push_back(Action::HangUp(self.id(index)));
            self.lose(index, now, &ClientError::TimedOut, done);
        }
    }

    fn look_at_slot(&mut self, slot: usize, now: Instant, done: &mut Done<'_>) {
        let known = self.slots.at_mut(slot);
        if now >= known.deadline {
            let is_unknown = !known.attempts.is_empty() && !known.is_read();
            let failure = known.failure.take().filter(|_| !is_unknown);
            return self.end(slot, failure.unwrap_or(ClientError::TimedOut), done);
        }
        let is_late = now >= known.patience;
        match known.stage {
            Stage::Waits => {
                known.tried = 0;
                self.route(slot, now);
            }
            // None of it was sent.
            Stage::Queued(_) if is_late => {
                known.patience = now + self.options.timeout / PATIENCES;
                self.withdraw(slot);
                self.route(slot, now);
            }
            Stage::Asked if is_late && known.is_read() => {
                known.patience = now + self.options.timeout / PATIENCES;
                self.route(slot, now);
            }
            Stage::Queued(_) | Stage::Asked => {}
        }
    }
}

/// Refuses what no frame can carry.
fn check(key: &[u8], context: &[u8], value: &[u8]) -> Result<(), ClientError> {
    let refused = |status| Err(ClientError::Failed { status, needed: 0, got: 0 });
    if key.is_empty() {
        return refused(Status::Malformed);
    }
    if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        return refused(Status::TooLarge);
    }
    if context.len() > CONTEXT_BYTES_MAX { refused(Status::BadContext) } else { Ok(()) }
}

fn no_random() -> ClientError {
    ClientError::NoRandom(io::Error::other("none"))
}
