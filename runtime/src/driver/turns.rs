//! What turns cost: how long they take, and what the shard's thread waited for in them.

use super::State;
use crate::metrics::{Counter, Gauge, Timing};
use crate::sys::{RunDelay, thread_major_faults};
use ringmain_core::time::Instant;
use std::time::Duration;

/// Pause between two looks at the page faults of a thread.
const FAULTS_PAUSE: Duration = Duration::from_millis(10);
/// A longer turn keeps its shard's clients waiting.
const LONG: Duration = Duration::from_millis(1);

/// What the thread has waited for by now.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Major faults, once asked.
    faults: Option<u64>,
    /// When to ask again.
    next_faults: Instant,
    delay: Option<RunDelay>,
    /// Time without a CPU, and when that was asked: at most [`LONG`] before a turn began, so that
    /// what is taken off a long turn is hardly more than was lost in it.
    delayed: Duration,
    asked: Instant,
}

impl State {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        let now = self.engine.now;
        let turns = &mut self.turns;
        if now.since(turns.asked) >= LONG {
            let delay = turns.delay.get_or_insert_with(RunDelay::of_this_thread);
            turns.delayed = delay.total();
            turns.asked = now;
        }
    }

    /// A turn has ended that had so much to do.
    pub(super) fn end_turn(&mut self, event_count: usize) {
        let now = self.now();
        let took = now.since(self.engine.now);
        if took >= LONG
            && let Some(delay) = &self.turns.delay
        {
            let total = delay.total();
            let lost = total.saturating_sub(self.turns.delayed);
            self.turns.delayed = total;
            self.turns.asked = now;
            let is_long = took.saturating_sub(lost) >= LONG;
            self.recorder.add(Counter::LongTurns, u64::from(is_long));
        }
        if event_count > 0 {
            self.look_for_faults();
            self.recorder.add(Counter::Turns, 1);
            self.recorder.time(Timing::Turn, 1000 * took.as_micros() as u64);
            self.recorder.set(Gauge::Requests, self.engine.request_count() as u64);
        }
    }

    /// Looks from time to time whether this thread has waited for the disk in page faults.
    fn look_for_faults(&mut self) {
        let (now, turns) = (self.engine.now, &mut self.turns);
        if turns.next_faults > now {
            return;
        }
        turns.next_faults = now + FAULTS_PAUSE;
        let faults = thread_major_faults();
        let more = faults - turns.faults.replace(faults).unwrap_or(faults);
        self.recorder.add(Counter::MajorFaults, more);
        if more > 0 {
            self.engine.log.maps_mut().on_major_fault();
        }
    }
}
