//! A write (Dynamo §4.5): the coordinator has stored it; reply when W distinct owners have.

use super::{Failure, Outcome, Step};
use crate::id::NodeId;
use crate::quorum::{ASKED_COUNT_MAX, Need, Tally, Verdict};
use crate::records::Applied;
use crate::ring::Owners;

/// A write in flight, from its local append on.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    tally: Tally,
    applied: Applied,
    owed: OwedReads,
}

/// Nodes that were asked for the read before a write and have not answered it. Frames of one link
/// stay in order, so their next answer is to that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OwedReads {
    /// 0 = none.
    nodes: [NodeId; ASKED_COUNT_MAX],
}

impl OwedReads {
    /// Each of `nodes` owes an answer.
    ///
    /// # Panics
    /// If there are more than one request asks.
    pub fn by(nodes: impl Iterator<Item = NodeId>) -> OwedReads {
        let mut owed = OwedReads::default();
        for (index, node) in nodes.enumerate() {
            owed.nodes[index] = node;
        }
        owed
    }

    /// `node` has answered: whether it owed that.
    pub fn take(&mut self, node: NodeId) -> bool {
        let index = self.nodes.iter().position(|owing| *owing == node && node != NodeId(0));
        if let Some(index) = index {
            self.nodes[index] = NodeId(0);
        }
        index.is_some()
    }

    /// Forgets the nodes that are not such.
    pub fn retain(&mut self, is: impl Fn(NodeId) -> bool) {
        for node in self.nodes.iter_mut().filter(|node| !is(**node)) {
            *node = NodeId(0);
        }
    }
}

impl Put {
    /// A write that this node has appended, to be stored by `owners`.
    pub fn new(owners: &Owners, need: Need, applied: Applied, owed: OwedReads) -> Put {
        let mut tally = Tally::new(owners, need);
        for node in owners.iter() {
            tally.on_asked(*node);
        }
        Put { tally, applied, owed }
    }

    /// What the local append did.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// The answers so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// `node` stored it, and synced it if `durable`.
    pub fn on_ack(&mut self, node: NodeId, durable: bool) -> Step {
        let verdict = self.tally.on_success(node, durable);
        self.step(verdict)
    }

    /// `node` refused, or cannot be reached.
    pub fn on_failure(&mut self, node: NodeId) -> Step {
        let verdict = self.tally.on_failure(node);
        self.step(verdict)
    }

    /// See [`Tally::stand_in`].
    pub fn stand_in(&mut self, node: NodeId, owner: NodeId) -> bool {
        self.tally.stand_in(node, owner)
    }

    /// `node` refused, or answered the read: whether that was the read before this write.
    pub fn take_owed(&mut self, node: NodeId) -> bool {
        self.owed.take(node)
    }

    /// See [`Tally::on_again`].
    pub fn on_again(&mut self, node: NodeId) {
        self.tally.on_again(node);
    }

    /// See [`Tally::on_asked`].
    pub fn on_asked(&mut self, node: NodeId) {
        self.tally.on_asked(node);
    }

    /// Goes on with another set of owners: those that stored it and still own it count. See
    /// [`Tally::moved_to`].
    pub fn move_to(
        &mut self,
        owners: &Owners,
        need: Need,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Step {
        self.tally = self.tally.moved_to(owners, need, is_member);
        self.owed = OwedReads::default();
        self.step(self.tally.verdict())
    }

    /// How the write ends when its deadline passes: its outcome is unknown.
    pub fn expire(&self) -> Failure {
        let (needed, got) = self.tally.shortfall();
        Failure::NoQuorum { needed, got }
    }

    fn step(&self, verdict: Verdict) -> Step {
        match verdict {
            Verdict::Wait => Step::Wait,
            Verdict::Met => Step::Reply(Outcome::Stored(self.applied)),
            Verdict::Impossible => Step::Reply(Outcome::Failed(self.expire())),
        }
    }
}
