//! Memory for operations that wait for cold records or for room in the log: one FIFO for each key,
//! and all deadlines in order, within a bound in operations and one in bytes.
//!
//! Invariants: every waiter of a FIFO has its deadline in the set and the other way round; there
//! is no empty FIFO.

use ringmain_core::drive::{End, Late, NoRoom, Parked, Waiter, Waiting};
use ringmain_core::limits::BODY_BYTES_MAX;
use ringmain_core::request::KeyPlace;
use ringmain_core::time::Instant;
use ringmain_core::wire::FIRST_BYTES;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Operations of one shard that wait at once.
pub const WAITING_COUNT_MAX: usize = 16 << 10;
/// Bytes of all of them. While half of it is taken, nothing is read from clients and peers of whom
/// something has waited; what would wait beyond it is refused as busy.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(WAITING_BYTES_MAX >= FIRST_BYTES + BODY_BYTES_MAX, "every frame can wait");

/// See the module.
#[derive(Debug)]
pub struct WaitingOperations {
    queues: BTreeMap<KeyPlace, Queue>,
    deadlines: BTreeSet<(Instant, u64, KeyPlace)>,
    /// Waiters so far; numbers them.
    latest: u64,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

/// What waits for one key.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    reads: u32,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    waiter: Waiter,
    bytes: Vec<u8>,
}

impl Default for WaitingOperations {
    fn default() -> WaitingOperations {
        WaitingOperations::new(WAITING_COUNT_MAX, WAITING_BYTES_MAX)
    }
}

impl WaitingOperations {
    /// Room for `count_max` operations and `bytes_max` bytes.
    pub fn new(count_max: usize, bytes_max: usize) -> WaitingOperations {
        WaitingOperations {
            queues: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            latest: 0,
            bytes: 0,
            count_max,
            bytes_max,
        }
    }

    /// Operations that wait.
    pub fn count(&self) -> usize {
        self.deadlines.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more than half of the room is taken: a driver that reads nothing from clients
    /// meanwhile does not have to refuse them.
    pub fn is_crowded(&self) -> bool {
        self.count() > self.count_max / 2 || self.bytes > self.bytes_max / 2
    }

    /// Makes `now` the deadline of all that `is_given_up` names, so that they end as late ones do,
    /// in bounded steps. Cost: one look at each waiter.
    pub fn give_up(&mut self, now: Instant, is_given_up: impl Fn(&Parked) -> bool) {
        for (key, queue) in &mut self.queues {
            let entries = queue.entries.iter_mut();
            for entry in entries.filter(|entry| is_given_up(&entry.waiter.parked)) {
                let Entry { number, waiter, .. } = entry;
                let had_deadline = self.deadlines.remove(&(waiter.deadline, *number, *key));
                assert!(had_deadline);
                waiter.deadline = waiter.deadline.min(now);
                self.deadlines.insert((waiter.deadline, *number, *key));
            }
        }
    }

    /// Takes the waiter at `index` of the FIFO of `key` out.
    fn remove(&mut self, key: KeyPlace, index: usize) -> Option<Entry> {
        let queue = self.queues.get_mut(&key)?;
        let entry = queue.entries.remove(index)?;
        if queue.entries.is_empty() {
            self.queues.remove(&key);
        }
        let had_deadline = self.deadlines.remove(&(entry.waiter.deadline, entry.number, key));
        assert!(had_deadline);
        self.bytes -= entry.bytes.len();
        Some(entry)
    }
}

impl Waiting for WaitingOperations {
    type Bytes = Vec<u8>;

    fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    fn contains(&self, key: KeyPlace) -> bool {
        self.queues.contains_key(&key)
    }

    fn push(
        &mut self,
        key: KeyPlace,
        end: End,
        waiter: Waiter,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom> {
        if self.count() == self.count_max || self.bytes + bytes > self.bytes_max {
            return Err(NoRoom);
        }
        let mut filled = vec![0; bytes];
        fill(&mut filled);
        self.latest += 1;
        let number = self.latest;
        self.deadlines.insert((waiter.deadline, number, key));
        self.bytes += bytes;
        let entry = Entry { number, waiter, bytes: filled };
        let entries = &mut self.queues.entry(key).or_default().entries;
        match end {
            End::Front => entries.push_front(entry),
            End::Back => entries.push_back(entry),
        }
        Ok(())
    }

    fn front(&self, key: KeyPlace) -> Option<(Waiter, &[u8])> {
        let entry = self.queues.get(&key)?.entries.front()?;
        Some((entry.waiter, &entry.bytes))
    }

    fn pop(&mut self, key: KeyPlace) -> Option<(Waiter, Vec<u8>)> {
        self.remove(key, 0).map(|entry| (entry.waiter, entry.bytes))
    }

    fn count_read(&mut self, key: KeyPlace) -> u32 {
        let Some(queue) = self.queues.get_mut(&key) else { return 0 };
        queue.reads += 1;
        queue.reads
    }

    fn forget_reads(&mut self, key: KeyPlace) {
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.reads = 0;
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _, _)| *at)
    }

