//! The files of a log: making the next segment, going on in it, and giving files back.

use ringmain_core::records::Place;

use super::super::limits::{
    GARBAGE_FREE_SPACE_PART, HEADER_COUNT_RESERVED, SEGMENT_ID_MAX, TAIL_BYTES_MAX,
};
use super::super::record::{BATCH_HEADER_BYTES, LISTED_BYTES};
use super::super::request::{Errno, Failure, Refusal, Request};
use super::super::segment::{FORMAT_VERSION, Fresh, SEGMENT_HEADER_BYTES, SegmentHeader, Supply};
use super::{Claim, Settings, Stop, Writer, start_of};

impl Writer {
    /// Free space of the file system as it was last told, less what was taken since, bytes.
    pub(in crate::log) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Whether records that take more space than they free are or will be refused: the last
    /// Create failed, or the segment made ready is the last that the disk has room for.
    pub(in crate::log) fn is_refused(&self) -> bool {
        self.is_refused || self.is_short()
    }

    pub(in crate::log) fn offer_space(&mut self, free_bytes: u64) {
        self.free_bytes = free_bytes;
        if self.supply == Supply::Refused {
            self.supply = Supply::Empty;
        }
    }

    /// A file of the log took so much of what was offered.
    pub(in crate::log) fn on_space_taken(&mut self, bytes: u64) {
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
    }

    /// Garbage that is no reason to merge, bytes.
    pub(in crate::log) fn spare_bytes(&self) -> u64 {
        let Settings { sizes, identity, .. } = self.settings;
        let share = self.free_bytes / u64::from(identity.shards);
        sizes.spare.min(share / GARBAGE_FREE_SPACE_PART)
    }

    fn is_short(&self) -> bool {
        self.free_bytes < u64::from(self.settings.sizes.min)
    }

    /// Goes on in the segment made ready. When there is no room for another behind it, only
    /// merging may.
    pub(super) fn roll(&mut self, need: u32, claim: Claim) -> Result<(), Refusal> {
        let listed_bytes = LISTED_BYTES * (self.segments.finished().len() + 1);
        let room_needed = need + (SEGMENT_HEADER_BYTES + listed_bytes) as u32;
        match self.supply {
            Supply::Ready(_) if self.is_short() && claim != Claim::Merge => {
                return Err(Refusal::NoSpace);
            }
            Supply::Ready(fresh) if fresh.bytes >= room_needed => {
                self.tail.seal(self.synced, false);
                self.begin(fresh);
                return Ok(());
            }
            // There would be no larger one.
            Supply::Ready(_) if self.is_short() => return Err(Refusal::NoSpace),
            Supply::Ready(fresh) => {
                self.void.push(fresh.segment);
                self.supply = Supply::Empty;
            }
            Supply::Empty | Supply::Creating(_) if claim == Claim::Merge => {
                self.need = self.need.max(room_needed);
                return Err(Refusal::Busy);
            }
            Supply::Refused | Supply::Empty | Supply::Creating(_) => {}
        }
        self.need = self.need.max(room_needed);
        Err(if self.is_refused { Refusal::NoSpace } else { Refusal::Busy })
    }

    fn begin(&mut self, fresh: Fresh) {
        let before = self.active.map(|active| (active, self.end()));
        let roster = self.segments.begin(fresh, before);
        self.tail.begin_segment(start_of(fresh.segment), fresh.nonce, roster);
        self.active = Some(fresh);
        self.is_reserve = self.is_short();
        self.relief_bytes = 0;
        self.begun.get_or_insert(self.tail.end());
        self.supply = Supply::Empty;
    }

    /// Begins the first segment of this process life. Its first batch header, alone if need be,
    /// says where the recovered log ends.
    pub(super) fn begin_first(&mut self, fresh: Fresh) {
        self.begin(fresh);
        let is_open = self.tail.reserve(0, self.synced);
        assert!(is_open, "nothing waits yet");
        self.sync_wanted();
    }

    /// Takes a finished segment out of the log; nothing in it is live, and what replaced its
    /// records is synced. Its file goes once that is on disk.
    pub(in crate::log) fn leave(&mut self, segment: u32) {
        self.segments.remove(segment);
        self.leaving.push((segment, None));
    }

