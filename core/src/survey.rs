//! Surveys: whether records may leave for good, and what of them does (DeCandia et al., Dynamo,
//! leaves deletes open; the rules are those of Riak's reaper and of Garage's garbage collection,
//! without their clocks).
//!
//! *Problem.* A tombstone may only go when nothing that it hides can come back: no copy at an
//! owner, no hint, no copy of somebody who owned the partition once, no frame on its way. And a
//! copy that is not owned any more may only go when all owners have what is in it. *Answer.* A
//! batch of keys with the versions of their records is put to everybody who may have them.
//!
//! ```text
//! reap:  ask all members ─► all agree ─► wait for frames ─► ask all again ─► erase at all owners
//! fence: ask all owners ──► all agree ───────────────────────────────────► erase here
//! compact: as reap, with a third question ─► drop entries at all owners
//! ```
//! A member agrees to reap if, as an owner, it has exactly this record on disk, and it has ended by
//! its clock; if, as none, it has nothing of the key; and if it keeps no hint for it, nothing waits
//! for it and no request on it is in flight. An owner agrees to fence if it has exactly this record
//! on disk. Between the two questions the node's reap epoch is raised, and at the second one all
//! must have on disk that all have it: so nobody comes back with an older disk (`node::epochs`).
//! And there passes the longest time for which any member takes a frame:
//! whatever was sent before the first has arrived by the second, or never will.
//!
//! Entries of a version vector are *spent* at an owner once it has seen and replaced what they name
//! (see [`causality`](crate::causality)), and stay so, whatever else is written: so the record may
//! change between the questions, and requests may be in flight. After the first one nothing sends
//! an older copy any more but requests that began before, which have ended by the second; hints may
//! have been left by them. The third, some syncs later, is whether a start would still show it.
//! Nobody waits for it, and what is missed leaves another time.
//!
//! *Invariant.* A batch is of one topology, in which nothing moves; another one ends it. Whoever
//! does not answer ends it, too: what it asked for is asked again in a later pass.
//!
//! What one of the owners has erased and another has not yet is repaired like any difference: the
//! tombstone comes back, and is reaped again.

use core::time::Duration;

use heapless::Vec;

use crate::id::{NodeId, Partition};
use crate::limits::{
    COMPACTED_COUNT_MAX, ERASE_ENTRY_COUNT_MAX, EXCHANGE_FETCH_PAUSE, SURVEY_COUNT_MAX,
    SURVEY_ENTRY_COUNT_MAX, SURVEY_INTERVAL_MIN,
};
use crate::request::KeyPlace;
use crate::time::Instant;
use crate::wire::exchange::Entry;
use crate::wire::survey::Survey;
pub use crate::wire::survey::{Bits, Epochs, Purpose};

mod batch;
mod compact;
mod counts;
mod settings;
mod step;
#[cfg(test)]
mod tests;

pub use batch::Batch;
use batch::Stage;
use compact::Long;
pub use counts::{Counts, Pass};
pub use settings::Settings;
pub use step::Step;

/// The surveys of a shard.
#[derive(Debug)]
pub struct Surveys<'a> {
    settings: Settings,
    batches: &'a mut [Batch],
    /// So many of them are in use.
    active: usize,
    /// When the first of those has something to do; asked for in every turn of a driver.
    due: Option<Instant>,
    next_number: u32,
    /// Where the pass stands: index of the partition, order, and whether long version vectors are
    /// looked for.
    at: Option<(usize, u64, bool)>,
    /// Something is being listed.
    is_listing: bool,
    /// All was listed: the pass ends with its last batch.
    is_ending: bool,
    /// Nothing is listed before: records are being read into memory.
    not_before: Instant,
    next_pass: Instant,
    /// Another pass was asked for.
    is_wanted: bool,
    pass: Pass,
    last_pass: Pass,
    counts: Counts,
    long: Long,
    /// The keys of batches that are [`Stage::Compacted`], and which batches.
    compacted: Vec<(KeyPlace, u16), COMPACTED_COUNT_MAX>,
}

