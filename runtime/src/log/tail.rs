//! The end of the log in memory: the only copy of a record until its segment holds it.
//!
//! Appends go into one contiguous filling buffer. To write it, the buffer is sealed: its batch
//! header is stamped, it never changes again and is shared with the request in flight, while
//! appends go on in the next one. Sealed batches leave in order, when they were written.
//! A batch lies in one segment; the total is bounded.

use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use ringmain_core::records::Place;

use super::limits::{RECORD_ALIGN, TAIL_BUFFER_BYTES, TAIL_BYTES_MAX, TAIL_SPARE_COUNT_MAX};
use super::record::{BatchHeader, after, write_batch_header};

/// A sealed batch: bytes that never change, at their place in the log.
pub(super) struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    start: Place,
}

impl Batch {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// The place behind its last byte.
    pub(super) fn end(&self) -> Place {
        after(self.start, self.used)
    }

    /// The place of its first byte.
    pub(super) fn start(&self) -> Place {
        self.start
    }
}

impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// What a write request writes. Cheap to clone; drop it before the completion is handed in, so
/// that its memory is used again.
#[derive(Clone)]
pub struct Buffer {
    batch: Rc<Batch>,
    from: usize,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.batch.bytes()[self.from..]
    }
}

impl Buffer {
    /// The batch, and how many of its first bytes are left out.
    pub fn into_parts(self) -> (Rc<dyn AsRef<[u8]>>, usize) {
        (self.batch, self.from)
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// The filling buffer and the sealed batches before it.
pub(super) struct Tail {
    filling: Box<[u8]>,
    /// Bytes of `filling` that are taken, the room of its batch header included; 0 = no batch.
    used: usize,
    /// Whether the open batch begins with a header: one that would say what the last one did is
    /// left out, and the batch goes on behind the one before.
    has_header: bool,
    /// What the last header said was synced; none of this segment yet.
    vouched: Option<Place>,
    /// Every batch begins with a header: each is synced, and the next one says so.
    vouches_each: bool,
    /// Place of the first byte of `filling`.
    start: Place,
    nonce: u64,
    /// The next batch is the first of its segment.
    is_first: bool,
    /// What the header of the next batch lists; of an open one, what its header will.
    list: Vec<Place>,
    sealed: VecDeque<Rc<Batch>>,
    sealed_bytes: usize,
    spare: Vec<Box<[u8]>>,
    /// Batches without their bytes, to be used again.
    emptied: Vec<Rc<Batch>>,
}

impl Tail {
    /// An empty tail of a log that ends at `end`; [`Tail::begin_segment`] comes before any append.
    pub(super) fn new(end: Place, vouches_each: bool) -> Tail {
        Tail {
            filling: Box::default(),
            used: 0,
            has_header: false,
            vouched: None,
            vouches_each,
            start: end,
            nonce: 0,
            is_first: false,
            list: Vec::new(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            spare: Vec::new(),
            emptied: Vec::new(),
        }
    }

    /// The place of the next byte, where the next batch begins if none is open.
    pub(super) fn end(&self) -> Place {
        after(self.start, self.used)
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.sealed_bytes + self.used
    }

    /// Whether a batch is open.
    pub(super) fn is_open(&self) -> bool {
        self.used > 0
    }

    /// Goes on in another segment, at `start`, whose first header lists `roster`.
    ///
    /// # Panics
    /// If a batch is open.
    pub(super) fn begin_segment(&mut self, start: Place, nonce: u64, roster: Vec<Place>) {
        assert!(!self.is_open());
        assert!(self.start < start);
        self.start = start;
        self.nonce = nonce;
        self.is_first = true;
        self.vouched = None;
        self.list = roster;
    }

    /// Has the header of the next batch list `place`.
    ///
    /// # Panics
    /// If a batch is open.
    pub(super) fn list(&mut self, place: Place) {
        assert!(!self.is_open());
        self.list.push(place);
    }

    /// Whether a new batch has room for `bytes`. A tail in which nothing waits has it.
    pub(super) fn has_room_behind(&self, bytes: usize) -> bool {
        self.waiting_bytes() + BatchHeader::bytes(0) + bytes <= TAIL_BYTES_MAX
    }

    /// Makes room for `bytes` more in an open batch, sealing the one before if needed; false if
    /// too much waits already. A tail in which nothing waits has room for any record.
    pub(super) fn reserve(&mut self, bytes: usize, synced: Place) -> bool {
        debug_assert!(bytes.is_multiple_of(RECORD_ALIGN));
        if self.used > 0 && self.used + bytes <= self.filling.len() {
            return true;
        }
        if !self.has_room_behind(bytes) {
            return false;
        }
        self.seal(synced, false);
        let is_news = self.vouched != Some(synced) || !self.list.is_empty() || bytes == 0;
        self.has_header = is_news || self.vouches_each;
        let header_bytes = if self.has_header { BatchHeader::bytes(self.list.len()) } else { 0 };
        let need = header_bytes + bytes;
        if self.filling.len() < need {
            let spare = if need <= TAIL_BUFFER_BYTES { self.spare.pop() } else { None };
            let new = || vec![0; need.max(TAIL_BUFFER_BYTES)].into_boxed_slice();
            self.filling = spare.unwrap_or_else(new);
        }
        self.used = header_bytes;
        true
    }

    /// Takes `bytes` of the free part, which were reserved and filled.
    pub(super) fn commit(&mut self, bytes: usize) {
        assert!(self.used + bytes <= self.filling.len());
        self.used += bytes;
    }

    /// Ends the open batch, if there is one. `synced` goes into its header.
    pub(super) fn seal(&mut self, synced: Place, is_stop: bool) {
        if !self.is_open() {
            return;
        }
        debug_assert!(synced <= self.start);
        if self.has_header {
            let header = &mut self.filling[..BatchHeader::bytes(self.list.len())];
            let flags = (std::mem::take(&mut self.is_first), is_stop);
            write_batch_header(self.start, (synced, self.nonce), flags, &self.list, header);
            self.list.clear();
            self.vouched = Some(synced);
        }
        let bytes = std::mem::take(&mut self.filling);
        let batch = Batch { bytes, used: self.used, start: self.start };
        self.start = batch.end();
        self.sealed_bytes += self.used;
        self.used = 0;
        let sealed = match self.emptied.pop() {
            Some(mut emptied) => {
                *Rc::get_mut(&mut emptied).expect("nobody else has it") = batch;
                emptied
            }
            None => Rc::new(batch),
        };
        self.sealed.push_back(sealed);
    }

    /// The batch to write next, and the one after it.
    pub(super) fn sealed(&self) -> (Option<&Batch>, Option<&Batch>) {
        (self.sealed.front().map(Rc::as_ref), self.sealed.get(1).map(Rc::as_ref))
    }

    /// The front batch for a write request, without its first `from` bytes.
    pub(super) fn buffer(&self, from: usize) -> Option<Buffer> {
        self.sealed.front().map(|batch| Buffer { batch: Rc::clone(batch), from })
    }

    /// Lets go of the front batch: its segment holds it.
    pub(super) fn release(&mut self) {
        let Some(mut batch) = self.sealed.pop_front() else { return };
        self.sealed_bytes -= batch.used;
        let Some(Batch { bytes, .. }) = Rc::get_mut(&mut batch) else { return };
        let bytes = std::mem::take(bytes);
        if bytes.len() == TAIL_BUFFER_BYTES && self.spare.len() < TAIL_SPARE_COUNT_MAX {
            self.spare.push(bytes);
        }
        if self.emptied.len() < TAIL_SPARE_COUNT_MAX {
            self.emptied.push(batch);
        }
    }

    /// What an append reads from while it writes the free part.
    pub(super) fn parts(&mut self) -> (Filled<'_>, &mut [u8]) {
        let (bytes, free) = self.filling.split_at_mut(self.used);
        (Filled { bytes, start: self.start, sealed: &self.sealed }, free)
    }

    /// What reads at or above the written place read from.
    pub(super) fn filled(&self) -> Filled<'_> {
        Filled { bytes: &self.filling[..self.used], start: self.start, sealed: &self.sealed }
    }
}

/// The readable part of a tail.
#[derive(Clone, Copy)]
pub(super) struct Filled<'a> {
    bytes: &'a [u8],
    start: Place,
    sealed: &'a VecDeque<Rc<Batch>>,
}

impl<'a> Filled<'a> {
    /// The bytes from `place` to the end of its batch; `None` if no batch here holds it.
    pub(super) fn at(&self, place: Place) -> Option<&'a [u8]> {
        if place >= self.start {
            return self.bytes.get((place.0 - self.start.0) as usize..);
        }
        let behind = self.sealed.partition_point(|batch| batch.start <= place);
        let batch = self.sealed.get(behind.checked_sub(1)?)?;
        batch.bytes().get((place.0 - batch.start.0) as usize..)
    }
}
