//! How any thread wakes a shard.
//!
//! A ring of the bell must not be lost between the shard's last look at what others left and its
//! blocking, and must cost no system call while the shard is awake. One atomic word decides: the
//! shard moves it from `AWAKE` to `ASLEEP` before it blocks and back when it wakes; a ringer sets
//! it to `RUNG`, and writes to an eventfd, on which the ring keeps a read armed, only if it was
//! `ASLEEP`.
//!
//! ```text
//!            ring: nothing to do          ring: write the eventfd
//!   AWAKE ----------------------> RUNG <------------------------- ASLEEP
//!     ^ |                          | |                              ^ |
//!     | +--------------------------|-|-- fall_asleep: true ---------+ |
//!     +--------- wake: true -------+ +-- fall_asleep: false (stays)   |
//!     +------------------------------------- wake: false -------------+
//! ```
//!
//! Why nothing is lost: all three steps are read-modify-writes of one word, so they have one
//! order. A ring before `fall_asleep` makes that fail; one after it sees `ASLEEP` and writes. A
//! plain load in `ring` (skip if `RUNG`) would not do: it could read a `RUNG` that `wake` has
//! taken already. What the ringer left before it rang is seen after `wake` returned true: its swap
//! releases, the one in `wake` acquires, and each ring in between is part of the same release
//! sequence or acquires the earlier ones (`AcqRel`).

use std::fs::File;
use std::io::Write;
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
    eventfd: Arc<File>,
}

impl Doorbell {
    /// Wakes the shard. Leave what it is to find before this call. Costs a system call only if
    /// the shard sleeps and nobody has rung since.
    pub fn ring(&self) {
        if self.bell.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // The counter is far from its limit, so this neither blocks nor fails.
            let _ = (&*self.bell.eventfd).write(&1_u64.to_ne_bytes());
        }
    }

    pub(super) fn new() -> Result<Doorbell, Errno> {
        // Blocking: a read armed on the ring would otherwise fail instead of waiting.
        let eventfd = Arc::new(File::from(eventfd(0, EventfdFlags::CLOEXEC)?));
        Ok(Doorbell { bell: Arc::new(Bell { state: AtomicU8::new(AWAKE), eventfd }) })
    }

    /// What the ring reads from while the shard sleeps.
    pub(super) fn eventfd(&self) -> &Arc<File> {
        &self.bell.eventfd
    }

    /// Says whether the shard may block: the next ring writes to the eventfd.
    pub(super) fn fall_asleep(&self) -> bool {
        let state = &self.bell.state;
        state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says whether the bell was rung since the last call.
    pub(super) fn wake(&self) -> bool {
        // A shard that was not asleep and sees no ring now sees it when it wants to block.
        let is_awake = self.bell.state.load(Ordering::Relaxed) == AWAKE;
        !is_awake && self.bell.state.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}

const AWAKE: u8 = 0;
const RUNG: u8 = 1;
const ASLEEP: u8 = 2;
