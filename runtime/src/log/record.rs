//! What lies in a segment: records and batch headers, each a place part and a body as
//! [`ringmain_core::wire`] writes them down, padded with zeros to a multiple of eight. The body of
//! a record is the one that travelled, byte for byte.
//!
//! The log's own: flag 1 of a record's place part, the flags of a batch header's, and a batch
//! header's payload behind an empty key, all u64, little-endian.
//!
//! | offset | bytes | field | |
//! |---|---|---|---|
//! | 0 | 32 | place part | of kind batch; flags: 1 first of its segment, 2 clean stop |
//! | 32 | 8 | covered header | |
//! | 40 | 8 | synced | everything before this place was on disk when this was written |
//! | 48 | 8 | nonce | of the segment: no client can forge a batch header inside a value |
//! | 56 | 8 × n | list | of places, ascending; n may be 0 |
//!
//! A batch whose header would say what the one before it said has none, unless every batch is
//! synced (`always`).
//!
//! The list of a segment's first header is the *roster*: the end of each finished segment that is
//! part of the log. The list of any other names segments that are no part of it any more. So the
//! newest begun segment tells which files are the log, and what is missing is noticed.
//!
//! Flag 1 of a record or an erasure: when it was appended, another key with the same order was in
//! the index. The payload of an erasure is a place, u64: records of its key before that place are
//! no part of the log any more.

use ringmain_core::causality::Record;
use ringmain_core::hash::Key;
use ringmain_core::id::NodeId;
use ringmain_core::records::{Place, Stored, Unread};
use ringmain_core::wire::body::{Body, body_bytes, write_body};
use ringmain_core::wire::place::{PLACE_BYTES, PlaceKind, PlacePart};
use ringmain_core::wire::{COVERED_BYTES, PLACE_MAGIC};

use super::limits::RECORD_ALIGN;
use crate::checksum::Hardware;

/// Bytes of a batch header that lists nothing.
pub const BATCH_HEADER_BYTES: usize = NONCE + 8;
/// The first byte of every frame in the log, to search for.
pub(super) const FRAME_FIRST_BYTE: u8 = PLACE_MAGIC.to_le_bytes()[0];

