//! A store in memory that can refuse, and that can check its leaves.

use super::*;
use crate::checksum::Software;
use crate::wire::body::{body_bytes, write_body};
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

/// Bodies by place, counted from 1, and which of them is current for a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Store {
    bodies: Vec<Vec<u8>>,
    current: BTreeMap<Vec<u8>, (Place, Option<u16>)>,
    /// By key and for whom they are kept.
    pub(crate) hints: BTreeMap<(Vec<u8>, NodeId), (Place, Option<u16>)>,
    leaves: BTreeMap<Partition, Vec<u64>>,
    /// The keys of `current`, in the order of their partitions.
    orders: BTreeSet<(Partition, u64, Vec<u8>)>,
    /// Bodies that were stored as they were received.
    pub(crate) received: usize,
    /// Appends would be refused for a while; and they are.
    pub(crate) is_stalled: bool,
    /// The next append finds no room: from then on it is stalled.
    pub(crate) stalls_next: bool,
    /// Appends are refused with this.
    pub(crate) full: Option<Full>,
    /// Keys that cannot be read.
    pub(crate) unread: BTreeMap<Vec<u8>, Unread>,
    /// Places that cannot be read.
    pub(crate) unread_places: BTreeMap<Place, Unread>,
    /// Hints that were to be read into memory.
    pub(crate) fetched_hints: Vec<Place>,
    /// Keys whose records were to be read into memory.
    pub(crate) fetched: Vec<Vec<u8>>,
    /// Keys for which room was awaited.
    pub(crate) roomless: Vec<Vec<u8>>,
}

impl Store {
    /// The place behind the last record.
    pub(crate) fn end(&self) -> Place {
        Place(self.bodies.len() as u64 + 1)
    }

    /// The record of `key` vanishes: a fallback dropped it, a disk was replaced.
    pub(crate) fn drop_record(&mut self, key: &Key<'_>) {
        let before = self.record(key).unwrap().map_or(0, |old| old.record.version(key));
        self.current.remove(key.bytes);
        self.orders.remove(&(key.partition, key.order, key.bytes.to_vec()));
        update_leaf(self, key, before, 0);
    }

    /// A bit of the value of `key` flips on the disk.
    pub(crate) fn rot(&mut self, key: &Key<'_>) {
        let (place, _) = self.current[key.bytes];
        *self.bodies[place.0 as usize - 1].last_mut().unwrap() ^= 1;
    }

    /// Every leaf is the sum of the versions of its keys, computed from scratch.
    pub(crate) fn check_leaves(&self, key_of: impl Fn(&[u8]) -> Key<'_>) {
        let mut computed: BTreeMap<Partition, BTreeMap<usize, u64>> = BTreeMap::new();
        for (bytes, (place, _)) in &self.current {
            let (key, body) = (key_of(bytes), self.body(*place).unwrap());
            let version = Record::new_checked(body.payload()).unwrap().version(&key);
            let leaves = computed.entry(key.partition).or_default();
            let leaf = leaves.entry(leaf_index(&key)).or_default();
            *leaf = leaf.wrapping_add(version);
        }
        for (partition, leaves) in &self.leaves {
            let used = leaves.iter().enumerate().filter(|(_, leaf)| **leaf != 0);
            let used: BTreeMap<usize, u64> = used.map(|(index, leaf)| (index, *leaf)).collect();
            assert_eq!(used, computed.remove(partition).unwrap_or_default(), "{partition:?}");
        }
        assert!(computed.is_empty());
    }

    fn check_room(&mut self) -> Result<(), Full> {
        self.is_stalled |= core::mem::take(&mut self.stalls_next);
        if self.is_stalled { Err(Full::Busy) } else { self.full.map_or(Ok(()), Err) }
    }

