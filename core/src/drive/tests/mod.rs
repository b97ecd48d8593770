//! Clusters in memory: every frame is real, the network is a list.

mod causal;
mod cold;
mod commands;
mod compact;
mod conditions;
mod exchanges;
mod expiry;
mod frames;
mod handoff;
mod hints;
mod limits;
mod losses;
mod queues;
mod random;
mod repair;
mod room;
mod scan;
mod sessions;
mod shards;
mod stopped;
mod survey;
mod versions;

use super::*;
use crate::checksum::Software;
use crate::id::{Boot, ClusterId, TopologyId};
use crate::limits::{EXCHANGE_INTERVAL, HINT_INTERVAL, PULSE};
use crate::membership::member::{Member, Name};
use crate::records::Place;
use crate::records::tests::store::Store;
use crate::request::Slot;
use crate::ring::{RingConfig, Rings, Transition};
use crate::shard::{ShardConfig, ShardMemory};
use crate::survey::{Batch, Epochs};
use crate::wire::frame::{FrameError, frame_length, write_frame};
use crate::wire::put::{Condition, Content};
use crate::wire::reply::{Reply, Status};
use crate::{Unsynced, exchange};
use commands::{GET, delete, first, replace, set};
use queues::Queues;
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

const BITS: u32 = 6;
const CLUSTER: ClusterId = ClusterId(42);
const TIMEOUT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_micros(4096);
/// What a log has written that writes each append at once.
const AT_ONCE: Place = Place(u64::MAX);

/// A shard of a node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct At {
    node: u32,
    shard: u16,
}

fn at(node: u32, shard: u16) -> At {
    At { node, shard }
}

impl At {
    /// The connections between shards are named by their far end.
    fn link(self) -> Link {
        Link(u64::from(self.node) << 16 | u64::from(self.shard))
    }

    fn of(link: Link) -> At {
        at((link.0 >> 16) as u32, link.0 as u16)
    }
}

/// The connection of a native client.
const CLIENT: Link = Link(1 << 60);

/// A frame on its way.
#[derive(Clone, Debug)]
struct Flight {
    from: At,
    to: At,
    bytes: Vec<u8>,
}

impl Flight {
    fn op(&self) -> Op {
        Op::from_number(self.bytes[3]).unwrap()
    }
}

/// Where frames and answers go; one for the whole cluster.
#[derive(Default)]
struct Network {
    me: Option<At>,
    /// Shards of each node.
    shards: BTreeMap<u32, u16>,
    flights: VecDeque<Flight>,
    /// Frames from the first to the second are not taken.
    cut: BTreeSet<(u32, u32)>,
    /// What native clients got.
    replies: Vec<Vec<u8>>,
    /// What sessions got.
    answers: Vec<(u64, String)>,
    notices: Vec<Notice>,
}

impl Network {
    fn shard_of(&self, node: NodeId, partition: Partition) -> u16 {
        ShardIndex::of(partition, self.shards[&node.0], BITS).0
    }
}

impl Links for Network {
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        let me = self.me.unwrap();
        let to = match to {
            To::Link(CLIENT) => None,
            To::Link(link) => Some(At::of(link)),
            To::Node(node, partition) => Some(at(node.0, self.shard_of(node, partition))),
            To::Shard(shard) => Some(at(me.node, shard.0)),
        };
        if to.is_some_and(|to| self.cut.contains(&(me.node, to.node))) {
            return Err(Lost);
        }
        let mut frame = vec![0xaa; bytes];
        fill(&mut frame);
        match to {
            Some(to) => self.flights.push_back(Flight { from: me, to, bytes: frame }),
            None => self.replies.push(frame),
        }
        Ok(())
    }

    fn answer(&mut self, ticket: u64, answer: Answer<'_>) {
        let text = match answer {
            Answer::Local { outcome, record, context, live, found } => {
                let values = record.iter().flat_map(|record| record.record().siblings());
                let values: Vec<&[u8]> = values.map(|sibling| sibling.value).collect();
                let context = context.map_or(0, |token| token.bytes());
                format!("{outcome:?} {values:?} {context} {live} {found}")
            }
            Answer::Remote(reply) => format!("{reply:?}"),
            Answer::Page { .. } => {
                let mut payload = vec![0xee; answer.bytes()];
                answer.write(&mut payload);
                format!("{:?}", Reply::new_checked(&payload).unwrap())
            }
        };
        self.answers.push((ticket, text));
    }

    fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}

