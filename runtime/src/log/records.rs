//! The log as the protocol sees it.

use std::ops::RangeInclusive;

use ringmain_core::hash::Key;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::records::{Full, Place, Records, Stored, Unread};
use ringmain_core::request::KeyPlace;
use ringmain_core::wire::body::{Body, body_bytes, write_body};

use super::request::Refusal;
use super::{Log, Maps};
use crate::checksum::Hardware;

impl<M: Maps> Records for Log<M> {
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let (_, frame) = self.source().find(self.index.of(key), key)?;
        frame.map(|frame| frame.stored()).transpose()
    }

    fn is_cold(&self, key: &Key<'_>) -> bool {
        !self.maps.are_resident()
            && self.index.holds(key.partition)
            && self.cold_place(key).is_some()
    }

    fn is_stalled(&self) -> bool {
        self.writer.is_stalled()
    }

    fn is_room_awaited(&self) -> bool {
        self.roomless.is_awaited()
    }

    fn fetch(&mut self, key: &Key<'_>) {
        self.want(key, true);
    }

    fn fetch_ahead(&mut self, key: &Key<'_>) {
        self.want(key, false);
    }

    fn next_hint(&self, target: NodeId, after: Place) -> Option<Place> {
        self.oldest_hint(target, after)
    }

    fn fetch_place(&mut self, place: Place) {
        // Nobody waits for it by its key, which is not known yet.
        let key = KeyPlace { partition: Partition(u16::MAX), order: place.0 };
        self.want_place(key, place, false);
    }

    fn erase(&mut self, key: &Key<'_>, place: Place) -> Result<Option<Place>, Full> {
        self.erase_at(key, place).map_err(Refusal::full)
    }

    fn await_room(&mut self, key: &Key<'_>) {
        self.roomless.add(KeyPlace::of(key));
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        let bytes = body_bytes(key.bytes.len(), bytes);
        let result = self.append_body(key, bytes, |current, out| {
            (mine, write_body::<Hardware>(key.bytes, out, |record| fill(current, record)))
        });
        self.noted(result)
    }

    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full> {
        assert!(body.key() == key.bytes);
        let result = self.append_body(key, body.bytes().len(), |_, out| {
            out.copy_from_slice(body.bytes());
            (None, body.crc32c())
        });
        self.noted(result)
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        Ok(self.source().frame(place)?.body())
    }

    fn end(&self) -> Place {
        self.writer.end()
    }

    fn key_count(&self, partition: Partition) -> u64 {
        self.index.table(partition).count() as u64
    }

    fn keys_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        self.index.table(partition).iter_from(order)
    }

    fn keeps_hint(&self, key: KeyPlace) -> bool {
        self.index.hints.has_order(key.order)
    }

    fn set_aside(&mut self, key: &Key<'_>, place: Place, target: NodeId) -> Result<bool, Full> {
        let hint = key.kept_for(target);
        if self.index.of(&hint).guess(key.order).is_some() {
            return Ok(false);
        }
        let Ok(frame) = self.source().frame(place) else { return Ok(false) };
        if !frame.is_intact() {
            return Ok(false);
        }
        // The tail moves when something is appended.
        let body = frame.body().bytes().to_vec();
        let Ok(body) = Body::without_checksum(&body) else { return Ok(false) };
        self.append_received(&hint, body).map(|_| true)
    }

    fn live_count(&self, partition: Partition) -> u64 {
        let table = self.index.table(partition);
        (table.count() - table.ended_count()) as u64
    }

    fn ending_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        self.index.table(partition).ending_from(order)
    }

    fn fetch_listed(&mut self, key: KeyPlace, place: Place) {
        self.want_place(key, place, false);
    }

    fn record_left(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        self.find_left(key)
    }

    fn replace_damaged(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Option<Place>, Full> {
        let damaged = self.damaged_places(key.partition, key.order);
        if damaged.is_empty() {
            return Ok(None);
        }
        self.give_up(key, &damaged);
        let result = self.append_received(key, body);
        if result.is_err() {
            self.take_back(key, &damaged);
        }
        result.map(Some)
    }

    fn mend_leaves(
        &mut self,
        partition: Partition,
        orders: RangeInclusive<u64>,
    ) -> Result<(), Unread> {
        self.mend(partition, orders)
    }

    fn on_equal(&mut self, partition: Partition, peer: NodeId, others: usize) {
        self.believe(partition, peer, others);
    }

    fn leaves(&mut self, partition: Partition) -> &mut [u64] {
        self.leaves.of(partition)
    }
}
