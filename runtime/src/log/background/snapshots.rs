//! The steps of a snapshot.

use ringmain_core::records::Place;

use super::super::limits::{SNAPSHOT_PART_BYTES, STEP_FRAME_COUNT_MAX};
use super::super::record::{self, Frame};
use super::super::request::Request;
use super::super::snapshot::{Entry, What};
use super::super::walk::{Step, Walk};
use super::super::{Log, Maps};
use super::{Halt, Job, Snapshot, Stage};

impl<M: Maps> Log<M> {
    pub(super) fn step_snapshot(
        &mut self,
        walk: &mut Walk,
        snapshot: &mut Snapshot,
    ) -> Result<Option<Job>, Halt> {
        if snapshot.part.is_some() || snapshot.is_storing {
            return Err(Halt::Wait);
        }
        let segment = walk.segment();
        match snapshot.stage {
            Stage::Entries => {}
            Stage::Settling(goal) if self.writer.synced() < goal => return Err(Halt::Wait),
            Stage::Settling(_) => {
                let (offset, bytes) = snapshot.encoder.take(true);
                snapshot.part = Some(Request::Store { segment, offset, bytes, is_last: true });
                snapshot.stage = Stage::Last;
                return Ok(None);
            }
            Stage::Last => return Err(Halt::Wait),
        }
        // While merging is owed, this pays nothing of it.
        let is_owed = !self.is_merging_due();
        for count in 0..STEP_FRAME_COUNT_MAX {
            let bytes = match walk.step() {
                Step::Frame(place, frame) => {
                    if let Some(entry) = self.entry(place, &frame)? {
                        snapshot.encoder.push(&entry);
                    }
                    frame.bytes().len()
                }
                Step::Wait if count > 0 => break,
                Step::Wait => return Err(Halt::Wait),
                Step::Damaged => return Err(Halt::Damaged),
                Step::End => {
                    self.writer.sync_wanted();
                    snapshot.stage = Stage::Settling(self.writer.end());
                    return Ok(None);
                }
            };
            walk.pass(bytes);
            if is_owed {
                self.background.pay(bytes);
            }
        }
        if snapshot.encoder.waiting_bytes() >= SNAPSHOT_PART_BYTES {
            let (offset, bytes) = snapshot.encoder.take(false);
            snapshot.part = Some(Request::Store { segment, offset, bytes, is_last: false });
        }
        Ok(None)
    }

    /// What a start must know of the record at `place`, if it is live.
    fn entry(&self, place: Place, frame: &Frame<'_>) -> Result<Option<Entry>, Halt> {
        if !self.writer.segments.is_live(place) {
            return Ok(None);
        }
        let key = self.key_of(frame).ok_or(Halt::Damaged)?;
        if key.is_hint() {
            return Err(Halt::Hint);
        }
        let (what, version) = if let Some(before) = frame.erases_before() {
            (What::Erasure, before.0)
        } else {
            let is_here = self.index.table(key.partition).holds_at(key.order, place);
            let record = frame.stored().ok().filter(|_| is_here).ok_or(Halt::Damaged)?.record;
            (What::Record(record.lifespan()), record.version(&key))
        };
        if !frame.is_intact() {
            return Err(Halt::Damaged);
        }
        Ok(Some(Entry {
            what,
            partition: key.partition,
            order: key.order,
            version,
            offset: place.offset(),
            bytes: record::padded_bytes(frame.body().bytes().len()) as u32,
            is_twin: frame.is_twin(),
            target: key.target,
        }))
    }
}
