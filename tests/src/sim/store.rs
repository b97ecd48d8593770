//! A shard's store: the shipped log on a simulated disk, beside a plain list of everything that
//! was appended to it, against which every read is compared.

mod copies;
mod copy;
mod records;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::causality::Record;
use ringmain_core::hash::Key;
use ringmain_core::id::{ClusterId, NodeId, Partition, RequestId, ShardIndex};
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::{Full, Place, Records, Stored, Unread, leaf_index};
use ringmain_core::time::Instant;
use ringmain_core::wire::body::{Body, body_bytes};
use ringmain_core::wire::place::PLACE_BYTES;
use ringmain_runtime::log::{
    self, Completion, Config, Identity, Log, Request, SegmentSizes, Wanted, recover,
};

pub(super) use copy::DiskCopy;

use super::bodies::Applied;
use super::disk::{Disk, Ended, Fate};
use super::network::Site;
use super::oracle::{Invariant, Set, Violation};
use super::outbox::PARTITION_BITS;
use super::random::Random;
use super::swarm::{Durability, Swarm};

/// Between two looks for space on a full disk.
const SPACE_PAUSE: Duration = Duration::from_millis(200);

/// Steps of background work whenever the log is asked what it wants.
const STEP_COUNT: usize = 2;

/// Appends between two sweeps.
const SWEEP_PAUSE: usize = 40;

/// Whose record: a key, and the node for which it is kept, 0 for the own copy.
type Whose = (Vec<u8>, NodeId);

/// A record that was appended, or an erasure.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    place: Place,
    whose: Whose,
    /// Empty: an erasure.
    record: Vec<u8>,
    mine: Option<u16>,
    /// The entry of the same key and node that it replaced.
    before: Option<usize>,
    /// The request that it is an event of, if it is one.
    pub(super) op: Option<RequestId>,
    /// Its exact history, once the oracle has seen it.
    pub(super) history: Option<Set>,
}

impl Entry {
    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        &self.whose.0
    }

    /// The node for which it is kept; 0 for the own copy.
    pub(super) fn target(&self) -> NodeId {
        self.whose.1
    }

    /// Whether it erases what was there.
    pub(super) fn is_erasure(&self) -> bool {
        self.record.is_empty()
    }

    /// The record.
    ///
    /// # Panics
    /// If it is an erasure.
    pub(super) fn record(&self) -> Record<'_> {
        Record::new_checked(&self.record).expect("a record was appended")
    }
}

/// See the module.
pub(super) struct Store {
    log: Log<Disk>,
    config: Config,
    entries: Vec<Entry>,
    current: BTreeMap<Whose, usize>,
    /// Where entries begin that were lost when the log was opened and may come back; none once
    /// something was appended since.
    ghosts: Option<usize>,
    /// Entries that the oracle has seen.
    seen: usize,
    /// Shared with the memory for requests in flight.
    pub(super) applied: Applied,
    /// Everything below was claimed to be on disk, in this life or an earlier one.
    claimed: Place,
    /// Everything below was claimed to outlive the process.
    written: Place,
    /// What the machine was told of it: written, and on disk.
    told: (Place, Place),
    told_failure: bool,
    /// When to look for space again, while the disk is full.
    next_space: Option<Instant>,
    /// The damage of its disk was told.
    told_damage: bool,
    /// Damaged records that were not lent.
    unread: Cell<u32>,
    /// The next sweep begins with so many entries.
    next_sweep: usize,
    /// A hint was dropped that is where it should be.
    pub(super) has_dropped: bool,
    /// A damaged record was given up for another owner's.
    pub(super) has_given_up: bool,
    /// Appends, per mille, that are refused for now.
    pub(super) busy: u32,
    random: Random,
}

/// What the machine must hear of its log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum News {
    /// It is written below the first place, and on disk below the second.
    Stored(Place, Place),
    /// It failed.
    Failed,
}

