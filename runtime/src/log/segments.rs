//! The finished segments of a log: where each ends, how much of it is live, what to merge next.
//!
//! A record is live while the index points at it. What else merging would give back is garbage:
//! records that were replaced, the headers of small batches, and the rest of a file that was left
//! when it was nearly empty. What it would not, roster and an end into which the next
//! record did not fit, is none; otherwise merging would go on for ever. The segment with the least
//! live part is moved for the least bytes written (Rosenblum and Ousterhout, LFS, 1992, greedy
//! policy).

use ringmain_core::records::Place;

use super::limits::{GARBAGE_DENOMINATOR, GARBAGE_NUMERATOR, LEFT_EARLY_PART, SNAPSHOT_LIVE_PART};
use super::live::Live;
use super::record::BatchHeader;
use super::segment::{Fresh, SEGMENT_HEADER_BYTES};

/// A segment that takes no more appends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finished {
    pub(super) segment: u32,
    /// Of its header.
    pub(super) nonce: u64,
    /// Where the log goes on in the next segment; what may lie behind is not part of it.
    pub(super) end: u32,
    /// Bytes of its file.
    pub(super) file_bytes: u32,
    /// Bytes of its header and its first batch header.
    pub(super) roster_bytes: u32,
    /// Its records that the index points at.
    pub(super) live: Live,
    /// What background work may do with it.
    pub(super) state: State,
    /// What was live in it was moved: it is to leave, and nothing in it is garbage any more.
    pub(super) is_moved: bool,
}

/// What background work may do with a finished segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// It has no snapshot yet.
    Bare,
    /// Its snapshot is on disk, or cannot be written in this process life.
    Done,
    /// Bytes that were on disk are not what they were: it is left as it is.
    Damaged,
}

impl Finished {
    /// The place behind its last byte.
    pub(super) fn end(&self) -> Place {
        Place::new(self.segment, self.end)
    }

    /// Whether it may be merged: all of it synced, at most `room` bytes of it live, and behind
    /// what is suspect.
    fn may_be_merged(&self, synced: Place, room: u64, suspect: Place) -> bool {
        self.end() <= synced
            && self.segment > suspect.segment()
            && self.live.bytes() <= room
            && self.state != State::Damaged
            && !self.is_moved
    }

    /// Whether less than one part in [`SNAPSHOT_LIVE_PART`] of its file is live.
    fn is_hardly_live(&self) -> bool {
        self.live.bytes() * SNAPSHOT_LIVE_PART < self.file_bytes.into()
    }

    fn garbage_bytes(&self) -> u64 {
        if self.is_moved {
            return 0;
        }
        let is_left_early = self.end < self.file_bytes / LEFT_EARLY_PART;
        let used = if is_left_early { self.file_bytes } else { self.end };
        u64::from(used - self.roster_bytes) - self.live.bytes()
    }
}

/// All segments of a log in use, ascending.
#[derive(Debug)]
pub(super) struct Segments {
    finished: Vec<Finished>,
    /// The segment that takes appends; 0 = none.
    active: u32,
    active_live: Live,
    active_roster_bytes: u32,
    /// Of all segments.
    live_bytes: u64,
    /// Of them, those of erasures.
    erasure_bytes: u64,
    /// Of the finished segments.
    file_bytes: u64,
    /// Of the finished segments.
    garbage_bytes: u64,
    /// Those in which damage was found: of their records none counts as checked.
    doubted: Vec<u32>,
    /// Of a record: the most since the start.
    largest_bytes: u64,
}

impl Segments {
    /// The segments of a log that was recovered.
    pub(super) fn new(finished: Vec<Finished>) -> Segments {
        assert!(finished.is_sorted_by(|one, next| one.segment < next.segment));
        let live_bytes = finished.iter().map(|one| one.live.bytes()).sum();
        let erasure_bytes = finished.iter().map(|one| one.live.erasure_bytes()).sum();
        let file_bytes = finished.iter().map(|one| u64::from(one.file_bytes)).sum();
        let garbage_bytes = finished.iter().map(Finished::garbage_bytes).sum();
        Segments {
            finished,
            active: 0,
            active_live: Live::none(0),
            active_roster_bytes: 0,
            live_bytes,
            erasure_bytes,
            file_bytes,
            garbage_bytes,
            doubted: Vec::new(),
            largest_bytes: 0,
        }
    }

