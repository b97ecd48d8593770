//! The work that a log does beside its appends: merging and snapshots. Sweeps, which go on where
//! no job can, are in [`scrub`](super::scrub).
//!
//! One job at a time, in steps that look at a bounded number of frames and bytes, so that a
//! driver can do a few of them in any turn. A job reads segments through [`Walk`], never through
//! a map. What was merged waits for its sync beside the next job.
//!
//! Merging moves what is live in a segment to the log's end; the moved record is one like any
//! other, and the newest record of a key counts, so a crash in between leaves two equal ones.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | append each live record again, point the index there | old ones count, or equal new ones |
//! | 2 | sync all: what was moved, and what replaced the rest | as 1 |
//! | 3 | a batch header lists the segment, or a roster omits it; sync | as 1, or its file is void |
//! | 4 | unlink file and snapshot | a void file: removed at the next start |
//!
//! A snapshot is written beside and renamed; it leaves out what is dead, so it gets its name only
//! when what replaced that is on disk.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | write the parts into an unfinished file | removed at the next start |
//! | 2 | sync all appended so far | as 1 |
//! | 3 | write the last part, sync the file, rename it, sync the folder | none, or a whole one |
//!
//! If the segment turns out to be damaged on the way, the unfinished file is removed at once.
//!
//! *Pace.* While finished segments hold too much garbage, each appended byte owes some bytes of
//! merging, and else some of a snapshot while one is missing; a driver does what is owed in every
//! turn and the rest when it is idle.

mod snapshots;

use ringmain_core::hash::Key;
use ringmain_core::records::Place;
use ringmain_core::wire::place::{PLACE_BYTES, PlaceKind};

use super::limits::{
    MOVED_COUNT_MAX, OWED_BYTES_MAX, OWED_PER_APPENDED, OWED_PER_APPENDED_BARE, PATIENCE_PART,
    STEP_BYTES, STEP_FRAME_COUNT_MAX, URGENCY, VICTIM_GARBAGE_PART, VICTIM_GARBAGE_PART_FULL,
};
use super::record::{self, Frame};
use super::request::{Errno, Refusal, Request};
use super::segments::State;
use super::snapshot::{Encoder, Head};
use super::walk::{Step, Walk};
use super::writer::Claim;
use super::{Log, Maps};

/// What a log is busy with beside its appends.
#[derive(Default)]
pub(super) struct Background {
    job: Job,
    /// Segments that were merged: each leaves once everything before its place is synced.
    moved: heapless::Vec<(u32, Place), MOVED_COUNT_MAX>,
    /// Bytes of segments that should be merged by now, or be in a snapshot.
    owed_bytes: u64,
    /// The segment of the last append: when it changes, one was finished.
    segment: u32,
    /// A finished segment may have no snapshot that it should have.
    is_bare: bool,
    /// The segment whose snapshot was begun and will not be ended: its parts are to be removed.
    discarded: Option<u32>,
    counts: Counts,
}

/// What background work has done since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Segments merged away.
    pub merged: u64,
    /// Bytes of records that merging moved.
    pub moved_bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Segments found damaged.
    pub damaged: u64,
    /// Erasures that nothing needed any more.
    pub dropped: u64,
}

#[derive(Default)]
enum Job {
    #[default]
    Idle,
    /// Records are being moved.
    Merge(Walk),
    Snapshot(Walk, Box<Snapshot>),
}

struct Snapshot {
    encoder: Encoder,
    stage: Stage,
    /// A part to be written.
    part: Option<Request>,
    /// One is being written.
    is_storing: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Entries are being gathered.
    Entries,
    /// The last part may be written once everything before the place is synced.
    Settling(Place),
    /// It is being written.
    Last,
}

/// Why a step could not go on.
pub(super) enum Halt {
    /// Something must end first.
    Wait,
    /// The segment is not what it was.
    Damaged,
    /// The job makes no sense any more.
    Over,
    /// There is no room for what it moves.
    Full,
    /// A snapshot met a hint, which it has no room for: the segment is scanned at a start.
    Hint,
}

