//! The two queues between us and the kernel, never full to their user.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::buffers::Buffers;
use super::errno::Errno;

/// How long [`Ring::enter`](super::Ring::enter) may block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Not at all, but the kernel is entered even if there seems to be no need.
    Flush,
    /// Until there is a completion, at most this long.
    UpTo(Duration),
    /// Until there is a completion.
    Forever,
}

/// A ring, and the entries that found its submission queue full.
pub(super) struct Queues {
    ring: IoUring,
    /// In order, each with the one linked behind it. Bounded by the operations of the ring.
    waiting: VecDeque<(squeue::Entry, Option<squeue::Entry>)>,
    split_count: u64,
}

impl Queues {
    pub(super) fn new(submission_count: u32, completion_count: u32) -> Result<Queues, Errno> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completion_count.max(submission_count))
            .build(submission_count)
            .map_err(|error| Errno::of(&error))?;
        Ok(Queues { ring, waiting: VecDeque::new(), split_count: 0 })
    }

    /// A pool of receive buffers for this ring.
    pub(super) fn buffers(&self, count: u16, bytes_each: u32) -> Result<Buffers, Errno> {
        Buffers::new(&self.ring, count, bytes_each)
    }

    /// Takes the pool from the kernel. True if it does not use it any more.
    pub(super) fn unregister_buffers(&self, group: u16) -> bool {
        self.ring.submitter().unregister_buf_ring(group).is_ok()
    }

    pub(super) fn split_count(&self) -> u64 {
        self.split_count
    }

    pub(super) fn has_completion(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    pub(super) fn has_pending_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    pub(super) fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// The completions that are here, at most so many; none is taken.
    pub(super) fn look_ahead(&mut self, count: usize, on_entry: impl FnMut(cqueue::Entry)) {
        // Its drop would tell the kernel that they were taken.
        let mut queue = ManuallyDrop::new(self.ring.completion());
        queue.by_ref().take(count).for_each(on_entry);
    }

    pub(super) fn register_eventfd(&mut self, eventfd: &OwnedFd) -> Result<(), Errno> {
        self.ring.completion().disable_eventfd();
        let registered = self.ring.submitter().register_eventfd(eventfd.as_raw_fd());
        registered.map_err(|error| Errno::of(&error))
    }

    pub(super) fn notify(&mut self, is_on: bool) {
        match is_on {
            true => self.ring.completion().enable_eventfd(),
            false => self.ring.completion().disable_eventfd(),
        }
    }

    pub(super) fn enter(&mut self, wait: Wait) -> Result<(), Errno> {
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

    /// Puts an entry into the queue, and the linked one right behind it.
    ///
    /// # Safety
    /// - What the entries point to stays valid, and untouched as far as the kernel writes it,
    ///   until the completion that ends their operation.
    /// - Their descriptors stay open as long.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, linked: Option<squeue::Entry>) {
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
            // SAFETY: every entry comes from `push`, whose caller promised what is needed here.
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
}
