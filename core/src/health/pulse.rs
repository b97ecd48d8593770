//! Whether this process was stopped, and how old what it reads may be by that.
//!
//! A process that is stopped (SIGSTOP, a frozen container, a starved machine) wakes up with sockets
//! full of requests whose senders have long given them up. A frame says how much time it has left,
//! but not how long it has lain in a buffer, and clocks of two nodes cannot be compared. So a shard
//! wakes up every [`PULSE`] whatever happens: if it does so late, it did not run, and what it reads
//! then may have come right after the pulse before. That is taken as the time of arrival of all
//! that is read until a moment after the wake-up, by when the buffers are drained.

use crate::limits::{PULSE, STOP_GRACE, STOP_MIN};
use crate::time::Instant;

/// The pulse of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// The last one; none before the first.
    last: Option<Instant>,
    /// What is read until the second time may have arrived right after the first.
    stopped: Option<(Instant, Instant)>,
}

impl Pulse {
    pub(crate) const fn new() -> Pulse {
        Pulse { last: None, stopped: None }
    }

    /// When the next one is due. Before the first one nothing is known, and nothing suspected.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.last.map(|last| last + PULSE)
    }

    /// The machine is told something at `now`, perhaps for the first time.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.last.get_or_insert(now);
    }

    /// The machine does at `now` what is due.
    pub(crate) fn on_run(&mut self, now: Instant) {
        let Some(next) = self.next() else {
            self.last = Some(now);
            return;
        };
        if now < next {
            return;
        }
        if now.since(next) > STOP_MIN {
            // One stop behind another leaves no time to drain what came before.
            let began = match self.stopped {
                Some((began, until)) if next <= until => began,
                _ => next - PULSE,
            };
            self.stopped = Some((began, now + STOP_GRACE));
        }
        self.last = Some(now);
    }

    /// The earliest time at which what is read at `now` may have arrived.
    pub(crate) fn arrived(&self, now: Instant) -> Instant {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::PausedExecutesStale) {
            return now;
        }
        let mut pulse = *self;
        pulse.on_run(now);
        match pulse.stopped {
            Some((began, until)) if now < until => began,
            _ => now,
        }
    }
}
