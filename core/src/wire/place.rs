//! Place parts: what the log writes in front of a body, so that a record names its own place.
//!
//! Stale bytes (of a recycled block, a misdirected write) may be a sound record, but not of
//! this place; the guard binds place and body's CRC together, so that the first 36 bytes can be
//! trusted before the body is read. [`Body::new_checked`](super::body::Body::new_checked) on
//! the bytes behind then proves the rest.

use core::error::Error;
use core::fmt;

use super::layout;
use super::{COVERED_BYTES, FIRST_BYTES, PLACE_MAGIC, PLACE_VERSION};
use crate::checksum::Checksum;
use crate::id::NodeId;
use crate::limits::BODY_BYTES_MAX;

/// Length of a place part, bytes.
pub const PLACE_BYTES: usize = FIRST_BYTES;
/// How many bytes [`PlacePart::new_checked`] needs: the place part and the body's CRC.
pub const PLACE_CHECKED_BYTES: usize = PLACE_BYTES + 4;

codes! {
    /// What a log record is.
    pub enum PlaceKind {
        /// A key and its Record v1.
        Record = 1,
        /// The begin of a batch; the log defines its payload.
        Batch = 2,
        /// A key and its Record v1, kept for another node.
        Hint = 3,
        /// A key whose records before a place are no part of the log any more; the log defines
        /// its payload.
        Erasure = 4,
    }
}

/// The place part of a log record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlacePart {
    /// What the record is.
    pub kind: PlaceKind,
    /// Length of its body: `COVERED_BYTES..=BODY_BYTES_MAX`.
    pub body_bytes: u32,
    /// The segment that it stands in.
    pub segment: u32,
    /// Where its place part begins in the segment, bytes.
    pub offset: u64,
    /// Index of the local actor in the record's version vector, below `u16::MAX`; `None` if
    /// this node may not extend one.
    pub mine: Option<u16>,
    /// The log's.
    pub flags: u16,
    /// The node for which a hint is kept, or for which what is erased was; else 0.
    pub target: NodeId,
}

/// Why bytes are not the place part of the record at this place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlaceError {
    /// Fewer than [`PLACE_CHECKED_BYTES`].
    Truncated,
    /// They do not begin like a log record.
    BadMagic,
    /// The guard does not match: damaged, or not written whole.
    BadGuard,
    /// Sound, but of a version other than [`PLACE_VERSION`].
    UnknownVersion(u8),
    /// Sound, but written for another place.
    Elsewhere,
    /// Sound, but no [`PlaceKind`], a body length out of bounds, a hint for no node, or a target of
    /// what has none.
    Malformed,
}

impl PlacePart {
    /// Writes the place part of a body with the given CRC.
    ///
    /// # Panics
    /// If `out` is not [`PLACE_BYTES`] long, the body's length is out of bounds, `mine` is
    /// `u16::MAX`, a hint has no target, or a record or batch has one.
    pub fn stamp<C: Checksum>(&self, body_crc32c: u32, out: &mut [u8]) {
        assert!(out.len() == PLACE_BYTES);
        assert!(self.body_bytes as usize >= COVERED_BYTES);
        assert!(self.body_bytes as usize <= BODY_BYTES_MAX);
        assert!(self.mine != Some(u16::MAX));
        assert!(self.kind.takes(self.target));
        let place = layout::Place {
            magic: PLACE_MAGIC.into(),
            version: PLACE_VERSION,
            kind: self.kind.number(),
            body: self.body_bytes.into(),
            segment: self.segment.into(),
            mine: self.mine.map_or(0, |index| index + 1).into(),
            flags: self.flags.into(),
            offset: self.offset.into(),
            guard: 0.into(),
            target: self.target.0.into(),
        };
        layout::put(&place, out);
        let guard = guard::<C>(&place, out, &body_crc32c.to_le_bytes());
        out[GUARD].copy_from_slice(&guard.to_le_bytes());
    }

    /// Checks the first [`PLACE_CHECKED_BYTES`] of `bytes` as the record at `offset` of
    /// `segment`. The guard comes before the version: a flipped bit is damage, not a newer
    /// Ringmain. Later versions keep magic, version and guard where they are.
    pub fn new_checked<C: Checksum>(
        bytes: &[u8],
        segment: u32,
        offset: u64,
    ) -> Result<PlacePart, PlaceError> {
        let (place, rest) =
            layout::split::<layout::Place>(bytes).map_err(|_| PlaceError::Truncated)?;
        let body_crc32c: &[u8; 4] = rest.first_chunk().ok_or(PlaceError::Truncated)?;
        if place.magic.get() != PLACE_MAGIC {
            return Err(PlaceError::BadMagic);
        }
        if place.guard.get() != guard::<C>(place, bytes, body_crc32c) {
            return Err(PlaceError::BadGuard);
        }
        if place.version != PLACE_VERSION {
            return Err(PlaceError::UnknownVersion(place.version));
        }
        if place.segment.get() != segment || place.offset.get() != offset {
            return Err(PlaceError::Elsewhere);
        }
        let kind = PlaceKind::from_number(place.kind).ok_or(PlaceError::Malformed)?;
        let body_bytes = place.body.get();
        if !(COVERED_BYTES..=BODY_BYTES_MAX).contains(&(body_bytes as usize)) {
            return Err(PlaceError::Malformed);
        }
        let target = NodeId(place.target.get());
        if !kind.takes(target) {
            return Err(PlaceError::Malformed);
        }
        let mine = place.mine.get().checked_sub(1);
        let flags = place.flags.get();
        Ok(PlacePart { kind, body_bytes, segment, offset, mine, flags, target })
    }

    /// Length of the whole record, bytes.
    pub fn record_bytes(&self) -> usize {
        PLACE_BYTES + self.body_bytes as usize
    }
}

impl PlaceKind {
    /// Whether a record of this kind may have that target.
    fn takes(self, target: NodeId) -> bool {
        match self {
            PlaceKind::Record | PlaceKind::Batch => target == NodeId(0),
            PlaceKind::Hint => target != NodeId(0),
            PlaceKind::Erasure => true,
        }
    }
}

/// Where the guard stands; it covers what is before it, and the target of what may have one.
const GUARD: core::ops::Range<usize> = 24..28;
const _: () = assert!(core::mem::offset_of!(layout::Place, guard) == GUARD.start);

/// The guard of a place part that begins `bytes`.
fn guard<C: Checksum>(place: &layout::Place, bytes: &[u8], body_crc32c: &[u8; 4]) -> u32 {
    let guard = C::crc32c(C::crc32c(0, &bytes[..GUARD.start]), body_crc32c);
    let may_have_target =
        [PlaceKind::Hint.number(), PlaceKind::Erasure.number()].contains(&place.kind);
    if may_have_target { C::crc32c(guard, &place.target.get().to_le_bytes()) } else { guard }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::Truncated => f.write_str("the log record is cut short"),
            PlaceError::BadMagic => f.write_str("not a log record"),
            PlaceError::BadGuard => f.write_str("the guard does not match"),
            PlaceError::UnknownVersion(version) => {
                write!(f, "unknown log record version {version}")
            }
            PlaceError::Elsewhere => f.write_str("the log record is of another place"),
            PlaceError::Malformed => f.write_str("the log record is malformed"),
        }
    }
}

impl Error for PlaceError {}
