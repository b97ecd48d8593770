//! The loop body that every driver of a [`Shard`] shares: the server's, the simulator's, yours.
//!
//! The machine decides without seeing bytes. A [`Turn`] puts the bytes to its decisions: it takes
//! a client's command or a peer's frame, feeds the machine, and does what the machine asks for
//! (read, apply, join, send, answer) against four things that the driver lends: a store
//! ([`Records`]), connections ([`Links`]), memory for requests that outlive their frame
//! ([`Bodies`]) and for operations whose record is not in memory ([`Waiting`]). Nothing is
//! allocated and nothing blocks.
//!
//! ```text
//! command or frame ─► Turn ─ Input ─► Shard ─ Output ─► Turn ─► Records, Links, Bodies
//!            cold │    ▲                ▲                 │
//!                 ▼    │ resume         └─ Input (result)─┘   until both are quiet
//!               Waiting
//! ```

mod act;
mod answer;
mod compact;
mod exchange;
mod frame;
mod gather;
mod handoff;
mod hints;
mod kept;
mod park;
mod probe;
mod scan;
mod survey;
mod waiting;
mod write;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Token};
pub use waiting::{End, Late, NeverCold, NoRoom, Parked, Waiter, Waiting};

use crate::causality;
use crate::checksum::Checksum;
use crate::exchange::{Finished, Session, Step};
use crate::hash::Key;
use crate::id::{NodeId, Partition, RequestId, ShardIndex, TopologyId};
use crate::limits::REQUEST_TIMEOUT_MAX;
use crate::records::{Place, Records};
use crate::request::{Asked, Failure, KeyPlace, Kind, Link, Origin, Outcome, Request};
use crate::shard::{Input, Output, Shard};
use crate::survey::Epochs;
use crate::time::{Instant, UnixMs};
use crate::wire::frame::{Frame, Hop};
use crate::wire::get::GetRequest;
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use crate::wire::put::{PutRequest, Replaces};
use crate::wire::scan::ScanRequest;
use core::marker::PhantomData;
use core::time::Duration;
use heapless::Deque;
use survey::SurveyStep;

/// Results that wait to be fed back: at most one for each output of one drain.
const RESULT_COUNT_MAX: usize = 128;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum To {
    /// Back over a connection.
    Link(Link),
    /// To the shard of another node that holds the partition.
    Node(NodeId, Partition),
    /// To another shard of this node.
    Shard(ShardIndex),
}

/// A frame was not taken: the connection is gone, or its queue is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost;

/// What the driver must know besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A write wants the log synced, although its durability mode would not.
    Sync,
    /// A peer knows another topology: the [`Node`](crate::node::Node) must exchange them.
    TopologyDiffers(NodeId),
    /// This shard has all that it gains in this topology: the [`Node`](crate::node::Node) is told.
    Warm(TopologyId),
    /// What all members have agreed to reap waits for a reap epoch above this: the
    /// [`Node`](crate::node::Node) is told.
    Raise(u64),
    /// This node lost events of its own actors: the process must restart with a new boot.
    LostOwnEvents,
    /// An exchange has found differences.
    Exchanged(Finished),
    /// A hint, or the own copy that it refers to, is damaged, or too large for a frame: it is kept,
    /// but does not reach the node that lacks it.
    HintUnsendable {
        /// The node.
        target: NodeId,
        /// Where the hint lies.
        place: Place,
    },
}

/// The driver's connections and sessions.
pub trait Links {
    /// Queues a frame of `bytes` bytes; `fill` writes it whole.
    ///
    /// # Errors
    /// [`Lost`]; then `fill` was not called.
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost>;

    /// Gives a session its answer.
    fn answer(&mut self, ticket: u64, answer: Answer<'_>);

    /// See [`Notice`].
    fn notice(&mut self, notice: Notice);
}

/// Memory for requests that wait for others: their own bytes, and what was gathered for them.
/// Everything of an earlier user of a slot is gone: only the same [`RequestId`] finds it.
pub trait Bodies {
    /// Keeps `bytes` bytes for `op`, which `fill` writes.
    fn keep(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(&mut [u8]));

    /// What was kept for `op`.
    fn kept(&self, op: RequestId) -> Option<&[u8]>;

