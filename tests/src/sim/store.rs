//! A shard's store: a log in memory that is a disk in one respect: what was not synced can be
//! lost. It checks what the real log promises: places grow, and a record below the synced place
//! survives.

use std::collections::BTreeMap;

use ringmain_core::causality::Record;
use ringmain_core::checksum::Software;
use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::{Full, Place, Records, Stored, Unread, leaf_index};
use ringmain_core::wire::body::{Body, body_bytes, write_body};

use super::oracle::Set;
use super::random::Random;

/// A record of the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    mine: Option<u16>,
    body: Vec<u8>,
    /// The entry of the same key that it replaced.
    before: Option<usize>,
    /// Its exact history, once the oracle has seen it.
    pub(super) history: Option<Set>,
}

impl Entry {
    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        self.parsed().key()
    }

    /// The record.
    pub(super) fn record(&self) -> Record<'_> {
        Record::new_checked(self.parsed().payload()).expect("a record was stored")
    }

    fn parsed(&self) -> Body<'_> {
        Body::without_checksum(&self.body).expect("a body was stored")
    }
}

/// See the module. The place of an entry is its number, counted from 1.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: Vec<Entry>,
    current: BTreeMap<Vec<u8>, usize>,
    synced: usize,
    leaves: BTreeMap<Partition, Vec<u64>>,
    /// Appends, per mille, that are refused for now.
    pub(super) busy: u32,
    random: Option<Random>,
    /// Entries that the oracle has seen.
    seen: usize,
}

impl Store {
    /// An empty store that draws its refusals from `random`.
    pub(super) fn new(busy: u32, random: Random) -> Store {
        Store { busy, random: Some(random), ..Store::default() }
    }

    /// The place behind the last record.
    pub(super) fn end(&self) -> Place {
        Place(self.entries.len() as u64 + 1)
    }

    /// Everything below is on disk.
    pub(super) fn synced(&self) -> Place {
        Place(self.synced as u64 + 1)
    }

    /// A sync that began when the log ended at `up_to` is done.
    pub(super) fn on_synced(&mut self, up_to: Place) {
        self.synced = self.synced.max(up_to.0 as usize - 1);
        assert!(self.synced <= self.entries.len());
    }

    /// No key was ever stored.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The process ends and its successor finds what is left: everything, or, where the power
    /// failed, a part of what was not synced. Returns how many records were lost. `place` says
    /// where keys belong now, for the trees.
    pub(super) fn restart(&mut self, power_loss: bool, random: &mut Random) -> usize {
        let unsynced = self.entries.len() - self.synced;
        let lost = if power_loss { random.below(unsynced + 1) } else { 0 };
        self.entries.truncate(self.entries.len() - lost);
        self.synced = self.entries.len();
        self.seen = self.seen.min(self.entries.len());
        self.leaves.clear();
        self.current.clear();
        for (index, entry) in self.entries.iter().enumerate() {
            self.current.insert(entry.key().to_vec(), index);
        }
        lost
    }

    /// Computes the trees from the records, as a start does.
    pub(super) fn rebuild_leaves(&mut self, hash_seed: u64, partition_bits: u32) {
        self.leaves = self.computed_leaves(hash_seed, partition_bits);
    }

    /// The trees, computed from the records.
    pub(super) fn computed_leaves(
        &self,
        hash_seed: u64,
        bits: u32,
    ) -> BTreeMap<Partition, Vec<u64>> {
        let mut leaves: BTreeMap<Partition, Vec<u64>> = BTreeMap::new();
        for (key, index) in &self.current {
            let key = Key::new(key, hash_seed, bits);
            let tree = leaves.entry(key.partition).or_insert_with(|| vec![0; MERKLE_LEAF_COUNT]);
            let leaf = &mut tree[leaf_index(&key)];
            *leaf = leaf.wrapping_add(self.entries[*index].record().version(&key));
        }
        leaves
    }

    /// The trees as they were kept up to date, those without any key left out.
    pub(super) fn kept_leaves(&self) -> BTreeMap<Partition, Vec<u64>> {
        let used = self.leaves.iter().filter(|(_, tree)| tree.iter().any(|leaf| *leaf != 0));
        used.map(|(partition, tree)| (*partition, tree.clone())).collect()
    }

    /// The current record of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.current.get(key).map(|index| &self.entries[*index])
    }

    /// The latest record of `key` that is on disk.
    pub(super) fn get_synced(&self, key: &[u8]) -> Option<&Entry> {
        let mut index = *self.current.get(key)?;
        while index >= self.synced {
            index = self.entries[index].before?;
        }
        Some(&self.entries[index])
    }

    /// The next entry that the oracle has not seen: it, and the one that it replaced.
    pub(super) fn unseen(&self) -> Option<(&Entry, Option<&Entry>)> {
        let entry = self.entries.get(self.seen)?;
        Some((entry, entry.before.map(|before| &self.entries[before])))
    }

    /// The oracle has seen the next entry, and knows its history.
    pub(super) fn on_seen(&mut self, history: Set) {
        self.entries[self.seen].history = Some(history);
        self.seen += 1;
    }

    fn push(&mut self, key: &Key<'_>, mine: Option<u16>, body: Vec<u8>) -> Place {
        let before = self.current.insert(key.bytes.to_vec(), self.entries.len());
        self.entries.push(Entry { mine, body, before, history: None });
        Place(self.entries.len() as u64)
    }

    fn refuses(&mut self) -> bool {
        let busy = self.busy;
        busy > 0 && self.random.as_mut().is_some_and(|random| random.chance(busy))
    }
}

impl Records for Store {
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let Some(index) = self.current.get(key.bytes) else { return Ok(None) };
        let entry = &self.entries[*index];
        let place = Place(*index as u64 + 1);
        Ok(Some(Stored { record: entry.record(), mine: entry.mine, place }))
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        let mut body = vec![0; body_bytes(key.bytes.len(), bytes)];
        let old = self.record(key).expect("this store reads everything");
        write_body::<Software>(key.bytes, &mut body, |out| fill(old, out));
        Ok(self.push(key, mine, body))
    }

    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full> {
        if self.refuses() {
            return Err(Full::Busy);
        }
        Ok(self.push(key, None, body.bytes().to_vec()))
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        Ok(self.entries[place.0 as usize - 1].parsed())
    }

    fn leaves(&mut self, partition: Partition) -> &mut [u64] {
        self.leaves.entry(partition).or_insert_with(|| vec![0; MERKLE_LEAF_COUNT])
    }
}
