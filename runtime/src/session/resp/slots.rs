//! Replies in request order, whatever the order of the answers.
//!
//! A request whose answer comes later takes a *slot* of a bounded ring, and so does every reply
//! behind it; a reply that is there before its turn is held in its slot. With an empty ring a
//! reply goes straight to the output.
//!
//! Invariant: the first slot is always pending; what becomes done at the head leaves at once.

use ringmain_core::drive::Command;

use super::answer::{Member, Outcome, Shape};
use crate::sys::SendBuffer;

/// Most requests and replies of one connection that wait for their turn.
pub(super) const SLOT_COUNT: u32 = 64;
/// What is taken for an answer's length before the first one has come, bytes: a new connection
/// that asks for large values has few of them under way.
const TYPICAL_BYTES_FIRST: usize = 64 << 10;
/// A held reply's memory above this is given back, bytes.
const HELD_CAPACITY_MAX: usize = 16 << 10;

/// Slots that a ring begins with; it grows four times as large when they are taken.
const SLOT_COUNT_FIRST: usize = 4;

const _: () = assert!(SLOT_COUNT.is_power_of_two(), "numbers may wrap");
const _: () = assert!(SLOT_COUNT_FIRST.is_power_of_two());

/// How the answer to a request becomes a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) member: Member,
    pub(super) resp3: bool,
}

/// What a request does to its key, for the order of commands on one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Effect {
    /// Hash of the key.
    pub(super) key: u64,
    pub(super) writes: bool,
}

impl Effect {
    /// What `command` does to `key`.
    pub(super) fn of(key: &[u8], command: &Command<'_>) -> Effect {
        let writes = matches!(command, Command::Put(_));
        Effect { key: xxhash_rust::xxh3::xxh3_64(key), writes }
    }
}

/// A reply that waits for its turn.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The reply, once it is done.
    pub(super) held: SendBuffer,
    /// What it counts to its group, once it is done.
    pub(super) outcome: Outcome,
    /// How its answer is to be written; `None` once it is done.
    pending: Option<Form>,
    /// So long its answer will be, as far as was known, while it is pending.
    expected: usize,
    /// For its turn, when it is done.
    member: Member,
    /// `None`: a later request on the same key need not wait.
    effect: Option<Effect>,
}

/// The ring. Takes no memory before the first answer that comes later, and little before many do.
#[derive(Debug)]
pub(super) struct Slots {
    ring: Vec<Slot>,
    head: u32,
    tail: u32,
    /// Slots that are pending.
    pending: u32,
    /// Slots that have an effect to wait for.
    effects: u32,
    /// Bytes in all held replies, and expected in all pending ones.
    bytes: usize,
    /// How long answers are lately, for those of which nothing is known, bytes.
    typical: usize,
}

impl Default for Slots {
    fn default() -> Slots {
        let typical = TYPICAL_BYTES_FIRST;
        Slots { ring: Vec::new(), head: 0, tail: 0, pending: 0, effects: 0, bytes: 0, typical }
    }
}

