//! How any thread wakes a shard.
//!
//! A ring of the bell must not be lost between the shard's last look at what others left and its
//! blocking, and must cost no system call while the shard is awake. One atomic word decides: the
//! shard moves it from `AWAKE` to where it sleeps before it blocks, and back when it wakes; a
//! ringer sets it to `RUNG`, and only if there is a sleeper writes to the eventfd that wakes it.
//!
//! ```text
//!           ring: no call             ring: write an eventfd
//!   AWAKE ------------------> RUNG <-------------------------- IN_RING, IN_EXECUTOR
//!    ^ |                      |  |                                 ^ |
//!    | +----------------------|--|--- fall_asleep: true -----------+ |
//!    +------- wake: true -----+  +--- fall_asleep: false (stays)     |
//!    +------------------------------- wake: false -------------------+
//! ```
//!
//! Why nothing is lost: the three steps are read-modify-writes of one word, so they have one
//! order. A ring before `fall_asleep` makes that fail; one after it sees the sleeper and writes. A
//! plain load in `ring` (to skip if `RUNG`) would not do: it could read a `RUNG` that `wake` has
//! taken already. What the ringer left before it rang is seen after `wake` returned true: the swap
//! in `ring` releases it, the one in `wake` acquires it, and several rings in a row read each other
//! (`AcqRel`), so the last hands on what the ones before left.
//!
//! Two eventfds, since one that wakes the hot ring would count up the one that wakes the executor
//! only after a grace period of the kernel (it does not count eventfds up from within each other):
//! 10 ms and more.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::sys::Errno;

/// Wakes one shard up: it gets one [`Event::Doorbell`](super::Event::Doorbell) for all the rings
/// since the last. Outlives the shard; ringing is without effect then.
#[derive(Clone, Debug)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

/// The word and the descriptor that both sides share.
#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    /// Read by an operation of the ring.
    in_ring: Arc<File>,
    /// Read by the executor, for which the ring counts it up too.
    in_executor: OwnedFd,
}

impl Doorbell {
    /// Wakes the shard. Leave what it is to find before this call. Costs a system call only if
    /// the shard sleeps and nobody has rung since.
    pub fn ring(&self) {
        // Neither counter comes near its limit, so a write does not block, and cannot fail.
        let _ = match self.bell.state.swap(RUNG, Ordering::AcqRel) {
            IN_RING => rustix::io::write(&self.bell.in_ring, &1_u64.to_ne_bytes()),
            IN_EXECUTOR => rustix::io::write(&self.bell.in_executor, &1_u64.to_ne_bytes()),
            _ => Ok(0),
        };
    }

    pub(super) fn new() -> Result<Doorbell, Errno> {
        // Blocking: a read armed on a ring would otherwise fail instead of waiting.
        let in_ring = Arc::new(File::from(eventfd(0, EventfdFlags::CLOEXEC)?));
        let in_executor = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Doorbell { bell: Arc::new(Bell { state: AtomicU8::new(AWAKE), in_ring, in_executor }) })
    }

    /// What is counted up when the shard sleeps in its ring.
    pub(super) fn in_ring(&self) -> &Arc<File> {
        &self.bell.in_ring
    }

    /// What is counted up when the shard sleeps in its executor.
    pub(super) fn in_executor(&self) -> &OwnedFd {
        &self.bell.in_executor
    }

    /// As [`Doorbell::in_executor`], to be given away.
    pub(super) fn executor_bed(&self) -> Result<OwnedFd, Errno> {
        self.bell.in_executor.try_clone().map_err(|error| Errno::of(&error))
    }

    /// Says whether the shard may block there: the next ring wakes it up.
    pub(super) fn fall_asleep(&self, bed: Bed) -> bool {
        let asleep = match bed {
            Bed::Ring => IN_RING,
            Bed::Executor => IN_EXECUTOR,
        };
        let state = &self.bell.state;
        state.compare_exchange(AWAKE, asleep, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says whether the bell was rung since the last call.
    pub(super) fn wake(&self) -> bool {
        // A shard that was not asleep and sees no ring now sees it when it wants to block.
        let is_awake = self.bell.state.load(Ordering::Relaxed) == AWAKE;
        !is_awake && self.bell.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}

/// Where a shard sleeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bed {
    /// Blocked in the hot ring.
    Ring,
    /// Parked: its executor blocks.
    Executor,
}

const AWAKE: u8 = 0;
const RUNG: u8 = 1;
const IN_RING: u8 = 2;
const IN_EXECUTOR: u8 = 3;
