//! A router against nodes on paper: it knows nothing of them but their frames.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringmain_core::checksum::Software;
use ringmain_core::hash::KeyHash;
use ringmain_core::id::{Boot, ClusterId, Partition};
use ringmain_core::wire::VERSION;
use ringmain_core::wire::frame::{Frame, frame_bytes, frame_length, stamp_frames, write_frame};
use ringmain_core::wire::hello::HelloReply;
use ringmain_core::wire::message::Message;
use ringmain_core::wire::reply::{ReplyHead, ReplyWriter, reply_bytes};
use ringmain_core::wire::routes::{NO_NODE, RouteNode, Routes, RoutesReply, RoutesRequest};
use zerocopy::little_endian::U16;

use super::*;

mod chaos;
mod scenarios;

const BITS: u32 = 6;
const TIMEOUT: Duration = Duration::from_millis(1600);
const TICK: Duration = Duration::from_millis(100);
const OPTIONS: Options = Options { timeout: TIMEOUT, requests_max: 64, connections: 1 };
const GET: GetRequest<'_> =
    GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };

fn put() -> PutRequest<'static> {
    super::super::resolve::put_request(&[], Content::Value { expires: None, value: b"v" })
}

/// How a node behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Serves,
    /// Takes everything and says nothing.
    Silent,
    /// Connects, and does not even say hello.
    Dumb,
    /// Nothing listens there.
    Down,
    Says(Status),
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    shards: u16,
    mood: Mood,
    version: u8,
}

/// What a node was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Asked {
    node: u32,
    shard: u16,
    op: Op,
    key: Vec<u8>,
    /// Nothing was stored.
    is_refused: bool,
}

struct World {
    router: Router,
    now: Instant,
    nodes: BTreeMap<SocketAddr, Node>,
    /// Node ids in the order in which they coordinate, turned by the partition.
    members: Vec<u32>,
    topology: u64,
    /// Connections that stand.
    links: HashMap<LinkId, (SocketAddr, u16)>,
    asked: Vec<Asked>,
    /// Answers that silent nodes owe: given when they speak again.
    owed: Vec<(LinkId, Vec<u8>)>,
    done: Vec<(Ticket, Result<(), String>)>,
    dials: Vec<SocketAddr>,
}

fn address(node: u32) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, node as u8], 7400))
}

fn cluster() -> Cluster {
    let id = ClusterId(7);
    Cluster { id, hash_seed: id.hash_seed(), partition_bits: BITS as u8, n: 3, r: 2, w: 2 }
}

impl World {
    /// Nodes 1 to `count`, of two shards each; node 1 is the seed.
    fn new(count: u32) -> World {
        World::with(count, OPTIONS, &[address(1)])
    }

    fn with(count: u32, options: Options, seeds: &[SocketAddr]) -> World {
        let node = |id| Node { id: NodeId(id), shards: 2, mood: Mood::Serves, version: VERSION };
        World {
            router: Router::new(seeds, options).unwrap(),
            now: Instant::now(),
            nodes: (1..=count).map(|id| (address(id), node(id))).collect(),
            members: (1..=count).collect(),
            topology: 1,
            links: HashMap::new(),
            asked: Vec::new(),
            owed: Vec::new(),
            done: Vec::new(),
            dials: Vec::new(),
        }
    }

    /// Nodes 1 to `count`, to all of whose shards there are connections.
    fn warm(count: u32) -> World {
        let mut world = World::new(count);
        world.warm_up();
        world
    }

    fn warm_up(&mut self) {
        for number in 0..200 {
            self.get(&key(number));
        }
        self.asked.clear();
        self.done.clear();
    }

    fn mood(&mut self, node: u32, mood: Mood) {
        self.nodes.get_mut(&address(node)).unwrap().mood = mood;
    }

    /// The nodes that coordinate a key, by the test's own reckoning.
    fn owners(&self, key: &[u8]) -> Vec<u32> {
        let partition = KeyHash::new(cluster().hash_seed, key).partition(BITS);
        self.row(partition)
    }

