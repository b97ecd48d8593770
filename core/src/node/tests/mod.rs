//! Nodes over a bad network: loss, reordering, duplicates, silence and restarts. At every moment
//! what is settled on any two disks is one set and a part of it.

mod changes;
mod epochs;

use super::*;
use crate::id::Boot;
use crate::limits::{FRAME_AGE_MAX, PROBE_INTERVAL};
use crate::membership::member::Name;
use crate::membership::topology::Topology;
use crate::prng::Prng;
use crate::wire::epochs::Claim;
use crate::wire::gossip;
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use core::time::Duration;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec as StdVec;

const RING: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 1 };

enum Frame {
    Topology(StdVec<u8>),
    Warm(TopologyId),
    Epochs(TopologyId, StdVec<u8>),
    Staged(u64, StdVec<u8>),
    Gossip(Op, StdVec<u8>),
}

struct Server {
    node: Box<Node<'static>>,
    disk: StdVec<u8>,
    claims: StdVec<Claim>,
    persist: Option<(Instant, StdVec<u8>, StdVec<Claim>)>,
    /// When its shard has what it gains in a topology.
    warm: Option<(Instant, TopologyId)>,
    /// It is never warm.
    is_cold: bool,
    up: bool,
    boot: Boot,
    /// It was told that a younger process runs under its id.
    is_superseded: bool,
    /// It was told that its disk is an older copy.
    is_outdated: bool,
    /// It was told that it is a member no more.
    is_removed: bool,
    /// It was told that more was staged than fits.
    is_staged_full: bool,
    /// Why its join was refused last.
    refused: Option<JoinRefusal>,
}

struct World {
    servers: BTreeMap<u32, Server>,
    frames: StdVec<(Instant, u32, u32, Frame)>,
    now: Instant,
    prng: Prng,
    loss_percent: u64,
}

fn member(node: u32) -> Member {
    let zone = Name::new("default").unwrap();
    Member { node: NodeId(node), uuid: node.into(), weight: 100, zone }
}

fn new_node(node: u32, boot: Boot, seed: u64) -> Box<Node<'static>> {
    let config = NodeConfig {
        member: member(node),
        ring: RING,
        join: true,
        shards: 1,
        boot,
        in_place: true,
        frame_age_max: FRAME_AGE_MAX,
        probe_interval: PROBE_INTERVAL,
        seed,
    };
    let memory = NodeMemory {
        operations: std::vec![[0; Operation::BYTES]; 64].leak(),
        staged: std::vec![[0; Operation::BYTES]; 4].leak(),
        owners: std::vec![NodeId(0); Rings::slot_count(&RING)].leak(),
        entries: std::vec![Entry::EMPTY; MEMBER_COUNT_MAX].leak(),
    };
    Box::new(Node::new(config, memory))
}

impl World {
    /// Node 1 has founded; the others want to join.
    fn new(seed: u64, count: u32, loss_percent: u64) -> World {
        let mut prng = Prng::new(seed);
        let mut servers = BTreeMap::new();
        for number in 1..=count {
            let node = new_node(number, Boot(1), prng.next_u64());
            let server = Server {
                node,
                boot: Boot(1),
                disk: StdVec::new(),
                claims: StdVec::new(),
                persist: None,
                warm: None,
                is_cold: false,
                up: true,
                is_superseded: false,
                is_outdated: false,
                is_removed: false,
                is_staged_full: false,
                refused: None,
            };
            servers.insert(number, server);
        }
        let now = Instant(1_000_000);
        let mut world = World { servers, frames: StdVec::new(), now, prng, loss_percent };
        world.input(1, NodeInput::Found);
        for from in 1..=count {
            world.connect(from);
        }
        world
    }

    fn connect(&mut self, from: u32) {
        let others: StdVec<u32> = self.servers.keys().copied().filter(|n| *n != from).collect();
        for to in others {
            if self.servers[&to].up {
                self.input(from, NodeInput::PeerUp(NodeId(to)));
                self.input(to, NodeInput::PeerUp(NodeId(from)));
            }
        }
    }

    fn input(&mut self, to: u32, input: NodeInput<'_>) {
        let now = self.now;
        let server = self.servers.get_mut(&to).unwrap();
        if server.up {
            server.node.handle_input(now, input);
            self.drain(to);
        }
    }

