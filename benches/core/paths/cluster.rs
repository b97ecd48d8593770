//! Whole requests, from the bytes of a client's frame to those of its answer: checked, decided by
//! [`Shard`], applied to a store, sent to replicas, joined there, acknowledged, counted, answered.
//! Every node is one, with a [`Turn`] as in the server, and every frame is real; the network is a
//! list, and the store holds one key in memory. A step ends when nothing is under way any more.

use std::marker::PhantomData;
use std::time::Duration;

use ringmain_core::Unsynced;
use ringmain_core::drive::{Answer, Links, Lost, Notice, To, Turn, TurnSettings};
use ringmain_core::exchange;
use ringmain_core::hash::Key;
use ringmain_core::id::{ClusterId, NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::limits::HINT_INTERVAL;
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::records::Place;
use ringmain_core::request::{Link, Slot};
use ringmain_core::ring::{RingConfig, Rings, Transition};
use ringmain_core::shard::{Input, Shard, ShardConfig, ShardMemory};
use ringmain_core::survey::Epochs;
use ringmain_core::time::{Instant, UnixMs};
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::peer::Ack;
use ringmain_core::wire::reply::{Reply, Status};
use ringmain_runtime::bodies::RequestBodies;
use ringmain_runtime::checksum::Hardware;
use ringmain_runtime::waiting::WaitingOperations;

use super::causality::SECRET;
use super::store::OneKey;
use super::wire;
use crate::records::{BOOT, KEY};

pub(crate) const CLUSTER: ClusterId = ClusterId(42);
pub(crate) const PARTITION_BITS: u32 = 10;
/// The connection of the client; those of nodes are named by their far end.
const CLIENT: Link = Link(1 << 60);

/// A put of 100 bytes at one node of three, of which two must have it, until all have it.
pub(crate) fn put_three_nodes() -> impl FnMut() {
    put(Cluster::new(3))
}

/// At one node of three whose peers are on paper: what they do costs nothing.
pub(crate) fn put_coordinator() -> impl FnMut() {
    put(Cluster { are_peers_paper: true, ..Cluster::new(3) })
}

/// At a node that is alone.
pub(crate) fn put_one_node() -> impl FnMut() {
    put(Cluster::new(1))
}

fn put(mut cluster: Cluster) -> impl FnMut() {
    let put = request(Op::Put, &wire::put());
    cluster.step(&put);
    assert_eq!(cluster.network.status(), Status::Ok);
    move || cluster.step(&put)
}

/// A get with context from two of three nodes, which have the same.
pub(crate) fn get_three_nodes() -> impl FnMut() {
    get(Cluster::new(3), 2)
}

/// At a node that is alone.
pub(crate) fn get_one_node() -> impl FnMut() {
    get(Cluster::new(1), 1)
}

fn get(mut cluster: Cluster, r: u8) -> impl FnMut() {
    let get = request(Op::Get, &wire::get(r));
    cluster.step(&request(Op::Put, &wire::put()));
    cluster.step(&get);
    assert_eq!(cluster.network.status(), Status::Ok);
    move || cluster.step(&get)
}

/// Nodes that own the key, all of them.
struct Cluster {
    nodes: Vec<Node>,
    network: Network,
    settings: TurnSettings,
    /// What a peer on paper answers; only the request's number differs.
    ack: Vec<u8>,
    are_peers_paper: bool,
}

impl Cluster {
    fn new(count: u32) -> Cluster {
        let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let zone = Name::new("default").expect("a short word");
        let member = |node: &NodeId| Member { node: *node, uuid: node.0.into(), weight: 100, zone };
        let members: Vec<Member> = ids.iter().map(member).collect();
        let ring = RingConfig { partition_bits: PARTITION_BITS, n: ids.len(), seed: 1 };
        let mut rings = rings(ring);
        rings.rebuild(&Transition::none(&members));
        let mut cluster = Cluster {
            nodes: ids.iter().map(|node| Node::new(*node, ring)).collect(),
            network: Network::default(),
            settings: settings(),
            ack: ack(),
            are_peers_paper: false,
        };
        for node in &ids {
            let mut turn = cluster.turn(*node);
            turn.input(Input::Rings { rings: &rings, topology: TopologyId(1) });
            turn.input(Input::Stored { written: Place(u64::MAX), synced: Place(0) });
            for peer in ids.iter().filter(|peer| *peer != node) {
                turn.input(Input::PeerUp(*peer));
            }
            turn.timeouts(usize::MAX);
        }
        cluster
    }

    fn turn(&mut self, node: NodeId) -> NodeTurn<'_> {
        self.network.me = node;
        let node = &mut self.nodes[node.0 as usize - 1];
        Turn {
            shard: &mut node.shard,
            store: &mut node.store,
            links: &mut self.network,
            bodies: &mut node.bodies,
            waiting: &mut node.waiting,
            settings: &self.settings,
            epochs: Epochs::default(),
            now: Instant(1),
            wall: UnixMs(1),
            checksum: PhantomData,
        }
    }

    /// From the client's frame to the first node until nothing is under way any more.
    fn step(&mut self, request: &[u8]) {
        let before = self.network.answer_count;
        self.receive(ME, (CLIENT, None), request);
        let mut next = 0;
        while let Some(Flight { from, to, bytes }) = self.network.take(next) {
            if self.are_peers_paper {
                self.ack[REQUEST].copy_from_slice(&bytes[REQUEST]);
                let ack = std::mem::take(&mut self.ack);
                self.receive(from, (link(to), Some(to)), &ack);
                self.ack = ack;
            } else {
                self.receive(to, (link(from), Some(from)), &bytes);
            }
            self.network.flights[next].bytes = bytes;
            next += 1;
        }
        self.network.flight_count = 0;
        assert_eq!(self.network.answer_count, before + 1);
        assert_eq!(self.nodes[0].shard.request_count(), 0);
    }

    fn receive(&mut self, node: NodeId, (link, from): (Link, Option<NodeId>), bytes: &[u8]) {
        let frame = Frame::new_checked::<Hardware>(bytes).expect("it was written here");
        self.turn(node).frame(link, from, frame).expect("it says what it may");
    }
}

