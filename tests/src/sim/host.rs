//! One simulated server: what outlives its processes (disk, clock), and the process itself: one
//! shipped `Node` and some shipped `Shard`s.

use ringmain_core::Unsynced;
use ringmain_core::exchange::{self, Answering, Asking, Pair};
use ringmain_core::id::{Boot, ClusterId, NodeId, Partition, ShardIndex};
use ringmain_core::limits::{HINT_INTERVAL, PROBE_INTERVAL};
use ringmain_core::membership::detector::Entry;
use ringmain_core::membership::member::{Contact, Member, Name};
use ringmain_core::membership::operation::Encoded;
use ringmain_core::node::{Node, NodeConfig, NodeMemory};
use ringmain_core::request::Slot;
use ringmain_core::ring::{RingConfig, Rings};
use ringmain_core::shard::{Shard, ShardConfig, ShardMemory};
use ringmain_core::survey::{self, Batch, Epochs};
use ringmain_core::time::{Instant, UnixMs};
use ringmain_core::wire::epochs::Claim;
use ringmain_core::wire::{VERSION, VERSION_MIN};

use std::time::Duration;

use super::bodies::Kept;
use super::network::Site;
use super::outbox::{PARTITION_BITS, node_id};
use super::parking::Parking;
use super::random::Random;
use super::store::{DiskCopy, Store};
use super::swarm::{Durability, Swarm};
use super::world::Event;

/// Process lives that a host has at most.
pub(super) const LIFE_COUNT_MAX: usize = 16;

/// Lives that faults leave, so that every process runs in the end.
pub(super) const LIFE_COUNT_SPARED: u64 = 4;

/// Between two exchanges of copies that are compared only when partitions move: no run lasts as
/// long.
const NO_ANTI_ENTROPY: Duration = Duration::from_secs(100_000);

/// Most members of a simulated cluster.
const OPERATION_COUNT: usize = 48;

/// Operations that a simulated operator stages at once at most.
const STAGED_COUNT: usize = 4;

/// The memory of all processes of a run: machines borrow theirs for as long as the run lasts.
#[derive(Debug)]
pub(super) struct Memory {
    /// Made when they are handed out: most runs use few.
    shards: Vec<Option<ShardPart>>,
    nodes: Vec<NodePart>,
}

#[derive(Debug)]
struct ShardPart {
    slots: Vec<Slot>,
    unsynced: Vec<Unsynced>,
    births: Vec<u32>,
    heard: Vec<u8>,
    hinted: Vec<Instant>,
    owners: Vec<NodeId>,
    pairs: Vec<Pair>,
    asking: Vec<Asking>,
    answering: Vec<Answering>,
    surveys: Vec<Batch>,
}

#[derive(Clone, Debug)]
struct NodePart {
    operations: Vec<Encoded>,
    staged: Vec<Encoded>,
    owners: Vec<NodeId>,
    entries: Vec<Entry>,
}

impl ShardPart {
    fn new(swarm: &Swarm) -> ShardPart {
        let (asking, answering) =
            swarm.anti_entropy.map_or((2, 3), |options| (options.asking, options.answering));
        let settings = exchange_settings(swarm, 0);
        ShardPart {
            slots: vec![Slot::default(); swarm.slot_count],
            unsynced: vec![Unsynced::default(); swarm.unsynced_count],
            births: vec![0; 1 << PARTITION_BITS],
            heard: vec![0; 1 << PARTITION_BITS],
            hinted: vec![Instant(0); 1 << PARTITION_BITS],
            owners: vec![NodeId::default(); Rings::slot_count(&ring_config(swarm))],
            pairs: vec![Pair::default(); usize::from(2 * swarm.n) << PARTITION_BITS],
            asking: (0..asking).map(|_| Asking::asking(&settings)).collect(),
            answering: (0..answering).map(|_| Answering::answering(&settings)).collect(),
            surveys: vec![Batch::default(); 3],
        }
    }
}

impl Memory {
    /// Enough for `swarm`.
    pub(super) fn new(swarm: &Swarm) -> Memory {
        let owners = vec![NodeId::default(); Rings::slot_count(&ring_config(swarm))];
        let entries = vec![Entry::EMPTY; swarm.shards.len()];
        // A run with a few nodes uses the same memory, whatever they are.
        let operation_count = OPERATION_COUNT.max(swarm.shards.len() + 2);
        let operations = vec![[0; _]; operation_count];
        let node = NodePart { operations, staged: vec![[0; _]; STAGED_COUNT], owners, entries };
        let shard_count: usize = swarm.shards.iter().map(|shards| usize::from(*shards)).sum();
        Memory {
            shards: (0..shard_count * LIFE_COUNT_MAX).map(|_| None).collect(),
            nodes: vec![node; swarm.shards.len() * LIFE_COUNT_MAX],
        }
    }

    /// The parts, to be handed out one by one.
    pub(super) fn pool(&mut self) -> Pool<'_> {
        Pool { shards: self.shards.iter_mut(), nodes: self.nodes.iter_mut() }
    }
}

