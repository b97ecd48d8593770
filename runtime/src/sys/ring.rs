//! One `io_uring` of one thread, as a safe type.
//!
//! The kernel works on memory and descriptors after the call that named them returned. So every
//! operation *owns* what it names ([`Lent`], [`Handle`]) in a table of the ring, and the completion
//! that ends it gives it back. What is in flight when the ring is dropped is canceled and waited
//! for; what does not end in time is leaked rather than freed.
//!
//! Neither a full submission queue nor a full completion queue is an error: entries without room
//! wait here, in order, and the kernel keeps completions without room (NODROP) until asked again.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use io_uring::{cqueue, opcode, squeue};

use super::buffers::{Buffers, GROUP};
use super::errno::Errno;
use super::operations::{Handle, Lent, Operation, OperationId, Operations};
use super::queues::{Queues, Wait};

/// A ring whose operations carry a `T` each. It stays on the thread that made it, since the
/// kernel takes submissions from that thread alone.
pub struct Ring<T: Copy> {
    pub(super) operations: ManuallyDrop<Operations<T>>,
    buffers: ManuallyDrop<Buffers>,
    queues: ManuallyDrop<Queues>,
    _one_thread: PhantomData<*mut ()>,
}

/// What the kernel says about an operation.
#[derive(Debug)]
pub struct Completion<T> {
    /// Which operation.
    pub operation: OperationId,
    /// What it was started with.
    pub token: T,
    /// Bytes or a count, or why it failed.
    pub result: Result<u32, Errno>,
    /// Whether the operation goes on: more completions come, and what it owns stays lent.
    pub has_more: bool,
    /// The receive buffer that was filled: ours until it is given back.
    pub buffer: Option<u16>,
    /// What an accept accepted.
    pub socket: Option<OwnedFd>,
    /// What the operation worked on, if it ended.
    pub handle: Handle,
    /// What the operation had lent, if it ended.
    pub lent: Lent,
}

impl<T: Copy> Ring<T> {
    /// A ring with room for `submission_count` entries and `completion_count` completions (the
    /// kernel rounds up to powers of two) and a pool of receive buffers.
    ///
    /// # Panics
    /// If `buffer_count` is no power of two up to 2^15, or `buffer_bytes` is 0.
    pub fn new(
        submission_count: u32,
        completion_count: u32,
        buffer_count: u16,
        buffer_bytes: u32,
    ) -> Result<Ring<T>, Errno> {
        let queues = Queues::new(submission_count, completion_count)?;
        let buffers = queues.buffers(buffer_count, buffer_bytes)?;
        Ok(Ring {
            operations: ManuallyDrop::new(Operations::new()),
            buffers: ManuallyDrop::new(buffers),
            queues: ManuallyDrop::new(queues),
            _one_thread: PhantomData,
        })
    }

    /// Operations that did not end yet.
    pub fn in_flight_count(&self) -> usize {
        self.operations.count()
    }

    /// How often the kernel took only a part of what was submitted, as it does when it is short
    /// of memory. Then a link in between did not hold: a sync may have overtaken its write.
    pub fn split_count(&self) -> u64 {
        self.queues.split_count()
    }