impl Background {
    /// So many bytes were appended at `place`; `is_full` of garbage are the finished segments.
    pub(super) fn on_appended(&mut self, place: Place, appended: usize, is_full: bool) {
        let before = std::mem::replace(&mut self.segment, place.segment());
        self.is_bare |= before != self.segment;
        let owed_per_appended = match (is_full, self.is_bare) {
            (true, _) => OWED_PER_APPENDED,
            (false, true) => OWED_PER_APPENDED_BARE,
            (false, false) => return,
        };
        let owed = self.owed_bytes + owed_per_appended * appended as u64;
        self.owed_bytes = owed.min(OWED_BYTES_MAX);
    }

    /// An append found a full disk: merging is due, as if it had taken so many bytes.
    pub(super) fn on_full(&mut self, bytes: u32) {
        self.owed_bytes = self.owed_bytes.max(u64::from(bytes));
    }

    /// So many bytes were moved.
    pub(super) fn on_moved(&mut self, bytes: usize) {
        self.counts.moved_bytes += bytes as u64;
    }

    /// An erasure was dropped.
    pub(super) fn on_erasure_dropped(&mut self) {
        self.counts.dropped += 1;
    }

    /// So many bytes of what was owed are done.
    fn pay(&mut self, bytes: usize) {
        self.owed_bytes = self.owed_bytes.saturating_sub(bytes as u64);
    }

    /// The read or store that the job waits for; no read unless it `may_read`.
    pub(super) fn poll_request(&mut self, may_read: bool) -> Option<Request> {
        if let Some(segment) = self.discarded.take() {
            return Some(Request::Discard { segment });
        }
        match &mut self.job {
            Job::Merge(walk) if may_read => walk.poll_request(),
            Job::Idle | Job::Merge(_) => None,
            Job::Snapshot(walk, snapshot) => {
                let part = snapshot.part.take();
                snapshot.is_storing |= part.is_some();
                part.or_else(|| if may_read { walk.poll_request() } else { None })
            }
        }
    }

    /// Whether a read of the job is under way.
    pub(super) fn is_reading(&self) -> bool {
        match &self.job {
            Job::Merge(walk) | Job::Snapshot(walk, _) => walk.is_reading(),
            Job::Idle => false,
        }
    }

    /// The bytes that were asked for.
    pub(super) fn on_read(&mut self, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
        match &mut self.job {
            Job::Merge(walk) | Job::Snapshot(walk, _) => walk.on_read(result),
            Job::Idle => result.unwrap_or_default(),
        }
    }

    /// A part of a snapshot was written, or not; the segment whose snapshot has ended.
    pub(super) fn on_stored(&mut self, result: Result<(), Errno>) -> Option<u32> {
        let Job::Snapshot(walk, snapshot) = &mut self.job else { return None };
        let segment = walk.segment();
        snapshot.is_storing = false;
        if result.is_ok() && snapshot.stage != Stage::Last {
            return None;
        }
        self.counts.snapshots += u64::from(result.is_ok());
        self.job = Job::Idle;
        Some(segment)
    }

    /// What was done so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

impl<M: Maps> Log<M> {
    /// Whether a step should be done in this turn, whatever else there is to do. What is owed up
    /// to a part of a segment may wait until there is nothing else.
    pub fn is_step_due(&self) -> bool {
        let patience = u64::from(self.writer.active_bytes() / PATIENCE_PART);
        self.background.owed_bytes > patience || self.scrubber.is_due()
    }

    /// How many times as long as usual steps that are due should take in a turn: more if they
    /// have not kept up.
    pub fn step_urgency(&self) -> u32 {
        let is_behind = self.background.owed_bytes > u64::from(self.writer.active_bytes());
        if is_behind { URGENCY } else { 1 }
    }

    /// What background work has done since the start.
    pub fn background_counts(&self) -> Counts {
        self.background.counts()
    }

