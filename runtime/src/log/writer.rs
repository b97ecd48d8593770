//! How appended bytes reach the disk: watermarks, segments, requests and their completions.
//!
//! Everything before `synced` is on disk, everything before `written` is in the maps, everything
//! before the tail's end exists; synced ≤ written ≤ end, and none of them ever falls. Batches are
//! written in order, one at a time. A sync covers what was written to its segment when it was
//! asked for, and segments are synced in order, so one watermark is enough. After a failed write
//! or sync nothing more is asked for: only a sync that was under way may still raise `synced`.

use ringmain_core::prng::Prng;
use ringmain_core::records::Place;
use ringmain_core::time::Instant;

use super::limits::{
    BARE_PART, HEADER_COUNT_RESERVED, RESERVE_PART, STALL_BYTES, UNSYNCED_BYTES_MAX,
    UNSYNCED_BYTES_STALL,
};
use super::record::{BATCH_HEADER_BYTES, LISTED_BYTES};
use super::request::{Completion, Durability, Errno, Failure, Refusal, Request};
use super::segment::{Fresh, Identity, SEGMENT_HEADER_BYTES, SegmentSizes, Supply};
use super::segments::{Finished, Segments};
use super::tail::{Batch, Tail};

mod files;
mod scrub;
mod stop;

/// Settings of a writer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) identity: Identity,
    pub(super) durability: Durability,
    pub(super) sizes: SegmentSizes,
}

/// Where a log stands that was just recovered.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Ascending.
    pub(super) finished: Vec<Finished>,
    pub(super) synced: Place,
    pub(super) next_segment: u32,
    /// Files in which no part of the log lies.
    pub(super) void: Vec<u32>,
    /// The last file, if nothing was ever written to it: the log goes on there.
    pub(super) fresh: Option<Fresh>,
}

/// The write side of a log.
pub(super) struct Writer {
    settings: Settings,
    prng: Prng,
    pub(super) tail: Tail,
    pub(super) segments: Segments,
    active: Option<Fresh>,
    supply: Supply,
    /// The active segment was begun when there was no room for another: growth has no part of it.
    is_reserve: bool,
    /// Bytes of the active segment that relief took while there was no room for another.
    relief_bytes: u64,
    /// The last Create failed: until one succeeds, an append that needs another segment does not
    /// wait for it.
    is_refused: bool,
    /// For want of space.
    is_disk_full: bool,
    next_segment: u32,
    /// Bytes that an append needed and no segment had: until the next one is made, appends wait.
    need: u32,
    /// Bytes that an append needed and the tail had not: until it has, appends wait.
    tail_need: usize,
    free_bytes: u64,
    /// Files to unlink once the active segment has proved itself.
    void: Vec<u32>,
    /// Segments that have left the log, and the place behind the header that says so, once there
    /// is one: when that is synced, they are void.
    leaving: Vec<(u32, Option<Place>)>,
    written: Place,
    synced: Place,
    /// Someone waits until everything before this place is synced.
    goal: Place,
    due: Option<Instant>,
    writing: Option<Writing>,
    /// Bytes of the front batch that short writes have written.
    written_part: usize,
    /// A sync is under way; it covers everything before this place.
    syncing: Option<Place>,
    failure: Option<Failure>,
    served_below: Place,
    /// Where the first segment since the start was begun.
    begun: Option<Place>,
    stop: Stop,
    /// Where the stop wrote its last header.
    drained: Option<Place>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Writing {
    bytes: usize,
    then_sync: bool,
}

/// What an append is for, and so which room it may use while the disk has none for a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    /// It takes more than it frees: all but a part of the segment that takes appends.
    Growth,
    /// It is smaller than what it replaces: a part of that segment, and more if that spares the
    /// room that merging needs.
    Relief {
        /// Merging still finds room.
        spares_merging: bool,
    },
    /// Merging, which gives whole segments back: all there is, the segment made ready included.
    Merge,
}

/// The life of a writer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    Running,
    /// Everything is being written and synced.
    Draining,
    /// The last batch header is.
    LastHeader,
}

