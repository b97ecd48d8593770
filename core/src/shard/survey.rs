//! Surveys as part of a shard's work: what leaves all nodes for good, and what this node drops as
//! others own it. See [`survey`](crate::survey).

use super::{Output, Shard};
use crate::id::{NodeId, Partition, TopologyId};
use crate::limits::{ERASE_ENTRY_COUNT_MAX, MEMBER_COUNT_MAX};
use crate::records::Place;
use crate::survey::{Bits, Counts, Epochs, Pass, Purpose, Settings, Step};
use crate::time::Instant;
use crate::wire::exchange::Entry;
use crate::wire::op::Op;
use crate::wire::survey::Survey;
use core::time::Duration;
use heapless::Vec;

/// Partitions that one step passes over at most.
const PASSED_COUNT: usize = 64;

/// What happened to the surveys of a shard.
#[derive(Clone, Copy, Debug)]
pub enum SurveyEvent<'a> {
    /// [`Output::SurveyList`] was done.
    Listed {
        /// As in the output.
        partition: Partition,
        /// As in the output.
        purpose: Purpose,
        /// To compact: of the key. Else 0.
        order: u64,
        /// Ascending, no two of one order; to compact: entries of a version vector.
        entries: &'a [Entry],
        /// Records that have ended, but not for long enough.
        young: u64,
        /// The order to go on from; none if that is all.
        next: Option<u64>,
    },
    /// It needs records that are being read into memory.
    Cold,
    /// A node has answered.
    Answered {
        /// The survey.
        number: u32,
        /// The node.
        node: NodeId,
        /// To which entries it agrees.
        agreed: Bits,
        /// How old a frame may be that it takes.
        frame_age_max: Duration,
        /// How far its data directory has come.
        epochs: Epochs,
    },
    /// [`Output::SurveyAsk`] could not be sent.
    Unsent {
        /// The survey.
        number: u32,
    },
    /// [`Output::SurveyConclude`] was done.
    Concluded {
        /// The survey.
        number: u32,
        /// Records that left this node, or version vectors that were compacted.
        dropped: u64,
        /// Some were set aside for their owners.
        has_kept: bool,
    },
    /// Somebody wants a pass over all partitions now.
    Wanted,
}

/// What a node is to a partition about which it is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stance {
    /// It owns it.
    Owner,
    /// It does not.
    Other,
}