    fn drain(&mut self, at: u32) {
        loop {
            let server = self.servers.get_mut(&at).unwrap();
            let Some(output) = server.node.poll_output() else { break };
            match output {
                NodeOutput::SendTopology { to } => {
                    let bytes = server.node.operations().bytes().to_vec();
                    let asks = server.node.asks_epochs(to);
                    self.transmit(at, to.0, || Frame::Topology(bytes.clone()));
                    self.send_epochs(at, to, asks);
                }
                NodeOutput::SendStaged { to } => {
                    let (revision, operations) = server.node.staged();
                    let bytes = operations.bytes().to_vec();
                    self.transmit(at, to.0, || Frame::Staged(revision, bytes.clone()));
                }
                NodeOutput::StagedFull => server.is_staged_full = true,
                NodeOutput::SendWarm { to, topology } => {
                    self.transmit(at, to.0, || Frame::Warm(topology));
                }
                NodeOutput::Persist { .. } => {
                    let delay = Duration::from_micros(self.prng.below(20_000));
                    let disk = server.node.operations().bytes().to_vec();
                    let claims = server.node.claims_to_keep().to_vec();
                    server.persist = Some((self.now + delay, disk, claims));
                }
                NodeOutput::Publish { topology } => {
                    let delay = Duration::from_micros(self.prng.below(200_000));
                    let is_moving = server.node.rings().is_moving() && !server.is_cold;
                    server.warm = is_moving.then_some((self.now + delay, topology));
                }
                NodeOutput::ContactChanged { .. } | NodeOutput::Liveness { .. } => {}
                NodeOutput::JoinRefused { refusal } => server.refused = Some(refusal),
                NodeOutput::Removed => server.is_removed = true,
                NodeOutput::Superseded => server.is_superseded = true,
                NodeOutput::SendEpochs { to, asks } => self.send_epochs(at, to, asks),
                NodeOutput::Outdated { .. } => server.is_outdated = true,
                NodeOutput::PeerOutdated { .. } => {}
                NodeOutput::Gossip { to, signal } => {
                    let mut room = std::vec![Default::default(); signal.update_count_max()];
                    let gossip = server.node.gossip(to, signal, &mut room);
                    let mut bytes = std::vec![0; gossip.bytes()];
                    gossip.write(&mut bytes);
                    self.transmit(at, to.0, || Frame::Gossip(signal.op(), bytes.clone()));
                }
                NodeOutput::TopologyFull => panic!("five nodes fit"),
            }
        }
        self.check();
    }

    fn send_epochs(&mut self, at: u32, to: NodeId, asks: bool) {
        let node = &self.servers[&at].node;
        let (claims, vouched) = (node.claims(), node.is_vouched());
        let epochs = crate::wire::epochs::Epochs { asks, vouched, claims: &claims };
        let mut bytes = std::vec![0; epochs.bytes()];
        epochs.write(&mut bytes);
        let topology = node.operations().id();
        self.transmit(at, to.0, || Frame::Epochs(topology, bytes.clone()));
    }

