//! What the initiator does once differences are known: wait, look again, push and pull.

use zerocopy::little_endian::U64;

use super::super::{Resume, Step};
use super::{After, Initiator, Next, Phase};
use crate::limits::EXCHANGE_FETCH_COUNT_MAX;
use crate::wire::exchange::{EndReason, Range};

impl Initiator {
    /// All leaves are compared, or no more differences fit.
    pub(super) fn settle_or_finish(&mut self) {
        if self.differences.is_empty() {
            return self.end(EndReason::Finished);
        }
        (self.phase, self.next, self.rechecked) = (Phase::Settling, Next::Pause, 0);
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::RecheckSkipped) {
            self.differences.repeat();
            self.confirm();
        }
    }

    /// Compares the next differing orders again.
    pub(super) fn recheck(&mut self) {
        self.phase = Phase::Rechecking;
        self.comparison.clear();
        for order in self.differences.orders_from(self.rechecked) {
            if !self.comparison.has_room() {
                break;
            }
            self.comparison.add(Range::new(order, order));
            self.rechecked += 1;
        }
        if self.comparison.is_empty() {
            return self.confirm();
        }
        self.next = Next::Grant(Step::Send);
    }

    fn confirm(&mut self) {
        self.confirmed += self.differences.confirm();
        self.phase = Phase::Repairing;
        self.repair();
    }

    /// The next push, or the question that ends a batch, or the next round.
    pub(super) fn repair(&mut self) {
        let is_full = self.pushed >= EXCHANGE_FETCH_COUNT_MAX
            || self.pushed_bytes >= u64::from(self.config.window_bytes);
        if !is_full && let Some(order) = self.differences.next_push() {
            self.next = Next::Grant(Step::Push { order });
            return;
        }
        self.fetched.clear();
        while !self.fetched.is_full()
            && let Some(order) = self.differences.take_pull()
        {
            self.fetched.push(U64::new(order)).expect("the loop asked whether it is full");
        }
        if self.pushed > 0 || !self.fetched.is_empty() {
            self.next = Next::Grant(Step::Send);
            return;
        }
        assert!(self.differences.is_repaired());
        self.differences.clear();
        self.compare();
    }

    /// Goes on with `after` once no record is left to be joined.
    pub(super) fn await_joins(&mut self, after: After) {
        self.next = Next::Joins(after);
        if self.joining > 0 {
            return;
        }
        match (self.phase, after) {
            (Phase::Repairing, After::Fetched(served)) => self.on_fetched(served),
            (Phase::Streaming(resume), After::Fetched(_)) => {
                self.on_piece(resume, self.left);
            }
            (Phase::Streaming(resume), After::Streamed(next)) => self.on_piece(resume, next),
            _ => unreachable!("joins are awaited in these phases alone"),
        }
    }

    fn on_fetched(&mut self, served: usize) {
        (self.pushed, self.pushed_bytes) = (0, 0);
        let mut failures = 0;
        for (index, order) in self.fetched.iter().enumerate() {
            if index < served {
                let failed = self.differences.on_pulled(order.get());
                failures += u32::from(failed);
            } else {
                self.differences.put_back(order.get());
            }
        }
        self.add_differences(failures);
        self.repair();
    }

    /// One window was streamed and confirmed.
    fn on_piece(&mut self, resume: Resume, next: Option<u64>) {
        match next {
            Some(from) => self.stream(Resume { from, ..resume }),
            None => {
                (self.phase, self.next) = (Phase::Opening, Next::Grant(Step::Summarize));
            }
        }
    }

    pub(super) fn stream(&mut self, resume: Resume) {
        self.phase = Phase::Streaming(resume);
        self.next = Next::Grant(match resume {
            Resume { from, to_peer: true } => {
                Step::Stream { from, bytes: self.config.window_bytes }
            }
            Resume { to_peer: false, .. } => Step::Send,
        });
    }

    /// It is over; the peer is told.
    pub(super) fn end(&mut self, reason: EndReason) {
        if let Phase::Streaming(resume) = self.phase {
            self.summary.resume = Some(resume);
        }
        self.summary.reason = reason;
        self.summary.repaired = self.confirmed.saturating_sub(self.summary.differences);
        (self.phase, self.next) = (Phase::Ending, Next::Grant(Step::Send));
    }
}
