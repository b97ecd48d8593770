//! Another number of shards: before a node starts, the records of all its logs move to logs of
//! the new layout.
//!
//! *Problem.* A shard's log holds the partitions that the shard count gives it, and its segments
//! say so; with another count nearly every log is another one. *Answer.* Every current record,
//! tombstones too, is copied unchanged (with its `mine` and its checksum) from the old logs into
//! new ones beside them, in runs of some million records in the order of the old log, so that
//! reads are mostly sequential and memory is bounded. Old logs are only read. Then one atomic
//! replacement of the file `identity` says that the new folders count, and they take their names.
//!
//! | step | what is done | if power fails here |
//! |---|---|---|
//! | 1 | remove every `new-shard-NNN` | as before; the next start removes the rest |
//! | 2 | open all old logs, look for damage and free space | nothing changed |
//! | 3 | fill each `new-shard-NNN`, stop its log, sync | as before: the next start is at step 1 |
//! | 4 | replace `identity`: new count, marked | the old one or the marked one holds |
//! | 5 | each `new-shard-NNN` replaces `shard-NNN` | the mark stands: the next start goes on |
//! | 6 | remove `shard-NNN` beyond the new count, sync | the mark stands: they are removed again |
//! | 7 | replace `identity`: not marked | the marked or the new one holds |
//!
//! In step 5 the old folder is removed and the new one renamed; where there is no new one, that
//! was done. *Invariant.* At every moment the folders that count hold each record exactly once;
//! who finds the mark finishes the exchange first, also if yet another count is wanted.

use crate::data_dir::{DataDir, DataDirError, Identity, random_bytes};
use crate::log::limits::SEGMENT_BYTES_MIN;
use crate::log::{self, Config, Damage, Durability, Log, OpenError, SegmentSizes};
use crate::log_files::{LogFiles, SegmentMaps, free_bytes};
use crate::start::{StartError, check_begun};
use crate::sys::raise_nofile;
use ringmain_core::hash::Key;
use ringmain_core::id::{NodeId, Partition, ShardIndex};
use ringmain_core::records::{Full, Place, Records, Unread};
use ringmain_core::time::Instant;
use std::collections::VecDeque;
use std::io::{self, ErrorKind::StorageFull};
use std::time::Duration;

/// Records that are copied in the order of their log before the next partition is looked at; more
/// if one partition alone holds more.
const PLACES_MAX: usize = 1 << 22;
/// Appended bytes after which they are written.
const BATCH_BYTES: usize = 1 << 20;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The part of the live bytes that headers and the ends of segments may take beside them.
const OVERHEAD_PART: u64 = 64;

/// Ends an exchange that a crash cut short, and re-shards the directory if its node shall have
/// another number of shards. Returns the identity that holds now.
///
/// # Errors
/// [`StartError`]; nothing is lost then, and the next start begins anew or goes on.
///
/// # Panics
/// If `shards` is 0 or above the partition count.
pub fn reshard(dir: &DataDir, shards: u16) -> Result<Identity, StartError> {
    run(dir, shards, &mut || Ok(())).inspect_err(|_| give_back(dir))
}

/// Gives back the space of what was copied in vain; what cannot be removed now is removed at the
/// next start.
fn give_back(dir: &DataDir) {
    if dir.is_exchanging().is_ok_and(|is_exchanging| !is_exchanging) {
        let _ = dir.discard_new_shard_dirs();
    }
}

/// What re-sharding needs and lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoSpace {
    /// Bytes that must be free.
    pub needed: u64,
    /// Bytes that are.
    pub free: u64,
}

/// Called between any two changes on disk; tests end a start there.
type Pause<'a> = &'a mut dyn FnMut() -> Result<(), StartError>;

