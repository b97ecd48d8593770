//! The checksum sweep: whether what was written can still be read, and giving up what cannot.
//!
//! *Problem.* A record may rot while nobody reads it, and the copies at other nodes with it.
//! *Answer.* A sweep reads every frame that was there when it began, oldest segment first, through
//! [`Pass`]es of bounded steps, and counts the live records that lie in damaged ranges. It changes
//! nothing but that records in a damaged segment are checked again when they are read, and that
//! the segment is not merged, which would fail. With [`Log::begin_sweep`]'s `accepts_loss` it goes
//! on and gives up what is lost: [`accept`] has the steps. *Invariant.* A sweep reads through
//! requests, one at a time and never beside another read of background work; it goes on only
//! where no other job can, and survives segments that leave meanwhile.
//!
//! *Pace.* A sweep that was asked for goes as fast as steps allow; the continuous one reads so many
//! bytes each second. What is in the page cache is read from there: it says nothing of the disk.

use std::collections::{BTreeSet, VecDeque};

use ringmain_core::id::Partition;
use ringmain_core::records::Place;
use ringmain_core::time::Instant;

use super::background::Halt;
use super::content::Content;
use super::index::Index;
use super::limits::{
    DAMAGE_COUNT_MAX, STEP_BYTES, STEP_ENTRY_COUNT_MAX, STEP_FRAME_COUNT_MAX, SWEEP_PAUSE,
};
use super::record::Frame;
use super::request::{Errno, Request};
use super::segment::Identity;
use super::segments::State;
use super::walk::Walk;
use super::{Damage, Log, Maps};
use accept::Acceptance;
pub(super) use pass::Part;
use pass::Pass;

mod accept;
mod pass;

/// What a sweep has found so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SweepReport {
    /// It goes on.
    pub is_running: bool,
    /// Somebody asked for it.
    pub is_asked: bool,
    /// What is lost is to be given up.
    pub accepts_loss: bool,
    /// What was lost has been given up, and the segments that it lay in have left the log.
    pub is_accepted: bool,
    /// Segments to check.
    pub segments: usize,
    /// Bytes to check.
    pub bytes: u64,
    /// Bytes checked.
    pub bytes_checked: u64,
    /// Damaged ranges, ascending: the first [`DAMAGE_COUNT_MAX`].
    pub damage: Vec<Damage>,
    /// All damaged ranges.
    pub damage_count: u64,
    /// Keys whose record lies in one of `damage`: it cannot be read here. Counted, and with
    /// `accepts_loss` given up, once all bytes are checked.
    pub keys_lost: u64,
    /// A start met damage of unknown extent: keys that were written last before it, or never, are
    /// errors.
    pub is_suspect: bool,
    /// As `is_suspect`, when the sweep began: nobody knows which keys that damage took.
    pub was_suspect: bool,
}

impl SweepReport {
    /// Whether it has ended, and all was checked.
    pub fn is_whole(&self) -> bool {
        !self.is_running && self.is_asked && self.bytes_checked == self.bytes
    }

    /// Whether something is amiss and was not given up.
    pub fn has_loss(&self) -> bool {
        (self.damage_count > 0 || self.is_suspect) && !self.is_accepted
    }
}

/// What sweeps have done since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SweepCounts {
    /// Bytes checked.
    pub bytes: u64,
    /// Damaged ranges found; one that stays is found by each sweep.
    pub damaged: u64,
    /// Sweeps that have ended.
    pub ended: u64,
}

/// The sweeps of a log.
#[derive(Default)]
pub(super) struct Scrubber {
    stage: Stage,
    report: SweepReport,
    /// Segments that the sweep found damaged.
    damaged: BTreeSet<u32>,
    counts: SweepCounts,
    /// Bytes that the continuous sweep reads in a second; 0 = there is none.
    rate: u64,
    /// No read before this.
    next_read: Instant,
    /// The next continuous sweep begins then.
    next_sweep: Instant,
    /// A read of it is under way; false = of a sweep that is over.
    reading: Option<bool>,
    /// The last step came to nothing, and nothing has happened since.
    is_waiting: bool,
}

