//! Where each key's record lies: per partition one table in hash order.
//!
//! A key's home is `order × capacity >> 64`; it sits there or behind, and slots ascend by order,
//! so a walk over the table is a walk in hash order (scans, transfers, leaf listings) and a larger
//! array is filled front to back. An array does not wrap: the last run goes on in an overflow
//! behind the homes, which grows on its own, so no choice of keys makes the table grow for ever.
//!
//! A table grows by a quarter without a pause: a second array is begun, and every new key moves
//! the next [`MOVED_SLOTS`] slots to it. Orders below the *frontier* live in the second array, the
//! others still in the first, so one comparison says where to look; equal orders move together.
//! The second array's memory is written only as far as the frontier is, and the first one's is
//! given back in pieces. Partitions fill alike, so their tables have different first capacities:
//! at any key count few of them are growing, and the mean load is the same.
//!
//! Invariant, in both arrays: orders ascend, a slot is never before its home, and no slot between
//! a key's home (or the first slot not moved, if that is behind it) and its place is empty. Equal
//! orders are told apart by the key in the record, which the caller compares. Source: linear
//! probing sort (Gonnet and Munro 1984), capacity per Lemire's multiply-shift, incremental
//! rehashing as in Redis.

use ringmain_core::causality::Lifespan;
use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::records::Place;
use slot::Slot;
use slots::Slots;
use zerocopy::IntoBytes;

use super::hints::Hints;
use crate::sys::prefetch;

mod listing;
mod removal;
mod slot;

/// What a probe found; valid until the index changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Probe {
    /// The key's slot.
    Found(Spot),
    /// Where it would go.
    Vacant(Spot),
}

/// A slot of a table; valid until the index changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spot {
    /// Whether it is below the frontier, in the second array.
    is_moved: bool,
    at: usize,
}

/// The index of a shard: one table for each of its partitions, and those of its hints.
#[derive(Debug)]
pub(super) struct Index {
    first: Partition,
    tables: Vec<Table>,
    pub(super) hints: Hints,
}

impl Index {
    /// An empty index for `count` partitions from `first` on.
    pub(super) fn new(first: Partition, count: usize) -> Index {
        let partitions = (0..count).map(|n| Partition(first.0.wrapping_add(n as u16)));
        let tables = partitions.map(Table::new).collect();
        Index { first, tables, hints: Hints::default() }
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

    /// The table that has `key`: of its partition, or of the node for which it is kept.
    ///
    /// # Panics
    /// If the partition is not of this shard.
    pub(super) fn of(&self, key: &Key<'_>) -> &Table {
        if key.is_hint() { self.hints.table(key.target) } else { self.table(key.partition) }
    }

    /// As [`Index::of`], to change it.
    pub(super) fn of_mut(&mut self, key: &Key<'_>) -> &mut Table {
        if key.is_hint() { self.hints.table_mut(key.target) } else { self.table_mut(key.partition) }
    }

    /// As [`Index::table`], to change it.
    pub(super) fn table_mut(&mut self, partition: Partition) -> &mut Table {
        &mut self.tables[usize::from(partition.0) - usize::from(self.first.0)]
    }

    /// Makes room for `count` keys, evenly spread, for bulk loading.
    pub(super) fn reserve(&mut self, count: usize) {
        let count = count / self.tables.len().max(1);
        self.tables.iter_mut().for_each(|table| table.reserve(count));
    }

    /// Keys in the tables of all partitions.
    pub(super) fn key_count(&self) -> usize {
        self.tables.iter().map(|table| table.count).sum()
    }

    /// Bytes that all tables take: at most 24 per key from 200 keys per table on. Of an array
    /// that is being filled the part not yet written counts, too, though it may cost no memory.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(Table::bytes).sum()
    }
}

/// The keys of one partition.
#[derive(Debug)]
pub(super) struct Table {
    /// Orders from the frontier on; all, if the table is not growing.
    array: Array,
    /// Orders below the frontier; its capacity is 0 if the table is not growing.
    grown: Array,
    frontier: u64,
    count: usize,
    /// Keys whose records have ended.
    ended_count: usize,
    /// Capacity of the youngest array, in units of 1 / [`SIZE_ONE`] slots: rounded to slots, tables
    /// with unlike first capacities would come to have the same one.
    size: u64,
    /// The array before, of which all is moved.
    retired: Slots,
}

