//! The operations that the kernel may still be working on, and what each of them lends it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::Timespec;
use rustix::net::SocketAddrAny;

use super::message::Message;
use super::send_buffer::SendBuffer;

/// Names one operation of one ring, also after it ended: its slot is used again under another
/// generation, so a late cancel hits nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OperationId(pub(super) u64);

/// The open file that an operation works on. The operation holds it open until it ended, so its
/// number cannot come to mean another file.
#[derive(Clone, Debug)]
pub enum Handle {
    /// A timer has none.
    None,
    /// A socket of this thread.
    Socket(Rc<OwnedFd>),
    /// A file, perhaps shared with other threads.
    File(Arc<File>),
}

impl Handle {
    pub(super) fn raw(&self) -> RawFd {
        match self {
            Handle::None => -1,
            Handle::Socket(socket) => socket.as_raw_fd(),
            Handle::File(file) => file.as_raw_fd(),
        }
    }
}

/// The memory that an operation lends to the kernel. It is on the heap and nobody touches it
/// until the operation ended.
pub enum Lent {
    /// None, or the receive buffers of the ring.
    Nothing,
    /// Bytes to send, or room to read into.
    Bytes(Vec<u8>),
    /// Pieces to send.
    Message(Box<Message>),
    /// Bytes to write that others read meanwhile.
    Shared(Rc<dyn AsRef<[u8]>>),
    /// Where to connect, and for how long to try.
    Target(Box<(SocketAddrAny, Timespec)>),
    /// How long to wait.
    Time(Box<Timespec>),
}

impl Lent {
    /// What a send was to send; `None` if this is not a send's.
    pub fn into_send_buffer(self) -> Option<SendBuffer> {
        match self {
            Lent::Bytes(bytes) => Some(bytes.into()),
            Lent::Message(message) => Some(message.into_buffer()),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lent::Nothing => write!(f, "Nothing"),
            Lent::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Lent::Message(message) => write!(f, "Message({})", message.bytes()),
            Lent::Shared(_) => write!(f, "Shared"),
            Lent::Target(target) => write!(f, "Target({:?})", target.0),
            Lent::Time(time) => write!(f, "Time({time:?})"),
        }
    }
}

/// One operation in flight.
pub(super) struct Operation<T> {
    pub(super) token: T,
    pub(super) handle: Handle,
    pub(super) lent: Lent,
    /// Whether its results are descriptors.
    pub(super) is_accept: bool,
}

/// A slab of operations. It grows to the largest number ever in flight, which the users of the
/// ring bound, and never shrinks.
pub(super) struct Operations<T> {
    slots: Vec<Slot<T>>,
    /// Head of the list of free slots.
    free: Option<u32>,
    count: usize,
}

struct Slot<T> {
    generation: u32,
    state: State<T>,
}

enum State<T> {
    Free { next: Option<u32> },
    Running(Operation<T>),
}

impl<T> Operations<T> {
    pub(super) fn new() -> Operations<T> {
        Operations { slots: Vec::new(), free: None, count: 0 }
    }

    /// How many are in flight.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, operation: Operation<T>) -> OperationId {
        self.count += 1;
        let Some(index) = self.free else {
            // One below the limit: an id of all ones is never given, `IGNORED` means it.
            assert!(self.slots.len() < u32::MAX as usize);
            let index = self.slots.len() as u32;
            self.slots.push(Slot { generation: 0, state: State::Running(operation) });
            return OperationId(u64::from(index));
        };
        let slot = &mut self.slots[index as usize];
        if let State::Free { next } = slot.state {
            self.free = next;
        }
        slot.state = State::Running(operation);
        OperationId(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// `None` if it ended already.
    pub(super) fn find(&mut self, id: OperationId) -> Option<&mut Operation<T>> {
        let slot = self.slots.get_mut(id.0 as u32 as usize)?;
        match &mut slot.state {
            State::Running(operation) if slot.generation == (id.0 >> 32) as u32 => Some(operation),
            _ => None,
        }
    }

    /// Ends an operation; `None` if it ended already.
    pub(super) fn remove(&mut self, id: OperationId) -> Option<Operation<T>> {
        self.find(id)?;
        let index = id.0 as u32;
        let slot = &mut self.slots[index as usize];
        let state = std::mem::replace(&mut slot.state, State::Free { next: self.free });
        slot.generation = slot.generation.wrapping_add(1);
        self.free = Some(index);
        self.count -= 1;
        match state {
            State::Running(operation) => Some(operation),
            State::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(token: u32) -> Operation<u32> {
        Operation { token, handle: Handle::None, lent: Lent::Nothing, is_accept: false }
    }

    /// Against a list that remembers every id ever given.
    #[test]
    fn a_stale_id_finds_nothing() {
        let mut random = ringmain_core::prng::Prng::new(7);
        let mut operations = Operations::new();
        let mut alive: Vec<(OperationId, u32)> = Vec::new();
        let mut dead: Vec<OperationId> = Vec::new();
        for token in 0..5_000 {
            if random.below(2) == 0 && !alive.is_empty() {
                let (id, token) = alive.swap_remove(random.below(alive.len() as u64) as usize);
                assert_eq!(operations.remove(id).map(|it| it.token), Some(token));
                dead.push(id);
            } else {
                alive.push((operations.insert(operation(token)), token));
            }
            assert_eq!(operations.count(), alive.len());
            if token % 100 == 0 {
                assert!(alive.iter().all(|(id, token)| {
                    operations.find(*id).map(|it| it.token) == Some(*token)
                }));
                assert!(dead.iter().all(|id| operations.find(*id).is_none()));
                assert!(dead.iter().all(|id| operations.remove(*id).is_none()));
            }
        }
        assert!(dead.len() > 1_000);
    }
}