/// What is kept for requests in flight.
#[derive(Default)]
struct Memory {
    kept: BTreeMap<RequestId, Vec<u8>>,
    gathered: BTreeMap<RequestId, Vec<u8>>,
}

impl Bodies for Memory {
    fn keep(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let mut kept = vec![0; bytes];
        fill(&mut kept);
        assert!(self.kept.insert(op, kept).is_none());
    }

    fn kept(&self, op: RequestId) -> Option<&[u8]> {
        self.kept.get(&op).map(Vec::as_slice)
    }

    fn gather(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(Option<&[u8]>, &mut [u8])) {
        let mut gathered = vec![0; bytes];
        fill(self.gathered(op), &mut gathered);
        self.gathered.insert(op, gathered);
    }

    fn gathered(&self, op: RequestId) -> Option<&[u8]> {
        self.gathered.get(&op).map(Vec::as_slice)
    }

    fn release(&mut self, op: RequestId) {
        self.kept.remove(&op);
        self.gathered.remove(&op);
    }
}

/// One shard with what it works on. (Its memory is leaked: this is a test.)
struct Site {
    /// Tests move sites about, and their threads have small stacks.
    shard: Box<Shard<'static>>,
    store: Store,
    bodies: Memory,
    waiting: Queues,
}

type SiteTurn<'d> = Turn<'d, 'static, Store, Network, Memory, Queues, Software>;

/// A reply, read.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Got {
    status: Status,
    needed: u8,
    got: u8,
    live: u16,
    found: u16,
    context: Vec<u8>,
    values: Vec<Vec<u8>>,
    /// When each of them ends, and its stamp.
    times: Vec<(Option<u64>, u64)>,
}

impl Got {
    /// The values alone, sorted.
    fn sorted(&self) -> Vec<&[u8]> {
        let mut values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        values.sort_unstable();
        values
    }
}

/// Nodes 1, 2, .. with equal shards, all in touch.
struct Cluster {
    sites: BTreeMap<At, Box<Site>>,
    network: Network,
    settings: TurnSettings,
    epochs: Epochs,
    now: Instant,
    wall: UnixMs,
    requests: u32,
}

#[derive(Clone, Copy)]
struct Setup {
    nodes: u32,
    shards: u16,
    /// Nodes have 1, 2, .. shards in turn; else all have `shards`.
    mixed: bool,
    r: u8,
    w: u8,
    sync_before_ack: bool,
    /// Of exchanges; none: there are none.
    interval: Option<Duration>,
}

const THREE: Setup =
    Setup { nodes: 3, shards: 1, mixed: false, r: 2, w: 2, sync_before_ack: false, interval: None };

impl Setup {
    fn shards_of(&self, node: u32) -> u16 {
        if self.mixed { 1 + (node as u16 - 1) % self.shards } else { self.shards }
    }
}

impl Cluster {
    fn new(setup: Setup) -> Cluster {
        let settings = TurnSettings {
            cluster_digest: CLUSTER.digest(),
            hash_seed: CLUSTER.hash_seed(),
            context_key: [7; 16],
            request_timeout: TIMEOUT,
            key_bytes_max: 100,
            value_bytes_max: 1000,
        };
        let shards: BTreeMap<u32, u16> =
            (1..=setup.nodes).map(|node| (node, setup.shards_of(node))).collect();
        let all = shards.iter().flat_map(|(node, count)| (0..*count).map(|shard| at(*node, shard)));
        let sites = all.map(|at| (at, Box::new(Site::new(at, &setup, Boot(1))))).collect();
        let network = Network { shards, ..Network::default() };
        let (now, wall) = (Instant(5_000_000), UnixMs(1_000));
        // As if a floor had just risen.
        let epochs = Epochs { raised: 6, floor: 7 };
        let mut cluster = Cluster { sites, network, settings, epochs, now, wall, requests: 0 };
        let members = Vec::from_iter(1..=setup.nodes);
        cluster.members(&members, TopologyId(1));
        for at in cluster.ats() {
            cluster.turn(at, |turn| {
                turn.input(Input::Stored { written: AT_ONCE, synced: Place(0) });
            });
            for node in members.iter().filter(|node| **node != at.node) {
                cluster.turn(at, |turn| turn.input(Input::PeerUp(NodeId(*node))));
            }
        }
        cluster
    }