/// A whole record or batch header: place part and body, without padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    part: PlacePart,
    body: Body<'a>,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Views what lies at `place` in `bytes`, which begin there and may go on behind it.
    /// Checks the place part, but not the body's checksum; `None` if the bytes are none or too
    /// few.
    pub(super) fn new_checked(bytes: &'a [u8], place: Place) -> Option<Frame<'a>> {
        Frame::behind(part_at(bytes, place)?, bytes)
    }

    /// As [`Frame::new_checked`], of bytes whose place part was checked already.
    pub(super) fn behind(part: PlacePart, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let bytes = bytes.get(..part.record_bytes())?;
        let body = Body::without_checksum(&bytes[PLACE_BYTES..]).ok()?;
        Some(Frame { part, body, bytes })
    }

    /// Whether the body's checksum holds. Cost: one pass over it.
    pub(super) fn is_intact(&self) -> bool {
        Body::new_checked::<Hardware>(self.body.bytes()).is_ok()
    }

    /// Place part and body.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What kind of frame it is.
    pub(super) fn kind(&self) -> PlaceKind {
        self.part.kind
    }

    /// The body.
    pub(super) fn body(&self) -> Body<'a> {
        self.body
    }

    /// The key of a record.
    pub(super) fn key(&self) -> &'a [u8] {
        self.body.key()
    }

    /// The record of a record frame.
    pub(super) fn stored(&self) -> Result<Stored<'a>, Unread> {
        if matches!(self.part.kind, PlaceKind::Batch | PlaceKind::Erasure) {
            return Err(Unread::Damaged);
        }
        let record = Record::new_checked(self.body.payload()).map_err(|_| Unread::Damaged)?;
        let mine = self.part.mine;
        if mine.is_some_and(|index| usize::from(index) >= record.version_vector().len()) {
            return Err(Unread::Damaged);
        }
        Ok(Stored { record, mine, place: self.place() })
    }

    /// The place before which an erasure erases; `None` if it is none.
    pub(super) fn erases_before(&self) -> Option<Place> {
        let is_erasure = self.part.kind == PlaceKind::Erasure;
        let payload = self.body.payload();
        (is_erasure && payload.len() == LISTED_BYTES).then(|| Place(u64_at(payload, 0)))
    }

    /// Whether another key of the same order was there when this record was appended.
    pub(super) fn is_twin(&self) -> bool {
        self.part.flags & FLAG_TWIN != 0
    }

    /// Where it lies.
    pub(super) fn place(&self) -> Place {
        Place::new(self.part.segment, self.part.offset as u32)
    }

    /// Bytes that it takes in the log.
    pub(super) fn padded_bytes(&self) -> usize {
        padded_bytes(self.body.bytes().len())
    }

    /// The node for which it is kept; 0 of the own copy.
    pub(super) fn target(&self) -> NodeId {
        self.part.target
    }

    /// The node's own actor, as [`Stored::mine`].
    pub(super) fn mine(&self) -> Option<u16> {
        self.part.mine
    }

    /// The batch header that this frame is, if it is an intact one of the segment with `nonce`.
    pub(super) fn batch_header(&self, nonce: u64) -> Option<BatchHeader<'a>> {
        let is_batch = self.part.kind == PlaceKind::Batch;
        let list = self.bytes.get(BATCH_HEADER_BYTES..)?;
        if !is_batch || !list.len().is_multiple_of(LISTED_BYTES) || !self.is_intact() {
            return None;
        }
        let header = BatchHeader {
            synced: Place(u64_at(self.bytes, SYNCED)),
            nonce: u64_at(self.bytes, NONCE),
            is_first: self.part.flags & FLAG_FIRST != 0,
            is_stop: self.part.flags & FLAG_STOP != 0,
            list,
        };
        (header.nonce == nonce).then_some(header)
    }
}

/// What opens every batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BatchHeader<'a> {
    /// Everything before this place was on disk when the batch was written.
    pub(super) synced: Place,
    /// Of the segment.
    pub(super) nonce: u64,
    /// It opens its segment: the list is the roster.
    pub(super) is_first: bool,
    /// A clean stop wrote it, after everything else.
    pub(super) is_stop: bool,
    /// Encoded places.
    list: &'a [u8],
}

impl<'a> BatchHeader<'a> {
    /// Bytes of a header that lists `count` places.
    pub(super) fn bytes(count: usize) -> usize {
        BATCH_HEADER_BYTES + count * LISTED_BYTES
    }

    /// The roster, or the segments that left the log.
    pub(super) fn list(&self) -> impl Iterator<Item = Place> + 'a {
        self.list.chunks_exact(LISTED_BYTES).map(|bytes| Place(u64_at(bytes, 0)))
    }
}

/// Writes a batch header, as it is at `place`, into the first bytes of `out`: exactly
/// [`BatchHeader::bytes`] of it.
pub(super) fn write_batch_header(
    place: Place,
    (synced, nonce): (Place, u64),
    (is_first, is_stop): (bool, bool),
    list: &[Place],
    out: &mut [u8],
) {
    assert!(out.len() == BatchHeader::bytes(list.len()));
    let (part, body) = out.split_at_mut(PLACE_BYTES);
    let checksum = write_body::<Hardware>(&[], body, |payload| {
        payload[..8].copy_from_slice(&synced.0.to_le_bytes());
        payload[8..16].copy_from_slice(&nonce.to_le_bytes());
        for (bytes, place) in payload[16..].chunks_exact_mut(LISTED_BYTES).zip(list) {
            bytes.copy_from_slice(&place.0.to_le_bytes());
        }
    });
    let first = if is_first { FLAG_FIRST } else { 0 };
    let stop = if is_stop { FLAG_STOP } else { 0 };
    let kind = PlaceKind::Batch;
    stamp(part, (kind, NodeId(0)), place, body.len(), None, first | stop, checksum);
}

