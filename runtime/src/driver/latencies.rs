//! How long clients wait: from the turn that took a request in to the end of the turn that sent
//! its answer.
//!
//! A clock read for each request costs more than all of this. So both ends are times that a turn
//! has anyway, its begin and its end, and what is asked and answered in one turn, as most reads
//! are, is a count: at the end of the turn all of it has taken equally long. A request whose
//! answer comes in a later turn stands in a list of its connection meanwhile.
//!
//! A request arrives when it is read. Bytes that have to wait before that, as behind too many
//! requests of their own connection or while the log has no room, are not timed.
//!
//! Invariant: a request is recorded at most once, in the histogram of its operation, and never if
//! its connection was closed or its answer was lost.

use crate::admission::Share;
use crate::metrics::{Counter, Recorder, Timing};
use ringmain_core::drive::{Answer, Command};
use ringmain_core::request::{Failure, Outcome};
use ringmain_core::time::Instant;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::put::{Content, PutRequest};
use ringmain_core::wire::reply::{Reply, Status};
use std::collections::VecDeque;
use std::time::Duration;

/// Most requests of one connection that are timed at once: as many as may be open.
const ASKED_COUNT_MAX: usize = 64;

/// What a request does, as far as it is timed apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Get,
    Put,
    Delete,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    operation: Operation,
    /// The turn that took it in.
    since: Instant,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Well,
    Failed,
    /// Failed, but may be tried again.
    Busy,
}

/// The requests of one connection without an answer, in the order of their arrival, each with the
/// number that its answer will name.
#[derive(Debug, Default)]
pub(crate) struct Asked(VecDeque<(u32, Request)>);

/// What was answered in this turn.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    now: Instant,
    /// Asked in this turn, too; by operation.
    at_once: [u64; Operation::TIMINGS.len()],
    /// Asked before.
    later: Vec<Request>,
    failed: u64,
    busy: u64,
    /// What background work gets.
    share: Share,
}

impl Operation {
    /// By their numbers.
    const TIMINGS: [Timing; 3] = [Timing::Get, Timing::Put, Timing::Delete];

    /// None of a page of a scan: how long that takes depends on what it finds.
    pub(crate) fn of(command: &Command<'_>) -> Option<Operation> {
        match command {
            Command::Get(_) => Some(Operation::Get),
            Command::Put(put) => Some(Operation::of_put(put)),
            Command::Scan(_) => None,
        }
    }

    /// None if the payload is malformed.
    pub(crate) fn of_frame(frame: &Frame<'_>) -> Option<Operation> {
        match frame.op() {
            Op::Put => PutRequest::new_checked(frame.payload()).ok().map(|put| Self::of_put(&put)),
            _ => Some(Operation::Get),
        }
    }

    fn of_put(put: &PutRequest<'_>) -> Operation {
        match put.content {
            Content::Tombstone => Operation::Delete,
            Content::Value { .. } | Content::ValueOnly { .. } | Content::ExpiryOnly { .. } => {
                Operation::Put
            }
        }
    }
}

impl Request {
    /// What it does.
    pub(crate) fn operation(self) -> Operation {
        self.operation
    }
}

impl Ended {
    pub(crate) fn of(answer: &Answer<'_>) -> Ended {
        match answer {
            Answer::Local { outcome: Outcome::Failed(Failure::Busy), .. } => Ended::Busy,
            Answer::Local { outcome: Outcome::Failed(_), .. } => Ended::Failed,
            Answer::Local { .. } | Answer::Page { .. } => Ended::Well,
            Answer::Remote(reply) => Ended::of_status(reply.head.status),
        }
    }

    /// A REPLY as it goes to a native client.
    pub(crate) fn of_frame(frame: &Frame<'_>) -> Ended {
        let reply = Reply::new_checked(frame.payload());
        reply.map_or(Ended::Failed, |reply| Ended::of_status(reply.head.status))
    }

    fn of_status(status: Status) -> Ended {
        match status {
            Status::Ok | Status::ConditionFailed => Ended::Well,
            Status::Busy => Ended::Busy,
            _ => Ended::Failed,
        }
    }
}

