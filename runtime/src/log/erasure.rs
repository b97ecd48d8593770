//! Erasures: what takes a record out of the log for good, that no start finds an older one again.
//!
//! *Problem.* A record leaves the index (it was reaped, was given away, or was a hint that came
//! home), but it and older ones of its key lie in segments until those are merged, and a start
//! takes the newest that it finds. *Answer.* An erasure is appended, which names the key and the
//! place before which all of its records are none. *Invariant.* It is dropped only when no segment
//! is left that began before that place, or a newer record hides the older ones anyway.
//! *Source.* The tombstones of log-structured stores (LevelDB: dropped below which no level has
//! the key).
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | append the erasure; the index forgets the key | the record is there again |
//! | 2 | sync | as 1, or it is erased |
//! | 3 | merging moves the erasure, or drops it | the old one counts, or nothing is left |
//!
//! Erasures take space while the oldest segment is there, which may be full of records that
//! nobody replaces; so if they are many, the oldest one is merged next, whatever is in it.

use ringmain_core::hash::Key;
use ringmain_core::records::Place;

use super::background::Halt;
use super::index::Probe;
use super::limits::{ERASURE_BYTES_PART, ERASURE_BYTES_PART_ACTIVE};
use super::record::{self, Frame};
use super::request::Refusal;
use super::segments::Finished;
use super::writer::Claim;
use super::{Log, Maps, Source};

impl<M: Maps> Log<M> {
    /// Bytes of the erasures that no merge has dropped yet.
    pub fn erasure_bytes(&self) -> u64 {
        self.writer.segments.erasure_bytes()
    }

    /// See [`Records::erase`](ringmain_core::records::Records::erase).
    pub(super) fn erase_at(
        &mut self,
        key: &Key<'_>,
        place: Place,
    ) -> Result<Option<Place>, Refusal> {
        let is_kept = !key.is_hint() || self.index.hints.contains(key.target);
        if !is_kept || !self.index.of(key).holds_at(key.order, place) {
            return Ok(None);
        }
        let Ok(frame) = self.source().frame(place) else { return Ok(None) };
        if frame.key() != key.bytes {
            return Ok(None);
        }
        let erased_bytes = frame.padded_bytes();
        let padded = record::erasure_bytes(key);
        let erasure = match self.writer.reserve(padded, Claim::Growth) {
            Err(Refusal::NoSpace) if padded < erased_bytes => {
                let spares_merging = self.has_room_to_merge(padded);
                self.writer.reserve(padded, Claim::Relief { spares_merging })
            }
            reserved => reserved,
        }?;
        let table = self.index.of_mut(key);
        let is_twin = table.has_twin(key.order);
        let is_removed = table.remove_at(key.order, place);
        assert!(is_removed, "it was there just now");
        let (_, free) = self.writer.tail.parts();
        record::write_erasure(&mut free[..padded], erasure, key, erasure, is_twin);
        self.writer.tail.commit(padded);
        self.writer.segments.on_dead(place, erased_bytes);
        self.writer.segments.on_erasure(erasure, padded);
        if key.is_hint() {
            self.index.hints.on_dropped(key.target, erased_bytes);
            self.sweep_hints(key.target);
        }
        let is_due = self.is_merging_due();
        self.background.on_appended(erasure, padded, is_due);
        Ok(Some(erasure))
    }

    /// Whether finished segments should be merged: they hold too much garbage, or erasures that
    /// can be dropped.
    pub(super) fn is_merging_due(&self) -> bool {
        let segments = &self.writer.segments;
        let is_full = segments.is_full_of_garbage(self.writer.spare_bytes());
        is_full || self.is_full_of_erasures() && segments.has_oldest()
    }

    /// The oldest segment, if it is to be merged since there are too many erasures.
    pub(super) fn oldest_victim(&self) -> Option<&Finished> {
        let segments = &self.writer.segments;
        let (synced, room) = (self.writer.synced(), self.writer.room());
        let oldest = || segments.oldest_victim(synced, room, self.suspect);
        if self.is_full_of_erasures() { oldest() } else { None }
    }

    fn is_full_of_erasures(&self) -> bool {
        let records = self.live_bytes() - self.erasure_bytes();
        let most = records / ERASURE_BYTES_PART;
        let active = u64::from(self.writer.active_bytes() / ERASURE_BYTES_PART_ACTIVE);
        self.erasure_bytes() > most.max(active)
    }

    /// Appends a live erasure again, or drops it; says how many bytes that took.
    pub(super) fn move_erasure(&mut self, frame: &Frame<'_>, key: &Key<'_>) -> Result<usize, Halt> {
        let place = frame.place();
        let before = frame.erases_before().filter(|_| frame.is_intact()).ok_or(Halt::Damaged)?;
        let padded = frame.padded_bytes();
        if !self.is_needed(place.segment(), key, before) {
            self.writer.segments.on_erasure_dead(place, padded);
            self.background.on_erasure_dropped();
            return Ok(0);
        }
        let moved = self.reserve_move(padded)?;
        let (_, free) = self.writer.tail.parts();
        record::write_erasure(&mut free[..padded], moved, key, before, frame.is_twin());
        self.writer.tail.commit(padded);
        self.writer.segments.on_erasure_dead(place, padded);
        self.writer.segments.on_erasure(moved, padded);
        self.background.on_moved(padded);
        Ok(padded)
    }

    /// Whether an erasure in `segment`, which is being merged, hides what a start could find
    /// without it.
    fn is_needed(&self, segment: u32, key: &Key<'_>, before: Place) -> bool {
        if !self.writer.segments.has_older(before.segment(), segment) {
            return false;
        }
        let table = self.index.of(key);
        if table.guess(key.order).is_none() {
            return true;
        }
        // A newer record hides them as well; one that cannot be read is perhaps not of this key.
        let source = Source { is_certain: false, ..self.source() };
        !matches!(source.find(table, key), Ok((Probe::Found(_), _)))
    }
}
