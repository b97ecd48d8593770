//! The log on a simulated disk.

mod background;
mod basic;
mod crash;
mod damage;
mod disk;
mod erasure;
mod hints;
mod mending;
mod scrub;
mod space;

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::causality::Record;
use ringmain_core::hash::Key;
use ringmain_core::id::{ClusterId, NodeId, ShardIndex};
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::prng::Prng;
use ringmain_core::records::Records;
use ringmain_core::wire::body::{Body, body_bytes, write_body};

use super::*;
use crate::checksum::Hardware;
use disk::{Disk, Ended, Fate};

pub(super) const BITS: u32 = 6;
pub(super) const FREE: u64 = 1 << 30;

/// The second of two shards, so that partitions do not begin at 0.
pub(super) fn identity() -> Identity {
    Identity { cluster: ClusterId(77), shard: ShardIndex(1), shards: 2, partition_bits: BITS }
}

pub(super) fn config(durability: Durability) -> Config {
    let sizes = SegmentSizes { min: 4096, max: 16384, spare: 0 };
    Config { identity: identity(), durability, sizes, seed: 9 }
}

pub(super) const MODES: [Durability; 3] =
    [Durability::Always, Durability::Interval(Duration::from_millis(10)), Durability::None];

/// The key of a name; `name@7` is the hint of `name` that is kept for node 7.
pub(super) fn key(name: &[u8]) -> Key<'_> {
    let at = name.iter().rposition(|byte| *byte == b'@');
    let (bytes, target) = name.split_at(at.unwrap_or(name.len()));
    let digit = target.get(1).map_or(0, |digit| u32::from(digit - b'0'));
    Key::new(bytes, identity().cluster.hash_seed(), BITS).kept_for(NodeId(digit))
}

/// `count` keys that belong to the shard.
pub(super) fn names(count: usize) -> Vec<Vec<u8>> {
    let all = (0..).map(|n| format!("key-{n}").into_bytes());
    let of_shard = |name: &Vec<u8>| ShardIndex::of(key(name).partition, 2, BITS) == ShardIndex(1);
    all.filter(of_shard).take(count).collect()
}

/// The same keys, every third of them kept for other nodes as well.
pub(super) fn with_hints(names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let kept = |(at, name): (usize, &Vec<u8>)| [name, &b"@3@4@5"[at % 9 / 3 * 2..][..2]].concat();
    let hints: Vec<_> = names.iter().enumerate().step_by(3).map(kept).collect();
    [names, hints].concat()
}

/// A Record v1 with one actor and one sibling: write number `n`, 1..2^28.
pub(super) fn record_of(n: u32, value: &[u8]) -> Vec<u8> {
    let varint = |mut n: u32| {
        let mut bytes = Vec::new();
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    let dot = (7u128 << 96 | 1 << 28 | u128::from(n)).to_be_bytes();
    let parts: [&[u8]; 8] = [
        &[1, 1],
        &dot,
        &[1, 0, 0],
        &varint(n),
        &5u64.to_le_bytes(),
        &varint(value.len() as u32),
        value,
        &[],
    ];
    parts.concat()
}

/// One append that succeeded; without a record, an erasure.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) name: Vec<u8>,
    pub(super) record: Vec<u8>,
    pub(super) mine: Option<u16>,
}

/// A log on a disk, what was appended to it, and what it has claimed.
pub(super) struct World {
    pub(super) log: Log<Disk>,
    pub(super) config: Config,
    pub(super) history: Vec<Entry>,
    /// The latest entry of each key.
    latest: BTreeMap<Vec<u8>, usize>,
    /// That many entries of the history were claimed synced.
    pub(super) claimed: usize,
    pub(super) now: Instant,
    /// The synced place of this life.
    synced: Place,
    /// Where the log was last stopped, if it was.
    stopped: Place,
    number: u32,
}

impl World {
    pub(super) fn new(config: Config) -> World {
        let recovered = recover(&config.identity, &[], Place(0)).unwrap();
        let log = Log::new(config, Disk::default(), recovered, FREE);
        let (synced, stopped) = (Place(0), Place(0));
        World {
            log,
            config,
            history: Vec::new(),
            latest: BTreeMap::new(),
            claimed: 0,
            now: Instant(0),
            synced,
            stopped,
            number: 0,
        }
    }

    /// A world whose log takes appends.
    pub(super) fn ready(config: Config) -> World {
        let mut world = World::new(config);
        world.settle();
        world
    }

    /// Appends a new record, checks that the log lends the current one, and notes the new.
    pub(super) fn append(&mut self, name: &[u8], value: &[u8]) -> Result<Place, Full> {
        self.number += 1;
        let record = record_of(self.number, value);
        let mine = self.number.is_multiple_of(3).then_some(0);
        let latest = self.latest.get(name).map(|at| self.history[*at].record.clone());
        let wanted = latest.filter(|record| !record.is_empty());
        let result = self.log.append(&key(name), mine, record.len(), |current, out| {
            assert_eq!(current.map(|stored| stored.record.bytes().to_vec()), wanted);
            out.copy_from_slice(&record);
        });
        let place = result?;
        self.note(Entry { place, name: name.to_vec(), record, mine });
        Ok(place)
    }

