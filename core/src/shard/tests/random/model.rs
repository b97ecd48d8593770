//! What one request should do: sets of nodes, and the rules of Dynamo §4.5 and §4.6 on them.

mod answers;

use super::*;
use crate::limits::{FORWARD_GRACE, READ_HEDGE};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// That node has it.
    Forwarded(NodeId),
    Reading,
    /// Its apply waits for a cold record.
    Waiting,
    Writing,
}

/// One request in flight. Each node is in one of these sets, or has not been asked.
#[derive(Clone, Debug)]
pub(super) struct Model {
    op: RequestId,
    asked: Asked,
    is_get: bool,
    reads_first: bool,
    forwarded: bool,
    stage: Stage,
    deadline: Instant,
    timer: Instant,
    is_answered: bool,
    /// It may ask more nodes than it must.
    may_hedge: bool,
    /// The owner for which this node coordinates.
    target: Option<NodeId>,
    /// In the order in which a read asks them.
    owners: Vec<NodeId>,
    /// Who stands in, for whom.
    stand_ins: Vec<(NodeId, NodeId)>,
    waited: BTreeSet<NodeId>,
    again: BTreeSet<NodeId>,
    done: BTreeSet<NodeId>,
    versions: BTreeMap<NodeId, u64>,
    durable: BTreeSet<NodeId>,
    failed: BTreeSet<NodeId>,
    /// Nodes whose answer to the read has not come when the write begins.
    owed: BTreeSet<NodeId>,
    uncovered: bool,
    /// Nodes, owners and synced nodes.
    need: [u8; 3],
    place: Place,
}

impl Model {
    pub(super) fn new(world: &World, op: RequestId, request: Request) -> Model {
        let count = world.owners.len() as u8;
        let (asked, read, is_get, uncovered) = match request.kind {
            Kind::Get { asked, cover } => (asked, Some(asked), true, cover),
            Kind::Put { asked, read } => (asked, read, false, false),
            Kind::Scan { .. } => unreachable!("nobody scans here"),
        };
        let nodes = match read {
            Some(Asked { nodes: 0, .. }) => world.setup.r.min(count),
            Some(Asked { nodes, .. }) => nodes,
            None => 0,
        };
        let need = [nodes, read.map_or(0, |read| read.primaries), 0];
        let rank = |node: &NodeId| match *node {
            ME => (0, Duration::ZERO),
            node if world.is_well(node) => (1, world.latencies[&node]),
            node => (3 - u8::from(world.reachable.contains(&node)), Duration::ZERO),
        };
        let mut owners = world.owners.clone();
        owners.sort_by_key(rank);
        let target = world.target();
        let stand_ins: Vec<_> = target.map(|target| (ME, target)).into_iter().collect();
        let mut timer = request.deadline;
        let may_hedge =
            read.is_some() && owners.len() + stand_ins.len() > usize::from(nodes.max(need[1]));
        let mut stage = if read.is_some() { Stage::Reading } else { Stage::Writing };
        if let Some(node) = world.handed_to(request.forwarded) {
            (stage, timer) = (Stage::Forwarded(node), request.deadline + FORWARD_GRACE);
        }
        let none = BTreeSet::new;
        let (waited, again, done, durable, failed) = (none(), none(), none(), none(), none());
        let (deadline, owed, place) = (request.deadline, none(), Place(0));
        let (reads_first, forwarded) = (!is_get && read.is_some(), request.forwarded);
        Model {
            op,
            asked,
            is_get,
            reads_first,
            forwarded,
            stage,
            deadline,
            timer,
            is_answered: false,
            may_hedge,
            target,
            owners,
            stand_ins,
            waited,
            again,
            done,
            versions: BTreeMap::new(),
            durable,
            failed,
            owed,
            uncovered,
            need,
            place,
        }
    }

    pub(super) fn is_looking(&self) -> bool {
        self.stage == Stage::Reading && self.waited.contains(&ME)
    }

    /// All that may be asked, owners first.
    fn nodes(&self) -> Vec<NodeId> {
        let stand_ins = self.stand_ins.iter().map(|(node, _)| *node);
        self.owners.iter().copied().chain(stand_ins).collect()
    }

    /// The owner whose share `node` does.
    fn owner_of(&self, node: NodeId) -> NodeId {
        self.kept_for(node).unwrap_or(node)
    }

    fn kept_for(&self, node: NodeId) -> Option<NodeId> {
        self.stand_ins.iter().find(|(known, _)| *known == node).map(|(_, owner)| *owner)
    }

