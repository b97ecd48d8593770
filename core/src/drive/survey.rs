//! Surveys, against store and connections.

use super::{Bodies, FrameRefused, Links, Notice, To, Turn, Waiting};
use crate::causality::Record;
use crate::checksum::Checksum;
use crate::id::{NodeId, Partition, RequestId, TopologyId};
use crate::limits::{KEY_BYTES_MAX, SURVEY_ENTRY_COUNT_MAX};
use crate::records::{self, Place, Records, Unread};
use crate::request::{KeyPlace, Link};
use crate::shard::{Input, Stance, SurveyEvent};
use crate::survey::{Bits, Purpose};
use crate::wire::exchange::Entry;
use crate::wire::frame::{Frame, frame_length, write_frame};
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use crate::wire::survey::{Erase, Survey, Surveyed};
use core::time::Duration;
use heapless::Vec;

/// What a listing gives: entries, how many are too young, and where to go on.
type Listed = (Vec<Entry, SURVEY_ENTRY_COUNT_MAX>, u64, Option<u64>);

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// A frame of a survey.
    pub(super) fn on_survey(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let node = node.filter(|node| *node != self.shard.config().node);
        let node = node.ok_or(FrameRefused::NotPermitted)?;
        let (number, topology) = (frame.hop().request.0, frame.hop().topology);
        self.input(Input::Heard { node, op: RequestId::NONE });
        match frame.op() {
            Op::Survey => {
                let survey = Survey::new_checked(frame.payload())?;
                let agreed = self.agree(topology, &survey);
                let age = self.shard.survey_settings().frame_age_max.as_millis();
                let epochs = self.epochs;
                let surveyed = Surveyed { agreed, frame_age_max_ms: age as u32, epochs };
                self.send(To::Link(link), self.hop(Op::Surveyed, number), &[], &surveyed);
            }
            Op::Surveyed => {
                let surveyed = Surveyed::new_checked(frame.payload())?;
                let Surveyed { agreed, frame_age_max_ms, epochs } = surveyed;
                let frame_age_max = Duration::from_millis(frame_age_max_ms.into());
                let answered =
                    SurveyEvent::Answered { number, node, agreed, frame_age_max, epochs };
                self.input(Input::Survey(answered));
            }
            _ => {
                let erase = Erase::new_checked(frame.payload())?;
                let Erase { partition, purpose, order, entries } = erase;
                if self.shard.stance(partition, topology) != Some(Stance::Owner) {
                    return Ok(());
                }
                if purpose == Purpose::Compact {
                    self.compact(KeyPlace { partition, order }, entries);
                    return Ok(());
                }
                let (_, place) = self.erase_all(partition, entries, true);
                self.shard.on_erased(place);
            }
        }
        Ok(())
    }

    /// Does a step of a survey, and says what became of it.
    pub(super) fn survey(&mut self, step: SurveyStep) {
        match step {
            SurveyStep::List { partition, purpose: Purpose::Compact, from } => {
                self.list_spent(partition, from);
            }
            SurveyStep::List { partition, purpose, from } => {
                match self.list_leaving(partition, purpose, from) {
                    Ok((entries, young, next)) => {
                        let entries = &entries[..];
                        let order = 0;
                        self.tell_survey(SurveyEvent::Listed {
                            partition,
                            purpose,
                            order,
                            entries,
                            young,
                            next,
                        });
                    }
                    Err(Cold) => self.tell_survey(SurveyEvent::Cold),
                }
            }
            SurveyStep::Ask { number, node, partition } => self.ask_about(number, node, partition),
            SurveyStep::Conclude { number } => self.conclude(number),
        }
    }

    pub(super) fn tell_survey(&mut self, event: SurveyEvent<'_>) {
        self.shard.handle_input(self.now, Input::Survey(event));
    }

    /// Lists what of `partition` may leave, from order `from` on: a step looks at as many keys as a
    /// survey asks about. Keys of equal order never leave, nor do damaged records.
    fn list_leaving(
        &mut self,
        partition: Partition,
        purpose: Purpose,
        from: u64,
    ) -> Result<Listed, Cold> {
        let mut keys = Vec::<(u64, Place), SURVEY_ENTRY_COUNT_MAX>::new();
        let mut fill = |key: (u64, Place)| keys.push(key).err();
        let left_out = match purpose {
            Purpose::Reap => self.store.ending_from(partition, from).find_map(&mut fill),
            _ => self.store.keys_from(partition, from).find_map(&mut fill),
        };
        // Of so many keys of one order the rest is passed over: none of them leaves.
        let mut next = left_out.and_then(|(order, _)| Some(order.max(from.checked_add(1)?)));
        let (mut entries, mut young) = (Vec::new(), 0);
        for (order, place) in &keys {
            let entry = match self.leaving(partition, (*order, *place), purpose) {
                Err(Unread::Cold) => {
                    self.store.fetch_listed(KeyPlace { partition, order: *order }, *place);
                    if entries.is_empty() {
                        return Err(Cold);
                    }
                    next = Some(*order);
                    break;
                }
                Err(Unread::Damaged) => continue,
                Ok(entry) => entry,
            };
            young += u64::from(entry.is_none() && self.has_ended(*place));
            if let Some(entry) = entry {
                entries.push(entry).expect("as many as there are keys");
            }
        }
        Ok((entries, young, next))
    }

    /// The entry of a record that may leave; none if it is too young.
    fn leaving(
        &self,
        partition: Partition,
        (order, place): (u64, Place),
        purpose: Purpose,
    ) -> Result<Option<Entry>, Unread> {
        if self.only_place(partition, order) != Some(place) {
            return Err(Unread::Damaged);
        }
        let body = self.store.body(place)?;
        let key = self.stored_key(body.key())?;
        let stored = self.store.record(&key)?.filter(|stored| stored.place == place);
        let record = stored.ok_or(Unread::Damaged)?.record;
        let grace = self.shard.survey_settings().grace.as_millis() as u64;
        let is_due = purpose == Purpose::Fence
            || record.ends_at().is_some_and(|end| end.0.saturating_add(grace) <= self.wall.0);
        Ok(is_due.then(|| Entry::new(order, record.version(&key))))
    }

    /// Whether no read sees a value any more in the record at `place`.
    fn has_ended(&self, place: Place) -> bool {
        let body = self.store.body(place).ok();
        let record = body.and_then(|body| Record::new_checked(body.payload()).ok());
        record.is_some_and(|record| record.live(self.wall).count() == 0)
    }

    /// Where the one key of an order lies; none if there is none, or more than one.
    pub(super) fn only_place(&self, partition: Partition, order: u64) -> Option<Place> {
        let mut keys = self.store.keys_from(partition, order);
        let (_, place) = keys.next().filter(|(other, _)| *other == order)?;
        keys.next().is_none_or(|(other, _)| other != order).then_some(place)
    }

    /// Asks `node`, perhaps this one, to agree.
    fn ask_about(&mut self, number: u32, node: NodeId, partition: Partition) {
        let Some(survey) = self.shard.survey_batch(number) else { return };
        let entries: Vec<Entry, SURVEY_ENTRY_COUNT_MAX> =
            Vec::from_slice(survey.entries).expect("no more than a survey asks about");
        let survey = Survey { entries: &entries, ..survey };
        if node == self.shard.config().node {
            let agreed = self.agree(self.shard.topology(), &survey);
            let frame_age_max = self.shard.survey_settings().frame_age_max;
            let epochs = self.epochs;
            let answered = SurveyEvent::Answered { number, node, agreed, frame_age_max, epochs };
            return self.tell_survey(answered);
        }
        let hop = self.hop(Op::Survey, number);
        let bytes = frame_length(0, survey.bytes());
        let to = To::Node(node, partition);
        let sent = self.links.send(to, bytes, |out| write_frame::<C>(&hop, &[], &survey, out));
        if sent.is_err() {
            self.tell_survey(SurveyEvent::Unsent { number });
        }
    }

    /// To which entries of a survey this node agrees.
    fn agree(&mut self, topology: TopologyId, survey: &Survey<'_>) -> Bits {
        let &Survey { partition, purpose, entries, .. } = survey;
        let mut agreed: Bits = Default::default();
        let Some(stance) = self.shard.stance(partition, topology) else { return agreed };
        let is_for_all = purpose != Purpose::Fence;
        if is_for_all && !self.shard.is_free_of_hints(partition, self.now) {
            return agreed;
        }
        // What is erased in memory alone would be back after a crash.
        if is_for_all && !self.shard.is_erased_for_good() {
            self.links.notice(Notice::Sync);
            return agreed;
        }
        if purpose == Purpose::Compact {
            return self.agree_to_compact(stance, survey);
        }
        for (at, entry) in entries.iter().enumerate() {
            let is_agreed = match (purpose, stance) {
                (Purpose::Reap, Stance::Owner) => {
                    self.is_free(partition, entry.order())
                        && self.has_on_disk(partition, *entry, true)
                }
                (Purpose::Reap, Stance::Other) => {
                    !self.has_key(partition, entry.order())
                        && self.is_free(partition, entry.order())
                }
                (Purpose::Fence, Stance::Owner) => self.has_on_disk(partition, *entry, false),
                _ => false,
            };
            agreed[at / 64] |= u64::from(is_agreed) << (at % 64);
        }
        if purpose == Purpose::Reap {
            self.shard.exclude_requests(partition, entries, &mut agreed);
        }
        agreed
    }

    /// Whether there is a copy of a key of this order here.
    pub(super) fn has_key(&self, partition: Partition, order: u64) -> bool {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::FencedAgrees) {
            return false;
        }
        self.store.keys_from(partition, order).next().is_some_and(|(other, _)| other == order)
    }

    /// Whether nothing here could bring back what a key had: no hint, and nothing that waits.
    pub(super) fn is_free(&self, partition: Partition, order: u64) -> bool {
        let key = KeyPlace { partition, order };
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ReapHintsIgnored) {
            return true;
        }
        let is_waited_for = !self.waiting.is_empty() && self.waiting.contains(key);
        !is_waited_for && !self.store.keeps_hint(key)
    }

    /// Whether this node has exactly that record of the key on disk, and if it `must_end`, has it
    /// ended by this node's clock.
    fn has_on_disk(&mut self, partition: Partition, entry: Entry, must_end: bool) -> bool {
        let Some(place) = self.only_place(partition, entry.order()) else { return false };
        match self.has_version(place, entry, must_end) {
            Err(Unread::Cold) => {
                let key = KeyPlace { partition, order: entry.order() };
                self.store.fetch_listed(key, place);
                false
            }
            Err(Unread::Damaged) => false,
            Ok(has) => {
                let is_on_disk = self.shard.is_on_disk(place);
                if has && !is_on_disk {
                    self.links.notice(Notice::Sync);
                }
                has && is_on_disk
            }
        }
    }

    fn has_version(&self, place: Place, entry: Entry, must_end: bool) -> Result<bool, Unread> {
        let body = self.store.body(place)?;
        let key = self.stored_key(body.key())?;
        let Some(stored) = self.store.record(&key)? else { return Ok(false) };
        let is_it = stored.place == place && stored.record.version(&key) == entry.version();
        #[cfg(feature = "plant")]
        let is_it = is_it || crate::plant::is(crate::plant::Plant::ReapUnequal);
        Ok(is_it && (!must_end || stored.record.live(self.wall).count() == 0))
    }

    /// Drops the next entries of a survey to which all have agreed; of what this node owns no more
    /// it sets the others aside: they go once their owners have them.
    fn conclude(&mut self, number: u32) {
        let Some(survey) = self.shard.survey_batch(number) else { return };
        let Survey { partition, purpose, order, .. } = survey;
        if purpose == Purpose::Compact {
            return self.conclude_compact(number, KeyPlace { partition, order });
        }
        let agreed = self.shard.to_conclude(number, true);
        let others = self.shard.to_conclude(number, false);
        let must_end = purpose == Purpose::Reap;
        let (dropped, place) = self.erase_all(partition, &agreed, must_end);
        let mut has_kept = false;
        if purpose == Purpose::Fence {
            for entry in others {
                has_kept |= self.set_aside(partition, entry);
            }
        } else if !agreed.is_empty() {
            let (entries, order) = (&agreed[..], 0);
            self.send_erase(&Erase { partition, purpose, order, entries });
        }
        self.shard.on_erased(place);
        self.tell_survey(SurveyEvent::Concluded { number, dropped, has_kept });
    }

    pub(super) fn send_erase(&mut self, erase: &Erase<'_>) {
        let (me, partition) = (self.shard.config().node, erase.partition);
        let owners = self.shard.rings().owners(partition);
        let hop = self.hop(Op::Erase, 0);
        // Who was put back to an older build meanwhile keeps it, and it is reaped again.
        for node in owners.into_iter().filter(|node| *node != me) {
            if self.shard.may_send(node, Op::Erase) {
                self.send(To::Node(node, partition), hop, &[], erase);
            }
        }
    }

    /// Erases the own copies of those keys that have exactly these records; how many, and the last
    /// place of what says so.
    fn erase_all(
        &mut self,
        partition: Partition,
        entries: &[Entry],
        must_end: bool,
    ) -> (u64, Place) {
        let (mut count, mut last) = (0, Place(0));
        for entry in entries {
            if let Some(erased) = self.erase(partition, *entry, must_end) {
                (count, last) = (count + 1, last.max(erased));
            }
        }
        (count, last)
    }

    fn erase(&mut self, partition: Partition, entry: Entry, must_end: bool) -> Option<Place> {
        let place = self.only_place(partition, entry.order())?;
        if self.has_version(place, entry, must_end) != Ok(true) {
            return None;
        }
        let bytes = self.key_bytes(place)?;
        let key = self.place(&bytes);
        records::erase(self.store, &key, place).ok()?
    }

    /// Keeps the own copy of a key for all who own it; whether it does.
    fn set_aside(&mut self, partition: Partition, entry: Entry) -> bool {
        let Some(place) = self.only_place(partition, entry.order()) else { return false };
        if self.has_version(place, entry, false) != Ok(true) {
            return false;
        }
        let Some(bytes) = self.key_bytes(place) else { return false };
        let key = self.place(&bytes);
        let me = self.shard.config().node;
        self.store.set_aside(&key, place, me).is_ok_and(|is_kept| is_kept)
    }

    /// The store may move what it lends when something is appended.
    pub(super) fn key_bytes(&self, place: Place) -> Option<Vec<u8, KEY_BYTES_MAX>> {
        let body = self.store.body(place).ok()?;
        Some(Vec::from_slice(body.key()).expect("a body has no longer key"))
    }
}

/// A step of a survey that the machine asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum SurveyStep {
    List { partition: Partition, purpose: Purpose, from: u64 },
    Ask { number: u32, node: NodeId, partition: Partition },
    Conclude { number: u32 },
}

/// Records are being read into memory.
#[derive(Clone, Copy, Debug)]
struct Cold;
