//! Reads a finished segment from front to back, a piece at a time, through requests: background
//! work never touches a map, so it never waits for a page.

use ringmain_core::records::Place;
use ringmain_core::wire::place::PLACE_CHECKED_BYTES;

use super::limits::{PIECE_BYTES, RECORD_ALIGN};
use super::record::{Frame, part_at};
use super::request::{Errno, Read, Request};
use super::segment::SEGMENT_HEADER_BYTES;
use super::segments::Finished;

/// A walk through one segment.
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
        let start = SEGMENT_HEADER_BYTES as u32;
        Walk {
            segment: finished.segment,
            end: finished.end,
            at: start,
            piece: Vec::new(),
            piece_at: start,
            wanted: None,
            is_reading: false,
            failure: None,
        }
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
            self.wanted = Some((wanted as u32).max(PIECE_BYTES));
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
    }

    /// The read that it waits for.
    pub(super) fn poll_request(&mut self) -> Option<Request> {
        let wanted = self.wanted.take()?;
        self.is_reading = true;
        let bytes = wanted.min(self.end - self.at);
        let read = Read { segment: self.segment, offset: self.at, bytes };
        Some(Request::Read(read))
    }

    /// The bytes that were asked for.
    pub(super) fn on_read(&mut self, result: Result<Vec<u8>, Errno>) {
        self.is_reading = false;
        match result {
            Ok(bytes) => {
                self.piece = bytes;
                self.piece_at = self.at;
            }
            Err(errno) => self.failure = Some(errno),
        }
    }
}
