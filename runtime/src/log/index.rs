//! Where each key's record lies: per partition one table in hash order.
//!
//! A key's home is `order × capacity >> 64`; it sits there or behind, and slots ascend by order,
//! so a walk over the table is a walk in hash order (scans, transfers, leaf listings) and a grown
//! table is filled in one pass. The table does not wrap: the last run goes on in an overflow
//! behind the homes, which grows on its own, so no choice of keys makes the table grow for ever.
//! Invariant: orders ascend, a slot is never before its home, and no slot between a key's home
//! and its place is empty. Equal orders are told apart by the key in the record, which the caller
//! compares. Source: linear probing sort (Gonnet and Munro 1984), capacity per Lemire's
//! multiply-shift.

use std::cell::Cell;

use ringmain_core::id::Partition;
use ringmain_core::records::Place;
use zerocopy::IntoBytes;

use crate::sys::prefetch;

/// One key's entry.
#[derive(Clone, Debug, Default)]
struct Slot {
    order: u64,
    /// Bits 0..63 the place, 0 = empty; bit 63 = the record's checksum was checked since start.
    place: Cell<u64>,
}

/// What a probe found; valid until the index changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Probe {
    /// The key's slot.
    Found(usize),
    /// Where it would go.
    Vacant(usize),
}

/// The index of a shard: one table for each of its partitions.
#[derive(Debug)]
pub(super) struct Index {
    first: Partition,
    tables: Vec<Table>,
}

impl Index {
    /// An empty index for `count` partitions from `first` on.
    pub(super) fn new(first: Partition, count: usize) -> Index {
        Index { first, tables: vec![Table::default(); count] }
    }

    /// Whether `partition` belongs to this shard.
    pub(super) fn holds(&self, partition: Partition) -> bool {
        (usize::from(partition.0).wrapping_sub(usize::from(self.first.0))) < self.tables.len()
    }

    /// The table of `partition`.
    ///
    /// # Panics
    /// If the partition is not of this shard.
    pub(super) fn table(&self, partition: Partition) -> &Table {
        &self.tables[usize::from(partition.0) - usize::from(self.first.0)]
    }

    /// As [`Index::table`], to change it.
    pub(super) fn table_mut(&mut self, partition: Partition) -> &mut Table {
        &mut self.tables[usize::from(partition.0) - usize::from(self.first.0)]
    }

    /// Keys in all tables.
    pub(super) fn key_count(&self) -> usize {
        self.tables.iter().map(|table| table.count).sum()
    }

    /// Bytes that all tables take.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.slots.len() * size_of::<Slot>()).sum()
    }
}

/// The keys of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// `capacity` homes, then the overflow.
    slots: Vec<Slot>,
    capacity: usize,
    count: usize,
}

