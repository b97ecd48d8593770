//! Records about which all are asked at once.

use core::time::Duration;

use heapless::Vec;

use super::{Bits, Epochs, Purpose};
use crate::id::{NodeId, Partition};
use crate::limits::{COMPACT_SYNC_PART, MEMBER_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX, SURVEY_TIMEOUT};
use crate::time::Instant;
use crate::wire::exchange::Entry;

/// Records that are to leave, and how far that is. Memory is lent.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) stage: Stage,
    pub(super) number: u32,
    pub(super) partition: Partition,
    pub(super) purpose: Option<Purpose>,
    /// To compact: of the key.
    pub(super) order: u64,
    /// How often all have been asked, counted from one.
    pub(super) round: u8,
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
    /// The greatest reap epoch that anybody had when asked first.
    pub(super) raised: u64,
    /// This node's was raised above that.
    pub(super) is_raised: bool,
    /// The least floor that anybody had when asked again.
    pub(super) floor: u64,
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
    /// Until no frame is left that was sent before, or what was said is on disk.
    Waiting,
    /// What all agreed to leaves, some at a time.
    Concluding,
    /// Some of it is being dropped.
    Dropping,
    /// These entries have left the version vector of a key, and are not let in again.
    Compacted,
}

impl Batch {
    /// When it has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Free | Stage::Dropping => None,
            Stage::Concluding => Some(Instant(0)),
            Stage::Asking if self.asked < self.nodes.len() => Some(Instant(0)),
            Stage::Waiting if !self.is_raised => Some(Instant(0)),
            Stage::Asking | Stage::Waiting | Stage::Compacted => Some(self.until),
        }
    }

    /// Everybody is to be asked: what somebody did not agree to before is not asked for any more.
    pub(super) fn ask(&mut self, now: Instant) {
        self.stage = Stage::Asking;
        self.round += 1;
        self.asked = 0;
        self.owing.clone_from(&self.nodes);
        self.floor = u64::MAX;
        self.until = now + SURVEY_TIMEOUT;
    }

    /// Somebody has answered that.
    pub(super) fn note(&mut self, epochs: Epochs) {
        if self.round == 1 {
            self.raised = self.raised.max(epochs.raised);
        }
        self.floor = self.floor.min(epochs.floor);
    }

    /// If this is the last of several questions: whether all have on disk that no member's disk may
    /// be older than the first.
    pub(super) fn is_known(&self) -> bool {
        self.round == 1 || self.round < self.round_count() || self.floor > self.raised
    }

    /// How often all are asked: whether they agree; whether they still do once nothing is under way
    /// that was then; whether that is on disk.
    fn round_count(&self) -> u8 {
        match self.purpose {
            Some(Purpose::Compact) => 3,
            Some(Purpose::Reap) => 2,
            _ => 1,
        }
    }

    /// Everybody has answered.
    pub(super) fn on_all(&mut self, now: Instant) {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::CompactAtOnce)
            && self.purpose == Some(Purpose::Compact)
        {
            self.stage = Stage::Concluding;
            return;
        }
        let pause = match (self.purpose, self.round) {
            (Some(Purpose::Reap), 1) => self.wait,
            // A request that was under way may send what it read before, as long as it lives: half
            // as long as a frame is taken.
            (Some(Purpose::Compact), 1) => self.wait + self.wait / 2,
            (Some(Purpose::Compact), 2) => self.wait / COMPACT_SYNC_PART,
            _ => {
                self.stage = Stage::Concluding;
                return;
            }
        };
        self.stage = Stage::Waiting;
        self.until = now + pause;
    }

    /// Whether this is the last question to compact.
    pub(super) fn is_last(&self) -> bool {
        self.purpose == Some(Purpose::Compact) && self.round == self.round_count()
    }

    pub(super) fn is_agreed(&self, at: usize) -> bool {
        self.agreed[at / 64] >> (at % 64) & 1 == 1
    }

    pub(super) fn agreed_count(&self) -> usize {
        (0..self.entries.len()).filter(|at| self.is_agreed(*at)).count()
    }
}