    /// Appends go to `fresh` from now on; the one before it, with its end. Returns the roster.
    pub(super) fn begin(&mut self, fresh: Fresh, before: Option<(Fresh, Place)>) -> Vec<Place> {
        assert!(self.active < fresh.segment);
        let live = std::mem::replace(&mut self.active_live, Live::none(fresh.bytes));
        if let Some((Fresh { nonce, bytes: file_bytes, .. }, end)) = before {
            assert!(end.segment() == self.active);
            let finished = Finished {
                segment: self.active,
                nonce,
                end: end.offset(),
                file_bytes,
                roster_bytes: self.active_roster_bytes,
                live,
                state: State::Bare,
                is_moved: false,
            };
            self.file_bytes += u64::from(file_bytes);
            self.garbage_bytes += finished.garbage_bytes();
            self.finished.push(finished);
        }
        self.active = fresh.segment;
        let roster: Vec<_> = self.finished.iter().map(Finished::end).collect();
        let header_bytes = SEGMENT_HEADER_BYTES + BatchHeader::bytes(roster.len());
        self.active_roster_bytes = header_bytes as u32;
        roster
    }

    /// The finished segments, ascending.
    pub(super) fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// The finished segment with this id.
    pub(super) fn find(&self, segment: u32) -> Option<&Finished> {
        Some(&self.finished[self.position(segment)?])
    }

    /// What background work may do with `segment` from now on; nothing if it is gone.
    pub(super) fn set_state(&mut self, segment: u32, state: State) {
        if let Some(at) = self.position(segment) {
            self.finished[at].state = state;
        }
    }

    /// Nothing in `segment` is live any more: the index does not point there.
    ///
    /// # Panics
    /// If it is not finished.
    pub(super) fn write_off(&mut self, segment: u32) {
        let at = self.position(segment).expect("only finished segments are written off");
        let live = &mut self.finished[at].live;
        let bytes = live.bytes();
        self.erasure_bytes -= live.erasure_bytes();
        live.clear();
        self.live_bytes -= bytes;
        self.garbage_bytes += bytes;
    }

    /// All that was live in `segment` was moved.
    ///
    /// # Panics
    /// If it is not finished, or a record in it is live.
    pub(super) fn on_moved(&mut self, segment: u32) {
        let at = self.position(segment).expect("a merged segment is finished");
        let moved = &mut self.finished[at];
        assert!(moved.live.bytes() == 0, "what was live was moved");
        self.garbage_bytes -= moved.garbage_bytes();
        moved.is_moved = true;
    }

    /// Takes `segment` out of the log.
    ///
    /// # Panics
    /// If it is not finished, or a record in it is live.
    pub(super) fn remove(&mut self, segment: u32) {
        let at = self.position(segment).expect("a merged segment is finished");
        let gone = self.finished.remove(at);
        assert!(gone.live.bytes() == 0, "what was live was moved");
        self.file_bytes -= u64::from(gone.file_bytes);
        self.garbage_bytes -= gone.garbage_bytes();
        self.trust(segment);
    }

    /// Has every record in `segment` checked whenever it is read.
    pub(super) fn doubt(&mut self, segment: u32) {
        if !self.doubted.contains(&segment) {
            self.doubted.push(segment);
        }
    }

    /// All of `segment` was good when it was read again.
    pub(super) fn trust(&mut self, segment: u32) {
        self.doubted.retain(|doubted| *doubted != segment);
    }

    /// See [`Segments::doubt`].
    pub(super) fn doubted(&self) -> &[u32] {
        &self.doubted
    }

    /// The index points at the record of `bytes` bytes at `place` from now on.
    pub(super) fn on_live(&mut self, place: Place, bytes: usize) {
        assert!(place.segment() == self.active, "records are appended");
        self.live_bytes += bytes as u64;
        self.note_bytes(bytes);
        self.active_live.add(place.offset(), bytes);
    }

    /// There is a record of so many bytes.
    pub(super) fn note_bytes(&mut self, bytes: usize) {
        self.largest_bytes = self.largest_bytes.max(bytes as u64);
    }

    /// Bytes of the largest record that is known of.
    pub(super) fn largest_bytes(&self) -> u64 {
        self.largest_bytes
    }

    /// The index does not point at that record any more.
    pub(super) fn on_dead(&mut self, place: Place, bytes: usize) {
        self.live_bytes -= bytes as u64;
        if place.segment() == self.active {
            return self.active_live.remove(place.offset(), bytes);
        }
        let at = self.position(place.segment()).expect("records lie in segments of the log");
        self.finished[at].live.remove(place.offset(), bytes);
        self.garbage_bytes += bytes as u64;
    }

