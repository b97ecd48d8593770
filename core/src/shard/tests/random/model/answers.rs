//! What answers, losses and time do to a request.

use super::*;
use crate::limits::TOPOLOGY_RETRY;

impl Model {
    pub(in super::super) fn on_acked(
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

    pub(super) fn on_success(&mut self, node: NodeId, durable: bool) {
        if !self.nodes().contains(&node) {
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

    pub(in super::super) fn on_answered(
        &mut self,
        world: &World,
        effects: &mut Effects,
        right: bool,
        node: NodeId,
        found: Found,
    ) {
        match self.stage {
            _ if !right => {}
            Stage::Forwarded(_) => {}
            Stage::Waiting | Stage::Writing => {
                self.owed.remove(&node);
            }
            Stage::Reading => {
                self.uncovered &= !found.covered;
                if self.nodes().contains(&node) {
                    self.versions.insert(node, found.version);
                }
                self.on_success(node, false);
                self.read_on(world, effects);
            }
        }
    }

    /// A frame to `node` was not taken.
    pub(in super::super) fn on_unsent(
        &mut self,
        world: &World,
        effects: &mut Effects,
        node: NodeId,
    ) {
        if matches!(self.stage, Stage::Reading | Stage::Writing) {
            self.on_away(world, effects, node);
        }
        if self.stage == Stage::Reading && !ended(effects) {
            self.read_on(world, effects);
        }
    }

    /// `node` refuses: who stands in for it cannot read what it cannot read.
    pub(in super::super) fn on_refused(
        &mut self,
        world: &World,
        effects: &mut Effects,
        node: NodeId,
    ) {
        if self.stage == Stage::Writing {
            return self.on_away(world, effects, node);
        }
        if self.stage == Stage::Reading {
            if self.is_open(node) {
                self.set_failed(node);
            }
            self.read_on(world, effects);
        }
    }

    pub(in super::super) fn on_rejected(
        &mut self,
        world: &World,
        effects: &mut Effects,
        right: bool,
        node: NodeId,
    ) {
        if right && !self.owed.remove(&node) {
            self.on_refused(world, effects, node);
        }
    }

    pub(in super::super) fn on_stale(&mut self, world: &World, right: bool, node: NodeId) {
        let is_asking = matches!(self.stage, Stage::Reading | Stage::Writing);
        if !right || self.owed.remove(&node) || !is_asking {
            return;
        }
        if self.is_open(node) {
            self.waited.remove(&node);
            self.again.insert(node);
        }
        self.timer = self.deadline.min(world.rig.now + TOPOLOGY_RETRY);
    }

    /// `node` replies to what was handed on.
    pub(in super::super) fn on_reply(&mut self, effects: &mut Effects, node: NodeId) {
        if self.stage == Stage::Forwarded(node) {
            effects.push(format!("relay {:?}", self.op));
        }
    }

    pub(in super::super) fn on_forward_lost(&mut self, world: &World, effects: &mut Effects) {
        if matches!(self.stage, Stage::Forwarded(_)) {
            self.fail(world, effects, Failure::Unavailable { needed: 1, got: 0 });
        }
    }

    /// Some peer cannot be reached any more.
    pub(in super::super) fn on_lost(&mut self, world: &World, effects: &mut Effects) {
        if self.is_waiting() {
            self.owed.retain(|node| world.reachable.contains(node));
        }
        if let Stage::Forwarded(node) = self.stage {
            if !world.reachable.contains(&node) {
                self.fail(world, effects, no_quorum(1, 0));
            }
            return;
        }
        for node in self.nodes() {
            if self.waited.contains(&node) && self.is_passed(world, node) {
                self.on_away(world, effects, node);
            }
        }
        if self.stage == Stage::Reading {
            self.read_on(world, effects);
        }
    }

    /// This node's own share is done.
    pub(super) fn is_stored(&self, world: &World) -> bool {
        self.place < if self.sync(world) { world.rig.synced } else { world.rig.written }
    }

    /// The log has come further.
    pub(in super::super) fn on_stored(&mut self, world: &World, effects: &mut Effects) {
        let own = self.stage == Stage::Writing && self.waited.contains(&ME);
        if own && self.is_stored(world) {
            self.on_success(ME, self.sync(world));
            self.write_on(world, effects);
        }
    }

    /// Time has passed.
    pub(in super::super) fn on_time(&mut self, world: &World, effects: &mut Effects) {
        let now = world.rig.now;
        if self.timer.0.div_ceil(4096) > now.0 / 4096 {
            return;
        }
        if matches!(self.stage, Stage::Forwarded(_)) {
            return self.fail(world, effects, no_quorum(1, 0));
        }
        if now >= self.deadline && self.is_waiting() {
            return self.fail(world, effects, self.late(world));
        }
        if now >= self.deadline {
            let enough = self.stage == Stage::Reading && self.is_met_with(|_| false);
            let is_get = self.is_get;
            let failure = if enough && is_get { Failure::NotCovered } else { self.short() };
            return self.fail(world, effects, failure);
        }
        self.timer = self.deadline;
        // A suspect may be one too many by now.
        self.on_lost(world, effects);
        let again = |node: &NodeId| self.again.contains(node);
        for node in Vec::from_iter(self.nodes().into_iter().filter(again)) {
            if ended(effects) {
                return;
            }
            self.ask(world, effects, node);
        }
        if self.stage == Stage::Reading {
            self.read_on(world, effects);
            self.hedge(world, effects);
        }
    }

    fn hedge(&mut self, world: &World, effects: &mut Effects) {
        let has_asked = self.ask_one_more(world, effects);
        if has_asked && self.next_unasked().is_some() {
            self.timer = self.deadline.min(world.rig.now + self.hedge_delay(world));
        }
    }

    /// Asks the next node that is well, or lasts until somebody else is found; suspects are left
    /// for when they are needed.
    pub(super) fn ask_one_more(&mut self, world: &World, effects: &mut Effects) -> bool {
        while self.stage == Stage::Reading && !ended(effects) {
            let Some(node) = self.next_unasked() else { return false };
            let is_suspect = world.reachable.contains(&node) && !world.is_well(node);
            if is_suspect && !self.is_passed(world, node) {
                return false;
            }
            if self.ask(world, effects, node) {
                return true;
            }
        }
        false
    }
}
