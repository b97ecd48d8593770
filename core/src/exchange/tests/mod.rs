//! Exchanges between naive stores, over a link that delays, and cuts.

mod exhaustive;
mod figures;
mod lists;
#[cfg(feature = "plant")]
mod plants;
mod random;
mod refusals;
mod schedule;
mod store;

use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::checksum::Software;
use crate::id::RequestId;
use crate::prng::Prng;
use crate::time::Instant;
use crate::wire::frame::{Frame, Hop, frame_length, write_frame};
use crate::wire::message::Message;
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use store::{KeyId, Store, Vector};

const CONFIG: Config = Config {
    recheck: Duration::from_secs(2),
    silence: Duration::from_secs(10),
    window_bytes: 16 << 10,
    bulk_keys_min: 512,
    difference_count_max: 64,
};

/// Which end of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Initiator,
    Responder,
}

/// What a driver does later: cold reads take their time.
#[derive(Clone, Debug)]
enum Task {
    Step(Step),
    Join(KeyId, Vector),
}

/// What went over the link, frame headers and all.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    /// Frames other than records, both ways.
    bytes: usize,
    /// Record frames, and of them what is no hop part.
    record_bytes: usize,
    body_bytes: usize,
    records: usize,
    frames: usize,
}

/// One exchange on its way.
struct Session {
    /// The nodes of its initiator and its responder.
    nodes: [usize; 2],
    initiator: Box<Initiator>,
    responder: Box<Responder>,
    /// Frames to the initiator, and to the responder, by arrival.
    queues: [VecDeque<(Instant, Vec<u8>)>; 2],
    tasks: Vec<(Instant, End, Task)>,
    traffic: Traffic,
    /// The connection ends after so many frames.
    cut: Option<usize>,
}

/// Nodes, exchanges and writes under one clock.
struct World {
    now: Instant,
    prng: Prng,
    stores: Vec<Store>,
    sessions: Vec<Session>,
    /// Records on their way outside of exchanges.
    in_flight: BTreeMap<(Instant, u64), (usize, KeyId, Vector)>,
    /// Every write, joined.
    truth: BTreeMap<KeyId, Vector>,
    /// Longest delay of a frame and of a task, µs.
    delay_max: u64,
    /// Most entries that a driver lists at once.
    list_max: usize,
    record_bytes: usize,
    config: Config,
}

impl World {
    fn new(seed: u64, nodes: usize) -> World {
        #[cfg(feature = "plant")]
        plants::set_from_environment();
        World {
            now: Instant(0),
            prng: Prng::new(seed),
            stores: vec![Store::default(); nodes],
            sessions: Vec::new(),
            in_flight: BTreeMap::new(),
            truth: BTreeMap::new(),
            delay_max: 1_000,
            list_max: 64,
            record_bytes: 100,
            config: CONFIG,
        }
    }

    /// `node` has a record that others may lack.
    fn put(&mut self, node: usize, key: KeyId, record: Vector) {
        self.stores[node].join(key, record);
        store::join(self.truth.entry(key).or_default(), record);
    }

    /// `node` coordinates a write, which reaches each other node after at most `delay_max` µs,
    /// but for `lost_percent`.
    fn write(&mut self, node: usize, key: KeyId, delay_max: u64, lost_percent: u64) {
        let mut record = self.stores[node].record(key).unwrap_or_default();
        record[node] = self.truth.get(&key).map_or(0, |known| known[node]) + 1;
        self.put(node, key, record);
        for other in (0..self.stores.len()).filter(|other| *other != node) {
            if !self.prng.chance(lost_percent) {
                let at = self.now + Duration::from_micros(self.prng.below(delay_max + 1));
                let tie = self.prng.next_u64();
                self.in_flight.insert((at, tie), (other, key, record));
            }
        }
    }

    /// Begins an exchange; the lower node asks.
    fn begin(&mut self, a: usize, b: usize, resume: Option<Resume>, cut: Option<usize>) {
        assert!(a < b);
        let mut initiator = Box::new(Initiator::new(self.config));
        let mut responder = Box::new(Responder::new(self.config));
        initiator.start(parties(b), resume);
        responder.start(self.now, parties(a));
        let (nodes, queues, tasks) = ([a, b], Default::default(), Vec::new());
        let traffic = Traffic::default();
        let session = Session { nodes, initiator, responder, queues, tasks, traffic, cut };
        self.sessions.push(session);
    }

    /// Runs the only exchange to its end.
    fn exchange(&mut self, a: usize, b: usize) -> (Summary, Traffic) {
        self.exchange_with(a, b, None, None)
    }