/// Memory that no process has used yet.
#[derive(Debug)]
pub(super) struct Pool<'m> {
    shards: std::slice::IterMut<'m, Option<ShardPart>>,
    nodes: std::slice::IterMut<'m, NodePart>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Host<'m> {
    /// One store for each shard.
    pub(super) stores: Vec<Store>,
    /// What its node has on disk; none if never written.
    pub(super) persisted: Option<Persisted>,
    /// A copy of its disks, to be put back.
    pub(super) copy: Option<(Vec<DiskCopy>, Persisted)>,
    /// Its disks were put back from an older copy.
    pub(super) is_put_back: bool,
    /// Its disks are new files with the bytes of former ones, which nobody has vouched for yet.
    pub(super) is_copied: bool,
    /// Process lives so far: also the boot of the latest.
    pub(super) lives: u64,
    /// One of its disks has lost something. It serves on, and is not trusted with anything.
    pub(super) is_damaged: bool,
    /// It is never started again.
    pub(super) is_gone: bool,
    /// It is started for the first time when the cluster grows.
    pub(super) is_spare: bool,
    /// The newest version of the protocol that its build speaks.
    pub(super) version: u8,
    /// It leaves the cluster, or has left it.
    pub(super) is_removed: bool,
    /// Data moves, as far as it knows.
    pub(super) is_moving: bool,
    /// The running process.
    pub(super) process: Option<Process<'m>>,
    /// What came in since the process was stopped; none while it runs.
    pub(super) stopped: Option<Vec<Event>>,
    /// What its monotonic clock shows at the start of the run, microseconds.
    origin: u64,
    /// What its wall clock shows at the start of the run, milliseconds.
    pub(super) wall: u64,
}

/// What the machine of a node has on disk.
#[derive(Clone, Debug)]
pub(super) struct Persisted {
    /// The committed operations.
    pub(super) operations: Vec<u8>,
    /// The reap epochs that members had.
    pub(super) claims: Vec<Claim>,
}

impl Persisted {
    /// What `node` wants to have there.
    pub(super) fn of(node: &Node<'_>) -> Persisted {
        let operations = node.operations().bytes().to_vec();
        Persisted { operations, claims: node.claims_to_keep().to_vec() }
    }
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process<'m> {
    /// The machine of the node; away while it is at work.
    pub(super) node: Option<Box<Node<'m>>>,
    /// Its shards.
    pub(super) shards: Vec<ShardProcess<'m>>,
    /// What that says of reap epochs.
    pub(super) epochs: Epochs,
    /// When the machine of the node is woken.
    pub(super) wake: Option<Instant>,
}

impl Process<'_> {
    fn config(&self) -> &ShardConfig {
        self.shards[0].machine.config()
    }
}

/// A shard of a running process.
#[derive(Debug)]
pub(super) struct ShardProcess<'m> {
    /// The machine.
    pub(super) machine: Box<Shard<'m>>,
    /// Its memory for requests.
    pub(super) bodies: Kept,
    /// What waits for cold records.
    pub(super) waiting: Parking,
    /// When it is woken.
    pub(super) wake: Option<Instant>,
}