/// What a sweep does next.
#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// Segments are checked.
    Sweep { parts: VecDeque<Part>, pass: Option<Pass> },
    /// Keys that cannot be read are counted.
    Count(Cursor),
    /// They are given up.
    Accept(Box<Acceptance>),
}

impl Scrubber {
    /// Whether a read of a sweep is under way.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether a step would not come to nothing.
    pub(super) fn is_due(&self) -> bool {
        self.report.is_running && !self.is_waiting && self.reading.is_none()
    }

    /// Something has ended: a step may go on.
    pub(super) fn on_event(&mut self) {
        self.is_waiting = false;
    }

    /// The read that the sweep waits for, once it is due.
    pub(super) fn poll_request(&mut self, now: Instant) -> Option<Request> {
        if self.reading.is_some() || now < self.next_read {
            return None;
        }
        let request = self.stage.walk_mut()?.poll_request()?;
        if let Request::Read(read) = &request
            && !self.report.is_asked
        {
            let micros = u64::from(read.bytes) * 1_000_000 / self.rate.max(1);
            self.next_read = Instant(now.0 + micros);
        }
        self.reading = Some(true);
        Some(request)
    }

    /// When there is something to do, unless a job reads.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.reading.is_some() {
            return None;
        }
        if !self.report.is_running {
            return (self.rate > 0).then_some(self.next_sweep);
        }
        self.stage.walk().is_some_and(Walk::wants_read).then_some(self.next_read)
    }

    /// The bytes that were asked for.
    pub(super) fn on_read(&mut self, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
        self.is_waiting = false;
        let is_wanted = self.reading.take() == Some(true);
        match self.stage.walk_mut().filter(|_| is_wanted) {
            Some(walk) => walk.on_read(result),
            None => result.unwrap_or_default(),
        }
    }
}

impl Stage {
    /// The walk that reads.
    fn walk(&self) -> Option<&Walk> {
        match self {
            Stage::Idle | Stage::Count(_) => None,
            Stage::Sweep { pass, .. } => Some(&pass.as_ref()?.walk),
            Stage::Accept(acceptance) => acceptance.walk(),
        }
    }

    /// As [`Stage::walk`], to change it.
    fn walk_mut(&mut self) -> Option<&mut Walk> {
        match self {
            Stage::Idle | Stage::Count(_) => None,
            Stage::Sweep { pass, .. } => Some(&mut pass.as_mut()?.walk),
            Stage::Accept(acceptance) => acceptance.walk_mut(),
        }
    }
}

impl<M: Maps> Log<M> {
    /// Begins a sweep over all that is written now, in place of one that is under way. With
    /// `accepts_loss` it then gives up what cannot be read: such keys are not found from then on,
    /// and keys that were written last before damage of unknown extent have the values that are
    /// left.
    pub fn begin_sweep(&mut self, accepts_loss: bool) {
        self.start_sweep(true, accepts_loss);
    }

    /// Has sweeps follow one another from `now` on that read `rate` bytes in a second; 0 = none.
    pub fn sweep_continuously(&mut self, rate: u64, now: Instant) {
        self.scrubber.rate = rate;
        self.scrubber.next_sweep = now;
    }

    /// Somebody has removed the file of `segment`: what it holds can be read until this process
    /// ends, and the next start misses it. The sweep that is at its header counts that as damaged,
    /// so that to accept the loss moves all records out of the segment. False if none is.
    pub fn note_removed(&mut self, segment: u32) -> bool {
        match &mut self.scrubber.stage {
            Stage::Sweep { pass: Some(pass), .. } if pass.part.segment == segment => {
                pass.is_removed = true;
                true
            }
            _ => false,
        }
    }

    /// What the latest sweep has found.
    pub fn sweep_report(&self) -> &SweepReport {
        &self.scrubber.report
    }

    /// What sweeps have done.
    pub fn sweep_counts(&self) -> SweepCounts {
        self.scrubber.counts
    }

