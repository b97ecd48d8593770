//! What a table holds, counted and listed.

use ringmain_core::causality::Lifespan;
use ringmain_core::records::Place;

use super::Table;
use super::slot::Slot;

impl Table {
    /// How many keys there are.
    pub(in crate::log) fn count(&self) -> usize {
        self.count
    }

    /// How many keys have a record that has ended.
    pub(in crate::log) fn ended_count(&self) -> usize {
        self.ended_count
    }

    /// Orders and places of the keys from `order` on, ascending.
    pub(in crate::log) fn iter_from(&self, order: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.slots_from(order).map(|slot| (slot.order, slot.place()))
    }

    /// As [`Table::iter_from`], of the keys whose records do not last.
    pub(in crate::log) fn ending_from(
        &self,
        order: u64,
    ) -> impl Iterator<Item = (u64, Place)> + '_ {
        let ends = |slot: &&Slot| slot.lifespan() != Lifespan::Lasting;
        self.slots_from(order).filter(ends).map(|slot| (slot.order, slot.place()))
    }

    pub(super) fn slots_from(&self, order: u64) -> impl Iterator<Item = &Slot> + '_ {
        let moved = if order < self.frontier { self.grown.slots_from(order) } else { &[] };
        let slots = moved.iter().chain(self.array.slots_from(order));
        slots.filter(|slot| !slot.is_empty())
    }
}