    /// Replaces what is gathered for `op` by `bytes` bytes; `fill` gets what was there before.
    fn gather(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(Option<&[u8]>, &mut [u8]));

    /// What is gathered for `op`.
    fn gathered(&self, op: RequestId) -> Option<&[u8]>;

    /// `op` is over.
    fn release(&mut self, op: RequestId);
}

/// What a turn must know of the cluster and of the node's settings.
#[derive(Clone, Copy, Debug)]
pub struct TurnSettings {
    /// [`ClusterId::digest`](crate::id::ClusterId::digest).
    pub cluster_digest: u64,
    /// [`ClusterId::hash_seed`](crate::id::ClusterId::hash_seed).
    pub hash_seed: u64,
    /// Signs context tokens.
    pub context_key: [u8; 16],
    /// Deadline of a request that names none.
    pub request_timeout: Duration,
    /// Longest key that a client may use, bytes.
    pub key_bytes_max: usize,
    /// Longest value that a client may write, bytes.
    pub value_bytes_max: usize,
}

/// What a client wants done; the same on the wire and in a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command<'a> {
    /// Read.
    Get(GetRequest<'a>),
    /// Write.
    Put(PutRequest<'a>),
    /// The keys of a partition from an order on. Without a key; of a partition that there is.
    Scan(ScanRequest),
}

/// A frame that a driver must not go on after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameRefused {
    /// It comes from another cluster.
    OtherCluster,
    /// It says another version than that of its connection.
    OtherVersion,
    /// Its payload breaks the rules of its op.
    Malformed,
    /// Its op is none of a shard's.
    NotForShard,
    /// Its sender may not say this.
    NotPermitted,
}

/// One turn: a machine, what it works on, and the time.
#[derive(Debug)]
pub struct Turn<'d, 'm, S, L, B, W, C> {
    /// The machine.
    pub shard: &'d mut Shard<'m>,
    /// Its store.
    pub store: &'d mut S,
    /// Its connections.
    pub links: &'d mut L,
    /// Its memory for requests in flight.
    pub bodies: &'d mut B,
    /// Its memory for operations that wait for cold records or for room.
    pub waiting: &'d mut W,
    /// Settings.
    pub settings: &'d TurnSettings,
    /// What [`Node::epochs`](crate::node::Node::epochs) says at the moment.
    pub epochs: Epochs,
    /// Monotonic time.
    pub now: Instant,
    /// The wall clock, for the time stamps of new versions, and for what has expired.
    pub wall: UnixMs,
    /// How checksums are computed.
    pub checksum: PhantomData<C>,
}

/// The bytes that came with the current input.
#[derive(Clone, Copy, Debug)]
enum AtHand<'a> {
    Nothing,
    Command(Key<'a>, Command<'a>),
    /// With the time when its sender gives it up.
    Frame(Key<'a>, Frame<'a>, Instant),
}

