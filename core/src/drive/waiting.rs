//! What operations wait in for cold records and for room: one FIFO for each key, in the order of
//! arrival.

use crate::id::{NodeId, RequestId};
use crate::request::{KeyPlace, Link, Origin};
use crate::time::Instant;

/// What waits for a record to be read into memory, or for room in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parked {
    /// A client's command; its key and payload are kept with it.
    Command(Origin),
    /// A frame of the coordinator `node`, kept as a whole.
    Frame {
        /// The connection it came over.
        link: Link,
        /// The node behind it.
        node: NodeId,
    },
    /// A write in flight that has to be applied; nothing is kept with it.
    Write(RequestId),
}

/// One operation that waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiter {
    /// What it is.
    pub parked: Parked,
    /// When it is given up.
    pub deadline: Instant,
}

/// Where a FIFO takes a waiter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Before all others: it came first, and had to wait late.
    Front,
    /// Behind all others.
    Back,
}

/// There is no room for another waiter or its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRoom;

/// A waiter that was taken out since its deadline had passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Late<B> {
    /// The key that it waited for.
    pub key: KeyPlace,
    /// The waiter.
    pub waiter: Waiter,
    /// Its bytes.
    pub bytes: B,
    /// It was the first for its key: the next one may wait for something else.
    pub was_first: bool,
}

/// Memory for operations that wait: one FIFO for each key. Bounded in waiters and in bytes by
/// whoever implements it.
///
/// Invariant of the drive loop: while somebody waits for a key, the store has been asked by
/// [`fetch`](crate::records::Records::fetch) or
/// [`await_room`](crate::records::Records::await_room), as the first of them needs, and has not
/// answered yet, or [`Turn::resume`](super::Turn::resume) has said that it must be called again.
pub trait Waiting {
    /// The bytes of a waiter that was taken out.
    type Bytes: AsRef<[u8]>;

    /// Whether nobody waits. Asked before every operation.
    fn is_empty(&self) -> bool;

    /// Whether anybody waits for `key`.
    fn contains(&self, key: KeyPlace) -> bool;

    /// Adds a waiter with `bytes` bytes, which `fill` writes.
    ///
    /// # Errors
    /// [`NoRoom`]; then nothing changed and `fill` was not called.
    fn push(
        &mut self,
        key: KeyPlace,
        end: End,
        waiter: Waiter,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom>;

    /// The first waiter for `key`, with its bytes.
    fn front(&self, key: KeyPlace) -> Option<(Waiter, &[u8])>;

    /// Takes the first waiter for `key` out.
    fn pop(&mut self, key: KeyPlace) -> Option<(Waiter, Self::Bytes)>;

    /// Counts a read of `key` that is asked for; how many there were since somebody began to wait
    /// for it without pause.
    fn count_read(&mut self, key: KeyPlace) -> u32;

    /// Forgets the reads that were counted for `key`: it waits for something else.
    fn forget_reads(&mut self, key: KeyPlace);

    /// The earliest deadline of all waiters: then [`Turn::timeouts`](super::Turn::timeouts) has
    /// something to do.
    fn next_deadline(&self) -> Option<Instant>;

    /// Takes a waiter out whose deadline is not after `now`, wherever in its FIFO it stands.
    fn pop_late(&mut self, now: Instant) -> Option<Late<Self::Bytes>>;
}

/// For stores that are never cold and never stalled: nobody ever waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverCold;

impl Waiting for NeverCold {
    type Bytes = [u8; 0];

    fn is_empty(&self) -> bool {
        true
    }

    fn contains(&self, _: KeyPlace) -> bool {
        false
    }

    fn push(
        &mut self,
        _: KeyPlace,
        _: End,
        _: Waiter,
        _: usize,
        _: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom> {
        Err(NoRoom)
    }

    fn front(&self, _: KeyPlace) -> Option<(Waiter, &[u8])> {
        None
    }

    fn pop(&mut self, _: KeyPlace) -> Option<(Waiter, [u8; 0])> {
        None
    }

    fn count_read(&mut self, _: KeyPlace) -> u32 {
        0
    }

    fn forget_reads(&mut self, _: KeyPlace) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn pop_late(&mut self, _: Instant) -> Option<Late<[u8; 0]>> {
        None
    }
}