impl Table {
    /// An empty table; tables of partitions near each other grow at different key counts.
    pub(super) fn new(partition: Partition) -> Table {
        // Multiples of the golden ratio are spread evenly, however many are taken.
        let phase = partition.0.wrapping_mul(GOLDEN_RATIO);
        Table {
            array: Array::default(),
            grown: Array::default(),
            frontier: 0,
            count: 0,
            ended_count: 0,
            size: CAPACITY_MIN * SIZE_ONE + CAPACITY_MIN / GROWTH * u64::from(phase),
            retired: Slots::default(),
        }
    }

    /// Looks for the key with `order` for which `is_same(place)` holds; `is_same` sees every
    /// record of that order until it says yes, and its error ends the search.
    pub(super) fn find<E>(
        &self,
        order: u64,
        mut is_same: impl FnMut(Place, bool) -> Result<bool, E>,
    ) -> Result<Probe, E> {
        let is_moved = order < self.frontier;
        let array = self.array_of(order);
        let mut at = array.lower_bound(order);
        while let Some(slot) = array.slots.get(at).filter(|slot| slot.is_of(order)) {
            if is_same(slot.place(), slot.is_verified())? {
                return Ok(Probe::Found(Spot { is_moved, at }));
            }
            at += 1;
        }
        Ok(Probe::Vacant(Spot { is_moved, at }))
    }

    /// Has the slots around the home of `order` begin to arrive in the caches.
    pub(super) fn prefetch(&self, order: u64) {
        let array = self.array_of(order);
        if let Some(slot) = array.slots.get(array.start(order)) {
            prefetch(slot.order.as_bytes());
        }
    }

    /// Where the first key of `order` lies, if there is one.
    pub(super) fn guess(&self, order: u64) -> Option<Place> {
        self.array_of(order).slots_of(order).next().map(Slot::place)
    }

    /// Whether two or more keys have this order.
    pub(super) fn has_twin(&self, order: u64) -> bool {
        self.array_of(order).slots_of(order).nth(1).is_some()
    }

    /// Puts the place of a record, and what becomes of it, where `probe` found the key or room for
    /// it.
    pub(super) fn put(
        &mut self,
        probe: Probe,
        order: u64,
        (place, lifespan): (Place, Lifespan),
        is_verified: bool,
    ) {
        self.ended_count += usize::from(lifespan == Lifespan::Ended);
        match probe {
            Probe::Found(spot) => {
                let slot = self.slot(spot);
                let is_ended = slot.lifespan() == Lifespan::Ended;
                slot.set(place, lifespan, is_verified);
                self.ended_count -= usize::from(is_ended);
            }
            Probe::Vacant(spot) => {
                let slot = Slot::new(order);
                slot.set(place, lifespan, is_verified);
                self.insert(spot, slot);
            }
        }
    }

    /// Whether a key of `order` lies at `place`.
    pub(super) fn holds_at(&self, order: u64, place: Place) -> bool {
        self.array_of(order).slots_of(order).any(|slot| slot.place() == place)
    }

    /// Gives the key of `order` that lies at `old` the place `new`, as verified; no record is
    /// compared. Returns whether there is such a key.
    pub(super) fn replace(&mut self, order: u64, old: Place, new: Place) -> bool {
        let slot = self.array_of(order).slots_of(order).find(|slot| slot.place() == old);
        slot.inspect(|slot| slot.set(new, slot.lifespan(), true)).is_some()
    }

    /// Notes whether the record of a found slot was checked.
    pub(super) fn set_verified(&self, spot: Spot, is_verified: bool) {
        let slot = self.slot(spot);
        slot.set(slot.place(), slot.lifespan(), is_verified);
    }

    /// Makes room for `count` keys at once, unless it is growing. Cost: one pass.
    pub(super) fn reserve(&mut self, count: usize) {
        if self.is_growing() || !is_over(count, self.capacity()) {
            return;
        }
        while is_over(count, self.capacity()) {
            self.size += self.size / GROWTH;
        }
        self.begin();
        if self.is_growing() {
            self.move_slots(usize::MAX);
        }
    }

    fn array_of(&self, order: u64) -> &Array {
        if order < self.frontier { &self.grown } else { &self.array }
    }

    fn slot(&self, spot: Spot) -> &Slot {
        let array = if spot.is_moved { &self.grown } else { &self.array };
        &array.slots[spot.at]
    }