impl Writer {
    pub(super) fn new(
        settings: Settings,
        standing: Standing,
        free_bytes: u64,
        seed: u64,
    ) -> Writer {
        let end = standing.finished.last().map_or(Place(0), Finished::end);
        assert!(standing.synced <= end);
        assert!(standing.next_segment > end.segment());
        let fresh = standing.fresh;
        let mut writer = Writer {
            settings,
            prng: Prng::new(seed),
            tail: Tail::new(end, settings.durability == Durability::Always),
            segments: Segments::new(standing.finished),
            active: None,
            supply: Supply::Empty,
            is_reserve: false,
            relief_bytes: 0,
            is_refused: false,
            is_disk_full: false,
            next_segment: standing.next_segment,
            need: 0,
            tail_need: 0,
            free_bytes,
            void: standing.void,
            leaving: Vec::new(),
            written: end,
            synced: standing.synced,
            goal: end,
            due: None,
            writing: None,
            written_part: 0,
            syncing: None,
            failure: None,
            served_below: Place(u64::MAX),
            begun: None,
            stop: Stop::Running,
            drained: None,
        };
        if let Some(fresh) = fresh {
            writer.begin_first(fresh);
        }
        writer
    }

    pub(super) fn end(&self) -> Place {
        self.tail.end()
    }

    pub(super) fn written(&self) -> Place {
        self.written
    }

    pub(super) fn synced(&self) -> Place {
        self.synced
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Nothing at or above this place is served.
    pub(super) fn served_below(&self) -> Place {
        self.served_below
    }

    /// Whose log it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.settings.identity
    }

    /// Whether it takes appends: it has not failed and is not stopping.
    pub(super) fn is_running(&self) -> bool {
        self.failure.is_none() && self.stop == Stop::Running
    }

    /// Whether the active segment is begun and everything recovered is on disk.
    pub(super) fn is_ready(&self) -> bool {
        self.begun.is_some_and(|begun| self.synced > begun)
    }

    pub(super) fn sync_wanted(&mut self) {
        self.goal = self.end();
    }

    /// Asks for a sync of the finished segments: background work wants them on disk.
    pub(super) fn sync_finished(&mut self) {
        let end = self.segments.finished().last().map_or(Place(0), Finished::end);
        self.goal = self.goal.max(end);
    }

    /// Makes room for `bytes` (a padded frame) at [`Writer::end`].
    pub(super) fn reserve(&mut self, bytes: usize, claim: Claim) -> Result<Place, Refusal> {
        if let Some(failure) = self.failure {
            return Err(Refusal::Failed(failure));
        }
        if self.stop != Stop::Running {
            return Err(Refusal::Stopping);
        }
        let need = bytes + HEADER_COUNT_RESERVED * (BATCH_HEADER_BYTES + LISTED_BYTES);
        let none = if self.is_refused { Refusal::NoSpace } else { Refusal::Busy };
        let active = self.active.ok_or(none)?;
        let kept = if self.is_refused() { self.kept(active, bytes, claim)? } else { 0 };
        if u64::from(self.end().offset()) + need as u64 + kept > u64::from(active.bytes) {
            // A segment is begun with its first batch, which lists the others, or not at all.
            if !self.tail.has_room_behind(bytes) {
                return Err(self.tail_lacks(bytes, claim));
            }
            self.roll(need as u32, claim)?;
        }
        if !self.tail.reserve(bytes, self.synced) {
            return Err(self.tail_lacks(bytes, claim));
        }
        let is_counted = matches!(claim, Claim::Relief { .. }) && self.is_refused();
        self.relief_bytes += if is_counted { bytes as u64 } else { 0 };
        Ok(self.end())
    }

    /// Bytes of the active segment that an append has to leave for others while there is no room
    /// for another segment.
    fn kept(&self, active: Fresh, bytes: usize, claim: Claim) -> Result<u64, Refusal> {
        let part = u64::from(active.bytes / RESERVE_PART);
        // With none made ready, merging has nothing but this one.
        let is_merging_room = self.is_disk_full && !self.segments.finished().is_empty();
        let is_ready = matches!(self.supply, Supply::Ready(_));
        let is_last = self.is_reserve || (is_merging_room && !is_ready);
        match claim {
            Claim::Growth if is_last => Err(Refusal::NoSpace),
            Claim::Growth => Ok(part),
            Claim::Relief { .. } if self.relief_bytes + bytes as u64 <= part => Ok(0),
            Claim::Relief { spares_merging: false } => Err(Refusal::NoSpace),
            Claim::Relief { .. } | Claim::Merge => Ok(0),
        }
    }