/// What follows once all outputs of a drain are done.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// It is fed back.
    Result(Input<'static>),
    /// A step of an exchange, whose result lends bytes.
    Exchange(Session, Partition, Step),
    /// The record at hand is joined.
    ExchangeJoin(Link, NodeId),
    /// A step of a survey.
    Survey(SurveyStep),
}

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// A client's command, from a session or a frame. It is answered now or later, once.
    ///
    /// # Panics
    /// If the key is empty: frames refuse that, and so do sessions. If it is not of a scan, or the
    /// scan is of no partition.
    pub fn command(&mut self, origin: Origin, key: &[u8], command: Command<'_>) {
        match command {
            Command::Scan(scan) => {
                assert!(key.is_empty());
                assert!(u32::from(scan.partition.0) < 1 << self.shard.config().partition_bits);
            }
            _ => assert!(!key.is_empty()),
        }
        if let Some(failure) = self.refusal(None) {
            return self.answer_failure(origin, failure);
        }
        let deadline = self.shard.arrived(self.now) + self.settings.request_timeout;
        let key = match command {
            Command::Scan(scan) => scan::key_of(scan),
            _ => self.place(key),
        };
        self.command_until(origin, key, command, deadline);
    }

    /// Feeds an input that has no bytes.
    pub fn input(&mut self, input: Input<'_>) {
        self.run(input, AtHand::Nothing);
    }

    /// Does everything that is due now, in bounded steps; at most `steps` of them.
    pub fn timeouts(&mut self, steps: usize) {
        for _ in 0..steps {
            let is_due = self.shard.poll_timeout().is_some_and(|at| at <= self.now);
            if is_due {
                self.shard.handle_timeout(self.now);
                self.drain(AtHand::Nothing);
            }
            if !self.end_one_late() && !is_due {
                return;
            }
        }
    }

    fn command_until(
        &mut self,
        origin: Origin,
        key: Key<'_>,
        command: Command<'_>,
        deadline: Instant,
    ) {
        // This process was stopped, and whoever asked has given it up.
        if deadline <= self.now {
            return self.answer_failure(origin, self.shard.late(command.kind()));
        }
        // It waits for nobody, and nobody for it.
        if matches!(command, Command::Scan(_)) {
            return self.run_command(origin, key, command, deadline);
        }
        if let Err(failure) = self.check(&key, &command) {
            return self.answer_failure(origin, failure);
        }
        if let Command::Get(get) = command
            && !self.is_behind(&key)
            && self.answer_alone(origin, &key, get)
        {
            return;
        }
        let coordinated = self.coordinated(key, &command);
        let appends = matches!(command, Command::Put(_));
        if let Some(wait) = self.command_must_wait(&coordinated, appends) {
            return self.park_command(origin, &coordinated, &command, (wait, deadline));
        }
        self.run_command(origin, key, command, deadline);
    }

    /// A command that was checked, need not wait for its record and is not answered alone.
    fn run_command(
        &mut self,
        origin: Origin,
        key: Key<'_>,
        command: Command<'_>,
        deadline: Instant,
    ) {
        let (forwarded, want_context) = (command.forwarded(), command.want_context());
        let (kind, key_place) = (command.kind(), KeyPlace::of(&key));
        let request = Request { origin, key: key_place, kind, deadline, forwarded, want_context };
        self.run(Input::Request(request), AtHand::Command(key, command));
    }

    fn place<'k>(&self, key: &'k [u8]) -> Key<'k> {
        Key::new(key, self.settings.hash_seed, self.shard.config().partition_bits)
    }

    /// What can be said of a command before the machine sees it.
    fn check(&self, key: &Key<'_>, command: &Command<'_>) -> Result<(), Failure> {
        if key.bytes.len() > self.settings.key_bytes_max {
            return Err(Failure::TooLarge);
        }
        let context = match command {
            Command::Get(get) => get.context,
            Command::Put(put) => {
                let value_bytes = put.content.value().map_or(0, <[u8]>::len);
                if value_bytes > self.settings.value_bytes_max {
                    return Err(Failure::TooLarge);
                }
                if let Replaces::Given(context) = put.replaces { context } else { &[] }
            }
            Command::Scan(_) => &[],
        };
        if context.is_empty() {
            return Ok(());
        }
        match causality::decode_token(&self.settings.context_key, key.bytes, context) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::BadContext),
        }
    }

    /// A GET that the local record answers alone needs no request in flight.
    pub(super) fn answer_alone(
        &mut self,
        origin: Origin,
        key: &Key<'_>,
        get: GetRequest<'_>,
    ) -> bool {
        if !get.context.is_empty() || !self.shard.reads_alone(key.partition, get.r, get.pr) {
            return false;
        }
        let Ok(stored) = self.store.record(key) else { return false };
        let record = stored.map(|stored| stored.record);
        let token = Token::of(get.want_context, &self.settings.context_key, key.bytes, record);
        let (outcome, record) = (Outcome::Got, record.map(|record| record.live(self.wall)));
        let answer = Answer::Local { outcome, record, context: token, live: 0, found: 0 };
        answer::give::<L, C>(self.links, self.hop(Op::Reply, 0), origin, answer);
        true
    }

    pub(super) fn answer_failure(&mut self, origin: Origin, failure: Failure) {
        let answer = Answer::failed(failure);
        answer::give::<L, C>(self.links, self.hop(Op::Reply, 0), origin, answer);
    }

    fn run(&mut self, input: Input<'_>, hand: AtHand<'_>) {
        self.shard.handle_input(self.now, input);
        self.drain(hand);
    }

    /// Does what the machine asks for, and feeds the results back, until both are quiet.
    fn drain(&mut self, hand: AtHand<'_>) {
        let mut results: Deque<Due, RESULT_COUNT_MAX> = Deque::new();
        loop {
            while let Some(output) = self.shard.poll_output() {
                if let Some(result) = self.act(output, hand) {
                    results.push_back(result).expect("one result for each output of a drain");
                }
            }
            match results.pop_front() {
                None => return,
                Some(Due::Result(result)) => self.shard.handle_input(self.now, result),
                Some(Due::Exchange(session, partition, step)) => {
                    self.exchange(session, partition, step);
                }
                Some(Due::ExchangeJoin(link, node)) => self.join_exchanged((link, node), hand),
                Some(Due::Survey(step)) => self.survey(step),
            }
        }
    }

    /// Does one output; what it returns is fed back once all outputs are drained.
    fn act(&mut self, output: Output, hand: AtHand<'_>) -> Option<Due> {
        match output {
            Output::Exchange { session, partition, step } => {
                Some(Due::Exchange(session, partition, step))
            }
            Output::ExchangeJoin { link, node } => Some(Due::ExchangeJoin(link, node)),
            Output::SurveyList { partition, purpose, from } => {
                Some(Due::Survey(SurveyStep::List { partition, purpose, from }))
            }
            Output::SurveyAsk { number, node, partition } => {
                Some(Due::Survey(SurveyStep::Ask { number, node, partition }))
            }
            Output::SurveyConclude { number } => Some(Due::Survey(SurveyStep::Conclude { number })),
            output => self.answer(output, hand).map(Due::Result),
        }
    }

    fn hop(&self, op: Op, request: u32) -> Hop {
        Hop {
            op,
            request: RequestId(request),
            deadline_ms: 0,
            sent_ms: 0,
            topology: self.shard.topology(),
            cluster_digest: self.settings.cluster_digest,
        }
    }

    /// When a request ends whose frame has that much time left.
    fn deadline(&self, deadline_ms: u16) -> Instant {
        let left = Duration::from_millis(u64::from(deadline_ms)).min(REQUEST_TIMEOUT_MAX);
        let left = if deadline_ms == 0 { self.settings.request_timeout } else { left };
        self.shard.arrived(self.now) + left
    }
}