fn run(dir: &DataDir, shards: u16, pause: Pause<'_>) -> Result<Identity, StartError> {
    let missing = || DataDirError::Missing { file: dir.path().join("identity") };
    let identity = dir.identity()?.ok_or_else(missing)?;
    if dir.is_exchanging()? {
        tracing::info!("re-sharding to {} shards goes on", identity.shards);
        exchange(dir, &identity, pause)?;
    } else {
        dir.discard_new_shard_dirs()?;
    }
    if identity.shards == shards {
        return Ok(identity);
    }
    assert!(shards > 0 && u32::from(shards) <= 1 << identity.partition_bits);
    let wanted = Identity { shards, ..identity.clone() };
    copy(dir, &identity, &wanted, pause)?;
    pause()?;
    dir.begin_exchange(&wanted)?;
    exchange(dir, &wanted, pause)?;
    Ok(wanted)
}

/// Steps 5 to 7.
fn exchange(dir: &DataDir, identity: &Identity, pause: Pause<'_>) -> Result<(), StartError> {
    for shard in (0..identity.shards).map(ShardIndex) {
        pause()?;
        dir.remove_replaced(shard)?;
        pause()?;
        dir.rename_new(shard)?;
    }
    pause()?;
    Ok(dir.end_exchange(identity)?)
}

/// Steps 2 and 3.
fn copy(
    dir: &DataDir,
    identity: &Identity,
    wanted: &Identity,
    pause: Pause<'_>,
) -> Result<(), StartError> {
    raise_nofile();
    let olds = (0..identity.shards).map(|shard| Old::open(dir, identity, ShardIndex(shard)));
    let mut olds = olds.collect::<Result<VecDeque<_>, _>>()?;
    check_space(free_bytes(dir.path()), &olds, wanted.shards)?;
    let mut progress = Progress::begin(identity.shards, wanted.shards, &olds);
    let bits = wanted.partition_bits.into();
    let mut places = Vec::new();
    for shard in (0..wanted.shards).map(ShardIndex) {
        pause()?;
        let mut new = New::open(dir, wanted, shard)?;
        let (first, count) = log_identity(wanted, shard).partitions();
        for partition in (first.0..).take(count).map(Partition) {
            let holder = ShardIndex::of(partition, identity.shards, bits);
            if olds[0].shard != holder || places.len() >= PLACES_MAX {
                new.copy(&olds[0], &mut places, &mut progress)?;
                pause()?;
            }
            while olds[0].shard != holder {
                new.copy_hints(&olds[0], &mut progress)?;
                olds.pop_front();
            }
            places.extend(olds[0].log.keys_from(partition, 0).map(|(_, place)| place));
        }
        new.copy(&olds[0], &mut places, &mut progress)?;
        new.copy_hints(&olds[0], &mut progress)?;
        pause()?;
        new.finish()?;
    }
    progress.end();
    Ok(())
}

/// Refuses what would fill the file system. What the old logs take is enough; only if that much
/// is not free their current records are added up.
fn check_space(free: u64, olds: &VecDeque<Old>, shards: u16) -> Result<(), StartError> {
    let segments = u64::from(shards) * u64::from(SEGMENT_BYTES_MIN);
    let most: u64 = olds.iter().map(|old| old.file_bytes).sum();
    if most + segments <= free {
        return Ok(());
    }
    let live: u64 = olds.iter().map(|old| old.log.live_bytes()).sum();
    let needed = live + live / OVERHEAD_PART + segments;
    if needed <= free { Ok(()) } else { Err(StartError::Space(NoSpace { needed, free })) }
}

fn log_identity(identity: &Identity, shard: ShardIndex) -> log::Identity {
    log::Identity {
        cluster: identity.cluster,
        shard,
        shards: identity.shards,
        partition_bits: identity.partition_bits.into(),
    }
}

/// The log of a shard, to read from.
struct Old {
    shard: ShardIndex,
    log: Log<SegmentMaps>,
    file_bytes: u64,
}

