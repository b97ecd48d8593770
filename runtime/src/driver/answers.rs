//! Answers on their way to sessions. A session may be in the middle of reading when an answer to
//! another of its requests comes, so answers wait here until the turn gives them out. Their bytes
//! lie in one arena, which is emptied with the queue: no allocation in a steady load.

use crate::session::request::{self, Answer, Failure, Quorum, Reason, Siblings};
use ringmain_core::drive::{self, Token};
use ringmain_core::request as core_request;
use ringmain_core::request::Outcome;
use ringmain_core::wire::reply::{Reply, Status};
use std::ops::Range;

/// An arena larger than this is given back once it is empty, bytes.
const ARENA_SPARE_BYTES_MAX: usize = 1 << 20;

/// One answer, with its bytes in the arena.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) ticket: u64,
    what: What,
    context: Option<Range<usize>>,
    /// In `ranges`.
    siblings: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Got,
    Put { applied: bool, live: u16, found: u16 },
    Failed(Failure),
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: std::collections::VecDeque<Held>,
    arena: Vec<u8>,
    /// Where each sibling lies in the arena.
    ranges: Vec<Range<usize>>,
}

impl Answers {
    /// Queues an answer of the drive loop. `is_get` says what the request was.
    pub(crate) fn push(&mut self, ticket: u64, answer: drive::Answer<'_>) {
        let first = self.ranges.len();
        let (what, context) = match answer {
            drive::Answer::Local { outcome, record, context, live, found } => {
                if let Some(record) = record {
                    drive::for_each_winner_first(record, |sibling| {
                        push_sibling(&mut self.arena, &mut self.ranges, sibling.value);
                    });
                }
                (of_outcome(outcome, false, live, found), self.push_token(context))
            }
            drive::Answer::Remote { reply, is_get } => {
                for sibling in reply.siblings() {
                    push_sibling(&mut self.arena, &mut self.ranges, sibling.value);
                }
                let start = self.arena.len();
                self.arena.extend_from_slice(reply.context);
                let context = start..self.arena.len();
                (of_reply(&reply, is_get), (!context.is_empty()).then_some(context))
            }
        };
        let siblings = first..self.ranges.len();
        self.held.push_back(Held { ticket, what, context, siblings });
    }

    fn push_token(&mut self, token: Option<Token<'_>>) -> Option<Range<usize>> {
        let token = token?;
        let start = self.arena.len();
        self.arena.resize(start + token.bytes(), 0);
        token.write(&mut self.arena[start..]);
        Some(start..self.arena.len())
    }

    /// Takes the newest answer if it is for `ticket`: the request was answered at once.
    pub(crate) fn take_newest(&mut self, ticket: u64) -> Option<Held> {
        self.held.pop_back_if(|held| held.ticket == ticket)
    }

    /// Takes the oldest answer.
    pub(crate) fn pop(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// Forgets the bytes of answers that were taken; nothing may be queued.
    pub(crate) fn clear_bytes(&mut self) {
        if self.held.is_empty() {
            self.arena.clear();
            self.arena.shrink_to(ARENA_SPARE_BYTES_MAX);
            self.ranges.clear();
        }
    }

    /// What the session sees of `held`.
    pub(crate) fn view(&self, held: &Held) -> Answer<'_> {
        let context = held.context.clone().map(|range| &self.arena[range]);
        let ranges = &self.ranges[held.siblings.clone()];
        let siblings = Siblings::Ranges { bytes: &self.arena, ranges };
        match held.what {
            What::Got => Answer::Got { context: context.unwrap_or_default(), siblings },
            What::Put { applied, live, found } => {
                Answer::Put { applied, context, live, found, old: siblings }
            }
            What::Failed(failure) => Answer::Failed(failure),
        }
    }
}

fn push_sibling(arena: &mut Vec<u8>, ranges: &mut Vec<Range<usize>>, value: &[u8]) {
    let start = arena.len();
    arena.extend_from_slice(value);
    ranges.push(start..arena.len());
}

fn of_outcome(outcome: Outcome, is_get: bool, live: u16, found: u16) -> What {
    match outcome {
        Outcome::Got => What::Got,
        Outcome::Stored(_) => What::Put { applied: true, live, found },
        Outcome::ConditionFailed => What::Put { applied: false, live, found },
        Outcome::Failed(failure) => What::Failed(of_failure(failure, is_get)),
    }
}

fn of_reply(reply: &Reply<'_>, is_get: bool) -> What {
    let head = reply.head;
    let (needed, got) = (head.needed, head.got);
    let failure = match head.status {
        Status::Ok if is_get => return What::Got,
        Status::Ok => return What::Put { applied: true, live: head.live, found: head.found },
        Status::ConditionFailed => {
            return What::Put { applied: false, live: head.live, found: head.found };
        }
        Status::NoQuorum => Failure::NoQuorum { needed, got },
        Status::Unavailable => too_few(is_get, needed, got),
        Status::BadContext => Failure::BadContext,
        Status::TooLarge => Failure::TooLarge,
        Status::Siblings => Failure::Siblings,
        Status::Busy => Failure::Busy,
        Status::NoSpace => Failure::NoSpace,
        Status::ReadOnly => Failure::ReadOnly,
        Status::Damaged => Failure::Unavailable(Reason::Damaged),
        Status::NotCovered => Failure::Unavailable(Reason::Behind),
        Status::Malformed | Status::Unsupported | Status::NotPermitted => {
            Failure::Unavailable(Reason::NoCoordinator)
        }
    };
    What::Failed(failure)
}

/// Refused before anything was written: nobody coordinates it, or too few nodes are there.
fn too_few(is_get: bool, needed: u8, nodes: u8) -> Failure {
    if nodes == 0 {
        return Failure::Unavailable(Reason::NoCoordinator);
    }
    let quorum = if is_get { Quorum::R } else { Quorum::W };
    Failure::TooFewNodes { quorum, needed, nodes }
}

fn of_failure(failure: core_request::Failure, is_get: bool) -> request::Failure {
    use core_request::Failure as Core;
    match failure {
        Core::NoQuorum { needed, got } => Failure::NoQuorum { needed, got },
        Core::Unavailable { needed, got } => too_few(is_get, needed, got),
        Core::NotCovered => Failure::Unavailable(Reason::Behind),
        Core::BadContext => Failure::BadContext,
        Core::TooLarge => Failure::TooLarge,
        Core::Siblings => Failure::Siblings,
        Core::Busy => Failure::Busy,
        Core::NoSpace => Failure::NoSpace,
        Core::ReadOnly => Failure::ReadOnly,
        Core::Damaged => Failure::Unavailable(Reason::Damaged),
    }
}