    /// Does a bounded step of background work: at most some microseconds, unless a record is
    /// large. False if there is nothing to do before a completion comes.
    pub fn step(&mut self) -> bool {
        if !self.writer.is_running() {
            return false;
        }
        self.leave_moved();
        let mut job = std::mem::take(&mut self.background.job);
        let result = match &mut job {
            Job::Idle => {
                self.background.job = self.next_job();
                let is_alone = self.background.moved.is_empty();
                return !matches!(self.background.job, Job::Idle) || self.step_sweep(is_alone);
            }
            Job::Merge(walk) => self.step_merge(walk),
            Job::Snapshot(walk, snapshot) => self.step_snapshot(walk, snapshot),
        };
        match result {
            Ok(next) => self.background.job = next.unwrap_or(job),
            Err(Halt::Wait) => {
                self.background.job = job;
                return self.step_sweep(false);
            }
            Err(halt) => self.drop_job(&job, &halt),
        }
        true
    }

    /// A job has come to nothing. What fits is chosen anew.
    fn drop_job(&mut self, job: &Job, halt: &Halt) {
        if let Job::Snapshot(walk, snapshot) = job
            && snapshot.encoder.is_begun()
        {
            self.background.discarded = Some(walk.segment());
        }
        if let Job::Merge(walk) | Job::Snapshot(walk, _) = job
            && matches!(halt, Halt::Damaged)
        {
            // What was good when it was last read may be what is damaged.
            self.writer.segments.doubt(walk.segment());
            self.writer.segments.set_state(walk.segment(), State::Damaged);
            self.background.counts.damaged += 1;
        }
        if let Job::Snapshot(walk, _) = job
            && matches!(halt, Halt::Hint)
        {
            self.writer.segments.set_state(walk.segment(), State::Done);
        }
    }

    /// Takes out of the log what was merged and may leave by now.
    fn leave_moved(&mut self) {
        let synced = self.writer.synced();
        let Background { moved, counts, .. } = &mut self.background;
        while let Some(at) = moved.iter().position(|(_, goal)| *goal <= synced) {
            let (segment, _) = moved.swap_remove(at);
            counts.merged += 1;
            // One that was given up as damaged meanwhile is gone.
            if self.writer.segments.find(segment).is_some() {
                self.writer.leave(segment);
            }
        }
    }

    /// Whether what is being merged, or else something that may be, still fits once `bytes` are
    /// appended.
    pub(super) fn has_room_to_merge(&self, bytes: usize) -> bool {
        let room = self.writer.room().saturating_sub(bytes as u64);
        let segments = &self.writer.segments;
        if let Job::Merge(walk) = &self.background.job
            && let Some(victim) = segments.find(walk.segment())
        {
            return victim.live.bytes() <= room;
        }
        let worth = (room, VICTIM_GARBAGE_PART_FULL);
        segments.victim(self.writer.synced(), worth, self.suspect).is_some()
    }

    fn next_job(&mut self) -> Job {
        self.writer.sync_finished();
        // A full disk has no room for what would be moved next, before something has left.
        let moved = &self.background.moved;
        if moved.is_full() || !moved.is_empty() && self.writer.is_refused() {
            return Job::Idle;
        }
        let synced = self.writer.synced();
        let segments = &self.writer.segments;
        let is_refused = self.writer.is_refused();
        let part = if is_refused { VICTIM_GARBAGE_PART_FULL } else { VICTIM_GARBAGE_PART };
        if let Some(victim) = self.oldest_victim() {
            return Job::Merge(Walk::new(victim));
        }
        let spare = self.writer.spare_bytes();
        if is_refused || segments.is_full_of_garbage(spare) {
            let worth = (self.writer.room(), part);
            if let Some(victim) = segments.victim(synced, worth, self.suspect) {
                return Job::Merge(Walk::new(victim));
            }
        }
        self.background.owed_bytes = 0;
        let bare_bytes = self.writer.bare_bytes();
        self.background.is_bare = segments.bare(Place(u64::MAX), bare_bytes, spare).is_some();
        // The next segment comes first.
        let bare = segments.bare(synced, bare_bytes, spare).filter(|_| !is_refused);
        let Some(bare) = bare else { return Job::Idle };
        let head = Head { segment: bare.segment, nonce: bare.nonce, end: bare.end };
        let encoder = Encoder::new(&head);
        let stage = Stage::Entries;
        let snapshot = Snapshot { encoder, stage, part: None, is_storing: false };
        Job::Snapshot(Walk::new(bare), Box::new(snapshot))
    }

