//! Giving up what a sweep has found lost, so that the next start finds a whole log.
//!
//! A damaged segment leaves the log: what is intact and live in it is appended again, as merging
//! does. Keys that the index still has there are lost. Older records of them are dead, but would
//! be found again by a start that misses the newer one; so the segments with such records leave
//! before. So do those with records of keys that the index does not have: an erasure of them may
//! be lost.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | the active segment, if damaged, is finished | as before |
//! | 2 | what is live in damaged segments is appended again | old ones count, or equal new ones |
//! | 3 | keys that the index still has there are lost | as 2 |
//! | 4 | older segments with records of them: appended again, synced, left | as 2: the damaged |
//! | | | ones are still part of the log, and say that these keys have newer records |
//! | 5 | lost keys leave index and leaves; 3 to 5 until there is none | memory only: as 4 |
//! | 6 | sync all; nothing is suspect any more | as 4 |
//! | 7 | the damaged segments leave as merged ones do, in order; sync | each is there, or gone |
//! | 8 | unlink them | void files: removed at the next start |
//!
//! In step 8 a file whose very header is damaged still stops the next start, as it did before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringmain_core::id::Partition;
use ringmain_core::records::{Place, leaf_of};
use ringmain_core::wire::place::PlaceKind;

use super::super::background::Halt;
use super::super::content::Content;
use super::super::limits::LOST_COUNT_MAX;
use super::super::record::Frame;
use super::super::segments::State;
use super::super::walk::{Step, Walk};
use super::{Cursor, Log, Maps, Part, Pass, Stage};

/// Where giving up has come to.
#[derive(Default)]
pub(super) struct Acceptance {
    stage: Phase,
    /// The damaged segments, ascending.
    damaged: BTreeSet<u32>,
    /// Keys that the index has there, ascending by partition and order.
    lost: VecDeque<(Partition, u64, Place)>,
    /// Older segments with records of lost keys, or of keys whose erasures may be lost.
    stale: BTreeSet<u32>,
    /// Those were looked for.
    has_looked: bool,
}

/// What is done next.
#[derive(Default)]
enum Phase {
    #[default]
    Begin,
    /// The active segment is damaged.
    Finish,
    /// What is live in damaged segments is appended again.
    Rescue(Passes),
    /// Lost keys are gathered.
    Lose(Cursor),
    /// Older records of them are looked for.
    Look(Passes),
    /// What is live beside those is appended again.
    Move(Passes),
    /// Their segments leave once everything before the place is synced.
    Part(Place),
    Forget(Forget),
    /// The damaged segments leave once everything before the place is synced.
    Leave(Place),
    /// They are being listed as gone.
    Gone,
}

/// Segments to pass.
#[derive(Default)]
struct Passes {
    segments: VecDeque<u32>,
    pass: Option<Pass>,
}

impl Passes {
    fn over(segments: impl IntoIterator<Item = u32>) -> Passes {
        Passes { segments: segments.into_iter().collect(), pass: None }
    }
}

/// Keys leave the index, leaf by leaf.
#[derive(Default)]
struct Forget {
    /// Version hashes of records in the leaf at hand, by their places.
    versions: BTreeMap<Place, u64>,
    /// One that is being read, and whose it is.
    reading: Option<(Partition, u64, Place, Walk)>,
}

impl Acceptance {
    /// The walk that reads.
    pub(super) fn walk(&self) -> Option<&Walk> {
        match &self.stage {
            Phase::Rescue(passes) | Phase::Look(passes) | Phase::Move(passes) => {
                Some(&passes.pass.as_ref()?.walk)
            }
            Phase::Forget(forget) => Some(&forget.reading.as_ref()?.3),
            _ => None,
        }
    }

    /// As [`Acceptance::walk`], to change it.
    pub(super) fn walk_mut(&mut self) -> Option<&mut Walk> {
        match &mut self.stage {
            Phase::Rescue(passes) | Phase::Look(passes) | Phase::Move(passes) => {
                Some(&mut passes.pass.as_mut()?.walk)
            }
            Phase::Forget(forget) => Some(&mut forget.reading.as_mut()?.3),
            _ => None,
        }
    }
}

