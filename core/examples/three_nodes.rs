//! Three nodes in memory, without any runtime: a write on one, a read on another.

use ringmain_core::checksum::{Checksum, Software};
use ringmain_core::drive::{
    Answer, Bodies, Command, Links, Lost, NeverCold, Notice, To, Turn, TurnSettings,
};
use ringmain_core::exchange;
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, ClusterId, NodeId, Partition, RequestId, ShardIndex, TopologyId};
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::records::{Full, Place, Records, Stored, Unread};
use ringmain_core::request::{Link, Origin, Slot};
use ringmain_core::ring::{RingConfig, Rings, Transition};
use ringmain_core::shard::{Input, Shard, ShardConfig, ShardMemory};
use ringmain_core::survey::Epochs;
use ringmain_core::time::{Instant, UnixMs};
use ringmain_core::wire::body::{Body, body_bytes, write_body};
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_core::{Unsynced, causality::Record, limits};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::marker::PhantomData;
use std::time::Duration;

/// A store: bodies by place, and which of them is current for a key.
#[derive(Default)]
struct Store {
    bodies: Vec<Vec<u8>>,
    current: BTreeMap<Vec<u8>, (usize, Option<u16>)>,
    leaves: HashMap<Partition, Vec<u64>>,
}

impl Store {
    fn push(&mut self, key: &Key<'_>, mine: Option<u16>, body: Vec<u8>) -> Place {
        self.bodies.push(body);
        self.current.insert(key.bytes.to_vec(), (self.bodies.len() - 1, mine));
        Place(self.bodies.len() as u64 - 1)
    }
}

impl Records for Store {
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let Some(&(at, mine)) = self.current.get(key.bytes) else { return Ok(None) };
        let place = Place(at as u64);
        let record = Record::new_checked(self.body(place)?.payload());
        Ok(Some(Stored { record: record.map_err(|_| Unread::Damaged)?, mine, place }))
    }

    fn is_cold(&self, _: &Key<'_>) -> bool {
        false
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        let mut body = vec![0; body_bytes(key.bytes.len(), bytes)];
        let old = self.record(key).expect("memory can be read");
        write_body::<Software>(key.bytes, &mut body, |out| fill(old, out));
        Ok(self.push(key, mine, body))
    }

    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full> {
        Ok(self.push(key, None, body.bytes().to_vec()))
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        Body::without_checksum(&self.bodies[place.0 as usize]).map_err(|_| Unread::Damaged)
    }

    fn leaves(&mut self, partition: Partition) -> &mut [u64] {
        self.leaves.entry(partition).or_insert_with(|| vec![0; limits::MERKLE_LEAF_COUNT])
    }
}

/// What is kept for requests in flight: their command, and what was gathered for them.
#[derive(Default)]
struct Memory {
    kept: HashMap<RequestId, Vec<u8>>,
    gathered: HashMap<RequestId, Vec<u8>>,
}

impl Bodies for Memory {
    fn keep(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let mut kept = vec![0; bytes];
        fill(&mut kept);
        self.kept.insert(op, kept);
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

/// Frames on their way, and the answers that sessions got. A link is named by its far end.
#[derive(Default)]
struct Network {
    me: u32,
    frames: VecDeque<(u32, u32, Vec<u8>)>,
    answers: Vec<(u64, Vec<Vec<u8>>)>,
}

impl Links for Network {
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        let to = match to {
            To::Link(link) => link.0 as u32,
            To::Node(node, _) => node.0,
            To::Shard(_) => return Err(Lost),
        };
        let mut frame = vec![0; bytes];
        fill(&mut frame);
        self.frames.push_back((self.me, to, frame));
        Ok(())
    }

    fn answer(&mut self, ticket: u64, answer: Answer<'_>) {
        let Answer::Local { record, .. } = answer else { return };
        let values = record.iter().flat_map(|record| record.siblings());
        self.answers.push((ticket, values.map(|sibling| sibling.value.to_vec()).collect()));
    }

    fn notice(&mut self, _: Notice) {}
}

/// One node: a machine and its store. (Its memory is leaked: this is an example.)
struct Server {
    shard: Shard<'static>,
    store: Store,
    memory: Memory,
    waiting: NeverCold,
}

impl Server {
    fn new(node: NodeId, ring: RingConfig) -> Server {
        let config = ShardConfig {
            node,
            boot: Boot(1),
            shard: ShardIndex(0),
            shards: 1,
            partition_bits: ring.partition_bits,
            r: 2,
            w: 2,
            sync_before_ack: false,
            keeps_hints: false,
            hint_interval: limits::HINT_INTERVAL,
            exchanges: Default::default(),
            surveys: Default::default(),
        };
        let memory = ShardMemory {
            slots: vec![Slot::default(); 16].leak(),
            unsynced: vec![Unsynced::default(); 16].leak(),
            births: vec![0; Shard::partition_count(&config)].leak(),
            heard: vec![0; Shard::partition_count(&config)].leak(),
            hinted: vec![Instant(0); Shard::partition_count(&config)].leak(),
            exchanges: exchange::Memory::none(),
            surveys: &mut [],
        };
        let owners = vec![NodeId(0); Rings::slot_count(&ring)].leak();
        let shard = Shard::new(config, memory, Rings::new(owners, ring));
        let (store, memory) = (Store::default(), Memory::default());
        Server { shard, store, memory, waiting: NeverCold }
    }