    fn next_unasked(&self) -> Option<NodeId> {
        let sets = [&self.waited, &self.again, &self.done, &self.failed];
        let asked = |node: &NodeId| sets.iter().any(|set| set.contains(node));
        self.nodes().into_iter().find(|node| !asked(node))
    }

    fn is_open(&self, node: NodeId) -> bool {
        let is_known = self.nodes().contains(&node);
        is_known && !self.done.contains(&node) && !self.failed.contains(&node)
    }

    /// How many owners, or others in their stead, and how many owners.
    fn count(&self, is: impl Fn(&NodeId) -> bool) -> [u8; 2] {
        let shares = self.nodes().into_iter().filter(&is).map(|node| self.owner_of(node));
        let owners = self.owners.iter().filter(|owner| is(owner));
        [shares.collect::<BTreeSet<_>>().len() as u8, owners.count() as u8]
    }

    /// Whether it is enough if `more` nodes do it, too.
    fn is_met_with(&self, more: impl Fn(&NodeId) -> bool) -> bool {
        let [nodes, owners] = self.count(|node| self.done.contains(node) || more(node));
        let [durable, _] = self.count(|node| self.durable.contains(node) || more(node));
        nodes >= self.need[0] && owners >= self.need[1] && durable >= self.need[2]
    }

    /// A write is answered once, whatever comes later.
    pub(super) fn end(&mut self, _: &World, effects: &mut Effects, outcome: Outcome) {
        if std::mem::replace(&mut self.is_answered, true) {
            return;
        }
        effects.push(format!("reply {:?} {outcome:?}", self.op));
    }

    pub(super) fn op(&self) -> RequestId {
        self.op
    }

    /// Its deadline has fired.
    pub(super) fn is_late(&self, world: &World) -> bool {
        let now = world.rig.now;
        now >= self.deadline && self.timer.0.div_ceil(4096) <= now.0 / 4096
    }

    /// Whether it matters to some other owner what becomes of it.
    pub(super) fn is_owed(&self) -> bool {
        let open = self.nodes().into_iter().filter(|node| self.is_open(*node));
        let mut owners = open.map(|node| self.owner_of(node)).filter(|owner| *owner != ME);
        owners.any(|owner| !self.done.iter().any(|node| self.owner_of(*node) == owner))
    }

    pub(super) fn keep_for_open(&self, world: &World, effects: &mut Effects) {
        for node in self.nodes().into_iter().filter(|node| self.is_open(*node)) {
            self.keep(world, effects, self.owner_of(node));
        }
    }

    fn fail(&mut self, world: &World, effects: &mut Effects, failure: Failure) {
        if self.stage == Stage::Writing {
            self.keep_for_open(world, effects);
        }
        self.end(world, effects, Outcome::Failed(failure));
    }

    /// The failure of a quorum that cannot be met.
    fn short(&self) -> Failure {
        let [nodes, owners] = self.count(|node| self.done.contains(node));
        let most = self.need.into_iter().max().unwrap();
        let only_owners = owners < self.need[1] && nodes >= most;
        let (needed, got) = if only_owners { (self.need[1], owners) } else { (most, nodes) };
        if self.stage == Stage::Reading && !self.is_get {
            return Failure::Unavailable { needed, got };
        }
        Failure::NoQuorum { needed, got }
    }

    /// Asks whom it must, and ends if it can.
    pub(super) fn go_on(&mut self, world: &World, effects: &mut Effects) {
        match self.stage {
            Stage::Forwarded(node) => effects.push(format!("forward {:?} {node:?}", self.op)),
            Stage::Reading => self.read_on(world, effects),
            Stage::Waiting => {}
            Stage::Writing => self.ask_to_apply(effects),
        }
    }

    fn ask_to_apply(&self, effects: &mut Effects) {
        let (op, target) = (self.op, self.target.unwrap_or_default());
        effects.push(format!("apply {op:?} {} {target:?}", self.reads_first));
    }

    fn read_on(&mut self, world: &World, effects: &mut Effects) {
        while !ended(effects) {
            self.end_read(world, effects);
            let is_asked = |node: &NodeId| self.waited.contains(node) || self.again.contains(node);
            let is_enough = !self.is_met_with(|_| false) && self.is_met_with(is_asked);
            if ended(effects) || self.stage != Stage::Reading || is_enough {
                return;
            }
            let Some(node) = self.next_unasked() else { return };
            self.ask(world, effects, node);
        }
    }

