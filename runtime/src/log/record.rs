//! What lies in a segment, byte by byte. A place part of 32 bytes, then a body whose first eight
//! bytes cover the rest; the body of a record is the one that travelled, byte for byte.
//!
//! | offset | bytes | field | |
//! |---|---|---|---|
//! | 0 | 2 | magic | `RL` |
//! | 2 | 1 | version | 1 |
//! | 3 | 1 | kind | 1 record, 2 batch header |
//! | 4 | 4 | body | bytes behind the place part |
//! | 8 | 4 | segment | the place itself, so that bytes at another place fail |
//! | 12 | 2 | mine | 0 none, else the version vector entry that may be extended, + 1 |
//! | 14 | 2 | flags | of a batch header: 1 first of its segment, 2 clean stop |
//! | 16 | 8 | offset | |
//! | 24 | 4 | guard | CRC32C over bytes 0..24 and the body's checksum |
//! | 28 | 4 | reserved | 0 |
//! | 32 | 4 | checksum | CRC32C over the rest of the body |
//! | 36 | 2 | key bytes | |
//! | 38 | 2 | reserved | 0 |
//! | 40 | | key, then payload | Record v1; or, of a batch header, three u64: |
//! | 40 | 8 | synced | everything before this place was on disk when this was written |
//! | 48 | 8 | nonce | of the segment: no client can forge a batch header inside a value |
//! | 56 | 8 | previous | if first: where the segment before it ends, 0 if there is none |
//!
//! All little-endian. What follows is padded with zeros to a multiple of eight.

use ringmain_core::limits::BODY_BYTES_MAX;

use super::limits::RECORD_ALIGN;
use super::seam::{Place, Record, Stored, Unread};
use crate::checksum::crc32c;

/// Bytes of the place part.
pub const PLACE_PART_BYTES: usize = RESERVED + 4;
/// Bytes of the covered header that opens every body.
pub const COVERED_HEADER_BYTES: usize = 8;
/// Bytes of a whole batch header.
pub const BATCH_HEADER_BYTES: usize = PREVIOUS + 8;

/// Kind of a key's record.
pub(super) const KIND_RECORD: u8 = 1;
/// Kind of a batch header.
pub(super) const KIND_BATCH: u8 = 2;
/// Flag of the batch header that opens a segment.
pub(super) const FLAG_FIRST: u16 = 1;
/// Flag of the batch header that a clean stop writes last.
pub(super) const FLAG_STOP: u16 = 2;

/// The place part, decoded; its place was that of the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct PlacePart {
    pub(super) kind: u8,
    /// Bytes of the body.
    pub(super) body: u32,
    pub(super) mine: u16,
    pub(super) flags: u16,
}

impl PlacePart {
    /// Reads the place part of what lies at `place`; `None` if none does.
    pub(super) fn new_checked(bytes: &[u8], place: Place) -> Option<PlacePart> {
        let bytes = bytes.first_chunk::<PLACE_PART_BYTES>()?;
        let part = PlacePart {
            kind: bytes[KIND],
            body: u32_at(bytes, BODY),
            mine: u16_at(bytes, MINE),
            flags: u16_at(bytes, FLAGS),
        };
        let is_here = u16_at(bytes, MAGIC) == MAGIC_VALUE
            && bytes[VERSION] == VERSION_VALUE
            && u32_at(bytes, SEGMENT) == place.segment()
            && u64_at(bytes, OFFSET) == u64::from(place.offset())
            && u32_at(bytes, RESERVED) == 0
            && part.body as usize >= COVERED_HEADER_BYTES
            && part.body as usize <= BODY_BYTES_MAX;
        is_here.then_some(part)
    }