impl Store {
    /// An empty store at `site`.
    pub(super) fn new(swarm: &Swarm, site: Site, cluster: ClusterId, mut random: Random) -> Store {
        let identity = Identity {
            cluster,
            shard: ShardIndex(site.shard as u16),
            shards: swarm.shards[site.node],
            partition_bits: PARTITION_BITS,
        };
        let durability = match swarm.durability {
            Durability::Always => log::Durability::Always,
            Durability::Interval(interval) => log::Durability::Interval(interval),
            Durability::None => log::Durability::None,
        };
        let sizes = SegmentSizes { min: 4096, max: swarm.disk.segment_bytes, spare: 0 };
        let config = Config { identity, durability, sizes, seed: random.bits() };
        let recovered = recover(&identity, &[], Place(0)).expect("no files have no damage");
        let may_damage = swarm.disk.victims >> site.node & 1 == 1;
        let disk = Disk::new(swarm, may_damage, &mut random);
        let free_bytes = disk.free_bytes();
        Store {
            log: Log::new(config, disk, recovered, free_bytes),
            config,
            entries: Vec::new(),
            current: BTreeMap::new(),
            ghosts: None,
            seen: 0,
            applied: Applied::default(),
            claimed: Place(0),
            written: Place(0),
            told: (Place(0), Place(0)),
            told_failure: false,
            next_space: None,
            told_damage: false,
            unread: Cell::new(0),
            next_sweep: SWEEP_PAUSE,
            has_dropped: false,
            has_given_up: false,
            busy: swarm.disk.busy,
            random,
        }
    }

