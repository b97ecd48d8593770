//! The maps of a shard's segments, which say of a range whether reading it would wait for the
//! disk, without touching it: a page fault there stops the whole shard.
//!
//! The kernel is asked once for each page (about 0.4 µs) and believed for [`RECHECK`]; a page that
//! this process has just written is in memory, too. When a page
//! is found that is not in memory, or the thread has taken major faults, memory is short: then for
//! at least as long it is asked before every read, as a page that is read in the same turn in
//! which it was seen in memory is not taken away in between.
//!
//! What lies in a map can be lent to who sends it. Then the map outlives its segment: the file is
//! removed at once, but its space comes back only when the last part was given back.

use crate::log::{File, Maps};
use crate::sys::{Map, MapPart, is_cached};
use ringmain_core::time::Instant;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a page that was seen in memory is taken to be there, and how long memory is taken to
/// be short after one was not.
const RECHECK: Duration = Duration::from_secs(30);
const PAGE_BYTES: usize = 4096;
/// Pages that are asked for together when the first of them is: a word of bits.
const WORD_PAGES: usize = 64;

/// Bytes from this length on are lent to who sends them. One by one that costs as much as a copy up
/// to 16 KiB; in a pipeline of 16 it is a third of it from here on.
const LENT_BYTES_MIN: usize = 8 << 10;

/// The maps of all segments of a shard.
#[derive(Debug, Default)]
pub struct SegmentMaps {
    maps: BTreeMap<u32, Mapped>,
    /// The segments by where their maps begin in memory.
    by_address: BTreeMap<usize, u32>,
    /// Maps of segments that are gone, of which parts were lent then.
    left: Vec<Arc<Map>>,
    memory: Memory,
    /// Reads wait for the disk.
    is_waiting: bool,
}

/// What is known of memory.
#[derive(Debug, Default)]
struct Memory {
    /// Every page is asked for before it is read.
    is_short: Cell<bool>,
    /// A page was not in memory since the last tick.
    is_cold_seen: Cell<bool>,
    /// When memory is not short any more, or pages are to be asked for again.
    recheck: Cell<Instant>,
    /// The pages of a segment that were seen in memory in this turn.
    seen: Cell<Option<(u32, usize, usize)>>,
}

#[derive(Debug)]
struct Mapped {
    map: Arc<Map>,
    file: Arc<fs::File>,
    /// A bit for each page: it was seen in memory since the last recheck.
    pages: Vec<Cell<u64>>,
}

impl SegmentMaps {
    /// Takes a segment in.
    pub(super) fn insert(&mut self, segment: u32, file: &Arc<fs::File>, map: Map) {
        let words = map.len().div_ceil(PAGE_BYTES).div_ceil(WORD_PAGES);
        let pages = vec![Cell::new(0); words];
        self.by_address.insert(map.address(), segment);
        self.maps.insert(segment, Mapped { map: Arc::new(map), file: Arc::clone(file), pages });
    }

    /// Lets go of a segment. Its map is given back here, or by [`SegmentMaps::take_left`] once no
    /// part of it is lent any more.
    pub(super) fn remove(&mut self, segment: u32) -> Option<Map> {
        self.memory.seen.set(None);
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
        if bytes.len() < LENT_BYTES_MIN || self.memory.is_short.get() {
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
        files
    }

    /// Has every read wait for the disk where it must, for those who have nothing else to do.
    pub fn wait_for_disk(&mut self) {
        self.is_waiting = true;
    }

    /// A turn begins: what was seen in memory in the last one may be gone.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        let memory = &self.memory;
        memory.seen.set(None);
        if memory.is_cold_seen.take() {
            memory.is_short.set(true);
            memory.recheck.set(now + RECHECK);
        } else if memory.recheck.get() <= now {
            memory.is_short.set(false);
            memory.recheck.set(now + RECHECK);
            for word in self.maps.values().flat_map(|mapped| &mapped.pages) {
                word.set(0);
            }
        }
    }

    /// This thread has waited for the disk in a page fault.
    pub(crate) fn on_major_fault(&self) {
        self.memory.is_cold_seen.set(true);
    }
}

impl Maps for SegmentMaps {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let start = offset as usize;
        let range = start..start.checked_add(bytes)?;
        let mapped = self.maps.get(&segment)?;
        let slice = mapped.map.bytes(range.clone())?;
        let is_there = if self.is_waiting {
            true
        } else if self.memory.is_short.get() {
            self.memory.sees(segment, mapped, &range)
        } else {
            mapped.knows(&range)
        };
        if !is_there {
            self.memory.is_cold_seen.set(true);
            return None;
        }
        Some(slice)
    }

    fn address(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let start = offset as usize;
        self.maps.get(&segment)?.map.bytes(start..start.checked_add(bytes)?)
    }

    fn on_written(&self, segment: u32, range: Range<u32>) {
        if let Some(mapped) = self.maps.get(&segment) {
            let (first, end) = pages(&(range.start as usize..range.end as usize));
            (first..end).for_each(|page| mapped.note(page));
        }
    }
}

impl Memory {
    /// Whether the pages of a range are in memory now.
    fn sees(&self, segment: u32, mapped: &Mapped, range: &Range<usize>) -> bool {
        let (first, end) = pages(range);
        let is_seen =
            |seen: (u32, usize, usize)| seen.0 == segment && seen.1 <= first && end <= seen.2;
        if self.seen.get().is_some_and(is_seen) {
            return true;
        }
        let is_there = mapped.asks(first, end);
        if is_there {
            self.seen.set(Some((segment, first, end)));
        }
        is_there
    }
}

impl Mapped {
    /// Whether the pages of a range are in memory, or were a short while ago.
    fn knows(&self, range: &Range<usize>) -> bool {
        let (first, end) = pages(range);
        (first..end).all(|page| {
            let word = &self.pages[page / WORD_PAGES];
            if word.get() & 1 << (page % WORD_PAGES) != 0 {
                return true;
            }
            let start = page / WORD_PAGES * WORD_PAGES;
            if self.asks(start, start + WORD_PAGES) {
                word.set(u64::MAX);
                return true;
            }
            let is_there = self.asks(page, page + 1);
            if is_there {
                self.note(page);
            }
            is_there
        })
    }

    /// A page is in memory.
    fn note(&self, page: usize) {
        let word = &self.pages[page / WORD_PAGES];
        word.set(word.get() | 1 << (page % WORD_PAGES));
    }

    fn asks(&self, first: usize, end: usize) -> bool {
        let bytes = self.map.len();
        let range = (first * PAGE_BYTES) as u64..(end * PAGE_BYTES).min(bytes) as u64;
        is_cached(&self.file, range)
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

/// First page of a range, and the one behind its last.
fn pages(range: &Range<usize>) -> (usize, usize) {
    (range.start / PAGE_BYTES, range.end.div_ceil(PAGE_BYTES))
}

#[cfg(test)]
mod tests;