impl<'a> Surveys<'a> {
    /// None yet; the first pass begins at once.
    pub fn new(settings: Settings, batches: &'a mut [Batch]) -> Surveys<'a> {
        batches.fill(Batch::default());
        Surveys {
            settings,
            batches,
            active: 0,
            due: None,
            next_number: 0,
            at: None,
            is_listing: false,
            is_ending: false,
            not_before: Instant(0),
            next_pass: Instant(0),
            is_wanted: false,
            pass: Pass::default(),
            last_pass: Pass::default(),
            counts: Counts::default(),
            long: Long::default(),
            compacted: Vec::new(),
        }
    }

    /// See [`Settings`].
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What was done.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How the last pass that has ended went.
    pub fn last_pass(&self) -> &Pass {
        &self.last_pass
    }

    /// A pass goes on, or is about to.
    pub fn is_passing(&self) -> bool {
        self.is_wanted || self.at.is_some() || self.is_ending
    }

    /// Has a pass begin now, or another one behind that which goes on.
    pub fn want_pass(&mut self, now: Instant) {
        self.is_wanted = true;
        self.next_pass = now;
    }

    /// Another topology is in force: what goes on is of the one before.
    pub fn on_rings(&mut self, now: Instant) {
        self.compacted.clear();
        for batch in self.batches.iter_mut().filter(|batch| batch.stage != Stage::Free) {
            if batch.stage != Stage::Compacted {
                self.counts.given_up += 1;
            }
            if batch.purpose != Some(Purpose::Compact) {
                self.pass.put_off += batch.entries.len() as u64;
            }
            batch.stage = Stage::Free;
        }
        (self.active, self.due) = (0, None);
        (self.at, self.is_listing, self.is_ending) = (None, false, false);
        self.not_before = now;
        self.next_pass = now;
    }

    /// What is to be done now, if anything, in a shard of so many partitions.
    pub fn next(&mut self, now: Instant, partition_count: usize) -> Option<Step> {
        if self.due.is_some_and(|due| due <= now) {
            let step = self.step_batches(now);
            self.refresh();
            if step.is_some() {
                return step;
            }
        }
        if self.batches.is_empty() || self.is_listing || now < self.not_before {
            return None;
        }
        if self.is_ending {
            self.end_pass(now);
        } else if self.at.is_none() {
            self.begin_pass(now);
        }
        let (index, from, is_long) = self.at?;
        if index >= partition_count {
            (self.at, self.is_ending) = (None, true);
            self.end_pass(now);
            return None;
        }
        if self.active == self.batches.len() {
            return None;
        }
        self.is_listing = true;
        Some(Step::List { index, from, is_long })
    }

    /// When [`Surveys::next`] has something to do.
    pub fn next_at(&self) -> Option<Instant> {
        let of_pass = match self.at {
            _ if self.is_listing || self.batches.is_empty() => None,
            Some(_) => (self.active < self.batches.len()).then_some(self.not_before),
            None if self.is_ending => (self.asking() == 0).then_some(self.not_before),
            None => Some(self.next_pass.max(self.not_before)),
        };
        self.due.into_iter().chain(of_pass).min()
    }

    /// Nothing of the partition is this node's to ask for.
    pub fn on_passed(&mut self) {
        self.advance(None);
    }

    /// Nothing of what was listed is asked for: nothing else behind `next`, if that is none.
    pub fn on_left_out(&mut self, next: Option<u64>) {
        self.advance(next);
    }

    /// So many records could leave, but somebody who must agree is away.
    pub fn on_away(&mut self, count: usize, next: Option<u64>) {
        self.pass.away += 1;
        self.pass.put_off += count as u64;
        self.advance(next);
    }

    /// So many records could leave, but the build of `node`, which must agree, is too old to be
    /// asked.
    pub fn on_too_old(&mut self, node: NodeId, count: usize, next: Option<u64>) {
        self.pass.too_old.get_or_insert(node);
        self.pass.put_off += count as u64;
        self.advance(next);
    }

    /// What may leave was listed, to compact of the key of that order: nothing behind `next`, if
    /// that is none. `young` have ended, too, but not for long enough. All of `nodes` are to agree.
    ///
    /// # Panics
    /// If there are too many entries or nodes.
    pub fn on_listed(
        &mut self,
        now: Instant,
        (partition, purpose, order): (Partition, Purpose, u64),
        (entries, young): (&[Entry], u64),
        next: Option<u64>,
        nodes: &[NodeId],
    ) {
        self.pass.young += young;
        if !entries.is_empty()
            && let Some(index) = self.free()
        {
            self.next_number = self.next_number.wrapping_add(1).max(1);
            let batch = &mut self.batches[index];
            *batch = Batch {
                number: self.next_number,
                partition,
                purpose: Some(purpose),
                order,
                agreed: [u64::MAX; _],
                entries: Vec::from_slice(entries).expect("no more than a survey asks about"),
                nodes: Vec::from_slice(nodes).expect("no more than members"),
                wait: self.settings.frame_age_max,
                ..Batch::default()
            };
            batch.ask(now);
            self.active += 1;
            self.refresh();
        }
        self.advance(next);
    }

    /// Records are being read into memory: the same is listed again soon.
    pub fn on_cold(&mut self, now: Instant) {
        self.is_listing = false;
        self.not_before = now + EXCHANGE_FETCH_PAUSE;
    }

    /// `node` agrees to those entries, takes frames that are no older, and says how far its data
    /// directory has come.
    pub fn on_answer(
        &mut self,
        now: Instant,
        number: u32,
        node: NodeId,
        (agreed, frame_age_max, epochs): (Bits, Duration, Epochs),
    ) {
        let Some(batch) = self.batches.iter_mut().find(|one| one.number == number) else { return };
        if batch.stage != Stage::Asking {
            return;
        }
        let Some(at) = batch.owing.iter().position(|owing| *owing == node) else { return };
        batch.owing.swap_remove(at);
        batch.wait = batch.wait.max(frame_age_max);
        batch.note(epochs);
        for (all, one) in batch.agreed.iter_mut().zip(agreed) {
            *all &= one;
        }
        if batch.agreed_count() == 0 && batch.purpose != Some(Purpose::Fence) {
            return self.end_batch(number);
        }
        if batch.owing.is_empty() && batch.asked == batch.nodes.len() {
            if !batch.is_known() {
                return self.end_batch(number);
            }
            batch.on_all(now);
        }
        self.refresh();
    }

    /// A node could not be asked: it is out of reach.
    pub fn on_unsent(&mut self, number: u32) {
        self.give_up(number);
    }

    /// What a batch asks now.
    pub fn batch(&self, number: u32) -> Option<Survey<'_>> {
        let batch = self.find(number)?;
        Some(Survey {
            partition: batch.partition,
            purpose: batch.purpose?,
            order: batch.order,
            is_last: batch.is_last(),
            entries: &batch.entries,
        })
    }