    fn turn<'d, C: Checksum>(
        &'d mut self,
        links: &'d mut Network,
        settings: &'d TurnSettings,
    ) -> Turn<'d, 'static, Store, Network, Memory, NeverCold, C> {
        links.me = self.shard.config().node.0;
        let Server { shard, store, memory: bodies, waiting } = self;
        let (now, wall) = (Instant(1), UnixMs(1));
        let checksum = PhantomData;
        let epochs = Epochs::default();
        Turn { shard, store, links, bodies, waiting, settings, epochs, now, wall, checksum }
    }
}

fn main() {
    let cluster = ClusterId(42);
    let settings = TurnSettings {
        cluster_digest: cluster.digest(),
        hash_seed: cluster.hash_seed(),
        context_key: [7; 16],
        request_timeout: Duration::from_secs(1),
        key_bytes_max: 4096,
        value_bytes_max: 1 << 20,
    };
    let nodes = [NodeId(1), NodeId(2), NodeId(3)];
    let zone = Name::new("default").expect("a good name");
    let members = nodes.map(|node| Member { node, uuid: node.0.into(), weight: 100, zone });
    let config = RingConfig { partition_bits: 6, n: 3, seed: 1 };
    let mut owners = vec![NodeId(0); Rings::slot_count(&config)];
    let mut rings = Rings::new(&mut owners, config);
    rings.rebuild(&Transition::none(&members));

    let mut network = Network::default();
    let mut servers = nodes.map(|node| Server::new(node, config));
    for server in &mut servers {
        let me = server.shard.config().node;
        let mut turn = server.turn::<Software>(&mut network, &settings);
        turn.input(Input::Rings { rings: &rings, topology: TopologyId(1) });
        turn.input(Input::Stored { written: Place(u64::MAX), synced: Place(0) });
        for peer in nodes.into_iter().filter(|peer| *peer != me) {
            turn.input(Input::PeerUp(peer));
        }
        turn.timeouts(usize::MAX);
    }

    let put = PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: b"tea" },
    };
    let get = GetRequest { r: 2, pr: 0, forwarded: false, want_context: false, context: &[] };
    for (server, command) in [(0, Command::Put(put)), (2, Command::Get(get))] {
        let ticket = Origin::Session(server as u64);
        let mut turn = servers[server].turn::<Software>(&mut network, &settings);
        turn.command(ticket, b"drink", command);
        while let Some((from, to, bytes)) = network.frames.pop_front() {
            let frame = Frame::new_checked::<Software>(&bytes).expect("a whole frame");
            let mut turn = servers[to as usize - 1].turn::<Software>(&mut network, &settings);
            let taken = turn.frame(Link(from.into()), Some(NodeId(from)), frame);
            taken.expect("frames of peers are well-formed");
        }
    }
    assert_eq!(network.answers[0], (0, vec![]), "the write is on two nodes");
    assert_eq!(network.answers[1], (2, vec![b"tea".to_vec()]));
}