impl Shard<'_> {
    /// What surveys have done.
    pub fn survey_counts(&self) -> &Counts {
        self.surveys.counts()
    }

    /// How the last pass over all partitions went.
    pub fn survey_pass(&self) -> &Pass {
        self.surveys.last_pass()
    }

    /// Whether a pass goes on, or is about to.
    pub fn is_surveying(&self) -> bool {
        self.surveys.is_passing()
    }

    pub(super) fn on_survey(&mut self, now: Instant, event: SurveyEvent<'_>) {
        match event {
            SurveyEvent::Listed { partition, purpose, order, entries, young, next } => {
                self.on_listed(now, (partition, purpose, order), (entries, young), next);
            }
            SurveyEvent::Cold => self.surveys.on_cold(now),
            SurveyEvent::Answered { number, node, agreed, frame_age_max, epochs } => {
                self.surveys.on_answer(now, number, node, (agreed, frame_age_max, epochs));
            }
            SurveyEvent::Unsent { number } => self.surveys.on_unsent(number),
            SurveyEvent::Concluded { number, dropped, has_kept } => {
                self.surveys.on_concluded(number, dropped);
                if has_kept {
                    self.on_hinted(now, self.config.node);
                }
            }
            SurveyEvent::Wanted => self.surveys.want_pass(now),
        }
    }

    /// Something was erased from the store: no start finds it any more once `place` is on disk.
    pub(crate) fn on_erased(&mut self, place: Place) {
        self.last_erased = self.last_erased.max(place);
    }

    /// As [`Shard::on_erased`], of a copy that was set aside for its owners: they have it.
    pub(crate) fn on_given_away(&mut self, place: Place) {
        self.on_erased(place);
        self.surveys.on_given_away();
    }

    /// The next step of a survey, if there is one.
    pub(super) fn survey(&mut self, now: Instant) {
        if !self.may_survey() {
            return;
        }
        for _ in 0..PASSED_COUNT {
            let Some(step) = self.surveys.next(now, self.births.len()) else { return };
            match step {
                Step::List { index, from, is_long } => {
                    let partition = Partition(self.first_partition + index as u16);
                    match self.survey_purpose(partition, is_long) {
                        None => self.surveys.on_passed(),
                        Some(purpose) => {
                            return self.output(Output::SurveyList { partition, purpose, from });
                        }
                    }
                }
                Step::Ask { number, node } => {
                    let Some(Survey { partition, .. }) = self.surveys.batch(number) else { return };
                    let is_well = self.is_well(node) && self.may_send(node, Op::Survey);
                    if node == self.config.node || is_well {
                        return self.output(Output::SurveyAsk { number, node, partition });
                    }
                    self.surveys.on_unsent(number);
                }
                Step::Raise { above } => return self.output(Output::Raise { above }),
                Step::Conclude { number } => {
                    return self.output(Output::SurveyConclude { number });
                }
            }
        }
    }

    /// When there is something to do for surveys.
    pub(super) fn next_survey(&self) -> Option<Instant> {
        if self.may_survey() { self.surveys.next_at() } else { None }
    }

    /// What of `partition` could leave by a word of this node: what has ended in a partition that
    /// it owns first of all, and entries of its long version vectors, and everything in a partition
    /// that it does not own.
    fn survey_purpose(&self, partition: Partition, is_long: bool) -> Option<Purpose> {
        let owners = self.rings.committed().owners(partition);
        let is_first = owners.first() == Some(&self.config.node);
        if is_long {
            return (is_first && self.surveys.has_long(partition)).then_some(Purpose::Compact);
        }
        if is_first {
            return Some(Purpose::Reap);
        }
        (!owners.contains(&self.config.node)).then_some(Purpose::Fence)
    }

    fn on_listed(
        &mut self,
        now: Instant,
        (partition, purpose, order): (Partition, Purpose, u64),
        (entries, young): (&[Entry], u64),
        next: Option<u64>,
    ) {
        // The membership may have changed meanwhile.
        let is_long = purpose == Purpose::Compact;
        let owners = self.rings.committed().owners(partition);
        let is_ours = match is_long {
            true => owners.first() == Some(&self.config.node),
            false => self.survey_purpose(partition, false) == Some(purpose),
        };
        if !self.may_survey() || !is_ours {
            return self.surveys.on_passed();
        }
        let nodes: Vec<NodeId, MEMBER_COUNT_MAX> = match purpose {
            #[cfg(feature = "plant")]
            Purpose::Reap if crate::plant::is(crate::plant::Plant::ReapAsksOwners) => {
                self.rings.committed().owners(partition).iter().copied().collect()
            }
            Purpose::Reap | Purpose::Compact => self.rings.nodes(),
            Purpose::Fence => self.rings.committed().owners(partition).iter().copied().collect(),
        };
        let is_there = |node: &NodeId| *node == self.config.node || self.is_well(*node);
        let has_all = self.too_old_for(Op::Survey, &nodes).is_none() && nodes.iter().all(is_there);
        if is_long && !has_all {
            // The next write has it looked at again; nobody waits for that.
            return self.surveys.on_left_out(next);
        }
        if !entries.is_empty()
            && let Some(older) = self.too_old_for(Op::Survey, &nodes)
        {
            return self.surveys.on_too_old(older, entries.len(), next);
        }
        if entries.is_empty() || nodes.iter().all(is_there) {
            let (subject, listed) = ((partition, purpose, order), (entries, young));
            return self.surveys.on_listed(now, subject, listed, next, &nodes);
        }
        self.surveys.on_away(entries.len(), next);
    }

    /// As what this node can say whether records of `partition` may leave; none if it cannot now.
    pub(crate) fn stance(&self, partition: Partition, topology: TopologyId) -> Option<Stance> {
        if topology != self.topology || !self.may_survey() || !self.holds(partition) {
            return None;
        }
        let is_owner = self.rings.committed().is_owner(partition, self.config.node);
        Some(if is_owner { Stance::Owner } else { Stance::Other })
    }

    /// Whether no frame may be left that this node sent for a hint of `partition`, or an earlier
    /// life of it: what a hint says may be long replaced, and a frame outlives the hint.
    pub(crate) fn is_free_of_hints(&self, partition: Partition, now: Instant) -> bool {
        let last = self.hinted[usize::from(partition.0 - self.first_partition)];
        let began = self.began.unwrap_or(now);
        now.since(last.max(began)) >= self.survey_settings().frame_age_max
    }

    /// A hint of `partition` was taken, or is sent.
    pub(super) fn note_hint(&mut self, now: Instant, partition: Partition) {
        self.hinted[usize::from(partition.0 - self.first_partition)] = now;
    }

    /// Whether all that was erased here is gone for good.
    pub(crate) fn is_erased_for_good(&self) -> bool {
        self.replica.is_stored(self.last_erased, true)
    }

    /// Whether the record at `place` is on disk.
    pub(crate) fn is_on_disk(&self, place: Place) -> bool {
        self.replica.is_stored(place, true)
    }

    /// Takes those out of `agreed` whose keys have a request in flight.
    pub(crate) fn exclude_requests(
        &self,
        partition: Partition,
        entries: &[Entry],
        agreed: &mut Bits,
    ) {
        let ids = (0..self.table.capacity()).filter_map(|index| self.table.at(index));
        let keys = ids.filter_map(|id| Some(self.table.get(id)?.request.key));
        for key in keys.filter(|key| key.partition == partition) {
            if let Ok(at) = entries.binary_search_by_key(&key.order, |entry| entry.order()) {
                agreed[at / 64] &= !(1 << (at % 64));
            }
        }
    }

    /// See [`Settings`].
    pub(crate) fn survey_settings(&self) -> &Settings {
        self.surveys.settings()
    }

    /// What a survey asks.
    pub(crate) fn survey_batch(&self, number: u32) -> Option<Survey<'_>> {
        self.surveys.batch(number)
    }

    /// See [`Surveys::to_conclude`](crate::survey::Surveys::to_conclude).
    pub(crate) fn to_conclude(
        &self,
        number: u32,
        is_agreed: bool,
    ) -> Vec<Entry, ERASE_ENTRY_COUNT_MAX> {
        self.surveys.to_conclude(number, is_agreed)
    }

    /// Whether records may leave now: nothing moves, and this node may write.
    pub fn may_survey(&self) -> bool {
        !self.is_stopping
            && !self.read_only
            && !self.rings.is_moving()
            && self.rings.committed().contains(self.config.node)
    }
}
