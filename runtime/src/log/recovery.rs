//! From the bytes of the segments to a log that goes on.
//!
//! The newest segment whose first batch header is intact names the segments of the log and their
//! ends. Those that are known to have been on disk whole are read by their snapshots, or scanned.
//! The others are scanned in order; the first frame that does not hold ends the log, unless an
//! intact batch header behind that frame says that its bytes were synced: then they were on disk
//! once, and they are damage. Nothing is ever written to a segment that an earlier process began,
//! and none is truncated; the log goes on in a new segment, whose first batch header names the
//! cut. Stale bytes behind a cut, and segments that are not named, are never part of the log
//! again.
//!
//! The index is built from the newest record to the oldest: of each key the first one counts.
//! Keys with equal orders are told apart by reading them, but only where a record is flagged as a
//! twin; without that flag on the newer record no other key with its order was there. An erasure
//! hides what lies before the place that it names of its key.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | scan; choose the cut (memory only) | nothing changed: the next start finds the same |
//! | 2 | sync the segments above the known synced place | as 1; what was recovered is now kept |
//! | 3 | Create: a whole new file gets its name | an unused file, void at the next start |
//! | 4 | write its first batch header {the log's ends}, sync | torn: void, the rest as in 1 |
//! | 5 | ready; remove void files | they are named nowhere; they are void again |
//! | 6 | append, roll to the next file, batch by batch | torn tail: cut at the first bad frame |
//! | 7 | clean stop: all synced, a last header says so | torn: as 6, nothing of the log is lost |
//! | 8 | the place where it was stopped is kept apart | an older one is known, which still holds |
//!
//! *Damage.* Behind a damaged frame the scan goes on with the next one that holds. What was lost is
//! unknown, so of every key whose newest record lies before the damage, and of every key that is
//! not found, nothing is served until somebody accepts the loss. In a segment with a snapshot
//! damage is found when a record is read, and concerns that one alone.
//!
//! A write that lies above the known synced place and was acknowledged is kept by its own sync;
//! should such bytes rot before a later batch header vouches for them, they look like a torn tail.
//! Not so after a clean stop: the caller keeps its place
//! ([`Log::stopped_at`](super::Log::stopped_at)) apart from the segments and hands it in again.
//! What was on disk once was so for good; so that place may be older than the log, or be lost.
//!
//! After a failed sync the kernel may show pages that never reached the disk: who opens a log
//! drops its files from the page cache first (`POSIX_FADV_DONTNEED`), so that recovery reads what
//! the disk has.

use ringmain_core::records::Place;

use super::index::Index;
use super::leaves::Leaves;
use super::segment::{FORMAT_VERSION, FORMAT_VERSION_MIN, Identity};
use super::segments::{Finished, State};
use super::snapshot::{self, Entry};
use super::writer::Standing;
use build::Builder;
use chain::{Chain, Listed};
use scan::{Scan, Scanned};
use segment::Segment;

mod build;
mod chain;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

/// A segment's file as the driver found it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its id, from its name; not 0.
    pub segment: u32,
    /// All of its bytes.
    pub bytes: &'a [u8],
    /// From here on they are zeros that were never written, so that nobody needs to look.
    pub zeros_from: usize,
    /// All bytes of its snapshot, if there is one.
    pub snapshot: Option<&'a [u8]>,
}

