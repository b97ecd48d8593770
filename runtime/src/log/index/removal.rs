//! Keys that leave the index.

use std::convert::Infallible;

use ringmain_core::causality::Lifespan;
use ringmain_core::records::Place;

use super::{Array, Probe, Slot, Table};

impl Table {
    /// Takes the key of `order` that lies at `place` out. Returns whether there was such a key.
    pub(in crate::log) fn remove_at(&mut self, order: u64, place: Place) -> bool {
        let Ok(probe) = self.find(order, |at, _| Ok::<_, Infallible>(at == place));
        let Probe::Found(spot) = probe else { return false };
        let array = if spot.is_moved { &mut self.grown } else { &mut self.array };
        let is_ended = array.slots[spot.at].lifespan() == Lifespan::Ended;
        array.remove(spot.at);
        self.count -= 1;
        self.ended_count -= usize::from(is_ended);
        true
    }
}

impl Array {
    /// Takes a slot out: those behind it that are not at their homes move up.
    fn remove(&mut self, at: usize) {
        let behind = self.slots[at + 1..].iter().zip(at + 1..);
        let run = behind.take_while(|&(slot, at)| !slot.is_empty() && self.home(slot.order) < at);
        let last = at + run.count();
        self.slots[at..=last].rotate_left(1);
        self.slots[last] = Slot::default();
    }
}
