//! One key's entry: two words.

use std::cell::Cell;

use ringmain_core::causality::Lifespan;
use ringmain_core::records::Place;
use zerocopy::FromZeros;

use super::super::limits::RECORD_ALIGN;

/// See the module.
#[derive(Clone, Debug, Default, FromZeros)]
pub(super) struct Slot {
    pub(super) order: u64,
    /// The place, 0 = empty, whose low bits are 0: there the record's lifespan stands. The top bit:
    /// its checksum was checked since the start.
    word: Cell<u64>,
}

impl Slot {
    /// An empty one.
    pub(super) fn new(order: u64) -> Slot {
        Slot { order, word: Cell::new(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.word.get() == 0
    }

    /// Whether a key of that order is in it.
    pub(super) fn is_of(&self, order: u64) -> bool {
        self.order == order && !self.is_empty()
    }

    pub(super) fn is_verified(&self) -> bool {
        self.word.get() & VERIFIED != 0
    }

    pub(super) fn place(&self) -> Place {
        Place(self.word.get() & !(VERIFIED | LIFESPAN))
    }

    pub(super) fn lifespan(&self) -> Lifespan {
        match self.word.get() & LIFESPAN {
            0 => Lifespan::Lasting,
            1 => Lifespan::Expiring,
            _ => Lifespan::Ended,
        }
    }

    pub(super) fn set(&self, place: Place, lifespan: Lifespan, is_verified: bool) {
        debug_assert!(place.0 != 0 && place.0 & (VERIFIED | LIFESPAN) == 0);
        let lifespan = match lifespan {
            Lifespan::Lasting => 0,
            Lifespan::Expiring => 1,
            Lifespan::Ended => 2,
        };
        let verified = if is_verified { VERIFIED } else { 0 };
        self.word.set(place.0 | lifespan | verified);
    }
}

const VERIFIED: u64 = 1 << 63;
const LIFESPAN: u64 = 3;
const _: () = assert!(RECORD_ALIGN as u64 > LIFESPAN, "those bits of a place are 0");
