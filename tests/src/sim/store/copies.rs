//! Whose records a store has: own copies, and hints for other nodes.

use super::*;

impl Store {
    /// All current records of `key`: the own copy, and the hints for others.
    pub(in super::super) fn copies(&self, key: &[u8]) -> impl Iterator<Item = &Entry> {
        self.copies_below(key, Place(u64::MAX))
    }

    fn copies_below(&self, key: &[u8], end: Place) -> impl Iterator<Item = &Entry> {
        let whose = |node| (key.to_vec(), NodeId(node));
        let indices = self.current.range(whose(0)..=whose(u32::MAX)).map(|(_, index)| *index);
        // What is erased in memory alone may be back after a crash; nobody counts on that.
        let kept = indices.filter(|index| !self.entries[*index].is_erasure());
        let entries = kept.filter_map(move |index| self.index_below(index, end));
        entries.map(|index| &self.entries[index]).filter(|entry| !entry.is_erasure())
    }

    /// That entry, or the latest one that it replaced, below `end`.
    pub(super) fn index_below(&self, mut index: usize, end: Place) -> Option<usize> {
        while self.entries[index].place >= end {
            index = self.entries[index].before?;
        }
        Some(index)
    }

    /// As [`Store::copies`], those that are claimed to outlive the process.
    pub(in super::super) fn written_copies(&self, key: &[u8]) -> impl Iterator<Item = &Entry> {
        self.copies_below(key, self.written)
    }

    /// As [`Store::copies`], those that are claimed to be on disk.
    pub(in super::super) fn synced_copies(&self, key: &[u8]) -> impl Iterator<Item = &Entry> {
        self.copies_below(key, self.claimed)
    }

    /// The nodes for which hints are kept.
    pub(in super::super) fn hint_targets(&self) -> Vec<NodeId> {
        self.log.hint_targets().map(|(target, ..)| target).collect()
    }

    /// What the log has for `key`, as it was appended.
    pub(super) fn find(&self, key: &Key<'_>) -> Option<usize> {
        let found = self.log.record_left(key).ok().flatten()?;
        let whose = (key.bytes.to_vec(), key.target);
        let is_it = |entry: &Entry| {
            // An equal one that came later may be gone.
            let is_there = entry.place <= found.place;
            is_there && entry.whose == whose && entry.record == found.record.bytes()
        };
        self.entries.iter().rposition(is_it)
    }

    /// After a restart hints that were dropped may be back, also older ones that others had
    /// replaced: a segment that was not merged since still has them.
    pub(super) fn find_hints(&mut self) {
        let hash_seed = self.config.identity.cluster.hash_seed();
        let hints: Vec<Whose> =
            self.current.keys().filter(|whose| whose.1 != NodeId(0)).cloned().collect();
        self.log.maps_mut().cold.set_judged(true);
        for whose in hints {
            let key = Key::new(&whose.0, hash_seed, PARTITION_BITS).kept_for(whose.1);
            // Nobody can tell one that was dropped from one that damage took.
            match self.find(&key) {
                Some(index) => drop(self.current.insert(whose, index)),
                None => drop(self.current.remove(&whose)),
            }
        }
        self.log.maps_mut().cold.set_judged(false);
    }

    /// What an append of `key` is about to replace, if that may be another one than the latest: a
    /// hint, or on a damaged disk.
    pub(super) fn found_before(&self, key: &Key<'_>) -> Option<usize> {
        if key.is_hint() || self.told_damage { self.find(key) } else { None }
    }
}
