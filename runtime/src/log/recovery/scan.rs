//! The frames of a segment, one after another.

use ringmain_core::records::Place;

use super::super::content::Content;
use super::super::limits::RECORD_ALIGN;
use super::super::record::FRAME_FIRST_BYTE;
use super::super::segment::{Identity, SEGMENT_HEADER_BYTES};
use super::super::snapshot::{Entry, What};
use super::Damage;
use super::segment::Segment;

/// A scan of one segment.
pub(super) struct Scan<'a> {
    pub(super) identity: &'a Identity,
    pub(super) segment: &'a Segment<'a>,
    /// Everything before this place is known to have been on disk.
    pub(super) synced: Place,
}

/// What a scan gave.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Its records, in their order.
    pub(super) entries: Vec<Entry>,
    /// The offset behind its last good frame.
    pub(super) stopped: u32,
    pub(super) damage: Vec<Damage>,
    /// The highest synced place that a batch header names.
    pub(super) synced: Place,
    /// Segments that batch headers say have left the log.
    pub(super) left: Vec<u32>,
    /// Its last frame is the header of a clean stop.
    pub(super) is_clean: bool,
}

impl Scanned {
    /// Notes that what lies from `at` to `end` is damaged.
    fn lose(&mut self, segment: u32, at: usize, end: usize) {
        let (offset, end) = (at as u32, end as u32);
        match self.damage.last_mut().filter(|last| last.end == offset) {
            Some(last) => last.end = end,
            None => self.damage.push(Damage { segment, offset, end }),
        }
    }
}

impl Scan<'_> {
    /// Scans up to `end`, or to the first bad frame that was never on disk: it is not before the
    /// synced place, and neither this segment nor a later one (`is_vouched`) says otherwise.
    pub(super) fn run(&mut self, end: usize, is_vouched: impl Fn(Place) -> bool) -> Scanned {
        let mut scanned = Scanned::default();
        let mut at = SEGMENT_HEADER_BYTES;
        while at < end {
            if let Some(next) = self.frame(at, end, &mut scanned) {
                at = next;
                continue;
            }
            if scanned.is_clean {
                // Nothing was appended behind a clean stop.
                break;
            }
            let place = self.segment.place(at);
            let known = self.synced.max(scanned.synced);
            let was_on_disk = place < known || self.segment.vouches(at, place) || is_vouched(place);
            if !was_on_disk {
                break;
            }
            let next = self.behind(at, end, known);
            scanned.lose(self.segment.segment, at, next);
            at = next;
        }
        scanned.stopped = at as u32;
        scanned
    }

    /// Takes the frame at `at` in; the offset behind it, or `None` if it does not hold.
    fn frame(&self, at: usize, end: usize, scanned: &mut Scanned) -> Option<usize> {
        let frame = self.segment.frame(at)?;
        let next = at + frame.bytes().len().next_multiple_of(RECORD_ALIGN);
        if next > end {
            return None;
        }
        match Content::new_checked(&frame, self.identity, self.segment.nonce)? {
            Content::Record(key, stored) => {
                scanned.entries.push(Entry {
                    what: What::Record(stored.record.lifespan()),
                    partition: key.partition,
                    order: key.order,
                    version: stored.record.version(&key),
                    offset: at as u32,
                    bytes: frame.padded_bytes() as u32,
                    is_twin: frame.is_twin(),
                    target: key.target,
                });
                scanned.is_clean = false;
            }
            Content::Erasure(key, before) => {
                scanned.entries.push(Entry {
                    what: What::Erasure,
                    partition: key.partition,
                    order: key.order,
                    version: before.0,
                    offset: at as u32,
                    bytes: frame.padded_bytes() as u32,
                    is_twin: frame.is_twin(),
                    target: key.target,
                });
                scanned.is_clean = false;
            }
            Content::Batch(header) => {
                scanned.synced = scanned.synced.max(header.synced);
                scanned.is_clean = header.is_stop;
                if !header.is_first {
                    scanned.left.extend(header.list().map(Place::segment));
                }
            }
        }
        Some(next)
    }

    /// Where to go on behind the damaged frame at `at`. If its place part holds, that says where
    /// the next one begins: what lies in between is no frame, whatever it looks like. If nothing
    /// holds any more, what is `known` to have been on disk ends the damage.
    fn behind(&self, at: usize, end: usize, known: Place) -> usize {
        let next = self.segment.frame(at).map(|frame| at + frame.padded_bytes());
        let next = next.filter(|next| *next <= end);
        next.or_else(|| self.next_good(at + RECORD_ALIGN, end)).unwrap_or_else(|| {
            let is_here = known.segment() == self.segment.segment && known > self.segment.place(at);
            if is_here { end.min(known.offset() as usize) } else { end }
        })
    }

    /// The offset of the next frame that holds, from `from` on.
    fn next_good(&self, from: usize, end: usize) -> Option<usize> {
        let mut offsets = (from..end).step_by(RECORD_ALIGN);
        offsets.find(|&at| {
            self.segment.bytes[at] == FRAME_FIRST_BYTE
                && self.frame(at, end, &mut Scanned::default()).is_some()
        })
    }
}
