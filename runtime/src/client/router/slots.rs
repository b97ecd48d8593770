//! The requests of a router, from their submission to their end.

use std::time::Instant;

use ringmain_core::wire::op::Op;

use crate::client::ClientError;

/// Names a request until its end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    slot: u32,
    generation: u32,
}

impl Ticket {
    /// Below the number of requests that were ever in flight at once, and never that of two.
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// One frame of a request that has no answer: on that link, by that number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Attempt {
    pub(super) link: usize,
    pub(super) number: u32,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nobody could be asked: again at the next tick.
    Waits,
    /// Sent as soon as that link stands.
    Queued(usize),
    /// See its attempts.
    Asked,
}

/// One request.
#[derive(Debug)]
pub(super) struct Slot {
    generation: u32,
    is_used: bool,
    pub(super) op: Op,
    /// The key's place in the body.
    pub(super) key_bytes: usize,
    /// Covered header, key and payload, as they travel.
    pub(super) body: Vec<u8>,
    pub(super) stage: Stage,
    pub(super) attempts: Vec<Attempt>,
    /// Coordinators that were asked in this round, by their places: a bit for each.
    pub(super) tried: u16,
    pub(super) deadline: Instant,
    /// When another one is asked, too, if it may be.
    pub(super) patience: Instant,
    /// Why the last attempt failed.
    pub(super) failure: Option<ClientError>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Of all bodies, bytes.
    bytes: usize,
}

/// Memory of a body that is kept for the next request, bytes.
const BODY_BYTES_KEPT: usize = 4 << 10;

impl Slots {
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of all requests.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a request in, with the body that `fill` writes into `body_bytes`.
    pub(super) fn insert(
        &mut self,
        (op, key_bytes): (Op, usize),
        (patience, deadline): (Instant, Instant),
        body_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                is_used: false,
                op,
                key_bytes,
                body: Vec::new(),
                stage: Stage::Waits,
                attempts: Vec::new(),
                tried: 0,
                deadline,
                patience,
                failure: None,
            });
            self.slots.len() as u32 - 1
        }) as usize;
        let slot = &mut self.slots[index];
        assert!(!slot.is_used);
        slot.is_used = true;
        (slot.op, slot.key_bytes) = (op, key_bytes);
        slot.body.resize(body_bytes, 0);
        fill(&mut slot.body);
        (slot.stage, slot.tried, slot.failure) = (Stage::Waits, 0, None);
        (slot.patience, slot.deadline) = (patience, deadline);
        self.bytes += body_bytes;
        index
    }

    pub(super) fn ticket(&self, index: usize) -> Ticket {
        Ticket { slot: index as u32, generation: self.slots[index].generation }
    }

    /// The request of that ticket, unless it has ended.
    pub(super) fn index(&self, ticket: Ticket) -> Option<usize> {
        let index = ticket.slot as usize;
        let slot = self.slots.get(index)?;
        (slot.is_used && slot.generation == ticket.generation).then_some(index)
    }

    /// Those that have not ended.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let used: Vec<usize> =
            (0..self.slots.len()).filter(|index| self.slots[*index].is_used).collect();
        used.into_iter()
    }

    pub(super) fn is_used(&self, index: usize) -> bool {
        self.slots[index].is_used
    }

    /// # Panics
    /// If it has ended; so does [`Slots::at_mut`].
    pub(super) fn at(&self, index: usize) -> &Slot {
        assert!(self.slots[index].is_used);
        &self.slots[index]
    }

    pub(super) fn at_mut(&mut self, index: usize) -> &mut Slot {
        assert!(self.slots[index].is_used);
        &mut self.slots[index]
    }

    /// It has ended.
    ///
    /// # Panics
    /// If it has attempts.
    pub(super) fn remove(&mut self, index: usize) -> Ticket {
        let ticket = self.ticket(index);
        let slot = &mut self.slots[index];
        assert!(slot.is_used);
        assert!(slot.attempts.is_empty());
        slot.is_used = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.bytes -= slot.body.len();
        slot.body.clear();
        if slot.body.capacity() > BODY_BYTES_KEPT {
            slot.body = Vec::new();
        }
        self.free.push(index as u32);
        ticket
    }
}

impl Slot {
    /// The key, as it lies in the body.
    pub(super) fn key(&self) -> &[u8] {
        let begin = ringmain_core::wire::COVERED_BYTES;
        &self.body[begin..begin + self.key_bytes]
    }

    /// A read that is done twice does no harm.
    pub(super) fn is_read(&self) -> bool {
        self.op == Op::Get
    }
}