    /// The bytes of this part at `place`, guarding a body with this checksum.
    pub(super) fn encode(&self, place: Place, checksum: u32) -> [u8; PLACE_PART_BYTES] {
        let mut bytes = [0; PLACE_PART_BYTES];
        bytes[MAGIC..VERSION].copy_from_slice(&MAGIC_VALUE.to_le_bytes());
        bytes[VERSION] = VERSION_VALUE;
        bytes[KIND] = self.kind;
        bytes[BODY..SEGMENT].copy_from_slice(&self.body.to_le_bytes());
        bytes[SEGMENT..MINE].copy_from_slice(&place.segment().to_le_bytes());
        bytes[MINE..FLAGS].copy_from_slice(&self.mine.to_le_bytes());
        bytes[FLAGS..OFFSET].copy_from_slice(&self.flags.to_le_bytes());
        bytes[OFFSET..GUARD].copy_from_slice(&u64::from(place.offset()).to_le_bytes());
        let guard = guard(&bytes, checksum);
        bytes[GUARD..RESERVED].copy_from_slice(&guard.to_le_bytes());
        bytes
    }

    /// Bytes of place part and body.
    pub(super) fn frame_bytes(&self) -> usize {
        PLACE_PART_BYTES + self.body as usize
    }
}

/// A whole record or batch header: place part and body, without padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    part: PlacePart,
    key_bytes: usize,
    bytes: &'a [u8],
    place: Place,
}

impl<'a> Frame<'a> {
    /// Views what lies at `place` in `bytes`, which begin there and may go on behind it.
    /// Checks every length but no checksum; `None` if the bytes are none or too few.
    pub(super) fn new_checked(bytes: &'a [u8], place: Place) -> Option<Frame<'a>> {
        let part = PlacePart::new_checked(bytes, place)?;
        let bytes = bytes.get(..part.frame_bytes())?;
        let key_bytes = usize::from(u16_at(bytes, KEY_BYTES));
        let fits = KEY + key_bytes <= bytes.len() && u16_at(bytes, COVERED_RESERVED) == 0;
        fits.then_some(Frame { part, key_bytes, bytes, place })
    }

    /// Whether checksum and guard hold. Cost: one pass over the body.
    pub(super) fn is_intact(&self) -> bool {
        let checksum = u32_at(self.bytes, CHECKSUM);
        checksum == crc32c(0, &self.bytes[KEY_BYTES..])
            && u32_at(self.bytes, GUARD) == guard(self.bytes, checksum)
    }

    /// Place part and body.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What kind of frame it is.
    pub(super) fn kind(&self) -> u8 {
        self.part.kind
    }

    /// The key of a record.
    pub(super) fn key(&self) -> &'a [u8] {
        &self.bytes[KEY..KEY + self.key_bytes]
    }

    /// The record of a record frame.
    pub(super) fn stored(&self) -> Result<Stored<'a>, Unread> {
        if self.part.kind != KIND_RECORD {
            return Err(Unread::Damaged);
        }
        let record = Record::new_checked(&self.bytes[KEY + self.key_bytes..]);
        let record = record.map_err(|_| Unread::Damaged)?;
        Ok(Stored { record, mine: self.part.mine.checked_sub(1), place: self.place })
    }

    /// The batch header that this frame is, if it is an intact one of the segment with `nonce`.
    pub(super) fn batch_header(&self, nonce: u64) -> Option<BatchHeader> {
        let is_header = self.part.kind == KIND_BATCH
            && self.bytes.len() == BATCH_HEADER_BYTES
            && self.is_intact();
        if !is_header || u64_at(self.bytes, NONCE) != nonce {
            return None;
        }
        Some(BatchHeader {
            synced: Place(u64_at(self.bytes, SYNCED)),
            nonce,
            previous: (self.part.flags & FLAG_FIRST != 0)
                .then(|| Place(u64_at(self.bytes, PREVIOUS))),
            is_stop: self.part.flags & FLAG_STOP != 0,
        })
    }
}

/// What opens every batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BatchHeader {
    /// Everything before this place was on disk when the batch was written.
    pub(super) synced: Place,
    /// Of the segment.
    pub(super) nonce: u64,
    /// Of the first batch of a segment: the end of the segment before it, place 0 if none.
    pub(super) previous: Option<Place>,
    /// A clean stop wrote it, after everything else.
    pub(super) is_stop: bool,
}

