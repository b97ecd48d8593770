//! What lies in a segment: records and batch headers, each a place part and a body as
//! [`ringmain_core::wire`] writes them down, padded with zeros to a multiple of eight. The body of
//! a record is the one that travelled, byte for byte.
//!
//! The log's own: the flags of a batch header's place part, and its payload behind an empty key,
//! three u64, little-endian.
//!
//! | offset | bytes | field | |
//! |---|---|---|---|
//! | 0 | 32 | place part | of kind batch; flags: 1 first of its segment, 2 clean stop |
//! | 32 | 8 | covered header | |
//! | 40 | 8 | synced | everything before this place was on disk when this was written |
//! | 48 | 8 | nonce | of the segment: no client can forge a batch header inside a value |
//! | 56 | 8 | previous | if first: where the segment before it ends, 0 = there is none; else 0 |

use ringmain_core::causality::Record;
use ringmain_core::records::{Place, Stored, Unread};
use ringmain_core::wire::body::{Body, body_bytes, write_body};
use ringmain_core::wire::place::{PLACE_BYTES, PlaceKind, PlacePart};
use ringmain_core::wire::{COVERED_BYTES, PLACE_MAGIC};

use super::limits::RECORD_ALIGN;
use crate::checksum::Hardware;

/// Bytes of a whole batch header.
pub const BATCH_HEADER_BYTES: usize = PREVIOUS + 8;
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
        if self.part.kind != PlaceKind::Record {
            return Err(Unread::Damaged);
        }
        let record = Record::new_checked(self.body.payload()).map_err(|_| Unread::Damaged)?;
        let mine = self.part.mine;
        if mine.is_some_and(|index| usize::from(index) >= record.version_vector().len()) {
            return Err(Unread::Damaged);
        }
        let place = Place::new(self.part.segment, self.part.offset as u32);
        Ok(Stored { record, mine, place })
    }

    /// The batch header that this frame is, if it is an intact one of the segment with `nonce`.
    pub(super) fn batch_header(&self, nonce: u64) -> Option<BatchHeader> {
        let is_batch = self.part.kind == PlaceKind::Batch;
        if !is_batch || self.bytes.len() != BATCH_HEADER_BYTES || !self.is_intact() {
            return None;
        }
        let is_first = self.part.flags & FLAG_FIRST != 0;
        let header = BatchHeader {
            synced: Place(u64_at(self.bytes, SYNCED)),
            nonce: u64_at(self.bytes, NONCE),
            previous: is_first.then(|| Place(u64_at(self.bytes, PREVIOUS))),
            is_stop: self.part.flags & FLAG_STOP != 0,
        };
        (header.nonce == nonce).then_some(header)
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
    /// Writes this header, as it is at `place`, into [`BATCH_HEADER_BYTES`] bytes.
    pub(super) fn encode(&self, place: Place, out: &mut [u8]) {
        assert!(out.len() == BATCH_HEADER_BYTES);
        let (part, body) = out.split_at_mut(PLACE_BYTES);
        let previous = self.previous.unwrap_or_default();
        let checksum = write_body::<Hardware>(&[], body, |payload| {
            payload[..8].copy_from_slice(&self.synced.0.to_le_bytes());
            payload[8..16].copy_from_slice(&self.nonce.to_le_bytes());
            payload[16..].copy_from_slice(&previous.0.to_le_bytes());
        });
        let first = if self.previous.is_some() { FLAG_FIRST } else { 0 };
        let stop = if self.is_stop { FLAG_STOP } else { 0 };
        let kind = PlaceKind::Batch;
        stamp(part, kind, place, body.len(), None, first | stop, checksum);
    }
}

/// Writes the place part of a record, whose body has this length and checksum, into `out`.
pub(super) fn stamp_record(
    out: &mut [u8],
    place: Place,
    body_bytes: usize,
    mine: Option<u16>,
    checksum: u32,
) {
    stamp(out, PlaceKind::Record, place, body_bytes, mine, 0, checksum);
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
    kind: PlaceKind,
    place: Place,
    body_bytes: usize,
    mine: Option<u16>,
    flags: u16,
    checksum: u32,
) {
    let (segment, offset) = (place.segment(), u64::from(place.offset()));
    let body_bytes = body_bytes as u32;
    PlacePart { kind, body_bytes, segment, offset, mine, flags }.stamp::<Hardware>(checksum, out);
}

/// Reads the u64 at `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Flag of the batch header that opens a segment.
const FLAG_FIRST: u16 = 1;
/// Flag of the batch header that a clean stop writes last.
const FLAG_STOP: u16 = 2;

const SYNCED: usize = PLACE_BYTES + COVERED_BYTES;
const NONCE: usize = SYNCED + 8;
const PREVIOUS: usize = NONCE + 8;

const _: () = assert!(BATCH_HEADER_BYTES == 64, "as the table says");
const _: () = assert!(BATCH_HEADER_BYTES == PLACE_BYTES + body_bytes(0, 24));