    /// Ends the read if it can end.
    fn end_read(&mut self, world: &World, effects: &mut Effects) {
        let is_met = self.is_met_with(|_| false);
        if is_met && !self.uncovered {
            self.on_read(world, effects);
        } else if is_met && self.count(|node| self.is_open(*node))[0] == 0 {
            self.fail(world, effects, Failure::NotCovered);
        } else if !self.is_met_with(|node| self.is_open(*node)) {
            self.fail(world, effects, self.short());
        }
    }

    /// Asks `node`, or finds it out of reach.
    fn ask(&mut self, world: &World, effects: &mut Effects, node: NodeId) -> bool {
        self.again.remove(&node);
        self.waited.insert(node);
        if self.is_passed(world, node) {
            self.on_away(world, effects, node);
            return false;
        }
        let (op, target) = (self.op, self.kept_for(node).unwrap_or_default());
        match (self.stage, node) {
            (Stage::Reading, ME) => effects.push(format!("look {op:?} {target:?}")),
            (Stage::Reading, _) => effects.push(format!("ask {op:?} {node:?} {target:?}")),
            (Stage::Writing, _) => {
                let (place, sync) = (self.place, self.sync(world));
                effects.push(format!("replicate {op:?} {node:?} {place:?} {sync} {target:?}"));
            }
            _ => unreachable!("it asks nobody"),
        }
        true
    }

    /// `node` does nothing for this request: another one may do it in its stead.
    fn on_away(&mut self, world: &World, effects: &mut Effects, node: NodeId) {
        if !self.is_open(node) || ended(effects) {
            return;
        }
        let owner = self.owner_of(node);
        let stand_in = self.next_stand_in(world, owner);
        self.stand_ins.extend(stand_in.map(|node| (node, owner)));
        self.set_failed(node);
        if self.stage == Stage::Reading {
            return self.end_read(world, effects);
        }
        match stand_in {
            Some(node) => _ = self.ask(world, effects, node),
            None => self.keep(world, effects, owner),
        }
        self.write_on(world, effects);
    }

    fn next_stand_in(&self, world: &World, owner: NodeId) -> Option<NodeId> {
        let is_stood_for = self.stand_ins.iter().any(|(_, known)| *known == owner);
        let free =
            |node: &NodeId| *node != ME && world.is_well(*node) && !self.nodes().contains(node);
        let stand_in = world.fallbacks.iter().copied().find(free);
        stand_in.filter(|_| owner != ME && !is_stood_for)
    }

    /// Whether the request goes on without asking `node`, or waiting for it.
    fn is_passed(&self, world: &World, node: NodeId) -> bool {
        if world.is_well(node) || !world.reachable.contains(&node) {
            return !world.is_well(node);
        }
        match self.stage {
            Stage::Reading => self.next_stand_in(world, self.owner_of(node)).is_some(),
            _ => {
                let mut without = self.clone();
                for node in self.nodes() {
                    if world.is_well(node) || !self.is_open(node) {
                        continue;
                    }
                    let owner = self.owner_of(node);
                    let stand_in = without.next_stand_in(world, owner);
                    without.stand_ins.extend(stand_in.map(|node| (node, owner)));
                    without.set_failed(node);
                }
                without.is_met_with(|node| without.is_open(*node))
            }
        }
    }

    /// Whether it is a read that may ask more nodes; when, is known from now on.
    pub(super) fn may_hedge(&mut self, world: &World) -> bool {
        let may = self.may_hedge && self.stage == Stage::Reading;
        if may {
            self.timer = self.deadline.min(world.rig.now + self.hedge_delay(world));
        }
        may
    }

    fn hedge_delay(&self, world: &World) -> Duration {
        let peers = self.waited.iter().filter(|node| **node != ME);
        let delays = peers.map(|node| world.rig.shard.health.hedge(*node));
        delays.max().unwrap_or(READ_HEDGE)
    }

    /// Asks all that are well.
    pub(super) fn explore(&mut self, world: &World, effects: &mut Effects) {
        while self.ask_one_more(world, effects) {}
    }

    /// Keeps in mind that `owner` lacks the write.
    fn keep(&self, world: &World, effects: &mut Effects, owner: NodeId) {
        if world.is_owner() && owner != ME && !self.done.contains(&owner) {
            effects.push(format!("keep {:?} {owner:?}", self.place));
        }
    }

