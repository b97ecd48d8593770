//! Random orders of answers, losses and pauses, against a naive model of one request.

mod effect;
mod events;
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
    /// Writes of them that are answered, in that order.
    answered: Vec<RequestId>,
    /// How many of those left their slot to another request.
    given_up: usize,
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
        let owners = rig.shard.rings().owners(partition).to_vec();
        let fallbacks = rig.shard.rings().fallbacks(partition).to_vec();
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
            answered: Vec::new(),
            given_up: 0,
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
            Kind::Scan { .. } => unreachable!("nobody scans here"),
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
        let is_full = self.models.len() == self.setup.slots;
        (is_full && self.answered.is_empty()).then_some(Failure::Busy)
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
        let is_full = self.models.len() == self.setup.slots;
        let mut effects = Effects::new();
        if is_full && refusal.is_none() && !self.answered.is_empty() {
            self.give_up_first(&mut effects);
        }
        let key = KeyPlace { partition: self.partition, order: self.prng.below(2) };
        let request = Request { key, forwarded, ..self.rig.new_request(kind) };
        let latency = |node: &NodeId| (*node, self.rig.shard.health.latency(*node));
        self.latencies = self.owners.iter().map(latency).collect();
        let outputs = self.rig.input(Input::Request(request));
        if let Some(failure) = refusal {
            assert_eq!(outputs, self.rig.refused(failure), "{kind:?}");
            return self.replied(self.rig.ticket);
        }
        let is_of_another = |output: &&Output| matches!(output, Output::Keep { .. });
        let op = match *outputs.iter().find(|output| !is_of_another(output)).unwrap() {
            Output::Look { op, .. } | Output::Apply { op, .. } => op,
            Output::Ask { op, .. } | Output::Forward { op, .. } => op,
            Output::Reply { op: Some(op), .. } => op,
            other => panic!("{other:?}"),
        };
        self.known.push((op, key.order));
        let mut model = Model::new(self, op, request);
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

    fn give_up_first(&mut self, effects: &mut Effects) {
        let first = self.models.remove(&self.answered.remove(0)).unwrap();
        first.keep_for_open(self, effects);
        self.given_up += 1;
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
        let (all, answered) = (self.models.len(), self.answered.len());
        assert_eq!(self.rig.shard.straggler_count(), answered);
        assert_eq!(self.rig.shard.request_count(), all - answered);
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
            self.put_back(model, &mut effects);
        }
        self.check(outputs, effects);
    }

    /// A model has taken an event with such effects: it is over, or its owners are provided for.
    fn put_back(&mut self, model: Model, effects: &mut Effects) {
        let op = model.op();
        let was_answered = self.answered.contains(&op);
        let is_stored = effects.iter().any(|effect| effect.contains("Stored"));
        let is_over = if was_answered || is_stored {
            model.is_late(self) || !model.is_owed()
        } else {
            ended(effects)
        };
        if is_over {
            self.answered.retain(|answered| *answered != op);
            return;
        }
        if is_stored {
            // Of four slots they have three.
            if self.answered.len() == self.setup.slots * 3 / 4 {
                self.give_up_first(effects);
            }
            self.answered.push(op);
        }
        assert!(self.models.insert(op, model).is_none());
    }

    /// All models take an event that gave `outputs`.
    fn event_of_all(
        &mut self,
        outputs: Vec<Output>,
        take: impl Fn(&mut Model, &World, &mut Effects),
    ) {
        let mut effects = Effects::new();
        // In the order of the answers, since the first of these is given up first.
        let mut ops = Vec::from_iter(self.models.keys().copied());
        ops.sort_by_key(|op| {
            let is_reply =
                |output: &Output| matches!(output, Output::Reply { op: Some(of), .. } if of == op);
            outputs.iter().position(is_reply).unwrap_or(usize::MAX)
        });
        for op in ops {
            // One that was given up by now has no slot any more.
            let Some(mut model) = self.models.remove(&op) else { continue };
            let mut of_one = Effects::new();
            take(&mut model, self, &mut of_one);
            self.put_back(model, &mut of_one);
            effects.extend(of_one);
        }
        self.check(outputs, effects);
    }
}

#[test]
fn every_request_gets_the_one_reply_that_the_model_gives() {
    let (mut suspicions, mut given_up) = (0, 0);
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
        assert_eq!(world.rig.shard.straggler_count(), 0, "seed {seed}");
        suspicions += world.suspicions;
        given_up += world.given_up;
    }
    assert!(suspicions > 500, "{suspicions}");
    assert!(given_up > 100, "{given_up}");
}
