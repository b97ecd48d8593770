//! What a shard takes on: how much memory its clients and peers may tie up, and how much of its
//! time background work gets.
//!
//! The problem: who sends faster than the shard stores, never reads, or never ends a command makes
//! the node keep bytes for him, and enough of them end it. The answer: one account for each shard
//! of all that grows with load ([`Memory`]), and three levels of it.
//!
//! - [`Level::Roomy`]: it takes all, each connection within its own bounds.
//! - [`Level::Tight`], from half of the budget on: it reads nothing from who has [`HELD_BYTES`] of
//!   answers to come or to read, answers him `BUSY` for what comes longer than [`LONG_BYTES`], and
//!   gives up what has not moved for [`STALE`]. From seven eighths on it refuses whatever is long:
//!   commands that are not whole, and answers.
//! - [`Level::Full`]: it refuses all requests that need memory, with `BUSY`.
//!
//! So a few who hold much are stopped while the others are served, and many are refused before
//! memory grows. Nothing is taken back that was promised: a write that has begun is ended.
//!
//! Invariant: what an account is told of it adds up: nothing is counted twice, and what was given
//! back is counted no more. Source: Dynamo §6.5 for [`Share`].

mod share;

pub use share::{SLOW, Share, WINDOW};

use std::time::Duration;

/// Of the memory that the process may use, all budgets of its shards together are this part.
pub const MEMORY_PART: u64 = 16;
/// Least budget of a shard, bytes: it serves some large values at once.
pub const SHARD_BYTES_MIN: usize = 64 << 20;
/// Largest budget of a shard, bytes: more in flight only takes longer.
pub const SHARD_BYTES_MAX: usize = 256 << 20;
/// With more than this a connection holds much, bytes: as its output may be before it is not read.
pub const HELD_BYTES: usize = 256 << 10;
/// What is no longer than this costs too little to be refused, bytes: a receive buffer.
pub const LONG_BYTES: usize = 16 << 10;
/// What has not moved for so long may be given up while memory is tight.
pub const STALE: Duration = Duration::from_secs(5);
/// Output that stops the parsing of its connection while memory is tight, bytes.
pub const TIGHT_OUTPUT_BYTES: usize = 16 << 10;
/// And while it is full.
pub const FULL_OUTPUT_BYTES: usize = 1 << 10;

/// What is long leaves this part of the budget to what is short.
const SHORT_PART: usize = 8;

const _: () = assert!(SHARD_BYTES_MIN / 2 >= crate::waiting::WAITING_BYTES_MAX / 2);
const _: () = assert!(TIGHT_OUTPUT_BYTES <= HELD_BYTES, "who is stopped holds little");

/// The budget of each shard of a node that may use so much memory, bytes.
pub fn shard_bytes(usable: u64, shards: u16) -> usize {
    let fair = usable / MEMORY_PART / u64::from(shards.max(1));
    usize::try_from(fair).unwrap_or(usize::MAX).clamp(SHARD_BYTES_MIN, SHARD_BYTES_MAX)
}

/// How much of a shard's budget is taken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Less than half.
    Roomy,
    /// Half and more.
    Tight,
    /// All.
    Full,
}

/// The account of one shard. Its driver says what is held; this says what follows.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    bytes_max: usize,
    /// Of all connections.
    connections: usize,
    /// Of requests in flight, operations that wait, and queues to other shards.
    requests: usize,
    /// The most since [`Memory::begin_peak`].
    peak: usize,
}

impl Memory {
    /// Nothing is held.
    pub fn new(bytes_max: usize) -> Memory {
        Memory { bytes_max, connections: 0, requests: 0, peak: 0 }
    }

    /// The budget, bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// All that is held, bytes.
    pub fn bytes(&self) -> usize {
        self.connections + self.requests
    }

    /// A connection that held `before` holds `after`.
    ///
    /// # Panics
    /// If connections held less than `before`.
    pub fn change(&mut self, before: usize, after: usize) {
        assert!(before <= self.connections, "what is given back was counted");
        self.connections = self.connections - before + after;
        self.peak = self.peak.max(self.bytes());
    }

    /// Everything beside connections holds so much now.
    pub fn set_requests(&mut self, bytes: usize) {
        self.requests = bytes;
        self.peak = self.peak.max(self.bytes());
    }

    /// Where it stands.
    pub fn level(&self) -> Level {
        self.level_with(0)
    }

    /// Where it would stand with `more` bytes.
    pub fn level_with(&self, more: usize) -> Level {
        let bytes = self.bytes() + more;
        if bytes >= self.bytes_max {
            Level::Full
        } else if bytes >= self.bytes_max / 2 {
            Level::Tight
        } else {
            Level::Roomy
        }
    }

