//! Compaction of version vectors, against store and connections. See
//! [`causality`](crate::causality) for what may leave, [`survey`](crate::survey) for when.

use super::{Bodies, Links, Notice, Turn, Waiting};
use crate::causality::{Entries, Record};
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::Partition;
use crate::limits::SURVEY_ENTRY_COUNT_MAX;
use crate::records::{self, Place, Records, Unread};
use crate::request::KeyPlace;
use crate::shard::{Shard, Stance, SurveyEvent};
use crate::survey::{Bits, Purpose};
use crate::wire::exchange::Entry;
use crate::wire::survey::{Erase, Survey, dot_of, entry_of};
use heapless::Vec;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// Lists what is spent of the next long version vector of `partition`, from order `from` on.
    pub(super) fn list_spent(&mut self, partition: Partition, from: u64) {
        let mut spent = Entries::new();
        let (mut order, mut next) = (0, None);
        if let Some(key) = self.shard.take_long(partition, from) {
            (order, next) = (key.order, key.order.checked_add(1));
            // What is cold by now is looked at when it is written again.
            let most = self.shard.survey_settings().long_entries;
            let spent_of_long = |record: Record<'_>| match record.version_vector().len() > most {
                true => record.spent(),
                false => Entries::new(),
            };
            if let Ok((_, found)) = self.spent(key, spent_of_long) {
                spent = found;
            }
        }
        let entries: Vec<Entry, SURVEY_ENTRY_COUNT_MAX> = spent.into_iter().map(entry_of).collect();
        let (purpose, entries, young) = (Purpose::Compact, &entries[..], 0);
        let listed = SurveyEvent::Listed { partition, purpose, order, entries, young, next };
        self.tell_survey(listed);
    }

    /// Which entries this node agrees to drop.
    pub(super) fn agree_to_compact(&mut self, stance: Stance, survey: &Survey<'_>) -> Bits {
        let &Survey { partition, order, is_last, entries, .. } = survey;
        let mut agreed: Bits = Default::default();
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::SpentUnchecked) {
            return [u64::MAX; _];
        }
        if !self.is_free(partition, order) {
            return agreed;
        }
        if stance == Stance::Other {
            return if self.has_key(partition, order) { agreed } else { [u64::MAX; _] };
        }
        let key = KeyPlace { partition, order };
        let dots: Entries = entries.iter().map(|entry| dot_of(*entry)).collect();
        let Ok((place, spent)) = self.spent(key, |record| record.spent_of(&dots)) else {
            return agreed;
        };
        if !is_last {
            self.shard.on_spent_asked(self.now, place);
            self.links.notice(Notice::Sync);
        } else if !self.shard.is_spent_for_good(self.now) {
            return agreed;
        }
        for (at, dot) in dots.iter().enumerate() {
            let is_agreed = spent.binary_search(dot).is_ok() && !self.shard.is_own(*dot);
            agreed[at / 64] |= u64::from(is_agreed) << (at % 64);
        }
        agreed
    }

    /// What `find` finds in the record of the one key of an order, and where that lies.
    fn spent(
        &mut self,
        key: KeyPlace,
        find: impl FnOnce(Record<'_>) -> Entries,
    ) -> Result<(Place, Entries), Unread> {
        let place = self.only_place(key.partition, key.order).ok_or(Unread::Damaged)?;
        let found = self.record_at(place).map(find);
        if found == Err(Unread::Cold) {
            self.store.fetch_listed(key, place);
        }
        Ok((place, found?))
    }

    fn record_at(&self, place: Place) -> Result<Record<'_>, Unread> {
        let body = self.store.body(place)?;
        let key = self.stored_key(body.key())?;
        let stored = self.store.record(&key)?.filter(|stored| stored.place == place);
        Ok(stored.ok_or(Unread::Damaged)?.record)
    }

    /// All have agreed: the entries leave here, and at all owners.
    pub(super) fn conclude_compact(&mut self, number: u32, key: KeyPlace) {
        let entries = self.shard.to_compact(number);
        let mut dropped = 0;
        if !entries.is_empty() {
            dropped = u64::from(self.compact(key, &entries));
            let KeyPlace { partition, order } = key;
            let (purpose, entries) = (Purpose::Compact, &entries[..]);
            self.send_erase(&Erase { partition, purpose, order, entries });
        }
        self.tell_survey(SurveyEvent::Concluded { number, dropped, has_kept: false });
    }

    /// Drops `entries`, which are spent, from the version vector of a key, now and whenever they
    /// come again soon; whether there was one.
    pub(super) fn compact(&mut self, key: KeyPlace, entries: &[Entry]) -> bool {
        self.shard.on_compacted(self.now, key, entries);
        let Some(place) = self.only_place(key.partition, key.order) else { return false };
        let Some(bytes) = self.key_bytes(place) else { return false };
        let dots: Entries = entries.iter().map(|entry| dot_of(*entry)).collect();
        let key = self.place(&bytes);
        records::compact(self.store, &key, &dots).is_ok_and(|place| place.is_some())
    }
}

/// A write or a join has left the record of `key` a version vector of so many entries: those that
/// have left it lately leave it again.
#[inline]
pub(super) fn on_entries<S: Records>(
    (shard, store): (&mut Shard<'_>, &mut S),
    key: &Key<'_>,
    count: usize,
) {
    if key.is_hint() {
        return;
    }
    let place = KeyPlace::of(key);
    shard.note_entries(place, count);
    if shard.compacted(place).is_some() {
        compact_again((shard, store), key);
    }
}

#[cold]
#[inline(never)]
fn compact_again<S: Records>((shard, store): (&mut Shard<'_>, &mut S), key: &Key<'_>) {
    let entries = shard.compacted(KeyPlace::of(key)).unwrap_or_default();
    let dots: Entries = entries.iter().map(|entry| dot_of(*entry)).collect();
    let _unread_or_full = records::compact(store, key, &dots);
}