    fn is_growing(&self) -> bool {
        self.grown.capacity > 0
    }

    /// Homes in the youngest array.
    fn capacity(&self) -> usize {
        (self.size / SIZE_ONE) as usize
    }

    fn bytes(&self) -> usize {
        let slots = [&self.array.slots, &self.grown.slots, &self.retired];
        slots.iter().map(|slots| slots.bytes()).sum()
    }

    fn insert(&mut self, spot: Spot, slot: Slot) {
        if self.array.capacity == 0 {
            self.begin();
            self.array.insert(self.array.home(slot.order), slot);
        } else if spot.is_moved {
            self.grown.insert(spot.at, slot);
        } else {
            self.array.insert(spot.at, slot);
        }
        self.count += 1;
        if self.is_growing() {
            self.move_slots(MOVED_SLOTS);
        } else if is_over(self.count, self.array.capacity) {
            self.size += self.size / GROWTH;
            self.begin();
        } else if !self.retired.is_empty() {
            self.release();
        }
    }

    /// Begins an array of the capacity that `size` says: a second one, but for the first key.
    fn begin(&mut self) {
        debug_assert!(!self.is_growing(), "a growth ends long before the next");
        let mut array = Array::with_capacity(self.capacity());
        if self.array.capacity == 0 {
            array.extend(array.whole());
            self.array = array;
        } else {
            self.grown = array;
        }
    }

    /// Moves the next `count` slots, empty ones included, and those equal to the last of them.
    fn move_slots(&mut self, count: usize) {
        let Table { array, grown, frontier, .. } = self;
        let end = array.slots.len().min(array.moved.saturating_add(count));
        grown.extend((end * grown.capacity).div_ceil(array.capacity).min(grown.whole()));
        // Below it is no empty slot that one of the moved ones may take, and behind it only such.
        let mut free = grown.lower_bound(*frontier);
        let mut last = None;
        for slot in &array.slots[array.moved..] {
            let is_equal = last == Some(slot.order) && !slot.is_empty();
            if array.moved >= end && !is_equal {
                break;
            }
            array.moved += 1;
            if !slot.is_empty() {
                let at = grown.home(slot.order).max(free);
                grown.extend(at + 1);
                grown.slots[at] = slot.clone();
                free = at + 1;
                last = Some(slot.order);
            }
        }
        match last {
            Some(u64::MAX) => array.moved = array.slots.len(),
            Some(last) => *frontier = last + 1,
            None => {}
        }
        if array.moved == array.slots.len() {
            grown.extend(grown.whole());
            self.retired = std::mem::replace(array, std::mem::take(grown)).slots;
            self.frontier = 0;
            self.release();
        }
    }

    /// Gives back the next piece of the retired array: to unmap a large one takes milliseconds.
    fn release(&mut self) {
        self.retired.release(RELEASED_SLOTS);
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let moved = self.grown.check_invariants();
        let rest = self.array.check_invariants();
        assert!(moved.is_none_or(|(_, last)| last < self.frontier), "below the frontier");
        assert!(rest.is_none_or(|(first, _)| first >= self.frontier), "from the frontier on");
        assert_eq!(self.iter_from(0).count(), self.count);
        let ended = self.slots_from(0).filter(|slot| slot.lifespan() == Lifespan::Ended);
        assert_eq!(ended.count(), self.ended_count);
        assert!(self.is_growing() || self.frontier == 0);
        assert!(!is_over(self.count, self.capacity()), "the load is bounded");
        let is_full = self.array.slots.len() >= self.array.whole();
        assert!(is_full || self.count == 0, "a home for every order");
    }
}

/// Slots in hash order: `capacity` homes, then the overflow.
#[derive(Debug, Default)]
struct Array {
    /// Shorter than [`Array::whole`] only while slots are moved to it, and then longer than the
    /// home of any order that is looked for.
    slots: Slots,
    capacity: usize,
    /// Slots below it were moved to another array.
    moved: usize,
}

impl Array {
    /// An array without slots, with memory for all of them.
    fn with_capacity(capacity: usize) -> Array {
        let mut array = Array { slots: Slots::default(), capacity, moved: 0 };
        array.slots = Slots::with_capacity(array.whole());
        array
    }

    /// Slots that an array has whose last run is short.
    fn whole(&self) -> usize {
        self.capacity + OVERFLOW_MIN + (self.capacity / OVERFLOW_PART).min(OVERFLOW_MORE_MAX)
    }