    /// Too much waits in the tail for `bytes` more; merging tries again by itself.
    fn tail_lacks(&mut self, bytes: usize, claim: Claim) -> Refusal {
        if claim != Claim::Merge {
            self.tail_need = self.tail_need.max(bytes);
        }
        Refusal::Busy
    }

    /// Bytes of the file that takes appends.
    pub(super) fn active_bytes(&self) -> u32 {
        self.active.map_or(0, |active| active.bytes)
    }

    /// Bytes of the newest segments that need no snapshot.
    pub(super) fn bare_bytes(&self) -> u32 {
        self.settings.sizes.max / BARE_PART
    }

    /// Bytes of records that merging finds room for. Without room for another segment that is
    /// what surely fits; else about half of what is free, too, which others take from.
    pub(super) fn room(&self) -> u64 {
        let active = self.active.map_or(0, |active| active.bytes);
        let left = active.saturating_sub(self.end().offset());
        let ready = if let Supply::Ready(fresh) = self.supply { fresh.bytes } else { 0 };
        let listed = LISTED_BYTES * (self.segments.finished().len() + 1);
        let headers = (HEADER_COUNT_RESERVED + 1) * (BATCH_HEADER_BYTES + LISTED_BYTES) + listed;
        // What does not fit the end, and headers of batches.
        let lost = headers as u64 + self.segments.largest_bytes();
        let usable = |bytes: u32| u64::from(bytes - bytes / 128).saturating_sub(lost);
        let free = if self.is_refused() { 0 } else { self.free_bytes / 2 };
        usable(left) + usable(ready) + free
    }

    /// Whether an append may soon be refused although it only has to wait.
    pub(super) fn is_stalled(&self) -> bool {
        if self.failure.is_some() || self.stop != Stop::Running {
            return false;
        }
        let Some(active) = self.active else { return !self.is_refused };
        let left = active.bytes.saturating_sub(self.end().offset()) as usize;
        let is_open = matches!(self.supply, Supply::Empty | Supply::Creating(_));
        let is_coming = is_open && !self.is_refused;
        let is_short = left < STALL_BYTES || self.need > 0;
        let is_full = !self.tail.has_room_behind(self.tail_need.max(STALL_BYTES));
        (is_short && is_coming) || is_full || self.is_sync_behind(1)
    }

    /// Whether a `part` of what may wait for a timed sync waits for one.
    fn is_sync_behind(&self, part: u64) -> bool {
        let is_timed = matches!(self.settings.durability, Durability::Interval(_));
        is_timed && self.unsynced_bytes() >= UNSYNCED_BYTES_STALL / part
    }

    /// Bytes of segments between the synced place and the end.
    fn unsynced_bytes(&self) -> u64 {
        let finished = self.segments.finished().iter().rev().map(|one| (one.segment, one.end()));
        let active = self.active.map(|active| (active.segment, self.end()));
        let all = active.into_iter().chain(finished);
        let unsynced = all.take_while(|(_, end)| *end > self.synced);
        unsynced.map(|(segment, end)| end.0 - self.synced.max(start_of(segment)).0).sum()
    }

    /// The next thing to do, until `None`. Call it at the end of each turn.
    pub(super) fn poll_request(&mut self, now: Instant) -> Option<Request> {
        if self.failure.is_some() {
            return None;
        }
        self.on_drained();
        self.poll_leaving();
        // The goal stays while a sync is under way: what comes meanwhile waits for its own time.
        if self.goal <= self.synced && self.is_sync_behind(2) {
            self.sync_wanted();
        }
        self.poll_write(now).or_else(|| self.poll_sync()).or_else(|| self.poll_files())
    }

