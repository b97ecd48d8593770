//! The snapshot of a finished segment: where each of its live records lies, and its version hash,
//! so that a start reads 24 bytes for a record instead of the record.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RINGMSNP` |
//! | 8 | 4 | format version, that of segments |
//! | 12 | 4 | segment id |
//! | 16 | 8 | nonce of the segment |
//! | 24 | 4 | where the segment ends |
//! | 28 | 4 | 0 |
//! | 32 | 24 × n | entries |
//! | 32 + 24 n | 4 | n |
//! | 36 + 24 n | 4 | CRC32C over all before it |
//!
//! An entry is three u64: order, version hash (of an erasure the place before which it erases), and
//! from the top bit on 2 bits for what it is (0 a record that lasts, 1 one that expires, 2 one that
//! has ended, 3 an erasure), 14 of the partition, 1 whether the record is flagged as a twin, 22 of
//! its padded length / 8, 25 of its offset / 8. Little-endian.
//!
//! A record that is missing here was replaced by one that was on disk before the snapshot got its
//! name; one that is listed may have been replaced since. So a start that takes the newest
//! segment first, and of each key the first record it meets, finds what is current.

use ringmain_core::causality::Lifespan;
use ringmain_core::checksum::Checksum;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::limits::PARTITION_BITS_MAX;

use super::limits::{FRAME_BYTES_MAX, RECORD_ALIGN, SEGMENT_BYTES_MAX};
use super::record::u64_at;
use super::segment::FORMAT_VERSION;
use crate::checksum::Hardware;

/// What a frame is to a start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Record(Lifespan),
    Erasure,
}

/// What a start must know of a record or an erasure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) partition: Partition,
    pub(super) order: u64,
    pub(super) what: What,
    /// [`Record::version`](ringmain_core::causality::Record::version); of an erasure the place
    /// before which it erases.
    pub(super) version: u64,
    /// Where it lies in its segment.
    pub(super) offset: u32,
    /// With place part and padding.
    pub(super) bytes: u32,
    pub(super) is_twin: bool,
    /// The node for which it is kept, 0 for this one: only those are in a snapshot.
    pub(super) target: NodeId,
}

/// Whose snapshot it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) segment: u32,
    pub(super) nonce: u64,
    pub(super) end: u32,
}

impl What {
    /// By their numbers.
    const ALL: [What; 4] = [
        What::Record(Lifespan::Lasting),
        What::Record(Lifespan::Expiring),
        What::Record(Lifespan::Ended),
        What::Erasure,
    ];

    fn number(self) -> u8 {
        match self {
            What::Record(Lifespan::Lasting) => 0,
            What::Record(Lifespan::Expiring) => 1,
            What::Record(Lifespan::Ended) => 2,
            What::Erasure => 3,
        }
    }
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.end.to_le_bytes());
        bytes
    }
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        assert!(self.target == NodeId(0));
        let units = |bytes: u32| u64::from(bytes) / RECORD_ALIGN as u64;
        let word = u64::from(self.what.number()) << WHAT_SHIFT
            | u64::from(self.partition.0) << PARTITION_SHIFT
            | u64::from(self.is_twin) << TWIN_SHIFT
            | units(self.bytes) << LENGTH_SHIFT
            | units(self.offset);
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.order.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..].copy_from_slice(&word.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Entry {
        let word = u64_at(bytes, 16);
        let field = |shift: u32, bits: u32| word >> shift & ((1 << bits) - 1);
        Entry {
            what: What::ALL[(word >> WHAT_SHIFT) as usize],
            partition: Partition(field(PARTITION_SHIFT, PARTITION_BITS_MAX) as u16),
            order: u64_at(bytes, 0),
            version: u64_at(bytes, 8),
            offset: field(0, LENGTH_SHIFT) as u32 * RECORD_ALIGN as u32,
            bytes: field(LENGTH_SHIFT, TWIN_SHIFT - LENGTH_SHIFT) as u32 * RECORD_ALIGN as u32,
            is_twin: field(TWIN_SHIFT, 1) == 1,
            target: NodeId(0),
        }
    }
}

/// A snapshot being written, a part at a time.
#[derive(Debug)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
    /// Of the parts before `bytes`.
    offset: u64,
    checksum: u32,
    count: u32,
}

impl Encoder {
    pub(super) fn new(head: &Head) -> Encoder {
        Encoder { bytes: head.encode().to_vec(), offset: 0, checksum: 0, count: 0 }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        self.bytes.extend_from_slice(&entry.encode());
        self.count += 1;
    }

    /// Whether a part was taken.
    pub(super) fn is_begun(&self) -> bool {
        self.offset > 0
    }

    /// Bytes that wait to be taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The next part, and its offset. With `is_last` the end is in it.
    pub(super) fn take(&mut self, is_last: bool) -> (u64, Vec<u8>) {
        if is_last {
            self.bytes.extend_from_slice(&self.count.to_le_bytes());
        }
        self.checksum = Hardware::crc32c(self.checksum, &self.bytes);
        if is_last {
            self.bytes.extend_from_slice(&self.checksum.to_le_bytes());
        }
        let part = (self.offset, std::mem::take(&mut self.bytes));
        self.offset += part.1.len() as u64;
        part
    }
}

/// How many entries a snapshot of that many bytes holds.
pub(super) fn count(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(HEAD_BYTES) / ENTRY_BYTES
}

/// The entries of a snapshot, if it is a whole one with this head.
pub(super) fn entries<'a>(
    bytes: &'a [u8],
    head: &Head,
) -> Option<impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator + use<'a>> {
    let (rest, checksum) = bytes.split_last_chunk::<4>()?;
    let (body, count) = rest.split_last_chunk::<4>()?;
    let entries = body.strip_prefix(&head.encode())?;
    let count = u32::from_le_bytes(*count) as usize;
    if entries.len() != count.checked_mul(ENTRY_BYTES)?
        || Hardware::crc32c(0, rest) != u32::from_le_bytes(*checksum)
    {
        return None;
    }
    let entries = entries.chunks_exact(ENTRY_BYTES).map(Entry::decode);
    let ends = |entry: &Entry| u64::from(entry.offset) + u64::from(entry.bytes);
    entries.clone().all(|entry| ends(&entry) <= u64::from(head.end)).then_some(entries)
}

/// Whether these are the bytes of a whole snapshot of `segment`, whatever its nonce and end.
pub(super) fn is_whole(bytes: &[u8], segment: u32) -> bool {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return false };
    // The low half: the upper one is 0, as `entries` checks.
    let head = Head { segment, nonce: u64_at(head, 16), end: u64_at(head, 24) as u32 };
    entries(bytes, &head).is_some()
}

const MAGIC: &[u8; 8] = b"RINGMSNP";
const HEAD_BYTES: usize = 32;
const ENTRY_BYTES: usize = 24;

const LENGTH_SHIFT: u32 = 25;
const TWIN_SHIFT: u32 = 47;
const PARTITION_SHIFT: u32 = 48;
const WHAT_SHIFT: u32 = 62;

const _: () = assert!(SEGMENT_BYTES_MAX as usize / RECORD_ALIGN <= 1 << LENGTH_SHIFT);
const _: () = assert!(FRAME_BYTES_MAX / RECORD_ALIGN < 1 << (TWIN_SHIFT - LENGTH_SHIFT));
const _: () = assert!(PARTITION_SHIFT + PARTITION_BITS_MAX <= WHAT_SHIFT, "as the table says");