    /// The next entries that are to leave, of all that agreed to them, or of those that did not.
    pub fn to_conclude(&self, number: u32, is_agreed: bool) -> Vec<Entry, ERASE_ENTRY_COUNT_MAX> {
        let Some(batch) = self.find(number) else { return Vec::new() };
        let entries = batch.entries.iter().enumerate().skip(batch.concluded);
        let some = entries.take(ERASE_ENTRY_COUNT_MAX);
        some.filter(|(at, _)| batch.is_agreed(*at) == is_agreed).map(|(_, entry)| *entry).collect()
    }

    /// All entries to which all have agreed, of a batch to compact.
    pub fn to_compact(&self, number: u32) -> Vec<Entry, SURVEY_ENTRY_COUNT_MAX> {
        let Some(batch) = self.find(number) else { return Vec::new() };
        let entries = batch.entries.iter().enumerate();
        entries.filter(|(at, _)| batch.is_agreed(*at)).map(|(_, entry)| *entry).collect()
    }

    /// Those entries are done with, and so many records left, or version vectors were compacted.
    pub fn on_concluded(&mut self, number: u32, dropped: u64) {
        let Some(batch) = self.batches.iter_mut().find(|one| one.number == number) else { return };
        if batch.stage != Stage::Dropping {
            return;
        }
        if batch.purpose == Some(Purpose::Compact) {
            self.counts.compacted += dropped;
            return self.end_batch(number);
        }
        batch.concluded += ERASE_ENTRY_COUNT_MAX.min(batch.entries.len() - batch.concluded);
        let is_over = batch.concluded == batch.entries.len();
        batch.stage = Stage::Concluding;
        match batch.purpose {
            Some(Purpose::Fence) => self.counts.fenced += dropped,
            _ => self.counts.reaped += dropped,
        }
        batch.dropped += dropped;
        self.pass.dropped += dropped;
        if is_over {
            self.end_batch(number);
        }
        self.refresh();
    }

