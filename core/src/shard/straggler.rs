//! Writes that have succeeded while owners have not done their share of them.
//!
//! A client is answered once W nodes have its write, and whoever is slower than these may never do
//! its part: its process ends, its queue is full, its answer is lost. So the write keeps its slot
//! until every owner has it, or somebody keeps it for that owner, or its deadline has passed; then
//! a hint is kept, which counts to nothing (protocol §21). Such writes never take the place of
//! requests: when slots run short, the one that was answered first leaves its hints at once; nor
//! do they take all slots from hints on their way.

use super::{Output, Shard};
use crate::id::RequestId;
use crate::request::{Outcome, Pending, Phase, Request};
use crate::time::Instant;

impl Shard<'_> {
    /// Writes that are answered, and that owners have not stored yet.
    pub fn straggler_count(&self) -> usize {
        self.table.answered_count()
    }

    /// The write `op` has succeeded: it ends now, or when all owners are provided for.
    pub(super) fn answer_write(&mut self, now: Instant, op: RequestId, outcome: Outcome) {
        if !self.config.keeps_hints || !self.is_owed(op) {
            return self.finish(op, outcome);
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::StragglerForgotten) {
            return self.finish(op, outcome);
        }
        if 4 * (self.table.answered_count() + 1) > 3 * self.table.capacity() {
            self.give_up_first(now);
        }
        let Request { origin, want_context, .. } = self.table.answer(op).request;
        self.output(Output::Reply { op: Some(op), origin, outcome, want_context });
    }

    /// Whether the client of the write `op` has its answer.
    pub(super) fn is_answered(&self, op: RequestId) -> bool {
        self.table.is_answered(op)
    }

    /// Ends the answered write `op` if nothing is owed to any owner.
    pub(super) fn settle(&mut self, op: RequestId) {
        if !self.is_owed(op) {
            self.table.remove(op);
        }
    }

    /// Ends the answered write `op`: what owners have not stored by now is kept for them.
    pub(super) fn give_up(&mut self, now: Instant, op: RequestId) {
        self.keep_for_open(now, op);
        self.table.remove(op);
    }

    /// Frees a slot, if none is free and some write has its answer.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.table.count() < self.table.capacity() {
            return;
        }
        self.give_up_first(now);
    }

    /// Ends the write that was answered first, if there is one.
    fn give_up_first(&mut self, now: Instant) {
        let Some(oldest) = self.table.first_answered() else { return };
        self.give_up(now, oldest);
    }

    /// Whether it is open if some other owner gets the write `op`.
    fn is_owed(&self, op: RequestId) -> bool {
        let Some(Pending { phase: Phase::Writing(put), .. }) = self.table.get(op) else {
            return false;
        };
        let tally = put.tally();
        let is_owed = |node| {
            let owner = tally.target(node).unwrap_or(node);
            owner != self.config.node && !tally.is_share_done(owner)
        };
        tally.open().any(is_owed)
    }
}