impl BatchHeader {
    /// The bytes of this header at `place`.
    pub(super) fn encode(&self, place: Place) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[SYNCED..NONCE].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes[NONCE..PREVIOUS].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[PREVIOUS..].copy_from_slice(&self.previous.unwrap_or_default().0.to_le_bytes());
        let checksum = write_checksum(&mut bytes[PLACE_PART_BYTES..]);
        let first = if self.previous.is_some() { FLAG_FIRST } else { 0 };
        let stop = if self.is_stop { FLAG_STOP } else { 0 };
        let body = (BATCH_HEADER_BYTES - PLACE_PART_BYTES) as u32;
        let part = PlacePart { kind: KIND_BATCH, body, mine: 0, flags: first | stop };
        bytes[..PLACE_PART_BYTES].copy_from_slice(&part.encode(place, checksum));
        bytes
    }
}

impl Place {
    /// The place of `offset` in `segment`.
    pub fn new(segment: u32, offset: u32) -> Place {
        Place(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment; 0 is none.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The offset in the segment, bytes.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }

    /// The place `bytes` further on in the same segment.
    pub(super) fn after(self, bytes: usize) -> Place {
        debug_assert!(self.offset() as usize + bytes <= u32::MAX as usize);
        Place(self.0 + bytes as u64)
    }
}

/// Bytes that a record takes in the log: place part, body, padding.
pub(super) fn padded_bytes(body: usize) -> usize {
    (PLACE_PART_BYTES + body).next_multiple_of(RECORD_ALIGN)
}

/// Writes the covered header of a body but for its checksum, and the key.
pub(super) fn write_body_start(body: &mut [u8], key: &[u8]) {
    let key_bytes = key.len() as u16;
    let at = KEY_BYTES - PLACE_PART_BYTES;
    body[at..at + 2].copy_from_slice(&key_bytes.to_le_bytes());
    body[at + 2..at + 4].fill(0);
    body[COVERED_HEADER_BYTES..COVERED_HEADER_BYTES + key.len()].copy_from_slice(key);
}

/// Computes the checksum of a body, writes it into its place and returns it.
pub(super) fn write_checksum(body: &mut [u8]) -> u32 {
    let checksum = crc32c(0, &body[KEY_BYTES - PLACE_PART_BYTES..]);
    body[..4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// The checksum that a body carries, and its key; `None` if it is too short for what it says.
pub(super) fn body_start(body: &[u8]) -> Option<(u32, &[u8])> {
    let header = body.first_chunk::<COVERED_HEADER_BYTES>()?;
    let key_bytes = usize::from(u16_at(header, KEY_BYTES - PLACE_PART_BYTES));
    let key = body.get(COVERED_HEADER_BYTES..COVERED_HEADER_BYTES + key_bytes)?;
    Some((u32_at(header, 0), key))
}

fn guard(place_part: &[u8], checksum: u32) -> u32 {
    crc32c(crc32c(0, &place_part[..GUARD]), &checksum.to_le_bytes())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

const MAGIC_VALUE: u16 = u16::from_le_bytes(*b"RL");
const VERSION_VALUE: u8 = 1;

const MAGIC: usize = 0;
const VERSION: usize = MAGIC + 2;
const KIND: usize = VERSION + 1;
const BODY: usize = KIND + 1;
const SEGMENT: usize = BODY + 4;
const MINE: usize = SEGMENT + 4;
const FLAGS: usize = MINE + 2;
const OFFSET: usize = FLAGS + 2;
const GUARD: usize = OFFSET + 8;
const RESERVED: usize = GUARD + 4;
const CHECKSUM: usize = RESERVED + 4;
const KEY_BYTES: usize = CHECKSUM + 4;
const COVERED_RESERVED: usize = KEY_BYTES + 2;
const KEY: usize = COVERED_RESERVED + 2;
const SYNCED: usize = KEY;
const NONCE: usize = SYNCED + 8;
const PREVIOUS: usize = NONCE + 8;

const _: () = assert!(PLACE_PART_BYTES == 32, "as the table says");
const _: () = assert!(KEY == PLACE_PART_BYTES + COVERED_HEADER_BYTES);
const _: () = assert!(BATCH_HEADER_BYTES == 64, "as the table says");