    fn row(&self, partition: Partition) -> Vec<u32> {
        let count = self.members.len();
        let turned = (0..count.min(3)).map(|step| (usize::from(partition.0) + step) % count);
        turned.map(|place| self.members[place]).collect()
    }

    fn get(&mut self, key: &[u8]) -> Ticket {
        let ticket = self.router.get(key, &GET, self.now).unwrap();
        self.run();
        ticket
    }

    fn put(&mut self, key: &[u8]) -> Ticket {
        let ticket = self.router.put(key, &put(), self.now).unwrap();
        self.run();
        ticket
    }

    /// Time passes, tick by tick.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = (self.now + TICK).min(until);
            let done = &mut self.done;
            self.router.on_time(self.now, &mut |ticket, reply| {
                done.push((ticket, reply.map(drop).map_err(|error| error.to_string())));
            });
            self.run();
        }
    }

    /// What became of a request, if anything has.
    fn outcome(&self, ticket: Ticket) -> Option<&Result<(), String>> {
        let mut outcomes = self.done.iter().filter(|(ended, _)| *ended == ticket);
        let outcome = outcomes.next();
        assert!(outcomes.next().is_none(), "it ended twice");
        outcome.map(|(_, outcome)| outcome)
    }

    fn is_well(&self, ticket: Ticket) -> bool {
        self.outcome(ticket).is_some_and(Result::is_ok)
    }

    /// Does what the router wants done, and answers, until nothing is left to do.
    fn run(&mut self) {
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::Dial(id, address) => {
                    self.dials.push(address);
                    match self.nodes.get(&address).map(|node| node.mood) {
                        None | Some(Mood::Down) => {
                            self.lost(id, io::ErrorKind::ConnectionRefused);
                        }
                        Some(_) => {
                            self.links.insert(id, (address, 0));
                            self.router.on_connected(id, self.now, &mut |_, _| {});
                        }
                    }
                }
                Action::Send(id) => {
                    let mut out = Vec::new();
                    self.router.take_output(id, &mut out);
                    self.on_output(id, &out);
                }
                Action::HangUp(id) => {
                    self.links.remove(&id);
                }
            }
        }
    }

    fn lost(&mut self, id: LinkId, kind: io::ErrorKind) {
        let done = &mut self.done;
        self.router.on_lost(id, kind.into(), self.now, &mut |ticket, reply| {
            done.push((ticket, reply.map(drop).map_err(|error| error.to_string())));
        });
    }

    /// All connections to a node break.
    fn cut(&mut self, node: u32) {
        let ids: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, (at, _))| *at == address(node))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.links.remove(&id);
            self.lost(id, io::ErrorKind::ConnectionReset);
        }
        self.run();
    }

    /// A silent node answers what it was asked, late.
    fn speak(&mut self) {
        for (id, bytes) in std::mem::take(&mut self.owed) {
            self.tell(id, &bytes);
        }
        self.run();
    }

    fn tell(&mut self, id: LinkId, bytes: &[u8]) {
        let done = &mut self.done;
        // In two pieces, as networks do.
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        for piece in [first, rest] {
            self.router.on_received(id, piece, self.now, &mut |ticket, reply| {
                done.push((ticket, reply.map(drop).map_err(|error| error.to_string())));
            });
        }
    }

    fn on_output(&mut self, id: LinkId, mut out: &[u8]) {
        while !out.is_empty() {
            let length = frame_bytes(out).unwrap().unwrap();
            let (bytes, rest) = out.split_at(length);
            let frame = Frame::new_checked::<Software>(bytes).unwrap();
            let Some((at, _)) = self.links.get(&id) else { return };
            let mood = self.nodes[at].mood;
            let answer = self.answer(id, &frame, mood);
            if let (Some(bytes), Mood::Silent) = (&answer, mood)
                && frame.op() != Op::Hello
            {
                self.owed.push((id, bytes.clone()));
            } else if let Some(bytes) = answer {
                self.tell(id, &bytes);
            }
            out = rest;
        }
    }

    fn answer(&mut self, id: LinkId, frame: &Frame<'_>, mood: Mood) -> Option<Vec<u8>> {
        let request = frame.hop().request;
        let (address, shard) = self.links[&id];
        let node = &self.nodes[&address];
        match Message::new_checked(frame).unwrap() {
            Message::Hello(_) if mood == Mood::Dumb => None,
            Message::Hello(hello) => {
                assert!(hello.shard.0 < node.shards);
                let reply = HelloReply {
                    version: node.version,
                    node: node.id,
                    boot: Boot(1),
                    shards: node.shards,
                    cluster: Some(cluster()),
                    nonce: [1; 16],
                    proof: [0; 16],
                    secret: None,
                };
                self.links.insert(id, (address, hello.shard.0));
                Some(self.frame(Op::HelloReply, request, &reply, VERSION))
            }
            Message::Routes(RoutesRequest { known }) => {
                self.asked.push(Asked {
                    node: node.id.0,
                    shard,
                    op: Op::Routes,
                    key: vec![],
                    is_refused: false,
                });
                if known.0 == self.topology {
                    return Some(self.frame(Op::RoutesReply, request, &RoutesReply::Same, VERSION));
                }
                let nodes = self.route_nodes();
                let rows = self.route_rows(&nodes);
                let routes = Routes { partition_bits: BITS, nodes: &nodes, rows: &rows };
                Some(self.frame(Op::RoutesReply, request, &RoutesReply::Routes(routes), VERSION))
            }
            Message::Get(_) | Message::Put(_) => {
                let (node, version) = (node.id.0, node.version);
                let (op, key) = (frame.op(), frame.key().to_vec());
                let refusals = [Mood::Says(Status::Busy), Mood::Says(Status::Unavailable)];
                let is_refused = refusals.contains(&mood);
                self.asked.push(Asked { node, shard, op, key, is_refused });
                let status = if let Mood::Says(status) = mood { status } else { Status::Ok };
                let mut out = vec![0; reply_bytes(0, 0, 0)];
                ReplyWriter::new(&ReplyHead::of(status), 0, 0, &mut out).finish();
                Some(self.frame(Op::Reply, request, &out.as_slice(), version))
            }
            other => panic!("a client does not say {other:?}"),
        }
    }

    fn route_nodes(&self) -> Vec<RouteNode> {
        let mut nodes = Vec::new();
        for (address, node) in &self.nodes {
            let SocketAddr::V4(v4) = address else { unreachable!("all are") };
            let ip = v4.ip().to_ipv6_mapped().octets();
            if self.members.contains(&node.id.0) {
                nodes.push(RouteNode::new(node.id, v4.port(), node.shards, ip));
            }
        }
        nodes
    }

    fn route_rows(&self, nodes: &[RouteNode]) -> Vec<U16> {
        let mut rows = Vec::new();
        for partition in 0..1 << BITS {
            let mut row = [NO_NODE; 3];
            for (place, id) in row.iter_mut().zip(self.row(Partition(partition))) {
                let index = nodes.iter().position(|node| node.node().0 == id).unwrap();
                *place = U16::new(index as u16);
            }
            rows.extend(row);
        }
        rows
    }

    fn frame(&self, op: Op, request: RequestId, payload: &impl Payload, version: u8) -> Vec<u8> {
        let hop = Hop {
            op,
            request,
            deadline_ms: 0,
            sent_ms: 0,
            topology: TopologyId(self.topology),
            cluster_digest: cluster().id.digest(),
        };
        let mut bytes = vec![0; frame_length(0, payload.bytes())];
        write_frame::<Software>(&hop, &[], payload, &mut bytes);
        stamp_frames(&mut bytes, version, 0);
        bytes
    }

    /// Who was asked for a key, in order.
    fn asked_for(&self, key: &[u8]) -> Vec<u32> {
        self.asked.iter().filter(|asked| asked.key == key).map(|asked| asked.node).collect()
    }

    fn routes_asked(&self) -> usize {
        self.asked.iter().filter(|asked| asked.op == Op::Routes).count()
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}