impl Slots {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) == SLOT_COUNT
    }

    /// Answers that are still to come.
    pub(super) fn pending(&self) -> u32 {
        self.pending
    }

    /// Bytes of replies that wait for their turn, and of those that are known to come.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that it uses or should need for what is to come, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.ring.capacity() * size_of::<Slot>()
    }

    /// Gives its memory back, if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            self.ring = Vec::new();
        }
    }

    /// The number that the next request gets.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        self.tail
    }

    /// Whether any later request may have to wait: if not, no key needs to be hashed.
    #[inline]
    pub(super) fn orders_keys(&self) -> bool {
        self.effects > 0
    }

    /// Whether a request with `effect` has to wait for an earlier one on its key. A wrong yes,
    /// when two keys share a hash, costs a wait. O(slots in use).
    pub(super) fn must_wait(&self, effect: Effect) -> bool {
        let mut number = self.head;
        while number != self.tail {
            let slot = &self.ring[self.index(number)];
            if let Some(earlier) = slot.effect
                && earlier.key == effect.key
                && (earlier.writes || effect.writes)
            {
                return true;
            }
            number = number.wrapping_add(1);
        }
        false
    }

    /// An answer that came later had so many bytes: long ones count at once, short ones little
    /// by little.
    pub(super) fn learn(&mut self, bytes: usize) {
        self.typical = bytes.max(self.typical - self.typical / 4);
    }

    /// How long an answer may be of which nothing is known, bytes.
    pub(super) fn typical(&self) -> usize {
        self.typical
    }

    /// Takes a slot for a request whose answer comes later and should have `expected` bytes.
    ///
    /// # Panics
    /// If the ring is full.
    pub(super) fn push_pending(&mut self, form: Form, effect: Option<Effect>, expected: usize) {
        let slot = self.push();
        slot.pending = Some(form);
        slot.expected = expected;
        slot.member = form.member;
        slot.effect = effect;
        self.bytes += expected;
        self.pending += 1;
        self.effects += u32::from(effect.is_some());
    }

    /// Takes a slot for a reply that is there already, and lets `write` fill it.
    ///
    /// # Panics
    /// If the ring is full, or empty: then there is nothing to wait for.
    pub(super) fn push_done(&mut self, member: Member, write: impl FnOnce(&mut Slot)) {
        assert!(!self.is_empty());
        let slot = self.push();
        slot.member = member;
        write(slot);
        self.bytes += slot.held.bytes();
    }

    /// The form of the pending request with this number, `None` if there is none: then the
    /// answer is late, or was never asked for. True: it is the head's.
    pub(super) fn form(&self, number: u32) -> Option<(Form, bool)> {
        if number.wrapping_sub(self.head) >= self.tail.wrapping_sub(self.head) {
            return None;
        }
        let slot = &self.ring[self.index(number)];
        slot.pending.map(|form| (form, number == self.head))
    }

    /// Marks a pending slot as done; `write` fills it, unless it is the head: then it fills
    /// nothing, and the caller takes it with [`pop`](Self::pop).
    pub(super) fn done(&mut self, number: u32, write: impl FnOnce(&mut Slot)) {
        let index = self.index(number);
        let slot = &mut self.ring[index];
        assert!(slot.pending.is_some());
        slot.pending = None;
        self.bytes -= std::mem::take(&mut slot.expected);
        self.pending -= 1;
        self.effects -= u32::from(slot.effect.take().is_some());
        write(slot);
        self.bytes += slot.held.bytes();
    }

    /// The reply at the head and its member, if it is done.
    pub(super) fn head(&self) -> Option<(&Slot, Member)> {
        if self.is_empty() {
            return None;
        }
        let slot = &self.ring[self.index(self.head)];
        slot.pending.is_none().then_some((slot, slot.member))
    }

    /// Frees the slot at the head.
    ///
    /// # Panics
    /// If it is pending.
    pub(super) fn pop(&mut self) {
        assert!(!self.is_empty());
        let index = self.index(self.head);
        let slot = &mut self.ring[index];
        assert!(slot.pending.is_none());
        self.bytes -= slot.held.bytes();
        slot.held.clear();
        if slot.held.capacity() > HELD_CAPACITY_MAX {
            slot.held = SendBuffer::default();
        }
        slot.outcome = Outcome::default();
        self.head = self.head.wrapping_add(1);
    }

    /// Where the slot of that number is; there is a ring.
    fn index(&self, number: u32) -> usize {
        number as usize % self.ring.len()
    }

    /// Makes the ring larger: few clients ever have more than one answer under way.
    fn grow(&mut self) {
        let count = (4 * self.ring.len()).clamp(SLOT_COUNT_FIRST, SLOT_COUNT as usize);
        let mut old = std::mem::take(&mut self.ring);
        self.ring.resize_with(count, Slot::default);
        let mut number = self.head;
        while number != self.tail {
            let (index, from) = (self.index(number), number as usize % old.len());
            self.ring[index] = std::mem::take(&mut old[from]);
            number = number.wrapping_add(1);
        }
    }

    fn push(&mut self) -> &mut Slot {
        assert!(!self.is_full());
        if self.tail.wrapping_sub(self.head) as usize == self.ring.len() {
            self.grow();
        }
        let index = self.index(self.tail);
        let slot = &mut self.ring[index];
        assert!(slot.held.is_empty());
        self.tail = self.tail.wrapping_add(1);
        slot
    }
}
