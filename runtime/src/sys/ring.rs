//! One `io_uring` of one thread, as a safe type.
//!
//! The kernel works on memory and descriptors after the call that named them returned. So every
//! operation *owns* what it names ([`Lent`], [`Handle`]) in a table of the ring, and the completion
//! that ends it gives it back. What is in flight when the ring is dropped is canceled and waited
//! for; what does not end in time is leaked rather than freed.
//!
//! Neither a full submission queue nor a full completion queue is an error: entries without room
//! wait here, in order, and the kernel keeps completions without room (NODROP) until asked again.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::buffers::{Buffers, GROUP};
use super::errno::Errno;
use super::operations::{Handle, Lent, Operation, OperationId, Operations};

/// A ring whose operations carry a `T` each. It stays on the thread that made it, since the
/// kernel takes submissions from that thread alone.
pub struct Ring<T: Copy> {
    pub(super) operations: ManuallyDrop<Operations<T>>,
    buffers: ManuallyDrop<Buffers>,
    ring: ManuallyDrop<IoUring>,
    /// Entries that found the submission queue full, each with the one linked behind it.
    waiting: VecDeque<(squeue::Entry, Option<squeue::Entry>)>,
    split_count: u64,
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

/// How long [`Ring::enter`] may block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Not at all, but pending work of the kernel is done even if it did not ask for it.
    Flush,
    /// Until there is a completion, at most this long.
    UpTo(Duration),
    /// Until there is a completion.
    Forever,
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
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completion_count.max(submission_count))
            .build(submission_count)
            .map_err(|error| Errno::of(&error))?;
        let buffers = Buffers::new(&ring, buffer_count, buffer_bytes)?;
        Ok(Ring {
            operations: ManuallyDrop::new(Operations::new()),
            buffers: ManuallyDrop::new(buffers),
            ring: ManuallyDrop::new(ring),
            waiting: VecDeque::new(),
            split_count: 0,
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
        self.split_count
    }

    /// The receive buffers.
    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    /// Submits what was started and takes completions in, blocking only if there is none. Being
    /// interrupted, out of time or refused for now are no errors: ask again.
    pub fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
        loop {
            self.push_waiting();
            let is_more = !self.waiting.is_empty();
            let has_completions = !self.ring.completion().is_empty();
            let wait = match wait {
                _ if is_more => Wait::Flush,
                Wait::UpTo(_) | Wait::Forever if has_completions => Wait::No,
                wait => wait,
            };
            match self.enter_once(wait) {
                Ok(submitted) if is_more && submitted > 0 => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Whether a completion can be taken without entering.
    pub fn has_completion(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The next completion that is here; a canceling operation has none.
    pub fn next_completion(&mut self) -> Option<Completion<T>> {
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
    }

    /// Tells the kernel to count up `eventfd` whenever there is something to enter for.
    pub fn register_eventfd(&mut self, eventfd: &OwnedFd) -> Result<(), Errno> {
        let raw = std::os::fd::AsRawFd::as_raw_fd(eventfd);
        self.ring.completion().disable_eventfd();
        self.ring.submitter().register_eventfd(raw).map_err(|error| Errno::of(&error))
    }

    /// Whether the registered eventfd is counted up from now on; at first it is not.
    pub fn notify(&mut self, is_on: bool) {
        match is_on {
            true => self.ring.completion().enable_eventfd(),
            false => self.ring.completion().disable_eventfd(),
        }
    }

    /// Enters the operation in the table and its entry in the queue.
    pub(super) fn push(&mut self, entry: squeue::Entry, linked: Option<squeue::Entry>) {
        if !self.waiting.is_empty() || !self.offer(&entry, linked.as_ref()) {
            self.waiting.push_back((entry, linked));
            // What fails here fails again, and is reported, in the next `enter`.
            let _ = self.enter_once(Wait::No);
            self.push_waiting();
        }
    }

    fn push_waiting(&mut self) {
        while let Some((entry, linked)) = self.waiting.pop_front() {
            if !self.offer(&entry, linked.as_ref()) {
                self.waiting.push_front((entry, linked));
                return;
            }
        }
    }

    /// Puts an entry into the submission queue, and the linked one right behind it: a link does
    /// not reach over the end of a submission. False if there is no room for both.
    fn offer(&mut self, entry: &squeue::Entry, linked: Option<&squeue::Entry>) -> bool {
        let mut queue = self.ring.submission();
        if queue.capacity() - queue.len() < 1 + usize::from(linked.is_some()) {
            return false;
        }
        [Some(entry), linked].into_iter().flatten().all(|entry| {
            // SAFETY:
            // - all that an entry points to is in `operations` under its user data, on the heap,
            //   and is not touched until the completion that ends it, or it points to nothing;
            // - receive entries name the group of `buffers`, which `Drop` keeps long enough;
            // - its descriptor is held open by the same operation.
            unsafe { queue.push(entry) }.is_ok()
        })
    }

    /// Submits as much as the kernel takes; says how much that was.
    fn enter_once(&mut self, wait: Wait) -> Result<usize, Errno> {
        let queue = self.ring.submission();
        let count = queue.len();
        let has_work = count > 0 || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        let submitter = self.ring.submitter();
        let result = match wait {
            Wait::No if !has_work => return Ok(0),
            // SAFETY: the call takes no argument, and as many entries as were pushed.
            Wait::No | Wait::Flush => unsafe {
                let flags = EnterFlags::GETEVENTS.bits();
                submitter.enter::<libc::sigset_t>(count as u32, 0, flags, None)
            },
            Wait::UpTo(most) => {
                let time = Timespec::from(most);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
            Wait::Forever => submitter.submit_and_wait(1),
        };
        match result {
            Ok(submitted) => {
                self.split_count += u64::from(submitted < count);
                Ok(submitted)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(0),
                _ => Err(Errno::of(&error)),
            },
        }
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
        let is_unregistered = self.ring.submitter().unregister_buf_ring(GROUP).is_ok();
        // SAFETY:
        // - each field is dropped at most once, here, and not used afterwards;
        // - memory that operations or the pool lent is freed only if the kernel let go of all of
        //   it: every operation ended, and the pool is unregistered. Else it is leaked.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
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