/// Writes the place part of a record, kept for `target` (0 for this node itself), whose body has
/// this length and checksum, into `out`.
pub(super) fn stamp_record(
    out: &mut [u8],
    place: Place,
    body_bytes: usize,
    (mine, is_twin, target): (Option<u16>, bool, NodeId),
    checksum: u32,
) {
    let flags = if is_twin { FLAG_TWIN } else { 0 };
    let kind = if target == NodeId(0) { PlaceKind::Record } else { PlaceKind::Hint };
    stamp(out, (kind, target), place, body_bytes, mine, flags, checksum);
}

/// Writes an erasure of what `key` had before the place `before`, as it is at `place`, into `out`:
/// exactly [`erasure_bytes`] of it.
pub(super) fn write_erasure(
    out: &mut [u8],
    place: Place,
    key: &Key<'_>,
    before: Place,
    is_twin: bool,
) {
    let body_bytes = body_bytes(key.bytes.len(), LISTED_BYTES);
    let (part, rest) = out.split_at_mut(PLACE_BYTES);
    let (body, padding) = rest.split_at_mut(body_bytes);
    let checksum = write_body::<Hardware>(key.bytes, body, |payload| {
        payload.copy_from_slice(&before.0.to_le_bytes());
    });
    padding.fill(0);
    let flags = if is_twin { FLAG_TWIN } else { 0 };
    let kind = PlaceKind::Erasure;
    stamp(part, (kind, key.target), place, body_bytes, None, flags, checksum);
}

/// Bytes that an erasure of `key` takes in the log.
pub(super) fn erasure_bytes(key: &Key<'_>) -> usize {
    padded_bytes(body_bytes(key.bytes.len(), LISTED_BYTES))
}

/// The place part of what lies at `place`, if `bytes` begin with it and the body's checksum.
pub(super) fn part_at(bytes: &[u8], place: Place) -> Option<PlacePart> {
    let offset = u64::from(place.offset());
    PlacePart::new_checked::<Hardware>(bytes, place.segment(), offset).ok()
}

/// Bytes that a record takes in the log: place part, body, padding.
pub(super) fn padded_bytes(body: usize) -> usize {
    (PLACE_BYTES + body).next_multiple_of(RECORD_ALIGN)
}

/// The place `bytes` behind `place` in the same segment.
pub(super) fn after(place: Place, bytes: usize) -> Place {
    debug_assert!(place.offset() as usize + bytes <= u32::MAX as usize);
    Place(place.0 + bytes as u64)
}

fn stamp(
    out: &mut [u8],
    (kind, target): (PlaceKind, NodeId),
    place: Place,
    body_bytes: usize,
    mine: Option<u16>,
    flags: u16,
    checksum: u32,
) {
    let (segment, offset) = (place.segment(), u64::from(place.offset()));
    let body_bytes = body_bytes as u32;
    let part = PlacePart { kind, body_bytes, segment, offset, mine, flags, target };
    part.stamp::<Hardware>(checksum, out);
}

/// Reads the u64 at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Flag of a record whose order another key had too.
const FLAG_TWIN: u16 = 1;
/// Flag of the batch header that opens a segment.
const FLAG_FIRST: u16 = 1;
/// Flag of the batch header that a clean stop writes last.
const FLAG_STOP: u16 = 2;

const SYNCED: usize = PLACE_BYTES + COVERED_BYTES;
const NONCE: usize = SYNCED + 8;
/// Bytes of a listed place.
pub(super) const LISTED_BYTES: usize = 8;

const _: () = assert!(BATCH_HEADER_BYTES == 56, "as the table says");
const _: () = assert!(BATCH_HEADER_BYTES == PLACE_BYTES + body_bytes(0, 16));