    fn push(&mut self, key: &Key<'_>, mine: Option<u16>, body: Vec<u8>) -> Place {
        let place = self.end();
        self.bodies.push(body);
        let bytes = key.bytes.to_vec();
        if key.is_hint() {
            self.hints.insert((bytes, key.target), (place, mine));
        } else {
            self.orders.insert((key.partition, key.order, bytes.clone()));
            self.current.insert(bytes, (place, mine));
        }
        place
    }
}

impl Records for Store {
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        if let Some(unread) = self.unread.get(key.bytes) {
            return Err(*unread);
        }
        let current = match key.is_hint() {
            true => self.hints.get(&(key.bytes.to_vec(), key.target)),
            false => self.current.get(key.bytes),
        };
        let Some(&(place, mine)) = current else { return Ok(None) };
        let record = Record::new_checked(self.body(place)?.payload()).unwrap();
        Ok(Some(Stored { record, mine, place }))
    }

    fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    fn is_room_awaited(&self) -> bool {
        !self.roomless.is_empty()
    }

    fn fetch(&mut self, key: &Key<'_>) {
        self.fetched.push(key.bytes.to_vec());
    }

    fn await_room(&mut self, key: &Key<'_>) {
        assert!(self.is_stalled || self.is_room_awaited());
        self.roomless.push(key.bytes.to_vec());
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        self.check_room()?;
        let mut body = vec![0; body_bytes(key.bytes.len(), bytes)];
        let old = self.record(key).unwrap();
        write_body::<Software>(key.bytes, &mut body, |out| fill(old, out));
        Ok(self.push(key, mine, body))
    }

    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full> {
        assert_eq!(body.key(), key.bytes);
        self.check_room()?;
        self.received += 1;
        Ok(self.push(key, None, body.bytes().to_vec()))
    }

    fn next_hint(&self, target: NodeId, after: Place) -> Option<Place> {
        let hints = self.hints.iter().filter(|((_, kept_for), _)| *kept_for == target);
        hints.map(|(_, (place, _))| *place).filter(|place| *place > after).min()
    }

    fn fetch_place(&mut self, place: Place) {
        if !self.fetched_hints.contains(&place) {
            self.fetched_hints.push(place);
        }
    }

    fn erase(&mut self, key: &Key<'_>, place: Place) -> Result<Option<Place>, Full> {
        self.check_room()?;
        let hint = (key.bytes.to_vec(), key.target);
        let current =
            if key.is_hint() { self.hints.get(&hint) } else { self.current.get(key.bytes) };
        if current.is_none_or(|(current, _)| *current != place) {
            return Ok(None);
        }
        if key.is_hint() {
            self.hints.remove(&hint);
        } else {
            self.current.remove(key.bytes);
            self.orders.remove(&(key.partition, key.order, key.bytes.to_vec()));
        }
        // The erasure takes a place.
        self.bodies.push(Vec::new());
        Ok(Some(Place(self.bodies.len() as u64)))
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        if let Some(unread) = self.unread_places.get(&place) {
            return Err(*unread);
        }
        Ok(Body::without_checksum(&self.bodies[place.0 as usize - 1]).unwrap())
    }

    fn keeps_hint(&self, key: KeyPlace) -> bool {
        let mut kept = self.hints.keys();
        kept.any(|(bytes, _)| self.orders.contains(&(key.partition, key.order, bytes.clone())))
    }

    fn end(&self) -> Place {
        Place(self.bodies.len() as u64)
    }

    fn key_count(&self, partition: Partition) -> u64 {
        self.keys_from(partition, 0).count() as u64
    }

    fn keys_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        let keys = self.orders.range((partition, order, Vec::new())..);
        let keys = keys.take_while(move |key| key.0 == partition);
        keys.map(|(_, order, bytes)| (*order, self.current[bytes].0))
    }

    fn leaves(&mut self, partition: Partition) -> &mut [u64] {
        self.leaves.entry(partition).or_insert_with(|| vec![0; limits::MERKLE_LEAF_COUNT])
    }
}
