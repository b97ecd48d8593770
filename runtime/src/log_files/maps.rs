//! The maps of a shard's segments, which say of a range whether reading it would wait for the
//! disk, without touching it: a page fault there stops the whole shard.
//!
//! The kernel is asked once for 64 pages or each one (about 0.4 µs) and believed for a while; a
//! page that this process has just written is in memory, too. How long depends on how tight memory
//! is: [`BELIEF_MIN`] after a page was not there, or the thread has taken a major fault, and from
//! there twice as long each time, to [`BELIEF_MAX`]. What is just being read is not there: the page
//! may be locked until then, or the kernel is to drop it after that.
//!
//! What was read for an operation that waits for it is served from where it was read to: its page
//! may be gone again, and to map it costs more than to read it.
//!
//! What lies in a map can be lent to who sends it. Then the map outlives its segment: the file is
//! removed at once, but its space comes back only when the last part was given back.

use crate::log::{File, Maps, Read};
use crate::sys::{Map, MapPart, expect_random, is_cached};
use ringmain_core::records::Place;
use ringmain_core::time::Instant;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a page that was seen in memory is taken to be there, at most.
const BELIEF_MAX: Duration = Duration::from_secs(30);
/// See [`BELIEF_MAX`]. Under pressure the kernel takes pages that were read 30 ms before.
const BELIEF_MIN: Duration = Duration::from_millis(2);
/// Memory is short while pages are believed for less.
const BELIEF_IN_PLENTY: Duration = Duration::from_millis(100);
const PAGE_BYTES: usize = 4096;
/// Pages that are asked for together when the first of them is: a word of bits.
const WORD_PAGES: usize = 64;

/// Bytes from this length on are lent to who sends them. One by one that costs as much as a copy up
/// to 16 KiB; in a pipeline of 16 it is a third of it from here on.
const LENT_BYTES_MIN: usize = 8 << 10;

/// The maps of all segments of a shard.
#[derive(Debug, Default)]
pub struct SegmentMaps {
    /// Not in order: every read looks here.
    maps: HashMap<u32, Mapped, ahash::RandomState>,
    /// The segments by where their maps begin in memory.
    by_address: BTreeMap<usize, u32>,
    /// Maps of segments that are gone, of which parts were lent then.
    left: Vec<Arc<Map>>,
    memory: Memory,
    landed: Option<Landed>,
    /// Reads wait for the disk.
    is_waiting: bool,
}

/// A part of a segment that was read for whoever goes on now.
#[derive(Debug)]
struct Landed {
    segment: u32,
    range: Range<usize>,
    bytes: Vec<u8>,
}

/// What is known of memory.
#[derive(Debug, Default)]
struct Memory {
    /// A page was not in memory since the last turn began.
    is_cold_seen: Cell<bool>,
    /// What was seen in memory is believed so long: until then, which is an epoch.
    belief: Duration,
    believed_until: Instant,
    epoch: u64,
}

#[derive(Debug)]
struct Mapped {
    map: Arc<Map>,
    file: Arc<fs::File>,
    /// A bit for each page: it was seen in memory in this epoch.
    pages: Vec<Cell<u64>>,
    epoch: Cell<u64>,
    /// Pages that are just being read, some of which were not in memory.
    reading: Vec<Range<usize>>,
}

impl SegmentMaps {
    /// Takes a segment in.
    pub(super) fn insert(&mut self, segment: u32, file: &Arc<fs::File>, map: Map) {
        let words = map.len().div_ceil(PAGE_BYTES).div_ceil(WORD_PAGES);
        let pages = vec![Cell::new(0); words];
        self.by_address.insert(map.address(), segment);
        let (map, file, epoch) = (Arc::new(map), Arc::clone(file), Cell::new(self.memory.epoch));
        self.maps.insert(segment, Mapped { map, file, pages, epoch, reading: Vec::new() });
    }

    /// Lets go of a segment. Its map is given back here, or by [`SegmentMaps::take_left`] once no
    /// part of it is lent any more.
    pub(super) fn remove(&mut self, segment: u32) -> Option<Map> {
        let Mapped { map, .. } = self.maps.remove(&segment)?;
        self.by_address.remove(&map.address());
        Arc::try_unwrap(map).map_err(|map| self.left.push(map)).ok()
    }

