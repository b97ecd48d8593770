//! Memory for operations that wait, as plain lists.

use super::*;

/// FIFOs with a bound in waiters of all keys.
pub(super) struct Queues {
    waiters: Vec<(KeyPlace, Waiter, Vec<u8>)>,
    reads: BTreeMap<KeyPlace, u32>,
    pub(super) count_max: usize,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues { waiters: Vec::new(), reads: BTreeMap::new(), count_max: 1000 }
    }
}

impl Queues {
    pub(super) fn count(&self) -> usize {
        self.waiters.len()
    }

    fn first(&self, key: KeyPlace) -> Option<usize> {
        self.waiters.iter().position(|(other, ..)| *other == key)
    }

    fn take(&mut self, index: usize) -> (Waiter, Vec<u8>) {
        let (key, waiter, bytes) = self.waiters.remove(index);
        if !self.contains(key) {
            self.reads.remove(&key);
        }
        (waiter, bytes)
    }
}

impl Waiting for Queues {
    type Bytes = Vec<u8>;

    fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    fn contains(&self, key: KeyPlace) -> bool {
        self.first(key).is_some()
    }

    fn push(
        &mut self,
        key: KeyPlace,
        end: End,
        waiter: Waiter,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom> {
        if self.waiters.len() == self.count_max {
            return Err(NoRoom);
        }
        let mut filled = vec![0; bytes];
        fill(&mut filled);
        let index = if end == End::Front { 0 } else { self.waiters.len() };
        self.waiters.insert(index, (key, waiter, filled));
        Ok(())
    }

    fn front(&self, key: KeyPlace) -> Option<(Waiter, &[u8])> {
        let (_, waiter, bytes) = &self.waiters[self.first(key)?];
        Some((*waiter, bytes))
    }

    fn pop(&mut self, key: KeyPlace) -> Option<(Waiter, Vec<u8>)> {
        self.first(key).map(|index| self.take(index))
    }

    fn count_read(&mut self, key: KeyPlace) -> u32 {
        let reads = self.reads.entry(key).or_default();
        *reads += 1;
        *reads
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.waiters.iter().map(|(_, waiter, _)| waiter.deadline).min()
    }

    fn forget_reads(&mut self, key: KeyPlace) {
        self.reads.remove(&key);
    }

    fn pop_late(&mut self, now: Instant) -> Option<Late<Vec<u8>>> {
        let at = self.next_deadline().filter(|at| *at <= now)?;
        let index = self.waiters.iter().position(|(_, waiter, _)| waiter.deadline == at)?;
        let key = self.waiters[index].0;
        let was_first = self.first(key) == Some(index);
        let (waiter, bytes) = self.take(index);
        Some(Late { key, waiter, bytes, was_first })
    }
}
