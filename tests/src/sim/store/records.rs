//! The store as the protocol sees it: what the log lends is compared with what was appended.

use super::*;
use ringmain_core::request::KeyPlace;
use std::ops::RangeInclusive;

impl Records for Store {
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let found = self.log.record(key).inspect_err(|unread| {
            let is_damaged = *unread == Unread::Damaged;
            assert!(!is_damaged || self.told_damage || self.has_failed(), "on a sound disk");
            self.unread.set(self.unread.get() + u32::from(is_damaged && self.told_damage));
        })?;
        if key.is_hint() {
            let is_known = found.is_none() || self.find(key).is_some();
            assert!(is_known, "what is kept was appended once");
            return Ok(found);
        }
        let found_parts = found.map(|one| (one.record.bytes(), one.mine));
        // What damage took, and no other owner has.
        if self.told_damage && self.log.is_believed(key.partition) {
            let mut own = self.entries.iter().filter(|entry| entry.whose.0 == key.bytes);
            let is_known = found_parts
                .is_none_or(|found| own.any(|entry| (&entry.record[..], entry.mine) == found));
            assert!(is_known, "the log lends what was appended once");
            return Ok(found);
        }
        let expected = self.get(key.bytes);
        let expected_parts = expected.map(|one| (&one.record[..], one.mine));
        assert!(found_parts == expected_parts, "the log lends what was appended last");
        let (found_place, place) = (found.map(|one| one.place), expected.map(|one| one.place));
        assert!(found_place >= place, "where it was appended, or moved");
        Ok(found)
    }

    fn is_cold(&self, key: &Key<'_>) -> bool {
        self.log.is_cold(key)
    }

    fn is_stalled(&self) -> bool {
        self.log.is_stalled()
    }

    fn is_room_awaited(&self) -> bool {
        self.log.is_room_awaited()
    }

    fn fetch(&mut self, key: &Key<'_>) {
        self.log.fetch(key);
    }

    fn await_room(&mut self, key: &Key<'_>) {
        self.log.await_room(key);
    }

    fn fetch_ahead(&mut self, key: &Key<'_>) {
        self.log.fetch_ahead(key);
    }

    fn next_hint(&self, target: NodeId, after: Place) -> Option<Place> {
        self.log.next_hint(target, after)
    }

    fn fetch_place(&mut self, place: Place) {
        self.log.fetch_place(place);
    }

    fn erase(&mut self, key: &Key<'_>, place: Place) -> Result<Option<Place>, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let before = self.found_before(key);
        let Some(erasure) = self.log.erase(key, place)? else { return Ok(None) };
        self.has_dropped |= key.is_hint();
        self.push(key, None, (Vec::new(), before), erasure);
        Ok(Some(erasure))
    }

    fn keeps_hint(&self, key: KeyPlace) -> bool {
        self.log.keeps_hint(key)
    }

    fn set_aside(&mut self, key: &Key<'_>, place: Place, target: NodeId) -> Result<bool, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let record =
            self.log.record_left(key).ok().flatten().map(|one| one.record.bytes().to_vec());
        let hint = key.kept_for(target);
        let before = self.found_before(&hint);
        if !self.log.set_aside(key, place, target)? {
            return Ok(false);
        }
        let kept = self.log.record_left(&hint).ok().flatten().expect("it was kept just now").place;
        let record = record.expect("what was set aside was there");
        self.push(&hint, None, (record, before), kept);
        Ok(true)
    }

    fn live_count(&self, partition: Partition) -> u64 {
        self.log.live_count(partition)
    }

    fn ending_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        Records::ending_from(&self.log, partition, order)
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let mut record = Vec::new();
        let before = self.found_before(key);
        let place = self.log.append(key, mine, bytes, |old, out| {
            fill(old, out);
            record.extend_from_slice(out);
        })?;
        Ok(self.push(key, mine, (record, before), place))
    }

    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let before = self.found_before(key);
        let place = self.log.append_received(key, body)?;
        Ok(self.push(key, None, (body.payload().to_vec(), before), place))
    }

    fn end(&self) -> Place {
        Records::end(&self.log)
    }

    fn key_count(&self, partition: Partition) -> u64 {
        Records::key_count(&self.log, partition)
    }

    fn keys_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        Records::keys_from(&self.log, partition, order)
    }

    fn fetch_listed(&mut self, key: KeyPlace, place: Place) {
        self.log.fetch_listed(key, place);
    }

    fn record_left(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        if !self.told_damage {
            return self.record(key);
        }
        self.log.record_left(key)
    }

    fn replace_damaged(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Option<Place>, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let Some(place) = self.log.replace_damaged(key, body)? else { return Ok(None) };
        assert!(self.told_damage, "on a sound disk");
        self.has_given_up = true;
        Ok(Some(self.push(key, None, (body.payload().to_vec(), None), place)))
    }

    fn mend_leaves(
        &mut self,
        partition: Partition,
        orders: RangeInclusive<u64>,
    ) -> Result<(), Unread> {
        self.log.mend_leaves(partition, orders)
    }

    fn on_equal(&mut self, partition: Partition, peer: NodeId, others: usize) {
        self.log.on_equal(partition, peer, others);
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        self.log.body(place)
    }

    fn leaves(&mut self, partition: Partition) -> &mut [u64] {
        self.log.leaves(partition)
    }
}
