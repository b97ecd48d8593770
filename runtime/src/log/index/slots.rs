//! The memory of one array of the index.
//!
//! Large arrays have maps of their own: the allocator would keep what growing tables give back in
//! pieces, a tenth of the index, and a map's zeros cost nothing before they are touched. Small
//! ones come from the allocator, since maps are whole pages and the kernel bounds their number.

use super::Slot;
use crate::sys::ZeroMap;
use std::ops::{Deref, DerefMut};

/// A row of slots with room for more; what is behind its end is empty.
#[derive(Debug, Default)]
pub(super) struct Slots {
    memory: Memory,
    len: usize,
}

enum Memory {
    Heap(Box<[Slot]>),
    Map(ZeroMap<Slot>),
}

impl Slots {
    /// No slots, with room for `capacity`.
    pub(super) fn with_capacity(capacity: usize) -> Slots {
        let is_large = capacity * size_of::<Slot>() >= MAP_BYTES_MIN;
        let map = is_large.then(|| ZeroMap::new(capacity)).and_then(Result::ok);
        // Without a further map the allocator may still have room.
        let heap = || Memory::Heap(vec![Slot::default(); capacity].into());
        Slots { memory: map.map_or_else(heap, Memory::Map), len: 0 }
    }

    /// How many slots there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.all().len()
    }

    /// Bytes that they and the room for more take.
    pub(super) fn bytes(&self) -> usize {
        self.capacity() * size_of::<Slot>()
    }

    /// Adds empty slots, until it is `len` slots long.
    ///
    /// # Panics
    /// If there is no room for them, or it is longer already.
    pub(super) fn extend(&mut self, len: usize) {
        assert!(self.len <= len && len <= self.capacity());
        let first_page = self.len.next_multiple_of(PAGE_SLOTS);
        self.len = len;
        // Were they read first, each page would fault twice: once to map the zeros that all share,
        // once to take memory, and then every other CPU is told.
        (first_page..len).step_by(PAGE_SLOTS).for_each(|first| self[first] = Slot::default());
    }

    /// Makes room for `capacity` slots. Cost: one pass.
    pub(super) fn reserve(&mut self, capacity: usize) {
        let mut larger = Slots::with_capacity(capacity);
        larger.extend(self.len);
        larger.clone_from_slice(self);
        *self = larger;
    }

    /// Gives back the last `count` slots and what is behind them, or all.
    pub(super) fn release(&mut self, count: usize) {
        self.len = self.len.saturating_sub(count);
        match &mut self.memory {
            Memory::Map(map) if self.len > 0 => map.truncate(self.len),
            Memory::Map(_) => *self = Slots::default(),
            // Small, or the last resort: at once.
            Memory::Heap(_) => *self = Slots::default(),
        }
    }

    fn all(&self) -> &[Slot] {
        match &self.memory {
            Memory::Heap(slots) => slots,
            Memory::Map(slots) => slots,
        }
    }
}

impl Deref for Slots {
    type Target = [Slot];
    fn deref(&self) -> &[Slot] {
        &self.all()[..self.len]
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut [Slot] {
        let slots = match &mut self.memory {
            Memory::Heap(slots) => &mut slots[..],
            Memory::Map(slots) => &mut slots[..],
        };
        &mut slots[..self.len]
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Heap(Box::default())
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, count) = match self {
            Memory::Heap(slots) => ("Heap", slots.len()),
            Memory::Map(slots) => ("Map", slots.len()),
        };
        write!(f, "{kind}({count})")
    }
}

const PAGE_SLOTS: usize = 4096 / size_of::<Slot>();
/// Arrays from this size on are maps of their own, bytes.
const MAP_BYTES_MIN: usize = 16 << 10;