    fn home(&self, order: u64) -> usize {
        ((u128::from(order) * self.capacity as u128) >> 64) as usize
    }

    /// Where the search for `order` begins.
    fn start(&self, order: u64) -> usize {
        self.home(order).max(self.moved)
    }

    /// The first slot from where the search begins that is empty or not below `order`.
    fn lower_bound(&self, order: u64) -> usize {
        let mut at = self.start(order);
        while self.slots.get(at).is_some_and(|slot| !slot.is_empty() && slot.order < order) {
            at += 1;
        }
        at
    }

    fn slots_from(&self, order: u64) -> &[Slot] {
        &self.slots[self.lower_bound(order)..]
    }

    fn slots_of(&self, order: u64) -> impl Iterator<Item = &Slot> {
        self.slots_from(order).iter().take_while(move |slot| slot.is_of(order))
    }

    /// Makes it `len` slots long, if it is shorter. Memory is taken only if keys chosen to collide
    /// fill the overflow: then a part of the array's size, so that it seldom happens.
    fn extend(&mut self, len: usize) {
        if len <= self.slots.len() {
            return;
        }
        if len > self.slots.capacity() {
            let more = OVERFLOW_MIN + len / OVERFLOW_PART;
            self.slots.reserve(len + more);
        }
        self.slots.extend(len);
    }

    fn insert(&mut self, at: usize, slot: Slot) {
        let run = self.slots[at..].iter().position(Slot::is_empty);
        let end = run.map_or(self.slots.len(), |run| at + run);
        self.extend(end + 1);
        self.slots[at..=end].rotate_right(1);
        self.slots[at] = slot;
    }

    /// Returns the first order and the last.
    #[cfg(test)]
    fn check_invariants(&self) -> Option<(u64, u64)> {
        let mut ends: Option<(u64, u64)> = None;
        let slots = self.slots.iter().enumerate().skip(self.moved);
        for (at, slot) in slots.filter(|(_, slot)| !slot.is_empty()) {
            assert!(ends.is_none_or(|(_, last)| last <= slot.order), "orders ascend");
            ends = Some((ends.map_or(slot.order, |(first, _)| first), slot.order));
            assert!(self.home(slot.order) <= at, "not before its home");
            let run = self.start(slot.order)..at;
            assert!(self.slots[run].iter().all(|slot| !slot.is_empty()), "no gap before a key");
        }
        ends
    }
}

/// Whether `count` keys are too many for `capacity` homes.
fn is_over(count: usize, capacity: usize) -> bool {
    count * LOAD_DENOMINATOR > capacity * LOAD_NUMERATOR
}

mod slots;
#[cfg(test)]
mod tests;

const CAPACITY_MIN: u64 = 16;
/// A table grows by one part of so many.
const GROWTH: u64 = 4;
const SIZE_ONE: u64 = 1 << 16;
/// The golden ratio's fraction, × 2^16.
const GOLDEN_RATIO: u16 = 40503;
/// Largest load at which no growth begins: 0.85.
const LOAD_NUMERATOR: usize = 17;
const LOAD_DENOMINATOR: usize = 20;
/// Slots that each new key moves while its table grows: some 200 ns of work.
const MOVED_SLOTS: usize = 128;
/// Slots of a retired array that each new key gives back: 1 MiB.
const RELEASED_SLOTS: usize = (1 << 20) / size_of::<Slot>();
/// Room behind the last home: runs of spread keys outgrow the largest once in 10^13 arrays, and
/// smaller arrays are quickly copied.
const OVERFLOW_MIN: usize = 6;
const OVERFLOW_PART: usize = 64;
const OVERFLOW_MORE_MAX: usize = 120;

const _: () = assert!(size_of::<Slot>() == 16, "~21 bytes per key at the mean load");
/// While n slots are moved, n / MOVED_SLOTS keys come; so many more than 0.85 n are never in an
/// array, and its load stays below 0.9.
const _: () = assert!(
    10 * (LOAD_NUMERATOR * MOVED_SLOTS + LOAD_DENOMINATOR) <= 9 * LOAD_DENOMINATOR * MOVED_SLOTS
);
/// In that time the larger array is not full, either.
const _: () = assert!(MOVED_SLOTS as u64 > 4 * GROWTH);