    fn ats(&self) -> Vec<At> {
        self.sites.keys().copied().collect()
    }

    fn members(&mut self, nodes: &[u32], topology: TopologyId) {
        let rings = ring(nodes);
        for at in self.ats() {
            self.turn(at, |turn| {
                turn.input(Input::Rings { rings: &rings, topology });
                turn.timeouts(usize::MAX);
            });
        }
    }

    fn turn<T>(&mut self, at: At, run: impl FnOnce(&mut SiteTurn<'_>) -> T) -> T {
        self.network.me = Some(at);
        let Site { shard, store, bodies, waiting } = &mut **self.sites.get_mut(&at).unwrap();
        let (links, settings) = (&mut self.network, &self.settings);
        let (now, wall, checksum) = (self.now, self.wall, PhantomData);
        let epochs = self.epochs;
        run(&mut Turn {
            shard,
            store,
            links,
            bodies,
            waiting,
            settings,
            epochs,
            now,
            wall,
            checksum,
        })
    }

    /// Delivers one frame, which must be taken.
    fn deliver(&mut self, flight: &Flight) {
        let taken =
            self.offer(flight.to, flight.from.link(), Some(flight.from.node), &flight.bytes);
        taken.unwrap().unwrap();
    }

    /// Offers bytes to a shard as a frame over `link`.
    fn offer(
        &mut self,
        to: At,
        link: Link,
        node: Option<u32>,
        bytes: &[u8],
    ) -> Result<Result<(), FrameRefused>, FrameError> {
        let frame = Frame::new_checked::<Software>(bytes)?;
        Ok(self.turn(to, |turn| turn.frame(link, node.map(NodeId), frame)))
    }

    /// Delivers frames in order until only those of `held` are left.
    fn run_but(&mut self, held: impl Fn(&Flight) -> bool) {
        while let Some(index) = self.network.flights.iter().position(|flight| !held(flight)) {
            let flight = self.network.flights.remove(index).unwrap();
            self.deliver(&flight);
        }
    }

    fn run(&mut self) {
        self.run_but(|_| false);
    }

    /// Lets time pass and does what is due, without delivering anything.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time + TICK;
        // No machine is late by so much that it would take its process for stopped.
        while self.now < end {
            self.now = end.min(self.now + PULSE);
            for at in self.ats() {
                self.turn(at, |turn| turn.timeouts(usize::MAX));
            }
        }
    }

    /// A native client's command, sent and nothing delivered.
    fn send(&mut self, to: At, key: &[u8], command: Command<'_>) {
        self.requests += 1;
        let op = if matches!(command, Command::Get(_)) { Op::Get } else { Op::Put };
        let hop = self.hop(op, self.requests);
        let bytes = frame_of(hop, key, &command);
        self.offer(to, CLIENT, None, &bytes).unwrap().unwrap();
    }

    fn hop(&self, op: Op, request: u32) -> Hop {
        let (topology, cluster_digest) = (TopologyId(1), self.settings.cluster_digest);
        let request = RequestId(request);
        Hop { op, request, deadline_ms: 0, sent_ms: 0, topology, cluster_digest }
    }

    /// The one reply to the last command, if it has come.
    fn reply(&mut self) -> Option<Got> {
        assert!(self.network.replies.len() <= 1, "one reply to each command");
        let bytes = self.network.replies.pop()?;
        let frame = Frame::new_checked::<Software>(&bytes).unwrap();
        assert_eq!(frame.hop().request, RequestId(self.requests));
        let reply = Reply::new_checked(frame.payload()).unwrap();
        Some(Got {
            status: reply.head.status,
            needed: reply.head.needed,
            got: reply.head.got,
            live: reply.head.live,
            found: reply.head.found,
            context: reply.context.to_vec(),
            values: reply.siblings().map(|sibling| sibling.value.to_vec()).collect(),
            times: reply.siblings().map(|s| (s.expires.map(|at| at.0), s.timestamp.0)).collect(),
        })
    }