impl Command<'_> {
    /// Another node has handed it on.
    fn forwarded(&self) -> bool {
        match self {
            Command::Get(get) => get.forwarded,
            Command::Put(put) => put.forwarded,
            // Whoever gets it coordinates it.
            Command::Scan(_) => false,
        }
    }

    fn want_context(&self) -> bool {
        match self {
            Command::Get(get) => get.want_context,
            Command::Put(put) => put.want_context,
            Command::Scan(_) => false,
        }
    }

    /// What the machine must know of it.
    fn kind(&self) -> Kind {
        match self {
            Command::Get(get) => {
                let asked = Asked { nodes: get.r, primaries: get.pr, durable: 0 };
                Kind::Get { asked, cover: !get.context.is_empty() }
            }
            Command::Put(put) => {
                let asked = Asked { nodes: put.w, primaries: put.pw, durable: put.dw };
                let read = match put.replaces {
                    Replaces::ReadFirst { r, .. } => Some(Asked { nodes: r, ..Asked::default() }),
                    Replaces::Given(_) | Replaces::Local => None,
                };
                Kind::Put { asked, read }
            }
            // How many keys there are is what one owner counts.
            Command::Scan(scan) => {
                Kind::Scan { asked: Asked { nodes: u8::from(scan.count == 0), ..Asked::default() } }
            }
        }
    }
}

impl Payload for Command<'_> {
    fn bytes(&self) -> usize {
        match self {
            Command::Get(get) => get.bytes(),
            Command::Put(put) => put.bytes(),
            Command::Scan(scan) => scan.bytes(),
        }
    }

    fn write(&self, out: &mut [u8]) {
        match self {
            Command::Get(get) => get.write(out),
            Command::Put(put) => put.write(out),
            Command::Scan(scan) => scan.write(out),
        }
    }
}