    fn pop_late(&mut self, now: Instant) -> Option<Late<Vec<u8>>> {
        let (_, number, key) = self.deadlines.first().copied().filter(|(at, ..)| *at <= now)?;
        let mut entries = self.queues.get(&key)?.entries.iter();
        let index = entries.position(|entry| entry.number == number)?;
        let Entry { waiter, bytes, .. } = self.remove(key, index)?;
        Some(Late { key, waiter, bytes, was_first: index == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_core::id::{Partition, RequestId};
    use ringmain_core::prng::Prng;

    /// What is compared with the shipped queues: a list of all waiters, each with its key.
    type Naive = Vec<(KeyPlace, Waiter, Vec<u8>)>;

    fn key(number: u64) -> KeyPlace {
        KeyPlace { partition: Partition((number % 2) as u16), order: number / 2 }
    }

    fn waiter(number: u32, deadline: u64) -> Waiter {
        Waiter { parked: Parked::Write(RequestId(number)), deadline: Instant(deadline) }
    }

    fn take(naive: &mut Naive, index: Option<usize>) -> Option<(Waiter, Vec<u8>)> {
        index.map(|index| naive.remove(index)).map(|(_, waiter, bytes)| (waiter, bytes))
    }

    fn check(waiting: &WaitingOperations, naive: &Naive) {
        assert_eq!(waiting.is_empty(), naive.is_empty());
        assert_eq!(waiting.count(), naive.len());
        assert_eq!(waiting.bytes(), naive.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>());
        let deadlines = naive.iter().map(|(_, waiter, _)| waiter.deadline);
        assert_eq!(waiting.next_deadline(), deadlines.min());
        for key in (0..4).map(key) {
            let first = naive.iter().find(|(other, ..)| *other == key);
            let front = first.map(|(_, waiter, bytes)| (*waiter, bytes.as_slice()));
            assert_eq!(waiting.front(key), front);
            assert_eq!(waiting.contains(key), front.is_some());
        }
    }

    #[test]
    fn queues_and_deadlines_agree_with_a_plain_list() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut waiting = WaitingOperations::new(8, 100);
            let mut naive = Naive::new();
            for number in 0..200 {
                let key = key(prng.below(4));
                match prng.below(5) {
                    4 => {
                        let (now, part) = (Instant(prng.below(20)), prng.below(4) as u32);
                        let of = |parked: &Parked| match parked {
                            Parked::Write(op) => op.0 % 4 == part,
                            _ => unreachable!("they are all of one kind"),
                        };
                        waiting.give_up(now, of);
                        for (_, waiter, _) in naive.iter_mut().filter(|one| of(&one.1.parked)) {
                            waiter.deadline = waiter.deadline.min(now);
                        }
                    }
                    0 | 1 => {
                        let waiter = waiter(number, prng.below(20));
                        let bytes = vec![number as u8; prng.below(40) as usize];
                        let held: usize = naive.iter().map(|(_, _, bytes)| bytes.len()).sum();
                        let fits = naive.len() < 8 && held + bytes.len() <= 100;
                        let end = if prng.chance(30) { End::Front } else { End::Back };
                        let fill = |out: &mut [u8]| out.copy_from_slice(&bytes);
                        let pushed = waiting.push(key, end, waiter, bytes.len(), fill);
                        assert_eq!(pushed, if fits { Ok(()) } else { Err(NoRoom) });
                        let at = if end == End::Front { 0 } else { naive.len() };
                        if fits {
                            naive.insert(at, (key, waiter, bytes));
                        }
                    }
                    2 => {
                        let index = naive.iter().position(|(other, ..)| *other == key);
                        assert_eq!(waiting.pop(key), take(&mut naive, index));
                    }
                    _ => {
                        let now = Instant(prng.below(20));
                        let Some(late) = waiting.pop_late(now) else {
                            assert!(naive.iter().all(|(_, waiter, _)| waiter.deadline > now));
                            continue;
                        };
                        let Late { key, waiter, bytes, was_first } = late;
                        let earliest = naive.iter().map(|(_, waiter, _)| waiter.deadline).min();
                        assert_eq!(earliest, Some(waiter.deadline));
                        let index = naive.iter().position(|(_, other, _)| *other == waiter);
                        let first = naive.iter().position(|(other, ..)| *other == key);
                        assert_eq!(was_first, first == index);
                        assert_eq!(take(&mut naive, index), Some((waiter, bytes)));
                    }
                }
                check(&waiting, &naive);
            }
        }
    }

    #[test]
    fn the_bounds_are_met_exactly() {
        let mut waiting = WaitingOperations::new(3, 10);
        let mut push = |bytes| waiting.push(key(1), End::Back, waiter(1, 1), bytes, |_| {});
        assert_eq!(push(11), Err(NoRoom));
        assert_eq!([push(10), push(1), push(0)], [Ok(()), Err(NoRoom), Ok(())]);
        assert_eq!([push(0), push(0)], [Ok(()), Err(NoRoom)]);
    }

    #[test]
    fn more_than_half_is_crowded() {
        let mut waiting = WaitingOperations::new(4, 10);
        let mut push = |bytes| {
            waiting.push(key(1), End::Back, waiter(1, 1), bytes, |_| {}).unwrap();
            waiting.is_crowded()
        };
        assert_eq!([push(1), push(4), push(0)], [false, false, true]);
        let mut waiting = WaitingOperations::new(4, 10);
        waiting.push(key(1), End::Back, waiter(1, 1), 6, |_| {}).unwrap();
        assert!(waiting.is_crowded());
    }

    #[test]
    fn reads_are_counted_while_somebody_waits() {
        let mut waiting = WaitingOperations::default();
        assert_eq!(waiting.count_read(key(1)), 0);
        waiting.push(key(1), End::Back, waiter(1, 1), 0, |_| {}).unwrap();
        waiting.push(key(1), End::Back, waiter(2, 1), 0, |_| {}).unwrap();
        assert_eq!([waiting.count_read(key(1)), waiting.count_read(key(1))], [1, 2]);
        waiting.pop(key(1));
        assert_eq!(waiting.count_read(key(1)), 3);
        waiting.forget_reads(key(1));
        assert_eq!(waiting.count_read(key(1)), 1);
        waiting.pop(key(1));
        waiting.push(key(1), End::Back, waiter(1, 1), 0, |_| {}).unwrap();
        assert_eq!(waiting.count_read(key(1)), 1);
    }
}
