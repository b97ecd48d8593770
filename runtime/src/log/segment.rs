//! One file of the log: its header, its size, and the supply of the next one.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RINGMLOG` |
//! | 8 | 4 | format version |
//! | 12 | 4 | segment id |
//! | 16 | 8 | cluster digest |
//! | 24 | 8 | nonce, random: marks the batch headers of this segment |
//! | 32 | 4 | bytes of the whole file, preallocated |
//! | 36 | 2 | shard |
//! | 38 | 2 | shards of the node |
//! | 40 | 1 | partition bits |
//! | 41 | 19 | 0 |
//! | 60 | 4 | CRC32C over bytes 0..60 |
//!
//! Little-endian. Magic, version and checksum keep their places in every version. The header is
//! written once, before the file gets its name, and never again; what only becomes known when
//! the segment is begun (which other segments are the log) stands in its first batch header.
//!
//! The format version covers all that lies in a segment and its snapshot: place parts, and the
//! bodies, covered header, key and Record v1, which come from the wire as they are. So whoever
//! changes these raises it together with `wire::VERSION`, and writes the old form to older peers.
//! A segment of a version that a build does not know is refused, naming both: a newer one has it.

use ringmain_core::checksum::Checksum;
use ringmain_core::id::{ClusterId, Partition, ShardIndex};

use super::limits::{
    GARBAGE_BYTES_SPARE, SEGMENT_BYTES_LEAST_PART, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SEGMENT_FREE_SPACE_PART, SEGMENT_LIVE_PART,
};
use super::record::u64_at;
use crate::checksum::Hardware;

/// Bytes of the header that opens every segment.
pub const SEGMENT_HEADER_BYTES: usize = CHECKSUM + 4;
/// The format version written by this code.
pub const FORMAT_VERSION: u32 = 3;
/// The oldest that it reads: without erasures, and its snapshots are made anew.
pub(super) const FORMAT_VERSION_MIN: u32 = 2;

/// Whose log it is: a segment of another one is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The cluster; it also seeds the key hash.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardIndex,
    /// Shards of the node.
    pub shards: u16,
    /// The cluster has 2^this partitions.
    pub partition_bits: u32,
}

impl Identity {
    /// First partition of the shard, and how many it holds.
    pub fn partitions(&self) -> (Partition, usize) {
        let start = |shard: u64| (shard << self.partition_bits).div_ceil(u64::from(self.shards));
        let first = start(u64::from(self.shard.0));
        let end = start(u64::from(self.shard.0) + 1);
        (Partition(first as u16), (end - first) as usize)
    }
}

/// Bounds of segments and of the garbage in them; tests and the simulator use small ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentSizes {
    /// Smallest segment, bytes.
    pub min: u32,
    /// Largest segment, bytes, unless one record needs more.
    pub max: u32,
    /// Garbage that is no reason to merge, bytes.
    pub spare: u64,
}

impl Default for SegmentSizes {
    fn default() -> SegmentSizes {
        SegmentSizes { min: SEGMENT_BYTES_MIN, max: SEGMENT_BYTES_MAX, spare: GARBAGE_BYTES_SPARE }
    }
}

impl SegmentSizes {
    /// Size of the next segment: a sixteenth of what is live, to a power of two, within the bounds,
    /// at most a sixteenth of the free space, at least `need`. Bytes, a multiple of 4096 unless
    /// the bounds are not.
    pub fn next(&self, live_bytes: u64, free_bytes: u64, need: u32) -> u32 {
        let part = (live_bytes / SEGMENT_LIVE_PART).min(u64::from(self.max));
        let part = part.next_power_of_two().min(u64::from(self.max)) as u32;
        let share = (free_bytes / SEGMENT_FREE_SPACE_PART).min(u64::from(self.max)) as u32;
        let share = share & !(PAGE_BYTES - 1);
        part.min(share).max(self.min).max(need.next_multiple_of(PAGE_BYTES))
    }