    /// What was set aside has reached its owners, and left.
    pub fn on_given_away(&mut self) {
        self.counts.fenced += 1;
    }

    fn step_batches(&mut self, now: Instant) -> Option<Step> {
        for index in 0..self.batches.len() {
            let batch = &mut self.batches[index];
            let number = batch.number;
            match batch.stage {
                Stage::Free | Stage::Dropping => {}
                Stage::Asking if batch.asked < batch.nodes.len() => {
                    let node = batch.nodes[batch.asked];
                    batch.asked += 1;
                    return Some(Step::Ask { number, node });
                }
                Stage::Asking if now >= batch.until => self.give_up(number),
                Stage::Waiting if now >= batch.until => {
                    // A late answer to the question before is none to the next.
                    self.next_number = self.next_number.wrapping_add(1).max(1);
                    let number = self.next_number;
                    batch.number = number;
                    batch.ask(now);
                    let node = batch.nodes[0];
                    batch.asked = 1;
                    return Some(Step::Ask { number, node });
                }
                Stage::Compacted if now >= batch.until => self.forget_compacted(index),
                Stage::Waiting if !batch.is_raised => {
                    batch.is_raised = true;
                    return Some(Step::Raise { above: batch.raised });
                }
                Stage::Asking | Stage::Waiting | Stage::Compacted => {}
                Stage::Concluding => {
                    batch.stage = Stage::Dropping;
                    return Some(Step::Conclude { number });
                }
            }
        }
        None
    }

    fn begin_pass(&mut self, now: Instant) {
        if now >= self.next_pass {
            self.is_wanted = false;
            self.pass = Pass::default();
            self.at = Some((0, 0, false));
        }
    }

    /// All partitions were looked at: the pass has ended once no batch goes on.
    fn end_pass(&mut self, now: Instant) {
        if self.asking() > 0 {
            return;
        }
        self.is_ending = false;
        self.last_pass = self.pass;
        self.counts.passes += 1;
        // What was put off is tried again soon, but not at once.
        let is_put_off = self.pass.put_off > 0;
        let pause = if is_put_off { SURVEY_INTERVAL_MIN } else { self.settings.interval() };
        if !self.is_wanted {
            self.next_pass = now + pause;
        }
    }

    fn advance(&mut self, next: Option<u64>) {
        self.is_listing = false;
        if let Some((index, order, is_long)) = &mut self.at {
            match next {
                Some(next) => *order = next,
                None if *is_long || self.long.is_empty() => {
                    (*index, *order, *is_long) = (*index + 1, 0, false);
                }
                None => (*order, *is_long) = (0, true),
            }
        }
    }

    fn give_up(&mut self, number: u32) {
        if self.find(number).is_some() {
            self.counts.given_up += 1;
            self.end_batch(number);
        }
    }

    /// The batch is over: what has not left of it is put off.
    fn end_batch(&mut self, number: u32) {
        let Some(batch) = self.batches.iter_mut().find(|one| one.number == number) else { return };
        batch.stage = Stage::Free;
        let refused = batch.entries.len() as u64 - batch.dropped;
        batch.number = 0;
        self.active -= 1;
        if batch.purpose != Some(Purpose::Compact) {
            self.counts.refused += refused;
            self.pass.put_off += refused;
        }
        self.refresh();
    }

    /// Batches that go on.
    fn asking(&self) -> usize {
        self.active - self.compacted.len()
    }

    fn find(&self, number: u32) -> Option<&Batch> {
        self.batches.iter().find(|one| one.number == number && one.stage != Stage::Free)
    }

    fn free(&self) -> Option<usize> {
        self.batches.iter().position(|batch| batch.stage == Stage::Free)
    }

    /// A batch has changed.
    fn refresh(&mut self) {
        self.due = match self.active {
            0 => None,
            _ => self.batches.iter().filter_map(Batch::due).min(),
        };
    }
}

const _: () = assert!(SURVEY_ENTRY_COUNT_MAX.is_multiple_of(64));
const _: () = assert!(COMPACTED_COUNT_MAX < SURVEY_COUNT_MAX, "batches are left to ask");
const _: () = assert!(SURVEY_ENTRY_COUNT_MAX.is_multiple_of(ERASE_ENTRY_COUNT_MAX));