    /// How many records were appended, lost ones aside.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// A turn begins: with time, other records are in memory.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.log.maps_mut().cold.set_now(now);
    }

    /// The log, for what it wants of its driver.
    pub(super) fn log(&mut self) -> &mut Log<Disk> {
        &mut self.log
    }

    /// A record was read into memory.
    pub(super) fn on_fetched(&mut self, wanted: &Wanted) {
        let place = wanted.place;
        self.log.on_fetched(wanted.key, place);
        self.log.maps_mut().cold.on_fetched(place);
        let found = self.log.record_at(place);
        if let Ok((key, stored)) = found {
            let bytes = PLACE_BYTES + body_bytes(key.len(), stored.record.bytes().len());
            self.log.maps_mut().reread(place, bytes);
        }
    }

    /// The next request of the log, as the disk numbers it; none when there is nothing to do.
    /// The second half says whether it is a small write for whose sync nobody waits.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(u64, bool)> {
        self.look_for_space(now);
        if self.entries.len() >= self.next_sweep {
            self.log.begin_sweep(false);
            self.next_sweep = self.entries.len() + SWEEP_PAUSE;
        }
        for _ in 0..STEP_COUNT {
            self.log.step();
        }
        loop {
            let request = self.log.poll_request(now)?;
            let small = |request: &Request| match request {
                Request::Write { buffer, then_sync, .. } => !then_sync && buffer.len() <= 16 << 10,
                _ => false,
            };
            let inline = small(&request);
            if let Some(number) = self.log.maps_mut().submit(request) {
                return Some((number, inline));
            }
        }
    }

    /// Request `number` ends; the number of a sync that was linked behind it.
    pub(super) fn complete(&mut self, number: u64, fate: Fate) -> Option<u64> {
        let (completion, linked) = match self.log.maps_mut().complete(number, fate) {
            Ended::Completion(completion, linked) => (completion, linked),
            Ended::Read(read, result) => {
                self.log.handle_read(read, result);
                return None;
            }
        };
        self.log.handle_completion(completion);
        if matches!(completion, Completion::Created { result: Ok(()), .. }) {
            let free_bytes = self.log.maps_mut().free_bytes();
            self.log.offer_space(free_bytes);
        }
        linked
    }

    /// While there is no room for further segments, looks for it from time to time.
    fn look_for_space(&mut self, now: Instant) {
        let is_due = self.next_space.is_none_or(|at| at <= now);
        match self.log.wants_space() {
            false => self.next_space = None,
            true if is_due => {
                let free_bytes = self.log.maps_mut().free_bytes();
                self.log.offer_space(free_bytes);
                self.next_space = Some(now + SPACE_PAUSE);
            }
            true => {}
        }
    }

    /// Request `number` is about to end: whether the mix says that it fails.
    pub(super) fn is_failing(&mut self, number: u64) -> bool {
        self.log.maps_mut().is_failing(number)
    }

    /// The disk, for what else goes wrong with it.
    pub(super) fn disk(&mut self) -> &mut Disk {
        self.log.maps_mut()
    }

    /// Whether its disk has lost something since the last call.
    pub(super) fn take_damaged(&mut self) -> bool {
        let is_damaged = self.log.maps_mut().is_damaged();
        !std::mem::replace(&mut self.told_damage, is_damaged) && is_damaged
    }

    /// What the machine has not heard yet.
    pub(super) fn news(&mut self) -> Option<News> {
        let (written, synced) = (self.log.written(), self.log.synced());
        if (written, synced) != self.told {
            assert!(synced <= written && written <= self.log.end());
            self.told = (written, synced);
            self.claimed = self.claimed.max(synced);
            self.written = self.written.max(written);
            return Some(News::Stored(written, synced));
        }
        let failed = self.log.failure().is_some() && !self.told_failure;
        self.told_failure |= failed;
        failed.then_some(News::Failed)
    }

    /// Whether the log takes nothing any more.
    pub(super) fn has_failed(&self) -> bool {
        self.log.failure().is_some()
    }

    /// When [`Store::on_timeout`] has something to do.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let space = self.next_space.filter(|_| self.log.wants_space());
        self.log.poll_timeout().into_iter().chain(space).min()
    }

    /// Does what is due.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.log.poll_timeout().is_some_and(|at| at <= now) {
            self.log.handle_timeout(now);
        }
    }

    /// S1: the process ends, and its successor recovers from what the disk holds: all that was
    /// claimed to be stored, and of the rest a first part. Returns how many records were lost;
    /// none if the disk is damaged and the log cannot go on: then the store stays as it was.
    pub(super) fn restart(
        &mut self,
        power_loss: bool,
        random: &mut Random,
    ) -> Result<Option<usize>, Violation> {
        let mut disk = std::mem::take(self.log.maps_mut());
        disk.crash(power_loss, random);
        let seed = random.bits();
        let is_damaged = disk.is_damaged();
        let lost_claim = |text: String| Err(Violation::new(Invariant::NoLostWrite, text));
        let recovered = match recover(&self.config.identity, &disk.files(), Place(0)) {
            Ok(recovered) => recovered,
            Err(_) if is_damaged => {
                *self.log.maps_mut() = disk;
                return Ok(None);
            }
            Err(error) => return lost_claim(format!("recovery fails: {error}")),
        };
        if !is_damaged && !recovered.damage.is_empty() {
            return lost_claim(format!("recovery finds damage: {:?}", recovered.damage));
        }
        let end = recovered.end();
        let kept = self.entries.partition_point(|entry| entry.place < end);
        let claimed = if power_loss { self.claimed } else { self.written };
        // What was erased may be gone, the last of all records among it.
        let below = self.current.values().filter_map(|index| self.index_below(*index, claimed));
        let last = below.filter(|index| !self.entries[*index].is_erasure()).max();
        let claimed = last.map_or(0, |last| last + 1);
        self.config.seed = seed;
        let (free_bytes, is_cut) = (disk.free_bytes(), kept < claimed);
        // Of what no later header vouches for, damage looks like a torn tail.
        if is_cut && !disk.is_damaged_from(end) {
            return lost_claim(format!("{kept} records recovered, {claimed} were claimed stored"));
        }
        self.log = Log::new(self.config, disk, recovered, free_bytes);
        self.check_reads(kept)?;
        if is_cut {
            return Ok(None);
        }
        let erased = self.erased_whole(kept);
        let lost = self.entries.len() - kept;
        // A segment whose hints all were dropped may have left, and come back with them when what
        // said so is lost.
        self.ghosts = Some(kept);
        if self.entries[kept..].iter().any(|entry| entry.target() == NodeId(0)) {
            self.entries.truncate(kept);
        }
        self.seen = self.seen.min(self.entries.len());
        self.current = self.entries.iter().map(|entry| entry.whose.clone()).zip(0..).collect();
        self.current.retain(|whose, _| !erased.contains(whose));
        self.find_hints();
        (self.told, self.told_failure, self.next_space) = Default::default();
        self.written = end;
        Ok(Some(lost))
    }

    /// S2: every key has its latest of the first `kept` records, or cannot be read, which needs
    /// damage or memory. One that had later records on disk may have gone back further, to an
    /// older one or none: a snapshot does not list what they replaced.
    fn check_reads(&mut self, kept: usize) -> Result<(), Violation> {
        let hash_seed = self.config.identity.cluster.hash_seed();
        let (left, cut) = self.entries.split_at(kept);
        let erased = self.erased_whole(kept);
        let mut unread = 0;
        for whose in self.current.keys().filter(|whose| whose.1 == NodeId(0)) {
            let key = &whose.0;
            let found = match self.log.record(&Key::new(key, hash_seed, PARTITION_BITS)) {
                Err(Unread::Cold) => continue,
                Err(Unread::Damaged) => {
                    unread += 1;
                    continue;
                }
                Ok(found) => found.map(|one| (one.record.bytes(), one.mine)),
            };
            let of_key = left.iter().rev().filter(|entry| entry.whose == *whose);
            let is_gone = |entry: &Entry| entry.is_erasure() || erased.contains(whose);
            let mut older =
                of_key.map(|entry| (!is_gone(entry)).then_some((&entry.record[..], entry.mine)));
            let is_cut = |entry: &Entry| entry.whose == *whose && entry.place < self.claimed;
            let is_cut = cut.iter().any(is_cut);
            let is_known = match is_cut {
                true => found.is_none() || older.any(|one| one == found),
                false => found == older.next().flatten(),
            };
            if !is_known {
                let text = format!("{key:?} is {found:?} after a restart");
                return Err(Violation::new(Invariant::NoInvention, text));
            }
        }
        if unread > 0 && !self.log.maps_mut().is_damaged() {
            let text = "a record is damaged on a sound disk";
            return Err(Violation::new(Invariant::NoLostWrite, text));
        }
        self.unread.set(self.unread.get() + unread);
        Ok(())
    }

    /// Of the keys whose erasure was claimed to be on disk: those whose last of the first `kept`
    /// entries is older. The end of the log may be gone with all that they erased.
    fn erased_whole(&self, kept: usize) -> Vec<Whose> {
        let is_whole = |(_, index): &(&Whose, &usize)| {
            let below = self.index_below(**index, self.claimed);
            below.is_some_and(|index| index >= kept && self.entries[index].is_erasure())
        };
        self.current.iter().filter(is_whole).map(|(whose, _)| whose.clone()).collect()
    }

    /// How often a damaged record was not lent since the last call.
    pub(super) fn take_unread(&mut self) -> u32 {
        self.unread.take()
    }

    /// L1: every partition's tree, as the log kept it up to date, matches the records in it.
    /// Returns the trees of the partitions that have keys.
    pub(super) fn checked_leaves(
        &mut self,
        hash_seed: u64,
    ) -> Result<BTreeMap<Partition, Vec<u64>>, Violation> {
        let mut trees: BTreeMap<Partition, Vec<u64>> = BTreeMap::new();
        let is_own = |(whose, index): &(&Whose, &usize)| {
            whose.1 == NodeId(0) && !self.entries[**index].is_erasure()
        };
        for ((key, _), index) in self.current.iter().filter(is_own) {
            let key = Key::new(key, hash_seed, PARTITION_BITS);
            let tree = trees.entry(key.partition).or_insert_with(|| vec![0; MERKLE_LEAF_COUNT]);
            let leaf = &mut tree[leaf_index(&key)];
            *leaf = leaf.wrapping_add(self.entries[*index].record().version(&key));
        }
        match trees.iter().find(|(partition, tree)| self.log.leaves(**partition) != *tree) {
            None => Ok(trees),
            Some((partition, _)) => {
                let detail = format!("the tree of partition {} is wrong", partition.0);
                Err(Violation::new(Invariant::Convergence, detail))
            }
        }
    }

    /// The current record of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let index = self.current.get(&(key.to_vec(), NodeId(0)))?;
        Some(&self.entries[*index]).filter(|entry| !entry.is_erasure())
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

    fn push(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        new: (Vec<u8>, Option<usize>),
        place: Place,
    ) -> Place {
        let is_above = |entries: &[Entry]| entries.last().is_none_or(|last| last.place < place);
        if let Some(kept) = self.ghosts.take()
            && !is_above(&self.entries)
        {
            // Their segment goes on instead.
            self.entries.truncate(kept);
            self.seen = self.seen.min(kept);
        }
        assert!(is_above(&self.entries), "places only grow");
        let whose = (key.bytes.to_vec(), key.target);
        let current = self.current.insert(whose.clone(), self.entries.len());
        let (record, hint) = new;
        let before = if key.is_hint() || self.told_damage { hint } else { current };
        let op = self.applied.take();
        self.entries.push(Entry { place, whose, record, mine, before, op, history: None });
        place
    }

    fn refuses(&mut self) -> bool {
        self.busy > 0 && self.random.chance(self.busy)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("entries", &self.entries).finish_non_exhaustive()
    }
}
