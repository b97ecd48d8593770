//! Version vectors that become shorter, as part of a shard's work. See
//! [`causality`](crate::causality) for what may leave, and [`survey`](crate::survey) for when.

use super::Shard;
use crate::causality::Dot;
use crate::id::Partition;
use crate::limits::SURVEY_ENTRY_COUNT_MAX;
use crate::records::Place;
use crate::request::KeyPlace;
use crate::time::Instant;
use crate::wire::exchange::Entry;
use heapless::Vec;

impl Shard<'_> {
    /// A write or a join has left `key` a version vector of so many entries. Its first owner alone
    /// asks the others, so only there is it noted.
    #[inline]
    pub(crate) fn note_entries(&mut self, key: KeyPlace, count: usize) {
        let owners = || self.rings.committed().owners(key.partition);
        if count > self.survey_settings().long_entries
            && owners().first() == Some(&self.config.node)
        {
            self.surveys.note_long(key);
        }
    }

    /// The next key with a long version vector, from `order` on.
    pub(crate) fn take_long(&mut self, partition: Partition, order: u64) -> Option<KeyPlace> {
        self.surveys.take_long(partition, order)
    }

    /// Whether `entry` is of the running life, whose actors may go on.
    pub(crate) fn is_own(&self, entry: Dot) -> bool {
        let actor = entry.actor();
        actor.node() == self.config.node && actor.boot() == self.config.boot
    }

    /// This node says of the record at `place` which of its entries are spent.
    pub(crate) fn on_spent_asked(&mut self, now: Instant, place: Place) {
        self.last_spent = (now, self.last_spent.1.max(place));
    }

    /// Whether all is on disk of which this node said so as long ago as the last question is behind
    /// the one before: some seconds.
    pub(crate) fn is_spent_for_good(&self, now: Instant) -> bool {
        let (asked, place) = self.last_spent;
        now.since(asked) < self.survey_settings().frame_age_max && self.is_on_disk(place)
    }

    /// Entries to which all have agreed.
    pub(crate) fn to_compact(&self, number: u32) -> Vec<Entry, SURVEY_ENTRY_COUNT_MAX> {
        self.surveys.to_compact(number)
    }

    /// These entries have left the version vector of `key`.
    pub(crate) fn on_compacted(&mut self, now: Instant, key: KeyPlace, entries: &[Entry]) {
        self.surveys.on_compacted(now, key, entries);
    }

    /// Which entries have left the version vector of `key` lately.
    #[inline]
    pub(crate) fn compacted(&self, key: KeyPlace) -> Option<&[Entry]> {
        self.surveys.compacted(key)
    }
}