    fn start_sweep(&mut self, is_asked: bool, accepts_loss: bool) {
        let parts: VecDeque<Part> = self.writer.written_parts().collect();
        let scrubber = &mut self.scrubber;
        scrubber.damaged.clear();
        scrubber.report = SweepReport {
            is_running: true,
            is_asked,
            accepts_loss,
            segments: parts.len(),
            bytes: parts.iter().map(|part| u64::from(part.end)).sum(),
            is_suspect: self.suspect > Place(0),
            was_suspect: self.suspect > Place(0),
            ..SweepReport::default()
        };
        // What a sweep before it asked for is of no use.
        scrubber.reading = scrubber.reading.map(|_| false);
        scrubber.is_waiting = false;
        if is_asked {
            scrubber.next_read = Instant(0);
        }
        scrubber.stage = Stage::Sweep { parts, pass: None };
    }

    /// The read of a sweep that is due. Begins the continuous one, and ends any once the log takes
    /// no appends.
    pub(super) fn poll_sweep(&mut self, now: Instant) -> Option<Request> {
        let scrubber = &self.scrubber;
        if !self.writer.is_running() {
            if scrubber.report.is_running {
                self.end_sweep();
            }
            return None;
        }
        if scrubber.rate > 0 && now >= scrubber.next_sweep && !scrubber.report.is_running {
            self.start_sweep(false, false);
            self.scrubber.next_sweep = now + SWEEP_PAUSE;
        }
        if self.background.is_reading() { None } else { self.scrubber.poll_request(now) }
    }

    /// A bounded step of a sweep; false if there is nothing to do before a completion comes.
    /// `is_alone`: no job is under way, which might be at the segment that is to leave.
    pub(super) fn step_sweep(&mut self, is_alone: bool) -> bool {
        let is_accepting = matches!(self.scrubber.stage, Stage::Accept(_));
        if !self.scrubber.is_due() || (is_accepting && !is_alone) {
            return false;
        }
        let mut stage = std::mem::take(&mut self.scrubber.stage);
        let result = match &mut stage {
            Stage::Idle => unreachable!("a sweep that runs has a stage"),
            Stage::Sweep { parts, pass } => self.step_parts(parts, pass),
            Stage::Count(cursor) => Ok(self.step_count(cursor)),
            Stage::Accept(acceptance) => self.step_accept(acceptance),
        };
        match result {
            Ok(next) => self.scrubber.stage = next.unwrap_or(stage),
            Err(Halt::Wait | Halt::Full) => {
                self.scrubber.stage = stage;
                self.scrubber.is_waiting = true;
                return false;
            }
            Err(Halt::Damaged | Halt::Over | Halt::Hint) => self.end_sweep(),
        }
        if matches!(self.scrubber.stage, Stage::Idle) {
            self.end_sweep();
        }
        true
    }

    fn end_sweep(&mut self) {
        self.scrubber.stage = Stage::Idle;
        self.scrubber.report.is_running = false;
        self.scrubber.counts.ended += 1;
        self.scrubber.report.is_suspect = self.suspect > Place(0);
    }

    fn step_parts(
        &mut self,
        parts: &mut VecDeque<Part>,
        pass: &mut Option<Pass>,
    ) -> Result<Option<Stage>, Halt> {
        let Some(one) = pass.as_mut() else {
            let Some(part) = parts.pop_front() else {
                return Ok(Some(Stage::Count(Cursor::default())));
            };
            *pass = Some(Pass::new(part));
            return Ok(None);
        };
        let is_here = self.writer.holds(one.part.segment);
        let before = one.walk.at();
        let is_over = !is_here || self.step_pass(one, |_, _, _| Ok(0))?;
        let checked = if is_here { one.walk.at() } else { one.part.end };
        let checked = u64::from(checked.min(one.part.end).saturating_sub(before));
        self.scrubber.report.bytes_checked += checked;
        self.scrubber.counts.bytes += checked;
        if !is_over {
            return Ok(None);
        }
        let Some(one) = pass.take() else { unreachable!("it has just been stepped") };
        if is_here {
            self.on_checked(&one);
        }
        Ok(None)
    }

