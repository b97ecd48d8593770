//! Changes of the membership, as an operator commits them.

use ringmain_core::membership::member::Name;
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::Operations;
use ringmain_core::node::{Node, NodeInput};

use super::super::mark::Mark;
use super::super::oracle::Violation;
use super::super::outbox::node_id;
use super::{World, note};

impl World<'_> {
    /// An operator changes the membership at some node.
    pub(super) fn change_membership(&mut self) -> Result<(), Violation> {
        let Some(left) = self.changes_left.checked_sub(1) else { return Ok(()) };
        self.changes_left = left;
        let members: Vec<usize> =
            (0..self.hosts.len()).filter(|node| self.hosts[*node].is_member()).collect();
        let node = *self.random.pick(&members);
        let spare = self.hosts.iter().position(|host| host.is_spare);
        match (self.random.below(6), spare) {
            (0 | 1, Some(spare)) => {
                self.marks.hit(Mark::MemberAdded);
                self.hosts[spare].is_spare = false;
                self.start(spare)
            }
            (2, _) if self.others_stay(node) => {
                self.marks.hit(Mark::MemberLeaves);
                self.hosts[node].is_removed = true;
                self.commit(Operation::Remove { node: node_id(node), is_lost: false })
            }
            (3, _) if self.others_stay(node) && self.may_lose_one() => {
                self.destroy(node)?;
                self.forget(node)
            }
            (kind, _) => {
                self.marks.hit(Mark::MemberChanged);
                let (id, version) = (node_id(node), self.random.bits() as u32 >> 8);
                let weight = self.random.between(20, 500) as u16;
                let zone = Name::new(["a", "b", "c"][self.random.below(3)]).expect("a short word");
                self.commit(match kind {
                    4 => Operation::SetZone { node: id, version, zone },
                    _ => Operation::SetWeight { node: id, version, weight },
                })
            }
        }
    }

    /// Whether a member is left without `node` whose disks keep what they are given.
    pub(super) fn others_stay(&self, node: usize) -> bool {
        let is_sound = |other: usize| {
            let is_victim = other < 8 && self.swarm.disk.victims >> other & 1 == 1;
            other != node && !is_victim && self.hosts[other].is_member()
        };
        (0..self.hosts.len()).any(is_sound)
    }

    /// Whether one more node may be lost: then every partition has an owner left that had it.
    pub(super) fn may_lose_one(&self) -> bool {
        let lost = self.hosts.iter().filter(|host| host.is_gone).count();
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let machines = processes.filter_map(|process| process.node.as_ref());
        let settled = machines.map(|machine| machine.rings().settled().replica_count());
        lost + 1 < settled.min().unwrap_or(0)
    }

    /// All that are gone for good are forgotten, and what may never have reached a disk is
    /// committed again.
    pub(super) fn commit_again(&mut self) -> Result<(), Violation> {
        for node in 0..self.hosts.len() {
            if self.hosts[node].is_gone {
                self.forget(node)?;
            } else if self.hosts[node].is_removed {
                self.commit(Operation::Remove { node: node_id(node), is_lost: false })?;
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, node: usize) -> Result<(), Violation> {
        self.marks.hit(Mark::MemberForgotten);
        self.hosts[node].is_removed = true;
        self.commit(Operation::Remove { node: node_id(node), is_lost: true })
    }

    /// Commits an operation at some node that runs, if there is one that takes it: none takes one
    /// after which no member would be left, as far as it knows.
    fn commit(&mut self, operation: Operation) -> Result<(), Violation> {
        let leaves_one = |machine: &Node<'_>| {
            let Operation::Remove { node, .. } = operation else { return true };
            machine.operations().members().iter().any(|member| member.node != node)
        };
        let knows = |node: &usize| {
            let host = &self.hosts[*node];
            let machine = host.process.as_ref().and_then(|process| process.node.as_ref());
            host.is_running() && machine.is_some_and(|it| it.is_member() && leaves_one(it))
        };
        let running: Vec<usize> = (0..self.hosts.len()).filter(knows).collect();
        if running.is_empty() {
            return Ok(());
        }
        let at = *self.random.pick(&running);
        note!(self, "n{at} commits {operation:?}");
        let bytes = operation.moving().to_bytes();
        let operations = Operations::new_checked(&bytes).expect("one operation");
        self.node_turn(at, NodeInput::Commit { operations })
    }
}
