//! What one request should do: sets of nodes, and the rules of Dynamo §4.5 on them.

use super::*;
use crate::limits::{READ_HEDGE, TOPOLOGY_RETRY};

/// What a request makes the machine ask for, in words.
pub(super) type Effects = Vec<String>;

/// Whether one of them is a reply.
pub(super) fn ended(effects: &Effects) -> bool {
    effects.iter().any(|effect| effect.starts_with("reply"))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Reading,
    /// Its apply waits for a cold record.
    Waiting,
    Writing,
}

/// One request in flight. Each node is in one of these sets, or has not been asked.
#[derive(Debug)]
pub(super) struct Model {
    op: RequestId,
    asked: Asked,
    is_get: bool,
    reads_first: bool,
    stage: Stage,
    deadline: Instant,
    timer: Instant,
    /// In the order in which a read asks them.
    owners: Vec<NodeId>,
    waited: BTreeSet<NodeId>,
    again: BTreeSet<NodeId>,
    done: BTreeSet<NodeId>,
    versions: BTreeMap<NodeId, u64>,
    durable: BTreeSet<NodeId>,
    failed: BTreeSet<NodeId>,
    /// Owners whose answer to the read has not come when the write begins.
    owed: BTreeSet<NodeId>,
    uncovered: bool,
    need: u8,
    place: Place,
}

