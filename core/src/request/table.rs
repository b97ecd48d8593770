//! The requests in flight of one shard: a table of lent slots, each used again and again, with a
//! generation that makes late replies to an earlier user harmless.

use super::{Deadlines, Get, Links, OwedReads, Put, Request, Target};
use crate::handoff::Handing;
use crate::id::{NodeId, RequestId, TopologyId};
use crate::time::Instant;

/// What a request in flight is doing; its variants read as its life.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Another shard or node coordinates it.
    Forwarded(Target),
    /// A GET, or the read before a write.
    Reading(Get),
    /// A write that the driver is applying, right now or once a cold record was read.
    Applying { owed: OwedReads },
    /// Appended here, waiting for replicas.
    Writing(Put),
    /// No request: a hint that is looked for, or on its way.
    HandingOff(Handing),
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) phase: Phase,
    /// The topology its nodes were taken from.
    pub(crate) topology: TopologyId,
    /// The owner for which this node stands in as coordinator, or keeps the hint; 0 if it is one
    /// itself.
    pub(crate) target: NodeId,
}

/// A place for one request.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    links: Links,
    generation: u16,
    next_free: u16,
    pending: Option<Pending>,
    /// It is a write whose client has its answer; between these slots in the list of all such.
    is_answered: bool,
    earlier: u16,
    later: u16,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            links: Links::NONE,
            generation: 0,
            next_free: NONE,
            pending: None,
            is_answered: false,
            earlier: NONE,
            later: NONE,
        }
    }
}

impl AsMut<Links> for Slot {
    fn as_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

const NONE: u16 = u16::MAX;

/// The table. Its size is that of the slice lent to it, at most 65 534 slots.
#[derive(Debug)]
pub struct Table<'a> {
    slots: &'a mut [Slot],
    free: u16,
    count: usize,
    deadlines: Deadlines,
    /// The ends of the list of answered writes, in the order of their answers.
    first_answered: u16,
    last_answered: u16,
    answered_count: usize,
}

impl<'a> Table<'a> {
    /// An empty table over `slots`.
    ///
    /// # Panics
    /// If there are none or more than 65 534.
    pub fn new(slots: &'a mut [Slot]) -> Table<'a> {
        assert!(!slots.is_empty());
        assert!(slots.len() < usize::from(NONE));
        let last = slots.len() - 1;
        for (index, slot) in slots.iter_mut().enumerate() {
            let next_free = if index == last { NONE } else { index as u16 + 1 };
            *slot = Slot { next_free, generation: slot.generation, ..Slot::default() };
        }
        Table {
            slots,
            free: 0,
            count: 0,
            deadlines: Deadlines::default(),
            first_answered: NONE,
            last_answered: NONE,
            answered_count: 0,
        }
    }

    /// Requests in flight.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Slots, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes a slot for `pending`, to fire at `at`; none if all are used.
    pub(crate) fn insert(
        &mut self,
        pending: Pending,
        now: Instant,
        at: Instant,
    ) -> Option<RequestId> {
        let index = self.free;
        if index == NONE {
            return None;
        }
        let slot = &mut self.slots[usize::from(index)];
        assert!(slot.pending.is_none());
        self.free = slot.next_free;
        slot.pending = Some(pending);
        slot.generation = slot.generation.wrapping_add(1);
        let id = RequestId(u32::from(slot.generation) << 16 | u32::from(index));
        self.count += 1;
        self.deadlines.arm(self.slots, index, now, at);
        Some(id)
    }

    /// The request of that number, if it is still in flight.
    pub(crate) fn pending(&mut self, id: RequestId) -> Option<&mut Pending> {
        let slot = self.slots.get_mut((id.0 & 0xffff) as usize)?;
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::GenerationIgnored) {
            return slot.pending.as_mut();
        }
        if u32::from(slot.generation) == id.0 >> 16 { slot.pending.as_mut() } else { None }
    }

    /// As [`Table::pending`], to look at.
    pub(crate) fn get(&self, id: RequestId) -> Option<&Pending> {
        let slot = self.slots.get((id.0 & 0xffff) as usize)?;
        if u32::from(slot.generation) == id.0 >> 16 { slot.pending.as_ref() } else { None }
    }

    /// The request in slot `index`, with its number.
    pub(crate) fn at(&self, index: usize) -> Option<RequestId> {
        let slot = &self.slots[index];
        slot.pending.as_ref()?;
        Some(RequestId(u32::from(slot.generation) << 16 | index as u32))
    }

    /// Sets when the request fires next.
    pub(crate) fn arm(&mut self, id: RequestId, now: Instant, at: Instant) {
        assert!(self.pending(id).is_some());
        self.deadlines.arm(self.slots, (id.0 & 0xffff) as u16, now, at);
    }

    /// Ends the request and frees its slot.
    ///
    /// # Panics
    /// If it is not in flight: a request ends once.
    pub(crate) fn remove(&mut self, id: RequestId) -> Pending {
        let index = (id.0 & 0xffff) as u16;
        self.deadlines.disarm(self.slots, index);
        self.unlink(index);
        let slot = &mut self.slots[usize::from(index)];
        let pending = slot.pending.take().expect("a request ends once");
        slot.next_free = self.free;
        self.free = index;
        self.count -= 1;
        pending
    }

    /// The client of the request, a write, has its answer; it keeps its slot.
    ///
    /// # Panics
    /// If it is not in flight, or is answered.
    pub(crate) fn answer(&mut self, id: RequestId) -> Pending {
        let (index, last) = ((id.0 & 0xffff) as u16, self.last_answered);
        let slot = &mut self.slots[usize::from(index)];
        let pending = slot.pending.expect("it is in flight");
        assert!(!slot.is_answered);
        (slot.is_answered, slot.earlier, slot.later) = (true, last, NONE);
        match last {
            NONE => self.first_answered = index,
            last => self.slots[usize::from(last)].later = index,
        }
        self.last_answered = index;
        self.answered_count += 1;
        pending
    }

    /// Whether the request is an answered write.
    pub(crate) fn is_answered(&self, id: RequestId) -> bool {
        self.get(id).is_some() && self.slots[(id.0 & 0xffff) as usize].is_answered
    }

    /// The answered write that was answered before all others.
    pub(crate) fn first_answered(&self) -> Option<RequestId> {
        (self.first_answered != NONE).then(|| {
            self.at(usize::from(self.first_answered)).expect("what is answered is in flight")
        })
    }

    /// Answered writes.
    pub(crate) fn answered_count(&self) -> usize {
        self.answered_count
    }

    /// Takes a slot out of the list of answered writes, if it is in it.
    fn unlink(&mut self, index: u16) {
        let slot = &mut self.slots[usize::from(index)];
        if !slot.is_answered {
            return;
        }
        slot.is_answered = false;
        let (earlier, later) = (slot.earlier, slot.later);
        match earlier {
            NONE => self.first_answered = later,
            earlier => self.slots[usize::from(earlier)].later = later,
        }
        match later {
            NONE => self.last_answered = earlier,
            later => self.slots[usize::from(later)].earlier = earlier,
        }
        self.answered_count -= 1;
    }

    /// One request whose time has come; it stays in the table, disarmed.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<RequestId> {
        let index = self.deadlines.pop(self.slots, now)?;
        Some(self.at(usize::from(index)).expect("only requests in flight are armed"))
    }

    /// When the next request fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}
