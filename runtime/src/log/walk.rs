//! Reads a finished segment from front to back, a piece at a time, through requests: background
//! work never touches a map, so it never waits for a page.
//!
//! What is damaged stops a walk, unless whoever walks has it [seek](Walk::seek) the next frame. A
//! read that failed is then done again page by page, so that one bad sector costs no more than the
//! frames that lie in it.

use ringmain_core::records::Place;
use ringmain_core::wire::place::PLACE_CHECKED_BYTES;

use super::limits::{PIECE_BYTES, RECORD_ALIGN, SEEK_BYTES, SEEK_PAGE_BYTES};
use super::record::{FRAME_FIRST_BYTE, Frame, part_at};
use super::request::{Errno, Read, Request};
use super::segment::SEGMENT_HEADER_BYTES;
use super::segments::Finished;

/// A walk through one segment.
#[derive(Debug)]
pub(super) struct Walk {
    segment: u32,
    end: u32,
    /// Offset of the next frame.
    at: u32,
    /// Bytes of the segment from `piece_at` on.
    piece: Vec<u8>,
    piece_at: u32,
    /// So many bytes from `at` on are needed before the walk goes on.
    wanted: Option<u32>,
    is_reading: bool,
    failure: Option<Errno>,
    /// Bytes of the last read.
    asked: u32,
    /// Up to here it reads page by page: a read has failed.
    careful_until: u32,
    /// So many pieces are read at once.
    times: u32,
    /// Whether a frame begins at `at` is not known.
    is_seeking: bool,
}

/// What a walk comes to.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A frame with a sound place part; the body's checksum is for whoever uses it to check.
    Frame(Place, Frame<'a>),
    /// A read is needed first.
    Wait,
    /// What lies there is no frame, or cannot be read.
    Damaged,
    /// The end of the segment.
    End,
}

impl Walk {
    /// A walk through a finished segment.
    pub(super) fn new(finished: &Finished) -> Walk {
        let start = Place::new(finished.segment, SEGMENT_HEADER_BYTES as u32);
        Walk::from(start, finished.end)
    }

    /// A walk from `start`, which is 0 or where a frame begins, to the offset `end`.
    pub(super) fn from(start: Place, end: u32) -> Walk {
        Walk {
            segment: start.segment(),
            end,
            at: start.offset(),
            piece: Vec::new(),
            piece_at: start.offset(),
            wanted: None,
            is_reading: false,
            failure: None,
            asked: 0,
            careful_until: 0,
            times: 1,
            is_seeking: false,
        }
    }

    /// A walk to the one record at `place`, in a segment that ends at `end`: no more is read.
    pub(super) fn to_record(place: Place, end: u32) -> Walk {
        Walk { careful_until: end, ..Walk::from(place, end) }
    }

    /// Offset of what the next step looks at.
    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// Whether nobody knows that a frame begins where it is: it seeks one.
    pub(super) fn is_seeking(&self) -> bool {
        self.is_seeking
    }

    /// Whether a read is under way.
    pub(super) fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// Whether it waits for a read to be asked for.
    pub(super) fn wants_read(&self) -> bool {
        self.wanted.is_some()
    }

    /// Of a walk from offset 0, the segment's header, which the next [`Walk::pass`] passes; `None`
    /// if a read is needed first.
    pub(super) fn header(&mut self) -> Option<Result<&[u8], Errno>> {
        if let Some(errno) = self.failure {
            return Some(Err(errno));
        }
        if self.is_reading || self.wanted.is_some() {
            return None;
        }
        if self.piece.len() < SEGMENT_HEADER_BYTES {
            self.wanted = Some(self.piece_bytes());
            return None;
        }
        Some(Ok(&self.piece[..SEGMENT_HEADER_BYTES]))
    }

