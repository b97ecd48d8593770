//! What happens to machine and models.

use super::*;

impl World {
    /// Somebody answers, perhaps late, twice, for another key, or unasked.
    pub(super) fn answer(&mut self) {
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
    pub(super) fn any_found(&mut self, covered: bool) -> Found {
        Found { version: u64::from(self.prng.chance(80)), covered }
    }

    pub(super) fn look(&mut self) {
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
    pub(super) fn fetched(&mut self) {
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
    pub(super) fn reply(&mut self) {
        let Some((op, order)) = self.known.last().copied() else { return };
        let node = NodeId(2 + self.prng.below(u64::from(self.setup.nodes)) as u32);
        if self.prng.chance(80) {
            let outputs = self.rig.input(Input::ForwardReplied { op, node, order });
            return self.event(op, outputs, |model, _, effects| model.on_reply(effects, node));
        }
        let outputs = self.rig.input(Input::ForwardLost { op });
        self.event(op, outputs, |model, world, effects| model.on_forward_lost(world, effects));
    }

    pub(super) fn peer(&mut self) {
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

    pub(super) fn sync(&mut self) {
        let synced = Place(self.rig.place.0 + self.prng.below(20)).max(self.rig.synced);
        let written = Place(synced.0 + self.prng.below(20)).max(self.rig.written);
        let synced = if self.prng.chance(50) { self.rig.synced } else { synced };
        let outputs = self.rig.stored_to(written, synced);
        self.event_of_all(outputs, |model, world, effects| model.on_stored(world, effects));
    }

    pub(super) fn pass(&mut self, time: Duration) {
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