    /// As [`World::append`], of a body as a peer sends it.
    pub(super) fn append_received(&mut self, name: &[u8], value: &[u8]) -> Result<Place, Full> {
        self.number += 1;
        let record = record_of(self.number, value);
        let bytes = key(name).bytes;
        let mut body = vec![0; body_bytes(bytes.len(), record.len())];
        write_body::<Hardware>(bytes, &mut body, |out| out.copy_from_slice(&record));
        let place = self.log.append_received(&key(name), Body::without_checksum(&body).unwrap())?;
        let frame = self.log.frame(place).unwrap();
        assert_eq!(&frame[PLACE_BYTES..], body, "stored unchanged");
        assert_eq!(self.log.body(place).unwrap().bytes(), body);
        self.note(Entry { place, name: name.to_vec(), record, mine: None });
        Ok(place)
    }

    /// Erases what the log has of the name; whether it did, since it has something in memory.
    pub(super) fn erase(&mut self, name: &[u8]) -> Result<bool, Full> {
        let key = key(name);
        let found = self.log.record(&key).map(|found| found.map(|found| found.place));
        let Ok(Some(found)) = found else { return Ok(false) };
        let Some(place) = self.log.erase(&key, found)? else { return Ok(false) };
        assert!(self.log.record(&key).unwrap().is_none());
        assert_eq!(self.log.erase(&key, found), Ok(None), "it is gone");
        self.note(Entry { place, name: name.to_vec(), record: Vec::new(), mine: None });
        Ok(true)
    }

    fn note(&mut self, entry: Entry) {
        assert!(self.history.last().is_none_or(|last| last.place < entry.place));
        self.latest.insert(entry.name.clone(), self.history.len());
        self.history.push(entry);
    }

    /// The latest entry of each key that has one.
    pub(super) fn expected(&self) -> BTreeMap<Vec<u8>, &Entry> {
        let latest = self.latest.iter().map(|(name, at)| (name.clone(), &self.history[*at]));
        latest.filter(|(_, entry)| !entry.record.is_empty()).collect()
    }

    /// Polls once and hands requests to the disk.
    pub(super) fn submit(&mut self) {
        while let Some(request) = self.log.poll_request(self.now) {
            self.log.maps_mut().submit(request);
        }
        self.note_claims();
    }

    /// Lets the disk end one thing, chosen by `choice`.
    pub(super) fn complete(&mut self, choice: u64, fate: Fate) {
        match self.log.maps_mut().complete(choice, fate) {
            Some(Ended::Completion(completion)) => self.log.handle_completion(completion),
            Some(Ended::Read(read, result)) => drop(self.log.handle_read(read, result)),
            None => {}
        }
        self.note_claims();
    }

    fn note_claims(&mut self) {
        assert!(self.log.synced() <= self.log.written());
        assert!(self.log.written() <= self.log.end());
        let synced = self.log.synced();
        assert!(synced >= self.synced, "a claim is never taken back");
        self.synced = synced;
        let claimed = self.history.partition_point(|entry| entry.place < synced);
        self.claimed = self.claimed.max(claimed);
    }

    /// Polls and completes until nothing is left to do.
    pub(super) fn settle(&mut self) {
        loop {
            self.submit();
            if self.log.maps_mut().is_idle() {
                break;
            }
            self.complete(0, Fate::Whole);
        }
    }

    /// As [`World::settle`], and does all background work.
    pub(super) fn work(&mut self) {
        loop {
            self.settle();
            let is_done = !self.log.step();
            self.submit();
            if is_done && self.log.maps_mut().is_idle() {
                return;
            }
        }
    }

    /// Recovers from what the disk holds, checks that and goes on. Returns how many entries were
    /// lost.
    pub(super) fn reopen(&mut self) -> usize {
        let mut disk = std::mem::take(self.log.maps_mut());
        let recovered = recover(&self.config.identity, &disk.files(), self.stopped).unwrap();
        assert_eq!(recovered.damage, []);
        let end = recovered.end();
        disk.give_back_rest(end);
        let kept = self.history.partition_point(|entry| entry.place < end);
        self.forget_erased(kept);
        let kept = self.history.partition_point(|entry| entry.place < end);
        assert!(kept >= self.claimed, "{kept} of {} claimed are left", self.claimed);
        let lost = self.history.len() - kept;
        self.history.truncate(kept);
        self.latest = self.history.iter().map(|entry| entry.name.clone()).zip(0..).collect();
        self.config.seed += 1;
        self.synced = Place(0);
        let free_bytes = disk.free_bytes();
        self.log = Log::new(self.config, disk, recovered, free_bytes);
        self.check();
        lost
    }