    fn transmit(&mut self, from: u32, to: u32, frame: impl Fn() -> Frame) {
        let copies = if self.prng.chance(self.loss_percent / 3) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.prng.chance(self.loss_percent) {
                let slow = if self.prng.chance(self.loss_percent) { 3_000_000 } else { 5_000 };
                let at = self.now + Duration::from_micros(self.prng.below(slow));
                self.frames.push((at, from, to, frame()));
            }
        }
    }

    /// What is settled anywhere is settled everywhere, or will be: of two disks one has it all.
    fn check(&self) {
        let settled: StdVec<StdVec<Operation>> = self.servers.values().map(settled).collect();
        for (one, other) in settled.iter().flat_map(|a| settled.iter().map(move |b| (a, b))) {
            let is_part = |a: &[Operation], b: &[Operation]| a.iter().all(|op| b.contains(op));
            assert!(is_part(one, other) || is_part(other, one), "{one:?} and {other:?}");
        }
    }

    fn step(&mut self) {
        let timers = self.servers.values().filter(|s| s.up).filter_map(|s| s.node.poll_timeout());
        let up = || self.servers.values().filter(|s| s.up);
        let disks = up().filter_map(|s| s.persist.as_ref()).map(|p| p.0);
        let disks = disks.chain(up().filter_map(|s| s.warm).map(|warm| warm.0));
        let frames = self.frames.iter().map(|frame| frame.0);
        let Some(next) = timers.chain(disks).chain(frames).min() else { return };
        self.now = self.now.max(next);
        let now = self.now;
        if let Some(index) = self.frames.iter().position(|frame| frame.0 <= now) {
            let (_, from, to, frame) = self.frames.swap_remove(index);
            let from = NodeId(from);
            match frame {
                Frame::Topology(bytes) => {
                    let operations = Operations::new_checked(&bytes).unwrap();
                    self.input(to, NodeInput::Topology { from, operations });
                }
                Frame::Staged(revision, bytes) => {
                    let operations = Operations::new_checked(&bytes).unwrap();
                    self.input(to, NodeInput::Staged { from, revision, operations });
                }
                Frame::Warm(topology) => self.input(to, NodeInput::Warm { from, topology }),
                Frame::Epochs(topology, bytes) => {
                    let epochs = crate::wire::epochs::Epochs::new_checked(&bytes).unwrap();
                    self.input(to, NodeInput::Epochs { from, topology, epochs });
                }
                Frame::Gossip(op, bytes) => {
                    let gossip = Gossip::new_checked(op, &bytes).unwrap();
                    self.input(to, NodeInput::Gossip { from, gossip });
                }
            }
            return;
        }
        let numbers: StdVec<u32> = self.servers.keys().copied().collect();
        for number in numbers {
            let server = self.servers.get_mut(&number).unwrap();
            if !server.up {
                continue;
            }
            if let Some((_, disk, claims)) = server.persist.take_if(|(at, ..)| *at <= now) {
                (server.disk, server.claims) = (disk, claims);
                self.input(number, NodeInput::Persisted);
            } else if let Some((_, topology)) = server.warm.take_if(|(at, _)| *at <= now) {
                self.input(number, NodeInput::ShardWarm { topology });
            } else if server.node.poll_timeout().is_some_and(|at| at <= now) {
                server.node.handle_timeout(now);
                self.drain(number);
            }
        }
    }

    fn crash(&mut self, number: u32) {
        let seed = self.prng.next_u64();
        let server = self.servers.get_mut(&number).unwrap();
        server.up = false;
        (server.persist, server.warm) = (None, None);
        server.boot.0 += 1;
        server.node = new_node(number, server.boot, seed);
        let others: StdVec<u32> = self.servers.keys().copied().filter(|n| *n != number).collect();
        for other in others {
            self.input(other, NodeInput::PeerDown(NodeId(number)));
        }
    }

    fn restart(&mut self, number: u32) {
        let server = self.servers.get_mut(&number).unwrap();
        if server.up {
            return;
        }
        server.up = true;
        let (disk, claims) = (server.disk.clone(), server.claims.clone());
        let operations = Operations::new_checked(&disk).unwrap();
        self.input(number, NodeInput::Restored { operations, claims: &claims });
        if number == 1 && self.servers[&1].node.operations().is_empty() {
            self.input(1, NodeInput::Found);
        }
        self.connect(number);
    }

    /// All are members of a ring in which nothing moves.
    fn all_members(&self) -> bool {
        self.are_settled(self.servers.len())
    }

    /// All that are up have the same ring of so many members, and nothing moves.
    fn are_settled(&self, count: usize) -> bool {
        let mut up = self.servers.values().filter(|server| server.up);
        up.all(|server| {
            let rings = server.node.rings();
            !rings.is_moving() && rings.committed().nodes().len() == count
        })
    }

    fn commit(&mut self, at: u32, operation: Operation) {
        let bytes = operation.moving().to_bytes();
        let operations = Operations::new_checked(&bytes).unwrap();
        self.input(at, NodeInput::Commit { operations });
    }

    fn ring_hashes(&self) -> StdVec<u64> {
        let up = self.servers.values().filter(|server| server.up);
        up.map(|server| server.node.rings().committed().hash()).collect()
    }
}

/// The operations that are settled on a disk.
fn settled(server: &Server) -> StdVec<Operation> {
    let operations = Operations::new_checked(&server.disk).expect("torn disk");
    let settled = operations.iter().filter(|committed| !committed.is_moving);
    settled.map(|committed| committed.operation).collect()
}

