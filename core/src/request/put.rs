//! A write (Dynamo §4.5): the coordinator has stored it; reply when W distinct owners have.

use super::{Failure, Outcome, Step};
use crate::id::NodeId;
use crate::limits::REPLICA_COUNT_MAX;
use crate::quorum::{Need, Tally, Verdict};
use crate::records::Applied;

/// A write in flight, from its local append on.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    tally: Tally,
    applied: Applied,
    /// Owners that were asked for the read before this write and have not answered it: one bit
    /// each, by position. Frames of one link stay in order, so their next answer is to that.
    owed: u8,
}

const _: () = assert!(REPLICA_COUNT_MAX <= 8, "a bit for each owner");

impl Put {
    /// A write that this node has appended, to be stored by `owners`; the owners whose bits are
    /// set in `owed` still owe an answer to the read before it.
    pub fn new(owners: &[NodeId], need: Need, applied: Applied, owed: u8) -> Put {
        let mut tally = Tally::new(owners, need);
        for node in owners {
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

    /// `node` refused, or answered the read: whether that was the read before this write.
    pub fn take_owed(&mut self, node: NodeId) -> bool {
        let bit = self.tally.index(node).map_or(0, |index| 1 << index);
        let was_owed = self.owed & bit != 0;
        self.owed &= !bit;
        was_owed
    }

    /// See [`Tally::on_again`].
    pub fn on_again(&mut self, node: NodeId) {
        self.tally.on_again(node);
    }

    /// See [`Tally::on_asked`].
    pub fn on_asked(&mut self, node: NodeId) {
        self.tally.on_asked(node);
    }

    /// Goes on with another set of owners: those that stored it and still own it count.
    pub fn move_to(&mut self, owners: &[NodeId]) -> Step {
        self.tally = self.tally.moved_to(owners);
        self.owed = 0;
        self.step(self.tally.verdict())
    }

    /// How the write ends when its deadline passes: its outcome is unknown.
    pub fn expire(&self) -> Failure {
        let need = self.tally.need();
        let needed = need.nodes.max(need.primaries).max(need.durable);
        Failure::NoQuorum { needed, got: self.tally.got() }
    }

    fn step(&self, verdict: Verdict) -> Step {
        match verdict {
            Verdict::Wait => Step::Wait,
            Verdict::Met => Step::Reply(Outcome::Stored(self.applied)),
            Verdict::Impossible => Step::Reply(Outcome::Failed(self.expire())),
        }
    }
}
