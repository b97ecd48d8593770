//! The machine alone: inputs in, exact outputs out.

mod cold;
mod first;
mod forward;
mod handoff;
mod late;
mod limits;
mod peers;
mod quorum;
mod random;
mod read;
mod standing;
mod stored;
mod straggler;
mod suspect;
mod topology;

use super::*;
use crate::exchange;
use crate::id::RequestId;
use crate::limits::HINT_INTERVAL;
use crate::membership::member::{Member, Name};
use crate::records::{Applied, Joined, Place, Refusal, Unread};
use crate::request::{
    Asked, Failure, Found, KeyPlace, Kind, Link, Origin, Outcome, Request, Target,
};
use crate::ring::{RingConfig, Transition};
use crate::wire::peer::RejectReason;
use core::time::Duration;
use std::vec;
use std::vec::Vec;

const ME: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const BITS: u32 = 6;
/// The own copy, not a hint.
const OWN: NodeId = NodeId(0);
const KEY: KeyPlace = KeyPlace { partition: Partition(7), order: 70 };
/// What nodes answer that have the same as all others.
const FOUND: Found = Found { version: 9, covered: true };
const UNCOVERED: Found = Found { covered: false, ..FOUND };
const TIMEOUT: Duration = Duration::from_secs(1);
/// A deadline fires up to one tick late.
const TICK: Duration = Duration::from_micros(4096);
const TOPOLOGY: TopologyId = TopologyId(1);
/// What a log has written that writes each append at once.
const AT_ONCE: Place = Place(u64::MAX);

/// How a machine is made.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// Members 1, 2, ..; this node is 1. All can be reached.
    nodes: u32,
    n: usize,
    r: u8,
    w: u8,
    shard: u16,
    shards: u16,
    slots: usize,
    unsynced: usize,
    sync_before_ack: bool,
    keeps_hints: bool,
    /// What the log has written at the start.
    written: Place,
}

impl Default for Setup {
    fn default() -> Setup {
        let (shard, shards, slots, unsynced) = (0, 1, 8, 8);
        let (sync_before_ack, written) = (false, AT_ONCE);
        let (nodes, n, r, w) = (3, 3, 2, 2);
        let keeps_hints = true;
        Setup {
            nodes,
            n,
            r,
            w,
            shard,
            shards,
            slots,
            unsynced,
            sync_before_ack,
            keeps_hints,
            written,
        }
    }
}

/// A machine, its time, and what the driver would know.
struct Rig {
    shard: Shard<'static>,
    now: Instant,
    n: usize,
    /// The ticket of the last request.
    ticket: u64,
    /// The place of the last append.
    place: Place,
    /// The log is written below this place.
    written: Place,
    /// And synced below this one.
    synced: Place,
    /// Searches for hints are seen by the test; else they find none.
    sees_searches: bool,
    /// Signs of life that are asked for are seen by the test.
    sees_probes: bool,
}

/// The ring of these members. Its memory is leaked: this is a test.
fn ring(members: impl IntoIterator<Item = u32>, n: usize) -> Rings<'static> {
    let mut rings = no_rings(n);
    rings.rebuild(&Transition::none(&these(members)));
    rings
}

/// The rings of members of whom one leaves.
fn leaving(members: impl IntoIterator<Item = u32>, node: NodeId, n: usize) -> Rings<'static> {
    let (settled, mut rings) = (these(members), no_rings(n));
    let mut committed = settled.clone();
    committed.retain(|member| member.node != node);
    let (settled, committed, leaving) = (&settled[..], &committed[..], &[node][..]);
    rings.rebuild(&Transition { settled, committed, lost: &[], leaving, is_moving: true });
    rings
}

fn no_rings(n: usize) -> Rings<'static> {
    let config = RingConfig { partition_bits: BITS, n, seed: 1 };
    Rings::new(vec![NodeId(0); Rings::slot_count(&config)].leak(), config)
}

fn these(members: impl IntoIterator<Item = u32>) -> Vec<Member> {
    let zone = Name::new("default").unwrap();
    let member = |node: u32| Member { node: NodeId(node), uuid: node.into(), weight: 100, zone };
    members.into_iter().map(member).collect()
}