#[test]
fn five_nodes_form_a_cluster_on_a_good_network() {
    let mut world = World::new(1, 5, 0);
    for _ in 0..20_000 {
        world.step();
    }
    assert!(world.all_members());
    let hashes = world.ring_hashes();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn eight_newcomers_at_once_all_get_in() {
    let mut world = World::new(2, 9, 0);
    let begun = world.now;
    step_until(&mut world, World::all_members);
    let passed = world.now.since(begun);
    assert!(passed < Duration::from_secs(2), "{passed:?}");
}

#[test]
fn all_join_whatever_happens_meanwhile_and_settle_once_healed() {
    for seed in 0..40 {
        let mut world = World::new(seed, 4, 20);
        for _ in 0..1500 {
            world.step();
            if world.prng.chance(1) {
                let number = 1 + world.prng.below(4) as u32;
                world.crash(number);
            }
            if world.prng.chance(3) {
                let number = 1 + world.prng.below(4) as u32;
                world.restart(number);
            }
        }
        world.loss_percent = 0;
        for number in 1..=4 {
            world.restart(number);
            world.connect(number);
        }
        for _ in 0..50_000 {
            world.step();
            if world.all_members() {
                break;
            }
        }
        assert!(world.all_members(), "seed {seed} does not converge");
    }
}

/// What all others hold `number` for, if they agree.
fn held_for(world: &World, number: u32) -> Option<Liveness> {
    let others = world.servers.iter().filter(|(other, server)| **other != number && server.up);
    let mut held = others.map(|(_, server)| server.node.liveness(NodeId(number)));
    let first = held.next()?;
    if held.all(|other| other == first) { first } else { None }
}

fn step_until(world: &mut World, is_so: impl Fn(&World) -> bool) {
    for _ in 0..200_000 {
        if is_so(world) {
            return;
        }
        world.step();
    }
    panic!("it never is");
}

#[test]
fn a_member_that_is_gone_is_held_for_down_and_keeps_its_place() {
    let mut world = World::new(5, 5, 0);
    step_until(&mut world, World::all_members);
    let ring = world.servers[&1].node.rings().committed().hash();
    assert_eq!(held_for(&world, 3), Some(Liveness::Alive));
    world.crash(3);
    step_until(&mut world, |world| held_for(world, 3) == Some(Liveness::Down));
    assert!(world.ring_hashes().iter().all(|hash| *hash == ring));
    world.restart(3);
    step_until(&mut world, |world| held_for(world, 3) == Some(Liveness::Alive));
    assert!(world.servers.values().all(|server| !server.is_superseded));
}

/// A copy of a data directory is started while the first process runs: the older one hears of it.
#[test]
fn an_older_process_of_the_same_node_hears_that_it_must_stop() {
    let mut world = World::new(6, 3, 0);
    step_until(&mut world, World::all_members);
    let gossip = |boot| {
        let node = NodeId(2);
        let status = Liveness::Alive;
        let update = gossip::Update { node, boot, incarnation: 0, status, accuser: NodeId(0) };
        let sequence = 1;
        (Signal::Pong { sequence, origin: NodeId(1) }, [update.to_bytes()])
    };
    for (boot, is_older) in [(Boot(0), false), (Boot(1), false), (Boot(2), true)] {
        let (signal, room) = gossip(boot);
        let updates = gossip::Updates::new_checked(room.as_flattened(), 1).unwrap();
        world.input(2, NodeInput::Gossip { from: NodeId(1), gossip: Gossip { signal, updates } });
        assert_eq!(world.servers[&2].is_superseded, is_older, "{boot:?}");
    }
}

#[test]
fn strangers_take_no_room_from_members() {
    let contact = |node| Contact {
        node: NodeId(node),
        boot: Boot(1),
        incarnation: 0,
        name: Name::new("any").unwrap(),
        ip: [0; 16],
        resp_port: 1,
        native_port: 2,
        admin_port: 3,
        shards: 1,
    };
    let mut world = World::new(1, 2, 0);
    let is_formed = |world: &World| world.servers[&1].node.rings().contains(NodeId(2));
    while !is_formed(&world) {
        world.step();
    }
    for stranger in 100..100 + 2 * MEMBER_COUNT_MAX as u32 {
        world.input(1, NodeInput::Contact(contact(stranger)));
    }
    let known = |world: &World, node| {
        world.servers[&1].node.contacts().iter().any(|contact| contact.node == NodeId(node))
    };
    assert_eq!(world.servers[&1].node.contacts().len(), MEMBER_COUNT_MAX);
    for member in [1, 2] {
        assert!(!known(&world, member));
        world.input(1, NodeInput::Contact(contact(member)));
        assert!(known(&world, member));
    }
    assert_eq!(world.servers[&1].node.contacts().len(), MEMBER_COUNT_MAX);
    // Nor do those that are connected.
    world.input(1, NodeInput::PeerDown(NodeId(2)));
    for stranger in 100..100 + 2 * MEMBER_COUNT_MAX as u32 {
        world.input(1, NodeInput::PeerUp(NodeId(stranger)));
    }
    assert!(!world.servers[&1].node.is_reachable(NodeId(2)));
    world.input(1, NodeInput::PeerUp(NodeId(2)));
    assert!(world.servers[&1].node.is_reachable(NodeId(2)));
}