    /// Lists what has left in a batch header, and unlinks what was listed in one that is synced.
    pub(super) fn poll_leaving(&mut self) {
        let synced = self.synced;
        let mut is_gone = |&mut (segment, listed): &mut (u32, Option<Place>)| {
            let is_gone = listed.is_some_and(|listed| listed <= synced);
            self.void.extend(is_gone.then_some(segment));
            is_gone
        };
        self.leaving.retain_mut(|one| !is_gone(one));
        if self.stop != Stop::Running {
            return;
        }
        let Some(at) = self.leaving.iter().position(|(_, listed)| listed.is_none()) else { return };
        if self.tail.waiting_bytes() > TAIL_BYTES_MAX / 2 {
            return;
        }
        let need = 2 * (BATCH_HEADER_BYTES + LISTED_BYTES) as u32;
        let Some(active) = self.active else { return };
        if self.end().offset() + need > active.bytes {
            // The roster of the next segment does not name it.
            if self.roll(need, Claim::Merge).is_err() {
                return;
            }
        } else {
            self.tail.seal(self.synced, false);
            self.tail.list(Place::new(self.leaving[at].0, 0));
        }
        if !self.tail.reserve(0, self.synced) {
            unreachable!("the tail has room");
        }
        self.leaving[at].1 = Some(self.end());
        self.sync_wanted();
    }

    /// Bytes of the files of all segments that are or were begun.
    pub(in crate::log) fn file_bytes(&self) -> u64 {
        self.segments.file_bytes() + self.active.map_or(0, |active| u64::from(active.bytes))
    }

    pub(super) fn poll_files(&mut self) -> Option<Request> {
        let is_wanted = self.supply == Supply::Empty && self.stop == Stop::Running;
        if is_wanted && let Some(request) = self.create() {
            return Some(request);
        }
        // Only once a later segment is begun on disk is it known that the log does not go on in
        // these files; before that what is missing above the newest begun one would be noticed.
        let synced = self.synced.segment();
        let at = self.void.iter().position(|segment| self.is_ready() && *segment < synced)?;
        Some(Request::Remove { segment: self.void.swap_remove(at) })
    }

    fn create(&mut self) -> Option<Request> {
        if self.next_segment > SEGMENT_ID_MAX {
            self.on_failure(Failure::Exhausted);
            return None;
        }
        let bytes = self.next_bytes();
        let fresh = Fresh { segment: self.next_segment, bytes, nonce: self.prng.next_u64() };
        self.next_segment += 1;
        self.supply = Supply::Creating(fresh);
        let identity = self.settings.identity;
        let Fresh { segment, bytes, nonce } = fresh;
        let header =
            SegmentHeader { version: FORMAT_VERSION, identity, segment, nonce, bytes }.encode();
        Some(Request::Create { segment, bytes, header })
    }

    /// Size of the next segment, bytes.
    fn next_bytes(&self) -> u32 {
        let Settings { sizes, identity, .. } = self.settings;
        // It is begun with a header that lists the others.
        let listed_bytes = LISTED_BYTES * (self.segments.finished().len() + 1);
        let headers = HEADER_COUNT_RESERVED * (BATCH_HEADER_BYTES + LISTED_BYTES) + listed_bytes;
        let least = (SEGMENT_HEADER_BYTES + headers) as u32;
        if !self.is_refused || !self.is_disk_full {
            let need = self.need.max(least);
            return sizes.next(self.segments.live_bytes(), self.free_bytes, need);
        }
        // Left to small files of others; by who has a segment, to other shards that have none.
        let shards = if self.active.is_none() { 1 } else { 2 * u64::from(identity.shards) };
        let left = shards * u64::from(sizes.least());
        sizes.on_full_disk(self.free_bytes.saturating_sub(left), least, self.need)
    }

    pub(super) fn on_created(&mut self, segment: u32, result: Result<(), Errno>) {
        let Supply::Creating(fresh) = self.supply else { return };
        if fresh.segment != segment {
            return;
        }
        let was_refused = std::mem::replace(&mut self.is_refused, result.is_err());
        let need = std::mem::take(&mut self.need);
        if let Err(Errno(errno)) = result {
            self.supply = Supply::Refused;
            self.is_disk_full = matches!(errno, libc::ENOSPC | libc::EDQUOT);
            // A file that was not made uses up no number.
            self.next_segment = segment;
            if errno == libc::ENOENT {
                // Its folder is gone, and so is what would be written to files without a name.
                self.on_failure(Failure::Write(Errno(errno)));
            }
            return;
        }
        self.supply = Supply::Ready(fresh);
        self.on_space_taken(fresh.bytes.into());
        if need > fresh.bytes && !was_refused && self.active.is_some() {
            // More was needed meanwhile.
            self.void.push(fresh.segment);
            (self.supply, self.need) = (Supply::Empty, need);
        }
        if self.active.is_none() && self.failure.is_none() && self.stop == Stop::Running {
            self.begin_first(fresh);
        }
    }
}