    fn exchange_with(
        &mut self,
        a: usize,
        b: usize,
        resume: Option<Resume>,
        cut: Option<usize>,
    ) -> (Summary, Traffic) {
        self.begin(a, b, resume, cut);
        loop {
            self.step();
            if self.sessions[0].is_over() {
                let session = self.sessions.pop().unwrap();
                return (*session.initiator.summary().unwrap(), session.traffic);
            }
        }
    }

    /// The next event.
    fn step(&mut self) {
        self.grant();
        let arrivals = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let events = self.sessions.iter().filter_map(Session::next_event);
        let next = events.chain(arrivals).min().expect("nothing goes on for ever");
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry()
            && entry.key().0 <= self.now
        {
            let (node, key, record) = entry.remove();
            self.stores[node].join(key, record);
        }
        for index in 0..self.sessions.len() {
            self.deliver(index);
            self.run_tasks(index);
            let session = &mut self.sessions[index];
            session.initiator.on_timeout(self.now);
            session.responder.on_timeout(self.now);
        }
        self.grant();
    }

    /// Lets every exchange go on as far as it wants.
    fn grant(&mut self) {
        for index in 0..self.sessions.len() {
            loop {
                let session = &mut self.sessions[index];
                let now = self.now;
                let (end, step, bytes) = if let Some(bytes) = session.initiator.want() {
                    (End::Initiator, session.initiator.grant(now), bytes)
                } else if let Some(bytes) = session.responder.want() {
                    (End::Responder, session.responder.grant(now), bytes)
                } else {
                    break;
                };
                if step == Step::Send {
                    let frame = session.frame(end);
                    assert_eq!(frame.len(), bytes);
                    self.send(index, end, frame);
                } else {
                    let at = self.later();
                    self.sessions[index].tasks.push((at, end, Task::Step(step)));
                }
            }
        }
    }

    fn later(&mut self) -> Instant {
        self.now + Duration::from_micros(1 + self.prng.below(self.delay_max))
    }

    /// Frames arrive in the order in which they were sent.
    fn send(&mut self, index: usize, from: End, frame: Vec<u8>) {
        let at = self.later();
        let session = &mut self.sessions[index];
        session.traffic.frames += 1;
        if Frame::without_checksum(&frame).unwrap().op() == Op::ExchangeRecord {
            session.traffic.records += 1;
            session.traffic.record_bytes += frame.len();
            session.traffic.body_bytes += frame.len() - 32;
        } else {
            session.traffic.bytes += frame.len();
        }
        let queue = &mut session.queues[usize::from(from == End::Initiator)];
        let last = queue.back().map_or(at, |(last, _)| *last);
        queue.push_back((last.max(at), frame));
    }

    fn deliver(&mut self, index: usize) {
        for end in [End::Initiator, End::Responder] {
            loop {
                let join_at = self.later();
                let session = &mut self.sessions[index];
                if session.cut == Some(0) {
                    session.disconnect();
                }
                let side = usize::from(end == End::Responder);
                let queue = &mut session.queues[side];
                if queue.front().is_none_or(|(at, _)| *at > self.now) {
                    break;
                }
                let (_, bytes) = queue.pop_front().unwrap();
                session.cut = session.cut.map(|left| left - 1);
                let held = self.stores[session.nodes[side]].held();
                session.receive(self.now, end, &bytes, held, join_at);
            }
        }
    }

    fn run_tasks(&mut self, index: usize) {
        let due = |session: &Session, now| session.tasks.iter().position(|task| task.0 <= now);
        while let Some(at) = due(&self.sessions[index], self.now) {
            let (_, end, task) = self.sessions[index].tasks.remove(at);
            let node = self.sessions[index].nodes[usize::from(end == End::Responder)];
            match task {
                Task::Join(key, record) => {
                    let versions = self.stores[node].join(key, record);
                    let session = &mut self.sessions[index];
                    session.machine(end).on_joined(key.0, Some(versions));
                }
                Task::Step(step) => self.run_step(index, end, node, step),
            }
        }
    }

    fn run_step(&mut self, index: usize, end: End, node: usize, step: Step) {
        match step {
            Step::Send => unreachable!("it was sent at once"),
            Step::Summarize => {
                let Held { tree, keys } = self.stores[node].held();
                self.sessions[index].initiator.on_summarized(tree.root(), keys);
            }
            Step::List { after, last } => {
                let most = 1 + self.prng.below(self.list_max as u64) as usize;
                let (entries, more) = self.stores[node].list(after, last, most);
                let session = &mut self.sessions[index];
                session.machine(end).on_listed(self.now, &entries, more);
            }
            Step::Push { order } => {
                let sent = self.send_orders(index, end, node, order..=order, u64::MAX).1;
                let session = &mut self.sessions[index];
                session.machine(end).on_pushed(order, sent);
            }
            Step::Stream { from, bytes } => {
                let orders = from..=u64::MAX;
                let (next, sent) = self.send_orders(index, end, node, orders, bytes.into());
                let session = &mut self.sessions[index];
                session.machine(end).on_streamed(next, sent);
            }
        }
    }

