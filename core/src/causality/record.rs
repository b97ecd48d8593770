//! All that a node knows of one key: its siblings, and the writes it has ever seen. The same
//! bytes in frames and in the log, read in place:
//!
//! ```text
//! 01 | varint entries | entries × 16 bytes, ascending | varint siblings | siblings, ascending
//!
//! sibling: flags u8 | varint entry index | varint number | timestamp u64 LE, Unix ms |
//!          [expires u64 LE, Unix ms: if EXPIRES] | varint value length | value
//! ```
//! A sibling's actor is always an entry (V1), so its dot is an index and a number. A record has
//! one byte form: varints are the shortest, a tombstone has neither value nor expiry, nothing
//! follows. There is no checksum: the frame or log record around it has one.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::dot::Dot;
use super::live::Live;
use super::varint;
use super::version_vector::VersionVector;
use crate::hash::Key;
use crate::time::UnixMs;

/// Sibling flag: the write was a delete.
pub const TOMBSTONE: u8 = 1;
/// Sibling flag: an expiry follows the timestamp.
pub const EXPIRES: u8 = 2;
/// Most siblings that the encoding carries; what client writes may leave is far lower
/// ([`limits::SIBLING_COUNT_MAX`](crate::limits::SIBLING_COUNT_MAX)).
pub const SIBLING_COUNT_ENCODED_MAX: usize = u16::MAX as usize;

/// One surviving write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sibling<'a> {
    /// Its name.
    pub dot: Dot,
    /// [`TOMBSTONE`], [`EXPIRES`], or 0; never both.
    pub flags: u8,
    /// The coordinator's clock when it was written. For display and for picking one value where a
    /// command wants one; never for safety.
    pub timestamp: UnixMs,
    /// When a read begins to treat it as a tombstone; `None`: never.
    pub expires: Option<UnixMs>,
    /// The value; empty for a tombstone.
    pub value: &'a [u8],
}

impl Sibling<'_> {
    /// Whether the write was a delete.
    pub fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    /// Whether a read at `now` sees a value: no tombstone, and not expired.
    pub fn is_live(&self, now: UnixMs) -> bool {
        !self.is_tombstone() && self.expires.is_none_or(|expires| expires > now)
    }
}

/// The bytes are not a record, or not in their one form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedRecord;

/// A checked view of Record v1 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    version_vector: VersionVector<'a>,
    siblings: &'a [u8],
    sibling_count: u16,
}