    fn set_failed(&mut self, node: NodeId) {
        self.waited.remove(&node);
        self.again.remove(&node);
        self.failed.insert(node);
    }

    /// The read has its quorum.
    fn on_read(&mut self, world: &World, effects: &mut Effects) {
        if self.is_get {
            let is_owner = |node: &NodeId| self.owners.contains(node);
            let answers = self.versions.iter().filter(|(node, _)| self.done.contains(node));
            let told = answers.filter(|(node, has)| is_owner(node) || **has != 0);
            let versions: BTreeSet<u64> = told.map(|(_, has)| *has).collect();
            if versions.len() > 1 {
                // Some have less than others, and the driver knows which.
                let repairs = self.versions.iter().filter(|(node, _)| is_owner(node));
                let op = self.op;
                effects.extend(repairs.map(|(node, has)| format!("repair {op:?} {node:?} {has}")));
            }
            return self.end(world, effects, Outcome::Got);
        }
        if let Some(failure) = world.write_refusal(self.asked) {
            return self.fail(world, effects, failure);
        }
        self.owed = self.waited.clone();
        self.stage = Stage::Writing;
        self.timer = self.deadline;
        for set in [&mut self.waited, &mut self.again, &mut self.done, &mut self.failed] {
            set.clear();
        }
        self.ask_to_apply(effects);
    }

    /// The record is cold; only what the read is owed can change meanwhile.
    pub(super) fn wait(&mut self) {
        self.stage = Stage::Waiting;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// The cold record was read.
    pub(super) fn on_fetched(&mut self, world: &World, effects: &mut Effects) {
        if world.rig.now >= self.deadline {
            return self.fail(world, effects, self.late(world));
        }
        if let Some(failure) = world.write_refusal(self.asked) {
            return self.fail(world, effects, failure);
        }
        self.stage = Stage::Writing;
        self.ask_to_apply(effects);
    }

    /// The record cannot be read: another owner may have a better one.
    pub(super) fn on_damaged(&mut self, world: &World, effects: &mut Effects) {
        let others: Vec<_> = world.owners.iter().copied().filter(|node| *node != ME).collect();
        match world.first_near(&others).filter(|_| !self.forwarded) {
            Some(node) => {
                (self.stage, self.timer) = (Stage::Forwarded(node), self.deadline + FORWARD_GRACE);
                self.go_on(world, effects);
            }
            None => self.end(world, effects, Outcome::Failed(Failure::Damaged)),
        }
    }

    /// Nothing was written.
    fn late(&self, world: &World) -> Failure {
        let nodes = if self.asked.nodes == 0 { world.setup.w } else { self.asked.nodes };
        let needed = nodes.min(world.owners.len() as u8);
        let needed = needed.max(self.asked.primaries).max(self.asked.durable);
        Failure::Unavailable { needed, got: 0 }
    }

    fn sync(&self, world: &World) -> bool {
        world.setup.sync_before_ack || self.asked.durable > 0
    }

    pub(super) fn on_applied(&mut self, world: &World, effects: &mut Effects, place: Place) {
        self.place = place;
        self.owners = world.owners.clone();
        self.stand_ins = self.target.map(|target| (ME, target)).into_iter().collect();
        let count = self.owners.len() as u8;
        let nodes = if self.asked.nodes == 0 { world.setup.w.min(count) } else { self.asked.nodes };
        self.need = [nodes, self.asked.primaries, self.asked.durable];
        self.waited.extend(&self.owners);
        let mut peers: Vec<_> = world.owners.iter().copied().filter(|node| *node != ME).collect();
        let last = |node: &NodeId| !world.reachable.contains(node);
        peers.sort_by_key(last);
        for node in peers {
            self.ask(world, effects, node);
        }
        if self.is_stored(world) {
            self.on_success(ME, self.sync(world));
        } else {
            self.waited.insert(ME);
            // Who stands in for an owner that is there, too, may be one too few from the start.
            let may_end_well = self.is_met_with(|node| self.is_open(*node));
            if self.sync(world) && !world.setup.sync_before_ack && may_end_well {
                effects.push(String::from("sync"));
            }
        }
        self.write_on(world, effects);
    }

    fn write_on(&mut self, world: &World, effects: &mut Effects) {
        if ended(effects) {
        } else if self.is_met_with(|_| false) {
            self.end(world, effects, Outcome::Stored(applied(self.place)));
        } else if !self.is_met_with(|node| self.is_open(*node)) {
            self.fail(world, effects, self.short());
        }
    }
}
