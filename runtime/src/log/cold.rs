//! What operations wait for: records that are on disk but not in memory, and room for appends.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use ringmain_core::hash::Key;
use ringmain_core::limits::FETCH_COUNT_MAX;
use ringmain_core::records::{Place, Unread};
use ringmain_core::request::KeyPlace;
use ringmain_core::wire::place::PLACE_CHECKED_BYTES;

use super::index::Probe;
use super::limits::FAILED_READ_COUNT_MAX;
use super::{Log, Maps, record};

/// What is read of a record whose length is not known: to the end of its page.
const READ_BYTES_MIN: u32 = 4096;

/// A record that should be read into memory, since an operation waits for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Whose record: for [`Turn::resume`](ringmain_core::drive::Turn::resume) afterwards.
    pub key: KeyPlace,
    /// Where it lies.
    pub place: Place,
    /// How much is to be read, bytes: what is known of it so far; 0 if it is in memory after all.
    pub bytes: u32,
    /// An operation waits for it; else it is only to be sent to another node soon.
    pub is_awaited: bool,
}

/// Places of records that the disk does not give.
#[derive(Debug, Default)]
pub(super) struct FailedReads {
    /// How often in a row.
    counts: BTreeMap<Place, u32>,
}

impl FailedReads {
    /// Whether the record there counts as damaged.
    pub(super) fn is_given_up(&self, place: Place) -> bool {
        self.counts.get(&place).is_some_and(|count| *count >= FETCH_COUNT_MAX)
    }

    /// All of `segment` was read: the disk had a bad moment.
    pub(super) fn forget(&mut self, segment: u32) {
        self.counts.retain(|place, _| place.segment() != segment);
    }
}

/// Keys whose writes wait for room, in the order of their asking.
#[derive(Debug, Default)]
pub(super) struct Roomless {
    keys: VecDeque<KeyPlace>,
    /// The driver was told of one, and has not asked for the next.
    is_given: bool,
}

impl Roomless {
    pub(super) fn add(&mut self, key: KeyPlace) {
        self.keys.push_back(key);
    }

    /// Whether some wait, or go on with the room that they were told of.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_given || !self.keys.is_empty()
    }

    fn next(&mut self, has_room: bool) -> Option<KeyPlace> {
        let key = if has_room { self.keys.pop_front() } else { None };
        self.is_given = key.is_some();
        key
    }
}

impl<M: Maps> Log<M> {
    /// What has been asked for since the last call. The driver reads each and then resumes what
    /// waits for its key.
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// The key whose write has waited for room longest, if there is some now: the driver resumes
    /// it. It may take all of the room, so the next one is told of only when asked again; until
    /// then new writes wait, too.
    pub fn next_roomy(&mut self) -> Option<KeyPlace> {
        let has_room = !self.writer.is_stalled();
        self.roomless.next(has_room)
    }

    /// Whether a write waits that there is room for.
    pub fn has_room(&self) -> bool {
        self.roomless_count() > 0 && !self.writer.is_stalled()
    }

    /// How many keys wait for room.
    pub fn roomless_count(&self) -> usize {
        self.roomless.keys.len()
    }

    /// Forgets whose operations have ended: they reached their deadline before there was room.
    pub fn forget_roomless(&mut self, mut is_awaited: impl FnMut(KeyPlace) -> bool) {
        self.roomless.keys.retain(|key| is_awaited(*key));
    }

    /// Has the cold record of `key` read, for which an operation waits, or none yet.
    pub(super) fn want(&mut self, key: &Key<'_>, is_awaited: bool) {
        // Pages come and go: what was not in memory a moment ago may be.
        let Some(place) = self.cold_place(key) else {
            let (key, place) = (KeyPlace::of(key), Place(0));
            return self.wanted.push(Wanted { key, place, bytes: 0, is_awaited });
        };
        self.want_place(KeyPlace::of(key), place, is_awaited);
    }

    /// What lies at `place`, wanted for `key`, is here. It comes from the disk anew and may have
    /// rotted there, so the record is checked when it is read next, whatever was checked before.
    pub fn on_fetched(&mut self, key: KeyPlace, place: Place) {
        self.failed_reads.counts.remove(&place);
        // A hint's record is checked at each read: nobody knows yet whose it is.
        if !self.index.holds(key.partition) {
            return;
        }
        let table = self.index.table(key.partition);
        let found = table.find(key.order, |other, _| Ok::<_, Infallible>(other == place));
        if let Ok(Probe::Found(spot)) = found {
            table.set_verified(spot, false);
        }
    }

    /// What lies at `place` could not be read. After `limits::FETCH_COUNT_MAX` times in a row it
    /// counts as damaged, so that another owner's copy replaces it.
    pub fn on_fetch_failed(&mut self, place: Place) {
        let counts = &mut self.failed_reads.counts;
        *counts.entry(place).or_default() += 1;
        if counts.len() > FAILED_READ_COUNT_MAX {
            counts.pop_first();
        }
    }

    /// Has what lies at `place` read, if it is cold.
    pub(super) fn want_place(&mut self, key: KeyPlace, place: Place, is_awaited: bool) {
        let (segment, offset) = (place.segment(), place.offset());
        let part = self.maps.bytes(segment, offset, PLACE_CHECKED_BYTES);
        let part = part.and_then(|part| record::part_at(part, place));
        // Before its place part is there, its page.
        let page = READ_BYTES_MIN - offset % READ_BYTES_MIN;
        let page = page.max(PLACE_CHECKED_BYTES as u32);
        let bytes = part.map_or(page, |part| part.record_bytes() as u32);
        let wanted = Wanted { key, place, bytes, is_awaited };
        if !self.wanted.contains(&wanted) {
            self.wanted.push(wanted);
        }
    }

    /// The first cold record that a search for `key` meets.
    pub(super) fn cold_place(&self, key: &Key<'_>) -> Option<Place> {
        let source = self.source();
        let mut cold = None;
        let table = self.index.of(key);
        let search = table.find(key.order, |place, _| match source.frame(place) {
            Ok(frame) => Ok(frame.key() == key.bytes),
            Err(Unread::Damaged) => Err(()),
            Err(Unread::Cold) => {
                cold = Some(place);
                Err(())
            }
        });
        search.err().and(cold)
    }
}
