//! Index and leaves, from the newest record to the oldest.

use std::collections::HashSet;

use ringmain_core::id::{NodeId, Partition};
use ringmain_core::records::Place;

use super::super::index::{Index, Probe};
use super::super::leaves::Leaves;
use super::super::live::Live;
use super::super::record::Frame;
use super::super::snapshot::Entry;
use super::OpenError;
use super::segment::Segment;

/// So many entries are looked at ahead, so that the misses of their slots overlap.
const AHEAD_COUNT: usize = 16;

/// See the module.
pub(super) struct Builder {
    index: Index,
    leaves: Leaves,
    /// Orders that more than one key may have.
    twins: HashSet<(Partition, u64), ahash::RandomState>,
}

impl Builder {
    pub(super) fn new(index: Index, leaves: Leaves) -> Builder {
        Builder { index, leaves, twins: HashSet::default() }
    }

    pub(super) fn into_parts(mut self) -> (Index, Leaves) {
        self.index.hints.on_recovered();
        (self.index, self.leaves)
    }

    /// Adds the entries of `segment`, the newest first; says how many there were, and which of
    /// them are current.
    pub(super) fn add(
        &mut self,
        segments: &[Segment<'_>],
        segment: &Segment<'_>,
        mut entries: impl Iterator<Item = Entry>,
        is_verified: bool,
    ) -> Result<(u64, Live), OpenError> {
        let (mut count, mut live) = (0, Live::none(segment.bytes.len() as u32));
        let mut ahead = Vec::with_capacity(AHEAD_COUNT);
        loop {
            ahead.clear();
            ahead.extend(entries.by_ref().take(AHEAD_COUNT));
            if ahead.is_empty() {
                return Ok((count, live));
            }
            count += ahead.len() as u64;
            let own =
                |entry: &&Entry| entry.target == NodeId(0) && self.index.holds(entry.partition);
            for entry in ahead.iter().filter(own) {
                self.index.table(entry.partition).prefetch(entry.order);
                self.leaves.prefetch(entry.partition, entry.order);
            }
            for entry in &ahead {
                let place = segment.place(entry.offset as usize);
                if self.insert(segments, place, entry, is_verified)? {
                    live.add(entry.offset, entry.bytes as usize);
                }
            }
        }
    }

    /// Whether the entry is the current one of its key.
    fn insert(
        &mut self,
        segments: &[Segment<'_>],
        place: Place,
        entry: &Entry,
        is_verified: bool,
    ) -> Result<bool, OpenError> {
        let &Entry { partition, order, version, is_twin, target, .. } = entry;
        let damaged = || OpenError::Damaged { segment: place.segment(), offset: place.offset() };
        if !self.index.holds(partition) {
            return Err(damaged());
        }
        let is_among_twins = !self.twins.is_empty() && self.twins.contains(&(partition, order));
        let is_hint = target != NodeId(0);
        let is_among_twins = is_among_twins || is_hint;
        let table = match is_hint {
            true => self.index.hints.table_mut(target),
            false => self.index.table_mut(partition),
        };
        let probe = if is_among_twins {
            let key = frame_at(segments, place).ok_or_else(damaged)?.key();
            table.find(order, |other, _| {
                Ok(frame_at(segments, other).ok_or_else(damaged)?.key() == key)
            })?
        } else {
            table.find(order, |_, _| Ok(true))?
        };
        if is_twin && !is_hint {
            self.twins.insert((partition, order));
        }
        if matches!(probe, Probe::Found(..)) {
            return Ok(false);
        }
        table.put(probe, order, place, is_verified);
        if is_hint {
            self.index.hints.on_found(target, place, entry.bytes as usize);
        } else {
            self.leaves.add(partition, order, version);
        }
        Ok(true)
    }
}

/// The frame at a place; its key is there to compare, intact or not.
fn frame_at<'a>(segments: &[Segment<'a>], place: Place) -> Option<Frame<'a>> {
    let at = segments.binary_search_by_key(&place.segment(), |one| one.segment).ok()?;
    segments[at].frame(place.offset() as usize)
}