impl File<'_> {
    /// Whether the snapshot, if there is one, is whole. One that is not costs a scan, no record.
    pub fn is_snapshot_whole(&self) -> bool {
        self.snapshot.is_none_or(|bytes| snapshot::is_whole(bytes, self.segment))
    }
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
    /// A segment of the log is not there, or what says so is damaged.
    Missing {
        /// Which.
        segment: u32,
        /// The one that says so.
        by: u32,
    },
    /// The segment in which a clean stop ended the log, or a later one, is not there.
    Ended {
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
            OpenError::Missing { segment, by } => {
                write!(f, "log segment {segment} is missing, or log segment {by} is damaged")
            }
            OpenError::Ended { segment } => {
                write!(f, "log segment {segment} is missing, where the log had been stopped")
            }
            OpenError::Foreign { segment } => {
                write!(f, "log segment {segment} belongs to another cluster or shard layout")
            }
            OpenError::Version { segment, found } => {
                let known = FORMAT_VERSION_MIN..=FORMAT_VERSION;
                write!(f, "log segment {segment} has format version {found}, not {known:?}")
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

/// Bytes that were on disk and are not what they were: records are lost, of unknown keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Damage {
    /// Where.
    pub segment: u32,
    /// Where in it, bytes.
    pub offset: u32,
    /// Where frames go on that hold.
    pub end: u32,
}

/// A log as recovered, to go on with in [`Log::new`](super::Log::new).
#[derive(Debug)]
pub struct Recovered {
    pub(super) index: Index,
    pub(super) leaves: Leaves,
    pub(super) standing: Standing,
    pub(super) suspect: Place,
    /// Record frames scanned or listed, replaced ones included.
    pub record_count: u64,
    /// Segments whose snapshots were missing or damaged, so that they were scanned.
    pub scanned: Vec<u32>,
    /// What was lost. Nobody may go on without being told.
    pub damage: Vec<Damage>,
    /// The torn tail that was cut off, if bytes of one were found.
    pub cut: Option<Cut>,
    /// A clean stop ended the log.
    pub is_clean: bool,
}

impl Recovered {
    /// The place behind the last record.
    pub fn end(&self) -> Place {
        self.standing.finished.last().map_or(Place(0), Finished::end)
    }

    /// Everything before this place is known to have been on disk.
    pub fn synced(&self) -> Place {
        self.standing.synced
    }
}

/// Rebuilds index and leaves from `files`, in any order. Everything before `stopped`, where the log
/// was stopped once, was on disk; place 0 if nobody knows. Cost: one pass over the snapshots, and
/// over the bytes of segments that have none.
pub fn recover(
    identity: &Identity,
    files: &[File<'_>],
    stopped: Place,
) -> Result<Recovered, OpenError> {
    let mut segments = Vec::with_capacity(files.len());
    for file in files {
        segments.push(Segment::open(identity, file)?);
    }
    segments.sort_by_key(|segment| segment.segment);
    chain::check_ids(&segments)?;
    let found = Found::find(identity, &segments, stopped)?;
    let (first, count) = identity.partitions();
    let mut index = Index::new(first, count);
    index.reserve(found.key_count_min(&segments));
    let leaves = Leaves::new(first, count).map_err(|_| OpenError::NoMemory)?;
    let mut build = Build {
        identity,
        segments: &segments,
        builder: Builder::new(index, leaves),
        finished: Vec::new(),
        record_count: 0,
        scanned: Vec::new(),
        damage: Vec::new(),
    };
    build.all(&found)?;
    let Build { builder, mut finished, record_count, mut scanned, mut damage, .. } = build;
    finished.reverse();
    scanned.reverse();
    damage.sort_by_key(|one| (one.segment, one.offset));
    let is_kept = |segment: &u32| finished.iter().any(|one| one.segment == *segment);
    let mut void: Vec<u32> =
        segments.iter().map(|one| one.segment).filter(|one| !is_kept(one)).collect();
    let next_segment = segments.last().map_or(0, |one| one.segment) + 1;
    // Records do not name their segment's nonce: a used one must never be used again. Nor is a
    // roster written over, even if nothing followed it: what is missing below may be so since
    // the roster was on disk, and torn it would not say that.
    let last = segments.last().filter(|one| void.contains(&one.segment));
    let fresh = last.and_then(Segment::fresh);
    void.retain(|segment| fresh.is_none_or(|fresh| fresh.segment != *segment));
    let end = finished.last().map_or(Place(0), Finished::end);
    let synced = found.synced.min(end);
    let standing = Standing { finished, synced, next_segment, void, fresh };
    let suspect = damage.last().map_or(Place(0), |one| Place::new(one.segment, one.end));
    let (index, leaves) = builder.into_parts();
    let (cut, is_clean) = (found.cut, found.is_clean);
    Ok(Recovered { index, leaves, standing, suspect, record_count, scanned, damage, cut, is_clean })
}

/// Which segments are the log, and what the scan of the last ones gave.
struct Found {
    /// Known to have been on disk whole, ascending.
    sealed: Vec<Listed>,
    /// The last ones of the log, ascending.
    scanned: Vec<(Listed, Scanned)>,
    synced: Place,
    cut: Option<Cut>,
    is_clean: bool,
}

impl Found {
    /// About as many keys as there are at least: some that snapshots list were replaced since.
    fn key_count_min(&self, segments: &[Segment<'_>]) -> usize {
        let snapshot = |one: &Listed| segments[one.at].snapshot.map_or(0, snapshot::count);
        let listed: usize = self.sealed.iter().map(snapshot).sum();
        listed / 2
    }

    fn find(
        identity: &Identity,
        segments: &[Segment<'_>],
        stopped: Place,
    ) -> Result<Found, OpenError> {
        let mut limit = segments.len();
        let mut is_cut = false;
        'from: loop {
            let Some(chain) = Chain::find(segments, limit, stopped)? else {
                let (sealed, scanned) = (Vec::new(), Vec::new());
                let synced = Place(0);
                return Ok(Found { sealed, scanned, synced, cut: None, is_clean: false });
            };
            let mut synced = chain.synced;
            // A snapshot is only made of what is on disk.
            for one in chain.listed.iter().filter(|one| one.place() > chain.synced) {
                let is_whole = one.entries(&segments[one.at]).is_some();
                synced = if is_whole { synced.max(one.place()) } else { synced };
            }
            let is_sealed = |one: &Listed| one.place() <= synced;
            let (sealed, unsealed): (Vec<_>, Vec<_>) =
                chain.listed.iter().partition(|one| is_sealed(one));
            let top = chain.top(segments);
            let mut scanned = Vec::new();
            for (number, one) in unsealed.iter().chain([&top]).enumerate() {
                let later: Vec<_> = unsealed.iter().chain([&top]).skip(number + 1).collect();
                let mut scan = Scan { identity, segment: &segments[one.at], synced };
                let is_vouched =
                    |place| later.iter().any(|one| segments[one.at].vouches_all(place));
                let found = scan.run(one.end as usize, is_vouched);
                synced = synced.max(found.synced);
                let stopped = found.stopped;
                let is_top = number == unsealed.len();
                scanned.push((*one, found));
                if stopped != one.end && !is_top {
                    // The log ended in it: what was begun later goes on from elsewhere.
                    (limit, is_cut) = (one.at + 1, true);
                    continue 'from;
                }
            }
            let (last, tail) = scanned.last_mut().expect("the top was scanned");
            let place = Place::new(last.segment, tail.stopped);
            is_cut |= !tail.is_clean && segments[last.at].has_bytes_behind(tail.stopped);
            last.end = tail.stopped;
            let is_clean = tail.is_clean && !is_cut;
            let left = std::mem::take(&mut tail.left);
            let mut found =
                Found { sealed, scanned, synced, cut: is_cut.then_some(Cut { place }), is_clean };
            found.sealed.retain(|one| !left.contains(&one.segment));
            found.scanned.retain(|(one, _)| !left.contains(&one.segment));
            let by = top.segment;
            match chain.missing.iter().find(|segment| !left.contains(segment)) {
                Some(&segment) => return Err(OpenError::Missing { segment, by }),
                None => return Ok(found),
            }
        }
    }
}

/// Index and leaves in the making, from the newest segment to the oldest.
struct Build<'a> {
    identity: &'a Identity,
    segments: &'a [Segment<'a>],
    builder: Builder,
    /// Descending.
    finished: Vec<Finished>,
    record_count: u64,
    /// Descending.
    scanned: Vec<u32>,
    damage: Vec<Damage>,
}

impl Build<'_> {
    fn all(&mut self, found: &Found) -> Result<(), OpenError> {
        for (listed, scanned) in found.scanned.iter().rev() {
            // Without records the newest segment is of no use; the one to come names the same end.
            let is_bare = scanned.entries.is_empty() && scanned.damage.is_empty();
            if is_bare && self.finished.is_empty() {
                continue;
            }
            self.scanned(listed, scanned)?;
        }
        for listed in found.sealed.iter().rev() {
            let segment = &self.segments[listed.at];
            if let Some(entries) = listed.entries(segment) {
                self.add(listed, entries.rev(), State::Done)?;
                continue;
            }
            let synced = found.synced;
            let mut scan = Scan { identity: self.identity, segment, synced };
            let scanned = scan.run(listed.end as usize, |_| true);
            self.scanned.push(listed.segment);
            self.scanned(listed, &scanned)?;
        }
        Ok(())
    }

    fn scanned(&mut self, listed: &Listed, scanned: &Scanned) -> Result<(), OpenError> {
        self.damage.extend(&scanned.damage);
        let state = if scanned.damage.is_empty() { State::Bare } else { State::Damaged };
        self.add(listed, scanned.entries.iter().copied().rev(), state)
    }

    fn add(
        &mut self,
        listed: &Listed,
        entries: impl Iterator<Item = Entry>,
        state: State,
    ) -> Result<(), OpenError> {
        let segment = &self.segments[listed.at];
        let is_verified = state != State::Done;
        let (count, live) = self.builder.add(self.segments, segment, entries, is_verified)?;
        self.record_count += count;
        self.finished.push(Finished {
            segment: listed.segment,
            nonce: segment.nonce,
            end: listed.end,
            file_bytes: segment.bytes.len() as u32,
            roster_bytes: segment.roster_bytes(),
            live,
            state,
            is_moved: false,
        });
        Ok(())
    }
}
