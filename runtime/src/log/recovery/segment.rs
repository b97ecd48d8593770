//! A segment's file as recovery sees it.

use ringmain_core::records::Place;

use super::super::limits::{RECORD_ALIGN, SEGMENT_ID_MAX};
use super::super::record::{BatchHeader, FRAME_FIRST_BYTE, Frame};
use super::super::segment::{
    FORMAT_VERSION, Fresh, HeaderError, Identity, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::{File, OpenError};

/// A file whose header holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) segment: u32,
    pub(super) bytes: &'a [u8],
    /// What of them may be something but zeros.
    used: &'a [u8],
    pub(super) snapshot: Option<&'a [u8]>,
    pub(super) nonce: u64,
    /// It was made by an older build: nothing new is written to it.
    is_old: bool,
}

impl<'a> Segment<'a> {
    pub(super) fn open(identity: &Identity, file: &File<'a>) -> Result<Segment<'a>, OpenError> {
        let &File { segment, bytes, zeros_from, snapshot } = file;
        if segment == 0 || segment > SEGMENT_ID_MAX {
            return Err(OpenError::Damaged { segment, offset: 0 });
        }
        let header = SegmentHeader::new_checked(bytes, segment, identity);
        let header = header.map_err(|error| match error {
            HeaderError::Damaged => OpenError::Damaged { segment, offset: 0 },
            HeaderError::Version(found) => OpenError::Version { segment, found },
            HeaderError::Foreign => OpenError::Foreign { segment },
        })?;
        let used = bytes.get(..zeros_from).unwrap_or(bytes);
        let is_old = header.version != FORMAT_VERSION;
        Ok(Segment { segment, bytes, used, snapshot, nonce: header.nonce, is_old })
    }

    /// This file as one to begin, if none was begun in it and its format is the current one.
    pub(super) fn fresh(&self) -> Option<Fresh> {
        let is_unused = !self.is_old && !self.has_bytes_behind(SEGMENT_HEADER_BYTES as u32);
        let (segment, bytes) = (self.segment, self.bytes.len() as u32);
        is_unused.then_some(Fresh { segment, bytes, nonce: self.nonce })
    }

    /// Its first batch header, the roster of the log; `None` if that is torn or was never written.
    pub(super) fn roster(&self) -> Option<BatchHeader<'a>> {
        self.batch_header(SEGMENT_HEADER_BYTES).filter(|header| header.is_first)
    }

    /// Bytes of the header and the first batch header.
    pub(super) fn roster_bytes(&self) -> u32 {
        let count = self.roster().map_or(0, |roster| roster.list().count());
        (SEGMENT_HEADER_BYTES + BatchHeader::bytes(count)) as u32
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        Place::new(self.segment, offset as u32)
    }

    pub(super) fn frame(&self, offset: usize) -> Option<Frame<'a>> {
        // Nothing begins among zeros: they need not be read, which a file system could refuse.
        let bytes = self.bytes.get(offset..).filter(|_| offset < self.used.len())?;
        Frame::new_checked(bytes, self.place(offset))
    }

    pub(super) fn batch_header(&self, offset: usize) -> Option<BatchHeader<'a>> {
        self.frame(offset)?.batch_header(self.nonce)
    }

    /// Whether an intact batch header at or behind `offset` says that `place` was on disk.
    pub(super) fn vouches(&self, offset: usize, place: Place) -> bool {
        let offsets = (offset..self.used.len()).step_by(RECORD_ALIGN);
        offsets
            .filter(|&at| self.bytes[at] == FRAME_FIRST_BYTE)
            .any(|at| self.batch_header(at).is_some_and(|header| header.synced > place))
    }

    /// As [`Segment::vouches`], of all its headers.
    pub(super) fn vouches_all(&self, place: Place) -> bool {
        self.vouches(SEGMENT_HEADER_BYTES, place)
    }

    /// Whether anything but zeros lies behind `offset`.
    pub(super) fn has_bytes_behind(&self, offset: u32) -> bool {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut chunks = self.used.get(offset as usize..).unwrap_or_default().chunks(ZEROS.len());
        chunks.any(|chunk| chunk != &ZEROS[..chunk.len()])
    }

    pub(super) fn damaged(&self, offset: usize) -> OpenError {
        OpenError::Damaged { segment: self.segment, offset: offset as u32 }
    }
}
