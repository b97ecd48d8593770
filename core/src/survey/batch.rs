//! Records about which all are asked at once.

use core::time::Duration;

use heapless::Vec;

use super::{Bits, Purpose};
use crate::id::{NodeId, Partition};
use crate::limits::{MEMBER_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX, SURVEY_TIMEOUT};
use crate::time::Instant;
use crate::wire::exchange::Entry;

/// Records that are to leave, and how far that is. Memory is lent.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) stage: Stage,
    pub(super) number: u32,
    pub(super) partition: Partition,
    pub(super) purpose: Option<Purpose>,
    pub(super) entries: Vec<Entry, SURVEY_ENTRY_COUNT_MAX>,
    pub(super) agreed: Bits,
    /// Who is asked.
    pub(super) nodes: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// The first so many of them were.
    pub(super) asked: usize,
    /// Those who have not answered.
    pub(super) owing: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// The longest time for which anybody takes a frame.
    pub(super) wait: Duration,
    pub(super) until: Instant,
    /// The first so many entries are done with.
    pub(super) concluded: usize,
    /// So many of them left.
    pub(super) dropped: u64,
}

/// The life of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    #[default]
    Free,
    Asking,
    /// Until no frame is left that was sent before.
    Waiting,
    AskingAgain,
    /// What all agreed to leaves, some at a time.
    Concluding,
    /// Some of it is being dropped.
    Dropping,
}

impl Batch {
    /// When it has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Free | Stage::Dropping => None,
            Stage::Concluding => Some(Instant(0)),
            Stage::Asking | Stage::AskingAgain if self.asked < self.nodes.len() => Some(Instant(0)),
            Stage::Asking | Stage::AskingAgain | Stage::Waiting => Some(self.until),
        }
    }

    /// Everybody is to be asked.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked = 0;
        self.owing.clone_from(&self.nodes);
        // What somebody did not agree to the first time is not asked for any more.
        if self.stage == Stage::Asking {
            self.agreed = [u64::MAX; _];
        }
        self.until = now + SURVEY_TIMEOUT;
    }

    /// Everybody has answered.
    pub(super) fn on_all(&mut self, now: Instant) {
        let is_first = self.stage == Stage::Asking;
        if is_first && self.purpose == Some(Purpose::Reap) {
            self.stage = Stage::Waiting;
            self.until = now + self.wait;
            return;
        }
        self.stage = Stage::Concluding;
    }

    pub(super) fn is_agreed(&self, at: usize) -> bool {
        self.agreed[at / 64] >> (at % 64) & 1 == 1
    }

    pub(super) fn agreed_count(&self) -> usize {
        (0..self.entries.len()).filter(|at| self.is_agreed(*at)).count()
    }
}