    /// Gives the map of a segment that is gone, now that no part of it is lent any more. To unmap
    /// it takes milliseconds.
    pub(crate) fn take_left(&mut self) -> Option<Map> {
        let index = self.left.iter().position(|map| Arc::strong_count(map) == 1)?;
        Arc::into_inner(self.left.swap_remove(index))
    }

    /// Lends what lies in a map, so that it is sent without a copy; `None`: it is to be copied. It
    /// is while memory is short: a page that is in memory now may be gone when it is sent.
    pub fn lend(&self, bytes: &[u8]) -> Option<MapPart> {
        if bytes.len() < LENT_BYTES_MIN || self.memory.is_short() {
            return None;
        }
        let (_, segment) = self.by_address.range(..=bytes.as_ptr() as usize).next_back()?;
        MapPart::of(&self.maps.get(segment)?.map, bytes)
    }

    /// All segments, whole, for recovery; snapshots as they were found.
    pub fn files<'a>(&'a self, snapshots: &'a super::Snapshots) -> Vec<File<'a>> {
        let mut files = Vec::new();
        for (segment, Mapped { map, file, .. }) in &self.maps {
            let bytes = map.bytes(0..map.len()).unwrap_or_default();
            let snapshot = snapshots.0.get(segment).and_then(|map| map.bytes(0..map.len()));
            let zeros_from = data_end(file).map_or(bytes.len(), |end| end as usize);
            files.push(File { segment: *segment, bytes, zeros_from, snapshot });
        }
        files.sort_unstable_by_key(|file| file.segment);
        files
    }

    /// Recovery is over, which reads all in order: what is read now lies anywhere.
    pub(crate) fn expect_random(&self) {
        self.maps.values().for_each(|Mapped { map, file, .. }| expect_random(file, map));
    }

    /// Has every read wait for the disk where it must, for those who have nothing else to do.
    pub fn wait_for_disk(&mut self) {
        self.is_waiting = true;
    }

    /// Of a log that was recovered and ends at `end`: whether all that a recovery may take for the
    /// unwritten rest was read from the disk. Zeros in the place of a page would end the log.
    ///
    /// # Errors
    /// If a page of the last segment, or of one behind it, could not be read.
    pub fn check_read(&self, end: Place) -> io::Result<()> {
        let mut segments: Vec<_> =
            self.maps.iter().filter(|(segment, _)| **segment >= end.segment()).collect();
        segments.sort_unstable_by_key(|(segment, _)| **segment);
        for (segment, one) in segments {
            let count = one.map.lost_page_count();
            if count > 0 {
                return Err(io::Error::other(format!(
                    "pages of segment {segment} that cannot be read: {count}"
                )));
            }
        }
        Ok(())
    }

    /// A turn begins: what was seen in memory some time ago may be gone.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        let memory = &mut self.memory;
        let is_cold_seen = memory.is_cold_seen.take();
        if is_cold_seen || memory.believed_until <= now {
            let belief = if is_cold_seen { Duration::ZERO } else { 2 * memory.belief };
            memory.belief = belief.clamp(BELIEF_MIN, BELIEF_MAX);
            memory.believed_until = now + memory.belief;
            memory.epoch += 1;
        }
    }

    /// Serves what was read, until [`SegmentMaps::end_landing`].
    pub(crate) fn begin_landing(&mut self, read: Read, bytes: Vec<u8>) {
        assert_eq!(bytes.len(), read.bytes as usize);
        self.landed = Some(Landed { segment: read.segment, range: read.range(), bytes });
    }

    /// Memory is short: what needs some may wait for it.
    pub(crate) fn is_short(&self) -> bool {
        self.memory.is_short()
    }

    /// What was read is of no more use.
    pub(crate) fn end_landing(&mut self) {
        self.landed = None;
    }

    fn landed(&self, segment: u32, range: &Range<usize>) -> Option<&[u8]> {
        let landed = self.landed.as_ref().filter(|landed| landed.segment == segment)?;
        let start = range.start.checked_sub(landed.range.start)?;
        landed.bytes.get(start..start + range.len())
    }

    /// Somebody begins to read.
    pub(crate) fn begin_reading(&mut self, read: Read) {
        let Some(mapped) = self.maps.get_mut(&read.segment) else { return };
        let range = pages(&read.range());
        if !mapped.has_all(&range) {
            range.clone().for_each(|page| mapped.forget(page));
            mapped.reading.push(range);
        }
    }

    /// That read has ended.
    pub(crate) fn end_reading(&mut self, read: Read) {
        let Some(mapped) = self.maps.get_mut(&read.segment) else { return };
        let range = pages(&read.range());
        let index = mapped.reading.iter().position(|reading| *reading == range);
        index.map(|index| mapped.reading.swap_remove(index));
    }

    /// This thread has waited for the disk in a page fault.
    pub(crate) fn on_major_fault(&self) {
        self.memory.is_cold_seen.set(true);
    }
}