/// Which node a client asks.
pub(crate) const ME: NodeId = NodeId(1);

fn link(node: NodeId) -> Link {
    Link(node.0.into())
}

type NodeTurn<'d> = Turn<'d, 'static, OneKey, Network, RequestBodies, WaitingOperations, Hardware>;

/// One shard, and what it works on.
struct Node {
    shard: Shard<'static>,
    store: OneKey,
    bodies: RequestBodies,
    waiting: WaitingOperations,
}

impl Node {
    fn new(node: NodeId, ring: RingConfig) -> Node {
        let config = ShardConfig {
            node,
            boot: BOOT,
            shard: ShardIndex(0),
            shards: 1,
            partition_bits: ring.partition_bits,
            r: 1,
            w: ring.n.div_ceil(2) as u8,
            sync_before_ack: false,
            keeps_hints: true,
            hint_interval: HINT_INTERVAL,
            exchanges: Default::default(),
            surveys: Default::default(),
        };
        let partition_count = Shard::partition_count(&config);
        let memory = ShardMemory {
            slots: vec![Slot::default(); 1024].leak(),
            unsynced: vec![Unsynced::default(); 1024].leak(),
            births: vec![0; partition_count].leak(),
            heard: vec![0; partition_count].leak(),
            hinted: vec![Instant(0); partition_count].leak(),
            exchanges: exchange::Memory::none(),
            surveys: &mut [],
        };
        Node {
            shard: Shard::new(config, memory, rings(ring)),
            store: OneKey::default(),
            bodies: RequestBodies::default(),
            waiting: WaitingOperations::default(),
        }
    }
}

fn rings(config: RingConfig) -> Rings<'static> {
    Rings::new(vec![NodeId(0); Rings::slot_count(&config)].leak(), config)
}

fn settings() -> TurnSettings {
    TurnSettings {
        cluster_digest: CLUSTER.digest(),
        hash_seed: CLUSTER.hash_seed(),
        context_key: SECRET,
        request_timeout: Duration::from_secs(1),
        key_bytes_max: 4096,
        value_bytes_max: 1 << 20,
    }
}

/// A frame on its way.
#[derive(Debug, Default)]
struct Flight {
    from: NodeId,
    to: NodeId,
    bytes: Vec<u8>,
}

/// All connections.
#[derive(Default)]
struct Network {
    /// Who sends.
    me: NodeId,
    /// Those of the current step, as many as the count says; the memory of the others is spare.
    flights: Vec<Flight>,
    flight_count: usize,
    /// The last frame that the client got.
    answer: Vec<u8>,
    answer_count: u64,
}

impl Network {
    /// The frame that was sent at that place in the step; its memory is to be given back.
    fn take(&mut self, index: usize) -> Option<Flight> {
        let flights = &mut self.flights[..self.flight_count];
        let Flight { from, to, bytes } = flights.get_mut(index)?;
        Some(Flight { from: *from, to: *to, bytes: std::mem::take(bytes) })
    }

    /// What the client was told.
    fn status(&self) -> Status {
        let frame = Frame::new_checked::<Hardware>(&self.answer).expect("a node wrote it");
        let reply = Reply::new_checked(frame.payload()).expect("a client gets replies");
        reply.head.status
    }
}

impl Links for Network {
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        let to = match to {
            To::Link(CLIENT) => {
                self.answer.resize(bytes, 0);
                fill(&mut self.answer);
                self.answer_count += 1;
                return Ok(());
            }
            To::Link(link) => NodeId(link.0 as u32),
            To::Node(node, _) => node,
            To::Shard(_) => return Err(Lost),
        };
        if self.flight_count == self.flights.len() {
            self.flights.push(Flight::default());
        }
        let flight = &mut self.flights[self.flight_count];
        (flight.from, flight.to) = (self.me, to);
        flight.bytes.resize(bytes, 0);
        fill(&mut flight.bytes);
        self.flight_count += 1;
        Ok(())
    }

    fn answer(&mut self, _: u64, _: Answer<'_>) {
        unreachable!("nobody asks but by frames");
    }

    fn notice(&mut self, _: Notice) {}
}

fn hop(op: Op) -> Hop {
    Hop {
        op,
        request: RequestId(0),
        deadline_ms: 0,
        sent_ms: 0,
        topology: TopologyId(1),
        cluster_digest: CLUSTER.digest(),
    }
}

/// What a client sends.
fn request(op: Op, payload: &impl Payload) -> Vec<u8> {
    let mut bytes = vec![0; frame_length(KEY.len(), payload.bytes())];
    write_frame::<Hardware>(&hop(op), KEY, payload, &mut bytes);
    bytes
}

/// Where the request's number stands in a frame.
const REQUEST: std::ops::Range<usize> = 8..12;

/// The ACK of the key, for request 0.
fn ack() -> Vec<u8> {
    let order = Key::new(KEY, CLUSTER.hash_seed(), PARTITION_BITS).order;
    let ack = Ack { order, durable: false };
    let mut bytes = vec![0; frame_length(0, ack.bytes())];
    write_frame::<Hardware>(&hop(Op::Ack), &[], &ack, &mut bytes);
    bytes
}