impl Rig {
    fn new(setup: Setup) -> Rig {
        let config = ShardConfig {
            node: ME,
            boot: Boot(1),
            shard: ShardIndex(setup.shard),
            shards: setup.shards,
            partition_bits: BITS,
            r: setup.r,
            w: setup.w,
            sync_before_ack: setup.sync_before_ack,
            keeps_hints: setup.keeps_hints,
            hint_interval: HINT_INTERVAL,
            exchanges: Default::default(),
            surveys: Default::default(),
        };
        let memory = ShardMemory {
            slots: vec![Slot::default(); setup.slots].leak(),
            unsynced: vec![Unsynced::default(); setup.unsynced].leak(),
            births: vec![0; Shard::partition_count(&config)].leak(),
            heard: vec![0; Shard::partition_count(&config)].leak(),
            hinted: vec![Instant(0); Shard::partition_count(&config)].leak(),
            exchanges: exchange::Memory::none(),
            surveys: &mut [],
        };
        let shard = Shard::new(config, memory, ring([], setup.n));
        let (now, place) = (Instant(1_000_000), Place(100));
        let mut rig = Rig {
            shard,
            now,
            n: setup.n,
            ticket: 0,
            place,
            written: setup.written,
            synced: place,
            sees_searches: false,
            sees_probes: false,
        };
        assert_eq!(rig.stored_to(setup.written, place), []);
        rig.members(1..=setup.nodes, TOPOLOGY);
        for node in 2..=setup.nodes {
            assert_eq!(rig.input(Input::PeerUp(NodeId(node))), []);
        }
        rig
    }

    /// Feeds one input and drains the machine.
    fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.shard.handle_input(self.now, input);
        self.drain()
    }

    /// Tells it how far the log has come.
    fn stored_to(&mut self, written: Place, synced: Place) -> Vec<Output> {
        (self.written, self.synced) = (written, synced);
        self.input(Input::Stored { written, synced })
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs = core::iter::from_fn(|| self.shard.poll_output());
        let outputs: Vec<Output> = outputs.collect();
        let ring = self.shard.rings();
        outputs
            .into_iter()
            .map(|output| match output {
                // Most tests have one key; of which a hint is shows in its owners.
                Output::Keep { place, key, target } => {
                    assert!(ring.is_owner(key.partition, target));
                    Output::Keep { place, key: KEY, target }
                }
                other => other,
            })
            .collect()
    }

    /// Gives the machine a ring of these members, and walks to the end.
    fn members(&mut self, members: impl IntoIterator<Item = u32>, topology: TopologyId) {
        let rings = ring(members, self.n);
        assert_eq!(self.input(Input::Rings { rings: &rings, topology }), []);
        assert_eq!(self.fire(), []);
    }

    /// One bounded step, if one is due.
    fn step(&mut self) -> Option<Vec<Output>> {
        self.shard.poll_timeout().filter(|at| *at <= self.now)?;
        self.shard.handle_timeout(self.now);
        let mut outputs = self.drain();
        assert!(outputs.len() <= OUTPUT_COUNT_MAX);
        outputs.retain(|output| self.sees_probes || !matches!(output, Output::Probe { .. }));
        if let Some(&Output::SeekHint { op, .. }) = outputs.last()
            && !self.sees_searches
        {
            outputs.pop();
            assert_eq!(self.input(Input::Sought { op, result: Sought::Nothing }), []);
        }
        Some(outputs)
    }

    /// All that is due now.
    fn fire(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(more) = self.step() {
            outputs.extend(more);
        }
        outputs
    }

    /// Lets time pass, then does what is due. A tick more passes, since deadlines fire late.
    fn wait(&mut self, time: Duration) -> Vec<Output> {
        self.now = self.now + time + TICK;
        self.fire()
    }

    /// A client's request that ends in `TIMEOUT`.
    fn new_request(&mut self, kind: Kind) -> Request {
        self.ticket += 1;
        let (origin, deadline) = (Origin::Session(self.ticket), self.now + TIMEOUT);
        Request { origin, key: KEY, kind, deadline, forwarded: false, want_context: false }
    }

    fn request(&mut self, kind: Kind) -> Vec<Output> {
        let request = self.new_request(kind);
        self.input(Input::Request(request))
    }

    /// A write up to its append: its number, and what the machine asks for then.
    fn put(&mut self, w: u8, pw: u8, dw: u8) -> (RequestId, Vec<Output>) {
        let outputs = self.request(put(w, pw, dw));
        let [Output::Apply { op, gathered: false, .. }] = outputs[..] else {
            panic!("not applied: {outputs:?}");
        };
        (op, self.applied(op))
    }

    /// The write `op` is appended.
    fn applied(&mut self, op: RequestId) -> Vec<Output> {
        self.place.0 += 10;
        let result = Ok(applied(self.place));
        self.input(Input::Applied { op, result })
    }

    /// A read up to the answer of this node.
    fn get(&mut self, r: u8, pr: u8) -> (RequestId, Vec<Output>) {
        let outputs = self.request(get(r, pr));
        let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("no look: {outputs:?}") };
        (op, outputs)
    }

    fn ack(&mut self, node: NodeId, op: RequestId) -> Vec<Output> {
        self.input(Input::Acked { node, op, order: KEY.order, durable: false })
    }

    fn answer(&mut self, node: NodeId, op: RequestId) -> Vec<Output> {
        self.input(Input::Answered { node, op, order: KEY.order, found: FOUND })
    }

    fn reject(&mut self, node: NodeId, op: RequestId, reason: RejectReason) -> Vec<Output> {
        self.input(Input::Rejected { node, op, order: KEY.order, reason })
    }

    fn looked(&mut self, op: RequestId) -> Vec<Output> {
        self.input(Input::Looked { op, result: Ok(FOUND) })
    }

    /// What the last request is answered with, where nothing else is asked for.
    fn reply(&self, op: RequestId, outcome: Outcome) -> Output {
        let origin = Origin::Session(self.ticket);
        Output::Reply { op: Some(op), origin, outcome, want_context: false }
    }

    fn stored(&self, op: RequestId) -> Output {
        self.reply(op, Outcome::Stored(applied(self.place)))
    }

    fn failed(&self, op: RequestId, failure: Failure) -> Output {
        self.reply(op, Outcome::Failed(failure))
    }

    /// The last request was refused at once.
    fn refused(&self, failure: Failure) -> Vec<Output> {
        let (origin, outcome) = (Origin::Session(self.ticket), Outcome::Failed(failure));
        vec![Output::Reply { op: None, origin, outcome, want_context: false }]
    }

    fn replicate(&self, op: RequestId, node: NodeId, sync: bool) -> Output {
        let partition = KEY.partition;
        let (place, deadline_ms, target) = (self.place, 1000, OWN);
        Output::Replicate { op, node, partition, place, sync, deadline_ms, target }
    }

    /// What is kept for `target`, which lacks the last append.
    fn keep(&self, target: NodeId) -> Output {
        Output::Keep { place: self.place, key: KEY, target }
    }
}