impl<M: Maps> Log<M> {
    /// A bounded step. Damage that the sweep has not met ends it: then nothing more is given up.
    pub(super) fn step_accept(&mut self, all: &mut Acceptance) -> Result<Option<Stage>, Halt> {
        let mut stage = std::mem::take(&mut all.stage);
        let next = self.step_phase(&mut stage, all);
        match next {
            Ok(Some(Phase::Begin)) => {
                self.scrubber.report.is_accepted = true;
                Ok(Some(Stage::Idle))
            }
            Ok(next) => {
                all.stage = next.unwrap_or(stage);
                Ok(None)
            }
            Err(halt) => {
                all.stage = stage;
                Err(halt)
            }
        }
    }

    /// What comes next, if the phase has ended; [`Phase::Begin`] after the last.
    fn step_phase(
        &mut self,
        phase: &mut Phase,
        all: &mut Acceptance,
    ) -> Result<Option<Phase>, Halt> {
        match phase {
            Phase::Begin => {
                let finished = self.writer.segments.finished().iter();
                let damaged = finished.filter(|one| one.state == State::Damaged);
                all.damaged = damaged.map(|one| one.segment).collect();
                let found = self.scrubber.damaged.iter().copied();
                all.damaged.extend(found.filter(|segment| self.writer.holds(*segment)));
                self.scrubber.report.keys_lost = 0;
                Ok(Some(Phase::Finish))
            }
            Phase::Finish => self.step_finish(all),
            Phase::Rescue(passes) => {
                let is_over = self.step_passes(passes, |log, _, frame| log.rescue(frame))?;
                Ok(is_over.then(|| Phase::Lose(Cursor::default())))
            }
            Phase::Lose(cursor) => Ok(self.step_lose(cursor, all)),
            Phase::Look(passes) => self.step_look(passes, all),
            Phase::Move(passes) => {
                let is_over = self.step_passes(passes, |log, _, frame| log.rescue(frame))?;
                self.refuse_damage(&all.stale)?;
                if is_over {
                    self.writer.sync_wanted();
                }
                Ok(is_over.then(|| Phase::Part(self.writer.end())))
            }
            Phase::Part(goal) | Phase::Leave(goal) if self.writer.synced() < *goal => {
                Err(Halt::Wait)
            }
            Phase::Part(_) => {
                self.leave_all(&std::mem::take(&mut all.stale));
                Ok(Some(Phase::Forget(Forget::default())))
            }
            Phase::Forget(forget) => self.step_forget(forget, all),
            Phase::Leave(_) => {
                self.leave_all(&all.damaged);
                Ok(Some(Phase::Gone))
            }
            Phase::Gone if all.damaged.iter().any(|one| !self.writer.is_gone(*one)) => {
                Err(Halt::Wait)
            }
            Phase::Gone => Ok(Some(Phase::Begin)),
        }
    }

    /// Nothing is appended to damaged segments any more, and they are written whole.
    fn step_finish(&mut self, all: &Acceptance) -> Result<Option<Phase>, Halt> {
        let Some(&last) = all.damaged.last() else {
            return Ok(Some(Phase::Lose(Cursor::default())));
        };
        if !self.writer.finish(last) {
            return Err(Halt::Wait);
        }
        let end = self.writer.segments.find(last).map_or(Place(0), |one| one.end());
        if end > self.writer.synced() {
            self.writer.sync_finished();
            return Err(Halt::Wait);
        }
        for segment in &all.damaged {
            self.writer.segments.set_state(*segment, State::Damaged);
        }
        Ok(Some(Phase::Rescue(Passes::over(all.damaged.iter().copied()))))
    }

