//! Answers on their way to sessions. A session may be in the middle of reading when an answer to
//! another of its requests comes, so answers wait here until the turn gives them out, each as the
//! payload of a REPLY in one arena: no allocation in a steady load.

use ringmain_core::drive::Answer;
use ringmain_core::request::Outcome;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::reply::Reply;
use std::collections::VecDeque;
use std::ops::Range;

/// An arena larger than this is given back once it is empty, bytes.
const ARENA_SPARE_BYTES_MAX: usize = 1 << 20;

/// Where an answer lies in the arena.
#[derive(Clone, Debug)]
pub(crate) struct Held(Range<usize>);

/// An answer without bytes, to the request that is being handed over.
#[derive(Clone, Copy, Debug)]
struct Immediate {
    outcome: Outcome,
    live: u16,
    found: u16,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: VecDeque<(u64, Held)>,
    arena: Vec<u8>,
    /// The ticket of the request that is being handed over.
    asking: Option<u64>,
    immediate: Option<Immediate>,
}

impl Answers {
    /// A request is being handed over: its answer may come at once.
    pub(crate) fn ask(&mut self, ticket: u64) {
        self.asking = Some(ticket);
    }

    /// Queues an answer.
    pub(crate) fn push(&mut self, ticket: u64, answer: Answer<'_>) {
        if self.asking == Some(ticket)
            && let Answer::Local { outcome, record: None, context: None, live, found } = answer
        {
            self.immediate = Some(Immediate { outcome, live, found });
            return;
        }
        let start = self.arena.len();
        self.arena.resize(start + answer.bytes(), 0);
        answer.write(&mut self.arena[start..]);
        self.held.push_back((ticket, Held(start..self.arena.len())));
    }

    /// Gives the answer to the request that was handed over, if it came at once.
    pub(crate) fn answer_now(&mut self, answer: &mut dyn FnMut(Answer<'_>)) -> bool {
        let Some(ticket) = self.asking.take() else { return false };
        if let Some(Immediate { outcome, live, found }) = self.immediate.take() {
            answer(Answer::Local { outcome, record: None, context: None, live, found });
            return true;
        }
        let Some((_, held)) = self.held.pop_back_if(|(other, _)| *other == ticket) else {
            return false;
        };
        answer(self.view(&held));
        true
    }

    /// Takes the oldest answer.
    pub(crate) fn pop(&mut self) -> Option<(u64, Held)> {
        self.held.pop_front()
    }

    /// Forgets the bytes of answers that were taken; nothing may be queued.
    pub(crate) fn clear_bytes(&mut self) {
        if self.held.is_empty() {
            self.arena.clear();
            self.arena.shrink_to(ARENA_SPARE_BYTES_MAX);
        }
    }

    /// What the session sees of `held`.
    pub(crate) fn view(&self, held: &Held) -> Answer<'_> {
        let reply = Reply::new_checked(&self.arena[held.0.clone()]);
        Answer::Remote(reply.expect("an answer writes a well-formed reply"))
    }
}