    /// The receive buffers.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// Submits what was started and takes completions in, blocking only if there is none. Being
    /// interrupted, out of time or refused for now are no errors: ask again.
    pub fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        self.queues.enter(wait)
    }

    /// Whether a completion can be taken without entering.
    pub fn has_completion(&mut self) -> bool {
        self.queues.has_completion()
    }

    /// Whether the kernel has work that it does in the next [`Ring::enter`]. It says so only once
    /// by an eventfd.
    pub fn has_pending_work(&mut self) -> bool {
        self.queues.has_pending_work()
    }

    /// The next completion that is here; a canceling operation has none.
    pub fn next_completion(&mut self) -> Option<Completion<T>> {
        loop {
            let entry = self.queues.next_completion()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
    }

    /// What the next completions, at most so many, have received. None of them is taken.
    pub fn look_ahead<'r>(&'r mut self, count: usize, mut on_bytes: impl FnMut(&'r [u8])) {
        let Ring { queues, buffers, .. } = self;
        let buffers: &Buffers = buffers;
        queues.look_ahead(count, |entry| {
            let buffer = cqueue::buffer_select(entry.flags());
            let bytes = u32::try_from(entry.result());
            if let (Some(buffer), Ok(bytes)) = (buffer, bytes)
                && let Some(bytes) = buffers.filled_next(buffer, bytes)
            {
                on_bytes(bytes);
            }
        });
    }

    /// Tells the kernel to count up `eventfd` whenever there is something to enter for.
    pub fn register_eventfd(&mut self, eventfd: &OwnedFd) -> Result<(), Errno> {
        self.queues.register_eventfd(eventfd)
    }

    /// Whether the registered eventfd is counted up from now on; at first it is not.
    pub fn notify(&mut self, is_on: bool) {
        self.queues.notify(is_on);
    }

    /// Puts an entry into the submission queue, and the linked one right behind it.
    pub(super) fn push(&mut self, entry: squeue::Entry, linked: Option<squeue::Entry>) {
        // SAFETY:
        // - all that an entry points to is in `operations` under its user data, on the heap, and
        //   is not touched until the completion that ends it, or it points to nothing; what is
        //   linked behind it points into the same operation or into nothing;
        // - receive entries name the group of `buffers`, which `Drop` keeps long enough;
        // - its descriptor is held open by the same operation.
        unsafe { self.queues.push(entry, linked) }
    }

    /// `None` if it is about nothing that the caller started.
    fn completion(&mut self, entry: &cqueue::Entry) -> Option<Completion<T>> {
        let (flags, value) = (entry.flags(), entry.result());
        let result = u32::try_from(value).map_err(|_| Errno(value.wrapping_neg()));
        let bytes = result.unwrap_or(0);
        let buffer =
            cqueue::buffer_select(flags).filter(|buffer| self.buffers.take(*buffer, bytes));
        let id = OperationId(entry.user_data());
        let Some(operation) = self.operations.find(id) else {
            buffer.into_iter().for_each(|buffer| self.buffers.give_back(buffer));
            return None;
        };
        let token = operation.token;
        let socket = match result {
            // SAFETY: an accept's result is a new descriptor that is ours alone; each completion
            // is taken once.
            Ok(_) if operation.is_accept => Some(unsafe { OwnedFd::from_raw_fd(value) }),
            _ => None,
        };
        let has_more = cqueue::more(flags);
        let ended = if has_more { None } else { self.operations.remove(id) };
        let (handle, lent) = match ended {
            Some(Operation { handle, lent, .. }) => (handle, lent),
            None => (Handle::None, Lent::Nothing),
        };
        Some(Completion { operation: id, token, result, has_more, buffer, socket, handle, lent })
    }
}

impl<T: Copy> Drop for Ring<T> {
    fn drop(&mut self) {
        let deadline = Instant::now() + DROP_TIME_MAX;
        while self.operations.count() > 0 && Instant::now() < deadline {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            self.push(cancel.user_data(IGNORED), None);
            if self.enter(Wait::UpTo(DROP_STEP)).is_err() {
                break;
            }
            while let Some(completion) = self.next_completion() {
                completion.buffer.into_iter().for_each(|it| self.buffers.give_back(it));
            }
        }
        let is_quiet = self.operations.count() == 0;
        let is_unregistered = self.queues.unregister_buffers(GROUP);
        // SAFETY:
        // - each field is dropped at most once, here, and not used afterwards;
        // - memory that operations or the pool lent is freed only if the kernel let go of all of
        //   it: every operation ended, and the pool is unregistered. Else it is leaked.
        unsafe {
            ManuallyDrop::drop(&mut self.queues);
            if is_quiet && is_unregistered {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.operations);
            }
        }
    }
}

/// The user data of entries whose completion nobody waits for; never an operation's.
pub(super) const IGNORED: u64 = u64::MAX;
/// How long dropping a ring may wait for what cannot be canceled, as a write that runs.
const DROP_TIME_MAX: Duration = Duration::from_secs(2);
const DROP_STEP: Duration = Duration::from_millis(10);