    /// As [`Log::step_pass`], over all segments that are still there.
    fn step_passes(
        &mut self,
        passes: &mut Passes,
        visit: impl FnMut(&mut Log<M>, &Content<'_>, &Frame<'_>) -> Result<usize, Halt>,
    ) -> Result<bool, Halt> {
        let Passes { segments, pass } = passes;
        let Some(one) = pass else {
            let Some(segment) = segments.pop_front() else { return Ok(true) };
            *pass = self.writer.segments.find(segment).map(|one| Pass::new(Part::of(one)));
            return Ok(false);
        };
        let is_here = self.writer.holds(one.part.segment);
        if is_here && !self.step_pass(one, visit)? {
            return Ok(false);
        }
        let Some(one) = pass.take() else { unreachable!("it has just been stepped") };
        let state = self.writer.segments.find(one.part.segment).map(|one| one.state);
        if !one.damage.is_empty() && state.is_some_and(|state| state != State::Damaged) {
            self.note_damage(&one);
        }
        Ok(false)
    }

    /// Appends a record again if it is live.
    fn rescue(&mut self, frame: &Frame<'_>) -> Result<usize, Halt> {
        if !self.writer.segments.is_live(frame.place()) {
            return Ok(0);
        }
        let key = self.key_of(frame).ok_or(Halt::Damaged)?;
        self.move_record(frame, &key)
    }

    /// Gathers the keys whose record lies in a damaged segment: nothing that holds does any more.
    fn step_lose(&mut self, cursor: &mut Cursor, all: &mut Acceptance) -> Option<Phase> {
        let Acceptance { damaged, lost, has_looked, .. } = all;
        let is_more =
            cursor.step(&self.index, self.writer.identity(), |partition, order, place| {
                if damaged.contains(&place.segment()) && lost.len() < LOST_COUNT_MAX {
                    lost.push_back((partition, order, place));
                }
            });
        if is_more {
            return None;
        }
        if !lost.is_empty() || !*has_looked && !damaged.is_empty() {
            let newest = damaged.last().copied().unwrap_or_default();
            let finished = self.writer.segments.finished().iter().map(|one| one.segment);
            let older = finished.filter(|one| *one < newest && !damaged.contains(one));
            return Some(Phase::Look(Passes::over(older)));
        }
        // Nobody keeps those of other nodes as well: anti-entropy finds what they lack.
        let is_lost = |place: Place| damaged.contains(&place.segment());
        self.scrubber.report.keys_lost += self.index.hints.lose(is_lost);
        self.writer.sync_wanted();
        self.suspect = Place(0);
        self.mending.believe_all();
        Some(Phase::Leave(self.writer.end()))
    }

    fn step_look(
        &mut self,
        passes: &mut Passes,
        all: &mut Acceptance,
    ) -> Result<Option<Phase>, Halt> {
        let Acceptance { lost, stale, has_looked, .. } = all;
        *has_looked = true;
        let is_over = self.step_passes(passes, |log, content, frame| {
            if let Content::Record(key, _) = content {
                let table = log.index.of(key);
                // It was erased, perhaps by what is lost.
                if table.guess(key.order).is_none() {
                    stale.insert(frame.place().segment());
                }
                let wanted = (key.partition, key.order);
                let at = lost.partition_point(|one| (one.0, one.1) < wanted);
                let is_lost = lost.get(at).is_some_and(|one| (one.0, one.1) == wanted);
                if is_lost && !key.is_hint() && !table.holds_at(key.order, frame.place()) {
                    stale.insert(frame.place().segment());
                }
            }
            Ok(0)
        })?;
        self.refuse_damage(stale)?;
        Ok(is_over.then(|| Phase::Move(Passes::over(stale.iter().copied()))))
    }

    /// One of the segments turned out to be damaged since the sweep: they cannot leave.
    fn refuse_damage(&self, segments: &BTreeSet<u32>) -> Result<(), Halt> {
        let find = |segment: &u32| self.writer.segments.find(*segment);
        let is_damaged =
            |segment: &u32| find(segment).is_some_and(|one| one.state == State::Damaged);
        if segments.iter().any(is_damaged) { Err(Halt::Damaged) } else { Ok(()) }
    }

