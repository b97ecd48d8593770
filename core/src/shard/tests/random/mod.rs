//! Random orders of answers, losses and pauses, against a naive model of one request.

mod effect;
mod model;

use super::*;
use crate::limits::READ_EXPLORE;
use crate::prng::Prng;
use effect::{Effects, effect, ended};
use model::Model;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;

/// What the machine and the models share.
pub(super) struct World {
    rig: Rig,
    prng: Prng,
    setup: Setup,
    partition: Partition,
    owners: Vec<NodeId>,
    /// Who stands in for owners, in that order.
    fallbacks: Vec<NodeId>,
    reachable: BTreeSet<NodeId>,
    /// Peers that the machine suspects; when it does is tested elsewhere.
    suspects: BTreeSet<NodeId>,
    /// How often a peer was suspected.
    suspicions: usize,
    /// How long each node's answers took before the latest request.
    latencies: BTreeMap<NodeId, Duration>,
    /// Reads that may ask more nodes than they must, so far.
    reads: u32,
    /// In flight.
    models: BTreeMap<RequestId, Model>,
    /// All numbers there ever were, with the order of their key.
    known: Vec<(RequestId, u64)>,
    /// Replies of each ticket.
    replies: BTreeMap<u64, u32>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let nodes = 3 + prng.below(4) as u32;
        let n = if prng.chance(50) { 3 } else { nodes as usize };
        let (r, w) = (1 + prng.below(3) as u8, 1 + prng.below(3) as u8);
        let sync_before_ack = prng.chance(50);
        let (slots, unsynced) = (4, 64);
        let written = if prng.chance(50) { AT_ONCE } else { Place(100) };
        let (shard, shards) = (0, 1);
        let setup = Setup {
            nodes,
            n,
            r,
            w,
            shard,
            shards,
            slots,
            unsynced,
            sync_before_ack,
            written,
            ..Setup::default()
        };
        let mut rig = Rig::new(setup);
        rig.now = Instant(prng.below(1 << 40));
        let is_owner = n == nodes as usize || prng.chance(60);
        let wanted = |partition: &Partition| rig.shard.owns(*partition) == is_owner;
        let partition = (0..1 << BITS).map(Partition).find(wanted).unwrap();
        let owners = rig.shard.ring().owners(partition).to_vec();
        let fallbacks = rig.shard.ring().fallbacks(partition).to_vec();
        assert_eq!(owners.contains(&ME), is_owner);
        let reachable = (1..=nodes).map(NodeId).collect();
        let (models, known, replies) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let (suspects, suspicions) = (BTreeSet::new(), 0);
        // One of the first reads asks all.
        let reads = READ_EXPLORE - 1 - prng.below(20) as u32;
        rig.shard.reads = reads;
        World {
            rig,
            prng,
            setup,
            partition,
            owners,
            fallbacks,
            reachable,
            suspects,
            suspicions,
            latencies: BTreeMap::new(),
            reads,
            models,
            known,
            replies,
        }
    }

    fn is_owner(&self) -> bool {
        self.owners.contains(&ME)
    }

    fn is_well(&self, node: NodeId) -> bool {
        self.reachable.contains(&node) && !self.suspects.contains(&node)
    }

    fn first_well(&self, nodes: &[NodeId]) -> Option<NodeId> {
        nodes.iter().copied().find(|node| self.is_well(*node))
    }

    /// The first one that is well, or in reach at the least.
    fn first_near(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let reachable = nodes.iter().copied().find(|node| self.reachable.contains(node));
        self.first_well(nodes).or(reachable)
    }

    /// Looks whom the machine suspects by now; whether there are new ones.
    fn look_for_suspects(&mut self) -> bool {
        let suspects: BTreeSet<NodeId> = self.rig.shard.suspects().collect();
        let new = suspects.difference(&self.suspects).count();
        self.suspicions += new;
        self.suspects = suspects;
        new > 0
    }

    /// To whom this node hands a request on, if it does not coordinate it.
    fn handed_to(&self, forwarded: bool) -> Option<NodeId> {
        if self.is_owner() || forwarded {
            return None;
        }
        let owner = self.first_well(&self.owners);
        owner.or(self.first_well(&self.fallbacks)).filter(|node| *node != ME)
    }

    /// For which owner this node coordinates, if it is none itself.
    fn target(&self) -> Option<NodeId> {
        let away = self.owners.iter().copied().find(|owner| !self.is_well(*owner));
        (!self.is_owner()).then_some(away.unwrap_or(self.owners[0]))
    }

    fn any_kind(&mut self) -> Kind {
        // The model does not know who waits behind whom: either all wait for one mark, or only
        // those for the sync.
        let may_sync = self.setup.sync_before_ack || self.setup.written == AT_ONCE;
        let asked = |prng: &mut Prng, durable: bool| Asked {
            nodes: prng.below(4) as u8,
            primaries: if prng.chance(20) { prng.below(4) as u8 } else { 0 },
            durable: if durable && may_sync && prng.chance(30) { prng.below(4) as u8 } else { 0 },
        };
        match self.prng.below(3) {
            0 => Kind::Get { asked: asked(&mut self.prng, false), cover: self.prng.chance(30) },
            1 => Kind::Put { asked: asked(&mut self.prng, true), read: None },
            _ => {
                let read = Asked { primaries: 0, ..asked(&mut self.prng, false) };
                Kind::Put { asked: asked(&mut self.prng, true), read: Some(read) }
            }
        }
    }

    /// Why a request of `kind` is refused before it begins.
    fn refusal(&self, kind: Kind, forwarded: bool) -> Option<Failure> {
        let got = self.owners.len() as u8;
        let (asked, read) = match kind {
            Kind::Get { asked, .. } => (asked, Asked::default()),
            Kind::Put { asked, read } => (asked, read.unwrap_or_default()),
        };
        let explicit = [asked.nodes, asked.primaries, asked.durable, read.nodes, read.primaries];
        let needed = explicit.into_iter().max().unwrap();
        if needed > got {
            return Some(Failure::Unavailable { needed, got });
        }
        if matches!(kind, Kind::Put { .. })
            && self.handed_to(forwarded).is_none()
            && let Some(failure) = self.write_refusal(asked)
        {
            return Some(failure);
        }
        (self.models.len() == self.setup.slots).then_some(Failure::Busy)
    }

    fn write_refusal(&self, asked: Asked) -> Option<Failure> {
        let count = self.owners.len();
        let nodes = if asked.nodes == 0 { self.setup.w } else { asked.nodes };
        let needed = nodes.min(count as u8).max(asked.durable);
        let got = self.reachable.len().min(count) as u8;
        if got < needed {
            return Some(Failure::Unavailable { needed, got });
        }
        let owners = self.owners.iter().filter(|owner| self.reachable.contains(owner));
        let (needed, got) = (asked.primaries, owners.count() as u8);
        (got < needed).then_some(Failure::Unavailable { needed, got })
    }

    fn begin(&mut self) {
        let kind = self.any_kind();
        let forwarded = self.prng.chance(50);
        let refusal = self.refusal(kind, forwarded);
        let key = KeyPlace { partition: self.partition, order: self.prng.below(2) };
        let request = Request { key, forwarded, ..self.rig.new_request(kind) };
        let latency = |node: &NodeId| (*node, self.rig.shard.health.latency(*node));
        self.latencies = self.owners.iter().map(latency).collect();
        let outputs = self.rig.input(Input::Request(request));
        if let Some(failure) = refusal {
            assert_eq!(outputs, self.rig.refused(failure), "{kind:?}");
            return self.replied(self.rig.ticket);
        }
        let op = match outputs[0] {
            Output::Look { op, .. } | Output::Apply { op, .. } => op,
            Output::Ask { op, .. } | Output::Forward { op, .. } => op,
            Output::Reply { op: Some(op), .. } => op,
            other => panic!("{other:?}"),
        };
        self.known.push((op, key.order));
        let mut model = Model::new(self, op, request);
        let mut effects = Effects::new();
        model.go_on(self, &mut effects);
        if !ended(&effects) && model.may_hedge(self) {
            self.reads += 1;
            if self.reads.is_multiple_of(READ_EXPLORE) {
                model.explore(self, &mut effects);
            }
        }
        if !ended(&effects) {
            assert!(self.models.insert(op, model).is_none());
        }
        self.check(outputs, effects);
    }

    fn replied(&mut self, ticket: u64) {
        *self.replies.entry(ticket).or_default() += 1;
    }

    /// Compares what the machine asks for with what the models expect, and applies what is to be
    /// applied, as a driver does.
    fn check(&mut self, outputs: Vec<Output>, mut expected: Effects) {
        self.look_for_suspects();
        let mut effects: Effects = outputs.iter().map(effect).collect();
        effects.sort();
        expected.sort();
        assert_eq!(effects, expected);
        for output in outputs {
            match output {
                Output::Reply { origin: Origin::Session(ticket), .. }
                | Output::Relay { origin: Origin::Session(ticket), .. } => self.replied(ticket),
                Output::Apply { op, gathered, .. } => self.apply(op, gathered),
                _ => {}
            }
        }
        assert_eq!(self.rig.shard.request_count(), self.models.len());
    }

    fn apply(&mut self, op: RequestId, gathered: bool) {
        let outcome = self.prng.below(10);
        if outcome == 0 && gathered {
            let outputs = self.rig.input(Input::ConditionFailed { op });
            return self.event(op, outputs, |model, world, effects| {
                model.end(world, effects, Outcome::ConditionFailed);
            });
        }
        if outcome == 1 {
            let result = Err(Refusal::Siblings);
            let outputs = self.rig.input(Input::Applied { op, result });
            return self.event(op, outputs, |model, world, effects| {
                model.end(world, effects, Outcome::Failed(Failure::Siblings));
            });
        }
        if outcome == 2 {
            let result = Err(Refusal::Unread(Unread::Damaged));
            let outputs = self.rig.input(Input::Applied { op, result });
            return self.event(op, outputs, |model, world, effects| {
                model.on_damaged(world, effects);
            });
        }
        if outcome <= 4 {
            return self.models.get_mut(&op).expect("it is in flight").wait();
        }
        let outputs = self.rig.applied(op);
        let place = self.rig.place;
        self.event(op, outputs, |model, world, effects| model.on_applied(world, effects, place));
    }

    /// The model of `op`, if it is in flight, takes an event that gave `outputs`.
    fn event(
        &mut self,
        op: RequestId,
        outputs: Vec<Output>,
        take: impl FnOnce(&mut Model, &World, &mut Effects),
    ) {
        self.look_for_suspects();
        let mut effects = Effects::new();
        if let Some(mut model) = self.models.remove(&op) {
            take(&mut model, self, &mut effects);
            if !ended(&effects) {
                self.models.insert(op, model);
            }
        }
        self.check(outputs, effects);
    }

    /// All models take an event that gave `outputs`.
    fn event_of_all(
        &mut self,
        outputs: Vec<Output>,
        take: impl Fn(&mut Model, &World, &mut Effects),
    ) {
        let mut effects = Effects::new();
        for op in Vec::from_iter(self.models.keys().copied()) {
            let mut model = self.models.remove(&op).unwrap();
            let mut of_one = Effects::new();
            take(&mut model, self, &mut of_one);
            if !ended(&of_one) {
                self.models.insert(op, model);
            }
            effects.extend(of_one);
        }
        self.check(outputs, effects);
    }

    /// Somebody answers, perhaps late, twice, for another key, or unasked.
    fn answer(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let recent = self.known.len().saturating_sub(6) as u64;
        let index = recent + self.prng.below(self.known.len() as u64 - recent);
        let (op, order) = self.known[index as usize];
        let right = !self.prng.chance(5);
        let order = if right { order } else { order ^ 1 };
        let node = NodeId(2 + self.prng.below(u64::from(self.setup.nodes)) as u32);
        let (durable, covered) = (self.prng.chance(50), self.prng.chance(50));
        match self.prng.below(10) {
            0..=3 => {
                let outputs = self.rig.input(Input::Acked { node, op, order, durable });
                self.event(op, outputs, |model, world, effects| {
                    model.on_acked(world, effects, right, node, durable);
                });
            }
            4..=6 => {
                let found = self.any_found(covered);
                let outputs = self.rig.input(Input::Answered { node, op, order, found });
                self.event(op, outputs, |model, world, effects| {
                    model.on_answered(world, effects, right, node, found);
                });
            }
            7 => {
                let outputs = self.rig.input(Input::Unsent { node, op });
                self.event(op, outputs, |model, world, effects| {
                    model.on_unsent(world, effects, node);
                });
            }
            8 => {
                let reasons = [RejectReason::Busy, RejectReason::Damaged];
                let reason = reasons[usize::from(covered)];
                let outputs = self.rig.input(Input::Rejected { node, op, order, reason });
                self.event(op, outputs, |model, world, effects| {
                    model.on_rejected(world, effects, right, node);
                });
            }
            _ => {
                let reason = RejectReason::StaleTopology;
                let mut outputs = self.rig.input(Input::Rejected { node, op, order, reason });
                assert_eq!(outputs.remove(0), Output::TopologyDiffers { node });
                self.event(op, outputs, |model, world, _| model.on_stale(world, right, node));
            }
        }
    }

    /// What a node has; most have the same.
    fn any_found(&mut self, covered: bool) -> Found {
        Found { version: u64::from(self.prng.chance(80)), covered }
    }

    fn look(&mut self) {
        let looking = self.models.iter().find(|(_, model)| model.is_looking());
        let Some((&op, _)) = looking else { return };
        let result = match self.prng.below(8) {
            0 => Err(Unread::Cold),
            1 => Err(Unread::Damaged),
            2..=4 => Ok(self.any_found(false)),
            _ => Ok(self.any_found(true)),
        };
        let outputs = self.rig.input(Input::Looked { op, result });
        self.event(op, outputs, |model, world, effects| match result {
            Ok(found) => model.on_answered(world, effects, true, ME, found),
            Err(_) => model.on_refused(world, effects, ME),
        });
    }

    /// The cold record of some write was read; now and then of one that does not wait.
    fn fetched(&mut self) {
        let waiting = self.models.iter().find(|(_, model)| model.is_waiting());
        let any = self.known.last().map(|(op, _)| *op);
        let Some(op) = waiting.map(|(op, _)| *op).or(any) else { return };
        let outputs = self.rig.input(Input::Fetched { op });
        self.event(op, outputs, |model, world, effects| {
            if model.is_waiting() {
                model.on_fetched(world, effects);
            }
        });
    }

    /// What was handed on is answered, or could not be sent after all.
    fn reply(&mut self) {
        let Some((op, order)) = self.known.last().copied() else { return };
        let node = NodeId(2 + self.prng.below(u64::from(self.setup.nodes)) as u32);
        if self.prng.chance(80) {
            let outputs = self.rig.input(Input::ForwardReplied { op, node, order });
            return self.event(op, outputs, |model, _, effects| model.on_reply(effects, node));
        }
        let outputs = self.rig.input(Input::ForwardLost { op });
        self.event(op, outputs, |model, world, effects| model.on_forward_lost(world, effects));
    }

    fn peer(&mut self) {
        let node = NodeId(2 + self.prng.below(u64::from(self.setup.nodes) - 1) as u32);
        if self.reachable.remove(&node) {
            assert_eq!(self.rig.input(Input::PeerDown(node)), []);
            let outputs = self.rig.fire();
            self.event_of_all(outputs, |model, world, effects| model.on_lost(world, effects));
        } else {
            self.reachable.insert(node);
            assert_eq!(self.rig.input(Input::PeerUp(node)), []);
        }
    }

    fn sync(&mut self) {
        let synced = Place(self.rig.place.0 + self.prng.below(20)).max(self.rig.synced);
        let written = Place(synced.0 + self.prng.below(20)).max(self.rig.written);
        let synced = if self.prng.chance(50) { self.rig.synced } else { synced };
        let outputs = self.rig.stored_to(written, synced);
        self.event_of_all(outputs, |model, world, effects| model.on_stored(world, effects));
    }

    fn pass(&mut self, time: Duration) {
        let outputs = self.rig.wait(time);
        let has_new = self.look_for_suspects();
        self.event_of_all(outputs, |model, world, effects| {
            if has_new {
                model.on_lost(world, effects);
            }
            if !ended(effects) {
                model.on_time(world, effects);
            }
        });
    }
}

#[test]
fn every_request_gets_the_one_reply_that_the_model_gives() {
    let mut suspicions = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            match world.prng.below(27) {
                // As long as silence is borne, or a little longer.
                25 | 26 => {
                    let time = 100_000 + world.prng.below(50_000);
                    world.pass(Duration::from_micros(time));
                }
                22 => world.reply(),
                23 => world.peer(),
                24 => world.begin(),
                20 | 21 => world.fetched(),
                0..=3 => world.begin(),
                4..=7 => world.look(),
                8..=15 => world.answer(),
                16 => world.peer(),
                17 => world.sync(),
                18 => {
                    let time = world.prng.below(15_000);
                    world.pass(Duration::from_micros(time));
                }
                _ => {
                    let time = world.prng.below(300_000);
                    world.pass(Duration::from_micros(time));
                }
            }
        }
        world.pass(TIMEOUT + crate::limits::FORWARD_GRACE);
        assert_eq!(world.rig.shard.request_count(), 0, "seed {seed}");
        assert_eq!(world.replies.len() as u64, world.rig.ticket);
        assert!(world.replies.values().all(|replies| *replies == 1), "seed {seed}");
        suspicions += world.suspicions;
    }
    assert!(suspicions > 500, "{suspicions}");
}
