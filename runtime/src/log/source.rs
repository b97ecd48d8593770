//! Where reads find a record: in the tail, or in the maps of the segments.

use std::cell::Cell;

use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::records::{Place, Unread};
use ringmain_core::wire::place::PLACE_CHECKED_BYTES;

use super::Maps;
use super::cold::FailedReads;
use super::index::{Probe, Table};
use super::mending::Mending;
use super::record::{self, Frame};
use super::tail::Filled;
use crate::sys::prefetch;

/// So much of a record is fetched ahead: the place part, a key, and the head of the record.
const PREFETCH_BYTES: usize = 128;

/// What reads read from: the tail from the written place on, the maps below it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, M> {
    pub(super) maps: &'a M,
    pub(super) tail: Filled<'a>,
    pub(super) written: Place,
    pub(super) served_below: Place,
    pub(super) suspect: Place,
    /// Only what is certainly the last record of its key is lent.
    pub(super) is_certain: bool,
    pub(super) mending: &'a Mending,
    pub(super) failed_reads: &'a FailedReads,
    pub(super) doubted: &'a [u32],
    pub(super) met: &'a Cell<DamageMet>,
    /// The last key that could not be read.
    pub(super) unreadable: &'a Cell<Option<(Partition, u64)>>,
}

/// Damaged records that reads and writes of their keys have met since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DamageMet {
    /// How often.
    pub count: u64,
    /// Where the last one lies.
    pub place: Place,
}

impl<'a, M: Maps> Source<'a, M> {
    /// What lies at `place`.
    pub(super) fn frame(&self, place: Place) -> Result<Frame<'a>, Unread> {
        if place >= self.served_below {
            return Err(Unread::Damaged);
        }
        if place >= self.written {
            let bytes = self.tail.at(place).ok_or(Unread::Damaged)?;
            return Frame::new_checked(bytes, place).ok_or(Unread::Damaged);
        }
        let missing = || {
            let is_lost = self.maps.are_resident() || self.failed_reads.is_given_up(place);
            if is_lost { Unread::Damaged } else { Unread::Cold }
        };
        let (segment, offset, most) = (place.segment(), place.offset(), self.written_from(place));
        let bytes = self.maps.bytes_on(segment, offset, PLACE_CHECKED_BYTES, most);
        let bytes = bytes.ok_or_else(missing)?;
        let part = record::part_at(bytes, place).ok_or(Unread::Damaged)?;
        let bytes = match part.record_bytes() {
            length if length <= bytes.len() => bytes,
            length => self.maps.bytes(segment, offset, length).ok_or_else(missing)?,
        };
        Frame::behind(part, bytes).ok_or(Unread::Damaged)
    }

    /// Bytes from `place`, which is written, that do not change any more; any number in a segment
    /// that takes no more appends.
    fn written_from(&self, place: Place) -> usize {
        let is_last = place.segment() == self.written.segment();
        if is_last { (self.written.0 - place.0) as usize } else { usize::MAX }
    }

    /// Has the record at `place` begin to arrive in the caches.
    pub(super) fn prefetch(&self, place: Place) {
        let bytes = if place >= self.written {
            self.tail.at(place).map(|bytes| &bytes[..bytes.len().min(PREFETCH_BYTES)])
        } else {
            let most = PREFETCH_BYTES.min(self.written_from(place));
            self.maps.address(place.segment(), place.offset(), most)
        };
        prefetch(bytes.unwrap_or_default());
    }

    /// Where the index has `key`, and its record there.
    pub(super) fn find(
        &self,
        table: &Table,
        key: &Key<'_>,
    ) -> Result<(Probe, Option<Frame<'a>>), Unread> {
        let mut found = None;
        let probe = table.find(key.order, |place, is_verified| {
            let frame = self.frame(place).inspect_err(|unread| self.note(*unread, place, key))?;
            // A hint is seldom read, and read into memory by its place alone: nobody knows then
            // whose it is.
            let is_trusted = is_verified && !key.is_hint();
            let is_checked = is_trusted && !self.doubted.contains(&place.segment());
            if !is_checked && !frame.is_intact() {
                self.note(Unread::Damaged, place, key);
                return Err(Unread::Damaged);
            }
            let is_same = frame.key() == key.bytes;
            if is_same {
                found = Some(frame);
            }
            Ok(is_same)
        })?;
        let is_suspect = found.map_or(Place(0), |frame| frame.place()) < self.suspect;
        let is_unproven =
            is_suspect && !self.mending.is_equal(key.partition) || self.mending.is_unproven(key);
        if self.is_certain && is_unproven {
            return Err(Unread::Damaged);
        }
        if let Probe::Found(at) = probe {
            table.set_verified(at, true);
        }
        Ok((probe, found))
    }

    fn note(&self, unread: Unread, place: Place, key: &Key<'_>) {
        if unread == Unread::Damaged {
            if !key.is_hint() {
                self.unreadable.set(Some((key.partition, key.order)));
            }
            let count = self.met.get().count + 1;
            self.met.set(DamageMet { count, place });
        }
    }
}