    /// Sends records, whole orders, up to about `bytes`; returns the order to go on from.
    fn send_orders(
        &mut self,
        index: usize,
        end: End,
        node: usize,
        orders: core::ops::RangeInclusive<u64>,
        bytes: u64,
    ) -> (Option<u64>, Sent) {
        let mut sent = Sent::default();
        let mut last = None;
        for (key, record) in self.stores[node].records(orders) {
            if last != Some(key.0) && sent.bytes >= bytes {
                return (Some(key.0), sent);
            }
            last = Some(key.0);
            let record = store::encode(record, self.record_bytes);
            let message = Message::ExchangeRecord(&record);
            let frame = encode(&[key.0.to_le_bytes(), key.1.to_le_bytes()].concat(), &message);
            sent = Sent { records: sent.records + 1, bytes: sent.bytes + frame.len() as u64 };
            self.send(index, end, frame);
        }
        (None, sent)
    }

    /// What is in flight outside of exchanges arrives.
    fn quiesce(&mut self) {
        for (_, (node, key, record)) in core::mem::take(&mut self.in_flight) {
            self.stores[node].join(key, record);
        }
    }

    /// Every store has every write.
    fn check_converged(&self, context: &dyn core::fmt::Debug) {
        for (node, store) in self.stores.iter().enumerate() {
            assert!(store.records(0..=u64::MAX).into_iter().eq(self.truth.clone()), "{context:?}");
            assert_eq!(store.leaves_again(), *store.leaves(), "node {node}");
        }
    }
}

impl Session {
    fn machine(&mut self, end: End) -> &mut dyn Machine {
        match end {
            End::Initiator => &mut *self.initiator,
            End::Responder => &mut *self.responder,
        }
    }

    fn is_over(&self) -> bool {
        let over = self.initiator.summary().is_some() && self.responder.summary().is_some();
        over && self.tasks.iter().all(|(_, _, task)| !matches!(task, Task::Join(..)))
    }

    fn next_event(&self) -> Option<Instant> {
        let fronts = self.queues.iter().filter_map(|queue| queue.front().map(|(at, _)| *at));
        let tasks = self.tasks.iter().map(|(at, _, _)| *at);
        let timeouts = self.initiator.timeout().into_iter().chain(self.responder.timeout());
        fronts.chain(tasks).chain(timeouts).min()
    }

    fn disconnect(&mut self) {
        self.cut = None;
        self.queues = Default::default();
        self.tasks.retain(|(_, _, task)| matches!(task, Task::Join(..)));
        self.initiator.on_disconnected();
        self.responder.on_disconnected();
    }

    fn frame(&self, end: End) -> Vec<u8> {
        match end {
            End::Initiator => encode(b"", &self.initiator.message()),
            End::Responder => encode(b"", &self.responder.message()),
        }
    }

    fn receive(&mut self, now: Instant, end: End, bytes: &[u8], held: Held<'_>, join: Instant) {
        let frame = Frame::new_checked::<Software>(bytes).unwrap();
        let message = Message::new_checked(&frame).unwrap();
        let topology = frame.hop().topology;
        let Message::ExchangeRecord(record) = message else {
            return self.machine(end).on_frame(now, topology, &message, held);
        };
        if self.machine(end).on_record(now, topology) {
            let (halves, _) = frame.key().as_chunks::<8>();
            let key = (u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1]));
            self.tasks.push((join, end, Task::Join(key, store::decode(record))));
        }
    }
}

const TOPOLOGY: TopologyId = TopologyId(7);

fn parties(peer: usize) -> Parties {
    Parties { partition: Partition(3), peer: NodeId(peer as u32 + 1), topology: TOPOLOGY }
}

fn encode(key: &[u8], message: &Message<'_>) -> Vec<u8> {
    let hop = Hop {
        op: message.op(),
        request: RequestId(1),
        deadline_ms: 0,
        sent_ms: 0,
        topology: TOPOLOGY,
        cluster_digest: 0,
    };
    let mut out = vec![0; frame_length(key.len(), message.bytes())];
    write_frame::<Software>(&hop, key, message, &mut out);
    out
}