    /// Whether an answer of `bytes` is refused to a connection that holds `held` already.
    pub fn refuses_answer(&self, bytes: usize, held: usize) -> bool {
        if bytes <= LONG_BYTES {
            return false;
        }
        let is_tight = self.level_with(bytes) >= Level::Tight;
        (is_tight && held > HELD_BYTES) || !self.has_room_for_long(bytes)
    }

    /// Whether a request that takes `bytes` is refused.
    pub fn refuses_request(&self, bytes: usize) -> bool {
        let is_long = bytes > LONG_BYTES;
        self.level_with(bytes) == Level::Full || (is_long && !self.has_room_for_long(bytes))
    }

    /// A command that takes more bytes and is not whole is refused.
    pub fn command_bytes_max(&self) -> usize {
        if self.has_room_for_long(0) { usize::MAX } else { LONG_BYTES }
    }

    fn has_room_for_long(&self, bytes: usize) -> bool {
        self.level_with(bytes + self.bytes_max / SHORT_PART) < Level::Full
    }

    /// Output that stops the parsing of its connection, where `usual` does while there is room.
    pub fn output_bytes_max(&self, usual: usize) -> usize {
        match self.level() {
            Level::Roomy => usual,
            Level::Tight => usual.min(TIGHT_OUTPUT_BYTES),
            Level::Full => usual.min(FULL_OUTPUT_BYTES),
        }
    }

    /// How much less is held than at the peak, bytes.
    pub fn fallen_bytes(&self) -> usize {
        self.peak - self.bytes()
    }

    /// A new peak begins.
    pub fn begin_peak(&mut self) {
        self.peak = self.bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_part_of_memory_within_bounds() {
        let (least, most) = (SHARD_BYTES_MIN, SHARD_BYTES_MAX);
        let gib = |count: u64| count << 30;
        assert_eq!(shard_bytes(0, 1), least);
        assert_eq!(shard_bytes(gib(1), 1), least);
        assert_eq!(shard_bytes(gib(1) + 16, 1), least + 1);
        assert_eq!(shard_bytes(gib(4), 2), 128 << 20);
        assert_eq!(shard_bytes(gib(4) - 16, 1), most - 1);
        assert_eq!(shard_bytes(gib(4), 1), most);
        assert_eq!(shard_bytes(u64::MAX, 1), most);
    }

    #[test]
    fn levels_begin_at_half_and_at_all() {
        let mut memory = Memory::new(1000);
        memory.change(0, 400);
        memory.set_requests(99);
        assert_eq!((memory.level(), memory.level_with(1)), (Level::Roomy, Level::Tight));
        memory.change(400, 900);
        assert_eq!((memory.level(), memory.level_with(1)), (Level::Tight, Level::Full));
        memory.set_requests(0);
        memory.change(900, 0);
        assert_eq!((memory.bytes(), memory.level()), (0, Level::Roomy));
        assert_eq!(memory.fallen_bytes(), 999);
        memory.begin_peak();
        assert_eq!(memory.fallen_bytes(), 0);
    }

    #[test]
    fn the_short_is_taken_longer_than_the_long() {
        let bytes_max = 16 * HELD_BYTES;
        let mut memory = Memory::new(bytes_max);
        let (short, long) = (LONG_BYTES, LONG_BYTES + 1);
        assert!(!memory.refuses_answer(long, usize::MAX));
        memory.set_requests(bytes_max / 2 - long);
        assert!(!memory.refuses_answer(long, HELD_BYTES));
        assert!(memory.refuses_answer(long, HELD_BYTES + 1));
        let left = bytes_max / 8;
        memory.set_requests(bytes_max - left - long - 1);
        assert!(!memory.refuses_answer(long, 0));
        assert!(!memory.refuses_request(long));
        memory.set_requests(bytes_max - left - long);
        assert!(memory.refuses_answer(long, 0));
        assert!(memory.refuses_request(long));
        assert_eq!(memory.command_bytes_max(), usize::MAX);
        memory.set_requests(bytes_max - left);
        assert_eq!(memory.command_bytes_max(), LONG_BYTES);
        memory.set_requests(bytes_max - short - 1);
        assert!(!memory.refuses_request(short));
        memory.set_requests(bytes_max - short);
        assert!(memory.refuses_request(short));
        assert!(!memory.refuses_answer(short, usize::MAX));
    }

    #[test]
    fn output_may_be_shorter_the_less_room_there_is() {
        let mut memory = Memory::new(1000);
        let at = |memory: &mut Memory, bytes| {
            memory.set_requests(bytes);
            memory.output_bytes_max(HELD_BYTES)
        };
        assert_eq!(at(&mut memory, 499), HELD_BYTES);
        assert_eq!(at(&mut memory, 500), TIGHT_OUTPUT_BYTES);
        assert_eq!(at(&mut memory, 1000), FULL_OUTPUT_BYTES);
    }
}
