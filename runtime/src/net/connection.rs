//! The connections of a ring: a slab whose ids are never used twice.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::sys::{OperationId, SendBuffer};

/// Names one connection of one ring, for ever: the slot is used again, under another generation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A number below `connection_count_max` that no other live connection of the ring has: an
    /// index for what the shard keeps per connection.
    pub fn slot(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn new(slot: usize, generation: u32) -> ConnectionId {
        ConnectionId(u64::from(generation) << 32 | slot as u64)
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// How much an adopted connection receives by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Receive {
    /// The first bytes only; then it is as after `pause_receive`, so it can be handed over.
    First,
    /// All that comes.
    Stream,
}

/// One connection.
pub(super) struct Connection {
    pub(super) socket: Rc<OwnedFd>,
    pub(super) wants: Wants,
    pub(super) receiving: Receiving,
    pub(super) sending: Option<Sending>,
    pub(super) has_failed: bool,
    pub(super) is_closing: bool,
    /// What a send that failed gave back.
    pub(super) unsent: Option<SendBuffer>,
}

/// What a connection is to receive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wants {
    Nothing,
    Once,
    Stream,
}

/// What a connection does to receive it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Receiving {
    /// Not yet: it is being connected.
    Connecting(OperationId),
    /// No receive is in flight.
    Off,
    /// One is.
    Armed { operation: OperationId, is_canceled: bool },
    /// It waits for receive buffers.
    Starved,
    /// The stream ended: never again.
    Finished,
}

impl Receiving {
    /// The operation in flight.
    pub(super) fn operation(self) -> Option<OperationId> {
        match self {
            Receiving::Connecting(operation) | Receiving::Armed { operation, .. } => {
                Some(operation)
            }
            _ => None,
        }
    }
}

/// A send in flight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sending {
    pub(super) operation: OperationId,
    /// Bytes of the buffer that were sent before it.
    pub(super) from: usize,
    /// Bytes that are sent if it sends all that it was asked to.
    pub(super) to: usize,
}

impl Connection {
    pub(super) fn new(socket: Rc<OwnedFd>, wants: Wants) -> Connection {
        Connection {
            socket,
            wants,
            receiving: Receiving::Off,
            sending: None,
            has_failed: false,
            is_closing: false,
            unsent: None,
        }
    }

    /// Whether the kernel has nothing of it in hand.
    pub(super) fn is_quiet(&self) -> bool {
        self.receiving.operation().is_none() && self.sending.is_none()
    }
}

/// The slab. It grows up to its bound and keeps its slots.
pub(super) struct Connections {
    slots: Vec<Slot>,
    /// Slots without a connection.
    free: Vec<usize>,
    count_max: usize,
}

struct Slot {
    generation: u32,
    /// Whether the queue of the starved names it; that outlives its connection.
    is_queued: bool,
    connection: Option<Connection>,
}

impl Connections {
    pub(super) fn new(count_max: u32) -> Connections {
        Connections { slots: Vec::new(), free: Vec::new(), count_max: count_max as usize }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.count_max
    }

    /// Gives the connection back if there is no room.
    pub(super) fn insert(&mut self, connection: Connection) -> Result<ConnectionId, Connection> {
        if self.is_full() {
            return Err(connection);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Slot { generation: 0, is_queued: false, connection: None });
        }
        self.slots[slot].connection = Some(connection);
        Ok(ConnectionId::new(slot, self.slots[slot].generation))
    }

    /// `None` if it is gone.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.generation == id.generation() { slot.connection.as_mut() } else { None }
    }

    /// Its id means nothing from now on.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.find(id)?;
        let slot = &mut self.slots[id.slot()];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot());
        slot.connection.take()
    }

    /// Notes that the queue of the starved names a connection's slot; false if it did already.
    pub(super) fn enqueue(&mut self, id: ConnectionId) -> bool {
        match self.slots.get_mut(id.slot()) {
            Some(slot) => !std::mem::replace(&mut slot.is_queued, true),
            None => false,
        }
    }

    /// Notes that it does not any more, and says which connection is there and starved.
    pub(super) fn dequeue(&mut self, slot: usize) -> Option<ConnectionId> {
        let entry = self.slots.get_mut(slot)?;
        entry.is_queued = false;
        let is_starved = entry.connection.as_ref()?.receiving == Receiving::Starved;
        is_starved.then(|| ConnectionId::new(slot, entry.generation))
    }
}