impl Old {
    /// Opens it as a start does, but nothing is appended.
    fn open(dir: &DataDir, identity: &Identity, shard: ShardIndex) -> Result<Old, StartError> {
        let path = dir.shard_dir(shard)?;
        let opened = LogFiles::open(&path);
        let failed = |error| StartError::Files { shard: shard.0, error };
        let (_, mut maps, snapshots) = opened.map_err(failed)?;
        maps.wait_for_disk();
        let stopped = match dir.stopped(identity, shard) {
            Err(error @ DataDirError::UnknownVersion { .. }) => return Err(error.into()),
            // Damaged, it says nothing: then a start notices less of the log, too.
            stopped => stopped.unwrap_or(Place(0)),
        };
        let identity = log_identity(identity, shard);
        let files = maps.files(&snapshots);
        check_begun(dir, shard, &files)?;
        let file_bytes = files.iter().map(|file| file.bytes.len() as u64).sum();
        let recovered = log::recover(&identity, &files, stopped)
            .map_err(|error| StartError::Log { shard: shard.0, error })?;
        maps.check_read(recovered.end()).map_err(failed)?;
        if let Some(&Damage { segment, offset, .. }) = recovered.damage.first() {
            // What was lost would be taken for "not found" in the new logs.
            let error = OpenError::Damaged { segment, offset };
            return Err(StartError::Unsound { shard: shard.0, error });
        }
        let sizes = SegmentSizes::default();
        let config = Config { identity, durability: Durability::None, sizes, seed: 0 };
        let log = Log::new(config, maps, recovered, 0);
        Ok(Old { shard, log, file_bytes })
    }
}

/// The log of a shard of the new layout.
struct New {
    shard: ShardIndex,
    shards: u16,
    log: Log<SegmentMaps>,
    files: LogFiles,
    hash_seed: u64,
    partition_bits: u32,
    unwritten_bytes: usize,
}

impl New {
    fn open(dir: &DataDir, identity: &Identity, shard: ShardIndex) -> Result<New, StartError> {
        let path = dir.make_new_shard_dir(shard)?;
        let failed = |error| StartError::Files { shard: shard.0, error };
        let (mut files, mut maps, _) = LogFiles::open(&path).map_err(failed)?;
        maps.wait_for_disk();
        let identity = log_identity(identity, shard);
        let recovered = log::recover(&identity, &[], Place(0))
            .map_err(|error| StartError::Log { shard: shard.0, error })?;
        let seed = u64::from_le_bytes(random_bytes()?);
        let sizes = SegmentSizes::default();
        let config = Config { identity, durability: Durability::None, sizes, seed };
        let mut log = Log::new(config, maps, recovered, free_bytes(&path));
        log.take_all_hints();
        files.make_ready(&mut log).map_err(failed)?;
        if !log.is_ready() {
            // A folder without a segment has lost its log.
            return Err(failed(StorageFull.into()));
        }
        Ok(New {
            shard,
            shards: identity.shards,
            log,
            files,
            hash_seed: identity.cluster.hash_seed(),
            partition_bits: identity.partition_bits,
            unwritten_bytes: 0,
        })
    }

    /// Copies the records at `places`, and empties it.
    fn copy(
        &mut self,
        old: &Old,
        places: &mut Vec<Place>,
        progress: &mut Progress,
    ) -> Result<(), StartError> {
        places.sort_unstable();
        for place in places.drain(..) {
            self.copy_one(old, (NodeId(0), place), progress)?;
        }
        Ok(())
    }

    /// What is kept for other nodes of keys that lie here from now on.
    fn copy_hints(&mut self, old: &Old, progress: &mut Progress) -> Result<(), StartError> {
        for (target, ..) in old.log.hint_targets().collect::<Vec<_>>() {
            for place in old.log.hints_of(target).collect::<Vec<_>>() {
                self.copy_one(old, (target, place), progress)?;
            }
        }
        Ok(())
    }

    fn copy_one(
        &mut self,
        old: &Old,
        (target, place): (NodeId, Place),
        progress: &mut Progress,
    ) -> Result<(), StartError> {
        let copied = self.copy_record(old, target, place);
        let copied = copied.map_err(|error| error.at(old.shard, self.shard, place))?;
        let Some(bytes) = copied else { return Ok(()) };
        self.unwritten_bytes += bytes;
        if self.unwritten_bytes >= BATCH_BYTES {
            self.write_out().map_err(|error| self.failed(error))?;
        }
        progress.add(bytes);
        Ok(())
    }

