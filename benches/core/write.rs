//! One whole write through `Turn`, `Shard` and the quorum, to the client's answer: of one node,
//! and of three, whose acknowledgments are fed by hand. The store is one key in memory, so what
//! the control does (`records::event` alone) is all that is not deciding and sending.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use ringmain_core::Unsynced;
use ringmain_core::causality::{Change, Context, Record, Write};
use ringmain_core::drive::{Answer, Command, Links, Lost, Notice, To, Turn, TurnSettings};
use ringmain_core::exchange;
use ringmain_core::hash::Key;
use ringmain_core::id::{ClusterId, NodeId, Partition, RequestId, ShardIndex, TopologyId};
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::records::{Author, Full, Place, Records, Stored, Unread, event};
use ringmain_core::request::{Link, Origin, Outcome, Slot};
use ringmain_core::ring::{RingConfig, Rings, Transition};
use ringmain_core::shard::{Input, Shard, ShardConfig, ShardMemory};
use ringmain_core::survey::Epochs;
use ringmain_core::time::{Instant, UnixMs};
use ringmain_core::wire::body::{Body, body_bytes, write_body};
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::peer::Ack;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_runtime::bodies::RequestBodies;
use ringmain_runtime::checksum::Hardware;
use ringmain_runtime::waiting::WaitingOperations;

use crate::records::{BOOT, KEY, value};

const ME: NodeId = NodeId(1);
const CLUSTER: ClusterId = ClusterId(42);
const PARTITION_BITS: u32 = 10;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let value = value();
    let put = PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: &value },
    };
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    for (name, nodes) in [("n1", &[ME][..]), ("n3", &[ME, NodeId(2), NodeId(3)])] {
        let mut coordinator = Coordinator::new(nodes);
        group.bench_function(name, |bencher| {
            bencher.iter(|| coordinator.write(black_box(put)));
        });
    }
    group.bench_function("control_event", |bencher| {
        let mut store = OneKey::default();
        let key = Key::new(KEY, CLUSTER.hash_seed(), PARTITION_BITS);
        let author = Author { node: ME, boot: BOOT, birth: 1, now: UnixMs(1) };
        let write = Write {
            context: Context::Local,
            timestamp: UnixMs(1),
            change: Change::Value { expires: None, value: &value },
        };
        bencher.iter(|| event(&mut store, black_box(&key), author, black_box(&write)));
    });
    group.finish();
}

/// A node that owns the key, its peers on paper. (Its memory is leaked: there are two.)
struct Coordinator {
    shard: Shard<'static>,
    store: OneKey,
    links: Paper,
    bodies: RequestBodies,
    waiting: WaitingOperations,
    settings: TurnSettings,
    peers: Vec<NodeId>,
    /// What a peer answers; only the request's number differs.
    ack: Vec<u8>,
}

impl Coordinator {
    fn new(nodes: &[NodeId]) -> Coordinator {
        let ring = RingConfig { partition_bits: PARTITION_BITS, n: nodes.len(), seed: 1 };
        let zone = Name::new("default").expect("a short word");
        let member = |node: &NodeId| Member { node: *node, uuid: node.0.into(), weight: 100, zone };
        let members: Vec<Member> = nodes.iter().map(member).collect();
        let storage = || vec![NodeId(0); Rings::slot_count(&ring)].leak();
        let mut published = Rings::new(storage(), ring);
        published.rebuild(&Transition::none(&members));
        let config = ShardConfig {
            node: ME,
            boot: BOOT,
            shard: ShardIndex(0),
            shards: 1,
            partition_bits: PARTITION_BITS,
            r: 1,
            w: nodes.len().div_ceil(2) as u8,
            sync_before_ack: false,
            keeps_hints: false,
            hint_interval: ringmain_core::limits::HINT_INTERVAL,
            exchanges: Default::default(),
            surveys: Default::default(),
        };
        let memory = ShardMemory {
            slots: vec![Slot::default(); 1024].leak(),
            unsynced: vec![Unsynced::default(); 1024].leak(),
            births: vec![0; Shard::partition_count(&config)].leak(),
            heard: vec![0; Shard::partition_count(&config)].leak(),
            hinted: vec![Instant(0); Shard::partition_count(&config)].leak(),
            exchanges: exchange::Memory::none(),
            surveys: &mut [],
        };
        let mut coordinator = Coordinator {
            shard: Shard::new(config, memory, Rings::new(storage(), ring)),
            store: OneKey::default(),
            links: Paper::default(),
            bodies: RequestBodies::default(),
            waiting: WaitingOperations::default(),
            settings: settings(),
            peers: nodes.iter().copied().filter(|node| *node != ME).collect(),
            ack: ack(),
        };
        let peers = coordinator.peers.clone();
        let mut turn = coordinator.turn();
        turn.input(Input::Rings { rings: &published, topology: TopologyId(1) });
        turn.input(Input::Stored { written: Place(u64::MAX), synced: Place(0) });
        for peer in peers {
            turn.input(Input::PeerUp(peer));
        }
        turn.timeouts(usize::MAX);
        coordinator
    }

