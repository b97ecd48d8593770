//! From the bytes of the segments to a log that goes on.
//!
//! The newest segment whose first batch header is intact names where the one before it ends, and
//! so on back: that chain is the log. It is scanned in order; the first frame that does not hold
//! ends it, unless an intact batch header behind that frame says that its bytes were synced:
//! then they were on disk once, and recovery fails naming segment and offset. Nothing is ever
//! written to a segment that an earlier process began, and none is truncated; the log goes on in
//! a new segment, whose first batch header names the cut. Stale bytes behind a cut, and segments
//! that the chain does not reach, are never part of the log again.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | scan; choose the cut (memory only) | nothing changed: the next start finds the same |
//! | 2 | sync the segments above the known synced place | as 1; what was recovered is now kept |
//! | 3 | Create: a whole new file gets its name | an unused file, void at the next start |
//! | 4 | write its first batch header {the end of the log}, sync | torn: void, the rest as in 1 |
//! | 5 | ready; remove void files | the chain passes them by; they are void again |
//! | 6 | append, roll to the next file, batch by batch | torn tail: cut at the first bad frame |
//! | 7 | clean stop: all synced, a last header says so | torn: as 6, nothing of the log is lost |
//!
//! A write that lies above the known synced place and was acknowledged is kept by its own sync;
//! should such bytes rot before a later batch header vouches for them, they look like a torn tail.
//! After a failed sync the kernel may show pages that never reached the disk: who opens a log
//! drops its files from the page cache first (`POSIX_FADV_DONTNEED`), so that recovery reads what
//! the disk has.

use ringmain_core::hash::Key;
use ringmain_core::records::Place;
use ringmain_core::wire::place::PlaceKind;

use super::index::{Index, Probe};
use super::leaves::Leaves;
use super::limits::{RECORD_ALIGN, SEGMENT_ID_MAX};
use super::record::{BATCH_HEADER_BYTES, BatchHeader, FRAME_FIRST_BYTE, Frame};
use super::segment::{FORMAT_VERSION, HeaderError, Identity, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::writer::{Finished, Standing};

/// A segment's file as the driver found it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its id, from its name; not 0.
    pub segment: u32,
    /// All of its bytes.
    pub bytes: &'a [u8],
}