    /// Says how many bytes were copied; `None` for a key that lies elsewhere.
    fn copy_record(
        &mut self,
        old: &Old,
        target: NodeId,
        place: Place,
    ) -> Result<Option<usize>, CopyError> {
        let body = old.log.body(place)?;
        let (key, stored) = old.log.record_at(place)?;
        let key = Key::new(key, self.hash_seed, self.partition_bits).kept_for(target);
        if ShardIndex::of(key.partition, self.shards, self.partition_bits) != self.shard {
            return Ok(None);
        }
        let record = stored.record.bytes();
        let copied = loop {
            let bytes = record.len();
            match self.log.append(&key, stored.mine, bytes, |_, out| out.copy_from_slice(record)) {
                Ok(copied) => break copied,
                Err(Full::Busy) if self.write_out()? => {}
                Err(Full::NoSpace) => return Err(io::Error::from(StorageFull).into()),
                Err(full) => return Err(io::Error::other(format!("{full:?}")).into()),
            }
        };
        // The bytes may have changed on disk since recovery looked at them.
        if self.log.body(copied)?.crc32c() != body.crc32c() {
            return Err(CopyError::Damaged);
        }
        Ok(Some(body.bytes().len()))
    }

    /// Does all that the log asks for; false if that was nothing.
    fn write_out(&mut self) -> io::Result<bool> {
        self.unwritten_bytes = 0;
        self.log.offer_space(free_bytes(self.files.dir()));
        let mut is_any = false;
        while self.files.carry_out(&mut self.log, Instant(1))? {
            is_any = true;
        }
        Ok(is_any)
    }

    /// Everything is on disk when it returns, but for the folder's own name.
    fn finish(mut self) -> Result<(), StartError> {
        self.log.stop();
        self.write_out().map_err(|error| self.failed(error))?;
        if self.log.is_stopped() {
            Ok(())
        } else {
            Err(self.failed(io::Error::other("the log does not stop")))
        }
    }

    fn failed(&self, error: io::Error) -> StartError {
        StartError::Files { shard: self.shard.0, error }
    }
}

/// Why a record was not copied.
enum CopyError {
    /// It is not what recovery has seen.
    Damaged,
    Append(io::Error),
}

impl CopyError {
    fn at(self, old: ShardIndex, new: ShardIndex, place: Place) -> StartError {
        match self {
            CopyError::Append(error) => StartError::Files { shard: new.0, error },
            CopyError::Damaged => {
                let (segment, offset) = (place.segment(), place.offset());
                let error = log::OpenError::Damaged { segment, offset };
                StartError::Unsound { shard: old.0, error }
            }
        }
    }
}

impl From<Unread> for CopyError {
    fn from(_: Unread) -> CopyError {
        CopyError::Damaged
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> CopyError {
        CopyError::Append(error)
    }
}

/// What was copied so far, told once in a while.
struct Progress {
    records: usize,
    bytes: u64,
    total: usize,
    begun: std::time::Instant,
    told: std::time::Instant,
}

impl Progress {
    fn begin(from: u16, to: u16, olds: &VecDeque<Old>) -> Progress {
        let hints = |old: &Old| old.log.hint_targets().map(|(_, count, _)| count).sum::<usize>();
        let total = olds.iter().map(|old| old.log.key_count() + hints(old)).sum();
        tracing::info!("re-sharding from {from} to {to} shards: {total} records");
        let begun = std::time::Instant::now();
        Progress { records: 0, bytes: 0, total, begun, told: begun }
    }

    fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
        if self.records.is_multiple_of(TELL_RECORDS) && self.told.elapsed() >= TELL_EVERY {
            self.told = std::time::Instant::now();
            let (records, total, mib) = (self.records, self.total, self.bytes >> 20);
            tracing::info!("re-sharding: {records} of {total} records, {mib} MiB");
        }
    }

    fn end(&self) {
        assert!(self.records == self.total);
        let (records, mib, time) = (self.records, self.bytes >> 20, self.begun.elapsed());
        tracing::info!("re-sharded {records} records, {mib} MiB, in {} ms", time.as_millis());
    }
}

/// The clock is looked at after so many records: large ones take that long.
const TELL_RECORDS: usize = 64;

#[cfg(test)]
mod tests;
