//! Index and leaves, from the newest record to the oldest.

use std::collections::{HashMap, HashSet};

use ringmain_core::id::{NodeId, Partition};
use ringmain_core::records::Place;

use super::super::index::{Index, Probe};
use super::super::leaves::Leaves;
use super::super::live::Live;
use super::super::snapshot::{Entry, What};
use super::OpenError;
use super::segment::Segment;

/// So many entries are looked at ahead, so that the misses of their slots overlap.
const AHEAD_COUNT: usize = 16;

/// The node for which it is kept, 0 for none, and what of it the hash of its key says.
type Whose = (NodeId, Partition, u64);

/// See the module.
pub(super) struct Builder {
    index: Index,
    leaves: Leaves,
    /// Orders that more than one key may have.
    twins: HashSet<(Partition, u64), ahash::RandomState>,
    /// What is hidden: where each erasure lies, and the place before which it erases.
    erased: HashMap<Whose, Vec<(Place, Place)>, ahash::RandomState>,
}

impl Builder {
    pub(super) fn new(index: Index, leaves: Leaves) -> Builder {
        let (twins, erased) = Default::default();
        Builder { index, leaves, twins, erased }
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
                    if entry.what == What::Erasure {
                        live.count_erasure(entry.bytes as usize, true);
                    }
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
        let is_hint = target != NodeId(0);
        // A key that was erased is none of the others that its order may have had since.
        let is_erasure = entry.what == What::Erasure;
        let is_compared = is_hint || is_erasure || self.has_twins(partition, order);
        if is_twin && !is_hint {
            self.twins.insert((partition, order));
        }
        let whose = (target, partition, order);
        if self.is_erased(segments, whose, place, is_compared)? {
            return Ok(false);
        }
        let table = match is_hint {
            true => self.index.hints.table(target),
            false => self.index.table(partition),
        };
        let probe = if is_compared {
            let key = key_at(segments, place)?;
            table.find(order, |other, _| Ok(key_at(segments, other)? == key))?
        } else {
            table.find(order, |_, _| Ok(true))?
        };
        if matches!(probe, Probe::Found(..)) {
            return Ok(false);
        }
        let lifespan = match entry.what {
            What::Record(lifespan) => lifespan,
            What::Erasure => {
                self.erased.entry(whose).or_default().push((place, Place(version)));
                return Ok(true);
            }
        };
        if is_hint {
            let table = self.index.hints.table_mut(target);
            table.put(probe, order, (place, lifespan), is_verified);
            self.index.hints.on_found(target, place, entry.bytes as usize);
        } else {
            let table = self.index.table_mut(partition);
            table.put(probe, order, (place, lifespan), is_verified);
            self.leaves.add(partition, order, version);
        }
        Ok(true)
    }

    fn has_twins(&self, partition: Partition, order: u64) -> bool {
        !self.twins.is_empty() && self.twins.contains(&(partition, order))
    }

    /// Whether an erasure that lies behind `place` hides what is there. Where keys may have equal
    /// orders, they are compared.
    fn is_erased(
        &self,
        segments: &[Segment<'_>],
        whose: Whose,
        place: Place,
        is_compared: bool,
    ) -> Result<bool, OpenError> {
        let Some(erasures) = self.erased.get(&whose) else { return Ok(false) };
        for (erasure, _) in erasures.iter().filter(|(_, before)| place < *before) {
            if !is_compared || key_at(segments, *erasure)? == key_at(segments, place)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The key of the frame at a place, to compare, intact or not.
fn key_at<'a>(segments: &[Segment<'a>], place: Place) -> Result<&'a [u8], OpenError> {
    let damaged = || OpenError::Damaged { segment: place.segment(), offset: place.offset() };
    let at = segments.binary_search_by_key(&place.segment(), |one| one.segment);
    let segment = &segments[at.map_err(|_| damaged())?];
    Ok(segment.frame(place.offset() as usize).ok_or_else(damaged)?.key())
}