    fn poll_write(&mut self, now: Instant) -> Option<Request> {
        let is_always = self.settings.durability == Durability::Always;
        if self.writing.is_some() || is_always && self.syncing.is_some() {
            return None;
        }
        if self.tail.sealed().0.is_none() {
            self.tail.seal(self.synced, self.stop == Stop::LastHeader);
        }
        let (start, end) = self.tail.sealed().0.map(|batch| (batch.start(), batch.end()))?;
        let is_first_unsynced = self.first_unsynced_segment() == start.segment();
        if is_always && !is_first_unsynced {
            return None;
        }
        let unsynced = end.0 - self.synced.max(start_of(start.segment())).0;
        let then_sync = (self.is_last_of_segment() || unsynced >= UNSYNCED_BYTES_MAX)
            && is_first_unsynced
            && self.syncing.is_none()
            && self.goal() > self.synced;
        if let Durability::Interval(interval) = self.settings.durability {
            self.due.get_or_insert(now + interval);
        }
        let buffer = self.tail.buffer(self.written_part)?;
        self.writing = Some(Writing { bytes: buffer.len(), then_sync });
        let offset = start.offset() + self.written_part as u32;
        Some(Request::Write { segment: start.segment(), offset, buffer, then_sync })
    }

    /// Whether nothing waits behind the front batch in its segment.
    fn is_last_of_segment(&self) -> bool {
        let (Some(batch), next) = self.tail.sealed() else { return false };
        let after = next.map_or(self.end(), Batch::start);
        let is_more = next.is_some() || self.tail.is_open();
        !is_more || after.segment() != batch.start().segment()
    }

    fn poll_sync(&mut self) -> Option<Request> {
        let is_always = self.settings.durability == Durability::Always;
        let is_linked = self.writing.is_some_and(|writing| writing.then_sync || is_always);
        let is_due = self.goal() > self.synced && self.written > self.synced;
        if self.syncing.is_some() || is_linked || !is_due {
            return None;
        }
        let segment = self.first_unsynced_segment();
        let whole = self.segments.find(segment);
        let covers = whole.map_or(self.written, |whole| whole.end().min(self.written));
        self.syncing = Some(covers);
        Some(Request::Sync { segment })
    }

    /// Takes the answer to a request.
    pub(super) fn handle_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Created { segment, result } => self.on_created(segment, result),
            Completion::Written { result } => self.on_written(result),
            Completion::Synced { result } => self.on_synced(result),
            Completion::Stored { .. } => unreachable!("the log takes those of background work"),
        }
        self.check_invariants();
    }

    fn on_written(&mut self, result: Result<usize, Errno>) {
        let Some(writing) = self.writing.take() else { return };
        let written = match result {
            Ok(0) => return self.on_failure(Failure::Write(Errno(0))),
            Ok(bytes) => bytes.min(writing.bytes),
            Err(errno) => return self.on_failure(Failure::Write(errno)),
        };
        if self.failure.is_some() {
            return;
        }
        if written < writing.bytes {
            self.written_part += written;
            return;
        }
        self.written_part = 0;
        if let (Some(batch), _) = self.tail.sealed() {
            self.written = batch.end();
        }
        self.tail.release();
        if self.tail.has_room_behind(self.tail_need) {
            self.tail_need = 0;
        }
        if writing.then_sync {
            self.syncing = Some(self.written);
        }
    }

    fn on_synced(&mut self, result: Result<(), Errno>) {
        let Some(covers) = self.syncing.take() else { return };
        match result {
            Err(errno) => self.on_failure(Failure::Sync(errno)),
            Ok(()) => self.synced = self.synced.max(covers),
        }
    }

    fn on_failure(&mut self, failure: Failure) {
        let served = match failure {
            Failure::Sync(_) => self.synced,
            Failure::Write(_) | Failure::Exhausted => self.written,
        };
        self.served_below = self.served_below.min(served);
        self.failure.get_or_insert(failure);
        self.due = None;
    }

    /// Starts the sync that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.sync_wanted();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn goal(&self) -> Place {
        match self.settings.durability {
            Durability::Always => self.end(),
            Durability::Interval(_) | Durability::None => self.goal,
        }
    }

    /// The oldest segment that may hold bytes above the synced place.
    fn first_unsynced_segment(&self) -> u32 {
        let finished = self.segments.finished().iter().rev();
        let unsynced = finished.take_while(|one| one.end() > self.synced);
        let active = self.active.map_or(0, |active| active.segment);
        unsynced.last().map_or(active, |one| one.segment)
    }

    fn check_invariants(&self) {
        assert!(self.synced <= self.written);
        assert!(self.written <= self.end());
        assert!(self.syncing.is_none_or(|covers| covers <= self.written));
    }
}

fn start_of(segment: u32) -> Place {
    Place::new(segment, SEGMENT_HEADER_BYTES as u32)
}