impl Asked {
    /// A request is open from now on.
    pub(crate) fn push(&mut self, number: u32, request: Request) {
        if self.0.len() == ASKED_COUNT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((number, request));
    }

    /// The oldest of that number is open no more. O(64), and O(1) in order.
    pub(crate) fn take(&mut self, number: u32) -> Option<Request> {
        let at = self.0.iter().position(|(other, _)| *other == number)?;
        self.0.remove(at).map(|(_, request)| request)
    }

    /// Gives its memory back, if nothing is in it.
    pub(crate) fn rest(&mut self) {
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }

    /// An answer was lost, and nobody knows which: none of these is timed.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Latencies {
    /// A turn has begun.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
    }

    /// What background work gets, by how long clients have waited lately.
    pub(crate) fn share(&mut self, now: Instant) -> Share {
        self.share.look(now);
        self.share
    }

    /// A request arrives.
    pub(crate) fn ask(&self, operation: Operation) -> Request {
        Request { operation, since: self.now }
    }

    /// It is answered.
    pub(crate) fn answer(&mut self, request: Request, ended: Ended) {
        if request.since == self.now {
            self.at_once[request.operation as usize] += 1;
        } else {
            self.later.push(request);
        }
        if ended != Ended::Well {
            self.failed += 1;
            self.busy += u64::from(ended == Ended::Busy);
        }
    }

    /// The turn has ended, and sent its answers.
    pub(crate) fn end_turn(&mut self, now: Instant, recorder: &Recorder) {
        let took = now.since(self.now);
        // Of reads alone, as writes take as long as the disk does.
        self.share.note(took, self.at_once[Operation::Get as usize]);
        for (timing, count) in Operation::TIMINGS.into_iter().zip(&mut self.at_once) {
            if *count > 0 {
                recorder.time_many(timing, nanoseconds(took), std::mem::take(count));
            }
        }
        for Request { operation, since } in self.later.drain(..) {
            let took = now.since(since);
            self.share.note(took, u64::from(operation == Operation::Get));
            recorder.time(Operation::TIMINGS[operation as usize], nanoseconds(took));
        }
        self.share.look(now);
        if self.failed > 0 {
            recorder.add(Counter::RequestsFailed, std::mem::take(&mut self.failed));
            recorder.add(Counter::RequestsBusy, std::mem::take(&mut self.busy));
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    1000 * duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn each_request_is_timed_from_its_turn_to_the_end_of_its_answers() {
        let (metrics, recorders) = Metrics::new(1);
        let (mut latencies, mut asked) = (Latencies::default(), Asked::default());
        latencies.begin_turn(Instant(100));
        for _ in 0..3 {
            latencies.answer(latencies.ask(Operation::Get), Ended::Well);
        }
        asked.push(7, latencies.ask(Operation::Put));
        asked.push(8, latencies.ask(Operation::Delete));
        latencies.end_turn(Instant(120), &recorders[0]);
        latencies.begin_turn(Instant(150));
        asked.push(9, latencies.ask(Operation::Put));
        for (number, ended) in [(8, Ended::Busy), (7, Ended::Failed), (9, Ended::Well)] {
            latencies.answer(asked.take(number).unwrap(), ended);
        }
        assert_eq!(asked.take(9), None);
        latencies.end_turn(Instant(180), &recorders[0]);
        let seen = |timing| {
            let buckets = metrics.timing(0, timing);
            (buckets.count(), buckets.sum, buckets.max)
        };
        assert_eq!(seen(Timing::Get), (3, 60_000, 20_000));
        assert_eq!(seen(Timing::Put), (2, 110_000, 80_000));
        assert_eq!(seen(Timing::Delete), (1, 80_000, 80_000));
        assert_eq!(metrics.counter(0, Counter::RequestsFailed), 2);
        assert_eq!(metrics.counter(0, Counter::RequestsBusy), 1);
    }

    #[test]
    fn what_is_never_answered_does_not_pile_up() {
        let (latencies, mut asked) = (Latencies::default(), Asked::default());
        for number in 0..1000 {
            asked.push(number, latencies.ask(Operation::Get));
        }
        assert_eq!(asked.0.len(), ASKED_COUNT_MAX);
        assert_eq!(asked.take(0), None);
        assert!(asked.take(999).is_some());
    }
}
