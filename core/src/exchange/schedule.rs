//! Which exchange begins when: every pair of owners of a partition once per interval, the lower
//! node asking, few at a time, and one of a partition. A pair of which one is to get its copy from
//! the other has its turn at once, until the two are equal.
//!
//! First come those with the peer that the fewest run with, of them the one that waited longest.
//! By waiting alone a slow peer takes all turns: whatever else came from other peers is compared
//! with it, too, and each of these has to queue for it, while the others have nothing to do.

use core::ops::RangeInclusive;
use core::time::Duration;

use heapless::Vec;

use super::{Resume, Summary};
use crate::id::{NodeId, Partition};
use crate::limits::{EXCHANGE_ASKING_COUNT_MAX, EXCHANGE_RETRY, HANDOFF_AGAIN, HANDOFF_SPREAD};
use crate::prng::Prng;
use crate::ring::Rings;
use crate::time::Instant;
use crate::wire::exchange::EndReason;

/// A partition and the other owner of a pair, and what is known of it. Memory is lent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pair {
    /// The partition.
    pub partition: Partition,
    /// The other owner, whose id is above this node's.
    pub peer: NodeId,
    /// When an exchange last found the two equal, or made them so.
    pub last_equal: Option<Instant>,
    /// Keys in which they still differed when the last exchange finished.
    pub differences: u32,
    /// An exchange was asked for (`Schedule::repair`) and has not finished.
    pub is_asked: bool,
    /// The last one that was asked for did not come about: the peer could not be reached, said
    /// nothing or may not write, or this node may not. It may still come about by its turn.
    pub is_deferred: bool,
    /// One of the two catches up with the partition, and is to get what it lacks from the other.
    handoff: Option<Resume>,
    /// It has it, as far as this node knows; the other may never have heard so.
    is_handed: bool,
    due: Instant,
    is_running: bool,
    resume: Option<Resume>,
}

impl Pair {
    /// It is not compared now: what was asked for is told to be open.
    fn defer(&mut self, due: Instant) {
        self.due = due;
        self.is_deferred |= self.is_asked;
        self.is_asked = false;
    }
}

/// An exchange that begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Start {
    /// Of this partition.
    pub partition: Partition,
    /// With this owner.
    pub peer: NodeId,
    /// For [`Initiator::start`](super::Initiator::start).
    pub resume: Option<Resume>,
}

/// The exchanges that a shard begins, over lent memory.
#[derive(Debug)]
pub struct Schedule<'a> {
    /// Ascending by partition and peer.
    pairs: &'a mut [Pair],
    count: usize,
    interval: Duration,
    /// The peers of those that run, in no order.
    running: Vec<NodeId, EXCHANGE_ASKING_COUNT_MAX>,
    running_max: usize,
    prng: Prng,
    /// No pair that may begin is due earlier.
    next_due: Option<Instant>,
}