impl<'m> Host<'m> {
    /// A host with empty disks whose process does not run.
    pub(super) fn new(
        swarm: &Swarm,
        node: usize,
        cluster: ClusterId,
        random: &mut Random,
    ) -> Host<'m> {
        let sites = (0..usize::from(swarm.shards[node])).map(|shard| Site { node, shard });
        Host {
            stores: sites.map(|site| Store::new(swarm, site, cluster, random.fork())).collect(),
            persisted: None,
            copy: None,
            is_put_back: false,
            is_copied: false,
            lives: 0,
            is_damaged: false,
            is_gone: false,
            is_spare: node >= swarm.shards.len() - swarm.spares,
            version: if node < 8 && swarm.older >> node & 1 == 1 { VERSION_MIN } else { VERSION },
            is_removed: false,
            is_moving: false,
            process: None,
            stopped: None,
            origin: random.between(0, 1 << 40),
            wall: random.between(0, 1 << 41),
        }
    }

    /// The host's monotonic time at `now`.
    pub(super) fn local(&self, now: Instant) -> Instant {
        Instant(now.0 + self.origin)
    }

    /// When the host's monotonic time is `local`, or `now` if that is past.
    pub(super) fn global(&self, now: Instant, local: Instant) -> Instant {
        Instant(local.0.saturating_sub(self.origin)).max(now)
    }

    /// The host's wall clock at `now`.
    pub(super) fn wall(&self, now: Instant) -> UnixMs {
        UnixMs(self.wall + now.0 / 1000)
    }

    /// A log of its shards takes nothing any more: the process should be started again.
    pub(super) fn has_failed(&self) -> bool {
        self.stores.iter().any(Store::has_failed)
    }

    /// Its disk may be an older copy that it takes for its own, and nobody has told it yet: what
    /// that has is found when it reaches others.
    pub(super) fn is_doubtful(&self) -> bool {
        let node = self.process.as_ref().and_then(|process| process.node.as_ref());
        self.is_put_back && !self.is_copied && node.is_none_or(|node| !node.is_vouched())
    }

    /// It is, or is to be, a member.
    pub(super) fn is_member(&self) -> bool {
        !self.is_spare && !self.is_removed
    }

    /// It is to have a copy of `partition`, as far as is known, or hints if that is meant.
    pub(super) fn may_hold(&self, partition: Partition, is_hint: bool) -> bool {
        self.process.as_ref().is_none_or(|process| {
            let (rings, node) = (process.shards[0].machine.rings(), process.config().node);
            if is_hint { rings.contains(node) } else { rings.is_owner(partition, node) }
        })
    }

    /// Runs and is not stopped.
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some() && self.stopped.is_none()
    }

    /// How often it may be started again.
    pub(super) fn lives_left(&self) -> u64 {
        LIFE_COUNT_MAX as u64 - self.lives
    }

    /// Starts a process under a new boot.
    ///
    /// # Panics
    /// If one is running, or there is no life left.
    pub(super) fn start(&mut self, swarm: &Swarm, node: usize, pool: &mut Pool<'m>, seed: u64) {
        assert!(self.process.is_none());
        assert!(self.lives_left() > 0);
        self.lives += 1;
        let memory = pool.nodes.next().expect("there is memory for every life");
        let boot = Boot(self.lives);
        let config = NodeConfig {
            member: member(node),
            ring: ring_config(swarm),
            join: node > 0,
            shards: swarm.shards[node],
            boot,
            in_place: !self.is_copied,
            frame_age_max: swarm.network.age_max,
            probe_interval: PROBE_INTERVAL,
            seed,
        };
        let NodePart { operations, staged, owners, entries } = memory;
        let memory = NodeMemory { operations, staged, owners, entries };
        let machine = Box::new(Node::new(config, memory));
        let shards = (0..swarm.shards[node]).map(|shard| {
            let memory = pool.shards.next().expect("there is memory for every life");
            let memory = memory.insert(ShardPart::new(swarm));
            let machine = shard_machine(swarm, node, shard, boot, memory);
            let applied = self.stores[usize::from(shard)].applied.clone();
            let (bodies, waiting) = (Kept::new(applied), Parking::new(swarm));
            ShardProcess { machine: Box::new(machine), bodies, waiting, wake: None }
        });
        let shards = shards.collect();
        let epochs = Epochs::default();
        self.process = Some(Process { node: Some(machine), shards, epochs, wake: None });
    }
}

fn shard_machine<'m>(
    swarm: &Swarm,
    node: usize,
    shard: u16,
    boot: Boot,
    memory: &'m mut ShardPart,
) -> Shard<'m> {
    let config = ShardConfig {
        node: node_id(node),
        boot,
        shard: ShardIndex(shard),
        shards: swarm.shards[node],
        partition_bits: PARTITION_BITS,
        r: swarm.r,
        w: swarm.w,
        sync_before_ack: swarm.durability == Durability::Always,
        keeps_hints: !swarm.anti_entropy.is_some_and(|options| options.is_alone),
        hint_interval: HINT_INTERVAL,
        exchanges: exchange_settings(swarm, boot.0 << 16 ^ (node as u64) << 8 ^ u64::from(shard)),
        surveys: survey::Settings {
            grace: swarm.reap_grace,
            frame_age_max: swarm.network.age_max,
            long_entries: swarm.long_entries,
        },
    };
    let births = &mut memory.births[..Shard::partition_count(&config)];
    let heard = &mut memory.heard[..Shard::partition_count(&config)];
    let hinted = &mut memory.hinted[..Shard::partition_count(&config)];
    let rings = Rings::new(&mut memory.owners, ring_config(swarm));
    let (slots, unsynced) = (&mut memory.slots[..], &mut memory.unsynced[..]);
    let ShardPart { pairs, asking, answering, surveys, .. } = memory;
    let exchanges = exchange::Memory { pairs, asking, answering };
    Shard::new(
        config,
        ShardMemory { slots, unsynced, births, heard, hinted, exchanges, surveys },
        rings,
    )
}

fn exchange_settings(swarm: &Swarm, seed: u64) -> exchange::Settings {
    let interval = swarm.anti_entropy.map_or(NO_ANTI_ENTROPY, |options| options.interval);
    exchange::Settings { interval, request_timeout: swarm.request_timeout, seed }
}

fn ring_config(swarm: &Swarm) -> RingConfig {
    RingConfig { partition_bits: PARTITION_BITS, n: usize::from(swarm.n), seed: 7 }
}

fn member(node: usize) -> Member {
    let zone = Name::new("default").expect("a short word");
    Member { node: node_id(node), uuid: 1 + node as u128, weight: 100, zone }
}

/// Where the node at index `node` says that it answers.
pub(super) fn contact(swarm: &Swarm, node: usize, life: u64) -> Contact {
    Contact {
        node: node_id(node),
        boot: Boot(life),
        incarnation: 0,
        name: Name::new("simulated").expect("a short word"),
        ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1 + node as u8],
        resp_port: 7379,
        native_port: 7400,
        admin_port: 7480,
        shards: swarm.shards[node],
    }
}
