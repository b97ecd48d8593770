//! What waits for cold records or room: the shipped queues, and what happened to them in words.

use ringmain_core::drive::{End, Late, NoRoom, Parked, Waiter, Waiting};
use ringmain_core::limits::FETCH_COUNT_MAX;
use ringmain_core::request::KeyPlace;
use ringmain_core::time::Instant;
use ringmain_runtime::waiting::WaitingOperations;

use super::mark::Mark;
use super::swarm::Swarm;

/// See the module.
#[derive(Debug)]
pub(super) struct Parking {
    queues: WaitingOperations,
    /// Situations reached since they were last taken.
    reached: Vec<Mark>,
}

impl Parking {
    /// Nothing waits.
    pub(super) fn new(swarm: &Swarm) -> Parking {
        let queues = WaitingOperations::new(swarm.waiting_count, swarm.waiting_bytes);
        Parking { queues, reached: Vec::new() }
    }

    /// Operations that wait.
    pub(super) fn count(&self) -> usize {
        self.queues.count()
    }

    /// Situations reached since the last call.
    pub(super) fn take_reached(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.reached)
    }
}

impl Waiting for Parking {
    type Bytes = Vec<u8>;

    fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    fn contains(&self, key: KeyPlace) -> bool {
        self.queues.contains(key)
    }

    fn push(
        &mut self,
        key: KeyPlace,
        end: End,
        waiter: Waiter,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom> {
        let is_behind = self.contains(key) && end == End::Back;
        let mut first = None;
        let pushed = self.queues.push(key, end, waiter, bytes, |out| {
            fill(out);
            first = out.first().copied();
        });
        self.reached.push(match (pushed, waiter.parked) {
            (Err(NoRoom), _) => Mark::NoRoomToWait,
            // What is kept of a command begins with its kind.
            (_, Parked::Command(_)) if first == Some(1) => Mark::WriteWaited,
            (_, Parked::Command(_)) => Mark::ReadWaited,
            (_, Parked::Frame { .. }) => Mark::FrameWaited,
            (_, Parked::Write(_)) => Mark::WriteTriedAgain,
        });
        if is_behind && pushed.is_ok() {
            self.reached.push(Mark::WaitedBehind);
        }
        pushed
    }

    fn front(&self, key: KeyPlace) -> Option<(Waiter, &[u8])> {
        self.queues.front(key)
    }

    fn pop(&mut self, key: KeyPlace) -> Option<(Waiter, Vec<u8>)> {
        self.queues.pop(key)
    }

    fn count_read(&mut self, key: KeyPlace) -> u32 {
        let count = self.queues.count_read(key);
        if count > FETCH_COUNT_MAX {
            self.reached.push(Mark::NeverRead);
        }
        count
    }

    fn forget_reads(&mut self, key: KeyPlace) {
        self.queues.forget_reads(key);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.queues.next_deadline()
    }

    fn pop_late(&mut self, now: Instant) -> Option<Late<Vec<u8>>> {
        let late = self.queues.pop_late(now);
        self.reached.extend(late.is_some().then_some(Mark::WaitedTooLong));
        late
    }
}