impl<'a> Schedule<'a> {
    /// A schedule without pairs: `running_max` exchanges at a time, each pair once per `interval`.
    ///
    /// # Panics
    /// If nothing may run, or more than `limits::EXCHANGE_ASKING_COUNT_MAX`, or the interval is
    /// below a millisecond.
    pub fn new(
        pairs: &'a mut [Pair],
        interval: Duration,
        running_max: usize,
        seed: u64,
    ) -> Schedule<'a> {
        assert!((1..=EXCHANGE_ASKING_COUNT_MAX).contains(&running_max));
        assert!(interval >= Duration::from_millis(1));
        let prng = Prng::new(seed);
        let running = Vec::new();
        Schedule { pairs, count: 0, interval, running, running_max, prng, next_due: None }
    }

    /// Takes the pairs of `partitions` in which `me` is the lower owner. Those that were known
    /// keep what is known of them; new ones are due within one interval, and soon if one of the two
    /// gains the partition. Exchanges that run are to be ended by the caller: they are of another
    /// topology. O(pairs × log pairs).
    ///
    /// # Panics
    /// If there is no room for all pairs: partitions × (2 × N - 1).
    pub fn on_rings(
        &mut self,
        now: Instant,
        rings: &Rings<'_>,
        me: NodeId,
        partitions: RangeInclusive<u16>,
    ) {
        let is_pair = |partition: Partition, peer: NodeId| {
            partitions.contains(&partition.0)
                && rings.is_owner(partition, me)
                && rings.is_owner(partition, peer)
                && me < peer
        };
        let mut kept = 0;
        for index in 0..self.count {
            let pair = self.pairs[index];
            if is_pair(pair.partition, pair.peer) {
                self.pairs[kept] = Pair { is_running: false, ..pair };
                kept += 1;
            }
        }
        self.running.clear();
        self.count = kept;
        for partition in partitions.clone().map(Partition) {
            for &peer in rings.owners(partition).iter() {
                let known = &self.pairs[..kept];
                let is_new = known.binary_search_by_key(&(partition, peer), key_of).is_err();
                if is_new && is_pair(partition, peer) {
                    let due = now + self.fraction(self.interval);
                    assert!(self.count < self.pairs.len());
                    self.pairs[self.count] = Pair { partition, peer, due, ..Pair::default() };
                    self.count += 1;
                }
            }
        }
        self.pairs[..self.count].sort_unstable_by_key(key_of);
        for index in 0..self.count {
            let Pair { partition, peer, .. } = self.pairs[index];
            let from_peer = rings.hands_over(partition, peer, me);
            let to_peer = rings.hands_over(partition, me, peer);
            let handoff = (from_peer || to_peer).then_some(Resume { from: 0, to_peer });
            if handoff.is_some() {
                // In no order, so that those who hand over to one node seldom meet.
                self.pairs[index].due = now + self.fraction(HANDOFF_SPREAD);
            }
            self.pairs[index].handoff = handoff;
            self.pairs[index].is_handed = false;
        }
        self.update_next_due();
    }

    /// The next exchange to begin, if one is due and may; O(pairs) if so. A pair whose peer
    /// `is_reachable` denies waits for its next turn.
    pub fn next(&mut self, now: Instant, is_reachable: impl Fn(NodeId) -> bool) -> Option<Start> {
        while self.timeout().is_some_and(|due| due <= now) {
            let due = self.waiting().filter(|index| self.pairs[*index].due <= now);
            let next = due.min_by_key(|index| {
                let Pair { peer, due, .. } = self.pairs[*index];
                (self.running.iter().filter(|other| **other == peer).count(), due)
            });
            let index = next.expect("a pair is due");
            if !is_reachable(self.pairs[index].peer) {
                let due = now + self.pause(index);
                let pair = &mut self.pairs[index];
                pair.defer(due);
                self.update_next_due();
                continue;
            }
            let pair = &mut self.pairs[index];
            pair.is_running = true;
            let Pair { partition, peer, handoff, .. } = *pair;
            let resume = pair.resume.or(handoff);
            self.running.push(peer).expect("fewer run than may");
            self.update_next_due();
            return Some(Start { partition, peer, resume });
        }
        None
    }

    /// When [`Schedule::next`] may have one; none while as many run as may.
    pub fn timeout(&self) -> Option<Instant> {
        self.next_due.filter(|_| self.running.len() < self.running_max)
    }

    /// An exchange that [`Schedule::next`] gave has ended. If early, it is tried again soon.
    pub fn on_end(&mut self, now: Instant, partition: Partition, peer: NodeId, end: &Summary) {
        let Some(index) = self.running(partition, peer) else { return };
        let pair = &mut self.pairs[index];
        // What it took up is of no use once the copies were compared.
        pair.resume = end.resume.filter(|_| end.reason != EndReason::Finished);
        match end.reason {
            EndReason::Finished => {}
            EndReason::Silent => return self.on_silent(now, partition, peer),
            EndReason::Held => {
                let due = now + self.pause(index);
                self.stop(index);
                self.pairs[index].defer(due);
                return self.update_next_due();
            }
            _ => return self.put_off(now, partition, peer),
        }
        (pair.is_asked, pair.is_deferred) = (false, false);
        pair.differences = end.differences;
        if end.is_equal() {
            (pair.last_equal, pair.is_handed) = (Some(now), true);
        }
        self.pairs[index].due = now + self.pause(index);
        self.stop(index);
        self.update_next_due();
    }

    /// An exchange that [`Schedule::next`] gave cannot be now; it is tried again soon.
    pub fn put_off(&mut self, now: Instant, partition: Partition, peer: NodeId) {
        let retry = now + EXCHANGE_RETRY + self.fraction(EXCHANGE_RETRY);
        let retry = retry.min(now + self.jittered());
        let Some(index) = self.running(partition, peer) else { return };
        self.pairs[index].due = retry;
        self.stop(index);
        self.update_next_due();
    }

    /// The peer of an exchange said nothing for too long: most likely it hangs. The others with it
    /// wait, too, or they would take the turns of those whose peers are well.
    fn on_silent(&mut self, now: Instant, partition: Partition, peer: NodeId) {
        for index in 0..self.count {
            let due = now + self.pause(index);
            if key_of(&self.pairs[index]) == (partition, peer) {
                self.stop(index);
            }
            let pair = &mut self.pairs[index];
            if pair.peer == peer && !pair.is_running {
                pair.defer(due.max(pair.due));
            }
        }
        self.update_next_due();
    }

    /// None may begin until further notice: those that were asked for are deferred.
    pub fn defer_all(&mut self) {
        for pair in &mut self.pairs[..self.count] {
            pair.defer(pair.due);
        }
    }

    /// All pairs, or those of one partition, are due now, in order; or are deferred, if none `may`
    /// begin.
    pub fn repair(&mut self, now: Instant, partition: Option<Partition>, may: bool) {
        for pair in &mut self.pairs[..self.count] {
            if partition.is_none_or(|partition| partition == pair.partition) {
                pair.due = pair.due.min(now);
                (pair.is_asked, pair.is_deferred) = (may, !may);
            }
        }
        self.update_next_due();
    }

    /// The pairs with `peer` are due within a tenth of an interval: it is back. Those of which one
    /// waits for its copy, soon.
    pub fn on_peer_up(&mut self, now: Instant, peer: NodeId) {
        for index in 0..self.count {
            let is_handoff = self.pairs[index].handoff.is_some();
            let soon = if is_handoff { HANDOFF_SPREAD } else { self.interval / 10 };
            let soon = now + self.fraction(soon);
            let pair = &mut self.pairs[index];
            if pair.peer == peer {
                pair.due = pair.due.min(soon);
            }
        }
        self.update_next_due();
    }

    /// All pairs, ascending by partition and peer.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs[..self.count]
    }

    /// Where the pair is that runs.
    fn running(&self, partition: Partition, peer: NodeId) -> Option<usize> {
        let index = self.pairs().binary_search_by_key(&(partition, peer), key_of).ok()?;
        self.pairs[index].is_running.then_some(index)
    }

    /// It runs no longer.
    fn stop(&mut self, index: usize) {
        let pair = &mut self.pairs[index];
        pair.is_running = false;
        let slot = self.running.iter().position(|peer| *peer == pair.peer);
        self.running.swap_remove(slot.expect("it ran"));
    }

    /// How long a pair waits for its next turn: an interval, or not long if one of the two waits
    /// for its copy.
    fn pause(&mut self, index: usize) -> Duration {
        let jittered = self.jittered();
        let Pair { handoff, is_handed, .. } = self.pairs[index];
        match (handoff, is_handed) {
            (None, _) => jittered,
            (Some(_), true) => jittered.min(HANDOFF_AGAIN),
            (Some(_), false) => jittered.min(EXCHANGE_RETRY + self.fraction(EXCHANGE_RETRY)),
        }
    }

    fn update_next_due(&mut self) {
        self.next_due = self.waiting().map(|index| self.pairs[index].due).min();
    }

    /// The pairs that may begin. Not two of a partition at once: an empty copy would get all of it
    /// twice.
    fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        let pairs = &self.pairs[..self.count];
        pairs
            .chunk_by(|a, b| a.partition == b.partition)
            .scan(0, |begin, of_partition| {
                let first = *begin;
                *begin += of_partition.len();
                let is_busy = of_partition.iter().any(|pair| pair.is_running);
                let count = if is_busy { 0 } else { of_partition.len() };
                Some(first..first + count)
            })
            .flatten()
    }

    /// An interval, give or take a tenth.
    fn jittered(&mut self) -> Duration {
        self.interval * 9 / 10 + self.fraction(self.interval / 5)
    }

    /// Up to `whole`.
    fn fraction(&mut self, whole: Duration) -> Duration {
        Duration::from_micros(self.prng.below(whole.as_micros() as u64 + 1))
    }
}

fn key_of(pair: &Pair) -> (Partition, NodeId) {
    (pair.partition, pair.peer)
}