impl<'a> Record<'a> {
    /// Checks bytes from outside: the layout above, V1 and V4. Cost: one pass over entries and
    /// sibling heads, values are not touched.
    ///
    /// # Errors
    /// [`MalformedRecord`] for everything else, also for a correct record with bytes behind it.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Record<'a>, MalformedRecord> {
        Record::parse(bytes).ok_or(MalformedRecord)
    }

    /// Nothing seen, nothing there.
    pub fn empty() -> Record<'static> {
        Record {
            bytes: &[VERSION, 0, 0],
            version_vector: VersionVector::EMPTY,
            siblings: &[],
            sibling_count: 0,
        }
    }

    /// The Record v1 bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// All writes that this record has seen: also the context of a read.
    pub fn version_vector(self) -> VersionVector<'a> {
        self.version_vector
    }

    /// The siblings, tombstones too, ascending by dot.
    pub fn siblings(self) -> Siblings<'a> {
        Siblings { version_vector: self.version_vector, bytes: self.siblings }
    }

    /// Siblings, tombstones too.
    pub fn sibling_count(self) -> usize {
        usize::from(self.sibling_count)
    }

    /// The record as a read at `now` sees it.
    #[inline]
    pub fn live(self, now: UnixMs) -> Live<'a> {
        Live::new(self, now)
    }

    /// What Merkle leaves sum up: a hash of the key and of the sorted sibling dots. Equal
    /// siblings imply equal histories, so the version vector is left out and may be compacted
    /// without a difference to be repaired. 0 for a record without siblings, and only for that.
    pub fn version(self, key: &Key<'_>) -> u64 {
        const DOTS_AT_ONCE: usize = 7;
        if self.sibling_count == 0 {
            return 0;
        }
        if self.sibling_count == 1 {
            return self.version_of_one(key);
        }
        let mut buffer = [0; 16 * (1 + DOTS_AT_ONCE)];
        let (chunks, _) = buffer.as_chunks_mut::<16>();
        chunks[0] = key.hash.0.to_be_bytes();
        if self.sibling_count() <= DOTS_AT_ONCE {
            for (sibling, chunk) in self.siblings().zip(&mut chunks[1..]) {
                *chunk = sibling.dot.to_bytes();
            }
            return xxh3_64(&buffer[..16 * (1 + self.sibling_count())]).max(1);
        }
        let mut hasher = Xxh3::new();
        hasher.update(&chunks[0]);
        for sibling in self.siblings() {
            hasher.update(&sibling.dot.to_bytes());
        }
        hasher.digest().max(1)
    }

    /// The name of the only sibling, as nearly all records have; none if there are more, or none.
    #[inline]
    pub(super) fn only_dot(self) -> Option<Dot> {
        if self.sibling_count == 1 { Some(self.first_dot()) } else { None }
    }

    /// The name of the first sibling, of which nothing else is read.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    fn first_dot(self) -> Dot {
        let (dot, _) = split_dot(self.version_vector, &self.siblings[1..])
            .expect("a Record exists only if `parse` split all its siblings like this");
        dot
    }

    /// [`Record::version`] of a record with one sibling.
    fn version_of_one(self, key: &Key<'_>) -> u64 {
        let dot = self.first_dot();
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&key.hash.0.to_be_bytes());
        bytes[16..].copy_from_slice(&dot.to_bytes());
        xxh3_64(&bytes).max(1)
    }

    fn parse(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (&version, rest) = bytes.split_first()?;
        if version != VERSION {
            return None;
        }
        let (entry_count, rest) = varint::split(rest)?;
        let (entries, rest) = rest.split_at_checked((entry_count as usize).checked_mul(16)?)?;
        let version_vector = VersionVector::from_bytes(entries).ok()?;
        let (sibling_count, siblings) = varint::split(rest)?;
        let sibling_count = u16::try_from(sibling_count).ok()?;
        let mut unchecked = siblings;
        let mut previous = None;
        for _ in 0..sibling_count {
            let (sibling, rest) = split_sibling(version_vector, unchecked)?;
            if previous >= Some(sibling.dot) {
                return None;
            }
            previous = Some(sibling.dot);
            unchecked = rest;
        }
        unchecked.is_empty().then_some(Record { bytes, version_vector, siblings, sibling_count })
    }
}

/// The siblings of a record, ascending by dot.
#[derive(Clone, Debug)]
pub struct Siblings<'a> {
    version_vector: VersionVector<'a>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Siblings<'a> {
    type Item = Sibling<'a>;

    #[inline]
    fn next(&mut self) -> Option<Sibling<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (sibling, rest) = split_sibling(self.version_vector, self.bytes)
            .expect("a Record exists only if `parse` split all its siblings like this");
        self.bytes = rest;
        Some(sibling)
    }
}

/// The sibling at the front of `bytes`, and what follows. None unless it is in its one form and
/// `version_vector` covers it.
#[inline]
fn split_sibling<'a>(
    version_vector: VersionVector<'a>,
    bytes: &'a [u8],
) -> Option<(Sibling<'a>, &'a [u8])> {
    let (&flags, rest) = bytes.split_first()?;
    let (dot, rest) = split_dot(version_vector, rest)?;
    let (timestamp, rest) = split_unix_ms(rest)?;
    let (expires, rest) = match flags {
        0 | TOMBSTONE => (None, rest),
        EXPIRES => split_unix_ms(rest).map(|(expires, rest)| (Some(expires), rest))?,
        _ => return None,
    };
    let (length, rest) = varint::split(rest)?;
    if flags == TOMBSTONE && length != 0 {
        return None;
    }
    let (value, rest) = rest.split_at_checked(length as usize)?;
    Some((Sibling { dot, flags, timestamp, expires, value }, rest))
}

/// The dot of a sibling, behind its flags.
#[inline]
fn split_dot<'a>(version_vector: VersionVector<'_>, bytes: &'a [u8]) -> Option<(Dot, &'a [u8])> {
    let (index, rest) = varint::split(bytes)?;
    let entry = version_vector.entry(index as usize)?;
    let (number, rest) = varint::split(rest)?;
    if number == 0 || number > entry.number() {
        return None;
    }
    Some((Dot::new(entry.actor(), number), rest))
}

fn split_unix_ms(bytes: &[u8]) -> Option<(UnixMs, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((UnixMs(u64::from_le_bytes(*value)), rest))
}

/// First byte of a record.
pub(super) const VERSION: u8 = 1;