    /// A native client's command with its reply; all frames are delivered.
    fn ask(&mut self, to: At, key: &[u8], command: Command<'_>) -> Got {
        self.send(to, key, command);
        self.run();
        self.reply().expect("a reply once all frames are delivered")
    }

    fn put(&mut self, to: At, key: &[u8], put: PutRequest<'_>) -> Got {
        self.ask(to, key, Command::Put(put))
    }

    fn get(&mut self, to: At, key: &[u8], r: u8) -> Got {
        self.ask(to, key, Command::Get(GetRequest { r, ..GET }))
    }

    /// The values that one node's own copy holds, sorted.
    fn copy(&mut self, node: u32, key: &[u8]) -> Vec<Vec<u8>> {
        let key = self.key(key);
        let mut values = Vec::new();
        for (_, site) in self.sites.iter().filter(|(at, _)| at.node == node) {
            let Some(stored) = site.store.record(&key).unwrap() else { continue };
            assert!(site.shard.owns(key.partition));
            values.extend(stored.record.siblings().map(|sibling| sibling.value.to_vec()));
        }
        values.sort_unstable();
        values
    }

    fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key::new(bytes, self.settings.hash_seed, BITS)
    }

    /// Nothing is in flight, nothing is kept for what is over, and all leaves are right.
    fn check_idle(&self) {
        assert!(self.network.flights.is_empty());
        for site in self.sites.values() {
            assert_eq!(site.shard.request_count() + site.shard.hint_count(), 0);
            assert!(site.bodies.kept.is_empty());
            assert!(site.bodies.gathered.is_empty());
            assert!(site.waiting.is_empty());
            site.store.check_leaves(|bytes| Key::new(bytes, CLUSTER.hash_seed(), BITS));
        }
    }
}

impl Site {
    fn new(at: At, setup: &Setup, boot: Boot) -> Site {
        let exchanges = exchange::Settings {
            interval: setup.interval.unwrap_or(EXCHANGE_INTERVAL),
            request_timeout: TIMEOUT,
            seed: at.link().0,
        };
        let config = ShardConfig {
            node: NodeId(at.node),
            boot,
            shard: ShardIndex(at.shard),
            shards: setup.shards_of(at.node),
            partition_bits: BITS,
            r: setup.r,
            w: setup.w,
            sync_before_ack: setup.sync_before_ack,
            keeps_hints: true,
            hint_interval: HINT_INTERVAL,
            exchanges,
            surveys: Default::default(),
        };
        let memory = ShardMemory {
            slots: vec![Slot::default(); 200].leak(),
            unsynced: vec![Unsynced::default(); 200].leak(),
            births: vec![0; Shard::partition_count(&config)].leak(),
            heard: vec![0; Shard::partition_count(&config)].leak(),
            hinted: vec![Instant(0); Shard::partition_count(&config)].leak(),
            exchanges: exchanges::memory(setup, &exchanges),
            surveys: vec![Batch::default(); 8].leak(),
        };
        let shard = Box::new(Shard::new(config, memory, ring(&[])));
        let (store, bodies) = (Store::default(), Memory::default());
        Site { shard, store, bodies, waiting: Queues::default() }
    }
}

fn ring(nodes: &[u32]) -> Rings<'static> {
    let config = RingConfig { partition_bits: BITS, n: 3, seed: 1 };
    let zone = Name::new("default").unwrap();
    let member =
        |node: &u32| Member { node: NodeId(*node), uuid: (*node).into(), weight: 100, zone };
    let mut ring = Rings::new(vec![NodeId(0); Rings::slot_count(&config)].leak(), config);
    ring.rebuild(&Transition::none(&nodes.iter().map(member).collect::<Vec<_>>()));
    ring
}

fn frame_of(hop: Hop, key: &[u8], payload: &impl Payload) -> Vec<u8> {
    let mut bytes = vec![0; frame_length(key.len(), payload.bytes())];
    write_frame::<Software>(&hop, key, payload, &mut bytes);
    bytes
}