    fn step_merge(&mut self, walk: &mut Walk) -> Result<Option<Job>, Halt> {
        walk.read_ahead(self.step_urgency());
        match walk.step() {
            Step::Frame(..) => {}
            Step::Wait => return Err(Halt::Wait),
            Step::Damaged => return Err(Halt::Damaged),
            Step::End => {
                self.writer.sync_wanted();
                self.writer.segments.on_moved(walk.segment());
                let pushed = self.background.moved.push((walk.segment(), self.writer.end()));
                assert!(pushed.is_ok(), "there was room when the merge began");
                return Ok(Some(Job::Idle));
            }
        }
        let (passed, halt) = self.move_frames(walk);
        walk.pass(passed);
        self.background.pay(passed);
        match halt {
            Some(Halt::Wait) if passed > 0 => Ok(None),
            Some(halt) => Err(halt),
            None => Ok(None),
        }
    }

    /// Moves what is live of the next frames. Returns the bytes of those that are done with, and
    /// why it did not go on.
    fn move_frames(&mut self, walk: &Walk) -> (usize, Option<Halt>) {
        // First all of their index slots begin to arrive in the CPU's caches.
        let mut frames = heapless::Vec::<_, STEP_FRAME_COUNT_MAX>::new();
        for frame in walk.ahead().take(STEP_FRAME_COUNT_MAX) {
            let is_live = self.writer.segments.is_live(frame.place());
            let key = is_live.then(|| self.key_of(&frame));
            if let Some(Some(key)) = &key {
                self.index.of(key).prefetch(key.order);
            }
            let pushed = frames.push((frame, key));
            assert!(pushed.is_ok(), "no more are taken than there is room for");
        }
        let (mut passed, mut moved) = (0, 0);
        for (frame, key) in &frames {
            let result = match key {
                None => Ok(0),
                Some(None) => Err(Halt::Damaged),
                Some(Some(key)) => self.move_record(frame, key),
            };
            match result {
                Ok(bytes) => moved += bytes,
                Err(halt) => return (passed, Some(halt)),
            }
            passed += frame.padded_bytes();
            if moved >= STEP_BYTES {
                break;
            }
        }
        (passed, None)
    }

    /// Appends a live record again, or an erasure; says how many bytes that took.
    pub(super) fn move_record(&mut self, frame: &Frame<'_>, key: &Key<'_>) -> Result<usize, Halt> {
        if frame.kind() == PlaceKind::Erasure {
            return self.move_erasure(frame, key);
        }
        let place = frame.place();
        // A key that has rotted is another one.
        if !self.index.of(key).holds_at(key.order, place) || !frame.is_intact() {
            return Err(Halt::Damaged);
        }
        let body = frame.body();
        let padded = record::padded_bytes(body.bytes().len());
        let moved = self.reserve_move(padded)?;
        let table = self.index.of_mut(key);
        let is_replaced = table.replace(key.order, place, moved);
        assert!(is_replaced, "it was there just now");
        let (_, free) = self.writer.tail.parts();
        let (part, rest) = free[..padded].split_at_mut(PLACE_BYTES);
        let (out, padding) = rest.split_at_mut(body.bytes().len());
        out.copy_from_slice(body.bytes());
        padding.fill(0);
        let flags = (frame.mine(), table.has_twin(key.order), key.target);
        record::stamp_record(part, moved, out.len(), flags, body.crc32c());
        self.writer.tail.commit(padded);
        if key.is_hint() {
            self.index.hints.on_kept(key.target, moved, padded, Some(padded));
        }
        self.writer.segments.on_dead(place, padded);
        self.writer.segments.on_live(moved, padded);
        if key.is_hint() {
            self.sweep_hints(key.target);
        }
        self.background.on_moved(padded);
        Ok(padded)
    }

    /// Room for what is moved, of `padded` bytes.
    pub(super) fn reserve_move(&mut self, padded: usize) -> Result<Place, Halt> {
        let moved = self.writer.reserve(padded, Claim::Merge).map_err(|refusal| match refusal {
            Refusal::Busy => Halt::Wait,
            Refusal::NoSpace => Halt::Full,
            _ => Halt::Over,
        });
        if moved.is_err() {
            self.writer.segments.note_bytes(padded);
        }
        moved
    }
}