    /// The erasure of `bytes` bytes at `place` is needed from now on.
    pub(super) fn on_erasure(&mut self, place: Place, bytes: usize) {
        self.on_live(place, bytes);
        self.active_live.count_erasure(bytes, true);
        self.erasure_bytes += bytes as u64;
    }

    /// It is not any more.
    pub(super) fn on_erasure_dead(&mut self, place: Place, bytes: usize) {
        let at = self.position(place.segment());
        let live = at.map_or(&mut self.active_live, |at| &mut self.finished[at].live);
        live.count_erasure(bytes, false);
        self.erasure_bytes -= bytes as u64;
        self.on_dead(place, bytes);
    }

    /// Bytes of the erasures among the live bytes.
    pub(super) fn erasure_bytes(&self) -> u64 {
        self.erasure_bytes
    }

    /// Whether a segment is left, but for `other`, that began before the end of `segment` did.
    pub(super) fn has_older(&self, segment: u32, other: u32) -> bool {
        let finished = self.finished.iter().map(|one| one.segment);
        finished.chain([self.active]).any(|one| one <= segment && one != other)
    }

    /// Whether the index points at the record at `place`, or an erasure is needed there.
    pub(super) fn is_live(&self, place: Place) -> bool {
        self.live(place).is_some_and(|live| live.holds(place.offset()))
    }

    /// Has what [`Segments::on_dead`] changes begin to arrive in the CPU's caches.
    pub(super) fn prefetch(&self, place: Place) {
        if let Some(live) = self.live(place) {
            live.prefetch(place.offset());
        }
    }

    fn live(&self, place: Place) -> Option<&Live> {
        if place.segment() == self.active {
            return Some(&self.active_live);
        }
        self.find(place.segment()).map(|one| &one.live)
    }

    /// Bytes of all records that the index points at.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of the finished segments' files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Whether the finished segments hold more garbage than they may: a part of what is live, and
    /// at least `spare` bytes.
    pub(super) fn is_full_of_garbage(&self, spare: u64) -> bool {
        let part = self.live_bytes * GARBAGE_NUMERATOR / GARBAGE_DENOMINATOR;
        self.garbage_bytes > part.max(spare)
    }

    /// The segment to merge next: all of it synced, at most `room` bytes of it live, and at least
    /// one part in `part` of its file garbage. What lies before `suspect` would be believed behind
    /// it.
    pub(super) fn victim(
        &self,
        synced: Place,
        (room, part): (u64, u64),
        suspect: Place,
    ) -> Option<&Finished> {
        let is_fit = |one: &&Finished| {
            one.may_be_merged(synced, room, suspect)
                && one.garbage_bytes() * part >= u64::from(one.file_bytes)
        };
        // Live part of the file, in 1/2^32.
        let rank = |one: &&Finished| (one.live.bytes() << 32) / u64::from(one.file_bytes.max(1));
        self.finished.iter().filter(is_fit).min_by_key(rank)
    }

    /// The oldest segment, if it may be merged as [`Segments::victim`] says, garbage or not.
    pub(super) fn oldest_victim(
        &self,
        synced: Place,
        room: u64,
        suspect: Place,
    ) -> Option<&Finished> {
        self.finished.first().filter(|one| one.may_be_merged(synced, room, suspect))
    }

    /// Whether the oldest segment could be merged some time.
    pub(super) fn has_oldest(&self) -> bool {
        let is_fit = |one: &Finished| one.state != State::Damaged && !one.is_moved;
        self.finished.first().is_some_and(is_fit)
    }

    /// The oldest segment that should have a snapshot and has none, all of it synced. The newest
    /// of together `bare_bytes` need none; nor do those that hardly live, while all garbage is at
    /// most `spare` bytes: more would be too much for a start to read.
    pub(super) fn bare(&self, synced: Place, bare_bytes: u32, spare: u64) -> Option<&Finished> {
        let spares = self.garbage_bytes <= spare;
        let mut newer_bytes = u64::from(bare_bytes);
        let is_newer = |one: &&Finished| {
            let left = newer_bytes.checked_sub(one.file_bytes.into());
            left.inspect(|left| newer_bytes = *left).is_some()
        };
        let newer_count = self.finished.iter().rev().take_while(is_newer).count();
        let old = &self.finished[..self.finished.len() - newer_count];
        let is_due = |one: &&Finished| {
            let is_spared = spares && one.is_hardly_live();
            one.state == State::Bare && !one.is_moved && one.end() <= synced && !is_spared
        };
        old.iter().find(is_due)
    }

    fn position(&self, segment: u32) -> Option<usize> {
        self.finished.binary_search_by_key(&segment, |one| one.segment).ok()
    }
}
