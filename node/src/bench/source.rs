//! When which request is sent, and what becomes of its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::draw::{Draw, Kind};
use super::lane::Asked;
use super::tally::Tally;

/// What the lanes of one worker send.
pub(super) trait Source {
    /// Time has come; the numbers of lanes that have something to send since then go to `ready`.
    fn on_time(&mut self, now: Instant, ready: &mut Vec<usize>);
    /// When it has something to do next, without any answer.
    fn next_time(&self) -> Option<Instant>;
    /// What a lane sends now.
    fn next(&mut self, lane: usize, now: Instant) -> Option<Asked>;
    /// An answer came.
    fn on_answer(&mut self, asked: Asked, outcome: Result<(), String>, now: Instant);
    /// Nothing more is sent.
    fn is_over(&self, now: Instant) -> bool;
}

/// Writes every key once, as fast as answers come; what is refused, again.
pub(super) struct Loading<'a> {
    /// Keys that are left: every `step`th.
    next: u64,
    end: u64,
    step: u64,
    again: Vec<u64>,
    /// How often more may be refused.
    refusals_left: u64,
    /// The last refusal, and whether too many were.
    refused: Option<String>,
    is_given_up: bool,
    /// Keys that all have written.
    done: &'a AtomicU64,
}

impl<'a> Loading<'a> {
    /// Worker `worker` of `workers`.
    pub(super) fn new(
        keys: u64,
        (worker, workers): (u64, u64),
        refusals_max: u64,
        done: &'a AtomicU64,
    ) -> Loading<'a> {
        Loading {
            next: worker,
            end: keys,
            step: workers,
            again: Vec::new(),
            refusals_left: refusals_max,
            refused: None,
            is_given_up: false,
            done,
        }
    }

    /// Once it is over: why a key was not written, if one was not.
    pub(super) fn failure(self) -> Option<String> {
        self.refused.filter(|_| self.is_given_up || !self.again.is_empty())
    }
}

impl Source for Loading<'_> {
    fn on_time(&mut self, _: Instant, _: &mut Vec<usize>) {}

    fn next_time(&self) -> Option<Instant> {
        None
    }

    fn next(&mut self, _: usize, now: Instant) -> Option<Asked> {
        let key = self.again.pop().or_else(|| {
            let key = self.next;
            self.next += self.step;
            (key < self.end).then_some(key)
        })?;
        Some(Asked { kind: Kind::Put, key, due: now })
    }

    fn on_answer(&mut self, asked: Asked, outcome: Result<(), String>, _: Instant) {
        let Err(error) = outcome else {
            self.done.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.refused = Some(error);
        self.again.push(asked.key);
        match self.refusals_left.checked_sub(1) {
            Some(left) => self.refusals_left = left,
            None => self.is_given_up = true,
        }
    }

    fn is_over(&self, _: Instant) -> bool {
        self.is_given_up || self.again.is_empty() && self.next >= self.end
    }
}

/// The times at which requests are due, whatever becomes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    begin: Instant,
    /// Of all workers.
    rate: u64,
    worker: u64,
    workers: u64,
}

impl Pace {
    /// Worker `worker` of `workers` sends every so manieth of `rate` requests per second.
    pub(super) fn new(begin: Instant, rate: u64, (worker, workers): (u64, u64)) -> Pace {
        Pace { begin, rate, worker, workers }
    }

    /// When request `number` of this worker is due.
    fn due(&self, number: u64) -> Instant {
        let number = u128::from(number) * u128::from(self.workers) + u128::from(self.worker);
        let nanos = number * 1_000_000_000 / u128::from(self.rate);
        self.begin + Duration::from_nanos(nanos as u64)
    }
}

/// When it begins, what is measured of it, and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begin: Instant,
    /// Behind the warm-up.
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// What a worker has measured, a second's worth or the rest.
pub(super) struct Piece {
    /// The second of the measurement, from 0; `None`: what came behind it.
    pub(super) second: Option<u64>,
    pub(super) tally: Tally,
}

/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Sends what is drawn, at the pace or as answers come.
pub(super) struct Running {
    draw: Draw,
    span: Span,
    pace: Option<Pace>,
    lanes: u64,
    /// Requests of the pace that are due by now.
    due_count: u64,
    /// Of each lane, how many of its own have been sent.
    sent: Vec<u64>,
    /// Seconds that were reported.
    reported: u64,
    tally: Tally,
    reports: Sender<Piece>,
}

impl Running {
    pub(super) fn new(
        draw: Draw,
        span: Span,
        pace: Option<Pace>,
        lanes: usize,
        reports: Sender<Piece>,
    ) -> Running {
        Running {
            draw,
            span,
            pace,
            lanes: lanes as u64,
            due_count: 0,
            sent: vec![0; lanes],
            reported: 0,
            tally: Tally::new(),
            reports,
        }
    }

    /// Requests of the pace that lane `lane` was to have sent by now.
    fn due_of(&self, lane: u64) -> u64 {
        (self.due_count + self.lanes - 1 - lane) / self.lanes
    }

    /// The end: what was measured since the last report.
    pub(super) fn finish(mut self) {
        if let Some(pace) = self.pace {
            for lane in 0..self.lanes {
                let due = self.sent[lane as usize]..self.due_of(lane);
                let times = due.map(|number| pace.due(number * self.lanes + lane));
                self.tally.unsent += times.filter(|due| *due >= self.span.from).count() as u64;
            }
        }
        self.report(None);
    }

    fn report(&mut self, second: Option<u64>) {
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        // Who took them has failed, and says so.
        let _gone = self.reports.send(Piece { second, tally });
    }

    fn next_report(&self) -> Instant {
        self.span.from + REPORT_INTERVAL * (self.reported + 1) as u32
    }
}

impl Source for Running {
    fn on_time(&mut self, now: Instant, ready: &mut Vec<usize>) {
        while now >= self.next_report() && self.next_report() <= self.span.until {
            self.report(Some(self.reported));
            self.reported += 1;
        }
        let Some(pace) = self.pace else { return };
        while pace.due(self.due_count) <= now && pace.due(self.due_count) < self.span.until {
            ready.push((self.due_count % self.lanes) as usize);
            self.due_count += 1;
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let due = self.pace.map(|pace| pace.due(self.due_count));
        let times = [due, Some(self.next_report()), Some(self.span.until)];
        times.into_iter().flatten().min()
    }

    fn next(&mut self, lane: usize, now: Instant) -> Option<Asked> {
        let due = match self.pace {
            None => now,
            Some(pace) => {
                let number = self.sent[lane];
                if number >= self.due_of(lane as u64) {
                    return None;
                }
                pace.due(number * self.lanes + lane as u64)
            }
        };
        if now >= self.span.until {
            return None;
        }
        self.sent[lane] += 1;
        let (kind, key) = self.draw.next();
        Some(Asked { kind, key, due })
    }

    fn on_answer(&mut self, asked: Asked, outcome: Result<(), String>, now: Instant) {
        if asked.due >= self.span.from {
            self.tally.note(asked.kind, now.saturating_duration_since(asked.due), outcome);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.span.until
    }
}

#[cfg(test)]
mod tests;
