//! Every bound of the log, in one place.

use std::time::Duration;

use ringmain_core::limits::BODY_BYTES_MAX;
use ringmain_core::wire::COVERED_BYTES;
use ringmain_core::wire::place::PLACE_BYTES;

use super::record::BATCH_HEADER_BYTES;
use super::segment::SEGMENT_HEADER_BYTES;

/// First segment of a log, bytes: a small disk and a demo must start.
pub const SEGMENT_BYTES_MIN: u32 = 4 << 20;
/// On a full disk a segment may be smaller, down to one part in so many.
pub const SEGMENT_BYTES_LEAST_PART: u32 = 64;
/// Largest segment unless one record needs more, bytes.
pub const SEGMENT_BYTES_MAX: u32 = 256 << 20;
/// A segment takes at most this part of the free space (unless one record needs more).
pub const SEGMENT_FREE_SPACE_PART: u64 = 16;
/// One tail buffer, bytes: the largest write that is not a single record.
pub const TAIL_BUFFER_BYTES: usize = 1 << 20;
/// Most bytes that wait in the tail to be written; above it appends are refused.
pub const TAIL_BYTES_MAX: usize = 32 << 20;
/// With less room than this an append may have to wait, bytes: more than one turn appends from
/// what it has begun to parse.
pub const STALL_BYTES: usize = 2 << 20;
/// Hints take at most one part in so many of the log and its shard's share of the free space: who
/// stands in for others goes on serving what it owns.
pub const HINT_BYTES_PART: u64 = 10;
/// Places of records that the disk did not give which are remembered: of more, the lowest are
/// forgotten, and tried again.
pub const FAILED_READ_COUNT_MAX: usize = 4096;
/// Empty tail buffers kept for reuse.
pub const TAIL_SPARE_COUNT_MAX: usize = 4;
/// Segments are at most about this part of the live bytes: with few large ones, merging would meet
/// them while much of each is live.
pub const SEGMENT_LIVE_PART: u64 = 16;
/// Merging begins when the garbage of finished segments exceeds this part of the live bytes, and
/// [`GARBAGE_BYTES_SPARE`]: so all files, with snapshots and the segment that is being merged, are
/// below 1.5 times the live bytes, or these bytes more than it, and two segments, which are the one
/// that takes appends and the one made ahead.
pub const GARBAGE_NUMERATOR: u64 = 2;
/// See [`GARBAGE_NUMERATOR`].
pub const GARBAGE_DENOMINATOR: u64 = 7;
/// So much garbage is no reason to merge, bytes, however little is live: a small log that is
/// overwritten would move all that lives in it again and again. Records moved per record appended,
/// uniformly, 15 MB live: 1.7 without, 0.05 with; more would only fill the caches.
pub const GARBAGE_BYTES_SPARE: u64 = 32 << 20;
/// But no more than one part in so many of the shard's share of the free space: so all shards
/// together leave that part of it at most.
pub const GARBAGE_FREE_SPACE_PART: u64 = 16;
/// The newest finished segments of together at most this part of the largest one get no snapshot
/// yet: what was written last is replaced soonest, and a little is read quickly at a start.
pub const BARE_PART: u32 = 8;
/// While a log has no more garbage than it is spared, a segment of which less than one part in so
/// many is live gets no snapshot: it is merged soon, and its snapshot would be written for nothing.
pub const SNAPSHOT_LIVE_PART: u64 = 8;
/// A segment is merged only if at least one part in this many of its file is garbage.
pub const VICTIM_GARBAGE_PART: u64 = 10;
/// As [`VICTIM_GARBAGE_PART`] while the disk is full: little by little is better than not at all.
pub const VICTIM_GARBAGE_PART_FULL: u64 = 64;
/// The oldest segment is merged next if erasures are more than one part in so many of the records,
/// and than one in [`ERASURE_BYTES_PART_ACTIVE`] of the segment that takes appends.
pub const ERASURE_BYTES_PART: u64 = 8;
/// See [`ERASURE_BYTES_PART`].
pub const ERASURE_BYTES_PART_ACTIVE: u32 = 4;
/// The unused rest of a segment's file counts as garbage if less than one part in this many is
/// used: a restart left it. With a larger part, records that do not fit two to a segment would
/// be merged for ever.
pub const LEFT_EARLY_PART: u32 = 8;
/// When no further segment can be made, this part of the last one is kept for appends that free
/// more than they take, deletes above all; a segment made ready is kept for merging.
pub const RESERVE_PART: u32 = 4;
/// Room that every append leaves in its segment for batch headers that must always find some: of
/// its own batch, of a clean stop, and of two segments that leave the log.
pub const HEADER_COUNT_RESERVED: usize = 4;
/// Segments that were merged and wait for a sync before they leave, at most: a sync that takes
/// long should not hold up the next merge, and what waits takes space.
pub const MOVED_COUNT_MAX: usize = 4;
/// Bytes that background work reads of a segment at once, unless one record is larger; merging
/// that has not kept up reads [`URGENCY`] times as many.
pub const PIECE_BYTES: u32 = 256 << 10;
/// What is read at once where a larger read has failed, bytes: what a disk loses as one is no
/// larger.
pub const SEEK_PAGE_BYTES: u32 = 4096;
/// Bytes of damage that are looked at, at most, for each frame that a step may look at.
pub const SEEK_BYTES: u32 = 512;
/// Damaged ranges that a sweep lists, at most; it counts those beyond.
pub const DAMAGE_COUNT_MAX: usize = 4096;
/// Keys without a readable record that are given up at once, at most; the others follow.
pub const LOST_COUNT_MAX: usize = 1 << 20;
/// Index entries that one step of a sweep looks at, at most, but for those of equal order.
pub const STEP_ENTRY_COUNT_MAX: usize = 4096;
/// A sweep that nobody asked for begins this long after the begin of the one before, or at its
/// end.
pub const SWEEP_PAUSE: Duration = Duration::from_secs(3600);
/// Frames that one step of background work looks at, at most.
pub const STEP_FRAME_COUNT_MAX: usize = 64;
/// Record bytes after which a step of background work ends.
pub const STEP_BYTES: usize = 32 << 10;
/// Bytes of merging that each appended byte owes while there is too much garbage: to give back as
/// much as is appended, a segment that is half live must be passed twice as fast; and a little
/// more, to catch up.
pub const OWED_PER_APPENDED: u64 = 3;
/// Bytes of a snapshot that each appended byte owes while one is missing: else a shard that is
/// never idle would write none, and a start would read all of its log. More than one, to catch up.
pub const OWED_PER_APPENDED_BARE: u64 = 2;
/// Most bytes of merging that are owed: a segment.
pub const OWED_BYTES_MAX: u64 = SEGMENT_BYTES_MAX as u64;
/// Merging that is owed may wait for an idle moment up to one part in so many of a segment.
pub const PATIENCE_PART: u32 = 8;
/// So many times as long as usual may merging take once a whole segment is owed.
pub const URGENCY: u32 = 4;
/// Bytes of a snapshot that are written at once.
pub const SNAPSHOT_PART_BYTES: usize = 256 << 10;
/// In `always`, a sync follows at the latest after this many written bytes.
pub const UNSYNCED_BYTES_MAX: u64 = 4 << 20;
/// Under `interval` a log stalls with so many bytes that are not on disk, and a sync that does not
/// wait for its time begins at half of them: so bytes bound what a power failure takes, too, and
/// merging, which waits for syncs, keeps up with a disk that is slower than its writers.
pub const UNSYNCED_BYTES_STALL: u64 = 64 << 20;
/// Records start at multiples of this many bytes, so that a scan can find them again.
pub const RECORD_ALIGN: usize = 8;
/// Bytes of the smallest body of a record: its covered header, a key of one byte, and nothing.
pub const BODY_BYTES_MIN: usize = COVERED_BYTES + 1;
/// Highest segment id: the index keeps places in 63 bits.
pub const SEGMENT_ID_MAX: u32 = (1 << 31) - 1;

/// The largest record with its place part and padding, bytes.
pub const FRAME_BYTES_MAX: usize = (PLACE_BYTES + BODY_BYTES_MAX).next_multiple_of(RECORD_ALIGN);

const _: () = assert!(
    FRAME_BYTES_MAX + BATCH_HEADER_BYTES <= TAIL_BYTES_MAX,
    "an empty tail takes any record, so a refused append succeeds once the tail was written"
);
const _: () = assert!(
    SEGMENT_HEADER_BYTES + FRAME_BYTES_MAX + 2 * BATCH_HEADER_BYTES <= SEGMENT_BYTES_MAX as usize,
    "any record fits some segment"
);
const _: () = assert!(
    GARBAGE_BYTES_SPARE <= OWED_BYTES_MAX && GARBAGE_BYTES_SPARE >= SEGMENT_BYTES_MIN as u64,
    "what is spared is some segments, and merged at once when it is too much"
);
const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(SEEK_PAGE_BYTES < PIECE_BYTES, "a failed read is done again in parts");
const _: () = assert!((SEEK_PAGE_BYTES as usize).is_multiple_of(RECORD_ALIGN));
const _: () = assert!(BATCH_HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_MAX);
