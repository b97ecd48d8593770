//! What is to be sent: bytes of its own, and parts of maps between them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::map::Map;

/// A part of a map. The file stays mapped, and its space taken, as long as this lives.
#[derive(Clone)]
pub struct MapPart {
    map: Arc<Map>,
    range: Range<usize>,
}

impl MapPart {
    /// The part of `map` that `bytes` is; `None` if they lie elsewhere.
    pub fn of(map: &Arc<Map>, bytes: &[u8]) -> Option<MapPart> {
        let start = (bytes.as_ptr() as usize).checked_sub(map.address())?;
        let range = start..start + bytes.len();
        (range.end <= map.len()).then(|| MapPart { map: Arc::clone(map), range })
    }

    /// It.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes(self.range.clone()).expect("it was borrowed from the map")
    }
}

impl fmt::Debug for MapPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapPart({:?})", self.range)
    }
}

/// A stream of bytes to be sent. Some are its own, others are lent to it and lie in a map.
///
/// Invariant: the lent parts are in order, and each has its place between own bytes: what is done
/// to the [`tail`](SendBuffer::tail) must leave the bytes before the last of them.
#[derive(Debug, Default)]
pub struct SendBuffer {
    own: Vec<u8>,
    /// Each behind so many own bytes.
    lent: Vec<(usize, MapPart)>,
    lent_bytes: usize,
}

/// A place in a [`SendBuffer`]: at its start, its end, or what was its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    own_bytes: usize,
    lent_count: usize,
    lent_bytes: usize,
}

impl Mark {
    /// Bytes before it.
    #[inline]
    pub fn bytes(self) -> usize {
        self.own_bytes + self.lent_bytes
    }

    /// The same place, after everything before `first` was taken away.
    ///
    /// # Panics
    /// If it lies before `first`.
    pub fn behind(self, first: Mark) -> Mark {
        assert!(first.own_bytes <= self.own_bytes);
        assert!(first.lent_count <= self.lent_count);
        Mark {
            own_bytes: self.own_bytes - first.own_bytes,
            lent_count: self.lent_count - first.lent_count,
            lent_bytes: self.lent_bytes - first.lent_bytes,
        }
    }
}

impl From<Vec<u8>> for SendBuffer {
    fn from(own: Vec<u8>) -> SendBuffer {
        SendBuffer { own, lent: Vec::new(), lent_bytes: 0 }
    }
}

impl SendBuffer {
    /// All its bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.own.len() + self.lent_bytes
    }

    /// Those of them that are lent.
    #[inline]
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }

    /// Whether there is nothing to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Bytes that it has memory for.
    pub fn capacity(&self) -> usize {
        self.own.capacity()
    }

    /// Its own bytes, to append more.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Appends a part that is not copied.
    pub fn lend(&mut self, part: MapPart) {
        self.lent_bytes += part.range.len();
        self.lent.push((self.own.len(), part));
    }

    /// Appends all of another one; its lent parts are lent once more.
    pub fn append(&mut self, other: &SendBuffer) {
        let start = self.own.len();
        self.own.extend_from_slice(&other.own);
        self.lent.extend(other.lent.iter().map(|(at, part)| (start + at, part.clone())));
        self.lent_bytes += other.lent_bytes;
    }

    /// Its end now.
    #[inline]
    pub fn end(&self) -> Mark {
        let SendBuffer { own, lent, lent_bytes } = self;
        Mark { own_bytes: own.len(), lent_count: lent.len(), lent_bytes: *lent_bytes }
    }

    /// Forgets what is behind `end`.
    pub fn truncate(&mut self, end: Mark) {
        self.own.truncate(end.own_bytes);
        self.lent.truncate(end.lent_count);
        self.lent_bytes = end.lent_bytes;
    }

    /// Forgets everything, but keeps its memory.
    pub fn clear(&mut self) {
        self.truncate(Mark::default());
    }

    /// Forgets what lies between two marks.
    pub fn remove(&mut self, from: Mark, to: Mark) {
        let gone = to.behind(from);
        self.own.drain(from.own_bytes..to.own_bytes);
        self.lent.drain(from.lent_count..to.lent_count);
        for (at, _) in &mut self.lent[from.lent_count..] {
            *at -= gone.own_bytes;
        }
        self.lent_bytes -= gone.lent_bytes;
    }

    /// Moves what is behind `at` into another one, which is empty.
    ///
    /// # Panics
    /// If it is not.
    pub fn split_to(&mut self, at: Mark, rest: &mut SendBuffer) {
        assert!(rest.is_empty());
        rest.own.extend_from_slice(&self.own[at.own_bytes..]);
        let lent = self.lent.drain(at.lent_count..);
        rest.lent.extend(lent.map(|(place, part)| (place - at.own_bytes, part)));
        rest.lent_bytes = self.lent_bytes - at.lent_bytes;
        self.truncate(at);
    }

    /// The pieces that make up what is behind the first `from` bytes; none is empty.
    pub fn pieces(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let mut own_from = 0;
        let end = self.own.len();
        let lent = self.lent.iter().map(|(at, part)| (*at, part.bytes()));
        let parts = lent.chain([(end, &[][..])]).flat_map(move |(at, lent)| {
            let own = &self.own[std::mem::replace(&mut own_from, at)..at];
            [own, lent]
        });
        let mut skip = from;
        parts.filter_map(move |piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let piece = &piece[skipped..];
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// All its bytes, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces(0).flatten().copied().collect()
    }

    /// Its own bytes, if they are all.
    pub(super) fn into_own(self) -> Result<Vec<u8>, SendBuffer> {
        if self.lent.is_empty() { Ok(self.own) } else { Err(self) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