    /// Erasures that were claimed, and all that they erase, may be gone from the log's end.
    fn forget_erased(&mut self, kept: usize) {
        let claimed = self.claimed;
        let mut last = BTreeMap::new();
        for (at, entry) in self.history[..claimed].iter().enumerate() {
            last.insert(entry.name.clone(), (at, entry.record.is_empty()));
        }
        let gone = |at: usize, name: &Vec<u8>| {
            let erasure = last
                .get(name)
                .filter(|(erasure, is_erasure)| *is_erasure && *erasure >= kept && at <= *erasure);
            erasure.is_some()
        };
        let entries = std::mem::take(&mut self.history);
        for (at, entry) in entries.into_iter().enumerate() {
            match gone(at, &entry.name) {
                true => self.claimed -= usize::from(at < claimed),
                false => self.history.push(entry),
            }
        }
    }

    /// Compares everything that can be read with the history, leaves included.
    pub(super) fn check(&mut self) {
        let expected: BTreeMap<_, _> =
            self.expected().into_iter().map(|(name, entry)| (name, entry.clone())).collect();
        let is_hint = |name: &&Vec<u8>| key(name).is_hint();
        let hint_count = expected.keys().filter(is_hint).count();
        assert_eq!(self.log.key_count(), expected.len() - hint_count);
        let kept: usize = self.log.hint_targets().map(|(_, count, _)| count).sum();
        assert_eq!(kept, hint_count);
        // A hint may name any key at any time; what follows must find everything as it was.
        let names: Vec<_> = (0..64).map(|n| format!("key-{n}").into_bytes()).collect();
        self.log.prefetch(&names.iter().map(|name| key(name)).collect::<Vec<_>>());
        let mut leaves: BTreeMap<Partition, Vec<u64>> = BTreeMap::new();
        let mut places: BTreeMap<Partition, Vec<(u64, Place)>> = BTreeMap::new();
        for entry in expected.values() {
            self.check_read(&entry.name, Some(entry));
            let key = key(&entry.name);
            if key.is_hint() {
                continue;
            }
            let of_partition =
                leaves.entry(key.partition).or_insert_with(|| vec![0; MERKLE_LEAF_COUNT]);
            let leaf = &mut of_partition[(key.order >> 52) as usize];
            let record = Record::new_checked(&entry.record).unwrap();
            *leaf = leaf.wrapping_add(record.version(&key));
            places.entry(key.partition).or_default().push((key.order, entry.place));
        }
        let (first, count) = self.config.identity.partitions();
        for number in 0..count as u16 {
            let partition = Partition(first.0 + number);
            let mut wanted = places.remove(&partition).unwrap_or_default();
            wanted.sort();
            let found: Vec<_> = self.log.keys_from(partition, 0).collect();
            assert!(found.iter().zip(&wanted).all(|(found, wanted)| found.1 >= wanted.1));
            let orders =
                |places: &[(u64, Place)]| places.iter().map(|one| one.0).collect::<Vec<_>>();
            assert_eq!(orders(&found), orders(&wanted));
        }
        self.check_leaves(&leaves);
        for entry in &self.history {
            // Segments that were merged away are gone.
            let Ok((name, stored)) = self.log.record_at(entry.place) else { continue };
            assert!(!entry.record.is_empty(), "an erasure is no record");
            assert_eq!((name, stored.record.bytes()), (key(&entry.name).bytes, &entry.record[..]));
        }
    }

    /// The log only rebuilds leaves; in operation `execute` maintains them. So they are compared
    /// after a reopen, and brought up to date by it.
    fn check_leaves(&mut self, wanted: &BTreeMap<Partition, Vec<u64>>) {
        let disk = self.log.maps_mut();
        if !disk.is_synced() {
            return;
        }
        let recovered = recover(&self.config.identity, &disk.files(), Place(0)).unwrap();
        if recovered.end() < self.history.last().map_or(Place(0), |entry| entry.place) {
            return;
        }
        let Recovered { mut leaves, .. } = recovered;
        let (first, count) = self.config.identity.partitions();
        for number in 0..count as u16 {
            let partition = Partition(first.0 + number);
            let zero = vec![0; MERKLE_LEAF_COUNT];
            assert_eq!(leaves.of(partition), wanted.get(&partition).unwrap_or(&zero));
        }
    }

    pub(super) fn check_read(&self, name: &[u8], wanted: Option<&Entry>) {
        let found = self.log.record(&key(name)).unwrap();
        assert_eq!(found.is_some(), wanted.is_some(), "{:?}", String::from_utf8_lossy(name));
        if let (Some(found), Some(wanted)) = (found, wanted) {
            assert!(found.place >= wanted.place, "at its place, or moved");
            assert_eq!(found.mine, wanted.mine);
            assert_eq!(found.record.bytes(), wanted.record);
        }
    }
}

/// A value of `bytes` bytes that looks like log frames here and there.
pub(super) fn value(prng: &mut Prng, bytes: usize) -> Vec<u8> {
    let mut value: Vec<u8> = (0..bytes).map(|_| prng.next_u64() as u8).collect();
    if bytes > 0 && prng.chance(20) {
        value.fill(record::FRAME_FIRST_BYTE);
    }
    value
}