    /// Notes what was found in a segment. One in which nothing is damaged any more was not read
    /// when the disk had a bad moment.
    fn on_checked(&mut self, pass: &Pass) {
        let segment = pass.part.segment;
        let state = self.writer.segments.find(segment).map(|one| one.state);
        if pass.damage.is_empty() {
            if state == Some(State::Damaged) && segment > self.suspect.segment() {
                self.writer.segments.set_state(segment, State::Done);
            }
            self.writer.segments.trust(segment);
            self.failed_reads.forget(segment);
            return;
        }
        self.note_damage(pass);
    }

    fn note_damage(&mut self, pass: &Pass) {
        let segment = pass.part.segment;
        self.scrubber.damaged.insert(segment);
        self.writer.segments.doubt(segment);
        self.writer.segments.set_state(segment, State::Damaged);
        let Scrubber { report, counts, .. } = &mut self.scrubber;
        let count = pass.damage.len() as u64 + pass.unlisted;
        report.damage_count += count;
        counts.damaged += count;
        let room = DAMAGE_COUNT_MAX - report.damage.len();
        report.damage.extend(pass.damage.iter().take(room));
    }

    fn step_count(&mut self, cursor: &mut Cursor) -> Option<Stage> {
        let report = &mut self.scrubber.report;
        let mut lost = Vec::new();
        let is_more = !report.damage.is_empty()
            && cursor.step(&self.index, self.writer.identity(), |partition, order, place| {
                let behind = |one: &Damage| Place::new(one.segment, one.end) <= place;
                let at = report.damage.partition_point(behind);
                let damage = report.damage.get(at);
                let is_in = |one: &Damage| Place::new(one.segment, one.offset) <= place;
                if damage.is_some_and(is_in) {
                    report.keys_lost += 1;
                    lost.push((partition, order));
                }
            });
        for (partition, order) in lost {
            self.on_unreadable(partition, order);
        }
        let report = &self.scrubber.report;
        if is_more {
            return None;
        }
        let is_lossy = report.damage_count > 0 || self.suspect > Place(0);
        let is_next = report.accepts_loss && is_lossy;
        Some(if is_next { Stage::Accept(Box::default()) } else { Stage::Idle })
    }

    /// Lets `visit` see the next frames of a segment that hold, until it says that it has done
    /// enough. Returns whether that was the last.
    fn step_pass(
        &mut self,
        pass: &mut Pass,
        mut visit: impl FnMut(&mut Log<M>, &Content<'_>, &Frame<'_>) -> Result<usize, Halt>,
    ) -> Result<bool, Halt> {
        let identity = *self.writer.identity();
        let mut bytes = 0;
        for count in 0..STEP_FRAME_COUNT_MAX {
            let mut done = 0;
            let passed = pass.step(&identity, |content, frame| {
                done = visit(self, content, frame)?;
                Ok(())
            });
            bytes += done;
            match passed {
                Ok(Some(more)) => bytes += more,
                Ok(None) => return Ok(true),
                Err(Halt::Wait) if count > 0 => break,
                Err(halt) => return Err(halt),
            }
            if bytes >= STEP_BYTES {
                break;
            }
        }
        Ok(false)
    }
}

/// Where a look at all index entries has come to.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// Partitions done.
    partitions: usize,
    /// Orders below it are done in the next one.
    order: u64,
}

impl Cursor {
    /// Visits a bounded number of entries; false if there are no more.
    fn step(
        &mut self,
        index: &Index,
        identity: &Identity,
        mut visit: impl FnMut(Partition, u64, Place),
    ) -> bool {
        let (first, count) = identity.partitions();
        let mut seen = 0;
        while self.partitions < count {
            let partition = Partition(first.0 + self.partitions as u16);
            let mut last = None;
            for (order, place) in index.table(partition).iter_from(self.order) {
                // Equal orders are one step.
                if seen >= STEP_ENTRY_COUNT_MAX && last != Some(order) {
                    self.order = order;
                    return true;
                }
                visit(partition, order, place);
                seen += 1;
                last = Some(order);
            }
            self.partitions += 1;
            self.order = 0;
            if seen >= STEP_ENTRY_COUNT_MAX / 2 {
                break;
            }
        }
        self.partitions < count
    }
}
