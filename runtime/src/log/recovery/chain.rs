//! Which segments are the log.

use std::ops::Range;

use ringmain_core::records::Place;

use super::super::segment::SEGMENT_HEADER_BYTES;
use super::super::snapshot::{self, Entry, Head};
use super::OpenError;
use super::segment::Segment;

/// A segment of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    /// Its index among the files.
    pub(super) at: usize,
    pub(super) segment: u32,
    /// Where the log goes on in the next one.
    pub(super) end: u32,
}

impl Listed {
    /// The place behind its last byte.
    pub(super) fn place(&self) -> Place {
        Place::new(self.segment, self.end)
    }

    /// The entries of its snapshot, if that is whole.
    pub(super) fn entries<'a>(
        &self,
        segment: &Segment<'a>,
    ) -> Option<impl DoubleEndedIterator<Item = Entry> + use<'a>> {
        let head = Head { segment: self.segment, nonce: segment.nonce, end: self.end };
        snapshot::entries(segment.snapshot?, &head)
    }
}

/// What the newest begun segment says.
#[derive(Debug)]
pub(super) struct Chain {
    top: usize,
    /// The segments before it, ascending.
    pub(super) listed: Vec<Listed>,
    /// Listed segments without a file: it may say later that they have left.
    pub(super) missing: Vec<u32>,
    /// Everything before this place was on disk when it was begun.
    pub(super) synced: Place,
}

impl Chain {
    /// The chain of the newest begun one of the first `limit` segments; none if none is. The log
    /// was `stopped` there or before.
    pub(super) fn find(
        segments: &[Segment<'_>],
        mut limit: usize,
        stopped: Place,
    ) -> Result<Option<Chain>, OpenError> {
        'from: loop {
            let begun = |one: &Segment<'_>| one.roster().is_some();
            let top = segments[..limit].iter().rposition(begun);
            check_void(segments, top.map_or(0, |top| top + 1)..limit)?;
            check_stopped(segments, top, stopped)?;
            let Some((top, roster)) = top.and_then(|top| Some((top, segments[top].roster()?)))
            else {
                return Ok(None);
            };
            let synced = roster.synced.max(stopped);
            let mut chain = Chain { top, listed: Vec::new(), missing: Vec::new(), synced };
            for end in roster.list() {
                let segment = end.segment();
                let found = segments[..top].binary_search_by_key(&segment, |one| one.segment);
                let Ok(at) = found else {
                    chain.missing.push(segment);
                    continue;
                };
                if segments[at].roster().is_none() {
                    // Its first batch is torn or damaged; if torn, so is all behind it.
                    check_void(segments, at..top + 1)?;
                    limit = at;
                    continue 'from;
                }
                // An end beyond the file is none; the scan says so.
                let end = end.offset().min(segments[at].bytes.len() as u32);
                chain.listed.push(Listed { at, segment, end });
            }
            return Ok(Some(chain));
        }
    }

    /// The newest begun segment, as if it ended with its file.
    pub(super) fn top(&self, segments: &[Segment<'_>]) -> Listed {
        let Segment { segment, bytes, .. } = &segments[self.top];
        Listed { at: self.top, segment: *segment, end: bytes.len() as u32 }
    }
}

/// Files above the newest begun one are removed only once a newer one was begun, so they have no
/// gaps; and until the first was begun none was ever removed.
pub(super) fn check_ids(segments: &[Segment<'_>]) -> Result<(), OpenError> {
    let top = segments.iter().rposition(|one| one.roster().is_some());
    let mut before = top.map_or(0, |top| segments[top].segment);
    for one in &segments[top.map_or(0, |top| top + 1)..] {
        if one.segment != before + 1 {
            return Err(OpenError::Missing { segment: before + 1, by: one.segment });
        }
        before = one.segment;
    }
    Ok(())
}

/// The segment in which the log was stopped was begun, and it leaves only once a later one was.
fn check_stopped(
    segments: &[Segment<'_>],
    top: Option<usize>,
    stopped: Place,
) -> Result<(), OpenError> {
    let segment = stopped.segment();
    if top.map_or(0, |top| segments[top].segment) >= segment {
        return Ok(());
    }
    let at = segments.binary_search_by_key(&segment, |one| one.segment);
    Err(at.map_or(OpenError::Ended { segment }, |at| segments[at].damaged(SEGMENT_HEADER_BYTES)))
}

/// Segments that are not part of the log must not be vouched for, by themselves or later ones.
fn check_void(segments: &[Segment<'_>], range: Range<usize>) -> Result<(), OpenError> {
    let first = segments[range.clone()].iter().find(|one| one.roster().is_none());
    let Some(first) = first else { return Ok(()) };
    let start = first.place(SEGMENT_HEADER_BYTES);
    let is_damaged = segments[range].iter().any(|one| one.vouches_all(start));
    if is_damaged { Err(first.damaged(SEGMENT_HEADER_BYTES)) } else { Ok(()) }
}