    /// Has segments leave the log, in which the index has nothing.
    fn leave_all(&mut self, segments: &BTreeSet<u32>) {
        for &segment in segments {
            if self.writer.segments.find(segment).is_some() {
                self.writer.segments.write_off(segment);
                self.writer.leave(segment);
            }
        }
    }

    fn step_forget(
        &mut self,
        forget: &mut Forget,
        all: &mut Acceptance,
    ) -> Result<Option<Phase>, Halt> {
        if let Some((partition, order, place, walk)) = &mut forget.reading {
            let (partition, order, place) = (*partition, *order, *place);
            let version = match walk.step() {
                Step::Wait => return Err(Halt::Wait),
                Step::Frame(_, frame) => self.version_of(&frame),
                Step::Damaged | Step::End => None,
            };
            forget.reading = None;
            match version {
                Some(version) => drop(forget.versions.insert(place, version)),
                // It may have been replaced and be gone.
                None if !self.index.table(partition).holds_at(order, place) => {}
                None => return Err(self.on_unread(place)),
            }
            return Ok(None);
        }
        let Some(&(partition, order, _)) = all.lost.front() else {
            return Ok(Some(Phase::Lose(Cursor::default())));
        };
        let leaf = leaf_of(order);
        let mut sum = 0_u64;
        let mut lost = Vec::new();
        let first = leaf_start(leaf);
        let of_leaf = self.index.table(partition).iter_from(first);
        for (order, place) in of_leaf.take_while(|(order, _)| leaf_of(*order) == leaf) {
            if all.damaged.contains(&place.segment()) {
                lost.push((order, place));
            } else if let Some(version) = forget.versions.get(&place) {
                sum = sum.wrapping_add(*version);
            } else {
                return self.read_version(forget, (partition, order, place));
            }
        }
        for (order, place) in &lost {
            let is_removed = self.index.table_mut(partition).remove_at(*order, *place);
            assert!(is_removed, "it was there just now");
        }
        self.scrubber.report.keys_lost += lost.len() as u64;
        self.leaves.of(partition)[leaf] = sum;
        self.on_summed(partition, leaf);
        let is_same = |one: &(Partition, u64, Place)| one.0 == partition && leaf_of(one.1) == leaf;
        while all.lost.front().is_some_and(is_same) {
            all.lost.pop_front();
        }
        forget.versions.clear();
        Ok(None)
    }

    /// Has the version hash of an intact record read, or takes it from the tail.
    fn read_version(
        &self,
        forget: &mut Forget,
        (partition, order, place): (Partition, u64, Place),
    ) -> Result<Option<Phase>, Halt> {
        if place >= self.writer.written() {
            let frame = self.source().frame(place).map_err(|_| Halt::Over)?;
            let version = self.version_of(&frame).ok_or(Halt::Over)?;
            forget.versions.insert(place, version);
            return Ok(None);
        }
        let finished = self.writer.segments.find(place.segment());
        let end = finished.map_or(self.writer.written().offset(), |one| one.end);
        forget.reading = Some((partition, order, place, Walk::to_record(place, end)));
        Ok(None)
    }

    pub(in crate::log) fn version_of(&self, frame: &Frame<'_>) -> Option<u64> {
        if frame.kind() != PlaceKind::Record {
            return None;
        }
        match Content::new_checked(frame, self.writer.identity(), 0)? {
            Content::Record(key, stored) => Some(stored.record.version(&key)),
            Content::Erasure(..) | Content::Batch(_) => None,
        }
    }

    /// A record beside a lost one cannot be read either, though the sweep could.
    fn on_unread(&mut self, place: Place) -> Halt {
        let segment = place.segment();
        self.writer.segments.doubt(segment);
        self.writer.segments.set_state(segment, State::Damaged);
        self.scrubber.report.damage_count += 1;
        self.scrubber.counts.damaged += 1;
        Halt::Damaged
    }
}

/// The lowest order of a leaf.
fn leaf_start(leaf: usize) -> u64 {
    (leaf as u64) << (64 - ringmain_core::limits::MERKLE_LEAF_COUNT.ilog2())
}