impl Model {
    pub(super) fn new(world: &World, op: RequestId, request: Request) -> Model {
        let count = world.owners.len() as u8;
        let (asked, read, is_get, uncovered) = match request.kind {
            Kind::Get { asked, cover } => (asked, Some(asked), true, cover),
            Kind::Put { asked, read } => (asked, read, false, false),
        };
        let stage = if read.is_some() { Stage::Reading } else { Stage::Writing };
        let nodes = match read {
            Some(Asked { nodes: 0, .. }) => world.setup.r.min(count),
            Some(Asked { nodes, .. }) => nodes,
            None => 0,
        };
        let need = nodes.max(read.map_or(0, |read| read.primaries));
        let far = |node: &NodeId| (*node != ME, !world.reachable.contains(node));
        let mut owners = world.owners.clone();
        owners.sort_by_key(far);
        let mut timer = request.deadline;
        if read.is_some() && owners.len() > usize::from(need) {
            timer = timer.min(world.rig.now + READ_HEDGE);
        }
        let none = BTreeSet::new;
        let (waited, again, done, durable, failed) = (none(), none(), none(), none(), none());
        let (deadline, owed, place) = (request.deadline, none(), Place(0));
        Model {
            op,
            asked,
            is_get,
            reads_first: !is_get && read.is_some(),
            stage,
            deadline,
            timer,
            owners,
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

    fn next_unasked(&self) -> Option<NodeId> {
        let sets = [&self.waited, &self.again, &self.done, &self.failed];
        let asked = |node: &NodeId| sets.iter().any(|set| set.contains(node));
        self.owners.iter().copied().find(|node| !asked(node))
    }

    fn is_open(&self, node: NodeId) -> bool {
        self.owners.contains(&node) && !self.done.contains(&node) && !self.failed.contains(&node)
    }

    fn open(&self) -> u8 {
        self.owners.iter().filter(|node| self.is_open(**node)).count() as u8
    }

    pub(super) fn end(&mut self, _: &World, effects: &mut Effects, outcome: Outcome) {
        effects.push(format!("reply {:?} {outcome:?}", self.op));
    }

    fn fail(&mut self, world: &World, effects: &mut Effects, failure: Failure) {
        self.end(world, effects, Outcome::Failed(failure));
    }

    /// The failure of a quorum that cannot be met.
    fn short(&self) -> Failure {
        let got = self.done.len() as u8;
        if self.stage == Stage::Reading && !self.is_get {
            return Failure::Unavailable { needed: self.need, got };
        }
        let durable = if self.stage == Stage::Writing { self.asked.durable } else { 0 };
        Failure::NoQuorum { needed: self.need.max(durable), got }
    }

    /// Asks whom it must, and ends if it can.
    pub(super) fn go_on(&mut self, world: &World, effects: &mut Effects) {
        match self.stage {
            Stage::Reading => self.read_on(world, effects),
            Stage::Waiting => {}
            Stage::Writing if self.place == Place(0) => {
                effects.push(format!("apply {:?} false", self.op));
            }
            Stage::Writing => self.write_on(world, effects),
        }
    }

    fn read_on(&mut self, world: &World, effects: &mut Effects) {
        while !ended(effects) {
            let (got, open) = (self.done.len() as u8, self.open());
            let asked = got + (self.waited.len() + self.again.len()) as u8;
            if got >= self.need && !self.uncovered {
                return self.on_read(world, effects);
            } else if got >= self.need && open == 0 {
                return self.fail(world, effects, Failure::NotCovered);
            } else if got + open < self.need {
                return self.fail(world, effects, self.short());
            } else if got < self.need && asked >= self.need {
                return;
            }
            let Some(node) = self.next_unasked() else { return };
            self.ask(world, effects, node);
        }
    }

    /// Asks `node`, or finds it out of reach.
    fn ask(&mut self, world: &World, effects: &mut Effects, node: NodeId) -> bool {
        self.again.remove(&node);
        if !world.reachable.contains(&node) {
            self.failed.insert(node);
            return false;
        }
        self.waited.insert(node);
        match (self.stage, node) {
            (Stage::Reading, ME) => effects.push(format!("look {:?}", self.op)),
            (Stage::Reading, _) => effects.push(format!("ask {:?} {node:?}", self.op)),
            (Stage::Waiting, _) => unreachable!("it asks nobody"),
            (Stage::Writing, _) => {
                let (place, sync) = (self.place, self.sync(world));
                effects.push(format!("replicate {:?} {node:?} {place:?} {sync}", self.op));
            }
        }
        true
    }

    /// The read has its quorum.
    fn on_read(&mut self, world: &World, effects: &mut Effects) {
        if self.is_get {
            self.versions.retain(|node, _| self.owners.contains(node));
            let versions: BTreeSet<u64> = self.versions.values().copied().collect();
            if versions.len() > 1 {
                // Some have less than others, and the driver knows which.
                let repairs = self.versions.iter();
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
        effects.push(format!("apply {:?} true", self.op));
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
        effects.push(format!("apply {:?} {}", self.op, self.reads_first));
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
        let count = self.owners.len() as u8;
        let nodes = if self.asked.nodes == 0 { world.setup.w.min(count) } else { self.asked.nodes };
        self.need = nodes.max(self.asked.primaries);
        for node in world.owners.iter().copied().filter(|node| *node != ME) {
            self.ask(world, effects, node);
        }
        if self.is_stored(world) {
            self.on_success(ME, self.sync(world));
        } else {
            self.waited.insert(ME);
            if self.sync(world) && !world.setup.sync_before_ack {
                effects.push(String::from("sync"));
            }
        }
        self.write_on(world, effects);
    }

    fn write_on(&mut self, world: &World, effects: &mut Effects) {
        let (done, durable) = (self.done.len() as u8, self.durable.len() as u8);
        let met = |done, durable| done >= self.need && durable >= self.asked.durable;
        if met(done, durable) {
            self.end(world, effects, Outcome::Stored(applied(self.place)));
        } else if !met(done + self.open(), durable + self.open()) {
            self.fail(world, effects, self.short());
        }
    }

    pub(super) fn on_acked(
        &mut self,
        world: &World,
        effects: &mut Effects,
        right: bool,
        node: NodeId,
        durable: bool,
    ) {
        if self.stage == Stage::Writing && right {
            self.on_success(node, durable);
            self.write_on(world, effects);
        }
    }

    fn on_success(&mut self, node: NodeId, durable: bool) {
        if !self.owners.contains(&node) {
            return;
        }
        for set in [&mut self.waited, &mut self.again, &mut self.failed] {
            set.remove(&node);
        }
        self.done.insert(node);
        if durable {
            self.durable.insert(node);
        }
    }

    pub(super) fn on_answered(
        &mut self,
        world: &World,
        effects: &mut Effects,
        right: bool,
        node: NodeId,
        found: Found,
    ) {
        match self.stage {
            _ if !right => {}
            Stage::Waiting | Stage::Writing => {
                self.owed.remove(&node);
            }
            Stage::Reading => {
                self.uncovered &= !found.covered;
                self.versions.insert(node, found.version);
                self.on_success(node, false);
                self.read_on(world, effects);
            }
        }
    }

    pub(super) fn on_failure(&mut self, world: &World, effects: &mut Effects, node: NodeId) {
        if self.is_open(node) && !self.is_waiting() {
            self.waited.remove(&node);
            self.again.remove(&node);
            self.failed.insert(node);
        }
        self.go_on(world, effects);
    }

    pub(super) fn on_rejected(
        &mut self,
        world: &World,
        effects: &mut Effects,
        right: bool,
        node: NodeId,
    ) {
        if right && !self.owed.remove(&node) {
            self.on_failure(world, effects, node);
        }
    }

    pub(super) fn on_stale(&mut self, world: &World, right: bool, node: NodeId) {
        if !right || self.owed.remove(&node) || self.is_waiting() {
            return;
        }
        if self.is_open(node) {
            self.waited.remove(&node);
            self.again.insert(node);
        }
        self.timer = self.deadline.min(world.rig.now + TOPOLOGY_RETRY);
    }

    /// Some peer cannot be reached any more.
    pub(super) fn on_lost(&mut self, world: &World, effects: &mut Effects) {
        let lost = |node: &&NodeId| !world.reachable.contains(node);
        if self.is_waiting() {
            self.owed.retain(|node| world.reachable.contains(node));
        }
        for node in Vec::from_iter(self.waited.iter().filter(lost).copied()) {
            self.waited.remove(&node);
            self.failed.insert(node);
        }
        self.go_on(world, effects);
    }

    /// This node's own share is done.
    fn is_stored(&self, world: &World) -> bool {
        self.place < if self.sync(world) { world.rig.synced } else { world.rig.written }
    }

    /// The log has come further.
    pub(super) fn on_stored(&mut self, world: &World, effects: &mut Effects) {
        let own = self.stage == Stage::Writing && self.waited.contains(&ME);
        if own && self.is_stored(world) {
            self.on_success(ME, self.sync(world));
            self.write_on(world, effects);
        }
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, world: &World, effects: &mut Effects) {
        let now = world.rig.now;
        if self.timer.0.div_ceil(4096) > now.0 / 4096 {
            return;
        }
        if now >= self.deadline && self.is_waiting() {
            return self.fail(world, effects, self.late(world));
        }
        if now >= self.deadline {
            let enough = self.stage == Stage::Reading && self.done.len() as u8 >= self.need;
            let failure = if enough { Failure::NotCovered } else { self.short() };
            return self.fail(world, effects, failure);
        }
        self.timer = self.deadline;
        let again = self.owners.iter().copied().filter(|node| self.again.contains(node));
        for node in Vec::from_iter(again) {
            if !self.ask(world, effects, node) {
                self.go_on(world, effects);
            }
            if ended(effects) {
                return;
            }
        }
        self.go_on(world, effects);
        self.hedge(world, effects);
    }

    fn hedge(&mut self, world: &World, effects: &mut Effects) {
        while self.stage == Stage::Reading && !ended(effects) {
            let Some(node) = self.next_unasked() else { return };
            let reached = self.ask(world, effects, node);
            if self.next_unasked().is_some() {
                self.timer = self.deadline.min(world.rig.now + READ_HEDGE);
            }
            if reached {
                return;
            }
            self.read_on(world, effects);
        }
    }
}