/// Why a log cannot be opened. None of them is ever repaired silently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// Bytes that were on disk are not what they were.
    Damaged {
        /// Where.
        segment: u32,
        /// Where in it, bytes.
        offset: u32,
    },
    /// A segment of the log is not there.
    Missing {
        /// Which.
        segment: u32,
    },
    /// A segment of another cluster, shard, shard count or partition count.
    Foreign {
        /// Which.
        segment: u32,
    },
    /// The host has no memory for the trees.
    NoMemory,
    /// A segment of another format version.
    Version {
        /// Which.
        segment: u32,
        /// Its version.
        found: u32,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            OpenError::Damaged { segment, offset } => {
                write!(f, "log segment {segment} is damaged at offset {offset}")
            }
            OpenError::NoMemory => f.write_str("no memory for the trees"),
            OpenError::Missing { segment } => write!(f, "log segment {segment} is missing"),
            OpenError::Foreign { segment } => {
                write!(f, "log segment {segment} belongs to another cluster or shard layout")
            }
            OpenError::Version { segment, found } => {
                write!(f, "log segment {segment} has format version {found}, not {FORMAT_VERSION}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// Where a torn tail was cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The first place that is not part of the log.
    pub place: Place,
}

/// A log as recovered, to go on with in [`Log::new`](super::Log::new).
#[derive(Debug)]
pub struct Recovered {
    pub(super) index: Index,
    pub(super) leaves: Leaves,
    pub(super) standing: Standing,
    /// Record frames scanned, replaced ones included.
    pub record_count: u64,
    /// The torn tail that was cut off, if bytes of one were found.
    pub cut: Option<Cut>,
    /// A clean stop ended the log.
    pub is_clean: bool,
}

impl Recovered {
    /// The place behind the last record.
    pub fn end(&self) -> Place {
        self.standing.finished.last().map_or(Place(0), |one| Place::new(one.segment, one.end))
    }

    /// Everything before this place is known to have been on disk.
    pub fn synced(&self) -> Place {
        self.standing.synced
    }
}

/// Scans `files`, in any order, and rebuilds index and leaves. Cost: one pass over all bytes.
pub fn recover(identity: &Identity, files: &[File<'_>]) -> Result<Recovered, OpenError> {
    let mut segments = Vec::with_capacity(files.len());
    for file in files {
        segments.push(Segment::open(identity, file)?);
    }
    segments.sort_by_key(|segment| segment.segment);
    check_first(&segments)?;
    let chain = Chain::find(&segments)?;
    let (first, count) = identity.partitions();
    let mut scan = Scan {
        identity,
        segments: &segments,
        index: Index::new(first, count),
        leaves: Leaves::new(first, count).map_err(|_| OpenError::NoMemory)?,
        synced: Place(0),
        record_count: 0,
        is_clean: false,
    };
    let (mut finished, cut) = scan.chain(&chain)?;
    // Without records the newest segment is of no use; the one to come names the same end.
    let is_bare = |one: &Finished| scan.is_bare(one);
    while finished.last().is_some_and(is_bare) {
        finished.pop();
    }
    let is_kept = |segment: &u32| finished.iter().any(|one| one.segment == *segment);
    let void = segments.iter().map(|one| one.segment).filter(|one| !is_kept(one)).collect();
    let next_segment = segments.last().map_or(0, |one| one.segment) + 1;
    let Scan { index, leaves, synced, record_count, is_clean, .. } = scan;
    let end = finished.last().map_or(Place(0), |one| Place::new(one.segment, one.end));
    let standing = Standing { finished, synced: synced.min(end), next_segment, void };
    Ok(Recovered { index, leaves, standing, record_count, cut, is_clean })
}

/// A file whose header holds.
#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    segment: u32,
    bytes: &'a [u8],
    nonce: u64,
    /// Where the segment before it ends, as its first batch header says; `None` if that is torn.
    previous: Option<Place>,
}

impl<'a> Segment<'a> {
    fn open(identity: &Identity, file: &File<'a>) -> Result<Segment<'a>, OpenError> {
        let &File { segment, bytes } = file;
        if segment == 0 || segment > SEGMENT_ID_MAX {
            return Err(OpenError::Damaged { segment, offset: 0 });
        }
        let header = SegmentHeader::new_checked(bytes, segment, identity);
        let header = header.map_err(|error| match error {
            HeaderError::Damaged => OpenError::Damaged { segment, offset: 0 },
            HeaderError::Version(found) => OpenError::Version { segment, found },
            HeaderError::Foreign => OpenError::Foreign { segment },
        })?;
        let mut opened = Segment { segment, bytes, nonce: header.nonce, previous: None };
        opened.previous = opened.batch_header(SEGMENT_HEADER_BYTES).and_then(|one| one.previous);
        Ok(opened)
    }

    fn place(&self, offset: usize) -> Place {
        Place::new(self.segment, offset as u32)
    }

    fn frame(&self, offset: usize) -> Option<Frame<'a>> {
        Frame::new_checked(self.bytes.get(offset..)?, self.place(offset))
    }

    fn batch_header(&self, offset: usize) -> Option<BatchHeader> {
        self.frame(offset)?.batch_header(self.nonce)
    }

    /// Whether an intact batch header at or behind `offset` says that `place` was on disk.
    fn vouches(&self, offset: usize, place: Place) -> bool {
        let offsets = (offset..self.bytes.len()).step_by(RECORD_ALIGN);
        offsets
            .filter(|&at| self.bytes[at] == FRAME_FIRST_BYTE)
            .any(|at| self.batch_header(at).is_some_and(|header| header.synced > place))
    }

    fn damaged(&self, offset: usize) -> OpenError {
        OpenError::Damaged { segment: self.segment, offset: offset as u32 }
    }
}

/// The segments that are the log, ascending, each with its end if the next one names it.
struct Chain(Vec<(usize, Option<usize>)>);

impl Chain {
    fn find(segments: &[Segment<'_>]) -> Result<Chain, OpenError> {
        let mut limit = segments.len();
        'from: loop {
            let Some(top) = segments[..limit].iter().rposition(|one| one.previous.is_some()) else {
                check_void(segments, 0..limit)?;
                return Ok(Chain(Vec::new()));
            };
            check_void(segments, top + 1..limit)?;
            let mut chain = vec![(top, None)];
            let mut at = top;
            while let Some(end) = segments[at].previous.filter(|end| *end != Place(0)) {
                let segment = end.segment();
                let Ok(before) = segments[..at].binary_search_by_key(&segment, |one| one.segment)
                else {
                    return Err(OpenError::Missing { segment });
                };
                if segments[before].previous.is_none() {
                    // Its first batch is torn or damaged; if torn, so is all behind it.
                    check_void(segments, before..top + 1)?;
                    limit = before;
                    continue 'from;
                }
                chain.push((before, Some(end.offset() as usize)));
                at = before;
            }
            chain.reverse();
            return Ok(Chain(chain));
        }
    }
}

/// Until a first batch header is on disk no file was ever removed: files without any begin at 1,
/// or the one that had it is gone.
fn check_first(segments: &[Segment<'_>]) -> Result<(), OpenError> {
    match segments.first() {
        Some(one) if one.segment > 1 && segments.iter().all(|one| one.previous.is_none()) => {
            Err(OpenError::Missing { segment: one.segment - 1 })
        }
        _ => Ok(()),
    }
}

/// Segments that are not part of the log must not be vouched for, by themselves or later ones.
fn check_void(segments: &[Segment<'_>], range: std::ops::Range<usize>) -> Result<(), OpenError> {
    let first = segments[range.clone()].iter().find(|one| one.previous.is_none());
    let Some(first) = first else { return Ok(()) };
    let start = first.place(SEGMENT_HEADER_BYTES);
    let is_damaged = segments[range].iter().any(|one| one.vouches(SEGMENT_HEADER_BYTES, start));
    if is_damaged { Err(first.damaged(SEGMENT_HEADER_BYTES)) } else { Ok(()) }
}

/// A scan in progress.
struct Scan<'a> {
    identity: &'a Identity,
    segments: &'a [Segment<'a>],
    index: Index,
    leaves: Leaves,
    synced: Place,
    record_count: u64,
    is_clean: bool,
}

impl<'a> Scan<'a> {
    /// Scans the chain up to its end or its first bad frame.
    fn chain(&mut self, chain: &Chain) -> Result<(Vec<Finished>, Option<Cut>), OpenError> {
        let mut finished = Vec::with_capacity(chain.0.len());
        for (number, &(at, end)) in chain.0.iter().enumerate() {
            let segment = &self.segments[at];
            let file_end = segment.bytes.len();
            let stopped = self.segment(segment, end.unwrap_or(file_end).min(file_end))?;
            finished.push(Finished { segment: segment.segment, end: stopped as u32 });
            if end == Some(stopped) {
                continue;
            }
            let place = segment.place(stopped);
            let later = chain.0[number + 1..].iter().map(|&(at, _)| &self.segments[at]);
            let is_vouched = segment.vouches(stopped, place)
                || later.clone().any(|one| one.vouches(SEGMENT_HEADER_BYTES, place));
            if is_vouched {
                return Err(segment.damaged(stopped));
            }
            let is_torn = !is_zero(&segment.bytes[stopped..]);
            let is_cut = is_torn || later.count() > 0;
            return Ok((finished, is_cut.then_some(Cut { place })));
        }
        Ok((finished, None))
    }

    /// Scans one segment up to `end`; returns the offset behind its last good frame.
    fn segment(&mut self, segment: &Segment<'a>, end: usize) -> Result<usize, OpenError> {
        let mut at = SEGMENT_HEADER_BYTES;
        while at < end {
            let Some(frame) = segment.frame(at).filter(Frame::is_intact) else { return Ok(at) };
            let next = at + frame.bytes().len().next_multiple_of(RECORD_ALIGN);
            if next > end {
                return Ok(at);
            }
            match frame.kind() {
                PlaceKind::Record => self.record(segment, at, &frame)?,
                PlaceKind::Batch => {
                    let header = frame.batch_header(segment.nonce);
                    let header = header.ok_or(segment.damaged(at))?;
                    self.synced = self.synced.max(header.synced);
                    self.is_clean = header.is_stop;
                }
            }
            at = next;
        }
        Ok(at)
    }

    fn record(
        &mut self,
        segment: &Segment<'a>,
        at: usize,
        frame: &Frame<'a>,
    ) -> Result<(), OpenError> {
        let stored = frame.stored().map_err(|_| segment.damaged(at))?;
        let seed = self.identity.cluster.hash_seed();
        let key = Key::new(frame.key(), seed, self.identity.partition_bits);
        if key.bytes.is_empty() || !self.index.holds(key.partition) {
            return Err(segment.damaged(at));
        }
        self.is_clean = false;
        self.record_count += 1;
        let mut old = 0;
        let segments = self.segments;
        let table = self.index.table_mut(key.partition);
        let probe = table.find(key.order, |place, _| {
            let earlier = frame_at(segments, place).ok_or(segment.damaged(at))?;
            let is_same = earlier.key() == key.bytes;
            if is_same {
                let earlier = earlier.stored().map_err(|_| segment.damaged(at))?;
                old = earlier.record.version(&key);
            }
            Ok(is_same)
        })?;
        debug_assert!(matches!(probe, Probe::Found(_)) || old == 0);
        table.put(probe, key.order, segment.place(at), true);
        self.leaves.replace(&key, old, stored.record.version(&key));
        Ok(())
    }

    /// Whether only batch headers lie in a finished segment.
    fn is_bare(&self, one: &Finished) -> bool {
        let found = self.segments.iter().find(|segment| segment.segment == one.segment);
        found.is_some_and(|segment| {
            let mut offsets = (SEGMENT_HEADER_BYTES..one.end as usize).step_by(BATCH_HEADER_BYTES);
            offsets
                .all(|at| segment.frame(at).is_some_and(|frame| frame.kind() == PlaceKind::Batch))
        })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// The frame at a place that the scan has passed.
fn frame_at<'a>(segments: &'a [Segment<'a>], place: Place) -> Option<Frame<'a>> {
    let at = segments.binary_search_by_key(&place.segment(), |one| one.segment).ok()?;
    segments[at].frame(place.offset() as usize)
}