impl Table {
    /// Looks for the key with `order` for which `is_same(place)` holds; `is_same` sees every
    /// record of that order until it says yes, and its error ends the search.
    pub(super) fn find<E>(
        &self,
        order: u64,
        mut is_same: impl FnMut(Place, bool) -> Result<bool, E>,
    ) -> Result<Probe, E> {
        let mut at = self.lower_bound(order);
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.is_of(order)) {
            if is_same(slot.place(), slot.is_verified())? {
                return Ok(Probe::Found(at));
            }
            at += 1;
        }
        Ok(Probe::Vacant(at))
    }

    /// Has the slots around the home of `order` begin to arrive in the caches.
    pub(super) fn prefetch(&self, order: u64) {
        if let Some(slot) = self.slots.get(self.home(order)) {
            prefetch(slot.order.as_bytes());
        }
    }

    /// Where the first key of `order` lies, if there is one.
    pub(super) fn guess(&self, order: u64) -> Option<Place> {
        let slot = self.slots.get(self.lower_bound(order))?;
        slot.is_of(order).then(|| slot.place())
    }

    /// Puts `place` where `probe` found the key or room for it.
    pub(super) fn put(&mut self, probe: Probe, order: u64, place: Place, is_verified: bool) {
        let word = place.0 | if is_verified { VERIFIED } else { 0 };
        debug_assert!(place.0 != 0 && place.0 & VERIFIED == 0);
        match probe {
            Probe::Found(at) => self.slots[at].place.set(word),
            Probe::Vacant(at) => self.insert(at, order, word),
        }
    }

    /// Takes the key at a found slot out.
    #[cfg_attr(not(test), expect(dead_code, reason = "reaping will use it"))]
    pub(super) fn remove(&mut self, at: usize) {
        let mut end = at + 1;
        while self
            .slots
            .get(end)
            .is_some_and(|slot| !slot.is_empty() && self.home(slot.order) < end)
        {
            end += 1;
        }
        self.slots[at..end].rotate_left(1);
        self.slots[end - 1] = Slot::default();
        self.count -= 1;
    }

    /// Notes that the record of a found slot was checked.
    pub(super) fn set_verified(&self, at: usize) {
        let place = &self.slots[at].place;
        place.set(place.get() | VERIFIED);
    }

    /// Orders and places of the keys from `order` on, ascending.
    pub(super) fn iter_from(&self, order: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        let slots = &self.slots[self.lower_bound(order)..];
        slots.iter().filter(|slot| !slot.is_empty()).map(|slot| (slot.order, slot.place()))
    }

    /// The first slot at or behind the home of `order` that is empty or not below it.
    fn lower_bound(&self, order: u64) -> usize {
        let mut at = self.home(order);
        while self.slots.get(at).is_some_and(|slot| !slot.is_empty() && slot.order < order) {
            at += 1;
        }
        at
    }

    fn home(&self, order: u64) -> usize {
        ((u128::from(order) * self.capacity as u128) >> 64) as usize
    }

    fn insert(&mut self, mut at: usize, order: u64, word: u64) {
        if (self.count + 1) * LOAD_DENOMINATOR > self.capacity * LOAD_NUMERATOR {
            self.grow();
            at = self.lower_bound(order);
            while self.slots.get(at).is_some_and(|slot| slot.is_of(order)) {
                at += 1;
            }
        }
        let run = self.slots[at..].iter().position(Slot::is_empty);
        let end = run.map_or(self.slots.len(), |run| at + run);
        if end == self.slots.len() {
            self.slots.resize(end + OVERFLOW_SLOTS + end / 64, Slot::default());
        }
        self.slots[at..=end].rotate_right(1);
        self.slots[at] = Slot { order, place: Cell::new(word) };
        self.count += 1;
    }

    /// Makes a quarter more room. Cost: one pass.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.capacity = (self.capacity + self.capacity / 4).max(CAPACITY_MIN);
        self.slots.reserve_exact(self.capacity + OVERFLOW_SLOTS);
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            let home = self.home(slot.order);
            if self.slots.len() < home {
                self.slots.resize(home, Slot::default());
            }
            self.slots.push(slot);
        }
        let len = self.slots.len().max(self.capacity) + OVERFLOW_SLOTS;
        self.slots.resize(len, Slot::default());
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut before = 0;
        let mut count = 0;
        for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty()) {
            assert!(before <= slot.order, "orders ascend");
            before = slot.order;
            count += 1;
            let run = self.home(slot.order)..at;
            assert!(self.home(slot.order) <= at, "not before its home");
            assert!(self.slots[run].iter().all(|slot| !slot.is_empty()), "no gap before a key");
        }
        assert_eq!(count, self.count);
    }
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.place.get() == 0
    }

    fn is_of(&self, order: u64) -> bool {
        self.order == order && !self.is_empty()
    }

    fn is_verified(&self) -> bool {
        self.place.get() & VERIFIED != 0
    }

    fn place(&self) -> Place {
        Place(self.place.get() & !VERIFIED)
    }
}

#[cfg(test)]
mod tests;

const VERIFIED: u64 = 1 << 63;
const CAPACITY_MIN: usize = 16;
/// Largest load: 0.85.
const LOAD_NUMERATOR: usize = 17;
const LOAD_DENOMINATOR: usize = 20;
/// Room behind the last home; it grows when a run reaches its end.
const OVERFLOW_SLOTS: usize = 16;

const _: () = assert!(size_of::<Slot>() == 16, "~21 bytes per key at the mean load");