fn get(r: u8, pr: u8) -> Kind {
    Kind::Get { asked: Asked { nodes: r, primaries: pr, durable: 0 }, cover: false }
}

fn put(w: u8, pw: u8, dw: u8) -> Kind {
    Kind::Put { asked: Asked { nodes: w, primaries: pw, durable: dw }, read: None }
}

/// A write that reads `r` nodes first.
fn read_first(r: u8, w: u8) -> Kind {
    let nodes = |nodes| Asked { nodes, ..Asked::default() };
    Kind::Put { asked: nodes(w), read: Some(nodes(r)) }
}

fn applied(place: Place) -> Applied {
    Applied { place, live: 1, sole: true, minted: false, entries: 1 }
}

fn ask(op: RequestId, node: NodeId) -> Output {
    Output::Ask { op, node, partition: KEY.partition, deadline_ms: 1000, target: OWN }
}

/// A request handed on, for a key of `partition`.
fn forward(op: RequestId, target: Target, partition: Partition, forwarded: bool) -> Output {
    Output::Forward { op, target, partition, forwarded, deadline_ms: 1000 }
}

fn apply(op: RequestId, gathered: bool) -> Output {
    Output::Apply { op, birth: 1, gathered, target: OWN }
}

fn no_quorum(needed: u8, got: u8) -> Failure {
    Failure::NoQuorum { needed, got }
}

/// A frame of `node` about `KEY`.
fn frame(node: NodeId, request: u32) -> DataFrame {
    let link = Link(u64::from(node.0));
    DataFrame { link, node, request, topology: TOPOLOGY, key: KEY, sync: false, target: OWN }
}

/// The origins that `outputs` answer, in order.
fn answered(outputs: &[Output]) -> Vec<Origin> {
    let origin = |output: &Output| match output {
        Output::Reply { origin, .. } | Output::Relay { origin, .. } => Some(*origin),
        _ => None,
    };
    outputs.iter().filter_map(origin).collect()
}