    fn turn(
        &mut self,
    ) -> Turn<'_, 'static, OneKey, Paper, RequestBodies, WaitingOperations, Hardware> {
        Turn {
            shard: &mut self.shard,
            store: &mut self.store,
            links: &mut self.links,
            bodies: &mut self.bodies,
            waiting: &mut self.waiting,
            settings: &self.settings,
            epochs: Epochs::default(),
            now: Instant(1),
            wall: UnixMs(1),
            checksum: PhantomData,
        }
    }

    /// From the command to the answer, and until the last peer has acknowledged.
    fn write(&mut self, put: PutRequest<'_>) {
        let before = self.links.answer_count;
        self.turn().command(Origin::Session(5), KEY, Command::Put(put));
        self.ack[REQUEST].copy_from_slice(&self.links.request);
        let ack = std::mem::take(&mut self.ack);
        for index in 0..self.peers.len() {
            let peer = self.peers[index];
            let frame = Frame::new_checked::<Hardware>(&ack).expect("`ack` wrote it");
            let taken = self.turn().frame(Link(peer.0.into()), Some(peer), frame);
            taken.expect("an ACK of a peer");
        }
        self.ack = ack;
        assert_eq!(self.links.answer_count, before + 1);
        assert_eq!(self.shard.request_count(), 0);
    }
}

fn settings() -> TurnSettings {
    TurnSettings {
        cluster_digest: CLUSTER.digest(),
        hash_seed: CLUSTER.hash_seed(),
        context_key: [7; 16],
        request_timeout: Duration::from_secs(1),
        key_bytes_max: 4096,
        value_bytes_max: 1 << 20,
    }
}

/// Where the request's number stands in a frame.
const REQUEST: std::ops::Range<usize> = 8..12;

/// The ACK of the key, for request 0.
fn ack() -> Vec<u8> {
    let hop = Hop {
        op: Op::Ack,
        request: RequestId(0),
        deadline_ms: 0,
        sent_ms: 0,
        topology: TopologyId(1),
        cluster_digest: CLUSTER.digest(),
    };
    let order = Key::new(KEY, CLUSTER.hash_seed(), PARTITION_BITS).order;
    let ack = Ack { order, durable: false };
    let mut bytes = vec![0; frame_length(0, ack.bytes())];
    write_frame::<Hardware>(&hop, &[], &ack, &mut bytes);
    bytes
}

/// Connections that write down the last frame.
#[derive(Default)]
struct Paper {
    frame: Vec<u8>,
    request: [u8; 4],
    answer_count: u64,
}

impl Links for Paper {
    fn send(&mut self, _: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        self.frame.resize(bytes, 0);
        fill(&mut self.frame);
        self.request.copy_from_slice(&self.frame[REQUEST]);
        Ok(())
    }

    fn answer(&mut self, _: u64, answer: Answer<'_>) {
        assert!(matches!(answer, Answer::Local { outcome: Outcome::Stored(_), .. }));
        self.answer_count += 1;
    }

    fn notice(&mut self, _: Notice) {}
}

/// A store of one key that forgets all but its current record.
struct OneKey {
    bodies: [Vec<u8>; 2],
    /// The record is the body of this place, modulo 2; 0: there is none.
    place: u64,
    mine: Option<u16>,
    leaves: Vec<u64>,
}

impl Default for OneKey {
    fn default() -> OneKey {
        let leaves = vec![0; MERKLE_LEAF_COUNT];
        OneKey { bodies: Default::default(), place: 0, mine: None, leaves }
    }
}

impl Records for OneKey {
    fn record(&self, _: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let place = Place(self.place);
        if self.place == 0 {
            return Ok(None);
        }
        let record = Record::new_checked(self.body(place)?.payload());
        Ok(Some(Stored { record: record.map_err(|_| Unread::Damaged)?, mine: self.mine, place }))
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
        let next = Place(self.place + 1);
        let mut body = std::mem::take(&mut self.bodies[next.0 as usize % 2]);
        body.resize(body_bytes(key.bytes.len(), bytes), 0);
        let old = self.record(key).expect("memory can be read");
        write_body::<Hardware>(key.bytes, &mut body, |out| fill(old, out));
        self.bodies[next.0 as usize % 2] = body;
        (self.place, self.mine) = (next.0, mine);
        Ok(next)
    }

    fn append_received(&mut self, _: &Key<'_>, _: Body<'_>) -> Result<Place, Full> {
        unreachable!("nobody else coordinates here")
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        assert_eq!(place.0, self.place);
        let body = &self.bodies[place.0 as usize % 2];
        Body::without_checksum(body).map_err(|_| Unread::Damaged)
    }

    fn leaves(&mut self, _: Partition) -> &mut [u64] {
        &mut self.leaves
    }
}