impl Maps for SegmentMaps {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        self.bytes_on(segment, offset, bytes, bytes)
    }

    fn bytes_on(&self, segment: u32, offset: u32, bytes: usize, most: usize) -> Option<&[u8]> {
        let start = offset as usize;
        let range = start..start.checked_add(bytes)?;
        if let Some(landed) = self.landed(segment, &range) {
            return Some(landed);
        }
        let mapped = self.maps.get(&segment)?;
        if range.end > mapped.map.len() {
            return None;
        }
        if !self.is_waiting && !mapped.knows(&range, &self.memory) {
            self.memory.is_cold_seen.set(true);
            return None;
        }
        let known_end = (pages(&range).end * PAGE_BYTES).min(mapped.map.len());
        mapped.map.bytes(start..known_end.min(start.saturating_add(most)))
    }

    fn address(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let start = offset as usize;
        self.maps.get(&segment)?.map.bytes(start..start.checked_add(bytes)?)
    }

    fn on_written(&self, segment: u32, range: Range<u32>) {
        if let Some(mapped) = self.maps.get(&segment) {
            mapped.follow(self.memory.epoch);
            pages(&(range.start as usize..range.end as usize)).for_each(|page| mapped.note(page));
        }
    }
}

impl Memory {
    fn is_short(&self) -> bool {
        self.belief < BELIEF_IN_PLENTY
    }
}

impl Mapped {
    /// Whether the pages of a range are in memory, or were a short while ago.
    fn knows(&self, range: &Range<usize>, memory: &Memory) -> bool {
        self.follow(memory.epoch);
        pages(range).all(|page| {
            let word = &self.pages[page / WORD_PAGES];
            if word.get() & 1 << (page % WORD_PAGES) != 0 {
                return true;
            }
            let start = page / WORD_PAGES * WORD_PAGES;
            let word_pages = start..start + WORD_PAGES;
            if !memory.is_short() && !self.is_read(&word_pages) && self.has_all(&word_pages) {
                word.set(u64::MAX);
                return true;
            }
            let is_there = !self.is_read(&(page..page + 1)) && self.has_all(&(page..page + 1));
            if is_there {
                self.note(page);
            }
            is_there
        })
    }

    /// Forgets what was seen in an epoch before this one.
    fn follow(&self, epoch: u64) {
        if self.epoch.replace(epoch) != epoch {
            self.pages.iter().for_each(|word| word.set(0));
        }
    }

    /// A page is in memory.
    fn note(&self, page: usize) {
        let word = &self.pages[page / WORD_PAGES];
        word.set(word.get() | 1 << (page % WORD_PAGES));
    }

    /// Nothing is known of a page.
    fn forget(&self, page: usize) {
        let word = &self.pages[page / WORD_PAGES];
        word.set(word.get() & !(1 << (page % WORD_PAGES)));
    }

    /// Whether any of these pages is just being read.
    fn is_read(&self, pages: &Range<usize>) -> bool {
        let is_one = |it: &Range<usize>| it.start < pages.end && pages.start < it.end;
        self.reading.iter().any(is_one)
    }

    fn has_all(&self, pages: &Range<usize>) -> bool {
        let end = (pages.end * PAGE_BYTES).min(self.map.len());
        is_cached(&self.file, (pages.start * PAGE_BYTES) as u64..end as u64)
    }
}

/// Where the last part of a file ends that was ever written, bytes; none if it cannot be known.
fn data_end(file: &fs::File) -> Option<u64> {
    let mut end = 0;
    loop {
        match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => end = rustix::fs::seek(file, SeekFrom::Hole(data)).ok()?,
            Err(Errno::NXIO) => return Some(end),
            Err(_) => return None,
        }
    }
}

/// The pages of a range of bytes.
fn pages(range: &Range<usize>) -> Range<usize> {
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

#[cfg(test)]
mod tests;
