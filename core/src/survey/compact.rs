//! Keys whose version vectors may be compacted, and those whose were lately.
//!
//! An owner that has dropped entries may get them again from another that has not yet, and with the
//! next write gives them back to all. So each remembers for a while which have left, and drops them
//! anew whenever a write or a join brings them. A context of a client may bring them later: then
//! they leave with a later survey.

use super::{Stage, Surveys};
use crate::id::Partition;
use crate::limits::{COMPACT_KEY_COUNT_MAX, COMPACTED_PART};
use crate::request::KeyPlace;
use crate::time::Instant;
use crate::wire::exchange::Entry;
use crate::wire::survey::Purpose;

/// Keys with long version vectors. Each has one place; another one of that place pushes it out, and
/// the next write brings it back.
#[derive(Debug)]
pub(super) struct Long {
    keys: [Option<KeyPlace>; COMPACT_KEY_COUNT_MAX],
    /// Places that are taken.
    count: usize,
}

impl Default for Long {
    fn default() -> Long {
        Long { keys: [None; COMPACT_KEY_COUNT_MAX], count: 0 }
    }
}

impl Long {
    fn set(&mut self, of: KeyPlace, key: Option<KeyPlace>) {
        let place = &mut self.keys[of.order as usize % COMPACT_KEY_COUNT_MAX];
        self.count += usize::from(key.is_some());
        self.count -= usize::from(place.is_some());
        *place = key;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The keys of a partition.
    fn of(&self, partition: Partition) -> impl Iterator<Item = KeyPlace> {
        let keys = if self.is_empty() { &[][..] } else { &self.keys[..] };
        keys.iter().flatten().filter(move |key| key.partition == partition).copied()
    }
}

impl Surveys<'_> {
    /// A write or a join has left `key` a long version vector.
    pub fn note_long(&mut self, key: KeyPlace) {
        self.long.set(key, Some(key));
    }

    /// The first key of `partition` from `order` on that was noted; it is not any more.
    pub fn take_long(&mut self, partition: Partition, order: u64) -> Option<KeyPlace> {
        let keys = self.long.of(partition).filter(|key| key.order >= order);
        let key = keys.min_by_key(|key| key.order)?;
        self.long.set(key, None);
        Some(key)
    }

    /// Whether a key of `partition` was noted.
    pub fn has_long(&self, partition: Partition) -> bool {
        self.long.of(partition).next().is_some()
    }

    /// These entries, ascending, have left the version vector of `key`: they are remembered, if
    /// there is room for it.
    pub fn on_compacted(&mut self, now: Instant, key: KeyPlace, entries: &[Entry]) {
        let before = self.compacted.iter().find(|(other, _)| *other == key);
        let index = match before.map(|(_, index)| usize::from(*index)).or_else(|| self.free()) {
            Some(index) if before.is_some() || !self.compacted.is_full() => index,
            _ => return,
        };
        if before.is_none() {
            self.compacted.push((key, index as u16)).expect("there is room");
            self.active += 1;
        }
        let batch = &mut self.batches[index];
        let until = now + self.settings.frame_age_max / COMPACTED_PART;
        (batch.stage, batch.number, batch.until) = (Stage::Compacted, 0, until);
        batch.purpose = Some(Purpose::Compact);
        batch.entries.clear();
        batch.entries.extend_from_slice(entries).expect("no more than a survey asks about");
        self.refresh();
    }

    /// Which entries have left the version vector of `key` lately.
    #[inline]
    pub fn compacted(&self, key: KeyPlace) -> Option<&[Entry]> {
        let (_, index) = self.compacted.iter().find(|(other, _)| *other == key)?;
        Some(&self.batches[usize::from(*index)].entries)
    }

    pub(super) fn forget_compacted(&mut self, index: usize) {
        self.batches[index].stage = Stage::Free;
        self.active -= 1;
        self.compacted.retain(|(_, other)| usize::from(*other) != index);
    }
}
