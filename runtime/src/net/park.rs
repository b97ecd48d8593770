//! Parking: letting glommio put the core to sleep while the ring is idle.
//!
//! A driver that blocks in the hot ring keeps everything else of its executor waiting, so it does
//! that for a while only. Then it awaits an eventfd that the ring counts up for whatever needs an
//! enter. That await costs as much as several requests, and counting costs something per burst;
//! so the eventfd is switched off (IORING_CQ_EVENTFD_DISABLED) but while parked.
//!
//! | step | what might come in between | why it is not lost |
//! |---|---|---|
//! | eventfd on, doorbell asleep | a completion | the enter below finds it |
//! | TIMEOUT for the deadline, enter | a completion, a ring | it counts the eventfd up |
//! | no event: await the eventfd | a completion, a ring, the deadline | the count is above zero |
//! | eventfd off, doorbell awake, TIMEOUT canceled | a ring | the word says `RUNG` |

use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

use super::config::RingError;
use super::doorbell::Bed;
use super::event::{Event, Token};
use super::ring::HotRing;
use crate::sys::{Completion, OperationId, Parking, Wait};

/// How the executor of a shard is to be made, whose only task drives a [`HotRing`].
///
/// Its preempt timer is out of the way, and not only because there is nothing to preempt: glommio
/// 0.9.0 goes to sleep with a task ready to run if the timer expires between being armed and the
/// first look at it (`run_task_queues` then says that nothing ran), as it does with 1 ms whenever
/// the thread loses its core there. Nothing wakes it up again. So a driver also does not yield to
/// the executor; it parks.
pub fn executor(placement: Placement) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(Duration::from_secs(1 << 20))
        .ring_depth(RING_DEPTH)
}

/// What parking needs, made at the first time, and what is to be undone after it.
pub(super) struct Parked {
    parking: Parking,
    deadline: Option<OperationId>,
    is_parked: bool,
}

impl HotRing {
    /// Submits what was started, and lets the executor sleep until there is an event, at most
    /// `timeout`, if there is none now. It may also return early without an event; what happened
    /// comes out of the next `submit_and_wait` and `next_event`. May be dropped half way.
    ///
    /// # Panics
    /// Outside of a glommio executor.
    pub async fn park(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        let is_ready = self.prepare_park(timeout)?;
        if !is_ready && let Some(parked) = &self.parked {
            self.counts.sleeps += 1;
            parked.parking.wait().await.map_err(RingError::Park)?;
        }
        self.unpark();
        Ok(())
    }

    /// Says whether there is an event already, so that there is no need to wait.
    fn prepare_park(&mut self, timeout: Option<Duration>) -> Result<bool, RingError> {
        self.submit_and_wait(Some(Duration::ZERO))?;
        if let Some(bed) = self.bed.take() {
            let eventfd = self.doorbell.in_executor();
            self.ring.register_eventfd(eventfd).map_err(RingError::Park)?;
            let parking = Parking::new(bed);
            self.parked = Some(Parked { parking, deadline: None, is_parked: false });
        }
        if self.has_event()
            || timeout == Some(Duration::ZERO)
            || !self.doorbell.fall_asleep(Bed::Executor)
        {
            return Ok(true);
        }
        let operation = timeout.map(|timeout| self.ring.timeout(timeout, Token::Deadline));
        if let Some(parked) = &mut self.parked {
            parked.is_parked = true;
            parked.deadline = operation;
        }
        self.ring.notify(true);
        self.ring.enter(Wait::Flush).map_err(RingError::Enter)?;
        Ok(self.has_event() || self.ring.has_pending_work())
    }

    /// Back to blocking in the ring. Does nothing unless parked.
    pub(super) fn unpark(&mut self) {
        let Some(parked) = self.parked.as_mut().filter(|it| it.is_parked) else { return };
        parked.is_parked = false;
        let deadline = parked.deadline.take();
        self.ring.notify(false);
        self.note_bell();
        if let Some(deadline) = deadline {
            self.ring.cancel(deadline);
        }
    }

    /// The deadline came, or was canceled: either way the shard is awake.
    pub(super) fn on_deadline(&mut self, completion: Completion<Token>) -> Option<Event<'static>> {
        if let Some(parked) = &mut self.parked
            && parked.deadline == Some(completion.operation)
        {
            parked.deadline = None;
        }
        None
    }
}

/// The least that glommio takes; it serves direct I/O, which we do not use.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of its rings: a parked shard has one operation in flight.
const RING_DEPTH: usize = 128;