    /// Which segment it walks through.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// What comes next; the same again until [`Walk::pass`].
    pub(super) fn step(&mut self) -> Step<'_> {
        let place = Place::new(self.segment, self.at);
        if self.at >= self.end {
            return Step::End;
        }
        if self.failure.is_some() {
            return Step::Damaged;
        }
        if self.is_reading || self.wanted.is_some() {
            return Step::Wait;
        }
        // A piece may end before the padding behind its last frame.
        let here = self.piece.get((self.at - self.piece_at) as usize..).unwrap_or_default();
        let left = (self.end - self.at) as usize;
        let wanted = if here.len() < PLACE_CHECKED_BYTES.min(left) {
            PLACE_CHECKED_BYTES
        } else {
            match part_at(here, place) {
                Some(part) if part.record_bytes() <= left => part.record_bytes(),
                _ => return Step::Damaged,
            }
        };
        if here.len() < wanted {
            self.wanted = Some((wanted as u32).max(self.piece_bytes()));
            return Step::Wait;
        }
        let here = self.piece.get((self.at - self.piece_at) as usize..).unwrap_or_default();
        match Frame::new_checked(here, place) {
            Some(frame) => Step::Frame(place, frame),
            None => Step::Damaged,
        }
    }

    /// The frames that the next steps come to without another read.
    pub(super) fn ahead(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut at = self.at;
        std::iter::from_fn(move || {
            let here = self.piece.get((at - self.piece_at) as usize..)?;
            let is_whole = at < self.end && here.len() >= PLACE_CHECKED_BYTES;
            let frame =
                is_whole.then(|| Frame::new_checked(here, Place::new(self.segment, at)))??;
            at += frame.bytes().len().next_multiple_of(RECORD_ALIGN) as u32;
            Some(frame)
        })
    }

    /// Goes on behind the frame of `bytes` bytes that the last step came to.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at += bytes.next_multiple_of(RECORD_ALIGN) as u32;
        self.is_seeking = false;
    }

    /// Goes on with the next place where a frame may begin, since none does here, or nothing can
    /// be read. Looks at [`SEEK_BYTES`] bytes at most: the next step may come to nothing again.
    pub(super) fn seek(&mut self) {
        if self.failure.take().is_some() {
            let end = self.at + self.asked;
            if end > self.careful_until {
                self.careful_until = end;
                return;
            }
            self.at = self.end.min((self.at / SEEK_PAGE_BYTES + 1) * SEEK_PAGE_BYTES);
            self.is_seeking = true;
            return;
        }
        self.is_seeking = true;
        self.at += RECORD_ALIGN as u32;
        let last = self.end.min(self.at + SEEK_BYTES);
        let byte = |at: u32| self.piece.get((at - self.piece_at) as usize);
        while self.at < last && byte(self.at).is_some_and(|byte| *byte != FRAME_FIRST_BYTE) {
            self.at += RECORD_ALIGN as u32;
        }
    }

    /// Reads so many times as much at once as usual from now on.
    pub(super) fn read_ahead(&mut self, times: u32) {
        self.times = times;
    }

    /// What is read at once, unless a frame is larger.
    fn piece_bytes(&self) -> u32 {
        match self.at < self.careful_until {
            true => SEEK_PAGE_BYTES - self.at % SEEK_PAGE_BYTES,
            false => self.times * PIECE_BYTES,
        }
    }

    /// The read that it waits for.
    pub(super) fn poll_request(&mut self) -> Option<Request> {
        let wanted = self.wanted.take()?;
        self.is_reading = true;
        let bytes = wanted.min(self.end - self.at);
        self.asked = bytes;
        let read = Read { segment: self.segment, offset: self.at, bytes };
        Some(Request::Read(read))
    }

    /// The bytes that were asked for.
    ///
    /// Returns those before, to read the next into.
    pub(super) fn on_read(&mut self, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
        self.is_reading = false;
        match result {
            Ok(bytes) => {
                self.piece_at = self.at;
                std::mem::replace(&mut self.piece, bytes)
            }
            Err(errno) => {
                self.failure = Some(errno);
                Vec::new()
            }
        }
    }
}