    /// Size of the next segment when there is no space for the smallest: what there is,
    /// `free_bytes`, so that deletes and merging may go on; at least `least`, and `need`, what an
    /// append lacks, if there is so much. Bytes, a multiple of 4096 unless the bounds are not.
    pub fn on_full_disk(&self, free_bytes: u64, least: u32, need: u32) -> u32 {
        let need = need.next_multiple_of(PAGE_BYTES);
        // Else who asks for too much again and again keeps others from what there is.
        let most = if u64::from(need) <= free_bytes { self.min.max(need) } else { self.min };
        let free = free_bytes.min(most.into()) as u32 & !(PAGE_BYTES - 1);
        let least = self.least().max(least).max(PAGE_BYTES);
        if free < least { self.min.max(least) } else { free }
    }

    /// The smallest segment on a full disk, bytes.
    pub(super) fn least(&self) -> u32 {
        self.min / SEGMENT_BYTES_LEAST_PART
    }
}

/// The decoded header of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentHeader {
    /// Format version: what the frames in it may be.
    pub(super) version: u32,
    pub(super) identity: Identity,
    pub(super) segment: u32,
    pub(super) nonce: u64,
    /// Bytes of the file.
    pub(super) bytes: u32,
}

/// Why a segment's header is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeaderError {
    Damaged,
    Version(u32),
    Foreign,
}

impl SegmentHeader {
    /// The header of `segment` of the log of `identity`, from the file's first bytes.
    pub(super) fn new_checked(
        file: &[u8],
        segment: u32,
        identity: &Identity,
    ) -> Result<SegmentHeader, HeaderError> {
        let bytes = file.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(HeaderError::Damaged)?;
        if bytes[..VERSION] != *MAGIC_VALUE
            || u32_at(bytes, CHECKSUM) != Hardware::crc32c(0, &bytes[..CHECKSUM])
        {
            return Err(HeaderError::Damaged);
        }
        let version = u32_at(bytes, VERSION);
        if !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let header = SegmentHeader {
            version,
            identity: *identity,
            segment: u32_at(bytes, SEGMENT),
            nonce: u64_at(bytes, NONCE),
            bytes: u32_at(bytes, BYTES),
        };
        if header.encode() != *bytes {
            return Err(HeaderError::Foreign);
        }
        if header.segment != segment || file.len() as u64 != u64::from(header.bytes) {
            return Err(HeaderError::Damaged);
        }
        Ok(header)
    }

    /// The bytes of this header.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..VERSION].copy_from_slice(MAGIC_VALUE);
        bytes[VERSION..SEGMENT].copy_from_slice(&self.version.to_le_bytes());
        bytes[SEGMENT..CLUSTER].copy_from_slice(&self.segment.to_le_bytes());
        bytes[CLUSTER..NONCE].copy_from_slice(&self.identity.cluster.digest().to_le_bytes());
        bytes[NONCE..BYTES].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[BYTES..SHARD].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[SHARD..SHARDS].copy_from_slice(&self.identity.shard.0.to_le_bytes());
        bytes[SHARDS..PARTITION_BITS].copy_from_slice(&self.identity.shards.to_le_bytes());
        bytes[PARTITION_BITS] = self.identity.partition_bits as u8;
        let checksum = Hardware::crc32c(0, &bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// The next segment, made ready one ahead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Supply {
    /// None asked for.
    Empty,
    /// Create is under way.
    Creating(Fresh),
    /// Empty, durable, mapped.
    Ready(Fresh),
    /// The last Create failed; another waits for news of free space.
    Refused,
}

/// A segment in which nothing lies yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Fresh {
    pub(super) segment: u32,
    pub(super) bytes: u32,
    pub(super) nonce: u64,
}

/// Reads the u32 at `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const MAGIC_VALUE: &[u8; 8] = b"RINGMLOG";
const PAGE_BYTES: u32 = 4096;

/// Where the format version stands.
pub(super) const VERSION: usize = 8;
const SEGMENT: usize = VERSION + 4;
const CLUSTER: usize = SEGMENT + 4;
const NONCE: usize = CLUSTER + 8;
const BYTES: usize = NONCE + 8;
const SHARD: usize = BYTES + 4;
const SHARDS: usize = SHARD + 2;
const PARTITION_BITS: usize = SHARDS + 2;
const CHECKSUM: usize = 60;

const _: () = assert!(PARTITION_BITS < CHECKSUM);
const _: () = assert!(SEGMENT_HEADER_BYTES == 64, "as the table says");
