//! Which records of a segment are live: a bit for each of its [`GRANULE_BYTES`], set where a live
//! record begins.
//!
//! Merging looks at every record of a segment, and most are dead: to find that out in the index
//! would cost two cache misses each. The bits lie in the order of the records.

use super::limits::{BODY_BYTES_MIN, RECORD_ALIGN};
use ringmain_core::wire::place::PLACE_BYTES;

/// The live records of one segment.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Live {
    bytes: u64,
    /// Of them, those of erasures.
    erasure_bytes: u64,
    /// The last one holds what is behind the others, too: places behind the end are none.
    words: Vec<u64>,
}

impl Live {
    /// None yet, of a segment of `file_bytes`.
    pub(super) fn none(file_bytes: u32) -> Live {
        Live {
            bytes: 0,
            erasure_bytes: 0,
            words: vec![0; (file_bytes / GRANULE_BYTES) as usize / 64 + 1],
        }
    }

    /// Bytes of the live records, with place parts and padding.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of them, those of erasures.
    pub(super) fn erasure_bytes(&self) -> u64 {
        self.erasure_bytes
    }

    /// An erasure of `bytes` bytes that was added, or is about to be removed, is one.
    pub(super) fn count_erasure(&mut self, bytes: usize, is_added: bool) {
        let bytes = bytes as u64;
        match is_added {
            true => self.erasure_bytes += bytes,
            false => self.erasure_bytes -= bytes,
        }
    }

    /// Whether a live record begins at `offset`.
    pub(super) fn holds(&self, offset: u32) -> bool {
        let (at, bit) = position(offset);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    /// The record of `bytes` bytes at `offset` is live from now on.
    pub(super) fn add(&mut self, offset: u32, bytes: usize) {
        let (at, bit) = position(offset);
        debug_assert!(self.words[at] & bit == 0, "no two records begin so near to each other");
        self.words[at] |= bit;
        self.bytes += bytes as u64;
    }

    /// It is dead from now on.
    pub(super) fn remove(&mut self, offset: u32, bytes: usize) {
        let (at, bit) = position(offset);
        debug_assert!(self.words[at] & bit != 0, "it was live");
        self.words[at] &= !bit;
        self.bytes -= bytes as u64;
    }

    /// No record is live from now on.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.bytes = 0;
        self.erasure_bytes = 0;
    }

    /// Has the bit for `offset` begin to arrive in the CPU's caches.
    pub(super) fn prefetch(&self, offset: u32) {
        use zerocopy::IntoBytes;
        if let Some(word) = self.words.get(position(offset).0) {
            crate::sys::prefetch(word.as_bytes());
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({} bytes)", self.bytes)
    }
}

/// The word for an offset, and the bit in it.
fn position(offset: u32) -> (usize, u64) {
    let granule = offset / GRANULE_BYTES;
    (granule as usize / 64, 1 << (granule % 64))
}

/// The smallest record: no two begin in the same granule.
const GRANULE_BYTES: u32 = (PLACE_BYTES + BODY_BYTES_MIN).next_multiple_of(RECORD_ALIGN) as u32;

const _: () = assert!(GRANULE_BYTES == 48, "a bit for 48 bytes");
